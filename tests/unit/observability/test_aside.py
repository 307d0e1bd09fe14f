"""Threads that give way to those that answer."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from observability.aside import NICE, give_way


def test_only_the_thread_that_asks_for_it_gives_way() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with ThreadPoolExecutor(1, initializer=give_way) as aside:
        theirs = aside.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert theirs == (max(before, NICE) if sys.platform == "linux" else before)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before

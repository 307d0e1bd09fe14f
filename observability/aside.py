"""Threads whose work is part of no answer."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

NICE: Final = 10


def give_way() -> None:
    """The thread that calls this leaves the processor to those that answer requests. Linux has priorities of threads, others of processes
    only.
    """
    if sys.platform == "linux":
        thread = os.PRIO_PROCESS, threading.get_native_id()
        os.setpriority(*thread, max(NICE, os.getpriority(*thread)))

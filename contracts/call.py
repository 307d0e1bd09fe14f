"""What travels with every call from the edge to the driver: who asks, for whom, how important it is, and until when."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from typing import Literal

import msgspec

Channel = Literal["web", "mobile", "store", "call_centre", "marketplace"]


class Priority(IntEnum):
    """What has to wait or to go without when there is not enough for all; the smaller, the more important."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """`deadline` is a reading of the event loop's clock (seconds, `loop.time()`); nothing may wait beyond it."""

    channel: str
    client: str
    deadline: float
    api_version: str = ""
    store: str = ""
    fresh: bool = False
    """True: do not answer from cache (a write depends on the answer)."""
    reference: str = ""
    """Our key for a write, kept by the system in a field that can be searched (canonical model §7)."""
    priority: Priority = Priority.NORMAL
    waiting: AbstractContextManager[object] = nullcontext()
    """Entered while a system is waited for, maybe several times at once: waiting is no work, and others may have the place meanwhile."""

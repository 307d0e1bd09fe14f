"""What travels with every call from the edge to the driver: who asks, for whom, and until when."""

from __future__ import annotations

from typing import Literal

import msgspec

Channel = Literal["web", "mobile", "store", "call_centre", "marketplace"]


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

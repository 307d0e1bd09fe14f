"""The ledger of files: who works on which content, how far, how it ended, and what was set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from contracts.events import Event


@dataclass(frozen=True)
class FileSeen:
    """A complete file in an inbox: identity is its content hash (SHA-256 hex), not its name."""

    digest: str
    feed: str
    name: str
    size: int
    store: str = ""


FileState = Literal["claimed", "done", "refused"]


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's line for one file content."""

    digest: str
    feed: str
    name: str
    size: int
    state: FileState
    first_seen: datetime
    position: int = 0
    """Transactions committed so far; a take-over starts behind them."""
    booked: int = 0
    repeated: int = 0
    conflicts: int = 0
    quarantined: int = 0
    reason: str = ""
    attempts: int = 1
    owner: str = ""
    fence: int = 0
    lease_until: datetime | None = None
    finished_at: datetime | None = None
    trace_id: str = ""
    seen_as: tuple[str, ...] = ()
    """Other names under which the same content came."""


@dataclass(frozen=True)
class Claim:
    """`fence` grows with each take-over; a commit with an older fence is refused."""

    state: Literal["mine", "busy", "done", "refused"]
    record: FileRecord


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was not booked, with the place and reason a person needs, and its original bytes."""

    digest: str
    file: str
    position: int
    line: int
    field: str
    expected: str
    got: str
    reason: str
    raw: bytes
    key: str = ""
    at: datetime | None = None
    id: int = 0


class FileBook(Protocol):
    async def claim(self, seen: FileSeen, owner: str, now: datetime, lease: float, trace_id: str) -> Claim:
        """Take the file, or take it over when its owner's lease has ended. The same content under another name is `done` and noted."""
        ...

    async def renew(self, digest: str, fence: int, until: datetime) -> bool: ...

    async def finish(
        self, digest: str, fence: int, state: Literal["done", "refused"], reason: str, now: datetime, events: Sequence[Event]
    ) -> FileRecord: ...

    async def get(self, digest: str) -> FileRecord | None: ...

    async def list(self, limit: int, state: FileState | None = None) -> Sequence[FileRecord]: ...

    async def quarantined(self, digest: str | None, limit: int) -> Sequence[Quarantined]: ...

"""The ledger of files: who works on which content, how far, how it ended, and what was set aside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from contracts.books.audit import AuditEntry
from contracts.canonical.inventory import InventoryLevel, StockMovement
from contracts.canonical.sale import PosSale
from contracts.events import Event


@dataclass(frozen=True)
class FileSeen:
    """A complete file in an inbox: identity is its content hash (SHA-256 hex), not its name."""

    digest: str
    feed: str
    name: str
    size: int
    store: str = ""


Report = StockMovement | InventoryLevel
"""What a file tells of stock without receipts."""
Posting = PosSale | Report
"""What a file's transaction is booked as."""
FileState = Literal["claimed", "done", "refused"]
Phase = Literal["", "checking", "booking"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided: who, when, why, and what came of it."""

    by: str
    at: datetime
    what: Literal["booked", "repeated", "dismissed", "given_up"]
    """`repeated`: the books had it already, with the same content."""
    reason: str = ""
    key: str = ""
    """Of what was booked."""


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
    """Claims since the position last moved."""
    owner: str = ""
    fence: int = 0
    lease_until: datetime | None = None
    finished_at: datetime | None = None
    trace_id: str = ""
    seen_as: tuple[str, ...] = ()
    """Other names under which the same content came."""
    store: str = ""
    """As its name says."""
    claimed_at: datetime | None = None
    claimed_position: int = 0
    """Where the worker that holds it began."""
    phase: Phase = ""
    share: float = 0.0
    """Of its bytes, that the pass under way has read; told with each renewal."""
    decided: int = 0
    """Quarantined records that a person has booked or dismissed."""
    kept: str = ""
    """Where the file lies since it was settled, as its feed names the place."""
    removed_at: datetime | None = None
    """Since when it lies nowhere any more: its time was over."""
    given_up: Decision | None = None
    """Of a refused file that nobody will try again."""


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
    form: Literal["record", "sale"] = "record"
    """Whether `raw` is the record as it stood in the file, or what it became, as JSON."""
    around: tuple[bytes, bytes] = (b"", b"")
    """What must stand before and behind the record for its layout to read it: file headers, or the elements around it."""


@dataclass(frozen=True)
class Original:
    """How a quarantined record stood in its file."""

    id: int
    file: str
    line: int
    raw: bytes
    around: tuple[bytes, bytes]


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """A quarantined record with what people did about it."""

    record: Quarantined
    feed: str
    store: str
    state: Literal["open", "booked", "dismissed"]
    version: int
    """Grows with each change; a decision names the one it was made on."""
    revised: bytes | None = None
    """Its bytes as a person changed them."""
    decision: Decision | None = None

    @property
    def text(self) -> bytes:
        """What would be booked."""
        return self.record.raw if self.revised is None else self.revised


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What booking something would do at this moment."""

    outcome: Literal["books", "repeats", "conflict", "uncountable"]
    why: str = ""
    """It cannot be counted, or would change nothing."""
    standing: Posting | None = None
    """What is booked under its key."""
    cents: int = 0
    """By which the store's total would change."""
    stock: dict[str, str] = {}
    """Sku -> signed change of what lies on the shelf."""
    missing: tuple[str, ...] = ()
    """Linked originals that are not booked here, as `type key`."""
    found: tuple[str, ...] = ()


class FileBook(Protocol):
    async def claim(self, seen: FileSeen, owner: str, now: datetime, lease: float, trace_id: str) -> Claim:
        """Take the file, or take it over when its owner's lease has ended. The same content under another name is `done` and noted."""
        ...

    async def renew(self, digest: str, fence: int, until: datetime, phase: Phase = "", share: float = 0.0) -> bool: ...

    async def finish(
        self, digest: str, fence: int, state: Literal["done", "refused"], reason: str, now: datetime, events: Sequence[Event]
    ) -> FileRecord: ...

    async def get(self, digest: str) -> FileRecord | None: ...

    async def list(
        self,
        limit: int,
        state: FileState | None = None,
        *,
        feed: str | None = None,
        stores: Collection[str] = (),
        since: datetime | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> Sequence[FileRecord]:
        """Newest first. `stores` empty: all; `before`: first_seen and digest of a file, behind which to go on."""
        ...

    async def find(self, name: str, limit: int) -> Sequence[FileRecord]:
        """By name (any under which it came), or by the beginning of the digest."""
        ...

    async def quarantined(self, digest: str | None, limit: int) -> Sequence[Quarantined]: ...

    async def settled(self, digest: str, fence: int, kept: str) -> None:
        """Its file lies there now."""
        ...

    async def removed(self, digest: str, now: datetime) -> None:
        """Its file was kept long enough and is gone."""
        ...

    async def acknowledge(self, digest: str, name: str, fence: int, token: str) -> str:
        """The token of the one acknowledgement of a finished file under this name: this one, or that of whoever came first."""
        ...

    async def reopen(self, digest: str, fence: int, now: datetime, entries: Sequence[AuditEntry]) -> FileRecord:
        """Takes the claim from a worker, or a refusal back: who claims it next goes on behind its position. Raises NotFound,
        StateConflict when the file is done, or has changed since `fence`.
        """
        ...

    async def give_up(self, digest: str, fence: int, decision: Decision, entries: Sequence[AuditEntry]) -> FileRecord:
        """A refused file will not be tried again. Raises NotFound, StateConflict."""
        ...


class QuarantineBook(Protocol):
    """Records that were set aside, and what people decide about them. Each decision is one transaction with its audit entries, and is
    made once: by whoever commits first, on the version that was looked at; to all others it is a StateConflict."""

    async def get(self, id: int) -> Reviewed | None: ...

    async def list(
        self,
        limit: int,
        *,
        digest: str | None = None,
        state: str | None = None,
        feed: str | None = None,
        stores: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[Reviewed]:
        """In the order in which they came, behind the id `after`."""
        ...

    async def revise(self, id: int, version: int, revised: bytes | None, entries: Sequence[AuditEntry]) -> Reviewed:
        """Raises NotFound, StateConflict."""
        ...

    async def originals(self, digest: str, fence: int, found: Sequence[Original]) -> None:
        """What was set aside as what it became, since the books were against it, is kept as it stood in its file from now on; what
        somebody has touched by then stays as it is. Raises StateConflict when the fence is outdated."""
        ...

    async def weigh(self, posting: Posting) -> Effect: ...

    async def book(self, id: int, version: int, posting: Posting, decision: Decision, entries: Sequence[AuditEntry]) -> Reviewed:
        """Books it as a feed does, with its stock, totals, links and events. Raises NotFound, InvalidBody for what cannot be
        counted, StateConflict, also when its key is booked with other content: nothing is ever written over."""
        ...

    async def dismiss(self, id: int, version: int, decision: Decision, entries: Sequence[AuditEntry]) -> Reviewed:
        """It is never booked. Raises NotFound, StateConflict."""
        ...

"""Ports of the store: the books that the gateway keeps itself. Every method is one transaction, all of it or nothing.

Times are aware datetimes handed in by the caller, so that books hold no clock. Whatever is written together stands in one method.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

from contracts.canonical.base import Noun
from contracts.canonical.inventory import TillPosition
from contracts.canonical.order import Order
from contracts.canonical.reservation import Reservation, ReservationState
from contracts.canonical.sale import PosSale, SaleKey
from contracts.errors import PreconditionFailed
from contracts.events import Event
from contracts.ports import SkuAt

# ---- clients ------------------------------------------------------------------------------------------------------


class Client(Noun, frozen=True, kw_only=True):
    """An authenticated application of one channel. Keys are never stored: only their keyed hash and look-up prefix."""

    name: str
    channel: str
    scopes: tuple[str, ...]
    api_version: str
    """Pinned version; a request may name another one in `API-Version`."""
    quota: str = "standard"
    stores: tuple[str, ...] = ()
    """Empty: all stores."""
    suspended: bool = False
    certificates: tuple[str, ...] = ()
    """Fingerprints of client certificates that stand for it: `x5t#S256` (RFC 8705 §3.1)."""


class ApiKey(Noun, frozen=True, kw_only=True):
    prefix: str
    client: str
    digest: bytes
    """HMAC-SHA256 of the secret part with the gateway's pepper."""
    expires_at: datetime | None = None
    created_at: datetime | None = None


class KeyRecord(Noun, frozen=True, kw_only=True):
    """What people see of a key."""

    prefix: str
    client: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    used_at: datetime | None = None
    """To the minute."""


class AuditEntry(Noun, frozen=True, kw_only=True):
    """Who did what to whom. Holds no secret: `detail` names fields with what they were and became, or why an attempt was denied."""

    id: str
    at: datetime
    actor: str
    """A client, `command line: NAME` of the operating system, or the address of a denied attempt (IPv6: its /64)."""
    what: str
    """`client.added`, `key.ended`, `estate.reloaded`, …; `denied` for attempts."""
    subject: str
    """Client, key prefix, system: whom it concerns. Of a denied attempt who it claimed to be, as far as that is known."""
    detail: dict[str, str] = msgspec.field(default_factory=dict)
    count: int = 1
    """How often, of denied attempts within a minute."""
    trace_id: str = ""


class ClientBook(Protocol):
    """A change and the entries that tell of it are one commit."""

    async def put(self, client: Client) -> None: ...

    async def create(self, client: Client, key: ApiKey, entries: Sequence[AuditEntry]) -> None:
        """Raises StateConflict when there is a client of this name, or one of its certificates stands for another."""
        ...

    async def change(self, before: Client, after: Client, entries: Sequence[AuditEntry]) -> None:
        """Raises NotFound, and StateConflict when the client is no longer as it was in `before`, or one of its certificates stands for
        another.
        """
        ...

    async def rotate(self, key: ApiKey, overlap_until: datetime, entries: Sequence[AuditEntry]) -> int:
        """A further key; those without an earlier end end at `overlap_until`. Returns how many. Raises NotFound, StateConflict."""
        ...

    async def end_key(self, client: str, prefix: str, at: datetime, entries: Sequence[AuditEntry]) -> None:
        """Raises NotFound when the client has no such key, StateConflict when it ended before `at`."""
        ...

    async def remove(self, name: str, entries: Sequence[AuditEntry]) -> None:
        """With its keys and its stored answers, which a later client of the same name must not be given. Raises NotFound."""
        ...

    async def purge_keys(self, before: datetime) -> int:
        """Keys that ended before."""
        ...

    async def keys(self, client: str | None) -> Sequence[KeyRecord]:
        """By client, newest first. None: those of all."""
        ...

    async def used(self, at: Mapping[str, datetime]) -> None:
        """Last use by prefix; an earlier one than is known changes nothing."""
        ...

    async def get(self, name: str) -> Client | None: ...

    async def list(self) -> Sequence[Client]: ...

    async def add_key(self, key: ApiKey) -> None: ...

    async def find_key(self, prefix: str) -> tuple[ApiKey, Client] | None: ...

    async def expire_keys(self, client: str, at: datetime) -> int:
        """Every key of the client that has no earlier end ends at `at` (rotation with overlap). Returns how many."""
        ...


# ---- audit --------------------------------------------------------------------------------------------------------


class AuditBook(Protocol):
    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """An entry that is there already (by its id) is left as it is."""
        ...

    async def list(
        self, limit: int, *, since: datetime | None = None, client: str | None = None, before: tuple[datetime, str] | None = None
    ) -> Sequence[AuditEntry]:
        """Newest first. `client`: those that it did or that concern it or one of its keys; `before`: time and id of an entry, behind which
        to go on.
        """
        ...

    async def purge(self, before: datetime) -> int: ...


# ---- sessions of the console --------------------------------------------------------------------------------------


class ConsoleSession(Noun, frozen=True, kw_only=True):
    """Somebody who has signed in with a key. It is found by the `mark` of its cookie, which is stored nowhere."""

    mark: str
    """SHA-256 of the cookie's value, in hexadecimal."""
    client: str
    prefix: str
    """Of the key that opened it: it lives no longer than that."""
    scopes: tuple[str, ...]
    """What the key was good for then."""
    opened_at: datetime
    seen_at: datetime


class SessionBook(Protocol):
    async def open(self, session: ConsoleSession, most: int) -> None:
        """Of one client's sessions the `most` that were opened last stay."""
        ...

    async def get(self, mark: str) -> ConsoleSession | None: ...

    async def seen(self, mark: str, at: datetime) -> None: ...

    async def end(self, mark: str) -> None: ...

    async def purge(self, opened_before: datetime) -> int: ...


# ---- usage --------------------------------------------------------------------------------------------------------


class Used(Noun, frozen=True, kw_only=True):
    """How often a client asked a route in a version, or (with `field`) used something there that another version has otherwise."""

    version: str
    client: str
    channel: str
    route: str
    field: str = ""
    """`query:store`, `body:/lines/*/unitPrice`, `answer:/items/*/storeId`, in the names of the version; empty: the request itself."""
    times: int
    seen_at: datetime


class UsageBook(Protocol):
    """Counts per day (UTC)."""

    async def add(self, day: date, counts: Sequence[Used]) -> None:
        """Adds up with what stands, whoever wrote it. Each combination of what is told apart comes once."""
        ...

    async def since(self, day: date) -> Sequence[Used]:
        """From that day on, summed up over the days, by version (newest first), client, channel, route and field."""
        ...

    async def purge(self, before: date) -> int: ...


# ---- idempotency --------------------------------------------------------------------------------------------------


class StoredAnswer(Noun, frozen=True, kw_only=True):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Begun:
    """What `begin` found under an idempotency key.

    `new`: run it now (also when an earlier owner's lease has ended: handlers are safe to repeat under their key).
    """

    state: Literal["new", "running", "done", "other_payload"]
    answer: StoredAnswer | None = None
    repeated: bool = False
    """It began before and never came to an answer: what it changes may be changed already."""


class IdempotencyBook(Protocol):
    async def begin(self, scope: str, key: str, fingerprint: bytes, now: datetime, lease: float) -> Begun:
        """`scope` = client + method + route. Durable before it returns. `lease` in seconds."""
        ...

    async def finish(self, scope: str, key: str, answer: StoredAnswer, now: datetime) -> StoredAnswer:
        """Returns the answer that stands: the first one."""
        ...

    async def abandon(self, scope: str, key: str) -> None:
        """It came to no answer: the same payload may try again at once."""
        ...

    async def purge(self, before: datetime) -> int: ...


# ---- what is changed only from a known version --------------------------------------------------------------------


def require_version(expected: Collection[int] | None, stands: int) -> None:
    """None expects nothing. Raises PreconditionFailed."""
    if expected is not None and stands not in expected:
        wanted = ", ".join(f'"v{v}"' for v in sorted(expected)) or "no strong tag of this resource"
        raise PreconditionFailed(expected=wanted[:80], actual=f'"v{stands}"')


# ---- reservations -------------------------------------------------------------------------------------------------


class ReservationBook(Protocol):
    async def hold(
        self, reservation: Reservation, free: Decimal | None, counted_since: datetime, now: datetime, events: Sequence[Event]
    ) -> Reservation:
        """Insert if `free` (free stock before own holds; None: no limit) covers all active holds of that sku and location plus this one.

        A repeat with the same key returns the stored reservation and changes nothing. Own holds are active ones that have not expired at
        `now`, plus those committed after `counted_since` (the moment of the stock figure, which cannot contain them).
        Raises InsufficientStock.
        """
        ...

    async def change(
        self,
        key: str,
        to: ReservationState,
        now: datetime,
        events: Sequence[Event],
        *,
        reason: str | None = None,
        expires_at: datetime | None = None,
        expected: Collection[int] | None = None,
    ) -> Reservation:
        """A conditional change along canonical model §5; a repeat changes nothing. Only from one of the versions `expected`, if given.
        Raises NotFound, PreconditionFailed, StateConflict.
        """
        ...

    async def get(self, key: str) -> Reservation | None: ...

    async def held(self, pairs: Sequence[SkuAt], counted_since: Mapping[SkuAt, datetime], now: datetime) -> Mapping[SkuAt, Decimal]:
        """Own holds per pair, counted as in `hold`. Pairs without holds are absent."""
        ...

    async def expire(self, now: datetime, limit: int) -> Sequence[Reservation]:
        """Marks overdue active reservations expired. Returns those changed."""
        ...

    async def of_owner(self, owner_type: str, owner_id: str) -> Sequence[Reservation]: ...


# ---- sales, files, quarantine -------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class SaleBatch:
    """Transactions, their stock movements and events, bad records and the position reached: one commit."""

    digest: str
    fence: int
    position: int
    sales: Sequence[PosSale]
    quarantined: Sequence[Quarantined] = ()


@dataclass(frozen=True)
class BatchResult:
    booked: int
    repeated: int
    conflicts: int


class SaleBook(Protocol):
    async def commit(self, batch: SaleBatch, now: datetime) -> BatchResult:
        """Books each sale once by its natural key. The same key with the same content is `repeated`; with other content it goes to
        quarantine as a conflict, never over the first. A counted sale moves stock (sold minus returned; `item_type` stock, not
        voided; weighed lines move by their measure) and writes one `sale.committed` event (data: the sale); each touched (sku, location) of
        the batch writes one `inventory.changed` event (subject `sku@location`; data `sku`, `locationId`, `change`, a signed quantity).
        Raises StateConflict when the fence is outdated.
        """
        ...

    async def get(self, key: SaleKey) -> PosSale | None: ...

    async def list(self, store: str, business_date: str, after: SaleKey | None, limit: int) -> Sequence[PosSale]: ...

    async def delta(self, pairs: Mapping[SkuAt, Sequence[TillPosition]]) -> Mapping[SkuAt, Decimal]:
        """posDelta (canonical model §6): sold minus returned in transactions after the given position of each till; a till that is not
        named counts with all its transactions. Positive = units gone. Pairs without movement are absent."""
        ...

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Per store: `sales` (counted transactions), `cents` (their signed grand totals), `units_milli` (net units sold in thousandths)."""
        ...


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


# ---- orders and durable processes ---------------------------------------------------------------------------------

StepState = Literal["prepared", "sending", "confirmed", "failed", "in_doubt", "retry_scheduled", "manual", "conflict", "skipped"]
ProcessState = Literal["running", "waiting", "done", "failed", "manual", "compensating", "compensated"]


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One named step of a process (canonical model §7): its state is stored before and after every attempt."""

    name: str
    state: StepState = "prepared"
    attempts: int = 0
    not_found: int = 0
    """How many query-backs in a row found nothing."""
    external_id: str = ""
    error: str = ""
    refusal: dict[str, str] = {}
    """What a channel may be told about a clear no: `code` of the error tree and that error's data. `error` is for people inside."""
    at: datetime | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    subject: str
    """Id of the order."""
    state: ProcessState
    steps: tuple[StepRecord, ...]
    due_at: datetime
    reason: str = ""
    """Why it is being undone, in the words of whoever cancelled."""
    version: int = 1
    owner: str = ""
    lease_until: datetime | None = None
    traceparent: str = ""
    channel: str = ""
    client: str = ""
    api_version: str = ""
    created_at: datetime | None = None


class OrderBook(Protocol):
    async def accept(self, order: Order, process: Process, client: str, key: str, events: Sequence[Event]) -> tuple[Order, Process, bool]:
        """Order, process and events in one commit. A repeat with the same client and key returns what stands (False)."""
        ...

    async def get(self, order_id: str) -> Order | None: ...

    async def by_number(self, number: str) -> Order | None: ...

    async def list(self, channel: str, before: str | None, limit: int) -> Sequence[Order]:
        """Newest first, behind the order id `before`."""
        ...

    async def save(self, process: Process, order: Order | None, events: Sequence[Event]) -> Process:
        """Stores a step's outcome with the order and events it causes, if the process is still at `process.version` (and the order at
        `order.version`); both versions rise by one. Raises StateConflict otherwise."""
        ...

    async def due(self, owner: str, now: datetime, lease: float, limit: int) -> Sequence[Process]:
        """Leases processes that are running, waiting or compensating, due, and unowned (or whose owner's lease has ended). Leasing raises
        the version, which shuts an earlier owner out. A step found `sending` is the caller's to turn into `in_doubt`."""
        ...

    async def process_of(self, order_id: str) -> Process | None: ...

    async def processes(self, states: Sequence[ProcessState], limit: int) -> Sequence[Process]: ...

    async def all_orders(self) -> Sequence[Order]:
        """For reconciliation: every order, oldest first."""
        ...


# ---- outbox -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutboxRow:
    position: int
    event: Event
    attempts: int


class Outbox(Protocol):
    async def due(self, owner: str, now: datetime, lease: float, limit: int) -> Sequence[OutboxRow]:
        """Leases the oldest undelivered events, in order; never a later one of a subject whose earlier one is still out, so one call holds
        at most one event of each subject. Each comes with its `sequence`."""
        ...

    async def delivered(self, positions: Sequence[int]) -> None: ...

    async def failed(self, positions: Sequence[int], retry_at: datetime, error: str) -> None: ...

    async def depth(self) -> int: ...

    async def put(self, events: Sequence[Event]) -> None: ...

    async def purge(self, before: datetime) -> int: ...


# ---- leases -------------------------------------------------------------------------------------------------------


class LeaseBook(Protocol):
    async def acquire(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        """Keeps single what must be single over many processes. The owner may acquire again."""
        ...

    async def release(self, name: str, owner: str) -> None: ...


class Meta(Protocol):
    async def get(self, key: str) -> bytes | None: ...

    async def put_if_absent(self, key: str, value: bytes) -> bytes:
        """Returns what stands afterwards (the gateway's own id and the pepper of API keys live here)."""
        ...


class Books(Protocol):
    """The whole store."""

    clients: ClientBook
    audit: AuditBook
    sessions: SessionBook
    usage: UsageBook
    idempotency: IdempotencyBook
    reservations: ReservationBook
    sales: SaleBook
    files: FileBook
    orders: OrderBook
    outbox: Outbox
    leases: LeaseBook
    meta: Meta

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> dict[str, Any]:
        """Answers quickly whether the store can write; raises StoreUnavailable."""
        ...

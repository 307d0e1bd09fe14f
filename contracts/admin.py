"""What operators send and get: clients, their keys, and the audit log. The nouns of the admin API, which channels never meet."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.books import AuditEntry, DispatchState, Refusal
from contracts.canonical.answers import Cursor
from contracts.canonical.base import Instant, Key, LocationId, Noun

Scopes = Annotated[tuple[str, ...], Meta(min_length=1, max_length=50)]
Stores = Annotated[tuple[LocationId, ...], Meta(max_length=500, description="Empty: all stores")]
Fingerprint = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$(?!\n)", description="`x5t#S256` of a client certificate (RFC 8705 §3.1)")]
Certificates = Annotated[tuple[Fingerprint, ...], Meta(max_length=20)]
Word = Annotated[str, Meta(min_length=1, max_length=64)]
Prefix = Annotated[str, Meta(pattern=r"^[a-z2-7]{8}$(?!\n)", examples=["mfzwi3d2"])]
PageLimit = Annotated[int, Meta(ge=1, le=200)]


class NewClient(Noun, frozen=True, kw_only=True):
    name: Key
    channel: Word
    scopes: Scopes
    stores: Stores = ()
    certificates: Certificates = ()
    quota: Word = "standard"
    api_version: Word | None = None
    """Pinned; the newest if left out."""
    key_expires_at: Instant | None = None


class ClientChange(Noun, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    scopes: Scopes | None = None
    stores: Stores | None = None
    certificates: Certificates | None = None
    quota: Word | None = None
    api_version: Word | None = None
    suspended: bool | None = None


class Rotation(Noun, frozen=True, kw_only=True):
    overlap_hours: Annotated[int, Meta(ge=0, le=8760, description="How long older keys still work")] = 24
    key_expires_at: Instant | None = None


KeyState = Literal["active", "ending", "ended"]


class KeyView(Noun, frozen=True, kw_only=True):
    """Of a key that is never shown again. `ending`: it works until `expires_at`, which is within thirty days."""

    prefix: str
    state: KeyState
    created_at: Instant | None = None
    expires_at: Instant | None = None
    used_at: Instant | None = None
    """To the minute."""


class ClientView(Noun, frozen=True, kw_only=True):
    name: str
    channel: str
    state: Literal["active", "suspended"]
    scopes: tuple[str, ...]
    stores: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    quota: str
    api_version: str
    keys: tuple[KeyView, ...] = ()


class IssuedKey(Noun, frozen=True, kw_only=True):
    """The only answer that ever holds the key."""

    client: ClientView
    prefix: str
    key: str


class Clients(Noun, frozen=True, kw_only=True):
    items: tuple[ClientView, ...]


class ClientsParameters(Noun, frozen=True, kw_only=True):
    cursor: Cursor | None = None
    limit: PageLimit = 50


class AuditLog(Noun, frozen=True, kw_only=True):
    """Newest first."""

    items: tuple[AuditEntry, ...]


class AuditParameters(Noun, frozen=True, kw_only=True):
    since: Instant | None = None
    client: Annotated[str, Meta(min_length=1, max_length=256, description="Entries that it made or that concern it")] | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50


# ---- files of the tills

FileStatus = Literal["waiting", "checking", "booking", "done", "partly", "refused", "given_up"]
"""`waiting`: claimed before, by nobody now; `partly`: done, with records that wait for a person."""
RecordStatus = Literal["open", "booked", "dismissed"]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
Count = Annotated[int, Meta(ge=0)]
RecordVersion = Annotated[int, Meta(ge=0, description="As it was looked at; a record that was changed since is not decided")]


class DecisionView(Noun, frozen=True, kw_only=True):
    by: str
    at: Instant
    what: Literal["booked", "repeated", "dismissed", "given_up"]
    reason: str = ""
    key: str = ""


class FileProgress(Noun, frozen=True, kw_only=True):
    """Of a file that somebody reads now."""

    share: Annotated[float, Meta(ge=0, le=1, description="Of its bytes, that this pass has read")]
    rate: Annotated[float, Meta(ge=0, description="Transactions committed per second since it was claimed")]
    owner: str
    until: Instant
    """When another worker may take it over, unless this one gives a sign of life."""


class FileView(Noun, frozen=True, kw_only=True):
    digest: str
    feed: str
    store: str = ""
    name: str
    size: Count
    status: FileStatus
    first_seen: Instant
    finished_at: Instant | None = None
    position: Count = 0
    """Transactions read and committed, good and bad."""
    booked: Count = 0
    repeated: Count = 0
    conflicts: Count = 0
    quarantined: Count = 0
    open: Count = 0
    """Quarantined records that nobody has decided about."""
    reason: str = ""
    attempts: Count = 0
    fence: Count = 0
    """Grows each time somebody takes the file."""
    seen_as: tuple[str, ...] = ()
    kept: str = ""
    """Where it lies now."""
    removed_at: Instant | None = None
    given_up: DecisionView | None = None
    progress: FileProgress | None = None
    trace_id: str = ""


class Files(Noun, frozen=True, kw_only=True):
    """Newest first."""

    items: tuple[FileView, ...]


class FilesParameters(Noun, frozen=True, kw_only=True):
    state: Literal["claimed", "done", "refused"] | None = None
    feed: Word | None = None
    store: LocationId | None = None
    since: Instant | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50


class RecordView(Noun, frozen=True, kw_only=True):
    """A record that was not booked with its file: where it stands there, and why."""

    id: int
    version: int
    digest: str
    file: str
    feed: str
    store: str = ""
    position: int
    line: int
    """0: of no line."""
    field: str
    expected: str
    got: str
    reason: str
    key: str = ""
    """Of the sale, as far as it could be read."""
    status: RecordStatus
    conflict: bool = False
    """The books have another content under its key."""
    revised: bool = False
    at: Instant | None = None
    decision: DecisionView | None = None


class FindingView(Noun, frozen=True, kw_only=True):
    """Something about files or tills that is no error and that a person may want to know."""

    kind: str
    state: str
    feed: str
    detail: str
    store: str = ""
    file: str = ""
    at: Instant | None = None


class Findings(Noun, frozen=True, kw_only=True):
    """Newest first."""

    items: tuple[FindingView, ...]


class FindingsParameters(Noun, frozen=True, kw_only=True):
    state: Literal["open", "noted", "closed"] | None = None
    feed: Word | None = None
    limit: PageLimit = 50


class FileDetail(Noun, frozen=True, kw_only=True):
    """`told` and `advice`: what happened to it and what to do, in sentences. `records`: the first of those that were set aside."""

    file: FileView
    told: tuple[str, ...]
    advice: tuple[str, ...]
    findings: tuple[FindingView, ...] = ()
    records: tuple[RecordView, ...] = ()


class Explanation(Noun, frozen=True, kw_only=True):
    """Of a name: every file that came under it, or why there is none."""

    name: str
    told: tuple[str, ...]
    advice: tuple[str, ...]
    files: tuple[FileView, ...] = ()


class ExplainParameters(Noun, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255, description="Of a file, or the beginning of its digest")]


class FileRetry(Noun, frozen=True, kw_only=True):
    """Without `fence` as the file is now."""

    fence: Count | None = None


class Retried(Noun, frozen=True, kw_only=True):
    """Of a refused file: it goes back to the inbox. Of a done one: its open records were read again, with the layout and mapping of now."""

    file: FileView
    told: str
    booked: Count = 0
    repeated: Count = 0
    left: Count = 0


class GivingUp(Noun, frozen=True, kw_only=True):
    reason: Reason
    fence: Count | None = None


class Records(Noun, frozen=True, kw_only=True):
    """In the order in which they came."""

    items: tuple[RecordView, ...]


class RecordsParameters(Noun, frozen=True, kw_only=True):
    file: Annotated[str, Meta(min_length=1, max_length=64, description="Digest")] | None = None
    status: RecordStatus | None = None
    feed: Word | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50


class RecordCell(Noun, frozen=True, kw_only=True):
    name: str
    value: str
    says: str = ""
    """What a code means."""
    wrong: bool = False


class RecordRow(Noun, frozen=True, kw_only=True):
    """`record` is empty for a row that the layout does not know."""

    record: str
    cells: tuple[RecordCell, ...]


class ValueChange(Noun, frozen=True, kw_only=True):
    """A value of the sale; None: it is not there."""

    path: str
    before: str | None = None
    after: str | None = None


class StockChange(Noun, frozen=True, kw_only=True):
    sku: str
    change: str


class Preview(Noun, frozen=True, kw_only=True):
    """What booking the record would do now. `before` in the changes: what is booked under its key, else the record as it came."""

    outcome: Literal["books", "repeats", "conflict", "uncountable", "left_out", "refused"]
    told: str
    line: int = 0
    field: str = ""
    expected: str = ""
    got: str = ""
    key: str = ""
    cents: int = 0
    currency: str = ""
    stock: tuple[StockChange, ...] = ()
    changes: tuple[ValueChange, ...] = ()
    found: tuple[str, ...] = ()
    """Linked earlier transactions that are booked, as `type key`."""
    missing: tuple[str, ...] = ()


class RecordDetail(Noun, frozen=True, kw_only=True):
    record: RecordView
    text: str
    """As it would be booked. Bytes that are no text are written as \\\\xNN."""
    original: str = ""
    """As it came, where somebody has changed it."""
    masked: bool = False
    """Personal fields are not shown: it takes the scope customers:read."""
    locked: str = ""
    """Why its text cannot be changed."""
    rows: tuple[RecordRow, ...] = ()
    preview: Preview | None = None


class Edit(Noun, frozen=True, kw_only=True):
    version: RecordVersion
    text: Annotated[str, Meta(max_length=1_000_000)] | None = None
    """Left out: as it came."""


class Booking(Noun, frozen=True, kw_only=True):
    version: RecordVersion
    reason: Annotated[str, Meta(max_length=500)] = ""


class Dismissal(Noun, frozen=True, kw_only=True):
    version: RecordVersion
    reason: Reason


# ---- files for the tills

DispatchNumber = Annotated[int, Meta(ge=1)]


class DispatchView(Noun, frozen=True, kw_only=True):
    """`drafted`: about to be written; `written`: it lies where the tills look; `overdue`: nobody answered in time. The others end it."""

    feed: Annotated[str, Meta(examples=["pos.prices"])]
    store: str
    number: DispatchNumber
    name: str
    digest: str
    size: Count
    items: Annotated[int, Meta(ge=0, description="Articles in it")]
    state: DispatchState
    drafted_at: Instant
    written_at: Instant | None = None
    ended_at: Instant | None = None
    reason: str = ""
    refused: tuple[Refusal, ...] = ()


class Dispatches(Noun, frozen=True, kw_only=True):
    """Newest first."""

    items: tuple[DispatchView, ...]


class DispatchesParameters(Noun, frozen=True, kw_only=True):
    feed: Word | None = None
    store: LocationId | None = None
    state: DispatchState | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50


class DispatchContent(Noun, frozen=True, kw_only=True):
    name: str
    digest: str
    content: Annotated[str, Meta(description="Its bytes in base64 (RFC 4648 §4)")]


class DispatchEnd(Noun, frozen=True, kw_only=True):
    reason: Reason

"""What one look at the estate knows: counts of all flights, feeds that failed, breakers that moved, what was changed, what was lost."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol

from msgspec.structs import replace

from contracts.books import AuditEntry, Books, Finding, WebhookState
from contracts.canonical.file import FindingKind
from gateway.services.clock import Now
from observability import Recorder
from observability.rootcause.model import COUNTERS, Change, DependencyMap, Evidence, FeedTrouble, GuardChange, Losses, NotSeen, Rows

MOST: Final = 500
"""Of each kind of evidence."""
WEEK: Final = timedelta(days=7)
WEEK_BIN: Final = 300
"""Seconds of the bins of a week ago."""
PAGES: Final = 8
"""Of so many entries of the audit log."""
SAME_RELOAD: Final = timedelta(minutes=5)
"""Within which all gateways have read an estate anew."""
LOOK_BACK: Final = 3_600
"""Seconds of losses that count."""
CHANGES_FOR: Final = timedelta(hours=2)
NOTED_FOR: Final = timedelta(minutes=30)
"""What nothing can mend, such as a file that came twice, is trouble for so long."""
EDGES_EVERY: Final = 60.0
"""Seconds for which the edges that nobody declared are the same."""
LAGGING_AFTER: Final = timedelta(seconds=30)
"""Events leave within a second or two."""
FEWEST_ASIDE: Final = 3
SHARE_ASIDE: Final = 0.02
"""Of a file's transactions; fewer that are set aside are a person's daily work, and no incident."""
EVENTS: Final = "events"
WEBHOOKS: Final = "webhooks"
"""Systems of queues that nobody drains: ours to the broker and to subscribers, and one for each receiver."""
CHANGED: Final = "estate.changed"
"""Of an audit entry: one thing that a reload made different."""
RELEASED: Final = "gateway.released"

_NOTHING: Final = Rows((), array("q"), array("q"), tuple(array("q") for _ in COUNTERS))
_TROUBLE: Final[dict[str, str]] = {
    "file_late": "late",
    "file_missing": "missing",
    "file_gap": "gap",
    "sequence_gap": "gap",
    "file_again": "duplicate",
    "file_refused": "refused",
    "file_unanswered": "lagging",
}
"""By kind of finding. The others harm nobody."""


class Frozen(Protocol):
    """Answers whose moment stands still."""

    @property
    def store(self) -> str: ...
    @property
    def as_of(self) -> datetime: ...
    @property
    def answers(self) -> int: ...
    @property
    def usual(self) -> timedelta: ...


class Drifted(Protocol):
    """Something in an answer that the contract does not know."""

    kind: str
    path: str
    value: str
    first_seen: datetime


@dataclass(frozen=True)
class Watched:
    """What can be asked about one operation that is called."""

    system: str
    operation: str
    frozen: Callable[[], Sequence[Frozen]]
    drift: Callable[[], Sequence[Drifted]]


@dataclass(frozen=True)
class Estate:
    """What the running estate says of itself; another one after a reload."""

    map: DependencyMap = field(default_factory=DependencyMap)
    operations: tuple[Watched, ...] = ()
    planned: Callable[[datetime, datetime], Sequence[Change]] = lambda since, until: ()
    """Brown-outs and hours of maintenance that touch this span."""
    published: str = ""
    """Whom events leave for besides subscribers and receivers: `rabbitmq`, or nobody."""


@dataclass
class GuardLog:
    """Breakers that moved, as they did."""

    now: Now
    _moves: deque[GuardChange] = field(default_factory=lambda: deque(maxlen=MOST))

    def moved(self, system: str, operation: str, state: Literal["closed", "open", "half_open"], trace_id: str) -> None:
        """`trace_id`: of the flight that opened it, or empty."""
        self._moves.append(GuardChange(at=self.now(), system=system, operation=operation, state=state, trace_id=trace_id))

    def read(self) -> tuple[GuardChange, ...]:
        return tuple(self._moves)


class Witness:
    """Gathers `Evidence`. What the books say is read on the event loop; counts are copied by whoever calls `counted`, in a thread."""

    def __init__(self, books: Books, recorder: Recorder, guards: GuardLog, now: Now) -> None:
        self._books, self._recorder, self.guards, self._now = books, recorder, guards, now
        self.estate = Estate()
        """Of whichever estate answers now."""
        self.history: Callable[[int, int], Awaitable[Rows]] | None = None
        """What was counted between two moments of long ago; None: it is not kept."""
        self._week: tuple[int, Rows | None] = (0, None)
        self._edges: tuple[float, DependencyMap, tuple[tuple[str, str], ...]] = (0.0, self.estate.map, ())

    async def beside(self) -> Evidence:
        """All but the counts."""
        now, estate = self._now(), self.estate
        return Evidence(
            now=now.timestamp(),
            coarse=_NOTHING,
            fine=_NOTHING,
            map=estate.map,
            feeds=tuple(sorted([*await self._feeds(now), *_stale(estate), *await self._lagging(now, estate)], key=_order)[:MOST]),
            changes=tuple(await self._changes(now, estate)),
            guards=self.guards.read(),
            week=await self._week_ago(now),
        )

    async def _week_ago(self, now: datetime) -> Rows | None:
        """These minutes a week ago, read once in five; nothing of it when an incident was open then."""
        at = int((now - WEEK).timestamp()) // WEEK_BIN * WEEK_BIN
        if self.history is not None and self._week[0] != at:
            begin, end = at - 2 * WEEK_BIN, at + 2 * WEEK_BIN
            known = await self._books.incidents.list(MOST, since=datetime.fromtimestamp(begin, UTC))
            wrong = len(known) == MOST or any(i.opened_at.timestamp() - 2 * WEEK_BIN < end for i in known)
            rows = None if wrong else await self.history(begin, end)
            self._week = (at, rows if rows is not None and rows.bin else None)
        return self._week[1]

    def counted(self, beside: Evidence) -> Evidence:
        """With the counts of this moment. Not for the event loop."""
        seen = self._recorder.seen(beside.now)
        lost = self._recorder.losses(beside.now - LOOK_BACK)
        unseen = (*lost.unseen, *(NotSeen(what=f"{name} server spans", why="not instrumented") for name in sorted(beside.map.systems)))
        edges = self._undeclared(beside, seen.coarse)
        return replace(beside, losses=Losses(seen=lost.seen, lost=lost.lost, unseen=unseen), edges=edges, **seen._asdict())

    def _undeclared(self, beside: Evidence, rows: Rows) -> tuple[tuple[str, str], ...]:
        at, known, edges = self._edges
        if known is not beside.map or not at <= beside.now < at + EDGES_EVERY:
            from observability.rootcause.online.edges import undeclared  # the arithmetic is loaded where it is first needed

            edges = undeclared(rows, beside.map)
            self._edges = (beside.now, beside.map, edges)
        return edges

    # ---- feeds

    async def _feeds(self, now: datetime) -> list[FeedTrouble]:
        opened = await self._books.findings.list(MOST, state="open")
        noted = [f for f in await self._books.findings.list(100, state="noted") if f.changed_at and now - f.changed_at < NOTED_FOR]
        found = [t for f in (*opened, *noted) if (t := _trouble(f, now)) is not None]
        files = await self._books.files.list(100, since=now - NOTED_FOR)
        for file in files:
            system, _, operation = file.feed.partition(".")
            aside = file.quarantined - file.decided
            if file.state == "refused" and file.given_up is None:
                what, detail = "refused", f"{file.name}: {file.reason}"
            elif aside >= max(FEWEST_ASIDE, SHARE_ASIDE * file.position):
                what, detail = "quarantined", f"{aside} of {file.position} transactions of {file.name} are set aside"
            else:
                continue
            found.append(
                FeedTrouble(
                    system=system,
                    operation=operation,
                    store=file.store,
                    what=what,  # type: ignore[arg-type]  # one of the two
                    since=file.finished_at or file.first_seen,
                    detail=detail[:300],
                )
            )
        return found

    async def _lagging(self, now: datetime, estate: Estate) -> list[FeedTrouble]:
        found = []
        since = await self._books.outbox.waiting_since()
        if since is not None and now - since > LAGGING_AFTER:
            depth = await self._books.outbox.depth()
            to = estate.published or "subscribers"
            found.append(
                FeedTrouble(
                    system=EVENTS,
                    operation=to,
                    what="lagging",
                    since=since,
                    detail=f"{depth} events wait, the oldest since {since:%H:%M:%S}",
                )
            )
        for name, state in (await self._books.webhooks.states()).items():
            if lag := _behind(state, now):
                found.append(
                    FeedTrouble(
                        system=WEBHOOKS,
                        operation=name,
                        what="lagging",
                        since=lag,
                        detail=f"{state.waiting} events wait: {state.error}"[:300],
                    )
                )
        return found

    # ---- changes

    async def _changes(self, now: datetime, estate: Estate) -> list[Change]:
        """In the order of time. What people and reloads changed stands in the audit log, whichever process did it."""
        changes = _once(c for e in await self._entries(now - CHANGES_FOR) if (c := _change(e)) is not None)
        drifts = (
            Change(
                at=d.first_seen,
                what=f"{w.system} {w.operation} answers something new: {d.kind} {d.path}{f' = {d.value}' if d.value else ''}"[:200],
                kind="adapter",
                scope={"system": w.system, "operation": w.operation},
            )
            for w in estate.operations
            for d in w.drift()
            if now - d.first_seen < CHANGES_FOR
        )
        planned = estate.planned(now - CHANGES_FOR, now)
        return sorted([*changes, *drifts, *planned], key=lambda c: (c.at, c.what))[-MOST:]

    async def _entries(self, since: datetime) -> list[AuditEntry]:
        """The newest, in pages; every gateway writes down each change of a reload."""
        found: list[AuditEntry] = []
        before: tuple[datetime, str] | None = None
        for _ in range(PAGES):
            page = await self._books.audit.list(MOST, since=since, before=before)
            found += page
            if len(page) < MOST:
                break
            before = page[-1].at, page[-1].id
        return found


def _once(changes: Iterable[Change]) -> list[Change]:
    """What several gateways say of the same reload is one change, made when the first of them did."""
    found: dict[tuple[str, str], Change] = {}
    said: list[Change] = []
    for change in sorted(changes, key=lambda c: c.at):
        known = found.get((change.kind, change.what))
        if known is None or change.at - known.at > SAME_RELOAD:
            found[change.kind, change.what] = change
            said.append(change)
    return said


def _order(trouble: FeedTrouble) -> tuple[datetime, str, str, str, str]:
    return trouble.since, trouble.system, trouble.operation, trouble.store, trouble.what


def _trouble(finding: Finding, now: datetime) -> FeedTrouble | None:
    kind: FindingKind = finding.kind
    if kind not in _TROUBLE:
        return None
    system, _, operation = finding.feed.partition(".")
    return FeedTrouble(
        system=system,
        operation=operation,
        store=finding.store,
        what=_TROUBLE[kind],  # type: ignore[arg-type]  # the table's words are the model's
        since=finding.opened_at or now,
        detail=finding.detail[:300],
    )


def _stale(estate: Estate) -> Iterable[FeedTrouble]:
    for watched in estate.operations:
        for f in watched.frozen():
            detail = f"{f.answers} answers in a row are as of {f.as_of:%H:%M:%S}; it used to move on every {f.usual.total_seconds():.3g} s"
            yield FeedTrouble(system=watched.system, operation=watched.operation, store=f.store, what="stale", since=f.as_of, detail=detail)


def _behind(state: WebhookState, now: datetime) -> datetime | None:
    """Since when a receiver takes nothing although something waits for it."""
    if not state.waiting or not state.failures:
        return None
    since = state.delivered_at or now - LAGGING_AFTER
    return since if now - since >= LAGGING_AFTER else None


def _change(entry: AuditEntry) -> Change | None:
    what, detail = entry.what, entry.detail
    if what == RELEASED:
        return Change(at=entry.at, what=f"release {entry.subject}", kind="release")
    if what == CHANGED:
        scope = {k: v for k, v in detail.items() if k in ("system", "operation", "api_version", "channel", "store")}
        return Change(at=entry.at, what=entry.subject, kind=detail.get("kind", "estate"), scope=scope)  # type: ignore[arg-type]  # written by `changed`
    if what.startswith(("client.", "key.", "webhook.")):
        return Change(at=entry.at, what=f"{what} {entry.subject}"[:200], kind="client", scope={"client": entry.subject})
    return None

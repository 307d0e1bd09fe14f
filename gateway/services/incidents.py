"""Incidents from the first look to the last word: who is named, since when it is the same one, when it is over, and who is told."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic, perf_counter
from typing import Final, Literal, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from contracts.books import AuditEntry, Books, IncidentRecord, Label, Said, StoredTrace
from contracts.books.incidents import LEASE, MOST_TRACE_BYTES
from contracts.canonical.base import Instant, Noun
from contracts.canonical.incident import IncidentNotice, IncidentState, IncidentVerdict, Suspect
from contracts.errors import InvalidParameter, Overloaded, StateConflict, TillgateError
from gateway.services.clock import Now
from gateway.services.evidence import Witness
from gateway.services.trail import entry_of, tell
from observability import Recorder, get_logger
from observability.aside import give_way
from observability.dependencies import Seen
from observability.ring import Ring
from observability.rings import COARSE
from observability.rootcause.model import CLIENT, COUNTERS, Culprit, DependencyMap, Evidence, Incident, Onset
from observability.spans import Span

log = get_logger(__name__)
T = TypeVar("T")

ROUND: Final = 10.0
LEASE_S: Final = 35.0
SAME_ONSET: Final = timedelta(minutes=2)
"""Two onsets so close may be one."""
AGAIN: Final = timedelta(minutes=10)
"""What was over for less than that and comes back is the same incident."""
QUIET: Final = 3
"""Looks in a row that find nothing more of it, before it is over."""
SILENT: Final = timedelta(minutes=10)
"""Nobody has asked what it is put down to for so long: it is over as far as anybody can tell."""
GOOD_SHARE: Final = 0.05
"""At most so many of its last calls are bad when it is over."""
LAST_S: Final = 600
"""How far back the end of an incident is looked for."""
MOST_ASKED: Final = 8
"""Windows that are asked about at the same time."""
MOST_OPEN: Final = 100
MOST_SUSPECTED: Final = 200
TRACES_A_ROUND: Final = 8
LONGEST_EXPLAINED: Final = timedelta(minutes=60)
EXPLAINED_FOR: Final = timedelta(minutes=90)


class Engine(Protocol):
    """Deterministic: the same evidence in the same order, the same answers."""

    def look(self, evidence: Evidence) -> list[Incident]:
        """What is going on (`open`), and what was over lately (`recovered`); without ids."""
        ...

    def explain(self, evidence: Evidence, begin: float, end: float | None = None) -> Incident:
        """Of a window in seconds since 1970, whether or not anything was wrong in it."""
        ...


# ---- what is shown


class Watch(Noun, frozen=True, kw_only=True):
    """What a gateway watches, whether or not it finds anything."""

    since: Instant
    """When this process began to look."""
    looked_at: Instant | None = None
    looks: int = 0
    took_ms: float = 0.0
    """The last look, in a thread of its own."""
    decides: bool = False
    """Whether this process is the one that writes incidents down."""
    flights: int = 0
    """Requests, files, messages and processes that it has counted since it began."""
    systems: tuple[str, ...] = ()
    operations: int = 0
    routes: int = 0
    channels: tuple[str, ...] = ()
    trouble: str | None = None
    """Why the last look failed."""


class IncidentView(Noun, frozen=True, kw_only=True):
    """`incident` is the published form, schema tillgate.incident/1."""

    id: str
    state: IncidentState
    verdict: IncidentVerdict
    opened_at: Instant
    changed_at: Instant
    ended_at: Instant | None = None
    into: str | None = None
    revision: int
    incident: Incident


class Incidents(Noun, frozen=True, kw_only=True):
    """Newest first."""

    items: tuple[IncidentView, ...]
    watch: Watch | None = None
    """Of the gateway that answers."""


class TraceRef(Noun, frozen=True, kw_only=True):
    trace_id: str
    role: Literal["bad", "twin"]
    stored_at: Instant


class IncidentDetail(Noun, frozen=True, kw_only=True):
    view: IncidentView
    history: tuple[Said, ...] = ()
    labels: tuple[Label, ...] = ()
    traces: tuple[TraceRef, ...] = ()
    """Kept with the incident, longer than other traces are."""


class Window(Noun, frozen=True, kw_only=True):
    """What was seen in a span of time; not an incident, so it has no id."""

    incident: Incident


class EstateMap(Noun, frozen=True, kw_only=True):
    """The dependencies as a gateway serves them."""

    declared: DependencyMap
    seen: Seen | None = None
    """By the flights that it kept, if that was asked for."""


def require_window(begin: datetime, end: datetime | None, now: datetime) -> None:
    """Raises InvalidParameter for one that is not remembered by the second any more."""
    if begin >= (end or now) or (end or now) - begin > LONGEST_EXPLAINED or now - begin > EXPLAINED_FOR:
        expected = "a window of at most 60 minutes that began within the last 90"
        raise InvalidParameter(where="query:begin", expected=expected, got=f"{begin.isoformat()} to {end.isoformat() if end else 'now'}")


def view(record: IncidentRecord) -> IncidentView:
    return IncidentView(
        id=record.id,
        state=record.state,
        verdict=record.verdict,
        opened_at=record.opened_at,
        changed_at=record.changed_at,
        ended_at=record.ended_at,
        into=record.into or None,
        revision=record.revision,
        incident=_published(record),
    )


def _published(record: IncidentRecord) -> Incident:
    """As it was written; of one in a form of another release, what the book itself knows."""
    try:
        return msgspec.json.decode(record.body, type=Incident)
    except msgspec.DecodeError:
        return Incident(
            id=record.id,
            state="open" if record.state == "open" else "recovered",
            verdict=record.verdict,
            confidence=0.0,
            sentence=f"{', '.join(record.subjects) or 'Something'}: written by another release, which can tell it",
            onset=Onset(at=record.opened_at, low=record.opened_at, high=record.opened_at),
            detected_at=record.opened_at,
            answered_at=record.opened_at,
            recovered_at=record.ended_at or msgspec.UNSET,
        )


async def detail(books: Books, id: str) -> IncidentDetail:
    """Raises NotFound."""
    record = await books.incidents.get(id)
    traces = await books.incidents.traces(id)
    return IncidentDetail(
        view=view(record),
        history=tuple(await books.incidents.history(id)),
        labels=tuple(await books.incidents.labels(id)),
        traces=tuple(TraceRef(trace_id=t.trace_id, role=t.role, stored_at=t.stored_at) for t in traces),
    )


async def evidence_trace(books: Books, trace_id: str) -> list[Span] | None:
    """Of a trace that is kept with an incident."""
    stored = await books.incidents.trace(trace_id)
    return msgspec.json.decode(zlib.decompressobj().decompress(stored.body, 16 << 20), type=list[Span]) if stored else None


async def label(books: Books, id: str, said: Label, now: Now) -> None:
    """Raises NotFound."""
    entry: AuditEntry = entry_of(now, said.by, "incident.labelled", id, {"right": said.right, "culprit": said.culprit})
    await books.incidents.label(id, said, [entry])
    tell(entry)


# ---- the life


@dataclass(frozen=True)
class _Known:
    """An incident as it is written, and as it was published last."""

    record: IncidentRecord
    said: Incident


class Detective:
    """Looks every ten seconds. Of several gateways with one store the holder of a lease decides; the others keep what it suspects."""

    def __init__(
        self,
        books: Books,
        witness: Witness,
        engine: Callable[[], Engine],
        recorder: Recorder,
        ring: Ring,
        owner: str,
        now: Now,
        *,
        keep: timedelta,
        keep_evidence: timedelta,
        every: float = ROUND,
    ) -> None:
        """`engine` is called in the thread, at the first look. `keep`: incidents that are over, `keep_evidence`: their traces."""
        self._books, self.witness, self._make, self._recorder, self._ring = books, witness, engine, recorder, ring
        self._owner, self._now, self._every = owner, now, every
        self._kept, self._purge_at = (keep, keep_evidence), 0.0
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, "root-cause", give_way)
        self._asked = ThreadPoolExecutor(1, "explain", give_way)  # so that no look waits behind questions
        self._asking = 0
        self._quiet: dict[str, int] = {}
        self._tried: dict[str, float] = {}
        self._began = now()
        self.watch = Watch(since=self._began)

    async def run(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                began = monotonic()
                await self.round()
                try:
                    async with asyncio.timeout(max(0.5, self._every - (monotonic() - began))):
                        await stop.wait()
                except TimeoutError:
                    continue
        finally:
            await self._books.leases.release(LEASE, self._owner)

    def close(self) -> None:
        for thread in (self._thread, self._asked):
            thread.shutdown(wait=False, cancel_futures=True)

    async def round(self) -> list[IncidentRecord]:
        """One look. Returns the incidents that are open after it."""
        now, began = self._now(), perf_counter()
        decides = await self._books.leases.acquire(LEASE, self._owner, now, LEASE_S)
        trouble = None
        try:
            if decides:
                beside = await self.witness.beside()
                found, evidence = await self._in_thread(lambda: self._look(beside))
                await self._decide(found, evidence, now)
                await self._purge(now)
        except StateConflict as error:  # somebody else took over; the next look reads what they wrote
            log.info("incident was written by another process", reason=str(error))
            decides = False
        except TillgateError:
            raise
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"[:300]
            log.exception("look for incidents failed")
        open_ = await self._books.incidents.list(MOST_OPEN, state="open")
        known = self._read(open_)
        self._suspect(known)
        await self._keep(known)
        self._told(decides, trouble, perf_counter() - began)
        return list(open_)

    async def explain(self, begin: datetime, end: datetime | None) -> Incident:
        """Of a window that was no incident. Raises InvalidParameter, and Overloaded while too many are being answered."""
        require_window(begin, end, self._now())
        if self._asking >= MOST_ASKED:
            raise Overloaded(policy="explanations", retry_after=2.0)
        self._asking += 1
        try:
            beside = await self.witness.beside()

            def look() -> Incident:
                from observability.rootcause.timeline import with_timeline  # the arithmetic is loaded where it is first needed

                evidence = self.witness.counted(beside)
                return with_timeline(self._make().explain(evidence, begin.timestamp(), end.timestamp() if end else None), evidence)

            return await asyncio.get_running_loop().run_in_executor(self._asked, look)
        finally:
            self._asking -= 1

    async def seen(self, since: datetime) -> Seen:
        """Who reached whom, as far as flights are kept."""
        return await self._ring.edges(since)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _look(self, beside: Evidence) -> tuple[list[Incident], Evidence]:
        from observability.rootcause.timeline import with_timeline

        self._engine = self._engine or self._make()
        evidence = self.witness.counted(beside)
        return [with_timeline(_reached(evidence, i), evidence) for i in self._engine.look(evidence)], evidence

    async def _decide(self, found: Sequence[Incident], evidence: Evidence, now: datetime) -> None:
        records = await self._books.incidents.list(MOST_OPEN, since=now - AGAIN)
        known = self._read(r for r in reversed(records) if r.state != "merged")
        seen: set[str] = set()
        for incident in found:
            if incident.verdict == "none":
                continue
            same = [k for k in known if k.record.id not in seen and _same(incident, k)]
            first = next((k for k in same if k.record.state == "open"), same[0] if same else None)
            if first is None:
                opened = await self._open(incident, now)
                seen.add(opened.id)
            elif incident.state == "open" or first.record.state == "open":
                others = [k for k in same if k is not first and k.record.state == "open"]
                await self._update(first, incident, others, now)
                seen |= {first.record.id, *(k.record.id for k in others)}
            else:
                seen.add(first.record.id)
        for k in known:
            if k.record.state == "open" and k.record.id not in seen:
                await self._missed(k, evidence, now)
            else:
                self._quiet.pop(k.record.id, None)

    def _read(self, records: Iterable[IncidentRecord]) -> list[_Known]:
        """One that another release wrote in a form that is not known here stays as it is, and keeps no look from the others."""
        found = []
        for record in records:
            try:
                found.append(_Known(record, msgspec.json.decode(record.body, type=Incident)))
            except msgspec.DecodeError as error:
                log.warning("incident cannot be read", id=record.id, reason=str(error))
        return found

    async def _open(self, incident: Incident, now: datetime) -> IncidentRecord:
        day = f"{now.astimezone(UTC):%Y%m%d}"
        number = f"INC-{day}-{await self._books.incidents.number(day):04d}"
        said = replace(incident, id=number, state="open", recovered_at=msgspec.UNSET)
        record = IncidentRecord(
            id=number,
            state="open",
            verdict=said.verdict,
            opened_at=now,
            changed_at=now,
            subjects=_subjects(said),
            body=msgspec.json.encode(said),
        )
        saved = await self._save(record, said, now, news=True)
        if incident.state == "recovered":
            saved = await self._end(_Known(saved, said), incident.recovered_at or now, now)
        return saved

    async def _update(self, known: _Known, incident: Incident, others: Sequence[_Known], now: datetime) -> None:
        record, before = known.record, known.said
        said = replace(
            incident,
            id=record.id,
            detected_at=min(before.detected_at, incident.detected_at),
            answered_at=before.answered_at if _named(before) == _named(incident) else incident.answered_at,
            merged=tuple(dict.fromkeys((*before.merged, *(k.record.id for k in others)))),
        )
        if incident.state == "recovered":
            await self._end(_Known(record, said), incident.recovered_at or now, now)
        else:
            news = record.state != "open" or _news(said) != _news(before)
            changed = replace(record, state="open", ended_at=None, verdict=said.verdict, subjects=_subjects(said))
            await self._save(changed, said, now, news=news)
        for k in others:
            merged = replace(k.record, state="merged", ended_at=now, into=record.id)
            await self._save(merged, replace(k.said, state="recovered", recovered_at=now), now, news=True)

    async def _missed(self, known: _Known, evidence: Evidence, now: datetime) -> None:
        """The engine says nothing more of it. That it is over has to show in what it was put down to: whoever has just started knows no
        better days, and holds bad ones for usual.
        """
        calls, bad, last = await self._in_thread(lambda: _lately(evidence, known.said))
        troubled = {(f.system, f.operation) for f in evidence.feeds}
        if any((c.system, c.operation) in troubled for c in known.said.culprits) or bad > max(1, calls * GOOD_SHARE):
            self._quiet.pop(known.record.id, None)
            return
        if not calls and not _by_feed(known.said) and now - known.record.changed_at < SILENT:
            return
        quiet = self._quiet[known.record.id] = self._quiet.get(known.record.id, 0) + 1
        if quiet >= QUIET:
            self._quiet.pop(known.record.id, None)
            seen = datetime.fromtimestamp(last, UTC) if last else now - timedelta(seconds=self._every * (QUIET - 1))
            await self._end(known, min(now, max(seen, known.said.onset.at)), now)

    async def _end(self, known: _Known, at: datetime, now: datetime) -> IncidentRecord:
        said = replace(known.said, state="recovered", recovered_at=at)
        record = replace(known.record, state="recovered", ended_at=at, verdict=said.verdict, subjects=_subjects(said))
        return await self._save(record, said, now, news=True)

    async def _save(self, record: IncidentRecord, said: Incident, now: datetime, *, news: bool) -> IncidentRecord:
        """`news`: a line of history and an event; else the figures alone."""
        if record.version and news:
            record = replace(record, revision=record.revision + 1, changed_at=now)
        record = replace(record, body=msgspec.json.encode(said))
        line = Said(
            at=now,
            revision=record.revision,
            state=record.state,
            verdict=record.verdict,
            confidence=said.confidence,
            sentence=said.sentence,
        )
        saved = await self._books.incidents.save(record, line if news else None, notice(record, said) if news else None, self._owner, now)
        if news:
            log.info("incident", id=saved.id, state=saved.state, verdict=saved.verdict, sentence=said.sentence)
        return saved

    async def _purge(self, now: datetime) -> None:
        if monotonic() >= self._purge_at:
            self._purge_at = monotonic() + 3600
            keep, evidence = self._kept
            await self._books.incidents.purge(now - keep, now - evidence)

    def _suspect(self, known: Sequence[_Known]) -> None:
        """What is kept whole from now on."""
        pairs: dict[tuple[str, str], None] = {}
        for k in known:
            pairs |= {(c.system, c.operation): None for c in k.said.culprits if c.system and c.operation}
            hit = k.said.impact.hit
            pairs |= {(channel, route): None for channel in hit.get("channel", ()) for route in hit.get("route", ())}
        self._recorder.suspected = frozenset(list(pairs)[:MOST_SUSPECTED])

    async def _keep(self, known: Sequence[_Known]) -> None:
        """Copies what the ring of this process has of their traces; what it has not is another's, and asked for again only later."""
        left, again = TRACES_A_ROUND, monotonic() - 60
        self._tried = {t: at for t, at in self._tried.items() if at > again}
        for k in known:
            roles: dict[str, Literal["bad", "twin"]] = {}
            for c in k.said.culprits:
                roles |= dict.fromkeys(c.bad_traces, "bad")
                if c.twin:
                    roles[c.twin] = "twin"
            lacking = [t for t in await self._books.incidents.lacking(k.record.id, [*roles]) if t not in self._tried][:left]
            found = []
            for trace in lacking:
                self._tried[trace] = monotonic()
                if spans := await self._ring.trace(trace):
                    body = await self._in_thread(lambda spans=spans: zlib.compress(msgspec.json.encode(spans), 6))  # type: ignore[misc]  # mypy cannot infer a default
                    if len(body) <= MOST_TRACE_BYTES:
                        found.append(StoredTrace(trace_id=trace, role=roles[trace], stored_at=self._now(), body=body))
            await self._books.incidents.attach(k.record.id, found)
            left -= len(lacking)
            if left <= 0:
                return

    def _told(self, decides: bool, trouble: str | None, seconds: float) -> None:
        map_ = self.witness.estate.map
        self.watch = Watch(
            since=self._began,
            looked_at=self._now(),
            looks=self.watch.looks + 1,
            took_ms=round(seconds * 1000, 1),
            decides=decides,
            flights=self._recorder.keep.seen,
            systems=tuple(map_.systems),
            operations=len(map_.operations),
            routes=len(map_.routes),
            channels=map_.channels,
            trouble=trouble,
        )


def notice(record: IncidentRecord, said: Incident) -> IncidentNotice:
    """What receivers of events are told."""
    impact = said.impact
    return IncidentNotice(
        id=record.id,
        state=record.state,
        verdict=record.verdict,
        confidence=min(1.0, max(0.0, said.confidence)),
        sentence=said.sentence,
        since=said.onset.at,
        detected_at=said.detected_at,
        recovered_at=(said.recovered_at or None) if record.state == "recovered" else None,
        merged_into=record.into or None,
        suspects=tuple(_suspect_of(c) for c in said.culprits),
        channels=_hardest(impact.hit.get("channel", {})),
        routes=_hardest(impact.hit.get("route", {})),
        requests=impact.requests,
        failed=impact.failed,
        late=impact.late,
        orders=impact.orders,
    )


def _suspect_of(c: Culprit) -> Suspect:
    stores = dict.fromkeys(s for part in c.scope for s in part.get("store", ()))
    return Suspect(
        kind=c.kind,
        system=c.system,
        operation=c.operation or None,
        failure=c.failure,
        stores=tuple(stores),
        owner=c.owner or None,
        contact=c.contact or None,
    )


def _hardest(hit: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted(hit, key=lambda name: (-hit[name], name))[:50])


def _named(said: Incident) -> frozenset[tuple[str, str]]:
    return frozenset((c.system, c.operation) for c in said.culprits if c.kind != "unknown")


def _subjects(said: Incident) -> tuple[str, ...]:
    return tuple(f"{system}.{operation}" if operation else system for system, operation in sorted(_named(said)))


def _by_feed(said: Incident) -> bool:
    return any(c.kind in ("feed", "data_quality") for c in said.culprits)


def _news(said: Incident) -> tuple[object, ...]:
    """What makes another word of it: figures alone do not."""
    culprits = frozenset((c.kind, c.system, c.operation, c.failure) for c in said.culprits)
    return said.state, said.verdict, culprits, frozenset(said.impact.hit.get("channel", ()))


def _same(incident: Incident, known: _Known) -> bool:
    """Whether what is seen now is what is written there."""
    before, record = known.said, known.record
    close = abs(incident.onset.at - before.onset.at) <= SAME_ONSET
    if record.state == "recovered":
        over = record.ended_at or record.changed_at
        if incident.state == "recovered":
            return close or incident.onset.at <= over
        if incident.onset.at <= over:
            return close or _akin(_named(incident), _named(before))
        return bool(_named(before)) and _akin(_named(incident), _named(before))
    named, said = _named(incident), _named(before)
    if named and said:
        return _akin(named, said)
    return close or incident.onset.at <= known.record.changed_at


def _akin(one: Iterable[tuple[str, str]], other: Iterable[tuple[str, str]]) -> bool:
    """They name the same operation, or a system and an operation of it."""
    right = set(other)
    return any((s, o) in right or (s, "") in right or (not o and any(s == system for system, _ in right)) for s, o in one)


def _reached(evidence: Evidence, said: Incident) -> Incident:
    """Of stock that stands still: who was told it. None of their requests failed, so that no count says it."""
    stale = {(c.system, c.operation) for c in said.culprits if c.failure == "stale"}
    if not stale or said.impact.hit.get("channel"):
        return said
    rows, since = evidence.coarse, said.onset.at.timestamp()
    met: dict[int, int] = {}
    for row in range(len(rows.bin)):
        where = rows.keys[rows.key[row]]
        if rows.bin[row] >= since and (where.system, where.operation) in stale:
            met[rows.key[row]] = met.get(rows.key[row], 0) + rows.counters[_N][row]
    hit: dict[str, dict[str, int]] = {}
    for key, n in met.items():
        for attribute in ("channel", "route", "api_version", "store"):
            if value := getattr(rows.keys[key], attribute):
                of = hit.setdefault(attribute, {})
                of[value] = of.get(value, 0) + n
    hit = {attribute: {v: n for v, n in values.items() if n} for attribute, values in hit.items()}
    return replace(said, impact=replace(said.impact, requests=sum(met.values()), hit={**said.impact.hit, **hit}, of=hit))


_N: Final = COUNTERS.index("n")
_CALLER: Final = COUNTERS.index("caller")
_LATE: Final = COUNTERS.index("late")


def _lately(evidence: Evidence, said: Incident) -> tuple[int, int, float]:
    """Of the last minute: requests that met what it was put down to (else those of the routes that were hit), and how many were bad; and
    when the last bin ended in which more were than is good, or 0.
    """
    named = _named(said)
    clients = any(system == CLIENT for system, _ in named)
    routes = set(said.impact.hit.get("route", ()))
    rows = evidence.coarse
    met = [_akin([(where.system, where.operation)], named) if named else not where.system and where.route in routes for where in rows.keys]
    calls, bad = Counter[int](), Counter[int]()
    bad_columns = [rows.counters[n] for n, name in enumerate(COUNTERS) if (n == _CALLER if clients else _N < n <= _LATE and n != _CALLER)]
    for row in range(len(rows.bin) - 1, -1, -1):
        begin = rows.bin[row]
        if begin >= evidence.now - LAST_S and met[rows.key[row]]:
            calls[begin] += rows.counters[_N][row]
            bad[begin] += sum(column[row] for column in bad_columns)
    lately = [begin for begin in calls if begin >= evidence.now - 60]
    last = max((begin + COARSE for begin, n in calls.items() if bad[begin] > max(1, n * GOOD_SHARE)), default=0)
    return sum(calls[b] for b in lately), sum(bad[b] for b in lately), float(last)

"""What operators are shown: the estate with the state of its guards, flights, files and open orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from contracts.books import Books, Label, Process
from gateway.services.clock import utc_now
from gateway.services.incidents import Detective, IncidentDetail, detail, evidence_trace, label, view
from observability import Recorder
from observability.cells import Cell, OperationKey
from observability.console.data import (
    DriftView,
    OperationView,
    ProcessView,
    Pulse,
    RouteView,
    StepView,
    SystemView,
    routes_of,
)
from observability.console.incident import CULPRITS, TRACES
from observability.dependencies import Seen
from observability.durations import Kind
from observability.ring import Ring
from observability.rootcause.model import DependencyMap, Incident
from observability.spans import FlightSummary, Span

if TYPE_CHECKING:
    from observability.rootcause.pulse import Counted

PULSE_S: Final = 5.0
OPEN_S: Final = 2.0
OPEN_SHOWN: Final = 20


@dataclass(frozen=True)
class GuardFacts:
    breaker: str
    failure_rate: float
    slow_rate: float
    opened_at: datetime | None
    opened_by: str
    in_flight: int
    limit: int
    waiting: int


class DriftFacts(Protocol):
    """Something in an answer that the contract does not know. `kind` is element, member, value or row."""

    kind: str
    path: str
    value: str
    count: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True)
class OperationFacts:
    """What stands in the estate about one operation, and what its guard says now (None for feeds)."""

    name: str
    provides: str
    mode: str
    objective: float
    guard: Callable[[], GuardFacts] | None
    drift: Callable[[], Sequence[DriftFacts]]


@dataclass(frozen=True)
class SystemFacts:
    id: str
    protocol: str
    owner: str
    criticality: str
    title: str
    note: str
    operations: tuple[OperationFacts, ...]


class Overview:
    def __init__(
        self,
        systems: Sequence[SystemFacts],
        books: Books,
        recorder: Recorder,
        ring: Ring,
        detective: Detective,
        notices: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`notices`: what an operator should know of the gateway itself."""
        self.detective = detective
        self.notices = notices
        self._systems = tuple(systems)
        self._books = books
        self._recorder = recorder
        self._ring = ring
        self._pulses: asyncio.Future[tuple[list[Pulse], list[Pulse]]] | None = None
        self._pulses_until = 0.0
        self._open: asyncio.Future[list[tuple[int, Incident]]] | None = None
        self._open_until = 0.0

    def systems(self) -> list[SystemView]:
        cells = self._recorder.snapshot().operations
        return [
            SystemView(
                id=s.id,
                protocol=s.protocol,
                owner=s.owner,
                criticality=s.criticality,
                title=s.title,
                note=s.note,
                operations=tuple(_operation(o, cells.get(OperationKey(s.id, o.name))) for o in s.operations),
            )
            for s in self._systems
        ]

    def drift(self) -> list[DriftView]:
        """Most frequent first."""
        found = [
            DriftView(
                operation=f"{s.id}.{o.name}",
                kind=d.kind,
                path=d.path,
                value=d.value,
                count=d.count,
                first_seen=d.first_seen,
                last_seen=d.last_seen,
            )
            for s in self._systems
            for o in s.operations
            for d in o.drift()
        ]
        return sorted(found, key=lambda d: -d.count)[:200]

    def routes(self) -> list[RouteView]:
        return routes_of(self._recorder.snapshot())

    @property
    def seen(self) -> int:
        return sum(cell.n for cell in self._recorder.snapshot().routes.values())

    @property
    def declared(self) -> DependencyMap:
        return self.detective.witness.estate.map

    async def pulses(self) -> tuple[list[Pulse], list[Pulse]]:
        """By channel and by system, over the last hour and all gateways; counted at most every few seconds, however many look."""
        if self._pulses is None or monotonic() > self._pulses_until:
            self._pulses_until = monotonic() + PULSE_S
            self._pulses = asyncio.ensure_future(asyncio.to_thread(self._counted))
        return await asyncio.shield(self._pulses)

    def _counted(self) -> tuple[list[Pulse], list[Pulse]]:
        from observability.rootcause.pulse import by_channel, by_system  # the arithmetic is loaded where it is first needed

        now = time()
        rows = self._recorder.seen(now, since=now - 3_660).coarse
        lasted = self._recorder.durations.lately()

        def shown(kind: Kind, counted: Sequence[Counted]) -> list[Pulse]:
            return [
                Pulse(**c._asdict(), p95_ms=cell.quantile(0.95) * 1000 if (cell := lasted.get((kind, c.name))) else 0.0) for c in counted
            ]

        return shown("channel", by_channel(rows, now)), shown("system", by_system(rows, now))

    async def open_incidents(self) -> tuple[Incident, ...]:
        """Newest first; read at most every few seconds, however many look."""
        if self._open is None or monotonic() > self._open_until:
            self._open_until = monotonic() + OPEN_S
            self._open = asyncio.ensure_future(self.incidents(OPEN_SHOWN, open_only=True))
        return tuple(incident for _, incident in await asyncio.shield(self._open))

    async def incidents(self, limit: int, *, open_only: bool = False, before: int | None = None) -> list[tuple[int, Incident]]:
        """Each with its place, newest first."""
        found = await self._books.incidents.list(limit, state="open" if open_only else None, before=before)
        return [(record.place, view(record).incident) for record in found]

    async def incident(self, id: str) -> IncidentDetail:
        """Raises NotFound."""
        return await detail(self._books, id)

    async def label(self, id: str, said: Label) -> None:
        """Raises NotFound."""
        await label(self._books, id, said, utc_now)

    async def traces(self, incident: Incident) -> dict[str, list[Span]]:
        """Those that show what it is put down to, as far as they are kept: with the incident, or still in the ring."""
        wanted = dict.fromkeys(t for c in incident.culprits[:CULPRITS] for t in (*c.bad_traces[:TRACES], c.twin) if t)
        found = {}
        for trace in wanted:
            if spans := await evidence_trace(self._books, trace) or await self._ring.trace(trace):
                found[trace] = spans
        return found

    async def edges(self, hours: float) -> Seen:
        return await self._ring.edges(utc_now() - timedelta(hours=hours))

    async def flights(self, limit: int, **chosen: Any) -> list[FlightSummary]:
        """`chosen`: as of `Ring.recent`; what is empty does not count."""
        return await self._ring.recent(limit, **{k: v for k, v in chosen.items() if v})

    async def flight(self, trace_id: str) -> list[Span] | None:
        return await self._ring.trace(trace_id)

    async def orders(self, limit: int = 200) -> list[ProcessView]:
        found = []
        for process in await self._books.orders.processes(("running", "waiting", "compensating", "manual"), limit):
            order = await self._books.orders.get(process.subject)
            found.append(_process(process, order.order_number if order else process.subject))
        return found


def _operation(facts: OperationFacts, cell: Cell | None) -> OperationView:
    guard = facts.guard() if facts.guard else None
    return OperationView(
        name=facts.name,
        provides=(facts.provides,),
        mode=facts.mode,  # type: ignore[arg-type]  # the estate's words are the page's words
        breaker=guard.breaker if guard else "",  # type: ignore[arg-type]  # likewise
        opened_by=guard.opened_by if guard else "",
        opened_at=guard.opened_at if guard else None,
        calls=cell.n if cell else 0,
        failure_rate=cell.failed / cell.n if cell and cell.n else 0.0,
        slow_rate=guard.slow_rate if guard else 0.0,
        p50_ms=cell.quantile(0.5) * 1000 if cell else 0.0,
        p95_ms=cell.quantile(0.95) * 1000 if cell else 0.0,
        objective_ms=facts.objective * 1000,
        in_flight=guard.in_flight if guard else 0,
        limit=guard.limit if guard else 0,
        waiting=guard.waiting if guard else 0,
        last_error=cell.last_error if cell else "",
        last_error_at=datetime.fromtimestamp(cell.last_error_at / 1e9, UTC) if cell and cell.last_error_at else None,
        last_error_trace=cell.last_trace if cell else "",
        drift=sum(d.count for d in facts.drift()),
    )


_STEP_STATES = {
    "prepared": "pending",
    "retry_scheduled": "pending",
    "sending": "running",
    "confirmed": "done",
    "in_doubt": "in_doubt",
    "failed": "failed",
    "skipped": "skipped",
    "manual": "failed",
    "conflict": "failed",
}


def _process(process: Process, number: str) -> ProcessView:
    doubtful = any(s.state == "in_doubt" for s in process.steps)
    return ProcessView(
        order_number=number,
        process_id=process.id,
        state="needs_person" if process.state == "manual" else "in_doubt" if doubtful else "open",
        channel=process.channel,
        since=process.created_at or process.due_at,
        next_try=process.due_at if process.state in ("waiting", "compensating") else None,
        steps=tuple(
            StepView(name=s.name, state=_STEP_STATES[s.state], attempts=s.attempts, at=s.at, detail=s.error)
            for s in process.steps
            if s.name != "announce_cancel"
        ),
        evidence=next((s.error for s in process.steps if s.state in ("in_doubt", "manual", "conflict") and s.error), ""),
        trace_id=process.traceparent[3:35],
    )

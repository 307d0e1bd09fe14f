"""What operators are shown: the estate with the state of its guards, flights, files and open orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from contracts.books import Books, Process
from observability import Recorder
from observability.cells import Cell, OperationKey
from observability.console.data import (
    DriftView,
    OperationView,
    ProcessView,
    RouteView,
    StepView,
    SystemView,
    routes_of,
)
from observability.ring import Ring
from observability.spans import FlightSummary, Span


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
        notices: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`notices`: what an operator should know of the gateway itself."""
        self.notices = notices
        self._systems = tuple(systems)
        self._books = books
        self._recorder = recorder
        self._ring = ring

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

    async def flights(self, limit: int, **chosen: str) -> list[FlightSummary]:
        return await self._ring.recent(limit, **{k: v for k, v in chosen.items() if v})  # type: ignore[arg-type]  # all filters are text

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

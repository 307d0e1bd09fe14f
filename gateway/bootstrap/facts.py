"""What operators are shown of a running estate: its systems, and gauges of this moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapters.drift import Drift
from adapters.guard import Guard, GuardState
from adapters.switchboard import Switchboard
from contracts.books import Books
from gateway import estate as estates
from gateway.api.admin import Controls
from gateway.bootstrap.checking import Checked
from gateway.edge.pressure import Pressure
from gateway.edge.quota import Quotas
from gateway.services.overview import GuardFacts, OperationFacts, SystemFacts
from observability import Recorder
from observability.metrics import Reading, exposition


def facts(checked: Checked, switchboard: Switchboard, feeds: Mapping[str, Drift]) -> list[SystemFacts]:
    estate = checked.estate
    wired = {f"{o.system}.{o.name}": o for o in switchboard.operations}

    def operation(full: str, declared: estates.Operation) -> OperationFacts:
        guard = wired[full].guard if full in wired else None
        return OperationFacts(
            name=full.partition(".")[2],
            provides=declared.provides,
            mode=declared.mode,
            objective=float(declared.policy.deadline),
            guard=(lambda: _guard_facts(guard)) if guard else None,
            drift=(wired[full].drift if full in wired else feeds.get(full) or Drift()).read,  # what is written cannot drift
        )

    return [
        SystemFacts(
            id=name,
            protocol=system.protocol,
            owner=system.owner,
            criticality=system.criticality,
            title=system.description,
            note=f"nightly batch {system.batch_window}" if system.batch_window else "",
            operations=tuple(operation(n, o) for n, o in estate.operation.items() if n.partition(".")[0] == name),
        )
        for name, system in estate.system.items()
    ]


def _guard_facts(guard: Guard) -> GuardFacts:
    state = guard.state()
    return GuardFacts(
        breaker=state.breaker,
        failure_rate=state.failure_rate,
        slow_rate=state.slow_rate,
        opened_at=state.opened_at,
        opened_by=state.opened_by,
        in_flight=state.in_flight,
        limit=state.limit,
        waiting=state.waiting,
    )


async def metrics(
    recorder: Recorder, switchboard: Switchboard, books: Books, controls: Controls, quotas: Quotas, pressure: Pressure, accept: str
) -> tuple[bytes, str]:
    """Counters of all flights, and the gauges of this moment; with the media type."""
    states = [o.guard.state() for o in switchboard.operations]
    gauges: list[tuple[str, str, Callable[[GuardState], float]]] = [
        (
            "tillgate_breaker_open",
            "1 while the circuit breaker is open, 0.5 half-open",
            lambda s: {"open": 1.0, "half_open": 0.5}.get(s.breaker, 0.0),
        ),
        ("tillgate_breaker_failure_rate", "Share of failed calls in the breaker's window", lambda s: s.failure_rate),
        ("tillgate_bulkhead_in_flight", "Calls under way", lambda s: s.in_flight),
        ("tillgate_bulkhead_waiting", "Calls that wait for a place", lambda s: s.waiting),
        ("tillgate_guard_refused", "Calls that the guard refused since start", lambda s: s.refused),
        ("tillgate_retry_tokens", "What is left of the system's retry budget", lambda s: s.retry_tokens),
    ]
    readings = [Reading(name, what, {"system": s.system, "operation": s.operation}, of(s)) for name, what, of in gauges for s in states]
    drifted = [
        Reading("tillgate_drift", "Observations that contracts do not know", {"system": o.system, "operation": o.name}, o.drift.total)
        for o in switchboard.operations
    ]
    outbox = Reading("tillgate_outbox_depth", "Events that are not delivered yet", {}, await books.outbox.depth())
    refused = controls.last_reload is not None and not controls.last_reload.applied
    estate = [
        Reading("tillgate_estate_generation", "Estates that have served since start", {}, controls.generation),
        Reading("tillgate_estate_refused", "1 while a changed estate has mistakes and the one before serves", {}, refused),
    ]
    recording = [
        Reading("tillgate_recording", "Exchanges of the recording that is under way", {"system": c.system}, c.taken)
        for c in controls.captures.running.values()
    ]
    counted = [Reading(*gauge) for gauge in quotas.gauges()]
    edge = [
        Reading("tillgate_edge_limit", "Requests that may be worked on at once, as adapted to this machine", {}, pressure.limit),
        Reading("tillgate_edge_busy", "Requests that are worked on", {}, pressure.busy),
        Reading("tillgate_edge_held", "Requests under way, with those that wait for a system", {}, pressure.held),
        Reading("tillgate_edge_waiting", "Requests that wait to be let in", {}, pressure.waiting),
        Reading("tillgate_edge_rest_seconds", "Rest between two less important requests", {}, pressure.rest),
        *(
            Reading("tillgate_edge_refused", "Requests that were shed since start", {"priority": priority.name.lower()}, times)
            for priority, times in pressure.refused.items()
        ),
    ]
    return exposition(recorder, [*edge, *counted, *readings, *drifted, outbox, *estate, *recording], accept)

"""A small estate with some trouble, for the pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contracts.errors import UpstreamTimeout
from observability import FlightRecord, Recorder, Step, step
from observability.console.data import (
    FileView,
    FlightFilter,
    OperationView,
    ProcessView,
    QuarantinedRecord,
    RouteView,
    StepView,
    SystemView,
)
from observability.console.pages import (
    render_error,
    render_file,
    render_files,
    render_flight,
    render_flights,
    render_orders,
    render_systems,
)
from observability.spans import spans_of, summary_of

NOW = datetime(2026, 3, 11, 10, 42, 31, tzinfo=UTC)


def record(text: str) -> FlightRecord:
    with Recorder().flight("request", f"GET /{text}", channel=text, api_version=text, store=text, client=text) as it:
        try:
            with step(Step.ATTEMPT, system=text, operation=text, attempt=2, rpc_method=text, host=text) as hop:
                hop.link("opened_by", "a" * 32, "b" * 16)
                raise UpstreamTimeout(system=text, operation=text, reason=text)
        except UpstreamTimeout:
            it.degraded(text)
    return it


def pages(text: str = "erp") -> dict[str, str]:
    """Every page, full and empty, with `text` wherever foreign text may stand."""
    it = record(text)
    operation = OperationView(
        name=text,
        provides=(text,),
        breaker="open",
        opened_by="a" * 32,
        calls=100,
        failure_rate=0.31,
        slow_rate=0.0004,
        p50_ms=82,
        p95_ms=2400,
        objective_ms=400,
        waiting=3,
        last_error=text,
        last_error_at=NOW - timedelta(seconds=12),
        last_error_trace="a" * 32,
        drift=2,
    )
    systems = [SystemView(id=text, protocol=text, owner=text, criticality=text, title=text, note=text, operations=(operation,))]
    routes = [RouteView(channel=text, route=text, api_version=text, calls=9, failed=1, late=1, degraded=1, p50_ms=1, p95_ms=2)]
    file = FileView(
        id=text, name=text, system=text, feed=text, store=text, received_at=NOW, state="partly_quarantined", quarantined=1, reason=text
    )
    record_ = QuarantinedRecord(line=88, field=text, expected=text, got=text, reason=text, key=text)
    process = ProcessView(
        order_number=text,
        process_id=text,
        state="in_doubt",
        since=NOW - timedelta(hours=3),
        next_try=NOW,
        steps=(StepView(name=text, system=text, state="in_doubt", attempts=2, at=NOW, detail=text),),
        evidence=text,
        trace_id="a" * 32,
    )
    chosen = FlightFilter(channel=text, route=text, system=text, outcome="bad")
    return {
        "systems": render_systems(systems, routes=routes, now=NOW),
        "systems-empty": render_systems([], now=NOW),
        "systems-idle": render_systems([SystemView(id="erp", protocol="soap")], now=NOW),
        "flights": render_flights([summary_of(it)], chosen=chosen, channels=[text], systems=[text], seen=9, kept=1, dropped=1, now=NOW),
        "flights-empty": render_flights([], now=NOW),
        "flights-none-match": render_flights([], chosen=chosen, now=NOW),
        "flight": render_flight(spans_of(it), now=NOW),
        "files": render_files([file], now=NOW),
        "files-empty": render_files([], now=NOW),
        "file": render_file(file, [record_], now=NOW),
        "file-clean": render_file(file, [], now=NOW),
        "orders": render_orders([process], now=NOW),
        "orders-empty": render_orders([], now=NOW),
        "error": render_error(404, text, text, trace_id="a" * 32, now=NOW),
    }

"""A small estate with some trouble, for the pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contracts.admin import ClientView, KeyView
from contracts.adoption import BrownOutView, ChangeView, ClientUseView, UseView, VersionsView, VersionView
from contracts.books import AuditEntry
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
    Viewer,
)
from observability.console.pages import (
    render_audit,
    render_client,
    render_clients,
    render_error,
    render_file,
    render_files,
    render_flight,
    render_flights,
    render_orders,
    render_systems,
    render_versions,
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
    viewer = Viewer(name=text, csrf="c" * 64, may_change=True)
    ends = NOW + timedelta(hours=20)
    keys = (
        KeyView(prefix=text, state="ending", created_at=NOW - timedelta(days=90), expires_at=ends, used_at=NOW - timedelta(minutes=3)),
        KeyView(prefix=text, state="ended", expires_at=NOW - timedelta(days=1)),
    )
    client = ClientView(
        name=text, channel=text, state="active", scopes=(text,), stores=(text,), quota=text, api_version=text, keys=(*keys, keys[0])
    )
    bare = ClientView(name=text, channel=text, state="suspended", scopes=(), quota=text, api_version=text)
    entries = [
        AuditEntry(id="a", at=NOW, actor=text, what="client.changed", subject=text, detail={text: f"{text} -> {text}"}, trace_id="a" * 32),
        AuditEntry(id="b", at=NOW, actor=text, what="denied", subject="", detail={"code": "unauthenticated"}, count=4711),
    ]
    use = UseView(client=text, route=text, field=text, change=text, times=4711, last_seen=NOW)
    speaker = ClientUseView(client=text, channel=text, pinned=text, suspended=True, requests=9, routes=(text,), last_seen=NOW, uses=(use,))
    old = VersionView(
        version=text,
        state="deprecated",
        summary=text,
        deprecated=NOW,
        sunset=NOW + timedelta(days=90),
        requests=10,
        clients=(speaker, ClientUseView(client=text, channel=text, requests=1, routes=(), last_seen=NOW)),
        pinned_unseen=(text,),
        changes=(ChangeView(name=text, version=text, sentence=text, clients=(text,)), ChangeView(name=text, version=text, sentence=text)),
        brown_outs=(BrownOutView(start=NOW, end=NOW + timedelta(minutes=15), announcement=text),),
    )
    versions = VersionsView(since=NOW.date(), items=(VersionView(version="2026-10-01", state="current", summary=text), old))
    return {
        "versions": render_versions(versions, now=NOW, viewer=viewer),
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
        "clients": render_clients([client, bare], now=NOW, viewer=viewer),
        "clients-empty": render_clients([], now=NOW, viewer=viewer),
        "client": render_client(client, entries, now=NOW, viewer=viewer),
        "client-suspended": render_client(bare, [], now=NOW, viewer=viewer),
        "client-reader": render_client(client, entries, now=NOW, viewer=Viewer(name=text, csrf="c" * 64)),
        "audit": render_audit(entries, client=text, older=text, now=NOW, viewer=viewer),
        "audit-empty": render_audit([], now=NOW, viewer=viewer),
        "audit-none-match": render_audit([], client=text, now=NOW, viewer=viewer),
        "error": render_error(404, text, text, trace_id="a" * 32, now=NOW),
    }

"""A small estate with some trouble, for the pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from msgspec.structs import replace

from contracts.admin import (
    ClientView,
    DecisionView,
    FileDetail,
    FileProgress,
    FileView,
    FindingView,
    KeyView,
    Preview,
    RecordCell,
    RecordDetail,
    RecordRow,
    RecordView,
    StockChange,
    ValueChange,
)
from contracts.adoption import BrownOutView, ChangeView, ClientUseView, UseView, VersionsView, VersionView
from contracts.books import AuditEntry
from contracts.errors import UpstreamTimeout
from observability import FlightRecord, Recorder, Step, step
from observability.console.data import (
    FileFilter,
    FlightFilter,
    OperationView,
    ProcessView,
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
    render_record,
    render_records,
    render_systems,
    render_versions,
)
from observability.spans import spans_of, summary_of
from tests.unit.observability.console import troubles

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
    """Every page of the console."""
    return dict(_pages(text))


@cache
def _pages(text: str) -> dict[str, str]:
    return _plain_pages(text) | troubles.pages("" if text == "erp" else text)


def _plain_pages(text: str) -> dict[str, str]:
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
        digest=text,
        name=text,
        feed=text,
        store=text,
        size=9,
        first_seen=NOW,
        status="partly",
        quarantined=2,
        open=1,
        reason=text,
        kept=text,
    )
    progress = FileProgress(share=0.42, rate=1234.5, owner=text, until=NOW + timedelta(seconds=9))
    read = replace(file, status="booking", progress=progress, quarantined=0, open=0, reason="")
    checked = replace(read, status="checking", progress=replace(progress, share=0.0, rate=0.0))
    refused = replace(file, status="refused", quarantined=0, open=0)
    decision = DecisionView(by=text, at=NOW, what="booked", reason=text, key=text)
    record_ = RecordView(
        id=17, version=1, digest=text, file=text, feed=text, store=text, position=3, line=88, field=text, expected=text, got=text,
        reason=text, status="open", at=NOW, revised=True,
    )  # fmt: skip
    decided = replace(record_, id=18, status="booked", decision=decision, key=text)
    finding = FindingView(kind=text, state="open", feed=text, detail=text, store=text, at=NOW)
    preview = Preview(
        outcome="books",
        told=text,
        key=text,
        cents=-123456,
        currency="EUR",
        stock=(StockChange(sku=text, change="-3"), StockChange(sku=text, change="2")),
        changes=(ValueChange(path=text, before=text, after=text), ValueChange(path=text, after=text), ValueChange(path=text, before=text)),
        found=(text,),
        missing=(text,),
    )
    rows = (RecordRow(record=text, cells=(RecordCell(name=text, value=text, says=text), RecordCell(name=text, value="", wrong=True))),)
    shown = RecordDetail(record=record_, text=f"{text}\n{text}", original=text, rows=rows, preview=preview)
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
    reader = Viewer(name=text, csrf="c" * 64)
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
        "files": render_files(
            [read, checked, file, refused, replace(file, status="done", store="")],
            chosen=FileFilter(feed=text),
            feeds=[text],
            findings=[finding],
            waiting=100,
            older=text,
            now=NOW,
            viewer=viewer,
        ),
        "files-empty": render_files([], now=NOW),
        "files-none-match": render_files([], chosen=FileFilter(store=text), now=NOW),
        "file": render_file(
            FileDetail(file=file, told=(text, text), advice=(text,), findings=(finding,), records=(record_, decided)),
            now=NOW,
            viewer=viewer,
        ),
        "file-clean": render_file(FileDetail(file=replace(file, status="done", open=0), told=(text,), advice=()), now=NOW),
        "file-read": render_file(FileDetail(file=read, told=(text,), advice=(text,)), now=NOW, viewer=viewer),
        "file-refused": render_file(FileDetail(file=refused, told=(text,), advice=(text,)), now=NOW, viewer=viewer),
        "file-reader": render_file(FileDetail(file=refused, told=(text,), advice=(text,)), now=NOW, viewer=reader),
        "records": render_records([record_, decided, replace(record_, conflict=True)], status="all", older="17", now=NOW, viewer=viewer),
        "records-empty": render_records([], now=NOW, viewer=viewer),
        "record": render_record(shown, now=NOW, viewer=viewer),
        "record-reader": render_record(replace(shown, masked=True, locked=text), now=NOW, viewer=reader),
        "record-refused": render_record(
            replace(shown, original="", preview=Preview(outcome="refused", told=text, field=text, expected=text, got=text)),
            now=NOW,
            viewer=viewer,
        ),
        "record-conflict": render_record(
            RecordDetail(record=replace(record_, conflict=True, key=text, line=0), text=text, preview=replace(preview, outcome="conflict")),
            now=NOW,
            viewer=viewer,
        ),
        "record-decided": render_record(RecordDetail(record=decided, text=text, locked=text), now=NOW, viewer=viewer),
        "orders": render_orders([process], now=NOW),
        "orders-empty": render_orders([], now=NOW),
        "clients": render_clients([client, bare], now=NOW, viewer=viewer),
        "clients-empty": render_clients([], now=NOW, viewer=viewer),
        "client": render_client(client, entries, now=NOW, viewer=viewer),
        "client-suspended": render_client(bare, [], now=NOW, viewer=viewer),
        "client-reader": render_client(client, entries, now=NOW, viewer=reader),
        "audit": render_audit(entries, client=text, older=text, now=NOW, viewer=viewer),
        "audit-empty": render_audit([], now=NOW, viewer=viewer),
        "audit-none-match": render_audit([], client=text, now=NOW, viewer=viewer),
        "error": render_error(404, text, text, trace_id="a" * 32, now=NOW),
    }

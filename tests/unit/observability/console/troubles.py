"""Incidents and maps, small, full and broken, for the pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from msgspec.structs import replace

from contracts.books import Label
from observability.console.data import MINUTES, Pulse, Viewer
from observability.console.pages import render_incident, render_incidents, render_map, render_overview
from observability.dependencies import Edge, Seen
from observability.rootcause.model import (
    CapabilityNode,
    CoincidentChange,
    Culprit,
    DependencyMap,
    Impact,
    Incident,
    NotSeen,
    Onset,
    OperationNode,
    RouteNode,
    SystemNode,
    Timeline,
    TimelineMark,
    TimelineRow,
    WhyNot,
)
from observability.spans import Span, SpanLink

NOW = datetime(2026, 3, 11, 10, 58, 31, tzinfo=UTC)
SIGNED_IN = Viewer(name="ops", csrf="c" * 43, may_change=True)
CHANNELS = ("web", "mobile", "store", "call_centre", "marketplace")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def onset(seconds: float = -980) -> Onset:
    return Onset(at=at(seconds), low=at(seconds - 8), high=at(seconds + 8))


def estate(systems: int = 8, operations: int = 30) -> DependencyMap:
    """So many systems with so many operations in all; the third depends on the first, and all is behind twelve routes."""
    names = ["erp", "oms", "pos", "crm", "wms", "pim", "pay", "tms", *(f"extra{i}" for i in range(systems))][:systems]
    verbs = [
        "GetStock",
        "GetPrices",
        "CreateSalesOrder",
        "FindSalesOrder",
        "GetMaterials",
        "ListMaterials",
        "GetPlants",
        "CancelSalesOrder",
    ]
    of = [f"{names[i % systems]}.{verbs[i // systems % 8]}{i // systems // 8 or ''}" for i in range(operations)]
    routes = [
        "GET /inventory",
        "GET /products",
        "GET /products/{sku}",
        "GET /prices",
        "GET /locations",
        "POST /reservations",
        "POST /orders",
        "GET /orders/{id}",
        "POST /orders/{id}/cancel",
        "GET /customers/{number}",
        "GET /sales",
        "order",
    ]
    return DependencyMap(
        systems={
            n: SystemNode(owner=f"{n}-it", contact="+49 30 5550 100", criticality="high", depends_on=("erp",) if n == "oms" else ())
            for n in names
        },
        operations={
            o: OperationNode(provides=f"c{i}", mode="file" if o.startswith("pos") else "sync", stale_s=60.0 * (i % 2))
            for i, o in enumerate(of)
        },
        capabilities={f"c{i}": CapabilityNode(operations=(o,)) for i, o in enumerate(of)},
        routes={r: RouteNode(capabilities=tuple(f"c{j}" for j in range(i, len(of), len(routes)))) for i, r in enumerate(routes)},
        channels=CHANNELS,
    )


def timeline(rows: int = 4, steps: int = 120, seed: int = 1) -> Timeline:
    dice = Random(seed)
    names = [("mobile", "GET /inventory"), ("web", "GET /inventory"), ("store", "POST /orders"), ("call_centre", "GET /orders/{id}")]
    made = []
    for number, (channel, route) in enumerate(names[:rows]):
        n = [dice.randint(80, 140) // (number + 1) for _ in range(steps)]
        bad = [int(x * (dice.uniform(0.2, 0.7) if i > steps * 0.4 else 0.004)) for i, x in enumerate(n)]
        made.append(TimelineRow(channel=channel, route=route, n=tuple(n), bad=tuple(bad)))
    marks = (
        TimelineMark(at=at(-1_230), kind="change", what="mapping erp/get_stock.answer 2026.3.1"),
        TimelineMark(at=at(-940), kind="breaker", what="breaker erp.GetStock open"),
        TimelineMark(at=at(-700), kind="breaker", what="breaker erp.GetStock half open"),
        TimelineMark(at=at(-400), kind="file", what="pos.tlog late, store 017"),
    )
    return Timeline(begin=at(-1_590), step_s=10 if steps > 60 else 60, rows=tuple(made), marks=marks)


def incident(text: str = "") -> Incident:
    """One culprit, hitting two channels. With `text` it stands wherever a name may."""
    t = text or None
    return Incident(
        id=t or "INC-20260311-0007",
        verdict="cause",
        confidence=0.93,
        sentence=t or "ERP GetStock slow since 10:42:10 (±8 s), 93 % sure",
        onset=onset(),
        detected_at=at(-956),
        answered_at=at(-955),
        culprits=(
            Culprit(
                rank=1,
                kind="operation",
                system=t or "erp",
                operation=t or "GetStock",
                failure="slow",
                score=0.82,
                coverage=0.94,
                lift=11.2,
                p=1e-12,
                onset=onset(),
                scope=({t or "store": (t or "017", "018")},),
                owner=t or "finance-it",
                contact=t or "+49 30 5550 100",
                bad_traces=("a" * 32, "b" * 32, "c" * 32),
                twin="d" * 32,
                detail=text,
                shared=text,
            ),
        ),
        why_not=(
            WhyNot(rank=2, kind="system", system=t or "oms", score=0.10, coverage=0.13, lift=1.9, reason="started_later", by_s=41),
            WhyNot(
                rank=3, kind="operation", system="erp", operation=t or "GetPrices", score=0.06, coverage=0.07, reason="explained_by", by=1
            ),
            WhyNot(rank=4, kind="gateway_part", system="gateway", operation="pool erp", score=0.04, coverage=0.3, reason="only_waiting"),
        ),
        impact=Impact(
            requests=6210,
            failed=412,
            late=1930,
            orders=57,
            hit={
                "channel": {t or "mobile": 1804, "web": 538},
                "route": {t or "GET /inventory": 2342},
                "api_version": {"2026-01": 2342},
                "store": {"017": 1290, "018": 1052},
            },
            of={
                "channel": {t or "mobile": 4000, "web": 2100},
                "route": {t or "GET /inventory": 6110},
                "api_version": {"2026-01": 6210},
                "store": {"017": 1400, "018": 1200},
            },
            at_risk={"route": (t or "POST /orders", "POST /reservations")},
        ),
        changes_before=(CoincidentChange(at=at(-1_230), what=t or "mapping 2026.3.1"),),
        not_seen=(NotSeen(what=t or "erp server spans", why=t or "not instrumented"), NotSeen(what="spans", dropped=120, of=48_211)),
        confidence_inputs={
            "coverage": 0.94,
            "margin": 0.88,
            "bad": 2342.0,
            "order_agrees": 1.0,
            "loss": 0.0025,
            "residual": 0.03,
            text or "x": 1.0,
        },
        timeline=_with(timeline(2), text) if text else timeline(2),
        undeclared=((t or "oms", t or "crm.FindCustomer"),),
    )


def _with(seen: Timeline, text: str) -> Timeline:
    rows = tuple(replace(row, channel=text, route=text) for row in seen.rows)
    return replace(seen, rows=rows, marks=tuple(replace(mark, what=text) for mark in seen.marks))


def full() -> Incident:
    """Four culprits of several kinds, and three hundred stores."""
    one = incident()
    first = one.culprits[0]
    stores = {f"{i:03d}": 40 + i % 37 for i in range(1, 301)}
    return replace(
        one,
        id="INC-20260311-0008",
        sentence="ERP down, OMS createOrder slow, POS tlog missing and mapping erp.GetPrices failing since 10:42:10 (±8 s), 84 % sure",
        confidence=0.84,
        culprits=(
            replace(first, kind="system", operation="", failure="down", coverage=0.51, scope=()),
            replace(
                first,
                rank=2,
                system="oms",
                operation="CreateSalesOrder",
                failure="slow",
                coverage=0.22,
                owner="oms-it",
                scope=({"channel": ("web", "mobile"), "store": tuple(list(stores)[:40])},),
            ),
            replace(
                first, rank=3, kind="feed", system="pos", operation="GetStock", failure="missing", coverage=0.12, bad_traces=(), twin=""
            ),
            replace(
                first,
                rank=4,
                kind="gateway_part",
                system="gateway",
                operation="mapping erp.GetPrices",
                failure="contract",
                coverage=0.08,
                owner="",
            ),
        ),
        impact=Impact(
            requests=48_211,
            failed=17_402,
            late=6_120,
            orders=812,
            hit={
                "channel": {c: 9_000 - 1_500 * i for i, c in enumerate(CHANNELS)},
                "route": {r: 9_000 - 700 * i for i, r in enumerate(list(estate().routes)[:9])},
                "api_version": {"2026-10-01": 12_000, "2026-03-01": 8_000},
                "store": stores,
            },
            of={
                "channel": {c: 9_900 - 1_500 * i for i, c in enumerate(CHANNELS)},
                "route": {r: 9_800 - 700 * i for i, r in enumerate(list(estate().routes)[:9])},
                "api_version": {"2026-10-01": 30_000, "2026-03-01": 18_000},
                "store": dict.fromkeys(stores, 160),
            },
            at_risk={"route": ("GET /sales", "order"), "channel": ("marketplace",)},
        ),
        timeline=timeline(4),
        merged=("INC-20260311-0005", "INC-20260311-0006"),
    )


def bare() -> Incident:
    """As little as there can be: over, without culprit, traces, figures."""
    return Incident(
        id="INC-20260311-0001",
        state="recovered",
        verdict="none",
        confidence=0.0,
        sentence="Something was slow from 10:42 to 10:49; nothing explains it",
        onset=onset(),
        detected_at=at(-956),
        answered_at=at(-955),
        recovered_at=at(-500),
    )


def trace(letter: str, slow: float, name: str = "erp") -> list[Span]:
    """A request with a retried call; `slow` is how long each attempt took, in milliseconds."""
    begin, ms = 1_773_225_000_000_000_000, 1_000_000
    trace_id = letter * 32
    end = begin + int((slow * 2 + 30) * ms)
    hop = {"service.peer.name": name, "tillgate.operation": "GetStock"}
    bad = {"tillgate.outcome": "failure", "error.type": "timeout.read"} if slow > 100 else {"tillgate.outcome": "success"}
    spans = [
        Span(
            trace_id=trace_id,
            span_id="1" * 16,
            name="GET /inventory",
            kind="SERVER",
            start=begin,
            end=end,
            attributes={"tillgate.step": "request", **bad},
        ),
        Span(trace_id=trace_id, span_id="2" * 16, parent_id="1" * 16, name="auth", start=begin + ms, end=begin + 3 * ms),
        Span(
            trace_id=trace_id,
            span_id="3" * 16,
            parent_id="1" * 16,
            name=f"call {name}.GetStock",
            start=begin + 4 * ms,
            end=end - 2 * ms,
            attributes={**hop, **bad},
        ),
        Span(
            trace_id=trace_id,
            span_id="4" * 16,
            parent_id="3" * 16,
            name="StockService/GetStock",
            kind="CLIENT",
            start=begin + 5 * ms,
            end=begin + int((5 + slow) * ms),
            attributes={**hop, **bad},
            links=(SpanLink(trace_id, "5" * 16, "opened_by"),),
        ),
    ]
    if slow > 100:
        spans.append(
            Span(
                trace_id=trace_id,
                span_id="6" * 16,
                parent_id="3" * 16,
                name="StockService/GetStock",
                kind="CLIENT",
                start=begin + int((10 + slow) * ms),
                end=begin + int((10 + 2 * slow) * ms),
                attributes={**hop, **bad, "http.request.resend_count": 1},
            )
        )
    return spans


TRACES = {"a" * 32: trace("a", 800), "b" * 32: trace("b", 1_200), "c" * 32: trace("c", 1_900), "d" * 32: trace("d", 60)}


def pulse(name: str, trouble: float, seed: int) -> Pulse:
    dice = Random(seed)
    n = tuple(dice.randint(400, 600) for _ in range(MINUTES))
    bad = tuple(int(x * (trouble if i > 44 else 0.003)) for i, x in enumerate(n))
    return Pulse(name=name, n=n, bad=bad, degraded=tuple(x // 9 * seed for x in n), p95_ms=dice.uniform(80, 900))


def pages(text: str = "") -> dict[str, str]:
    one, declared = incident(text), estate()
    names = [text] * 2 if text else ["mobile", "web", "store", "call_centre", "marketplace"]
    if text:
        declared = replace(
            declared,
            channels=(text,),
            systems={**declared.systems, text: SystemNode(owner=text, contact=text)},
            operations={**declared.operations, f"{text}.{text}": OperationNode(provides="c0")},
            routes={text: RouteNode(capabilities=("c0",)), **declared.routes},
        )
    label = Label(at=at(-60), by=text or "ops", right="no", culprit=text or "oms", note=text or "The segment was down")
    seen = Seen(
        hours=1.5,
        edges=(Edge(route=text or "GET /inventory", system=text or "crm", operation=text or "Find", n=99),),
        requests={"GET /sales": 4_000},
    )
    spans = (
        {
            t: [replace(s, name=text, attributes={**s.attributes, "service.peer.name": text, "error.type": text}) for s in found]
            for t, found in TRACES.items()
        }
        if text
        else TRACES
    )
    return {
        "overview": render_overview(
            channels=[pulse(n, 0.4 if i == 0 else 0.0, i) for i, n in enumerate(names)],
            systems=[pulse(n, 0.5 if n == "erp" else 0.0, 9 + i) for i, n in enumerate([text] if text else declared.systems)],
            notices=[text or "The outbox is 4 200 events behind"],
            now=NOW,
            viewer=replace(SIGNED_IN, open=(one, one)),
        ),
        "overview-empty": render_overview(now=NOW),
        "overview-calm": render_overview(looked_at=at(-7), now=NOW, viewer=SIGNED_IN),
        "incidents": render_incidents([one, *([] if text else [full(), bare()])], older="7", now=NOW, viewer=SIGNED_IN),
        "incidents-empty": render_incidents([], now=NOW),
        "incident": render_incident(one, declared=declared, traces=spans, labels=[label], into=text, stores=300, now=NOW, viewer=SIGNED_IN),
        "incident-full": render_incident(full(), declared=estate(8, 30), traces=TRACES, stores=300, now=NOW, viewer=SIGNED_IN),
        "incident-bare": render_incident(bare(), declared=DependencyMap(), now=NOW),
        "incident-broken": render_incident(one, declared=declared, traces={"b" * 32: spans["b" * 32]}, now=NOW, viewer=SIGNED_IN),
        "map": render_map(declared, now=NOW, viewer=replace(SIGNED_IN, open=(one, *([] if text else [full()])))),
        "map-large": render_map(estate(8, 240), down="erp", seen=seen, now=NOW),
        "map-down": render_map(declared, down=text or "erp", seen=seen, now=NOW, viewer=SIGNED_IN),
        "map-empty": render_map(DependencyMap(), now=NOW),
    }

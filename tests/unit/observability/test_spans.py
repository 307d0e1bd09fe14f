from __future__ import annotations

import time
from contextlib import suppress

from opentelemetry.trace import SpanKind, StatusCode

from contracts.errors import BreakerOpen, UpstreamFault
from observability import FlightRecord, Recorder, Step, step
from observability.spans import readable, resource, spans_of, summary_of
from observability.vocabulary import OTHER_METHOD, UNMATCHED


def an_eventful_flight() -> FlightRecord:
    with Recorder().flight("request", "GET /inventory", channel="web", api_version="2026-09", client="shop") as record:
        with step(Step.AUTH):
            pass
        with step(Step.CALL, system="erp", operation="GetStock"):
            with step(Step.WAIT, resource="erp"):
                pass
            with (
                suppress(UpstreamFault),
                step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=2, protocol="soap", rpc_method="StockService/GetStock") as a,
            ):
                a.set(status=200, fault_code="Server")
                time.sleep(0.002)
                raise UpstreamFault(system="erp", operation="GetStock", reason="lock table, mail bob@example.com")
            with suppress(BreakerOpen), step(Step.GUARD, guard="breaker", guard_name="erp.GetStock") as guard:
                guard.link("opened_by", "a" * 32, "b" * 16)
                raise BreakerOpen(system="erp", operation="GetStock")
        with step(Step.ATTEMPT, system="oms", operation="stock", method="GET", url_template="/stock/{sku}", status=404):
            pass
        record.set(status=404)
    return record


def test_spans_carry_the_true_times_of_their_hops() -> None:
    before = time.time_ns()
    record = an_eventful_flight()
    after = time.time_ns()
    for span, hop in zip(spans_of(record), record.hops, strict=True):
        assert span.end - span.start == hop.t1 - hop.t0
        assert span.start - record.wall == hop.t0 - record.t0
    assert before <= record.wall <= after


def test_names_and_kinds_follow_the_vocabulary() -> None:
    assert [(s.kind, s.name) for s in spans_of(an_eventful_flight())] == [
        ("SERVER", "GET /inventory"),
        ("INTERNAL", "auth"),
        ("INTERNAL", "call erp.GetStock"),
        ("INTERNAL", "wait erp"),
        ("CLIENT", "StockService/GetStock"),
        ("INTERNAL", "guard erp.GetStock"),
        ("CLIENT", "GET /stock/{sku}"),
    ]


def test_a_soap_attempt_says_peer_fault_resend_and_a_masked_reason() -> None:
    span = spans_of(an_eventful_flight())[4]
    assert span.attributes == {
        "tillgate.protocol": "soap",
        "rpc.system.name": "soap",
        "rpc.method": "StockService/GetStock",
        "rpc.status_code": "Server",
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
        "tillgate.attempt": 2,
        "service.peer.name": "erp",
        "tillgate.operation": "GetStock",
        "tillgate.step": "attempt",
        "tillgate.outcome": "failure",
        "error.type": "soap.fault.Server",
        "exception.type": "UpstreamFault",
        "tillgate.error.detail": "reason: lock table, mail ***",
    }
    assert span.status == "error"


def test_a_4xx_leaves_the_server_span_unset_and_marks_the_client_span() -> None:
    spans = spans_of(an_eventful_flight())
    assert (spans[0].status, spans[6].status) == ("", "error")
    assert "error.type" not in spans[0].attributes


def test_a_server_span_of_no_route_is_named_by_its_method_and_a_failed_one_says_its_status() -> None:
    with Recorder().flight("request", f"{OTHER_METHOD} {UNMATCHED}") as record:
        record.set(status=500)
    (span,) = spans_of(record)
    assert (span.name, span.attributes["http.request.method"], span.attributes["error.type"]) == ("HTTP", "_OTHER", "500")
    assert "http.route" not in span.attributes


def test_the_lean_form_keeps_attempts_and_refusals_and_moves_orphans_up() -> None:
    with Recorder().flight("request", "GET /x") as record:
        for kind in (Step.AUTH, Step.QUOTA, Step.CACHE, Step.STORE):
            with step(kind):
                if kind in {Step.CACHE, Step.STORE}:
                    time.sleep(0.001)
        with step(Step.MAP), step(Step.ATTEMPT, system="erp", operation="x"):
            pass
    lean = spans_of(record, lean=True)
    assert [s.name for s in lean] == ["GET /x", "cache", "store", "erp.x"]
    assert {s.parent_id for s in lean[1:]} == {record.span_id}
    assert len(spans_of(record)) == 7


def test_the_lean_form_keeps_the_step_that_failed_before_longer_ones_that_did_not() -> None:
    with Recorder().flight("request", "GET /x") as record:
        for kind in (Step.CACHE, Step.STORE):
            with step(kind):
                time.sleep(0.001)
        with suppress(KeyError), step(Step.MAP, mapping="answer"):
            raise KeyError("sku")
    assert "map answer" in [s.name for s in spans_of(record, lean=True)]


def test_the_sdk_span_is_sampled_and_has_ids_times_kind_links_and_resource() -> None:
    record = an_eventful_flight()
    spans = [readable(s, resource("1.2", "worker-1")) for s in spans_of(record)]
    for span, hop in zip(spans, record.hops, strict=True):
        assert span.context is not None
        assert span.context.trace_flags.sampled
        assert (span.context.trace_id, span.context.span_id) == (record.trace, hop.bits)
        assert (span.parent.span_id if span.parent else 0) == hop.parent_id
    attempt, guard = spans[4], spans[5]
    assert (attempt.kind, attempt.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    assert [(link.context.trace_id, dict(link.attributes or {})) for link in guard.links] == [
        (int("a" * 32, 16), {"tillgate.link": "opened_by"})
    ]
    assert guard.resource.attributes["service.instance.id"] == "worker-1"


def test_the_summary_names_systems_and_the_first_error() -> None:
    summary = summary_of(an_eventful_flight())
    assert summary.systems == ("erp", "oms")
    assert (summary.outcome, summary.status, summary.channel, summary.hops) == ("caller", 404, "web", 7)


def test_messages_and_files_have_their_own_kinds() -> None:
    of = Recorder()
    with of.flight("message", "sales") as message, step(Step.PUBLISH, destination="events:sale"):
        pass
    with of.flight("file", "pos.DailySales") as file, step(Step.FILE_PARSE, system="pos", records_ok=3):
        pass
    assert [(s.kind, s.name) for s in (*spans_of(message), *spans_of(file))] == [
        ("CONSUMER", "process sales"),
        ("PRODUCER", "publish events:sale"),
        ("CONSUMER", "file.receive"),
        ("INTERNAL", "file.parse"),
    ]
    assert spans_of(message)[1].attributes["messaging.operation.type"] == "send"

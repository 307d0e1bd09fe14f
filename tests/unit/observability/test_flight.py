from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from contracts.errors import BreakerOpen, NotFound, UpstreamFault, UpstreamTimeout
from observability import FlightRecord, Hop, Recorder, Step, current, current_hop, step
from observability.flight import HOP_LIMIT, LINK_LIMIT, RANDOM_ID, SAMPLED, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{SPAN}-01"


def flight(**values: Any) -> FlightRecord:
    return Recorder().flight("request", "GET /inventory", **values)


def children(record: FlightRecord, hop: Hop) -> list[Hop]:
    return [h for h in record.hops if h.parent_id == hop.bits]


def test_steps_nest_under_the_step_that_encloses_them() -> None:
    with flight() as record, step(Step.CALL) as call, step(Step.ATTEMPT) as attempt:
        assert current() is record
        assert current_hop() is attempt
    assert (call.parent_id, attempt.parent_id) == (record.root.bits, call.bits)
    assert current() is None


async def test_tasks_inherit_the_step_that_started_them_and_do_not_disturb_each_other() -> None:
    async def attempt(n: int) -> Hop:
        with step(Step.ATTEMPT, attempt=n) as hop:
            await asyncio.sleep(0.001 * (3 - n))
            with step(Step.MAP):
                await asyncio.sleep(0)
        return hop

    with flight() as record:
        with step(Step.CALL) as call:
            attempts = await asyncio.gather(*(asyncio.create_task(attempt(n)) for n in range(3)))
        with step(Step.STORE) as store:
            pass
    assert {h.parent_id for h in attempts} == {call.bits}
    assert [len(children(record, h)) for h in attempts] == [1, 1, 1]
    assert store.parent_id == record.root.bits


async def test_two_flights_at_once_keep_their_steps_apart() -> None:
    recorder = Recorder()

    async def one(name: str) -> FlightRecord:
        with recorder.flight("request", name) as record:
            for _ in range(3):
                with step(Step.CALL, operation=name):
                    await asyncio.sleep(0)
        return record

    for name, record in zip("ab", await asyncio.gather(one("a"), one("b")), strict=True):
        assert [h.operation for h in record.hops[1:]] == [name] * 3
    assert recorder.open_flights == []


def test_a_flight_inside_a_flight_gives_the_outer_one_back() -> None:
    with flight() as outer:
        with Recorder().flight("process", "order") as inner:
            assert current() is inner
        assert current() is outer


def test_an_error_that_passes_through_is_recorded_with_its_type_and_goes_on() -> None:
    with pytest.raises(UpstreamTimeout), flight() as record, step(Step.ATTEMPT, system="erp") as hop:
        raise UpstreamTimeout(system="erp", operation="GetStock", reason="no answer within 1 s")
    assert (hop.outcome, hop.error_type, hop.failure) == ("failure", "timeout.read", "timeout")
    assert hop.detail == "reason: no answer within 1 s"
    assert (record.outcome, record.error_type) == ("failure", "timeout.read")


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (UpstreamFault(system="erp", operation="x", fault_code="soapenv:Client.Auth"), "soap.fault.Client", "failure"),
        (UpstreamFault(system="erp", operation="x", fault_code="Receiver"), "soap.fault.Server", "failure"),
        (UpstreamFault(system="oms", operation="x", fault_code="503"), "503", "failure"),
        (BreakerOpen(system="erp", operation="x"), "guard.rejected", "rejected"),
        (NotFound(what="sku", key="1"), "caller", "caller"),
        (TimeoutError(), "timeout.deadline", "failure"),
        (ValueError("boom"), "gateway", "failure"),
    ],
)
def test_every_error_has_its_type_and_outcome(error: Exception, kind: str, outcome: str) -> None:
    with pytest.raises(type(error)), step(Step.CALL) as hop:
        raise error
    assert (hop.error_type, hop.outcome) == (kind, outcome)


async def test_a_cancellation_is_its_own_outcome_and_no_failure() -> None:
    seen: list[FlightRecord] = []

    async def work() -> None:
        with flight() as record, step(Step.ATTEMPT):
            seen.append(record)
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [h.outcome for h in seen[0].hops] == ["cancelled", "cancelled"]
    assert seen[0].failure is None


def test_a_status_is_an_outcome_where_no_exception_passed() -> None:
    outcomes = {}
    for status in (200, 404, 503):
        with flight() as record:
            record.set(status=status)
        outcomes[status] = (record.outcome, record.failure)
    assert outcomes == {200: ("success", None), 404: ("caller", "caller"), 503: ("failure", "gateway")}


def test_an_answered_error_is_known_by_its_own_type_not_by_its_status() -> None:
    with flight() as record:
        record.failed(UpstreamTimeout(system="erp", operation="GetStock"))
        record.set(status=504)
    assert record.error_type == "timeout.read"


def test_a_degraded_step_degrades_its_flight() -> None:
    with flight() as record, step(Step.CALL) as call:
        call.degraded("stale")
    assert (call.outcome, record.outcome, record.root.degraded_by) == ("degraded", "degraded", "stale")


def test_hops_beyond_the_limit_are_counted_and_still_have_a_traceparent() -> None:
    with flight() as record:
        for _ in range(HOP_LIMIT + 8):
            with step(Step.STORE):
                pass
        with step(Step.ATTEMPT) as beyond:
            assert parse_traceparent(beyond.traceparent)
    assert (len(record.hops), record.lost) == (HOP_LIMIT, 10)


def test_without_a_flight_a_step_costs_no_record_and_sends_a_valid_unsampled_traceparent() -> None:
    with step(Step.ATTEMPT, system="erp") as hop:
        assert current() is None
        found = parse_traceparent(hop.traceparent)
    assert found
    assert not found.flags & SAMPLED


async def test_a_step_that_outlives_its_flight_leaves_it_alone() -> None:
    async def late() -> None:
        await asyncio.sleep(0.01)
        with step(Step.ATTEMPT) as hop:
            assert hop.record is None

    with flight() as record:
        task = asyncio.create_task(late())
        with step(Step.CALL):
            await asyncio.sleep(0)
    await task
    assert len(record.hops) == 2


def test_an_attribute_outside_the_vocabulary_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TypeError, match="'fault_kode' \\(did you mean 'fault_code'\\?\\)"):
        step(Step.ATTEMPT, fault_kode="x")  # type: ignore[call-arg]  # the point of the test
    with step(Step.ATTEMPT) as hop, pytest.raises(TypeError, match="not in the vocabulary"):
        hop.set(nonsense=1)  # type: ignore[call-arg]  # the point of the test


def test_an_untrusted_caller_gets_a_new_trace_and_a_link_to_its_own() -> None:
    with flight(parent=CALLER, tracestate="a=1") as record:
        pass
    assert record.trace_id != TRACE
    assert record.root.parent_id == 0
    assert not record.sampled
    assert record.tracestate == ""
    assert record.root.links == [("caller_trace", int(TRACE, 16), int(SPAN, 16))]


def test_a_trusted_caller_is_continued_with_flag_and_state() -> None:
    with flight(parent=CALLER, tracestate="a=1, b@c=2", trusted=True) as record:
        with step(Step.ATTEMPT) as hop:
            assert hop.traceparent == f"00-{TRACE}-{hop.span_id}-01"
        assert record.traceparent == f"00-{TRACE}-{record.span_id}-01"
        assert record.response_headers == (
            ("traceresponse", record.traceparent),
            ("server-timing", f"trace;desc={record.traceparent}"),
        )
    assert (f"{record.root.parent_id:016x}", record.sampled, record.tracestate) == (SPAN, True, "a=1,b@c=2")
    assert record.root.links is None


@pytest.mark.parametrize(
    "bad",
    [
        "",
        CALLER.upper(),
        CALLER + "-00",
        CALLER + "," + CALLER,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f" {CALLER}",
        f"{CALLER}\n",
        f"00-{TRACE}-{SPAN}-01" + "-x" * 400,
        "00-٤bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_an_invalid_traceparent_starts_a_new_trace_without_link(bad: str) -> None:
    assert parse_traceparent(bad) is None
    with flight(parent=bad, trusted=True, tracestate="a=1") as record:
        pass
    assert record.trace_id != TRACE
    assert (record.root.links, record.tracestate) == (None, "")


def test_a_higher_version_is_read_as_far_as_ours_reaches() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-ff-more") == (int(TRACE, 16), int(SPAN, 16), SAMPLED | RANDOM_ID)


@pytest.mark.parametrize("bad", ["=1", "A=1", "a=1\n", "a=" + "x" * 300, ",".join(f"a{i}=1" for i in range(33)), "a=1;b"])
def test_a_malformed_tracestate_is_dropped_and_the_trace_goes_on(bad: str) -> None:
    with flight(parent=CALLER, tracestate=bad, trusted=True) as record:
        pass
    assert record.trace_id == TRACE
    assert record.tracestate in {"", "a=1;b"}  # a semicolon is a legal character of a value


def test_links_take_hex_ids_ignore_broken_ones_and_are_bounded() -> None:
    with step(Step.GUARD) as hop:
        hop.link("opened_by", TRACE, SPAN)
        hop.link("opened_by", "no hex", SPAN)
        hop.link("opened_by", "f" * 33, SPAN)
        hop.link_to("from_file", None)
        hop.link_to("from_file", CALLER)
        for _ in range(LINK_LIMIT):
            hop.link("joined_call", TRACE, SPAN)
        with pytest.raises(TypeError, match="no kind of link"):
            hop.link("because", TRACE, SPAN)  # type: ignore[arg-type]  # the point of the test
    assert hop.links is not None
    assert [link.kind for link in hop.links[:2]] == ["opened_by", "from_file"]
    assert len(hop.links) == LINK_LIMIT


def test_span_ids_differ_and_the_head_share_marks_about_its_part_of_new_traces() -> None:
    recorder = Recorder(head_share=0.25)
    with recorder.flight("task", "t"):
        ids = set()
        for _ in range(2000):
            with step(Step.MAP) as hop:
                ids.add(hop.span_id)
    assert len(ids) == 2000
    sampled = sum(recorder.flight("request", "x").sampled for _ in range(4000))
    assert 800 < sampled < 1200


def test_a_failing_recorder_does_not_harm_the_flight() -> None:
    class Broken:
        losses: ClassVar[dict[str, int]] = {}

        def put(self, record: FlightRecord) -> None:
            raise RuntimeError("full")

        async def close(self) -> None: ...

    recorder = Recorder(sinks=[Broken()])
    with recorder.flight("request", "GET /x"):
        pass
    assert recorder.faults == 1

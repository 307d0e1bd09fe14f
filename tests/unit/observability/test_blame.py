"""Whose doing a bad request was, each rule by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from observability import FlightRecord, Hop, Recorder, Step
from observability.blame import Blame
from observability.rings import Rings
from observability.rootcause.model import COUNTERS, Rows, Where
from observability.vocabulary import OUTCOME_OF, failure_class

AT = 1_800_000_000.0
ERP, OMS, GATEWAY = ("erp", "GetStock"), ("oms", "Find"), "gateway"
_numbers = itertools.count(1)


def hop(kind: Step, begin: float, end: float, part: tuple[str, str] = ("", ""), error: str = "", **more: Any) -> Hop:
    """Seconds since the flight began. `said`: what the error says."""
    said = more.pop("said", "")
    made = Hop(kind, system=part[0], operation=part[1], **more)
    made.bits, made.t0, made.t1 = next(_numbers), int(begin * 1e9), int(end * 1e9)
    made.outcome = OUTCOME_OF.get(failure_class(error), "failure") if error else "success"
    made.error_type, made.detail = error, said
    return made


def flown(
    seconds: float, *steps: Any, error: str = "", said: str = "", class_: str = "", name: str = "GET /stock", **more: Any
) -> FlightRecord:
    """Steps are hops, or pairs of a hop and those below it."""
    record = FlightRecord(Recorder(), more.pop("kind", "request"), name, channel="web", api_version="v", store="17", **more)
    root = record.root
    root.outcome = OUTCOME_OF.get(failure_class(error), "failure") if error else "success"
    root.error_type, root.detail, root.error = error, said, class_
    record.wall, record.t0, record.t1 = int(AT * 1e9), 0, int(seconds * 1e9)
    root.t0, root.t1 = record.t0, record.t1

    def put(over: Hop, below: Any) -> None:
        for each in below:
            step, further = each if isinstance(each, tuple) else (each, ())
            step.parent_id, step.record = over.bits, record
            record.hops.append(step)
            put(step, further)

    put(root, steps)
    return record


def good(seconds: float = 0.1, part: tuple[str, str] = ERP) -> FlightRecord:
    call = hop(Step.CALL, 0.01, seconds - 0.01, part)
    return flown(seconds, (call, [hop(Step.ATTEMPT, 0.01, seconds - 0.02, part, attempt=1)]), hop(Step.MAP, seconds - 0.01, seconds))


@pytest.fixture
def blame() -> Blame:
    """It knows what is usual: 100 ms, of which the system takes 80."""
    made = Blame(Rings())
    for n in range(300):
        made.count(good(0.1 + n % 10 / 1_000), AT - 3_000 + n)
        made.count(good(0.1, OMS), AT - 3_000 + n)
        made.count(good(0.1, ("erp", "Report")), AT - 3_000 + n)
    return made


def failing(part: tuple[str, str] = ERP, error: str = "timeout.read", **more: Any) -> Any:
    return (hop(Step.CALL, 0, 1, part, error), [hop(Step.ATTEMPT, 0, 1, part, error, attempt=1, **more)])


def test_the_deepest_failing_step_has_it_and_a_healthy_one_beside_it_nothing(blame: Blame) -> None:
    found = blame.count(flown(1.0, hop(Step.CALL, 0, 0.1, OMS), failing(), error="timeout.read"), AT)
    assert found.shares == {ERP: 1.0}
    login = hop(Step.ATTEMPT, 0, 0.1, ("erp", "Login"), "500")
    deep = (hop(Step.CALL, 0, 1, ERP, "500"), [(hop(Step.ATTEMPT, 0, 1, ERP, "500", attempt=1), [login])])
    assert blame.count(flown(1.0, deep, error="500"), AT).shares == {("erp", "Login"): 1.0}


def test_two_that_failed_alike_share_and_one_that_says_what_the_answer_says_has_it_alone(blame: Blame) -> None:
    assert blame.count(flown(1.0, failing(), failing(OMS), error="timeout.read"), AT).shares == {ERP: 0.5, OMS: 0.5}
    said = (hop(Step.CALL, 0, 1, OMS, "500", said="reason: no tenant"), ())
    assert blame.count(flown(1.0, said, failing(error="500"), error="500", said="reason: no tenant"), AT).shares == {OMS: 1.0}


def test_attempts_of_a_call_that_succeeds_blame_nobody(blame: Blame) -> None:
    tries = [hop(Step.ATTEMPT, 0, 0.04, ERP, "connect.reset", attempt=1), hop(Step.ATTEMPT, 0.05, 0.09, ERP, attempt=2)]
    assert blame.count(flown(0.1, (hop(Step.CALL, 0, 0.1, ERP), tries)), AT).shares == {}


def test_what_another_answered_for_is_degraded_and_not_bad(blame: Blame) -> None:
    record = flown(0.1, failing(), hop(Step.CACHE, 0.09, 0.1, ERP, cache="stale"))
    record.root.outcome, record.root.degraded_by = "degraded", "stale"
    assert blame.count(record, AT).shares == {}
    blame.rings.turn(int(AT) + 1)
    cells = rows(blame.rings.seen(AT + 1).coarse)
    whole = Where(channel="web", route="GET /stock", api_version="v", store="17")
    assert (cells[whole]["degraded"], cells[whole].get("timeout", 0)) == (1, 0)
    assert cells[Where(*ERP, *whole[2:])]["timeout"] == 1


def test_time_above_what_is_usual_goes_to_the_part_that_took_it(blame: Blame) -> None:
    slow = flown(1.0, (hop(Step.CALL, 0.01, 0.96, ERP), [hop(Step.ATTEMPT, 0.01, 0.95, ERP, attempt=1)]), hop(Step.MAP, 0.97, 0.98))
    found = blame.count(slow, AT)
    assert found.late
    assert found.shares[ERP] > 0.95
    mapping = hop(Step.MAP, 0.09, 0.99, ERP)
    slow = flown(1.0, (hop(Step.CALL, 0.01, 0.99, ERP), [hop(Step.ATTEMPT, 0.01, 0.09, ERP, attempt=1), mapping]))
    assert blame.count(slow, AT).shares[GATEWAY, "mapping erp.GetStock"] > 0.95
    assert blame.count(flown(1.0, (hop(Step.CALL, 0.01, 0.09, ERP), ())), AT).shares[GATEWAY, "worker"] > 0.95


def test_an_answer_that_lies_unread_while_the_event_loop_is_late_blames_the_worker(blame: Blame) -> None:
    def slow() -> FlightRecord:
        return flown(1.0, (hop(Step.CALL, 0.01, 0.99, ERP), [hop(Step.ATTEMPT, 0.01, 0.98, ERP, attempt=1)]))

    assert blame.count(slow(), AT).slow == {ERP}
    for tenth in range(10):
        blame.behind(int(tenth * 1e8), int((tenth + 0.9) * 1e8))
    found = blame.count(slow(), AT)
    assert found.shares[GATEWAY, "worker"] > 0.9
    assert not found.slow
    assert blame.count(flown(9.0, (hop(Step.CALL, 1.0, 9.0, ERP), [])), AT).shares[ERP] > 0.8  # it was on time by then


def test_of_calls_side_by_side_the_longer_one_has_it(blame: Blame) -> None:
    both = flown(1.0, (hop(Step.CALL, 0.01, 0.09, OMS), ()), (hop(Step.CALL, 0.01, 0.98, ERP), ()))
    assert blame.count(both, AT).shares[ERP] > 0.95


def test_time_that_no_part_explains_is_nobodys() -> None:
    blame = Blame(Rings())
    for n in range(300):  # the worker is known to take as much now and then, so that no part takes more than usual
        blame.count(flown(1.0 if n % 40 == 0 else 0.1), AT - 300 + n)
    worker = blame.baseline.of((GATEWAY, "worker"), "GET /stock")
    assert worker is not None
    worker.median = 2.0
    record = flown(3.0)
    found = blame.count(record, AT)
    assert found.shares == {("", ""): 1.0}
    blame.rings.turn(int(AT) + 1)
    cells = rows(blame.rings.seen(AT + 1).coarse)
    assert cells[Where(channel="web", route="GET /stock", api_version="v", store="17")]["blamed"] == 1_000


def hanging(part: tuple[str, str]) -> Any:
    return (hop(Step.CALL, 0, 2, part), [hop(Step.ATTEMPT, 0, 2, part, attempt=1)])


def test_waiting_is_passed_to_whoever_held_the_places_and_else_to_the_pool(blame: Blame) -> None:
    wait = hop(Step.WAIT, 0.01, 0.9, ERP, resource="bulkhead", holders="erp:8")
    waiting = flown(1.0, (hop(Step.CALL, 0.01, 0.99, ERP), [wait, hop(Step.ATTEMPT, 0.91, 0.98, ERP, attempt=1)]))
    shares = blame.count(waiting, AT).shares
    assert shares[GATEWAY, "pool erp"] > 0.9
    for _ in range(5):  # another operation of the same system hangs, and one of another system too
        blame.count(flown(2.0, hanging(("erp", "Report"))), AT)
        blame.count(flown(2.0, hanging(OMS)), AT)
    shares = blame.count(waiting, AT + 1).shares
    assert shares["erp", "Report"] > 0.9
    assert OMS not in shares
    assert blame.count(waiting, AT + 120).shares[GATEWAY, "pool erp"] > 0.9  # long ago


def test_a_cascade_through_the_door_blames_what_fills_it(blame: Blame) -> None:
    for _ in range(5):
        blame.count(flown(2.0, hanging(OMS)), AT)
    refused = flown(0.001, error="guard.rejected", class_="Overloaded")
    assert blame.count(refused, AT + 1).shares[OMS] > 0.95
    waiting = flown(1.0, hop(Step.WAIT, 0, 0.9, resource="requests"))
    assert blame.count(waiting, AT + 1).shares[OMS] > 0.8
    assert blame.count(refused, AT + 300).shares == {(GATEWAY, "worker"): 1.0}


def refusal(trace: int = 0) -> FlightRecord:
    guard = hop(Step.GUARD, 0, 0.001, ERP, "guard.rejected", guard="breaker", guard_name="erp.GetStock", guard_state="open")
    if trace:
        guard.link("opened_by", trace, 1)
    return flown(0.001, (hop(Step.CALL, 0, 0.001, ERP, "guard.rejected"), [guard]), error="guard.rejected")


def test_a_refusal_blames_the_system_behind_the_breaker_never_the_gateway(blame: Blame) -> None:
    assert blame.count(refusal(), AT).shares == {ERP: 1.0}
    login = (hop(Step.CALL, 0, 1, ERP, "500"), [(hop(Step.ATTEMPT, 0, 1, ERP, "500"), [hop(Step.ATTEMPT, 0, 1, ("erp", "Login"), "500")])])
    opened = flown(1.0, login, error="500")
    blame.count(opened, AT + 1)
    blame.count(flown(1.0, failing(), error="timeout.read"), AT + 2)  # something else since
    assert blame.count(refusal(opened.trace), AT + 3).shares == {("erp", "Login"): 1.0}
    assert blame.count(refusal(), AT + 3).shares == {ERP: 1.0}


def test_a_breaker_that_stays_shut_although_its_trials_succeed_is_at_fault_itself(blame: Blame) -> None:
    def trial(error: str = "") -> FlightRecord:
        attempt = hop(Step.ATTEMPT, 0, 0.05, ERP, error, attempt=1, guard_state="half_open", probe=True)
        return flown(0.1, (hop(Step.CALL, 0, 0.06, ERP, error), [attempt]), error=error)

    blame.count(trial("timeout.read"), AT)
    blame.count(trial(), AT + 5)
    assert blame.count(refusal(), AT + 34).shares == {ERP: 1.0}
    assert blame.count(refusal(), AT + 36).shares == {(GATEWAY, "breaker erp.GetStock"): 1.0}
    blame.count(trial("timeout.read"), AT + 37)
    assert blame.count(refusal(), AT + 80).shares == {ERP: 1.0}
    blame.count(trial(), AT + 90)
    blame.count(good(), AT + 91)  # closed again
    assert blame.count(refusal(), AT + 130).shares == {ERP: 1.0}


def test_whoever_joined_a_call_inherits_its_blame(blame: Blame) -> None:
    login = [(hop(Step.ATTEMPT, 0, 1, ERP, "500"), [hop(Step.ATTEMPT, 0, 1, ("erp", "Login"), "500")])]
    first = flown(1.0, (hop(Step.CALL, 0, 1, ERP, "500"), login), error="500")
    joined = hop(Step.CALL, 0.5, 1, ERP, "500", cache="collapsed")
    joined.link("joined_call", first.trace, 1)
    waiter = flown(0.5, joined, error="500")
    assert blame.count(first, AT).shares == blame.count(waiter, AT).shares == {("erp", "Login"): 1.0}
    alone = hop(Step.CALL, 0.5, 1, OMS, "500", cache="collapsed")
    alone.link("joined_call", 4711, 1)
    assert blame.count(flown(0.5, alone, error="500"), AT).shares == {OMS: 1.0}


def test_a_contract_broken_inside_a_200_blames_who_produced_it_and_a_bug_of_a_mapping_the_mapping(blame: Blame) -> None:
    def read(error: str) -> FlightRecord:
        below = [hop(Step.ATTEMPT, 0, 0.05, ERP, attempt=1), hop(Step.MAP, 0.05, 0.06, ERP, error)]
        return flown(0.1, (hop(Step.CALL, 0, 0.06, ERP, error), below), error=error)

    for error in ("contract_invalid", "data_invalid"):
        assert blame.count(read(error), AT).shares == {ERP: 1.0}
    assert blame.count(read("gateway"), AT).shares == {(GATEWAY, "mapping erp.GetStock"): 1.0}
    fault = (
        hop(Step.CALL, 0, 0.06, ERP, "soap.fault.Server"),
        [hop(Step.ATTEMPT, 0, 0.05, ERP, "soap.fault.Server", attempt=1, status=200)],
    )
    assert blame.count(flown(0.1, fault, error="soap.fault.Server"), AT).shares == {ERP: 1.0}


def test_a_file_with_broken_records_blames_its_feed(blame: Blame) -> None:
    record = flown(
        1.0,
        hop(Step.FILE_PARSE, 0, 0.9, error="data_invalid"),
        error="data_invalid",
        name="pos.tlog",
        kind="file",
        system="pos",
        operation="tlog",
    )
    assert blame.count(record, AT).shares == {("pos", "tlog"): 1.0}


@pytest.mark.parametrize(
    ("class_", "part"),
    [("StoreUnavailable", "store"), ("QuotaUnavailable", "quota"), ("KeysUnavailable", "auth"), ("ValueError", "worker")],
)
def test_what_is_ours_blames_the_part_of_ours(blame: Blame, class_: str, part: str) -> None:
    earlier = failing()  # it failed too, was answered for, and has nothing to do with it
    assert blame.count(flown(0.1, earlier, error="gateway", class_=class_), AT).shares == {(GATEWAY, part): 1.0}


def test_a_deadline_that_passes_on_top_blames_what_took_the_time(blame: Blame) -> None:
    given_up = hop(Step.CALL, 0.01, 2, ERP)
    given_up.outcome = "cancelled"
    assert blame.count(flown(2.0, given_up, error="timeout.deadline"), AT).shares[ERP] > 0.9


def test_a_callers_mistake_is_counted_for_its_client_and_blames_nobody(blame: Blame) -> None:
    record = flown(0.01, error="caller", client="app-1")
    assert blame.count(record, AT).shares == {}
    blame.rings.turn(int(AT) + 1)
    cells = rows(blame.rings.seen(AT + 1).coarse)
    assert cells[Where("client", "app-1", "web", "GET /stock", "v")] == {"n": 1, "caller": 1}


def test_a_call_whose_attempts_a_breaker_cut_short_failed_as_they_did(blame: Blame) -> None:
    tried = hop(Step.ATTEMPT, 0.01, 0.02, ERP, "503", attempt=1)
    guard = hop(Step.GUARD, 0.03, 0.031, ERP, "guard.rejected", guard="breaker", guard_name="erp.GetStock", guard_state="open")
    call = hop(Step.CALL, 0.01, 0.04, ERP, "guard.rejected")
    blame.count(flown(0.05, (call, [tried, guard]), error="guard.rejected"), AT)
    blame.rings.turn(int(AT) + 1)
    cell = rows(blame.rings.seen(AT + 1).coarse)[Where(*ERP, "web", "GET /stock", "v", "17")]
    assert (cell["upstream_error"], "rejected" in cell) == (1, False)
    tries = [hop(Step.ATTEMPT, n, n + 0.1, ERP, "503", attempt=n + 1) for n in range(3)]
    call = hop(Step.CALL, 0, 3, ERP, "timeout.deadline")  # it was tried for as long as there was time
    blame.count(flown(3.0, (call, tries), error="timeout.deadline"), AT + 2)
    blame.rings.turn(int(AT) + 3)
    cell = rows(blame.rings.seen(AT + 3).coarse)[Where(*ERP, "web", "GET /stock", "v", "17")]
    assert (cell["upstream_error"], "timeout" in cell) == (2, False)


def test_requests_of_a_client_are_counted_beside_its_mistakes_and_those_over_its_quota_are_neither(blame: Blame) -> None:
    blame.count(flown(0.01, client="app-1"), AT)
    over = flown(0.01, error="caller", client="app-1")
    over.root.attributes["status"] = 429
    blame.count(over, AT)
    blame.rings.turn(int(AT) + 1)
    assert rows(blame.rings.seen(AT + 1).coarse)[Where("client", "app-1", "web", "GET /stock", "v")] == {"n": 1}


def test_who_gave_up_waiting_was_late(blame: Blame) -> None:
    record = flown(3.0, hop(Step.CALL, 0.01, 3, ERP))
    record.root.outcome = record.hops[1].outcome = "cancelled"
    found = blame.count(record, AT)
    assert found.late
    assert found.shares[ERP] > 0.9


def test_shares_are_counted_in_thousandths_that_add_up(blame: Blame) -> None:
    blame.count(flown(1.0, failing(), failing(OMS), failing(("pim", "Get")), error="timeout.read"), AT + 100)
    blame.rings.turn(int(AT) + 101)
    seen = rows(blame.rings.seen(AT + 200, since=AT + 90).coarse)
    assert sum(cell.get("blamed", 0) for cell in seen.values()) == 1_000
    assert {where.system for where in seen} == {"", "erp", "oms", "pim"}


def test_what_hangs_is_counted_while_it_hangs_and_corrected_when_it_ends() -> None:
    recorder = Recorder(objectives={"GET /stock": 1e-6})
    with recorder.flight("request", "GET /stock", channel="web") as record, Hop(Step.CALL, system="erp", operation="GetStock"):
        record.store = "17"
        recorder.tick()
        whole = Where(channel="web", route="GET /stock", store="17")
        seen = rows(recorder.seen().coarse)
        assert seen[whole] == {"n": 1, "timeout": 1}
        assert seen[Where(*ERP, *whole[2:])] == {"n": 1, "timeout": 1, "blamed": 1_000}
        recorder.tick()
    seen = rows(recorder.seen().coarse)
    assert seen[whole]["n"] == 1
    assert seen[whole].get("timeout", 0) == 0
    assert seen[whole]["late"] == 1
    assert seen[Where(*ERP, *whole[2:])]["n"] == 1


def test_what_is_suspected_does_not_become_usual() -> None:
    recorder = Recorder()
    for _ in range(300):
        recorder.count(good(), AT)
    recorder.suspected = frozenset({ERP})
    for _ in range(3_000):
        recorder.count(good(1.0), AT)
    usual = recorder.blame.baseline.of(("", ""), "GET /stock")
    assert usual is not None
    assert 0.09 < usual.median < 0.11
    assert usual.n == 300


def rows(of: Rows) -> dict[Where, dict[str, int]]:
    found: dict[Where, dict[str, int]] = {}
    for row, key in enumerate(of.key):
        cell = found.setdefault(of.keys[key], {})
        for name, column in zip(COUNTERS, of.counters, strict=True):
            if column[row]:
                cell[name] = cell.get(name, 0) + column[row]
    return found

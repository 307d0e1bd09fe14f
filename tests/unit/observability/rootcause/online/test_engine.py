"""Whole verdicts over evidence made by hand: who is named, since when, for whom, how sure, and when nobody is."""

import random
from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.rootcause.model import (
    COUNTERS,
    Change,
    CoincidentChange,
    DependencyMap,
    Evidence,
    Exemplar,
    FeedTrouble,
    Incident,
    Losses,
    NotSeen,
    SystemNode,
    Where,
)
from observability.rootcause.online.confidence import Calibration
from observability.rootcause.online.engine import Engine, verdict
from tests.unit.observability.rootcause.online.made import CHANNELS, MAP, NOW, STORES, VERSIONS, Broken, Counts, Made, ago, both, since

AS_COMPUTED = Calibration()
OF = Where("", "", "web", "GET /prices", "2026-01", "017")


def looked(made: Made, **more: object) -> list[Incident]:
    return Engine(calibration=AS_COMPUTED).look(made.evidence(**more))


def only(incidents: list[Incident]) -> Incident:
    assert len(incidents) == 1, [i.sentence for i in incidents]
    return incidents[0]


def named(incident: Incident) -> list[tuple[str, str, str, str]]:
    return [(c.kind, c.system, c.operation, c.failure) for c in incident.culprits]


def estate(**systems: SystemNode) -> DependencyMap:
    return msgspec.structs.replace(MAP, systems={**MAP.systems, **systems})


def matching(broken: Mapping[str, float], seconds: int, **attributes: str) -> Broken:
    def found(second: int, where: Where) -> Mapping[str, float]:
        hit = second >= NOW - seconds and all(getattr(where, name) == value for name, value in attributes.items())
        return broken if hit else {}

    return found


# ---- who ---------------------------------------------------------------------------------------------------------------


def test_a_healthy_estate_has_no_incident() -> None:
    assert looked(Made()) == []


def test_a_system_that_refuses_connections_is_named_whole_within_two_bins() -> None:
    incident = only(looked(Made(since(60, "erp", connect=1.0))))
    assert incident.sentence == "ERP down since 07:59:00 (±1 s), 100 % sure"
    assert named(incident) == [("edge", "erp", "", "down")]
    assert (incident.verdict, incident.state, incident.culprits[0].scope) == ("cause", "open", ())
    assert (incident.culprits[0].owner, incident.culprits[0].contact) == ("finance-it", "+49 30 5550 100")
    assert incident.onset.low <= ago(60) <= incident.onset.high
    assert incident.detected_at <= ago(40)
    assert incident.impact.hit["route"].keys() == {"GET /inventory", "GET /prices", "POST /orders"}
    assert incident.impact.of["route"]["GET /prices"] == 96
    assert incident.impact.failed == pytest.approx(288, abs=5)
    assert incident.impact.orders == incident.impact.hit["route"]["POST /orders"]
    assert incident.impact.stores == len(STORES)
    assert b"null" not in msgspec.json.encode(incident), "what is missing is absent"
    assert [w.reason for w in incident.why_not if w.system == "oms" and w.operation == "get"] == ["too_few_requests"]


def test_one_operation_that_answers_with_errors_is_named_and_its_system_is_not() -> None:
    incident = only(looked(Made(since(300, "erp.GetPrices", upstream_error=0.5))))
    assert named(incident) == [("operation", "erp", "GetPrices", "errors")]
    assert incident.sentence.startswith("ERP GetPrices fails since 07:55:")
    assert set(incident.impact.hit["route"]) == {"GET /prices"}
    assert {(w.system, w.operation): w.reason for w in incident.why_not}["erp", "GetStock"] == "too_few_requests"


def test_who_refuses_what_callers_have_wrong_is_told_from_who_is_to_blame() -> None:
    incident = only(looked(Made(both(since(300, "erp.GetStock", upstream_error=0.5), since(300, "oms.create", caller=0.4)))))
    assert named(incident) == [("operation", "erp", "GetStock", "errors")]
    assert {(w.system, w.operation): w.reason for w in incident.why_not}["oms", "create"] == "caller_fault"


def test_operations_of_a_system_that_are_slow_alike_are_the_system() -> None:
    assert named(only(looked(Made(since(300, "oms", late=0.8))))) == [("system", "oms", "", "slow")]


def test_two_operations_of_a_system_that_fail_differently_are_two_culprits() -> None:
    broken = both(since(200, "erp.GetPrices", contract=0.5), since(190, "erp.GetStock", late=0.9))
    assert set(named(only(looked(Made(broken))))) == {
        ("data_quality", "erp", "GetPrices", "contract"),
        ("operation", "erp", "GetStock", "slow"),
    }


def test_an_operation_that_only_a_breaker_refuses_is_explained_by_the_one_that_opened_it() -> None:
    incident = only(looked(Made(both(since(200, "erp.GetPrices", timeout=1.0), since(180, "erp.GetStock", rejected=1.0)))))
    assert named(incident) == [("operation", "erp", "GetPrices", "timeout")]
    assert {(w.operation, w.reason) for w in incident.why_not} >= {("GetStock", "explained_by")}


def test_faults_of_two_systems_are_both_named_the_larger_first() -> None:
    incident = only(looked(Made(both(since(150, "erp.GetPrices", timeout=1.0), since(120, "oms.get", upstream_error=0.5)))))
    assert named(incident) == [("operation", "erp", "GetPrices", "timeout"), ("operation", "oms", "get", "errors")]
    assert [c.rank for c in incident.culprits] == [1, 2]


def test_an_answer_inside_its_contract_that_is_wrong_is_a_matter_of_data() -> None:
    assert named(only(looked(Made(since(200, "oms.get", data=0.6))))) == [("data_quality", "oms", "get", "data")]


def test_a_system_that_depends_on_the_sick_one_is_explained_by_it() -> None:
    broken = both(since(120, "erp", timeout=1.0), since(120, "oms", timeout=0.9))
    incident = only(looked(Made(broken, estate=estate(oms=SystemNode(depends_on=("erp",))))))
    assert [(c.system, c.operation) for c in incident.culprits] == [("erp", "")]
    assert [(w.system, w.reason, w.by) for w in incident.why_not if w.system == "oms"] == [("oms", "explained_by", 1)]


def test_a_dependency_that_fails_whenever_it_is_asked_explains_though_hardly_a_request_blames_it() -> None:
    made = Made(since(120, "oms.create", upstream_error=0.9), estate=estate(oms=SystemNode(depends_on=("erp",))))
    for second in range(NOW - 120, NOW, 20):
        made.count(second, Where("erp", "Book", "web", "POST /orders", "2026-01", "017"), n=1, upstream_error=1)
    incident = only(looked(made))
    assert [(c.system, c.operation) for c in incident.culprits] == [("erp", "Book")]
    assert [(w.system, w.operation, w.reason, w.by) for w in incident.why_not][:1] == [("oms", "create", "explained_by", 1)]


def test_an_edge_that_was_only_seen_explains_as_well() -> None:
    broken = both(since(120, "erp", timeout=1.0), since(120, "oms", timeout=0.9))
    incident = only(looked(Made(broken), edges=(("oms", "erp"),)))
    assert [(c.system, c.operation) for c in incident.culprits] == [("erp", "")]


def test_a_dependency_that_began_later_explains_nothing() -> None:
    broken = both(since(40, "erp", timeout=1.0), since(150, "oms", timeout=0.9))
    incident = only(looked(Made(broken, estate=estate(oms=SystemNode(depends_on=("erp",))))))
    assert {c.system for c in incident.culprits} == {"erp", "oms"}


def test_systems_that_fail_together_and_share_a_segment_have_one_cause() -> None:
    together = {name: SystemNode(shares={"segment": "dc1"}) for name in ("erp", "oms")}
    incident = only(looked(Made(since(90, "erp", "oms", connect=1.0), estate=estate(**together))))
    assert [(c.kind, c.shared, c.members) for c in incident.culprits] == [("shared", "segment dc1", ("erp", "oms"))]
    assert incident.sentence.startswith("ERP and OMS down (they share segment dc1) since 07:58:30")


def test_systems_that_fail_together_and_share_nothing_are_told_to_have_possibly_one_cause() -> None:
    incident = only(looked(Made(since(90, "erp", "oms", connect=1.0))))
    assert {(c.system, c.detail) for c in incident.culprits} == {(s, "possibly one cause, not declared") for s in ("erp", "oms")}


def test_a_part_of_the_gateway_is_named() -> None:
    made = Made()
    for second in range(NOW - 120, NOW, 10):
        made.count(second, Where("gateway", "mapping erp.GetPrices", *OF[2:]), n=1, blamed=1000)
        made.count(second, OF, n=0, gateway=1)
        made.coarse.add(second, OF, gateway=1)
    incident = only(looked(made))
    assert named(incident) == [("gateway_part", "gateway", "mapping erp.GetPrices", "errors")]
    assert incident.sentence.startswith("gateway mapping erp.GetPrices fails")


def test_what_nobody_can_be_blamed_for_names_nobody() -> None:
    made = Made()
    for second in range(NOW - 120, NOW, 10):
        for channel in CHANNELS:
            for store in STORES:
                for version in VERSIONS:
                    made.count(second, Where("", "", channel, "GET /prices", version, store), n=1, gateway=1, blamed=1000)
    incident = only(looked(made))
    assert (incident.verdict, [c.kind for c in incident.culprits]) == ("unsure", ["unknown"])
    assert incident.sentence.startswith("Requests fail or are late since 07:58:0")
    assert "sure" not in incident.sentence


# ---- for whom ------------------------------------------------------------------------------------------------------------


def test_a_fault_of_two_stores_is_confined_to_them() -> None:
    broken = both(*(matching({"upstream_error": 1.0}, 240, operation="GetStock", store=store) for store in ("017", "019")))
    incident = only(looked(Made(broken)))
    assert named(incident) == [("operation", "erp", "GetStock", "errors")]
    assert incident.culprits[0].scope == ({"store": ("017", "019")},)
    assert "for store 017, 019" in incident.sentence
    assert set(incident.impact.hit["store"]) == {"017", "019"}


def test_what_fails_in_one_api_version_only_is_a_fault_of_the_version() -> None:
    incident = only(looked(Made(matching({"contract": 1.0}, 240, operation="GetPrices", api_version="2025-09"))))
    assert named(incident) == [("version", "erp", "GetPrices", "contract")]
    assert incident.culprits[0].scope == ({"api_version": ("2025-09",)},)
    assert "in version 2025-09" in incident.sentence


def test_a_change_that_touched_exactly_what_is_hit_is_the_cause_and_others_are_coincidence() -> None:
    changes = (
        Change(at=ago(300), what="mapping 2026.3.1", kind="mapping", scope={"system": "oms"}),
        Change(at=ago(250), what="version 2025-09 released", kind="api_version", scope={"api_version": "2025-09"}),
        Change(at=ago(4000), what="long ago"),
    )
    incident = only(looked(Made(matching({"contract": 1.0}, 240, operation="GetPrices", api_version="2025-09")), changes=changes))
    assert incident.changes_before == (
        CoincidentChange(at=ago(300), what="mapping 2026.3.1", role="coincidence"),
        CoincidentChange(at=ago(250), what="version 2025-09 released", role="cause"),
    )


def test_requests_of_one_channel_that_nobody_else_can_be_blamed_for_are_its_client() -> None:
    made = Made()
    for second in range(NOW - 120, NOW, 10):
        for route in ("GET /prices", "GET /inventory"):
            for store in STORES:
                for version in VERSIONS:
                    made.count(second, Where("", "", "web", route, version, store), n=2, gateway=2, blamed=2000)
    assert named(only(looked(made)))[0][:3] == ("client", "client", "web")


def test_evidence_is_the_earliest_median_and_worst_trace_with_a_healthy_twin() -> None:
    where = Where("erp", "GetPrices", *OF[2:])
    seen = {
        where: (Exemplar("early", NOW - 290, 0.5), Exemplar("slow", NOW - 100, 9.0), Exemplar("usual", NOW - 200, 1.0)),
        where._replace(operation="GetStock"): (Exemplar("other", NOW - 200, 99.0),),
        where._replace(route="POST /orders"): (Exemplar("elsewhere", NOW - 200, 99.0),),
    }
    made = Made(since(300, "erp.GetPrices", late=0.9))
    culprit = only(looked(made, exemplars=seen, twins={("GET /prices", "web", "017"): "healthy"})).culprits[0]
    assert (culprit.bad_traces, culprit.twin) == (("early", "usual", "slow"), "healthy")


# ---- never an incident -----------------------------------------------------------------------------------------------------


def test_what_was_as_bad_a_week_ago_is_no_news_and_what_is_worse_is() -> None:
    def week(share: float) -> Counts:
        made = Counts()
        for bin_ in (0, 300):
            for channel in CHANNELS:
                where = Where("erp", "GetPrices", channel, "GET /prices", "2026-01", "017")
                bad = int(200 * share)
                made.add(NOW - 604_800 + bin_, where, n=200, late=bad, blamed=1000 * bad)
                for store in STORES:
                    for version in VERSIONS:
                        whole = Where("", "", channel, "GET /prices", version, store)
                        made.add(NOW - 604_800 + bin_, whole, n=200, late=bad, blamed=0)
        return made

    made = Made(since(120, "erp.GetPrices", late=0.4))
    assert [named(i) for i in looked(made)] == [[("operation", "erp", "GetPrices", "slow")]]
    assert looked(made, week=week(0.4).rows()) == []
    assert [named(i) for i in looked(made, week=week(0.1).rows())] == [[("operation", "erp", "GetPrices", "slow")]]


@pytest.mark.parametrize("factor", [5.0, 0.1])
def test_five_times_the_load_and_a_tenth_of_it_are_no_incident(factor: float) -> None:
    assert looked(Made(load=lambda second, channel, route: factor if second >= NOW - 600 else 1.0)) == []


def test_another_mix_of_routes_is_no_incident_though_one_of_them_always_fails_more() -> None:
    def load(second: int, channel: str, route: str) -> float:
        return (8.0 if route == "GET /orders" else 0.3) if second >= NOW - 600 else 1.0

    assert looked(Made(since(100_000, "oms.get", upstream_error=0.15), load=load)) == []


def test_mistakes_of_callers_are_no_incident() -> None:
    assert looked(Made(since(300, "erp.GetPrices", caller=0.8))) == []


def mistaken(made: Made, clients: Mapping[str, str], times: int, known: int = 900) -> Made:
    """Each of the clients, by channel, asks once in ten seconds per version and store, right ones until two minutes ago, and then so many
    wrong ones; it is known for some seconds.
    """
    for second in range(NOW - known, NOW, 10):
        for channel, client in clients.items():
            for version in VERSIONS:
                each, wrong = (times, times) if second >= NOW - 120 else (1, 0)
                where = Where("client", client, channel, "GET /prices", version)
                made.count(second, where, n=each * len(STORES), caller=wrong * len(STORES))
                for store in STORES:
                    made.coarse.add(second, Where("", "", channel, "GET /prices", version, store), n=each - 1, caller=wrong)
    return made


def test_one_client_whose_requests_are_wrong_from_a_moment_on_is_told() -> None:
    incident = only(looked(mistaken(Made(), {"web": "shop-app"}, 1)))
    assert named(incident) == [("client", "client", "shop-app", "refused")]
    assert abs((incident.onset.at - ago(120)).total_seconds()) <= 10  # the mistakes of a bin are put into one of its seconds
    assert (incident.impact.failed, incident.impact.requests) == (96, 96)
    assert incident.sentence.startswith("client shop-app sends requests that are refused (96 of 96) since 07:58:0")


def test_a_client_of_few_requests_is_held_against_its_own_past_not_that_of_all() -> None:
    made = Made(each=10)
    assert named(only(looked(mistaken(made, {"web": "shop-app"}, 1)))) == [("client", "client", "shop-app", "refused")]


def test_a_client_that_is_as_wrong_as_ever_or_was_never_right_is_not_told() -> None:
    assert looked(mistaken(Made(), {"web": "shop-app"}, 1, known=120)) == []
    made = Made()
    for second in range(NOW - 900, NOW, 10):
        made.count(second, Where("client", "shop-app", "web", "GET /prices"), n=10, caller=5)
    assert looked(made) == []


def asking(made: Made, route: str, *, used: int, wrong: float) -> Made:
    """A client that has read prices for a quarter of an hour, and another route for some seconds; there so many are wrong."""
    for second in range(NOW - 900, NOW, 10):
        made.count(second, Where("client", "shop-app", "web", "GET /prices"), n=10)
        if second >= NOW - used:
            made.count(second, Where("client", "shop-app", "web", route), n=10, caller=round(wrong * 10))
    return made


@pytest.mark.parametrize(
    ("route", "used", "told"),
    [
        ("POST /orders", 120, False),  # it has never ordered before: nobody knows what is usual
        ("POST /orders", 900, False),  # as ever
        ("GET /no-such-thing", 120, True),  # of no route there is: it cannot have meant that
    ],
)
def test_what_a_client_asks_for_the_first_time_has_not_become_worse(route: str, used: int, told: bool) -> None:
    found = looked(asking(Made(), route, used=used, wrong=0.8))
    assert [named(i) for i in found] == ([[("client", "client", "shop-app", "refused")]] if told else [])


def test_whoever_is_new_has_no_past_to_be_held_against() -> None:
    made = Made()
    for second in range(NOW - 240, NOW, 10):
        made.count(second, Where("client", "shop-app", "web", "GET /prices"), n=10, caller=8 if second >= NOW - 100 else 0)
    assert looked(made) == []


def test_a_burst_of_requests_for_nothing_that_keeps_the_gateway_busy_blames_no_system() -> None:
    made = Made(load=lambda second, channel, route: 1.0)
    for second in range(NOW - 60, NOW, 10):
        made.count(second, Where("client", "bot", "web", "GET /no-such-thing"), n=500, caller=500)
        for channel in CHANNELS:
            for route in ("GET /prices", "GET /inventory", "GET /orders"):
                made.count(second, Where("", "", channel, route, "2026-01", "017"), n=8, late=8)
                made.count(second, Where("gateway", "worker", channel, route, "2026-01", "017"), n=8, blamed=8000)
    (incident,) = looked(made)
    assert [(c.system, c.operation) for c in incident.culprits] == [("gateway", "worker")]


def test_who_is_late_for_another_reason_than_the_culprit_is_not_hit_by_it() -> None:
    made = Made(since(120, "erp.GetPrices", upstream_error=1.0))
    for second in range(NOW - 120, NOW, 10):
        made.count(second, Where("", "", "kiosk", "GET /orders", "2026-01", "017"), n=10, late=6, blamed=6000)
    for second in range(NOW - 900, NOW - 120, 10):
        made.count(second, Where("", "", "kiosk", "GET /orders", "2026-01", "017"), n=10)
    (incident,) = looked(made)
    assert {"web", "store"} == set(incident.impact.hit["channel"])


def test_a_storm_of_wrong_requests_and_mistakes_of_many_clients_are_not() -> None:
    assert looked(mistaken(Made(), {"web": "bot"}, 9)) == []
    assert looked(mistaken(Made(), {"web": "shop-app", "store": "till-app"}, 1)) == []


def test_a_system_in_announced_maintenance_is_no_incident_until_it_ends() -> None:
    made = Made(since(60, "erp", connect=1.0))
    announced = Change(at=ago(600), what="ERP patch day", kind="maintenance", scope={"system": "erp"}, until=ago(-600))
    assert looked(made, changes=(announced,)) == []
    for other in ({"scope": {"system": "oms"}}, {"until": ago(300)}, {"kind": "estate"}):
        assert len(looked(made, changes=(msgspec.structs.replace(announced, **other),))) == 1, other


def test_what_is_still_broken_after_its_maintenance_is_told() -> None:
    made = Made(since(500, "erp", connect=1.0))
    announced = Change(at=ago(500), what="ERP patch day", kind="maintenance", scope={"system": "erp"}, until=ago(100))
    assert looked(made, changes=(announced,)) == []
    late = msgspec.structs.replace(announced, until=ago(200))
    assert named(only(looked(made, changes=(late,)))) == [("edge", "erp", "", "down")]


def test_a_brown_out_of_a_version_is_no_incident() -> None:
    made = Made(matching({"gateway": 1.0}, 120, api_version="2025-09"))
    brown_out = Change(at=ago(120), what="brown-out", kind="maintenance", scope={"api_version": "2025-09"}, until=ago(-600))
    assert looked(made, changes=(brown_out,)) == []


# ---- feeds -----------------------------------------------------------------------------------------------------------------


def test_feeds_need_no_statistics_and_stores_of_one_feed_are_one_incident() -> None:
    late = [
        FeedTrouble(system="pos", operation="tlog", store=s, what="late", since=ago(1800 - i), detail="due 04:30")
        for i, s in enumerate("ab")
    ]
    incident = only(looked(Made(minutes=10), feeds=tuple(late)))
    assert named(incident) == [("feed", "pos", "tlog", "late")]
    assert incident.culprits[0].scope == ({"store": ("a", "b")},)
    assert incident.sentence == "POS tlog files are late for store a, b since 07:30:00, 97 % sure"
    assert incident.culprits[0].detail == "due 04:30"


@pytest.mark.parametrize(
    ("what", "kind", "failure"),
    [
        ("missing", "feed", "missing"), ("gap", "feed", "missing"), ("refused", "feed", "refused"), ("lagging", "feed", "lagging"),
        ("stale", "feed", "stale"), ("duplicate", "data_quality", "data"), ("quarantined", "data_quality", "data"),
        ("truncated", "data_quality", "data"),
    ],
)  # fmt: skip
def test_each_trouble_of_a_feed_has_its_kind(what: str, kind: str, failure: str) -> None:
    trouble = msgspec.convert({"system": "pos", "operation": "tlog", "what": what, "since": ago(60)}, FeedTrouble)
    assert named(only(looked(Made(minutes=1), feeds=(trouble,)))) == [(kind, "pos", "tlog", failure)]


def test_a_feed_of_a_system_that_is_named_already_is_not_told_twice() -> None:
    trouble = FeedTrouble(system="erp", operation="stock", what="stale", since=ago(30))
    assert named(only(looked(Made(since(60, "erp", connect=1.0)), feeds=(trouble,)))) == [("edge", "erp", "", "down")]


# ---- its life --------------------------------------------------------------------------------------------------------------


def test_a_fault_that_comes_and_goes_is_one_incident() -> None:
    def broken(second: int, where: Where) -> Mapping[str, float]:
        return {"timeout": 1.0} if where.operation == "GetPrices" and second >= NOW - 1200 and (second - NOW) % 120 < 30 else {}

    evidence = Made(broken, minutes=32).evidence()
    for later in (0, 40, 80):  # in the middle of it, and in the quiet between
        engine = Engine(calibration=AS_COMPUTED)
        incident = only(engine.look(msgspec.structs.replace(evidence, now=float(NOW - later))))
        assert (incident.state, named(incident)) == ("open", [("operation", "erp", "GetPrices", "timeout")])
        assert incident.onset.low <= ago(1200) <= incident.onset.high


def test_a_fault_that_is_over_has_recovered_and_is_not_told_for_ever() -> None:
    def broken(second: int, where: Where) -> Mapping[str, float]:
        return {"timeout": 1.0} if where.operation == "GetPrices" and NOW - 900 <= second < NOW - 600 else {}

    evidence = Made(broken, minutes=25).evidence()
    states = {}
    for later in (0, 200, 350, 420, 550):
        found = Engine(calibration=AS_COMPUTED).look(msgspec.structs.replace(evidence, now=float(NOW - later)))
        states[later] = [(i.state, i.recovered_at) for i in found]
    assert states[550] == [("open", msgspec.UNSET)]
    for later in (350, 420):
        ((state, at),) = states[later]
        assert (state, bool(at and ago(600) <= at <= ago(580))) == ("recovered", True)
    assert states[0] == []


def test_a_fault_that_lasts_longer_than_what_is_remembered_does_not_become_usual() -> None:
    made = Made(since(1500, "erp.GetPrices", timeout=0.5), minutes=36)
    evidence = made.evidence()
    engine = Engine(calibration=AS_COMPUTED)
    assert only(engine.look(evidence)).confidence > 0.9
    cut = [i for i, at in enumerate(evidence.coarse.bin) if at >= NOW - 1200]
    rows = made.coarse.rows(cut)
    later = only(engine.look(msgspec.structs.replace(evidence, coarse=rows)))
    assert (later.state, named(later)) == ("open", [("operation", "erp", "GetPrices", "timeout")])
    assert later.confidence > 0.9


# ---- how sure ----------------------------------------------------------------------------------------------------------------


def test_without_a_past_no_more_than_sixty_percent_is_claimed() -> None:
    incident = only(looked(Made(since(100_000, "erp", connect=1.0), minutes=2)))
    assert incident.culprits[0].system == "erp"
    assert incident.confidence == 0.6


def test_without_a_past_what_fails_now_and_then_may_be_usual() -> None:
    assert looked(Made(since(100_000, "erp", upstream_error=0.3), minutes=2)) == []


def test_two_requests_a_second_are_enough_to_name_a_system_that_is_down() -> None:
    made = Made(since(60, "erp", connect=1.0), each=0.3)
    incident = only(looked(made))
    assert incident.culprits[0].system == "erp"
    assert incident.impact.failed > 20


def test_what_is_lost_lowers_the_confidence_and_is_told() -> None:
    made = Made(since(60, "erp", connect=1.0))
    gaps = (NotSeen(what="spans", dropped=20, of=100),)
    incident = only(looked(made, losses=Losses(seen=80, lost=20, unseen=gaps)))
    assert incident.confidence == pytest.approx(only(looked(made)).confidence * 0.64, abs=1e-3)
    assert (incident.not_seen, incident.confidence_inputs["loss"]) == (gaps, 0.2)


def test_the_confidence_shown_is_read_from_the_table() -> None:
    table = Calibration(raw=(0.0, 1.0), confidence=(0.0, 0.4))
    incident = only(Engine(calibration=table).look(Made(since(60, "erp", connect=1.0)).evidence()))
    assert incident.verdict == "unsure"
    assert incident.sentence == "Requests fail or are late since 07:59:00 (±1 s), cause not known; candidates: ERP"


# ---- and the rest --------------------------------------------------------------------------------------------------------------


def test_answers_that_something_older_stood_in_for_are_told_with_the_system_that_failed() -> None:
    made = Made()
    for second in range(NOW - 180, NOW, 10):
        for channel in CHANNELS:
            for store in STORES:
                for version in VERSIONS:
                    of = (channel, "GET /prices", version, store)
                    made.coarse.add(second, Where("", "", *of), degraded=1)
                    made.coarse.add(second, Where("erp", "GetPrices", *of), timeout=1)
    assert named(only(looked(made))) == [("operation", "erp", "GetPrices", "timeout")]


def test_degraded_answers_without_a_system_that_failed_are_no_incident() -> None:
    made = Made()
    for second in range(NOW - 180, NOW, 10):
        for store in STORES:
            made.coarse.add(second, Where("", "", "web", "POST /orders", "2026-01", store), degraded=1)
    assert looked(made) == []


def test_a_window_can_be_asked_for_and_one_without_trouble_says_none() -> None:
    evidence = Made(since(300, "erp.GetPrices", upstream_error=0.5), minutes=25).evidence()
    found = verdict(evidence, NOW - 300, calibration=AS_COMPUTED)
    assert named(found) == [("operation", "erp", "GetPrices", "errors")]
    quiet = verdict(evidence, NOW - 1200, NOW - 900, calibration=AS_COMPUTED)
    assert (quiet.verdict, quiet.culprits) == ("none", ())


def test_evidence_without_a_single_request_says_nothing() -> None:
    empty = Evidence(now=float(NOW), coarse=Counts().rows(), fine=Counts().rows(), map=DependencyMap())
    assert Engine(calibration=AS_COMPUTED).look(empty) == []
    assert verdict(empty, NOW - 60, calibration=AS_COMPUTED).verdict == "none"


def test_bins_of_a_clock_that_jumped_are_left_out() -> None:
    made = Made(since(60, "erp", connect=1.0))
    for second in (0, NOW - 86_400, NOW + 86_400, 2**40 // 10 * 10):
        made.coarse.add(second, OF, n=1000, gateway=1000)
    assert only(looked(made)).sentence == "ERP down since 07:59:00 (±1 s), 100 % sure"


def test_the_order_of_rows_changes_nothing_and_the_same_evidence_has_the_same_answer() -> None:
    made = Made(both(since(150, "erp.GetPrices", timeout=1.0), since(120, "oms.get", late=0.5)))
    evidence = made.evidence()
    expected = Engine(calibration=AS_COMPUTED).look(evidence)
    engine = Engine(calibration=AS_COMPUTED)
    assert [engine.look(evidence) for _ in range(2)] == [expected, expected]
    order = list(range(len(evidence.coarse.key)))
    random.Random(1).shuffle(order)
    assert looked(made, coarse=made.coarse.rows(order)) == expected


counts = st.integers(-3, 40)
wheres = st.builds(
    Where,
    st.sampled_from(("", "erp", "oms", "gateway", "client", "nowhere")),
    st.sampled_from(("", "GetStock", "breaker erp.GetStock", "pool x")),
    st.sampled_from(("", "web", "store")),
    st.sampled_from(("", "GET /inventory", "feed")),
    st.sampled_from(("", "2026-01")),
    st.sampled_from(("", "017")),
)
cells = st.lists(st.tuples(st.integers(0, 120), wheres, st.lists(counts, min_size=len(COUNTERS), max_size=len(COUNTERS))), max_size=60)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(cells, st.booleans(), st.sampled_from((0.0, 5.5, 3600.0)))
def test_whatever_is_counted_there_is_an_answer_that_can_be_published(found: list, repeated: bool, later: float) -> None:  # type: ignore[type-arg]  # of a strategy
    coarse, fine = Counts(), Counts()
    for at, where, values in found:
        for second in range(at, 121, 20) if repeated else (at,):
            coarse.add(NOW - 1200 + 10 * second, where, **dict(zip(COUNTERS, values, strict=True)))
            fine.add(NOW - 600 + second, Where(*where[:4]), **dict(zip(COUNTERS, values, strict=True)))
    evidence = Evidence(now=NOW + later, coarse=coarse.rows(), fine=fine.rows(), map=MAP, edges=(("erp", "oms"), ("oms", "erp")))
    incidents = [*Engine().look(evidence), verdict(evidence, NOW - 300), verdict(evidence, NOW, NOW - 900)]
    assert msgspec.json.decode(msgspec.json.encode(incidents), type=list[Incident]) == incidents
    assert all(0 <= i.confidence <= 1 and len(i.culprits) <= 5 and i.answered_at - i.onset.at < timedelta(days=1) for i in incidents)

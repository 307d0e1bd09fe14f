from __future__ import annotations

import math

import pytest

from benchmarks.rootcause import others
from benchmarks.rootcause.calibrate import isotonic
from benchmarks.rootcause.estate import Estate
from benchmarks.rootcause.faults import CONTROLS, FAULTS, HELD_OUT_SEEDS, Case, Truth, estates, held_out, kinds
from benchmarks.rootcause.metrics import Controls, Score, at_k, brier, chance, ece, jaccard, main, operation_right, quantile, system_right
from benchmarks.rootcause.report import Line, lines, shown, tables
from benchmarks.rootcause.simulator import Simulation, bad
from benchmarks.rootcause.trial import NAMING, Outcome, tried
from observability.flight import FlightRecord
from observability.rootcause.model import GATEWAY

SEED = 5_000
CASES = (
    (4, "errors 100 %", "loyalty"), (3, "slow x10", "erp"), (1, "refused", "wms"), (17, "bad mapping", "crm"), (11, "breaker, dead", "erp"),
    (0, "other mix", "erp"), (0, "bots", "oms"),
)  # fmt: skip


def case(number: int, kind: int, variant: str, role: str) -> Case:
    return Case(
        id=f"{SEED}-{number}", seed=SEED, load=20, kind=kind, variant=variant, role=role, number=number + 1, after=8.0 + number, lasts=50.0
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return tried(Estate(SEED, 20, tight=False), [case(n, *each) for n, each in enumerate(CASES)], (), others.look)


@pytest.mark.slow
class TestRun:
    """A run of some seconds. Chance names one in ten; naming nobody names none."""

    def test_nearly_every_loud_fault_is_named_rightly(self, outcomes: list[Outcome]) -> None:
        score = Score(outcomes)
        assert [o.error for o in outcomes if o.error] == []
        assert len(score.single) >= 4
        assert score.ac(1, system_right) >= 0.75
        assert chance(score.single) <= 0.2

    def test_it_is_said_and_not_only_ranked(self, outcomes: list[Outcome]) -> None:
        named = [o for o in Score(outcomes).single if (i := main(o.final)) and i.verdict in NAMING]
        assert len(named) >= 3

    def test_days_on_which_nothing_is_wrong_blame_nobody(self, outcomes: list[Outcome]) -> None:
        controls = Controls(outcomes)
        assert len(controls.all) == 2
        assert controls.with_verdict() == 0

    def test_the_verdict_is_no_worse_than_the_best_simpler_method(self, outcomes: list[Outcome]) -> None:
        line = next(each for each in lines(outcomes) if each.name == "one fault, system AC@1")
        assert line.ours >= line.theirs - 0.25
        assert line.spoken().keys() >= {"name", "against", "ratio", "bar", "holds", "ours", "theirs", "chance", "gate"}

    def test_every_method_is_in_the_tables_beside_chance(self, outcomes: list[Outcome]) -> None:
        text = shown(tables(outcomes))
        assert all(
            name in text for name in ("ours", "chance", "NSigma", "BARO", "MicroRank", "TraceRCA", "MicroHECL", "Adtributor", "Squeeze")
        )
        assert "| method |" in shown(tables(outcomes), markdown=True)


class TestSimulator:
    @staticmethod
    def run(seconds: float, **what: float) -> tuple[Simulation, list[FlightRecord]]:
        found: list[FlightRecord] = []
        simulation = Simulation(Estate(SEED, 20, tight=True), found.append)
        for name, value in what.items():
            setattr(simulation, name, value)
        simulation.run(seconds)
        return simulation, found

    def test_the_same_seed_gives_the_same_flights(self) -> None:
        once, again = (self.run(20.0)[1] for _ in range(2))
        assert [(r.name, r.channel, r.store, r.t0, r.t1, r.outcome) for r in once] == [
            (r.name, r.channel, r.store, r.t0, r.t1, r.outcome) for r in again
        ]

    def test_on_a_usual_day_hardly_anything_is_bad(self) -> None:
        _, found = self.run(60.0)
        requests = [r for r in found if r.kind == "request"]
        assert len(requests) > 600
        assert sum(map(bad, requests)) < 0.02 * len(requests)

    def test_a_gateway_without_room_makes_everybody_wait(self) -> None:
        simulation, _ = self.run(10.0)
        simulation.pool.limit = 1
        seen: list[FlightRecord] = []
        simulation.count = seen.append
        simulation.run(25.0)
        waited = [h for r in seen for h in r.hops if h.attributes.get("resource") == "requests"]
        assert waited
        named = [h for h in waited if h.attributes.get("holders")]
        assert len(named) > 0.8 * len(waited)  # else it is between its calls


class TestCases:
    def test_development_has_none_of_the_pairs_that_are_held_out(self) -> None:
        found = [c for _, cases in estates("development", 30) for c in cases if not c.control]
        assert found
        assert not any(held_out(c.kind, c.role) for c in found if c.kind not in (2, 10))

    def test_the_held_out_part_has_seeds_of_its_own_and_unseen_pairs(self) -> None:
        found = [c for _, cases in estates("held_out", 30) for c in cases]
        assert all(c.seed > HELD_OUT_SEEDS for c in found)
        assert any(c.unseen for c in found)

    def test_a_third_of_all_windows_are_controls_and_every_kind_of_them_occurs(self) -> None:
        found = [c for _, cases in estates("held_out", 30) for c in cases]
        assert sum(c.control for c in found) / len(found) >= 0.3
        assert {c.variant for c in found if c.control} == set(CONTROLS)

    def test_every_kind_of_fault_occurs(self) -> None:
        assert {kind for kind, _, _ in kinds()} == set(FAULTS) == set(range(1, 19))
        found = {c.kind for _, cases in estates("held_out", 10) for c in cases}
        assert len(found) >= 18


class TestFigures:
    def test_a_fault_of_a_system_is_named_by_any_of_its_operations_but_not_the_other_way_round(self) -> None:
        assert operation_right(Truth("elm"), ("elm", "GetStock"))
        assert not operation_right(Truth("elm", "GetStock"), ("elm", ""))
        assert system_right(Truth("elm", "GetStock"), ("elm", "other"))

    def test_a_system_counts_once_however_many_of_its_operations_are_ranked(self) -> None:
        said = [("elm", "a"), ("elm", "b"), ("oak", "")]
        assert at_k([Truth("oak")], said, 2, system_right) == 1
        assert at_k([Truth("oak")], said, 2, operation_right) == 0

    def test_scopes_overlap_by_the_requests_they_have_in_common(self) -> None:
        leaves = {("web", "GET /a", "1", "001"): 30, ("web", "GET /a", "1", "002"): 70}
        assert jaccard(leaves, [{"store": frozenset({"001"})}], [{"store": ("001",)}]) == 1
        assert jaccard(leaves, [{"store": frozenset({"001"})}], []) == pytest.approx(0.3)
        assert jaccard(leaves, [{}], None) == 0

    def test_confidence_that_is_right_as_often_as_it_says_has_no_error(self) -> None:
        pairs = [(0.75, True), (0.75, True), (0.75, True), (0.75, False)]
        assert ece(pairs) == 0
        assert brier(pairs) == pytest.approx(0.1875)
        assert ece([(1.0, False)]) == 1

    def test_what_was_never_noticed_counts_in_quantiles(self) -> None:
        assert quantile([1.0, 2.0, math.inf], 0.9) == math.inf

    def test_isotonic_blocks_rise_and_hold_every_pair(self) -> None:
        pairs = [(n / 100, n % 3 != 0 or n > 60) for n in range(100)]
        blocks = isotonic(pairs)
        shares = [sum(right for _, right in b) / len(b) for b in blocks]
        assert shares == sorted(shares)
        assert sum(map(len, blocks)) == len(pairs)

    def test_a_line_holds_only_within_its_gate_and_not_below_the_best_other(self) -> None:
        assert Line("x", "BARO", 0.95, 0.8, ">=0.90").holds
        assert not Line("x", "BARO", 0.95, 0.97, ">=0.90").holds
        assert not Line("x", "BARO", 0.85, 0.5, ">=0.90").holds
        assert Line("x", "gate", 0.01, math.nan, "<=0.02").spoken()["bar"] == "<=1.0"

    def test_the_gateway_is_a_candidate_like_the_systems(self) -> None:
        assert system_right(Truth(GATEWAY, "store"), (GATEWAY, "worker"))

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from sandbox.faults import Faults, Rule


def kinds(faults: Faults, n: int = 40) -> list[str | None]:
    drawn = [faults.draw("erp", "GetStock", "0001") for _ in range(n)]
    return [fault.kind if fault else None for fault in drawn]


def test_without_rules_nothing_is_drawn() -> None:
    assert kinds(Faults()) == [None] * 40


def test_a_share_is_drawn_alike_in_every_run_of_one_seed_whatever_other_systems_do() -> None:
    one, two, other = Faults(seed=3), Faults(seed=3), Faults(seed=4)
    for faults in (one, two, other):
        faults.add(Rule("erp", "error", share=0.5), Rule("oms", "slow", share=0.5))
    for _ in range(9):
        two.draw("oms", "getOrder")
    assert kinds(one) == kinds(two) != kinds(other)
    assert {None, "error"} == set(kinds(one))


def test_a_rule_hits_its_operation_and_store_only() -> None:
    faults = Faults()
    faults.add(Rule("erp", "slow", operation="GetStock", store="0003", seconds=2))
    assert faults.draw("erp", "GetStock", "0001") is None
    assert faults.draw("erp", "GetPrices", "0003") is None
    assert faults.draw("oms", "GetStock", "0003") is None
    assert faults.draw("erp", "GetStock") is None
    hit = faults.draw("erp", "GetStock", ["0001", "0003"])
    assert hit is not None
    assert (hit.kind, hit.seconds, hit.store) == ("slow", 2, "0003")


def test_the_first_rule_that_fires_decides_and_a_spent_one_leaves_the_rest_to_the_next() -> None:
    faults = Faults()
    faults.add(Rule("erp", "lost_answer", count=2), Rule("erp", "error"))
    assert kinds(faults, 4) == ["lost_answer", "lost_answer", "error", "error"]
    assert [(r["hits"], r["left"]) for r in faults.rules()] == [(2, 0), (2, None)]


def test_clearing_one_system_leaves_the_others_broken() -> None:
    faults = Faults()
    faults.add(Rule("erp", "error"), Rule("oms", "error"))
    faults.clear("erp")
    assert faults.draw("erp", "GetStock") is None
    assert faults.draw("oms", "getOrder") is not None


def test_a_misspelt_operation_is_refused_with_the_nearest_and_keeps_the_old_rules() -> None:
    faults = Faults()
    faults.know("erp", ["GetStock", "GetPrices"])
    faults.add(Rule("erp", "slow"))
    with pytest.raises(ValueError, match="did you mean GetStock"):
        faults.replace(Rule("erp", "error", operation="GetStok"))
    assert [r["kind"] for r in faults.rules()] == ["slow"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"system": "erp", "kind": "error", "share": 0}, "share is the part"),
        ({"system": "erp", "kind": "error", "share": 1.1}, "share is the part"),
        ({"system": "erp", "kind": "hang", "seconds": -1}, "seconds lies between"),
        ({"system": "erp", "kind": "error", "count": 0}, "count is at least 1"),
        ({"system": "oms", "kind": "fault_in_200"}, "exists in SOAP only"),
        ({"system": "crm", "kind": "error"}, "Invalid enum value 'crm'"),
        ({"system": "erp", "kind": "explode"}, "Invalid enum value 'explode'"),
        ({"system": "erp", "kind": "error", "op": "GetStock"}, "unknown field `op`"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_was_expected(rule: dict[str, object], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(rule, Rule)


def test_only_a_rule_for_everything_closes_a_port() -> None:
    faults = Faults()
    faults.add(Rule("erp", "refuse", operation="GetStock"), Rule("erp", "refuse", share=0.5))
    assert not faults.refused("erp")
    faults.add(Rule("erp", "refuse"))
    assert faults.refused("erp")
    assert not faults.refused("oms")


def test_stale_begins_when_its_rule_was_set() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    faults = Faults(clock=lambda: moment)
    assert faults.stale_since("erp") is None
    faults.add(Rule("erp", "stale"))
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    hit = faults.draw("erp", "GetStock")
    assert hit is not None
    assert hit.since == faults.stale_since("erp") == datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_hang_ends_with_its_seconds_or_its_rule_and_not_with_somebody_elses() -> None:
    faults = Faults()
    faults.add(Rule("erp", "hang", seconds=0.01))
    brief = faults.draw("erp", "GetStock")
    assert brief is not None
    await asyncio.wait_for(faults.hang(brief), 1)
    faults.replace(Rule("erp", "hang"))
    endless = faults.draw("erp", "GetStock")
    assert endless is not None
    waiting = asyncio.ensure_future(faults.hang(endless))
    faults.add(Rule("oms", "slow"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    faults.clear("erp")
    await asyncio.wait_for(waiting, 1)

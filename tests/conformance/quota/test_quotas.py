"""Quotas against a reference that remembers every single grant in exact fractions."""

import asyncio
import math
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import QuotaExceeded
from contracts.quota import Costs, Limit, Quota
from gateway.edge.quota import Taken
from tests.conformance.quota.conftest import Bench

clients = (f"client {n} äß\n" for n in count())
"""Each example has one of its own, with a name that no key may carry as it is."""
one_bench = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def bucket_grants(limits: list[Limit], calls: list[tuple[int, int]]) -> list[bool]:
    """A leaky bucket: `requests` fit, one leaves every window/requests. All policies must have room, or none fills."""
    levels = [Fraction(0) for _ in limits]
    granted = []
    for gap, cost in calls:
        levels = [
            max(Fraction(0), level - Fraction(gap, 1000) * x.requests / Fraction(x.window)) for level, x in zip(levels, limits, strict=True)
        ]
        fits = all(level + cost <= x.requests for level, x in zip(levels, limits, strict=True))
        if fits:
            levels = [level + cost for level in levels]
        granted.append(fits)
    return granted


LIMITS = st.lists(
    st.builds(Limit, st.sampled_from(["burst", "day"]), st.integers(1, 20), st.sampled_from([1.0, 2.0, 8.0, 60.0])),
    min_size=1,
    max_size=2,
    unique_by=lambda x: x.name,
)


def states(taken: Taken) -> dict[str, dict[str, int]]:
    parts = taken.fields["ratelimit"].split(", ")
    return {part.split('"')[1]: {k: int(v) for k, v in (x.split("=") for x in part.split(";")[1:])} for part in parts}


@one_bench
@given(LIMITS, st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3)), max_size=80))
async def test_what_is_granted_equals_an_exact_leaky_bucket(bench: Bench, limits: list[Limit], calls: list[tuple[int, int]]) -> None:
    bench.declare(*limits)
    client, seen = next(clients), []
    for gap, cost in calls:
        bench.forward(gap * 1000)
        seen.append(await bench.granted(client, cost=cost))
    assert seen == bucket_grants(limits, calls)


@one_bench
@given(LIMITS, st.lists(st.integers(0, 900), min_size=1, max_size=40))
async def test_the_fields_keep_their_promises(bench: Bench, limits: list[Limit], gaps: list[int]) -> None:
    bench.declare(*limits)
    client = next(clients)
    for gap in gaps:
        bench.forward(gap * 1000)
        taken = await bench.ask(client)
        told = states(taken)
        assert set(told) == {x.name for x in limits}
        left = min(state["r"] for state in told.values())
        if taken.refusal is None:
            assert left >= 0
            continue
        assert isinstance(taken.refusal, QuotaExceeded)
        assert left == 0
        wait, last = taken.refusal.retry_after, told[taken.refusal.policy]
        # Retry-After is not earlier than the `t` of the policy that refused, and exactly then there is room again
        assert 0 < wait <= last["t"] < wait + 1 + 1e-6
        assert all(told[name]["t"] <= math.ceil(wait) for name in taken.refusal.violated)
        earlier = math.floor(wait * 1_000_000) - 1
        bench.forward(earlier)
        assert not await bench.granted(client)
        bench.forward(math.ceil(wait * 1_000_000) - earlier)
        assert await bench.granted(client)


@one_bench
@given(LIMITS, st.integers(1, 40))
async def test_what_is_said_to_be_left_can_be_had_at_once(bench: Bench, limits: list[Limit], used: int) -> None:
    bench.declare(*limits)
    client = next(clients)
    told: dict[str, dict[str, int]] = {}
    for _ in range(used):
        bench.forward(10_000)
        told = states(await bench.ask(client))
    left = min(state["r"] for state in told.values())
    assert sum([await bench.granted(client) for _ in range(left + 5)]) == left


async def test_as_many_as_are_allowed_pass_of_all_that_ask_at_once(bench: Bench) -> None:
    bench.declare(Limit("burst", 100, 10.0), Limit("day", 1000, 86400.0))
    assert sum(await asyncio.gather(*(bench.granted() for _ in range(400)))) == 100
    bench.forward(1_000_000)
    assert sum(await asyncio.gather(*(bench.granted() for _ in range(400)))) == 10


async def test_the_forms_are_those_of_the_draft(bench: Bench) -> None:
    bench.declare(Limit("burst", 2, 1.0), Limit("daily", 1000, 86400.0))
    taken = await bench.ask()
    assert taken.refusal is None
    assert taken.fields["ratelimit-policy"] == '"burst";q=2;w=1, "daily";q=1000;w=86400'
    assert taken.fields["ratelimit"] == '"burst";r=1;t=1, "daily";r=999;t=87'


async def test_clients_and_quotas_do_not_touch_each_other(bench: Bench) -> None:
    bench.declare(Limit("x", 1, 60.0), two=Quota((Limit("x", 1, 60.0), Limit("y", 5, 60.0))))
    asked = (("q", "a"), ("q", "b"), ("two", "a"), ("q", "a"), ("two", "a"))
    assert [await bench.granted(client, quota=quota) for quota, client in asked] == [True, True, True, False, False]


async def test_a_refused_request_costs_nothing(bench: Bench) -> None:
    bench.declare(Limit("x", 2, 2.0))
    for _ in range(50):
        await bench.granted()
    bench.forward(1_000_000)
    assert await bench.granted()


async def test_a_refused_request_takes_nothing_from_the_policies_that_had_room(bench: Bench) -> None:
    bench.declare(Limit("day", 10, 86400.0), Limit("burst", 2, 10.0))
    told = [states(await bench.ask())["day"]["r"] for _ in range(5)]
    assert told == [9, 8, 8, 8, 8]


async def test_a_call_with_weight_takes_that_many(bench: Bench) -> None:
    bench.declare(Limit("x", 10, 60.0))
    assert [await bench.granted(cost=cost) for cost in (5, 6, 5, 1)] == [True, False, True, False]


async def test_a_quota_that_nobody_declared_is_a_mistake(bench: Bench) -> None:
    bench.declare(Limit("x", 10, 60.0))
    assert "gold" not in bench.quotas
    with pytest.raises(KeyError):
        await bench.granted(quota="gold")


async def test_a_call_that_reached_a_system_is_charged_afterwards_and_a_debt_is_at_most_one_window(bench: Bench) -> None:
    bench.declare(Limit("x", 10, 10.0), costs=Costs(cached=1, upstream=5, write=8))
    assert await bench.granted()
    rests = [
        bench.quotas.rest("q", route_class, reached=reached) for route_class, reached in (("read", False), ("read", True), ("write", True))
    ]
    assert rests == [0, 4, 7]
    bench.quotas.charge("q", "shop", "", "read", 4)
    assert states(await bench.ask())["x"]["r"] == 4
    for _ in range(10):
        bench.quotas.charge("q", "shop", "", "read", 7)
    refusal = (await bench.ask()).refusal
    assert isinstance(refusal, QuotaExceeded)
    assert refusal.retry_after == 11
    bench.forward(11_000_000)
    assert await bench.granted()


async def test_stores_and_route_classes_count_for_themselves_and_their_policies_say_so(bench: Bench) -> None:
    bench.declare(Limit("all", 5, 60.0), Limit("till", 2, 60.0, per="store"), Limit("writes", 1, 60.0, routes=("write",)))
    first = await bench.ask(store="0001")
    assert first.fields["ratelimit-policy"] == '"all";q=5;w=60, "till";q=2;w=60;pk=:MDAwMQ==:'
    assert first.fields["ratelimit"] == '"all";r=4;t=12, "till";r=1;t=30;pk=:MDAwMQ==:'
    asked = [("0001", "read"), ("0001", "read"), ("0002", "write"), ("0001", "write"), ("0002", "read"), ("0003", "read"), ("0004", "read")]
    refusals = [(await bench.ask(store=store, route_class=route_class)).refusal for store, route_class in asked]
    violated = [set(refusal.violated) if isinstance(refusal, QuotaExceeded) else set() for refusal in refusals]
    assert violated == [set(), {"till"}, set(), {"till", "writes"}, set(), set(), {"all"}]


async def test_a_policy_per_route_class_counts_each_class_for_itself(bench: Bench) -> None:
    bench.declare(Limit("each", 1, 60.0, per="route"), Limit("corner", 1, 60.0, per="store+route"))
    asked = [("0001", "read"), ("0002", "read"), ("0001", "write"), ("0001", "personal"), ("0001", "personal")]
    assert [(await bench.ask(store=s, route_class=c)).refusal is None for s, c in asked] == [True, False, True, True, False]


async def test_a_policy_on_trial_refuses_nobody_and_is_not_told(bench: Bench) -> None:
    bench.declare(Limit("now", 5, 60.0), Limit("next", 2, 60.0, enforce=False))
    taken = [await bench.ask() for _ in range(6)]
    assert [t.refusal is None for t in taken] == [True] * 5 + [False]
    assert taken[0].fields["ratelimit"] == '"now";r=4;t=12'


async def test_a_quota_of_trial_policies_only_says_nothing_to_callers(bench: Bench) -> None:
    bench.declare(Limit("next", 2, 60.0, enforce=False))
    assert [(await bench.ask()).fields for _ in range(3)] == [{}, {}, {}]


async def test_a_clock_that_goes_back_grants_nothing_twice(bench: Bench) -> None:
    bench.declare(Limit("x", 2, 60.0))
    assert [await bench.granted() for _ in range(3)] == [True, True, False]
    bench.forward(-10_000_000)
    assert not await bench.granted()
    bench.forward(10_000_000)
    assert not await bench.granted()
    bench.forward(30_000_000)
    assert [await bench.granted() for _ in range(2)] == [True, False]

"""GCRA against a reference that remembers every single grant."""

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import QuotaExceeded
from gateway.edge.quota import Costs, Limit, MemoryQuotas, Quota, Taken, address


class Clock:
    """Microseconds."""

    def __init__(self) -> None:
        self.at = 1_000_000_000

    def __call__(self) -> int:
        return self.at


def quotas(clock: Clock | None = None, most_keys: int = 100_000, **limits: list[Limit]) -> MemoryQuotas:
    return MemoryQuotas({name: Quota(tuple(each)) for name, each in limits.items()}, clock or Clock(), most_keys)


def take(found: MemoryQuotas, quota: str = "q", client: str = "client", cost: int | None = None) -> Taken:
    return found.take_now(quota, client, "", "read", cost)


def granted(found: MemoryQuotas, quota: str = "q", client: str = "client", cost: int | None = None) -> bool:
    return take(found, quota, client, cost).refusal is None


def bucket_grants(limits: list[Limit], gaps: list[int]) -> list[bool]:
    """A leaky bucket in exact fractions: `requests` fit, one leaves every window/requests. All policies must have room, or none fills."""
    levels = [Fraction(0) for _ in limits]
    granted = []
    for gap in gaps:
        levels = [
            max(Fraction(0), level - Fraction(gap, 1000) * x.requests / Fraction(x.window)) for level, x in zip(levels, limits, strict=True)
        ]
        fits = all(level + 1 <= x.requests for level, x in zip(levels, limits, strict=True))
        if fits:
            levels = [level + 1 for level in levels]
        granted.append(fits)
    return granted


LIMITS = st.lists(
    st.builds(Limit, st.sampled_from(["burst", "day"]), st.integers(1, 20), st.sampled_from([1.0, 2.0, 8.0, 60.0])),
    min_size=1,
    max_size=2,
    unique_by=lambda x: x.name,
)


@given(LIMITS, st.lists(st.integers(0, 3000), max_size=120))
def test_what_is_granted_equals_an_exact_leaky_bucket(limits: list[Limit], gaps: list[int]) -> None:
    clock = Clock()
    found = quotas(clock, q=limits)
    seen = []
    for gap in gaps:
        clock.at += gap * 1000
        seen.append(granted(found))
    assert seen == bucket_grants(limits, gaps)


def states(taken: Taken) -> dict[str, dict[str, int]]:
    parts = taken.fields["ratelimit"].split(", ")
    return {part.split('"')[1]: {k: int(v) for k, v in (x.split("=") for x in part.split(";")[1:])} for part in parts}


@given(LIMITS, st.lists(st.integers(0, 900), min_size=1, max_size=60))
def test_the_fields_keep_their_promises(limits: list[Limit], gaps: list[int]) -> None:
    clock = Clock()
    found = quotas(clock, q=limits)
    for gap in gaps:
        clock.at += gap * 1000
        taken = take(found)
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
        before = clock.at
        clock.at += math.floor(wait * 1_000_000) - 1
        assert not granted(found)
        clock.at = before + math.ceil(wait * 1_000_000)
        assert granted(found)


@given(LIMITS, st.integers(1, 40))
def test_what_is_said_to_be_left_can_be_had_at_once(limits: list[Limit], used: int) -> None:
    clock = Clock()
    found = quotas(clock, q=limits)
    told: dict[str, dict[str, int]] = {}
    for _ in range(used):
        clock.at += 10_000
        told = states(take(found))
    left = min(state["r"] for state in told.values())
    assert sum(granted(found) for _ in range(left + 5)) == left


@pytest.mark.parametrize(("requests", "window"), [(999_999, 86_400.0), (9_999_999, 2_592_000.0), (7, 1.0), (10_000_000, 0.1)])
def test_no_rate_is_rounded_by_more_than_a_millionth(requests: int, window: float) -> None:
    limit = Limit("x", requests, window)
    rate = Fraction(limit.leak, limit.weight) * 1_000_000
    assert 0 <= 1 - rate / (requests / Fraction(str(window))) < Fraction(1, 1_000_000)
    assert limit.capacity == requests * limit.weight < 2**52


def test_the_forms_are_those_of_the_draft() -> None:
    taken = take(quotas(q=[Limit("burst", 2, 1.0), Limit("daily", 1000, 86400.0)]))
    assert taken.refusal is None
    assert taken.fields["ratelimit-policy"] == '"burst";q=2;w=1, "daily";q=1000;w=86400'
    assert taken.fields["ratelimit"] == '"burst";r=1;t=1, "daily";r=999;t=87'


def test_keys_and_quotas_do_not_touch_each_other() -> None:
    found = quotas(one=[Limit("x", 1, 60.0)], two=[Limit("x", 1, 60.0), Limit("y", 5, 60.0)])
    assert [granted(found, q, k) for q, k in (("one", "a"), ("one", "b"), ("two", "a"), ("one", "a"), ("two", "a"))] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_flood_of_addresses_is_bounded_and_forgets_no_client() -> None:
    found = quotas(anonymous=[Limit("x", 1, 60.0)], standard=[Limit("x", 1, 60.0)], most_keys=100)
    granted(found, "standard", "shop")
    for n in range(1000):
        granted(found, "anonymous", f"10.0.{n // 256}.{n % 256}")
    assert Counter({name: len(keys) for name, keys in found._rows.items()}) == {"anonymous": 100, "standard": 1}
    assert not granted(found, "standard", "shop")


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    found = quotas(clock, q=[Limit("x", 2, 2.0)])
    for _ in range(50):
        granted(found)
    clock.at += 1_000_000
    assert granted(found)


def test_a_call_with_weight_takes_that_many() -> None:
    found = quotas(q=[Limit("x", 10, 60.0)])
    assert [granted(found, cost=cost) for cost in (5, 6, 5, 1)] == [True, False, True, False]


def test_a_quota_that_nobody_declared_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        granted(quotas(), "gold")


def test_a_call_that_reached_a_system_is_charged_afterwards_and_a_debt_is_at_most_one_window() -> None:
    clock = Clock()
    found = MemoryQuotas({"q": Quota((Limit("x", 10, 10.0),), Costs(cached=1, upstream=5, write=8))}, clock)
    assert granted(found)
    rests = [found.rest("q", route_class, reached=reached) for route_class, reached in (("read", False), ("read", True), ("write", True))]
    assert rests == [0, 4, 7]
    found.charge("q", "client", "", "read", found.rest("q", "read", reached=True))
    assert states(take(found))["x"]["r"] == 4
    for _ in range(10):
        found.charge("q", "client", "", "read", 7)
    refusal = take(found).refusal
    assert isinstance(refusal, QuotaExceeded)
    assert refusal.retry_after == 11
    clock.at += 11_000_000
    assert granted(found)


def test_stores_and_route_classes_count_for_themselves_and_their_policies_say_so() -> None:
    found = quotas(q=[Limit("all", 5, 60.0), Limit("till", 2, 60.0, per="store"), Limit("writes", 1, 60.0, routes=("write",))])

    def ask(store: str, route_class: str) -> Taken:
        return found.take_now("q", "client", store, route_class)

    first = ask("0001", "read")
    assert first.fields["ratelimit-policy"] == '"all";q=5;w=60, "till";q=2;w=60;pk=:MDAwMQ==:'
    assert first.fields["ratelimit"] == '"all";r=4;t=12, "till";r=1;t=30;pk=:MDAwMQ==:'
    assert ask("0001", "read").refusal is None
    third = ask("0001", "read").refusal
    assert isinstance(third, QuotaExceeded)
    assert third.violated == ("till",)
    assert ask("0002", "write").refusal is None
    both = ask("0001", "write").refusal
    assert isinstance(both, QuotaExceeded)
    assert set(both.violated) == {"till", "writes"}
    assert ask("0002", "read").refusal is None
    assert ask("0003", "read").refusal is None
    last = ask("0004", "read").refusal
    assert isinstance(last, QuotaExceeded)
    assert last.violated == ("all",)


def test_a_policy_that_is_not_enforced_refuses_nobody_is_not_told_and_is_counted() -> None:
    found = quotas(q=[Limit("now", 5, 60.0), Limit("next", 2, 60.0, enforce=False)])
    taken = [take(found) for _ in range(6)]
    assert [t.refusal is None for t in taken] == [True] * 5 + [False]
    assert taken[0].fields["ratelimit"] == '"now";r=4;t=12'
    assert found.telling.surpassed == {("q", "next"): 3}
    assert found.telling.refused == {("q", "now"): 1}


def test_a_quota_of_trial_policies_only_says_nothing_to_callers() -> None:
    assert take(quotas(q=[Limit("next", 2, 60.0, enforce=False)])).fields == {}


def test_who_has_least_left_is_shown_first_until_it_has_its_quota_back() -> None:
    clock = Clock()
    found = quotas(clock, q=[Limit("x", 10, 10.0)])
    for client, calls in (("calm", 8), ("near", 9), ("over", 12)):
        for _ in range(calls):
            take(found, client=client)
    assert [(n.client, n.left, n.refused) for n in found.near(10)] == [("over", 0, 2), ("near", 1, 0)]
    assert [n.client for n in found.near(1)] == ["over"]
    clock.at += 10_000_000
    assert found.near(10) == []


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_counts_with_its_neighbours_of_one_customer(peer: str, key: str) -> None:
    assert address(peer) == key

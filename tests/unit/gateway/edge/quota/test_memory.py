"""What quotas in memory have beside tests/conformance/quota: bounds, what operators are told, and what a reload keeps."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from contracts.quota import Limit, Quota
from gateway.edge.identity.principal import Principal
from gateway.edge.quota import MemoryQuotas, address, store
from gateway.edge.quota.telling import WATCHED


class Clock:
    """Microseconds."""

    def __init__(self) -> None:
        self.at = 1_000_000_000

    def __call__(self) -> int:
        return self.at


def quotas(clock: Clock | None = None, most_keys: int = 100_000, before: MemoryQuotas | None = None, **limits: list[Limit]) -> MemoryQuotas:
    return MemoryQuotas({name: Quota(tuple(each)) for name, each in limits.items()}, clock or Clock(), most_keys, before)


def granted(found: MemoryQuotas, client: str = "shop", quota: str = "q") -> bool:
    return found.take_now(quota, client, "", "read").refusal is None


@pytest.mark.parametrize(("requests", "window"), [(999_999, 86_400.0), (9_999_999, 2_592_000.0), (7, 1.0), (10_000_000, 1.5)])
def test_no_rate_is_rounded_by_more_than_a_millionth(requests: int, window: float) -> None:
    limit = Limit("x", requests, window)
    rate = Fraction(limit.leak, limit.weight) * 1_000_000
    assert 0 <= 1 - rate / (requests / Fraction(window)) < Fraction(1, 1_000_000)
    assert limit.capacity == requests * limit.weight < 2**52


def test_a_flood_of_addresses_is_bounded_and_forgets_no_client() -> None:
    found = quotas(anonymous=[Limit("x", 1, 60.0)], standard=[Limit("x", 1, 60.0)], most_keys=100)
    granted(found, "shop", "standard")
    for n in range(1000):
        granted(found, f"10.0.{n // 256}.{n % 256}", "anonymous")
    assert Counter({name: len(keys) for name, keys in found._rows.items()}) == {"anonymous": 100, "standard": 1}
    assert not granted(found, "shop", "standard")


def test_who_insists_is_not_forgotten_before_those_who_do_not() -> None:
    found = quotas(q=[Limit("x", 1, 60.0)], most_keys=10)
    granted(found, "insists")
    for n in range(100):
        granted(found, f"other {n}")
        assert not granted(found, "insists")


def test_after_a_reload_what_was_used_of_an_unchanged_quota_stays_used() -> None:
    clock = Clock()
    before = quotas(clock, q=[Limit("x", 2, 60.0)], other=[Limit("x", 1, 60.0)])
    assert granted(before)
    assert granted(before, quota="other")
    after = quotas(clock, before=before, q=[Limit("x", 2, 60.0)], other=[Limit("x", 2, 60.0)])
    assert [granted(after) for _ in range(2)] == [True, False]
    assert [granted(after, quota="other") for _ in range(3)] == [True, True, False]
    assert after.telling is before.telling


def test_what_was_refused_and_what_a_policy_on_trial_would_have_refused_are_counted() -> None:
    found = quotas(q=[Limit("now", 5, 60.0), Limit("next", 2, 60.0, enforce=False)])
    for _ in range(7):
        granted(found)
    assert found.telling.refused == {("q", "now"): 2}
    assert found.telling.surpassed == {("q", "next"): 3}


def test_who_has_least_left_is_shown_first_until_it_has_its_quota_back() -> None:
    clock = Clock()
    found = quotas(clock, q=[Limit("x", 10, 10.0)])
    for client, calls in (("calm", 8), ("near", 9), ("over", 12)):
        for _ in range(calls):
            granted(found, client)
    assert [(n.client, n.left, n.refused) for n in found.near(10)] == [("over", 0, 2), ("near", 1, 0)]
    assert [n.client for n in found.near(1)] == ["over"]
    clock.at += 10_000_000
    assert found.near(10) == []


def test_no_more_clients_near_a_limit_are_remembered_than_are_useful() -> None:
    found = quotas(q=[Limit("x", 1, 60.0)])
    for n in range(WATCHED + 50):
        granted(found, f"{n:05}")
    assert len(found.near(10 * WATCHED)) == WATCHED


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


@pytest.mark.parametrize(
    ("stores", "query", "counts_as"),
    [
        (("0001",), b"location=0002", "0001"),
        (("0001", "0002"), b"sku=1&location=0002", "0002"),
        (("0001", "0002"), b"location=0003", ""),
        ((), b"location=0003", "0003"),
        ((), b"location=" + b"9" * 200, ""),
        ((), b"location=a%0Ab", ""),
        ((), b"sku=1", ""),
        ((), b"&".join([b"a=1"] * 1000), ""),
        ((), b"\xff", ""),
    ],
)
def test_a_call_is_about_the_store_that_its_client_may_act_for(stores: tuple[str, ...], query: bytes, counts_as: str) -> None:
    who = Principal("shop", "web", frozenset(), frozenset(stores), "2026-10-01", "standard", "key")
    assert store(who, query, ("location",)) == counts_as

"""GCRA against a reference that remembers every single grant."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.quota import Limit, Quotas


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


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
    quotas = Quotas({"q": limits}, clock)
    at = Fraction(1000)
    granted = []
    for gap in gaps:
        at += Fraction(gap, 1000)
        clock.at = float(at)
        granted.append(quotas.take("q", "client")[1] is None)
    assert granted == bucket_grants(limits, gaps)


@given(LIMITS, st.lists(st.integers(0, 900), min_size=1, max_size=60))
def test_the_fields_keep_their_promises(limits: list[Limit], gaps: list[int]) -> None:
    clock = Clock()
    quotas = Quotas({"q": limits}, clock)
    for gap in gaps:
        clock.at += gap / 1000
        fields, refusal = quotas.take("q", "client")
        states = {part.split('"')[1]: dict(x.split("=") for x in part.split(";")[1:]) for part in fields["ratelimit"].split(", ")}
        assert set(states) == {x.name for x in limits}
        left = min(int(s["r"]) for s in states.values())
        if refusal is None:
            assert left >= 0
            continue
        assert left == 0
        assert refusal.retry_after > 0
        # Retry-After is not earlier than the `t` of the policy that refused, and exactly then there is room again
        assert refusal.retry_after <= int(states[refusal.policy]["t"]) < refusal.retry_after + 1 + 1e-6
        waited = clock.at
        clock.at += refusal.retry_after
        fresh = Quotas({"q": limits}, clock)
        fresh._arrivals["q"]["client"] = list(quotas._arrivals["q"]["client"])
        assert fresh.take("q", "client")[1] is None
        clock.at = waited


@given(LIMITS, st.integers(1, 40))
def test_what_is_said_to_be_left_can_be_had_at_once(limits: list[Limit], used: int) -> None:
    clock = Clock()
    quotas = Quotas({"q": limits}, clock)
    for _ in range(used):
        fields, _ = quotas.take("q", "client")
        clock.at += 0.01
    clock.at -= 0.01
    left = min(int(part.split("r=")[1].split(";")[0]) for part in fields["ratelimit"].split(", "))
    assert sum(quotas.take("q", "client")[1] is None for _ in range(left + 5)) == left


def test_the_forms_are_those_of_the_draft() -> None:
    clock = Clock()
    quotas = Quotas({"q": [Limit("burst", 2, 1.0), Limit("daily", 1000, 86400.0)]}, clock)
    fields, refusal = quotas.take("q", "client")
    assert refusal is None
    assert fields["ratelimit-policy"] == '"burst";q=2;w=1, "daily";q=1000;w=86400'
    assert fields["ratelimit"] == '"burst";r=1;t=1, "daily";r=999;t=87'


def test_keys_and_quotas_do_not_touch_each_other() -> None:
    quotas = Quotas({"one": [Limit("x", 1, 60.0)], "two": [Limit("x", 1, 60.0), Limit("y", 5, 60.0)]}, Clock())
    assert [quotas.take(q, k)[1] is None for q, k in (("one", "a"), ("one", "b"), ("two", "a"), ("one", "a"), ("two", "a"))] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_flood_of_addresses_is_bounded_and_forgets_no_client() -> None:
    quotas = Quotas({"anonymous": [Limit("x", 1, 60.0)], "standard": [Limit("x", 1, 60.0)]}, Clock(), most_keys=100)
    quotas.take("standard", "shop")
    for n in range(1000):
        quotas.take("anonymous", f"10.0.{n // 256}.{n % 256}")
    assert Counter({name: len(keys) for name, keys in quotas._arrivals.items()}) == {"anonymous": 100, "standard": 1}
    assert quotas.take("standard", "shop")[1] is not None


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    quotas = Quotas({"q": [Limit("x", 2, 2.0)]}, clock)
    for _ in range(50):
        quotas.take("q", "client")
    clock.at += 1
    assert quotas.take("q", "client")[1] is None


def test_a_call_with_weight_takes_that_many() -> None:
    quotas = Quotas({"q": [Limit("x", 10, 60.0)]}, Clock())
    assert [quotas.take("q", "client", cost)[1] is None for cost in (5, 6, 5, 1)] == [True, False, True, False]


def test_a_quota_that_nobody_declared_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Quotas({}, Clock()).take("gold", "client")

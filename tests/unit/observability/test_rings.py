"""Cells over time add up in any order and any number of pieces, and stay within their bounds."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.rings import FINE_S, HELD_S, OTHER, Fresh, Key, Rings
from observability.rootcause.model import COUNTERS, Exemplar, Rows, Where

BEGAN = 1_800_000_000


def key(system: str, route: str, store: str) -> Key:
    return (system, "op" if system else "", "web", route, "v", store)


keys = st.builds(key, st.sampled_from(["", "erp", "oms"]), st.sampled_from(["GET /a", "GET /b"]), st.sampled_from(["1", "2", "3"]))
counted = st.tuples(
    st.integers(0, 3 * FINE_S), keys, st.one_of(st.integers(1, 9), st.lists(st.integers(-3, 9), min_size=13, max_size=13).map(tuple))
)


def put(rings: Rings, at: int, where: Key, what: int | tuple[int, ...]) -> None:
    rings.turn(BEGAN + at)
    if isinstance(what, int):
        rings.count(where, what)
    else:
        rings.add(where, what)


def over_time(rows: Rows, width: int = 60) -> Counter[tuple[Where, int, str]]:
    found: Counter[tuple[Where, int, str]] = Counter()
    for row, (number, begin) in enumerate(zip(rows.key, rows.bin, strict=True)):
        for name, column in zip(COUNTERS, rows.counters, strict=True):
            found[rows.keys[number], begin // width * width, name] += column[row]
    return Counter({at: n for at, n in found.items() if n})


def seen(rings: Rings) -> tuple[Counter[tuple[Where, int, str]], Counter[tuple[Where, int, str]]]:
    rings.turn(BEGAN + 3 * FINE_S + 1)
    coarse, fine, *_ = rings.seen(BEGAN + 3 * FINE_S + 1)
    return over_time(coarse), over_time(fine, 1)


@pytest.mark.slow
@given(st.lists(counted, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_in_which_flights_end_does_not_matter(flights: list[tuple[int, Key, int | tuple[int, ...]]], random: Random) -> None:
    one, other = Rings(), Rings()
    for each in flights:
        put(one, *each)
    shuffled = list(flights)
    random.shuffle(shuffled)
    for each in shuffled:
        put(other, *each)
    assert seen(one)[0] == seen(other)[0]
    expected: Counter[tuple[Where, int, str]] = Counter()
    for at, where, what in flights:
        for name, n in zip(COUNTERS, (what,) if isinstance(what, int) else what, strict=False):
            expected[Where(*where), (BEGAN + at) // 60 * 60, name] += n
    assert seen(one)[0] == Counter({at: n for at, n in expected.items() if n})


@pytest.mark.slow
@given(st.lists(counted, max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=60, deadline=None)
def test_several_processes_add_up_to_one(flights: list[tuple[int, Key, int | tuple[int, ...]]], mine: list[bool]) -> None:
    flights.sort(key=lambda flight: flight[0])
    alone, one, other = Rings(), Rings(), Rings()
    one.fresh, other.fresh = Fresh(), Fresh()
    for each, here in zip(flights, mine, strict=False):
        put(alone, *each)
        put(one if here else other, *each)
    for rings in (one, other):
        rings.turn(BEGAN + 3 * FINE_S + 1)
        rings.fold()
    for rings, theirs in ((one, other.take_fresh(1 << 40)), (other, one.take_fresh(1 << 40))):
        for begin, (plain, full) in theirs.tens.items():
            rings.restore(10, begin, plain, full)
            for second, few, some in theirs.seconds[begin]:
                rings.restore(1, second, few, some)
    assert seen(alone) == seen(one) == seen(other)


def test_a_second_counts_by_route_and_by_operation_and_ten_by_everything() -> None:
    rings = Rings()
    for store in "12":
        put(rings, 0, key("", "GET /a", store), 1)
        put(rings, 0, key("erp", "GET /a", store), (1, *[0] * 10, 1_000, 5))
    rings.turn(BEGAN + 1)
    coarse, fine, *_ = rings.seen(BEGAN + 1)
    assert over_time(fine, 1) == {
        (Where(channel="web", route="GET /a"), BEGAN, "n"): 2,
        (Where("erp", "op"), BEGAN, "n"): 2,
        (Where("erp", "op"), BEGAN, "blamed"): 2_000,
        (Where("erp", "op"), BEGAN, "excess_ms"): 10,
    }
    assert len(coarse.key) == 4


def test_one_row_per_bin_and_key_and_old_bins_are_minutes() -> None:
    rings = Rings()
    for second in range(0, 2 * FINE_S, 5):
        put(rings, second, key("", "GET /a", "1"), 1)
        put(rings, second, key("", "GET /a", "1"), (1, 1, *[0] * 11))
    rings.turn(BEGAN + 2 * FINE_S)
    coarse = rings.seen(BEGAN + 2 * FINE_S).coarse
    assert len(set(zip(coarse.key, coarse.bin, strict=True))) == len(coarse.key)
    widths = Counter(b - a for a, b in zip(sorted(coarse.bin), sorted(coarse.bin)[1:], strict=False))
    assert set(widths) == {10, 60} or set(widths) == {10, 50, 60}
    assert sum(coarse.counters[0]) == 4 * FINE_S // 5


def test_what_is_older_than_all_bins_is_lost_and_counted() -> None:
    rings = Rings()
    put(rings, 2 * HELD_S, key("", "GET /a", "1"), 1)
    put(rings, 0, key("", "GET /a", "1"), 3)
    put(rings, 3 * HELD_S, key("", "GET /a", "1"), 1)
    rings.turn(BEGAN + 3 * HELD_S + 1)
    assert sum(rings.seen(BEGAN + 3 * HELD_S + 1).coarse.counters[0]) == 2
    assert rings.too_late == 3


def test_beyond_the_limit_the_store_becomes_other_and_no_count_is_lost() -> None:
    rings = Rings(limit=100)
    for n in range(1_000):
        put(rings, n // 50, key("", "GET /a", str(n)), 1)
    rings.turn(BEGAN + 1_000)
    coarse = rings.seen(BEGAN + 1_000).coarse
    assert sum(coarse.counters[0]) == 1_000
    assert len(coarse.keys) <= 102
    found = over_time(coarse)
    assert sum(n for (where, _, _), n in found.items() if where.store == OTHER) == rings.keys.folded == 900


def test_keys_that_left_all_bins_make_room_for_others() -> None:
    rings = Rings(limit=100)
    for hour in range(5):
        for n in range(100):
            put(rings, hour * 7_200, key("", "GET /a", f"{hour}-{n}"), 1)
        rings.turn(BEGAN + hour * 7_200 + 60)
        rings.seen(BEGAN + hour * 7_200 + 60)
    assert rings.keys.folded == 0
    assert len(rings.keys.known) <= 101


def test_the_twin_is_the_last_good_one_and_exemplars_are_the_earliest_and_the_slowest() -> None:
    rings = Rings()
    where = Where("erp", "Get", "web", "GET /a")
    for trace, at, seconds in (("b", 2.0, 1.0), ("a", 1.0, 0.5), ("c", 3.0, 9.0), ("d", 4.0, 2.0)):
        rings.exemplar(where, Exemplar(trace, BEGAN + at, seconds))
        rings.twin("GET /a", "web", "1", trace)
    found = rings.seen(BEGAN + 5)
    assert [e.trace_id for e in found.exemplars[where]] == ["a", "c"]
    assert found.twins == {("GET /a", "web", "1"): "d"}

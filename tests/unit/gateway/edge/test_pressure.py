"""How much is let in, who waits, who goes without; and what the limit makes of a loop that is late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from contracts.call import Priority
from contracts.errors import Overloaded
from gateway.edge.pressure import (
    BURST,
    BUSY,
    FEW,
    LEAST,
    REST,
    SHARES,
    SLACK,
    SPACE,
    TARGET,
    TICK,
    WAITS,
    WEIGHTS,
    Held,
    Importance,
    Pressure,
)
from gateway.edge.pressure import CRITICAL as AT_WORK

CRITICAL, HIGH, NORMAL, LOW = Priority


def later(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def fill(pressure: Pressure, priority: Priority = CRITICAL) -> list[Held]:
    """Takes every place that this priority may have."""
    places: list[Held] = []
    while place := pressure.enter_now(priority):
        places.append(place)
    return places


async def refused(
    pressure: Pressure, priority: Priority, channel: str = "web", client: str = "a", until: float | None = None
) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        await pressure.enter(priority, channel, client, later() if until is None else until)
    return caught.value


# ---- who is let in ------------------------------------------------------------------------------------------------


async def test_each_priority_may_fill_its_share_and_the_rest_is_kept_for_what_matters_more() -> None:
    pressure = Pressure(100, 0)
    filled = [len(fill(pressure, priority)) for priority in reversed(Priority)]
    assert filled == [50, 25, 15, 10]
    assert SHARES == (1.0, 0.9, 0.75, 0.5)


async def test_what_waits_for_a_system_is_not_at_work_but_counts_among_all() -> None:
    pressure = Pressure(100, 0)
    pressure.limit = 40.0
    waiting = fill(pressure, NORMAL)
    assert len(waiting) == 40
    for place in waiting:
        place.__enter__()
    assert (pressure.busy, pressure.held) == (0, 40)
    assert len(fill(pressure, NORMAL)) == 35, "three quarters of all"
    waiting[0].__exit__(None, None, None)
    assert pressure.busy == 36, "who comes back is not sent away"


async def test_what_is_critical_does_not_wait_for_the_work_of_others_to_be_done() -> None:
    pressure = Pressure(500, 0)
    pressure.limit = float(LEAST)
    others = [len(fill(pressure, priority)) for priority in (LOW, NORMAL, HIGH)]
    assert sum(others) == LEAST
    assert len(fill(pressure)) == AT_WORK - LEAST


async def test_a_place_that_is_put_down_twice_is_taken_up_with_the_second_and_given_back_once() -> None:
    pressure = Pressure(10, 0)
    place = pressure.enter_now(NORMAL)
    assert place is not None
    with place:
        with place:
            assert pressure.busy == 0
        assert pressure.busy == 0
    assert pressure.busy == 1
    with place:
        place.leave()
        place.leave()
    with place:
        pass
    assert (pressure.busy, pressure.held) == (0, 0)


async def test_the_first_free_place_goes_to_the_most_important_that_waits() -> None:
    pressure = Pressure(4, 10)
    places = fill(pressure)
    order: list[Priority] = []

    async def come(priority: Priority) -> None:
        place = await pressure.enter(priority, "web", "a", later())
        order.append(priority)
        place.leave()

    tasks = [asyncio.create_task(come(p)) for p in (LOW, NORMAL, CRITICAL, HIGH)]
    await asyncio.sleep(0)
    assert (pressure.waiting, pressure.tight) == (4, True)
    for place in places:
        place.leave()
    await asyncio.gather(*tasks)
    assert order == [CRITICAL, HIGH, NORMAL, LOW]
    assert (pressure.busy, pressure.held, pressure.waiting) == (0, 0, 0)


async def test_a_full_line_sends_the_least_important_away_for_a_time_of_its_own() -> None:
    pressure = Pressure(2, 3)
    places = fill(pressure)
    low = [asyncio.create_task(pressure.enter(LOW, "marketplace", "bot", later())) for _ in range(3)]
    await asyncio.sleep(0)
    order = asyncio.create_task(pressure.enter(CRITICAL, "web", "shop", later()))
    with pytest.raises(Overloaded) as caught:
        await low[2]
    assert caught.value.extensions == {"violated-policies": ["low"]}
    waits = {round((await refused(pressure, LOW, "marketplace", "bot")).retry_after, 3) for _ in range(20)}
    assert len(waits) > 10, "callers that were sent away together do not come back together"
    assert all(1 <= w <= 8 for w in waits)
    assert pressure.refused[LOW] == 21
    for place in places:
        place.leave()
    (await order).leave()
    for task in low[:2]:
        (await task).leave()
    assert (pressure.busy, pressure.held, pressure.waiting) == (0, 0, 0)


async def test_a_storm_of_one_client_is_felt_by_that_client() -> None:
    pressure = Pressure(2, 10)
    fill(pressure)
    storm = [asyncio.create_task(pressure.enter(NORMAL, "web", "bot", later())) for _ in range(10)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(pressure.enter(NORMAL, c, n, later())) for c, n in (("web", "shop"), ("mobile", "app"))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [t.done() for t in others] == [False, False]
    assert sum(t.done() for t in storm) == 2
    await refused(pressure, NORMAL, "web", "bot")
    for task in (*storm, *others):
        task.cancel()
    results = await asyncio.gather(*storm, *others, return_exceptions=True)
    assert Counter(type(r).__name__ for r in results) == {"CancelledError": 10, "Overloaded": 2}
    assert pressure.waiting == 0


async def test_who_cannot_make_it_is_told_at_once() -> None:
    pressure = Pressure(2, 100)
    fill(pressure)
    pressure.queue = 200
    tasks = [asyncio.create_task(pressure.enter(CRITICAL, "web", "a", later())) for _ in range(round(BURST * WAITS[CRITICAL]))]
    await asyncio.sleep(0)
    await refused(pressure, CRITICAL, "web", "b")
    assert isinstance(pressure.shed(CRITICAL, "web", "b"), Overloaded)
    assert pressure.shed(LOW, "web", "b") is None, "another line"
    await refused(pressure, HIGH, until=later(0.1))
    await refused(pressure, HIGH, until=later(-1))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_would_be_refused_is_known_before_anything_is_spent_on_it() -> None:
    pressure = Pressure(4, 2)
    assert not pressure.tight
    assert pressure.shed(LOW, "web", "a") is None
    fill(pressure)
    assert pressure.tight
    assert pressure.shed(LOW, "web", "a") is None, "there is room in line"
    waiting = [asyncio.create_task(pressure.enter(HIGH, "store", "till", later())) for _ in range(2)]
    await asyncio.sleep(0)
    assert isinstance(pressure.shed(LOW, "web", "a"), Overloaded)
    assert isinstance(pressure.shed(HIGH, "store", "till"), Overloaded)
    assert pressure.shed(CRITICAL, "web", "a") is None, "it would take another's place in line"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_waiting_ends_when_the_time_is_up_and_leaves_nothing_behind() -> None:
    pressure = Pressure(1, 5)
    (place,) = fill(pressure)
    await refused(pressure, CRITICAL, until=later(0.02))
    assert pressure.waiting == 0
    place.leave()
    assert (pressure.busy, pressure.held) == (0, 0)


async def test_a_place_given_to_one_who_goes_away_in_the_same_moment_is_passed_on() -> None:
    pressure = Pressure(1, 5)
    (place,) = fill(pressure)
    gone = asyncio.create_task(pressure.enter(CRITICAL, "web", "a", later()))
    last = asyncio.create_task(pressure.enter(CRITICAL, "web", "a", later()))
    await asyncio.sleep(0)
    place.leave()
    gone.cancel()
    (await last).leave()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (pressure.busy, pressure.held, pressure.waiting) == (0, 0, 0)


def guarded(pressure: Pressure) -> Pressure:
    """While critical requests come, a hundred in a second."""
    pressure._rates[CRITICAL] = 100.0
    return pressure


async def test_while_critical_requests_come_few_others_are_at_work_and_they_are_begun_a_rest_apart() -> None:
    now = 100.0
    pressure = guarded(Pressure(100, 10, clock=lambda: now))
    pressure.rest = 0.01
    assert len(fill(pressure, HIGH)) == 1, "and what it makes up for"
    begun = 0
    for _ in range(1000):
        now += 0.001
        await asyncio.sleep(0)
        if place := pressure.enter_now(NORMAL):
            begun += 1
            place.leave()
    assert begun == pytest.approx(100, abs=1 + SLACK / pressure.rest)
    pressure.rest, pressure._next = 0.0, 0.0
    pressure.limit = float(LEAST)
    await asyncio.sleep(0)
    assert len(fill(pressure, NORMAL)) == FEW - 1
    assert len(fill(pressure)) == AT_WORK - FEW


async def test_a_round_of_the_loop_begins_one_of_the_others_and_any_that_is_critical() -> None:
    pressure = guarded(Pressure(100, 10))
    begun = 0

    async def come() -> None:
        nonlocal begun
        (await pressure.enter(NORMAL, "web", "a", later())).leave()
        begun += 1

    tasks = [asyncio.create_task(come()) for _ in range(4)]
    for _ in range(20):
        before = begun
        await asyncio.sleep(0)
        assert begun - before <= 1
        place = pressure.enter_now(CRITICAL)
        assert place
        place.leave()
    assert all(task.done() for task in tasks)


async def test_connections_of_others_are_read_one_after_the_other_while_critical_requests_come() -> None:
    now = 100.0
    pressure = guarded(Pressure(100, 10, clock=lambda: now))
    assert [pressure.until_read() for _ in range(3)] == pytest.approx([0, SPACE, 2 * SPACE])
    now += 2 * SPACE
    assert pressure.until_read() == pytest.approx(SPACE)
    now += 1
    assert pressure.until_read() == 0, "what was not used is not saved up"
    for unguarded in (Pressure(100, 10), Pressure(100, 0)):
        assert [unguarded.until_read() for _ in range(3)] == [0, 0, 0]


async def test_in_line_each_priority_has_its_share_of_the_turns_and_none_starves() -> None:
    pressure = guarded(Pressure(500, 500))
    pressure.rest = 0.0002
    begun: list[Priority] = []

    async def come(priority: Priority) -> None:
        place = await pressure.enter(priority, "web", "a", later())
        begun.append(priority)
        place.leave()

    tasks = [asyncio.create_task(come(p)) for p in (HIGH, NORMAL, LOW) for _ in range(14)]
    await asyncio.gather(*tasks)
    while_all_wait = Counter(begun[: begun.index(LOW, begun.index(LOW) + 1)])
    assert while_all_wait[HIGH] >= 10
    assert while_all_wait[NORMAL] >= WEIGHTS[NORMAL] - 1
    assert pressure.waiting == 0


@pytest.mark.parametrize("line", [10, 0])
async def test_who_is_critical_comes_in_while_others_rest_and_where_nobody_may_wait_nobody_rests(line: int) -> None:
    pressure = guarded(Pressure(100, line, clock=lambda: 100.0))
    pressure.rest = REST
    assert pressure.enter_now(NORMAL)
    assert (pressure.enter_now(HIGH) is None) == bool(line)
    assert pressure.enter_now(CRITICAL)


async def test_who_waits_out_a_rest_needs_nobody_who_leaves_to_be_let_in() -> None:
    pressure = guarded(Pressure(100, 10))
    pressure.rest = REST
    fill(pressure, NORMAL)[0].leave()
    (await pressure.enter(LOW, "web", "a", later())).leave()
    assert (pressure.busy, pressure.held, pressure.waiting) == (0, 0, 0)


async def test_who_finds_no_room_among_all_holds_up_nobody_who_may_fill_more() -> None:
    pressure = Pressure(100, 10)
    for place in fill(pressure, LOW):
        place.__enter__()
    low = asyncio.create_task(pressure.enter(LOW, "marketplace", "bot", later()))
    await asyncio.sleep(0)
    (await pressure.enter(HIGH, "store", "till", later())).leave()
    low.cancel()


async def test_a_rest_grows_until_the_loop_has_time_left_and_ends_with_the_last_critical_request() -> None:
    pressure = guarded(Pressure(100, 10))
    pressure._let[CRITICAL] = 5
    pressure.adapt(0.0, TICK, TICK)
    assert 0 < (first := pressure.rest) < REST
    for _ in range(200):
        pressure._let[CRITICAL] = 5
        pressure.adapt(0.0, TICK, TICK)
    assert first < pressure.rest == REST
    pressure._let[CRITICAL] = 5
    pressure.adapt(0.0, TICK, TICK * BUSY)
    assert pressure.rest == pytest.approx(REST)
    for _ in range(50):
        pressure.adapt(0.0, TICK, TICK)
    assert pressure.rest == 0


# ---- the limit ----------------------------------------------------------------------------------------------------


async def test_a_late_loop_shrinks_the_limit_to_its_floor_and_no_further() -> None:
    pressure = Pressure(500, 10)
    seen = []
    for _ in range(20):
        pressure.adapt(4 * TARGET, TICK)
        seen.append(pressure.limit)
    assert seen[0] < 500
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == LEAST


async def test_a_limit_that_is_used_grows_back_and_one_that_is_not_stays() -> None:
    pressure = Pressure(500, 10)
    pressure.limit = float(LEAST)
    for _ in range(50):
        pressure.adapt(0.0, TICK)
    assert pressure.limit == LEAST, "nobody came: nothing is known about more"
    for _ in range(200):
        fill(pressure)
        pressure.adapt(0.0, TICK)
    assert pressure.limit == 500


async def test_one_hiccup_costs_a_part_and_is_made_good() -> None:
    pressure = Pressure(500, 10)
    fill(pressure)
    pressure.adapt(3 * TARGET, TICK)
    assert 300 < pressure.limit < 500
    for _ in range(30):
        pressure.adapt(0.0, TICK)
    assert pressure.limit == 500


async def test_a_loop_that_somebody_holds_up_is_noticed_and_an_idle_one_is_not_watched() -> None:
    pressure = Pressure(500, 10)
    place = pressure.enter_now(NORMAL)
    assert place is not None
    for _ in range(3):
        await asyncio.sleep(TICK)
        time.sleep(0.08)  # noqa: ASYNC251 - what is to be noticed
    await asyncio.sleep(TICK)
    assert pressure.late > TARGET
    assert pressure.limit < 500
    place.leave()
    await asyncio.sleep(3 * TICK)
    assert pressure._timer is None, "nothing is left that would wake an idle process"


# ---- who matters --------------------------------------------------------------------------------------------------


def test_a_route_s_word_counts_for_all_channels_else_changes_are_high_at_least_and_reads_are_their_channel_s() -> None:
    of = Importance({"store": "critical", "marketplace": "low"}, {"POST /orders": "critical", "GET /sales": "low"}).of
    assert of("POST /orders", "marketplace") is CRITICAL
    assert of("GET /sales", "store") is LOW
    assert of("POST /reservations", "marketplace") is HIGH
    assert of("POST /reservations", "store") is CRITICAL
    assert of("GET /inventory", "marketplace") is LOW
    assert of("GET /inventory", "web") is NORMAL

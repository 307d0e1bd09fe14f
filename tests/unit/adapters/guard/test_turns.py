"""Who comes next, who has to give way, and that nobody is lost or counted twice whatever is done in whatever order."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.guard.bulkhead import WEIGHTS, Bulkhead, Full
from adapters.guard.turns import Turn, Turns
from contracts.call import Priority

CRITICAL, HIGH, NORMAL, LOW = Priority


def filled(turns: Turns, *lines: tuple[Priority, str, str, int]) -> Turns:
    for priority, channel, client, count in lines:
        for _ in range(count):
            turns.add(Turn(priority, channel, client))
    return turns


def served(turns: Turns, most: int = 100_000) -> list[Turn]:
    found: list[Turn] = []
    while len(found) < most and (one := turns.next()):
        found.append(one)
    return found


async def test_of_those_that_never_came_the_most_important_come_first_and_one_that_does_not_fit_is_passed_over() -> None:
    turns = filled(Turns(WEIGHTS), (LOW, "web", "a", 3), (CRITICAL, "web", "a", 20), (HIGH, "web", "a", 20))
    assert (turns.waiting(CRITICAL), turns.waiting(NORMAL), len(turns)) == (20, 0, 43)
    assert [t.priority for t in served(turns, 3)] == [CRITICAL, HIGH, LOW]
    while found := turns.next(lambda priority: priority is not LOW):
        assert found.priority is not LOW
    filled(turns, (HIGH, "web", "a", 20))
    assert Counter(t.priority for t in served(turns, 5))[LOW] == 2, "it makes up for a little of what it missed, if it is there"


async def test_with_weights_each_priority_has_its_share_and_none_starves() -> None:
    turns = filled(Turns(WEIGHTS), *((p, "web", "a", 300) for p in Priority))
    first = Counter(t.priority for t in served(turns, 150))
    assert [first[p] for p in Priority] == pytest.approx([80, 40, 20, 10], abs=2)
    assert len(served(turns)) == 4 * 300 - 150


async def test_turns_that_nobody_used_are_not_saved_up() -> None:
    turns = filled(Turns(WEIGHTS), (LOW, "web", "a", 100))
    served(turns, 100)
    filled(turns, (LOW, "web", "a", 50), (CRITICAL, "web", "a", 50))
    assert Counter(t.priority for t in served(turns, 18))[CRITICAL] == pytest.approx(16, abs=1), "not 18, not 9"


async def test_channels_take_turns_and_so_do_the_clients_of_one() -> None:
    turns = filled(Turns(WEIGHTS), (NORMAL, "web", "bot", 50), (NORMAL, "web", "shop", 2), (NORMAL, "mobile", "app", 2))
    order = [(t.channel, t.client) for t in served(turns)]
    assert order.index(("mobile", "app")) <= 1
    assert [i for i, who in enumerate(order) if who == ("web", "shop")][-1] <= 7
    assert [i for i, who in enumerate(order) if who == ("mobile", "app")][-1] <= 3


async def test_who_gives_way_is_the_least_important_then_the_loudest() -> None:
    turns = filled(
        Turns(WEIGHTS), (NORMAL, "web", "bot", 5), (NORMAL, "web", "shop", 2), (HIGH, "store", "till", 9), (NORMAL, "mobile", "app", 1)
    )
    least = turns.least(HIGH, "store", "till")
    assert least is not None
    assert (least.priority, least.channel, least.client) == (NORMAL, "web", "bot")
    assert turns.least(LOW, "web", "shop") is None, "nobody waits with less right"
    assert turns.least(NORMAL, "web", "bot") is None, "a storm does not make room for itself"
    same = turns.least(NORMAL, "web", "shop")
    assert same is not None
    assert same.client == "bot", "within a channel the client that waits with more"
    other = turns.least(NORMAL, "call_centre", "desk")
    assert other is not None
    assert (other.channel, other.client) == ("web", "bot")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "next", "remove", "least"]),
            st.sampled_from(list(Priority)),
            st.sampled_from(["web", "store", "mobile"]),
            st.sampled_from(["a", "b"]),
        ),
        max_size=120,
    ),
    st.sampled_from([(1, 1, 1, 1), WEIGHTS]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_done_everybody_is_served_once_or_removed(acts: list[tuple[str, Priority, str, str]], weights: tuple[int, ...]) -> None:
    async def play() -> None:
        turns, waiting = Turns(weights), list[Turn]()
        for act, priority, channel, client in acts:
            if act == "add":
                waiting.append(one := Turn(priority, channel, client))
                turns.add(one)
            elif act == "next":
                found = turns.next()
                assert (found is None) == (not waiting)
                if found is not None:
                    waiting.remove(found)
            elif act == "remove" and waiting:
                turns.remove(gone := waiting.pop(len(waiting) // 2))
                turns.remove(gone)
            elif (least := turns.least(priority, channel, client)) is not None:
                assert least in waiting
                assert least.priority >= priority
                assert least.priority == max(t.priority for t in waiting)
            assert len(turns) == len(waiting) == sum(turns.by_channel().values())
        rest = served(turns)
        assert len(rest) == len(waiting)
        assert set(map(id, rest)) == set(map(id, waiting))

    asyncio.run(play())


async def test_a_full_bulkhead_takes_the_important_and_lets_the_others_go() -> None:
    places = Bulkhead(1, 3)
    assert places.enter_now()
    low = [asyncio.create_task(places.enter("marketplace", "bot", LOW)) for _ in range(3)]
    await asyncio.sleep(0)
    order = asyncio.create_task(places.enter("web", "shop", CRITICAL))
    with pytest.raises(Full):
        await low[2]
    with pytest.raises(Full):
        await places.enter("marketplace", "bot", LOW)
    places.leave()
    await order
    for waiter in low[:2]:
        places.leave()
        await waiter
    places.leave()
    assert (places.in_flight, places.waiting) == (0, 0)


async def test_low_calls_get_their_turn_while_critical_ones_keep_coming() -> None:
    places = Bulkhead(1, 100)
    assert places.enter_now()
    order: list[Priority] = []

    async def one(priority: Priority) -> None:
        await places.enter("web", "shop", priority)
        order.append(priority)
        await asyncio.sleep(0)
        places.leave()

    tasks = [asyncio.create_task(one(LOW))]
    tasks += [asyncio.create_task(one(CRITICAL)) for _ in range(40)]
    await asyncio.sleep(0)
    places.leave()
    await asyncio.gather(*tasks)
    assert order.index(LOW) <= 9

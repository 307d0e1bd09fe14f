"""Holding stock: never more than there is, whoever asks at once; a key means one reservation."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.books import Books
from contracts.canonical.amounts import Quantity
from contracts.canonical.reservation import ReservationDraft, ReservationOwner
from contracts.errors import InsufficientStock, InvalidBody, NotFound, PreconditionFailed, StateConflict
from gateway.services.availability import AvailabilityReader
from gateway.services.reservations import Reservations
from tests.conformance.store.make import order, process
from tests.unit.gateway.services.estate import Clock, Estate, asking, books_in


@dataclass
class Bench:
    clock: Clock
    estate: Estate
    books: Books
    service: Reservations


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = Clock()
    estate = Estate(clock)
    estate.rows["inventory.levels"] = (estate.level("10", on_hand=10), estate.level("20", on_hand="2.5", unit="KGM"))
    async with books_in(tmp_path) as books:
        yield Bench(clock, estate, books, Reservations(AvailabilityReader(estate, books, {}, clock), books, "/test", clock))


def wanted(name: str, quantity: str = "1", unit: Any = "EA", **more: Any) -> ReservationDraft:
    draft = ReservationDraft(
        reservation_key=name, sku="10", location_id="0017", quantity=Quantity(quantity, unit), owner=ReservationOwner(type="cart", id="c")
    )
    return msgspec.structs.replace(draft, **more)


async def test_sixty_four_at_once_get_exactly_what_is_there(bench: Bench) -> None:
    got = await asyncio.gather(*(bench.service.hold(wanted(f"r{n}"), asking()) for n in range(64)), return_exceptions=True)
    refused = [e for e in got if isinstance(e, InsufficientStock)]
    assert (sum(not isinstance(e, BaseException) for e in got), len(refused)) == (10, 54)
    assert refused[0].available == "0"


async def test_a_repeat_with_the_same_key_changes_nothing(bench: Bench) -> None:
    first = await bench.service.hold(wanted("same", "4"), asking())
    bench.clock.on(60)
    assert await bench.service.hold(wanted("same", "4"), asking()) == first
    assert (await bench.service.hold(wanted("rest", "6"), asking())).state == "active"


async def test_a_release_from_another_version_is_refused_unless_it_repeats_itself(bench: Bench) -> None:
    held = await bench.service.hold(wanted("r"), asking())
    with pytest.raises(PreconditionFailed):
        await bench.service.release("r", "x", asking(), expected={held.version + 1}, repeated=True)
    released = await bench.service.release("r", "x", asking(), expected={held.version})
    with pytest.raises(PreconditionFailed):
        await bench.service.release("r", "x", asking(), expected={held.version})
    assert await bench.service.release("r", "x", asking(), expected={held.version}, repeated=True) == released


async def test_the_same_key_for_something_else_is_refused_and_names_what_differs(bench: Bench) -> None:
    await bench.service.hold(wanted("same"), asking())
    for change in (
        {"sku": "20"},
        {"quantity": "2"},
        {"owner": ReservationOwner(type="cart", id="another")},
    ):
        with pytest.raises(InvalidBody, match=r"another (sku|quantity|owner)"):
            await bench.service.hold(wanted("same", **change), asking())


async def test_two_who_race_for_one_key_with_other_goods_do_not_both_win(bench: Bench) -> None:
    got = await asyncio.gather(*(bench.service.hold(wanted("same", str(n + 1)), asking()) for n in range(8)), return_exceptions=True)
    assert sum(not isinstance(e, BaseException) for e in got) == 1
    assert all(isinstance(e, InvalidBody) for e in got if isinstance(e, BaseException))


async def test_a_hold_ends_by_itself_even_before_anybody_marked_it(bench: Bench) -> None:
    await bench.service.hold(wanted("all", "10", hold_seconds=30), asking())
    with pytest.raises(InsufficientStock):
        await bench.service.hold(wanted("late"), asking())
    bench.clock.on(30)
    assert (await bench.service.hold(wanted("late", "10"), asking())).state == "active"
    assert await bench.service.expire() == 1
    assert (await bench.service.get("all", asking())).state == "expired"
    with pytest.raises(StateConflict):
        await bench.service.release("all", "owner_removed", asking())


async def test_released_stock_can_be_held_again_and_a_second_release_changes_nothing(bench: Bench) -> None:
    await bench.service.hold(wanted("all", "10"), asking())
    released = await bench.service.release("all", "owner_removed", asking())
    assert (released.state, released.release_reason, released.version) == ("released", "owner_removed", 2)
    assert await bench.service.release("all", "again", asking()) == released
    assert (await bench.service.hold(wanted("next", "10"), asking())).state == "active"


async def test_what_an_order_holds_only_the_order_gives_back(bench: Bench) -> None:
    await bench.books.orders.accept(order("o1"), process("o1"), "c", "k", ())
    await bench.service.hold(wanted("o1-1", owner=ReservationOwner(type="order", id="o1")), asking())
    with pytest.raises(StateConflict, match="cancel the order"):
        await bench.service.release("o1-1", "owner_removed", asking())


async def test_events_come_once_per_change_with_what_is_stored(bench: Bench) -> None:
    await bench.service.hold(wanted("rr"), asking())
    await bench.service.hold(wanted("rr"), asking())
    await bench.service.release("rr", "owner_removed", asking())
    await bench.service.release("rr", "owner_removed", asking())
    told = []
    while rows := await bench.books.outbox.due("t", bench.clock(), 60, 10):
        told += [(r.event.data["state"], r.event.data.get("version", 1)) for r in rows]
        await bench.books.outbox.delivered([r.position for r in rows])
    assert told == [("active", 1), ("released", 2)]


@pytest.mark.parametrize(
    ("quantity", "unit", "expected"),
    [
        ("0", "EA", "more than 0"),
        ("-1", "EA", "more than 0"),
        ("0.5", "EA", "a whole number"),
        ("1", "KGM", "EA"),
        ("1000001", "EA", "1000000"),
    ],
)
async def test_a_quantity_that_makes_no_sense_is_refused_with_its_place(bench: Bench, quantity: str, unit: str, expected: str) -> None:
    with pytest.raises(InvalidBody, match=f"/quantity/.*{expected}"):
        await bench.service.hold(wanted("rr", quantity, unit), asking())


async def test_weighed_goods_are_held_by_weight(bench: Bench) -> None:
    meat = {"sku": "20"}
    await bench.service.hold(wanted("one", "2.4", "KGM", **meat), asking())
    with pytest.raises(InsufficientStock) as refused:
        await bench.service.hold(wanted("two", "0.2", "KGM", **meat), asking())
    assert refused.value.available == "0.1"


async def test_goods_that_no_system_knows_are_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.service.hold(wanted("rr", sku="99"), asking())
    with pytest.raises(NotFound):
        await bench.service.get("nothing", asking())


async def test_two_channels_may_use_one_key_and_neither_meets_the_others(bench: Bench) -> None:
    web, mobile = asking(), msgspec.structs.replace(asking(), channel="mobile")
    await bench.service.hold(wanted("same", "2"), web)
    with pytest.raises(NotFound):
        await bench.service.get("same", mobile)
    with pytest.raises(NotFound):
        await bench.service.release("same", "curious", mobile)
    assert (await bench.service.hold(wanted("same", "3"), mobile)).reservation_key == "same"
    assert (await bench.service.get("same", web)).quantity.value == "2"

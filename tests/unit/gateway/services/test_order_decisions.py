"""What a person decides about an order in the state manual, and how a worker goes on from there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.books import Process, StepRecord
from contracts.canonical.order import Order, OrderReceipt
from contracts.errors import InvalidRequest, NotFound, OutcomeUnknown, StateConflict, UpstreamRejected
from contracts.ports import OrderCancellation
from gateway.services.order_decisions import OrderDecisions
from tests.unit.gateway.services.estate import asking
from tests.unit.gateway.services.test_order_process import BOOK, CANCEL, CANCEL_BOOKING, FIND_BOOKING, Bench, bench_in, states

NO_ANSWER = OutcomeUnknown(system="erp", operation="book", reason="no answer")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


@pytest.fixture
def person(bench: Bench) -> OrderDecisions:
    return OrderDecisions(bench.books, bench.clock)


def receipt(order: Order, number: str = "500", state: Any = "confirmed") -> OrderReceipt:
    return OrderReceipt(external_id=number, order_number=order.order_number, total_price=order.total_price, state=state)


async def stuck(bench: Bench) -> Order:
    """The booking was sent, and what is found for it is not our order as it should be."""
    bench.estate.rows[BOOK] = NO_ANSWER
    order = await bench.accept()
    bench.says(FIND_BOOKING, receipt(order, state="cancelled"))
    process = await bench.on(6)
    assert (process.state, states(process)["book"]) == ("manual", "conflict")
    return order


def named(process: Process, name: str) -> StepRecord:
    return next(s for s in process.steps if s.name == name)


def cancelled(bench: Bench) -> list[str]:
    return [a.external_id for a in bench.estate.asked if isinstance(a, OrderCancellation)]


def sent(bench: Bench) -> int:
    return sum(isinstance(a, Order) for a in bench.estate.asked)


async def test_asked_again_what_was_put_right_in_the_system_is_found_and_nothing_is_sent(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    before = sent(bench)
    bench.says(FIND_BOOKING, receipt(order))
    process = await person.ask(order.order_number, "anna")
    assert (process.state, process.owner, process.lease_until, process.due_at) == ("running", "", None, bench.clock())
    book = named(process, "book")
    assert (book.state, book.attempts) == ("in_doubt", 1)
    assert book.error == "asked again by anna; before: asked back and found it cancelled"
    process = await bench.on(0)
    assert (process.state, states(process)["announce"], sent(bench)) == ("done", "confirmed", before)
    stands = await bench.books.orders.get(order.id)
    assert stands is not None
    assert (stands.order_state, stands.pending_write) == ("confirmed", False)


async def test_asked_again_and_still_wrong_waits_for_a_person_again(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    for _ in range(2):
        await person.ask(order.id, "anna")
        process = await bench.on(0)
        assert (process.state, named(process, "book").error) == ("manual", "asked back and found it cancelled")


async def test_asked_again_a_step_has_its_patience_back_but_is_not_taken_for_unsent(bench: Bench, person: OrderDecisions) -> None:
    bench.estate.rows[BOOK] = bench.estate.rows[FIND_BOOKING] = NO_ANSWER
    order = await bench.accept()
    for _ in range(12):
        await bench.on(120)
    assert (await bench.stands()).state == "manual"
    await person.ask(order.order_number, "anna")
    assert states(await bench.on(0))["book"] == "in_doubt"
    bench.says(FIND_BOOKING)
    bench.estate.rows[BOOK] = UpstreamRejected(system="erp", operation="book", reason="number exists")
    bench.estate.during = lambda asked: bench.says(FIND_BOOKING, receipt(order)) if asked == BOOK else None
    for _ in range(4):
        await bench.on(120)
    process = await bench.stands()
    assert (process.state, named(process, "book").external_id) == ("done", "500")


@pytest.mark.slow
async def test_asked_again_a_step_that_writes_to_no_system_is_repeated(bench: Bench, person: OrderDecisions) -> None:
    levels = bench.estate.rows["inventory.levels"]
    bench.estate.rows["inventory.levels"] = ValueError("boom")  # type: ignore[assignment]  # not of the error tree: what a mistake is
    order = await bench.accept()
    for _ in range(40):
        await bench.on(120)
    process = await bench.stands()
    assert (process.state, states(process)["reserve"]) == ("manual", "manual")
    with pytest.raises(StateConflict, match="the step reserve leaves nothing in a system that could be confirmed"):
        await person.confirm(order.id, "1", "seen", "anna")
    bench.estate.rows["inventory.levels"] = levels
    assert states(await person.ask(order.id, "anna"))["reserve"] == "prepared"
    assert (await bench.on(0)).state == "done"


async def test_a_confirmed_step_carries_its_id_and_reason_and_the_process_goes_on(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    process = await person.confirm(order.order_number, "0005000017", "seen in VA03", "anna")
    book = named(process, "book")
    assert (process.state, process.due_at, book.state, book.external_id) == ("running", bench.clock(), "confirmed", "0005000017")
    assert book.error == "confirmed by anna: seen in VA03; before: asked back and found it cancelled"
    assert (await bench.on(0)).state == "done"
    stands = await bench.books.orders.get(order.id)
    assert stands is not None
    assert (stands.order_state, stands.export_state) == ("confirmed", "exported")
    assert {x.system: x.external_id for x in stands.external_ids} == {"create": "SO-1", "book": "0005000017"}
    await bench.orders.cancel(order.id, "customer", asking())
    assert cancelled(bench) == ["SO-1", "0005000017"]


async def test_undone_what_is_confirmed_is_cancelled_and_what_is_found_of_the_rest(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    bench.says(FIND_BOOKING, receipt(order, "0005000017"))
    process = await person.undo(order.order_number, "customer was called", "anna")
    assert (process.state, process.reason, process.due_at) == ("compensating", "customer was called", bench.clock())
    assert states(process) == {
        "reserve": "confirmed", "create": "confirmed", "book": "failed", "announce": "skipped",
        "cancel_order": "prepared", "cancel_booking": "in_doubt", "release": "prepared",
    }  # fmt: skip
    assert named(process, "book").error == "given up by anna: customer was called; before: asked back and found it cancelled"
    process = await bench.on(0)
    assert (process.state, cancelled(bench)) == ("compensated", ["SO-1", "0005000017"])
    stands = await bench.books.orders.get(order.id)
    assert stands is not None
    assert (stands.order_state, stands.export_state, stands.pending_write) == ("cancelled", "failed", False)
    assert [r.state for r in await bench.books.reservations.of_owner("order", order.id)] == ["released"]


async def test_undone_a_booking_that_never_came_to_be_needs_no_cancelling(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    bench.says(FIND_BOOKING)
    await person.undo(order.order_number, "customer was called", "anna")
    assert (await bench.on(0)).state == "compensating"  # nothing found once is no answer yet
    for _ in range(2):
        await bench.on(6)
    assert ((await bench.stands()).state, cancelled(bench)) == ("compensated", ["SO-1"])


async def test_undone_two_bookings_of_one_order_are_a_persons_case_until_one_is_left(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    bench.says(FIND_BOOKING, receipt(order, "500"), receipt(order, "501"))
    await person.undo(order.order_number, "booked twice", "anna")
    process = await bench.on(0)
    assert (process.state, named(process, "cancel_booking").error) == ("manual", "asked back and found 2 orders")
    with pytest.raises(StateConflict, match="it is being undone already"):
        await person.undo(order.order_number, "again", "anna")
    bench.says(FIND_BOOKING, receipt(order, "500", "cancelled"), receipt(order, "501"))
    assert (await person.ask(order.order_number, "anna")).state == "compensating"
    assert (await bench.on(0)).state == "compensated"
    assert cancelled(bench) == ["SO-1", "501"]


async def test_confirmed_while_being_undone_it_is_cancelled_in_the_system(bench: Bench, person: OrderDecisions) -> None:
    order = await bench.accept()
    bench.estate.rows[CANCEL_BOOKING] = UpstreamRejected(system="erp", operation="cancel", reason="delivery note exists")
    await bench.orders.cancel(order.id, "customer", asking())
    assert (await bench.stands()).state == "manual"
    process = await person.confirm(order.order_number, "500", "cancelled by hand", "anna")
    assert (process.state, states(process)["cancel_booking"]) == ("compensating", "confirmed")
    process = await bench.on(0)
    assert (process.state, states(process)["release"]) == ("compensated", "confirmed")


async def test_a_system_that_refuses_the_undoing_leaves_it_with_a_person(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    bench.estate.rows[CANCEL] = UpstreamRejected(system="oms", operation="cancel", reason="goods have left")
    await person.undo(order.order_number, "customer was called", "anna")
    process = await bench.on(0)
    assert (process.state, named(process, "cancel_order").error) == ("manual", "goods have left")


async def test_nothing_is_decided_about_unknown_orders_or_those_that_wait_for_nobody(bench: Bench, person: OrderDecisions) -> None:
    with pytest.raises(NotFound, match="no order 'W-0000-1'"):
        await person.ask("W-0000-1", "anna")
    order = await bench.accept()
    for decision in (person.ask(order.id, "a"), person.confirm(order.id, "1", "seen", "a"), person.undo(order.id, "no", "a")):
        with pytest.raises(StateConflict, match=f"order '{order.id}' is done: a person decides only about an order in the state manual"):
            await decision


@pytest.mark.parametrize("text", ["", " ", "a\x1b[2J", "x" * 201])
async def test_what_a_person_writes_is_bounded(bench: Bench, person: OrderDecisions, text: str) -> None:
    order = await stuck(bench)
    with pytest.raises(InvalidRequest, match="EXTERNAL_ID: expected 1 to 64 printable characters"):
        await person.confirm(order.id, text, "seen", "anna")
    with pytest.raises(InvalidRequest, match="reason: expected 1 to 200 printable characters"):
        await person.undo(order.id, text, "anna")
    assert (await bench.stands()).state == "manual"


async def test_of_two_who_decide_at_once_one_is_told(bench: Bench, person: OrderDecisions) -> None:
    order = await stuck(bench)
    said = await asyncio.gather(
        person.confirm(order.id, "500", "seen", "anna"), person.undo(order.id, "gone", "ben"), return_exceptions=True
    )
    assert sorted(type(s).__name__ for s in said) == ["Process", "StateConflict"]

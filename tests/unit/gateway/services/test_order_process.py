"""The order's process against systems that say exactly what a test wants: refusals, our own mistakes, and what is stored around them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from contracts.books import Books, Process
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.order import Order, OrderDraft, OrderLineDraft, OrderReceipt
from contracts.errors import (
    BreakerOpen,
    IdempotencyKeyReused,
    InsufficientStock,
    InvalidBody,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    UpstreamBusy,
    UpstreamRejected,
)
from gateway.services.availability import AvailabilityReader
from gateway.services.order_process import OrderProcess, Rules
from gateway.services.orders import Orders
from observability import Recorder
from tests.unit.gateway.services.estate import Clock, Estate, asking, books_in

CREATE, BOOK, FIND, FIND_BOOKING = "order.create", "order.book", "order.find", "order.find_booking"
CANCEL, CANCEL_BOOKING = "order.cancel", "order.cancel_booking"


@dataclass
class Bench:
    clock: Clock
    estate: Estate
    books: Books
    process: OrderProcess
    orders: Orders

    def says(self, capability: str, *rows: OrderReceipt) -> None:
        self.estate.rows[capability] = rows

    async def accept(self, key: str = "k1", draft: OrderDraft | None = None) -> Order:
        return await self.orders.accept(draft or DRAFT, key, asking())

    async def on(self, seconds: float) -> Process:
        """Time passes, and a worker looks after what is due."""
        self.clock.on(seconds)
        await self.process.run_due()
        return await self.stands()

    async def stands(self) -> Process:
        process = await self.books.orders.process_of((await self.books.orders.all_orders())[-1].id)
        assert process is not None
        return process


@asynccontextmanager
async def bench_in(folder: Path) -> AsyncIterator[Bench]:
    clock = Clock()
    estate = Estate(clock)
    estate.rows |= {
        "inventory.levels": (estate.level("10", on_hand=10),),
        CREATE: (OrderReceipt(external_id="SO-1"),),
        BOOK: (OrderReceipt(external_id="500"),),
        FIND: (),
        FIND_BOOKING: (),
        CANCEL: (OrderReceipt(external_id="SO-1", state="cancelled"),),
        CANCEL_BOOKING: (OrderReceipt(external_id="-", state="cancelled"),),
    }
    async with books_in(folder) as books:
        availability = AvailabilityReader(estate, books, {}, clock)
        process = OrderProcess(estate, books, availability, Recorder(), "/test", Rules(attempts=6), clock)
        yield Bench(clock, estate, books, process, Orders(estate, books, process, clock))
        await process.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


def line(number: int = 1, quantity: str = "2") -> OrderLineDraft:
    price = Money(1295, "EUR", 2)
    return OrderLineDraft(line_number=number, sku="10", quantity=Quantity(quantity, "EA"), unit_price=price, requested_location_id="0017")


DRAFT = OrderDraft(lines=(line(),))


def states(process: Process) -> dict[str, str]:
    return {s.name: s.state for s in process.steps}


async def test_an_order_passes_its_steps_and_rests(bench: Bench) -> None:
    order = await bench.accept()
    process = await bench.stands()
    assert (order.order_state, order.pending_write, order.export_state) == ("confirmed", False, "exported")
    assert (process.state, process.owner, process.lease_until) == ("done", "", None)
    assert [(s.name, s.state, s.attempts, s.external_id) for s in process.steps] == [
        ("reserve", "confirmed", 0, ""),
        ("create", "confirmed", 1, "SO-1"),
        ("book", "confirmed", 1, "500"),
        ("announce", "confirmed", 0, ""),
    ]


async def test_an_order_that_no_system_takes_is_not_taken_by_us(bench: Bench) -> None:
    del bench.estate.rows[CREATE], bench.estate.rows[BOOK]
    with pytest.raises(NotFound, match="no capability"):
        await bench.accept()
    assert await bench.books.orders.all_orders() == []


async def test_a_refusal_of_the_first_system_gives_the_stock_back(bench: Bench) -> None:
    bench.estate.rows[CREATE] = UpstreamRejected(system="oms", operation="create", reason="no such article 4711")
    with pytest.raises(UpstreamRejected) as refused:
        await bench.accept()
    assert refused.value.public == "The owning system does not accept this."
    process = await bench.stands()
    assert (process.state, states(process)) == (
        "compensated",
        {"reserve": "confirmed", "create": "failed", "book": "skipped", "announce": "skipped", "release": "confirmed"},
    )
    assert next(s.error for s in process.steps if s.name == "create") == "no such article 4711"
    with pytest.raises(UpstreamRejected):
        await bench.accept()  # a repeat is told the same


async def test_what_was_reserved_in_part_is_given_back(bench: Bench) -> None:
    draft = OrderDraft(lines=(line(1, "6"), line(2, "6")))
    with pytest.raises(InsufficientStock) as refused:
        await bench.accept(draft=draft)
    assert (refused.value.sku, refused.value.requested, refused.value.available) == ("10", "6", "4")
    order = (await bench.books.orders.all_orders())[-1]
    assert [r.state for r in await bench.books.reservations.of_owner("order", order.id)] == ["released"]


async def test_a_refusal_of_stock_figures_is_told_without_the_systems_words(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = UpstreamRejected(system="erp", operation="GetStock", reason="plant 0017 is locked by MUELLER")
    with pytest.raises(UpstreamRejected) as refused:
        await bench.accept()
    assert "MUELLER" not in refused.value.public


async def test_what_a_mapping_refuses_is_the_callers_mistake_with_its_place(bench: Bench) -> None:
    bench.estate.rows[BOOK] = InvalidBody(where="/lines/0/quantity/unit", expected="EA or KGM", got="PR")
    with pytest.raises(InvalidBody, match="/lines/0/quantity/unit: expected EA or KGM, got PR"):
        await bench.accept()
    assert states(await bench.stands())["cancel_order"] == "confirmed"


async def test_a_refused_repeat_of_a_write_is_asked_back_before_it_is_believed(bench: Bench) -> None:
    """ "Refused" may mean "I have that already": the first attempt arrived late."""
    bench.estate.rows[BOOK] = OutcomeUnknown(system="erp", operation="book", reason="no answer")
    order = await bench.accept()
    assert states(await bench.on(6))["book"] == "in_doubt"
    bench.estate.rows[BOOK] = UpstreamRejected(system="erp", operation="book", reason="number exists")
    receipt = OrderReceipt(external_id="500", order_number=order.order_number, total_price=order.total_price)
    bench.estate.during = lambda asked: bench.says(FIND_BOOKING, receipt) if asked == BOOK else None
    process = await bench.on(6)
    assert (process.state, states(process)["book"]) == ("done", "confirmed")


async def test_doubt_that_a_query_cannot_lift_never_becomes_a_second_write(bench: Bench) -> None:
    bench.estate.rows[CREATE] = OutcomeUnknown(system="oms", operation="create", reason="no answer")
    await bench.accept()
    bench.estate.rows[FIND] = BreakerOpen(system="oms", operation="find")
    written = sum(isinstance(a, Order) for a in bench.estate.asked)
    for _ in range(8):
        assert states(await bench.on(120))["create"] == "in_doubt"
    bench.estate.rows[FIND] = UpstreamRejected(system="oms", operation="find", reason="no")
    for _ in range(4):
        process = await bench.on(120)
    assert sum(isinstance(a, Order) for a in bench.estate.asked) == written
    assert (process.state, states(process)["create"]) == ("manual", "manual")


async def test_a_system_that_is_away_is_waited_for_and_never_a_persons_case(bench: Bench) -> None:
    bench.estate.rows[BOOK] = UpstreamBusy(system="erp", operation="book", retry_after=30)
    assert (await bench.accept()).pending_write
    for _ in range(40):
        process = await bench.on(120)
    assert (process.state, states(process)["book"]) == ("waiting", "retry_scheduled")
    bench.says(BOOK, OrderReceipt(external_id="500"))
    assert (await bench.on(120)).state == "done"


async def test_a_systems_wish_to_be_left_alone_is_respected(bench: Bench) -> None:
    bench.estate.rows[BOOK] = UpstreamBusy(system="erp", operation="book", retry_after=30)
    await bench.accept()
    asked = len(bench.estate.asked)
    await bench.on(29)
    assert len(bench.estate.asked) == asked
    await bench.on(1)
    assert len(bench.estate.asked) > asked


@pytest.mark.slow
async def test_a_mistake_of_our_own_ends_with_a_person_and_not_in_a_circle(bench: Bench) -> None:
    bench.estate.rows[CREATE] = ValueError("boom")  # type: ignore[assignment]  # not of the error tree: what a mistake is
    assert (await bench.accept()).pending_write
    for _ in range(40):
        process = await bench.on(120)
    assert (process.state, states(process)["create"]) == ("manual", "manual")


async def test_a_doubtful_cancellation_of_an_order_that_is_gone_is_a_persons_case(bench: Bench) -> None:
    order = await bench.accept()
    bench.estate.rows[CANCEL] = OutcomeUnknown(system="oms", operation="cancel", reason="no answer")
    await bench.orders.cancel(order.id, "customer", asking())
    for _ in range(3):
        process = await bench.on(6)
    assert (process.state, states(process)["cancel_order"]) == ("manual", "conflict")


async def test_a_refused_second_half_of_a_cancellation_is_a_persons_case(bench: Bench) -> None:
    order = await bench.accept()
    bench.estate.rows[CANCEL_BOOKING] = UpstreamRejected(system="erp", operation="cancel", reason="delivery note exists")
    told = await bench.orders.cancel(order.id, "customer", asking())
    assert (told.order_state, told.pending_write) == ("confirmed", True)
    process = await bench.stands()
    assert (process.state, states(process)["cancel_order"], states(process)["cancel_booking"]) == ("manual", "confirmed", "manual")


async def test_of_many_cancellations_from_one_version_exactly_one_happens_and_its_repeat_finds_it(bench: Bench) -> None:
    order = await bench.accept()
    ends = await asyncio.gather(
        *(bench.orders.cancel(order.id, f"reason {n}", asking(), expected={order.version}) for n in range(20)), return_exceptions=True
    )
    assert sorted(type(x).__name__ for x in ends) == ["Order"] + ["PreconditionFailed"] * 19
    assert (await bench.stands()).state == "compensated"
    cancelled = next(x for x in ends if isinstance(x, Order))
    assert cancelled.order_state == "cancelled"
    assert await bench.orders.cancel(order.id, "again", asking(), expected={order.version}, repeated=True) == cancelled
    assert await bench.orders.cancel(order.id, "again", asking(), expected={cancelled.version}) == cancelled
    with pytest.raises(PreconditionFailed):
        await bench.orders.cancel(order.id, "again", asking(), expected={order.version})


async def test_rounding_of_parts_of_a_unit_is_no_conflict_but_a_cent_of_whole_ones_is(bench: Bench) -> None:
    for quantity, unit, state in (("1.5", "KGM", "confirmed"), ("2", "EA", "conflict")):
        bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=10, unit=unit),)
        bench.estate.rows[BOOK] = OutcomeUnknown(system="erp", operation="book", reason="no answer")
        some = msgspec.structs.replace(line(), quantity=Quantity(quantity, unit))  # type: ignore[arg-type]  # units of its own
        order = await bench.accept(unit, OrderDraft(lines=(some,)))
        cent = Money(order.total_price.cent_amount + 1, "EUR", 2)
        bench.says(FIND_BOOKING, OrderReceipt(external_id="500", order_number=order.order_number, total_price=cent))
        assert states(await bench.on(6))["book"] == state


async def test_a_key_that_the_edge_forgot_is_not_another_order(bench: Bench) -> None:
    first = await bench.accept("old")
    assert (await bench.accept("old")).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await bench.accept("old", OrderDraft(lines=(line(quantity="3"),)))

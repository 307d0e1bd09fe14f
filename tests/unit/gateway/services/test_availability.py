"""The arithmetic of availability: each term once, cut by what a figure contains and not by clocks (canonical model §6)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.books import Books
from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import Availability, InventoryLevel, TillPosition
from contracts.canonical.reservation import Reservation, ReservationOwner
from contracts.errors import UpstreamTimeout
from contracts.ports import Gap
from gateway.services.availability import AvailabilityReader
from tests.conformance.store.make import batch, key, line, sale, seen
from tests.unit.gateway.services.estate import Clock, Estate, asking, at, books_in

SAFETY = {"web": 3, "marketplace": 5}


@dataclass
class Bench:
    clock: Clock
    estate: Estate
    books: Books
    reader: AvailabilityReader

    async def read(self, sku: str = "10", channel: str = "web") -> Availability:
        answer = await self.reader.read([at(sku)], asking(channel), explain=True)
        (item,) = answer.items
        return item

    async def sold(self, *sales: Any) -> None:
        await self.books.files.claim(seen(), "o", self.clock(), 60, "t")
        await self.books.sales.commit(batch(*sales), self.clock())

    async def hold(self, quantity: int, name: str = "hold", sku: str = "10") -> None:
        held = Reservation(
            reservation_key=name,
            sku=sku,
            location_id="0017",
            quantity=Quantity.of(Decimal(quantity), "EA"),
            owner=ReservationOwner(type="cart", id="c"),
            expires_at=self.clock.at.replace(year=2027),
            state="active",
        )
        await self.books.reservations.hold(held, None, self.clock(), self.clock(), ())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = Clock()
    estate = Estate(clock)
    async with books_in(tmp_path) as books:
        yield Bench(clock, estate, books, AvailabilityReader(estate, books, SAFETY, clock))


def terms(item: Availability) -> dict[str, str]:
    return {t.name: t.quantity.value for t in item.explanation}


def back(sku: str, units: str = "1") -> Any:
    return line(sku, units, line_type="return", number=2)


async def test_the_example_of_the_canonical_model(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=20, committed=4, reserved=1, damaged=1),)
    await bench.sold(sale(1, line("10", "3")), sale(2, line("10", "2"), back("10")))
    await bench.hold(2)
    item = await bench.read()
    assert terms(item) == {"on_hand": "20", "committed": "-4", "reserved": "-1", "damaged": "-1", "pos_delta": "-4", "own_holds": "-2"}
    assert (item.free, item.safety_stock, item.available) == (Quantity("8", "EA"), Quantity("3", "EA"), Quantity("5", "EA"))
    assert sum(t.quantity.amount for t in item.explanation) == item.free.amount  # type: ignore[union-attr]  # explained


async def test_sales_count_by_the_key_that_was_posted_not_by_the_clock(bench: Bench) -> None:
    posted = (
        TillPosition(workstation_id="3", business_date="2026-03-11", sequence_number=5),
        TillPosition(workstation_id="4", business_date="2026-03-12", sequence_number=1),
    )
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=100, posted_through=posted),)
    long_ago, long_after = bench.clock.at.replace(year=2020), bench.clock.at.replace(year=2030)
    await bench.sold(
        sale(5, line("10", "50"), begin_at=long_after),  # contained, whatever its clock says
        sale(6, line("10", "1"), begin_at=long_ago),  # not contained
        sale(1, line("10", "2"), key=key(1, day="2026-03-12")),  # the next day of that till
        sale(9, line("10", "40"), key=key(9, till="4", day="2026-03-11")),  # the day before the posted one
        sale(1, line("10", "3"), key=key(1, till="7")),  # a till that was never posted
    )
    assert terms(await bench.read())["pos_delta"] == "-6"


async def test_a_committed_hold_counts_until_a_figure_can_contain_it(bench: Bench) -> None:
    before = bench.clock()
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=20),)
    await bench.hold(2)
    bench.clock.on(10)
    await bench.books.reservations.change("hold", "committed", bench.clock(), ())
    assert terms(await bench.read())["own_holds"] == "-2"  # the figure is older than the commitment
    bench.clock.on(10)
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=20, committed=2),)
    assert terms(await bench.read()) == {"on_hand": "20", "committed": "-2"}
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=20, as_of=before),)
    assert terms(await bench.read())["own_holds"] == "-2"


async def test_a_systems_clock_that_runs_ahead_hides_no_hold(bench: Bench) -> None:
    """The figure was asked for before the commitment, whatever it says about itself."""
    ahead = bench.clock.at.replace(year=2030)
    await bench.hold(2)
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=20, as_of=ahead),)
    stock = await bench.reader.free_for_hold(at("10"), asking())
    bench.clock.on(1)
    await bench.books.reservations.change("hold", "committed", bench.clock(), ())
    assert stock is not None
    held = await bench.books.reservations.held([at("10")], {at("10"): stock.counted_since}, bench.clock())
    assert held[at("10")] == 2
    assert terms(await bench.read())["own_holds"] == "-2"


async def test_what_is_already_taken_out_of_available_is_not_taken_out_twice(bench: Bench) -> None:
    await bench.sold(sale(1, line("10", "5")))
    await bench.hold(2)
    figures = {"available": 10, "committed": 4, "damaged": 1}
    for net_of, free in (
        ((), 10 - 4 - 1 - 5 - 2),
        (("committed",), 10 - 1 - 5 - 2),
        (("committed", "damaged", "pos_delta"), 10 - 2),
        (("committed", "damaged", "pos_delta", "own_holds"), 10),
    ):
        bench.estate.rows["inventory.levels"] = (bench.estate.level("10", **figures, net_of=net_of),)
        assert (await bench.read()).free == Quantity(str(free), "EA"), net_of


async def test_net_of_says_nothing_about_what_is_physically_there(bench: Bench) -> None:
    level = bench.estate.level("10", on_hand=20, available=16, committed=4, net_of=("committed",))
    bench.estate.rows["inventory.levels"] = (level,)
    assert (await bench.read()).free == Quantity("16", "EA")


async def test_a_missing_figure_is_absent_and_never_zero(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", committed=4), bench.estate.level("11", on_hand=0))
    answer = await bench.reader.read([at("10"), at("11"), at("12")], asking())
    assert [(i.sku, i.available.value) for i in answer.items] == [("11", "0")]


async def test_unknown_pairs_are_absent_with_and_without_gaps(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=9),)
    answer = await bench.reader.read([at("10"), at("99")], asking())
    assert ([i.sku for i in answer.items], answer.gaps) == (["10"], ())
    bench.estate.gaps = (Gap("erp", "upstream_timeout", ("99/0017",)),)
    answer = await bench.reader.read([at("99"), at("10"), at("10")], asking())
    assert ([i.sku for i in answer.items], answer.gaps) == (["10"], bench.estate.gaps)


@pytest.mark.parametrize(("channel", "available"), [("web", "1"), ("marketplace", "0"), ("store", "4")])
async def test_safety_stock_is_the_channels_own_and_never_makes_a_negative_promise(bench: Bench, channel: str, available: str) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=4),)
    item = await bench.read(channel=channel)
    assert (item.available.value, item.free) == (available, Quantity("4", "EA"))


async def test_more_sold_than_there_is_shows_as_nothing_available_and_is_explained(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=4),)
    await bench.sold(sale(1, line("10", "6")))
    item = await bench.read()
    assert (item.available.value, item.free) == ("0", Quantity("-2", "EA"))


async def test_weighed_goods_move_by_their_measure(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand="10.500", unit="KGM"),)
    await bench.sold(sale(1, line("10", "1", measure=Quantity("0.420", "KGM"))))
    item = await bench.read(channel="store")
    assert terms(item) == {"on_hand": "10.5", "pos_delta": "-0.42"}
    assert item.available == Quantity("10.08", "KGM")


async def test_a_stale_figure_makes_a_stale_answer_with_its_own_time(bench: Bench) -> None:
    bench.estate.stale = True
    old = bench.clock()
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=4),)
    bench.clock.on(60)
    item = await bench.read()
    assert (item.stale, item.as_of) == (True, old)


async def test_a_hold_asks_for_a_fresh_figure_and_unknown_goods_have_none(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = ()
    assert await bench.reader.free_for_hold(at("99"), asking()) is None


async def test_without_explanation_only_the_promise_is_told(bench: Bench) -> None:
    bench.estate.rows["inventory.levels"] = (bench.estate.level("10", on_hand=9),)
    (item,) = (await bench.reader.read([at("10")], asking())).items
    assert (item.free, item.safety_stock, item.explanation) == (None, None, ())
    assert msgspec.json.decode(msgspec.json.encode(item))["available"] == {"value": "6", "unit": "EA"}


# ---- levels that came in files ------------------------------------------------------------------------------------


class Reported(Bench):
    async def told(self, figure: int, since: float, sku: str = "10") -> InventoryLevel:
        """So many seconds ago."""
        moment = self.clock() - timedelta(seconds=since)
        source = Provenance(source_system="wms", as_of=moment, received_at=self.clock(), via="file", source_record="846.edi")
        level = msgspec.structs.replace(self.estate.level(sku, on_hand=figure, as_of=moment), provenance=(source,))
        await self.books.files.claim(seen("d2", "846.edi"), "o", self.clock(), 60, "t")
        await self.books.sales.commit(batch(digest="d2", reports=((1, level),)), self.clock())
        return level


@pytest.fixture
async def reported(tmp_path: Path) -> AsyncIterator[Reported]:
    clock = Clock()
    estate = Estate(clock)
    async with books_in(tmp_path) as books:
        yield Reported(clock, estate, books, AvailabilityReader(estate, books, SAFETY, clock, reporting={"wms": 86_400.0}))


async def test_a_reported_level_counts_from_its_moment_with_sales_and_holds_behind_it(reported: Reported) -> None:
    reported.estate.rows["inventory.levels"] = ()
    level = await reported.told(50, since=3600)
    now = reported.clock()
    sales = [sale(n, line("10", str(2**n)), begin_at=now - timedelta(minutes=age)) for n, age in ((0, 90), (1, 30), (2, 1))]
    await reported.sold(*sales)
    await reported.hold(7)
    item = await reported.read()
    assert terms(item) == {"on_hand": "50", "pos_delta": "-6", "own_holds": "-7"}
    assert (item.available.value, item.as_of, item.provenance) == ("34", level.as_of, level.provenance)
    assert (item.explanation[0].source, item.explanation[0].as_of) == ("wms", level.as_of)


async def test_a_report_of_a_moment_to_come_holds_no_sale_after_its_arrival(reported: Reported) -> None:
    reported.estate.rows["inventory.levels"] = ()
    await reported.told(50, since=-21_600)
    reported.clock.on(600)
    await reported.sold(sale(0, line("10", "20"), begin_at=reported.clock() - timedelta(minutes=9)))
    reported.clock.on(60)
    assert terms(await reported.read()) == {"on_hand": "50", "pos_delta": "-20"}
    reported.clock.on(50_000)
    assert terms(await reported.read()) == {"on_hand": "50", "pos_delta": "-20"}


async def test_a_report_is_stale_after_its_time_and_says_nothing_once_its_system_is_gone(reported: Reported) -> None:
    await reported.told(50, since=3600)
    assert not (await reported.read()).stale
    reported.clock.on(86_400)
    item = await reported.read()
    assert (item.stale, item.provenance[0].stale, item.available.value) == (True, True, "47")
    other = AvailabilityReader(reported.estate, reported.books, SAFETY, reported.clock, reporting={"another": 0.0})
    assert (await other.read([at("10")], asking())).items == ()


async def test_of_a_system_and_a_report_the_younger_figure_counts(reported: Reported) -> None:
    early = reported.estate.level("10", on_hand=30, as_of=reported.clock() - timedelta(hours=2))
    await reported.told(50, since=3600)
    reported.estate.rows["inventory.levels"] = (early,)
    assert (await reported.read()).on_hand == Quantity("50", "EA")
    reported.estate.rows["inventory.levels"] = (reported.estate.level("10", on_hand=31),)
    item = await reported.read()
    assert (item.on_hand, item.provenance[0].source_system) == (Quantity("31", "EA"), "erp")


async def test_what_is_reported_of_all_that_was_asked_stands_while_the_system_is_away(reported: Reported) -> None:
    reported.estate.rows["inventory.levels"] = UpstreamTimeout(system="erp", operation="GetStock", reason="no answer")
    await reported.told(50, since=3600)
    assert (await reported.read()).available.value == "47"
    with pytest.raises(UpstreamTimeout):
        await reported.reader.read([at("10"), at("11")], asking())


async def test_a_gap_of_the_system_does_not_cover_what_is_reported(reported: Reported) -> None:
    reported.estate.rows["inventory.levels"] = ()
    reported.estate.gaps = (Gap("erp", "upstream_timeout", ("10/0017", "11/0017")),)
    await reported.told(50, since=3600)
    answer = await reported.reader.read([at("10"), at("11")], asking())
    assert ([item.sku for item in answer.items], answer.gaps) == (["10"], (Gap("erp", "upstream_timeout", ("11/0017",)),))


async def test_where_no_system_is_asked_for_levels_reports_alone_are_the_answer(reported: Reported) -> None:
    assert (await reported.reader.read([at("10")], asking())).items == ()
    await reported.told(8, since=60)
    assert [item.available.value for item in (await reported.reader.read([at("10"), at("99")], asking())).items] == ["5"]
    assert reported.estate.asked == []

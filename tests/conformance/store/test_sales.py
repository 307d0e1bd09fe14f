import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from contracts.books import BatchResult, Books, Quarantined
from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import InventoryLevel, MovementKey, StockMovement, TillPosition
from contracts.canonical.sale import SaleFlags, SaleLink
from contracts.errors import StateConflict
from contracts.ports import SkuAt
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, batch, key, later, line, sale, seen

A, B = SkuAt(sku="10000001", location_id="0017"), SkuAt(sku="10000002", location_id="0017")


@pytest.fixture
async def claimed(books: Books) -> Books:
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    return books


async def moved(books: Books, *pairs: SkuAt) -> dict[SkuAt, Decimal]:
    return dict(await books.sales.delta(dict.fromkeys(pairs or (A, B), ())))


async def test_batch_books_sales_stock_totals_and_events_together(claimed: Books) -> None:
    sales = sale(1, line("10000001", "2"), line("10000002", "1", number=2), cents=300), sale(2, line("10000001", "0.5"), cents=25)
    assert await claimed.sales.commit(batch(*sales, position=2), NOW) == BatchResult(booked=2, repeated=0, conflicts=0)
    assert await moved(claimed) == {A: Decimal("2.5"), B: Decimal(1)}
    assert await claimed.sales.totals() == {"0017": {"sales": 2, "cents": 325, "units_milli": 3500}}
    assert await claimed.sales.get(key(1)) == sales[0]
    assert await claimed.sales.get(key(9)) is None
    assert (record := await claimed.files.get("d1")) is not None
    assert (record.position, record.booked) == (2, 2)
    events = [row.event for row in await claimed.outbox.due("w", NOW, 30, 100)]
    assert [(e.type.split(".")[2], e.subject) for e in events] == [
        ("sale", "0017/3/2026-03-11/1"),
        ("sale", "0017/3/2026-03-11/2"),
        ("inventory", "10000001@0017"),
        ("inventory", "10000002@0017"),
    ]
    assert events[0].data["lines"][0]["itemId"] == "10000001"
    assert events[0].data["provenance"][0]["sourceRecord"] == "row 1"
    assert events[0].businessdate == "2026-03-11"
    assert events[2].data == {"sku": "10000001", "locationId": "0017", "change": {"value": "-2.5", "unit": "EA"}}
    assert len({(e.source, e.id) for e in events}) == 4
    assert [e.sequence for e in events] == sorted(e.sequence or "" for e in events)


async def test_repeat_books_nothing_and_other_content_is_a_conflict(claimed: Books) -> None:
    await claimed.sales.commit(batch(sale(1), sale(2)), NOW)
    again = sale(1, provenance=()), sale(2, line("10000001", "9")), sale(3)
    assert await claimed.sales.commit(batch(*again, position=2), later(1)) == BatchResult(booked=1, repeated=1, conflicts=1, quarantined=1)
    assert await moved(claimed) == {A: Decimal(3)}
    assert await claimed.sales.get(key(2)) == sale(2)
    (bad,) = await claimed.files.quarantined("d1", 10)
    assert (bad.key, bad.field, bad.file) == ("0017/3/2026-03-11/2", "key", seen().name)
    assert "booked already with other content" in bad.reason
    assert b'"9"' in bad.raw
    assert await claimed.sales.commit(batch(*again, position=2), later(2)) == BatchResult(booked=0, repeated=2, conflicts=1)
    assert len(await claimed.files.quarantined("d1", 10)) == 1


async def test_same_key_twice_in_one_batch_books_the_first(claimed: Books) -> None:
    result = await claimed.sales.commit(batch(sale(1), sale(1), sale(1, line("10000002"))), NOW)
    assert result == BatchResult(booked=1, repeated=1, conflicts=1, quarantined=1)
    assert await moved(claimed) == {A: Decimal(1)}


async def test_same_sales_from_two_files_at_once_are_booked_once(claimed: Books, another: Open) -> None:
    other = await another()
    await other.files.claim(seen("d2", "copy"), "w2", NOW, 60, "t2")
    sales = [sale(n) for n in range(60)]
    results = await asyncio.gather(
        *(claimed.sales.commit(batch(*sales[n : n + 20], position=n), NOW) for n in (0, 20, 40)),
        *(other.sales.commit(batch(*reversed(sales[n : n + 30]), position=n, digest="d2"), NOW) for n in (0, 30)),
    )
    assert sum(r.booked for r in results) == 60
    assert sum(r.repeated for r in results) == 60
    assert (await claimed.sales.totals())["0017"] == {"sales": 60, "cents": 6000, "units_milli": 60000}


async def test_cancelled_commits_are_booked_whole_or_not_at_all(claimed: Books) -> None:
    tasks = [asyncio.create_task(claimed.sales.commit(batch(sale(2 * n), sale(2 * n + 1), position=n), NOW)) for n in range(40)]
    for n, task in enumerate(tasks):
        await asyncio.sleep(0.001 * (n % 3))
        if n % 2:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (record := await claimed.files.get("d1")) is not None
    there = [n for n in range(80) if await claimed.sales.get(key(n)) is not None]
    assert record.booked == len(there) == (await claimed.sales.totals())["0017"]["sales"] == (await moved(claimed))[A]
    assert all(n ^ 1 in there for n in there)
    assert all(2 * n in there for n, outcome in enumerate(outcomes) if isinstance(outcome, BatchResult))


async def test_large_batch_is_booked_like_a_small_one(claimed: Books) -> None:
    sales = [sale(n, line("10000001"), line("10000002", "2", number=2)) for n in range(500)]
    assert (await claimed.sales.commit(batch(*sales, position=500), NOW)).booked == 500
    assert (await claimed.sales.commit(batch(*sales, sale(501), position=501), NOW)).repeated == 500
    assert await moved(claimed) == {A: Decimal(501), B: Decimal(1000)}


@pytest.mark.parametrize(
    "flags", [SaleFlags(training=True), SaleFlags(cancelled=True), SaleFlags(suspended=True)], ids=["training", "cancelled", "suspended"]
)
async def test_transaction_without_effect_is_kept_and_moves_nothing(claimed: Books, flags: SaleFlags) -> None:
    assert (await claimed.sales.commit(batch(sale(1, flags=flags)), NOW)).booked == 1
    assert await moved(claimed) == {}
    assert await claimed.sales.totals() == {}
    assert await claimed.outbox.depth() == 0
    assert await claimed.sales.get(key(1)) is not None


async def test_returns_voided_lines_services_and_weights_move_as_they_should(claimed: Books) -> None:
    lines = (
        line("10000001", "3"),
        line("10000001", "1", line_type="return", number=2),
        line("10000001", "5", voided=True, number=3),
        line("10000001", "1", item_type="service", number=4),
        line("10000002", "1", measure=Quantity("0.42", "KGM"), number=5),
    )
    await claimed.sales.commit(batch(sale(1, *lines, kind="exchange")), NOW)
    assert await moved(claimed) == {A: Decimal(2), B: Decimal("0.42")}
    rows = await claimed.outbox.due("w", NOW, 30, 10)
    assert rows[2].event.data["change"] == {"value": "-0.42", "unit": "KGM"}


@pytest.mark.parametrize("sign", [1, -1], ids=["unsigned total", "signed total"])
async def test_post_void_and_return_turn_stock_and_money_round(claimed: Books, sign: int) -> None:
    void = sale(2, line("10000001", "2"), cents=sign * 500, kind="post_void", links=(SaleLink(type="voids", sale_key=key(1)),))
    back = sale(3, line("10000002", "1", line_type="return"), cents=sign * 200, kind="return")
    await claimed.sales.commit(batch(void, back), NOW)
    assert (await claimed.sales.totals())["0017"]["cents"] == -700
    await claimed.sales.commit(batch(sale(1, line("10000001", "2"), cents=500), position=2), NOW)
    assert await moved(claimed) == {B: Decimal(-1)}
    assert (await claimed.sales.totals())["0017"] == {"sales": 3, "cents": -200, "units_milli": -1000}
    voided = await claimed.sales.get(key(1))
    assert voided is not None
    assert voided.flags.post_voided


async def test_delta_counts_behind_the_position_of_each_till(claimed: Books) -> None:
    sales = [sale(n, key=key(n, till=till, day=day)) for day in ("2026-03-10", "2026-03-11") for till in ("3", "4") for n in (7, 8, 9)]
    await claimed.sales.commit(batch(*sales), NOW)
    position = TillPosition(workstation_id="3", business_date="2026-03-11", sequence_number=8)
    unknown = TillPosition(workstation_id="77", business_date="2026-03-11", sequence_number=8)
    assert await claimed.sales.delta({A: (position, unknown)}) == {A: Decimal(7)}
    assert await claimed.sales.delta({A: ()}) == {A: Decimal(12)}
    assert await claimed.sales.delta({SkuAt(sku="10000001", location_id="0018"): ()}) == {}
    assert await claimed.sales.delta({}) == {}


# ---- levels and movements that files report -----------------------------------------------------------------------


def told(figure: str, at: datetime = NOW, **more: Any) -> InventoryLevel:
    source = Provenance(source_system="wms", as_of=at, received_at=later(7), via="file", source_record=f"{figure}.edi")
    made = {"sku": A.sku, "location_id": A.location_id, "on_hand": Quantity(figure, "EA"), "as_of": at, "provenance": (source,), **more}
    return InventoryLevel(**made)


def movement(units: str, reference: str = "R/1", day: str = "2026-03-11") -> StockMovement:
    at = MovementKey(location_id=A.location_id, business_date=day, reference=reference)
    return StockMovement(key=at, sku=A.sku, change=Quantity(units, "EA"))


async def test_the_last_level_of_a_pair_counts_in_whatever_order_they_come(claimed: Books) -> None:
    day, week = timedelta(days=1), timedelta(days=7)
    both = batch(reports=((1, told("20")), (2, told("9", sku=B.sku))))
    assert await claimed.sales.commit(both, NOW) == BatchResult(booked=2, repeated=0, conflicts=0)
    assert (await claimed.sales.commit(batch(reports=((3, told("50", NOW - week)),), position=3), NOW)).booked == 1
    assert await claimed.sales.levels([A, B]) == {A: told("20"), B: told("9", sku=B.sku)}
    assert (await claimed.sales.commit(batch(reports=((4, told("12", NOW + day)),), position=4), NOW)).booked == 1
    assert await claimed.sales.levels([A, SkuAt(sku="1", location_id="0017")]) == {A: told("12", NOW + day)}
    again = batch(reports=((5, told("20", provenance=())), (6, told("50", NOW - week)), (7, told("13", NOW + day))), position=7)
    assert await claimed.sales.commit(again, later(1)) == BatchResult(booked=0, repeated=2, conflicts=1, quarantined=1)
    assert (await claimed.sales.levels([A]))[A].on_hand == Quantity("12", "EA")
    (bad,) = await claimed.files.quarantined("d1", 10)
    assert (bad.key, bad.field, bad.position) == (told("13", NOW + day).key, "key", 7)
    record = await claimed.files.get("d1")
    assert record is not None
    assert (record.position, record.booked, record.repeated, record.conflicts) == (7, 4, 2, 1)


async def test_a_level_announces_itself_once_and_only_when_it_counts(claimed: Books) -> None:
    older, other = told("50", later(-9)), told("9", sku=B.sku)
    await claimed.sales.commit(batch(reports=((1, told("20")), (2, older), (3, other)), position=3), NOW)
    await claimed.sales.commit(batch(reports=((4, told("20")), (5, told("7", later(-5)))), position=5), NOW)
    events = [row.event for row in await claimed.outbox.due("w", NOW, 30, 100)]
    assert [(e.type, e.subject) for e in events] == [
        ("io.tillgate.inventory.reported.v1", "10000001@0017"),
        ("io.tillgate.inventory.reported.v1", "10000002@0017"),
    ]
    assert msgspec.convert(events[0].data, InventoryLevel) == told("20")
    assert len({e.id for e in events}) == 2


async def test_levels_of_months_ago_are_dropped_behind_newer_ones(claimed: Books) -> None:
    old = told("5", NOW - timedelta(days=40))
    await claimed.sales.commit(batch(reports=((1, old), (2, told("6", NOW - timedelta(days=20)))), position=2), NOW)
    await claimed.sales.commit(batch(reports=((3, told("7")),), position=3), NOW)
    again = batch(reports=((4, old), (5, told("6", NOW - timedelta(days=20)))), position=5)
    assert await claimed.sales.commit(again, NOW) == BatchResult(booked=1, repeated=1, conflicts=0)  # the first is known no more
    assert (await claimed.sales.levels([A]))[A] == told("7")


async def test_of_a_moment_counts_what_was_over_behind_it(claimed: Books) -> None:
    moment = datetime.fromisoformat("2026-03-11T14:00:00+01:00")
    before, behind = moment - timedelta(minutes=5), moment + timedelta(microseconds=1)
    sales = (
        sale(1, line("10000001", "1"), begin_at=before),
        sale(2, line("10000001", "2"), begin_at=before, end_at=moment),
        sale(3, line("10000001", "4"), begin_at=before, end_at=behind),
        sale(4, line("10000001", "8"), begin_at=behind, key=key(4, day="2026-03-10")),  # past midnight, of the day before
        sale(5, line("10000001", "16"), begin_at=before, key=key(5, till="4", day="2026-03-12")),
    )
    await claimed.sales.commit(batch(*sales), NOW)
    assert await claimed.sales.delta({A: moment}) == {A: Decimal(12)}
    assert await claimed.sales.delta({A: moment, B: ()}) == {A: Decimal(12)}
    assert await moved(claimed) == {A: Decimal(31)}


async def test_of_a_moment_counts_sums_of_days_that_were_not_over_where_it_is(claimed: Books) -> None:
    sums = batch(reports=[(n, movement(f"-{n}", f"R/{n}", day)) for n, day in ((1, "2026-03-10"), (2, "2026-03-11"), (4, "2026-03-12"))])
    await claimed.sales.commit(sums, NOW)
    for moment, expected in (("2026-03-11T23:59:59-05:00", 6), ("2026-03-12T00:00:00-05:00", 4), ("2026-03-12T06:00:00+01:00", 4)):
        assert await claimed.sales.delta({A: datetime.fromisoformat(moment)}) == {A: Decimal(expected)}, moment


async def test_list_pages_through_a_day_by_till_and_sequence(claimed: Books) -> None:
    sales = [sale(n, key=key(n, till=till)) for till in ("3", "10") for n in (100, 20)]
    await claimed.sales.commit(batch(*sales), NOW)
    first = await claimed.sales.list("0017", "2026-03-11", None, 3)
    rest = await claimed.sales.list("0017", "2026-03-11", first[-1].key, 3)
    assert [(s.key.workstation_id, s.key.sequence_number) for s in (*first, *rest)] == [("10", 20), ("10", 100), ("3", 20), ("3", 100)]


async def test_outdated_or_ended_claim_books_nothing(claimed: Books) -> None:
    await claimed.files.claim(seen(), "w2", later(61), 60, "t2")
    with pytest.raises(StateConflict, match="claim 1 is outdated: w2 holds claim 2"):
        await claimed.sales.commit(batch(sale(1)), later(62))
    await claimed.files.finish("d1", 2, "done", "", later(63), [])
    with pytest.raises(StateConflict, match="nothing more can be booked"):
        await claimed.sales.commit(batch(sale(1), fence=2), later(64))
    assert await moved(claimed) == {}


async def test_bad_records_are_kept_with_place_reason_and_bytes(claimed: Books) -> None:
    bad = Quarantined(
        digest="d1",
        file="f.tlog",
        position=3,
        line=17,
        field="SL.qty",
        expected="a decimal",
        got="1,\x00\udcff",
        reason="no",
        raw=b"\xff\x00;",
    )
    await claimed.sales.commit(batch(sale(1), quarantined=[bad]), NOW)
    (kept,) = await claimed.files.quarantined(None, 10)
    assert (kept.line, kept.raw, kept.at, kept.got) == (17, b"\xff\x00;", NOW, "1,\\x00\\udcff")
    assert kept.id > 0
    assert (record := await claimed.files.get("d1")) is not None
    assert record.quarantined == 1


async def test_quantity_beyond_all_shelves_is_quarantined_beside_good_sales(claimed: Books) -> None:
    result = await claimed.sales.commit(batch(sale(1, line("10000001", "999999999999999")), sale(2)), NOW)
    assert result == BatchResult(booked=1, repeated=0, conflicts=0, quarantined=1)
    assert "at most 1000000000 units" in (await claimed.files.quarantined("d1", 10))[0].reason


async def test_sale_without_totals_counts_its_lines(claimed: Books) -> None:
    await claimed.sales.commit(batch(sale(1, line("10000001", cents=250), totals=None)), NOW)
    assert (await claimed.sales.totals())["0017"]["cents"] == 250

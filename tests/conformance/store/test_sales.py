import asyncio
from decimal import Decimal

import pytest

from contracts.books import BatchResult, Books, Quarantined
from contracts.canonical.amounts import Quantity
from contracts.canonical.inventory import TillPosition
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

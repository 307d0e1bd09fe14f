"""From a record that was set aside to a booked sale, by a person: with the layout, the mapping and the books of the product."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contracts.admin import Booking, Dismissal, Edit, FileRetry, FilesParameters, GivingUp, RecordDetail, RecordsParameters
from contracts.books import FileRecord, FileSeen
from contracts.canonical.sale import SaleKey
from contracts.errors import Forbidden, InvalidBody, NotFound, StateConflict
from contracts.ports import SkuAt
from gateway.bootstrap.reviewing import given
from gateway.services.clients import Actor
from gateway.services.intake.review import Review, Source, Sources
from tests.flows.test_intake import MAPPINGS, Shop

DAY = date(2026, 3, 11)
SHOP = SkuAt(sku="10000001", location_id="0001")
HEAD = "FH;2;0001;20260311;20260311220000;00001\n"
SALE = (
    "TH;001;{n:06};S;20260311120000;20260311120000;{operator};;EUR;\nTL;1;S;{sku};;{units};ST;100;{total};;S\nTT;BAR;{total};;;\n"
    "TF;{total};{total};0;{total}\n"
)


def rung(n: int, units: int = 1, sku: str = "000010000001", operator: str = "OPERATOR7", ends: str = "\n") -> str:
    return SALE.format(n=n, units=1000 * units, total=100 * units, sku=sku, operator=operator).replace("\n", ends)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    found = Shop(tmp_path)
    await found.books.start()
    yield found
    for feed in found.feeds:
        await feed.close()
    await found.books.close()


@pytest.fixture
def desk(shop: Shop) -> Callable[..., Review]:
    def made(*scopes: str, name: str = "anna", stores: tuple[str, ...] = ()) -> Review:
        sources = Sources({f"pos.{f.name}": Source(f, MAPPINGS[f.name]) for f in shop.feeds}, given(shop.zones))
        return Review(shop.books, given(sources), Actor(name, frozenset(scopes), frozenset(stores)), shop._clock)

    return made


async def dropped(shop: Shop, *transactions: str, number: int = 1, wrong: int = 0, ends: str = "\n", **given_: Any) -> FileRecord:
    """A file of these transactions, taken by its feed. `wrong`: by how much its trailer lies."""
    trailer = f"FT;{len(transactions) + wrong};{len(transactions)};{sum(_cents(t) for t in transactions)}{ends}"
    name = f"TLOG_0001_20260311_{number:05}.tlog"
    head = HEAD.replace("00001\n", f"{number:05}\n").replace("\n", ends)
    (shop.inbox / name).write_bytes((head + "".join(transactions) + trailer).encode("utf-8", "surrogateescape"))
    await shop.sweep(**given_)
    return await shop.record(name)


def _cents(transaction: str) -> int:
    return int(transaction.partition("TF;")[2].partition(";")[0])


def held(record: FileRecord) -> bool:
    return Path(record.kept).is_file()


def taken_away(record: FileRecord) -> bytes:
    content = Path(record.kept).read_bytes()
    Path(record.kept).unlink()
    return content


async def only(desk: Review) -> RecordDetail:
    (row,) = await desk.records(RecordsParameters(status="open"))
    return await desk.record(row.id)


def sold(n: int) -> SaleKey:
    return SaleKey(store_number="0001", workstation_id="001", business_date="2026-03-11", sequence_number=n)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
async def test_a_bad_record_is_put_right_and_booked_as_its_feed_would_have(shop: Shop, desk: Callable[..., Review], ends: str) -> None:
    await dropped(shop, rung(1, ends=ends), rung(2, 3, sku="abc", ends=ends), ends=ends)
    anna = desk("admin:write", "customers:read")
    found = await only(anna)
    assert (found.record.line, found.record.field, found.record.got, found.locked) == (7, "TL.sku", "'abc'", "")
    assert found.preview is not None
    assert (found.preview.outcome, found.preview.field) == ("refused", "TL.sku")
    line = next(row for row in found.rows if row.record == "TL")
    assert [(c.name, c.value) for c in line.cells if c.wrong] == [("sku", "abc")]
    changed = await anna.edit(found.record.id, Edit(version=0, text=found.text.replace(";abc;", ";000010000001;")))
    assert (changed.record.revised, changed.record.version, changed.original) == (True, 1, found.text)
    preview = changed.preview
    assert preview is not None
    assert (preview.outcome, preview.key, preview.cents, preview.currency) == ("books", "0001/001/2026-03-11/2", 300, "EUR")
    assert [(s.sku, s.change) for s in preview.stock] == [("10000001", "-3")]
    assert {c.path: (c.before, c.after) for c in preview.changes}["lines[1].itemId"] == (None, "10000001")
    with pytest.raises(StateConflict, match="since you looked"):
        await anna.book(found.record.id, Booking(version=0))
    booked = await anna.book(found.record.id, Booking(version=1, reason="the store confirmed the article"))
    assert booked.status == "booked"
    assert (await shop.books.sales.delta({SHOP: ()})) == {SHOP: Decimal(4)}
    sale = await shop.books.sales.get(sold(2))
    assert sale is not None
    assert (sale.store_time_zone, sale.provenance[0].source_record) == ("Europe/Berlin", "TLOG_0001_20260311_00001.tlog")
    with pytest.raises(StateConflict, match="anna decided this"):
        await desk("admin:write", name="bert").book(found.record.id, Booking(version=1))
    with pytest.raises(StateConflict, match="anna decided this"):
        await desk("admin:write", name="bert").dismiss(found.record.id, Dismissal(version=1, reason="no"))
    assert [(e.what, e.actor) for e in await shop.books.audit.list(10)] == [("record.booked", "anna"), ("record.edited", "anna")]


async def test_an_xml_record_is_read_again_within_the_elements_that_stood_around_it(shop: Shop, desk: Callable[..., Review]) -> None:
    shop.tills.random_day("0002", 8, DAY)
    path = shop.tills.write_file("0002", damage="bad_line")
    await shop.sweep()
    before = (await shop.record(path.name)).booked
    anna = desk("admin:write", "customers:read")
    found = await only(anna)
    assert found.rows
    assert found.preview is not None
    assert (found.preview.outcome, found.preview.expected) == ("refused", found.record.expected)
    text = found.text
    assert found.record.got.strip("'") in text
    changed = await anna.edit(found.record.id, Edit(version=0, text=text.replace(found.record.got.strip("'"), "1", 1)))
    assert changed.preview is not None
    assert changed.preview.told != found.preview.told
    restored = await anna.edit(found.record.id, Edit(version=1))
    assert (restored.text, restored.record.revised) == (text, False)
    gone = await anna.dismiss(found.record.id, Dismissal(version=2, reason="rung again by hand"))
    assert (gone.status, (await shop.record(path.name)).booked) == ("dismissed", before)


async def test_an_xml_record_is_kept_shown_and_changed_in_the_bytes_of_its_till(shop: Shop, desk: Callable[..., Review]) -> None:
    shop.tills.random_day("0002", 8, DAY)
    path = shop.tills.write_file("0002", damage="bad_line")
    text = re.sub(r"<\?xml.*?\?>", "<?xml version='1.0' encoding='ISO-8859-1'?>", path.read_text("utf-8"), count=1)
    text = re.sub(r"(<Transaction[ >][^>]*?)(>?)(?=<RetailStoreID)", "\\1 \\2\r\n\t<!-- 'Kasse' für <b> -->", text)
    assert "für" in text
    path.write_bytes(text.encode("latin-1"))
    await shop.sweep()
    record = await shop.record(path.name)
    anna = desk("admin:write", "customers:read")
    found = await only(anna)
    assert "'Kasse' für <b> -->" in found.text
    (row,) = await shop.books.quarantine.list(10, digest=record.digest)
    assert row.record.raw in text.encode("latin-1")
    assert row.record.raw.startswith(b"<Transaction")
    changed = await anna.edit(found.record.id, Edit(version=0, text=found.text.replace("' für", "' gegenüber")))
    assert "'Kasse' gegenüber <b> -->" in changed.text
    (row,) = await shop.books.quarantine.list(10, digest=record.digest)
    assert row.revised == row.record.raw.replace("' für".encode("latin-1"), "' gegenüber".encode("latin-1"))
    assert changed.preview is not None
    assert found.preview is not None
    assert (changed.preview.told, changed.preview.field) == (found.preview.told, found.preview.field)


async def test_a_conflict_shows_both_contents_and_is_never_written_over(shop: Shop, desk: Callable[..., Review]) -> None:
    await dropped(shop, rung(1))
    await dropped(shop, rung(1, 5), number=2)
    anna = desk("admin:write", "customers:read")
    found = await only(anna)
    assert found.record.conflict
    assert found.preview is not None
    assert (found.preview.outcome, found.preview.stock) == ("conflict", ())
    assert {(c.path, c.before, c.after) for c in found.preview.changes} >= {
        ("lines[1].units", "1 EA", "5 EA"),
        ("totals.grand", "1.00 EUR", "5.00 EUR"),
    }
    with pytest.raises(StateConflict, match="the first one stands"):
        await anna.book(found.record.id, Booking(version=0))
    assert found.text == rung(1, 5)  # as it stood in the file
    assert (found.record.line, found.rows[0].record) == (2, "TH")
    changed = await anna.edit(found.record.id, Edit(version=0, text=rung(9, 5)))
    assert changed.preview is not None
    assert changed.preview.outcome == "books"
    await anna.book(found.record.id, Booking(version=1))
    assert (await shop.books.sales.delta({SHOP: ()})) == {SHOP: Decimal(6)}


async def test_an_edit_that_is_several_transactions_or_none_is_refused_with_its_reason(shop: Shop, desk: Callable[..., Review]) -> None:
    await dropped(shop, rung(2, sku="abc"))
    anna = desk("admin:write", "customers:read")
    found = await only(anna)
    number = found.record.id
    for version, text in enumerate((rung(3) + rung(4), "", "FH;nothing\n", "\\x00", rung(3).replace("TT", "TQ"))):
        changed = await anna.edit(number, Edit(version=version, text=text))
        assert changed.preview is not None
        assert changed.preview.outcome == "refused", text
        assert len(changed.preview.told) > 20
        with pytest.raises(InvalidBody):
            await anna.book(number, Booking(version=version + 1))
    assert await shop.books.sales.totals() == {}


async def test_personal_fields_are_masked_for_whoever_may_not_read_customers(shop: Shop, desk: Callable[..., Review]) -> None:
    await dropped(shop, rung(2, sku="abc"))
    viewer = desk("admin:read")
    found = await only(viewer)
    assert found.masked
    assert "OPERATOR7" not in repr(found)
    assert ";abc;" in found.text
    assert "customers:read" in found.locked
    with pytest.raises(Forbidden, match="personal fields"):
        await viewer.edit(found.record.id, Edit(version=0, text="x"))
    assert "OPERATOR7" in (await only(desk("customers:read"))).text
    await dropped(shop, rung(3, operator="MUCH-TOO-LONG-FOR-AN-OPERATOR"), number=2)
    row = (await viewer.records(RecordsParameters(status="open")))[-1]
    assert row.field == "TH.operator"
    assert "MUCH" not in repr(row) + repr(await viewer.record(row.id))
    await dropped(shop, rung(4, operator='"SECRET'), number=3)
    assert "SECRET" not in repr([await viewer.record(r.id) for r in await viewer.records(RecordsParameters())])


async def test_what_leads_to_whoever_paid_is_masked_in_both_contents_of_a_conflict(shop: Shop, desk: Callable[..., Review]) -> None:
    card = rung(1).replace("TT;BAR;100;;;", "TT;EC;100;;5893;")
    await dropped(shop, card)
    await dropped(shop, rung(1, 5).replace("TT;BAR;500;;;", "TT;EC;500;;4711;"), number=2)
    found = await only(desk("admin:read"))
    assert found.record.conflict
    assert found.preview is not None
    assert ("tenders[1].last4", "•••", "•••") in {(c.path, c.before, c.after) for c in found.preview.changes}
    assert not {part for part in ("5893", "4711", "OPERATOR7") if part in repr(found)}
    assert "4711" in (await only(desk("customers:read"))).text


async def test_positions_and_numbers_that_no_page_has_given_out_find_nothing(shop: Shop, desk: Callable[..., Review]) -> None:
    await dropped(shop, rung(2, sku="abc"))
    anna = desk("admin:write")
    for cursor in ("2026-01-01T00:00:00~a", "yesterday~", "~"):
        assert await anna.list(FilesParameters(cursor=cursor)) == ()
    assert len(await anna.records(RecordsParameters(cursor="9" * 40))) == 1
    with pytest.raises(NotFound):
        await anna.record(10**30)


async def test_who_is_bound_to_stores_sees_and_decides_only_what_is_theirs(shop: Shop, desk: Callable[..., Review]) -> None:
    record = await dropped(shop, rung(2, sku="abc"))
    found = await only(desk("admin:write", stores=("0001",)))
    other = desk("admin:write", stores=("0002",))
    assert await other.list(FilesParameters()) == []
    assert await other.list(FilesParameters(store="0001")) == ()
    assert await other.records(RecordsParameters()) == []
    for attempt in (
        other.show(record.digest),
        other.record(found.record.id),
        other.dismiss(found.record.id, Dismissal(version=0, reason="r")),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await other.explain(record.name)).files == ()
    (shop.inbox / "TLOG_0001_20260311_00009.tlog").touch()
    assert any("does not lie in" in told for told in (await other.explain("TLOG_0001_20260311_00009.tlog")).told)


async def test_all_open_records_of_a_file_are_tried_again_with_what_is_known_now(shop: Shop, desk: Callable[..., Review]) -> None:
    known, shop.zones.zones = shop.zones.zones, {k: v for k, v in shop.zones.zones.items() if k != "0001"}
    record = await dropped(shop, rung(1), rung(2), rung(3, sku="abc"))
    assert (record.booked, record.quarantined) == (0, 3)
    anna = desk("admin:write")
    assert (await anna.retry(record.digest, FileRetry())).left == 3
    shop.zones.zones = known
    retried = await anna.retry(record.digest[:12], FileRetry())
    assert (retried.booked, retried.repeated, retried.left, retried.file.open, retried.file.status) == (2, 0, 1, 1, "partly")
    assert (await shop.books.sales.totals())["0001"]["sales"] == 2


async def test_a_refused_file_goes_back_to_the_inbox_and_is_booked(shop: Shop, desk: Callable[..., Review]) -> None:
    record = await dropped(shop, rung(1), rung(2), rung(3, sku="abc"), refuse_share=0.1)
    assert (record.state, shop.left()) == ("refused", [])
    assert held(record)
    anna = desk("admin:write")
    explained = await anna.explain(record.name)
    assert any("more than the declared share" in said for said in explained.told)
    assert any(f"files retry {record.digest[:12]}" in said for said in explained.advice)
    retried = await anna.retry(record.digest, FileRetry(fence=record.fence))
    assert (retried.file.status, shop.left()) == ("waiting", [record.name])
    assert not held(record)
    await shop.sweep()
    again = await shop.record(record.name)
    assert (again.state, again.booked, again.quarantined) == ("done", 2, 1)
    with pytest.raises(StateConflict, match="since you looked"):
        await anna.give_up(record.digest, GivingUp(reason="r", fence=record.fence))


async def test_a_refused_file_is_never_put_over_one_that_waits_in_the_inbox(shop: Shop, desk: Callable[..., Review]) -> None:
    record = await dropped(shop, rung(1), wrong=1)
    (shop.inbox / record.name).write_text("the corrected one")
    with pytest.raises(StateConflict, match="another file of this name waits"):
        await desk("admin:write").retry(record.digest, FileRetry())
    assert (shop.inbox / record.name).read_text() == "the corrected one"
    assert held(record)
    assert (await shop.record(record.name)).state == "refused"


async def test_a_file_that_lies_nowhere_may_be_sent_again_after_a_retry(shop: Shop, desk: Callable[..., Review]) -> None:
    record = await dropped(shop, rung(1), rung(3, sku="abc"), refuse_share=0.1)
    content = taken_away(record)
    assert "put it into" in (await desk("admin:write").retry(record.digest, FileRetry())).told
    (shop.inbox / record.name).write_bytes(content)
    await shop.sweep()
    assert (await shop.record(record.name)).booked == 1


async def test_why_a_file_is_not_there_is_said_with_what_to_do(shop: Shop, desk: Callable[..., Review]) -> None:
    await shop.intake("tlog", complete="marker")
    anna = desk("admin:read")
    name = "TLOG_0001_20260311_00001.tlog"
    for make, expected in (
        (lambda: None, "does not lie in"),
        (lambda: (shop.inbox / name).symlink_to("/etc/passwd"), "a symbolic link"),
        (lambda: ((shop.inbox / name).unlink(), (shop.inbox / name).touch()), f"its companion file {name}.done"),
        ((shop.inbox / f"{name}.done").touch, "and is complete"),
    ):
        make()  # type: ignore[no-untyped-call]  # the steps of this test
        said = await anna.explain(name)
        assert any(expected in told for told in said.told), said
        assert said.advice
    for odd in ("sales.csv", "../../etc/passwd", "a\0b"):
        assert any("No feed takes files of that name" in told for told in (await anna.explain(odd)).told)
    (shop.inbox / "sales.csv").touch()
    assert any("takes only names like" in told for told in (await anna.explain("sales.csv")).told)


async def test_a_return_whose_original_is_not_booked_says_so_before_and_after(shop: Shop, desk: Callable[..., Review]) -> None:
    back = rung(5, sku="abc").replace(";S;2026", ";R;2026", 1).replace("TL;1;S", "TK;R;0001;001;20260311;000001\nTL;1;R")
    await dropped(shop, rung(1), back)
    anna = desk("admin:write", "customers:read")
    found = await only(anna)
    fixed = (
        found.text.replace(";abc;", ";000010000001;")
        .replace("TF;100;100;0;100", "TF;100-;100-;0;100-")
        .replace("ST;100;100", "ST;100;100-")
    )
    fixed = fixed.replace("TT;BAR;100", "TT;BAR;100-")
    preview = (await anna.edit(found.record.id, Edit(version=0, text=fixed))).preview
    assert preview is not None
    assert (preview.outcome, preview.found, preview.missing) == ("books", ("return_of 0001/001/2026-03-11/1",), ()), preview
    preview = (await anna.edit(found.record.id, Edit(version=1, text=fixed.replace("000001\n", "000009\n", 1)))).preview
    assert preview is not None
    assert preview.missing == ("return_of 0001/001/2026-03-11/9",)


async def test_a_running_file_shows_its_share_and_rate_and_a_dead_workers_claim_is_released(
    shop: Shop, desk: Callable[..., Review]
) -> None:
    now = shop.now()
    shop.now = lambda: now
    await shop.books.files.claim(FileSeen("d" * 64, "pos.tlog", "TLOG_0001_20260311_00009.tlog", 1000, "0001"), "worker 7", now, 60, "t")
    await shop.intake("tlog")
    assert await shop.books.files.renew("d" * 64, 1, now.replace(year=now.year + 1), "checking", 0.25)
    anna = desk("admin:write")
    (running,) = await anna.list(FilesParameters(state="claimed"))
    assert (running.status, running.progress and running.progress.share) == ("checking", 0.25)
    assert any("25% read" in told for told in (await anna.show("d" * 64)).told)
    released = await anna.retry("d" * 64, FileRetry(fence=1))
    assert (released.file.status, released.file.progress, released.file.fence) == ("waiting", None, 2)
    assert not await shop.books.files.renew("d" * 64, 1, now, "checking", 0.5)

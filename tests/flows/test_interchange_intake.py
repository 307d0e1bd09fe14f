"""Receipts in an EDIFACT dialect of a retailer's own tills: the same intake books them, sets bad ones aside and refuses what is broken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import pytest

from adapters.files.driver import FileContract, FileFeed
from adapters.files.spec import options
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.admin import Booking, Edit, RecordsParameters
from contracts.books import Books, FileRecord
from contracts.canonical.amounts import Quantity
from contracts.canonical.location import Location
from contracts.errors import StateConflict
from contracts.ports import SkuAt
from gateway.bootstrap import types
from gateway.services.catalogue import Zones
from gateway.services.clients import Actor
from gateway.services.clock import utc_now
from gateway.services.intake.feed import StoreZones
from gateway.services.intake.intake import Intake
from gateway.services.intake.review import Review, Source, Sources
from mappings.language import load
from observability import Recorder

ROOT = Path(__file__).resolve().parents[2]
GLN = "4012345000023"

LAYOUT = """\
[file]
format      = "edifact"
name        = '.+\\.edi'
transaction = "UNH"

[record."*"]
unknown = "skip"

[record.UNH]
role   = "transaction"
when   = { "2.1" = ["SLSRPT"] }
occurs = "0..n"
fields = [{ name = "reference", type = "string", at = "1" }]

[record.DTM]
role   = "detail"
parent = "UNH"
occurs = "1"
fields = [{ name = "at", type = "datetime", format = "dtm", zone = "store", at = "1", required = true }]

[record.till]
role    = "detail"
parent  = "UNH"
segment = "LOC"
occurs  = "1"
fields  = [
  { name = "store", type = "string", at = "2.1", required = true },
  { name = "till", type = "string", at = "3.1", required = true },
  { name = "number", type = "integer", digits = 9, at = "4.1", required = true },
]

[record.LIN]
role   = "detail"
parent = "UNH"
occurs = "0..n"
fields = [{ name = "number", type = "integer", digits = 6, at = "1", required = true }, { name = "item", type = "string", at = "3.1" }]

[record.QTY]
role   = "detail"
parent = "LIN"
occurs = "1"
fields = [{ name = "value", type = "decimal", digits = 9, at = "1.2", required = true }]

[record.MOA]
role   = "detail"
parent = "LIN"
occurs = "1"
fields = [{ name = "amount", type = "decimal", digits = 12, at = "1.2", required = true }]

[record.CNT]
role   = "detail"
parent = "UNH"
occurs = "1"
fields = [{ name = "total", type = "decimal", digits = 12, at = "1.2", required = true }]

[[check]]
name       = "total"
says       = "the lines do not add up to the total"
scope      = "UNH"
expect     = "CNT.total"
equals     = [{ sum = "MOA.amount" }]
on_failure = "quarantine"
"""
MAPPING = """\
target = "PosSale"
source = "pos.receipts"

[fields]
transaction_type = "'sale'"
begin_at         = "DTM.at | local_datetime(zone_of(till.store))"
currency_code    = "'EUR'"

[fields.key]
store_number    = "till.store"
workstation_id  = "till.till"
business_date   = "DTM.at | string | cut(10)"
sequence_number = "till.number"

[fields.lines]
each            = "LIN"
line_number     = "number"
line_type       = "'sale'"
item_id         = "item"
units           = "QTY.value | quantity('EA')"
extended_amount = "MOA.amount | money('EUR')"

[fields.totals]
grand = "CNT.total | money('EUR')"

[drops]
reference = "proven by the reader"
"""


class Berlin:
    known = 1

    def of(self, location: str) -> ZoneInfo | None:
        return ZoneInfo("Europe/Berlin")

    def location(self, number: str) -> Location | None:
        return None


def receipt(number: int, total: str = "12,50") -> list[str]:
    body = [
        f"UNH+{number}+SLSRPT:D:96A:UN", "DTM+137:202603110930:203", f"LOC+162+0001+3+{number}", "LIN+1++4711:IN", "QTY+153:2",
        "MOA+203:10", "LIN+2++4712:IN", "QTY+153:1", "MOA+203:2,5", f"CNT+1:{total}",
    ]  # fmt: skip
    return [*body, f"UNT+{len(body) + 1}+{number}"]


def interchange(*receipts: list[str], count: int | None = None) -> str:
    segments = [
        "UNB+UNOC:3+T:14+R:14+260311:2200+9",
        *(s for r in receipts for s in r),
        f"UNZ+{len(receipts) if count is None else count}+9",
    ]
    return "".join(f"{s}'\n" for s in segments)


class Shop:
    def __init__(self, folder: Path, layout: Path, mapping: str, zones: StoreZones) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        contract = FileContract("pos", layout)
        self.mapping = load(mapping, "it", lambda name: contract.exchange(name.partition(".")[2]), types())
        self.books: Books = open_store(StoreOptions(url=f"sqlite:///{folder}/books.db"))
        self.feed = FileFeed("pos", layout.stem, contract, options(str(self.inbox), {"complete": "renamed", "watch": False}))
        self.zones = zones
        self.intake = Intake(self.feed, self.mapping, self.books, Recorder(), zones, "/test")

    async def __aenter__(self) -> Self:
        await self.books.start()
        await self.feed.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.feed.close()
        await self.books.close()

    def desk(self) -> Review:
        async def sources() -> Sources:
            return Sources({f"pos.{self.feed.name}": Source(self.feed, self.mapping)}, zones)

        async def zones() -> StoreZones:
            return self.zones

        return Review(self.books, sources, Actor("anna", frozenset({"admin:write"}), frozenset()), utc_now)

    async def dropped(self, name: str, text: str) -> FileRecord:
        (self.inbox / name).write_text(text, encoding="latin-1")
        await self.intake.sweep_once()
        return next(r for r in await self.books.files.list(100) if r.name == name)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    (tmp_path / "receipts.toml").write_text(LAYOUT, encoding="utf-8")
    async with Shop(tmp_path, tmp_path / "receipts.toml", MAPPING, Berlin()) as found:
        yield found


async def test_receipts_of_an_interchange_are_booked_once_and_bad_ones_set_aside_with_their_segments(shop: Shop) -> None:
    first = await shop.dropped("a.edi", interchange(receipt(1), receipt(2, total="99"), receipt(3)))
    assert (first.state, first.booked, first.quarantined) == ("done", 2, 1)
    (bad,) = await shop.books.files.quarantined(first.digest, 10)
    assert (bad.field, bad.got) == ("CNT.total", "99")
    assert bad.raw.startswith(b"UNH+2+SLSRPT")
    again = await shop.dropped("b.edi", interchange(receipt(3), receipt(4)))
    assert (again.state, again.booked) == ("done", 1)
    assert (await shop.books.sales.totals())["0001"]["cents"] == 3 * 1250


async def test_an_interchange_with_a_wrong_count_books_nothing(shop: Shop) -> None:
    record = await shop.dropped("a.edi", interchange(receipt(1), receipt(2), count=3))
    assert (record.state, record.booked) == ("refused", 0)
    assert "UNZ 1 states 3, UNB in segment 1 holds 2 messages" in record.reason
    assert await shop.books.sales.totals() == {}


# ---- sums without receipts ------------------------------------------------------------------------------------------


@pytest.fixture
async def reports(tmp_path: Path) -> AsyncIterator[Shop]:
    """The sales reports of a chain whose places go by GLN, read by what ships with the gateway."""
    zones = Zones()
    zones.learn([Location(number="0001", type="store", name="Berlin", active=True, gln=GLN, time_zone="Europe/Berlin")])
    mapping = (ROOT / "mappings/edi/edifact_slsrpt.toml").read_text("utf-8")
    async with Shop(tmp_path, ROOT / "contracts/systems/edi/edifact_slsrpt.toml", mapping, zones) as found:
        yield found


def report(*lines: str, number: str = "R-9", place: str = GLN, count: int | None = None, control: int = 7) -> str:
    """`lines`: item and the rest of a QTY."""
    body = [f"BGM+73E::9+{number}+9", "DTM+137:20260615:102", f"NAD+BY+{GLN}::9", "CUX+2:EUR:10", f"LOC+162+{place}::9"]
    body += ["DTM+356:2026060820260614:718"]
    for at, each in enumerate(lines, 1):
        item, _, quantity = each.partition(" ")
        body += [f"LIN+{at}++{item}:EN", "PRI+AAE:39.95::RTP", f"QTY+{quantity}"]
    held = ["UNH+1+SLSRPT:D:96A:UN:EAN004", *body, f"UNT+{len(body) + 2 if count is None else count}+1"]
    return "UNA:+.? '" + "'".join([f"UNB+UNOC:3+{GLN}:14+4012345000009:14+260615:0800+{control}", *held, f"UNZ+1+{control}", ""])


STOCK = SkuAt(sku="4006381333931", location_id="0001")
SOLD = "4006381333931 153:3:PCE", "4006381333931 153:1:PCE", "4006381333931 61:1:PCE"


async def test_a_sales_report_moves_stock_line_by_line_once_and_is_no_sale(reports: Shop) -> None:
    first = await reports.dropped("a.edi", report(*SOLD))
    assert (first.state, first.booked, first.quarantined) == ("done", 3, 0), first.reason
    assert await reports.books.sales.delta({STOCK: ()}) == {STOCK: Decimal(3)}
    assert await reports.books.sales.totals() == {}
    assert await reports.books.sales.list("0001", "2026-06-14", None, 10) == []
    again = await reports.dropped("b.edi", report(*SOLD, control=8))  # another interchange, the same report
    assert (again.state, again.booked, again.repeated) == ("done", 0, 3)
    events = await reports.books.outbox.due("w", utc_now(), 10, 10)
    assert [(e.event.type, e.event.subject) for e in events] == [("io.tillgate.inventory.changed.v1", "4006381333931@0001")]


async def test_another_report_under_the_same_number_is_a_conflict_that_shows_what_came(reports: Shop) -> None:
    await reports.dropped("a.edi", report(*SOLD))
    second = await reports.dropped("b.edi", report("4006381333931 153:9:PCE", *SOLD[1:]))
    assert (second.booked, second.repeated, second.conflicts, second.quarantined) == (0, 2, 1, 1)
    desk = reports.desk()
    (row,) = await desk.records(RecordsParameters(status="open"))
    found = await desk.record(row.id)
    assert found.record.conflict
    assert (found.record.position, found.record.line, found.text) == (1, 1, "LIN+1++4006381333931:EN'PRI+AAE:39.95::RTP'QTY+153:9:PCE'")
    assert found.preview is not None
    assert [(c.path, c.before, c.after) for c in found.preview.changes] == [("change", "-3 EA", "-9 EA")]
    edited = await desk.edit(row.id, Edit(version=0, text=found.text.replace("LIN+1+", "LIN+4+")))
    assert edited.preview is not None
    assert (edited.preview.outcome, [(s.sku, s.change) for s in edited.preview.stock]) == ("books", [("4006381333931", "-9")])
    await desk.book(row.id, Booking(version=1, reason="a line of its own"))
    assert await reports.books.sales.delta({STOCK: ()}) == {STOCK: Decimal(12)}
    with pytest.raises(StateConflict):
        await desk.book(row.id, Booking(version=2))


async def test_sales_of_a_place_that_nobody_knows_are_set_aside_and_a_wrong_count_refuses_the_report(reports: Shop) -> None:
    record = await reports.dropped("a.edi", report(*SOLD[:1], place="4012345000047"))
    (bad,) = await reports.books.files.quarantined(record.digest, 10)
    assert (bad.field, bad.expected) == ("key.location_id", "a location that the estate knows, by number or GLN")
    refused = await reports.dropped("b.edi", report(*SOLD[:1], count=99))
    assert (refused.state, refused.booked) == ("refused", 0)
    assert "UNT 1 states 99, UNH in segment 2 holds 11 segments" in refused.reason
    assert await reports.books.sales.delta({STOCK: ()}) == {}


async def test_product_activity_moves_stock_by_what_was_sold_net_of_returns(tmp_path: Path) -> None:
    mapping = (ROOT / "mappings/edi/x12_852_sold.toml").read_text("utf-8")
    body = [
        "ST|852|0001", "XQ|H|20260608|20260614", "N1|ST|Berlin|92|0001",
        "LIN|1|IN|4006381333931", "ZA|QS|5|EA", "ZA|QU|1|EA", "ZA|OH|20|EA", "LIN|2|IN|4712", "ZA|OH|7|EA", "CTT|2",
    ]  # fmt: skip
    segments = [
        f"ISA|00|{' ' * 10}|00|{' ' * 10}|ZZ|{'STORE':15}|ZZ|{'RETAILER':15}|260615|0930|U|00401|000000042|0|P|>",
        "GS|PD|STORE|RETAILER|20260615|0930|42|X|004010", *body, f"SE|{len(body) + 1}|0001", "GE|1|42", "IEA|1|000000042", "",
    ]  # fmt: skip
    async with Shop(tmp_path, ROOT / "contracts/systems/edi/x12_852.toml", mapping, Berlin()) as shop:
        record = await shop.dropped("a.edi", "!\n".join(segments))
        assert (record.state, record.booked, record.quarantined) == ("done", 1, 0), record.reason
        assert await shop.books.sales.delta({STOCK: ()}) == {STOCK: Decimal(4)}


async def test_product_activity_of_several_places_is_booked_place_by_place_and_a_conflict_is_of_one_of_them(tmp_path: Path) -> None:
    mapping = (ROOT / "mappings/edi/x12_852_sold.toml").read_text("utf-8")

    def activity(last: int, number: int) -> str:
        body = ["ST|852|0001", "XQ|H|20260608|20260614", "LIN|1|IN|4006381333931", "ZA|QS||EA", "CTP|RS|RES|2.59"]
        body += [f"SDQ|EA|92|0001|5|0002|{last}", "ZA|QU||EA", "SDQ|EA|92|0001|1", "CTT|1"]
        head = f"ISA|00|{' ' * 10}|00|{' ' * 10}|ZZ|{'STORE':15}|ZZ|{'RETAILER':15}|260615|0930|U|00401|{number:09}|0|P|>"
        held = [head, f"GS|PD|S|R|20260615|0930|{number}|X|004010", *body, f"SE|{len(body) + 1}|0001"]
        return "!".join([*held, f"GE|1|{number}", f"IEA|1|{number:09}", ""])

    second = SkuAt(sku=STOCK.sku, location_id="0002")
    async with Shop(tmp_path, ROOT / "contracts/systems/edi/x12_852.toml", mapping, Berlin()) as shop:
        record = await shop.dropped("a.edi", activity(7, 42))
        assert (record.state, record.position, record.booked, record.quarantined) == ("done", 2, 2, 0), record.reason
        assert await shop.books.sales.delta({STOCK: (), second: ()}) == {STOCK: Decimal(4), second: Decimal(7)}
        again = await shop.dropped("b.edi", activity(8, 43))
        assert (again.booked, again.repeated, again.conflicts) == (0, 1, 1)
        desk = shop.desk()
        (row,) = await desk.records(RecordsParameters(status="open"))
        found = await desk.record(row.id)
        assert found.text == "LIN|1|IN|4006381333931!ZA|QS||EA!CTP|RS|RES|2.59!SDQ|EA|92|0002|8!"
        edited = await desk.edit(row.id, Edit(version=0, text=found.text.replace("0002|8", "0003|8")))
        assert edited.preview is not None
        assert (edited.preview.outcome, edited.preview.key.partition("/")[0]) == ("books", "0003")


# ---- levels ---------------------------------------------------------------------------------------------------------


def advice(*lines: str, at: str = "20260615*0600", number: int = 7) -> str:
    """`lines`: segments of an item below its LIN."""
    body = ["ST*846*0001", f"BIA*00*SI*STOCK-{number}*{at}", "N1*WH*Store 1*92*0001"]
    for line, each in enumerate(lines, 1):
        item, *quantities = each.split()
        body += [f"LIN*{line}*IN*{item}", *(f"QTY*{quantity}*EA" for quantity in quantities)]
    head = f"ISA*00*{' ' * 10}*00*{' ' * 10}*ZZ*{'SUPPLIER':15}*ZZ*{'RETAILER':15}*260615*0930*U*00401*{number:09}*0*P*>"
    held = [head, f"GS*IB*S*R*20260615*0930*{number}*X*004010", *body, f"CTT*{len(lines)}", f"SE*{len(body) + 2}*0001"]
    return "~\n".join([*held, f"GE*1*{number}", f"IEA*1*{number:09}", ""])


@pytest.fixture
async def advices(tmp_path: Path) -> AsyncIterator[Shop]:
    """The stock of a warehouse, read by what ships with the gateway."""
    mapping = (ROOT / "mappings/edi/x12_846.toml").read_text("utf-8")
    async with Shop(tmp_path, ROOT / "contracts/systems/edi/x12_846.toml", mapping, Berlin()) as found:
        yield found


async def standing(shop: Shop) -> tuple[str, str, str] | None:
    level = (await shop.books.sales.levels([STOCK])).get(STOCK)
    return None if level is None else (level.on_hand.value, level.as_of.isoformat(), level.provenance[0].source_record or "")  # type: ignore[union-attr]  # of a feed


async def test_an_advice_of_stock_becomes_the_level_of_its_moment_and_an_older_one_changes_nothing(advices: Shop) -> None:
    first = await advices.dropped("a.edi", advice("4006381333931 17*250 33*198", "4712 17*3"))
    assert (first.state, first.booked, first.quarantined) == ("done", 2, 0), first.reason
    assert await standing(advices) == ("250", "2026-06-15T06:00:00+02:00", "a.edi")
    again = await advices.dropped("b.edi", advice("4006381333931 17*250 33*198", "4712 17*3", number=8))
    assert (again.state, again.booked, again.repeated) == ("done", 0, 2)
    late = await advices.dropped("c.edi", advice("4006381333931 17*9", at="20260614*0600", number=9))
    assert (late.state, late.booked, await standing(advices)) == ("done", 1, ("250", "2026-06-15T06:00:00+02:00", "a.edi"))
    newer = await advices.dropped("d.edi", advice("4006381333931 17*0", at="20260615*120059", number=10))
    assert (newer.booked, await standing(advices)) == (1, ("0", "2026-06-15T12:00:00+02:00", "d.edi"))
    levels = await advices.books.sales.levels([STOCK])
    assert levels[STOCK].provenance[0].as_of == levels[STOCK].as_of


async def test_another_figure_of_the_same_moment_waits_for_a_person_who_sees_both(advices: Shop) -> None:
    await advices.dropped("a.edi", advice("4006381333931 17*250"))
    second = await advices.dropped("b.edi", advice("4006381333931 17*25", "4712 17*3", number=8))
    assert (second.booked, second.conflicts, second.quarantined) == (1, 1, 1)
    desk = advices.desk()
    (row,) = await desk.records(RecordsParameters(status="open"))
    found = await desk.record(row.id)
    assert (found.record.conflict, found.text) == (True, "LIN*1*IN*4006381333931~\nQTY*17*25*EA~")
    assert found.preview is not None
    assert [(c.path, c.before, c.after) for c in found.preview.changes] == [("onHand", "250 EA", "25 EA")]
    edited = await desk.edit(row.id, Edit(version=0, text=found.text.replace("4006381333931", "4713")))
    assert edited.preview is not None
    assert (edited.preview.outcome, [(s.sku, s.change) for s in edited.preview.stock]) == ("books", [("4713", "25")])
    booked = await desk.book(row.id, Booking(version=1, reason="the item was wrong"))
    assert (booked.status, booked.decision and booked.decision.key) == ("booked", "0001/4713/2026-06-15T06:00:00+02:00")
    pair = SkuAt(sku="4713", location_id="0001")
    assert (await advices.books.sales.levels([pair]))[pair].on_hand == Quantity("25", "EA")


async def test_a_level_of_no_known_place_of_no_figure_or_of_the_future_is_set_aside(advices: Shop) -> None:
    await advices.dropped("a.edi", advice("4006381333931 63*40"))
    await advices.dropped("b.edi", advice("4006381333931 17*40", at="29990101*0600", number=8))
    bad = await advices.books.files.quarantined(None, 10)
    assert {(b.field, b.expected) for b in bad} == {
        ("on_hand", "a figure of what is there, or of what is available"),
        ("as_of", "the moment of the report, of the last ten years"),
    }
    ancient = await advices.dropped("d.edi", advice("4006381333931 17*40", at="00010105*0600", number=10))
    assert (ancient.state, ancient.booked, ancient.quarantined) == ("done", 0, 1)
    advices.zones.of = lambda location: None  # type: ignore[method-assign]  # a place that nobody lists
    third = await advices.dropped("c.edi", advice("4006381333931 17*40", number=9))
    assert (third.booked, third.quarantined, await standing(advices)) == (0, 1, None)


async def test_an_older_level_that_waits_says_that_booking_it_would_change_nothing(advices: Shop) -> None:
    await advices.dropped("a.edi", advice("4006381333931 17*250", at="20260615*1200"))
    await advices.dropped("b.edi", advice("4006381333931 17*lots", number=8))
    desk = advices.desk()
    (row,) = await desk.records(RecordsParameters(status="open"))
    text = (await desk.record(row.id)).text
    edited = await desk.edit(row.id, Edit(version=0, text=text.replace("lots", "25")))
    assert edited.preview is not None
    assert (edited.preview.outcome, edited.preview.stock) == ("books", ())
    assert edited.preview.told.endswith("/2026-06-15T06:00:00+02:00 and change nothing: a later report is known, and counts.")
    newer = advice("4713 17*25", "4006381333931 17*lots", at="20260615*1300", number=9)
    await advices.dropped("c.edi", newer)
    last = (await desk.records(RecordsParameters(status="open")))[-1]
    text = (await desk.record(last.id)).text
    edited = await desk.edit(last.id, Edit(version=0, text=text.replace("lots", "200")))
    assert edited.preview is not None
    assert [(s.sku, s.change) for s in edited.preview.stock] == [("4006381333931", "-50")]

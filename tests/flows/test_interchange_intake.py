"""Receipts in an EDIFACT dialect of a retailer's own tills: the same intake books them, sets bad ones aside and refuses what is broken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from adapters.files.driver import FileContract, FileFeed
from adapters.files.spec import options
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, FileRecord
from contracts.canonical.location import Location
from contracts.canonical.sale import PosSale
from gateway.services.intake.intake import Intake
from mappings.language import load
from observability import Recorder

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
    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        (folder / "receipts.toml").write_text(LAYOUT, encoding="utf-8")
        contract = FileContract("pos", folder / "receipts.toml")
        mapping = load(MAPPING, "receipts", lambda name: contract.exchange(name.partition(".")[2]), {"PosSale": PosSale})
        self.books: Books = open_store(StoreOptions(url=f"sqlite:///{folder}/books.db"))
        self.feed = FileFeed("pos", "receipts", contract, options(str(self.inbox), {"complete": "renamed", "watch": False}))
        self.intake = Intake(self.feed, mapping, self.books, Recorder(), Berlin(), "/test")

    async def dropped(self, name: str, text: str) -> FileRecord:
        (self.inbox / name).write_text(text, encoding="latin-1")
        await self.intake.sweep_once()
        return next(r for r in await self.books.files.list(100) if r.name == name)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    found = Shop(tmp_path)
    await found.books.start()
    await found.feed.start()
    yield found
    await found.feed.close()
    await found.books.close()


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

"""Transactions written as earlier ones were become what reading them exactly makes of them: for any text, good or bad."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from adapters.files.driver import FileContract, FileFeed
from adapters.files.formats.reading import parsing
from adapters.files.layout import Layout
from adapters.files.parsing import Refuse
from adapters.files.spec import FeedOptions
from adapters.files.written import SEEN, Written, written
from adapters.store.books.sale import prepared_form
from benchmarks.files import fixed_layout
from contracts.canonical.sale import PosSale
from gateway.services.intake.reading import Reader
from mappings.language import CompiledMapping, load

ROOT = Path(__file__).resolve().parents[4]
FACTS = {"store": "0001", "business_date": "20260311"}
HEADER = "FH;2;0001;20260311;20260311220000;00001"
OPERATORS = ["0012"] * 8 + ["", "Ä5"]
NOW = datetime(2026, 3, 12, tzinfo=UTC)


class Zones:
    known = 1

    def of(self, location: str) -> ZoneInfo | None:
        return ZoneInfo("Europe/Berlin")

    def location(self, number: str) -> None: ...


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FileFeed, CompiledMapping]]:
    folder = tmp_path_factory.mktemp("layouts")
    fixed = folder / "tlog.toml"
    fixed.write_text(fixed_layout(), encoding="utf-8")
    text = (ROOT / "mappings/pos/tlog.toml").read_text(encoding="utf-8")
    made = {}
    for name, layout in (("delimited", ROOT / "contracts/systems/pos/tlog.toml"), ("fixed", fixed)):
        contract = FileContract("pos", layout)
        mapping = mapped(text, contract)
        made[name] = FileFeed("pos", "tlog", contract, FeedOptions(inbox=str(folder), complete="renamed", watch=False)), mapping
    contract = FileContract("pos", ROOT / "contracts/systems/pos/poslog.toml")
    mapping = mapped((ROOT / "mappings/pos/poslog.toml").read_text(encoding="utf-8"), contract, "poslog")
    made["poslog"] = FileFeed("pos", "poslog", contract, FeedOptions(inbox=str(folder), complete="renamed", watch=False)), mapping
    return made


def mapped(text: str, contract: FileContract, name: str = "tlog") -> CompiledMapping:
    return load(text, name, lambda said: contract.exchange(said.partition(".")[2]), {"PosSale": PosSale})


def transaction(chance: Random, sequence: int) -> list[str]:
    """A sale of some kind that a till writes; its sums hold."""
    hour, day = chance.choice((1, 2, 8, 9, 19)), chance.choice((11, 11, 29))
    at = f"202603{day}{hour:02}{chance.randrange(60):02}{chance.randrange(60):02}"
    rows = [f"TH;{chance.choice(('001', '2', '3', '4', 'K-7'))};{sequence:06};S;{at};{at};{chance.choice(OPERATORS)};1-{sequence};EUR;"]
    gross = less = 0
    for line in range(1, chance.choice((1, 1, 1, 2, 3)) + 1):
        cents = chance.randrange(1, 5000)
        if chance.random() < 0.8:
            pieces = chance.choice((1, 1, 2))
            sku, gtin = chance.randrange(10**8), chance.choice(("4006100000823",) * 9 + ("",))
            rows.append(f"TL;{line};S;{sku:012};{gtin};{pieces * 1000};ST;{cents};{cents * pieces};;S")
            gross += cents * pieces
        else:
            rows.append(f"TL;{line};S;000010000300;2100300004208;{chance.randrange(1, 3000)};KG;1000;{cents};;W")
            gross += cents
        if chance.random() < 0.2:
            less += (off := chance.randrange(cents + 1))
            rows.append(f"TD;{line};PR-{off};{off};2 für 1")
    grand = gross - less
    tax = grand * 19 // 119 if chance.random() < 0.3 else 0
    if tax:
        rows.append(f"TX;1900;{grand - tax};{tax}")
    if chance.random() < 0.2:
        rows += [f"TT;BAR;{grand + 100};;;", "TT;BAR;100;C;;"]
    else:
        rows.append(f"TT;{chance.choice(('BAR', 'BAR', 'EC'))};{grand};;;")
    return [*rows, f"TF;{gross};{grand - tax};{tax};{grand}"]


def in_columns(layout: Layout, row: str) -> str:
    name, *cells = row.split(";")
    if name not in layout.records or "\n" in row:
        return row.replace(";", "")
    widths = [f.width or 0 for f in layout.records[name].fields]
    return f"{name}{''.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))}".rstrip()


def read(
    feed: FileFeed, mapping: CompiledMapping, body: bytes, use: Callable[[Any], Written | None]
) -> tuple[list[Any], Any, Written | None]:
    origin = SimpleNamespace(digest="d", modified=1.0, name="TLOG_0001_20260311_00001.tlog")
    drifts: list[Any] = []
    convert = Reader(feed, mapping, Zones(), origin, NOW, lambda *what: drifts.append(what))
    parser: Any = parsing(feed.layout)(None)
    parser.written = use(convert)
    parser._block = 3000
    found: list[Any] = []
    for unit in parser.units(BytesIO(body), origin.name, FACTS):
        if unit.made:
            first = unit.position - len(unit.made) + 1
            found += [(at, None if at > first else unit.line, sale) for at, sale in enumerate(unit.made, first)]
            continue
        position, sale = convert(unit)
        try:
            found.append((position, unit.line, prepared_form(sale) if isinstance(sale, PosSale) else sale))
        except ValueError as error:
            found.append((position, unit.line, str(error)))
    return [found, drifts], parser.ending, parser.written


def same(feed: FileFeed, mapping: CompiledMapping, body: bytes) -> Written:
    """Read exactly and with what was learned; both say the same."""
    exact, ending, _ = read(feed, mapping, body, lambda reader: None)
    quick, other, learned = read(feed, mapping, body, lambda reader: reader.written)
    for (position, line, sale), b in zip(exact[0], quick[0], strict=True):
        assert b == (position, b[1] and line, sale)
    assert exact[1] == quick[1]
    assert other == ending
    assert learned is not None
    assert learned.defects == 0
    return learned


def file(transactions: list[list[str]], total: int | None = None) -> list[str]:
    lines = sum(row.startswith("TL") for rows in transactions for row in rows)
    grand = sum(int(rows[-1].rpartition(";")[2]) for rows in transactions) if total is None else total
    return [HEADER, *(row for rows in transactions for row in rows), f"FT;{len(transactions)};{lines};{grand}"]


@pytest.mark.slow
def test_a_day_of_sales_when_most_are_written_alike_is_what_reading_each_exactly_makes_of_it(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]],
) -> None:
    chance = Random(7)
    body = "\n".join(file([transaction(chance, n) for n in range(3000)])).encode()
    learned = same(*feeds["delimited"], body)
    assert learned.counts["TH"] > 400
    assert sum(map(len, learned._shapes.values())) > 5


def plain(n: int, width: int = 0, *, cents: int = 199) -> list[str]:
    at = f"2026031108{n % 60:02}{n % 7:02}"
    return [
        f"TH;001;{n:06};S;{at};{at};0012;1-{n};EUR;",
        f"TL;1;S;{10_000_000 + n:012};4006100000823;1000;ST;{cents};{cents};;S",
        f"TT;BAR;{cents};;;",
        f"TF;{cents};{cents};0;{cents}",
    ]


@pytest.mark.parametrize("form", ["delimited", "fixed"])
def test_nearly_all_transactions_of_a_regular_file_when_it_is_long_are_taken_from_their_text(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]], form: str
) -> None:
    feed, mapping = feeds[form]
    rows = file([plain(n, cents=100 + n) for n in range(400)])
    if form == "fixed":
        rows = [in_columns(feed.layout, row) for row in rows]
    learned = same(feed, mapping, "\n".join(rows).encode())
    assert learned.counts["TH"] > 300


TEXTS = (
    '|0|00|1|-1|1-|007|1.5| 1|1 |S|R|V|C|ST|KG|EUR|JPY|BAR|XX|Ä|"|"a;b"|a\tb|202603290230|20260329023000|20260311246000|99999999999999'
    "|123456789012|000000000000|AAAAAAAAAAAA|4006100000823|²|١|\x00"
)
CELLS = st.sampled_from(TEXTS.split("|"))


@st.composite
def spoiled(draw: st.DrawFn) -> list[list[str]]:
    """Transactions like those that were learned, each with something else in it."""
    made = []
    for n in range(draw(st.integers(3, 12))):
        rows = plain(1000 + n, cents=draw(st.integers(0, 10**6)))
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(rows) - 1))
            cells = rows[at].split(";")
            match draw(st.integers(0, 5)):
                case 0:
                    rows.insert(at, draw(st.sampled_from(["", "TD;1;P;5;x", "TX;1900;1;1", "ZZ;1", rows[at], "TT;EC;5;;;", "TH", "TF"])))
                case 1 if len(rows) > 1:
                    del rows[at]
                case 2:
                    place = draw(st.integers(0, len(rows[at])))
                    rows[at] = (
                        rows[at][:place] + draw(st.sampled_from(["0", ";", "9", "a", " ", "\r", "-", "é", '"', "\n"])) + rows[at][place:]
                    )
                case 3:
                    del cells[draw(st.integers(0, len(cells) - 1))]
                    rows[at] = ";".join(cells)
                case _:
                    cells[draw(st.integers(0, len(cells) - 1))] = draw(CELLS)
                    rows[at] = ";".join(cells)
        made.append(rows)
    return made


@pytest.mark.slow
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(bad=spoiled(), form=st.sampled_from(["delimited", "fixed"]), tail=st.sampled_from(["\n", ""]))
def test_any_transaction_behind_those_that_were_learned_is_what_reading_it_exactly_makes_of_it(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]], bad: list[list[str]], form: str, tail: str
) -> None:
    feed, mapping = feeds[form]
    transactions = [*(plain(n) for n in range(SEEN + 50)), *bad, plain(5000)]
    rows = [HEADER, *(row for rows in transactions for row in rows), "FT;1;1;1"]
    if form == "fixed":
        rows = [in_columns(feed.layout, row) for row in rows]
    learned = same(feed, mapping, ("\n".join(rows) + tail).encode("utf-8", "replace"))
    assert learned.counts["TH"] >= 10


def test_sums_of_the_file_when_transactions_are_taken_from_their_text_are_still_proven(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]],
) -> None:
    feed, mapping = feeds["delimited"]
    body = "\n".join(file([plain(n) for n in range(100)], total=1)).encode()
    _, ending, learned = read(feed, mapping, body, lambda reader: reader.written)
    assert learned is not None
    assert learned.counts["TH"] > 50
    assert ending.reasons == [
        "the trailer's total is not the sum of what the counted transactions came to: FT.hash_total states 0.01, the file holds 199.00"
    ]


def test_a_mapping_that_asks_more_of_a_sale_when_it_is_looked_at_learns_nothing(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]],
) -> None:
    feed, mapping = feeds["delimited"]
    text = (ROOT / "mappings/pos/tlog.toml").read_text(encoding="utf-8")
    filtered = text.replace('source = "pos.tlog"\n', 'source = "pos.tlog"\nwhere = "type == \'S\'"\n', 1)
    contract = FileContract("pos", ROOT / "contracts/systems/pos/tlog.toml")
    other = mapped(filtered, contract)
    assert written(feed.layout, mapping, Zones().of) is not None
    assert written(feed.layout, other, Zones().of) is None


def test_a_cell_that_something_hangs_on_when_transactions_are_learned_stays_part_of_the_pattern(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]],
) -> None:
    """A till that is counted as training by its number: the number may not change then."""
    feed, _ = feeds["delimited"]
    text = (ROOT / "mappings/pos/tlog.toml").read_text(encoding="utf-8")
    text = text.replace('receipt_number   = "receipt_no"', "receipt_number   = \"receipt_no if operator == '0012' else None\"", 1)
    contract = FileContract("pos", ROOT / "contracts/systems/pos/tlog.toml")
    other = mapped(text, contract)
    chance = Random(3)
    transactions = [[row.replace(";0012;", f";{chance.choice(('0012', '0013'))};") for row in plain(n)] for n in range(200)]
    learned = same(feed, other, "\n".join(file(transactions)).encode())
    assert learned.counts.get("TH", 0) >= 0


def poslog(n: int, *, cents: int = 199, pieces: int = 1, offset: str = "+01:00", extra: str = "", weight: str = "") -> str:
    """A transaction of a till that writes XML; its sums hold."""
    at = f"2026-03-11T08:{n % 60:02}:{n % 7:02}{offset}"
    worth = cents * pieces
    net = worth * 100 // 119
    quantity = (
        f'<Quantity UnitOfMeasureCode="KGM">{weight}</Quantity>'
        if weight
        else f'<Quantity Units="{pieces}" UnitOfMeasureCode="EA">{pieces}</Quantity>'
    )

    def said(amount: int) -> str:
        return f"{amount // 100}.{amount % 100:02}"

    return (
        f"<Transaction><RetailStoreID>0001</RetailStoreID><WorkstationID>{n % 3 + 1:03}</WorkstationID><SequenceNumber>{n}</SequenceNumber>"
        f"<BusinessDayDate>2026-03-11</BusinessDayDate><BeginDateTime>{at}</BeginDateTime><EndDateTime>{at}</EndDateTime>"
        f"<OperatorID>0012</OperatorID><CurrencyCode>EUR</CurrencyCode>"
        f'<RetailTransaction Version="2.1" TransactionStatus="Totaled" TypeCode="Sale"><ReceiptNumber>1-{n}</ReceiptNumber>\n'
        f'<LineItem EntryMethod="Scanned"><SequenceNumber>1</SequenceNumber><Sale ItemType="Stock"><POSIdentity POSIDType="GTIN">'
        f"<POSItemID>04006100000823</POSItemID></POSIdentity>"
        f"<ItemID>{10_000_000 + n % 50:014}</ItemID><Description>Apfel {n}</Description>"
        f"<RegularSalesUnitPrice>{said(cents)}</RegularSalesUnitPrice><ActualSalesUnitPrice>{said(cents)}</ActualSalesUnitPrice>"
        f"<ExtendedAmount>{said(worth)}</ExtendedAmount>{quantity}{extra}</Sale></LineItem>\n"
        f"<LineItem><SequenceNumber>2</SequenceNumber><Tax><TaxableAmount>{said(net)}</TaxableAmount>"
        f"<Amount>{said(worth - net)}</Amount><Percent>19.00</Percent></Tax></LineItem>"
        f'<LineItem><SequenceNumber>3</SequenceNumber><Tender TenderType="Cash" TypeCode="Sale"><Amount>{said(worth)}</Amount>'
        f'</Tender></LineItem><Total TotalType="TransactionGrossAmount">{said(worth)}</Total>'
        f'<Total TotalType="TransactionNetAmount">{said(net)}</Total><Total TotalType="TransactionTaxAmount">{said(worth - net)}</Total>'
        f'<Total TotalType="TransactionGrandAmount">{said(worth)}</Total></RetailTransaction></Transaction>\n'
    )


ROOTS = st.sampled_from(["<POSLog>", '<POSLog xmlns="http://www.nrf-arts.org/IXRetail/namespace/">\n', '<POSLog xmlns:v="urn:vendor">'])


def posted(transactions: list[str], root: str = "<POSLog>") -> bytes:
    return f"{root}{''.join(transactions)}</POSLog>".encode("utf-8", "replace")


def test_nearly_all_transactions_of_xml_when_they_are_written_alike_are_taken_from_their_text(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]],
) -> None:
    chance = Random(5)
    kinds = [
        lambda n: poslog(n, cents=chance.randrange(5000), pieces=chance.randrange(1, 4)),
        lambda n: poslog(n, offset="Z"),
        lambda n: poslog(n, offset=""),
        lambda n: poslog(n, weight=f"{chance.randrange(3)}.{chance.randrange(1000):03}"),
        lambda n: poslog(n, extra="<RetailPriceModifier><Amount>0.00</Amount></RetailPriceModifier>"),
    ]
    learned = same(*feeds["poslog"], posted([chance.choice(kinds)(n) for n in range(1500)]))
    assert learned.counts["Transaction"] > 1000
    assert len(learned._shapes[0]) >= 5


VALUES = (
    "0|00|1|-1|1-|+1|1.5|1.50|007|0.005|1e2| 1 | |-0.00|2.00|1.990|99999999999.99"
    "|123456789012345|Ä|a b|&amp;|&#65;|<![CDATA[1]]>|<!--x-->1|KGM"
    "|Sale"
    "|true|false|USD|JPY|2026-03-11T08:00:00|2026-03-29T02:30:00|2026-03-11T24:00:00Z|2026-03-11T08:00:61Z|2026-03-11T08:00:00.5Z|0001|0002"
    "|2026-03-12|]]|²|١|\n1\n|\x01"
)


@st.composite
def spoiled_elements(draw: st.DrawFn) -> list[str]:
    """Transactions like those that were learned, each with something else in it."""
    made = []
    for n in range(draw(st.integers(3, 12))):
        text = poslog(1000 + n, cents=draw(st.integers(0, 10**6)))
        for _ in range(draw(st.integers(0, 2))):
            places = [*re.finditer(r'>([^<>]+)<|="([^"]*)"', text)]
            place = draw(st.sampled_from(places))
            at = 1 if place[1] is not None else 2
            match draw(st.integers(0, 4)):
                case 0:
                    cut = draw(st.integers(0, len(text)))
                    text = (
                        text[:cut] + draw(st.sampled_from(["0", " ", "-", "\n", "<x/>", "<v:x/>", "&", "<", "é", "<!-- -->"])) + text[cut:]
                    )
                case 1:
                    name = draw(st.sampled_from(["Description", "ItemID", "Percent", "Quantity", "OperatorID", "Tax", "LineItem", "Total"]))
                    text = re.sub(
                        rf"<{name}[ >].*?</{name}>",
                        draw(st.sampled_from(["", f"<{name}/>", r"\g<0>\g<0>"])),
                        text,
                        count=1,
                        flags=re.DOTALL,
                    )
                case _:
                    text = text[: place.start(at)] + draw(st.sampled_from(VALUES.split("|"))) + text[place.end(at) :]
        made.append(text)
    return made


@pytest.mark.slow
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(bad=spoiled_elements(), root=ROOTS)
def test_any_transaction_of_xml_behind_those_that_were_learned_is_what_reading_it_exactly_makes_of_it(
    feeds: dict[str, tuple[FileFeed, CompiledMapping]], bad: list[str], root: str
) -> None:
    learned = []
    transactions = [*(poslog(n) for n in range(SEEN + 20)), *bad, poslog(5000)]
    outcomes: list[Any] = []
    for use in (lambda reader: None, lambda reader: reader.written):
        try:
            found, ending, written_ = read(*feeds["poslog"], posted(transactions, root), use)
            outcomes.append((found, ending))
            learned.append(written_)
        except Refuse as refused:
            outcomes.append(str(refused))
    assert outcomes[0] == outcomes[1]
    assert all(one is None or (one.counts["Transaction"] >= 10 and not one.defects) for one in learned)

"""Read from the text or element by element: the same transactions, faults, places and bytes, whatever stands in the file."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.files.formats.xml import Plan, XmlParser
from adapters.files.layout import Layout, load, parse
from adapters.files.parsing import Refuse

LAYOUT = Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml"
FACTS = {"store": "0002", "business_date": "20260311"}


def layout(**changed: str) -> Layout:
    text = LAYOUT.read_text(encoding="utf-8")
    for key, value in changed.items():
        text = re.sub(rf"(?m)^{key} .*$", f"{key} = {value}", text)
    return parse(text, "poslog.toml", "poslog")


class Slow(io.BytesIO):
    """Gives a few bytes at a time."""

    def __init__(self, body: bytes, size: int) -> None:
        super().__init__(body)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size)


def told(plan: Plan, body: bytes, size: int, skim: int | None = None) -> list[Any]:
    """Everything that a reader says of a file."""
    parser = XmlParser(plan, skim)
    found: list[Any] = []

    def units() -> Iterator[Any]:
        for u in parser.units(Slow(body, size), "f", FACTS):
            wrong = u.wrong and (u.wrong.field, u.wrong.expected, u.wrong.got, u.wrong.line)
            yield u.position, u.line, u.row, wrong, u.raw(), u.around()

    try:
        for unit in units():
            found.append(unit)  # noqa: PERF402 - what came before a refusal counts
    except Refuse as error:
        return [*found, str(error)]
    return [*found, parser.ending]


PLAIN = layout()
OURS = layout(namespaces='["urn:a"]', max_depth="12", max_records="9")
PLANS = [(Plan(each), Plan(each, short=False)) for each in (PLAIN, OURS)]
JOURNAL = load(LAYOUT.parents[1] / "journals/naxml.toml")
JOURNALS = (Plan(JOURNAL), Plan(JOURNAL, short=False))


def line(number: int, kind: str = "Sale", inside: str = "", **more: str) -> str:
    attributes = "".join(f' {k}="{v}"' for k, v in more.items())
    return (
        f'<LineItem{attributes}><SequenceNumber>{number}</SequenceNumber><{kind} ItemType="Stock"><ItemID>0000{number}</ItemID>'
        f"<Description>Tea &amp; more</Description><ExtendedAmount>1.26</ExtendedAmount>{inside}"
        f'<Quantity Units="1" UnitOfMeasureCode="EA">1</Quantity></{kind}></LineItem>'
    )


def transaction(number: int, lines: list[str], *, total: str = "", head: str = "", flags: str = "", gap: str = "") -> str:
    count = sum(0 if "VoidFlag" in each else 1 if "<Sale" in each else -1 for each in lines)
    worth = total or f"{126 * count / 100:.2f}"
    tender = f'<LineItem><SequenceNumber>9</SequenceNumber><Tender TenderType="Cash"><Amount>{worth}</Amount></Tender></LineItem>'
    return gap.join(
        [
            f"<Transaction{flags}>", "<RetailStoreID>0002</RetailStoreID>", "<WorkstationID>1</WorkstationID>",
            f"<SequenceNumber>{number}</SequenceNumber>", "<BusinessDayDate>2026-03-11</BusinessDayDate>",
            "<EndDateTime>2026-03-11T09:00:30</EndDateTime>", "<CurrencyCode>EUR</CurrencyCode>", head,
            '<RetailTransaction TypeCode="Sale">', *lines, tender,
            f'<Total TotalType="TransactionGrandAmount">{worth}</Total></RetailTransaction>', "</Transaction>",
        ]
    )  # fmt: skip


def document(transactions: list[str], root: str = "<POSLog>", between: str = "\n") -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n{root}' + between.join(["", *transactions, ""]) + "</POSLog>"


USUAL = [transaction(n, [line(k) for k in range(1, 2 + n % 3)]) for n in range(1, 5)]
SPICE = st.sampled_from(
    [
        *[
            "<",
            ">",
            "&",
            "&amp;",
            "&#65;",
            "&nope;",
            "]]>",
            "<!-- c -->",
            "<![CDATA[x]]>",
            "<?pi x?>",
            "\r\n",
            "\t",
            "\x01",
            "\ufffe",
            "\ue000",
        ],
        *[
            '"',
            "'",
            " ",
            "  ",
            "\n",
            "é",
            "\xa0",
            "x:",
            "9",
            "",
            "<Own/>",
            '<a:Own xmlns:a="urn:a">7</a:Own>',
            "<!--",
            "-->",
            "<!DOCTYPE x>",
        ],
        *["</Transaction>", "<Transaction>", "<Transaction/>", "</LineItem>", "<LineItem>", "<LineItem/>", "<!-- </Transaction> -->"],
        *[' VoidFlag="true"', ' xmlns="urn:b"', "<RetailTransaction/>", "<RetailStoreID>0009</RetailStoreID>"],
        "<Total TotalType='TransactionGrandAmount'>1</Total>",
    ]
)
PLACES = [m.start() for m in re.finditer(r'[<>"/=]|(?<=>)[^<]', USUAL[1])]


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    parts = [draw(st.sampled_from(USUAL)) for _ in range(draw(st.integers(3, 7)))]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(parts) - 1))
        place = min(draw(st.sampled_from(PLACES)) + draw(st.integers(0, 1)), len(parts[at]))
        cut = draw(st.sampled_from([0, 0, 1, 6]))
        parts[at] = parts[at][:place] + draw(SPICE) + parts[at][place + cut :]
    body = document(parts, draw(st.sampled_from(["<POSLog>", '<POSLog xmlns="urn:a">', '<POSLog xmlns:x="urn:x">'])), draw(SPICE) + "\n")
    return body.encode()[: draw(st.sampled_from([None, None, None, 700, -30]))]


@settings(max_examples=50, deadline=None)
@given(documents(), st.sampled_from([17, 333, 100_000]), st.sampled_from([None, 0, 2]))
def test_both_ways_say_the_same(body: bytes, size: int, skim: int | None) -> None:
    for short, long in PLANS:
        assert told(short, body, size, skim) == told(long, body, size, skim)


EVENTS = [
    f"<{kind}><RegisterID>1</RegisterID><TransactionID>{n}</TransactionID><EventStartDate>2026-03-11</EventStartDate><EventStartTime>09:00:00"
    f"</EventStartTime><BusinessDate>2026-03-11</BusinessDate><TransactionDetailGroup>"
    + f'<TransactionLine status="normal"><ItemLine><ItemCode>{code}</ItemCode><SalesQuantity>-1</SalesQuantity><SalesAmount>1</SalesAmount>'
    "</ItemLine></TransactionLine>" * n + f"</TransactionDetailGroup></{kind}>"
    for n, kind, code in ((1, "SaleEvent", "<POSCode>4</POSCode>"), (2, "SaleEvent", "<POSCode>5</POSCode>"), (1, "OtherEvent", "<A/>"))
]
JOURNAL_SPICE = st.sampled_from(
    [
        *[
            "<POSCode> </POSCode>",
            "<InventoryItemID>  </InventoryItemID>",
            "<InventoryItemID>6</InventoryItemID>",
            " ",
            "\n",
            "-",
            "+",
            "4",
            "<x/>",
        ],
        *[
            "</JournalReport><JournalReport>",
            "<TransmissionHeader/>",
            "</SaleEvent>",
            "&amp;",
            "<!-- c -->",
            ' status="cancel"',
            "<FuelLine/>",
            "",
        ],
    ]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), min_size=3, max_size=6), st.lists(st.tuples(st.integers(0, 5), JOURNAL_SPICE, st.floats(0, 1))))
def test_both_ways_say_the_same_of_headers_positions_signs_and_other_paths(events: list[str], spices: list[tuple[int, str, float]]) -> None:
    for at, spice, share in spices[:2]:
        event = events[at % len(events)]
        place = event.index(">", int((len(event) - 1) * share)) + 1
        events[at % len(events)] = event[:place] + spice + event[place:]
    body = (
        "<NAXML-POSJournal><TransmissionHeader><StoreLocationID>1</StoreLocationID></TransmissionHeader><JournalReport>"
        + "\n".join(events)
        + "</JournalReport></NAXML-POSJournal>"
    ).encode()
    short, long = JOURNALS
    assert told(short, body, 999) == told(long, body, 999)


def by_text(plan: Plan, body: bytes) -> int:
    """How many transactions the parser has not seen. The shortest way to know is what its line count left out."""
    parser = XmlParser(plan)
    assert all(unit.row for unit in parser.units(io.BytesIO(body), "f", FACTS))
    return parser._skipped


@pytest.mark.parametrize(
    ("name", "transactions"),
    [
        ("lines of several kinds", [[line(1), line(2, "Return")], [line(1, "Return", VoidFlag="true"), line(1), line(2)]]),
        ("no line", [[]]),
        ("vendor's elements", [[line(1, inside='<a:Own xmlns:a="urn:v" k="1"><a:B>x</a:B></a:Own>')]]),
    ],
)
def test_what_was_seen_once_is_read_from_its_text(name: str, transactions: list[list[str]]) -> None:
    for gap in ("", "\n    "):
        texts = [transaction(n, transactions[n % len(transactions)], gap=gap) for n in range(1, 30)]
        body = document(texts).encode()
        short, long = Plan(PLAIN), Plan(PLAIN, short=False)
        assert told(short, body, 9999) == told(long, body, 100_000)
        seen = by_text(Plan(PLAIN), body)
        assert seen >= 20 * (1 + texts[0].count("\n")), name

"""Many rows to one record, one row to many: groups at the top and inside, further targets of one record."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from lxml import etree

from contracts.canonical.amounts import Money
from contracts.errors import ContractViolation
from mappings.language import attempt
from mappings.language.mapping import CompiledMapping
from mappings.language.shape import Exchange, Field, Form, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context

ROW = Record(
    "Row",
    [
        Field("ORDER", Leaf("string")),
        Field("SHIP", Leaf("string")),
        Field("NAME", Leaf("string"), required=False),
        Field("SKU", Leaf("string")),
        Field("QTY", Leaf("integer")),
        Field("PRICE", Leaf("decimal")),
        Field("PROMO", Leaf("decimal"), required=False),
    ],
)
ANSWER = Record("A", [Field("CCY", Leaf("string")), Field("ROW", ROW, required=False, repeated=True)])
ROWS = [
    {"ORDER": "1", "SHIP": "a", "NAME": "Ada", "SKU": "x", "QTY": 2, "PRICE": Decimal("1.00")},
    {"ORDER": "2", "SHIP": "a", "SKU": "y", "QTY": 1, "PRICE": Decimal("2.00"), "PROMO": Decimal("1.50")},
    {"ORDER": "1", "SHIP": "b", "NAME": "Ada", "SKU": "z", "QTY": 3, "PRICE": Decimal("3.00")},
    {"ORDER": "1", "SHIP": "b", "NAME": "Ada", "SKU": "x", "QTY": 4, "PRICE": Decimal("1.00")},
]


class Line(msgspec.Struct):
    sku: str
    quantity: int


class Parcel(msgspec.Struct):
    number: str
    lines: tuple[Line, ...] = ()


class Order(msgspec.Struct):
    number: str
    name: str | None
    currency: str
    rows: int
    units: int | None
    parcels: tuple[Parcel, ...] = ()


class Price(msgspec.Struct):
    sku: str
    kind: str
    value: Money


GROUPED = """target = "Order"
source = "x.get/ROW"
where = "QTY > 0"
group = "ORDER"
[fields]
number = "ORDER"
name = "NAME"
currency = "root.CCY"
rows = "rows | count"
units = "rows | sum_of(QTY)"
[fields.parcels]
each = "rows"
group = "SHIP"
number = "SHIP"
[fields.parcels.lines]
each = "rows"
sku = "SKU"
quantity = "QTY"
[drops]
PRICE = "not asked"
PROMO = "not asked"
"""
PRICES = """target = "Price"
source = "x.get/ROW"
[fields]
sku = "SKU"
kind = "'regular'"
value = "PRICE | money(root.CCY)"
[[also]]
when = "PROMO is not None"
kind = "'sale'"
value = "PROMO | required | money(root.CCY)"
[drops]
ORDER = "no"
SHIP = "no"
NAME = "no"
QTY = "no"
"""


def compiled(text: str, form: Form = "json") -> tuple[CompiledMapping | None, list[str]]:
    exchange = Exchange("get", None, Message("x.get", form, ANSWER))
    mapping, findings = attempt(text, "m.toml", lambda _: exchange, {t.__name__: t for t in (Order, Price)})
    return mapping, [str(f) for f in findings]


def read(text: str, rows: list[dict[str, Any]], form: Form = "json") -> list[Any]:
    mapping, findings = compiled(text, form)
    assert mapping is not None, findings
    document: Any = {"CCY": "EUR", "ROW": rows}
    if form == "xml":
        document = etree.Element("A")
        etree.SubElement(document, "CCY").text = "EUR"
        for row in rows:
            element = etree.SubElement(document, "ROW")
            for name, value in row.items():
                etree.SubElement(element, name).text = str(value)
    return mapping.read(document, context())


@pytest.mark.parametrize("form", ["json", "xml"])
def test_flat_rows_become_orders_with_parcels_and_lines(form: Form) -> None:
    first, second = read(GROUPED, ROWS, form)
    assert first == Order("1", "Ada", "EUR", 3, 9, (Parcel("a", (Line("x", 2),)), Parcel("b", (Line("z", 3), Line("x", 4)))))
    assert second == Order("2", None, "EUR", 1, 1, (Parcel("a", (Line("y", 1),)),))


def test_a_condition_leaves_rows_out_before_they_are_grouped() -> None:
    rows = [{**ROWS[0], "QTY": 0}, *ROWS[1:]]
    assert [(o.number, o.rows) for o in read(GROUPED, rows)] == [("2", 1), ("1", 2)]


def test_no_rows_are_no_orders() -> None:
    assert read(GROUPED, []) == []


@pytest.mark.parametrize(
    ("row", "field", "said"),
    [(0, "QTY", "ROW[0]/QTY: expected an integer"), (3, "QTY", "ROW[3]/QTY: expected an integer"), (2, "SKU", "ROW[2]/SKU: expected text")],
)
def test_what_is_wrong_in_a_row_is_told_with_its_place_in_the_document(row: int, field: str, said: str) -> None:
    rows = json.loads(json.dumps(ROWS, default=str))
    rows[row][field] = [] if field == "SKU" else "many"
    with pytest.raises(ContractViolation, match=re.escape(said)):
        read(GROUPED, rows)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_one_row_becomes_several_targets(form: Form) -> None:
    assert [(p.sku, p.kind, str(p.value.amount)) for p in read(PRICES, ROWS[:2], form)] == [
        ("x", "regular", "1.00"),
        ("y", "regular", "2.00"),
        ("y", "sale", "1.50"),
    ]


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (GROUPED, 'group = "ORDER"', 'group = "ORDR"', "m.toml:4:10: group: unknown source field ORDR in ROW; did you mean ORDER?"),
        (GROUPED, 'group = "ORDER"', 'group = "NAME"', "m.toml:4:9: group: ROW.NAME may be absent; append | required or | default('…')"),
        (
            GROUPED,
            'group = "ORDER"',
            'group = "PRICE"',
            "group: records are grouped by decimal; group by a text, an integer or a day",
        ),
        (GROUPED, 'group = "ORDER"\n', "", "unknown source field rows in ROW"),
        (
            GROUPED,
            'source = "x.get/ROW"',
            'source = "x.get"',
            "m.toml:4:9: one record cannot be grouped; name the repeated records in",
        ),
        (GROUPED, 'each = "rows"\ngroup = "SHIP"', 'group = "SHIP"', "group stands without each; group puts rows of a list together"),
        (
            GROUPED,
            "[fields]",
            "reverse = true\n[fields]",
            "one record that comes of several, or several of one, cannot be turned round",
        ),
        (PRICES, "kind = \"'sale'\"", "kinds = \"'sale'\"", "m.toml:9:9: unknown target field kinds; did you mean kind?"),
        (PRICES, "PROMO is not None", "PROMO", "m.toml:8:9: when: a condition is needed, this is decimal"),
    ],
)
def test_a_mistake_is_a_finding(text: str, old: str, new: str, said: str) -> None:
    assert old in text
    found = compiled(text.replace(old, new, 1))[1]
    assert any(said in f for f in found), found


@pytest.mark.parametrize("text", [GROUPED, PRICES])
def test_a_feed_that_is_read_record_by_record_is_not_grouped(text: str) -> None:
    assert any("a feed is read one record at a time; give one target per record" in f for f in compiled(text, "rows")[1])

"""A list written row by row: names and values, as systems with a generic interface want them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.errors import Finding
from mappings.language import attempt
from mappings.language.mapping import CompiledMapping
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context

VALUE = Record("Value", [Field("NAME", Leaf("string", max_length=8)), Field("TEXT", Leaf("string"), required=False)])
ASK = Message("x.put", "json", Record("Put", [Field("FLD", VALUE, required=False, repeated=True), Field("ONE", VALUE, required=False)]))


class Line(msgspec.Struct):
    sku: str
    quantity: int


class Order(msgspec.Struct):
    number: str
    note: str | None = None
    urgent: bool = False
    lines: tuple[Line, ...] = ()


def load(text: str) -> tuple[CompiledMapping | None, tuple[Finding, ...]]:
    return attempt(text, "put.toml", lambda _: Exchange("put", ASK, None), {"Order": Order})


HEAD = 'target = "x.put"\nsource = "Order"\n'
ROWS = (
    HEAD
    + """
[[fields.FLD]]
NAME = "'REF'"
TEXT = "number"

[[fields.FLD]]
NAME = "'NOTE'"
TEXT = "note"

[[fields.FLD]]
when = "urgent"
NAME = "'PRIO'"
TEXT = "'1'"

[[fields.FLD]]
each = "lines"
NAME = "'ITEM'"
TEXT = "concat(sku, ' x', quantity | string)"
"""
)


def written(order: Order) -> Any:
    mapping, findings = load(ROWS)
    assert mapping is not None, findings
    return mapping.write(order, context())["FLD"]


def test_a_repeated_row_is_there_under_its_condition_alone() -> None:
    mapping, findings = load(ROWS.replace('each = "lines"', 'each = "lines"\nwhen = "urgent"'))
    assert mapping is not None, findings
    for urgent, items in ((True, ["a x1", "b x2"]), (False, [])):
        rows = mapping.write(Order("7", None, urgent=urgent, lines=(Line("a", 1), Line("b", 2))), context())["FLD"]
        assert [row["TEXT"] for row in rows if row["NAME"] == "ITEM"] == items


def test_each_table_is_a_row_in_the_order_of_the_file() -> None:
    assert written(Order("7", "ring twice", urgent=True, lines=(Line("a", 1), Line("b", 2)))) == [
        {"NAME": "REF", "TEXT": "7"},
        {"NAME": "NOTE", "TEXT": "ring twice"},
        {"NAME": "PRIO", "TEXT": "1"},
        {"NAME": "ITEM", "TEXT": "a x1"},
        {"NAME": "ITEM", "TEXT": "b x2"},
    ]


def test_a_row_without_a_value_or_whose_condition_does_not_hold_is_left_out() -> None:
    assert written(Order("7")) == [{"NAME": "REF", "TEXT": "7"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            HEAD + '[[fields.ONE]]\nNAME = "number"\n',
            "put.toml:3: ONE: ONE is one record, not a list; write [fields.ONE] once, with single brackets",
        ),
        (HEAD + '[[fields.FLD]]\nNAME = "nmber"\n', "put.toml:4:9: FLD.NAME: unknown source field nmber in Order; did you mean number?"),
        (
            HEAD + '[[fields.FLD]]\nNAME = "number | at_most(8)"\n[[fields.FLD]]\nTEXT = "note"\n',
            "put.toml:5: required target field FLD.NAME",
        ),
    ],
)
def test_a_mistake_in_a_row_is_told_with_its_line(text: str, says: str) -> None:
    _, findings = load(text)
    assert any(str(f).startswith(says) for f in findings), [str(f) for f in findings]


def test_rows_that_are_written_cannot_be_turned_round() -> None:
    read = (
        'target = "Order"\nsource = "x.put"\nreverse = true\n[fields]\nnumber = "FLD.NAME | first | required"\n'
        '[[fields.lines]]\nsku = "ONE.NAME | required"\nquantity = 1\n[drops]\n"FLD.TEXT" = "no"\n"ONE.TEXT" = "no"\n'
    )
    _, findings = attempt(read, "put.toml", lambda _: Exchange("put", None, ASK), {"Order": Order})
    assert any("lines cannot be turned round" in str(f) for f in findings), [str(f) for f in findings]

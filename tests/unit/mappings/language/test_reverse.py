from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.base import Noun
from mappings.language import CompiledMapping, load
from mappings.language.examples import document
from mappings.language.shape import Exchange, Field, Form, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context


class Part(Noun, frozen=True, kw_only=True):
    number: int
    state: str


class Thing(Noun, frozen=True, kw_only=True):
    sku: str
    stock: Quantity
    price: Money
    day: date | None = None
    active: bool = False
    name: str | None = None
    parts: tuple[Part, ...] = ()


ITEM = Record(
    "item",
    [
        Field("MATNR", Leaf("string", 18)),
        Field("MENGE", Leaf("decimal", digits=(13, 3))),
        Field("MEINS", Leaf("string", enum=("ST", "KG"))),
        Field("PREIS", Leaf("string", 12)),
        Field("WAERS", Leaf("string", 3)),
        Field("DATUM", Leaf("string", 8), required=False),
        Field("AKTIV", Leaf("string", 1, enum=("X", ""))),
        Field("TEXT", Leaf("string", 40), required=False),
        Field(
            "POS",
            Record("POS", [Field("NR", Leaf("string", 6)), Field("ST", Leaf("string", enum=("A", "B")))]),
            required=False,
            repeated=True,
        ),
    ],
)
MAPPING = """
target = "Thing"
source = "x.get"
reverse = true
[fields]
sku = "MATNR | strip_zeros(18)"
stock = "MENGE | quantity(MEINS)"
price = "PREIS | sign_trailing | decimal | money(WAERS)"
day = "DATUM | date('YYYYMMDD')"
active = "AKTIV | boolean(true='X')"
name = "TEXT | text"
[fields.parts]
each = "POS"
number = "NR | integer"
state = "ST | enum(A='active', B='blocked')"
"""

words = st.text("abcXYZ", min_size=1, max_size=10)
things = st.builds(
    Thing,
    sku=st.one_of(st.integers(1, 10**17).map(str), words),
    stock=st.builds(Quantity.of, st.decimals(0, 10**9, places=3), st.sampled_from(("EA", "KGM"))),
    price=st.builds(lambda cents: Money(cents, "EUR", 2), st.integers(-(10**8), 10**8)),
    day=st.one_of(st.none(), st.dates(max_value=date(9999, 12, 30))),
    active=st.booleans(),
    name=st.one_of(st.none(), words),
    parts=st.lists(st.builds(Part, number=st.integers(0, 999_999), state=st.sampled_from(("active", "blocked"))), max_size=3).map(tuple),
)


def turned(form: Form) -> CompiledMapping:
    return load(MAPPING, "m.toml", lambda _: Exchange("get", None, Message("x.get", form, ITEM)), {"Thing": Thing})


def back_and_forth(mapping: CompiledMapping, thing: Any) -> Any:
    """Struct -> source record -> Struct: what every mapping with `reverse = true` promises."""
    written = mapping.write(thing, context())
    return mapping.read(document(mapping.source.form, ITEM, written, etree.Element), context())[0]


@given(things)
def test_a_round_trip_over_json_gives_the_same(thing: Thing) -> None:
    assert msgspec.to_builtins(back_and_forth(turned_json, thing)) == msgspec.to_builtins(thing)


@given(things)
def test_a_round_trip_over_xml_gives_the_same(thing: Thing) -> None:
    assert msgspec.to_builtins(back_and_forth(turned_xml, thing)) == msgspec.to_builtins(thing)


@given(things)
def test_a_round_trip_over_rows_gives_the_same(thing: Thing) -> None:
    assert msgspec.to_builtins(back_and_forth(turned_rows, thing)) == msgspec.to_builtins(thing)


turned_json, turned_xml, turned_rows = (turned(form) for form in ("json", "xml", "rows"))

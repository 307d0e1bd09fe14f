"""Whatever a system answers, a mapping reads it whole or refuses it with the one error: no crash, no hang, no half-read record."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from contracts.errors import ContractViolation
from tests.unit.mappings.language.shapes import compiled, context
from tests.unit.mappings.language.test_json_and_rows import ORDERS, SALE, order, sale
from tests.unit.mappings.language.test_xml import ITEM, STOCK, answer

orders, sales, stock = compiled(ORDERS), compiled(SALE), compiled(STOCK)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(("NEW", "SO-1", "1.5", "")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("orderNo", "state", "parcels", "no", "x")), inner, max_size=4)
    ),
    max_leaves=8,
)


def read(mapping: Any, document: Any) -> None:
    """Good rows, or the one error with a place."""
    refused: list[ContractViolation] = []
    try:
        msgspec.json.encode(mapping.read(document, context()))
    except ContractViolation as error:
        refused.append(error)
    assert all(e.where and len(e.got) <= 82 for e in refused)


@pytest.mark.slow
@given(st.sampled_from(("orderNo", "ref", "state", "changed", "parcels")), anything)
@settings(max_examples=300)
def test_any_json_in_any_place(name: str, value: Any) -> None:
    read(orders, {"items": [order(), order(**{name: value})]})


@given(anything)
def test_any_json_at_all(document: Any) -> None:
    read(orders, document)


@given(st.integers(0, 7), anything)
def test_any_value_in_a_row(place: int, value: Any) -> None:
    row = list(sale())
    row[place] = value
    read(sales, tuple(row))


def test_mutated_xml_is_read_or_refused() -> None:
    chance = random.Random(7)  # a seed makes it repeat
    good = answer(ITEM * 2)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    for _ in range(2000):
        text = list(good)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(text))
            text[at : at + chance.randint(0, 12)] = chance.choice(
                ("", "<x/>", "9", "<!-- -->", "&#160;", "</item>", "<item>", "-", "é", "<?p q?>")
            )
        root = etree.fromstring("".join(text), parser)
        if root is not None:
            read(stock, root)

"""A value made of texts by several steps is made once for equal texts, and a mistake in them keeps its place."""

from __future__ import annotations

import re

import pytest

from contracts.errors import ContractViolation
from mappings.language import runtime
from tests.unit.mappings.language.shapes import compiled, context, xml
from tests.unit.mappings.language.test_xml import ITEM, STOCK, answer

SUM = STOCK.replace('"LABST | quantity(MEINS)"', '"LABST + LABST | quantity(MEINS)"')


def test_equal_texts_give_the_one_object_and_a_mistake_its_place_and_row() -> None:
    mapping = compiled(SUM)
    assert "on_hand = ON_HAND_OF[MEINS][LABST]" in re.sub(r"_\d+", "", mapping.source_code())
    first, second, other = mapping.read(xml(answer(ITEM * 2 + ITEM.replace("12.000", "13.000"))), context())
    assert first.on_hand is second.on_hand != other.on_hand
    for _ in range(2):  # a mistake is not remembered
        with pytest.raises(ContractViolation, match=r"T_STOCK/item\[3\]/LABST: expected a decimal number, got 'x'"):
            mapping.read(xml(answer(ITEM * 2 + ITEM.replace("12.000", "x"))), context())


def test_what_is_remembered_is_bounded_in_number_and_length() -> None:
    made: list[str] = []
    known: dict[str, str] = {}
    tables: dict[str, dict[str, str]] = {}
    pattern = runtime.Pattern(re.compile("x*|[0-9]+").fullmatch)

    def make(text: str, *_: str) -> str:
        made.append(text)
        return text

    for n in range(3 * runtime.MEMO):
        assert runtime.remember(known, str(n), make, str(n)) == runtime.remember_by(tables, str(n % 20), str(n), make, str(n)) == str(n)
        assert pattern(str(n))
    assert len(known) <= runtime.MEMO
    assert len(pattern) <= runtime.MEMO
    assert len(tables) <= runtime.TABLES
    long = "x" * (runtime.LONGEST_KEY + 1)
    assert runtime.remember(known, long, make, long) == runtime.remember_by(tables, long, "1", make, long) == long
    assert pattern(long)
    assert not pattern("y")
    assert long not in known.keys() | tables.keys() | pattern

"""A value made of texts by several steps is made once for equal texts, and a mistake in them keeps its place."""

from __future__ import annotations

import pytest

from contracts.errors import ContractViolation
from mappings.language import runtime
from tests.unit.mappings.language.shapes import compiled, context, xml
from tests.unit.mappings.language.test_xml import ITEM, STOCK, answer

SUM = STOCK.replace('"LABST | quantity(MEINS)"', '"LABST + LABST | quantity(MEINS)"')


def test_equal_texts_give_the_one_object_and_a_mistake_its_place_and_row() -> None:
    mapping = compiled(SUM)
    assert "ON_HAND_OF[LABST, MEINS]" in mapping.source_code()
    first, second, other = mapping.read(xml(answer(ITEM * 2 + ITEM.replace("12.000", "13.000"))), context())
    assert first.on_hand is second.on_hand != other.on_hand
    for _ in range(2):  # a mistake is not remembered
        with pytest.raises(ContractViolation, match=r"T_STOCK/item\[3\]/LABST: expected a decimal number, got 'x'"):
            mapping.read(xml(answer(ITEM * 2 + ITEM.replace("12.000", "x"))), context())


def test_what_is_remembered_is_bounded_in_number_and_length() -> None:
    made: list[str] = []
    known = runtime.Known(lambda *texts: made.append(texts[0]) or texts[0])
    for n in range(3 * runtime.MEMO):
        assert known[str(n), "ST"] == str(n)
    assert len(known) <= runtime.MEMO
    long = "x" * (runtime.LONGEST_KEY + 1)
    assert known[long] == known[long] == long
    assert long not in known

"""Answers that do not repeat what was asked: the mapping takes it from the request."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from contracts.canonical.inventory import InventoryLevel
from contracts.errors import ContractViolation
from contracts.ports import LevelQuery, OrderCancellation, OrderReceipt, SkuAt
from mappings.language import attempt
from mappings.language.examples import run
from mappings.language.mapping import CompiledMapping
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context

STOCK = Record("Stock", [Field("qty", Leaf("decimal")), Field("is_in_stock", Leaf("boolean"))])
CANCELLED = Record("R", [Field("result", Leaf("string"))])
TYPES: dict[str, Any] = {t.__name__: t for t in (InventoryLevel, LevelQuery, OrderCancellation, OrderReceipt)}
LEVEL = """target = "InventoryLevel"
source = "shop.stock"
asked = "LevelQuery"
[fields]
sku = "asked.pairs.sku"
location_id = "asked.pairs.location_id"
on_hand = "qty | quantity('EA')"
as_of = "context.received_at"
[drops]
is_in_stock = "follows from the quantity"

[[example]]
name = "one article"
asked = '{"pairs": [{"sku": "A-1", "locationId": "0001"}]}'
given = '{"qty": 5, "is_in_stock": true}'
expect = '{"sku": "A-1", "locationId": "0001", "onHand": {"value": "5", "unit": "EA"}, "asOf": "2026-01-01T00:00:00Z"}'
"""


def load(text: str) -> tuple[CompiledMapping | None, list[str]]:
    def exchange(name: str) -> Exchange:
        form, record = ("json", STOCK) if name == "shop.stock" else ("xml", CANCELLED)
        return Exchange(name, None, Message(name, form, record))  # type: ignore[arg-type]  # one of the two literals

    mapping, findings = attempt(text, "m.toml", exchange, TYPES)
    return mapping, [str(f) for f in findings]


def read(mapping: CompiledMapping, document: Any, asked: Any) -> Any:
    about = context()
    about.asked = asked
    return mapping.read(document, about)


def test_a_key_that_the_answer_does_not_repeat_comes_from_the_request() -> None:
    mapping, findings = load(LEVEL)
    assert mapping is not None, findings
    for sku in ("A-1", "B-2"):
        (level,) = read(mapping, {"qty": 5, "is_in_stock": True}, LevelQuery(pairs=(SkuAt(sku=sku, location_id="0001"),)))
        assert (level.sku, level.location_id, str(level.on_hand.value)) == (sku, "0001", "5")


def test_examples_say_what_was_asked() -> None:
    mapping, _ = load(LEVEL)
    assert mapping is not None
    (outcome,) = run(mapping, etree.fromstring)
    assert outcome.finding is None


def test_two_questions_at_once_are_refused_since_the_answer_cannot_say_whose_it_is() -> None:
    mapping, _ = load(LEVEL)
    assert mapping is not None
    both = LevelQuery(pairs=(SkuAt(sku="A", location_id="1"), SkuAt(sku="B", location_id="1")))
    with pytest.raises(ContractViolation, match=r"one question at a time \(batch = \{ size = 1 \} in the policy\)"):
        read(mapping, {"qty": 5, "is_in_stock": True}, both)


def test_a_cancelled_order_answers_only_that_it_is() -> None:
    mapping, findings = load(
        'target = "OrderReceipt"\nsource = "shop.cancel"\nasked = "OrderCancellation"\n[fields]\nexternal_id = "asked.external_id"\n'
        "state = \"result | enum({'1': 'cancelled'}, otherwise=refuse)\"\n"
    )
    assert mapping is not None, findings
    (receipt,) = read(mapping, etree.fromstring("<R><result>1</result></R>"), OrderCancellation(external_id="100000012", reason="late"))
    assert (receipt.external_id, receipt.state) == ("100000012", "cancelled")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"asked.pairs.sku"', '"asked.pairs.skku"'), "m.toml:5:8: sku: asked.pairs.skku: what is asked holds no skku; did you mean sku?"),
        (('asked = "LevelQuery"\n', ""), "m.toml:4:8: sku: asked.pairs.sku: the mapping does not say what is asked; write asked ="),
        (('asked = "LevelQuery"', 'asked = "LevelQuerry"'), "m.toml:3:9: unknown noun LevelQuerry; did you mean LevelQuery?"),
        (('"asked.pairs.sku"', '"asked.pairs"'), "m.toml:5:8: sku: asked.pairs is no single value; there is asked.pairs.location_id"),
    ],
)
def test_a_mistake_about_what_is_asked_is_told_with_its_place(change: tuple[str, str], says: str) -> None:
    _, findings = load(LEVEL.replace(*change, 1))
    assert any(f.startswith(says) for f in findings), findings

"""JSON answers decoded into types give the same Structs, the same drift and the same errors as plain objects."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.rest.contract import RestContract
from contracts.canonical.customer import Customer
from contracts.canonical.inventory import InventoryLevel
from contracts.canonical.order import OrderProgress, OrderReceipt
from contracts.errors import ContractViolation, UpstreamRejected
from mappings.language import CompiledMapping, load
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from mappings.language.typed import DECODER, Decoded, Typed
from tests.unit.mappings.language.shapes import context

ENCODER = msgspec.json.Encoder(decimal_format="number")
ROOT = Path(__file__).resolve().parents[4]
TYPES: dict[str, Any] = {t.__name__: t for t in (Customer, InventoryLevel, OrderProgress, OrderReceipt)}
NAMES = ("cancel_order", "create_order", "find_orders", "get_customer", "get_order")
LEVEL = Record(
    "Level",
    [
        Field("sku", Leaf("string", 40)),
        Field("site-no", Leaf("string", 10)),
        Field("qty", Leaf("decimal", digits=(13, 3))),
        Field("reserved", Leaf("decimal", digits=(13, 3)), required=False),
        Field("uom", Leaf("string", enum=("PCE", "KGM"))),
        Field(
            "tills",
            Record("Till", [Field("no", Leaf("string", 3)), Field("day", Leaf("date")), Field("seq", Leaf("integer"))]),
            False,
            True,
        ),
        Field("note", Leaf("string"), required=False, nillable=True),
    ],
)
LEVELS = Exchange("levels", None, Message("shop.levels", "json", Record("Page", [Field("items", LEVEL, repeated=True)])))
LEVEL_MAPPING = """
target = "InventoryLevel"
source = "shop.levels/items"
[fields]
sku = "sku"
location_id = "path('site-no')"
on_hand = "qty | quantity(uom)"
reserved = "reserved | quantity(uom)"
[fields.posted_through]
each = "tills"
workstation_id = "no"
business_date = "day | string"
sequence_number = "seq"
[drops]
note = "not shown"
"""
LEVEL_ANSWER = {
    "items": [
        {
            "sku": "10000001",
            "site-no": "0001",
            "qty": 1.5,
            "reserved": 1,
            "uom": "KGM",
            "tills": [{"no": "001", "day": "2026-03-11", "seq": 7}],
        },
        {"sku": "10000002", "site-no": "0002", "qty": 0, "uom": "PCE", "note": None, "tills": []},
    ]
}


@cache
def mapping(name: str) -> CompiledMapping:
    if name == "levels":
        return load(LEVEL_MAPPING, "levels.toml", lambda _: LEVELS, TYPES)
    file, contract = f"mappings/oms/{name}.answer.toml", RestContract("oms", ROOT / "contracts/systems/oms/openapi.json")
    return load((ROOT / file).read_text(encoding="utf-8"), file, lambda operation: contract.exchange(operation.partition(".")[2]), TYPES)


@cache
def answers() -> tuple[tuple[str, Any], ...]:
    examples = [(name, DECODER.decode(str(e.given))) for name in NAMES for e in mapping(name).file.examples if not e.error]
    return (*examples, *[("levels", LEVEL_ANSWER)] * len(examples))


def outcome(chosen: CompiledMapping, document: Any) -> tuple[Any, ...]:
    drift: list[tuple[str, str, str]] = []
    try:
        return chosen.read(document, context(drift)), drift
    except (ContractViolation, UpstreamRejected) as error:
        return type(error), str(error), drift


def same_both_ways(chosen: CompiledMapping, text: bytes) -> bool:
    """Whether it fitted the types."""
    shortcut = chosen.shortcut
    assert isinstance(shortcut, Typed)
    typed = Typed(shortcut.root, shortcut.wanted)
    typed.least = 0
    short = typed.decode(text)
    try:
        plain = DECODER.decode(text)
    except (msgspec.DecodeError, ValueError, ArithmeticError):
        assert short is None
        return False
    if short is not None:
        assert outcome(chosen, Decoded(short.value, text, shortcut)) == outcome(chosen, plain)
    return short is not None


@pytest.mark.parametrize("which", range(8))
def test_answers_as_promised_take_the_short_way(which: int) -> None:
    name, answer = answers()[which]
    assert same_both_ways(mapping(name), ENCODER.encode(answer))


@pytest.mark.parametrize(
    ("old", "new", "short"),
    [
        ("1.5", "1.50", True),
        ("1.5", '"1.5"', True),
        ("1.5", "1.50000000000000000000000001", True),
        ("1.5", "1e400", True),
        ("1.5", "-0.0", True),
        ("1.5", "true", True),
        ("1.5", "null", True),
        ("1.5", "[]", True),
        ("1.5", "NaN", False),
        (' "reserved": 1,', ' "reserved": true,', True),
        (' "reserved": 1,', ' "reserved": null,', True),
        (' "reserved": 1,', "", True),
        ('"0001"', "1", False),
        ('"0001"', "1.0", False),
        ('"0001"', "null", False),
        ('"0001"', '"00 01"', True),
        ('"KGM"', '"XXX"', False),
        ('"2026-03-11"', '"2026-02-30"', True),
        ('"2026-03-11"', "20260311.5", False),
        ('"seq": 7', '"seq": 7.0', True),
        ('"seq": 7', '"seq": 7.5', True),
        ('"seq": 7', '"seq": "7"', True),
        ('"seq": 7', '"seq": true', True),
        ('"seq": 7', '"seq": 7, "new": 1', False),
        ('"seq": 7', '"seq": 7, "seq": 8', True),
        ('"sku": "10000001", ', "", False),
        ('"tills": []', '"tills": null', True),
        ('"tills": []', '"tills": {}', False),
        ('"tills": []', '"tills": [null]', False),
        ("[{", "{", False),
    ],
)
def test_numbers_stay_exact_and_nothing_is_taken_for_what_it_is_not(old: str, new: str, short: bool) -> None:  # a column
    text = json.dumps(LEVEL_ANSWER)
    assert old in text
    assert same_both_ways(mapping("levels"), text.replace(old, new, 1).encode()) == short


@pytest.mark.parametrize(
    ("more", "called"),
    [
        ("", False),
        ("where = \"uom == 'PCE'\"", True),
        ('[[also]]\nwhen = "reserved is not None"\non_hand = "reserved | quantity(uom)"', True),
    ],
)
def test_what_is_made_of_a_row_is_made_in_the_loop_where_it_is_the_one_thing(more: str, called: bool) -> None:
    head, _, tail = LEVEL_MAPPING.partition("[fields]")
    text = f"{head}[fields]{tail}{more}" if more.startswith("[[") else f"{head}{more}\n[fields]{tail}"
    chosen = load(text, "levels.toml", lambda _: LEVELS, TYPES)
    for old, new in (("", ""), ('"0001"', '"00 01"'), ('"0002"', '"00 02"'), ('"10000001"', '"no sku"'), ("1.5", '"x"'), ("1.5", "true")):
        assert same_both_ways(chosen, json.dumps(LEVEL_ANSWER).replace(old, new, 1).encode())
    assert ("def one(" in short_code(chosen)) == called


def short_code(chosen: CompiledMapping) -> str:
    """What the rows of types are read by."""
    return chosen._shorter(None).text


ODD = (None, True, False, 0, 1, -1, 7.5, 1e300, 10**40, "", "x", "1", "1.5", "2026-03-11", "KGM", "DONE", [], {}, [1], {"x": 1}, [None])


def mutated(value: Any, chance: random.Random, often: float) -> Any:
    if chance.random() < often:
        return chance.choice(ODD)
    if isinstance(value, list):
        rows = [mutated(row, chance, often) for row in value]
        return rows * chance.choice((1, 1, 1, 2, 0)) if chance.random() < often else rows
    if isinstance(value, dict):
        members = {name: mutated(each, chance, often) for name, each in value.items() if chance.random() >= often}
        return members | ({"unknown": 1} if chance.random() < often else {})
    return value


@pytest.mark.slow
@given(st.integers(0, 1000), st.integers(0, 2**32), st.sampled_from((0.0, 0.01, 0.05)), st.integers(0, 3))
@settings(max_examples=800, deadline=None)
def test_mutated_answers_give_the_same_rows_drift_and_errors(which: int, seed: int, often: float, bytes_: int) -> None:
    name, answer = answers()[which % len(answers())]
    chance = random.Random(seed)
    text = bytearray(ENCODER.encode(mutated(answer, chance, often)))
    for _ in range(bytes_ % 3):
        at = chance.randrange(len(text))
        text[at : at + chance.randint(0, 1)] = chance.choice((b"", b"0", b'"', b"e5", b".", b"\\", b"\xff", b"\x00", b"t", b"}", b" "))
    same_both_ways(mapping(name), bytes(text))

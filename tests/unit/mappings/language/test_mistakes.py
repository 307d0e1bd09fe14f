"""An engineer's most likely mistakes, each with all that is said about it: no more than the mistake, and what to write instead."""

# ruff: noqa: E501 - findings stand here as people read them, in one line
from __future__ import annotations

import pytest

from tests.unit.mappings.language.shapes import findings

LEVELS = """target = "InventoryLevel"
source = "erp.GetStock/T_STOCK/item"

[fields]
sku             = "MATNR | strip_zeros"
location_id     = "WERKS"
on_hand         = "LABST | quantity(MEINS)"
quality_control = "INSME | quantity(MEINS)"
as_of           = "concat(root.STICHTAG, root.UZEIT) | local_datetime(WERKS, 'YYYYMMDDhhmmss') | required"

[drops]
T_KASSE         = "not needed"
"root.T_RETURN" = "not needed"
"""
REQUEST = """target = "erp.GetStock"
source = "LevelQuery"

[fields.T_REQ.item]
each  = "pairs"
MATNR = "sku | pad_zeros(18)"
WERKS = "location_id | at_most(4)"
"""


class Mistake:
    """`said`: every finding behind the name of the file."""

    def __init__(self, name: str, mapping: str, right: str, wrong: str, *said: str) -> None:
        self.name, self.mapping, self.right, self.wrong, self.said = name, mapping, right, wrong, said


MISTAKES = [
    Mistake(
        "a misspelt field",
        LEVELS,
        '"MATNR |',
        '"MATNT |',
        "5:20: sku: unknown source field MATNT in T_STOCK.item; did you mean MATNR?",
    ),
    Mistake(
        "a field in small letters",
        LEVELS,
        '"WERKS"',
        '"werks"',
        "6:20: location_id: unknown source field werks in T_STOCK.item; did you mean WERKS?",
    ),
    Mistake(
        "a field of another record",
        LEVELS,
        '"WERKS"',
        '"STICHTAG"',
        "6:20: location_id: unknown source field STICHTAG in T_STOCK.item; there is INSME, LABST, MATNR, MEINS, T_KASSE, WERKS",
    ),
    Mistake(
        "a misspelt function",
        LEVELS,
        '| strip_zeros"',
        '| strip_zero"',
        "5:28: sku: unknown function strip_zero; did you mean strip_zeros?",
    ),
    Mistake(
        "a misspelt argument",
        LEVELS,
        'quantity(MEINS)"\nquality',
        'quantity(MENIS)"\nquality',
        "7:37: on_hand: unknown source field MENIS in T_STOCK.item; did you mean MEINS?",
    ),
    Mistake(
        "a required field that is left out",
        LEVELS,
        'location_id     = "WERKS"\n',
        "",
        '4: required target field location_id (string) is not filled; write location_id = "…"',
    ),
    Mistake(
        "a misspelt target field",
        LEVELS,
        "on_hand  ",
        "onhand   ",
        "7:19: unknown target field onhand; did you mean on_hand?",
    ),
    Mistake(
        "a number where an amount is wanted",
        LEVELS,
        '"LABST | quantity(MEINS)"',
        '"LABST"',
        "7:19: on_hand: Quantity is wanted, the expression gives decimal of 13 digits, 3 after the point; append | quantity(UNIT)",
    ),
    Mistake(
        "a number where text is wanted",
        LEVELS,
        '"WERKS"',
        '"LABST"',
        "6:19: location_id: string is wanted, the expression gives decimal of 13 digits, 3 after the point; append | string",
    ),
    Mistake(
        "an optional field for a required one",
        LEVELS,
        '"WERKS"',
        '"INSME | string"',
        "6:19: location_id: T_STOCK.item.INSME may be absent, but location_id is required; append | required (absent refuses the record) or | default(…)",
    ),
    Mistake(
        "a list where one value is wanted",
        LEVELS,
        '"WERKS"',
        '"T_KASSE.item.KASSE"',
        "6:19: location_id: one value is wanted, the expression gives list of string of at most 3; append | first, | join(', ') or | where(…) | first",
        "12:19: T_KASSE is dropped, and used; remove the drop or the field",
    ),
    Mistake(
        "a code without a case",
        LEVELS,
        '"WERKS"',
        "\"MEINS | enum(ST='1')\"",
        "6:28: location_id: no case for 'KG'; add KG=…, or otherwise=refuse",
    ),
    Mistake(
        "a case that never comes",
        LEVELS,
        '"WERKS"',
        "\"MEINS | enum(ST='1', KG='2', LB='3')\"",
        "6:19: the code 'LB' never comes: it is one of 'ST', 'KG'; there is KG, ST",
    ),
    Mistake(
        "a comparison that never holds",
        LEVELS,
        '"WERKS"',
        "\"'1' if MEINS == 'KGM' else WERKS\"",
        "6:27: the value 'KGM' never comes: it is one of 'ST', 'KG'; did you mean KG?",
    ),
    Mistake(
        "an unknown table",
        LEVELS,
        '"WERKS"',
        '"WERKS | lookup(plants)"',
        "6:28: location_id: unknown table plants; write [tables.plants]; there is none",
    ),
    Mistake(
        "an unknown parameter",
        LEVELS,
        '"WERKS"',
        '"parameters.plant"',
        "6:20: location_id: unknown parameter plant; declare it under [parameters]",
    ),
    Mistake(
        "a letter that is no part of a date",
        LEVELS,
        "YYYYMMDDhhmmss",
        "YYYYMMTThhmmss",
        "9:56: as_of: 'YYYYMMTThhmmss' is no format for this; formats are made of YYYY YY C MM M MMM DD D DDD hh h mm ss fff AP, each once: 'YYYYMMDD', 'CYYMMDD', 'DD.MM.YYYY hh:mm'",
    ),
    Mistake(
        "a misspelt time zone",
        LEVELS,
        "local_datetime(WERKS,",
        "local_datetime('Europe/Berln',",
        "9:56: as_of: 'Europe/Berln' is no time zone; write an IANA name such as 'Europe/Berlin', or a field that holds a location",
    ),
    Mistake(
        "a misspelt drop",
        LEVELS,
        "T_KASSE         =",
        "T_KASE          =",
        "12:19: drop of an unknown field: T_KASE is not in T_STOCK.item; did you mean T_KASSE?",
    ),
    Mistake(
        "a field neither used nor dropped",
        LEVELS,
        'T_KASSE         = "not needed"\n',
        "",
        '11: source field T_KASSE is neither used nor dropped; map it, or write T_KASSE = "why" under [drops]',
    ),
    Mistake(
        "a field dropped and used",
        LEVELS,
        'T_KASSE         = "not needed"',
        'T_KASSE = "not needed"\nWERKS = "no"',
        "13:9: WERKS is dropped, and used; remove the drop or the field",
    ),
    Mistake(
        "two words for a function",
        LEVELS,
        '"WERKS"',
        '"WERKS | strip zeros"',
        '6:34: location_id: not an expression: invalid syntax; write a pipe such as `NAME | text`; a field whose name is no identifier is written path("x-y.z")',
    ),
    Mistake(
        "a pipe of two bars",
        LEVELS,
        '"WERKS"',
        '"WERKS || text"',
        '6:27: location_id: not an expression: invalid syntax; write a pipe such as `NAME | text`; a field whose name is no identifier is written path("x-y.z")',
    ),
    Mistake(
        "a method as in Python",
        LEVELS,
        '"WERKS"',
        '"WERKS.rstrip()"',
        "6:20: location_id: `WERKS.rstrip` is no function; functions have plain names and stand behind |: VALUE | function(…)",
    ),
    Mistake(
        "a decimal number",
        LEVELS,
        '"WERKS"',
        '"LABST > 1.5"',
        "6:28: location_id: 1.5 is not allowed; write a decimal number as text: '1.5' | decimal",
    ),
    Mistake(
        "an expression without quotes",
        LEVELS,
        '"WERKS"',
        "WERKS",
        '6:19: not TOML: Invalid value; an expression stands in quotes: name = "FIELD | text"',
    ),
    Mistake(
        "a misspelt operation",
        LEVELS,
        "erp.GetStock/",
        "erp.GetStok/",
        "2:10: unknown operation erp.GetStok; see the system's contract",
    ),
    Mistake(
        "a misspelt path to the records",
        LEVELS,
        'T_STOCK/item"',
        'T_STOK/item"',
        "2:10: source: T_STOK is not in erp.GetStock; did you mean T_STOCK?",
        "12:19: drop of an unknown field: T_STOK is not in erp.GetStock; did you mean T_STOCK?",
    ),
    Mistake(
        "a misspelt noun",
        LEVELS,
        '"InventoryLevel"',
        '"InventoryLevels"',
        "1:10: unknown target InventoryLevels; did you mean InventoryLevel?",
    ),
    Mistake(
        "a misspelt table",
        LEVELS,
        "[fields]",
        "[field]",
        "1: the mapping fills no field; write [fields] with one line per target field",
        "4: unknown key field; did you mean fields?",
    ),
    Mistake(
        "a record where text is wanted",
        LEVELS,
        '"WERKS"',
        '"T_KASSE.item | first"',
        "6:19: location_id: string is wanted, the expression gives record S_KASSE; name one of its fields: KASSE, BUDAT, BONNR",
        "12:19: T_KASSE is dropped, and used; remove the drop or the field",
    ),
    Mistake(
        "a line that cannot be turned round",
        LEVELS,
        "[fields]",
        "reverse = true\n[fields]",
        "6:19: sku cannot be turned round: strip_zeros loses the width, unless given; use functions that can be, or remove reverse",
        "10:19: as_of cannot be turned round: concat loses where one part ends; use functions that can be, or remove reverse",
    ),
    Mistake(
        "a misspelt list",
        REQUEST,
        'each  = "pairs"',
        'each  = "pair"',
        "5:10: each: unknown source field pair in LevelQuery; did you mean pairs?",
    ),
    Mistake(
        "a longer text than the system takes",
        REQUEST,
        '"sku | pad_zeros(18)"',
        '"sku | upper | pad_zeros(20)"',
        "6:9: T_REQ.item.MATNR: at most 18 characters are wanted, pairs.sku has up to 20; append | cut(18) to lose the rest, or | at_most(18) to refuse longer ones",
    ),
    Mistake(
        "a misspelt field of a request",
        REQUEST,
        "WERKS =",
        "WERK  =",
        "7:9: unknown target field T_REQ.item.WERK; did you mean WERKS?",
    ),
    Mistake(
        "a target field of another noun",
        LEVELS,
        'sku             = "MATNR',
        'brand = "x"\nsku             = "MATNR',
        "5:9: unknown target field brand; there is as_of, available, committed, damaged, display_only, incoming, location_id, net_of, on_hand, posted_through, provenance, quality_control, …",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_all_that_is_said_of_a_mistake(mistake: Mistake) -> None:
    assert mistake.right in mistake.mapping
    found = findings(mistake.mapping.replace(mistake.right, mistake.wrong, 1))
    assert found == [f"mappings/test.toml:{said}" for said in mistake.said]


@pytest.mark.parametrize("mapping", [LEVELS, REQUEST])
def test_without_a_mistake_nothing_is_said(mapping: str) -> None:
    assert findings(mapping) == []

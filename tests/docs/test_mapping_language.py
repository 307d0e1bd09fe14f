"""The manual of the mapping language: every line of its tables and every mapping in it is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from contracts.canonical.amounts import Money
from gateway.bootstrap import parse_xml, types
from mappings.language import CompiledMapping, ReadContext, attempt
from mappings.language.examples import run
from mappings.language.own import NO_OWN, Own, read
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from tests.docs.demo import ROOT

PAGE = (ROOT / "docs/mapping-language.md").read_text(encoding="utf-8")
LINE = re.compile(r"^\| `(.+?)` \| `(\{.*\})` \| (?:`(.+?)`|(absent)) \|$", re.MULTILINE)
BLOCK = re.compile(r"^```(toml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = (date, Decimal, Money, datetime, str)


def shape(values: list[Any], name: str = "x") -> Record | Leaf:
    """What a system that sends such values would say of them."""
    if isinstance(values[0], dict):
        names = dict.fromkeys(key for value in values for key in value)
        fields = []
        for key in names:
            found = [value[key] for value in values if key in value]
            repeated = isinstance(found[0], list)
            rows = [row for each in found for row in each] if repeated else found
            fields.append(Field(key, shape(rows, key), len(found) == len(values), repeated))
        return Record(name, fields)
    kind = {str: "string", int: "integer", Decimal: "decimal"}[type(values[0])]
    return Leaf(kind)  # type: ignore[arg-type]  # one of its kinds


def exchange(*documents: str) -> Exchange:
    record = shape([json.loads(d, parse_float=Decimal) for d in documents])
    assert isinstance(record, Record)
    return Exchange("Read", None, Message("demo.Read", "json", record))


def shown(value: Any) -> str:
    if isinstance(value, Money):
        return f"{value.amount} {value.currency_code}"
    return value.isoformat() if isinstance(value, date) else "absent" if value is None else str(value)


@pytest.mark.parametrize("line", LINE.findall(PAGE), ids=lambda line: f"{line[0]} {line[1]}")
def test_a_line_gives_what_it_says(line: tuple[str, str, str, str]) -> None:
    expression, given, gives, absent = line[0].replace("\\|", "|"), *line[1:]
    made = exchange(given)
    told: list[str] = []
    for kind in KINDS:
        text = f"target = 'T'\nsource = 'demo.Read'\n[fields]\nv = '''{expression}'''\n"
        mapping, findings = attempt(text, "m.toml", lambda _: made, {"T": msgspec.defstruct("T", [("v", kind | None)])})
        told += map(str, findings)
        if mapping is not None:
            assert shown(mapping.read(json.loads(given, parse_float=Decimal), ReadContext("demo", "Read"))[0].v) == gives or absent
            return
    raise AssertionError(told)


def mappings() -> Iterator[tuple[str, Own]]:
    own = NO_OWN
    for language, text in BLOCK.findall(PAGE):
        if language == "python":
            own, findings = read(text, "mappings/functions.py")
            assert findings == []
        elif "[[example]]" in text:
            yield text, own


@pytest.mark.parametrize(("text", "own"), list(mappings()))
def test_the_examples_of_a_mapping_hold(text: str, own: Own) -> None:
    documents = re.findall(r"^given +=\s+(?:\'(.*)\'|\"{3}(.*?)\"{3})$", text, re.MULTILINE | re.DOTALL)
    made = exchange(*(one or other for one, other in documents))
    mapping, findings = attempt(text, "m.toml", lambda _: made, types(), own)
    assert [str(f) for f in findings] == []
    assert isinstance(mapping, CompiledMapping)
    outcomes = run(mapping, parse_xml)
    assert outcomes
    assert [str(o.finding) for o in outcomes if o.finding] == []


def test_the_manual_has_lines_and_mappings_to_run() -> None:
    assert len(LINE.findall(PAGE)) > 30
    assert len(list(mappings())) == 3

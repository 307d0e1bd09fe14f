"""Every function that can be turned round is turned round here, found in the registry: a new one is tested without a test of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from itertools import product
from pathlib import Path as FilePath
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from contracts.canonical.amounts import Money, Quantity, UnitPrice
from contracts.errors import ContractViolation, InvalidBody
from gateway.bootstrap import check, parse_xml
from mappings.language import CompiledMapping, attempt
from mappings.language.build import Builder
from mappings.language.examples import document, example_context
from mappings.language.examples import given as given_document
from mappings.language.expression import Path, nodes, parse
from mappings.language.functions import FUNCTIONS
from mappings.language.functions.registry import Function
from mappings.language.read import Group, Place
from mappings.language.reverse import reversed_file
from mappings.language.shape import Exchange, Field, Kind, Leaf, Message, Record
from mappings.language.structs import StructRecord, message
from tests.unit.mappings.language.shapes import context

KINDS = (int, Decimal, bool, date, time, datetime, Money, Quantity, UnitPrice, dict[str, str], tuple[str, ...], str)
"""Of target fields: what an expression may give."""
CODES = {"MEINS": ("ST", "KG"), "WERKS": ("0017",), "KONWA": ("EUR", "CHF"), "currency": ("EUR", "USD")}
"""What the fields hold that examples of the manual speak of."""
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "string": st.one_of(
        st.integers(-(10**7), 10**7).map(str), st.decimals(-(10**6), 10**6, places=2).map(str), st.text("aXZ019 -.,/", max_size=9)
    ),
    "integer": st.integers(-(10**9), 10**9),
    "decimal": st.decimals(-(10**6), 10**6, places=3),
    "boolean": st.booleans(),
    "date": st.dates().map(str),
    "time": st.times().map(str),
    "datetime": st.datetimes(datetime(1950, 1, 1), datetime(2060, 1, 1)).map(lambda d: f"{d.isoformat()}Z"),  # noqa: DTZ001  # written as UTC
}
TURNED = [f for f in FUNCTIONS.values() if f.invert is not None or f.parts is not None]
Trip = tuple[CompiledMapping, Record]


def trips(function: Function) -> Iterator[tuple[Kind, Trip]]:
    """Mappings of one field that is read by the function's example and turned round, by the kind of the source field."""
    example = function.example if function.example.startswith(function.name) or "|" in function.example else function.name
    spoken = sorted({n.steps[0] for n in nodes(parse(f"SOURCE | {example}")) if isinstance(n, Path)} & CODES.keys())
    codes = [] if function.parts else [(n.lower(), str) for n in spoken]  # an amount fills its code's field itself
    lines = "".join(f'{n} = "{n.upper()}"\n' for n, _ in codes)
    kinds = [k for k in VALUES if k in function.takes and "|" not in example] or list(VALUES)
    repeated = not {*VALUES} & {*function.takes}
    for kind, required in product(kinds, (True, False)):
        fields = [Field(n, Leaf("string", 4, enum=CODES[n] if n == "MEINS" else None)) for n in spoken]
        record = Record("S", [Field("SOURCE", Leaf(kind), required, repeated and "|" not in example), *fields])
        exchange = Exchange("get", None, Message("x.get", "json", record))
        for to, end in product(KINDS, ("", " | required")):
            text = f'target = "Target"\nsource = "x.get"\nreverse = true\n[fields]\nvalue = """SOURCE | {example}{end}"""\n{lines}'
            target = msgspec.defstruct("Target", [("value", to), *codes])
            if (compiled := attempt(text, "m.toml", lambda _, given=exchange: given, {"Target": target})[0]) is not None:
                yield kind, (compiled, record)
                break


def back_and_forth(trip: Trip, source: Any, codes: dict[str, str]) -> tuple[Any, Any] | None:
    """What is read, and what is read once more when it was written; None for a value that is refused."""
    mapping, record = trip
    try:
        first = mapping.read({"SOURCE": source, **codes}, context())[0]
        written = mapping.write(first, context())
    except (ContractViolation, InvalidBody):  # a refusal is never another value
        return None
    return first, mapping.read(document("json", record, written), context())[0]


def sample(text: str, kind: Kind) -> Any:
    return {"integer": lambda t: int(Decimal(t)), "decimal": Decimal}.get(kind, str)(text)


@pytest.mark.parametrize("function", TURNED, ids=lambda f: f.name)
def test_what_a_function_gives_is_given_again_when_it_was_turned_round(function: Function) -> None:
    made = list(trips(function))
    assert made, f"{function.name} says that it can be turned round, its example cannot: {function.example}"
    held = 0
    for text in function.samples:
        for kind, trip in made[:1]:
            found = back_and_forth(trip, sample(text, kind), {f.name: CODES[f.name][0] for f in trip[1].fields[1:]})
            assert found is not None, f"the sample {text} of {function.name} is refused"
            assert found[0] == found[1]
            held += 1

    @given(st.data())
    @settings(max_examples=max(12, settings().max_examples // 10))
    def hold(data: st.DataObject) -> None:
        nonlocal held
        kind, trip = data.draw(st.sampled_from(made))
        codes = {f.name: data.draw(st.sampled_from(CODES[f.name])) for f in trip[1].fields[1:]}
        values = st.lists(VALUES[kind], max_size=3) if trip[1].fields[0].repeated else VALUES[kind]
        if (found := back_and_forth(trip, data.draw(values), codes)) is not None:
            assert found[0] == found[1]
            held += 1

    hold()
    assert held, f"nothing that {function.name} takes was found: give it samples"


# ---- the mappings of the reference estate ---------------------------------------------------------------------------

ROOT = FilePath(__file__).resolve().parents[4]


def optional(record: Record, used: frozenset[tuple[str, ...]], at: tuple[str, ...] = ()) -> Record:
    """The record with every field optional that is not used: what a written document may leave out."""
    made = replace(record, fields=[])
    for field in record.fields:
        path = (*at, field.name)
        below = field.shape
        if isinstance(below, Record) and any(u[: len(path)] == path for u in used):
            below = optional(below, used, path)
        made.fields.append(replace(field, shape=below, required=field.required and any(u[: len(path)] == path for u in used)))
    return made


def invertible(mapping: CompiledMapping) -> CompiledMapping | None:
    """Of a reading mapping only the lines of its own record that can be turned round, and those turned round."""
    whole, kind = mapping.builder.item_record(), mapping.target.root
    assert isinstance(kind, StructRecord)
    assert kind.type is not None
    annotations = get_type_hints(kind.type, include_extras=True)
    rules = dict(mapping.file.fields.rules)
    steps = mapping.builder.steps
    used = frozenset(u[len(steps) :] for u in mapping.builder.used if u[: len(steps)] == steps)
    while rules:
        file = replace(mapping.file, fields=Group(Place(1), dict(rules)), where=None, refusals=[])
        target = message(msgspec.defstruct("T", [(n, annotations[n]) for n in rules]))
        source = replace(mapping.source, root=optional(whole, used))
        there = Builder(file, source, target)
        there.build_read()
        turned, found = reversed_file(file, there)
        back = Builder(turned, target, source)
        back.turned = True
        if not there.findings and not found:
            back.build_write()
        wrong = {f.line for f in (*there.findings, *found, *back.findings)}
        if not wrong:
            return CompiledMapping(file, there, back)
        before = rules, used
        rules, used = {n: r for n, r in rules.items() if r.place.line not in wrong}, frozenset(there.used)
        if before == (rules, used):
            break
    return None


def items(value: Any, record: Record, steps: tuple[str, ...]) -> list[Any]:
    """The records of a document that become a target each."""
    if not steps:
        return [value]
    place, field = next((i, f) for i, f in enumerate(record.fields) if f.name == steps[0])
    assert isinstance(field.shape, Record)
    if isinstance(value, tuple):
        found = value[place]
    elif isinstance(value, dict):
        found = value.get(steps[0])
    else:
        found = [child for child in value if etree.QName(child).localname == steps[0]]
    rows = found if isinstance(found, list) else [] if found is None else [found]
    return [item for row in rows for item in items(row, field.shape, steps[1:])]


READING = {path: m for path, m in check(ROOT).mappings.items() if m.reads}
TRIPS = {path: made for path, m in READING.items() if (made := invertible(m)) is not None}


@pytest.mark.parametrize("path", sorted(TRIPS))
def test_what_can_be_turned_round_in_the_reference_estate_comes_back_as_it_was(path: str) -> None:
    whole, mapping = READING[path], TRIPS[path]
    held = 0
    for example in whole.file.examples:
        given_context = example_context(whole, example, [])
        documents = items(given_document(whole.source, example.given, parse_xml), whole.source.root, whole.builder.steps)
        for one in documents if example.error is None else ():
            first = mapping.read(one, given_context)[0]
            written = mapping.write(first, given_context)
            again = document(mapping.source.form, mapping.source.root, written, etree.Element)
            assert mapping.read(again, given_context)[0] == first
            held += 1
    assert held


def test_lines_of_most_mappings_of_the_reference_estate_can_be_turned_round() -> None:
    """So that the trips above are about something."""
    assert len(TRIPS) > len(READING) / 2

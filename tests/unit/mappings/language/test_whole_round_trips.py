"""Mappings that say `reverse = true` are turned round as a whole: every canonical value they can write is read again as it was."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from contracts.errors import InvalidBody
from gateway.bootstrap import check, parse_xml
from mappings.language import CompiledMapping, load
from mappings.language.examples import document, example_context
from mappings.language.examples import given as given_document
from mappings.language.expression import Const, nodes
from mappings.language.read import Group
from mappings.language.shape import Exchange, Field, Form, Leaf, Message, Record
from mappings.language.structs import StructRecord
from tests.unit.mappings.language.shapes import context

ROOT = Path(__file__).resolve().parents[4]
MAPPINGS = {path: m for path, m in check(ROOT).mappings.items() if m.file.reverse}
WORDS = st.text("abcÄß €19-.&<", min_size=1, max_size=40).map(str.strip).filter(bool)


def values(leaf: Leaf, told: Leaf) -> st.SearchStrategy[Any]:
    """What the canonical side allows and the system's own field is likely to take, without blanks around it: those are no text."""
    if leaf.enum:
        return st.sampled_from(leaf.enum)
    most = min(leaf.max_length or 60, told.max_length or 60)
    fits = re.compile(leaf.pattern or "").search
    if told.kind == "string" and (pattern := told.pattern or leaf.pattern):
        texts = st.from_regex(pattern, fullmatch=True).map(str.strip)
    elif told.enum:
        texts = st.sampled_from(told.enum)
    else:
        texts = WORDS.map(lambda t: t[:most].strip())
    return {
        "string": texts.filter(lambda t: (leaf.min_length or 1) <= len(t) <= most and fits(t) is not None),
        "boolean": st.booleans(),
    }[leaf.kind]


def filled(mapping: CompiledMapping, record: Record, group: Group, prefix: str = "") -> st.SearchStrategy[Any]:
    """Records with what the mapping fills; what it does not is not there."""
    assert isinstance(record, StructRecord)
    assert record.type is not None

    def of(field: Field) -> st.SearchStrategy[Any]:
        path = f"{prefix}{field.name}"
        if isinstance(field.shape, Record):
            one = filled(mapping, field.shape, group.groups[field.name], f"{path}.")
        else:
            named = {n.value for n in nodes(group.rules[field.name].node) if isinstance(n, Const)}
            leaf = replace(field.shape, enum=tuple(v for v in field.shape.enum if v in named)) if field.shape.enum else field.shape
            one = values(leaf, told(mapping.source.root, mapping.lineage[path].sources[0]))
        return st.one_of(one, one, one, one, st.none()) if field.nillable else one

    return st.builds(record.type, **{f.name: of(f) for f in record.fields if f.name in group.rules or f.name in group.groups})


def told(record: Record, path: str) -> Leaf:
    name, _, rest = path.partition(".")
    found = next(f.shape for f in record.fields if f.name == name)
    if isinstance(found, Record):
        return told(found, rest)
    return found


def again(mapping: CompiledMapping, value: Any) -> Any:
    """The value when it was written and read, or the refusal to write it."""
    try:
        written = mapping.write(value, context())
    except InvalidBody:  # a refusal is never another value
        return None
    record = mapping.builder.item_record()
    made = document(mapping.source.form, record, written, etree.Element)
    for step in reversed(mapping.builder.steps):  # the document around it
        if mapping.source.form == "xml":
            around = etree.Element("around")
            made.tag = step
            around.append(made)
            made = around
        else:
            made = {step: [made]}
    (found,) = mapping.read(made, context())
    return found


def test_the_reference_estate_has_mappings_that_work_both_ways() -> None:
    assert MAPPINGS.keys() == {"mappings/erp/get_plants.answer.toml", "mappings/erp/create_order.answer.toml"}


@pytest.mark.parametrize("path", sorted(MAPPINGS))
def test_a_whole_mapping_reads_what_it_wrote(path: str) -> None:
    mapping, held = MAPPINGS[path], 0

    @given(filled(mapping, mapping.target.root, mapping.file.fields))
    @settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
    def hold(value: Any) -> None:
        nonlocal held
        if (found := again(mapping, value)) is not None:
            assert found == value
            held += 1

    hold()
    assert held > 10


@pytest.mark.parametrize("path", sorted(MAPPINGS))
def test_what_its_examples_give_is_given_again(path: str) -> None:
    mapping = MAPPINGS[path]
    for example in mapping.file.examples:
        given_context = example_context(mapping, example, [])
        source = given_document(mapping.source, example.given, parse_xml)
        for found in mapping.read(source, given_context) if example.error is None else ():
            assert again(mapping, found) == found


# ---- what a line and its surroundings become when they are turned round -------------------------------------------------


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    active: bool
    hidden: bool
    name: str | None = None
    unit: str | None = None


def both_ways(form: Form) -> CompiledMapping:
    fields = [
        Field("DELETED", Leaf("string", 1, enum=("X", "")), required=False),
        Field("SHOWN", Leaf("boolean")),
        Field("NAME", Leaf("string", 9)),
        Field("UNIT", Leaf("string", 3)),
        Field("NOTES", Record("NOTES", [Field("NOTE", Leaf("string"), required=False, repeated=True)])),
    ]
    text = """
target = "Thing"
source = "x.get"
reverse = true
[fields]
active = "DELETED | boolean(true='X') == False"
hidden = "not SHOWN"
name   = "NAME | text"
unit   = "UNIT | required"
[drops]
NOTES = "nobody reads them"
"""
    return load(text, "m.toml", lambda _: Exchange("get", None, Message("x.get", form, Record("x", fields))), {"Thing": Thing})


@pytest.mark.parametrize("form", ["json", "xml"])
def test_negations_empty_texts_and_records_that_were_left_out_are_written(form: Form) -> None:
    mapping = both_ways(form)
    assert mapping.write(Thing(active=False, hidden=True, unit="KG"), context()) == {
        "DELETED": "X",
        "SHOWN": False,
        "NAME": "",
        "UNIT": "KG",
        "NOTES": {},
    }


@given(st.builds(Thing, active=st.booleans(), hidden=st.booleans(), name=st.none() | WORDS, unit=WORDS))
def test_they_come_back_as_they_were(thing: Thing) -> None:
    assume(len(thing.unit or "") <= 3 and len(thing.name or "") <= 9)
    assert again(both_ways("json"), thing) == thing


def test_what_must_be_there_is_refused_when_it_is_absent() -> None:
    with pytest.raises(InvalidBody, match="required"):
        both_ways("json").write(Thing(active=True, hidden=False), context())


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    shop: str | None = None
    land: str
    begins: datetime


@pytest.mark.parametrize("shop", ["0017", None])
def test_a_choice_beside_a_value_is_made_of_the_canonical_fields(shop: str | None) -> None:
    fields = [Field("SHOP", Leaf("string"), required=False), Field("LAND", Leaf("string")), Field("DAY", Leaf("string", 8))]
    text = """
target = "Shift"
source = "x.get"
reverse = true
[fields]
shop   = "SHOP"
land   = "LAND"
begins = "DAY | date('YYYYMMDD') | start_of_day(zone_of(SHOP) if SHOP is not None else LAND | lookup(zones) | zone) | required"
[tables.zones]
GB = "Europe/London"
"""
    mapping = load(text, "m.toml", lambda _: Exchange("get", None, Message("x.get", "json", Record("x", fields))), {"Shift": Shift})
    given = {"LAND": "GB", "DAY": "20260701"} | ({"SHOP": shop} if shop else {})
    (shift,) = mapping.read(given, context())
    assert shift.begins.utcoffset() == timedelta(hours=2 if shop else 1)
    assert mapping.write(shift, context()) == given

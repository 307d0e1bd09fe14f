"""Names as contracts have them: no identifiers, dots and hyphens, one name in two namespaces, an attribute beside an element."""

from __future__ import annotations

import re

import msgspec
import pytest
from lxml import etree

from contracts.errors import ContractViolation
from mappings.language import attempt
from mappings.language.examples import document
from mappings.language.expression import Path, parse, split
from mappings.language.mapping import CompiledMapping
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context

TEXT = Leaf("string")
TWICE = Record(
    "Answer",
    [
        Field("Name", TEXT, namespace="http://a.example/v1"),
        Field("Name~2", TEXT, required=False, namespace="urn:b"),
        Field("Name~3", TEXT, required=False, attribute=True),
        Field("net-price.eur", TEXT, required=False),
        Field("Item", Record("I", [Field("Id", TEXT, namespace="urn:b")]), required=False, repeated=True, namespace="http://a.example/v1"),
    ],
)
XML = (
    '<Answer Name="attribute" xmlns:a="http://a.example/v1" xmlns:b="urn:b"><b:Name>of b</b:Name><a:Name>of a</a:Name>'
    "<net-price.eur>9</net-price.eur><a:Item><b:Id>1</b:Id></a:Item></Answer>"
)


def compiled(lines: str, drops: str = "", *, reverse: bool = False) -> tuple[CompiledMapping | None, list[str]]:
    text = f'target = "T"\nsource = "x.get"\n{"reverse = true" if reverse else ""}\n[fields]\n{lines}\n[drops]\n{drops}'
    kinds = {"one": str | None, "two": str | None, "three": str | None, "four": str | None, "many": tuple[str, ...]}
    target = msgspec.defstruct("T", [(n, k, () if n == "many" else None) for n, k in kinds.items()])
    mapping, findings = attempt(text, "m.toml", lambda _: Exchange("get", None, Message("x.get", "xml", TWICE)), {"T": target})
    return mapping, [str(f) for f in findings]


ALL = """
one = "path('{http://a.example/v1}Name')"
two = "path('{urn:b}Name')"
three = "attr('Name~3')"
four = "path(('net-price.eur',))"
many = "path('{http://a.example/v1}Item.{urn:b}Id')"
"""


def test_one_name_in_two_namespaces_and_as_an_attribute_are_three_fields() -> None:
    mapping, findings = compiled(ALL)
    assert mapping is not None, findings
    found = mapping.read(etree.fromstring(XML), context())[0]
    assert (found.one, found.two, found.three, found.four, found.many) == ("of a", "of b", "attribute", "9", ("1",))


def test_they_are_told_apart_in_lineage_too() -> None:
    mapping, _ = compiled(ALL)
    assert mapping is not None
    assert [mapping.lineage[n].sources for n in ("one", "two", "three")] == [["Name"], ["Name~2"], ["Name~3"]]


def test_they_are_dropped_one_by_one() -> None:
    lines = 'one = "Name"\n'
    drops = '"{urn:b}Name" = "not asked"\n"Name~3" = "not asked"\n"{http://a.example/v1}Item" = "no"\n'
    assert compiled(lines, drops)[1] == [
        'm.toml:7: source field net-price.eur is neither used nor dropped; map it, or write "net-price.eur" = "why" under [drops]'
    ]


def test_one_element_given_twice_in_its_own_namespace_is_refused() -> None:
    mapping, _ = compiled(ALL)
    assert mapping is not None
    twice = XML.replace("<a:Name>of a</a:Name>", "<a:Name>of a</a:Name><a:Name>again</a:Name>")
    with pytest.raises(ContractViolation, match=re.escape("expected one {http://a.example/v1}Name")):
        mapping.read(etree.fromstring(twice), context())


def test_a_drop_may_name_a_field_whose_name_holds_a_dot() -> None:
    drops = '"{urn:b}Name" = "no"\n"Name~3" = "no"\n"{http://a.example/v1}Item" = "no"\n"net-price.eur" = "not asked"\n'
    assert compiled('one = "Name"\n', drops)[1] == []


@pytest.mark.parametrize(
    ("text", "steps"),
    [("A.B", ("A", "B")), ("{http://x.y/z}A.B", ("{http://x.y/z}A", "B")), ("A.{urn:b}B", ("A", "{urn:b}B")), ("x-y.z", ("x-y", "z"))],
)
def test_dots_in_braces_are_no_steps(text: str, steps: tuple[str, ...]) -> None:
    assert split(text) == steps
    assert parse(f"path({text!r})") == Path(steps, column=1)


def test_a_written_document_has_each_name_in_its_namespace() -> None:
    made = document("xml", TWICE, {"Name": "a", "Name~2": "b", "Name~3": "c"}, etree.Element)
    assert {**made.attrib} == {"Name": "c"}
    assert [(child.tag, child.text) for child in made] == [("{http://a.example/v1}Name", "a"), ("{urn:b}Name", "b")]

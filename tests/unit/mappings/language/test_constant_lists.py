"""What a system asks for and the canonical side does not know: lists of constants, empty lists and empty objects, as TOML writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.errors import Findings
from mappings.language.mapping import CompiledMapping, ReadContext, load
from mappings.language.shape import Exchange, Field, Form, Leaf, Message, Record

TEXT = Leaf("string", max_length=4)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    sku: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    sku: str
    tags: tuple[str, ...]


def compiled(lines: str, form: Form = "json") -> CompiledMapping:
    child = Record("Child", [Field("id", TEXT)])
    options = Record("Options", [Field("depth", Leaf("integer"), required=False)])
    fields = [
        Field("sku", Leaf("string")),
        Field("children", child, repeated=True),
        Field("options", options),
        Field("expand", TEXT, repeated=True, required=False),
        Field("key", child, required=False),
    ]
    exchange = Exchange("find", Message("s.find", form, Record("find", fields)), None)
    text = f'target = "s.find"\nsource = "Query"\n[fields]\nsku = "sku"\n{lines}'
    return load(text, "m.toml", lambda _: exchange, {"Query": Query})


def findings(lines: str, form: Form = "json") -> list[str]:
    with pytest.raises(Findings) as found:
        compiled(lines, form)
    return [str(f) for f in found.value.findings]


@pytest.mark.parametrize("fields", ["[fields]\n", ""])
def test_a_request_may_take_nothing_of_the_noun_when_it_says_why(fields: str) -> None:
    exchange = Exchange("all", Message("s.all", "json", Record("all", [Field("depth", Leaf("integer"), required=False)])), None)
    text = f'target = "s.all"\nsource = "Query"\n{fields}[drops]\nsku = "it answers with all there is"\n'
    mapping = load(text, "m.toml", lambda _: exchange, {"Query": Query})
    assert mapping.write(Query(sku="1"), ReadContext("s", "all")) == {}


def written(lines: str) -> Any:
    return compiled(lines).write(Query(sku="1"), ReadContext("s", "find"))


def test_a_required_list_and_a_required_object_may_be_empty() -> None:
    assert written("children = []\noptions = {}") == {"sku": "1", "children": [], "options": {}}


def test_an_empty_object_may_be_a_table_without_lines() -> None:
    assert written("children = []\n[fields.options]") == {"sku": "1", "children": [], "options": {}}


def test_a_list_of_texts_is_a_constant() -> None:
    assert written('children = []\noptions = {}\nexpand = ["abc", "d"]')["expand"] == ["abc", "d"]


def test_what_is_required_is_still_missed() -> None:
    assert findings("options = {}") == ["m.toml:3: required target field children (list of Child) is not filled; write [fields.children]"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("children = []\noptions = []", "options is one record, not a list; write options = {}"),
        ('children = ["a"]\noptions = {}', "a record Child is wanted, the expression gives one of 'a'"),
        ('children = []\noptions = {}\nexpand = ["abcde"]', "'abcde' is longer than 4"),
        ("children = []\noptions = {}\nexpand = [1]", "expand is list"),
        ("children = []\noptions = {}\nkey = {}", "required target field key.id (string of at most 4) is not filled"),
    ],
)
def test_an_empty_value_in_the_wrong_place_is_a_finding(lines: str, said: str) -> None:
    assert any(said in f for f in findings(lines))


def test_xml_has_no_empty_list() -> None:
    assert any("at least one children is wanted" in f for f in findings("children = []\noptions = {}", "xml"))
    fine = compiled('expand = []\noptions = {}\n[fields.children]\neach = "sku | as_list"\nid = "this | at_most(4)"', "xml")
    assert fine.write(Query(sku="1"), ReadContext("s", "find"))["expand"] == []


def test_a_canonical_list_may_be_constant_too() -> None:
    exchange = Exchange("find", None, Message("s.find", "json", Record("find", [Field("sku", TEXT)])))
    text = 'target = "Found"\nsource = "s.find"\n[fields]\nsku = "sku"\ntags = ["a", "b"]'
    (found,) = load(text, "m.toml", lambda _: exchange, {"Found": Found}).read({"sku": "1"}, ReadContext("s", "find"))
    assert found.tags == ("a", "b")

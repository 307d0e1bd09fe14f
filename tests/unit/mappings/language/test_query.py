"""JSONata in a mapping: checked names, a declared result, and bounds that hold."""

from __future__ import annotations

import re
import sys
import threading
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from lxml import etree

from contracts.errors import ContractViolation
from mappings.language import attempt
from mappings.language.examples import rows
from mappings.language.mapping import CompiledMapping
from mappings.language.query import NotAQuery, Query
from mappings.language.runtime import Bad
from mappings.language.shape import Exchange, Field, Form, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context

LINE = Record("L", [Field("sku", Leaf("string")), Field("qty", Leaf("integer")), Field("price", Leaf("decimal"), required=False)])
ORDER = Record(
    "O",
    [
        Field("no", Leaf("string")),
        Field("name", Leaf("string"), required=False, personal=True),
        Field("lines", LINE, required=False, repeated=True),
    ],
)
DOCUMENT = {
    "no": "A1",
    "name": "Miller",
    "lines": [{"sku": "a", "qty": 2, "price": Decimal("1.50")}, {"sku": "b", "qty": 1, "price": Decimal("0.25")}],
}


def compiled(expression: str, kind: Any, form: Form = "json", drops: str = "") -> tuple[CompiledMapping | None, list[str]]:
    text = f"target = \"T\"\nsource = \"x.get\"\n[fields]\nv = '''{expression}'''\n[drops]\n" + "".join(
        f'"{d}" = "not asked"\n' for d in drops.split()
    )
    exchange = Exchange("get", None, Message("x.get", form, ORDER))
    mapping, findings = attempt(text, "m.toml", lambda _: exchange, {"T": msgspec.defstruct("T", [("v", kind)])})
    return mapping, [str(f) for f in findings]


def xml(document: dict[str, Any]) -> Any:
    root = etree.Element("O")
    for name, value in document.items():
        for one in value if isinstance(value, list) else [value]:
            child = etree.SubElement(root, name)
            for below, text in one.items() if isinstance(one, dict) else ():
                etree.SubElement(child, below).text = str(text)
            if not isinstance(one, dict):
                child.text = str(one)
    return root


def value(expression: str, kind: Any, drops: str, form: Form = "json", document: Any = DOCUMENT) -> Any:
    mapping, findings = compiled(expression, kind, form, drops)
    assert mapping is not None, findings
    given = {"json": lambda d: d, "xml": xml, "rows": lambda d: rows(ORDER, d)}[form](document)
    return mapping.read(given, context())[0].v


@pytest.mark.parametrize("form", ["json", "xml", "rows"])
@pytest.mark.parametrize(
    ("expression", "kind", "drops", "expected"),
    [
        ("this | jsonata('$sum(lines.($number(qty) * $number(price)))', 'decimal')", Decimal | None, "no name lines.sku", Decimal("3.25")),
        ("this | jsonata('lines[$number(qty) > 1].sku', 'string')", str | None, "no name lines.price", "a"),
        ("this | jsonata('lines.sku', 'texts')", tuple[str, ...], "no name lines.qty lines.price", ("a", "b")),
        ("lines | jsonata('$count($)', 'integer')", int | None, "no name", 2),
        ("this | jsonata('$count(lines[sku = \"z\"]) > 0', 'boolean')", bool | None, "no name lines.qty lines.price", False),
        ("this | jsonata('lines[sku = \"z\"].sku', 'string')", str | None, "no name lines.qty lines.price", None),
    ],
)
def test_an_expression_gives_the_same_over_every_form(form: Form, expression: str, kind: Any, drops: str, expected: Any) -> None:
    assert value(expression, kind, drops, form) == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("this | jsonata('lines.skus', 'texts')", "m.toml:4:15: v: jsonata: no field skus below x.get; did you mean sku?"),
        ("this | jsonata('lines.', 'texts')", "v: jsonata: not JSONata: "),
        ("this | jsonata('lines.sku', 'text')", "v: jsonata gives 'text'; did you mean texts?"),
        ("this | jsonata('$eval(no)', 'string')", "v: jsonata: $eval is not for mappings (at its character "),
        ("this | jsonata('$now()', 'string')", "context.received_at is the time"),
        ("this | jsonata('[1..100000000]', 'texts')", "v: jsonata: a range is of two numbers up to 10000"),
        ("this | jsonata('$match(no, /(a+)+$/)', 'texts')", "a repeated group that repeats or chooses something itself may take for ever"),
        ("no | jsonata('$', 'string')", "m.toml:4:13: v: jsonata is given string, it takes record or list"),
        ("this | jsonata('no', 'integer')", "string is wanted, the expression gives integer"),
    ],
)
def test_a_mistake_is_a_finding(expression: str, said: str) -> None:
    kind = tuple[str, ...] if "'texts')" in expression else str | None
    assert any(said in f for f in compiled(expression, kind)[1]), compiled(expression, kind)[1]


def test_fields_that_the_expression_does_not_name_are_neither_used_nor_dropped() -> None:
    found = compiled("this | jsonata('lines.sku', 'texts')", tuple[str, ...])[1]
    assert [re.search(r"source field (\S+)", f)[1] for f in found] == ["no", "name", "lines.qty", "lines.price"]  # type: ignore[index]  # each says one


def test_lineage_names_the_fields_that_the_expression_reads() -> None:
    mapping, _ = compiled("this | jsonata('lines.sku', 'texts')", tuple[str, ...], drops="no name lines.qty lines.price")
    assert mapping is not None
    assert mapping.lineage["v"].sources == ["lines", "lines.sku"]


def test_a_result_that_is_not_what_was_declared_is_refused() -> None:
    with pytest.raises(ContractViolation, match="expected an integer, got 'A1'"):
        value("this | jsonata('no', 'integer')", int | None, "name lines")


def test_what_is_personal_is_masked_in_refusals() -> None:
    with pytest.raises(ContractViolation) as found:
        value("this | jsonata('name', 'integer')", int | None, "no lines")
    assert "Miller" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("($f := function($n) { $f($n + 1) }; $f(1))", "what the JSONata expression can work on"),
        ("($f := function($n) { $n < 1 ? 0 : $f($n - 1) + $f($n - 1) }; $f(60))", "what the JSONata expression can work on"),
    ],
)
def test_an_expression_that_runs_away_is_stopped(text: str, said: str) -> None:
    with pytest.raises(Bad) as found:
        Query(text, "string", "json", None)({})
    assert said in found.value.expected


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(Bad, match="text of at most 100000 characters"):
        Query("no & no", "string", "json", None)({"no": "x" * 60_000})


def test_a_document_that_is_too_large_is_refused() -> None:
    with pytest.raises(Bad, match="at most 50000 values"):
        Query("$count($)", "integer", "json", None)([0] * 60_000)


def test_an_expression_lives_on_after_its_time_bound_and_in_another_thread() -> None:
    query = Query("$sum($)", "integer", "json", None)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(query([1, 2]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3, 3]


def test_a_range_beyond_its_bound_is_no_query() -> None:
    with pytest.raises(NotAQuery, match="a range is of two numbers"):
        Query("[1..$count($)]", "texts", "json", None)


def test_the_library_leaves_the_depth_of_the_interpreter_as_it_was() -> None:
    assert sys.getrecursionlimit() == 1000


@pytest.mark.parametrize("pattern", ["(a|a)*b", "((a+))+b", "(?:a|aa){2,}b", "(a?a)*b", "(x(a*)y?)+b", "((a|b))*"])
def test_patterns_that_may_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(NotAQuery, match="may take for ever"):
        Query(f"$contains(no, /{pattern}/)", "boolean", "json", None)


@pytest.mark.parametrize("pattern", ["(ab)+", "(?:a|b)c", "[(a|b)*]+", r"\(a+\)+", "(a{1,3})-(b|c){1}"])
def test_patterns_that_end_soon_are_taken(pattern: str) -> None:
    assert Query(f"$contains(no, /{pattern}/)", "boolean", "json", None)({"no": "x"}) is False

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.rest.contract import RestContract
from contracts.errors import Findings
from mappings.language.shape import Field, Leaf, Record


def contract(tmp_path: Path, schema: Any = None, *, schemas: dict[str, Any] | None = None, **operation: Any) -> RestContract:
    answer = {"200": {"description": "", "content": {"application/json": {"schema": schema or {}}}}}
    document = {
        "openapi": "3.1.0",
        "paths": {"/things/{id}": {"get": {"operationId": "getThing", "responses": answer, **operation}}},
        "components": {"schemas": schemas or {}},
    }
    (tmp_path / "openapi.json").write_text(json.dumps(document, indent=1))
    return RestContract("shop", tmp_path / "openapi.json")


def answer(of: RestContract) -> Record:
    message = of.exchange("getThing").answer
    assert message is not None
    return message.root


def member(record: Record, name: str) -> Field:
    found = record.get(name)
    assert found is not None
    return found


def inner(field: Field) -> Record:
    assert isinstance(field.shape, Record)
    return field.shape


def obj(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def test_the_reference_document_describes_every_operation_without_a_note(root: Path) -> None:
    oms = RestContract("oms", root / "contracts/systems/oms/openapi.json")
    assert oms.notes == []
    assert set(oms.operations()) >= {"createOrder", "findOrders", "getOrder", "cancelOrder", "getShipments", "getCustomer"}
    created = oms.exchange("createOrder")
    assert created.request is not None
    assert created.answer is not None
    position = inner(member(inner(member(created.request.root, "body")), "positions"))
    assert member(position, "qty").shape == Leaf("decimal", digits=(8, 3), minimum="0", maximum="99999")
    assert member(position, "uom").shape == Leaf("string", enum=("PCE", "KGM"))
    assert member(created.answer.root, "positions").repeated
    assert not member(created.answer.root, "holdReason").required
    assert created.request.form == "json"
    assert member(inner(member(created.answer.root, "buyer")), "mail").personal


def test_parameters_are_fields_by_name_and_the_body_is_one_field(tmp_path: Path) -> None:
    of = contract(
        tmp_path,
        parameters=[
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 8}},
            {"name": "id", "in": "query", "schema": {"type": "integer"}},
            {"name": "state", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
            {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}},
            {"name": "X-Shop", "in": "header", "required": True, "schema": {"type": "string"}},
        ],
        requestBody={"content": {"application/json": {"schema": obj(("a",), a={"type": "boolean"})}}},
    )
    request = of.exchange("getThing").request
    assert request is not None
    assert [f.name for f in request.root.fields] == ["id", "query_id", "state", "X-Shop", "body"]
    assert [f.required for f in request.root.fields] == [True, False, False, True, False]
    assert member(request.root, "state").repeated


@pytest.mark.parametrize(
    ("schema", "leaf"),
    [
        ({"type": "string", "format": "date"}, Leaf("date")),
        ({"type": "string", "format": "date-time"}, Leaf("datetime")),
        ({"type": "string", "format": "byte"}, Leaf("binary")),
        ({"type": "string", "format": "email", "maxLength": 9, "minLength": 1}, Leaf("string", max_length=9, min_length=1)),
        ({"type": "string", "pattern": "^a$"}, Leaf("string", pattern="^a$")),
        ({"type": "integer", "minimum": 1, "maximum": 9}, Leaf("integer", minimum="1", maximum="9")),
        ({"type": "number"}, Leaf("decimal")),
        ({"type": "number", "multipleOf": 0.01, "maximum": 999.99}, Leaf("decimal", digits=(5, 2), maximum="999.99")),
        ({"type": "number", "exclusiveMinimum": True, "minimum": 0}, Leaf("decimal", minimum="0")),
        ({"type": "boolean"}, Leaf("boolean")),
        ({"enum": ["A", "B"]}, Leaf("string", enum=("A", "B"))),
        ({"const": "A"}, Leaf("string", enum=("A",))),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, Leaf("any")),
        ({"anyOf": [{"const": "A"}, {"const": "B"}], "type": "string"}, Leaf("string", enum=("A", "B"))),
        ({"type": ["string", "integer"]}, Leaf("any")),
        (True, Leaf("any")),
    ],
)
def test_single_values_keep_what_the_schema_says_of_them(tmp_path: Path, schema: Any, leaf: Leaf) -> None:
    assert member(answer(contract(tmp_path, obj(x=schema))), "x").shape == leaf


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
        {"oneOf": [{"type": "string"}, {"type": "null"}]},
        {"anyOf": [{"$ref": "#/components/schemas/Text"}, {"type": "null"}]},
        {"type": "string", "enum": ["A", None]},
    ],
)
def test_null_is_found_in_each_of_its_spellings(tmp_path: Path, schema: Any) -> None:
    field = member(answer(contract(tmp_path, obj(x=schema), schemas={"Text": {"type": "string"}})), "x")
    assert field.nillable
    assert isinstance(field.shape, Leaf)
    assert field.shape.kind == "string"


def test_all_of_adds_up_and_one_of_keeps_what_any_may_have(tmp_path: Path) -> None:
    base, more = obj(("a",), a={"type": "string"}), obj(("b",), b={"type": "integer"})
    of = contract(tmp_path, obj(both={"allOf": [ref("Base"), more]}, either={"oneOf": [ref("Base"), more]}), schemas={"Base": base})
    both, either = inner(member(answer(of), "both")), inner(member(answer(of), "either"))
    assert [(f.name, f.required) for f in both.fields] == [("a", True), ("b", True)]
    assert [(f.name, f.required) for f in either.fields] == [("a", False), ("b", False)]


def test_recursive_types_end(tmp_path: Path) -> None:
    tree = obj(("name",), name={"type": "string"}, children={"type": "array", "items": ref("Tree")}, parent={"allOf": [ref("Tree")]})
    root = answer(contract(tmp_path, ref("Tree"), schemas={"Tree": tree}))
    assert inner(member(root, "children")) is root
    assert inner(member(root, "parent")) is root


def test_read_only_members_are_not_asked_for_and_write_only_ones_not_answered(tmp_path: Path) -> None:
    thing = obj(id={"type": "string", "readOnly": True}, secret={"type": "string", "writeOnly": True}, x={"type": "string"})
    of = contract(tmp_path, ref("T"), schemas={"T": thing}, requestBody={"content": {"application/json": {"schema": ref("T")}}})
    request = of.exchange("getThing").request
    assert request is not None
    assert [f.name for f in inner(member(request.root, "body")).fields] == ["secret", "x"]
    assert [f.name for f in answer(of).fields] == ["id", "x"]


def test_an_answer_that_is_a_list_stands_in_items(tmp_path: Path) -> None:
    of = contract(tmp_path, {"type": "array", "items": obj(a={"type": "string"})})
    assert of.operation("getThing").wraps == "items"
    assert member(answer(of), "items").repeated


def test_an_operation_without_a_name_is_named_by_method_and_path_and_an_unknown_one_by_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text(json.dumps({"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {"204": {}}}}}}))
    of = RestContract("shop", tmp_path / "o.json")
    assert of.operations() == ("get_a",)
    assert of.exchange("get_a").answer is None
    with pytest.raises(KeyError, match="did you mean 'get_a'"):
        of.exchange("get_b")
    with pytest.raises(KeyError, match="did you mean 'get_a'"):
        of.exchange("GET /a")


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("#/components/schemas/Gone", "leads nowhere"),
        ("https://evil.example/x.json", "nothing is fetched"),
        ("../../etc/passwd", "outside"),
        ("#/components/schemas/Loop", "circle"),
    ],
)
def test_references_that_lead_nowhere_outside_or_in_circles_become_any_with_a_note(tmp_path: Path, reference: str, why: str) -> None:
    of = contract(tmp_path, obj(x={"$ref": reference}), schemas={"Loop": ref("Loop")})
    assert member(answer(of), "x").shape == Leaf("any")
    assert any(why in note.message and note.line > 4 for note in of.notes)


def test_a_bomb_of_references_is_defused(tmp_path: Path) -> None:
    bomb = {f"B{i}": {"allOf": [ref(f"B{i + 1}"), ref(f"B{i + 1}")]} for i in range(50)} | {"B50": obj(x={"type": "string"})}
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        deep = obj(x=deep)
    of = contract(tmp_path, obj(a=ref("B0"), b=deep), schemas=bomb)
    assert member(inner(member(answer(of), "a")), "x").shape == Leaf("string")
    assert any("levels" in note.message for note in of.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not readable as JSON"),
        ('{"swagger": "1.2"}', "expected a document"),
        ("[]", "expected a document"),
        ("[" * 100_000, "not readable"),
    ],
)
def test_what_is_no_openapi_document_is_a_finding(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(Findings, match=says):
        RestContract("shop", tmp_path / "o.json")

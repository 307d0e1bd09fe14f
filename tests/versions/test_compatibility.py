"""Which changes of a published contract break somebody, and which do not: one line each, on a small API."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from contracts.versions import HISTORY
from contracts.versions.compatibility import breaks, event_breaks
from gateway.api import ENDPOINTS
from gateway.edge import asyncapi, openapi

Document = dict[str, Any]
Change = Callable[[Document], object]


def contract() -> Document:
    item = {
        "type": "object",
        "required": ["sku", "state"],
        "additionalProperties": False,
        "properties": {
            "sku": {"type": "string"},
            "state": {"enum": ["free", "held"]},
            "at": {"type": "string", "format": "date-time"},
            "count": {"type": "integer"},
            "share": {"type": "number"},
            "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
            "texts": {"type": "object", "additionalProperties": {"type": "string"}},
            "kind": {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/Kind"}]},
        },
    }
    draft = {
        "type": "object",
        "required": ["sku"],
        "additionalProperties": False,
        "properties": {
            "sku": {"type": "string", "minLength": 1, "maxLength": 40},
            "amount": {"type": "integer", "minimum": 1, "maximum": 99},
            "method": {"enum": ["post", "pickup"]},
            "note": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "parts": {"type": "array", "maxItems": 10, "items": {"type": "string"}},
            "price": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        },
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    ok = {
        "description": "Done",
        "headers": {"ETag": {}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
    }
    return {
        "openapi": "3.1.0",
        "security": [{"apiKey": []}],
        "paths": {
            "/items/{id}": {
                "get": {
                    "operationId": "getItem",
                    "description": "Scope: `items:read` (read).",
                    "parameters": [
                        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                        {"name": "store", "in": "query", "required": False, "schema": {"type": "array", "items": {"type": "string"}}},
                        {"name": "API-Version", "in": "header", "required": False, "schema": {"type": "string"}},
                    ],
                    "responses": {
                        "200": ok,
                        "404": {"description": "`not_found`", "content": problem},
                        "409": {"description": "`held`, `gone`"},
                    },
                }
            },
            "/items": {
                "post": {
                    "operationId": "makeItem",
                    "description": "Scope: `items:write` (write).",
                    "parameters": [],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Draft"}}},
                    },
                    "responses": {"201": ok, "202": ok},
                }
            },
        },
        "components": {
            "schemas": {
                "Item": item,
                "Draft": draft,
                "Kind": {"type": "object", "properties": {"a": {"type": "string"}}},
                "Problem": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}},
            }
        },
    }


def get(d: Document) -> Document:
    found: Document = next(v for k, v in d["paths"].items() if k.startswith("/items/"))["get"]
    return found


def answer(d: Document) -> Document:
    found: Document = get(d)["responses"]["200"]
    return found


def post(d: Document) -> Document:
    found: Document = d["paths"]["/items"]["post"]
    return found


def item(d: Document) -> Document:
    found: Document = d["components"]["schemas"]["Item"]
    return found


def draft(d: Document) -> Document:
    found: Document = d["components"]["schemas"]["Draft"]
    return found


def member(d: Document, name: str, within: Callable[[Document], Document] = item) -> Document:
    found: Document = within(d)["properties"][name]
    return found


def sent(d: Document, name: str) -> Document:
    return member(d, name, draft)


BREAKING: list[tuple[str, Change, str]] = [
    ("a path is removed", lambda d: d["paths"].pop("/items"), "POST /items: is gone"),
    ("an operation is removed", lambda d: d["paths"]["/items"].pop("post"), "POST /items: is gone"),
    ("an operation is called otherwise", lambda d: get(d).update(operationId="readItem"), "is called readItem in generated clients"),
    ("another scope", lambda d: get(d).update(description="Scope: `items:all` (x)."), "needs the scope items:all, was items:read"),
    ("other credentials", lambda d: d.update(security=[{"mtls": []}]), "credentials of the kind apiKey are no longer enough"),
    ("a parameter is removed", lambda d: get(d)["parameters"].pop(1), "query parameter store is no longer taken"),
    ("a parameter is renamed", lambda d: get(d)["parameters"][1].update(name="location"), "query parameter store is no longer taken"),
    ("a parameter becomes required", lambda d: get(d)["parameters"][1].update(required=True), "query parameter store must be sent"),
    (
        "a new parameter is required",
        lambda d: get(d)["parameters"].append({"name": "x", "in": "query", "required": True, "schema": {}}),
        "query parameter x must be sent",
    ),
    (
        "a parameter takes less",
        lambda d: get(d)["parameters"][1]["schema"]["items"].update(pattern="^a$"),
        "query parameter store: /* must match ^a$",
    ),
    ("a request member is removed", lambda d: draft(d)["properties"].pop("note"), "body: /note is no longer taken"),
    ("a request member becomes required", lambda d: draft(d)["required"].append("note"), "body: /note must be sent"),
    (
        "a new request member is required",
        lambda d: (draft(d)["properties"].update(x={"type": "string"}), draft(d)["required"].append("x")),
        "body: /x must be sent",
    ),
    ("a request value is removed", lambda d: sent(d, "method").update(enum=["post"]), "body: /method no longer takes 'pickup'"),
    ("a request text gets values", lambda d: sent(d, "note").update(enum=["a"]), "body: /note takes only 'a'"),
    ("a request text gets a pattern", lambda d: sent(d, "note").update(pattern="^.$"), "body: /note must match ^.$"),
    ("a request text gets a format", lambda d: sent(d, "note").update(format="uri"), "body: /note must be a uri"),
    ("a request text is shorter", lambda d: sent(d, "sku").update(maxLength=20), "body: /sku has maxLength 20, had 40"),
    ("a request text is longer", lambda d: sent(d, "note").update(minLength=2), "body: /note has minLength 2, had none"),
    ("a request number is smaller", lambda d: sent(d, "amount").update(maximum=9), "body: /amount has maximum 9, had 99"),
    ("a request list is shorter", lambda d: sent(d, "parts").update(maxItems=5), "body: /parts has maxItems 5, had 10"),
    ("a request member is retyped", lambda d: sent(d, "note").update(type="integer"), "body: /note was string, is integer"),
    ("a request number must be whole", lambda d: sent(d, "amount").update(type="boolean"), "body: /amount was integer, is boolean"),
    ("an element is retyped", lambda d: sent(d, "parts").update(items={"type": "integer"}), "body: /parts/* was string, is integer"),
    ("an alternative is not taken any more", lambda d: sent(d, "price")["anyOf"].pop(), "body: /price was string, is integer"),
    ("a body becomes required", lambda d: post(d)["requestBody"].update(required=True), "needs a body"),
    (
        "a media type is not taken any more",
        lambda d: post(d)["requestBody"].update(content={"text/csv": {}}),
        "application/json is no longer taken",
    ),
    ("an answer field is removed", lambda d: item(d)["properties"].pop("count"), "answer 200: /count is gone"),
    ("an answer field is renamed", lambda d: item(d)["properties"].update(number=item(d)["properties"].pop("count")), "/count is gone"),
    ("an answer field becomes optional", lambda d: item(d)["required"].remove("state"), "answer 200: /state may be missing"),
    ("an answer field is retyped", lambda d: member(d, "count").update(type="string"), "/count was integer, is string"),
    ("a whole number becomes any number", lambda d: member(d, "count").update(type="number"), "/count was integer, is number"),
    (
        "an answer field may be null",
        lambda d: member(d, "count").update(type=["integer", "null"]),
        "/count was integer, is integer or null",
    ),
    ("a new answer value", lambda d: member(d, "state")["enum"].append("lost"), "/state may be 'lost', which nobody knows"),
    (
        "values become any text",
        lambda d: item(d)["properties"].update(state={"type": "string"}),
        "/state may be something else than 'free', 'held'",
    ),
    ("another format", lambda d: member(d, "at").update(format="date"), "/at was a date-time, is date"),
    (
        "a value of a map is retyped",
        lambda d: member(d, "texts").update(additionalProperties={"type": "integer"}),
        "/texts/* was string, is integer",
    ),
    ("a further alternative is answered", lambda d: member(d, "kind")["anyOf"].append({"type": "integer"}), "/kind was string, is integer"),
    ("a status is removed", lambda d: post(d)["responses"].pop("201"), "never answers 201 any more"),
    ("a new success status", lambda d: get(d)["responses"].update({"202": {"description": ""}}), "answers 202, which nobody expects"),
    (
        "a problem moves",
        lambda d: get(d)["responses"].update({"409": {"description": "`gone`"}, "422": {"description": "`held`"}}),
        "`held` is answered with 422, was 409",
    ),
    ("a header is removed", lambda d: get(d)["responses"]["200"].pop("headers"), "the header ETag is gone"),
    (
        "another media type is answered",
        lambda d: get(d)["responses"]["200"].update(content={"text/csv": {}}),
        "application/json is no longer answered",
    ),
    (
        "a problem says less",
        lambda d: d["components"]["schemas"]["Problem"]["properties"].pop("code"),
        "GET /items/{id}: answer 404: /code is gone",
    ),
]

COMPATIBLE: list[tuple[str, Change]] = [
    ("a problem says more", lambda d: d["components"]["schemas"]["Problem"]["properties"].update(x={"type": "string"})),
    ("nothing", lambda d: None),
    ("a new path", lambda d: d["paths"].update({"/new": copy.deepcopy(d["paths"]["/items"])})),
    ("a new operation", lambda d: d["paths"]["/items"].update(delete=copy.deepcopy(post(d)))),
    ("texts for people", lambda d: (get(d).update(summary="Other"), item(d).update(description="Other", title="Thing"))),
    ("deprecation", lambda d: get(d).update(deprecated=True)),
    (
        "a path parameter is called otherwise",
        lambda d: (d["paths"].update({"/items/{key}": d["paths"].pop("/items/{id}")}), get(d)["parameters"][0].update(name="key")),
    ),
    ("a new optional parameter", lambda d: get(d)["parameters"].append({"name": "x", "in": "query", "required": False, "schema": {}})),
    ("a header by another case", lambda d: get(d)["parameters"][2].update(name="api-version")),
    ("other ways to prove who one is", lambda d: d["security"].append({"mtls": []})),
    ("a new optional request member", lambda d: draft(d)["properties"].update(x={"type": "string"})),
    ("a request member becomes optional", lambda d: draft(d)["required"].remove("sku")),
    ("a new request value", lambda d: sent(d, "method")["enum"].append("drone")),
    ("request values become any text", lambda d: draft(d)["properties"].update(method={"type": "string"})),
    ("a request text may be longer", lambda d: sent(d, "sku").update(maxLength=80)),
    ("a bound goes", lambda d: sent(d, "amount").pop("maximum")),
    ("a bound that says nothing", lambda d: sent(d, "note").update(minLength=0)),
    ("a request format goes", lambda d: sent(d, "day").pop("format")),
    ("a request number may be broken", lambda d: sent(d, "amount").update(type="number")),
    ("a request takes an alternative more", lambda d: sent(d, "price")["anyOf"].append({"type": "boolean"})),
    (
        "a request takes what it did in a choice",
        lambda d: draft(d)["properties"].update(note={"anyOf": [{"type": "string"}, {"type": "integer"}]}),
    ),
    ("a request takes further members", lambda d: draft(d).pop("additionalProperties")),
    ("a new answer field", lambda d: item(d)["properties"].update(x={"type": "string"})),
    ("an answer field is always there", lambda d: item(d)["required"].append("count")),
    ("an answer value goes", lambda d: member(d, "state")["enum"].remove("held")),
    ("any number becomes whole", lambda d: member(d, "share").update(type="integer")),
    ("an answer gets a pattern", lambda d: member(d, "sku").update(pattern="^[0-9]+$")),
    ("an alternative is not answered any more", lambda d: member(d, "kind")["anyOf"].pop()),
    ("a further problem", lambda d: get(d)["responses"].update({"429": {"description": "`quota_exceeded`"}})),
    ("a problem that never comes", lambda d: get(d)["responses"].pop("404")),
    ("a problem with a further status", lambda d: get(d)["responses"].update({"422": {"description": "`held`"}})),
    ("a further header", lambda d: get(d)["responses"]["200"]["headers"].update({"Age": {}})),
    ("a type is written in place", lambda d: answer(d)["content"]["application/json"].update(schema=copy.deepcopy(item(d)))),
]


@pytest.mark.parametrize(("change", "says"), [pytest.param(c, s, id=name) for name, c, s in BREAKING])
def test_what_breaks_somebody_is_told(change: Change, says: str) -> None:
    published = contract()
    if says == "needs a body":
        post(published)["requestBody"]["required"] = False
    now = copy.deepcopy(published)
    change(now)
    found = [str(b) for b in breaks(published, now)]
    assert any(says in each for each in found), found


@pytest.mark.parametrize("change", [pytest.param(c, id=name) for name, c in COMPATIBLE])
def test_what_breaks_nobody_passes(change: Change) -> None:
    now = contract()
    change(now)
    assert [str(b) for b in breaks(contract(), now)] == []


def test_a_break_is_told_as_usage_counts_it() -> None:
    now = contract()
    get(now)["parameters"].pop(1)
    item(now)["properties"].pop("count")
    draft(now)["properties"].pop("note")
    assert {(b.operation, b.field) for b in breaks(contract(), now)} == {
        ("GET /items/{id}", "query:store"),
        ("GET /items/{id}", "answer:/count"),
        ("POST /items", "answer:/count"),
        ("POST /items", "body:/note"),
    }


def test_neighbouring_versions_differ_by_what_their_changes_say() -> None:
    newest, middle, oldest = (openapi.document(ENDPOINTS, HISTORY, v.date, "API") for v in HISTORY.versions)

    def told(published: Document, now: Document) -> set[tuple[str, str]]:
        return {(b.operation, b.field) for b in breaks(published, now) if b.field != "header:API-Version"}

    brought_along = {(f"GET /products{sku}", "answer:/expanded/inventory/items/*/storeId") for sku in ("", "/{sku}")}
    assert told(oldest, middle) == {("GET /inventory", f) for f in ("query:store", "", "answer:/items/*/storeId")} | brought_along
    assert {f.rpartition("/")[2] for _, f in told(middle, newest)} == {"amount", "currency", "centAmount", "currencyCode", "fractionDigits"}
    assert told(newest, newest) == set()


# ---- events -------------------------------------------------------------------------------------------------------


def test_events_may_say_more_and_not_less() -> None:
    published = asyncapi.document(HISTORY, HISTORY.newest.date)
    more, less, gone = (json.loads(json.dumps(published)) for _ in range(3))
    more["components"]["schemas"]["Money"]["properties"]["x"] = {"type": "string"}
    del less["components"]["schemas"]["InventoryChange"]["properties"]["locationId"]
    gone["channels"].popitem()
    assert event_breaks(published, published) == event_breaks(published, more) == []
    assert [str(b) for b in event_breaks(published, less)] == ["io.tillgate.inventory.changed.v1: /data/locationId is gone"]
    assert [b.what for b in event_breaks(published, gone)] == ["is announced no more"]

"""JSON documents that travel as a text: declared in the contract or in the estate, read and written like any other field."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from adapters.options import read
from adapters.rest.contract import RestContract
from adapters.rest.driver import RestConnection
from adapters.rest.spec import RestOptions
from contracts.errors import ContractViolation, Findings
from mappings.language.mapping import CompiledMapping, ReadContext, load
from tests.unit.adapters.rest.test_dialects import Shop, ask

ORDER = {
    "type": "object",
    "required": ["no"],
    "properties": {
        "no": {"type": "string"},
        "total": {"type": "number"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    },
}
SAID = {"contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/Order"}}
TEXT: dict[str, Any] = {"type": "string"}


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    order_number: str
    skus: tuple[str, ...]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    order_number: str


def contract(folder: Path, payload: dict[str, Any], content: dict[str, str] | None = None) -> RestContract:
    envelope = {"type": "object", "required": ["payload"], "properties": {"payload": TEXT | payload, "id": TEXT}}
    rows = {"type": "object", "properties": {"rows": {"type": "array", "items": envelope}}}
    body = {"content": {"application/json": {"schema": envelope}}}
    found = {
        "operationId": "find",
        "requestBody": {**body, "required": True},
        "responses": {"200": {"description": "", "content": {"application/json": {"schema": rows}}}},
    }
    document = {"openapi": "3.1.0", "paths": {"/find": {"post": found}}, "components": {"schemas": {"Order": ORDER}}}
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "order.schema.json").write_text(json.dumps(ORDER))
    (folder / "order.json").write_text(json.dumps({"no": "1", "total": 1.5, "lines": [{"sku": "a"}]}))
    return RestContract("shop", folder / "openapi.json", {"find": content} if content else None)


def mapping(of: RestContract, text: str) -> CompiledMapping:
    return load(text, "m.toml", lambda name: of.exchange(name.partition(".")[2]), {"Sale": Sale, "Wanted": Wanted})


READ = """
target = "Sale"
source = "shop.find/rows"
[fields]
order_number = "payload.no | required"
skus         = "payload.lines.sku"
[drops]
"payload.total" = "not shown"
id = "not shown"
"""
WRITE = """
target = "shop.find"
source = "Wanted"
[fields.body.payload]
no    = "order_number"
total = "'12.50' | decimal"
lines = []
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", shop.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield shop
    for connection in shop.connections:
        await connection.close()
    await runner.cleanup()


async def connected(shop: Shop, of: RestContract) -> RestConnection:
    shop.connections.append(made := RestConnection("shop", shop.url, of, read(RestOptions, {})))
    await made.start()
    return made


DECLARED = [
    (SAID, None),
    ({}, {"rows.payload": "order.schema.json", "body.payload": "order.schema.json"}),
    ({}, {"rows.payload": "openapi.json#/components/schemas/Order", "body.payload": "order.json"}),
]


@pytest.mark.parametrize(("payload", "content"), DECLARED)
async def test_a_document_inside_a_text_is_read_and_written_by_its_fields(
    shop: Shop, payload: dict[str, Any], content: dict[str, str] | None
) -> None:
    async def answer(_: web.Request) -> web.Response:
        text = json.dumps({"no": "S1", "total": 2.5, "lines": [{"sku": "a"}, {"sku": "b"}]})
        return web.json_response({"rows": [{"payload": text, "id": "1"}, {"payload": text.replace("S1", "S2"), "id": "2"}] * 3})

    shop.answer = answer
    of = contract(shop.folder, payload, content)
    asked = mapping(of, WRITE).write(Wanted(order_number="O-1"), ReadContext("shop", "find"))
    connection, reading = await connected(shop, of), mapping(of, READ)
    (document,) = await ask(connection, "find", **asked)
    assert json.loads(json.loads(shop.bodies[0])["payload"]) == {"no": "O-1", "total": 12.5, "lines": []}
    found = reading.read(document, ReadContext("shop", "find"))
    assert found[:2] == [Sale(order_number="S1", skus=("a", "b")), Sale(order_number="S2", skus=("a", "b"))]


@pytest.mark.parametrize("text", ["{", "[1", '{"no": 1' + "0" * 10, "[" * 100_000, "<order/>"])
async def test_a_text_that_is_no_document_breaks_the_contract_and_names_its_place(shop: Shop, text: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"rows": [{"payload": "{}"}, {"payload": text}]})

    shop.answer = answer
    connection = await connected(shop, contract(shop.folder, SAID))
    with pytest.raises(ContractViolation) as caught:
        await ask(connection, "find", body={"payload": {"no": "1"}})
    assert (caught.value.where, caught.value.expected) == ("rows[1].payload", "a text that is a JSON document")


async def test_a_blank_text_holds_nothing(shop: Shop) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"rows": [{"payload": " "}]})

    shop.answer = answer
    connection = await connected(shop, contract(shop.folder, SAID))
    (document,) = await ask(connection, "find", body={"payload": {"no": "1"}})
    assert document == {"rows": [{"payload": None}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"rows.payloads": "order.json"}, "neither request nor answer has a text at 'rows.payloads'"),
        ({"rows": "order.json"}, "neither request nor answer has a text at 'rows'"),
        ({"rows.payload": "orders.json"}, "'orders.json'"),
    ],
)
def test_a_declaration_that_fits_nothing_is_a_finding(tmp_path: Path, content: dict[str, str], said: str) -> None:
    with pytest.raises(Findings, match="options of shop: operation 'find': content: ") as caught:
        contract(tmp_path, {}, content).exchange("find")
    assert said in str(caught.value)

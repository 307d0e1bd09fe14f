import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import msgspec
import pytest

from sandbox.faults import Faults, Rule
from sandbox.oms.model import NewOrder
from sandbox.oms.server import DOCUMENT, ROUTES, OmsServer
from sandbox.world import World

SKU = "10000001"


class Client:
    """What an integration would do: the document's paths, checked against the document's schemas."""

    def __init__(self, session: aiohttp.ClientSession, oms: OmsServer) -> None:
        self.session, self.oms, self.document = session, oms, json.loads(DOCUMENT.read_bytes())

    async def call(self, method: str, path: str, *, checked: bool = True, key: str = "oms-demo-key", **kw: Any) -> tuple[int, Any, Any]:
        headers = {"X-Oms-Key": key, **kw.pop("headers", {})}
        async with self.session.request(method, self.oms.url + path, headers=headers, **kw) as r:
            body = await r.read()
            found = json.loads(body) if body else None
            if checked:
                self.check(method, path.partition("?")[0], r.status, r.headers, found)
            return r.status, found, r.headers

    def check(self, method: str, path: str, status: int, headers: Any, body: Any) -> None:
        parts = path.split("/")
        template = next(
            t
            for _, t in ROUTES.values()
            if len(t.split("/")) == len(parts) and all(a == b or a[:1] == "{" for a, b in zip(t.split("/"), parts, strict=True))
        )
        answer = self.document["paths"][template][method.lower()]["responses"][str(status)]
        if "$ref" in answer:
            answer = self.document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        for name, header in answer.get("headers", {}).items():
            assert name in headers or not header.get("required")
        if "content" in answer:
            schema = {**answer["content"]["application/json"]["schema"], "components": self.document["components"]}
            jsonschema_rs.validate(schema, body)


@pytest.fixture
def faults() -> Faults:
    return Faults(seed=3)


@pytest.fixture
async def oms(faults: Faults) -> AsyncIterator[OmsServer]:
    server = OmsServer(World(stores=5, skus=50), faults)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(oms: OmsServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        session._retry_connection = False
        yield Client(session, oms)


def order(ref: str = "tg-1", **changes: object) -> dict[str, Any]:
    money = {"amount": "25.98", "ccy": "EUR"}
    return {
        "clientRef": ref,
        "salesChannel": "WEB",
        "placedUtc": 1795343400000,
        "buyer": {"no": "1000001", "mail": "ada@example.com"},
        "shipTo": {"name": "Ada", "street": "Hauptstraße 1", "postCode": "10115", "city": "Berlin", "countryCode": "DE"},
        "positions": [
            {
                "pos": 1,
                "articleNo": SKU,
                "qty": 2,
                "uom": "KGM" if World(stores=5, skus=50).products[0].unit == "KGM" else "PCE",
                "unitPrice": {"amount": "12.99", "ccy": "EUR"},
                "lineTotal": money,
                "site": "0001",
            }
        ],
        "grandTotal": money,
        "payments": [{"method": "CARD", "amount": money, "pspRef": "psp-1", "last4": "4242"}],
        "delivery": {"mode": "HOME"},
        **changes,
    }


async def test_document_is_served_to_anybody(client: Client) -> None:
    async with client.session.get(client.oms.url + "/openapi.json") as r:
        assert r.status == 200
        assert (await r.json())["openapi"] == "3.1.0"


async def test_order_taken_read_and_unchanged_on_second_look(client: Client) -> None:
    status, taken, headers = await client.call("POST", "/v2/orders", json=order())
    assert (status, taken["orderNo"], taken["state"]) == (201, "SO-000001", "NEW")
    assert taken["positions"] == order()["positions"]
    assert headers["Location"] == "/v2/orders/SO-000001"
    status, read, again = await client.call("GET", "/v2/orders/SO-000001")
    assert (status, read, again["ETag"]) == (200, taken, headers["ETag"])
    for offered in (again["ETag"], f'"x", W/{again["ETag"]}', "*"):
        status, body, _ = await client.call("GET", "/v2/orders/SO-000001", headers={"If-None-Match": offered})
        assert (status, body) == (304, None)
    client.oms.advance("SO-000001")
    status, read, _ = await client.call("GET", "/v2/orders/SO-000001", headers={"If-None-Match": again["ETag"]})
    assert (status, read["state"]) == (200, "ACCEPTED")


async def test_example_of_the_document_is_taken(client: Client) -> None:
    example = client.document["paths"]["/v2/orders"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert (await client.call("POST", "/v2/orders", json=example))[0] == 201


async def test_repeated_reference_is_refused_and_names_the_order(client: Client) -> None:
    await client.call("POST", "/v2/orders", json=order())
    status, body, _ = await client.call("POST", "/v2/orders", json=order())
    assert (status, body["code"], body["orderNo"]) == (409, "DUPLICATE_REF", "SO-000001")
    assert len(client.oms.books()["orders"]) == 1  # type: ignore[arg-type]  # books are JSON-like


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"positions": []}, "NO_POSITIONS", "positions"),
        ({"positions": [{**order()["positions"][0], "articleNo": "99999999"}]}, "UNKNOWN_ARTICLE", "positions[0].articleNo"),
        ({"positions": [{**order()["positions"][0], "qty": 1e300}]}, "INVALID", "positions[0]"),
        ({"positions": [{**order()["positions"][0], "qty": -1}]}, "INVALID", "positions[0]"),
        ({"positions": [{**order()["positions"][0], "site": "7777"}]}, "INVALID", "site"),
        ({"grandTotal": {"amount": "25.99", "ccy": "EUR"}}, "INVALID", "grandTotal"),
        ({"grandTotal": {"amount": "25.9", "ccy": "EUR"}}, "INVALID", "grandTotal.amount"),
        ({"salesChannel": "FAX"}, "INVALID", "salesChannel"),
        ({"delivery": {"mode": "CLICK_COLLECT"}}, "INVALID", "delivery.site"),
    ],
)
async def test_order_that_cannot_be_taken_says_where(client: Client, changes: dict[str, Any], code: str, field: str) -> None:
    status, body, _ = await client.call("POST", "/v2/orders", json=order(**changes))
    assert (status, body["code"], body.get("field")) == (422, code, field)


async def test_hostile_bodies_get_an_error_body_each(client: Client) -> None:
    async def send(data: bytes, kind: str = "application/json") -> tuple[int, str]:
        status, body, _ = await client.call("POST", "/v2/orders", data=data, headers={"Content-Type": kind})
        return status, body["code"]

    assert await send(b"{") == (400, "NOT_JSON")
    assert await send(b"[" * 100_000) in {(400, "NOT_JSON"), (422, "INVALID")}
    assert await send(b'{"x":' * 40_000) == (400, "NOT_JSON")
    assert await send(b"\xff\xfe") == (400, "NOT_JSON")
    assert await send(json.dumps(order()).encode(), "text/plain") == (415, "NOT_JSON")
    assert await send(b" " * 300_000) == (413, "BODY_TOO_LARGE")
    status, body, _ = await client.call("GET", "/nowhere", checked=False)
    assert (status, body["code"]) == (404, "NOT_FOUND")
    status, body, _ = await client.call("GET", "/v2/orders", key="guessed")
    assert (status, body["code"]) == (401, "BAD_KEY")


async def test_pages_give_each_order_once_and_bad_cursors_are_refused(client: Client) -> None:
    for n in range(7):
        await client.call("POST", "/v2/orders", json=order(f"tg-{n}"))
    client.oms.advance("SO-000004", "PACKED")
    seen, cursor = [], ""
    while True:
        _, page, _ = await client.call("GET", f"/v2/orders?state=NEW&limit=2{cursor}")
        seen += [item["orderNo"] for item in page["items"]]
        if "nextCursor" not in page:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == [f"SO-00000{n}" for n in (1, 2, 3, 5, 6, 7)]
    _, page, _ = await client.call("GET", "/v2/orders?clientRef=tg-3")
    assert [item["clientRef"] for item in page["items"]] == ["tg-3"]
    _, page, _ = await client.call("GET", "/v2/orders?limit=1")
    for bad in ("x", "AAAA", "é", page["nextCursor"] + "&state=NEW", "9" * 100):
        status, body, _ = await client.call("GET", f"/v2/orders?cursor={bad}")
        assert (status, body["code"]) == (400, "BAD_CURSOR")
    for bad in ("limit=0", "limit=201", "limit=x", "state=LOST"):
        assert (await client.call("GET", f"/v2/orders?{bad}"))[0] == 400


async def test_parcels_follow_the_order_and_it_can_be_cancelled_until_it_leaves(client: Client) -> None:
    two = [{**order()["positions"][0], "pos": n, "site": site} for n, site in ((1, "0001"), (2, "0002"))]
    await client.call("POST", "/v2/orders", json=order(positions=two, grandTotal={"amount": "51.96", "ccy": "EUR"}))
    await client.call("POST", "/v2/orders", json=order("tg-2"))
    assert (await client.call("GET", "/v2/orders/SO-000001/shipments"))[1]["parcels"] == []
    client.oms.advance("SO-000001", "PACKED")
    _, shipments, _ = await client.call("GET", "/v2/orders/SO-000001/shipments")
    assert [(p["site"], p["state"]) for p in shipments["parcels"]] == [("0001", "LABELLED"), ("0002", "LABELLED")]
    client.oms.advance("SO-000001", "DONE")
    _, shipments, _ = await client.call("GET", "/v2/orders/SO-000001/shipments")
    assert {p["state"] for p in shipments["parcels"]} == {"DELIVERED"}
    status, body, _ = await client.call("POST", "/v2/orders/SO-000001/cancel", json={"reason": "CUSTOMER"})
    assert (status, body["code"], body["orderNo"]) == (409, "ALREADY_DISPATCHED", "SO-000001")
    for _ in range(2):
        status, body, _ = await client.call("POST", "/v2/orders/SO-000002/cancel", json={"reason": "FRAUD"})
        assert (status, body["state"], body["cancelReason"], body["rev"]) == (200, "CANCELLED", "FRAUD", 2)
    assert (await client.call("POST", "/v2/orders/SO-000009/cancel", json={"reason": "FRAUD"}))[0] == 404
    assert client.oms.books()["totals"] == {"EUR": "51.96"}


async def test_customer_is_the_one_of_the_world(client: Client) -> None:
    status, found, _ = await client.call("GET", "/v2/customers/1000001")
    who = World(stores=5, skus=50).customers[0]
    assert (status, found["name"]["last"], found["addresses"][0]["address"]["city"]) == (200, who.last_name, who.city)
    assert (await client.call("GET", "/v2/customers/1"))[0] == 404


def test_hold_parks_an_order_and_impossible_ways_are_refused(oms: OmsServer) -> None:
    oms.book.take(msgspec.convert(order(), NewOrder))
    assert oms.advance("SO-000001", "ON_HOLD")["state"] == "ON_HOLD"
    assert oms.advance("SO-000001")["state"] == "ACCEPTED"
    for to in ("NEW", "ACCEPTED", "LOST"):
        with pytest.raises(ValueError, match=r"SO-000001|no state"):
            oms.advance("SO-000001", to)
    oms.advance("SO-000001", "CANCELLED")
    with pytest.raises(ValueError, match="CANCELLED"):
        oms.advance("SO-000001")
    with pytest.raises(KeyError):
        oms.advance("SO-000077")


async def test_calls_above_the_rate_are_told_when_to_come_back(client: Client) -> None:
    client.oms.rate = 0.5
    assert (await client.call("GET", "/v2/orders"))[0] == 200
    status, body, headers = await client.call("GET", "/v2/orders")
    assert (status, body["code"], headers["Retry-After"]) == (429, "TOO_MANY_CALLS", "2")


async def test_lost_answer_leaves_an_order_that_can_be_found_by_reference(client: Client, faults: Faults) -> None:
    faults.add(Rule("oms", "lost_answer", "createOrder", count=1))
    with pytest.raises(aiohttp.ClientError):
        await client.call("POST", "/v2/orders", json=order())
    _, page, _ = await client.call("GET", "/v2/orders?clientRef=tg-1")
    assert [item["orderNo"] for item in page["items"]] == ["SO-000001"]


async def test_errors_refusals_and_waits_take_no_order(client: Client, faults: Faults) -> None:
    faults.add(Rule("oms", "error", "createOrder", store="0001", count=2))
    assert [(await client.call("POST", "/v2/orders", json=order()))[0] for _ in range(2)] == [500, 503]
    faults.replace(Rule("oms", "429", "createOrder", seconds=3))
    status, _, headers = await client.call("POST", "/v2/orders", json=order())
    assert (status, headers["Retry-After"]) == (429, "3")
    faults.replace(Rule("oms", "refuse", "createOrder"))
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.call("POST", "/v2/orders", json=order())
    faults.replace(Rule("oms", "hang", "createOrder"))
    with pytest.raises(TimeoutError):
        await client.call("POST", "/v2/orders", json=order(), timeout=aiohttp.ClientTimeout(total=0.1))
    faults.replace(Rule("oms", "slow", "createOrder", seconds=0.05))
    assert client.oms.books()["orders"] == []
    assert (await client.call("POST", "/v2/orders", json=order()))[0] == 201


async def test_whole_system_refused_nobody_listens_until_healed(client: Client, faults: Faults) -> None:
    faults.add(Rule("oms", "refuse"))
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.call("GET", "/v2/orders")
    faults.clear()
    assert (await client.call("GET", "/v2/orders"))[0] == 200


async def test_broken_answers_break_the_promise_of_the_document(client: Client, faults: Faults) -> None:
    await client.call("POST", "/v2/orders", json=order())
    for kind in ("wrong_type", "unknown_enum"):
        faults.replace(Rule("oms", kind))
        with pytest.raises(jsonschema_rs.ValidationError):
            await client.call("GET", "/v2/orders/SO-000001")
        with pytest.raises(jsonschema_rs.ValidationError):
            await client.call("GET", "/v2/orders")
    faults.replace(Rule("oms", "truncate"))
    with pytest.raises(json.JSONDecodeError):
        await client.call("GET", "/v2/orders/SO-000001")
    faults.replace(Rule("oms", "reset"))
    with pytest.raises(aiohttp.ClientError):
        await client.call("GET", "/v2/orders/SO-000001")


async def test_stale_answers_are_as_of_the_rule_and_say_how_old(client: Client) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    faults = Faults(clock=lambda: now)
    oms = OmsServer(World(stores=5, skus=50), faults)
    await oms.start()
    try:
        other = Client(client.session, oms)
        await other.call("POST", "/v2/orders", json=order())
        now += timedelta(seconds=10)
        faults.add(Rule("oms", "stale"))
        now += timedelta(seconds=60)
        oms.advance("SO-000001", "PACKED")
        await other.call("POST", "/v2/orders", json=order("tg-2"))
        _, read, headers = await other.call("GET", "/v2/orders/SO-000001")
        assert (read["state"], headers["Age"]) == ("NEW", "60")
        assert (await other.call("GET", "/v2/orders/SO-000002"))[0] == 404
        assert len((await other.call("GET", "/v2/orders"))[1]["items"]) == 1
        faults.clear()
        assert len((await other.call("GET", "/v2/orders"))[1]["items"]) == 2
    finally:
        await oms.stop()


async def test_journal_keeps_what_was_asked_with_its_trace(client: Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await asyncio.gather(*(client.call("GET", "/v2/orders", headers={"traceparent": trace}) for _ in range(3)))
    assert [(c.operation, c.status, c.traceparent) for c in client.oms.journal] == [("findOrders", 200, trace)] * 3
    assert client.oms.books()["calls"] == {"findOrders": 3}


def test_every_route_is_an_operation_of_the_document() -> None:
    document = json.loads(Path(DOCUMENT).read_bytes())
    promised = {op["operationId"]: (method.upper(), path) for path, methods in document["paths"].items() for method, op in methods.items()}
    assert promised == ROUTES

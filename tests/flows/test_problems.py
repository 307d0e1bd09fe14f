"""Every problem of the catalogue as a caller meets it: provoked over HTTP in the whole product, and compared with what is published."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import apsw
import httpx
import msgspec
import pytest

from contracts.policy import Duration
from contracts.versions import HISTORY
from gateway.edge import problems
from gateway.edge.protocol import BoundedProtocol
from gateway.estate import BrownOutEntry, Estate, Issuer, Quota, QuotaPolicy, Shared
from sandbox.faults import Kind, Rule
from tests.products import LOCATION, SKU, Live, no_limits, running

pytestmark = pytest.mark.slow

OLDEST = HISTORY.versions[-1].date
STOCK = f"/inventory?sku={SKU}&location={LOCATION}"
BASE = {"type", "title", "status", "detail", "code", "fault", "retryable", "advice", "traceId"}
PUBLISHED = {e["code"]: e for e in json.loads((Path(__file__).parents[2] / "contracts/published/problems.json").read_bytes())}

Provoke = Callable[[Live], Awaitable[httpx.Response]]


# ---- what callers do ----------------------------------------------------------------------------------------------


def get(path: str = STOCK, **headers: str) -> Provoke:
    return lambda live: live.http.get(path, headers={**live.auth(), **_named(headers)})


async def post(live: Live, path: str, body: Any, key: str = "", **headers: str) -> httpx.Response:
    fields = {**live.auth(headers.pop("who", "web")), "Idempotency-Key": key or str(uuid4()), **_named(headers)}
    return await live.http.post(path, json=body, headers=fields)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def draft(quantity: str = "1", **more: Any) -> dict[str, Any]:
    price = {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2}
    line = {"lineNumber": 1, "sku": SKU, "quantity": {"value": quantity, "unit": "EA"}, "unitPrice": price, "requestedLocationId": LOCATION}
    return {"lines": [line], **more}


def hold(key: str, **owner: str) -> dict[str, Any]:
    quantity = {"value": "1", "unit": "EA"}
    return {"reservationKey": key, "sku": SKU, "locationId": LOCATION, "quantity": quantity, "owner": owner or {"type": "cart", "id": "c"}}


async def without_key(live: Live) -> httpx.Response:
    return await live.http.post("/orders", json=draft(), headers=live.auth())


async def other_payload(live: Live) -> httpx.Response:
    await post(live, "/reservations", hold("one"), key="same")
    return await post(live, "/reservations", hold("two"), key="same")


async def while_running(live: Live) -> httpx.Response:
    with_fault(live, "slow", "oms", "createOrder", seconds=1.0)
    first = asyncio.create_task(post(live, "/orders", draft(), key="slow"))
    await asyncio.sleep(0.3)
    second = await post(live, "/orders", draft(), key="slow")
    assert (await first).status_code == 201
    return second


async def key_again(live: Live) -> httpx.Response:
    body = {"name": "newcomer", "channel": "web", "scopes": ["catalogue:read"]}
    assert (await post(live, "/admin/clients", body, key="add", who="operator")).status_code == 201
    return await post(live, "/admin/clients", body, key="add", who="operator")


async def secret_again(live: Live) -> httpx.Response:
    body = {"name": "listener", "url": "https://receiver.example/events", "types": ["io.tillgate.sale."]}
    assert (await post(live, "/admin/webhooks", body, key="listen", who="operator")).status_code == 201
    return await post(live, "/admin/webhooks", body, key="listen", who="operator")


async def held_by_an_order(live: Live) -> httpx.Response:
    order = (await post(live, "/orders", draft())).json()["id"]
    assert (await post(live, "/reservations", hold("ordered", type="order", id=order))).status_code == 201
    return await post(live, "/reservations/ordered/release", {})


async def from_an_old_version(live: Live) -> httpx.Response:
    await post(live, "/reservations", hold("moved"))
    return await post(live, "/reservations/moved/release", {}, if_match='"v7"')


async def refused_by_erp(live: Live) -> httpx.Response:
    blocked = next(c.number for n in range(1_000_001, 1_010_000) if (c := live.sandbox.world.customer(str(n))) and c.blocked)
    return await post(live, "/orders", draft(customer={"customerNumber": blocked}))


async def used_up(live: Live) -> httpx.Response:
    who = await live.client("tiny", quota="tiny")
    await live.http.get("/locations", headers=who)
    return await live.http.get("/locations", headers=who)


async def guessing(live: Live) -> httpx.Response:
    for _ in range(3):
        answer = await live.http.get("/locations", headers={"Authorization": "Bearer nonsense"})
    return answer


async def forbidden(live: Live) -> httpx.Response:
    return await live.http.get("/locations", headers=await live.client("narrow", ("orders:read",)))


async def raw(live: Live, *pieces: bytes, pause: float = 0.0) -> httpx.Response:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    lines = head.decode().split("\r\n")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines[1:]) if name != "content-length"]
    return httpx.Response(int(lines[0].split()[1]), headers=fields, content=body)


async def cut_short(live: Live) -> httpx.Response:
    fields = {**live.auth(), "Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    return await live.http.post("/orders", content=b'{"lines": [', headers=fields)


def with_fault(live: Live, kind: Kind, system: Any, operation: str = "*", **more: Any) -> None:
    live.sandbox.faults.add(Rule(system=system, kind=kind, operation=operation, **more))


def broken(kind: Kind, path: str, operation: str, **headers: str) -> Provoke:
    async def provoke(live: Live) -> httpx.Response:
        with_fault(live, kind, "erp", operation)
        return await live.http.get(path, headers={**live.auth(), **_named(headers)})

    return provoke


async def breaker_open(live: Live) -> httpx.Response:
    with_fault(live, "refuse", "erp")
    for n in range(40):
        answer = await live.http.get(f"/prices?sku={10_000_100 + n}&location={LOCATION}", headers=live.auth())
        if answer.json()["code"] != "upstream_unreachable":
            break
    return answer


async def corrupted(live: Live) -> httpx.Response:
    """A book that says nonsense is our own fault."""
    order = (await post(live, "/orders", draft())).json()["id"]
    await asyncio.to_thread(_execute, live, "update customer_order set body = x'00' where id = ?", order)
    return await live.http.get(f"/orders/{order}", headers=live.auth())


def _execute(live: Live, sql: str, *values: str) -> None:
    db = _book(live)
    db.execute(sql, values)
    db.close()


def _book(live: Live) -> apsw.Connection:
    db = apsw.Connection(str(live.data / "tillgate.db"))
    db.set_busy_timeout(5000)
    return db


async def store_away(live: Live) -> httpx.Response:
    db = _book(live)
    db.execute("begin immediate")
    try:
        return await post(live, "/reservations", hold("locked"))
    finally:
        db.execute("rollback")
        db.close()


async def without_keys_of_its_issuer(live: Live) -> httpx.Response:
    claims = {"iss": ISSUER, "aud": "shop", "exp": int(time.time()) + 600, "iat": int(time.time()), "sub": "a", "client_id": "web"}
    parts = [{"alg": "RS256", "kid": "1", "typ": "at+jwt"}, claims]
    token = ".".join([*(base64.urlsafe_b64encode(msgspec.json.encode(p)).decode().rstrip("=") for p in parts), "c2ln" * 80])
    return await live.http.get("/locations", headers={"Authorization": f"Bearer {token}"})


async def too_many(live: Live) -> httpx.Response:
    with_fault(live, "slow", "erp", "GetStock", seconds=1.5)
    waiting = [asyncio.create_task(live.http.get(STOCK, headers=live.auth())) for _ in range(6)]
    await asyncio.sleep(0.4)
    answer = await live.http.get(STOCK, headers=live.auth())
    await asyncio.gather(*waiting)
    return answer


LARGE = b"GET /locations HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"
CALLERS: dict[str, Provoke] = {
    "bad_request": lambda live: raw(live, b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n"),
    "malformed_query": get("/products?sku=%zz"),
    "invalid_parameter": get("/inventory?sku=1"),
    "unknown_parameter": get("/products?colour=red"),
    "invalid_cursor": get("/products?cursor=abc"),
    "invalid_header": get(If_None_Match="v1"),
    "malformed_json": cut_short,
    "invalid_member": lambda live: post(live, "/orders", draft(colour="red")),
    "idempotency_key_missing": without_key,
    "unknown_version": get(API_Version="1999-01-01"),
    "unauthenticated": lambda live: live.http.get("/locations", headers={"Authorization": "Bearer nonsense"}),
    "forbidden": forbidden,
    "not_found": get("/products/NOPE"),
    "method_not_allowed": lambda live: live.http.put("/orders", headers=live.auth()),
    "not_acceptable": get(Accept="text/html"),
    "request_too_slow": lambda live: raw(live, b"GET /locations HTTP/1.1\r\nHo", pause=0.5),
    "insufficient_stock": lambda live: post(live, "/orders", draft("900000")),
    "key_shown_once": key_again,
    "secret_shown_once": secret_again,
    "request_in_progress": while_running,
    "state_conflict": held_by_an_order,
    "precondition_failed": from_an_old_version,
    "body_too_large": lambda live: post(live, "/orders", draft(purchaseOrderNumber="x" * 1_100_000)),
    "unsupported_media_type": lambda live: post(live, "/orders", draft(), content_type="text/plain"),
    "idempotency_key_reused": other_payload,
    "rejected_by_system": refused_by_erp,
    "unprocessable": lambda live: post(live, "/orders", draft("0")),
    "quota_exceeded": used_up,
    "head_too_large": lambda live: raw(live, LARGE),
    "upstream_contract": broken("wrong_type", f"/prices?sku={SKU}&location={LOCATION}", "GetPrices"),
    "upstream_failed": broken("error", f"/products/{SKU}", "GetMaterials"),
    "upstream_unreachable": broken("refuse", "/products/10000009", "*"),
    "upstream_busy": broken("429", "/inventory?sku=10000003&location=0002", "GetStock"),
    "upstream_timeout": broken("hang", "/inventory?sku=10000004&location=0002", "GetStock"),
    "deadline_exceeded": broken("hang", "/inventory?sku=10000005&location=0002", "GetStock", Request_Timeout="0.3"),
    "temporarily_unavailable": breaker_open,
    "store_unavailable": store_away,
    "internal_error": corrupted,
}
"""In the product as most tests run it, each with the systems behind whole again."""
ISSUER = "http://127.0.0.1:9/realms/retail"
NOW = datetime.now(UTC)


def _tiny(estate: Estate) -> Estate:
    once = Quota(policies=(QuotaPolicy(name="burst", requests=1, window=Duration(60)),))
    estate = no_limits(estate)
    return msgspec.structs.replace(estate, quota={**estate.quota, "tiny": once})


def _counted_nowhere(estate: Estate) -> Estate:
    return msgspec.structs.replace(no_limits(estate), shared=Shared(url="redis://127.0.0.1:9", when_unreachable="closed"))


def _dark(estate: Estate) -> Estate:
    window = BrownOutEntry(version=OLDEST, from_=NOW - timedelta(hours=1), until=NOW + timedelta(hours=1))
    return msgspec.structs.replace(no_limits(estate), versions=msgspec.structs.replace(estate.versions, brown_out=(window,)))


def _foreign(estate: Estate) -> Estate:
    return msgspec.structs.replace(
        no_limits(estate),
        identity=msgspec.structs.replace(estate.identity, issuer=(Issuer(url=ISSUER, audiences=("shop",), insecure=True),)),
    )


def _narrow(estate: Estate) -> Estate:
    return msgspec.structs.replace(no_limits(estate), edge=msgspec.structs.replace(estate.edge, max_requests=2, max_waiting=0))


def _wary(estate: Estate) -> Estate:
    few = Quota(policies=(QuotaPolicy(name="anonymous", requests=2, window=Duration(3600)),))
    return msgspec.structs.replace(estate, quota={**no_limits(estate).quota, "anonymous": few})


HOUSES: dict[str, tuple[dict[str, Any], Provoke]] = {
    "version_retired": ({"now": lambda: datetime.now(UTC) + timedelta(days=500)}, get(API_Version=OLDEST)),
    "version_brown_out": ({"change": _dark}, get(API_Version=OLDEST)),
    "keys_unavailable": ({"change": _foreign}, without_keys_of_its_issuer),
    "quota_unavailable": ({"change": _counted_nowhere}, get()),
    "overloaded": ({"change": _narrow}, too_many),
    "abnormal_usage": ({"change": _wary}, guessing),
}
"""In a product of their own."""


class Impatient(BoundedProtocol):
    head_seconds = 0.3


def compare(code: str, answer: httpx.Response) -> None:
    entry, told = PUBLISHED[code], answer.json()
    assert (answer.status_code, told["code"]) == (entry["status"], code), told
    assert {name: told[name] for name in entry if name != "members"} == {k: v for k, v in entry.items() if k != "members"}
    of_some = {"errors"} if code == "forbidden" else set()  # only where a parameter asks for too much
    assert (told.keys() - BASE) | of_some == set(entry["members"]), "members of its own are published"
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.headers["cache-control"] == "no-store"
    assert len(told["traceId"]) == 32
    assert told["detail"]
    if answer.status_code in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    for error in told.get("errors", ()):
        assert error["pointer"] == "" or error["pointer"].startswith(("/", "query", "header:", "path:", "request")), error


def test_every_published_problem_has_a_way_to_meet_it() -> None:
    assert PUBLISHED.keys() == CALLERS.keys() | HOUSES.keys(), "a new one needs a provocation here, and ./run publish"


async def test_every_problem_is_met_as_it_is_published(tmp_path: Path) -> None:
    async with running(tmp_path, change=_tiny, http=Impatient) as live:
        wrong: dict[str, str] = {}
        for code, provoke in CALLERS.items():
            try:
                compare(code, await provoke(live))
            except Exception as exc:  # all of them are told at once
                wrong[code] = f"{type(exc).__name__}: {exc}"[:600]
            live.sandbox.faults.clear()
        assert not wrong, "\n".join(f"{code}: {why}" for code, why in wrong.items())


@pytest.mark.parametrize("code", HOUSES)
async def test_a_problem_of_a_house_of_its_own_is_met_as_it_is_published(tmp_path: Path, code: str) -> None:
    settings, provoke = HOUSES[code]
    async with running(tmp_path, **{"change": no_limits, **settings}) as live:
        compare(code, await provoke(live))

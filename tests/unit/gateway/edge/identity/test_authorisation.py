"""Who may do what: every route that is mounted, with every set of scopes, bound to a store or not, and every kind of credentials.

The application is the product's own, built from the reference estate; the systems behind it refuse whatever they are asked. A route that
is added is found here by itself; one that is no endpoint must say below whom it is for.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.recording import Captures
from contracts.books import Books, Client, SaleBatch
from contracts.call import Call
from contracts.canonical.order import OrderCustomer
from contracts.errors import UpstreamRejected
from contracts.versions import HISTORY
from gateway.api import ADMIN, ENDPOINTS
from gateway.api.admin import Reloaded
from gateway.bootstrap.building import build
from gateway.bootstrap.foundation import foundation
from gateway.edge.audit import Audit
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.identity.certificates import thumbprint
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.edge.quota.port import ANONYMOUS
from gateway.estate import Identity
from gateway.estate import Issuer as Terms
from gateway.services.clock import utc_now
from gateway.services.reservations import _own
from tests.conformance.store import make
from tests.fakes.connection import FakeConnection
from tests.products import no_limits, reference
from tests.servers import issuer as servers

OPEN = {
    *(
        "GET /",
        "GET /docs",
        "GET /docs/{version}",
        "GET /openapi/{file}",
        "GET /asyncapi/{file}",
        "GET /problems",
        "GET /problems/{code}",
        "GET /changelog",
    ),
    *("GET /health/live", "GET /health/ready"),
    *("GET /console/login", "POST /console/login", "GET /console/static/{name}"),
}
"""For everybody: they hold nothing of a retailer's data."""
SCOPED = {
    "GET /metrics": "admin:read",
    "GET /admin/drift": "admin:read",
    "GET /admin/quotas": "admin:read",
    "POST /admin/reload": "admin:write",
    "POST /admin/recordings/{system}": "admin:write",
}
"""Routes with a scope that are no endpoints."""
OF_ALL_STORES = {
    "GET /admin/webhooks/{name}/dead-letters",
    *(f"POST /admin/webhooks/{{name}}{rest}" for rest in ("", "/secrets", "/test", "/replay")),
    *("GET /admin/incidents", "GET /admin/incidents/{id}", "GET /admin/windows", "GET /admin/map"),
}
"""Shut to whoever is bound to stores: a receiver is told of all of them, and so is an incident."""
SESSIONS = "/console"
"""Below it a session counts and no other credentials do."""
STORE, OTHER = "0001", "0017"
SETS: tuple[frozenset[str], ...] = (frozenset(), *(frozenset({scope}) for scope in SCOPES), frozenset(SCOPES))
KINDS = ("key", "certificate", "token of a narrow client", "narrow token of a wide client")


class Controls:
    """Does nothing."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.generation = 1
        self.last_reload: Reloaded | None = None
        self.captures = Captures()
        self.recordable: frozenset[str] = frozenset()

    async def reload(self) -> Reloaded:
        return Reloaded(applied=True, at=utc_now(), generation=1)

    async def ready(self) -> dict[str, str]:
        return {}

    def notices(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Caller:
    kind: str
    scopes: frozenset[str]
    bound: bool
    headers: dict[str, str] = field(repr=False)
    certificate: bytes | None = field(default=None, repr=False)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class House:
    app: Any
    books: Books
    secret: bytes
    issuer: servers.Issuer
    audit: Audit
    addresses: Iterator[int] = field(default_factory=itertools.count)

    async def ask(
        self,
        route: str,
        caller: Caller | None = None,
        body: bytes = b"{}",
        query: str = "",
        address: str = "",
        raw: str = "",
        **fields: str,
    ) -> Answer:
        """Below HTTP, since some thousands of requests come. Each has an address of its own: callers without credentials are limited."""
        method, path = route.split(" ")
        headers = {"content-type": "application/json", "idempotency-key": f"k{next(self.addresses)}", **fields}
        headers.update(caller.headers if caller else {})
        number, sent, got = next(self.addresses), [body], Answer(0, {}, b"")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": (raw or path).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": (address or f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1),
            "server": ("127.0.0.1", 80),
            "state": {"peer_cert": caller.certificate if caller else None},
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent.pop() if sent else b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                got.status = message["status"]
                got.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            else:
                got.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return got

    async def caller(self, kind: str, scopes: frozenset[str], *, bound: bool = False, channel: str = "web", store: str = STORE) -> Caller:
        name = f"c{next(self.addresses)}"
        certificate = name.encode() if kind == "certificate" else None
        client = Client(
            name=name,
            channel=channel,
            scopes=tuple(SCOPES if kind.startswith("narrow token") else scopes),
            api_version=HISTORY.newest.date,
            stores=(store,) if bound else (),
            certificates=(thumbprint(certificate),) if certificate else (),
        )
        await self.books.clients.put(client)
        if certificate:
            await asyncio.sleep(0.06)  # until it is looked for again
            return Caller(kind, scopes, bound, {}, certificate)
        if kind == "key":
            secret, stored = new_key(name, self.secret)
            await self.books.clients.add_key(stored)
        else:
            secret = self.issuer.token(client_id=name, scope=" ".join(scopes if kind.startswith("narrow token") else SCOPES))
        return Caller(kind, scopes, bound, {"authorization": f"Bearer {secret}"})


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    checked = await asyncio.to_thread(reference)
    async with servers.running() as issuer:
        terms = Terms(url=issuer.url, audiences=(servers.AUDIENCE,), insecure=True)
        wide = no_limits(checked.estate).quota
        del wide[ANONYMOUS]  # the limit of callers without credentials is what is tried here
        estate = msgspec.structs.replace(checked.estate, quota=wide, identity=Identity(issuer=(terms,)))
        refusing = FakeConnection(lambda operation, request: None)
        refusing.error = UpstreamRejected(system="erp", operation="any", reason="no")
        names = {"ERP_URL", "ERP_USER", "ERP_PASSWORD", "OMS_URL", "OMS_KEY"}
        environment = {f"TILLGATE_{name}": "http://127.0.0.1:1" for name in names}
        environment |= {f"TILLGATE_POS_{name.upper()}": str(folder / name) for name in ("inbox", "changes")}
        async with foundation(estate, folder / "data", environment, utc_now, {"erp": refusing, "oms": refusing}) as base:
            generation = await build(replace(checked, estate=estate), base, Controls())
            try:
                yield House(generation.app, base.books, base.secret, issuer, base.audit)
            finally:
                await generation.retire([], 5)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as found:
        yield found


def mounted(app: Any) -> set[str]:
    """Every route of the application, `METHOD /path/{name}`; HEAD goes with its GET."""
    found = set()
    for route in app._app.routes:
        path = re.sub(r"\{(\w+)(:\w+)?\}", r"{\1}", route.path)
        found |= {f"{method} {path}" for method in route.methods if method not in ("HEAD", "OPTIONS")}
    return found


def needed() -> dict[str, str]:
    """The scope of every route that has one."""
    return {**{e.route: e.scope for e in (*ENDPOINTS, *ADMIN)}, **SCOPED}


def path_of(route: str) -> str:
    """With something in the place of each parameter."""
    number = "INC-20260311-0001" if "/incidents/" in route else "12"
    return re.sub(r"\{(\w+)\}", lambda m: {"number": STORE, "id": number}.get(m[1], "nothing"), route)


def query_of(route: str) -> str:
    endpoint = next((e for e in (*ENDPOINTS, *ADMIN) if e.route == route), None)
    values = {"sku": "10000001", "location": STORE, "business_date": "2026-03-11", "begin": "2026-03-11T12:00:00Z"}
    fields = msgspec.structs.fields(endpoint.parameters) if endpoint else ()
    return "&".join(f"{f.encode_name}={values[f.name]}" for f in fields if f.name in values)


async def test_every_route_that_is_mounted_is_for_somebody(it: House) -> None:
    told = needed().keys() | OPEN | {"GET /.well-known/oauth-protected-resource"}
    rest = {route for route in mounted(it.app) if not route.split(" ")[1].startswith(SESSIONS)} - told
    assert not rest, f"say whom they are for: {sorted(rest)}"
    assert not {e.scope for e in (*ENDPOINTS, *ADMIN)} - SCOPES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_route_opens_to_its_scope_and_to_nothing_else(it: House, kind: str) -> None:
    """In parallel by caller: every route, alone and with each part that it brings along, x every set of scopes x bound or not, for one
    kind of credentials.
    """
    asked = [(route, query_of(route), (scope,)) for route, scope in needed().items()]
    for e in ENDPOINTS:
        asked += [(e.route, f"expand={x.name}&{query_of(e.route)}".rstrip("&"), (e.scope, x.endpoint.scope)) for x in e.expansions]

    async def all_routes(caller: Caller) -> list[str]:
        wrong = []
        for route, query, scopes in asked:
            missing = next((scope for scope in scopes if scope not in caller.scopes), None)
            for method in {route.split(" ")[0], *(["HEAD"] if route.startswith("GET") and route not in SCOPED else [])}:
                answer = await it.ask(f"{method} {path_of(route).split(' ')[1]}", caller, query=query)
                opens = missing is None and not (caller.bound and route in OF_ALL_STORES)
                if (answer.status not in (401, 403)) is not opens:
                    wrong.append(f"{method} {route}?{query} needs {scopes}, {caller}: {answer.status}")
                elif answer.status == 403 and missing and f'scope="{missing}"' not in answer.headers["www-authenticate"]:
                    wrong.append(f"{route}, {caller}: does not say which scope is missing")
                elif answer.status >= 500:
                    wrong.append(f"{route}?{query}, {caller}: {answer.status} {answer.body[:200]!r}")
        return wrong

    callers = [await it.caller(kind, scopes, bound=bound) for scopes in SETS for bound in (False, True)]
    wrong = [line for found in await asyncio.gather(*map(all_routes, callers)) for line in found]
    assert not wrong, "\n".join(wrong[:20])


async def test_without_credentials_or_with_wrong_ones_no_route_with_a_scope_opens(it: House) -> None:
    good = it.issuer.token(client_id="c", scope=" ".join(SCOPES))
    suspended = await it.caller("certificate", frozenset(SCOPES))
    stored = next(c for c in await it.books.clients.list() if c.certificates)
    await it.books.clients.put(msgspec.structs.replace(stored, suspended=True))
    for route in needed():
        for caller in (
            None,
            Caller("unknown certificate", frozenset(), False, {}, b"unknown"),
            Caller("unknown key", frozenset(), False, {"authorization": "Bearer tg_aaaaaaaa_" + "A" * 43}),
            Caller("cut token", frozenset(), False, {"authorization": f"Bearer {good[:-8]}"}),
            Caller("basic", frozenset(), False, {"authorization": "Basic YTpi"}),
            Caller("other headers", frozenset(), False, {"x-api-key": "x", "cookie": "tillgate_session=x", "x-forwarded-user": "admin"}),
        ):
            answer = await it.ask(path_of(route), caller, query=query_of(route))
            assert (answer.status, answer.json()["code"]) == (401, "unauthenticated"), (route, caller)
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert (await it.ask(path_of(route), suspended, query=query_of(route))).status == 403, route


@pytest.mark.slow
async def test_no_other_spelling_of_a_path_or_method_leads_round_the_door(it: House) -> None:
    nobody = await it.caller("key", frozenset())
    for route in needed():
        method, path = path_of(route).split(" ")
        spellings = (
            f"{path}/",
            f"/{path}",
            path.replace("/", "//"),
            f"/.{path}",
            f"{path};x=1",
            path.upper(),
            f"{path}/../{path.split('/')[-1]}",
        )
        asked = [(method, spelled, spelled) for spelled in spellings]
        asked += [(method, path, path.replace(path[1], f"%{ord(path[1]):02x}", 1)), (method.lower(), path, path), ("PATCH", path, path)]
        for verb, written, raw in asked:
            for caller in (None, nobody):
                fields = {"x-http-method-override": method, "x-original-url": path, "x-rewrite-url": path}
                answer = await it.ask(f"{verb} {written}", caller, query=query_of(route), raw=raw, **fields)
                assert answer.status in (400, 401, 403, 404, 405), (verb, written, raw, caller, answer.body[:200])


@pytest.mark.slow
@pytest.mark.parametrize("route", [*SCOPED, "GET /products", "GET /admin/clients"])
async def test_wrong_credentials_are_limited_by_address_and_told_of_at_endpoints_and_elsewhere(it: House, route: str) -> None:
    wrong = Caller("wrong", frozenset(), False, {"authorization": "Bearer tg_aaaaaaaa_" + "A" * 43})
    asked = 0
    while (status := (await it.ask(path_of(route), wrong, address="192.0.2.1")).status) == 401 and asked < 90:
        asked += 1
    assert status == 429
    assert asked >= 60, "60 a minute, and one more for each second that the asking takes"
    assert (await it.ask(path_of(route), wrong, address="192.0.2.2")).status == 401
    lacking = await it.caller("key", frozenset())
    assert (await it.ask(path_of(route), lacking, address="192.0.2.1")).status == 403, "who has a key is no part of it"
    assert {(code, claimed) for code, claimed, _, of in it.audit._denied if of == route} >= {
        ("unauthenticated", "aaaaaaaa"),
        ("abnormal_usage", "aaaaaaaa"),
    }


async def test_no_answer_and_no_log_line_holds_a_part_of_what_was_sent(it: House, capfd: pytest.CaptureFixture[str]) -> None:
    client = (await it.caller("key", frozenset())).headers["authorization"].removeprefix("Bearer ")
    token = it.issuer.token(client_id="nobody", scope="orders:read", email="customer@example.test")
    secrets = (
        client[:-1] + "~",
        client[12:],
        token,
        token[:-9],
        token.rpartition(".")[0] + ".",
        "x" * 9000,
        base64.b64encode(b"u:geheim").decode(),
    )
    for route in (*SCOPED, "GET /orders", "POST /orders"):
        for secret in secrets:
            for scheme in ("Bearer ", "Basic ", "", "bearer  "):
                answer = await it.ask(path_of(route), Caller("wrong", frozenset(), False, {"authorization": scheme + secret}))
                said = answer.body.decode() + str(answer.headers)
                assert answer.status == 401, (route, scheme)
                assert not any(secret[n : n + 10] in said for n in range(0, len(secret) - 10, 7))
    told = "".join(capfd.readouterr())
    assert not any(secret[n : n + 10] in told for secret in secrets for n in range(0, len(secret) - 10, 7))


async def test_pages_of_the_console_open_to_a_session_and_to_no_other_credentials(it: House) -> None:
    pages = [r for r in mounted(it.app) if r.split(" ")[1].startswith(SESSIONS) and r not in OPEN]
    assert len(pages) > 5
    for kind in KINDS:
        caller = await it.caller(kind, frozenset(SCOPES))
        for page in pages:
            answer = await it.ask(path_of(page), caller, body=b"")
            assert answer.status in (303, 401, 403), (page, caller)
            assert answer.status != 303 or answer.headers["location"].startswith("/console/login"), page


@pytest.mark.slow
async def test_the_console_lets_in_who_may_read_administration(it: House) -> None:
    form = await it.ask("GET /console/login", body=b"")
    cookie, token = form.headers["set-cookie"].partition(";")[0], re.findall(rb'name="csrf" value="([^"]+)"', form.body)[0].decode()
    fields = {"content-type": "application/x-www-form-urlencoded", "cookie": cookie}
    for scopes in SETS:
        key = (await it.caller("key", scopes)).headers["authorization"].removeprefix("Bearer ")
        answer = await it.ask("POST /console/login", body=f"key={key}&csrf={token}".encode(), **fields)
        assert answer.status == (303 if "admin:read" in scopes else 403), scopes
        assert key.encode() not in answer.body
        assert (await it.ask("POST /console/login", body=f"key={key}&csrf=x".encode(), **fields)).status == 403, "a form of another site"


# ---- objects and their fields -------------------------------------------------------------------------------------

THEIRS = {
    "GET /orders/{id}": "ord_web",
    "POST /orders/{id}/cancel": "ord_web",
    "GET /reservations/{key}": "held",
    "POST /reservations/{key}/release": "held",
}
"""Routes that name one object, with one of channel web at OTHER."""
BODIES = {"POST /orders/{id}/cancel": b'{"reason":"r"}', "POST /reservations/{key}/release": b"{}"}


@pytest.fixture
async def stocked(it: House) -> House:
    """An order with a customer, a reservation and a sale, all of channel web at location OTHER."""
    order = msgspec.structs.replace(
        make.order("ord_web"), placed_at=datetime.now(UTC), customer=OrderCustomer(customer_number="1000001", email="a@example.test")
    )
    await it.books.orders.accept(order, make.process("ord_web", due=10**9), "c", "k", [])
    call = Call(channel="web", client="c", deadline=0.0, api_version=HISTORY.newest.date)
    held = msgspec.structs.replace(make.reservation(_own("held", call)), expires_at=utc_now() + timedelta(hours=1))
    await it.books.reservations.hold(held, None, utc_now(), utc_now(), [])
    seen = make.seen()
    await it.books.files.claim(seen, "me", utc_now(), 60, "")
    await it.books.sales.commit(SaleBatch(digest=seen.digest, fence=1, position=1, sales=(make.sale(1),)), utc_now())
    return it


def objects() -> list[AnyEndpoint]:
    return [e for e in ENDPOINTS if set(e.path_parameters) & {"id", "key"}]


def test_every_route_that_names_an_object_of_somebody_is_tried_below() -> None:
    assert {e.route for e in objects()} == THEIRS.keys()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_of_another_channel_or_store_is_not_there(stocked: House, kind: str) -> None:
    everything = frozenset(SCOPES)
    strangers = [await stocked.caller(kind, everything, channel="mobile"), await stocked.caller(kind, everything, bound=True)]
    for route, name in THEIRS.items():
        at = re.sub(r"\{\w+\}", name, route)
        for stranger in strangers:
            theirs = await stocked.ask(at, stranger, BODIES.get(route, b""))
            nothing = await stocked.ask(re.sub(r"\{\w+\}", "nothing", route), stranger, BODIES.get(route, b""))
            assert (theirs.status, theirs.json()["code"]) == (404, "not_found"), (route, stranger)
            assert {k: v for k, v in theirs.json().items() if k not in ("traceId", "detail")} == {
                k: v for k, v in nothing.json().items() if k not in ("traceId", "detail")
            }
    owner = await stocked.caller(kind, everything, bound=True, store=OTHER)
    for route, name in THEIRS.items():
        assert (await stocked.ask(re.sub(r"\{\w+\}", name, route), owner, BODIES.get(route, b""))).status in (200, 202, 409), route


@pytest.mark.slow
async def test_lists_hold_what_the_caller_may_see(stocked: House) -> None:
    everything = frozenset(SCOPES)
    for caller, seen in (
        (await stocked.caller("key", everything), 1),
        (await stocked.caller("key", everything, bound=True, store=OTHER), 1),
        (await stocked.caller("key", everything, bound=True), 0),
        (await stocked.caller("key", everything, channel="mobile"), 0),
    ):
        assert len((await stocked.ask("GET /orders", caller, b"")).json()["items"]) == seen, caller
    query = f"location={OTHER}&businessDate=2026-03-11"
    sales = await stocked.ask("GET /sales", await stocked.caller("key", everything, bound=True, store=OTHER), b"", query)
    assert len(sales.json()["items"]) == 1
    assert (await stocked.ask("GET /sales", await stocked.caller("key", everything, bound=True), b"", query)).status == 403


async def test_who_is_bound_to_a_store_writes_for_that_store_only_and_learns_nothing_by_a_key_that_is_taken(stocked: House) -> None:
    bound = await stocked.caller("key", frozenset(SCOPES), bound=True)
    quantity = {"value": "1", "unit": "EA"}
    draft = {"reservationKey": "held", "sku": "10000001", "locationId": OTHER, "quantity": quantity, "owner": {"type": "cart", "id": "x"}}
    assert (await stocked.ask("POST /reservations", bound, json.dumps(draft).encode())).status == 403
    taken = await stocked.ask("POST /reservations", bound, json.dumps({**draft, "locationId": STORE}).encode())
    assert taken.status == 422
    assert OTHER not in taken.body.decode()


@pytest.mark.parametrize("kind", KINDS)
async def test_personal_data_is_shown_to_who_may_read_customers_and_to_nobody_else(stocked: House, kind: str) -> None:
    for scopes in (frozenset({"orders:read"}), frozenset({"orders:read", "customers:read"})):
        caller = await stocked.caller(kind, scopes)
        for route in ("GET /orders", "GET /orders/ord_web"):
            answer = await stocked.ask(route, caller, b"")
            assert answer.status == 200, answer.body
            assert (b"example.test" in answer.body) is ("customers:read" in scopes), (route, caller)

"""A small API of its own behind the real door: handlers that do what a test says, a clock that it turns, real books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, Client, require_version
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.answers import Cancellation, Missing, NoParameters, PageParameters
from contracts.canonical.base import Key, Noun
from contracts.canonical.order import OrderCustomer, OrderLineDraft
from contracts.policy import Duration, Freshness
from contracts.versions import Change, Version, VersionHistory
from gateway.app import application
from gateway.edge.brown_out import BrownOut
from gateway.edge.door import Door
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Expansion, Outcome, Question
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.edge.peer import Proxies
from gateway.edge.preconditions import versions
from gateway.edge.quota import Costs, Limit, MemoryQuotas, Quota
from gateway.edge.usage import Usage
from observability import Recorder

PEPPER = b"p" * 32
START = datetime(2026, 11, 1, tzinfo=UTC)


class Thing(Noun, frozen=True, kw_only=True):
    key: str
    price: Money = Money(100, "EUR", 2)
    runs: int = 0
    seller: OrderCustomer | None = None


class ThingParts(Noun, frozen=True, kw_only=True):
    twin: Thing | None = None
    seller: Thing | None = None
    missing: tuple[Missing, ...] = ()


class OldThing(Noun, frozen=True, kw_only=True):
    id: str
    price: Money = Money(100, "EUR", 2)
    runs: int = 0


class KeysReplaceIds(Change):
    """Things have a `key`; before, it was called `id`."""

    of = Thing
    old = OldThing
    renamed = {"key": "id"}  # noqa: RUF012  # read only


HISTORY = VersionHistory(
    (
        Version("2026-10-01", "Keys.", (KeysReplaceIds,)),
        Version("2026-01-01", "First.", deprecated=START, sunset=START + timedelta(days=30)),
    )
)


async def plain(ask: Ask[Any, Any], runs: int) -> Outcome:
    key = ask.path.get("key") or (ask.body.reason if isinstance(ask.body, Cancellation) else "k")
    return Outcome(Thing(key=key, runs=runs), version=runs)


@dataclass
class Bench:
    http: httpx.AsyncClient
    books: Books
    app: Any
    recorder: Recorder
    usage: Usage
    auth: dict[str, str]
    now: datetime = START
    seconds: float = 0.0
    runs: int = 0
    handle: Callable[[Ask[Any, Any], int], Awaitable[Outcome]] = plain
    """What every route does; it is told how often any has run."""
    asks: list[Ask[Any, Any]] = field(default_factory=list)
    denied: list[tuple[str, str, str, str]] = field(default_factory=list)
    """What the audit log would be told."""

    async def client(self, name: str, *, expires_at: datetime | None = None, **changes: Any) -> dict[str, str]:
        client = Client(**{"name": name, "channel": "web", "scopes": tuple(SCOPES), "api_version": "2026-10-01", **changes})
        await self.books.clients.put(client)
        key, stored = new_key(name, PEPPER, expires_at)
        await self.books.clients.add_key(stored)
        return {"Authorization": f"Bearer {key}"}

    async def get(self, path: str = "/things/aa", /, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={**self.auth, **{k.replace("_", "-"): v for k, v in headers.items()}})

    async def post(self, body: Any = None, /, path: str = "/things", *, key: str | None = "k1", **headers: str) -> httpx.Response:
        fields = {**self.auth, **({} if key is None else {"Idempotency-Key": key}), "Content-Type": "application/json"}
        fields.update({k.replace("_", "-"): v for k, v in headers.items()})
        content = body if isinstance(body, bytes) else b'{"reason":"r"}' if body is None else httpx.Request("POST", "/", json=body).content
        return await self.http.post(path, content=content, headers=fields)


def endpoints(bench: Callable[[], Bench]) -> list[AnyEndpoint]:
    async def handle(ask: Ask[Any, Any], services: Any) -> Outcome:
        it = bench()
        it.runs += 1
        it.asks.append(ask)
        return await it.handle(ask, it.runs)

    async def change(ask: Ask[Any, Any], services: Any) -> Outcome:
        require_version(versions(ask.if_match), bench().runs)
        return await handle(ask, services)

    common: dict[str, Any] = {"summary": "", "answer": Thing, "parameters": NoParameters}
    keyed: dict[str, Any] = {**common, "path_parameters": {"key": Key}, "conditional": True}
    twin: AnyEndpoint = Endpoint(
        method="GET", path="/things/{key}", name="get", scope="orders:read", handle=handle, cache=30.0, shared=True, **keyed
    )
    seller = replace(twin, path="/sellers/{key}", name="seller", scope="customers:read", route_class="personal", cache=0.0, shared=False)
    pair = replace(
        twin,
        path="/pairs/{key}",
        name="pair",
        cache=500.0,
        parts=ThingParts,
        expansions=(
            Expansion("twin", twin, lambda ask, answer: Question(NoParameters(), {"key": f"{ask.path['key']}-twin"})),
            Expansion("seller", seller, lambda ask, answer: Question(NoParameters(), {"key": f"{answer.key}-seller"}) if answer else None),
        ),
    )
    return [
        twin,
        seller,
        pair,
        Endpoint(method="GET", path="/things", name="list", scope="orders:read", handle=handle, **{**common, "parameters": PageParameters}),
        Endpoint(
            method="POST",
            path="/things",
            name="make",
            scope="orders:write",
            handle=handle,
            body=Cancellation,
            idempotent_key=True,
            **common,
        ),
        Endpoint(
            method="POST",
            path="/lines",
            name="line",
            scope="orders:write",
            handle=handle,
            body=OrderLineDraft,
            idempotent_key=True,
            **common,
        ),
        Endpoint(
            method="POST",
            path="/things/{key}/change",
            name="change",
            scope="orders:write",
            handle=change,
            body=Thing,
            idempotent_key=True,
            **keyed,
        ),
    ]


LINE = OrderLineDraft(line_number=1, sku="1", quantity=Quantity("1", "EA"), unit_price=Money(1, "EUR", 2), requested_location_id="0001")
QUOTAS = {
    "standard": Quota((Limit("burst", 1000, 1.0),)),
    "small": Quota((Limit("burst", 2, 10.0),)),
    "weighted": Quota((Limit("hourly", 40, 3600.0),), Costs(cached=1, upstream=5, write=10)),
    "tills": Quota((Limit("hourly", 40, 3600.0), Limit("till", 2, 3600.0, per="store"), Limit("writes", 1, 3600.0, routes=("write",)))),
    "anonymous": Quota((Limit("anonymous", 60, 60.0),)),
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with make(tmp_path) as found:
        yield found


class make:  # noqa: N801  # reads as a verb where it is used
    """`most`: requests at once; `trusted`: addresses of proxies."""

    def __init__(
        self,
        folder: Path,
        *,
        most: int = 50,
        max_body: int = 10_000,
        trusted: frozenset[str] = frozenset(),
        body_seconds: float = 10.0,
        brown_outs: Sequence[BrownOut] = (),
        history: VersionHistory = HISTORY,
    ) -> None:
        self.folder, self.most, self.max_body, self.trusted, self.body_seconds = folder, most, max_body, trusted, body_seconds
        self.brown_outs, self.history = brown_outs, history

    async def __aenter__(self) -> Bench:
        self.books = open_store(StoreOptions(url=f"sqlite:///{self.folder}/books.db", source="/test"))
        await self.books.start()
        recorder = Recorder()
        usage = Usage(self.books.usage, lambda: found.now)
        door = Door(
            books=self.books,
            authenticator=Authenticator(self.books, PEPPER),
            quotas=MemoryQuotas(QUOTAS, lambda: round(found.seconds * 1_000_000)),
            history=self.history,
            usage=usage,
            services=None,
            secret=PEPPER,
            max_body=self.max_body,
            deadlines={"GET /things/{key}": 0.2, "GET /pairs/{key}": 0.2},
            freshness={
                "GET /things/{key}": Freshness(max_age=Duration(60), stale_while_revalidate=Duration(90), stale_if_error=Duration(600)),
                "GET /pairs/{key}": Freshness(max_age=Duration(300), stale_if_error=Duration(900)),
            },
            retention_days=7,
            now=lambda: found.now,
            body_seconds=self.body_seconds,
            brown_outs=self.brown_outs,
            denied=lambda *told: found.denied.append(told),
        )
        app = application(endpoints(lambda: found), door, recorder, max_requests=self.most, proxies=Proxies(self.trusted))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("192.0.2.1", 1)), base_url="http://gateway")
        found = Bench(self.http, self.books, app, recorder, usage, {})
        found.auth = await found.client("shop")
        return found

    async def __aexit__(self, *exc: object) -> None:
        await self.http.aclose()
        await self.books.close()
        await asyncio.sleep(0)


@pytest.fixture
def build() -> type[make]:
    return make

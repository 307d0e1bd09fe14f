"""The product as it is run: processes of their own on one store, orders and tills at once, some of them killed; the books agree at the end.

The same story on both sides of the design: one process on SQLite, and three on PostgreSQL with RabbitMQ.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import jsonschema_rs
import msgspec
import pytest

from adapters.broker.driver import RabbitConsumer
from adapters.broker.spec import BrokerOptions, Subscription
from contracts.books import Books, Client
from contracts.events import DATA, Event
from contracts.versions import HISTORY
from gateway.bootstrap import open_books, pepper, trace_folder
from gateway.cli.serving import sandbox_environment
from gateway.edge.asyncapi import document
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from observability import Recorder
from observability.ring import Ring
from sandbox.server import Sandbox
from sandbox.server import start as start_sandbox
from tests.products import ROOT
from tests.unit.adapters.broker.proxy import Proxy, proxied

pytestmark = pytest.mark.slow
T = TypeVar("T")

STORES = tuple(f"{n:04}" for n in range(1, 9))
AT_ONCE = 16
IN_PROGRESS, AWAY = 409, (429, 502, 503, 504)


def estate(folder: Path, events: str) -> Path:
    """The reference estate with another [events] table, quotas that are not reached, and shorter waits for what is tried again."""
    text = (ROOT / "estate.toml").read_text(encoding="utf-8")
    text = re.sub(r'\[events\]\nexchange = "tillgate.events"\n', f"[events]\n{events}\n", text)
    text = re.sub(r"requests = \d+", "requests = 1_000_000", text)
    text = text.replace('mode     = "file"', 'mode     = "file"\nfeed     = { lease = "3s" }')
    text += '\n[orders]\nsettle = "1s"\nretry = "300ms"\n'
    folder.mkdir()
    (folder / "estate.toml").write_text(text, encoding="utf-8")
    for shared in ("contracts", "mappings"):
        (folder / shared).symlink_to(ROOT / shared)
    return folder


@dataclass
class House:
    """One retailer: an estate, a data folder, the legacy systems, and the gateway's processes."""

    folder: Path
    sandbox: Sandbox
    environment: dict[str, str]
    books: Books
    key: str
    http: aiohttp.ClientSession
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    """Of every gateway that was ever started: who shops does not know which of them live."""

    async def start(self, name: str, *command: str) -> None:
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            self.processes[name] = process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "gateway.cli", "--estate", self.folder / "estate", "--data", self.folder / "data"),
                *command,
                cwd=self.folder,
                env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if command[0] != "serve":
            return

        async def listening() -> str | None:
            if process.returncode is not None:
                raise AssertionError(f"{name} ended with {process.returncode}: {log.read_text()[-2000:]}")
            found = re.search(r"listening on (http://\S+)", log.read_text())
            return found and found[1]

        self.bases.append(await until(f"{name} listens", 40, listening))

    def inbox(self) -> list[Path]:
        return list(Path(self.environment["TILLGATE_POS_INBOX"]).glob("[!.]*"))

    async def kill(self, *names: str) -> None:
        """All at once, by SIGKILL."""
        for name in names:
            self.processes[name].kill()
        for name in names:
            await self.processes.pop(name).wait()

    async def stop(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        for name, process in self.processes.items():
            try:
                async with asyncio.timeout(25):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise AssertionError(f"{name} does not stop: {(self.folder / f'{name}.log').read_text()[-2000:]}") from None


@asynccontextmanager
async def house(folder: Path, events: str = 'exchange = "tillgate.events"', **environment: str) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        sandbox = await start_sandbox(folder / "sandbox")
        stack.push_async_callback(sandbox.stop)
        environment = {**sandbox_environment(sandbox.describe()), **environment}
        root = await asyncio.to_thread(estate, folder / "estate", events)
        books = await stack.enter_async_context(open_books(root, folder / "data", environment))
        key, stored = new_key("shop", await pepper(books))
        await books.clients.put(Client(name="shop", channel="web", scopes=tuple(SCOPES), api_version=HISTORY.newest.date))
        await books.clients.add_key(stored)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)))
        built = House(folder, sandbox, environment, books, key, http)
        stack.push_async_callback(built.stop)
        yield built


async def until(what: str, seconds: float, look: Callable[[], Awaitable[T | None]]) -> T:
    end = time.monotonic() + seconds
    while (found := await look()) is None:
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.05)
    return found


# ---- who shops ----------------------------------------------------------------------------------------------------


def pairs(sandbox: Sandbox, count: int) -> list[tuple[str, str]]:
    """Pieces at stores that take euros, with plenty of stock."""
    stores = [s.number for s in sandbox.world.stores if s.number in STORES and s.currency == "EUR"]
    skus = (p.sku for p in sandbox.world.products if p.active and p.unit == "EA")
    found = ((sku, store) for sku in skus for store in stores if sandbox.world.opening_stock(sku, store) >= 40)
    return list(itertools.islice(found, count))


@dataclass
class Shop:
    """A channel's app as it should be: one key per order, the same request again, at any gateway, until one of them has decided."""

    house: House
    goods: Sequence[tuple[str, str]]
    orders: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: Counter[int] = field(default_factory=Counter)
    """Status -> answers."""

    async def place(self, number: int, bases: Sequence[str] = ()) -> str:
        """Answers the order's id."""
        for attempt in itertools.count(number):
            every = bases or self.house.bases
            status, body = await self.ask(every[attempt % len(every)], number)
            self.asked[status] += 1
            if status in (201, 202):
                self.orders[number] = body
                return str(body["id"])
            assert status in (0, IN_PROGRESS, *AWAY), (status, body)
            assert status != IN_PROGRESS or body["code"] == "request_in_progress", body
            assert status not in AWAY or body["code"], "even a refusal is one of ours"
            await asyncio.sleep(0.25)
        raise AssertionError

    async def ask(self, base: str, number: int) -> tuple[int, dict[str, Any]]:
        """Status 0: nobody there, or gone in the middle."""
        sku, store = self.goods[number % len(self.goods)]
        price = {"centAmount": 1000 + number, "currencyCode": "EUR", "fractionDigits": 2}
        line = {"lineNumber": 1, "sku": sku, "quantity": {"value": "1", "unit": "EA"}, "unitPrice": price, "requestedLocationId": store}
        body = {"lines": [line], "purchaseOrderNumber": f"PO-{number}", "customer": {"name": "Erika Mustermann"}}
        headers = {"authorization": f"Bearer {self.house.key}", "idempotency-key": f'"order-{number}"'}
        try:
            async with self.house.http.post(f"{base}/orders", json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError):
            return 0, {}


class Tills:
    """Tills ring up and drop files, in both formats."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._tills = sandbox.tills
        self.written = 0

    def drop(self, transactions: int) -> None:
        for number, store in enumerate(STORES):
            self._tills.random_day(store, transactions)
            while self._tills.pending(store):
                self._tills.write_file(store, "tlog" if number % 2 else "poslog")
                self.written += 1


# ---- what is compared ---------------------------------------------------------------------------------------------


async def at_rest(house: House, files: int, orders: int) -> None:
    """Every file and order is through, and every event told."""

    async def look() -> bool | None:
        records = await house.books.files.list(1000)
        placed = await house.books.orders.all_orders()
        through = len(placed) >= orders and not any(o.pending_write for o in placed)
        return True if through and sum(r.state == "done" for r in records) == files and not await house.books.outbox.depth() else None

    await until("everything is at rest", 75, look)


async def books_agree(house: House, orders: int) -> None:
    """To the unit and the cent: orders with OMS and ERP, sales with the tills."""
    placed = await house.books.orders.all_orders()
    assert Counter(o.order_state for o in placed) == {"confirmed": orders}
    assert sorted(o.purchase_order_number or "" for o in placed) == sorted(f"PO-{n}" for n in range(orders)), "one order per key"
    ours = sorted((o.order_number, o.total_price.amount) for o in placed)
    erp: Any = house.sandbox.erp.books()
    oms: Any = house.sandbox.oms.books()
    assert sorted((o["BSTNK"], Decimal(o["NETWR"])) for o in erp["orders"]) == ours
    assert sorted((o["clientRef"], Decimal(o["total"])) for o in oms["orders"]) == ours
    tills: Any = house.sandbox.tills.books(readable=True)["stores"]
    booked = await house.books.sales.totals()
    theirs = {s: (b["counted"], b["grand"], sum(Decimal(u) for u in b["units"].values())) for s, b in tills.items()}
    assert {s: (t["sales"], t["cents"], Decimal(t["units_milli"]).scaleb(-3)) for s, t in booked.items()} == theirs
    records = await house.books.files.list(1000)
    assert not any(r.repeated or r.conflicts or r.quarantined for r in records), "each file was booked by one process, once"
    assert await asyncio.to_thread(house.inbox) == []


async def story(house: House, orders: int, die: Callable[[], Awaitable[None]]) -> None:
    """Orders and files at once; in the middle of them `die`."""
    shop, tills = Shop(house, pairs(house.sandbox, 40)), Tills(house.sandbox)
    same = await asyncio.gather(*(shop.place(0, [base]) for base in house.bases for _ in range(4)))
    assert len(set(same)) == 1, "one key, one order, whichever gateway was asked"
    numbers = iter(range(1, orders))
    for _ in range(3):
        tills.drop(80)

    async def customer() -> None:
        for number in numbers:
            await shop.place(number)

    async def begun() -> bool | None:
        return True if len(await house.books.files.list(1000)) > 3 else None

    async def third() -> bool | None:
        return True if len(shop.orders) > orders // 3 else None

    await until("files are being booked", 20, begun)
    customers = [asyncio.create_task(customer()) for _ in range(AT_ONCE)]
    try:
        await until("a third of the orders is placed", 60, third)
        await die()
        tills.drop(30)
        async with asyncio.timeout(60):
            await asyncio.gather(*customers)
        await at_rest(house, tills.written, orders)
        await books_agree(house, orders)
    finally:
        for task in customers:
            task.cancel()
        await asyncio.gather(*customers, return_exceptions=True)
    placed = {o.purchase_order_number: o.id for o in await house.books.orders.all_orders()}
    assert {f"PO-{n}": o["id"] for n, o in shop.orders.items()} == placed, "every customer was told of the order that stands"


# ---- who listens --------------------------------------------------------------------------------------------------


class Listener:
    """A consumer that notes everything, and checks it against the published contract."""

    def __init__(self) -> None:
        made = document(HISTORY, HISTORY.newest.date)
        schemas = {"components": made["components"]}
        self._readers = {
            m["name"]: jsonschema_rs.Draft7Validator({**m["payload"], **schemas}) for m in made["components"]["messages"].values()
        }
        self.heard: list[Event] = []

    async def hear(self, event: Event) -> None:
        self.heard.append(event)

    @property
    def once(self) -> dict[tuple[str, str], Event]:
        """As a consumer keeps them: a repeated pair of source and id is dropped."""
        found: dict[tuple[str, str], Event] = {}
        for event in self.heard:
            found.setdefault((event.source, event.id), event)
        return found

    def check(self) -> None:
        """Shapes are as published, and each subject's events come in their order."""
        latest: dict[str, int] = defaultdict(lambda: -1)
        for event in self.once.values():
            self._readers[event.type].validate(msgspec.to_builtins(event))
            msgspec.convert(event.data, DATA[event.type])
            assert int(event.sequence or -1) > latest[event.subject], event.subject
            latest[event.subject] = int(event.sequence or -1)


async def written(dsn: str) -> dict[int, str]:
    """Every event that was ever committed: position -> subject."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select position, subject, kind, turn from outbox")
        assert all(r["turn"] == 3 and r["kind"] != 3 for r in rows)
        return {r["position"]: r["subject"] for r in rows}
    finally:
        await connection.close()


async def test_three_processes_on_postgresql_and_rabbitmq_book_once_tell_all_and_survive_two_deaths(
    tmp_path: Path, fresh_postgres_dsn: str, amqp_url: str
) -> None:
    orders, listener = 200, Listener()
    options = BrokerOptions(url=amqp_url, exchange="scale")
    consumer = RabbitConsumer(options, Subscription(queue="scale.all", prefetch=200), listener.hear, Recorder())
    await consumer.start()
    events = 'exchange = "scale"\nrabbitmq = "env:TILLGATE_AMQP"\nunroutable = "refuse"'
    try:
        async with house(tmp_path, events, TILLGATE_STORE=fresh_postgres_dsn, TILLGATE_AMQP=amqp_url) as here:
            await asyncio.gather(
                here.start("one", "serve", "--port", "0"), here.start("two", "serve", "--port", "0"), here.start("worker", "work")
            )
            await story(here, orders, lambda: here.kill("two", "worker"))
            committed = await written(fresh_postgres_dsn)

            async def all_heard() -> bool | None:
                return True if len(listener.once) >= len(committed) else None

            await until("every event is heard", 10, all_heard)
            tills: Any = here.sandbox.tills.books(readable=True)["stores"]
            placed = await here.books.orders.all_orders()
            await traces_are_whole(here, writers=3)
    finally:
        await consumer.close()
    listener.check()
    assert {int(e.sequence or 0): e.subject for e in listener.once.values()} == committed
    told = Counter(e.type.removeprefix("io.tillgate.") for e in listener.once.values())
    assert told["sale.committed.v1"] == sum(b["counted"] for b in tills.values())
    assert {e.subject for e in listener.once.values() if e.type.endswith("order.accepted.v1")} == {f"orders/{o.id}" for o in placed}
    assert told["order.state_changed.v1"] == orders
    moved: dict[str, Decimal] = defaultdict(Decimal)
    for event in listener.once.values():
        if event.type.endswith("inventory.changed.v1"):
            moved[event.data["locationId"]] -= Decimal(event.data["change"]["value"])
    assert moved == {s: sum(Decimal(u) for u in b["units"].values()) for s, b in tills.items()}


async def test_one_process_on_sqlite_books_once_and_survives_its_death(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.start("one", "serve", "--port", "0")

        async def die() -> None:
            await here.kill("one")
            await here.start("again", "serve", "--port", "0")

        await story(here, 60, die)
        await traces_are_whole(here, writers=2)


async def test_orders_are_refused_while_the_store_is_away_events_wait_while_the_broker_is_away_and_nothing_is_lost(
    tmp_path: Path, fresh_postgres_dsn: str, amqp_url: str
) -> None:
    listener = Listener()
    consumer = RabbitConsumer(BrokerOptions(url=amqp_url, exchange="away"), Subscription(queue="away.all"), listener.hear, Recorder())
    await consumer.start()
    events = 'exchange = "away"\nrabbitmq = "env:TILLGATE_AMQP"'
    try:
        async with proxied(fresh_postgres_dsn) as store, proxied(amqp_url) as broker:
            through = urlsplit(fresh_postgres_dsn)._replace(netloc=f"tillgate@127.0.0.1:{urlsplit(store.url).port}").geturl()
            async with house(tmp_path, events, TILLGATE_STORE=through, TILLGATE_AMQP=broker.url) as here:
                await here.start("one", "serve", "--port", "0")
                shop, tills = Shop(here, pairs(here.sandbox, 40)), Tills(here.sandbox)
                tills.drop(60)
                caught = [asyncio.create_task(shop.place(n)) for n in range(8)]
                await asyncio.sleep(0.1)
                _away(store)
                status, body = await shop.ask(here.bases[0], 8)
                assert (status, body["code"], body["retryable"]) == (503, "store_unavailable", True)
                tills.drop(20)
                waiting = [asyncio.create_task(shop.place(n)) for n in range(8, 30)]
                await asyncio.sleep(2)
                assert not any(c.done() for c in waiting)
                await store.listen()
                async with asyncio.timeout(20):
                    await asyncio.gather(*waiting)
                await at_rest(here, tills.written, 22)

                _away(broker)
                began = time.monotonic()
                await asyncio.gather(*(shop.place(n) for n in range(30, 50)))
                assert time.monotonic() - began < 10, "no customer waits for the broker"
                assert await here.books.outbox.depth() >= 20
                await broker.listen()
                async with asyncio.timeout(30):  # those whose request was cut off in the middle are told to wait until its time is over
                    await asyncio.gather(*caught)
                await at_rest(here, tills.written, 50)
                await books_agree(here, 50)
                committed = await written(fresh_postgres_dsn)
    finally:
        await consumer.close()
    listener.check()
    assert {int(e.sequence or 0): e.subject for e in listener.once.values()} == committed


def _away(server: Proxy) -> None:
    """As when it is stopped: connections end, and new ones are refused."""
    server.refuse()
    server.cut()


async def traces_are_whole(house: House, writers: int) -> None:
    """All processes remember in one folder, each in files of its own."""
    folder = trace_folder(house.folder / "data")
    assert len(list(folder.glob("*.flights"))) >= writers
    ring = Ring(folder)
    recent = await ring.recent(500)
    assert recent
    assert await ring.trace(recent[0].trace_id)
    await ring.close()
    assert ring.unreadable == 0

"""kill -9 of the gateway, again and again, while orders are placed and tills drop files: afterwards all books agree."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.books import Books, Client
from contracts.versions import HISTORY
from gateway.bootstrap import open_books, pepper
from gateway.cli.serving import sandbox, sandbox_environment
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from sandbox.world import World
from tests.products import ROOT

KILLS = 30
SEED = 20261122
SHOPPERS = 6
WORLD = World(1)
STORES = [s.number for s in WORLD.locations[:40] if s.currency == "EUR" and s.kind == "store" and not s.closed]
GOODS = [sku for sku in WORLD.skus[:400] if WORLD.product(sku).unit == "EA"]  # type: ignore[union-attr]  # its own numbers


def estate(folder: Path) -> Path:
    """The reference estate with short waits and no quotas that shoppers reach."""
    folder.mkdir()
    text = (ROOT / "estate.toml").read_text(encoding="utf-8")
    text = text.replace("requests = 100,", "requests = 100000,").replace("requests = 3000,", "requests = 1000000,")
    (folder / "estate.toml").write_text(text + '\n[orders]\nsettle = "1s"\nretry = "500ms"\nretry_max = "2s"\n', encoding="utf-8")
    for shared in ("contracts", "mappings"):
        (folder / shared).symlink_to(ROOT / shared)
    return folder


@dataclass
class Gateway:
    """`tillgate serve` as a process, to be killed and started again on the same port and data."""

    estate: Path
    data: Path
    environment: dict[str, str]
    port: int
    process: asyncio.subprocess.Process | None = None
    starts: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> "asyncio.Future[None]":
        """The answer is done when it listens."""
        began = time.monotonic()
        command = [sys.executable, "-m", "gateway.cli", "--estate", str(self.estate), "--data", str(self.data)]
        self.process = await asyncio.create_subprocess_exec(
            *command, "serve", "--port", str(self.port), env=self.environment, cwd=ROOT, stdout=2, stderr=asyncio.subprocess.PIPE
        )
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(self.process, ready, began))
        return ready

    async def _read(self, process: asyncio.subprocess.Process, ready: "asyncio.Future[None]", began: float) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            if b"listening on" in line and not ready.done():
                self.starts.append(time.monotonic() - began)
                ready.set_result(None)
            else:
                self.said = [*self.said[-200:], line.decode(errors="replace").rstrip()]
        if not ready.done():
            ready.set_result(None)  # killed before it listened

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        await self.process.wait()
        assert self._reading is not None
        await self._reading


@dataclass
class Town:
    """Shoppers and tills, and what they were told."""

    http: httpx.AsyncClient
    control: httpx.AsyncClient
    key: str
    chance: random.Random
    answers: dict[str, httpx.Response] = field(default_factory=dict)
    """Final answer per key."""
    cancelled: set[str] = field(default_factory=set)
    repeats: int = 0
    files: int = 0
    open: bool = True

    async def final(self, path: str, body: dict[str, Any], key: str) -> httpx.Response:
        """Repeats under the same key until somebody says something final."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        while True:
            with suppress(httpx.TransportError):
                answer = await self.http.post(path, json=body, headers=headers)
                if answer.status_code < 500 and answer.status_code != 429 and answer.json().get("code") != "request_in_progress":
                    return answer
            self.repeats += 1
            await asyncio.sleep(self.chance.uniform(0.1, 0.3))

    async def shop(self, who: int) -> None:
        for n in range(100_000):
            if not self.open:
                return
            sku, store, cents = self.chance.choice(GOODS), self.chance.choice(STORES), self.chance.randint(1, 9999)
            lines = [
                {
                    "lineNumber": i,
                    "sku": sku,
                    "quantity": {"value": str(self.chance.randint(1, 2)), "unit": "EA"},
                    "unitPrice": {"centAmount": cents + i, "currencyCode": "EUR", "fractionDigits": 2},
                    "requestedLocationId": store,
                }
                for i in range(1, self.chance.randint(2, 3))
            ]
            key = f"shopper-{who}-{n}"
            answer = self.answers[key] = await self.final("/orders", {"lines": lines}, key)
            if answer.status_code == 201 and self.chance.random() < 0.2:
                gone = await self.final(f"/orders/{answer.json()['id']}/cancel", {"reason": "changed my mind"}, f"{key}-cancel")
                if gone.status_code in (200, 202):
                    self.cancelled.add(answer.json()["id"])
            await asyncio.sleep(0.05)

    async def trade(self) -> None:
        """Tills ring up and drop files, some of them damaged."""
        while self.open:
            store = self.chance.choice(STORES)
            await self.visit("/pos/random-day", {"store": store, "transactions": self.chance.randint(5, 40)})
            damage = {"damage": "bad_line"} if self.chance.random() < 0.15 else {}
            await self.visit("/pos/write", {"store": store, **damage})
            self.files += 1
            await asyncio.sleep(0.4)

    async def visit(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await (self.control.get(path) if body is None else self.control.post(path, json=body))
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[tuple[Town, Gateway, Path]]:
    place, data = estate(folder / "estate"), folder / "data"
    async with sandbox(folder / "sandbox") as found:
        environment = {**os.environ, **sandbox_environment(found), "PYTHONPATH": str(ROOT)}
        async with open_books(place, data, environment) as books:
            shopper = Client(name="shopper", channel="web", scopes=tuple(SCOPES), api_version=HISTORY.newest.date)
            await books.clients.put(shopper)
            key, stored = new_key(shopper.name, await pepper(books))
            await books.clients.add_key(stored)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        gateway = Gateway(place, data, environment, port)
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
            httpx.AsyncClient(base_url=found["control"], timeout=20) as control,
        ):
            try:
                yield Town(http, control, key, random.Random(SEED)), gateway, Path(found["pos"]["inbox"])
            finally:
                if gateway.process is not None and gateway.process.returncode is None:
                    await gateway.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_after_thirty_kills_among_orders_and_till_files_all_books_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    async with town(tmp_path) as (people, gateway, inbox):
        at = random.Random(SEED)
        await (await gateway.start())
        shoppers = [asyncio.create_task(people.shop(n)) for n in range(SHOPPERS)]
        trading = asyncio.create_task(people.trade())
        for n in range(KILLS):
            await asyncio.sleep(at.uniform(0.02, 0.7))
            await gateway.kill()
            ready = await gateway.start()
            if n % 3 == 2:  # some do not live to listen
                await asyncio.wait({ready}, timeout=at.uniform(0.1, 1.5))
            else:
                await ready
        await ready
        killed = time.monotonic() - began
        people.open = False
        async with asyncio.timeout(60):
            await asyncio.gather(*shoppers, trading)
        async with open_books(gateway.estate, gateway.data, gateway.environment) as books:
            await drained(books, inbox, 60)
            healed = time.monotonic() - began
            assert gateway.process is not None
            assert gateway.process.returncode is None, gateway.said
            states = await orders_agree(people, books)
            booked = await sales_agree(people, books)
        await gateway.kill(signal.SIGTERM)
    starts = sorted(gateway.starts)
    with capsys.disabled():
        print(  # noqa: T201  # figures for whoever watches the run
            f"\n{KILLS} kills in {killed:.0f} s, agreed {healed - killed:.0f} s later: {sum(states.values())} orders {dict(states)}, "
            f"{people.repeats} repeats; {people.files} files, {booked} sales; start {starts[0]:.1f} to {starts[-1]:.1f} s"
        )


async def drained(books: Books, inbox: Path, seconds: float) -> None:
    """Until no order is open, no file waits or is claimed, and every event is out."""
    end = time.monotonic() + seconds
    while True:
        open_ = await books.orders.processes(("running", "waiting", "compensating"), 1000)
        claimed = await books.files.list(1000, "claimed")
        waiting = await asyncio.to_thread(files_in, inbox)
        depth = await books.outbox.depth()
        if not (open_ or claimed or waiting or depth):
            return
        assert time.monotonic() < end, f"open {open_[:3]}, claimed {claimed[:3]}, waiting {waiting[:5]}, {depth} events"
        await asyncio.sleep(0.2)


def files_in(inbox: Path) -> list[str]:
    return [p.name for p in inbox.iterdir() if p.is_file() and not p.name.startswith(".")]


async def orders_agree(people: Town, books: Books) -> Counter[str]:
    """Every accepted order once in both systems with its total, every cancelled one nowhere, and nothing that we don't know."""
    ours = await books.orders.all_orders()
    by_id = {o.id: o for o in ours}
    assert not await books.orders.processes(("manual",), 10)
    assert not [o for o in ours if o.pending_write]
    assert {a.status_code for a in people.answers.values()} <= {201, 202, 409}, {
        a.text for a in people.answers.values() if a.status_code > 409
    }
    told = Counter(a.json()["id"] for a in people.answers.values() if a.status_code in (201, 202))
    assert set(told.values()) == {1}  # a key of its own for each order, an order of its own for each key
    refused = sum(a.status_code == 409 for a in people.answers.values())
    assert len(ours) == len(told) + refused
    standing = {o.order_number: o.total_price.amount for o in ours if o.order_state == "confirmed"}
    assert {by_id[i].order_state for i in told if i not in people.cancelled} <= {"confirmed", "cancelled"}
    assert {by_id[i].order_state for i in people.cancelled} <= {"cancelled"}
    oms, erp = await people.visit("/books/oms"), await people.visit("/books/erp")
    in_oms = [(o["clientRef"], Decimal(o["total"])) for o in oms["orders"] if o["state"] != "CANCELLED"]
    in_erp = [(o["BSTNK"], Decimal(o["NETWR"])) for o in erp["orders"] if o["GBSTK"] != "C"]
    assert sorted(in_oms) == sorted(standing.items())
    assert sorted(in_erp) == sorted(standing.items())
    known = {o.order_number for o in ours}
    assert {o["clientRef"] for o in oms["orders"]} <= known
    assert {o["BSTNK"] for o in erp["orders"]} <= known
    for order in ours:
        held = {r.state for r in await books.reservations.of_owner("order", order.id)}
        assert held <= ({"committed"} if order.order_state == "confirmed" else {"released", "committed"}), (order.id, held)
    return Counter(o.order_state for o in ours)


async def sales_agree(people: Town, books: Books) -> int:
    """Every transaction that could be read from a file is booked once: count, cents and units per store."""
    tills = (await people.visit("/books/pos?readable=1&detail=0"))["stores"]
    ours = await books.sales.totals()
    wanted = {s: (b["counted"], b["grand"], sum(map(Decimal, b["units"].values()))) for s, b in tills.items()}
    found = {s: (t["sales"], t["cents"], Decimal(t["units_milli"]).scaleb(-3)) for s, t in ours.items()}
    assert found == wanted, json.dumps({"wanted": wanted, "found": found}, default=str)
    return sum(n for n, _, _ in wanted.values())

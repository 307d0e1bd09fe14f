"""Writes sent twice at once, to any of four gateways on one PostgreSQL, while gateways are killed: one effect and one answer each."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import msgspec
import pytest

from sandbox.faults import Rule
from tests.flows.test_scale import House, house, pairs, until

pytestmark = pytest.mark.slow

GATEWAYS = 4
AT_ONCE = 24
"""Pairs that race at the same time."""
UNDECIDED = (0, 429, 502, 503, 504)
SEED = 7


class Told(NamedTuple):
    """What a caller was told in the end."""

    status: int
    body: bytes
    code: str
    """Of a problem. Each attempt has a trace of its own; its document is stored with that of the attempt which decided."""


@dataclass
class Crowd:
    """Clients that repeat a request with its key, at any gateway that they know of, until it is decided."""

    here: House
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    gateways: dict[str, str] = field(default_factory=dict)
    """Name -> address; one that was killed stays until another takes its name."""
    asked: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    sent: dict[str, tuple[str, Any, Mapping[str, str]]] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)

    async def open(self, name: str) -> None:
        await self.here.start(name, "serve", "--port", "0")
        log = (self.here.folder / f"{name}.log").read_text()
        self.gateways[name] = re.findall(r"listening on (http://\S+)", log)[-1]

    async def kill_some(self, names: Sequence[str]) -> None:
        """One of them after the other, for ever; the next only when its successor listens."""
        while True:
            await asyncio.sleep(self.chance.uniform(0.1, 1.0))
            name = self.chance.choice(names)
            await self.here.kill(name)
            self.kills += 1
            await self.open(name)

    async def once(self, key: str, path: str, body: Any, **headers: str) -> tuple[Told, bool]:
        """One attempt, at any gateway; status 0: nobody there, or gone in the middle. Also whether it was a replay."""
        base = self.chance.choice(list(self.gateways.values()))
        fields = {"authorization": f"Bearer {self.here.key}", "idempotency-key": f'"{key}"', **headers}
        try:
            async with self.here.http.post(base + path, json=body, headers=fields) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return Told(0, b"", ""), False
        code = msgspec.json.decode(content).get("code", "") if answer.status >= 400 else ""
        replayed = "idempotency-replayed" in answer.headers
        assert replayed or answer.status >= 500 or "idempotency-retention" in answer.headers, answer.headers
        if code == "request_in_progress":
            assert int(answer.headers["retry-after"]) >= 1
        return Told(answer.status, content, code), replayed

    async def speak(self, key: str, path: str, body: Any, **headers: str) -> Told:
        while True:
            told, replayed = await self.once(key, path, body, **headers)
            undecided = told.status in UNDECIDED or told.code == "request_in_progress"
            self.asked["replayed" if replayed else told.code or str(told.status)] += 1
            if not undecided:
                return told
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    async def pair(self, key: str, path: str, body: Any, **headers: str) -> Told:
        """Two at once, each at any gateway. Both are told the same, to the byte."""
        one, two = await asyncio.gather(*(self.speak(key, path, body, **headers) for _ in range(2)))
        assert one == two, (key, one, two)
        self.sent[key], self.told[key] = (path, body, headers), one
        return one


def order(number: int, sku: str, store: str, quantity: str = "1") -> dict[str, Any]:
    price = {"centAmount": 1000 + number, "currencyCode": "EUR", "fractionDigits": 2}
    line = {"lineNumber": 1, "sku": sku, "quantity": {"value": quantity, "unit": "EA"}, "unitPrice": price, "requestedLocationId": store}
    return {"lines": [line], "purchaseOrderNumber": f"PO-{number}"}


def hold(number: int, sku: str, store: str) -> dict[str, Any]:
    owner = {"type": "cart", "id": f"cart-{number}"}
    return {"reservationKey": f"hold-{number}", "sku": sku, "locationId": store, "quantity": {"value": "1", "unit": "EA"}, "owner": owner}


@dataclass
class Wanted:
    """What must be in the books in the end."""

    orders: dict[str, str] = field(default_factory=dict)
    """Purchase order number -> state."""
    events: Counter[str] = field(default_factory=Counter)
    """Subject -> how many: one for each thing that happened."""


async def duplicate(crowd: Crowd, number: int, sku: str, store: str, wanted: Wanted) -> None:
    """One write of a kind that `number` chooses, each a duplicate pair; what comes before it is sent once."""
    kind = number % 10
    if kind < 6:
        told = await crowd.pair(f"order-{number}", "/orders", order(number, sku, store))
        assert told.status in (201, 202), told
        wanted.orders[f"PO-{number}"] = "confirmed"
    elif kind == 6:  # refused for good, and stored
        told = await crowd.pair(f"order-{number}", "/orders", order(number, sku, store, "900000"))
        assert (told.status, told.code) == (409, "insufficient_stock"), told
        wanted.orders[f"PO-{number}"] = "cancelled"
    elif kind == 7:
        told = await crowd.pair(f"hold-{number}", "/reservations", hold(number, sku, store))
        assert told.status == 201, told
        wanted.events[f"reservations/hold-{number}"] = 1
    elif kind == 8:
        await crowd.speak(f"hold-{number}", "/reservations", hold(number, sku, store))
        told = await crowd.pair(f"release-{number}", f"/reservations/hold-{number}/release", {"reason": "gone"}, **{"if-match": '"v1"'})
        assert (told.status, msgspec.json.decode(told.body)["version"]) == (200, 2), told
        wanted.events[f"reservations/hold-{number}"] = 2
    else:
        placed = await crowd.speak(f"order-{number}", "/orders", order(number, sku, store))
        ours = msgspec.json.decode(placed.body)["id"]
        await until(f"order {number} is through", 90, lambda: settled(crowd.here, ours))
        told = await crowd.pair(f"cancel-{number}", f"/orders/{ours}/cancel", {"reason": "changed my mind"})
        assert told.status in (200, 202), told
        wanted.orders[f"PO-{number}"] = "cancelled"


async def settled(here: House, order_id: str) -> bool | None:
    stands = await here.books.orders.get(order_id)
    return True if stands is not None and not stands.pending_write else None


async def one_effect_each(here: House, dsn: str, wanted: Wanted) -> None:
    async def at_rest() -> bool | None:
        placed = await here.books.orders.all_orders()
        return True if not any(o.pending_write for o in placed) else None

    await until("every order is at rest", 120, at_rest)
    placed = await here.books.orders.all_orders()
    assert Counter(o.purchase_order_number for o in placed) == Counter(list(wanted.orders)), "one order per key"
    assert {o.purchase_order_number: o.order_state for o in placed} == wanted.orders
    assert not await here.books.orders.processes(("manual",), 10), "nothing is left to a person"
    standing = sorted(o.order_number for o in placed if o.order_state == "confirmed")
    known = {o.order_number for o in placed}
    oms: Any = here.sandbox.oms.books()
    erp: Any = here.sandbox.erp.books()
    in_oms, in_erp = [(o["clientRef"], o["state"]) for o in oms["orders"]], [(o["BSTNK"], o["GBSTK"]) for o in erp["orders"]]
    assert sorted(n for n, state in in_oms if state != "CANCELLED") == standing
    assert sorted(n for n, state in in_erp if state != "C") == standing
    for refs in ([n for n, _ in in_oms], [n for n, _ in in_erp]):
        assert set(refs) <= known
        assert max(Counter(refs).values()) == 1, "each was sent there once"
    connection = await asyncpg.connect(dsn)
    try:
        told = Counter({r["subject"]: r["n"] for r in await connection.fetch("select subject, count(*) n from outbox group by subject")})
        open_keys = await connection.fetchval("select count(*) from idempotency where answer is null")
    finally:
        await connection.close()
    assert {s: n for s, n in told.items() if s.startswith("reservations/")} == wanted.events
    changes = {"confirmed": 2, "cancelled": 3}  # accepted, confirmed, cancelled
    refused = {o.id for o in placed if o.lines[0].quantity.amount > 1}
    assert {s: n for s, n in told.items() if s.startswith("orders/")} == {
        f"orders/{o.id}": 2 if o.id in refused else changes[o.order_state] for o in placed
    }
    assert open_keys == 0, "each key has its answer"


async def remembered(crowd: Crowd, sample: int) -> None:
    """By gateways that were not there: every key keeps its answer, and belongs to its request."""
    for name in list(crowd.here.processes):
        await crowd.here.kill(name)
    crowd.gateways.clear()
    await crowd.open("last")
    for key in crowd.chance.sample(sorted(crowd.told), sample):
        path, body, headers = crowd.sent[key]
        assert await crowd.once(key, path, body, **headers) == (crowd.told[key], True)
        more = {"reason": "another"} if "reason" in body else {"purchaseOrderNumber": "x"} if "lines" in body else {"holdSeconds": 77}
        other, _ = await crowd.once(key, path, {**body, **more}, **headers)
        assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_duplicate_writes_racing_over_four_processes_that_are_killed_have_one_effect_and_one_answer(
    tmp_path: Path, fresh_postgres_dsn: str, deep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    count, began = (1000 if deep else 60), time.monotonic()
    async with house(tmp_path, TILLGATE_STORE=fresh_postgres_dsn) as here:
        written = here.folder / "estate" / "estate.toml"
        text = written.read_text()
        assert 'deadline     = "15s"' in text
        written.write_text(
            text.replace('deadline     = "15s"', 'deadline     = "4s"')
        )  # a key whose gateway died is free after the deadline and three seconds
        crowd, wanted = Crowd(here), Wanted()
        await asyncio.gather(*(crowd.open(f"gateway-{n}") for n in range(GATEWAYS)))
        here.sandbox.faults.add(
            Rule(system="oms", operation="createOrder", kind="lost_answer", share=0.05),
            Rule(system="erp", operation="CreateSalesOrder", kind="lost_answer", share=0.05),
        )
        goods, numbers = itertools.cycle(pairs(here.sandbox, 60)), iter(range(count))

        async def pairs_in_a_row() -> None:
            for number in numbers:
                await duplicate(crowd, number, *next(goods), wanted)

        names = sorted(crowd.gateways)
        killing = asyncio.gather(crowd.kill_some(names[:2]), crowd.kill_some(names[2:]))  # two of four are away most of the time
        try:
            async with asyncio.timeout(1200 if deep else 150), asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(pairs_in_a_row())
        finally:
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing
        raced = time.monotonic() - began
        here.sandbox.faults.clear()
        for name in [n for n in crowd.gateways if n not in here.processes]:
            await crowd.open(name)  # whom the last kill left without a successor
        await one_effect_each(here, fresh_postgres_dsn, wanted)
        await remembered(crowd, min(count, 50))
    with capsys.disabled():
        print(  # noqa: T201  # figures for whoever watches the run
            f"\n{count} duplicate pairs over {GATEWAYS} processes in {raced:.0f} s, {crowd.kills} kills, answers {dict(crowd.asked)}, "
            f"{dict(Counter(wanted.orders.values()))} orders, {len(wanted.events)} reservations: one effect each"
        )

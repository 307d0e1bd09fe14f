"""Callers that go away, on real sockets: what nobody waits for ends, what somebody waits for goes on, what changes something is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from contracts.policy import Duration
from gateway.bootstrap import Product
from gateway.estate import Estate
from sandbox.faults import Rule
from tests.products import CUSTOMER, LOCATION, SKU, Live, no_limits, running

pytestmark = [pytest.mark.slow, pytest.mark.alone]

STOCK = f"/inventory?sku={SKU}&location={LOCATION}"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, change=no_limits) as found:
        yield found


@pytest.fixture(autouse=True)
async def hung_up() -> AsyncIterator[None]:
    yield
    while Caller.all:
        Caller.all.pop().go()


class Caller:
    """One connection with one request under way."""

    all: ClassVar[list[Caller]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.all.append(self)

    async def head(self) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def status(self) -> int:
        return int((await self.head()).split()[1])

    def go(self) -> None:
        self.writer.transport.abort()


async def ask(live: Live, path: str = STOCK, *, method: str = "GET", body: object = None, key: str = "k", times: int = 1) -> Caller:
    """`times`: the request is sent so often at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
    content = b"" if body is None else json.dumps(body).encode()
    more = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nIdempotency-Key: {key}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {live.keys['web']}\r\n{more}\r\n"
    writer.write((head.encode() + content) * times)
    await writer.drain()
    return Caller(reader, writer)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what is watched is in the product, which announces nothing
            await asyncio.sleep(0.005)


def in_flight(product: Product, operation: str) -> int:
    return sum(o.guard.state().in_flight for o in product.systems.operations if o.name == operation)


def failures(product: Product, operation: str) -> float:
    return sum(o.guard.state().failure_rate for o in product.systems.operations if o.name == operation)


def cancelled(live: Live, route: str) -> int:
    return sum(cell.cancelled for key, cell in live.product.recorder.snapshot().routes.items() if key.route == route)


async def test_of_a_hundred_that_wait_for_one_call_ninety_nine_may_go_and_the_last_gets_its_answer(live: Live) -> None:
    live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="GetStock"))
    callers = [await ask(live) for _ in range(100)]
    await until(lambda: len(live.product.recorder.open_flights) == 100 and in_flight(live.product, "GetStock") == 1)
    for caller in callers[:99]:
        caller.go()
    await until(lambda: cancelled(live, "GET /inventory") == 99)
    assert (in_flight(live.product, "GetStock"), live.sandbox.erp.calls["GetStock"]) == (1, 1), "one still waits for the one call"
    live.sandbox.faults.clear()
    assert await callers[99].status() == 200


async def test_when_the_last_one_goes_the_call_ends_and_the_system_is_not_blamed(live: Live) -> None:
    live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="GetStock"))
    callers = [await ask(live) for _ in range(5)]
    await until(lambda: in_flight(live.product, "GetStock") == 1)
    for caller in callers:
        caller.go()
    await until(lambda: in_flight(live.product, "GetStock") == 0)
    await until(lambda: cancelled(live, "GET /inventory") == 5 and not live.product.recorder.open_flights)
    assert failures(live.product, "GetStock") == 0
    live.sandbox.faults.clear()
    assert await (await ask(live)).status() == 200, "nothing of it is left over"


async def test_a_batch_goes_on_for_the_keys_that_are_still_wanted(live: Live) -> None:
    skus = [f"1000000{n}" for n in range(1, 7)]
    live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="GetStock"))
    callers = await asyncio.gather(*(ask(live, f"/inventory?sku={sku}&location={LOCATION}") for sku in skus))
    await until(lambda: len(live.product.recorder.open_flights) == 6 and in_flight(live.product, "GetStock") > 0)
    for caller in callers[:-1]:
        caller.go()
    await until(lambda: cancelled(live, "GET /inventory") == 5)
    assert in_flight(live.product, "GetStock") == 1, "only the call that carries the last one's key"
    callers[-1].go()
    await until(lambda: in_flight(live.product, "GetStock") == 0)


async def test_one_of_two_systems_that_were_asked_in_turn_is_let_go(live: Live) -> None:
    live.sandbox.faults.add(Rule(system="oms", kind="hang", operation="getCustomer"))
    caller = await ask(live, f"/customers/{CUSTOMER}")
    await until(lambda: in_flight(live.product, "getCustomer") == 1)
    caller.go()
    await until(lambda: in_flight(live.product, "getCustomer") == 0)
    assert live.sandbox.erp.calls["GetCustomer"] == 0, "nobody is left to ask the other one for"


async def test_an_order_whose_caller_goes_is_placed_and_its_repeat_finds_it(live: Live) -> None:
    line = {
        "lineNumber": 1,
        "sku": SKU,
        "quantity": {"value": "1", "unit": "EA"},
        "unitPrice": {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2},
        "requestedLocationId": LOCATION,
    }
    live.sandbox.faults.add(Rule(system="oms", kind="slow", operation="createOrder", seconds=0.5))
    caller = await ask(live, "/orders", method="POST", body={"lines": [line]}, key="gone")
    await until(lambda: in_flight(live.product, "createOrder") == 1)
    caller.go()
    await until(lambda: not live.product.recorder.open_flights)
    assert cancelled(live, "POST /orders") == 0
    repeat = await (await ask(live, "/orders", method="POST", body={"lines": [line]}, key="gone")).head()
    assert repeat.startswith(b"HTTP/1.1 201 ")
    assert b"idempotency-replayed: true" in repeat
    assert live.sandbox.oms.calls["createOrder"] == 1


async def test_of_a_pipeline_whose_caller_goes_the_one_at_work_ends_and_the_others_never_begin(live: Live) -> None:
    live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="GetStock"))
    caller = await ask(live, times=5)
    await until(lambda: in_flight(live.product, "GetStock") == 1)
    caller.go()
    await until(lambda: in_flight(live.product, "GetStock") == 0)
    await until(lambda: not live.product.recorder.open_flights)
    assert cancelled(live, "GET /inventory") == 1


async def test_what_was_slow_when_its_caller_went_counts_as_slow(tmp_path: Path) -> None:
    def strict(estate: Estate) -> Estate:
        stock = estate.operation["erp.GetStock"]
        breaker = msgspec.structs.replace(stock.policy.breaker, slow_call=Duration(0.05), minimum_calls=2)
        policy = msgspec.structs.replace(stock.policy, breaker=breaker)
        return msgspec.structs.replace(
            no_limits(estate), operation={**estate.operation, "erp.GetStock": msgspec.structs.replace(stock, policy=policy)}
        )

    async with running(tmp_path, change=strict) as live:
        live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="GetStock"))
        for _ in range(2):
            caller = await ask(live)
            await until(lambda: in_flight(live.product, "GetStock") == 1)
            await asyncio.sleep(0.1)
            caller.go()
            await until(lambda: in_flight(live.product, "GetStock") == 0)
        state = next(o.guard.state() for o in live.product.systems.operations if o.name == "GetStock")
        assert state.breaker == "open"
        assert "slow" in state.reason

"""More than there is room for, while an operation hangs: what matters is answered, the rest is told so at once, nothing grows."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import count
from pathlib import Path

import msgspec
import pytest

from contracts.call import Priority
from gateway.estate import Estate
from sandbox.faults import Rule
from tests.products import CUSTOMER, LOCATION, SKU, Live, no_limits, running

pytestmark = [pytest.mark.slow, pytest.mark.alone]

PLACES, LINE, STORM = 40, 20, 150


def small(estate: Estate) -> Estate:
    """Little room, and staff who read customers come first."""
    edge = msgspec.structs.replace(estate.edge, max_requests=PLACES, max_waiting=LINE)
    customer = msgspec.structs.replace(estate.route["GET /customers/{number}"], priority="critical")
    return msgspec.structs.replace(no_limits(estate), edge=edge, route={**estate.route, "GET /customers/{number}": customer})


class Caller:
    """Asks again and again on one connection, and remembers what came."""

    def __init__(self, live: Live, who: str) -> None:
        self.port, self.key = int(live.base.rpartition(":")[2]), live.keys[who]
        self.told = Counter[int]()
        self.refusals: list[tuple[int, dict[str, object]]] = []
        """Retry-After and document."""

    async def ask(self, paths: list[str], request: bytes = b"GET %s HTTP/1.1\r\n%s\r\n") -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for path in paths:
                writer.write(request % (path.encode(), f"Host: x\r\nAuthorization: Bearer {self.key}\r\n".encode()))
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                body = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
                self.told[status := int(head.split()[1])] += 1
                if status == 503:
                    self.refusals.append((int(head.partition("retry-after: ")[2].split()[0]), json.loads(body)))
        finally:
            writer.close()


async def test_a_storm_on_an_operation_that_hangs_leaves_room_for_what_matters(tmp_path: Path) -> None:
    numbers = count(1)

    def prices(times: int) -> list[str]:
        return [f"/prices?sku={10_000_000 + (n := next(numbers)) % 900 + 1}&location={n % 90 + 1:04}" for _ in range(times)]

    async with running(tmp_path, change=small) as live:
        pressure = live.product.pressure
        staff = Caller(live, "call_centre")
        await staff.ask([f"/customers/{CUSTOMER}"] * 3)
        live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="GetPrices"))
        before = len(asyncio.all_tasks())
        bots, shoppers = Caller(live, "marketplace"), Caller(live, "web")
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, pressure.held + pressure.waiting)
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        storm = [asyncio.create_task(caller.ask(prices(4))) for caller in (bots, shoppers) for _ in range(STORM)]
        await asyncio.sleep(0.3)
        await asyncio.gather(*(staff.ask([f"/customers/{CUSTOMER}", f"/customers/{CUSTOMER}"]) for _ in range(5)))
        for n in range(3):
            placed = await live.http.post("/orders", json=order(), headers={**live.auth("marketplace"), "Idempotency-Key": f"k{n}"})
            assert placed.status_code in (201, 202), placed.text
        for task in storm:
            task.cancel()
        await asyncio.gather(*storm, return_exceptions=True)
        watching.cancel()
        assert staff.told == {200: 13}, "every one of them"
        assert most <= PLACES + LINE, "what is under way and in line is bounded"
        assert bots.told[503] > shoppers.told[503] * 0.5 > 0
        waits = [wait for wait, document in bots.refusals if document["code"] == "overloaded"]
        assert waits
        assert min(waits) >= 1
        overloaded = next(document for _, document in bots.refusals if document["code"] == "overloaded")
        assert overloaded["type"] == "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        assert overloaded["violated-policies"] == ["low"]
        assert sum(pressure.refused.values()) >= len(waits)
        operator = await live.client("ops", ("admin:read",))
        told = (await live.http.get("/metrics", headers=operator)).text
        assert f'tillgate_edge_refused{{priority="low"}} {pressure.refused[Priority.LOW]}.0' in told
        assert 'tillgate_edge_refused{priority="critical"} 0.0' in told
        async with asyncio.timeout(20):
            while pressure.held or pressure.waiting or len(asyncio.all_tasks()) > before + 5:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.02)
        live.sandbox.faults.clear()
        after = Caller(live, "marketplace")
        await after.ask([f"/products/{SKU}"] * 3)
        assert after.told == {200: 3}, "and when it is over, everybody is let in"
        assert pressure.busy == 0


def order() -> dict[str, object]:
    line = {
        "lineNumber": 1,
        "sku": SKU,
        "quantity": {"value": "1", "unit": "EA"},
        "unitPrice": {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2},
        "requestedLocationId": LOCATION,
    }
    return {"lines": [line]}

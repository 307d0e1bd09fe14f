"""Ten thousand requests while the legacy systems fail: every failure is a problem of ours, and nothing grows."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.estate import Estate
from sandbox.faults import Rule, System
from tests.flows.test_requests import LEGACY, draft
from tests.products import CUSTOMER, Live, no_limits, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.alone]

REQUESTS, AT_ONCE = 10_000, 48
SYSTEMS: tuple[System, ...] = ("erp", "oms")
ALLOWED = {200, 201, 202, 409, 422, 502, 503, 504}


def resident() -> int:
    """Bytes of this process in memory: the gateway and the sandbox."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def of_one_importance(estate: Estate) -> Estate:
    """Callers, gateway and systems are one process here: its load says nothing of the gateway's, and nobody is to go without for it."""
    replace = msgspec.structs.replace
    channels = {name: replace(channel, priority="normal") for name, channel in estate.channel.items()}
    return replace(no_limits(estate), channel=channels, route={name: replace(r, priority="normal") for name, r in estate.route.items()})


def question(live: Live, n: int) -> tuple[str, str, dict[str, str], dict[str, Any] | None]:
    """Mostly reads of ever other things, so that most of them reach a system; what is asked of customers hangs."""
    sku, location = str(10_000_001 + n * 7 % 19_000), f"{1 + n % 190:04}"
    auth = live.auth(("web", "mobile", "store", "call_centre", "marketplace")[n % 5])
    match n % 20:
        case 0:
            order = draft(location=location)
            order["lines"][0]["sku"] = sku
            return "POST", "/orders", {**auth, "Idempotency-Key": f"k{n}"}, order
        case 1:
            return "GET", f"/customers/{int(CUSTOMER) + n % 50}", auth, None
        case 2 | 3 | 4 | 5:
            return "GET", f"/products/{sku}", auth, None
        case 6 | 7 | 8:
            return "GET", f"/prices?sku={sku}&location={location}", auth, None
        case _:
            return "GET", f"/inventory?sku={sku}&location={location}", auth, None


async def test_ten_thousand_requests_with_failing_and_hanging_systems(tmp_path: Path) -> None:
    async with running(tmp_path, change=of_one_importance) as live, aiohttp.ClientSession(live.base) as http:
        for system in SYSTEMS:
            live.sandbox.faults.add(Rule(system=system, kind="error", share=0.05))
        live.sandbox.faults.add(Rule(system="oms", kind="hang", operation="getCustomer"))
        seen, wrong = Counter[int](), list[str]()

        async def caller(numbers: Iterator[int]) -> None:
            for n in numbers:
                method, path, headers, body = question(live, n)
                async with http.request(method, path, headers=headers, json=body) as answer:
                    text = await answer.text()
                seen[answer.status] += 1
                if answer.status >= 400 and (problem := fault_of(answer, text, live)):
                    wrong.append(f"{n}: {problem}: {text[:300]}")

        async def load(numbers: range) -> None:
            shared = iter(numbers)
            await asyncio.gather(*(caller(shared) for _ in range(AT_ONCE)))

        await load(range(REQUESTS // 4))
        before = await settled()
        await load(range(REQUESTS // 4, REQUESTS))
        after = await settled()

        assert seen.total() == REQUESTS
        assert not wrong, wrong[:5]
        assert set(seen) <= ALLOWED, seen
        assert seen[200] > REQUESTS * 0.8, seen
        assert after[0] <= before[0] + 20, f"tasks grew from {before[0]} to {after[0]}"
        # Caches and traces fill up to their bounds; what each request would leave behind is far above this.
        assert after[1] - before[1] < 80_000_000, f"memory grew by {(after[1] - before[1]) / 1e6:.0f} MB over {REQUESTS * 3 // 4} requests"


async def settled() -> tuple[int, int]:
    """Tasks and memory, once what was under way has ended."""
    await asyncio.sleep(3)
    gc.collect()
    return len(asyncio.all_tasks()), resident()


def fault_of(answer: aiohttp.ClientResponse, text: str, live: Live) -> str:
    if answer.status not in ALLOWED:
        return f"status {answer.status}"
    if answer.content_type != "application/problem+json" or json.loads(text)["status"] != answer.status:
        return "no problem document"
    shown = [word for word in (*LEGACY, live.sandbox.erp.url, live.sandbox.oms.url) if word.lower() in text.lower()]
    return f"shows {shown}" if shown else ""

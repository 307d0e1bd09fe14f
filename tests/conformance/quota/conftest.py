"""Every test of this folder runs in memory and on a shared store, with a clock that it turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
import redis

from adapters.valkey.driver import TAKE, ValkeyLedger
from adapters.valkey.spec import ValkeyOptions
from contracts.policy import Duration
from contracts.quota import Costs, Limit, Quota
from gateway.edge.quota import MemoryQuotas, Quotas, SharedQuotas, Taken

_numbers = count(1)


@dataclass
class Bench:
    build: Callable[[dict[str, Quota]], Quotas]
    turn: Callable[[int], object]
    """Sets the clock, in microseconds."""
    now: int = 1_000_000_000
    quotas: Quotas = field(init=False)

    def declare(self, *limits: Limit, costs: Costs = Costs(), **more: Quota) -> None:  # noqa: B008 - a value
        self.quotas = self.build({"q": Quota(limits, costs), **more})

    def forward(self, microseconds: int) -> None:
        self.now += microseconds
        self.turn(self.now)

    async def ask(
        self, client: str = "shop", *, quota: str = "q", store: str = "", route_class: str = "read", cost: int | None = None
    ) -> Taken:
        at_once = self.quotas.take_now(quota, client, store, route_class, cost)
        return at_once or await self.quotas.take(quota, client, store, route_class, cost)

    async def granted(self, client: str = "shop", *, quota: str = "q", cost: int | None = None) -> bool:
        return (await self.ask(client, quota=quota, cost=cost)).refusal is None


@pytest.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.server)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        made = Bench(lambda quotas: MemoryQuotas(quotas, lambda: made.now), lambda at: at)
        yield made
        return
    url, name = request.getfixturevalue("valkey_url"), f"conformance-{next(_numbers)}"
    clock = redis.Redis.from_url(url)
    # the store's own clock is replaced by one that the test turns, and rows outlive what real time says
    script = TAKE.replace("redis.call('TIME')", f"{{0, redis.call('GET', 'clock:{name}')}}").replace("row[2])", "row[2] + 600000)")
    assert script.count("clock:") == script.count("600000") == 1
    ledger = ValkeyLedger(ValkeyOptions(url=url, limit=Duration(5)), name, script)
    await ledger.start()
    made = Bench(lambda quotas: SharedQuotas(quotas, ledger, "closed", lambda: made.now), lambda at: clock.set(f"clock:{name}", at, ex=600))
    made.turn(made.now)
    yield made
    await ledger.close()
    clock.close()

"""Quotas that several processes count together, and what holds while they cannot."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from contracts.errors import QuotaUnavailable
from contracts.quota import Ledger, LedgerAway, Plan, Quota, plans
from gateway.edge.quota import fields
from gateway.edge.quota.memory import MemoryQuotas
from gateway.edge.quota.port import Gauge, Near, Taken
from gateway.edge.quota.telling import Telling

WhenUnreachable = Literal["local", "open", "closed"]
REMEMBERED = 20_000
"""Rows of the ledger that are kept as they were last seen, for when it goes away."""


class SharedQuotas:
    """`open`: calls pass uncounted. `closed`: none passes. `local`: each process grants its share, from where the ledger was last seen."""

    def __init__(
        self,
        quotas: Mapping[str, Quota],
        ledger: Ledger,
        when_unreachable: WhenUnreachable,
        clock: Callable[[], int],
        processes: int | None = None,
        before: SharedQuotas | None = None,
    ) -> None:
        """`processes`: that share the ledger; else as many as it was last seen to have. `clock`: microseconds that never go back.

        What this process has granted by itself of a quota of `before` with the same limits stays used.
        """
        self._quotas = dict(quotas)
        self._plans = plans(quotas)
        self._by_store = frozenset(name for name, quota in quotas.items() if any("store" in limit.per for limit in quota.limits))
        self._ledger = ledger
        self._choice = when_unreachable
        self._clock = clock
        self._processes = processes
        self.telling: Telling = before.telling if before else Telling(clock)
        self._local: tuple[int, MemoryQuotas] | None = None
        """Of the last outage, with the share it was made for."""
        if before and before._local:  # noqa: SLF001 - of its own kind
            self._local = before._local[0], self._part(*before._local)  # noqa: SLF001 - likewise
        self._seen: OrderedDict[tuple[str, ...], tuple[int, Sequence[int]]] = OrderedDict()
        """Rows of the ledger as they were last seen, by quota and key, with our time."""
        self.alone: int = before.alone if before else 0
        """Calls that were decided without the ledger."""

    def __contains__(self, quota: str) -> bool:
        return quota in self._plans

    @property
    def share(self) -> int:
        """One part of so many is what this process grants while it is alone."""
        return self._processes or self._ledger.processes

    def take_now(
        self, quota: str, client: str, store: str, route_class: str, cost: int | None = None, *, final: bool = True
    ) -> Taken | None:
        return None if self._ledger.reachable else self._without(self._plans[quota][route_class], client, store, cost, final)

    async def take(self, quota: str, client: str, store: str, route_class: str, cost: int | None = None) -> Taken:
        plan = self._plans[quota][route_class]
        price = plan.costs.cached if cost is None else cost
        try:
            decision = await self._ledger.take(plan, client, store, price)
        except LedgerAway:
            return self._without(plan, client, store, cost, final=True)
        if self._choice == "local":
            self._note(plan, client, store, decision.levels)
        return self.telling.taken(plan, client, store, decision, price, final=True)

    def charge(self, quota: str, client: str, store: str, route_class: str, cost: int) -> None:
        if self._ledger.reachable:
            self._ledger.charge(self._plans[quota][route_class], client, store, cost)
        elif self._choice == "local":
            self._alone().charge(quota, client, store, route_class, cost)

    def rest(self, quota: str, route_class: str, *, reached: bool) -> int:
        return self._plans[quota][route_class].rest(reached=reached)

    def cached(self, quota: str) -> int:
        return self._plans[quota]["read"].costs.cached

    def by_store(self, quota: str) -> bool:
        return quota in self._by_store

    def near(self, most: int) -> Sequence[Near]:
        return self.telling.near(most)

    def gauges(self) -> Sequence[Gauge]:
        return [
            *self.telling.gauges(),
            Gauge("tillgate_quota_shared", "1 while processes count together, 0 while each is alone", {}, self._ledger.reachable),
            Gauge("tillgate_quota_processes", "Processes that count together, as last seen", {}, self._ledger.processes),
            Gauge("tillgate_quota_lost", "Costs that the shared store could not be told since start", {}, self._ledger.lost),
            Gauge("tillgate_quota_alone", "Calls that were decided without the shared store since start", {}, self.alone),
        ]

    def notices(self) -> Sequence[str]:
        if self._ledger.reachable:
            return ()
        meaning = {
            "open": "calls pass uncounted",
            "closed": "no call passes",
            "local": f"this process grants one part of {self.share} of each quota by itself",
        }[self._choice]
        return (f"The shared store of quotas is away ({self._ledger.trouble}): {meaning}.",)

    def _without(self, plan: Plan, client: str, store: str, cost: int | None, final: bool) -> Taken:
        taken = self._chosen(plan, client, store, cost, final)
        self.alone += final or taken.refusal is None
        return taken

    def _chosen(self, plan: Plan, client: str, store: str, cost: int | None, final: bool) -> Taken:
        if self._choice == "local":
            local = self._alone()
            for count, key in zip(plan.counts, plan.keys(client, store), strict=True):
                if seen := self._seen.pop((plan.quota, *key), None):
                    at, levels = seen
                    used = [(limit, limit.part(self.share), level) for limit, level in zip(count.limits, levels, strict=True)]
                    local.resume(plan.quota, key, at, used)
            return local.take_now(plan.quota, client, store, plan.route_class, cost, final=final)
        policy = fields.form(plan, store).policy
        told = {"ratelimit-policy": policy} if policy else {}
        if self._choice == "open":
            return Taken(told)
        return Taken(told, QuotaUnavailable(policies=tuple(limit.name for limit in plan.limits if limit.enforce)))

    def _note(self, plan: Plan, client: str, store: str, levels: Sequence[int]) -> None:
        seen, now, at = self._seen, self._clock(), 0
        for count, key in zip(plan.counts, plan.keys(client, store), strict=True):
            seen[plan.quota, *key] = now, levels[at : at + len(count.limits)]
            at += len(count.limits)
        while len(seen) > REMEMBERED:
            seen.popitem(last=False)

    def _alone(self) -> MemoryQuotas:
        share = self.share
        if self._local is None or self._local[0] != share:
            self._local = share, self._part(share, self._local[1] if self._local else None)
        return self._local[1]

    def _part(self, of: int, before: MemoryQuotas | None) -> MemoryQuotas:
        part = {name: replace(quota, limits=tuple(x.part(of) for x in quota.limits)) for name, quota in self._quotas.items()}
        return MemoryQuotas(part, self._clock, before=before, telling=self.telling)

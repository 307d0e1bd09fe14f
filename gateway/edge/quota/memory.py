"""Quotas in the memory of one process, exact for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from contracts.quota import Limit, Plan, Quota, charged, decide, plans
from gateway.edge.quota.port import Gauge, Near, Taken
from gateway.edge.quota.telling import Telling

Row = tuple[int, Sequence[int]]
"""When it was written, in microseconds, and the level of each limit then."""


class MemoryQuotas:
    """`clock`: microseconds that never go back."""

    def __init__(
        self,
        quotas: Mapping[str, Quota],
        clock: Callable[[], int],
        most_keys: int = 100_000,
        before: MemoryQuotas | None = None,
        telling: Telling | None = None,
    ) -> None:
        """What was used of a quota of `before` with the same limits stays used. `most_keys`: of each quota."""
        self._quotas = dict(quotas)
        self._plans = plans(quotas)
        self._by_store = frozenset(name for name, quota in quotas.items() if any("store" in limit.per for limit in quota.limits))
        self._clock = clock
        self._most = most_keys
        self.telling: Telling = telling or (before.telling if before else Telling(clock))
        kept = before._rows if before else {}  # noqa: SLF001  # of its own kind
        same = {n for n, q in quotas.items() if before and n in before._quotas and before._quotas[n].limits == q.limits}  # noqa: SLF001  # likewise
        self._rows: dict[str, OrderedDict[tuple[str, ...], Row]] = {n: kept[n] if n in same else OrderedDict() for n in quotas}
        """The least recently used is forgotten first, among its like: a flood of addresses forgets no client."""

    def __contains__(self, quota: str) -> bool:
        return quota in self._plans

    def take_now(self, quota: str, client: str, store: str, route_class: str, cost: int | None = None, *, final: bool = True) -> Taken:
        plan = self._plans[quota][route_class]
        if cost is None:
            cost = plan.costs.cached
        now = self._clock()
        levels, passed = self._read(plan, client, store, now)
        decision = decide(plan, levels, passed, cost)
        if decision.granted:
            self._write(plan, client, store, now, decision.levels)
        return self.telling.taken(plan, client, store, decision, cost, final)

    async def take(self, quota: str, client: str, store: str, route_class: str, cost: int | None = None) -> Taken:
        return self.take_now(quota, client, store, route_class, cost)

    def charge(self, quota: str, client: str, store: str, route_class: str, cost: int) -> None:
        plan = self._plans[quota][route_class]
        now = self._clock()
        levels, passed = self._read(plan, client, store, now)
        self._write(plan, client, store, now, charged(plan, levels, passed, cost))

    def rest(self, quota: str, route_class: str, *, reached: bool) -> int:
        return self._plans[quota][route_class].rest(reached=reached)

    def cached(self, quota: str) -> int:
        return self._plans[quota]["read"].costs.cached

    def by_store(self, quota: str) -> bool:
        return quota in self._by_store

    def resume(self, quota: str, key: tuple[str, ...], at: int, used: Sequence[tuple[Limit, Limit, int]]) -> None:
        """Where somebody else stopped counting, at a microsecond of our clock: of each limit theirs, ours and their level. The same part of
        ours is used here; if we know of more use, that holds.
        """
        now, known = self._clock(), self._rows[quota]
        since, levels = known.get(key, (now, [0] * len(used)))
        known[key] = (
            now,
            [
                max(level - (now - since) * ours.leak, their * ours.capacity // theirs.capacity - (now - at) * ours.leak, 0)
                for level, (theirs, ours, their) in zip(levels, used, strict=True)
            ],
        )

    def near(self, most: int) -> Sequence[Near]:
        return self.telling.near(most)

    def gauges(self) -> Sequence[Gauge]:
        return self.telling.gauges()

    def notices(self) -> Sequence[str]:
        return ()

    def _read(self, plan: Plan, client: str, store: str, now: int) -> tuple[Sequence[int], int]:
        """Levels, and how many microseconds ago they were so."""
        known = self._rows[plan.quota]
        if plan.simple:
            row = known.get(key := (client,))
            if row is None:
                return plan.empty, 0
            known.move_to_end(key)
            return row[1], now - row[0]
        levels: list[int] = []
        for count, parts in zip(plan.counts, plan.keys(client, store), strict=True):
            if (row := known.get(parts)) is None:
                levels += [0] * len(count.limits)
            else:
                known.move_to_end(parts)
                levels += [max(0, level - (now - row[0]) * limit.leak) for limit, level in zip(count.limits, row[1], strict=True)]
        return levels, 0

    def _write(self, plan: Plan, client: str, store: str, now: int, levels: Sequence[int]) -> None:
        known, at = self._rows[plan.quota], 0
        if plan.simple:
            known[client,] = now, levels
        else:
            for count, key in zip(plan.counts, plan.keys(client, store), strict=True):
                known[key] = now, levels[at : at + len(count.limits)]
                at += len(count.limits)
        while len(known) > self._most:
            known.popitem(last=False)

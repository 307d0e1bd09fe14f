"""Quotas in the memory of one process, exact for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from contracts.quota import Plan, Quota, charged, decide, plans
from gateway.edge.quota.port import Near, Taken
from gateway.edge.quota.telling import Telling

Row = list[int]
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
        self._clock = clock
        self._most = most_keys
        self.telling = telling or Telling(clock)
        kept = before._rows if before else {}  # noqa: SLF001  # of its own kind
        same = {n for n, q in quotas.items() if before and n in before._quotas and before._quotas[n].limits == q.limits}  # noqa: SLF001  # likewise
        self._rows: dict[str, OrderedDict[tuple[str, ...], Row]] = {n: kept[n] if n in same else OrderedDict() for n in quotas}
        """The least recently used is forgotten first, among its like: a flood of addresses forgets no client."""

    def __contains__(self, quota: str) -> bool:
        return quota in self._plans

    def take_now(self, quota: str, client: str, store: str, route_class: str, cost: int | None = None) -> Taken:
        plan = self._plans[quota][route_class]
        if cost is None:
            cost = plan.costs.cached
        rows, levels = self._read(plan, client, store)
        decision = decide(plan, levels, cost)
        if decision.granted:
            self._write(plan, rows, decision.levels)
        return self.telling.taken(plan, client, store, decision, cost)

    async def take(self, quota: str, client: str, store: str, route_class: str, cost: int | None = None) -> Taken:
        return self.take_now(quota, client, store, route_class, cost)

    def charge(self, quota: str, client: str, store: str, route_class: str, cost: int) -> None:
        plan = self._plans[quota][route_class]
        rows, levels = self._read(plan, client, store)
        after = [charged(x, level, cost) if applies else level for x, applies, level in zip(plan.limits, plan.applies, levels, strict=True)]
        self._write(plan, rows, after)

    def rest(self, quota: str, route_class: str, *, reached: bool) -> int:
        costs = self._quotas[quota].costs
        return ((costs.write if route_class == "write" else costs.upstream) - costs.cached) if reached else 0

    def by_store(self, quota: str) -> bool:
        return any("store" in limit.per for limit in self._quotas[quota].limits)

    def near(self, most: int) -> Sequence[Near]:
        return self.telling.near(most)

    def _read(self, plan: Plan, client: str, store: str) -> tuple[list[Row], list[int]]:
        """The rows of a call, and the levels of now."""
        now, known = self._clock(), self._rows[plan.quota]
        rows, levels = [], []
        for count, key in zip(plan.counts, plan.keys(client, store), strict=True):
            row = known.get(key)
            if row is None:
                row = known[key] = [now, *[0] * len(count.limits)]
                if len(known) > self._most:
                    known.popitem(last=False)
            else:
                known.move_to_end(key)
                if passed := now - row[0]:
                    for i, limit in enumerate(count.limits, 1):
                        row[i] = max(0, row[i] - passed * limit.leak)
                    row[0] = now
            rows.append(row)
            levels += row[1:]
        return rows, levels

    @staticmethod
    def _write(plan: Plan, rows: Sequence[Row], levels: Sequence[int]) -> None:
        at = 0
        for count, row in zip(plan.counts, rows, strict=True):
            row[1:] = levels[at : at + len(count.limits)]
            at += len(count.limits)

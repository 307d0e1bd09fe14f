"""What is said about decisions: the fields of the answer, counters for operators, and who is near a limit."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.quota import Decision, Limit, Plan
from gateway.edge.quota import fields
from gateway.edge.quota.port import Gauge, Near, Taken
from observability import get_logger

log = get_logger(__name__)

WATCHED = 1_000
"""Clients near a limit that are remembered at most; the one not seen for longest goes first."""
QUIET = 60_000_000
"""Microseconds between two lines of the log about one policy that nobody enforces."""


@dataclass(slots=True)
class _Watched:
    limit: Limit
    left: int
    at: int
    refused: int = 0


class Telling:
    """`clock`: microseconds that never go back."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._watched: OrderedDict[tuple[str, str], _Watched] = OrderedDict()
        self._logged: dict[tuple[str, str], int] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        """Calls, by quota and policy."""
        self.surpassed: Counter[tuple[str, str]] = Counter()
        """Calls that policies would have refused if they were enforced."""

    def taken(self, plan: Plan, client: str, store: str, decision: Decision, cost: int, final: bool) -> Taken:
        form, levels = fields.form(plan, store), decision.levels
        state, near = form.state(levels)
        told = {"ratelimit-policy": form.policy, "ratelimit": state} if state else {}
        if decision.surpassed:
            self._surpassed(plan, client, decision)
        if not decision.granted:
            refusal = fields.refusal(plan, levels, cost)
            if final:
                self.refused[plan.quota, refusal.policy] += 1
                self._watch(plan, client, levels, refused=1)
            return Taken(told, refusal)
        if near:
            self._watch(plan, client, levels)
        return Taken(told)

    def near(self, most: int) -> Sequence[Near]:
        """Who has least left, of those that were seen lately."""
        now = self._clock()

        def told() -> list[Near]:
            return [
                Near(quota, client, w.limit.name, w.left, w.limit.requests, w.refused, (now - w.at) / 1e6)
                for (quota, client), w in self._watched.items()
                if now - w.at < w.limit.window * 1e6  # later it has its quota back
            ]

        return heapq.nsmallest(most, told(), key=lambda each: (each.left / each.requests, -each.refused, each.client))

    def gauges(self) -> list[Gauge]:
        told = (
            ("tillgate_quota_refused", "Calls that a policy refused since start", self.refused),
            ("tillgate_quota_would_refuse", "Calls that a policy on trial would have refused since start", self.surpassed),
        )
        return [
            Gauge(name, what, {"quota": quota, "policy": policy}, calls)
            for name, what, counted in told
            for (quota, policy), calls in sorted(counted.items())
        ]

    def _watch(self, plan: Plan, client: str, levels: Sequence[int], refused: int = 0) -> None:
        limit, level = max(fields.enforced(plan, levels), key=lambda each: each[1] / each[0].capacity)
        left, key = max(0, (limit.capacity - level) // limit.weight), (plan.quota, client)
        before = self._watched.pop(key, None)
        self._watched[key] = _Watched(limit, left, self._clock(), refused + (before.refused if before else 0))
        if len(self._watched) > WATCHED:
            self._watched.popitem(last=False)

    def _surpassed(self, plan: Plan, client: str, decision: Decision) -> None:
        now = self._clock()
        for i in decision.surpassed:
            key = plan.quota, plan.limits[i].name
            self.surpassed[key] += 1
            if now - self._logged.get(key, -QUIET) >= QUIET:
                self._logged[key] = now
                log.info("a policy that is not enforced would have refused", quota=key[0], policy=key[1], client=client)

"""A ledger in memory that goes away and comes back on command, also in the middle of a call."""

from __future__ import annotations

import asyncio

from contracts.quota import Decision, LedgerAway, Plan, charged, decide


class MemoryLedger:
    """`there`: whether it answers; `fails`: it believes to be there, and the next calls find out that it is not. Its time stands still."""

    def __init__(self, processes: int = 1) -> None:
        self.there = True
        self.fails = False
        self.processes = processes
        self.lost = 0
        self.levels: dict[tuple[str, str, str], list[int]] = {}

    @property
    def reachable(self) -> bool:
        return self.there

    @property
    def trouble(self) -> str:
        return "" if self.there else "told to be away"

    async def take(self, plan: Plan, client: str, store: str, cost: int) -> Decision:
        await asyncio.sleep(0)
        if self.fails or not self.there:
            raise LedgerAway(self.trouble)
        decision = decide(plan, self._of(plan, client, store), 0, cost)
        if decision.granted:
            self.levels[plan.quota, client, store] = list(decision.levels)
        return decision

    def charge(self, plan: Plan, client: str, store: str, cost: int) -> None:
        self.levels[plan.quota, client, store] = charged(plan, self._of(plan, client, store), 0, cost)

    def _of(self, plan: Plan, client: str, store: str) -> list[int]:
        return self.levels.get((plan.quota, client, store), [0] * len(plan.limits))

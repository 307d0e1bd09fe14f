"""Quotas: what a client may ask in a time, as a leaky bucket in whole numbers (GCRA, ITU-T I.371), and the port of a shared ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, get_args

Per = Literal["client", "store", "route", "store+route"]
"""What counts for itself, always of one client: `store` is one count for each of its stores, `route` for each class of routes."""
RouteClass = Literal["read", "personal", "write"]
"""`personal`: reads that name a person; a limit of their own keeps them from being harvested."""
ROUTE_CLASSES: tuple[RouteClass, ...] = get_args(RouteClass)

_EXACT = 2**51
"""Twice of it plus a cost is still a whole number in the floating point arithmetic of a script in the shared store."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`requests` per `window` seconds, as many at once.

    A bucket of `capacity` units: a request pours `weight` of them in, `leak` run out each microsecond. The units are chosen so that all
    three are whole numbers: nothing is rounded. Where they would grow beyond what every store can count, a request weighs a little more,
    by less than a millionth.
    """

    name: str
    requests: int
    window: float
    per: Per = "client"
    routes: tuple[RouteClass, ...] = ()
    """Only these classes; none: all."""
    enforce: bool = True
    """Otherwise it is counted, and told what it would have refused; nobody is."""
    weight: int = field(init=False)
    leak: int = field(init=False)
    capacity: int = field(init=False)

    def __post_init__(self) -> None:
        window = round(self.window * 1_000_000)
        common = math.gcd(self.requests, window)
        weight, leak = window // common, self.requests // common
        if weight * self.requests > _EXACT:
            leak = max(1, _EXACT // window)
            weight = -(-window * leak // self.requests)
        for name, value in (("weight", weight), ("leak", leak), ("capacity", weight * self.requests)):
            object.__setattr__(self, name, value)

    def part(self, of: int) -> Limit:
        """One of `of` equal shares, rounded down; but a request at least."""
        return Limit(self.name, max(1, self.requests // of), self.window, self.per, self.routes, self.enforce)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a call weighs: one that is answered from memory, one that reached a system, one that changes something there."""

    cached: int = 1
    upstream: int = 1
    write: int = 1


@dataclass(frozen=True, slots=True)
class Quota:
    limits: tuple[Limit, ...]
    costs: Costs = Costs()


class Count(NamedTuple):
    """Limits that are counted together, because they count the same calls: one row of a ledger."""

    per: Per
    limits: tuple[Limit, ...]

    def key(self, client: str, store: str, route_class: str) -> tuple[str, ...]:
        match self.per:
            case "client":
                return (client,)
            case "store":
                return client, store
            case "route":
                return client, "", route_class
            case _:
                return client, store, route_class


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What holds for the calls of one quota and class of routes."""

    quota: str
    route_class: RouteClass
    costs: Costs
    counts: tuple[Count, ...]
    limits: tuple[Limit, ...]
    """Of all `counts`, in their order; a level stands beside each."""
    rules: tuple[tuple[int, int, int, bool, bool], ...]
    """Of each limit weight, leak, capacity, whether it holds for this class (others are in `limits` because they share a row), and whether
    it is enforced.
    """

    empty: tuple[int, ...]
    """Levels of who has not asked yet."""
    simple: bool
    """All is counted per client: there is one row."""

    def rest(self, *, reached: bool) -> int:
        """What a call costs beyond `costs.cached`, once it is known whether it reached a system."""
        dear = self.costs.write if self.route_class == "write" else self.costs.upstream
        return dear - self.costs.cached if reached else 0

    def keys(self, client: str, store: str) -> tuple[tuple[str, ...], ...]:
        return tuple([count.key(client, store, self.route_class) for count in self.counts])


def plans(quotas: Mapping[str, Quota]) -> dict[str, dict[str, Plan]]:
    """By quota and class of routes."""
    return {name: {c: _plan(name, quota, c) for c in ROUTE_CLASSES} for name, quota in quotas.items()}


def _plan(name: str, quota: Quota, route_class: RouteClass) -> Plan:
    def holds(limit: Limit) -> bool:
        return not limit.routes or route_class in limit.routes

    counts = tuple(
        Count(per, tuple(limit for limit in quota.limits if limit.per == per))
        for per in dict.fromkeys(limit.per for limit in quota.limits if holds(limit))
    )
    limits = tuple(limit for count in counts for limit in count.limits)
    rules = tuple((x.weight, x.leak, x.capacity, holds(x), x.enforce) for x in limits)
    return Plan(name, route_class, quota.costs, counts, limits, rules, (0,) * len(limits), [c.per for c in counts] == ["client"])


class Decision(NamedTuple):
    """What a ledger says to a call."""

    granted: bool
    levels: Sequence[int]
    """Of each limit of the plan, afterwards. A refused call has poured nothing in."""
    surpassed: tuple[int, ...] = ()
    """Positions of limits that nobody enforces and that would have refused it; it has poured nothing into them."""


def decide(plan: Plan, levels: Sequence[int], passed: int, cost: int) -> Decision:
    """`levels`: as they were `passed` microseconds ago. All enforced limits have room, or none is filled."""
    after: list[int] = []
    granted = True
    surpassed: tuple[int, ...] = ()
    for (weight, leak, capacity, applies, enforce), level in zip(plan.rules, levels, strict=True):
        level -= passed * leak
        if level < 0:  # noqa: PLR1730 - a call of max() costs as much as all the rest here
            level = 0
        if applies:
            poured = level + cost * weight
            if poured <= capacity:
                level = poured
            elif enforce:
                granted = False
            else:
                surpassed = (*surpassed, len(after))
        after.append(level)
    return Decision(True, after, surpassed) if granted else Decision(False, leaked(plan, levels, passed))


def leaked(plan: Plan, levels: Sequence[int], passed: int) -> list[int]:
    return [max(0, level - passed * rule[1]) for rule, level in zip(plan.rules, levels, strict=True)]


def charged(plan: Plan, levels: Sequence[int], passed: int, cost: int) -> list[int]:
    """The levels after a cost that is not asked for. A debt is never more than one window."""
    return [
        max(level, min(level + cost * weight, 2 * capacity)) if applies else level
        for (weight, _, capacity, applies, _), level in zip(plan.rules, leaked(plan, levels, passed), strict=True)
    ]


class LedgerAway(Exception):
    """The shared store cannot say within its time; whoever asked decides what that means."""


class Ledger(Protocol):
    """Levels that several processes share, in a store with a clock of its own."""

    @property
    def reachable(self) -> bool:
        """False: no use in asking; it tries to come back by itself."""
        ...

    @property
    def processes(self) -> int:
        """How many share it: as last seen, at least 1."""
        ...

    @property
    def trouble(self) -> str:
        """Why it cannot be reached, in words without secrets; "" while it can."""
        ...

    @property
    def lost(self) -> int:
        """Charges that could not be told."""
        ...

    async def take(self, plan: Plan, client: str, store: str, cost: int) -> Decision:
        """Decides as `decide` does, at once for all who ask anywhere. Raises LedgerAway, within its limit of time."""
        ...

    def charge(self, plan: Plan, client: str, store: str, cost: int) -> None:
        """Pours in without asking, as `charged` does. What cannot be told to the store is lost."""
        ...

"""A decision as the caller gets it: RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11), and the refusal."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from contracts.errors import AbnormalUsage, QuotaExceeded, TillgateError
from contracts.quota import Limit, Plan

NEAR = 5
"""A client is near a limit when less than one part in so many is left."""


class Form(NamedTuple):
    """What answers of one plan have in common. Policies that nobody enforces are not told to callers."""

    policy: str
    """RateLimit-Policy. Its unit is `requests`, also where calls weigh more: how many units one takes is ours to say (draft, `qu`)."""
    states: tuple[tuple[int, int, int, int, int, str, str], ...]
    """Of each policy its position, weight, leak (in a second), capacity and the level that is near it, and what stands around `r`."""

    def state(self, levels: Sequence[int]) -> tuple[str, bool]:
        """RateLimit, and whether any limit is near. `r` units could follow at once; after `t` seconds one more, rounded up."""
        parts, near = [], False
        for i, weight, leak, capacity, mark, head, tail in self.states:
            level = levels[i]
            if level:
                if level > mark:
                    near = True
                left = (capacity - level) // weight
                if left < 0:  # noqa: PLR1730 - a call of max() costs as much as all the rest here
                    left = 0
                parts.append(f"{head}{left};t={-(-(level + (left + 1) * weight - capacity) // leak)}{tail}")
            else:
                parts.append(f"{head}{capacity // weight}{tail}")
        return ", ".join(parts), near


@functools.lru_cache(maxsize=4096)
def form(plan: Plan, store: str) -> Form:
    policies, states = [], []
    for i, (limit, (*_, applies, enforce)) in enumerate(zip(plan.limits, plan.rules, strict=True)):
        if not (applies and enforce):
            continue
        parts = {"client": (), "store": (store,), "route": (plan.route_class,), "store+route": (store, plan.route_class)}[limit.per]
        tail = f";pk=:{base64.b64encode(' '.join(parts).encode()).decode()}:" if parts else ""
        policies.append(f'"{limit.name}";q={limit.requests};w={math.ceil(limit.window)}{tail}')
        states.append(
            (i, limit.weight, limit.leak * 1_000_000, limit.capacity, limit.capacity - limit.capacity // NEAR, f'"{limit.name}";r=', tail)
        )
    return Form(", ".join(policies), tuple(states))


def refusal(plan: Plan, levels: Sequence[int], cost: int) -> QuotaExceeded:
    """Of a call that was not granted: it names all policies that had no room, and waits for the last of them."""
    over = {limit.name: (level + cost * limit.weight - limit.capacity) / limit.leak / 1e6 for limit, level in enforced(plan, levels)}
    violated = tuple(name for name, seconds in over.items() if seconds > 0)
    last = max(violated, key=over.__getitem__)
    return QuotaExceeded(policy=last, retry_after=over[last], violated=violated)


def unwelcome(refusal: TillgateError) -> TillgateError:
    """What somebody is told who was not let in, and is counted by address."""
    if not isinstance(refusal, QuotaExceeded):
        return refusal
    return AbnormalUsage(policy=refusal.policy, retry_after=refusal.retry_after, violated=refusal.violated)


def enforced(plan: Plan, levels: Sequence[int]) -> Iterator[tuple[Limit, int]]:
    return ((limit, level) for limit, rule, level in zip(plan.limits, plan.rules, levels, strict=True) if rule[3] and rule[4])

"""Quotas: GCRA (the leaky bucket as a meter) with several policies decided in one step, and the current RateLimit fields.

Draft draft-ietf-httpapi-ratelimit-headers-11. A refused request costs nothing, so that an insisting client isn't kept out for ever.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import QuotaExceeded


@dataclass(frozen=True, slots=True)
class Limit:
    """`requests` per `window` seconds, as many at once."""

    name: str
    requests: int
    window: float

    @property
    def interval(self) -> float:
        return self.window / self.requests


class Quotas:
    """In memory: exact for one process. `clock` gives seconds that never go back."""

    def __init__(
        self, limits: Mapping[str, Sequence[Limit]], clock: Callable[[], float], most_keys: int = 100_000, before: Quotas | None = None
    ) -> None:
        """What was used of a quota of `before` with the same limits stays used."""
        self._limits = {name: tuple(each) for name, each in limits.items()}
        self._fields = {
            name: ", ".join(f'"{limit.name}";q={limit.requests};w={math.ceil(limit.window)}' for limit in each)
            for name, each in self._limits.items()
        }
        self._clock = clock
        self._most = most_keys
        same = {name for name in self._limits if before and before._limits.get(name) == self._limits[name]}  # noqa: SLF001  # of its own kind
        self._arrivals: dict[str, OrderedDict[str, list[float]]] = {
            name: before._arrivals[name] if before and name in same else OrderedDict()  # noqa: SLF001  # likewise
            for name in self._limits
        }
        """Per quota and key the theoretical arrival time of each policy (GCRA, ITU-T I.371). The least recently used key is forgotten
        first, among its like: a flood of addresses forgets no client.
        """

    def __contains__(self, quota: str) -> bool:
        return quota in self._limits

    def take(self, quota: str, key: str, cost: int = 1) -> tuple[dict[str, str], QuotaExceeded | None]:
        """The RateLimit fields, and the refusal if there is one. Raises KeyError for a quota that is not declared."""
        limits = self._limits[quota]
        known = self._arrivals[quota]
        now = self._clock()
        arrivals = known.get(key)
        if arrivals is None:
            arrivals = known[key] = [now] * len(limits)
            if len(known) > self._most:
                known.popitem(last=False)
        else:
            known.move_to_end(key)
        wait, culprit = 0.0, ""
        for limit, arrival in zip(limits, arrivals, strict=True):
            late = max(arrival - now, 0.0) + cost * limit.interval - limit.window
            if late > _NOISE and late > wait:
                wait, culprit = late, limit.name
        if not culprit:
            for i, limit in enumerate(limits):
                arrivals[i] = max(arrivals[i], now) + cost * limit.interval
        fields = {
            "ratelimit-policy": self._fields[quota],
            "ratelimit": ", ".join([_state(limit, arrival - now) for limit, arrival in zip(limits, arrivals, strict=True)]),
        }
        return fields, QuotaExceeded(policy=culprit, retry_after=wait) if culprit else None


_NOISE = 1e-6
"""A microsecond: what sums of floats may be off."""


def _state(limit: Limit, used: float) -> str:
    """`r` requests could follow at once; after `t` seconds one more."""
    left = math.floor((limit.window - max(used, 0.0) + _NOISE) / limit.interval)
    if used <= 0:
        return f'"{limit.name}";r={left}'
    more = used + (left + 1) * limit.interval - limit.window
    return f'"{limit.name}";r={max(0, left)};t={math.ceil(more - _NOISE)}'

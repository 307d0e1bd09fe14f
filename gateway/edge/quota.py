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

    def __init__(self, limits: Mapping[str, Sequence[Limit]], clock: Callable[[], float], most_keys: int = 100_000) -> None:
        self._limits = {name: tuple(each) for name, each in limits.items()}
        self._fields = {
            name: ", ".join(f'"{limit.name}";q={limit.requests};w={math.ceil(limit.window)}' for limit in each)
            for name, each in self._limits.items()
        }
        self._clock = clock
        self._most = most_keys
        self._arrivals: OrderedDict[str, list[float]] = OrderedDict()
        """Per key the theoretical arrival time of each policy (RFC-less, ITU-T I.371 GCRA)."""

    def take(self, quota: str, key: str, cost: int = 1) -> tuple[dict[str, str], QuotaExceeded | None]:
        """The RateLimit fields, and the refusal if there is one."""
        limits = self._limits[quota]
        now = self._clock()
        arrivals = self._arrivals.get(key)
        if arrivals is None:
            arrivals = self._arrivals[key] = [now] * len(limits)
            if len(self._arrivals) > self._most:
                self._arrivals.popitem(last=False)
        else:
            self._arrivals.move_to_end(key)
        wait, culprit = 0.0, ""
        for limit, arrival in zip(limits, arrivals, strict=True):
            late = max(arrival, now) + cost * limit.interval - now - limit.window
            if late > 1e-9 and late > wait:
                wait, culprit = late, limit.name
        if not culprit:
            for i, limit in enumerate(limits):
                arrivals[i] = max(arrivals[i], now) + cost * limit.interval
        state = []
        for limit, arrival in zip(limits, arrivals, strict=True):
            used = max(0.0, arrival - now)
            left = max(0, math.floor((limit.window - used) / limit.interval + 1e-9))
            state.append(f'"{limit.name}";r={left};t={math.ceil(min(used, limit.interval))}')
        fields = {"ratelimit-policy": self._fields[quota], "ratelimit": ", ".join(state)}
        return fields, QuotaExceeded(policy=culprit, retry_after=wait) if culprit else None

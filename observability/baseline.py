"""What is usual: log-bucket histograms of the last half to whole hour, by route and by part of a route, and the limits drawn from them."""

from __future__ import annotations

from math import log2
from typing import Final

LOWEST_S: Final = 1e-4
BUCKETS: Final = 83
"""Under 0.1 ms, 81 buckets with factor 2^(1/4) up to about 124 s, and everything longer."""
GENERATION_S: Final = 1_800.0
"""Two of them are held, so that what is usual was so in the last half hour to hour."""
ENOUGH: Final = 100
"""Fewer durations say nothing about what is late."""
SOON: Final = 0.01
"""Seconds within which nothing is late, however quick it usually is."""
LIMIT: Final = 5_000
Part = tuple[str, str]
"""System and operation, or `gateway` and one of its parts."""
UNKNOWN: Final[Part] = ("", "")


def bucket(seconds: float) -> int:
    """Index of a duration, 0 to BUCKETS - 1."""
    return 0 if seconds < LOWEST_S else min(BUCKETS - 1, 1 + int(4 * log2(seconds / LOWEST_S)))


def upper_bound(index: int) -> float:
    """The bucket's upper bound in seconds; the last one has none and answers infinity."""
    return LOWEST_S * 2 ** (index / 4) if index < BUCKETS - 1 else float("inf")


class History:
    """Durations of one kind. `median` and `late` (seconds) are as of the last look, at most a minute or a tenth more durations ago."""

    __slots__ = ("_before", "_looked", "_now", "_since", "_told", "late", "median", "n")

    def __init__(self, at: float) -> None:
        self._now, self._before = [0] * BUCKETS, [0] * BUCKETS
        self._told = [0] * BUCKETS  # by others
        self.n = 0
        self._since = at
        self._looked = 0
        self.median = self.late = 0.0

    def add(self, seconds: float, at: float) -> None:
        if at - self._since > GENERATION_S:
            self._before, self._now, self._told = self._now, [0] * BUCKETS, [0] * BUCKETS
            self._since = at
            self.n = sum(self._before)
            self._looked = 0
        self._now[bucket(seconds)] += 1
        self.n += 1
        if self.n > self._looked * 1.1:
            self._look()

    def merge(self, durations: list[int]) -> None:
        """Of an earlier life, or of another process."""
        self._told = [a + b for a, b in zip(self._told, durations, strict=True)]
        self.n += sum(durations)
        self._look()

    @property
    def own(self) -> list[int]:
        """Without what others told: they tell it themselves."""
        return [a + b for a, b in zip(self._before, self._now, strict=True)]

    def _look(self) -> None:
        self._looked = self.n
        durations = [a + b for a, b in zip(self.own, self._told, strict=True)]
        self.median = quantile(durations, self.n, 0.5)
        self.late = max(quantile(durations, self.n, 0.99), 1.5 * self.median, SOON) if self.n >= ENOUGH else 0.0


def quantile(durations: list[int], n: int, q: float) -> float:
    """Seconds below which the share `q` lies, interpolated within its bucket: to within 10 %."""
    rank, seen = q * n, 0
    for index, count in enumerate(durations):
        if count and seen + count >= rank:
            if index >= BUCKETS - 1:
                return upper_bound(BUCKETS - 2)
            share = (rank - seen) / count
            return LOWEST_S * 2 ** ((index - 1 + share) / 4) if index else LOWEST_S * share
        seen += count
    return 0.0


class Baseline:
    """Histories by (system, operation, route); a route as a whole has neither system nor operation, an operation as a whole no route."""

    def __init__(self) -> None:
        self.histories: dict[tuple[str, str, str], History] = {}

    def learn(self, part: Part, route: str, seconds: float, at: float) -> None:
        key = (*part, route)
        found = self.histories.get(key)
        if found is None:
            if len(self.histories) >= LIMIT:
                return
            found = self.histories[key] = History(at)
        found.add(seconds, at)

    def merge(self, key: tuple[str, str, str], durations: list[int], at: float) -> None:
        """Of an earlier life."""
        if key in self.histories or len(self.histories) < LIMIT:
            self.histories.setdefault(key, History(at)).merge(durations)

    def of(self, part: Part, route: str) -> History | None:
        return self.histories.get((*part, route))

    def median(self, part: Part, route: str) -> float:
        """0 when nothing is known: then all its time is in excess."""
        found = self.histories.get((*part, route))
        return found.median if found is not None else 0.0

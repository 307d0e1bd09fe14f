"""Since when: the moment from which bad requests came at another rate, with its 95 % band."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from observability.rootcause.online.table import BIN, Table
from observability.rootcause.spans import Flags, Floats, Ints
from observability.rootcause.statistics import totals

BEFORE: Final = 120
"""Seconds looked at before the first bad bin; as many again, and three minutes more, after it."""
_DEPTH: Final = 1.92
"""Half the 95 % point of chi square with one degree of freedom."""


class Moment(NamedTuple):
    """Seconds since 1970."""

    at: float
    low: float
    high: float


def change(bad: Floats, n: Floats, begin: int, width: int) -> Moment | None:
    """The best split of the bins into a rate before and a higher one after; None when there is nothing to tell apart."""
    if len(n) < 2:
        return None
    b, of = np.cumsum(bad), np.cumsum(n)
    if b[-1] <= 0:
        return None
    b = np.concatenate(([0.0], b))[:-1]
    of = np.concatenate(([0.0], of))[:-1]
    all_b, all_n = float(bad.sum()), float(n.sum())
    after_b, after_n = all_b - b, all_n - of
    score = _likelihood(b, of) + _likelihood(after_b, after_n)
    score = np.where((after_b * of > b * after_n) & (n > 0), score, -np.inf)  # bins without a request cannot be told apart
    if not np.isfinite(score).any():
        return None
    best = int(np.argmax(score))
    band = np.flatnonzero(score >= score[best] - _DEPTH)
    first = np.flatnonzero(n[: band[0]] > 0)
    low = int(first[-1]) + 1 if len(first) else int(band[0])
    return Moment(float(begin + best * width), float(begin + low * width), float(begin + (int(band[-1]) + 1) * width))


class Clock:
    """Onsets around one incident, from bins of a second where they reach back far enough, else from the coarse ones."""

    def __init__(self, fine: Table, coarse: Table, begin: int, end: int) -> None:
        """`begin`, `end`: coarse bins of the incident."""
        since, until = coarse.start + begin * BIN, coarse.start + end * BIN
        self.otherwise = Moment(float(since), float(since), float(since + BIN))
        low, high = since - BEFORE, min(until, since + BEFORE + 180)
        self.table, self.first, self.bins = coarse, 0, 0
        for table in (fine, coarse):
            first, last = max(0, (low - table.start) // table.width), min(table.bins, (high - table.start) // table.width)
            if table.start <= since - 2 * BIN and last - first >= 2:
                self.table, self.first, self.bins = table, first, last - first
                break
        self.rows = np.flatnonzero((self.table.at >= self.first) & (self.table.at < self.first + self.bins))

    def moment(self, key: Flags, bad: Ints, met: Flags | None = None, *, of: int = 1) -> Moment:
        """Of the chosen keys of `table`; `bad`: how many requests of each of its rows are, in parts `of` one. `met`: the keys that count
        them, if others.
        """
        worse = self._sums(key, bad) / of
        n = np.maximum(self._sums(key if met is None else met, self.table.n), worse)
        return change(worse, n, self.table.start + self.first * self.table.width, self.table.width) or self.otherwise

    def _sums(self, key: Flags, of: Ints) -> Floats:
        rows = self.rows[key[self.table.key[self.rows]]]
        return np.maximum(totals(self.table.at[rows] - self.first, of[rows], self.bins), 0.0)


def _likelihood(bad: Floats, of: Floats) -> Floats:
    share = np.clip(np.divide(bad, of, out=np.zeros_like(bad), where=of > 0), 1e-9, 1 - 1e-9)
    return np.where(of > 0, bad * np.log(share) + (of - bad) * np.log1p(-share), 0.0)

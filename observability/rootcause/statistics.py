"""The tests and estimates that verdicts rest on; each can be redone by hand from four counts."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from observability.rootcause.spans import Flags, Floats, Ints

BUCKETS: Final = 112
"""Logarithmic buckets of durations, factor 2^(1/4), from 1 us to beyond 120 s."""


_STEPS: Final = 12
_PLAIN: Final = 10.0
"""So much likelier (logarithm) is no chance."""


def totals(group: Ints, weight: Floats | Ints | Flags | None, groups: int) -> Floats:
    """Per group number below `groups`, the sum of its weights (None: how many there are)."""
    return np.bincount(group, weight, groups).astype(np.float64, copy=False)


def compact(code: Ints) -> tuple[Ints, Ints]:
    """np.unique with inverse, by a table where that is small."""
    if not len(code):
        return code, code
    space = int(code.max()) + 1
    if space > max(8 * len(code), 1_000_000):
        found, index = np.unique(code, return_inverse=True)
        return found, index
    present = np.zeros(space, bool)
    present[code] = True
    number = np.cumsum(present) - 1
    return np.flatnonzero(present), number[code]


def rise(bad: float, of: float, bad_before: float, of_before: float, dispersion: float = 1.0) -> float:
    """One-sided P that the share of bad ones did not rise: likelihood ratio G with the sign of the change; the exact hypergeometric tail
    where an expected count is under 5.
    """
    if of <= 0 or of_before <= 0:
        return 1.0
    total = of + of_before
    share = (bad + bad_before) / total
    expected = (of * share, of * (1 - share), of_before * share, of_before * (1 - share))
    if bad / of <= bad_before / of_before:
        return 1.0
    if min(expected) < 5:
        return _hypergeometric(round(bad), round(of), round(bad_before), round(of_before))
    seen = (bad, of - bad, bad_before, of_before - bad_before)
    g = 2 * sum(o * math.log(o / e) for o, e in zip(seen, expected, strict=True) if o > 0)
    return tail(math.sqrt(max(g, 0.0) / max(dispersion, 1.0)))


def tail(z: float) -> float:
    """P of a normal value above z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _hypergeometric(bad: int, of: int, bad_before: int, of_before: int) -> float:
    """P of at least `bad` among `of`, when bad + bad_before are spread at random."""
    bad, bad_before = min(bad, of), min(bad_before, of_before)
    total, marked = of + of_before, bad + bad_before

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    all_ways = log_choose(total, of)
    found = 0.0
    for k in range(bad, min(marked, of) + 1):
        if of - k > total - marked:
            continue
        term = math.exp(log_choose(marked, k) + log_choose(total - marked, of - k) - all_ways)
        found += term
        if term < found * 1e-12:
            break
    return min(1.0, found)


def buckets(microseconds: Floats) -> Ints:
    found: Ints = np.clip(4 * np.log2(np.maximum(microseconds, 1.0)), 0, BUCKETS - 1).astype(np.int64)
    return found


def quantile(histogram: Floats, share: float) -> Floats:
    """Per row of a histogram, the duration below which `share` of its weight lies, interpolated inside the bucket; nan when empty."""
    total = histogram.sum(axis=1)
    running = np.cumsum(histogram, axis=1)
    target = share * total
    at = np.minimum((running < target[:, None] - 1e-9).sum(axis=1), BUCKETS - 1)
    rows = np.arange(len(histogram))
    inside = histogram[rows, at]
    below = running[rows, at] - inside
    part = np.divide(target - below, inside, out=np.zeros_like(target), where=inside > 0)
    found = 2.0 ** ((at + np.clip(part, 0, 1)) / 4)
    return np.where(total > 0, found, np.nan)


def onset(at: Floats, bad: Flags, weight: Floats, begin: float, end: float, hint: float | None = None) -> tuple[float, float, float] | None:
    """The second from which bad ones came at another rate, and its 95 % band: (at, low, high). A hint is a weak prior (Laplace, 60 s).

    `at` in seconds; None when there is nothing to tell apart.
    """
    seconds = int(end - begin)
    if seconds < 2 or not bad.any():
        return None
    inside = (at >= begin) & (at < begin + seconds)
    second = (at[inside] - begin).astype(np.int64)
    b = np.cumsum(totals(second, weight[inside] * bad[inside], seconds))
    n = np.cumsum(totals(second, weight[inside], seconds))
    if b[-1] <= 0 or b[-1] >= n[-1]:
        return None
    found = _step(b, n, np.zeros(1) if hint is None else np.abs(begin + 1 + np.arange(seconds - 1) - hint) / 60.0)
    earlier = found
    for _ in range(_STEPS):  # what grows does so step by step, and began with the first of them
        if earlier is None or found is None or earlier[0] < 2:
            break
        until = earlier[0] + 1
        earlier = _step(b[:until], n[:until], np.zeros(1))
        if earlier is None or earlier[3] < _PLAIN or earlier[4] < 0.05 * found[4]:
            break
        found = (*earlier[:4], found[4])
    return None if found is None else (begin + found[0] + 1.0, begin + found[1] + 1.0, begin + found[2] + 1.0)


def _step(b: Floats, n: Floats, prior: Floats) -> tuple[int, int, int, float, float] | None:
    """Where the running sums `b` of `n` turn steeper: the last second before it, its 95 % band, by how much that is likelier than no turn
    (logarithm), and how far the share rises.
    """
    before_b, before_n = b[:-1], n[:-1]
    after_b, after_n = b[-1] - before_b, n[-1] - before_n
    score = _likelihood(before_b, before_n) + _likelihood(after_b, after_n)
    rise = np.divide(after_b, after_n, out=np.zeros_like(after_b), where=after_n > 0)
    rise -= np.divide(before_b, before_n, out=np.zeros_like(before_b), where=before_n > 0)
    score = np.where(rise > 0, score, -np.inf) - prior
    if not len(score) or not np.isfinite(score).any():
        return None
    best = int(np.argmax(score))
    band = np.flatnonzero(score >= score[best] - 1.92)
    return best, int(band[0]), int(band[-1]), float(score[best] - _likelihood(b[-1:], n[-1:])[0]), float(rise[best])


def _likelihood(bad: Floats, of: Floats) -> Floats:
    share = np.clip(np.divide(bad, of, out=np.zeros_like(bad), where=of > 0), 1e-9, 1 - 1e-9)
    return np.where(of > 0, bad * np.log(share) + (of - bad) * np.log(1 - share), 0.0)

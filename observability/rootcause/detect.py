"""When something was wrong: incident windows in hours of requests, each operation at the root against its own recent past."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from observability.rootcause import statistics
from observability.rootcause.spans import FAILED, Flags, Floats, Ints
from observability.rootcause.structure import Structure

BIN: Final = 10_000_000_000
"""Nanoseconds."""
_WINDOWS: Final = (1, 3, 12, 60)
_PAST: Final = 360
_MOST_BINS: Final = 200_000
_QUIET: Final = 3
"""So many good bins end an incident."""
_RATE: Final = 0.005
_JOIN: Final = 6
"""Windows that lie so many bins apart are one incident."""


@dataclass(frozen=True, slots=True)
class Found:
    """An incident window, nanoseconds since 1970, with the requests that showed it."""

    begin: int
    end: int
    bad: int
    requests: int


def incidents(s: Structure) -> list[Found]:
    """In order of time, without overlap. Needs some minutes of good requests before the first one."""
    if not s.traces:
        return []
    began, first = s.began, int(s.began.min())
    bins = np.minimum((began - first) // BIN, _MOST_BINS - 1)
    count = int(bins.max()) + 1
    node = s.node[s.main]
    failed = s.spans.status[s.main] == FAILED
    names, which = np.unique(node, return_inverse=True)
    suspect = np.zeros(count, bool)
    for index in range(len(names)):
        mine = which == index
        if int(mine.sum()) >= 50:
            suspect |= _suspect(bins[mine], s.duration[s.main[mine]], failed[mine], s.spans.weight[s.main[mine]], count, len(names))
    suspect |= _suspect_volume(failed, bins, s.spans.weight[s.main], count)
    found = []
    for begin, end in _joined(suspect):
        inside = (bins >= begin) & (bins < end)
        found.append(Found(first + begin * BIN, first + end * BIN, int((inside & failed).sum()), int(inside.sum())))
    return found


def _suspect(bins: Ints, duration: Floats, failed: Flags, weight: Floats, count: int, tests: int) -> Flags:
    """The bins of one operation in which it was worse than in the hour before."""
    n = statistics.totals(bins, weight, count)
    f = statistics.totals(bins, weight * failed, count)
    bucket = statistics.buckets(duration)
    code = bins * statistics.BUCKETS + bucket
    histogram = statistics.totals(code, weight * ~failed, count * statistics.BUCKETS).reshape(count, statistics.BUCKETS)
    over = n[:, None] - f[:, None] - np.cumsum(histogram, axis=1)  # requests above each bucket
    suspect = np.zeros(count, bool)
    good_bins = 0
    inside = False
    limit_of = np.full(count, statistics.BUCKETS - 1)
    for t in range(count):
        past = np.flatnonzero(~suspect[max(0, t - _PAST) : t]) + max(0, t - _PAST)
        past = past[n[past] > 0]
        if n[past].sum() < 50:
            continue
        usual = histogram[past].sum(axis=0)[None, :]
        limit = max(float(statistics.quantile(usual, 0.99)[0]), 1.5 * float(statistics.quantile(usual, 0.5)[0]))
        at = min(int(4 * math.log2(max(limit, 1.0))) + 1, statistics.BUCKETS - 1)
        limit_of[t] = at
        bad = f + over[:, at]
        if inside:
            calm = n[t] == 0 or not _worse(bad[t], n[t], bad[past].sum(), n[past].sum())
            good_bins = good_bins + 1 if calm else 0
            suspect[t] = True
            if good_bins >= _QUIET:
                suspect[t - _QUIET + 1 : t + 1] = False
                inside, good_bins = False, 0
            continue
        for begin in _fires(t, n, bad, past, tests):
            suspect[begin : t + 1] = True
            inside, good_bins = True, 0
            break
    return suspect


def _fires(t: int, n: Floats, bad: Floats, past: Ints, tests: int) -> Iterator[int]:
    """The first bin of each window ending with t that is significantly worse than the past before it."""
    for window in _WINDOWS:
        begin = t - window + 1
        before = past[past < begin]
        if begin < 1 or n[before].sum() < 50:
            continue
        b1, n1 = float(bad[begin : t + 1].sum()), float(n[begin : t + 1].sum())
        b0, n0 = float(bad[before].sum()), float(n[before].sum())
        if n1 <= 0 or not _worse(b1, n1, b0, n0):
            continue
        p = statistics.rise(b1, n1, b0, n0, _dispersion(bad[before], n[before]))
        if window == 1 and p <= 1e-9 and b1 / n1 - b0 / n0 >= 0.2:
            yield begin
        if p > _RATE / (tests * len(_WINDOWS)) or (n1 < 20 and p > 1e-6):
            continue
        middle = t if window == 1 else begin + window // 2
        earlier = slice(t - 1, t) if window == 1 else slice(begin, middle)
        halves = ((bad[earlier].sum(), n[earlier].sum()), (bad[middle : t + 1].sum(), n[middle : t + 1].sum()))
        if all(of > 0 and _worse(float(b), float(of), b0, n0) for b, of in halves):
            yield max(0, t - 1 if window == 1 else begin + _first_bad(bad[begin : t + 1], n[begin : t + 1], b0 / n0))


def _worse(b1: float, n1: float, b0: float, n0: float) -> bool:
    share, usual = b1 / max(n1, 1e-9), b0 / max(n0, 1e-9)
    return share - usual >= 0.02 and share >= 2 * usual


def _first_bad(bad: Floats, n: Floats, usual: float) -> int:
    worse = np.flatnonzero((n > 0) & (bad > (usual + 0.02) * n))
    return int(worse[0]) if len(worse) else 0


def _dispersion(bad: Floats, n: Floats) -> float:
    share = float(bad.sum()) / max(float(n.sum()), 1e-9)
    if not 0 < share < 1 or len(n) < 5:
        return 1.0
    chi2 = float(((bad - n * share) ** 2 / np.maximum(n * share * (1 - share), 1e-9)).sum())
    return max(1.0, chi2 / (len(n) - 1))


def _suspect_volume(failed: Flags, bins: Ints, weight: Floats, count: int) -> Flags:
    """Rare operations are watched together: only their failures, since their durations do not compare."""
    n, f = statistics.totals(bins, weight, count), statistics.totals(bins, weight * failed, count)
    suspect = np.zeros(count, bool)
    for t in range(count):
        past = np.flatnonzero(~suspect[max(0, t - _PAST) : t]) + max(0, t - _PAST)
        if n[past].sum() >= 50:
            for begin in _fires(t, n, f, past, 1):
                suspect[begin : t + 1] = True
                break
    return suspect


def _joined(suspect: Flags) -> Iterator[tuple[int, int]]:
    rows = np.flatnonzero(suspect)
    if not len(rows):
        return
    breaks = np.flatnonzero(np.diff(rows) > _JOIN)
    for begin, end in zip(np.concatenate(([0], breaks + 1)), np.concatenate((breaks, [len(rows) - 1])), strict=True):
        yield int(rows[begin]), int(rows[end]) + 1

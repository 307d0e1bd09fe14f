"""When something was wrong: incident windows in hours of spans, each operation against its own recent past."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from observability.rootcause import statistics
from observability.rootcause.spans import FAILED, Flags, Floats, Ints
from observability.rootcause.structure import Structure

BIN: Final = 10_000_000_000
"""Nanoseconds."""
_WINDOWS: Final = (1, 3, 12, 60)
_PAST: Final = 360
_MOST_BINS: Final = 60_000
_MOST_SERIES: Final = 2_000
_KNOWN: Final = 50
"""Spans that show what is usual."""
_QUIET: Final = (3, 6, 12)
"""So many good bins end an incident; the more, the fewer spans they hold."""
_RATE: Final = 2e-5
_JOIN: Final = 6
"""Windows that lie so many bins apart are one incident."""
_BLOCKS: Final = 12
_GOOD_BLOCKS: Final = 0.35
"""What is usual is what it is in the better third of the time, whenever that was."""
_RISES: Final = (("failed", 0.02), ("late", 0.02), ("slow", 0.15), ("short", 0.08))
"""What is counted, and by how much its share must rise."""


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
    first = int(np.quantile(s.began, 0.001))  # a clock that is years behind is not when it began
    bins = np.clip((s.began - first) // BIN, 0, _MOST_BINS - 1)
    count = int(np.quantile(bins, 0.999)) + 1
    bins = np.minimum(bins, count - 1)
    failed = s.spans.status == FAILED
    above = np.zeros(len(failed), bool)
    above[s.parent[failed & (s.parent >= 0)]] = True
    main = s.main
    whole = _Series(bins, s.node[main], s.duration[main], failed[main], s.spans.weight[main], np.zeros(len(main)))
    matters = 0.1 * _usual(s.node[main], s.duration[main], len(s.nodes))[s.node[main]]
    parts = _Series(bins[s.trace], s.node, s.exclusive, failed & ~above, s.spans.weight, matters[s.trace])
    suspect, weight = np.zeros(count, bool), np.zeros(count)
    for series in (whole, parts):
        for worse in _worsenings(series, count):
            suspect[worse.begin : worse.end] = True
            weight[worse.first : worse.first + len(worse.weight)] += worse.weight
    bad, found = failed[main], []
    for outer in _joined(suspect):
        begin, end = _heaviest(weight, *outer)
        inside = (bins >= begin) & (bins < end)
        found.append(Found(first + begin * BIN, first + end * BIN, int((inside & bad).sum()), int(inside.sum())))
    return found


def before(found: list[Found], which: Found) -> list[tuple[int, int]]:
    """The quiet times in the hour before an incident: what it is compared with."""
    begin = which.begin - _PAST * BIN
    windows = []
    for other in [f for f in found if begin < f.end + _JOIN * BIN and f.end <= which.begin]:
        if other.begin > begin:
            windows.append((begin, other.begin))
        begin = max(begin, other.end)
    return [*windows, (begin, which.begin)]


@dataclass(slots=True)
class _Series:
    """Rows: bin, operation, microseconds, whether it failed, weight, and how many microseconds more would matter."""

    bins: Ints
    group: Ints
    time: Floats
    failed: Flags
    weight: Floats
    matters: Floats


def _usual(group: Ints, time: Floats, groups: int) -> Floats:
    code = group * statistics.BUCKETS + statistics.buckets(time)
    return np.nan_to_num(
        statistics.quantile(statistics.totals(code, None, groups * statistics.BUCKETS).reshape(groups, statistics.BUCKETS), 0.5)
    )


@dataclass(frozen=True, slots=True)
class _Worse:
    """Bins in which one operation was worse than before, the end not included, and from bin `first` on by how much each speaks for that
    (logarithm of likelihoods).
    """

    begin: int
    end: int
    first: int
    weight: Floats


def _worsenings(x: _Series, count: int) -> Iterator[_Worse]:
    """When some operation was worse than in the hour before."""
    size = np.bincount(x.group)
    chosen = np.flatnonzero(size >= _KNOWN)
    chosen = np.sort(chosen[np.argsort(-size[chosen], kind="stable")[: min(_MOST_SERIES, 20_000_000 // count)]])
    if not len(chosen):
        return
    number = np.full(len(size), -1)
    number[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(number[x.group] >= 0)
    group, bins, time, weight = number[x.group[rows]], x.bins[rows], x.time[rows], x.weight[rows]
    late, slow, short = _limits(group, bins, time, x.matters[rows], len(chosen), count)
    cell = group * count + bins
    good = ~x.failed[rows]
    marks = (~good, good & (time > late[group]), good & (time > slow[group]), time < short[group])
    n = statistics.totals(cell, weight, len(chosen) * count).reshape(-1, count)
    tests = len(chosen) * len(_RISES)
    for (_, rise), mark in zip(_RISES, marks, strict=True):
        bad = statistics.totals(cell[mark], weight[mark], len(chosen) * count).reshape(-1, count)
        for index in np.flatnonzero(_striking(bad, n, rise)).tolist():
            yield from _times(n[index], bad[index], rise, tests)


def _limits(group: Ints, bins: Ints, time: Floats, matters: Floats, groups: int, count: int) -> tuple[Floats, Floats, Floats]:
    """Per operation, the times from which it is late, slow, or short: those of most blocks of time, so that incidents move them little."""
    blocks = max(1, min(_BLOCKS, count // 30))
    block = np.minimum(bins * blocks // count, blocks - 1)
    code = (group * blocks + block) * statistics.BUCKETS + statistics.buckets(time)
    histogram = statistics.totals(code, None, groups * blocks * statistics.BUCKETS).reshape(-1, statistics.BUCKETS)
    low, middle, high, top = (statistics.quantile(histogram, q).reshape(groups, blocks) for q in (0.01, 0.5, 0.9, 0.99))
    more = statistics.totals(group, matters, groups) / np.maximum(statistics.totals(group, None, groups), 1)
    late = np.maximum(np.maximum(top, 1.5 * middle), middle + more[:, None])
    slow = np.maximum(np.maximum(high, 1.25 * middle), middle + more[:, None])
    return (
        np.nanquantile(late, _GOOD_BLOCKS, axis=1), np.nanquantile(slow, _GOOD_BLOCKS, axis=1),
        np.nanquantile(np.minimum(low, 0.7 * middle), 0.5, axis=1),
    )  # fmt: skip


def _striking(bad: Floats, n: Floats, rise: float) -> Flags:
    """Which rows have any window that chance alone would hardly give: the others need no closer look."""
    usual = bad.sum(axis=1) / np.maximum(n.sum(axis=1), 1e-9)
    found = np.zeros(len(bad), bool)
    for window in _WINDOWS:
        if window > bad.shape[1]:
            break
        b, of = (sliding_window_view(c, window, axis=1).sum(axis=2) for c in (bad, n))
        expected = of * usual[:, None]
        z = (b - expected) / np.sqrt(expected * (1 - usual[:, None]) + 1)
        found |= ((z >= 3) & (b - expected >= 0.5 * rise * of)).any(axis=1)
    return found


def _times(n: Floats, bad: Floats, rise: float, tests: int) -> Iterator[_Worse]:
    """When the share of bad ones of one operation had risen."""
    count = len(n)
    suspect = np.zeros(count, bool)
    begin, last = -1, 0
    for t in range(count):
        past = np.flatnonzero(~suspect[max(0, t - _PAST) : t]) + max(0, t - _PAST)
        past = past[n[past] > 0]
        usual_bad, usual_n = float(bad[past].sum()), float(n[past].sum())
        if usual_n < _KNOWN:
            continue
        if begin < 0:
            begin = next(_fires(t, last, n, bad, past, rise, tests), -1) if n[t] > 0 and bad[t] > 0 else -1
            if begin < 0:
                continue
            suspect[begin:t] = True
        suspect[t] = True
        bins = next((k for k in _QUIET if n[t - k + 1 : t + 1].sum() >= 10), _QUIET[-1])
        quiet = slice(max(begin, t - bins + 1), t + 1)
        if t + 1 == count or not _worse(float(bad[quiet].sum()), float(n[quiet].sum()), usual_bad, usual_n, rise):
            worse = _bounded(n, bad, max(last, begin - _QUIET[0]), t + 1, usual_bad / usual_n)
            suspect[begin : t + 1] = False
            suspect[worse.begin : worse.end] = True
            begin, last = -1, worse.end
            yield worse


def _bounded(n: Floats, bad: Floats, first: int, last: int, usual: float) -> _Worse:
    """The bins from `first` to before `last` in which the higher share is likelier than the usual one."""
    begin, end = first, last
    weight = np.zeros(last - first)
    for _ in range(3):
        low = min(max(usual, 1e-4), 0.98)
        high = min(max(float(bad[begin:end].sum()) / max(float(n[begin:end].sum()), 1e-9), 1.5 * low), 0.99)
        b, of = bad[first:last], n[first:last]
        weight = b * math.log(high / low) + (of - b) * math.log((1 - high) / (1 - low))
        inner = _heaviest(weight, 0, last - first)
        begin, end = first + inner[0], first + inner[1]
    return _Worse(begin, end, first, weight)


def _heaviest(weight: Floats, begin: int, end: int) -> tuple[int, int]:
    """The part of begin..end, the end not included, whose sum is greatest."""
    sums = np.concatenate(([0.0], np.cumsum(weight[begin:end])))
    last = int(np.argmax(sums - np.minimum.accumulate(sums)))
    first = last - int(np.argmin(sums[last::-1]))
    return (begin + first, begin + last) if last > first else (begin, end)


def _fires(t: int, last: int, n: Floats, bad: Floats, past: Ints, rise: float, tests: int) -> Iterator[int]:
    """The first bin of each window after bin `last` and ending with t that is significantly worse than the past before it."""
    for window in _WINDOWS:
        begin = t - window + 1
        earlier = past[past < begin]
        if begin < max(1, last) or n[earlier].sum() < _KNOWN:
            continue
        b1, n1 = float(bad[begin : t + 1].sum()), float(n[begin : t + 1].sum())
        b0, n0 = float(bad[earlier].sum()), float(n[earlier].sum())
        if n1 <= 0 or not _worse(b1, n1, b0, n0, rise):
            continue
        p = statistics.rise(b1, n1, b0, n0, _dispersion(bad[earlier], n[earlier]))
        if window == 1 and p <= 1e-9 and b1 / n1 - b0 / n0 >= 0.2:
            yield begin
        if p > _RATE / (tests * len(_WINDOWS)) or (n1 < 20 and p > 1e-6):
            continue
        middle = t if window == 1 else begin + window // 2
        half = slice(t - 1, t) if window == 1 else slice(begin, middle)
        halves = ((bad[half].sum(), n[half].sum()), (bad[middle : t + 1].sum(), n[middle : t + 1].sum()))
        if all(of > 0 and _worse(float(b), float(of), b0, n0, rise) for b, of in halves):
            yield max(0, t - 1 if window == 1 else begin + _first_bad(bad[begin : t + 1], n[begin : t + 1], b0 / n0, rise))


def _worse(b1: float, n1: float, b0: float, n0: float, rise: float) -> bool:
    share, usual = b1 / max(n1, 1e-9), b0 / max(n0, 1e-9)
    return share - usual >= rise and share >= 2 * usual


def _first_bad(bad: Floats, n: Floats, usual: float, rise: float) -> int:
    worse = np.flatnonzero((n > 0) & (bad > (usual + rise) * n))
    return int(worse[0]) if len(worse) else 0


def _dispersion(bad: Floats, n: Floats) -> float:
    share = float(bad.sum()) / max(float(n.sum()), 1e-9)
    if not 0 < share < 1 or len(n) < 5:
        return 1.0
    chi2 = float(((bad - n * share) ** 2 / np.maximum(n * share * (1 - share), 1e-9)).sum())
    return max(1.0, chi2 / (len(n) - 1))


def _joined(suspect: Flags) -> Iterator[tuple[int, int]]:
    rows = np.flatnonzero(suspect)
    if not len(rows):
        return
    breaks = np.flatnonzero(np.diff(rows) > _JOIN)
    for begin, end in zip(np.concatenate(([0], breaks + 1)), np.concatenate((breaks, [len(rows) - 1])), strict=True):
        yield int(rows[begin]), int(rows[end]) + 1

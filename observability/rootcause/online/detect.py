"""Which slices of the traffic became worse than they were: shares of bad requests, bin by bin, each against its own clean past."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np

from observability.rootcause import statistics
from observability.rootcause.model import CLIENT, GATEWAY, DependencyMap
from observability.rootcause.online.table import BLAMED, CALLER, DEGRADED, Table
from observability.rootcause.spans import Flags, Floats, Ints

WINDOWS: Final = (1, 3, 12, 60)
"""Bins of 10 s."""
RATE: Final = 0.005
"""False discoveries among the slices and windows of one round. Those of less than FEW requests, which could hardly tell a thing, are held
apart, so that the others need not be surer for their number (as by Tarone, 1990).
"""
RISE: Final = 0.02
FAST_P: Final = 1e-9
FAST_RISE: Final = 0.2
FEW: Final = 20
FEW_P: Final = 1e-6
HOLD: Final = 12
"""A slice stays raised while its last two minutes are (or the window that told, when longer): a fault that comes and goes is one."""
SLOW_HOLD: Final = 30
QUIET: Final = 3
LEFT: Final = 0.1
"""Share of its worst that must be left for a slice to stay raised: the rest of a day is never quite as good as its past."""
HELD: Final = -4.5
NEAR: Final = -5.0
FEW_NEAR: Final = -10.0
"""Logarithms of a bound of the tail: at most this for a slice to stay raised; above these no exact one is worth its time."""
KNOWN: Final = 50
"""Requests from which on a past is one; below it only what fails by half is worth a word."""
_PRIOR: Final = (10.0, 0.1)
"""Requests and bad ones that every past begins with."""
_MOST_DISPERSED: Final = 10.0

Family = Literal["channel_route", "route_version", "store_capability", "degraded", "operation", "system", "client"]


class Sli(NamedTuple):
    """A slice of the traffic: of requests, or of the blame on a system."""

    family: Family
    values: tuple[str, ...]

    @property
    def felt(self) -> bool:
        """Whether channels feel it: it counts requests, not blame."""
        return self.family not in ("operation", "system", "client")


class Past(NamedTuple):
    requests: float
    bad: float


@dataclass(frozen=True, slots=True)
class Raised:
    """A slice that was worse than its past from bin `begin` until before `end` (so far, when it is going on); noticed at the end of bin
    `fired`.
    """

    sli: Sli
    begin: int
    fired: int
    end: int
    going_on: bool
    past: Past
    excess: float
    """Bad ones above what is usual."""
    swift: bool
    """Seen in two minutes or less; what takes ten to be seen takes long to be over as well."""


class Series(NamedTuple):
    slis: list[Sli]
    n: Floats
    bad: Floats
    """Both slis x bins."""


def series(table: Table, estate: DependencyMap) -> Series:
    whole = table.is_("system", "")
    met = ~whole & ~table.is_("system", CLIENT)
    blamed = table.counters[BLAMED]
    ours = table.is_("system", GATEWAY)
    rows_whole, rows_met = table.rows_of(whole), table.rows_of(met & ~ours)
    slis: list[Sli] = []
    n: list[Floats] = []
    bad: list[Floats] = []

    def add(family: Family, group: Ints, values: list[tuple[str, ...]], worse: Ints | Floats) -> None:
        slis.extend(Sli(family, v) for v in values)
        n.append(table.over_time(group, table.n, len(values), rows_met if family in ("operation", "system") else rows_whole))
        bad.append(table.over_time(group, worse, len(values)) / (1000 if worse is blamed else 1))

    add("channel_route", *table.groups("channel", "route", of=whole), table.bad)
    if table.counters[DEGRADED][rows_whole].any():
        add("degraded", *table.groups("channel", "route", of=whole), table.bad + table.counters[DEGRADED])
    add("route_version", *table.groups("route", "api_version", of=whole & ~table.is_("api_version", "")), table.bad)
    for group, values in _store_capabilities(table, estate, whole & ~table.is_("store", "")):
        add("store_capability", group, values, table.bad)
    add("operation", *table.groups("system", "operation", of=met & ~ours), blamed)
    add("system", *table.groups("system", of=met & ~ours), blamed)
    group, parts = table.groups("operation", of=ours)
    for part in parts:
        keys = table.met_by(*part)
        n.append(table.over_time(np.where(keys, 0, -1), table.n, 1, table.rows_of(keys)))
    slis += [Sli("operation", (GATEWAY, *part)) for part in parts]
    bad.append(table.over_time(group, blamed, len(parts)) / 1000)
    theirs = table.is_("system", CLIENT)
    group, clients = table.groups("operation", of=theirs)
    slis += [Sli("client", c) for c in clients]
    n.append(table.over_time(group, table.n, len(clients), table.rows_of(theirs)))
    bad.append(table.over_time(group, table.counters[CALLER], len(clients)))
    every_n, every_bad = np.concatenate(n), np.concatenate(bad)
    return _merged(slis, np.maximum(every_n, every_bad), every_bad)


def _store_capabilities(table: Table, estate: DependencyMap, of: Flags) -> list[tuple[Ints, list[tuple[str, ...]]]]:
    """Groups by store and n-th capability of the route; a route that declares none stands for itself."""
    number, values = table.groups("store", "route", of=of)
    found = []
    for nth in range(max((len(r.capabilities) for r in estate.routes.values()), default=1) or 1):
        known: dict[tuple[str, ...], int] = {}
        group_of = np.full(len(values) + 1, -1, np.int64)  # the last one is for keys without a group
        for i, (store, route) in enumerate(values):
            provided = estate.routes[route].capabilities if route in estate.routes else ()
            capability = provided[nth] if nth < len(provided) else route if nth == 0 else ""
            if capability:
                group_of[i] = known.setdefault((store, capability), len(known))
        found.append((group_of[number], list(known)))
    return found


def _merged(slis: list[Sli], n: Floats, bad: Floats) -> Series:
    """The same slice found twice (a capability that is the first of one route and the second of another) is one."""
    first: dict[Sli, int] = {}
    row = np.array([first.setdefault(s, len(first)) for s in slis], np.int64)
    if len(first) == len(slis):
        return Series(slis, n, bad)
    one_n, one_bad = np.zeros((len(first), n.shape[1])), np.zeros((len(first), n.shape[1]))
    np.add.at(one_n, row, n)
    np.add.at(one_bad, row, bad)
    return Series(list(first), one_n, one_bad)


def in_all(found: Series) -> dict[Sli, Past]:
    """What there was in all, slice by slice."""
    return {s: Past(n, bad) for s, n, bad in zip(found.slis, found.n.sum(axis=1).tolist(), found.bad.sum(axis=1).tolist(), strict=True)}


def raised(found: Series, before: Mapping[Sli, Past], week: Mapping[Sli, Past] = MappingProxyType({})) -> list[Raised]:
    """All that was raised at some time, in order of its begin. `before`: the past of slices that have been raised since before it all.
    `week`: how it was a week ago, where that is known; what was as bad then is no news.
    """
    worth = np.flatnonzero(found.bad.sum(axis=1) >= 2)
    if not len(worth):
        return []
    walk = _Walk([found.slis[i] for i in worth], found.n[worth].T, found.bad[worth].T, before, found.n.T, week)
    for t in range(found.n.shape[1]):
        walk.step(t)
    return sorted(walk.close(), key=lambda r: (r.begin, r.sli))


class _Walk:
    """Through the bins in order of time; what was raised is no part of anybody's past."""

    def __init__(
        self, slis: list[Sli], n: Floats, bad: Floats, before: Mapping[Sli, Past], every: Floats, week: Mapping[Sli, Past]
    ) -> None:
        """`every`: requests of all slices there are, also of those with nothing bad; bins x slices, as `n` and `bad`."""
        count, bins = len(slis), len(n)
        self.slis, self.n, self.bad, self.every = slis, np.ascontiguousarray(n), np.ascontiguousarray(bad), every
        self.all_n, self.all_bad = (np.vstack((np.zeros(count), np.cumsum(x, axis=0))) for x in (self.n, self.bad))
        known = [before.get(s) for s in slis]
        self.prior_n = np.array([k.requests if k else _PRIOR[0] for k in known])
        self.prior_bad = np.array([k.bad if k else _PRIOR[1] for k in known])
        weeks = [then if (then := week.get(s)) and then.requests >= KNOWN else Past(1.0, 0.0) for s in slis]
        self.week_n, self.week_bad = np.array([w.requests for w in weeks]), np.array([w.bad for w in weeks])
        square = np.divide(self.bad**2, self.n, out=np.zeros_like(self.bad), where=self.n > 0)
        self.steps = (self.n, self.bad, square, (self.n > 0).astype(float))
        self.clean = tuple(np.zeros((bins + 1, count)) for _ in self.steps)
        self.on = np.zeros(count, bool)
        self.begin, self.fired, self.last, self.quiet, self.hold = (np.zeros(count, np.int64) for _ in range(5))
        self.worst = np.zeros(count)
        """The highest share of bad ones in half a minute since it was raised."""
        self.before_sure = np.full(count, -1)
        """The bin with requests before this one, if it was significantly worse."""
        self.free = np.zeros(count, np.int64)
        """From which bin on windows may begin: what was told is not told again."""
        self.found: list[Raised] = []

    def step(self, t: int) -> None:
        for total, step in zip(self.clean, self.steps, strict=True):
            total[t + 1] = total[t] + np.where(self.on, 0.0, step[t])
        if self.on.any():
            self._hold(t)
        if self.all_bad[t + 1].max() > 0:
            self._fire(t)

    def _past(self, at: int, of: Ints | slice = slice(None)) -> tuple[Floats, Floats]:
        """Requests and bad ones of the clean bins before, or of a week ago if more of those were bad."""
        n, bad = self.clean[0][at, of] + self.prior_n[of], self.clean[1][at, of] + self.prior_bad[of]
        then = self.week_bad[of] * n > bad * self.week_n[of]
        return np.where(then, self.week_n[of], n), np.where(then, self.week_bad[of], bad)

    def _past_of(self, at: int, i: int) -> tuple[float, float]:
        n, bad = self._past(at, slice(i, i + 1))
        return float(n[0]), float(bad[0])

    def _dispersion(self, at: int, i: int) -> float:
        n, bad, square, bins = (float(total[at, i]) for total in self.clean)
        if bins < 5 or not 0 < bad < n:
            return 1.0
        share = bad / n
        return min(max(1.0, (square - share * bad) / (share * (1 - share)) / (bins - 1)), _MOST_DISPERSED)

    def _fire(self, t: int) -> None:
        many: list[tuple[float, int, int]] = []
        few: list[tuple[float, int, int]] = []
        some = np.flatnonzero((self.bad[t] > 0) & ~self.on)  # a window that ends with a good bin was worse before it
        for window in WINDOWS if len(some) else ():
            begin = t + 1 - window
            if begin < 0:
                continue
            n1, b1 = self.all_n[t + 1, some] - self.all_n[begin, some], self.all_bad[t + 1, some] - self.all_bad[begin, some]
            n0, b0 = self._past(begin, some)
            usual = b0 / n0 * n1
            worse = (b1 >= 1.5) & (begin >= self.free[some]) & (b1 - usual >= RISE * n1) & (b1 >= 2 * usual)
            for k in np.flatnonzero(worse).tolist():
                i, bad, of, mean = int(some[k]), float(b1[k]), float(n1[k]), float(usual[k])
                if bad * math.log(mean / bad) + bad - mean > (NEAR if of >= FEW else FEW_NEAR):
                    continue
                if n0[k] < KNOWN + self.prior_n[i] and self.prior_n[i] <= _PRIOR[0] and bad < 0.5 * of:
                    continue
                p = statistics.rise(bad, of, float(b0[k]), float(n0[k]), self._dispersion(begin, i))
                if of >= FEW or p <= FEW_P:
                    (many if of >= FEW else few).append((p, i, window))
        sure_now: set[int] = set()
        for p, i, window in self._discovered(t, many, few):
            if self.on[i]:
                continue
            if window == 1:
                sure_now.add(i)
                previous = int(self.before_sure[i])
                before, wrong = self._past_of(t, i)
                jump = self.bad[t, i] / self.n[t, i] - wrong / before
                if previous >= 0 or (p <= FAST_P and jump >= FAST_RISE):
                    self._raise(t, i, previous if previous >= 0 else t, window)
            elif self._halves(t, i, window):
                self._raise(t, i, t + 1 - window, window)
        for i in np.flatnonzero(self.n[t] > 0).tolist() if sure_now else ():
            self.before_sure[i] = t if i in sure_now else -1
        if not sure_now:
            self.before_sure[self.n[t] > 0] = -1

    def _discovered(self, t: int, many: list[tuple[float, int, int]], few: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
        """By Benjamini and Hochberg, the surest first; those of many requests and those of few each among their like."""
        if not many and not few:
            return []
        large = sum(int((self.every[max(0, t + 1 - window) : t + 1].sum(axis=0) >= FEW).sum()) for window in WINDOWS)
        found = []
        for tests, among in ((many, large), (few, self.every.shape[1] * len(WINDOWS) - large)):
            tests.sort()
            found += tests[: max((k for k, (p, _, _) in enumerate(tests, 1) if p <= k * RATE / among), default=0)]
        return sorted(found)

    def _halves(self, t: int, i: int, window: int) -> bool:
        begin, middle = t + 1 - window, t + 1 - window + window // 2
        n0, b0 = self._past_of(begin, i)
        for low, high in ((begin, middle), (middle, t + 1)):
            n, bad = self.all_n[high, i] - self.all_n[low, i], self.all_bad[high, i] - self.all_bad[low, i]
            if n <= 0 or bad - n * b0 / n0 < RISE * n or bad < 2 * n * b0 / n0:
                return False
        return True

    def _raise(self, t: int, i: int, first: int, window: int) -> None:
        """From the bin on that splits the window best into usual and worse; none of those is past any more."""
        low = max(0, first - 1)
        n0, b0 = self._past_of(low, i)
        begin = t - _farthest(self.n[low : t + 1, i][::-1], self.bad[low : t + 1, i][::-1], b0 / n0)
        for total in self.clean:
            total[begin + 1 : t + 2, i] = total[begin, i]
        self.on[i], self.begin[i], self.fired[i] = True, begin, t
        self.worst[i] = (self.all_bad[t + 1, i] - self.all_bad[begin, i]) / max(1.0, self.all_n[t + 1, i] - self.all_n[begin, i])
        self.last[i], self.quiet[i], self.hold[i] = begin + 1, 0, HOLD if window <= HOLD else SLOW_HOLD

    def _elevated(self, t: int, on: Ints, bins: Ints | int) -> Flags:
        low = np.maximum(t + 1 - bins, self.begin[on])
        n = self.all_n[t + 1, on] - self.all_n[low, on]
        bad = self.all_bad[t + 1, on] - self.all_bad[low, on]
        self.worst[on] = np.where((n >= FEW) & (bins <= QUIET), np.maximum(self.worst[on], bad / np.maximum(n, 1.0)), self.worst[on])
        n0, b0 = self._past(t, on)
        usual = n * b0 / n0
        near = bad * np.log(np.maximum(usual, 1e-9) / np.maximum(bad, 1e-9)) + bad - usual
        found: Flags = (
            (bad - usual >= np.maximum(RISE / 2, LEFT * self.worst[on]) * n) & (bad >= 1.5 * usual) & (bad >= 1.5) & (near <= HELD)
        )
        return found

    def _hold(self, t: int) -> None:
        on = np.flatnonzero(self.on)
        now = on[self._elevated(t, on, 1) | self._elevated(t, on, QUIET)]
        for bin_ in range(max(0, t + 1 - QUIET), t + 1):
            n0, b0 = self._past(t, now)
            self.last[now] = np.where(
                self.bad[bin_, now] > self.n[bin_, now] * b0 / n0, np.maximum(self.last[now], bin_ + 1), self.last[now]
            )
        still = self._elevated(t, on, self.hold[on])
        self.quiet[on] = np.where(still, 0, self.quiet[on] + 1)
        for i in on[self.quiet[on] >= QUIET].tolist():
            self._end(i, int(self.last[i]), False)
            self.free[i] = t + 1

    def _end(self, i: int, end: int, going_on: bool) -> None:
        at = int(self.begin[i])
        n0, b0 = self._past_of(at, i)
        excess = self.all_bad[end, i] - self.all_bad[at, i] - (self.all_n[end, i] - self.all_n[at, i]) * b0 / n0
        self.found.append(Raised(self.slis[i], at, int(self.fired[i]), end, going_on, Past(n0, b0), float(excess), self.hold[i] == HOLD))
        self.on[i] = False

    def close(self) -> list[Raised]:
        """What is not over for long enough yet has lasted until where worse and usual are split best; good bins after it are no part."""
        for i in np.flatnonzero(self.on).tolist():
            begin = int(self.begin[i])
            n0, b0 = self._past_of(begin, i)
            self._end(i, begin + 1 + _farthest(self.n[begin:, i], self.bad[begin:, i], b0 / n0), True)
        return self.found


def _farthest(n: Floats, bad: Floats, usual: float) -> int:
    """The bin up to which, from the first on, requests are best told apart from usual ones."""
    of, worse = n.cumsum(), bad.cumsum()
    share = np.clip(np.divide(worse, of, out=np.full_like(of, usual), where=of > 0), 1e-6, 1 - 1e-6)
    gain = worse * np.log(share / usual) + (of - worse) * np.log((1 - share) / (1 - usual))
    return int(np.argmax(np.where(share > usual, gain, -1.0)))

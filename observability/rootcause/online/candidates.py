"""Who could have done it: every system, operation and part of the gateway with the blame that fell on it, and what is left over."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from observability.rootcause import statistics
from observability.rootcause.model import CLIENT, COUNTERS, GATEWAY, Kind, WhyNotReason
from observability.rootcause.online.onset import Clock, Moment
from observability.rootcause.online.table import BLAMED, DEGRADED, Table
from observability.rootcause.spans import Flags, Floats, Ints
from observability.vocabulary import FAILURE_CLASSES

SURE: Final = 0.01
"""P from which on a candidate counts."""
CLASSES: Final = (*FAILURE_CLASSES, "late")
_SHRINK: Final = 10.0
_THIN: Final = (50.0, 0.5)
"""Requests and bad ones that are added to every past: one that is not known is taken to be good."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is looked at: the coarse bins of the incident, and the clean ones before it."""

    begin: int
    end: int
    clean: Flags
    """Per bin."""
    pairs: frozenset[tuple[str, str]]
    """(channel, route) that are hit; none: all."""
    degraded: bool = False
    """Whether answers that are stale or lack a part count as bad."""


@dataclass(slots=True, eq=False)
class Candidate:
    kind: Kind
    system: str
    operation: str
    keys: Flags
    """Per key of the coarse table."""
    n1: float
    n0: float
    blamed: float
    """Bad requests in excess, put on it."""
    coverage: float
    lift: float
    p: float
    score: float
    sick: float
    """Share of its own calls that failed or were late, in excess of what is usual."""
    p_sick: float
    classes: dict[str, float]
    """Failure class, or late -> calls in excess."""
    onset: Moment
    mistakes: float = 0.0
    """Calls in excess that failed by what their callers had sent."""
    members: tuple[Candidate, ...] = ()
    """Operations of a system, or what a shared cause is behind."""
    reason: WhyNotReason | None = None
    by: Candidate | None = None
    by_s: float = 0.0
    detail: str = ""
    shared: str = ""
    """What its members have in common."""
    explains: list[Candidate] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.system}.{self.operation}" if self.operation else self.system

    @property
    def main_class(self) -> str:
        """The failure class of most of its calls; a breaker's refusals only repeat what others told."""
        fresh = {k: v for k, v in self.classes.items() if k != "rejected" and v > 0}
        return max(fresh, key=lambda k: (fresh[k], k)) if fresh else "rejected" if self.classes.get("rejected", 0) > 0 else ""

    def later(self, than: Candidate) -> float:
        """Seconds by which it certainly started later; 0 when the bands touch."""
        return max(0.0, self.onset.low - than.onset.high)


class Case:
    """The sums of one incident: per key of the table, before and within it."""

    def __init__(self, coarse: Table, fine: Table, span: Span) -> None:
        self.table, self.span, self.clock = coarse, span, Clock(fine, coarse, span.begin, span.end)
        within = np.zeros(coarse.bins, bool)
        within[span.begin : span.end] = True
        self.now, self.failed, self.bad = coarse.per_key(within)
        self.past, _, self.bad_past = coarse.per_key(span.clean)
        self.sick = np.minimum(self.now[0], self.bad)
        self.sick_past = np.minimum(self.past[0], self.bad_past)
        self.whole = coarse.is_("system", "")
        self.pair, self.pairs = coarse.groups("channel", "route", of=np.ones(len(coarse.keys), bool))
        if span.degraded:
            self.bad, self.bad_past = self.bad + self.now[DEGRADED], self.bad_past + self.past[DEGRADED]
        self.confine()
        self.blamed1, self.blamed0 = self.now[BLAMED] / 1000, self.past[BLAMED] / 1000
        if span.degraded:
            self.blamed1 = self._stood_in(self.blamed1, self.now[DEGRADED], self.sick)
            self.blamed0 = self._stood_in(self.blamed0, self.past[DEGRADED], self.sick_past)

    def confine(self) -> None:
        """To the channels and routes of the span."""
        hit = [not self.span.pairs or v in self.span.pairs for v in self.pairs]
        self.hit: Flags = np.array(hit, bool)[self.pair]
        self.excess_by_key = self._excess(self.bad, self.bad_past, self.whole & self.hit, self.pair, len(self.pairs))
        self.excess = float(self.excess_by_key.sum())
        n1, n0, b1, b0 = (float(x[self.whole & self.hit].sum()) for x in (self.now[0], self.past[0], self.bad, self.bad_past))
        self.risen = self.excess > 0 and statistics.rise(min(b1, n1), n1, min(b0, n0) + 0.1, n0 + _SHRINK) <= SURE
        """Whether more requests were bad than is usual."""

    def reach(self, culprits: Iterable[Candidate]) -> Case:
        """The same with all channels and routes in which these are blamed more than is usual, raised for themselves or not."""
        found = set(self.span.pairs)
        for c in culprits:
            more = self._excess(self.blamed1, self.blamed0, c.keys, self.pair, len(self.pairs))
            found.update((self.pairs[i][0], self.pairs[i][1]) for i in np.flatnonzero(more >= 0.5).tolist())
        if not self.span.pairs or found == self.span.pairs:
            return self
        wider = copy(self)
        wider.span = replace(self.span, pairs=frozenset(found))
        wider.confine()
        return wider

    def _excess(self, bad: Floats, bad_past: Floats, keys: Flags, stratum: Ints, strata: int) -> Floats:
        """Per stratum, bad ones above what its own past expects; thin pasts lean on all of them."""
        n1, n0, b1, b0 = (np.bincount(stratum[keys], x[keys], strata) for x in (self.now[0], self.past[0], bad, bad_past))
        parent = (b0.sum() + 0.1) / (n0.sum() + _SHRINK)
        return np.asarray(np.maximum(0.0, b1 - n1 * (b0 + _SHRINK * parent) / (n0 + _SHRINK)))

    def _stood_in(self, blamed: Floats, degraded: Floats, sick: Floats) -> Floats:
        """Blame with that for answers that something older or smaller stood in for: on the calls that failed, or took too long, without a
        bad request.
        """
        strata = len(self.pairs)
        more = np.where(self.whole, 0.0, np.maximum(0.0, sick - blamed))
        asked, there = (np.bincount(self.pair, x, strata) for x in (more, np.where(self.whole, degraded, 0.0)))
        share = np.minimum(1.0, np.divide(there, asked, out=np.zeros(strata), where=asked > 0))
        return np.asarray(blamed + more * share[self.pair])

    def candidate(self, kind: Kind, system: str, operation: str, keys: Flags) -> Candidate:
        hit = keys & self.hit
        met = self.table.met_by(operation) & self.hit if kind == "gateway_part" else hit
        n1, n0 = (float(x[met].sum()) for x in (self.now[0], self.past[0]))
        a1, a0 = (float(x[hit].sum()) for x in (self.blamed1, self.blamed0))
        n1, n0 = max(n1, a1), max(n0, a0)
        if kind == "gateway_part":
            blamed = max(0.0, a1 - n1 * (a0 + 0.1) / (n0 + _SHRINK))
        else:
            blamed = float(self._excess(self.blamed1, self.blamed0, hit, self.pair, len(self.pairs)).sum())
        rate0 = (a0 + _THIN[1]) / (n0 + _THIN[0])
        lift = ((a1 + 0.5) / (n1 + 1)) / rate0
        p = statistics.rise(min(a1, n1), n1, min(a0, n0) + _THIN[1], n0 + _THIN[0])
        coverage = min(1.0, blamed / self.excess) if self.excess > 0 else 0.0
        m1, m0, s1, s0 = (float(x[keys].sum()) for x in (self.now[0], self.past[0], self.sick, self.sick_past))
        told = keys if kind in ("operation", "system") else self.whole & self.hit  # nothing is called in the others
        more = float(self.now[0][told].sum()) / max(float(self.past[0][told].sum()), 1.0)
        classes = {
            name: max(0.0, float(self.now[i][told].sum()) - more * float(self.past[i][told].sum()))
            for name, i in ((c, COUNTERS.index(c)) for c in CLASSES)
        }
        mistakes = classes.pop("caller")
        return Candidate(
            kind, system, operation, keys, n1, n0, blamed, coverage, lift, p,
            coverage * (1 - p) * min(1.0, math.log2(max(lift, 1.0)) / 4),
            max(0.0, s1 / max(m1, 1.0) - (s0 + 0.1) / (m0 + _SHRINK)), statistics.rise(s1, m1, s0 + _THIN[1], m0 + _THIN[0]),
            classes, self.onset(system, operation) if p <= SURE else self.clock.otherwise, mistakes,
        )  # fmt: skip

    def onset(self, system: str, operation: str) -> Moment:
        table = self.clock.table
        keys = table.is_("system", system)
        if operation:
            keys &= table.is_("operation", operation)
        return self.clock.moment(keys, table.counters[BLAMED], table.met_by(operation) if system == GATEWAY else None, of=1000)

    def felt(self) -> Moment:
        """When channels began to feel it."""
        table, pairs = self.clock.table, self.span.pairs
        keys = np.array([not w.system and (not pairs or (w.channel, w.route) in pairs) for w in table.keys], bool)
        return self.clock.moment(keys, table.bad)

    def operations(self) -> list[Candidate]:
        """Systems' operations and gateway parts that requests met, and what nobody could be blamed for."""
        table = self.table
        met = ~self.whole & ~table.is_("system", CLIENT)
        group, values = table.groups("system", "operation", of=met)
        blame = np.bincount(np.maximum(group, 0), np.where(met, self.blamed1, 0.0), len(values)) if len(values) else np.zeros(0)
        n = np.bincount(np.maximum(group, 0), np.where(met, self.now[0], 0.0), len(values)) if len(values) else np.zeros(0)
        found = [
            self.candidate("gateway_part" if system == GATEWAY else "operation", system, operation, group == i)
            for i, (system, operation) in enumerate(values)
            if n[i] > 0 or blame[i] > 0
        ]
        if float(self.blamed1[self.whole].sum()) > 0:
            found.append(self.candidate("unknown", "", "", self.whole))
        return found


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Best first; ties by the earlier onset, then by name."""
    return sorted(candidates, key=lambda c: (-round(c.score, 9), -round(c.coverage, 9), c.onset.at, c.name))

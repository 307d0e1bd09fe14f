"""What the simpler methods look at: the same flights as rows, series per system, and counts per combination of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.rootcause.estate import Estate
from benchmarks.rootcause.simulator import At, Flown, bad
from benchmarks.rootcause.trial import Leaf
from observability.rootcause.model import GATEWAY, Change, DependencyMap
from observability.vocabulary import Step

BIN: Final = 5.0
ROOT: Final[At] = (GATEWAY, "")
_FAILED: Final = frozenset({"failure", "rejected"})


class Call(NamedTuple):
    """`exclusive`: seconds that are its own; `depth`: 0 is the request at the gateway."""

    at: At
    caller: At
    seconds: float
    exclusive: float
    failed: bool
    depth: int
    error: str


@dataclass(slots=True)
class Trace:
    at: float
    seconds: float
    bad: bool
    leaf: Leaf
    calls: list[Call]


@dataclass(slots=True)
class View:
    """`since`: when it is said to have begun, in seconds of the simulation. These methods are told; ours is not."""

    estate: Estate
    before: list[Trace]
    after: list[Trace]
    since: float
    until: float
    changes: Sequence[Change]
    known: DependencyMap
    series: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    """System -> (metrics before, metrics after): columns are requests a second, errors a second, mean and largest seconds of its own."""

    def __post_init__(self) -> None:
        names = [*self.estate.role.values(), GATEWAY]
        begin = self.before[0].at if self.before else self.since
        for name in names:
            self.series[name] = self._binned(self.before, name, begin, self.since), self._binned(self.after, name, self.since, self.until)

    @property
    def names(self) -> list[str]:
        return list(self.series)

    def _binned(self, traces: Sequence[Trace], name: str, begin: float, end: float) -> NDArray[np.float64]:
        bins = max(1, int((end - begin) / BIN))
        table = np.zeros((bins, 4))
        for trace in traces:
            row = min(bins - 1, max(0, int((trace.at - begin) / BIN)))
            for call in trace.calls:
                if call.at[0] == name:
                    table[row, 0] += 1
                    table[row, 1] += call.failed
                    table[row, 2] += call.exclusive
                    table[row, 3] = max(table[row, 3], call.exclusive)
        table[:, 2] /= np.maximum(1, table[:, 0])
        return table

    def calls(self, traces: Sequence[Trace]) -> dict[At, list[Call]]:
        found: dict[At, list[Call]] = {}
        for trace in traces:
            for call in trace.calls:
                found.setdefault(call.at, []).append(call)
        return found

    def edges(self) -> dict[At, set[At]]:
        """Caller -> callees, as seen."""
        found: dict[At, set[At]] = {}
        for trace in (*self.before, *self.after):
            for call in trace.calls:
                if call.depth:
                    found.setdefault(call.caller, set()).add(call.at)
        return found


def view(estate: Estate, flown: Sequence[Flown], since: float, until: float, changes: Sequence[Change], known: DependencyMap) -> View:
    requests = [f for f in flown if f.record.kind == "request"]
    before = [trace(f) for f in requests if f.at < since][-2_500:]
    return View(estate, before, [trace(f) for f in requests if f.at >= since][:2_500], since, until, changes, known)


def trace(flown: Flown) -> Trace:
    record = flown.record
    inside = {s.parent: s for s in flown.served if s.parent}
    by_attempt = {h.bits: h for h in record.hops}
    below: dict[int, float] = {}
    for served in flown.served:
        if (hop := by_attempt.get(served.parent)) is not None and (inner := inside.get(served.span)) is not None:
            below[hop.parent_id] = below.get(hop.parent_id, 0.0) + inner.t1 - inner.t0
    calls: list[Call] = []
    covered: list[tuple[int, int]] = []
    failing = False
    for hop in record.hops[1:]:
        if hop.kind is Step.CALL:
            seconds, at = (hop.t1 - hop.t0) / 1e9, (hop.system, hop.operation)
            failed = hop.outcome in _FAILED
            mapping = failed and any(h.parent_id == hop.bits and h.kind is Step.MAP and h.outcome in _FAILED for h in record.hops)
            calls.append(Call(at, ROOT, seconds, max(0.0, seconds - below.get(hop.bits, 0.0)), failed and not mapping, 1, hop.error_type))
            covered.append((hop.t0, hop.t1))
            failing = failing or (failed and not mapping)
    for served in flown.served:
        if served.parent not in by_attempt and served.parent:
            seconds = max(0.0, served.t1 - served.t0)
            caller = next(((s.system, s.operation) for s in flown.served if s.span == served.parent), ROOT)
            calls.append(Call((served.system, served.operation), caller, seconds, seconds, served.error, 2, "500" if served.error else ""))
    own, reached = record.t1 - record.t0, record.t0
    for t0, t1 in sorted(covered):
        begin = max(t0, reached)
        if t1 > begin:
            own -= t1 - begin
            reached = t1
    root = Call(ROOT, ROOT, (record.t1 - record.t0) / 1e9, own / 1e9, record.outcome in _FAILED and not failing, 0, record.root.error_type)
    leaf = (record.channel, record.name, record.api_version, record.store)
    return Trace(flown.at, root.seconds, bad(record), leaf, [root, *calls])

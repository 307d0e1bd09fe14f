"""How good the answers were: accuracy, abstention, times, scope, blast radius, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, median
from typing import Final

from benchmarks.rootcause.faults import PARTIAL, Truth
from benchmarks.rootcause.simulator import BEGIN, At
from benchmarks.rootcause.trial import ATTRIBUTES, NAMING, Leaf, Outcome
from observability.rootcause.model import Incident

CANDIDATES: Final = 10
"""Eight systems, the gateway and the clients: among so many chance picks."""
TOP: Final = 5
Level = Callable[[Truth, At], bool]


def system_right(truth: Truth, said: At) -> bool:
    return said[0] == truth.system or said[0] in truth.also


def operation_right(truth: Truth, said: At) -> bool:
    """A fault of a whole system is named by the system or any of its operations; that of one operation by that one."""
    if not system_right(truth, said):
        return False
    return said[0] != truth.system or not truth.operation or said[1] == truth.operation


def main(incidents: Sequence[Incident]) -> Incident | None:
    """The one that hits most."""
    return max(incidents, key=lambda i: (i.state == "open", i.impact.failed + i.impact.late), default=None)


def ranking(incidents: Sequence[Incident]) -> list[At]:
    """Whom the incidents suspect, the main one first: culprits, then those with a reason why not."""
    first = main(incidents)
    said: list[At] = []
    for incident in sorted(incidents, key=lambda i: i is not first):
        for c in incident.culprits:
            said += [(m, "") for m in c.members] or [(c.system or c.kind, c.operation)]
    for incident in sorted(incidents, key=lambda i: i is not first):
        said += [(w.system, w.operation) for w in incident.why_not]
    return list(dict.fromkeys(said))


def at_k(truths: Sequence[Truth], said: Sequence[At], k: int, right: Level) -> float:
    """Share of the faults that are among the first k different answers. A system counts once, whatever of it is named."""
    answers = list(dict.fromkeys((s, "") for s, _ in said)) if right is system_right else list(said)
    return mean(any(right(t, a) for a in answers[:k]) for t in truths)


def scope_jaccard(outcome: Outcome) -> float | None:
    """Between what the first right culprit is said to be confined to and what it was, weighted by the requests through it."""
    truth = outcome.truths[0]
    leaves = outcome.leaves.get((truth.system, truth.operation), {})
    incident = main(outcome.final)
    found = next((c for c in incident.culprits if system_right(truth, (c.system, c.operation))), None) if incident else None
    return jaccard(leaves, [truth.scope], found.scope if found else None)


def jaccard(
    leaves: dict[Leaf, int], true: Sequence[dict[str, frozenset[str]]], said: Sequence[dict[str, tuple[str, ...]]] | None
) -> float | None:
    if not leaves:
        return None
    if said is None:
        return 0.0

    def inside(leaf: Leaf, scope: Sequence[dict[str, frozenset[str]]] | Sequence[dict[str, tuple[str, ...]]]) -> bool:
        known = dict(zip(ATTRIBUTES, leaf, strict=True))
        return not scope or any(all(known.get(name, "") in values for name, values in each.items()) for each in scope)

    both = either = 0
    for leaf, n in leaves.items():
        a, b = inside(leaf, true), inside(leaf, said)
        both += n * (a and b)
        either += n * (a or b)
    return both / either if either else None


def radius(outcome: Outcome) -> dict[str, float]:
    """Attribute -> overlap of the counted bad requests with the true ones, value by value: sum of the smaller over sum of the larger."""
    said: dict[str, dict[str, int]] = {}
    for incident in outcome.final:
        for name, counts in incident.impact.hit.items():
            for value, n in counts.items():
                said.setdefault(name, {})[value] = said.get(name, {}).get(value, 0) + n
    found = {}
    for name in ATTRIBUTES:
        true, ours = outcome.hit.get(name, {}), said.get(name, {})
        values = set(true) | set(ours)
        larger = sum(max(true.get(v, 0), ours.get(v, 0)) for v in values)
        if true and larger:
            found[name] = sum(min(true.get(v, 0), ours.get(v, 0)) for v in values) / larger
    return found


class Score:
    """Of one group of faults that were felt, by what the engine said in the end."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.all = list(outcomes)
        self.felt = [o for o in self.all if o.felt and not o.case.control]
        self.single = [o for o in self.felt if len(o.truths) == 1]
        self.several = [o for o in self.felt if len(o.truths) > 1]

    def ac(self, k: int, right: Level = system_right, outcomes: Sequence[Outcome] | None = None) -> float:
        chosen = self.single if outcomes is None else outcomes
        return _mean(at_k(o.truths, ranking(o.final), k, right) for o in chosen)

    def avg(self, right: Level = system_right) -> float:
        return _mean(self.ac(k, right) for k in range(1, TOP + 1))

    def recall(self) -> float:
        """Of concurrent faults, among as many answers as there are faults."""
        return _mean(at_k(o.truths, ranking(o.final), len(o.truths), system_right) for o in self.several)

    def exact(self) -> float:
        """Share of all faults for which the culprits named are those there were, no more and no fewer."""
        return _mean(_exact(o) for o in self.felt)

    def missed(self) -> float:
        return _mean(not o.final for o in self.felt)

    def abstained(self) -> float:
        """Noticed, but nobody named."""
        return _mean(bool(o.final) and all(i.verdict not in NAMING for i in o.final) for o in self.felt)

    def named_right(self) -> float:
        """Of those that name somebody, the share that name the right system first."""
        named = [o for o in self.single if (i := main(o.final)) and i.verdict in NAMING]
        return self.ac(1, outcomes=named)

    def scope(self) -> float:
        partial = [o for o in self.single if o.case.kind in PARTIAL]
        return _mean(x for o in partial if (x := scope_jaccard(o)) is not None)

    def detection(self, *, hard: bool) -> list[float]:
        """Seconds from the twentieth bad request to the first word."""
        slow = (3, 9)
        chosen = [
            o for o in self.felt if (o.case.kind not in slow) == hard and o.case.kind not in (14, 16, 8) and math.isfinite(o.twentieth)
        ]
        return [max(0.0, o.detected - o.twentieth) for o in chosen]

    def onset_errors(self) -> list[float]:
        return [
            abs(i.onset.at.timestamp() - BEGIN - o.first)
            for o in self.single
            if (i := main(o.final)) and o.case.kind not in (14, 16) and o.met
        ]

    def radius(self) -> dict[str, float]:
        found = [radius(o) for o in self.felt if o.final and o.met]
        return {name: _mean(f[name] for f in found if name in f) for name in ATTRIBUTES}

    def count_error(self) -> float:
        errors = [abs(sum(i.impact.failed + i.impact.late for i in o.final) - o.met) / o.met for o in self.felt if o.final and o.met]
        return median(errors) if errors else math.nan

    def evidence(self) -> float:
        shown = [o for o in self.felt if o.shown and o.met]
        return sum(o.right for o in shown) / max(1, sum(o.shown for o in shown)) if shown else math.nan

    def cpu(self) -> list[float]:
        return [seconds for o in self.all for seconds in o.cpu]


class Controls:
    """Days on which nothing was wrong."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.all = [o for o in outcomes if o.case.control]

    def with_verdict(self) -> float:
        return _mean(any(named for _, named, _ in o.alarms) for o in self.all)

    def with_incident(self) -> float:
        return _mean(any(still for _, _, still in o.alarms) for o in self.all)

    def a_day(self) -> float:
        """False incidents that name somebody, in 24 hours."""
        hours = sum(len(o.alarms) * 10 for o in self.all) / 3600
        begun = sum(bool(named) and not (n and o.alarms[n - 1][1]) for o in self.all for n, (_, named, _) in enumerate(o.alarms))
        return begun / hours * 24 if hours else math.nan


def judged(
    outcomes: Iterable[Outcome], figure: Callable[[Incident], float] = lambda i: i.confidence, *, feeds: bool = True
) -> list[tuple[float, bool]]:
    """Confidence (or another figure) and whether the first culprit was right, of every incident at the end, those of controls included.
    Without `feeds`: only those that rest on counts of requests.
    """
    found = []
    for o in outcomes:
        if not (o.felt or o.case.control):
            continue
        if (incident := main(o.final)) and incident.culprits:
            first = incident.culprits[0]
            if not feeds and "bad" not in incident.confidence_inputs:
                continue
            found.append((figure(incident), any(operation_right(t, (first.system, first.operation)) for t in o.truths)))
    return found


def ece(pairs: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error over ten equal bins."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in pairs:
        bins.setdefault(min(9, int(confidence * 10)), []).append((confidence, right))
    return sum(abs(mean(c for c, _ in b) - mean(r for _, r in b)) * len(b) for b in bins.values()) / max(1, len(pairs))


def brier(pairs: Sequence[tuple[float, bool]]) -> float:
    return _mean((confidence - right) ** 2 for confidence, right in pairs)


def chance(outcomes: Sequence[Outcome], k: int = 1) -> float:
    """Of somebody who draws k of all candidates."""
    return _mean(1 - math.comb(CANDIDATES - len({t.system, *t.also}), k) / math.comb(CANDIDATES, k) for o in outcomes for t in o.truths)


def _exact(outcome: Outcome) -> bool:
    named = {(c.system, c.operation) for i in outcome.final for c in i.culprits}
    members = {m for i in outcome.final for c in i.culprits for m in c.members}
    right = all(any(system_right(t, n) for n in named) or t.system in members for t in outcome.truths)
    return right and all(any(system_right(t, n) for t in outcome.truths) for n in named)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return mean(found) if found else math.nan


def quantile(values: Sequence[float], q: float) -> float:
    """Nearest rank; infinity among the values is what was never noticed."""
    return sorted(values)[min(len(values) - 1, math.ceil(q * len(values)) - 1)] if values else math.nan

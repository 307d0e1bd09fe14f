"""Simpler and known methods on the same inputs: from counting errors to random walks. They are told when it began.

Ours, from the papers' descriptions: NSigma and BARO's robust scorer (Pham et al., 2024), MicroRank (Yu et al., 2021), TraceRCA (Li et al.,
2021), MicroHECL (Liu et al., 2021); a walk along the map from anomaly to anomaly, as many products do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.rootcause.simulator import At
from benchmarks.rootcause.view import ROOT, Trace, View
from observability.rootcause.model import GATEWAY

Method = Callable[[View], list[At]]
_ERROR, _MEAN = 1, 2


def _ranked(scores: dict[At, float]) -> list[At]:
    """Best first; equal ones by name, so that the same input gives the same answer."""
    return [at for at, score in sorted(scores.items(), key=lambda i: (-i[1], i[0])) if score > 0]


def most_errors(view: View) -> list[At]:
    return _ranked({at: float(sum(c.failed for c in calls)) for at, calls in view.calls(view.after).items()})


def deepest_error(view: View) -> list[At]:
    scores: dict[At, float] = {}
    for trace in view.after:
        failing = [c for c in trace.calls if c.failed]
        if failing:
            deepest = max(failing, key=lambda c: c.depth).at
            scores[deepest] = scores.get(deepest, 0.0) + 1
    return _ranked(scores)


def latest_deploy(view: View) -> list[At]:
    changes = sorted((c for c in view.changes if c.kind != "maintenance"), key=lambda c: c.at, reverse=True)
    return [(c.scope.get("system", GATEWAY), c.scope.get("operation", "")) for c in changes]


def excess_time(view: View) -> list[At]:
    before, after = view.calls(view.before), view.calls(view.after)
    return _ranked(
        {at: sum(c.exclusive for c in calls) - len(calls) * _mean(c.exclusive for c in before.get(at, ())) for at, calls in after.items()}
    )


def six_rules(view: View) -> list[At]:
    before, after = view.calls(view.before), view.calls(view.after)
    scores: dict[At, float] = {}
    for at, calls in after.items():
        usual = np.array([c.seconds for c in before.get(at, ())] or [0.0])
        limit = float(usual.mean() + 6 * usual.std())
        words = sum(("connect" in c.error or "timeout" in c.error) * 3 + c.error.startswith(("5", "soap")) * 2 for c in calls if c.failed)
        slow = sum(c.exclusive > limit for c in calls)
        scores[at] = 3.0 * words + slow + 0.5 * sum(c.exclusive > 1.0 for c in calls)
    return _ranked(scores)


def n_sigma(view: View) -> list[At]:
    return _scored(view, lambda before, after: np.abs(after - before.mean(0)).max(0) / (before.std(0) + 1e-3))


def robust(view: View) -> list[At]:
    """BARO: how far the worst moment is from the median, in interquartile ranges."""

    def score(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
        low, middle, high = np.quantile(before, (0.25, 0.5, 0.75), axis=0)
        return np.asarray(np.abs(after - middle).max(0) / (high - low + 1e-3))

    return _scored(view, score)


def _scored(view: View, score: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]) -> list[At]:
    """A system's score is that of its oddest metric; the operation is the one with the most errors or time in excess."""
    systems = {name: float(score(before, after).max()) for name, (before, after) in view.series.items()}
    return _with_operation(view, systems)


def _with_operation(view: View, systems: dict[str, float]) -> list[At]:
    detail = [*deepest_error(view), *excess_time(view)]
    return [(s, next((o for its, o in detail if its == s), "")) for s in sorted(systems, key=lambda s: (-systems[s], s)) if systems[s] > 0]


def microrank(view: View) -> list[At]:
    """Personalised PageRank over operations and traces, once for odd and once for usual ones, weighs a spectrum (Ochiai)."""
    odd, usual = _odd(view)
    parts = sorted({c.at for t in (*odd, *usual) for c in t.calls})
    if not odd or not usual:
        return []
    index = {at: i for i, at in enumerate(parts)}
    weights, covers = [], []
    for traces in (odd, usual):
        sets = [frozenset(index[c.at] for c in t.calls) for t in traces]
        kinds: dict[frozenset[int], int] = {}
        for each in sets:
            kinds[each] = kinds.get(each, 0) + 1
        weights.append(
            _pagerank(kinds, len(parts), [(index[c.caller], index[c.at]) for t in traces for c in t.calls if c.depth and c.caller in index])
        )
        covers.append(np.array([sum(n for kind, n in kinds.items() if i in kind) for i in range(len(parts))], float))
    (pa, pn), (fail, passing) = weights, covers
    ef, nf, ep = pa * fail, pa * (len(odd) - fail), pn * passing
    score = ef / np.sqrt((ef + nf) * (ef + ep) + 1e-12)
    return _ranked({at: float(score[i]) for at, i in index.items()})


def _pagerank(kinds: dict[frozenset[int], int], parts: int, calls: list[tuple[int, int]]) -> NDArray[np.float64]:
    sets = list(kinds)
    among = np.zeros((parts, parts))
    for caller, callee in set(calls):
        among[callee, caller] = 1
    among /= np.maximum(1, among.sum(0))
    member = np.array([[i in kind for kind in sets] for i in range(parts)], float)
    to_parts = member / np.maximum(1, member.sum(0))
    to_kinds = (member / np.maximum(1, member.sum(1, keepdims=True))).T
    rare = np.array([1 / kinds[kind] / len(kind) for kind in sets])
    rare /= rare.sum()
    operations, traces = np.full(parts, 1 / (parts + len(sets))), np.full(len(sets), 1 / (parts + len(sets)))
    for _ in range(25):
        operations, traces = 0.85 * (to_parts @ traces + 0.01 * among @ operations), 0.85 * (to_kinds @ operations) + 0.15 * rare
        operations, traces = operations / operations.max(), traces / traces.max()
    return np.asarray(operations / operations.sum())


def tracerca(view: View) -> list[At]:
    """Support and confidence of "this operation was odd" for "this trace was bad", as their harmonic mean."""
    limits = _limits(view)
    bad = [t for t in view.after if t.bad]
    odd: dict[At, list[bool]] = {}
    for trace in view.after:
        for at in {c.at for c in trace.calls if c.failed or c.exclusive > limits.get(c.at, np.inf)}:
            odd.setdefault(at, []).append(trace.bad)
    scores = {}
    for at, found in odd.items():
        support, confidence = sum(found) / max(1, len(bad)), sum(found) / len(found)
        scores[at] = 2 * support * confidence / (support + confidence) if support else 0.0
    return _ranked(scores)


def microhecl(view: View) -> list[At]:
    """From the door along calls whose errors or times are anomalous; the ends, by correlation with what users feel."""
    felt = view.series[GATEWAY][1]
    users = _share_bad(view)
    odd, edges = _anomalous(view), view.edges()
    ends: set[At] = set()
    waiting, seen = [ROOT], {ROOT}
    while waiting:
        here = waiting.pop()
        below = [at for at in edges.get(here, ()) if at[0] in odd and at not in seen]
        if not below and here != ROOT:
            ends.add(here)
        seen.update(below)
        waiting += below
    if not ends and GATEWAY in odd:
        ends.add(ROOT)
    scores = {}
    for at in ends:
        metrics = view.series[at[0]][1]
        n = min(len(metrics), len(users), len(felt))
        scores[at] = max((abs(_pearson(metrics[:n, m], users[:n])) for m in (_ERROR, _MEAN)), default=0.0)
    return _ranked({at: score + 1e-6 for at, score in scores.items()}) + [(s, "") for s in sorted(odd - {a[0] for a in ends})]


def traversal(view: View) -> list[At]:
    """On the declared map: an anomalous system none of whose dependencies is anomalous; the oddest first."""
    odd = _anomalous(view)
    depends = {name: set(node.depends_on) for name, node in view.known.systems.items()}
    depends[GATEWAY] = set(view.known.systems)
    order = {name: float(_sigmas(view, name).max()) for name in odd}
    roots = {name for name in odd if not depends.get(name, set()) & odd}
    return _with_operation(view, {name: order[name] + (1e9 if name in roots else 0.0) for name in odd})


def _anomalous(view: View) -> set[str]:
    return {name for name in view.names if _sigmas(view, name).max() > 3}


def _sigmas(view: View, name: str) -> NDArray[np.float64]:
    before, after = (x[:, (_ERROR, _MEAN)] for x in view.series[name])
    return np.asarray((after.mean(0) - before.mean(0)) / (before.std(0) + 1e-3))


def _limits(view: View) -> dict[At, float]:
    found = {}
    for at, calls in view.calls(view.before).items():
        times = np.array([c.exclusive for c in calls])
        found[at] = float(times.mean() + 3 * times.std())
    return found


def _odd(view: View) -> tuple[list[Trace], list[Trace]]:
    """MicroRank's detector: longer than its operations may take together."""
    limits = _limits(view)
    odd: list[Trace] = []
    usual: list[Trace] = []
    for trace in view.after:
        may = sum(limits.get(c.at, 0.0) for c in trace.calls)
        (odd if trace.seconds > may or any(c.failed for c in trace.calls) else usual).append(trace)
    return odd, usual


def _share_bad(view: View) -> NDArray[np.float64]:
    bins = len(view.series[GATEWAY][1])
    n, bad = np.zeros(bins), np.zeros(bins)
    for trace in view.after:
        row = min(bins - 1, int((trace.at - view.since) / 5.0))
        n[row] += 1
        bad[row] += trace.bad
    return np.asarray(bad / np.maximum(1, n))


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else 0.0


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


METHODS: Final[dict[str, Method]] = {
    "most errors": most_errors, "deepest error": deepest_error, "latest deploy": latest_deploy, "excess time": excess_time,
    "six rules": six_rules, "NSigma": n_sigma, "BARO": robust, "MicroRank": microrank, "TraceRCA": tracerca, "MicroHECL": microhecl,
    "map traversal": traversal,
}  # fmt: skip

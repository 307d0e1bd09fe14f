"""Known methods for where it is bad, on counts of bad requests by channel, route, API version and store.

Ours, from the papers' descriptions: Adtributor (Bhagwan et al., 2014), HotSpot (Sun et al., 2018; a greedy search in place of its tree
search) and Squeeze (Li et al., 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.rootcause.trial import ATTRIBUTES, Leaf
from benchmarks.rootcause.view import View

Scope = list[dict[str, tuple[str, ...]]]
Counts = tuple[list[Leaf], NDArray[np.float64], NDArray[np.float64]]
"""Leaves, bad requests, and how many there would have been on a usual day."""
_LEAVES: Final = 1_500


def counted(view: View) -> Counts:
    n0: dict[Leaf, list[int]] = {}
    n1: dict[Leaf, list[int]] = {}
    for table, traces in ((n0, view.before), (n1, view.after)):
        for trace in traces:
            row = table.setdefault(trace.leaf, [0, 0])
            row[0] += 1
            row[1] += trace.bad
    usual = (sum(b for _, b in n0.values()) + 0.5) / (sum(n for n, _ in n0.values()) + 1)
    leaves = sorted(n1, key=lambda leaf: -n1[leaf][0])[:_LEAVES]
    real = np.array([n1[leaf][1] for leaf in leaves], float)
    return leaves, real, np.array([n1[leaf][0] * usual for leaf in leaves], float)


def adtributor(view: View) -> Scope:
    """The attribute whose few values explain two thirds of the change with the most surprise."""
    leaves, real, usual = counted(view)
    change = real.sum() - usual.sum()
    best: tuple[float, Scope] = (0.0, [])
    if change <= 0:
        return []
    for position in range(len(ATTRIBUTES)):
        found: list[tuple[float, float, str]] = []
        for value, rows in _values(leaves, position):
            p, q = usual[rows].sum() / usual.sum(), real[rows].sum() / max(1e-9, real.sum())
            surprise = 0.5 * (_entropy(p, p + q) + _entropy(q, p + q))
            found.append((surprise, (real[rows].sum() - usual[rows].sum()) / change, value))
        chosen, power, surprise = [], 0.0, 0.0
        for s, e, value in sorted(found, reverse=True):
            if e > 0.1:
                chosen.append(value)
                power, surprise = power + e, surprise + s
            if power > 0.67:
                break
        if power > 0.67 and surprise > best[0]:
            best = (surprise, [{ATTRIBUTES[position]: tuple(sorted(chosen))}])
    return best[1]


def hotspot(view: View) -> Scope:
    """The set of one cuboid whose change, spread over its leaves, comes nearest to what is there."""
    leaves, real, usual = counted(view)

    def score(rows: NDArray[np.int64]) -> float:
        expected = usual.copy()
        expected[rows] *= real[rows].sum() / max(1e-9, usual[rows].sum())
        return max(0.0, 1 - float(np.linalg.norm(real - expected)) / max(1e-9, float(np.linalg.norm(real - usual))))

    return _search(leaves, real, usual, lambda rows, n: score(rows) - 0.01 * n)


def squeeze(view: View) -> Scope:
    """Leaves of like deviation belong together; of each group the set with the best generalised potential score."""
    leaves, real, usual = counted(view)
    deviation = 2 * (real - usual) / np.maximum(1e-9, real + usual)
    odd = deviation > 0.2
    if not odd.any():
        return []
    heights, edges = np.histogram(deviation[odd], bins=10, range=(0.2, 2.0))
    peak = int(np.argmax(heights))
    group = odd & (deviation >= edges[max(0, peak - 1)]) & (deviation <= edges[min(10, peak + 2)])

    def score(rows: NDArray[np.int64], n: int) -> float:
        inside = np.zeros(len(leaves), bool)
        inside[rows] = True
        if not (inside & group).any():
            return -1.0
        expected = usual * np.where(inside, real[inside].sum() / max(1e-9, usual[inside].sum()), 1.0)
        far = (
            np.abs(real - expected)[inside].mean() + np.abs(real - usual)[~inside].mean()
            if (~inside).any()
            else np.abs(real - expected)[inside].mean()
        )
        near = np.abs(real - usual)[inside].mean() + (np.abs(real - usual)[~inside].mean() if (~inside).any() else 0.0)
        return float(1 - far / max(1e-9, near)) - 0.01 * n

    return _search(leaves, real, usual, score)


def _search(
    leaves: list[Leaf], real: NDArray[np.float64], usual: NDArray[np.float64], score: Callable[[NDArray[np.int64], int], float]
) -> Scope:
    """Cuboids of one and two attributes; in each, elements by how far they deviate, as long as the score rises."""
    best: tuple[float, Scope] = (0.0, [])
    for width in (1, 2):
        for positions in combinations(range(len(ATTRIBUTES)), width):
            elements: dict[tuple[str, ...], list[int]] = {}
            for row, leaf in enumerate(leaves):
                elements.setdefault(tuple(leaf[p] for p in positions), []).append(row)
            order = sorted(elements, key=lambda e: usual[elements[e]].sum() - real[elements[e]].sum())[:6]
            rows: list[int] = []
            for n, element in enumerate(order, 1):
                rows += elements[element]
                value = score(np.array(rows), n * width)
                if value > best[0]:
                    best = value, [dict(zip((ATTRIBUTES[p] for p in positions), ((v,) for v in e), strict=True)) for e in order[:n]]
    return best[1]


def _values(leaves: list[Leaf], position: int) -> Iterator[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for row, leaf in enumerate(leaves):
        if leaf[position]:
            found.setdefault(leaf[position], []).append(row)
    yield from found.items()


def _entropy(part: float, whole: float) -> float:
    return float(part * np.log(2 * part / whole)) if part > 0 else 0.0


METHODS: Final[dict[str, Callable[[View], Scope]]] = {"Adtributor": adtributor, "HotSpot": hotspot, "Squeeze": squeeze}

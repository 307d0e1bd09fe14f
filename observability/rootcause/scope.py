"""What is special about the bad requests: the shortest conjunction of attributes that tells them from the good ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from observability.rootcause.spans import Flags, Floats, Ints
from observability.rootcause.statistics import totals
from observability.rootcause.structure import Structure

if TYPE_CHECKING:
    from observability.rootcause.explain import Candidate, Explainer

_WIDTH: Final = 32
_MOST: Final = 3
_VALUES: Final = 1_000
"""Of one attribute, the most frequent values are searched."""


def scope(explainer: Explainer, c: Candidate, attributes: Sequence[str]) -> list[dict[str, list[str]]]:
    """`[{"store": ["017", "018"]}]`; empty: everywhere this part is used.

    Minimises `bits = values named * log2(values there are) + deviance / (2 ln 2)` over conjunctions of at most three attributes.
    """
    s = explainer.s
    met = np.zeros(s.traces, bool)
    met[s.trace[explainer.p.span[np.isin(explainer.p.part, c.parts)]]] = True
    hit = explainer.hit(c)
    traces = np.flatnonzero(met & explainer.incident)
    columns = {key: _per_trace(s, key)[traces] for key in attributes if key in s.spans.attributes}
    found = best(columns, {k: s.spans.attributes[k][1] for k in columns}, hit[traces], s.spans.weight[s.main[traces]])
    return [found] if found else []


def _per_trace(s: Structure, key: str) -> Ints:
    """The value that the request itself carries, else the first one of any of its spans."""
    column = s.spans.attributes[key][0]
    value = np.full(s.traces, -1, np.int64)
    rows = np.flatnonzero(column >= 0)[::-1]
    value[s.trace[rows]] = column[rows]
    return np.where(column[s.main] >= 0, column[s.main], value)


def best(columns: dict[str, Ints], values: dict[str, list[str]], bad: Flags, weight: Floats) -> dict[str, list[str]]:
    """Attribute -> values of the scope with the fewest bits; {} when no scope is better than none."""
    everything = np.ones(len(bad), bool)
    start = _bits(everything, bad, weight, 0.0)
    beam: list[tuple[float, float, dict[str, list[int]], Flags]] = [(start, 0.0, {}, everything)]
    winner = beam[0]
    for _ in range(_MOST):
        found = []
        for _, price, chosen, inside in beam:
            for key, column in columns.items():
                if key in chosen:
                    continue
                if extended := _extend(column, inside, bad, weight, price):
                    bits, cost, picked, mask = extended
                    found.append((bits, cost, {**chosen, key: picked}, mask))
        if not found:
            break
        found.sort(key=lambda f: (f[0], sorted(f[2])))
        beam = found[:_WIDTH]
        if beam[0][0] < winner[0] - 1e-6:
            winner = beam[0]
    return {key: [values[key][v] for v in sorted(picked, key=lambda v: values[key][v])] for key, picked in sorted(winner[2].items())}


def _extend(column: Ints, inside: Flags, bad: Flags, weight: Floats, price: float) -> tuple[float, float, list[int], Flags] | None:
    """The values of one attribute that belong into the scope: worst ones first, as long as the bits fall."""
    rows = inside & (column >= 0)
    if not rows.any():
        return None
    values = int(column.max()) + 1
    n = totals(column[rows], weight[rows], values)
    b = totals(column[rows & bad], weight[rows & bad], values)
    known = np.flatnonzero(n > 0)
    if len(known) < 2:
        return None
    if len(known) > _VALUES:
        known = known[np.argsort(-b[known], kind="stable")[:_VALUES]]
    order = known[np.lexsort((-b[known], -(b[known] + 0.5) / (n[known] + 1)))]
    unit = math.log2(max(len(known), 2))
    all_n, all_b = float(weight.sum()), float(weight[bad].sum())
    cum_n, cum_b = np.cumsum(n[order]), np.cumsum(b[order])
    bits = price + unit * np.arange(1, len(order) + 1) + _two_rates(cum_b, cum_n, all_b, all_n)
    at = int(np.argmin(bits))
    picked = [int(v) for v in order[: at + 1]]
    if len(picked) == len(known):
        return None
    return float(bits[at]), price + unit * len(picked), picked, inside & np.isin(column, picked)


def _bits(inside: Flags, bad: Flags, weight: Floats, price: float) -> float:
    n, b = float(weight[inside].sum()), float(weight[inside & bad].sum())
    return price + float(_two_rates(np.array([b]), np.array([n]), float(weight[bad].sum()), float(weight.sum()))[0])


def _two_rates(b: Floats, n: Floats, all_b: float, all_n: float) -> Floats:
    """Bits that the outcomes take when one rate holds inside the scope and another outside."""
    return (_entropy(b, n) + _entropy(all_b - b, all_n - n)) / math.log(2)


def _entropy(b: Floats, n: Floats) -> Floats:
    share = np.clip(np.divide(b, n, out=np.zeros_like(b), where=n > 0), 1e-12, 1 - 1e-12)
    return np.where(n > 0, -(b * np.log(share) + (n - b) * np.log1p(-share)), 0.0)

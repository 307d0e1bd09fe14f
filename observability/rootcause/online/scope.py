"""For whom: the shortest conjunction of attributes that tells the bad calls of a culprit from its good ones."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from observability.rootcause import scope as search
from observability.rootcause.online.candidates import SURE, Candidate, Case
from observability.rootcause.spans import Flags, Floats

ATTRIBUTES: Final = ("channel", "route", "api_version", "store")
CLEAR: Final = 16.0
"""Bits that an attribute must save to be named: the best of many values always saves a few."""
_MOST_CELLS: Final = 20_000


def scope(case: Case, c: Candidate) -> tuple[dict[str, tuple[str, ...]], ...]:
    """One conjunction, or none: everywhere. Bad ones are in excess of what was usual, never raw."""
    table = case.table
    sick = c.kind not in ("gateway_part", "unknown") and c.p_sick <= SURE
    bad, bad_past = (case.sick, case.sick_past) if sick else (case.blamed1, case.blamed0)
    met = c.keys
    if c.kind == "gateway_part":  # its cells count what it is blamed for; what there was besides stands in those of the requests
        met = table.met_by(c.operation)
        bad, bad_past = _moved(case, c.keys, met, bad), _moved(case, c.keys, met, bad_past)
    keys = np.flatnonzero(met & (case.now[0] > 0))
    if not len(keys):
        return ()
    usual = (float(bad_past[met].sum()) + 0.1) / (float(case.past[0][met].sum()) + 10)
    n = case.now[0][keys]
    worse = np.clip(bad[keys] - n * usual, 0, n)
    if len(keys) > _MOST_CELLS:
        kept = np.argsort(-worse, kind="stable")[:_MOST_CELLS]
        keys, n, worse = keys[kept], n[kept], worse[kept]
    columns, values = {}, {}
    for attribute in ATTRIBUTES:
        codes, names = table.column(attribute)
        columns[attribute] = np.tile(np.where(codes[keys] == (names.index("") if "" in names else -1), -1, codes[keys]), 2)
        values[attribute] = names
    found = search.best(columns, values, np.repeat([True, False], len(keys)), np.concatenate((worse, n - worse)))
    inside = {k: np.isin(columns[k][: len(keys)], [values[k].index(v) for v in chosen]) for k, chosen in found.items()}
    for attribute in sorted(inside):
        if _bits(inside, n, worse) + CLEAR > _bits({k: v for k, v in inside.items() if k != attribute}, n, worse):
            del inside[attribute]
    return ({k: tuple(sorted(found[k])) for k in sorted(inside)},) if inside else ()


def _moved(case: Case, keys: Flags, to: Flags, amount: Floats) -> Floats:
    """Amounts of some cells on those of others that have the same attributes."""
    group, values = case.table.groups(*ATTRIBUTES, of=keys | to)
    total = np.bincount(group[keys], amount[keys], len(values)) / np.maximum(np.bincount(group[to], minlength=len(values)), 1)
    return np.where(to, total[group], 0.0)


def _bits(inside: dict[str, Flags], n: Floats, bad: Floats) -> float:
    """That the outcomes take with one rate inside and one outside."""
    within = np.logical_and.reduce(list(inside.values())) if inside else np.ones(len(n), bool)
    return sum(_entropy(float(bad[part].sum()), float(n[part].sum())) for part in (within, ~within))


def _entropy(bad: float, n: float) -> float:
    return -sum(x * math.log2(x / n) for x in (bad, n - bad) if x > 0) if n > 0 else 0.0

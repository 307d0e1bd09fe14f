"""Cells as numpy columns, and their sums over groups and bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from observability.rootcause.model import COUNTERS, Rows, Where
from observability.rootcause.spans import Flags, Floats, Ints
from observability.rootcause.statistics import totals
from observability.vocabulary import FAILURE_CLASSES

BIN: Final = 10
"""Seconds of a coarse bin."""
MOST_BINS: Final = 720
"""Older bins are left out, whatever the rows hold."""
SLICE: Final = 200_000
"""So many rows are summed in one step; other threads come in between."""
_FAILED: Final = tuple(i for i, name in enumerate(COUNTERS) if name in FAILURE_CLASSES and name != "caller")
N, CALLER, LATE, DEGRADED, BLAMED = (COUNTERS.index(name) for name in ("n", "caller", "late", "degraded", "blamed"))


class Table:
    """Rows between two moments. `at` is the bin of a row, counted from `start` (seconds since 1970)."""

    def __init__(self, rows: Rows, width: int, end: float, most: int = MOST_BINS, like: Table | None = None) -> None:
        """`like`: another table that may have the same keys."""
        key, at = _ints(rows.key), _ints(rows.bin) // width
        last = int(end // width)  # the first bin that is not complete
        inside = (at < last) & (at >= last - most)
        whole = bool(inside.all())
        if not whole:
            key, at = key[inside], at[inside]
        self.width = width
        self.keys: Sequence[Where] = rows.keys
        first = int(at.min()) if len(at) else last
        self.start, self.bins = first * width, last - first
        self.key, self.at = key, at - first
        self.counters = tuple(_ints(c) if whole else _ints(c)[inside] for c in rows.counters)
        coded = like.coded if like is not None and like.keys is rows.keys else [_coded(column) for column in zip(*rows.keys, strict=True)]
        self.coded: list[tuple[Ints, list[str]]] = coded or [(_ints(()), [])] * len(Where._fields)
        """Per attribute: per key the code of its value, and the values."""
        self.failed = np.zeros(len(key), np.int64)
        for i in _FAILED:
            self.failed += self.counters[i]
        self.n = self.counters[N]
        self.bad = self.failed + self.counters[LATE]
        told = np.zeros(len(key), bool)
        for column in self.counters[1:]:
            told |= column != 0
        self.told = np.flatnonzero(told)
        """Rows that count more than requests."""

    def column(self, attribute: str) -> tuple[Ints, list[str]]:
        """Per key the code of its value, and the values."""
        return self.coded[Where._fields.index(attribute)]

    def is_(self, attribute: str, value: str) -> Flags:
        """Per key, whether it has this value."""
        codes, names = self.column(attribute)
        found: Flags = codes == (names.index(value) if value in names else -1)
        return found

    def groups(self, *attributes: str, of: Flags) -> tuple[Ints, list[tuple[str, ...]]]:
        """Per key the number of its group (-1: none), and the groups' values. `of`: the keys that count."""
        code = np.zeros(len(self.keys), np.int64)
        columns = [self.column(a) for a in attributes]
        for codes, names in columns:
            code = code * len(names) + codes
        number = np.full(len(self.keys), -1, np.int64)
        _, first, number_of = np.unique(code[of], return_index=True, return_inverse=True)
        number[of] = number_of
        rows = np.flatnonzero(of)[first]
        return number, [tuple(names[codes[row]] for codes, names in columns) for row in rows.tolist()]

    def rows_of(self, keys: Flags) -> Ints:
        """The rows of these keys."""
        return np.flatnonzero(keys[self.key])

    def over_time(self, group: Ints, weight: Ints | Floats, groups: int, rows: Ints | None = None) -> Floats:
        """groups x bins: sums of `weight` (per row); `group` is per key, negative ones are left out. `rows`: none but these count."""
        total = np.zeros(groups * self.bins)
        chosen = self.told if rows is None else rows
        for begin in range(0, len(chosen), SLICE):
            part = chosen[begin : begin + SLICE]
            which = group[self.key[part]]
            inside = which >= 0
            if not inside.all():
                part, which = part[inside], which[inside]
            if len(part):
                total += np.bincount(which * self.bins + self.at[part], weight[part], groups * self.bins)
        return np.maximum(total.reshape(groups, self.bins), 0.0)  # corrections are negative

    def per_key(self, bins: Flags) -> tuple[list[Floats], Floats, Floats]:
        """Over the chosen bins, sums per key: of each counter, of failures, of bad ones."""
        every, told = np.flatnonzero(bins[self.at]), self.told[bins[self.at[self.told]]]
        key, count = self.key[told], len(self.keys)
        n = totals(self.key[every], self.n[every], count)
        rest = [totals(key, column[told], count) for column in (*self.counters[1:], self.failed, self.bad)]
        *counters, failed, bad = (np.maximum(x, 0.0) for x in (n, *rest))
        return counters, failed, bad

    def met_by(self, part: str) -> Flags:
        """Per key, whether it counts requests that a part of the gateway had to do with: those that met the operation or system that it
        is named after (`mapping erp.GetStock`, `pool erp`), else all.
        """
        system, _, operation = part.rpartition(" ")[2].partition(".")
        of = self.is_("system", system)
        if operation and (of & self.is_("operation", operation)).any():
            return of & self.is_("operation", operation)
        return of if not operation and system and of.any() else self.is_("system", "")


def _coded(column: tuple[str, ...]) -> tuple[Ints, list[str]]:
    known = {value: i for i, value in enumerate(dict.fromkeys(column))}
    return np.fromiter(map(known.__getitem__, column), np.int64, len(column)), list(known)


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, np.int64)

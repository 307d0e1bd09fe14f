"""How long requests of each channel and calls to each system took over the last minutes, in all processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock
from time import time
from typing import Final, Literal

from observability.baseline import BUCKETS
from observability.cells import Cell, Cells
from observability.rings import MINUTE

WINDOW_S: Final = 300
Kind = Literal["channel", "system"]
Lasted = tuple[tuple[Kind, str], list[tuple[int, int]]]
"""Of one channel or system: buckets (as of `baseline.bucket`) that are not empty, and how many there are in each."""


class Durations:
    """Histograms by when their ten seconds began."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._told: dict[tuple[Kind, str], list[int]] = {}
        self._bins: dict[int, list[Lasted]] = {}

    def new(self, cells: Cells) -> list[Lasted]:
        """What these cells, which only grow, hold beyond the last call."""
        now: dict[tuple[Kind, str], list[int]] = {}
        for key, cell in _of(cells):
            now[key] = [a + b for a, b in zip(now[key], cell.durations, strict=True)] if key in now else cell.durations.copy()
        before, self._told = self._told, now
        nothing = [0] * BUCKETS
        fresh = ((key, zip(counts, before.get(key, nothing), strict=True)) for key, counts in now.items())
        found = [(key, [(i, a - b) for i, (a, b) in enumerate(pairs) if a > b]) for key, pairs in fresh]
        return [(key, counts) for key, counts in found if counts]

    def add(self, begin: int, lasted: Iterable[Lasted]) -> None:
        """What some process counted in the ten seconds from then on."""
        now = time()
        with self._lock:
            if now - WINDOW_S <= begin <= now + MINUTE:
                self._bins.setdefault(begin, []).extend(lasted)
            for old in [b for b in self._bins if b < now - WINDOW_S]:
                del self._bins[old]

    def lately(self) -> dict[tuple[Kind, str], Cell]:
        """Of the last minutes: cells that hold `n` and `durations`, nothing else."""
        since = time() - WINDOW_S
        with self._lock:
            rows = [row for begin, rows in self._bins.items() if begin >= since for row in rows]
        found: dict[tuple[Kind, str], Cell] = {}
        for key, counts in rows:
            cell = found.setdefault(key, Cell())
            for index, n in counts:
                cell.durations[index % BUCKETS] += n
                cell.n += n
        return found


def _of(cells: Cells) -> Iterator[tuple[tuple[Kind, str], Cell]]:
    for route, cell in cells.routes.items():
        if route.channel:
            yield ("channel", route.channel), cell
    for operation, cell in cells.operations.items():
        yield ("system", operation.system), cell

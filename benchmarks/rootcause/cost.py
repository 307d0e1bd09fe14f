"""What one look costs in a large estate while something is wrong: thousands of slices, an hour of cells, CPU time of one thread."""

from __future__ import annotations

import time
from array import array
from functools import cache
from statistics import median
from typing import Final

import numpy as np

from observability.rootcause.model import (
    COUNTERS,
    CapabilityNode,
    DependencyMap,
    Evidence,
    OperationNode,
    RouteNode,
    Rows,
    SystemNode,
    Where,
)
from observability.rootcause.online.detect import series
from observability.rootcause.online.engine import Engine
from observability.rootcause.online.table import BIN, Table

STORES: Final = 300
ROUTES: Final = 10
CHANNELS: Final = ("web", "mobile", "store", "kiosk", "call_centre")
VERSIONS: Final = ("2025-03", "2025-09", "2026-01")
PER_SECOND: Final = 200
NOW: Final = 1_800_000_000
LOOKS: Final = 3
SLICES: Final = 3_100


@cache
def look() -> float:
    """Seconds of CPU of one look, the median of some."""
    made = evidence()
    if (slices := len(series(Table(made.coarse, BIN, made.now), made.map).slis)) != SLICES:
        raise RuntimeError(f"expected an estate of {SLICES} slices, got {slices}")
    spent = []
    for _ in range(LOOKS):
        begun = time.process_time()
        found = Engine().look(made)
        spent.append(time.process_time() - begun)
        if [(c.system, c.operation) for i in found for c in i.culprits] != [("s0", "ask")]:
            raise RuntimeError(f"a look that finds {[i.sentence for i in found]} costs nothing worth knowing")
    return median(spent)


def evidence() -> Evidence:
    """Forty-five bins of a minute and ninety of ten seconds; each route asks one system, and one of those has failed for a minute."""
    chance = np.random.default_rng(7)
    mix = list(range(ROUTES))
    keys = [
        Where(*system, channel, f"GET /r{route}", version, f"{store:03}")
        for store in range(STORES)
        for route in mix
        for channel, version in [(CHANNELS[(store + route) % len(CHANNELS)], VERSIONS[store % len(VERSIONS)])]
        for system in (("", ""), (f"s{route}", "ask"))
    ]
    begins = [NOW - 3_600 + 60 * n for n in range(45)] + [NOW - 900 + 10 * n for n in range(90)]
    bad, blamed = COUNTERS.index("upstream_error"), COUNTERS.index("blamed")
    columns: list[list[int]] = [[] for _ in range(len(COUNTERS) + 2)]
    for begin in begins:
        width = 60 if begin < NOW - 900 else 10
        asked = chance.multinomial(PER_SECOND * width, [1 / (STORES * ROUTES)] * (STORES * ROUTES))
        for of in np.flatnonzero(asked).tolist():
            n = int(asked[of])
            broken = n if of % ROUTES == 0 and begin >= NOW - 60 else int(chance.binomial(n, 0.001))
            for key, blame in ((2 * of, 0), (2 * of + 1, 1000 * broken)):
                row = [key, begin, n, *[0] * (len(COUNTERS) - 1)]
                row[2 + bad], row[2 + blamed] = broken, blame
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
    key_column, bin_column, *counters = (array("q", column) for column in columns)
    coarse = Rows(keys, key_column, bin_column, tuple(counters))
    nothing = Rows(keys, array("q"), array("q"), tuple(array("q") for _ in COUNTERS))
    return Evidence(now=float(NOW), coarse=coarse, fine=nothing, map=_map(mix))


def _map(routes: list[int]) -> DependencyMap:
    return DependencyMap(
        systems={f"s{n}": SystemNode() for n in routes},
        operations={f"s{n}.ask": OperationNode(provides=f"c{n}") for n in routes},
        capabilities={f"c{n}": CapabilityNode(operations=(f"s{n}.ask",)) for n in routes},
        routes={f"GET /r{n}": RouteNode(capabilities=(f"c{n}",)) for n in routes},
        channels=CHANNELS,
    )

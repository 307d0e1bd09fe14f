"""Whom routes, feeds and jobs were seen to call that nobody declared; from what is counted anyway."""

from __future__ import annotations

import numpy as np

from observability.dependencies import Edge, Seen, differences
from observability.rootcause.model import CLIENT, GATEWAY, DependencyMap, Rows
from observability.rootcause.statistics import totals


def undeclared(rows: Rows, declared: DependencyMap) -> tuple[tuple[str, str], ...]:
    """(caller, `system.operation`) of what is called, what was seen most often first. What counts as seen, and as declared: see
    `differences`.
    """
    if not rows.keys or not rows.bin:
        return ()
    calls = totals(np.frombuffer(rows.key, np.int64), np.frombuffer(rows.counters[0], np.int64), len(rows.keys))
    met: dict[tuple[str, str, str], int] = {}
    for index in np.flatnonzero(calls > 0).tolist():
        where = rows.keys[index]
        if where.system and where.system not in (CLIENT, GATEWAY):
            at = (where.route, where.system, where.operation)
            met[at] = met.get(at, 0) + int(calls[index])
    edges = tuple(Edge(route=route, system=system, operation=operation, n=n) for (route, system, operation), n in met.items())
    bins = np.frombuffer(rows.bin, np.int64)
    hours = float(bins.max() - bins.min()) / 3_600
    found = differences(declared, Seen(hours=hours, edges=edges))
    return tuple((d.route, f"{d.system}.{d.operation}") for d in found if d.kind in ("undeclared", "unknown_peer"))

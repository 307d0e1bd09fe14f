"""Who is hit, who is at risk, each figure with its base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from observability.rootcause.model import DependencyMap, Impact
from observability.rootcause.online.candidates import Candidate, Case
from observability.rootcause.online.table import CALLER, LATE, N, Table
from observability.rootcause.spans import Flags, Floats

ATTRIBUTES: Final = ("channel", "route", "api_version", "store")
THEIRS: Final = 0.2
"""Share of what is bad somewhere that the culprits are blamed for; what has less is bad for some other reason."""


def impact(case: Case, estate: DependencyMap, culprits: Sequence[Candidate]) -> Impact:
    keys = case.whole & case.hit
    named = [m.keys for c in culprits if c.kind != "unknown" for one in (c, *c.explains) for m in (one, *one.members)]
    theirs = np.logical_or.reduce(named) & case.hit if named else keys
    blame = case.blamed1 if named else case.bad
    hit: dict[str, dict[str, int]] = {}
    of: dict[str, dict[str, int]] = {}
    for attribute in ATTRIBUTES:
        codes, names = case.table.column(attribute)
        n1, n0, b1, b0 = (np.bincount(codes[keys], x[keys], len(names)) for x in (case.now[0], case.past[0], case.bad, case.bad_past))
        usual = n1 * (b0 + 0.1) / (n0 + 10)
        excess = b1 - usual
        put = np.bincount(codes[theirs], blame[theirs], len(names))
        worse = np.flatnonzero((excess >= 0.5) & (excess > 2 * np.sqrt(usual)) & (excess >= 0.02 * n1) & (put >= THEIRS * excess))
        chosen = sorted((-round(float(excess[i])), names[i], round(float(n1[i]))) for i in worse.tolist() if names[i])
        if chosen:
            hit[attribute] = {name: -bad for bad, name, _ in chosen}
            of[attribute] = {name: n for _, name, n in chosen}
    store, _ = case.table.column("store")
    asking = np.unique(store[keys & (case.now[0] > 0) & ~case.table.is_("store", "")])
    failed1, late1 = float(case.failed[keys].sum()), float(case.now[LATE][keys].sum())
    share = min(1.0, case.excess / max(1.0, failed1 + late1))
    return Impact(
        requests=round(float(case.now[0][keys].sum())),
        failed=round(failed1 * share),
        late=round(late1 * share),
        orders=sum(n for route, n in hit.get("route", {}).items() if _orders(route, estate)),
        stores=len(asking),
        hit=hit,
        of=of,
        at_risk=_at_risk(estate, culprits, hit),
    )


def mistakes(table: Table, keys: Flags, now: Sequence[Floats], share: float) -> Impact:
    """Of one client: its requests, and its own mistakes. `now`: sums per key; `share`: of the mistakes, what is in excess of the usual."""
    n, wrong = now[N][keys], now[CALLER][keys] * share
    hit: dict[str, dict[str, int]] = {}
    of: dict[str, dict[str, int]] = {}
    for attribute in ATTRIBUTES[:3]:  # what it asks for is not counted by store
        codes, names = table.column(attribute)
        requests, bad = (np.bincount(codes[keys], x, len(names)) for x in (n, wrong))
        chosen = sorted(
            (-round(float(bad[i])), names[i], round(float(requests[i]))) for i in np.flatnonzero(bad >= 0.5).tolist() if names[i]
        )
        if chosen:
            hit[attribute] = {name: -worse for worse, name, _ in chosen}
            of[attribute] = {name: asked for _, name, asked in chosen}
    return Impact(requests=round(float(n.sum())), failed=round(float(wrong.sum())), hit=hit, of=of)


def _orders(route: str, estate: DependencyMap) -> bool:
    """Whether requests of this route place an order."""
    method, _, path = route.partition(" ")
    capabilities = estate.routes[route].capabilities if route in estate.routes else ()
    return method == "POST" and ("order.create" in capabilities or path.rstrip("/").endswith("/orders"))


def _at_risk(estate: DependencyMap, culprits: Sequence[Candidate], hit: dict[str, dict[str, int]]) -> dict[str, tuple[str, ...]]:
    names = {m.name for c in culprits for m in (c.members or (c,))} | {c.name for c in culprits}
    capabilities = {
        name for name, node in estate.capabilities.items() if any(o in names or o.partition(".")[0] in names for o in node.operations)
    }
    routes = sorted(r for r, node in estate.routes.items() if capabilities & set(node.capabilities) and r not in hit.get("route", {}))
    return {"route": tuple(routes)} if routes else {}

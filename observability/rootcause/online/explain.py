"""Explaining away: which few of the candidates account for the rest, and why the others are none."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from observability.rootcause.model import GATEWAY, DependencyMap
from observability.rootcause.online.candidates import SURE, Candidate, Case, ranked

MOST: Final = 4
LEAST: Final = 0.05
"""Share of the excess below which nobody is worth naming."""
HALF: Final = 0.5
ALIKE: Final = 3.0
"""Operations of a system that fail at rates within this factor of each other fail together."""
TRAFFIC: Final = 0.6
TOGETHER_S: Final = 120.0
SLACK_S: Final = 30.0
"""How much earlier an echo may seem to begin: the first seconds hold few requests."""
SICK: Final = 0.02
FAILING: Final = 0.3
"""Share of its own calls that fail from which on a dependency is looked at though hardly a request blames it."""
_MODES: Final = {"timeout": "slow", "late": "slow", "connect": "down", "upstream_error": "errors", "contract": "data", "data": "data"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """`ranking`: all candidates, culprits first."""

    culprits: list[Candidate]
    ranking: list[Candidate]
    explained: float
    """Share of the excess that the culprits and what depends on them account for."""
    margin: float
    order: float


def explain(case: Case, estate: DependencyMap, edges: Iterable[tuple[str, str]]) -> Explanation:
    operations = case.operations()
    units = ranked(_units(case, operations))
    below = _below(estate, edges)
    sure = SURE / max(len(units), 1)
    pool = [c for c in units if c.p <= sure and c.coverage >= LEAST and c.lift >= 1.5 and _own(c)]
    culprits: list[Candidate] = []
    sick = [*pool, *(c for c in units if c not in pool and c.kind in ("system", "operation") and c.sick >= FAILING and c.p_sick <= SURE)]
    while pool and len(culprits) < MOST:
        x = _deepest(pool[0], sick, below)
        culprits.append(x)
        sick.remove(x)
        if x in pool:
            pool.remove(x)
        for c in [c for c in pool if _follows(c, x, below)]:
            c.reason, c.by = "explained_by", x
            x.explains.append(c)
            pool.remove(c)
            sick.remove(c)
    explained = sum(c.coverage + sum(e.coverage for e in c.explains) for c in culprits if c.kind != "unknown")
    if (not culprits or explained < HALF) and case.risen and not any(c.kind == "unknown" for c in culprits):
        nobody = next((c for c in units if c.kind == "unknown"), None) or _nobody(case)
        culprits.append(nobody)
    rest = [c for c in units if c not in culprits]
    culprits = _shared(culprits, units, estate)
    for c in rest:
        _why_not(c, culprits, below)
    rivals = [c.score for c in rest if c.reason != "explained_by"]
    best = culprits[0].score if culprits else 0.0
    margin = (best - max(rivals, default=0.0)) / best if best > 0 else 0.0
    felt = case.felt()
    first = min((m.onset for c in culprits for m in (c, *c.explains)), default=felt)
    order = float(first.low <= felt.high + SLACK_S / 2)
    return Explanation(culprits, [*culprits, *rest], min(1.0, explained), max(0.0, min(1.0, margin)), order)


def _shared(culprits: list[Candidate], units: list[Candidate], estate: DependencyMap) -> list[Candidate]:
    """One cause behind several systems, when they began together, fail alike and all that share something are sick."""
    own = [c for c in culprits if c.kind in ("system", "operation")]
    systems = {c.system for c in own}
    if len(systems) < 2:
        return culprits
    first = own[0]
    together = [c for c in own if c.later(first) <= 0 and first.later(c) <= 0 and _likeness(first, c) >= HALF]
    if len({c.system for c in together}) < 2:
        return culprits
    busy = {c.system for c in units if c.kind in ("system", "operation") and c.n1 >= 20}
    for what, value in sorted({s for c in together if c.system in estate.systems for s in estate.systems[c.system].shares.items()}):
        sharing = {name for name, node in estate.systems.items() if node.shares.get(what) == value}
        members = tuple(c for c in together if c.system in sharing)
        if len({m.system for m in members}) >= 2 and sharing & busy <= systems:
            whole = replace(
                members[0], kind="shared", system="", operation="", members=members, shared=f"{what} {value}",
                keys=np.logical_or.reduce([m.keys for m in members]), blamed=sum(m.blamed for m in members),
                coverage=min(1.0, sum(m.coverage for m in members)), score=min(1.0, sum(m.score for m in members)),
                p=min(m.p for m in members), onset=min(m.onset for m in members),
            )  # fmt: skip
            return [whole, *(c for c in culprits if c not in members)]
    for c in together:
        c.detail = "possibly one cause, not declared"
    return culprits


def _own(c: Candidate) -> bool:
    """Whether it shows something itself, besides a share of the blame: sick calls, or no calls that could be."""
    return c.kind in ("gateway_part", "unknown") or c.coverage >= HALF or (c.sick >= SICK and c.p_sick <= SURE)


def _units(case: Case, operations: list[Candidate]) -> list[Candidate]:
    """A system where most of its operations fail alike, else its operations one by one."""
    by_system: dict[str, list[Candidate]] = {}
    for c in operations:
        by_system.setdefault(c.system if c.kind == "operation" else f"{c.kind} {c.operation}", []).append(c)
    units: list[Candidate] = []
    for members in by_system.values():
        if members[0].kind == "operation" and (together := _together(members)):
            whole = case.candidate("system", members[0].system, "", np.logical_or.reduce([c.keys for c in members]))
            whole.members = tuple(together)
            units.append(whole)
        else:
            units += members
    return units


def _together(members: list[Candidate]) -> list[Candidate]:
    """The operations that fail alike and carry most of the system's traffic; none when it isn't the system."""
    busy = [c for c in members if c.n1 >= 5 and c.main_class != "rejected"]  # what a breaker refuses tells nothing of its own
    risen = [c for c in busy if c.p <= SURE and (c.sick >= SICK or c.blamed >= SICK * c.n1)]
    if len(risen) < 2 or sum(c.n1 for c in risen) < TRAFFIC * sum(c.n1 for c in busy):
        return []
    rates = [max(c.sick, 1e-6) for c in risen]
    if max(rates) > ALIKE * min(rates) or min(_likeness(risen[0], c) for c in risen[1:]) < HALF:
        return []
    return risen


def _modes(c: Candidate) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, count in c.classes.items():
        if name in _MODES:
            found[_MODES[name]] = found.get(_MODES[name], 0.0) + count
    return found


def _likeness(one: Candidate, other: Candidate) -> float:
    """Cosine of how they fail; 1 when nothing is known of either."""
    a, b = _modes(one), _modes(other)
    size = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
    return sum(v * b.get(k, 0.0) for k, v in a.items()) / size if size else 1.0


def _below(estate: DependencyMap, edges: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """System -> all systems it depends on, itself left out; declared and observed."""
    direct: dict[str, set[str]] = {name: set(node.depends_on) for name, node in estate.systems.items()}
    known = set(estate.systems)
    for caller, callee in edges:
        one, other = (e if e in known else e.partition(".")[0] for e in (caller, callee))
        direct.setdefault(one, set()).add(other)
    found: dict[str, set[str]] = {}
    for name in direct:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for callee in direct.get(waiting.pop(), ()):
                if callee not in seen:
                    seen.add(callee)
                    waiting.append(callee)
        found[name] = seen - {name}
    return found


def _deepest(x: Candidate, pool: list[Candidate], below: dict[str, set[str]]) -> Candidate:
    """Down from x, while a dependency is sick enough to explain it and began no later."""
    seen = {x.name}
    while deeper := next((y for y in pool if y.name not in seen and _follows(x, y, below)), None):
        seen.add(deeper.name)
        x = deeper
    return x


def _follows(c: Candidate, x: Candidate, below: dict[str, set[str]]) -> bool:
    """Whether c is only the echo of x: it depends on x, began no earlier and at about the same time, and x is as sick as it is; or calls
    that nothing but a breaker refuses, when it refuses though trials succeed, or when x of the same system made it open.
    """
    if x.kind == "gateway_part" and x.operation == f"breaker {c.name}":
        return c.main_class == "rejected"
    if c.system == x.system:
        return c.kind == "operation" and c.main_class == "rejected" and x.main_class not in ("rejected", "") and x.later(c) <= SLACK_S
    if x.system not in below.get(c.system, ()) or c.system in below.get(x.system, ()):
        return False
    together = x.later(c) <= SLACK_S and c.later(x) <= TOGETHER_S
    return together and max(m.sick for m in (x, *x.members)) >= c.sick / ALIKE


def _nobody(case: Case) -> Candidate:
    found = case.candidate("unknown", "", "", case.whole)
    found.coverage, found.onset = 0.0, case.felt()
    return found


def _why_not(c: Candidate, culprits: list[Candidate], below: dict[str, set[str]]) -> None:
    if c.reason:
        return
    first = next((k for k in culprits if k.kind != "unknown"), None)
    by = next((k for k in culprits if k.system and (k.system == c.system or k.system in below.get(c.system, ()))), None)
    if c.n1 < 5:
        c.reason = "too_few_requests"
    elif c.p > SURE or c.lift < 1.5 or c.coverage < LEAST:
        c.reason = "caller_fault" if c.mistakes >= SICK * c.n1 else "normal_for_load"
    elif by is not None:
        c.reason, c.by = "explained_by", by
    elif first is not None and (later := c.later(first)) > 0:
        c.reason, c.by_s = "started_later", later
    elif c.system == GATEWAY:
        c.reason = "only_waiting"
    elif c.sick < SICK:
        c.reason = "only_waiting" if c.classes.get("late", 0.0) >= max(c.classes.values(), default=0.0) else "only_retries"
    else:
        c.reason = "no_path"

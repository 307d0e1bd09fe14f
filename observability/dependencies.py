"""What the declared map means: whom a channel loses with a system, where traces contradict it, and how a wiki draws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from observability.rootcause.model import CapabilityNode, DependencyMap, OperationNode, RouteNode

SCHEMA: Final = "tillgate.map/1"
SEEN_TO_COUNT: Final = 5
"""Calls in an hour from which on an edge that nobody declared is one."""
CALLS_TO_MISS: Final = 1_000
"""Requests of its routes without which nobody can say that an operation is not used."""

Effect = Literal["fails", "degraded", "none"]
_WORSE: Final[dict[Effect, int]] = {"none": 0, "degraded": 1, "fails": 2}
Carrier = Literal["call", "message", "file"]
_CARRIER: Final[dict[str, Carrier]] = {"sync": "call", "async": "message", "file": "file", "outbound": "file"}


class Loss(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What callers of a route feel while some systems are down, and by which words of the estate."""

    route: str
    effect: Effect
    why: tuple[str, ...] = ()


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A route, feed or background job that was seen to reach an operation, `n` times within `hours`."""

    route: str
    system: str
    operation: str
    carrier: Carrier = "call"
    n: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was observed, over how long a time."""

    hours: float
    edges: tuple[Edge, ...] = ()
    requests: dict[str, int] = {}
    """By route."""


DifferenceKind = Literal["undeclared", "unknown_peer", "mode_differs", "unused"]


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the map and what was seen disagree. `n`: times it was seen; for `unused`, requests that could have used it."""

    kind: DifferenceKind
    route: str = ""
    system: str
    operation: str = ""
    n: int
    hours: float
    advice: str


def fallen(declared: DependencyMap, down: str) -> dict[str, tuple[str, ...]]:
    """The system that is down, and all that depend on it, each with the way from there."""
    ways: dict[str, tuple[str, ...]] = {down: ()}
    waiting = [down]
    while waiting:
        here = waiting.pop()
        for name, node in declared.systems.items():
            if here in node.depends_on and name not in ways:
                ways[name] = (*ways[here], f"{name} depends on {here}")
                waiting.append(name)
    return ways


def losses(declared: DependencyMap, down: str) -> list[Loss]:
    """Of every route while the system `down` does not answer, the worst first. Other systems are lost by their declared dependence only."""
    ways = fallen(declared, down)
    found = []
    for route, node in declared.routes.items():
        effects = [_capability(declared, node, name, ways) for name in node.capabilities if name in declared.capabilities]
        effect: Effect = max((e for e, _ in effects), key=_WORSE.__getitem__, default="none")
        if effect != "none" and node.needs == "later":
            effect, effects = "degraded", [("degraded", "recorded, and carried out when it is back"), *effects]
        elif effect != "none" and node.needs == "aside":
            effect, effects = "degraded", [("degraded", "answered from the gateway's own record"), *effects]
        why = dict.fromkeys(text for e, text in effects if e != "none")
        found.append(Loss(route=route, effect=effect, why=tuple(why)))
    return sorted(found, key=lambda x: -_WORSE[x.effect])


def _capability(declared: DependencyMap, route: RouteNode, name: str, ways: Mapping[str, tuple[str, ...]]) -> tuple[Effect, str]:
    node = declared.capabilities[name]
    dead = [o for o in node.operations if _system(o) in ways]
    alive = [o for o in node.operations if _system(o) not in ways]
    if not dead:
        return "none", ""
    because = "".join(f"; {step}" for o in dead for step in ways[_system(o)][-1:])
    if all(declared.operations.get(o, OperationNode(provides=name)).mode in ("file", "outbound") for o in dead):
        return "degraded", f"{name}: no new files of {', '.join(dead)}; what came before still counts{because}"
    if node.combine != "all" and alive:
        if node.operations[0] in alive:
            return "none", ""
        return "degraded", f"{name}: {alive[0]} stands in for {dead[0]}{because}"
    if node.combine == "all" and node.partial and alive:
        return "degraded", f"{name}: answers lack the part of {', '.join(dead)}{because}"
    stale = _stale(declared, node, dead) if route.needs != "fresh" else 0.0
    if stale:
        return "degraded", f"{name}: answers of {', '.join(dead)} up to {_length(stale)} old stand in, where there are any{because}"
    return "fails", f"{name}: nothing stands in for {', '.join(dead)}{because}"


def _stale(declared: DependencyMap, node: CapabilityNode, dead: Sequence[str]) -> float:
    """How old an answer may stand in: that of any provider of one answer, that of each part of a combined one."""
    ages = [declared.operations[o].stale_s if o in declared.operations else 0.0 for o in dead]
    return min(ages) if node.combine == "all" else max(ages)


def _length(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _system(operation: str) -> str:
    return operation.partition(".")[0]


def differences(declared: DependencyMap, seen: Seen) -> list[Difference]:
    """Where what was seen contradicts the map; what most needs a hand first."""
    found: list[Difference] = []
    met: dict[str, int] = {}
    for edge in seen.edges:
        name = f"{edge.system}.{edge.operation}" if edge.operation else edge.system
        met[name] = met.get(name, 0) + edge.n
        if edge.n < SEEN_TO_COUNT * max(1.0, seen.hours):
            continue
        kind, advice = _contradiction(declared, edge, name)
        if kind:
            at = Difference(
                kind=kind,
                route=edge.route,
                system=edge.system,
                operation=edge.operation,
                n=edge.n,
                hours=seen.hours,
                advice=advice,
            )
            found.append(at)
    for name, node in declared.operations.items():
        routes = [r for r, asks in declared.routes.items() if node.provides in asks.capabilities]
        requests = sum(seen.requests.get(r, 0) for r in routes)
        if node.mode in ("sync", "async") and name not in met and requests >= CALLS_TO_MISS:
            system, _, operation = name.partition(".")
            advice = f"not met by {requests:,} requests of {', '.join(routes[:3])}{' …' if len(routes) > 3 else ''}: remove it, or see why"
            found.append(Difference(kind="unused", system=system, operation=operation, n=requests, hours=seen.hours, advice=advice))
    rank: dict[DifferenceKind, int] = {"unknown_peer": 0, "undeclared": 1, "mode_differs": 2, "unused": 3}
    return sorted(found, key=lambda d: (rank[d.kind], -d.n))


def _contradiction(declared: DependencyMap, edge: Edge, name: str) -> tuple[DifferenceKind | None, str]:
    known, route = declared.operations.get(name), declared.routes.get(edge.route)
    if route is not None and (edge.system in route.denied or name in route.denied):
        return None, ""
    if edge.system not in declared.systems:
        return "unknown_peer", f"declare [system.{edge.system}], or find out who calls it"
    if known is None:
        return "undeclared", f'declare [operation."{name}"]'
    if edge.carrier != _CARRIER[known.mode]:
        return "mode_differs", f"declared as {known.mode}, seen as a {edge.carrier}: correct mode, or the system"
    if route is not None and known.provides not in route.capabilities:
        return "undeclared", f'add "{known.provides}" to [route."{edge.route}"], or "{name}" to what it has denied'
    return None, ""


# ---- for a wiki ------------------------------------------------------------------------------------------------------------


def document(declared: DependencyMap, *, down: Iterable[str] | None = None, seen: Seen | None = None) -> dict[str, Any]:
    """The map as `tillgate.map/1`. `down`: the systems whose loss is worked out; none: each of them."""
    lost = {}
    for system in declared.systems if down is None else down:
        by_effect = _by_effect(losses(declared, system))
        lost[system] = {"also": sorted(set(fallen(declared, system)) - {system}), "channels": dict.fromkeys(declared.channels, by_effect)}
    whole = {"schema": SCHEMA, **msgspec.to_builtins(declared), "when_down": lost}
    if seen is not None:
        whole["observed"] = {
            "hours": round(seen.hours, 3),
            "edges": msgspec.to_builtins(seen.edges),
            "differences": msgspec.to_builtins(differences(declared, seen)),
        }
    return whole


def _by_effect(lost: Sequence[Loss]) -> dict[str, Any]:
    def of(effect: Effect) -> dict[str, list[str]]:
        return {x.route: list(x.why) for x in lost if x.effect == effect}

    return {"fails": of("fails"), "degraded": of("degraded"), "unaffected": [x.route for x in lost if x.effect == "none"]}


_MODES: Final = {"sync": "-->", "async": "-. message .->", "file": "-. file .->", "outbound": "-. file .->"}


def mermaid(declared: DependencyMap, *, down: str = "", seen: Seen | None = None) -> str:
    """A flowchart: channels, routes, operations within their systems, and edges that were seen only. With `down`, what it takes along."""
    lines = ["flowchart LR"]
    lost = {x.route: x.effect for x in losses(declared, down)} if down else {}
    marks: dict[str, list[str]] = {"fails": [], "degraded": [], "unknown": []}
    ids: dict[tuple[str, str], str] = {}

    def node(kind: str, name: str) -> str:
        return ids.setdefault((kind, name), f"{kind}{len(ids)}")

    if declared.channels:
        lines.append(f'  {node("c", "")}(["{_quoted(", ".join(declared.channels))}"])')
    for route in declared.routes:
        lines.append(f'  {node("r", route)}["{_quoted(route)}"]')
        if lost.get(route, "none") != "none":
            marks[lost[route]].append(node("r", route))
    gone = fallen(declared, down) if down else {}
    for system, of in declared.systems.items():
        owner = "<br/>".join(_quoted(part) for part in (of.owner, of.contact) if part)
        lines.append(f'  subgraph {node("s", system)}["{_quoted(system)}{f"<br/>{owner}" if owner else ""}"]')
        lines += [f'    {node("o", o)}["{_quoted(o.partition(".")[2])}"]' for o in declared.operations if _system(o) == system]
        lines.append("  end")
        if system in gone:
            marks["fails"].append(node("s", system))
    if declared.channels:
        lines += [f"  {node('c', '')} --> {node('r', route)}" for route in declared.routes if " " in route]
    for route, of_route in declared.routes.items():
        for capability in of_route.capabilities:
            for operation in declared.capabilities[capability].operations if capability in declared.capabilities else ():
                if operation in declared.operations:
                    lines.append(f"  {node('r', route)} {_MODES[declared.operations[operation].mode]} {node('o', operation)}")
    lines += [f"  {node('s', s)} --> {node('s', other)}" for s, of in declared.systems.items() for other in of.depends_on]
    for difference in differences(declared, seen) if seen else ():
        if difference.kind in ("undeclared", "unknown_peer"):
            name = f"{difference.system}.{difference.operation}"
            for kind, text in (("r", difference.route), ("o", name)):
                if (kind, text) not in ids:
                    lines.append(f'  {node(kind, text)}["{_quoted(text)}"]')
                    marks["unknown"].append(node(kind, text))
            lines.append(f'  {node("r", difference.route)} -. "seen {difference.n} times, not declared" .-> {node("o", name)}')
    styles = {"fails": "stroke:#b3261e,stroke-width:3px", "degraded": "stroke:#8a5200,stroke-width:2px", "unknown": "stroke-dasharray:4 3"}
    for mark, names in marks.items():
        if names:
            lines += [f"  classDef {mark} {styles[mark]}", f"  class {','.join(names)} {mark}"]
    return "\n".join(lines) + "\n"


_PLAIN: Final = re.compile(r"[^\w \-./,:+@]")


def _quoted(text: str) -> str:
    """As a Mermaid label within quotes: every other character as its entity, so that no name can end it or become markup."""
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};" if found[0].isprintable() else "#65533;", text[:200])

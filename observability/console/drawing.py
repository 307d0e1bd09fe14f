"""Where things stand in the drawings of the console: the map of an estate, the timeline of an incident, sparklines. Plain geometry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from observability.rootcause.model import CLIENT, GATEWAY, Culprit, DependencyMap, Incident, Timeline

Ink = Literal["", "culprit", "hit", "risk", "aside"]
"""aside: has nothing to do with what is looked at."""
NAME: Final = 64
ROUTES_SHOWN: Final = 120
OPERATIONS_SHOWN: Final = 60
"""Of one system."""
SYSTEMS_SHOWN: Final = 40

_CHANNEL_X, _CHANNEL_W = 8, 136
_ROUTE_X, _ROUTE_W = 196, 262
_SYSTEM_X, _SYSTEM_W = 580, 520
WIDTH: Final = 1_124
_COLUMNS: Final = 3
_ROW, _GAP, _HEAD = 24, 14, 44


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: what it is, `title`: as it is written, cut to the room there is."""

    name: str
    title: str
    x: float
    y: float
    width: float
    height: float
    ink: Ink = ""
    note: str = ""
    count: str = ""
    """A figure with its base: `412 of 1 330`."""


class SystemBox(msgspec.Struct, frozen=True, kw_only=True):
    box: Box
    operations: tuple[Box, ...]
    hidden: int = 0
    declared: bool = True


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """An edge as the path of an SVG."""

    path: str
    ink: Ink = ""
    mode: Literal["sync", "async", "file", "depends"] = "sync"
    declared: bool = True
    what: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    width: int
    height: int
    channels: tuple[Box, ...]
    routes: tuple[Box, ...]
    systems: tuple[SystemBox, ...]
    curves: tuple[Curve, ...]
    hidden_routes: int = 0


def plan(
    declared: DependencyMap,
    incident: Incident | None = None,
    *,
    inks: Mapping[str, Ink] | None = None,
    undeclared: Iterable[tuple[str, str]] = (),
) -> Plan:
    """The map. With an incident: only the routes that are hit or at risk and what they need; its culprits in their ink. `inks`: by route or
    system, instead of an incident's. `undeclared`: seen edges, from a route, a system or `system.operation` to one.
    """
    ink, shown_routes, counts = _inks(declared, incident, inks or {})
    undeclared = tuple(dict.fromkeys((*undeclared, *(incident.undeclared if incident else ()))))[:60]
    needed = {c for r in shown_routes if r in declared.routes for c in declared.routes[r].capabilities}
    systems = _systems(declared, incident, ink, needed, undeclared)
    hidden = len(shown_routes) - ROUTES_SHOWN
    routes = tuple(
        _box(name, _ROUTE_X, 28 + i * (_ROW + 4), _ROUTE_W, _ROW, ink.get(name, ""), 36, counts.get(("route", name), ""))
        for i, name in enumerate(shown_routes[:ROUTES_SHOWN])
    )
    names = list(dict.fromkeys((*declared.channels, *(incident.impact.hit.get("channel", {}) if incident else ()))))[:24]
    clients = [c.operation or "a client" for c in (incident.culprits if incident else ()) if c.system == CLIENT]
    channels = tuple(
        _box(
            name,
            _CHANNEL_X,
            28 + i * (2 * _ROW - 6),
            _CHANNEL_W,
            2 * _ROW - 12,
            "culprit" if name in clients else ink.get(f"channel {name}", ""),
            17,
            counts.get(("channel", name), ""),
        )
        for i, name in enumerate([*names, *(c for c in clients if c not in names)])
    )
    bottom = max((b.y + b.height for b in (*channels, *routes, *(s.box for s in systems))), default=60.0)
    return Plan(
        width=WIDTH,
        height=round(bottom + 16),
        channels=channels,
        routes=routes,
        systems=systems,
        curves=tuple(_curves(declared, routes, systems, ink, undeclared)),
        hidden_routes=max(0, hidden),
    )


def _inks(
    declared: DependencyMap, incident: Incident | None, given: Mapping[str, Ink]
) -> tuple[dict[str, Ink], list[str], dict[tuple[str, str], str]]:
    ink: dict[str, Ink] = dict(given)
    counts: dict[tuple[str, str], str] = {}
    if incident is None:
        return ink, list(declared.routes), counts
    for kind in ("route", "channel"):
        prefix = "" if kind == "route" else "channel "
        for name in incident.impact.at_risk.get(kind, ()):
            ink[prefix + name] = "risk"
        for name, bad in incident.impact.hit.get(kind, {}).items():
            ink[prefix + name] = "hit"
            counts[kind, name] = of(bad, incident.impact.of.get(kind, {}).get(name))
    for culprit in incident.culprits:
        for system in culprit.members or (culprit.system,):
            ink[system if culprit.members or not culprit.operation else f"{system}.{culprit.operation}"] = "culprit"
    known = set(ink)
    shown = [r for r in declared.routes if r in known]
    shown += [r for r in incident.impact.hit.get("route", {}) if r not in declared.routes]
    return ink, sorted(shown, key=lambda r: (ink[r] != "hit", -incident.impact.hit.get("route", {}).get(r, 0))), counts


def of(part: int, base: int | None) -> str:
    """A figure never stands without its base."""
    written = f"{part:,} of {base:,}" if base is not None else f"{part:,} of an unknown number"
    return written.replace(",", "\u202f")


def _systems(
    declared: DependencyMap, incident: Incident | None, ink: Mapping[str, Ink], needed: set[str], undeclared: Sequence[tuple[str, str]]
) -> tuple[SystemBox, ...]:
    by_system: dict[str, list[str]] = {name: [] for name in declared.systems}
    for name in declared.operations:
        by_system.setdefault(name.partition(".")[0], []).append(name)
    for culprit in incident.culprits if incident else ():
        for system in culprit.members or (culprit.system,):
            if system and system != CLIENT:
                listed = by_system.setdefault(system, [])
                if culprit.operation and not culprit.members and f"{system}.{culprit.operation}" not in listed:
                    listed.append(f"{system}.{culprit.operation}")
    for _, callee in undeclared:
        system = callee.partition(".")[0]
        listed = by_system.setdefault(system, [])
        if "." in callee and callee not in listed:
            listed.append(callee)
    boxes: list[SystemBox] = []
    y = 28.0
    for system, operations in list(by_system.items())[:SYSTEMS_SHOWN]:
        lit = [o for o in operations if ink.get(o)]
        used = [o for o in operations if o in declared.operations and declared.operations[o].provides in needed]
        shown = operations if incident is None else list(dict.fromkeys((*lit, *used)))
        shown = shown[:OPERATIONS_SHOWN]
        node = declared.systems.get(system)
        note = (
            "part of this gateway"
            if system == GATEWAY
            else "not declared"
            if node is None
            else ", ".join(filter(None, (node.owner, node.contact)))
        )
        own: Ink = ink.get(system, "") or ("hit" if any(ink.get(o) == "culprit" for o in operations) else "")
        if incident is not None and not shown and not own:
            own = "aside"
        rows = -(-len(shown) // _COLUMNS)
        height = _HEAD + rows * (_ROW + 2) + (8 if rows else -2)
        room = (_SYSTEM_W - 20) / _COLUMNS
        boxes.append(
            SystemBox(
                box=_box(system, _SYSTEM_X, y, _SYSTEM_W, height, own, 30, note=_cut(note, 52)),
                operations=tuple(
                    _box(
                        o,
                        _SYSTEM_X + 10 + room * (i % _COLUMNS),
                        y + _HEAD + (i // _COLUMNS) * (_ROW + 2),
                        room - 4,
                        _ROW,
                        ink.get(o, ""),
                        19 if ink.get(o) else 22,
                        title=o.partition(".")[2],
                    )
                    for i, o in enumerate(shown)
                ),
                hidden=len(operations) - len(shown),
                declared=node is not None or system == GATEWAY,
            )
        )
        y += height + _GAP
    return tuple(boxes)


def _box(
    name: str,
    x: float,
    y: float,
    width: float,
    height: float,
    ink: Ink,
    letters: int,
    count: str = "",
    *,
    title: str | None = None,
    note: str = "",
) -> Box:
    text = name if title is None else title
    return Box(
        name=name,
        title=_cut(text, letters),
        x=round(x, 1),
        y=round(y, 1),
        width=round(width, 1),
        height=height,
        ink=ink,
        count=count,
        note=note,
    )


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _curves(
    declared: DependencyMap,
    routes: Sequence[Box],
    systems: Sequence[SystemBox],
    ink: Mapping[str, Ink],
    undeclared: Sequence[tuple[str, str]],
) -> Iterable[Curve]:
    """From a route one curve to each system that it needs; those that lead to a culprit lie on top."""
    place = {s.box.name: s.box for s in systems}
    rows = {o.name: o for s in systems for o in s.operations}
    at = {r.name: r for r in routes}
    later: list[Curve] = []
    for number, route in enumerate(routes):
        if route.name not in declared.routes:
            continue
        ends: dict[tuple[str, str], Ink] = {}
        for capability in declared.routes[route.name].capabilities:
            for operation in declared.capabilities[capability].operations if capability in declared.capabilities else ():
                system = operation.partition(".")[0]
                if system not in place or operation not in declared.operations:
                    continue
                blamed = "culprit" in (ink.get(operation), ink.get(system))
                mode = {"sync": "sync", "async": "async"}.get(declared.operations[operation].mode, "file")
                if blamed or ends.get((system, mode)) is None:
                    ends[system, mode] = "culprit" if blamed else ends.get((system, mode)) or ""
        for (system, mode), lit in ends.items():
            box = place[system]
            share = (number + 1) / (len(routes) + 1)
            curve = Curve(
                path=_bend(route.x + route.width, route.y + route.height / 2, box.x, box.y + 8 + share * (box.height - 16)),
                ink=lit if lit and route.ink else "",
                mode=mode,  # type: ignore[arg-type]  # of the words above
                what=f"{route.name} needs {system}",
            )
            if curve.ink:
                later.append(curve)
            else:
                yield curve
    right = _SYSTEM_X + _SYSTEM_W
    for name, node in declared.systems.items():
        for other in node.depends_on:
            if name in place and other in place and name != other:
                one, two = place[name], place[other]
                yield Curve(path=_arc(right, one.y + 18, two.y + 26), mode="depends", what=f"{name} depends on {other}")
    yield from later
    for caller, callee in undeclared:
        end = rows.get(callee) or place.get(callee.partition(".")[0])
        begin = at.get(caller) or place.get(caller.partition(".")[0])
        if begin is None or end is None or begin is end:
            continue
        from_route = caller in at
        path = (
            _bend(begin.x + begin.width, begin.y + begin.height / 2, _SYSTEM_X, end.y + min(end.height / 2, 20))
            if from_route
            else _arc(right, begin.y + 12, end.y + 20)
        )
        yield Curve(path=path, declared=False, what=f"{caller} was seen to call {callee}, which nobody declared")


def _bend(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _arc(x: float, y1: float, y2: float) -> str:
    return f"M{x:.1f} {y1:.1f}C{x + 26:.1f} {y1:.1f} {x + 26:.1f} {y2:.1f} {x:.1f} {y2:.1f}"


# ---- over time -------------------------------------------------------------------------------------------------------------


class TimelineLine(msgspec.Struct, frozen=True, kw_only=True):
    """`area` and `load` are paths in a box of 1000 by 100: the share of bad requests, and the number of requests (highest = 100)."""

    title: str
    area: str
    load: str
    count: str
    most: int
    """Requests of the fullest step."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    left: float
    at: datetime
    kind: str
    what: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Positions are per cent of the time axis."""

    lines: tuple[TimelineLine, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, datetime], ...]
    onset: float
    low: float
    high: float
    end: float
    """Of the incident; 100: it goes on."""
    step_s: int


def chart(timeline: Timeline, incident: Incident) -> Chart:
    steps = max([len(r.n) for r in timeline.rows] or [1])
    begin = timeline.begin.timestamp()
    whole = steps * max(1, timeline.step_s)

    def left(when: datetime) -> float:
        return round(100 * min(1.0, max(0.0, (when.timestamp() - begin) / whole)), 2)

    lines = []
    for row in timeline.rows:
        most = max(row.n, default=0)
        shares = [100 * bad / n if n else 0.0 for n, bad in zip(row.n, row.bad, strict=False)]
        lines.append(
            TimelineLine(
                title=" ".join(filter(None, (row.channel, row.route)))[:NAME] or "all",
                area=stairs(shares, steps),
                load=stairs([100 * n / most if most else 0.0 for n in row.n], steps, closed=False),
                count=of(sum(row.bad), sum(row.n)),
                most=most,
            )
        )
    marks = tuple(Mark(number=i, left=left(m.at), at=m.at, kind=m.kind, what=m.what) for i, m in enumerate(timeline.marks[:40], 1))
    span = next((s for s in (60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600) if whole / s <= 8), 86_400)
    first = -(-begin // span) * span
    return Chart(
        lines=tuple(lines),
        marks=marks,
        ticks=tuple(
            (round(100 * (t - begin) / whole, 2), datetime.fromtimestamp(t, timeline.begin.tzinfo))
            for t in _range(first, begin + whole, span)
        ),
        onset=left(incident.onset.at),
        low=left(incident.onset.low),
        high=left(incident.onset.high),
        end=left(incident.recovered_at) if incident.recovered_at else 100.0,
        step_s=timeline.step_s,
    )


def _range(first: float, end: float, step: float) -> list[float]:
    return [first + i * step for i in range(min(40, int((end - first) // step) + 1)) if first + i * step < end]


def stairs(values: Sequence[float], steps: int, *, closed: bool = True) -> str:
    """A path in a box of 1000 by 100 whose steps are `values`, 0 to 100, from the left."""
    if not values:
        return ""
    wide = 1000 / max(1, steps)
    points = [f"M0 {100 - values[0]:.1f}H{wide:.1f}"]
    points += [f"V{100 - max(0.0, min(100.0, v)):.1f}H{(i + 1) * wide:.1f}" for i, v in enumerate(values[1:], 1)]
    return "".join(points) + ("V100H0Z" if closed else "")


def spark(values: Sequence[float], most: float = 0.0) -> str:
    """A path in a box of 100 by 24. `most`: what reaches the top; none: the highest value."""
    top = most or max(values, default=0.0)
    if len(values) < 2 or top <= 0:
        return "M0 23.5H100" if len(values) else ""
    wide = 100 / (len(values) - 1)
    return "M" + "L".join(f"{i * wide:.1f} {23 - 22 * min(1.0, max(0.0, v) / top):.1f}" for i, v in enumerate(values))


def named(culprit: Culprit) -> str:
    """As a person says it."""
    if culprit.system == GATEWAY:
        return f"gateway: {culprit.operation}" if culprit.operation else "the gateway"
    if culprit.system == CLIENT:
        return f"client {culprit.operation}".strip()
    return " ".join(filter(None, (culprit.system, culprit.operation))) or culprit.kind

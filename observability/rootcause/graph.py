"""Who calls whom: declared in a file, or seen in the spans."""

from __future__ import annotations

import csv
import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from observability.rootcause.statistics import compact
from observability.rootcause.structure import SEEN, Structure

_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges (caller, callee) of service names."""

    edges: frozenset[tuple[str, str]]
    source: Literal["declared", "inferred", "both"]


class Malformed(ValueError):
    """A graph file that says nothing usable; the text names what was expected."""


def read(path: Path) -> frozenset[tuple[str, str]]:
    """JSON `{"edges": [{"from", "to"}]}`, a two-column CSV, or an estate file. Raises Malformed, OSError."""
    if path.stat().st_size > _MOST_BYTES:
        raise Malformed(f"{path.name}: expected at most {_MOST_BYTES} bytes")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if path.suffix == ".toml":
        return _estate(text, path.name)
    if text.lstrip()[:1] in ("{", "["):
        try:
            found: Any = msgspec.json.decode(text.encode())
        except msgspec.DecodeError as exc:
            raise Malformed(f"{path.name}: expected JSON, got {exc}") from exc
        edges = found.get("edges") if isinstance(found, dict) else found
        pairs = [_pair(e) for e in edges] if isinstance(edges, list) else [None]
        if None in pairs:
            raise Malformed(f'{path.name}: expected {{"edges": [{{"from": "web", "to": "orders"}}]}}')
        return frozenset(p for p in pairs if p)
    rows = [r for r in csv.reader(io.StringIO(text)) if r and not r[0].startswith("#")]
    if any(len(r) < 2 for r in rows):
        raise Malformed(f"{path.name}: expected two columns, caller and callee")
    if rows and [c.strip().casefold() for c in rows[0][:2]] in (["from", "to"], ["caller", "callee"], ["source", "target"], ["src", "dst"]):
        rows = rows[1:]
    return frozenset((r[0].strip(), r[1].strip()) for r in rows)


def _pair(edge: Any) -> tuple[str, str] | None:
    if isinstance(edge, list) and len(edge) >= 2:
        return str(edge[0]), str(edge[1])
    if isinstance(edge, dict):
        for one, other in (("from", "to"), ("source", "target"), ("caller", "callee"), ("parent", "child")):
            if one in edge and other in edge:
                return str(edge[one]), str(edge[other])
    return None


def _estate(text: str, name: str) -> frozenset[tuple[str, str]]:
    """The gateway calls every system; a system calls those it depends on."""
    try:
        estate = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise Malformed(f"{name}: expected TOML, got {exc}") from exc
    systems = estate.get("system", {})
    found = {("tillgate", system) for system in systems}
    for system, declared in systems.items():
        found.update((system, str(below)) for below in declared.get("depends_on", ()))
    return frozenset(found)


def seen(s: Structure) -> frozenset[tuple[str, str]]:
    """Calls between services that occurred at least five times, and calls to services that left no spans."""
    spans, services = s.spans, len(s.spans.services)
    peers = np.flatnonzero((spans.peer >= 0) & s.call & (s.callee < 0))
    pairs, index = compact(
        np.concatenate((
            spans.service[s.parent[s.remote]] * services + spans.service[s.remote],
            spans.service[peers] * services + spans.peer[peers],
        ))
    )  # fmt: skip
    times = np.bincount(index, minlength=len(pairs))
    return frozenset(
        (spans.services[int(p) // services], spans.services[int(p) % services])
        for p, n in zip(pairs, times, strict=True)
        if n >= SEEN and p // services != p % services
    )

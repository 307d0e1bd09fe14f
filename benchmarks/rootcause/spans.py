"""The same flights as spans, for `tillgate causes`: as they are, stripped to the least, and damaged."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.rootcause.simulator import BEGIN, At, Flown
from observability.rootcause import causes
from observability.rootcause.model import GATEWAY
from observability.rootcause.spans import read
from observability.spans import spans_of

DAMAGES: Final = (
    "native",
    "stripped",
    "10 % sampled",
    "20 % of spans lost",
    "clocks 2 s apart",
    "no server spans",
    "hint 60 s late",
    "hint 60 s early",
)
_MOST: Final = 6_000
"""Flights of each side: at 200 a second half a minute of the fault, whose effect is counted over all of it."""
SERVICE: Final = "tillgate"
_MINIMAL: Final = ("service", "span_id", "parent_id", "start", "duration")


def ranked(flown: Sequence[Flown], since: float, until: float) -> dict[str, list[At]]:
    """Damage -> whom `tillgate causes` ranks, best first. A hint is wrong by a minute, or by half of what the flights of that side span."""
    requests = [f for f in flown if f.record.kind == "request"]
    chosen = [f for f in requests if f.at < since][-_MOST:] + [f for f in requests if f.at >= since][:_MOST]
    if not chosen or chosen[0].at >= since:
        return {}  # at a high load what was before is no longer kept
    spans = [span for each in chosen for span in _spans(each)]
    services = sorted({span["service"] for span in spans})
    found: dict[str, list[At]] = {}
    for damage in DAMAGES:
        r = random.Random(f"{damage} {since}")
        skew = {name: int(r.uniform(-2e6, 2e6)) for name in services}
        hint = {"hint 60 s late": min(60.0, (chosen[-1].at - since) / 2), "hint 60 s early": -min(60.0, (since - chosen[0].at) / 2)}.get(
            damage, 0.0
        )
        window = int((BEGIN + since + hint) * 1e9), int((BEGIN + until) * 1e9)
        with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
            file.writelines(msgspec.json.encode(span) + b"\n" for span in _damaged(spans, damage, r, skew))
            file.flush()
            loaded = causes.load(read([str(Path(file.name))]))
        try:
            said = causes.causes(loaded, window)
        except causes.EmptyWindow:
            found[damage] = []
            continue
        found[damage] = [(_system(row), row["operation"] or "") for row in said["ranking"]]
    return found


def _system(row: dict[str, Any]) -> str:
    return GATEWAY if row["service"] == SERVICE else str(row["service"])


def _damaged(spans: list[dict[str, Any]], damage: str, r: random.Random, skew: dict[str, int]) -> Iterator[dict[str, Any]]:
    for span in spans:
        if (
            (damage == "10 % sampled" and int(span["trace_id"], 16) % 10)
            or (damage == "20 % of spans lost" and r.random() < 0.2)
            or (damage == "no server spans" and span["service"] != SERVICE)
        ):
            continue
        if damage == "clocks 2 s apart":
            yield span | {"start": span["start"] + skew[span["service"]]}
        elif damage == "stripped":
            yield {key: span[key] for key in _MINIMAL}
        else:
            yield span


def _spans(flown: Flown) -> Iterator[dict[str, Any]]:
    """Ours as they are exported, and those of the systems."""
    record = flown.record
    for span in spans_of(record, lean=True):
        yield {
            "trace_id": span.trace_id, "span_id": span.span_id, "parent_id": span.parent_id, "service": SERVICE, "name": span.name,
            "start": span.start // 1000, "duration": (span.end - span.start) // 1000, "status": "ERROR" if span.status else "OK",
            "kind": span.kind, **span.attributes,
        }  # fmt: skip
    for s in flown.served:
        if s.parent:
            yield {
                "trace_id": record.trace_id, "span_id": f"{s.span:016x}", "parent_id": f"{s.parent:016x}", "service": s.system,
                "name": s.operation, "start": int((BEGIN + s.t0) * 1e6), "duration": int(max(0.0, s.t1 - s.t0) * 1e6),
                "status": "ERROR" if s.error else "OK", "kind": "SERVER",
            }  # fmt: skip

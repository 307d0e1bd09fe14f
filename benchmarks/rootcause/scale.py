"""What `tillgate causes` costs on many spans, beside a bare read of the same lines: processor seconds and the peak of the memory."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.rootcause.foreign import BEGIN, HELD_OUT, case, damaged
from benchmarks.rootcause.report import Table, shown
from observability.rootcause import causes
from observability.rootcause.spans import read

FORMS: Final = ("flat", "otlp")
BARS: Final = {"read, s": 15.0, "hang together, s": 1.0, "answer, s": 1.0, "peak, MB": 1_500.0}
"""At a million spans, on one core."""
_LINE: Final = 100
"""Spans of an export request."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench rootcause --scale", description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="a line for each form")
    asked = parser.parse_args(arguments)
    rows: list[tuple[str, ...]] = [("form", "spans", "bare read, s", *BARS, "read / bare", "bars")]
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            path = Path(folder) / form
            window = written(path, form, asked.spans)
            bare = _apart(_bare, path)
            found = _apart(_answered, path, window)
            within = all(found[name] <= bar * max(1.0, asked.spans / 1e6) for name, bar in BARS.items())
            if asked.json:
                print(json.dumps({"name": f"causes, {form}", "against": "bare read", "ratio": round(found["read, s"] / bare["read, s"], 2),
                                  "holds": within} | found))  # fmt: skip
            rows.append((
                form, f"{found['spans']:.0f}", f"{bare['read, s']:.2f}", *(f"{found[name]:.2f}" for name in BARS),
                f"{found['read, s'] / bare['read, s']:.1f}", "hold" if within else "MISSED",
            ))  # fmt: skip
    if not asked.json:
        print(shown([Table("Processor seconds and peak memory", rows)]))
    return 0


def written(path: Path, form: str, many: int) -> tuple[int, int]:
    """Writes so many spans of one estate, its traces again and again under other ids; the window of the incident in nanoseconds."""
    found = case("tickets", HELD_OUT, "cpu")
    if found is None:
        raise ValueError("expected a fault that is felt, got none")
    once = list(damaged(found, "native"))

    def spans() -> Iterator[dict[str, Any]]:
        for n in range(many):
            again, row = n // len(once), once[n % len(once)]
            yield row | {"trace_id": f"{again + 1:08x}{row['trace_id'][8:]}"}

    with path.open("wb") as file:
        if form == "flat":
            file.writelines(msgspec.json.encode(row) + b"\n" for row in spans())
        else:
            rest = spans()
            file.writelines(msgspec.json.encode(_request(rows)) + b"\n" for rows in iter(lambda: list(islice(rest, _LINE)), []))
    begin, end = found.window
    return int((BEGIN + begin) * 1e9), int((BEGIN + end) * 1e9)


def _request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An export request, its spans by service."""
    services: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        services.setdefault(row["service"], []).append({
            "traceId": row["trace_id"], "spanId": row["span_id"], "parentSpanId": row["parent_id"], "name": row["name"],
            "kind": f"SPAN_KIND_{row['kind']}", "startTimeUnixNano": str(row["start"] * 1_000),
            "endTimeUnixNano": str((row["start"] + row["duration"]) * 1_000), "status": {"code": 2 if row["status"] == "ERROR" else 0},
            "attributes": [{"key": "instance", "value": {"stringValue": row["instance"]}}],
        })  # fmt: skip
    return {
        "resourceSpans": [
            {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]}, "scopeSpans": [{"spans": spans}]}
            for name, spans in services.items()
        ]
    }


def _bare(path: Path) -> dict[str, float]:
    decode, begun = msgspec.json.Decoder().decode, time.process_time()
    with path.open("rb") as file:
        for line in file:
            decode(line)
    return {"read, s": time.process_time() - begun}


def _answered(path: Path, window: tuple[int, int]) -> dict[str, float]:
    times = [time.process_time()]
    spans = read([str(path)])
    times.append(time.process_time())
    loaded = causes.load(spans)
    times.append(time.process_time())
    causes.causes(loaded, window)
    times.append(time.process_time())
    steps = (b - a for a, b in pairwise(times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"spans": len(spans), **dict(zip(BARS, (*steps, peak), strict=True))}


def _apart(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """In a process of its own, whose memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)

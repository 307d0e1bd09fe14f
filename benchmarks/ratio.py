"""Ratios of CPU time: contenders take turns in one process, and the median over all rounds counts."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

Run = Callable[[], Any]
_MEASURED = ("ratio", "spread", "ours_us", "theirs_us")


@dataclass(frozen=True, slots=True)
class Ratio:
    """`ratio` is our cost over the other's, or with a bar of `>=` the other's cost over ours. Times are CPU microseconds of one run."""

    name: str
    against: str
    ratio: float
    spread: tuple[float, float]
    """First and third quartile of the ratio over the rounds."""
    ours_us: float
    theirs_us: float
    bar: str = ""
    holds: bool | None = None
    note: str = ""
    """Why there is no ratio."""


def compare(
    name: str, ours: Run, others: Mapping[str, Run], bars: Mapping[str, str] | None = None, *, rounds: int = 25, slice_ms: float = 20
) -> list[Ratio]:
    """Run everybody in turn, `rounds` times. `bars` by peer: `<=3.0` (at most so many times its cost) or `>=12` (so many times faster)."""
    runs = {"": ours, **others}
    repeats = {peer: _repeats(run, slice_ms / 1000) for peer, run in runs.items()}
    times: dict[str, list[float]] = {peer: [] for peer in runs}
    gc.collect()
    gc.disable()
    try:
        for n in range(rounds):
            order = list(runs)
            for peer in order[n % len(order) :] + order[: n % len(order)]:
                times[peer].append(_timed(runs[peer], repeats[peer]))
            gc.collect()
    finally:
        gc.enable()
    return [_ratio(name, peer, times[""], times[peer], (bars or {}).get(peer, "")) for peer in others]


def compare_process(name: str, ours: Run, peer: str, theirs: Callable[[int], float], bar: str, *, rounds: int = 15) -> Ratio:
    """Against another process in turn: `theirs(times)` gives the CPU seconds of one of that many runs there."""
    repeats = _repeats(ours, 0.02)
    theirs(20)  # it, too, gets warm
    times = [(_timed(ours, repeats), theirs(3)) for _ in range(rounds)]
    return _ratio(name, peer, [a for a, _ in times], [b for _, b in times], bar)


def compare_processes(name: str, ours: Callable[[], float], peer: str, theirs: Callable[[], float], bar: str, *, rounds: int = 11) -> Ratio:
    """Two other processes in turn: each run gives the CPU seconds of one request there."""
    for run in (ours, theirs):
        run()  # it gets warm
    pairs = [(ours(), theirs()) if n % 2 else (theirs(), ours())[::-1] for n in range(rounds)]
    return _ratio(name, peer, [a for a, _ in pairs], [b for _, b in pairs], bar)


def _repeats(run: Run, seconds: float) -> int:
    """How often a run fits into the time; the first ones warm caches up."""
    for _ in range(3):
        run()
    once = max(_timed(run, 3), 1e-7)
    return max(1, min(100_000, int(seconds / once)))


def _timed(run: Run, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def _ratio(name: str, peer: str, ours: Sequence[float], theirs: Sequence[float], bar: str) -> Ratio:
    pairs = list(zip(ours, theirs, strict=True))
    each = [b / a for a, b in pairs] if bar.startswith(">=") else [a / b for a, b in pairs]
    value, (low, _, high) = median(each), quantiles(each, n=4)
    holds = None if not bar else value >= float(bar[2:]) if bar.startswith(">=") else value <= float(bar[2:])
    return Ratio(
        name,
        peer,
        round(value, 2),
        (round(low, 2), round(high, 2)),
        round(median(ours) * 1e6, 1),
        round(median(theirs) * 1e6, 1),
        bar,
        holds,
    )


def show(ratios: Sequence[Ratio], *, as_json: bool | None = None) -> None:
    """A table, or with `--json` on the command line one JSON object a line."""
    if "--json" in sys.argv if as_json is None else as_json:
        for ratio in ratios:
            print(json.dumps({k: v for k, v in asdict(ratio).items() if v not in (None, "") and not (ratio.note and k in _MEASURED)}))
        return
    rows = [("benchmark", "against", "ratio", "quartiles", "bar", "ours", "theirs")]
    for r in ratios:
        if r.note:
            rows.append((r.name, r.against, "", "", r.note, "", ""))
            continue
        verdict = "" if r.holds is None else f"{r.bar} {'holds' if r.holds else 'MISSED'}"
        rows.append(
            (
                r.name,
                r.against,
                f"{r.ratio:.2f}",
                f"{r.spread[0]:.2f}-{r.spread[1]:.2f}",
                verdict,
                f"{r.ours_us:.0f} us",
                f"{r.theirs_us:.0f} us",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

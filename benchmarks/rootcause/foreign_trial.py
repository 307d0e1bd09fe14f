"""How often `tillgate causes` is right on estates of other makers, damage by damage, beside chance; its confidence is learned here."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from multiprocessing import get_context
from statistics import mean, median
from typing import Final

import msgspec

from benchmarks.rootcause.calibrate import table
from benchmarks.rootcause.foreign import BEGIN, CONTROLS, DAMAGES, FAULTS, HELD_OUT, STYLES, Case, case, damaged, hint
from benchmarks.rootcause.metrics import ece
from benchmarks.rootcause.report import PAGE, Table, print_into, shown
from observability.rootcause import causes, sureness
from observability.rootcause.spans import moment, read

ESTATES: Final = 3
OTHERS: Final = 1
"""Damages beside `stripped` that each case is tried with, drawn."""
NAMING: Final = ("cause", "likely")
Row = tuple[str, ...]


class Said(msgspec.Struct, kw_only=True):
    """What was answered. `right`: rank of the first that is to blame, 0 for controls; `found`: share of two faults among the first two."""

    style: str
    seed: int
    fault: str
    damage: str
    blame: list[str]
    services: int
    first: list[str]
    evidence: str
    right: int
    found: float
    verdict: str
    confidence: float
    inputs: dict[str, float]
    onset_error: float | None
    cpu: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench rootcause --foreign", description=__doc__)
    parser.add_argument("--part", choices=["development", "held_out"], default="held_out", help="whose seeds")
    parser.add_argument("--estates", type=int, default=ESTATES, help="seeds of each of the five styles")
    parser.add_argument("--only", default="", help="one style, one fault or one seed")
    parser.add_argument("--damage", choices=DAMAGES, action="append", default=[], help="this one, instead of some (repeatable)")
    parser.add_argument("--failing", action="store_true", help="each answer that was wrong (development part)")
    parser.add_argument("--calibrate", action="store_true", help="learn the table of confidence from the development part and write it")
    parser.add_argument("--publish", action="store_true", help=f"write the tables into docs/{PAGE.name}")
    parser.add_argument("--json", action="store_true", help="the tables as JSON, a line each")
    asked = parser.parse_args(arguments)
    part = "development" if asked.calibrate or asked.failing else asked.part
    said: list[Said] = []
    for done, found in enumerate(run(part, asked.estates, only=asked.only, damages=asked.damage), 1):
        said += found
        print(f"\r{done} cases, {len(said)} answers", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    said.sort(key=lambda s: (s.style, s.seed, s.fault, s.damage))
    if asked.calibrate:
        learned = table(pairs(said), datetime.now(UTC).date().isoformat())
        sureness.SHIPPED.write_bytes(msgspec.json.format(msgspec.json.encode(learned), indent=1) + b"\n")
        print(f"{sureness.SHIPPED.name}: {len(learned.raw)} points from {learned.cases} answers")
    if asked.failing:
        for s in said:
            if s.right > 1 or (not s.blame and s.verdict != "none"):
                print(f"{s.style} {s.seed} {s.fault}, {s.damage}: {s.blame} at {s.right}, not {s.first[:3]} ({s.evidence}, {s.confidence})")
    found_tables = [Table(title, rows) for title, rows in tables(said)]
    if asked.publish:
        known = sureness.shipped()
        head = f"{datetime.now(UTC):%Y-%m-%d}, part {part}, {asked.estates} estates of each style, {len(said)} answers; confidence learned {known.date} from {known.cases} answers."  # noqa: E501 - one sentence
        print_into(PAGE, "foreign results", f"{head}\n\n{shown(found_tables, markdown=True)}")
    if asked.json:
        print("\n".join(json.dumps({"title": t.title, "rows": t.rows}) for t in found_tables))
    elif not asked.calibrate and not asked.failing:
        print(shown(found_tables))
    return 0


def run(part: str, estates: int, *, only: str = "", damages: Sequence[str] = ()) -> Iterator[list[Said]]:
    """`estates` seeds of each style with every fault and control. `only`: a style, a fault, or a seed. `damages`: instead of some."""
    first = 1 if part == "development" else HELD_OUT + 1
    todo = [
        (style, seed, fault, tuple(damages))
        for seed in range(first, first + estates)
        for style in STYLES
        for fault in (*FAULTS, *CONTROLS)
        if only in ("", style, fault, str(seed))
    ]
    with get_context("fork").Pool(max(1, min(len(todo), len(os.sched_getaffinity(0)))), maxtasksperchild=40) as pool:
        yield from pool.imap_unordered(_tried, todo)


def _tried(asked: tuple[str, int, str, tuple[str, ...]]) -> list[Said]:
    style, seed, fault, damages = asked
    found = case(style, seed, fault)
    if found is None:
        return []
    others = random.Random(f"{style} {seed} {fault}").sample([d for d in DAMAGES if d not in ("native", "stripped")], OTHERS)
    able = [d for d in damages or ("native", "stripped", *others) if STYLES[style].calls or d not in ("servers only", "clients only")]
    return [answered(found, damage) for damage in able]


def answered(found: Case, damage: str) -> Said:
    begin, end = hint(damage, found.window)
    with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in damaged(found, damage))
        file.flush()
        loaded = causes.load(read([file.name]))
    begun = time.process_time()
    try:
        said = causes.causes(loaded, (int((BEGIN + begin) * 1e9), int((BEGIN + end) * 1e9)), top=1000)
    except causes.EmptyWindow:
        said = {"ranking": [], "verdict": "none", "confidence": 0.0, "confidence_inputs": {}, "onset": None}
    names = [row["service"] for row in said["ranking"]]
    onset = said["onset"] and moment(said["onset"]["at"]) / 1e9 - BEGIN - found.window[0]
    return Said(
        style=found.style, seed=found.seed, fault=found.fault, damage=damage, blame=sorted(found.blame),
        services=found.services, first=names[:5], evidence=said["ranking"][0]["evidence"] if names else "",
        right=next((i for i, name in enumerate(names, 1) if name in found.blame), 0 if not found.blame else 10**6),
        found=len(found.blame & set(names[:2])) / 2, verdict=said["verdict"], confidence=said["confidence"],
        inputs=said["confidence_inputs"], onset_error=onset, cpu=time.process_time() - begun,
    )  # fmt: skip


def pairs(said: Iterable[Said]) -> list[tuple[float, bool]]:
    """Raw figure of each answer that names somebody, and whether that was right; controls count as wrong."""
    return [(sureness.raw(s.inputs), bool(s.blame) and s.right == 1) for s in said if s.verdict != "none" and s.inputs]


def tables(said: Sequence[Said]) -> Iterator[tuple[str, list[Row]]]:
    """Titles with rows; the first row is the header."""
    single = [s for s in said if s.blame and s.fault != "two"]
    native = {(s.style, s.seed, s.fault): s for s in single if s.damage == "native"}
    for title, key, values in (("damage", "damage", DAMAGES), ("fault", "fault", FAULTS), ("style", "style", tuple(STYLES))):
        rows: list[Row] = [(title, "runs", "AC@1", "AC@3", "Avg@5", "chance AC@1", "named", "of these wrong", "same first as native")]
        for value in ("all", *values):
            mine = [s for s in single if value in ("all", getattr(s, key))]
            if mine:
                same = [
                    s.first[:1] == native[k].first[:1] for s in mine if (k := (s.style, s.seed, s.fault)) in native and s.damage != "native"
                ]
                named = [s for s in mine if s.verdict in NAMING]
                rows.append((
                    value, str(len(mine)), *(f"{x:.2f}" for x in (_ac(mine, 1), _ac(mine, 3), mean(_ac(mine, k) for k in range(1, 6)))),
                    f"{mean(len(s.blame) / s.services for s in mine):.2f}", f"{len(named) / len(mine):.2f}",
                    f"{mean(s.right > 1 for s in named):.2f}" if named else "", f"{mean(same):.2f}" if same else "",
                ))  # fmt: skip
        yield f"{len(single)} answers to one fault, by {title}", rows
    two, controls = [s for s in said if s.fault == "two"], [s for s in said if not s.blame]
    answers = [(s.confidence, bool(s.blame) and s.right == 1) for s in said if s.verdict != "none"]
    onsets = sorted(abs(s.onset_error) for s in single if s.onset_error is not None and s.right == 1)
    verdicts, names = (mean(s.verdict in which for s in controls) if controls else 0.0 for which in (("unsure", *NAMING), NAMING))
    figures: list[tuple[str, float, Callable[[float], str]]] = [
        (f"two faults, recall@2 ({len(two)})", mean(s.found for s in two) if two else 0.0, "{:.2f}".format),
        (f"nothing wrong, and yet a verdict ({len(controls)})", verdicts, "{:.3f}".format),
        (f"nothing wrong, and yet a name ({len(controls)})", names, "{:.3f}".format),
        ("calibration error (ECE)", ece(answers), "{:.3f}".format),
        ("onset error, s, median", median(onsets) if onsets else 0.0, "{:.1f}".format),
        ("onset error, s, 90 %", onsets[len(onsets) * 9 // 10] if onsets else 0.0, "{:.1f}".format),
        ("CPU of an answer after loading, s, most", max((s.cpu for s in said), default=0.0), "{:.2f}".format),
    ]  # fmt: skip
    yield "Beside", [("measure", ""), *((name, form(value)) for name, value, form in figures)]


def _ac(said: Sequence[Said], k: int) -> float:
    return mean(s.right <= k for s in said)

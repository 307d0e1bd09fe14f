"""`./run bench rootcause`: how often the verdict is right, beside chance and simpler methods on the same cases."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from benchmarks.rootcause import faults, foreign_trial, others, scale
from benchmarks.rootcause.calibrate import learned
from benchmarks.rootcause.failing import failing
from benchmarks.rootcause.report import PAGE, lines, print_into, shown, tables
from benchmarks.rootcause.trial import DAMAGES, Outcome, tried
from observability.rootcause.online.confidence import SHIPPED, Calibration, shipped

FULL, SHORT = 50, 4
"""Estates, with twelve cases each."""


def main(arguments: Sequence[str]) -> int:
    for option, other in (("--foreign", foreign_trial.main), ("--scale", scale.main)):
        if option in arguments:
            return other([a for a in arguments if a != option])
    asked = parse(arguments)
    estates = asked.estates or (SHORT if asked.short else FULL)
    damages = DAMAGES if asked.damage == "all" else () if asked.damage == "none" else (asked.damage,)
    began, known = time.monotonic(), shipped()
    outcomes: list[Outcome] = []
    for done, found in enumerate(run(asked.part, estates, damages, asked.case, quick=asked.calibrate or asked.failing), 1):
        outcomes += found
        if not asked.json:
            print(
                f"\r{done} of {estates} estates, {len(outcomes)} runs, {time.monotonic() - began:.0f} s",
                end="",
                file=sys.stderr,
                flush=True,
            )
    outcomes.sort(key=lambda o: (o.case.seed, o.case.number, o.damage))
    if not asked.json:
        print(file=sys.stderr)
    if asked.calibrate:
        table = learned(outcomes, datetime.now(UTC).date().isoformat())
        SHIPPED.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
        print(f"{SHIPPED.name}: {len(table.raw)} points from {table.cases} answers")
    if asked.failing:
        print("\n".join(failing(outcomes)))
    if asked.publish:
        publish(outcomes, asked.part, estates, known)
    if asked.json:
        print("\n".join(json.dumps(line.spoken()) for line in lines(outcomes)))
    elif not asked.failing and not asked.calibrate:
        print(shown(tables(outcomes)))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench rootcause", description=__doc__)
    parser.add_argument("--foreign", action="store_true", help="`tillgate causes` on estates of other makers instead (--foreign --help)")
    parser.add_argument("--scale", action="store_true", help="what `tillgate causes` costs on a million spans instead (--scale --help)")
    parser.add_argument("--json", action="store_true", help="a line for each gate")
    parser.add_argument("--short", action="store_true", help=f"{SHORT} estates, without high load")
    parser.add_argument("--part", choices=["development", "held_out"], default="held_out", help="whose seeds and pairs of fault and system")
    parser.add_argument(
        "--damage", choices=["all", "none", *DAMAGES], default="all", help="to the cells and the map, on a part of the cases"
    )
    parser.add_argument("--estates", type=int, default=0, help=f"how many, instead of {FULL}")
    parser.add_argument("--case", default="", help="one case only, by its id")
    parser.add_argument("--failing", action="store_true", help="each case that went wrong, instead of tables (development part)")
    parser.add_argument("--calibrate", action="store_true", help="learn the table of confidence from the development part and write it")
    parser.add_argument("--publish", action="store_true", help=f"write the tables into docs/{PAGE.name}")
    asked = parser.parse_args(arguments)
    if asked.calibrate or asked.failing:
        asked.part = "development"
        asked.damage = "none"
    return asked


def run(part: faults.Part, estates: int, damages: tuple[str, ...], only: str = "", *, quick: bool = False) -> Iterator[list[Outcome]]:
    """Estate by estate, on as many processors as there are; those with much to do first. `quick`: without the other methods."""
    all_ = list(faults.estates(part, estates))
    todo = [n for n, (_, cases) in enumerate(all_) if not only or any(c.id == only for c in cases)]
    todo.sort(key=lambda n: -all_[n][0].load)
    with multiprocessing.get_context("fork").Pool(max(1, min(len(todo), len(os.sched_getaffinity(0)))), maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(partial(_one, part, estates, damages, only, quick, shipped()), todo)


def _one(
    part: faults.Part, estates: int, damages: tuple[str, ...], only: str, quick: bool, calibration: Calibration, number: int,
) -> list[Outcome]:  # fmt: skip
    estate, cases = list(faults.estates(part, estates))[number]
    return tried(estate, [c for c in cases if only in ("", c.id)], damages, None if quick else others.look, calibration)


def publish(outcomes: Sequence[Outcome], part: str, estates: int, known: Calibration) -> None:
    """Replaces what stands between the marks of the page."""
    first = min(o.case.seed for o in outcomes)
    sure = f"confidence learned {known.date} from {known.cases} answers" if known.raw else "confidence as computed, not yet calibrated"
    said = f"{datetime.now(UTC):%Y-%m-%d}, part {part}, {estates} estates from seed {first}, {len(outcomes)} runs; {sure}."
    print_into(PAGE, "results", f"{said}\n\n{shown(tables(outcomes), markdown=True)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`./run bench rootcause`: how often the verdict is right, beside chance and simpler methods on the same cases."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.rootcause import faults
from benchmarks.rootcause.failing import failing
from benchmarks.rootcause.trial import Outcome, tried


def main(arguments: Sequence[str]) -> int:
    asked = parse(arguments)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    for done, found in enumerate(run(asked.part, asked.estates, tuple(asked.damage), asked.case), 1):
        outcomes += found
        if not asked.json:
            print(f"\r{done} of {asked.estates} estates, {len(outcomes)} runs, {time.monotonic() - began:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    if asked.failing:
        print("\n".join(failing(outcomes)))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench rootcause", description=__doc__)
    parser.add_argument("--part", choices=["development", "held_out"], default="development")
    parser.add_argument("--estates", type=int, default=60)
    parser.add_argument("--damage", nargs="*", default=["none"])
    parser.add_argument("--case", default="")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--failing", action="store_true", help="each case that went wrong")
    return parser.parse_args(arguments)


def run(part: faults.Part, estates: int, damages: tuple[str, ...], only: str = "") -> Iterator[list[Outcome]]:
    """Estate by estate, on as many processors as there are."""
    todo = [n for n in range(estates) if not only or only.split("-", maxsplit=1)[0] == str(_first(part) + n)]
    with multiprocessing.get_context("fork").Pool(min(len(todo), len(os.sched_getaffinity(0))), maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(partial(_one, part, estates, damages, only), todo)


def _first(part: faults.Part) -> int:
    return 1 if part == "development" else faults.HELD_OUT_SEEDS + 1


def _one(part: faults.Part, estates: int, damages: tuple[str, ...], only: str, number: int) -> list[Outcome]:
    estate, cases = list(faults.estates(part, estates))[number]
    return tried(estate, [c for c in cases if only in ("", c.id)], damages, None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""From what `tillgate causes` said of known incidents, anyone's, to the table of its confidence, and how well that table holds on others.

    python -m benchmarks.rootcause.known ANSWERS... [--check]

A line is {"answer": what causes printed, "blame": [names, any of which is right]}; answers that name nobody are passed over.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.rootcause.calibrate import table
from benchmarks.rootcause.metrics import ece
from observability.rootcause import sureness
from observability.rootcause.online.confidence import shipped


class Known(msgspec.Struct):
    answer: dict[str, Any]
    blame: list[str]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rootcause.known", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="ANSWERS")
    parser.add_argument("--check", action="store_true", help="only say how well the shipped table holds")
    asked = parser.parse_args(arguments)
    pairs = [pair for file in asked.files for pair in judged(file)]
    if not asked.check:
        learned = msgspec.json.encode(table(pairs, datetime.now(UTC).date().isoformat()))
        sureness.SHIPPED.write_bytes(msgspec.json.format(learned, indent=1) + b"\n")
    sure = shipped(sureness.SHIPPED)
    said = [(sure.of(raw), right) for raw, right in pairs]
    named, causes = ([right for figure, right in said if figure >= least] for least in (0.5, 0.8))
    print(
        f"{len(said)} answers, {sum(right for _, right in said)} right; calibration error {ece(said):.3f}; "
        f"named {len(named)}, {sum(named)} right; cause {len(causes)}, {sum(causes)} right"
    )


def judged(file: Path) -> Iterator[tuple[float, bool]]:
    """Raw figure and whether the first name was right."""
    with file.open("rb") as lines:
        for line in lines:
            known = msgspec.json.decode(line, type=Known)
            if known.answer["verdict"] != "none":
                yield sureness.raw(known.answer["confidence_inputs"]), known.answer["ranking"][0]["service"] in known.blame


if __name__ == "__main__":
    main(sys.argv[1:])

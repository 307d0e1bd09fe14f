"""EDIFACT stock reports by declared layout, and mapped to levels, against pydifact, which stops at lists of segments; peak memory."""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from adapters.files.driver import FileContract
from adapters.files.formats.reading import parsing
from benchmarks.ratio import Ratio, show
from contracts.canonical.inventory import InventoryLevel
from mappings.language import CompiledMapping, ReadContext, load

ROOT = Path(__file__).resolve().parents[1]
ITEMS = 4_000
ROUNDS = 5
BERLIN = ZoneInfo("Europe/Berlin")


def write_report(path: Path, items: int, per_message: int = 500) -> None:
    """Stock of `items` items, in messages of 500."""
    with path.open("w", encoding="ascii", newline="") as out:
        out.write("UNA:+.? 'UNB+UNOC:3+4012345000009:14+4098765000010:14+260615:0600+77'\n")
        messages = 0
        for first in range(0, items, per_message):
            messages += 1
            count = min(per_message, items - first)
            out.write(
                f"UNH+{messages}+INVRPT:D:96A:UN:EAN004'\nBGM+35+STOCK{messages}+9'\nDTM+137:202606150600:203'\nNAD+WH+4012345000016::9'\n"
            )
            for n in range(first, first + count):
                out.write(
                    f"LIN+{n - first + 1}++{4006381000000 + n}:SRV'\nPIA+1+{100000 + n}:IN'\n"
                    f"QTY+145:{n % 97}:PCE'\nQTY+66:{n % 7}:PCE'\nQTY+198:{n % 13}:PCE'\n"
                )
            out.write(f"UNT+{count * 5 + 5}+{messages}'\n")
        out.write(f"UNZ+{messages}+77'\n")


def prepared() -> tuple[FileContract, CompiledMapping]:
    contract = FileContract("edi", ROOT / "contracts/systems/edi/edifact_invrpt.toml")
    text = (ROOT / "mappings/edi/edifact_invrpt.toml").read_text(encoding="utf-8")
    return contract, load(
        text, "edifact_invrpt", lambda name: contract.exchange(name.partition(".")[2]), {"InventoryLevel": InventoryLevel}
    )


def ours(path: Path, contract: FileContract) -> int:
    """Segments read; every item of them is a row of typed values, and the envelope holds."""
    parser = parsing(contract.layout)(None)
    with path.open("rb") as source:
        bad = next((unit.bad for unit in parser.units(source, path.name, {}) if unit.row is None), None)
    if bad or parser.ending.reasons:
        raise RuntimeError(f"{bad}, {parser.ending.reasons}")
    return parser.ending.rows


def mapped(path: Path, contract: FileContract, mapping: CompiledMapping) -> int:
    """Segments read; every item of them is a level."""
    context = ReadContext("edi", contract.layout.name, datetime(2026, 6, 15, tzinfo=UTC), zone_of=lambda _: BERLIN)
    parser = parsing(contract.layout)(None)
    levels = 0
    with path.open("rb") as source:
        for unit in parser.units(source, path.name, {}):
            if unit.row is None:
                raise RuntimeError(str(unit.bad))
            levels += len(mapping.read(unit.row, context))
    if parser.ending.reasons or levels != parser.ending.units:
        raise RuntimeError(f"{levels} levels, {parser.ending.reasons}")
    return parser.ending.rows


def tokens(path: Path) -> int:
    """Its parser alone: segments, without the envelopes and validation that its interchange adds."""
    from pydifact.parser import Parser  # type: ignore[import-not-found]  # optional

    return sum(1 for segment in Parser().parse(path.read_text(encoding="latin-1")) if segment.tag != "UNA")


def whole(path: Path) -> int:
    """As its manual does: an interchange, then the segments of its messages."""
    from pydifact.segmentcollection import Interchange  # type: ignore[import-not-found]  # optional

    interchange = Interchange.from_file(str(path))
    return 2 + sum(2 + len(message.segments) for message in interchange.get_messages())


def compare(name: str, against: str, bar: float, mine: Callable[[], int], theirs: Callable[[], int]) -> Ratio:
    """CPU time of whole readings in turn. Both must have seen the same segments."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        here = mine()
        between = time.process_time()
        there = theirs()
        times.append((between - start, time.process_time() - between))
        if here != there:
            raise RuntimeError(f"{name}: {here} segments here, {there} there")
    each = sorted(b / a for a, b in times)
    value = median(each)
    return Ratio(
        name, against, round(value, 2), (round(each[1], 2), round(each[-2], 2)), round(median(a for a, _ in times) * 1e6, 1),
        round(median(b for _, b in times) * 1e6, 1), f">={bar}" if bar else "", value >= bar if bar else None,
    )  # fmt: skip


def peak(path: Path, contract: FileContract, mapping: CompiledMapping) -> int:
    tracemalloc.start()
    mapped(path, contract, mapping)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def main() -> None:
    items = next((int(a) for a in sys.argv[1:] if a.isdigit()), ITEMS)
    contract, mapping = prepared()
    with tempfile.TemporaryDirectory(prefix="tillgate-bench-") as folder:
        report = Path(folder) / "stock.edi"
        write_report(report, items)
        mine, levels = partial(ours, report, contract), partial(mapped, report, contract, mapping)
        segments = levels()
        if importlib.util.find_spec("pydifact") is None:
            said = 'SKIPPED: pydifact is not installed; `pip install "pydifact>=0.2.3,<0.3"` in the virtual environment'
            show([Ratio("edi", "pydifact", 0, (0, 0), 0, 0, note=said)])
            print(said, file=sys.stderr)
            sys.exit(3)
        warnings.simplefilter("ignore")
        ratios = [
            compare("edi", "pydifact", 5, mine, partial(tokens, report)),
            compare("edi against its interchange", "pydifact", 5, mine, partial(whole, report)),
            compare("edi to levels against its interchange", "pydifact", 0, levels, partial(whole, report)),
        ]
        show(ratios)
        if "--json" not in sys.argv:
            small, large = Path(folder) / "small.edi", Path(folder) / "large.edi"
            write_report(small, 1000)
            write_report(large, 10_000)
            spent = io.StringIO()
            for path in (small, large):
                spent.write(f"peak of {path.stat().st_size // 1024} KiB: {peak(path, contract, mapping) // 1024} KiB; ")
            rate = segments / (ratios[-1].ours_us / 1e6)
            print(f"{segments} segments, {rate:,.0f} a second of CPU, mapped; {spent.getvalue().rstrip('; ')}")


if __name__ == "__main__":
    main()

"""Files to committed sales with events on SQLite: a till's log, delimited and fixed, against a csv loop, POSLog against iterparse.

Then the cost of a line from ten thousand lines on, which stays the same, and the peak of the memory: `--deep` goes to ten million lines,
delimited and fixed, and to four gigabytes of POSLog. What starting and ending costs, however little is read, is told by itself.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from adapters.files.driver import FileContract, FileFeed
from adapters.files.layout import Layout
from adapters.files.spec import FeedOptions
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from benchmarks.ratio import Ratio, show
from contracts.canonical.sale import PosSale
from gateway.services.intake.intake import Intake
from mappings.language import CompiledMapping, load
from observability import Recorder

ROOT = Path(__file__).resolve().parents[1]
DAY = "20260311"
LINES = 400_000
GARBAGE = 1_000, 10, 100
"""As a server sets it: see gateway/cli/serving.py."""
ROUNDS = 3
LEAST = 1000
"""Lines whose cost is that of starting and ending."""
FOUR_GIGABYTES = 2_750_000
"""Transactions of a POSLog."""


class Berlin:
    """Every store stands in one zone."""

    known = 1

    def __init__(self) -> None:
        self._zone = ZoneInfo("Europe/Berlin")

    def of(self, location: str) -> ZoneInfo | None:
        return self._zone

    def location(self, number: str) -> None:
        """No mapping of a till's file asks for more of a store."""


def receipts(count: int) -> Iterator[tuple[str, int, int, int, int, int]]:
    """Till, sequence, seconds of the day, sku, pieces, cents each."""
    chance = Random(1)
    for n in range(count):
        till, sequence = divmod(n, 5000)
        pieces = chance.choice((1, 1, 1, 2, 3))
        yield (
            f"{till + 1:03}",
            sequence + 1,
            28_800 + n * 40_000 // count,
            10_000_001 + chance.randrange(20_000),
            pieces,
            chance.randrange(49, 4999),
        )


def write_tlog(path: Path, lines: int, store: str = "0001") -> None:
    """Transactions of four lines: head, item, tender, totals."""
    count = lines // 4
    total = items = 0
    with path.open("w", encoding="utf-8") as out:
        out.write(f"FH;2;{store};{DAY};{DAY}220000;00001\n")
        for till, sequence, second, sku, pieces, cents in receipts(count):
            at = f"{DAY}{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
            worth = pieces * cents
            items += 1
            total += worth
            out.write(
                f"TH;{till};{sequence:06};S;{at};{at};0012;{till}-{sequence:06};EUR;\n"
                f"TL;1;S;{sku:012};4006100000823;{pieces * 1000};ST;{cents};{worth};;S\n"
                f"TT;BAR;{worth};;;\n"
                f"TF;{worth};{worth};0;{worth}\n"
            )
        out.write(f"FT;{count};{items};{total}\n")


def fixed_layout() -> str:
    """The same log in columns: every field as wide as its longest value."""
    layout = FileContract("pos", ROOT / "contracts/systems/pos/tlog.toml").layout
    text = (ROOT / "contracts/systems/pos/tlog.toml").read_text(encoding="utf-8")
    text = (
        text.replace('format      = "delimited"', 'format      = "fixed"')
        .replace('delimiter   = ";"\n', "")
        .replace("quote       = '\"'\n", "")
    )
    text = text.replace("{ position = 1 }", "{ start = 1, width = 2 }").replace(r"\.tlog", r"\.fix")
    for name, columns in _columns(layout).items():
        before, opened, record = text.partition(f"[record.{name}]\n")
        for field, (start, width) in columns.items():
            record = re.sub(rf'(name = "{field}",)', rf"\1 start = {start}, width = {width},", record, count=1)
        text = before + opened + record
    return text


def _columns(layout: Layout) -> dict[str, dict[str, tuple[int, int]]]:
    made: dict[str, dict[str, tuple[int, int]]] = {}
    for name, record in layout.records.items():
        at, columns = 3, made.setdefault(name, {})
        for f in record.fields:
            dated = {"%Y%m%d": 8, "%Y%m%d%H%M%S": 14}.get(f.format or "", 0)
            codes = sum(map(len, f.values)) if f.type == "flags" else max(map(len, f.values), default=14)
            width = dated or f.max or (f.digits or codes) + (f.sign != "none")
            columns[f.name] = at, width
            at += width
    return made


def write_fixed(path: Path, log: Path) -> None:
    """The delimited log in columns."""
    columns = _columns(FileContract("pos", ROOT / "contracts/systems/pos/tlog.toml").layout)
    with log.open(encoding="utf-8") as rows, path.open("w", encoding="utf-8") as out:
        for row in rows:
            name, *cells = row.rstrip("\n").split(";")
            widths = columns[name].values()
            out.write(f"{name}{''.join(cell.ljust(width) for cell, (_, width) in zip(cells, widths, strict=False)).rstrip()}\n")


def write_poslog(path: Path, transactions: int, store: str = "0001") -> None:
    with path.open("w", encoding="utf-8") as out:
        out.write('<?xml version="1.0" encoding="utf-8"?>\n<POSLog xmlns="http://www.nrf-arts.org/IXRetail/namespace/">\n')
        for till, sequence, second, sku, pieces, cents in receipts(transactions):
            at = f"2026-03-11T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}+01:00"
            worth, net = pieces * cents, pieces * cents * 100 // 119
            out.write(
                f"<Transaction><RetailStoreID>{store}</RetailStoreID><WorkstationID>{till}</WorkstationID><SequenceNumber>{sequence}</SequenceNumber>"
                f"<BusinessDayDate>2026-03-11</BusinessDayDate><BeginDateTime>{at}</BeginDateTime><EndDateTime>{at}</EndDateTime>"
                f"<OperatorID>0012</OperatorID><CurrencyCode>EUR</CurrencyCode>"
                f'<RetailTransaction Version="2.1" TransactionStatus="Totaled" TypeCode="Sale"><ReceiptDateTime>{at}</ReceiptDateTime>'
                f"<ReceiptNumber>{till}-{sequence:06}</ReceiptNumber>"
                f'<LineItem EntryMethod="Scanned"><SequenceNumber>1</SequenceNumber><Sale ItemType="Stock"><POSIdentity POSIDType="GTIN">'
                f"<POSItemID>04006100000823</POSItemID></POSIdentity><ItemID>{sku:014}</ItemID><Description>Apfel</Description>"
                f"<RegularSalesUnitPrice>{cents / 100:.2f}</RegularSalesUnitPrice>"
                f"<ActualSalesUnitPrice>{cents / 100:.2f}</ActualSalesUnitPrice>"
                f"<ExtendedAmount>{worth / 100:.2f}</ExtendedAmount>"
                f'<Quantity Units="{pieces}" UnitOfMeasureCode="EA">{pieces}</Quantity></Sale></LineItem>'
                f"<LineItem><SequenceNumber>2</SequenceNumber><Tax><TaxableAmount>{net / 100:.2f}</TaxableAmount>"
                f"<Amount>{(worth - net) / 100:.2f}</Amount><Percent>19.00</Percent></Tax></LineItem>"
                f'<LineItem><SequenceNumber>3</SequenceNumber><Tender TenderType="Cash" TypeCode="Sale"><Amount>{worth / 100:.2f}</Amount>'
                f'</Tender></LineItem><Total TotalType="TransactionGrossAmount">{worth / 100:.2f}</Total>'
                f'<Total TotalType="TransactionNetAmount">{net / 100:.2f}</Total>'
                f'<Total TotalType="TransactionTaxAmount">{(worth - net) / 100:.2f}</Total>'
                f'<Total TotalType="TransactionGrandAmount">{worth / 100:.2f}</Total></RetailTransaction></Transaction>\n'
            )
        out.write("</POSLog>\n")


def csv_loop(path: Path) -> int:
    """What one writes by hand: rows to tuples with Decimals, totals added up, nothing stored, nothing checked but the sum."""
    total, sales = Decimal(0), 0
    sale: dict[str, Any] = {}
    with path.open(encoding="utf-8", newline="") as source:
        for row in csv.reader(source, delimiter=";"):
            match row[0]:
                case "TH":
                    sale = {"till": row[1], "sequence": int(row[2]), "type": row[3], "begin": row[4], "lines": [], "tenders": []}
                case "TL":
                    sale["lines"].append((row[3], Decimal(row[5]) / 1000, Decimal(row[7]) / 100, Decimal(row[8]) / 100))
                case "TT":
                    sale["tenders"].append((row[1], Decimal(row[2]) / 100))
                case "TF":
                    sale["totals"] = tuple(Decimal(v) / 100 for v in row[1:5])
                    total += sale["totals"][3]
                    sales += 1
                case "FT":
                    if Decimal(row[3]) / 100 != total:
                        raise ValueError("the trailer's total does not hold")
    return sales


def iterparse(path: Path) -> int:
    sales = 0
    for _, element in etree.iterparse(str(path), tag="{*}Transaction"):
        sales += 1
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
    return sales


def prepared(kind: str, layout: Path | None = None) -> tuple[FileContract, CompiledMapping]:
    contract = FileContract("pos", layout or ROOT / f"contracts/systems/pos/{kind}.toml")
    text = (ROOT / f"mappings/pos/{kind}.toml").read_text(encoding="utf-8")
    return contract, load(text, kind, lambda name: contract.exchange(name.partition(".")[2]), {"PosSale": PosSale})


@asynccontextmanager
async def worker(kind: str, scratch: Path, contract: FileContract, mapping: CompiledMapping) -> AsyncIterator[TakeIn]:
    """With an inbox and books of its own. What it is given goes from file to committed sales with events."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    inbox = folder / "inbox"
    inbox.mkdir()
    books = open_store(StoreOptions(url=f"sqlite:///{folder}/books.db"))
    feed = FileFeed("pos", kind, contract, FeedOptions(inbox=str(inbox), complete="renamed", watch=False))
    await books.start()
    await feed.start()
    intake = Intake(feed, mapping, books, Recorder(), Berlin(), "/bench")

    async def take_in(file: Path) -> int:
        (inbox / file.name).hardlink_to(file)
        await intake.sweep_once()
        record = next(r for r in await books.files.list(10) if r.name == file.name)
        if record.state != "done" or record.quarantined or record.conflicts:
            raise RuntimeError(f"{record.name}: {record.state}, {record.quarantined} set aside, {record.reason}")
        return record.booked

    try:
        yield take_in
    finally:
        await feed.close()
        await books.close()
        shutil.rmtree(folder)


TakeIn = Callable[[Path], Awaitable[int]]
"""Returns how many sales of a file were booked."""


def once(kind: str, file: Path, scratch: Path, contract: FileContract, mapping: CompiledMapping) -> int:
    async def alone() -> int:
        async with worker(kind, scratch, contract, mapping) as take_in:
            return await take_in(file)

    return asyncio.run(alone())


def compare(name: str, against: str, bar: float, ours: Callable[[], int], theirs: Callable[[], int], rounds: int) -> Ratio:
    """CPU time of whole runs in turn: seconds each, so a few rounds are enough. Both must have seen the same transactions."""
    times: list[tuple[float, float]] = []
    for n in range(rounds):
        spent: dict[bool, float] = {}
        counted: dict[bool, int] = {}
        for mine in (n % 2 == 0, n % 2 == 1):
            gc.collect()
            start = time.process_time()
            counted[mine] = (ours if mine else theirs)()
            spent[mine] = time.process_time() - start
        if counted[True] != counted[False]:
            raise RuntimeError(f"{name}: {counted[True]} transactions here, {counted[False]} there")
        times.append((spent[True], spent[False]))
    each = sorted(b / a for a, b in times)
    value = median(each)
    return Ratio(
        name, against, round(value, 3), (round(each[0], 3), round(each[-1], 3)), round(median(a for a, _ in times) * 1e6, 1),
        round(median(b for _, b in times) * 1e6, 1), f">={bar}", value >= bar,
    )  # fmt: skip


def growth(deep: bool) -> None:
    """What a line costs a worker that runs, and the most memory that was held, from one size of file to the next: a process for each. What
    comes first is what it costs to start, and to take in a first file.
    """
    sizes = [("delimited", lines) for lines in (4, 10_000, 100_000, 1_000_000)]
    if deep:
        sizes += [("delimited", 10_000_000), ("fixed", 10_000_000), ("poslog", 4 * FOUR_GIGABYTES)]
    for kind, lines in sizes:
        subprocess.run([sys.executable, "-m", "benchmarks.files", "--size", kind, str(lines)], check=True, cwd=ROOT)


def size(kind: str, lines: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tillgate-bench-") as name:
        scratch = Path(name)
        file, contract, mapping = written(kind, lines, scratch)
        first, _, _ = written(kind, LEAST, scratch, "0002")

        async def measured() -> float:
            start = time.process_time()
            async with worker("poslog" if kind == "poslog" else "tlog", scratch, contract, mapping) as take_in:
                if lines > LEAST:
                    await take_in(first)
                    start = time.process_time()
                await take_in(file)
                return time.process_time() - start

        spent = asyncio.run(measured())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        each = f"{spent / lines * 1e6:>6.2f} us of CPU a line" if lines > LEAST else f"{spent * 1e3:>6.0f} ms of CPU in all"
        print(f"{kind:<9} {lines:>12,} lines {file.stat().st_size / 1e6:>8,.0f} MB {each}, peak memory {peak} MiB", flush=True)


def written(kind: str, lines: int, folder: Path, store: str = "0001") -> tuple[Path, FileContract, CompiledMapping]:
    """A file of so many lines, four to a transaction, and what it is read with."""
    if kind == "poslog":
        file = folder / f"POSLOG_{store}_{DAY}_00001.xml"
        write_poslog(file, lines // 4, store)
        return file, *prepared("poslog")
    file = folder / f"TLOG_{store}_{DAY}_00001.tlog"
    write_tlog(file, lines, store)
    if kind == "delimited":
        return file, *prepared("tlog")
    columns, log = folder / "tlog.toml", file
    file = file.with_suffix(".fix")
    write_fixed(file, log)
    log.unlink()
    columns.write_text(fixed_layout(), encoding="utf-8")
    return file, *prepared("tlog", columns)


def main() -> None:
    lines = next((int(a) for a in sys.argv[1:] if a.isdigit()), LINES)
    rounds = ROUNDS
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    if "--size" in sys.argv:
        size(sys.argv[sys.argv.index("--size") + 1], lines)
        return
    with tempfile.TemporaryDirectory(prefix="tillgate-bench-") as name:
        scratch = Path(name)
        log = scratch / f"TLOG_0001_{DAY}_00001.log"
        write_tlog(log, lines)
        ratios = []
        for kind, against, bar in (("delimited", "csv loop", 0.25), ("fixed", "csv loop", 0.25), ("poslog", "lxml iterparse", 0.3)):
            file, contract, mapping = written(kind, lines, scratch)
            peer = partial(iterparse, file) if kind == "poslog" else partial(csv_loop, log)
            ours = partial(once, "poslog" if kind == "poslog" else "tlog", file, scratch, contract, mapping)
            ratios.append(compare(f"{kind}, {lines // 4} transactions", against, bar, ours, peer, rounds))
        show(ratios)
        if "--json" not in sys.argv:
            for ratio in ratios:
                rate = lines // 4 / (ratio.ours_us / 1e6)
                print(f"{ratio.name}: {rate:,.0f} transactions a second of CPU, committed with events")
            print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
            sys.stdout.flush()
            growth("--deep" in sys.argv)


if __name__ == "__main__":
    main()

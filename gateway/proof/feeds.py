"""The catalogue for feeds of files: what is dropped into the inbox, what is expected of the books, and what came."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.options import read
from contracts.books import Books, FileRecord, Quarantined
from contracts.errors import TillgateError
from gateway.bootstrap import Checked, FeedOptions
from gateway.bootstrap.proving import Raw, Unwritable, Written, alone, books, feed, writer
from gateway.proof.case import Case, Differs, NotHere, Trial
from gateway.proof.documents import EveryZone, hints
from gateway.services.intake.intake import Intake
from mappings.language import CompiledMapping
from mappings.language.examples import given
from observability import Recorder

LEASE: Final = 0.5
MANY: Final = 300
Row = tuple[Any, ...]
_NUMBERED: Final = {"PosSale": "key.sequence_number", "StockMovement": "key.reference", "InventoryLevel": "sku"}
"""What tells a transaction from those of the same place and time."""


@dataclass(eq=False)
class Feed:
    """One feed of the estate. `rows`: transactions that it books; `number_at`: where each says its own number."""

    full: str
    mapping: CompiledMapping
    writer: Any
    options: FeedOptions
    rows: list[Row] = field(default_factory=list)
    source: str = "nothing"
    number_at: int = 0
    problem: str = ""

    @property
    def layout(self) -> Any:
        return self.writer.layout

    def transactions(self, count: int, first: int = 1) -> list[Row]:
        """Each with a number of its own."""
        row, at = self.rows[0], self.number_at
        kind = int if self.layout.transaction.fields[at].type == "integer" else str
        return [(*row[:at], kind(number), *row[at + 1 :]) for number in range(first, first + count)]


@dataclass(eq=False)
class FileBench:
    """An inbox, books, and the real intake between them."""

    feed: Feed
    checked: Checked
    folder: Path
    books: Books
    recorder: Recorder
    zones: EveryZone
    intakes: list[tuple[Any, Intake]] = field(default_factory=list)
    drift: int = 0
    time: float = 0.0
    """By which files have been quiet: it passes when nothing else is left to do."""

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    async def worker(self, name: str) -> Intake:
        """One more process that works on the folder."""
        source, mapping = feed(self.checked, lambda: self.time)
        await source.start()
        intake = Intake(source, mapping, self.books, self.recorder, self.zones, "/proof", owner=name, drift=self._drifted)
        self.intakes.append((source, intake))
        return intake

    def _drifted(self, kind: str, path: str, value: str) -> None:
        self.drift += 1

    async def put(self, written: Written, name: str = "") -> None:
        """As the till does it: complete at once, by the declared rule."""
        target = self.inbox / (name or written.name)
        if self.feed.options.complete == "renamed":
            part = target.with_name(f".{target.name}.part")
            await asyncio.to_thread(part.write_bytes, written.body)
            await asyncio.to_thread(part.replace, target)
        else:
            await asyncio.to_thread(target.write_bytes, written.body)
            if self.feed.options.complete == "marker":
                await asyncio.to_thread(target.with_name(target.name + self.feed.options.marker).touch)

    async def sweep(self, intake: Intake | None = None, seconds: float = 8.0) -> None:
        """Until nothing of this feed is left in the inbox, or the time is over."""
        worker = intake or self.intakes[0][1]
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await worker.sweep_once()
            if not await asyncio.to_thread(self.left):
                return
            self.time += self.feed.options.quiet + 0.01
            await asyncio.sleep(0.01)

    def left(self) -> list[str]:
        return sorted(p.name for p in self.inbox.iterdir() if self.feed.layout.pattern.fullmatch(p.name))

    async def records(self) -> list[FileRecord]:
        return list(await self.books.files.list(1000))

    async def booked(self) -> int:
        return sum(r.booked for r in await self.records())

    async def set_aside(self) -> Sequence[Quarantined]:
        return await self.books.files.quarantined(None, 100)

    async def close(self) -> None:
        for source, _ in self.intakes:
            await source.close()


@dataclass(eq=False)
class FileLab:
    """One files system of an estate."""

    checked: Checked
    system: str
    keep: Callable[[Path], Books] = books
    """Makes the books of a bench in its folder."""
    notes: list[str] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)

    def __post_init__(self) -> None:
        for full, declared in self.checked.estate.operation.items():
            if full.partition(".")[0] == self.system and declared.mode == "file":
                options = _options(declared.feed)
                mapping = self.checked.mappings[declared.answer]
                self.feeds.append(Feed(full, mapping, writer(self.checked, full), options))

    @property
    def sources(self) -> dict[str, str]:
        return {f.full: f.source for f in self.feeds}

    async def prepare(self) -> None:
        """Finds transactions that each feed books: of the mapping's examples the largest, else one made from the layout."""
        for each in self.feeds:
            await self._find(each)

    async def _find(self, each: Feed) -> None:
        mapping = each.mapping
        if each.layout.edi:
            each.problem = "interchanges are not made up here: try those of the partner (files read, map try)"
            return
        target = _NUMBERED[mapping.file.target]
        numbers = {s for t, line in mapping.lineage.items() if t == target for s in line.sources}
        own = [at for at, f in enumerate(each.layout.transaction.fields) if f.name in numbers and f.type in ("integer", "string")]
        if not own:
            each.problem = f"no field of the transaction itself tells it from others ({target})"
            return
        each.number_at = own[-1]
        candidates: list[tuple[str, Row]] = []
        for example in mapping.file.examples:
            if example.error is None:
                with suppress(ValueError, TypeError, KeyError):
                    candidates.append((f"example {example.name!r}", given(mapping.source, example.given, _no_xml)))
        candidates += [("made from the layout", each.writer.sample(hints(mapping), optional=optional)) for optional in (True, False)]
        why = ""
        for kind in ("example", "made"):
            best: tuple[int, str, Row] | None = None
            for description, row in (c for c in candidates if c[0].startswith(kind)):
                each.rows = [row]
                try:
                    written = each.writer.file(each.transactions(1))
                except (Unwritable, ValueError, TypeError, IndexError) as exc:
                    why = why or f"{description} cannot be written: {exc}"
                    continue
                async with self.bench(Trial(self), each) as bench:
                    await bench.put(written)
                    await bench.sweep(seconds=2.0)
                    if await bench.booked() == 1:
                        if best is None or len(written.body) > best[0]:
                            best = len(written.body), description, row
                    else:
                        reasons = [q.reason or f"{q.field}: expected {q.expected}" for q in await bench.set_aside()]
                        reasons += [r.reason for r in await bench.records() if r.reason]
                        why = why or f"{description} is not booked{': ' if reasons else ''}{'; '.join(reasons[:3])}"
            if best is not None:
                each.source, each.rows = best[1], [best[2]]
                return
        each.rows, each.problem = [], f"no transaction is known that is booked; give the mapping an example ({why[:300]})"

    @asynccontextmanager
    async def bench(self, trial: Trial, each: Feed, **table: Any) -> AsyncIterator[FileBench]:
        declared = {k: v for k, v in self.checked.estate.operation[each.full].feed.items() if k not in ("archive", "quarantine", "inbox")}
        with tempfile.TemporaryDirectory(prefix="tillgate-proof-") as folder:
            inbox = Path(folder) / "inbox"
            cut = alone(
                self.checked,
                [each.full],
                self.checked.options[self.system],
                str(inbox),
                feed={**declared, "watch": False, **table},
            )
            kept = self.keep(Path(folder))
            await kept.start()
            bench = FileBench(each, cut, Path(folder), kept, Recorder(), EveryZone(self.checked.estate.estate.time_zone))
            try:
                await bench.worker("first")
                yield bench
            finally:
                trial.calls += len(await bench.records())
                await bench.close()
                await bench.recorder.close()
                await kept.close()


def _options(table: dict[str, Any]) -> FeedOptions:
    return read(FeedOptions, {"inbox": "-", **table})


def _no_xml(text: bytes) -> Any:
    raise ValueError("rows are not written as XML")


# ---- cases ------------------------------------------------------------------------------------------------------------

Check = Callable[[Trial, Feed, FileBench], Awaitable[str]]


def on_each(check: Check, **table: Any) -> Callable[[Trial], Awaitable[str]]:
    """The check on every feed, each with an inbox of its own."""

    async def run(trial: Trial) -> str:
        if not trial.lab.feeds:
            raise NotHere("the estate has no feed of this system")
        came: list[str] = []
        wrong: list[str] = []
        absent: list[str] = []
        for each in trial.lab.feeds:
            try:
                if each.problem:
                    raise Differs(each.problem)
                async with trial.lab.bench(trial, each, **table) as bench:
                    came.append(await check(trial, each, bench))
            except NotHere as exc:
                absent.append(str(exc))
            except Differs as exc:
                wrong.append(f"{each.full}: {exc}")
        if wrong:
            raise Differs("; ".join(wrong))
        if not came:
            raise NotHere("; ".join(dict.fromkeys(absent)))
        return f"{len(came)} feed{'s' if len(came) != 1 else ''}: {'; '.join(dict.fromkeys(came))}"

    return run


async def _state(bench: FileBench, number: int = 0) -> FileRecord:
    found = await bench.records()
    if len(found) <= number:
        raise Differs(f"the file was not taken (still there: {', '.join(bench.left()) or 'nothing'})")
    return found[number]


async def _refused(bench: FileBench) -> str:
    record = await _state(bench)
    if record.state != "refused" or record.booked:
        raise Differs(f"expected the whole file refused, it is {record.state} with {record.booked} transactions booked")
    kept = list((bench.folder / "quarantine").glob("*.reason.txt"))
    if not record.reason or not kept:
        raise Differs("the file was refused without a reason beside it")
    return f"refused: {record.reason[:80]}"


async def whole(trial: Trial, each: Feed, bench: FileBench) -> str:
    await bench.put(each.writer.file(each.transactions(5)))
    await bench.sweep()
    record = await _state(bench)
    if (record.state, record.booked) != ("done", 5):
        raise Differs(f"5 transactions were dropped, {record.booked} are booked ({record.state} {record.reason})")
    if not any(p.is_file() for p in (bench.folder / "archive").rglob("*")):
        raise Differs("the file was not archived")
    return "booked and archived"


async def empty(trial: Trial, each: Feed, bench: FileBench) -> str:
    await bench.put(Written(each.writer.file(each.transactions(1)).name, b"", ()))
    await bench.sweep()
    return await _refused(bench)


async def garbage(trial: Trial, each: Feed, bench: FileBench) -> str:
    await bench.put(Written(each.writer.file(each.transactions(1)).name, bytes(range(256)) * 16, ()))
    await bench.sweep()
    return await _refused(bench)


async def truncated(trial: Trial, each: Feed, bench: FileBench) -> str:
    written = each.writer.file(each.transactions(4))
    cut = (written.starts[3] + written.starts[4]) // 2
    await bench.put(Written(written.name, written.body[:cut], ()))
    await bench.sweep()
    if each.layout.file.incomplete == "refuse_file":
        return await _refused(bench)
    record = await _state(bench)
    if record.booked != 3:
        raise Differs(f"3 transactions were complete, {record.booked} are booked")
    return "what was complete is booked, as declared"


def _spoiled(each: Feed, rows: list[Row], at: int, text: str, kinds: tuple[str, ...]) -> list[Row]:
    """One field of one transaction holds another text. Raises NotHere where there is no such field."""
    for place, f in enumerate(each.layout.transaction.fields):
        free = place != each.number_at and f.name not in each.layout.file.agree and f.read != "name"
        if free and f.type in kinds and (f.type != "enum" or f.closed):
            row = rows[at]
            return [*rows[:at], (*row[:place], Raw(text), *row[place + 1 :]), *rows[at + 1 :]]
    raise NotHere(f"a transaction has no field of type {' or '.join(kinds)} that could be wrong")


async def _one_aside(each: Feed, bench: FileBench, good: int) -> str:
    record, aside = await _state(bench), await bench.set_aside()
    if record.state == "refused":
        if each.options.refuse_share is not None or "share" in record.reason:
            return "the file is refused, as refuse_share declares"
        raise Differs(f"one bad transaction refused the whole file: {record.reason}")
    if record.booked != good or len(aside) != 1:
        raise Differs(f"{good} good and 1 bad were dropped, {record.booked} are booked and {len(aside)} set aside")
    if not (aside[0].line and (aside[0].reason or aside[0].expected)):
        raise Differs("the bad transaction was set aside without line and reason")
    return "set aside with line and reason, the others booked"


async def bad_transaction(trial: Trial, each: Feed, bench: FileBench) -> str:
    rows = _spoiled(each, each.transactions(4), 1, "?!", ("date", "datetime", "time", "integer", "decimal"))
    await bench.put(each.writer.file(rows))
    await bench.sweep()
    return await _one_aside(each, bench, 3)


async def wrong_totals(trial: Trial, each: Feed, bench: FileBench) -> str:
    totals = [c.expect for c in each.layout.checks if c.scope == "file" and c.on_failure == "refuse_file" and each.layout.trailers]
    if not totals:
        raise NotHere("the layout declares no total that proves the whole file")
    for number, total in enumerate(totals):
        await bench.put(each.writer.file(each.transactions(3), number + 1, stated={total: "777"}))
        await bench.sweep()
        record = next((r for r in await bench.records() if r.state != "refused"), None)
        if record is not None:
            raise Differs(f"{total} is wrong, and {record.booked} transactions are booked")
    return f"refused for each of {', '.join(totals)}"


async def wrong_name(trial: Trial, each: Feed, bench: FileBench) -> str:
    for group in each.layout.file.agree:
        written = each.writer.file(each.transactions(1))
        found = each.layout.pattern.fullmatch(written.name)
        said = found[group] if found else ""
        other = written.name.replace(said, said[:-1] + ("2" if said.endswith("1") else "1"), 1)
        if said and each.layout.pattern.fullmatch(other):
            await bench.put(written, other)
            await bench.sweep()
            return await _refused(bench)
    raise NotHere("the layout declares nothing that name and content must agree on")


async def half_written(trial: Trial, each: Feed, bench: FileBench) -> str:
    written = each.writer.file(each.transactions(4))
    half, target = len(written.body) // 2, bench.inbox / written.name
    rule = each.options.complete
    early = target.with_name(f".{target.name}.part") if rule == "renamed" else target
    worker = bench.intakes[0][1]
    for end in range(half, len(written.body), max(1, half // 3)):
        await asyncio.to_thread(early.write_bytes, written.body[:end])
        await worker.sweep_once()
        bench.time += each.options.quiet * 0.9
        await worker.sweep_once()
    if taken := await bench.records():
        raise Differs(f"half a file was taken ({taken[0].state}, {taken[0].booked} booked)")
    await bench.put(written)
    await bench.sweep()
    if (found := await bench.booked()) != 4:
        raise Differs(f"the complete file holds 4 transactions, {found} are booked")
    return f"left alone until complete ({rule})"


async def resent(trial: Trial, each: Feed, bench: FileBench) -> str:
    written = each.writer.file(each.transactions(4))
    for _ in range(3):
        await bench.put(written)
        await bench.sweep()
    if (found := await bench.booked()) != 4:
        raise Differs(f"4 transactions came three times, {found} are booked")
    return "booked once"


async def renamed(trial: Trial, each: Feed, bench: FileBench) -> str:
    written, other = each.writer.file(each.transactions(4), 1), each.writer.file(each.transactions(4), 2)
    if written.name == other.name:
        raise NotHere("names of this feed hold no number that could differ")
    await bench.put(written)
    await bench.sweep()
    await bench.put(written, other.name)
    await bench.sweep()
    if (found := await bench.booked()) != 4:
        raise Differs(f"4 transactions came under two names, {found} are booked")
    return "known by its content, booked once"


async def overlap(trial: Trial, each: Feed, bench: FileBench) -> str:
    await bench.put(each.writer.file(each.transactions(4), 1))
    await bench.sweep()
    await bench.put(each.writer.file(each.transactions(4, first=3), 2))
    await bench.sweep()
    if (found := await bench.booked()) != 6:
        raise Differs(f"two files hold 6 different transactions, {found} are booked")
    repeated = sum(r.repeated for r in await bench.records())
    if repeated != 2:
        raise Differs(f"2 transactions came twice, {repeated} are counted as repeated")
    return "each transaction once, by its number"


async def out_of_sequence(trial: Trial, each: Feed, bench: FileBench) -> str:
    for number in (3, 1, 2):
        await bench.put(each.writer.file(each.transactions(2, first=2 * number), number))
        await bench.sweep()
    if (found := await bench.booked()) != 6:
        raise Differs(f"three files hold 6 transactions, {found} are booked")
    return "all booked"


async def huge_record(trial: Trial, each: Feed, bench: FileBench) -> str:
    long = "x" * (each.layout.file.max_record + 100_000)
    await bench.put(each.writer.file(_spoiled(each, each.transactions(3), 1, long, ("string",))))
    await bench.sweep()
    record = await _state(bench)
    if record.state == "refused":
        return await _refused(bench)
    return await _one_aside(each, bench, 2)


async def wrong_encoding(trial: Trial, each: Feed, bench: FileBench) -> str:
    encoding = each.layout.file.encoding
    if encoding.lower().replace("-", "") not in ("utf8", "ascii"):
        raise NotHere(f"in {encoding} every byte is a character")
    mark = "zQz"
    written = each.writer.file(_spoiled(each, each.transactions(3), 1, mark, ("string",)))
    await bench.put(Written(written.name, written.body.replace(mark.encode(), b"z\xff\xfe"), ()))
    await bench.sweep()
    record = await _state(bench)
    if record.state == "refused":
        return await _refused(bench)
    return await _one_aside(each, bench, 2)


async def unknown_code(trial: Trial, each: Feed, bench: FileBench) -> str:
    await bench.put(each.writer.file(_spoiled(each, each.transactions(3), 1, "~", ("enum",))))
    await bench.sweep()
    return await _one_aside(each, bench, 2)


async def folder_gone(trial: Trial, each: Feed, bench: FileBench) -> str:
    away = bench.inbox.with_name("away")
    await asyncio.to_thread(bench.inbox.rename, away)
    try:
        await bench.intakes[0][1].sweep_once()
    except TillgateError as error:
        said = type(error).__name__
    else:
        raise Differs("the inbox is gone, and nobody says so")
    await asyncio.to_thread(away.rename, bench.inbox)
    await bench.put(each.writer.file(each.transactions(2)))
    await bench.sweep()
    if (found := await bench.booked()) != 2:
        raise Differs(f"after the folder came back {found} of 2 transactions are booked")
    return f"{said}; afterwards it goes on"


async def crash(trial: Trial, each: Feed, bench: FileBench) -> str:
    written = each.writer.file(each.transactions(MANY))
    await bench.put(written)
    first = asyncio.create_task(bench.sweep(seconds=20))
    reached = 0
    while not first.done():
        await asyncio.sleep(0)
        if (found := await bench.records()) and 0 < (reached := found[0].position) < MANY:
            break
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    if not 0 < reached < MANY:
        raise Differs(f"the file could not be interrupted: position {reached} of {MANY}")
    second = await bench.worker("second")
    await asyncio.sleep(LEASE)
    await bench.sweep(second, seconds=20)
    record = await _state(bench)
    if (record.state, record.booked + record.repeated, record.booked) != ("done", MANY, MANY):
        raise Differs(f"of {MANY} transactions {record.booked} are booked and {record.repeated} repeated ({record.state})")
    return f"stopped after {reached} of {MANY}, another worker went on, each booked once"


async def two_workers(trial: Trial, each: Feed, bench: FileBench) -> str:
    second = await bench.worker("second")
    for number in range(1, 9):
        await bench.put(each.writer.file(each.transactions(10, first=10 * number), number))
    if len(bench.left()) < 2:
        raise NotHere("names of this feed hold no number that could differ")
    expected = 10 * len(bench.left())
    await asyncio.gather(bench.sweep(), bench.sweep(second))
    if (found := await bench.booked()) != expected:
        raise Differs(f"{expected} transactions were dropped, two workers booked {found}")
    if repeated := sum(r.repeated for r in await bench.records()):
        raise Differs(f"two workers read {repeated} transactions twice")
    return "each file by one of them"


CASES: Final[tuple[Case, ...]] = (
    Case("whole", "bronze", "a whole file", "booked and archived", on_each(whole)),
    Case("empty", "bronze", "a file of no bytes", "refused with a reason", on_each(empty)),
    Case("garbage", "bronze", "bytes that are nothing", "refused with a reason", on_each(garbage)),
    Case("truncated", "bronze", "the end is missing", "nothing, or what was complete, as the layout declares", on_each(truncated)),
    Case("bad_transaction", "bronze", "one of four transactions is bad", "set aside with line and reason, the others booked",
         on_each(bad_transaction)),
    Case("wrong_totals", "silver", "the trailer states other totals", "the whole file refused, nothing booked", on_each(wrong_totals)),
    Case("wrong_name", "silver", "the name says something else than the content", "refused with a reason", on_each(wrong_name)),
    Case("half_written", "silver", "a file that is still being written", "left alone until it is complete", on_each(half_written)),
    Case("resent", "silver", "the same file three times", "booked once", on_each(resent)),
    Case("renamed", "silver", "the same content under another name", "booked once", on_each(renamed)),
    Case("overlap", "silver", "a file that repeats transactions of an earlier one", "each transaction once", on_each(overlap)),
    Case("out_of_sequence", "silver", "files 3, 1, 2", "all booked", on_each(out_of_sequence)),
    Case("huge_record", "silver", "a record longer than the layout allows", "set aside or refused, never held in memory",
         on_each(huge_record)),
    Case("wrong_encoding", "silver", "bytes that are no characters", "set aside or refused", on_each(wrong_encoding)),
    Case("folder_gone", "silver", "the inbox disappears and comes back", "said so, then it goes on", on_each(folder_gone)),
    Case("unknown_code", "gold", "a code that the layout does not know", "set aside with line and reason", on_each(unknown_code)),
    Case("crash", "gold", "the worker dies in the middle of a file", "another goes on behind the last commit, each booked once",
         on_each(crash, batch=10, lease=f"{int(LEASE * 1000)}ms"), alone=True),
    Case("two_workers", "gold", "two workers on one folder", "each file by one of them", on_each(two_workers), alone=True),
)  # fmt: skip

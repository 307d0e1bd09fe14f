"""A till speaks: complete files are claimed, proven, mapped and booked in batches, then archived, or set aside with a reason."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from contracts.books import Books, FileRecord, FileSeen, Original, Phase, PreparedSale, Quarantined, SaleBatch
from contracts.canonical.inventory import InventoryLevel, StockMovement
from contracts.canonical.sale import PosSale
from contracts.errors import BadFile, StateConflict, StoreUnavailable, TillgateError
from contracts.events import TYPE_PREFIX, Event
from gateway.services.clock import Now, utc_now
from gateway.services.intake.acknowledgement import acknowledge
from gateway.services.intake.arrivals import Arrivals
from gateway.services.intake.feed import Ending, Feed, File, Reading, Record, StoreZones
from gateway.services.intake.reading import Read, Reader
from mappings.language import CompiledMapping
from observability import FlightRecord, Recorder, Step, get_logger, step

KEPT = 2000
"""Transactions that the proving pass keeps: a file that has no more is parsed once."""
ORIGINALS = 10_000
"""Of one file, that are looked for."""
MOST_ORIGINAL = 1_000_000
"""Bytes: longer ones may be cut, and what it became says more."""
MOST_REASON = 2000
LATE = 600.0
"""Seconds beyond which a file's flight counts as late: a night's file takes minutes."""
_NO_PASS: Final[tuple[Phase, None]] = "", None

log = get_logger(__name__)


@dataclass(slots=True)
class _Counts:
    booked: int = 0
    repeated: int = 0
    quarantined: int = 0
    refused: int = 0
    """By the books, of those: they do not know how it stood in the file."""
    drift: int = 0
    findings: list[str] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)


class _Stopped(Exception):
    """The service shuts down: the file goes on behind its position, here or elsewhere."""


class Intake:
    """One feed's files, those of a store one after the other. Many intakes may share a folder: the ledger keeps each file single."""

    def __init__(
        self,
        feed: Feed,
        mapping: CompiledMapping,
        books: Books,
        recorder: Recorder,
        zones: StoreZones,
        source: str,
        *,
        now: Now = utc_now,
        owner: str = "",
        drift: Callable[[str, str, str], None] | None = None,
    ) -> None:
        """`source`: CloudEvents source of what is announced. `owner`: who claims; unique per process. `drift` counts kind, path, value."""
        self._count_drift = drift
        self._feed, self._mapping, self._books, self._recorder, self._zones = feed, mapping, books, recorder, zones
        self._source, self._now = source, now
        self.feed = f"{feed.system}.{feed.name}"
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._stop: asyncio.Event | None = None
        self._troubled: dict[str, str] = {}
        self._arrivals = Arrivals(self.feed, feed.options, books, zones, now)
        self._passes: dict[str, tuple[Phase, Reading[Any]]] = {}
        """What is read now, by digest, for those who watch."""

    async def run(self, stop: asyncio.Event) -> None:
        """Sweeps until `stop`; a file in work is left at its last commit."""
        self._stop = stop
        while not stop.is_set():
            try:
                await self.sweep_once()
            except TillgateError as error:
                log.warning("sweep failed", feed=self.feed, reason=str(error)[:300])
            await self._feed.wait(stop)

    async def sweep_once(self) -> int:
        """Works through what is complete now. Returns how many files were finished. Raises UpstreamError, StoreUnavailable.

        As long as no time zone of any store is known, files stay where they are.
        """
        if not self._zones.known:
            return 0
        finished = 0
        at_once: dict[asyncio.Task[bool], str] = {}
        held: set[str] = set()
        try:
            async for file in self._feed.files():
                store = file.facts.get("store", "")
                while store in at_once.values():
                    finished += await _ended(at_once)
                if self._stopping:
                    break
                if store not in held:
                    at_once[asyncio.create_task(self._try(file, held), name=f"file {file.name}")] = store
                while len(at_once) >= self._feed.options.parallel:  # no file is looked at before it can be worked on
                    finished += await _ended(at_once)
            while at_once:
                finished += await _ended(at_once)
        finally:
            for task in at_once:
                task.cancel()
            await asyncio.gather(*at_once, return_exceptions=True)
        await self._arrivals.check(self._feed.refused)
        return finished

    async def _try(self, file: File, held: set[str]) -> bool:
        """Where names count the files of a store, one that is not through holds those behind it, until the next sweep."""
        through = finished = False
        try:
            finished = through = await self._take(file)
            if not finished and self._feed.options.sequence.group:
                record = await self._books.files.get(file.digest)
                through = record is not None and record.state != "claimed"
        except StoreUnavailable:
            raise
        except TillgateError as error:
            if self._troubled.get(file.name) != str(error):  # said once, tried at every sweep
                log.warning("file left for later", feed=self.feed, file=file.name, reason=str(error)[:300])
            self._troubled = dict([*self._troubled.items()][-1000:]) | {file.name: str(error)}
        except Exception:  # of this file alone: its claim runs out, and after so many attempts it is refused
            log.exception("file cannot be worked on", feed=self.feed, file=file.name)
        if not through and self._feed.options.sequence.group:
            held.add(file.facts.get("store", ""))
        return finished

    @property
    def _stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    async def _take(self, file: File) -> bool:
        known = await self._books.files.get(file.digest)
        if known is not None and known.state != "claimed" and (file.name == known.name or file.name in known.seen_as):
            await self._arrivals.again(file, known)
            await self._settle(file, known)
            return False
        if known is not None and known.state == "claimed" and known.lease_until is not None and known.lease_until > self._now():
            return False
        store = file.facts.get("store", "")
        with self._recorder.flight("file", self.feed, store=store, system=self._feed.system, operation=self._feed.name) as flight:
            flight.objective = LATE
            flight.set(file=file.name, file_bytes=file.size, feed=self.feed)
            seen = FileSeen(file.digest, self.feed, file.name, file.size, store)
            lease = float(self._feed.options.lease)
            claim = await self._books.files.claim(seen, self.owner, self._now(), lease, flight.trace_id)
            if claim.state == "busy":
                return False
            record = claim.record
            await self._arrivals.came(file, record)
            if claim.state == "mine":
                renewing = asyncio.create_task(self._renew(record, lease), name=f"lease {file.name}")
                try:
                    record = await self._work(file, record, flight)
                except _Stopped:
                    with suppress(TillgateError):
                        await self._books.files.renew(record.digest, record.fence, self._now())
                    flight.degraded("stopped")
                    return False
                except StateConflict:
                    flight.degraded("taken over")
                    return False
                finally:
                    self._passes.pop(file.digest, None)
                    renewing.cancel()
                    with suppress(asyncio.CancelledError):
                        await renewing
            await self._settle(file, record, first=True)
        return True

    async def _renew(self, record: FileRecord, lease: float) -> None:
        """While this lives, nobody takes the file over. A lost lease shows at the next commit, which its fence refuses."""
        while True:
            await asyncio.sleep(lease / 3)
            phase, reading = self._passes.get(record.digest, _NO_PASS)
            share = reading.share if reading is not None else 0.0
            with suppress(StoreUnavailable):
                if not await self._books.files.renew(record.digest, record.fence, self._now() + timedelta(seconds=lease), phase, share):
                    return

    async def _settle(self, file: File, record: FileRecord, *, first: bool = False) -> None:
        """Out of the inbox; the ledger has said how it ended, so this may be repeated and may be interrupted."""
        await acknowledge(self._books, self._feed, file, record, first=first)
        if record.state == "refused":
            kept = await self._feed.quarantine(file, record.reason)
        else:
            day = file.facts.get("business_date", "") or (record.finished_at or self._now()).date().isoformat()
            iso = f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else day
            kept = await self._feed.archive(file, file.facts.get("store", ""), iso)
        if kept is not None:
            await self._books.files.settled(record.digest, record.fence, str(kept))

    async def _work(self, file: File, record: FileRecord, flight: FlightRecord) -> FileRecord:
        """From a claimed file to a finished line of the ledger."""
        options, counts = self._feed.options, _Counts()
        try:
            if record.attempts > options.attempts:
                raise BadFile(file=file.name, reason=f"{record.attempts - 1} workers died over this file; the last one was {record.owner}")
            if file.oversize:
                raise BadFile(file=file.name, reason=f"larger than {options.max_bytes} bytes")
            if not file.size:
                raise BadFile(file=file.name, reason="the file is empty")
            await self._book(file, record, counts)
        except BadFile as error:
            flight.failed(error)
            flight.quarantined = True
            reason = error.reason[:MOST_REASON]
            log.warning("file refused", feed=self.feed, file=file.name, reason=reason)
            return await self._finish(file, record, "refused", reason, counts)
        flight.set(records_ok=counts.booked + counts.repeated, records_quarantined=counts.quarantined, drift=counts.drift)
        if counts.quarantined:
            flight.quarantined = True
            flight.degraded("quarantine")
        return await self._finish(file, record, "done", "; ".join(counts.findings)[:MOST_REASON], counts)

    async def _finish(self, file: File, record: FileRecord, state: Any, reason: str, counts: _Counts) -> FileRecord:
        now = self._now()
        bad = record.quarantined + counts.quarantined
        events: Sequence[Event] = ()
        if bad or state == "refused":
            events = (
                Event(
                    id=f"{file.digest}-{state}",
                    source=self._source,
                    type=f"{TYPE_PREFIX}file.quarantined.v1",
                    time=now,
                    subject=file.name,
                    data={
                        "file": file.name,
                        "digest": file.digest,
                        "feed": self.feed,
                        "state": state,
                        "quarantined": bad,
                        "reason": reason,
                    },
                ),
            )
        return await self._books.files.finish(file.digest, record.fence, state, reason, now, events)

    async def _book(self, file: File, record: FileRecord, counts: _Counts) -> None:
        """Raises BadFile before anything is booked when the layout, or the share of bad transactions, refuses the whole file."""
        read = Reader(self._feed, self._mapping, self._zones, file, self._now(), self._count_drift)
        share = self._feed.options.refuse_share
        kept: list[Read] | None = None
        if record.position == 0 and (self._feed.proves or share is not None):
            try:
                kept = await self._prove(file, read, share, counts, skim=KEPT if share is None else None)
            except BadFile:
                if share is not None:
                    raise
                kept = await self._prove(file, read, share, counts, skim=None)
        with step(Step.FILE_COMMIT, feed=self.feed) as hop:
            if kept is not None:
                size = self._feed.options.batch
                for start in range(0, len(kept), size):
                    await self._commit(record, kept[start : start + size], counts)
            else:
                async with self._feed.read(file, read, after=record.position, written=read.written) as reading:
                    self._passes[file.digest] = "booking", reading
                    async for batch in reading.batches:
                        await self._commit(record, batch, counts)
                    self._conclude(file, reading.ending, counts)
            if counts.refused or record.quarantined:
                await self._originals(file, record)
            hop.set(records_ok=counts.booked + counts.repeated, records_quarantined=counts.quarantined)
        for name in counts.extensions:
            read.drift("element", name)
        await self._arrivals.extended(record, counts.extensions)
        counts.drift = read.drifted

    async def _originals(self, file: File, record: FileRecord) -> None:
        """What the books refused is looked for in the file once more, since whoever decides wants to see what stood there."""
        wanted: dict[int, int] = {}
        after = 0
        while len(wanted) < ORIGINALS and (page := await self._books.quarantine.list(1000, digest=file.digest, after=after)):
            wanted |= {r.record.position: r.record.id for r in page if r.record.form == "sale" and r.version == 0}
            after = page[-1].record.id
        if not wanted:
            return

        def convert(found: Record) -> Original | None:
            if (number := wanted.get(found.position)) is None or not 0 < len(raw := found.raw()) < MOST_ORIGINAL:
                return None
            return Original(number, found.file, found.line, raw, found.around())

        async with self._feed.read(file, convert, after=min(wanted) - 1) as reading:
            async for batch in reading.batches:
                if found := [original for original in batch if original is not None]:
                    await self._books.quarantine.originals(file.digest, record.fence, found)
                if self._stopping:
                    raise _Stopped

    async def _prove(self, file: File, read: Reader, share: float | None, counts: _Counts, *, skim: int | None) -> list[Read] | None:
        """The first pass: whether anything refuses the file. Returns what was read, when it is little enough to be kept.

        A refusal by a pass that skims is confirmed by one that does not.
        """
        kept: list[Read] = []
        bad = units = 0

        def convert(record: Record) -> Read | bool:
            if share is not None or record.position <= KEPT:
                return read(record)
            return record.bad is not None

        with step(Step.FILE_PARSE, feed=self.feed) as hop:
            async with self._feed.read(file, convert, skim=skim, written=read.written) as reading:
                self._passes[file.digest] = "checking", reading
                async for batch in reading.batches:
                    units += len(batch)
                    bad += sum(found is True or (isinstance(found, tuple) and isinstance(found[1], Quarantined)) for found in batch)
                    if units <= KEPT:
                        kept += [found for found in batch if isinstance(found, tuple)]
                    if self._stopping:
                        raise _Stopped
                ending = reading.ending
            hop.set(rows=ending.rows, records_ok=ending.units - bad, records_quarantined=bad)
            if ending.reasons:
                raise BadFile(file=file.name, reason="; ".join(ending.reasons))
            if share is not None and units and bad / units > share:
                raise BadFile(file=file.name, reason=f"{bad} of {units} transactions are bad, more than the declared share of {share:.1%}")
        self._conclude(file, ending, counts)
        return kept if units <= KEPT else None

    def _conclude(self, file: File, ending: Ending, counts: _Counts) -> None:
        if ending.reasons:  # only when the file was begun by a worker that had proven it: the content is the same
            raise BadFile(file=file.name, reason="; ".join(ending.reasons))
        counts.findings, counts.extensions = list(ending.findings), list(ending.extensions)

    async def _commit(self, record: FileRecord, batch: list[Read], counts: _Counts) -> None:
        """One store transaction: sales, stock, events, quarantine and the position reached."""
        sold = [(at, found) for at, found in batch if isinstance(found, PreparedSale) or isinstance(found, PosSale)]  # noqa: SIM101 - most are the first
        places, sales = [at for at, _ in sold], [sale for _, sale in sold]
        others = [each for each in batch if not isinstance(each[1], PreparedSale)] if len(sold) < len(batch) else []
        bad = [found for _, found in others if isinstance(found, Quarantined)]
        reports = [(at, found) for at, found in others if isinstance(found, StockMovement | InventoryLevel)]
        await self._arrivals.read(record, sales)
        whole = SaleBatch(record.digest, record.fence, batch[-1][0], sales, bad, places, reports)
        result = await self._books.sales.commit(whole, self._now())
        counts.refused += result.quarantined - len(bad)
        counts.booked += result.booked
        counts.repeated += result.repeated
        counts.quarantined += result.quarantined
        if self._stopping:
            raise _Stopped


async def _ended(at_once: dict[asyncio.Task[bool], str]) -> int:
    """Waits until one of them has. Returns how many files that finished; raises what it raises."""
    done, _ = await asyncio.wait(at_once, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        del at_once[task]
    for error in [error for task in done if (error := task.exception()) is not None]:
        raise error
    return sum(task.result() for task in done)

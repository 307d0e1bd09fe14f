"""A till speaks: complete files are claimed, proven, mapped and booked in batches, then archived, or set aside with a reason."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from contracts.books import Books, FileRecord, FileSeen, Quarantined, SaleBatch
from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.location import Location
from contracts.canonical.payment import Payment
from contracts.canonical.sale import PosSale, SaleLine
from contracts.errors import BadFile, BadRecord, ContractViolation, StateConflict, StoreUnavailable, TillgateError
from contracts.events import TYPE_PREFIX, Event
from gateway.services.clock import Now, utc_now
from mappings.language import CompiledMapping, ReadContext
from observability import FlightRecord, Recorder, Step, get_logger, step

T = TypeVar("T")
KEPT = 2000
"""Transactions that the proving pass keeps: a file that has no more is parsed once."""
MOST_REASON = 2000
LATE = 600.0
"""Seconds beyond which a file's flight counts as late: a night's file takes minutes."""

log = get_logger(__name__)


# ---- what the intake needs of a feed ------------------------------------------------------------------------------


class File(Protocol):
    """A complete file; identity is its digest. `facts`: what its name says (`store`, `business_date`, where it does)."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def modified(self) -> float: ...
    @property
    def oversize(self) -> bool: ...
    @property
    def facts(self) -> Mapping[str, str]: ...


class Record(Protocol):
    """One transaction of a file: a row for the mapping, or why there is none."""

    @property
    def position(self) -> int: ...
    @property
    def line(self) -> int: ...
    @property
    def row(self) -> tuple[Any, ...] | None: ...
    @property
    def bad(self) -> BadRecord | None: ...
    @property
    def raw(self) -> Callable[[], bytes]: ...


class Ending(Protocol):
    """What a whole pass over a file has shown: `reasons` refuse it, `findings` are reported."""

    @property
    def units(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def reasons(self) -> list[str]: ...
    @property
    def findings(self) -> list[str]: ...


class Reading(Protocol[T]):
    @property
    def batches(self) -> AsyncIterator[list[T]]: ...
    @property
    def ending(self) -> Ending: ...


class Limits(Protocol):
    @property
    def batch(self) -> int: ...
    @property
    def lease(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def refuse_share(self) -> float | None: ...


class Feed(Protocol):
    """A source of files. Its methods raise UpstreamError when the folder fails, BadFile when a file is none of this feed."""

    @property
    def system(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def options(self) -> Limits: ...
    @property
    def dialect(self) -> Mapping[str, str]: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def proves(self) -> bool:
        """Whether the end of a file can refuse all of it."""
        ...

    def files(self) -> AsyncIterator[Any]: ...
    def read(
        self, file: Any, convert: Callable[[Any], T], *, after: int = 0, skim: int | None = None
    ) -> AbstractAsyncContextManager[Reading[T]]: ...
    async def archive(self, file: Any, store: str, business_date: str) -> object: ...
    async def quarantine(self, file: Any, reason: str) -> object: ...
    async def wait(self, stop: asyncio.Event) -> None: ...


class StoreZones(Protocol):
    """Time zones of locations, as far as they are known."""

    def of(self, location: str) -> ZoneInfo | None: ...
    def location(self, number: str) -> Location | None: ...
    @property
    def known(self) -> int: ...


# ---- the service --------------------------------------------------------------------------------------------------

Read = tuple[int, PosSale | Quarantined | None]
"""A position, and what became of the transaction there (None: the mapping leaves it out)."""


@dataclass(slots=True)
class _Counts:
    booked: int = 0
    repeated: int = 0
    conflicts: int = 0
    quarantined: int = 0
    drift: int = 0
    findings: list[str] = field(default_factory=list)


class _Stopped(Exception):
    """The service shuts down: the file goes on behind its position, here or elsewhere."""


class Intake:
    """One feed's files, one after the other. Many intakes of many processes may share a folder: the ledger keeps each file single."""

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
        async for file in self._feed.files():
            if self._stopping:
                break
            try:
                finished += await self._take(file)
            except StoreUnavailable:
                raise
            except TillgateError as error:
                if self._troubled.get(file.name) != str(error):  # said once, tried at every sweep
                    log.warning("file left for later", feed=self.feed, file=file.name, reason=str(error)[:300])
                self._troubled = dict([*self._troubled.items()][-1000:]) | {file.name: str(error)}
        return finished

    @property
    def _stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    async def _take(self, file: File) -> bool:
        known = await self._books.files.get(file.digest)
        if known is not None and known.state != "claimed" and (file.name == known.name or file.name in known.seen_as):
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
                    renewing.cancel()
                    with suppress(asyncio.CancelledError):
                        await renewing
            else:
                log.info("file came again", feed=self.feed, file=file.name, first=record.name, state=record.state)
            await self._settle(file, record)
        return True

    async def _renew(self, record: FileRecord, lease: float) -> None:
        """While this lives, nobody takes the file over. A lost lease shows at the next commit, which its fence refuses."""
        while True:
            await asyncio.sleep(lease / 3)
            with suppress(StoreUnavailable):
                if not await self._books.files.renew(record.digest, record.fence, self._now() + timedelta(seconds=lease)):
                    return

    async def _settle(self, file: File, record: FileRecord) -> None:
        """Out of the inbox; the ledger has said how it ended, so this may be repeated and may be interrupted."""
        if record.state == "refused":
            await self._feed.quarantine(file, record.reason)
        else:
            day = file.facts.get("business_date", "") or (record.finished_at or self._now()).date().isoformat()
            iso = f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else day
            await self._feed.archive(file, file.facts.get("store", ""), iso)

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
        bad = counts.quarantined + counts.conflicts
        flight.set(records_ok=counts.booked + counts.repeated, records_quarantined=bad, drift=counts.drift)
        if bad:
            flight.quarantined = True
            flight.degraded("quarantine")
        return await self._finish(file, record, "done", "; ".join(counts.findings)[:MOST_REASON], counts)

    async def _finish(self, file: File, record: FileRecord, state: Any, reason: str, counts: _Counts) -> FileRecord:
        now = self._now()
        bad = record.quarantined + record.conflicts + counts.quarantined + counts.conflicts
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
        read = _Reader(self._feed, self._mapping, self._zones, file, self._now(), self._count_drift)
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
                async with self._feed.read(file, read, after=record.position) as reading:
                    async for batch in reading.batches:
                        await self._commit(record, batch, counts)
                    self._conclude(file, reading.ending, counts)
            hop.set(records_ok=counts.booked + counts.repeated, records_quarantined=counts.quarantined + counts.conflicts)
        counts.drift = read.drifted

    async def _prove(self, file: File, read: _Reader, share: float | None, counts: _Counts, *, skim: int | None) -> list[Read] | None:
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
            async with self._feed.read(file, convert, skim=skim) as reading:
                async for batch in reading.batches:
                    units += len(batch)
                    bad += sum(found is True or (isinstance(found, tuple) and isinstance(found[1], Quarantined)) for found in batch)
                    if units <= KEPT:
                        kept += [found for found in batch if isinstance(found, tuple)]
                    if self._stopping:
                        raise _Stopped
                ending = reading.ending
            hop.set(rows=ending.rows, records_ok=units - bad, records_quarantined=bad)
            if ending.reasons:
                raise BadFile(file=file.name, reason="; ".join(ending.reasons))
            if share is not None and units and bad / units > share:
                raise BadFile(file=file.name, reason=f"{bad} of {units} transactions are bad, more than the declared share of {share:.1%}")
        self._conclude(file, ending, counts)
        return kept if units <= KEPT else None

    def _conclude(self, file: File, ending: Ending, counts: _Counts) -> None:
        if ending.reasons:  # only when the file was begun by a worker that had proven it: the content is the same
            raise BadFile(file=file.name, reason="; ".join(ending.reasons))
        counts.findings = list(ending.findings)

    async def _commit(self, record: FileRecord, batch: list[Read], counts: _Counts) -> None:
        """One store transaction: sales, stock, events, quarantine and the position reached."""
        sales = [found for _, found in batch if isinstance(found, PosSale)]
        bad = [found for _, found in batch if isinstance(found, Quarantined)]
        result = await self._books.sales.commit(SaleBatch(record.digest, record.fence, batch[-1][0], sales, bad), self._now())
        counts.booked += result.booked
        counts.repeated += result.repeated
        counts.conflicts += result.conflicts
        counts.quarantined += len(bad)
        if self._stopping:
            raise _Stopped


class _Reader:
    """Turns transactions of one file into sales, in the parser's thread; what cannot become one is set aside."""

    def __init__(
        self,
        feed: Feed,
        mapping: CompiledMapping,
        zones: StoreZones,
        file: File,
        now: datetime,
        count: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self._count = count
        self._read_one, self._digest, self._name = mapping.read_one, file.digest, file.name
        self._dialect, self._zones = feed.dialect, zones
        self.drifted = 0
        origin = Provenance(
            source_system=feed.system,
            as_of=datetime.fromtimestamp(file.modified, UTC),
            received_at=now,
            via="file",
            source_record=file.name,
            mapping_version=mapping.version,
        )
        self._context = ReadContext(
            feed.system,
            feed.name,
            now,
            provenance=(origin,),
            zone_of=zones.of,
            drift=self._drift,
            location_of=zones.location,
            parameters=feed.parameters,
        )

    def _drift(self, kind: str, path: str, value: str) -> None:
        self.drifted += 1
        if self._count is not None:
            self._count(kind, path, value)

    def __call__(self, record: Record) -> Read:
        if record.bad is not None:
            return record.position, self._aside(record, record.bad)
        try:
            sale = self._read_one(record.row, self._context)
            if sale is None:
                return record.position, None
            zone = self._zones.of(sale.key.store_number)
            return record.position, normal_form(sale, self._dialect, zone.key if zone else None)
        except ContractViolation as error:
            return record.position, self._aside(record, _bad(self._name, record.line, error.where, error.expected, error.got))
        except NotNormal as error:
            return record.position, self._aside(record, _bad(self._name, record.line, error.field, error.expected, error.got))

    def _aside(self, record: Record, bad: BadRecord) -> Quarantined:
        return Quarantined(
            digest=self._digest,
            file=self._name,
            position=record.position,
            line=bad.line,
            field=bad.field,
            expected=bad.expected,
            got=bad.got,
            reason=f"{bad.field or 'row'}: expected {bad.expected}, got {bad.got}",
            raw=record.raw(),
        )


def _bad(file: str, line: int, field: str, expected: str, got: str) -> BadRecord:
    return BadRecord(file=file, line=line, field=field, expected=expected, got=got)


# ---- the normal form of a sale ------------------------------------------------------------------------------------


class NotNormal(Exception):
    """A transaction that its declared dialect does not allow."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(field, expected, got)
        self.field, self.expected, self.got = field, expected, got


def normal_form(sale: PosSale, dialect: Mapping[str, str], zone: str | None) -> PosSale:
    """Positive quantities with the direction in the line's type, void lines paired, payments told apart. Raises NotNormal."""
    lines = sale.lines
    if any(map(_negative, lines)):
        if dialect.get("return_line") != "negative":
            raise NotNormal("lines", "quantities without a sign", "a negative quantity, which the declared dialect does not use")
        lines = tuple(_positive(line) if _negative(line) else line for line in lines)
    if dialect.get("void_line", "flag") != "flag" and any(line.voided for line in lines):
        lines = tuple(_paired(lines, flips=dialect["void_line"] == "flagged_reversing"))
    kind = sale.transaction_type
    if kind in ("sale", "return"):
        kinds = {line.line_type for line in lines if not line.voided and line.voids_line is None} & {"sale", "return"}
        if len(kinds) == 2:
            kind = "exchange"
        elif kinds == {"return"}:
            kind = "return"
    tenders = sale.tenders
    if len(tenders) > 1 and len({t.payment_id for t in tenders}) < len(tenders):
        tenders = tuple(_told_apart(tenders))
    return replace(sale, lines=lines, transaction_type=kind, tenders=tenders, store_time_zone=sale.store_time_zone or zone)


def _negative(line: SaleLine) -> bool:
    units, measure = line.units, line.measure
    return (units is not None and units.value[0] == "-") or (measure is not None and measure.value[0] == "-")


def _positive(line: SaleLine) -> SaleLine:
    turned = {"sale": "return", "return": "sale"}
    return replace(
        line, line_type=turned.get(line.line_type, line.line_type), units=_magnitude(line.units), measure=_magnitude(line.measure)
    )


def _magnitude(quantity: Quantity | None) -> Quantity | None:
    return None if quantity is None else Quantity(quantity.value.removeprefix("-"), quantity.unit)


def _paired(lines: Sequence[SaleLine], *, flips: bool) -> Iterator[SaleLine]:
    """A flagged line takes an earlier one back: it counts against it, and names it."""
    open_lines: list[SaleLine] = []
    for line in lines:
        if not line.voided:
            open_lines.append(line)
            yield line
            continue
        wanted = line.line_type if flips else {"sale": "return", "return": "sale"}.get(line.line_type, line.line_type)
        target = next(
            (o for o in reversed(open_lines) if o.item_id == line.item_id and o.line_type == wanted and _count(o) == _count(line)), None
        )
        if target is None:
            raise NotNormal(f"lines/{line.line_number}", "an earlier line that this void line takes back", "none")
        open_lines.remove(target)
        kind = {"sale": "return", "return": "sale"}.get(line.line_type, line.line_type) if flips else line.line_type
        yield replace(line, voided=False, line_type=kind, voids_line=target.line_number)


def _count(line: SaleLine) -> Decimal | None:
    quantity = line.measure or line.units
    return None if quantity is None else quantity.amount


def _told_apart(tenders: Sequence[Payment]) -> Iterator[Payment]:
    """A second payment of one id gets a number: ids are unique within a sale."""
    seen: dict[str, int] = {}
    for tender in tenders:
        count = seen[tender.payment_id] = seen.get(tender.payment_id, 0) + 1
        yield tender if count == 1 else replace(tender, payment_id=f"{tender.payment_id[:90]}-{count}")

"""When files are expected and how they are numbered: what is late, missing, out of order, come again, left out, or of an odd day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from contracts.arrival import Slot, Window, business_date
from contracts.books import Arrival, Books, FileRecord, Finding, PreparedSale, TillDay
from contracts.canonical.file import FindingKind
from contracts.canonical.sale import PosSale
from gateway.services.clock import Now, utc_now
from gateway.services.intake.feed import File, Rules, StoreZones
from observability import get_logger

LOOK_BACK: Final = 3
"""Business days before today whose files may still be missed; with those on which a window opens later."""
DELIVERS: Final = timedelta(days=30)
"""A store that has delivered within this time is expected, where no stores are declared."""
EVERY: Final = timedelta(seconds=20)
MOST_SAID: Final = 100_000
MOST_DIGITS: Final = 15
MOST_LYING: Final = 1000
"""Entries of an inbox that are no files, of which people are told."""
_BEGIN: Final = b'"beginAt":"'
"""A quotation mark within a value has a backslash before it."""

log = get_logger(__name__)


class Arrivals:
    """Of one feed. Findings are kept in the books, each once however many workers look; what came is booked in any case."""

    def __init__(self, feed: str, rules: Rules, books: Books, zones: StoreZones, now: Now = utc_now) -> None:
        self._feed, self._rules, self._books, self._zones, self._now = feed, rules, books, zones, now
        self._looked: datetime | None = None
        self._since: datetime | None = None
        self._said: dict[tuple[FindingKind, str], None] = {}
        self._lying: set[str] | None = None

    # ---- a file is here --------------------------------------------------------------------------------------------

    async def came(self, file: File, record: FileRecord) -> None:
        """A file was claimed, or is known already. May be repeated. Raises StoreUnavailable."""
        if file.name != record.name:
            await self.again(file, record)
            return
        store, at = file.facts.get("store", ""), min(self._now(), datetime.fromtimestamp(file.modified, UTC))
        day = business_date(file.facts.get("business_date", ""))
        slot = self._slot_of(store, day, at)
        day = day or (slot.business_date if slot else "")
        numbering = self._rules.sequence
        number = file.facts.get(numbering.group, "") if numbering.group else ""
        arrival = Arrival(
            feed=self._feed,
            digest=file.digest,
            file=file.name,
            at=at,
            store=store,
            business_date=day,
            series=f"{store}/{day}" if numbering.restarts == "daily" else store,
            number=int(number) if number.isdecimal() and len(number) <= MOST_DIGITS else None,
            wraps=numbering.wraps,
        )
        await self._books.findings.arrived(arrival, [*self._timed(file, arrival, slot)], self._now())

    def _timed(self, file: File, arrival: Arrival, slot: Slot | None) -> Iterator[Finding]:
        if slot is None:
            return
        kind: FindingKind
        if arrival.at < slot.opens:
            kind, says = "file_early", f"came at {_clock(arrival.at, slot)}, before {_clock(slot.opens, slot)}"
        elif arrival.at > slot.late:
            kind, says = "file_late", f"came at {_clock(arrival.at, slot)}, expected by {_clock(slot.late, slot)}"
        else:
            return
        yield Finding(
            kind=kind,
            subject=self._subject(arrival.store, slot),
            feed=self._feed,
            detail=f"{file.name} {says}",
            state="noted",
            store=arrival.store,
            business_date=slot.business_date,
            file=file.name,
            digest=file.digest,
        )

    async def again(self, file: File, record: FileRecord) -> None:
        """Content that the ledger knows: under another name, or sent once more after it was finished; not what waits to be put away."""
        mark = file.name
        if file.name == record.name:
            if record.finished_at is None or file.modified <= record.finished_at.timestamp():
                return
            mark = f"{file.name}/{int(file.modified)}"
        state = {"done": f"is booked ({record.booked} transactions)", "refused": "was refused"}.get(record.state, "is in work")
        came = "once more; it" if file.name == record.name else f"with the content of {record.name}, which"
        finding = Finding(
            kind="file_again",
            subject=f"{self._feed}/{file.digest[:16]}/{mark}",
            feed=self._feed,
            detail=f"{file.name} came {came} {state}",
            state="noted",
            store=file.facts.get("store", ""),
            business_date=business_date(file.facts.get("business_date", "")),
            file=file.name,
            digest=file.digest,
        )
        if await self._books.findings.record([finding], self._now()):
            log.warning("file came again", feed=self._feed, file=file.name, first=record.name, state=record.state)

    async def extended(self, record: FileRecord, names: Sequence[str]) -> None:
        """What a vendor writes beyond the layout: told once for the feed and each name. May be repeated. Raises StoreUnavailable."""
        found = [
            Finding(
                kind="extension",
                subject=subject,
                feed=self._feed,
                detail=f"{record.name} holds {name}, an element of its vendor's own that the layout does not read",
                state="noted",
                store=record.store,
                file=record.name,
                digest=record.digest,
            )
            for name in names
            if ("extension", subject := f"{self._feed}/{name}") not in self._said
        ]
        if found:
            if await self._books.findings.record(found, self._now()):
                log.warning("elements of the vendor's own", feed=self._feed, file=record.name, names=list(names)[:20])
            self._remember(found)

    # ---- days ------------------------------------------------------------------------------------------------------

    async def read(self, record: FileRecord, sales: Iterable[PosSale | PreparedSale]) -> None:
        """Before they are booked, so that nobody dies between the two: whose begin is far from their business day, once for each file
        and store. May be repeated. Raises StoreUnavailable."""
        found: dict[str, Finding] = {}
        tolerance, begins = self._rules.day_tolerance, dict[str, bytes]()
        for sale in sales:
            if tolerance and isinstance(sale, PreparedSale):  # nearly all begin on their day, and it is soon seen
                day = sale.till[2]
                if (begin := begins.get(day)) is None:
                    begin = begins[day] = _BEGIN + day.encode()
                if begin in sale.head:
                    continue
            day, begun = _begun(sale)
            if begun.startswith(day) and tolerance:
                continue
            store = sale.till[0] if isinstance(sale, PreparedSale) else sale.key.store_number
            subject = f"{self._feed}/{store}/{record.digest[:16]}"
            if subject in found or ("day_far", subject) in self._said or not business_date(day):
                continue
            local = _local(datetime.fromisoformat(begun), self._zone(store))
            if (away := abs((local.date() - date.fromisoformat(day)).days)) > tolerance:
                found[subject] = Finding(
                    kind="day_far",
                    subject=subject,
                    feed=self._feed,
                    detail=f"{sale.key} in {record.name} began on {_said(local)}, {away} days from its business day; more of it may",
                    state="noted",
                    store=store,
                    business_date=day,
                    file=record.name,
                    digest=record.digest,
                )
        if found:
            if await self._books.findings.record([*found.values()], self._now()):
                log.warning("transactions far from their business day", feed=self._feed, file=record.name, stores=len(found))
            self._remember(found.values())

    def _odd(self, till: TillDay) -> Iterator[Finding]:
        """What the calendar of a store says against sales of a day. Asked within the look at its tills, so it only thinks."""
        window, zone = self._rules.window, self._zone(till.store)
        if window is None or not business_date(till.business_date):
            return
        day = date.fromisoformat(till.business_date)
        sold = f"till {till.workstation} of store {till.store} booked sales of {day} ({day:%A}): {till.booked - till.known}"
        by = f" from {till.file}" if till.file else " by a person's decision"
        subject = f"{self._feed}/{till.store}/{till.business_date}"
        kind: FindingKind
        if not window.open(till.store, day):
            kind, detail = "day_closed", f"{sold}{by}; the store is closed on that day"
        elif zone is not None and till.other and (slot := window.slot(till.store, day, zone)) is not None and self._over(slot, till):
            kind, detail = "day_reopened", f"{sold}{by}, after the file of that day had come"
            subject += f"/{till.workstation}/{till.booked}"
        else:
            return
        yield Finding(
            kind=kind,
            subject=subject,
            feed=self._feed,
            detail=detail,
            state="noted",
            store=till.store,
            workstation=till.workstation,
            business_date=till.business_date,
            file=till.file,
            digest=till.digest,
        )

    def _over(self, slot: Slot, till: TillDay) -> bool:
        """The window has ended, or the one file of the day was read: numbered files may be several."""
        return till.at >= slot.until or (till.known > 0 and not self._rules.sequence.group)

    # ---- a file is not here ----------------------------------------------------------------------------------------

    async def check(self, refused: Mapping[str, str] = MappingProxyType({})) -> None:
        """After a sweep: who is late, whom nothing comes from any more, which numbers tills left out, and what lies in the inbox under a
        right name and is no file (`refused`: why). Raises StoreUnavailable."""
        now = self._now()
        await self._refused(refused, now)
        if self._looked is not None and timedelta() <= now - self._looked < min(EVERY, timedelta(seconds=self._rules.silent)):
            return
        self._looked = now
        settled = now - timedelta(seconds=self._rules.silent)
        while await self._books.findings.tills(self._feed, settled, now, say=self._rules.till_gaps, odd=self._odd):
            pass
        if self._rules.window is not None:
            await self._expected(self._rules.window, now)

    async def _refused(self, refused: Mapping[str, str], now: datetime) -> None:
        """Told while it lies there. Who begins to look asks the books what was told before."""
        if self._lying is None:
            told = await self._books.findings.list(MOST_LYING, state="open", kind="file_refused", feed=self._feed)
            self._lying = {finding.file for finding in told}
        lying = set(islice(refused, MOST_LYING))
        if lying == self._lying:
            return
        new = [self._no_file(name, refused[name]) for name in sorted(lying - self._lying)]
        if await self._books.findings.record(new, now):
            log.warning("no file under the name of one", feed=self._feed, count=len(new), first=new[0].detail)
        for name in sorted(self._lying - lying):
            await self._books.findings.close([self._no_file(name)], name, now)
        self._lying = lying

    def _no_file(self, name: str, why: str = "") -> Finding:
        detail = f"{name} in the inbox is {why}: it is never followed or read"
        return Finding(kind="file_refused", subject=f"{self._feed}/{name}", feed=self._feed, detail=detail, file=name)

    async def _expected(self, window: Window, now: datetime) -> None:
        """A feed is expected to deliver from the moment on at which it was first watched."""
        if self._since is None:
            stored = await self._books.meta.put_if_absent(f"feed.{self._feed}.watched", now.isoformat().encode())
            self._since = datetime.fromisoformat(stored.decode())
        stores = window.stores or sorted(await self._books.findings.stores(self._feed, now - DELIVERS))
        slots = [(store, slot) for store in stores for slot in self._slots(store, now) if self._since <= slot.late < now]
        came = await self._books.findings.came(self._feed, sorted({slot.business_date for _, slot in slots}))
        late, missing = list[Finding](), list[Finding]()
        for store, slot in slots:
            if (store, slot.business_date) in came:
                continue
            gone = now >= slot.until
            kind: FindingKind = "file_missing" if gone else "file_late"
            subject = self._subject(store, slot)
            if (kind, subject) in self._said:
                continue
            by, until = _clock(slot.late, slot), _clock(slot.until, slot)
            (missing if gone else late).append(
                Finding(
                    kind=kind,
                    subject=subject,
                    feed=self._feed,
                    detail=f"nothing came until {until}" if gone else f"nothing has come, expected by {by}",
                    store=store,
                    business_date=slot.business_date,
                    missing=1,
                )
            )
        new = await self._books.findings.record([*late, *missing], now)
        await self._books.findings.close(
            [Finding(kind="file_late", subject=f.subject, feed=self._feed, detail="") for f in missing], "the end of the window", now
        )
        if new:
            log.warning(
                "files do not come", feed=self._feed, late=len(late), missing=len(missing), stores=[f.store for f in missing or late][:20]
            )
        self._remember((*late, *missing))

    def _remember(self, said: Iterable[Finding]) -> None:
        self._said = dict.fromkeys([*self._said, *((f.kind, f.subject) for f in said)][-MOST_SAID:])

    # ---- hours -----------------------------------------------------------------------------------------------------

    def _slots(self, store: str, around: datetime) -> Iterator[Slot]:
        """Of the business days whose window may be open, or was the last to close."""
        window, zone = self._rules.window, self._zone(store)
        if window is None or zone is None:
            return
        today = around.astimezone(zone).date()
        for back in range(LOOK_BACK + window.after, -2, -1):
            if (slot := window.slot(store, today - timedelta(back), zone)) is not None:
                yield slot

    def _slot_of(self, store: str, day: str, at: datetime) -> Slot | None:
        """Of the business day that the name says, or else of the last window that opened before."""
        window, zone = self._rules.window, self._zone(store)
        if window is None or zone is None:
            return None
        if day:
            return window.slot(store, datetime.fromisoformat(day).date(), zone)
        return max((slot for slot in self._slots(store, at) if slot.opens <= at), key=lambda slot: slot.opens, default=None)

    def _zone(self, store: str) -> ZoneInfo | None:
        if store:
            return self._zones.of(store)
        declared = self._rules.window.zone if self._rules.window else ""
        return ZoneInfo(declared) if declared else self._zones.of("")

    def _subject(self, store: str, slot: Slot) -> str:
        return f"{self._feed}/{store}/{slot.business_date}"


def _clock(at: datetime, slot: Slot) -> str:
    """In the store's own time."""
    return at.astimezone(slot.opens.tzinfo).strftime("%Y-%m-%d %H:%M")


def _begun(sale: PosSale | PreparedSale) -> tuple[str, str]:
    """Business date, and when it began, as its document says it: a prepared sale has nothing else."""
    if isinstance(sale, PosSale):
        return sale.key.business_date, sale.begin_at.isoformat()
    start = sale.head.index(_BEGIN) + len(_BEGIN)
    return sale.till[2], sale.head[start : sale.head.index(b'"', start)].decode()


def _local(at: datetime, zone: ZoneInfo | None) -> datetime:
    try:
        return at.astimezone(zone) if zone is not None else at
    except OverflowError:  # at either end of time
        return at


def _said(at: datetime) -> str:
    return at.isoformat(" ", "minutes")[:16]

"""What people see of files and of what was set aside, and what they decide: one set of rules for commands, admin API and console."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Final, Protocol, cast

import msgspec

from contracts.admin import (
    Booking,
    DecisionView,
    Dismissal,
    Edit,
    Explanation,
    FileDetail,
    FileProgress,
    FileRetry,
    FilesParameters,
    FileView,
    FindingsParameters,
    FindingView,
    GivingUp,
    Preview,
    RecordCell,
    RecordDetail,
    RecordRow,
    RecordsParameters,
    RecordView,
    Retried,
    StockChange,
    ValueChange,
)
from contracts.books import AuditEntry, Books, Decision, FileRecord, Finding, Posting, PreparedSale, Quarantined, Reviewed
from contracts.canonical.inventory import InventoryLevel, StockMovement
from contracts.canonical.sale import PosSale
from contracts.errors import BadFile, Forbidden, InvalidBody, NotFound, StateConflict, UpstreamError
from gateway.services.clients import Actor
from gateway.services.clock import Now
from gateway.services.intake.explaining import Seen, of_file, of_nothing
from gateway.services.intake.feed import Feed, StoreZones
from gateway.services.intake.reading import Reader
from gateway.services.trail import entry_of, tell
from mappings.language import CompiledMapping

MASK = "•••"
MOST_RECORDS = 1000
"""Of one file, that are shown, and tried again by one request."""
PERSONAL = "customers:read"
MOST_CHANGES = 500
_VEILED = frozenset(("operatorId", "last4", "token", "pspReference"))
"""Of a sale: whose it is, and what leads to whoever paid."""


@dataclass(frozen=True)
class Source:
    """A feed with the mapping of now."""

    feed: Feed
    mapping: CompiledMapping


@dataclass(frozen=True)
class Sources:
    """`zones` may have to be learned first."""

    by_name: Mapping[str, Source]
    zones: Callable[[], Awaitable[StoreZones]]


@dataclass(frozen=True, slots=True)
class _Origin:
    """Fulfils `feed.File` for one record of a file that was read before."""

    name: str
    size: int
    digest: str
    modified: float
    facts: Mapping[str, str] = field(default_factory=dict)
    oversize: bool = False


class FileDesk(Protocol):
    """Where files and quarantine are looked after: in the books, or through a running gateway."""

    async def list(self, wanted: FilesParameters) -> Sequence[FileView]: ...

    async def show(self, digest: str) -> FileDetail: ...

    async def explain(self, name: str) -> Explanation: ...

    async def retry(self, digest: str, wanted: FileRetry) -> Retried: ...

    async def give_up(self, digest: str, wanted: GivingUp) -> FileView: ...

    async def records(self, wanted: RecordsParameters) -> Sequence[RecordView]: ...

    async def record(self, id: int) -> RecordDetail: ...

    async def edit(self, id: int, wanted: Edit) -> RecordDetail: ...

    async def book(self, id: int, wanted: Booking) -> RecordView: ...

    async def dismiss(self, id: int, wanted: Dismissal) -> RecordView: ...

    async def findings(self, wanted: FindingsParameters) -> Sequence[FindingView]: ...


class Review:
    """Fulfils `FileDesk` on the books, for one actor: who is bound to stores sees the files of these; personal fields are masked for all
    who may not read customers. A changed record is read by the layout, the mapping and the rules that its feed has now, and booked by the
    books' own way; the first decision counts.
    """

    def __init__(self, books: Books, sources: Callable[[], Awaitable[Sources]], actor: Actor, now: Now) -> None:
        self._books, self._sources, self._actor, self._now = books, sources, actor, now

    # ---- files

    async def list(self, wanted: FilesParameters) -> Sequence[FileView]:
        stores = self._bound(wanted.store)
        if stores is None:
            return ()
        before = None
        if wanted.cursor is not None:
            moment, _, digest = wanted.cursor.partition("~")
            try:
                before = datetime.fromisoformat(moment), digest
            except ValueError:
                return ()
            if before[0].tzinfo is None:
                return ()
        found = await self._books.files.list(wanted.limit, wanted.state, feed=wanted.feed, stores=stores, since=wanted.since, before=before)
        return [view(record, self._now()) for record in found]

    async def show(self, digest: str) -> FileDetail:
        """By the digest, the beginning of it, or a name that one file came under. Raises NotFound, StateConflict for a name of several."""
        record = await self._file(digest)
        told, advice = of_file(view(record, self._now()), self._now())
        rows = await self._books.quarantine.list(MOST_RECORDS, digest=record.digest)
        findings = await self._books.findings.list(MOST_RECORDS, about=record.digest)
        return FileDetail(
            file=view(record, self._now()),
            told=told,
            advice=advice,
            findings=tuple(map(_finding, findings)),
            records=tuple([await self._view(row) for row in rows]),
        )

    async def explain(self, name: str) -> Explanation:
        """Why a file is where it is, or is not there."""
        now = self._now()
        found = [view(r, now) for r in await self._books.files.find(name, 20) if self._may_see(r.store)]
        if found:
            sentences = [of_file(each, now) for each in found]
            told = tuple(chain.from_iterable(s[0] for s in sentences))
            return Explanation(
                name=name, told=told, advice=tuple(dict.fromkeys(chain.from_iterable(s[1] for s in sentences))), files=tuple(found)
            )
        seen = []
        for full, source in (await self._sources()).by_name.items():
            try:
                seen.append(Seen(full, await source.feed.look(name, self._actor.stores)))
            except UpstreamError as error:
                seen.append(Seen(full, None, str(error)))
        told, advice = of_nothing(name, seen)
        return Explanation(name=name, told=told, advice=advice)

    async def retry(self, digest: str, wanted: FileRetry) -> Retried:
        """Raises NotFound, StateConflict, UpstreamError when the folder cannot be written."""
        record = await self._file(digest)
        fence = record.fence if wanted.fence is None else wanted.fence
        source = (await self._sources()).by_name.get(record.feed)
        if source is None:
            raise NotFound(what="feed in the estate", key=record.feed)
        if record.state == "done":
            return await self._retry_records(record, source)
        inbox = await source.feed.look(record.name)
        if record.state == "refused" and inbox.there:
            why = f"another file of this name waits in {inbox.folder}; try again once it was taken"
            raise StateConflict(what="file", key=record.name, state="refused", why=why)
        entry = self._entry("file.retried", record.name, {"digest": record.digest, "was": record.state, "reason": record.reason[:200]})
        opened = await self._books.files.reopen(record.digest, fence, self._now(), [entry])
        tell(entry)
        names = [record.name, *record.seen_as]
        back = inbox.there or await source.feed.bring_back(record.kept, names, record.digest, record.name)
        told = (
            f"{record.name} waits in the inbox and is read from behind transaction {record.position} by whoever comes first."
            if back
            else f"{record.name} may be read again, but its file lies nowhere any more: put it into {inbox.folder} once more."
        )
        return Retried(file=view(opened, self._now()), told=told)

    async def _retry_records(self, record: FileRecord, source: Source) -> Retried:
        booked = repeated = left = 0
        rows = await self._books.quarantine.list(MOST_RECORDS, digest=record.digest, state="open")
        for row in rows:
            try:
                posting = await self._posting(row, source)
                if posting is not None and not isinstance(posting, Quarantined):
                    decided = await self._book(row, posting, "retried with the layout and mapping of now")
                    booked += decided.decision is not None and decided.decision.what == "booked"
                    repeated += decided.decision is not None and decided.decision.what == "repeated"
                    continue
            except (StateConflict, InvalidBody, BadFile):
                pass  # it waits for a person as before, or somebody has just decided
            left += 1
        again = await self._file(record.digest)
        told = f"{len(rows)} records were read again: {booked} booked, {repeated} were booked before, {left} wait for a person as before."
        return Retried(file=view(again, self._now()), told=told, booked=booked, repeated=repeated, left=left)

    async def give_up(self, digest: str, wanted: GivingUp) -> FileView:
        """Raises NotFound, InvalidBody, StateConflict."""
        _require(wanted.reason)
        record = await self._file(digest)
        entry = self._entry("file.given_up", record.name, {"digest": record.digest, "reason": wanted.reason})
        fence = record.fence if wanted.fence is None else wanted.fence
        given_up = await self._books.files.give_up(record.digest, fence, self._decision("given_up", wanted.reason), [entry])
        tell(entry)
        return view(given_up, self._now())

    async def findings(self, wanted: FindingsParameters) -> Sequence[FindingView]:
        """What is late, missing or left out: newest first."""
        found = await self._books.findings.list(wanted.limit, state=wanted.state, feed=wanted.feed, stores=self._actor.stores)
        return [_finding(f) for f in found]

    # ---- records

    async def records(self, wanted: RecordsParameters) -> Sequence[RecordView]:
        stores = self._bound(None)
        after = int(wanted.cursor) if wanted.cursor and re.fullmatch(r"[0-9]{1,18}", wanted.cursor) else 0
        found = await self._books.quarantine.list(
            wanted.limit, digest=wanted.file, state=wanted.status, feed=wanted.feed, stores=stores or (), after=after
        )
        return [await self._view(row) for row in found]

    async def record(self, id: int) -> RecordDetail:
        """Raises NotFound."""
        return await self._detail(await self._row(id))

    async def edit(self, id: int, wanted: Edit) -> RecordDetail:
        """Raises NotFound, Forbidden, InvalidBody, StateConflict."""
        row = await self._row(id)
        source = await self._source(row)
        if locked := self._locked(row, source):
            raise (Forbidden if locked.startswith("it holds personal") else InvalidBody)(**_why(locked))
        revised = None
        if wanted.text is not None:
            try:
                if row.record.form == "sale":
                    revised = msgspec.json.format(wanted.text.encode(), indent=-1)
                else:
                    revised = source.feed.bytes_of(wanted.text, row.record.raw, row.record.around)
            except (ValueError, msgspec.MsgspecError) as error:
                raise InvalidBody(where="/text", expected="text that its form and encoding can hold", got=str(error)[:200]) from error
            if revised == row.record.raw:
                revised = None
        if revised == row.revised:
            return await self._detail(row)
        entry = self._entry(
            "record.edited" if revised is not None else "record.restored",
            row.record.file,
            {"record": str(id), "line": str(row.record.line), "bytes": f"{len(row.text)} -> {len(revised or row.record.raw)}"},
        )
        changed = await self._books.quarantine.revise(id, wanted.version, revised, [entry])
        tell(entry)
        return await self._detail(changed)

    async def book(self, id: int, wanted: Booking) -> RecordView:
        """Raises NotFound, InvalidBody when it is no sale as it stands, StateConflict when it was changed or decided, or its key is booked
        with other content.
        """
        row = await self._row(id)
        if row.decision is not None:
            who = f"{row.decision.by} decided this at {row.decision.at:%Y-%m-%d %H:%M:%S}"
            raise StateConflict(what="quarantined record", key=str(id), state=row.state, why=who)
        if row.version != wanted.version:
            raise StateConflict(
                what="quarantined record", key=str(id), state=f"version {row.version}", why="somebody has changed it since you looked"
            )
        try:
            found = await self._posting(row, await self._source(row))
        except BadFile as error:
            raise InvalidBody(where="", expected="one transaction", got=error.reason) from error
        if found is None:
            raise InvalidBody(where="", expected="a transaction that the mapping books", got="one that it leaves out: dismiss it")
        if isinstance(found, Quarantined):
            got = self._hidden(found.field, await self._source(row)) or found.got
            raise InvalidBody(where=found.field, expected=found.expected, got=got)
        return await self._view(await self._book(row, found, wanted.reason))

    async def dismiss(self, id: int, wanted: Dismissal) -> RecordView:
        """Raises NotFound, InvalidBody, StateConflict."""
        _require(wanted.reason)
        row = await self._row(id)
        entry = self._entry("record.dismissed", row.record.file, {**_where(row), "reason": wanted.reason})
        decided = await self._books.quarantine.dismiss(id, wanted.version, self._decision("dismissed", wanted.reason), [entry])
        tell(entry)
        return await self._view(decided)

    async def _book(self, row: Reviewed, posting: Posting, reason: str) -> Reviewed:
        entry = self._entry(
            "record.booked",
            row.record.file,
            {
                **_where(row),
                _NOUNS[type(posting).__name__]: str(posting.key),
                **({"changed": "yes"} if row.revised is not None else {}),
                **({"reason": reason} if reason else {}),
            },
        )
        booked = await self._books.quarantine.book(row.record.id, row.version, posting, self._decision("booked", reason), [entry])
        tell(entry)
        return booked

    # ---- what it says

    async def _posting(self, row: Reviewed, source: Source, raw: bytes | None = None) -> Posting | Quarantined | None:
        """Of its bytes as they stand: parser, mapping and checks of the feed. Raises BadFile when they are not one transaction."""
        raw = row.text if raw is None else raw
        record = row.record
        if record.form == "sale":
            try:
                return _decoded(raw)
            except msgspec.MsgspecError as error:
                return msgspec.structs.replace(record, field="sale", expected="a sale as it was read", got=str(error)[:300])
        unit = await source.feed.one(raw, record.around, record.file)
        modified = (record.at or self._now()).timestamp()
        zones = await (await self._sources()).zones()
        read = Reader(source.feed, source.mapping, zones, _Origin(record.file, len(raw), record.digest, modified), self._now())
        _, found = await asyncio.to_thread(read, unit)
        assert not isinstance(found, PreparedSale)  # noqa: S101 - nothing has been learned of one record
        return found

    async def _preview(self, row: Reviewed, source: Source) -> Preview:
        try:
            sale = await self._posting(row, source)
        except BadFile as error:
            why = self._hidden("", source) or error.reason
            return Preview(outcome="refused", told=f"This is not one transaction: {why}.", got=why)
        if sale is None:
            return Preview(outcome="left_out", told="The mapping leaves this transaction out: there is nothing to book. Dismiss it.")
        if isinstance(sale, Quarantined):
            got = self._hidden(sale.field, source) or sale.got
            told = f"It cannot be booked as it stands: {_place(sale)} expected {sale.expected}, got {got}."
            return Preview(outcome="refused", told=told, line=sale.line, field=sale.field, expected=sale.expected, got=got)
        effect = await self._books.quarantine.weigh(sale)
        before: Posting | None = effect.standing
        if before is None and row.revised is not None:
            try:
                came = await self._posting(row, source, row.record.raw)
            except BadFile:
                came = None
            before = None if isinstance(came, Quarantined) else came
        return Preview(
            outcome=effect.outcome,
            told=_TOLD[effect.outcome, bool(effect.why)].format(key=sale.key, why=effect.why),
            key=str(sale.key),
            cents=effect.cents,
            currency=sale.currency_code if isinstance(sale, PosSale) else "",
            stock=tuple(StockChange(sku=sku, change=change) for sku, change in effect.stock.items()),
            changes=tuple(_changes(before, sale, personal=self._sees_all))[:MOST_CHANGES],
            found=effect.found,
            missing=effect.missing,
        )

    async def _detail(self, row: Reviewed) -> RecordDetail:
        source, sees = await self._source(row), self._sees_all
        hides = not sees and bool(source.feed.personal)
        feed, around, read = source.feed, row.record.around, row.record.form == "record"
        text: Callable[[bytes], str] = (lambda raw: feed.text(raw, around)) if read else _pretty
        if hides:
            masked: Callable[[bytes], str | None] = (lambda raw: feed.masked(raw, around)) if read else _veiled
            text = lambda raw: masked(raw) or "(its personal fields cannot be told from the others: whoever may read customers sees it)"  # noqa: E731 - one of three
        wrong = row.record.field.rpartition(".")[2] if row.revised is None else ""
        return RecordDetail(
            record=await self._view(row),
            text=text(row.text),
            original=text(row.record.raw) if row.revised is not None else "",
            masked=hides,
            locked=self._locked(row, source),
            rows=tuple(_rows(source.feed, row, hides, wrong)) if row.record.form == "record" else (),
            preview=await self._preview(row, source) if row.state == "open" else None,
        )

    def _locked(self, row: Reviewed, source: Source) -> str:
        if row.state != "open":
            return f"it is {row.state} already"
        if not self._sees_all and source.feed.personal:
            return f"it holds personal fields, so only who has the scope {PERSONAL} may change it"
        if row.record.form == "record" and not source.feed.editable(row.record.raw, row.record.around):
            return "it is too long or not plain text in the encoding of its file; have the file sent again"
        return ""

    # ---- who may

    @property
    def _sees_all(self) -> bool:
        return self._actor.scopes is None or PERSONAL in self._actor.scopes

    def _may_see(self, store: str) -> bool:
        return not self._actor.stores or store in self._actor.stores

    def _bound(self, store: str | None) -> tuple[str, ...] | None:
        """The stores to show, empty for all; None when there is nothing to see."""
        if store is None:
            return tuple(self._actor.stores)
        return (store,) if self._may_see(store) else None

    async def _file(self, digest: str) -> FileRecord:
        found = await self._books.files.get(digest)
        if found is None:
            several = [r for r in await self._books.files.find(digest, 20) if self._may_see(r.store)]
            if len(several) > 1:
                which = ", ".join(r.digest[:12] for r in several)
                raise StateConflict(what="file", key=digest, state="ambiguous", why=f"say which: {which}")
            found = several[0] if several else None
        if found is None or not self._may_see(found.store):
            raise NotFound(what="file (its digest, the beginning of it, or its name)", key=digest[:80])
        return found

    async def _row(self, id: int) -> Reviewed:
        found = await self._books.quarantine.get(id) if id < 2**63 else None
        if found is None or not self._may_see(found.store):
            raise NotFound(what="quarantined record", key=str(id))
        return found

    async def _source(self, row: Reviewed) -> Source:
        source = (await self._sources()).by_name.get(row.feed)
        if source is None:
            raise StateConflict(
                what="quarantined record", key=str(row.record.id), state=row.state, why=f"the estate has no feed {row.feed} any more"
            )
        return source

    def _hidden(self, name: str, source: Source) -> str:
        return MASK if not self._sees_all and _veils(name, source.feed.personal) else ""

    async def _view(self, row: Reviewed) -> RecordView:
        record = row.record
        hidden = False
        if not self._sees_all:
            source = (await self._sources()).by_name.get(row.feed)
            hidden = source is None or _veils(record.field, source.feed.personal)
        got = MASK if hidden else record.got
        return RecordView(
            id=record.id,
            version=row.version,
            digest=record.digest,
            file=record.file,
            feed=row.feed,
            store=row.store,
            position=record.position,
            line=record.line,
            field=record.field,
            expected=record.expected,
            got=got,
            reason=f"{record.field or 'row'}: expected {record.expected}, got {got}" if hidden else record.reason,
            key=record.key,
            status=row.state,
            conflict=bool(record.key) and record.field == "key",
            revised=row.revised is not None,
            at=record.at,
            decision=_decided(row.decision),
        )

    def _entry(self, what: str, subject: str, detail: Mapping[str, str]) -> AuditEntry:
        return entry_of(self._now, self._actor.name, what, subject, detail)

    def _decision(self, what: Any, reason: str) -> Decision:
        return Decision(by=self._actor.name, at=self._now(), what=what, reason=reason)


_NOUNS: Final = {"PosSale": "sale", "StockMovement": "movement", "InventoryLevel": "level"}
_TOLD = {
    ("books", False): "It would be booked as {key}.",
    ("books", True): "It would be booked as {key} and change nothing: {why}.",
    ("repeats", False): "{key} is booked already with this content: booking it closes the record and changes nothing.",
    (
        "conflict",
        False,
    ): "{key} is booked already with other content, which stands. Give it another key if it is another one; else dismiss it.",
    ("uncountable", True): "It cannot be counted: {why}.",
}


def _require(reason: str) -> None:
    """Of a decision that nothing but its reason explains later. Raises InvalidBody."""
    if not reason.strip():
        raise InvalidBody(where="/reason", expected="why, in a few words", got="nothing")


def _veils(name: str, personal: AbstractSet[str]) -> bool:
    """Whether what stands at this place is not for everybody: of a whole row it is not known what it holds."""
    return bool(personal) and ("." not in name or name in personal)


def view(record: FileRecord, now: datetime) -> FileView:
    running = record.state == "claimed" and record.lease_until is not None and record.lease_until > now
    still = record.quarantined - record.decided
    status: Any = "partly" if record.state == "done" and still else record.state
    if record.state == "claimed":
        status = (record.phase or "booking") if running else "waiting"
    elif record.state == "refused" and record.given_up is not None:
        status = "given_up"
    progress = None
    if running and record.lease_until is not None:
        seconds = max((now - (record.claimed_at or record.first_seen)).total_seconds(), 0.001)
        rate = max(record.position - record.claimed_position, 0) / seconds
        progress = FileProgress(share=min(max(record.share, 0.0), 1.0), rate=round(rate, 1), owner=record.owner, until=record.lease_until)
    return FileView(
        digest=record.digest,
        feed=record.feed,
        store=record.store,
        name=record.name,
        size=record.size,
        status=status,
        first_seen=record.first_seen,
        finished_at=record.finished_at,
        position=record.position,
        booked=record.booked,
        repeated=record.repeated,
        conflicts=record.conflicts,
        quarantined=record.quarantined,
        open=still,
        reason=record.reason,
        attempts=record.attempts,
        fence=record.fence,
        seen_as=record.seen_as,
        kept=record.kept,
        removed_at=record.removed_at,
        given_up=_decided(record.given_up),
        progress=progress,
        trace_id=record.trace_id,
    )


def _decided(decision: Decision | None) -> DecisionView | None:
    if decision is None:
        return None
    return DecisionView(by=decision.by, at=decision.at, what=decision.what, reason=decision.reason, key=decision.key)


def _finding(finding: Finding) -> FindingView:
    return FindingView(
        kind=finding.kind,
        state=finding.state,
        feed=finding.feed,
        detail=finding.detail,
        store=finding.store,
        file=finding.file,
        at=finding.changed_at or finding.opened_at,
    )


def _where(row: Reviewed) -> dict[str, str]:
    return {"record": str(row.record.id), "line": str(row.record.line), "digest": row.record.digest}


def _place(record: Quarantined) -> str:
    return f"line {record.line} of the record, {record.field or 'the row'}:" if record.line else f"{record.field or 'the record'}:"


def _why(locked: str) -> dict[str, str]:
    if locked.startswith("it holds personal"):
        return {"reason": f"this record cannot be changed: {locked}", "scope": PERSONAL}
    return {"where": "/text", "expected": "a record that can be changed", "got": locked}


def _rows(feed: Feed, row: Reviewed, hides: bool, wrong: str) -> Iterator[RecordRow]:
    blind = hides and feed.masked(row.text, row.record.around) is None
    for each in feed.rows(row.text, row.record.around):
        unknown = blind or (hides and not each.record)
        yield RecordRow(
            record=each.record,
            cells=tuple(
                RecordCell(
                    name=cell.name,
                    value=MASK if unknown or (hides and cell.personal and cell.value) else cell.value,
                    says="" if hides and cell.personal else cell.says,
                    wrong=bool(wrong) and cell.name == wrong and row.record.field.partition(".")[0] == each.record,
                )
                for cell in each.cells
            ),
        )


def _decoded(raw: bytes) -> Posting:
    """Raises MsgspecError for what is none."""
    try:
        return msgspec.json.decode(raw, type=PosSale)
    except msgspec.ValidationError:
        for report in (StockMovement, InventoryLevel):
            with suppress(msgspec.ValidationError):
                return cast("Posting", msgspec.json.decode(raw, type=report))
        raise


def _pretty(raw: bytes) -> str:
    return msgspec.json.format(raw, indent=2).decode("utf-8", "backslashreplace")


def _veiled(raw: bytes) -> str | None:
    try:
        sale = _decoded(raw)
    except msgspec.MsgspecError:
        return None
    if not isinstance(sale, PosSale):
        return _pretty(raw)
    tenders = tuple(msgspec.structs.replace(tender, last4=None, token=None, psp_reference=None) for tender in sale.tenders)
    return _pretty(msgspec.json.encode(msgspec.structs.replace(sale, operator_id=None, tenders=tenders)))


def _changes(before: Posting | None, after: Posting, *, personal: bool) -> Iterator[ValueChange]:
    """Where they came from is left out: it is not part of what a sale says."""
    was = dict(_flat(msgspec.to_builtins(before, str_keys=True))) if before is not None else {}
    now = dict(_flat(msgspec.to_builtins(after, str_keys=True)))
    for path in dict.fromkeys((*was, *now)):
        old, new = was.get(path), now.get(path)
        if old != new and not path.startswith("provenance"):
            if not personal and path.rpartition(".")[2] in _VEILED:
                old, new = old and MASK, new and MASK
            yield ValueChange(path=path, before=old, after=new)


def _amount(value: Mapping[str, Any]) -> str:
    """Money, a price or a quantity, as people write it; empty for anything else."""
    if "unit" in value and "value" in value:
        return f"{value['value']} {value['unit']}"
    number = value.get("centAmount", value.get("preciseAmount"))
    if number is None or "currencyCode" not in value:
        return ""
    return f"{Decimal(number).scaleb(-value.get('fractionDigits', 2)):f} {value['currencyCode']}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and (said := _amount(value)):
        yield path, said
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value, 1):
            yield from _flat(inner, f"{path}[{at}]")
    elif value is not None:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)

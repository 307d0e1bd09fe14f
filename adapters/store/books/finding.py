"""Findings about files and tills: each once, closed by what they waited for, every change an event of the same commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from adapters.store.books.file import one_of
from adapters.store.books.outbox import append
from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Transaction
from contracts.books import Arrival, Finding, TillDay
from contracts.canonical.file import FileFinding, FindingKind, FindingState
from contracts.events import TYPE_PREFIX, Event

_LOCK: Final = "findings"
_COMES_AGAIN: Final = ("file_refused",)
"""Kinds that are open again when what closed them did not last; of others a worker may tell what is over since."""
_MOST_RANGES: Final = 20
"""Gaps of a till that a finding names; more are counted."""


class Findings:
    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def record(self, findings: Sequence[Finding], now: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            await tx.lock(_LOCK)
            return await self._open(tx, findings, now)

        return await self._engine.write(unit) if findings else 0

    async def arrived(self, arrival: Arrival, findings: Sequence[Finding], now: datetime) -> bool:
        async def unit(tx: Transaction) -> bool:
            await tx.lock(_LOCK)
            series, number = text(arrival.series), arrival.number
            highest = None
            if number is not None:
                ((highest,),) = await tx.query(
                    "select max(number) from arrival where feed = $1 and series = $2 and digest <> $3", arrival.feed, series, arrival.digest
                )
                if highest is not None and arrival.wraps:
                    number = _unwrapped(number, highest, arrival.wraps)
            if not await tx.query(
                "insert into arrival (feed, digest, file, at, store, business_date, series, number) values ($1, $2, $3, $4, $5, $6, $7, $8)"
                " on conflict do nothing returning digest",
                arrival.feed,
                arrival.digest,
                text(arrival.file),
                micros(arrival.at),
                text(arrival.store),
                arrival.business_date,
                series,
                number,
            ):
                return False
            found = [*findings]
            if number is not None and highest is not None:
                found += await self._placed(tx, arrival, number, highest, now)
            await self._open(tx, found, now)
            waited = f"{arrival.feed}/{arrival.store}/{arrival.business_date}"
            kinds: tuple[FindingKind, ...] = ("file_late", "file_missing")
            await self._close(tx, [(kind, waited) for kind in kinds], arrival.file, now)
            return True

        return await self._engine.write(unit)

    async def _placed(self, tx: Transaction, arrival: Arrival, number: int, highest: int, now: datetime) -> list[Finding]:
        """What a file's number says beside the numbers that came before it."""
        about = f"{arrival.feed}/{arrival.series}"
        said = _shown(number, arrival.wraps)
        if number == highest + 1:
            return []
        if number > highest + 1:
            first, last = highest + 1, number - 1
            detail = f"file number {said} came, {_numbers(first, last, arrival.wraps)} did not"
            return [replace(_of(arrival, "file_gap", f"{about}/{first}-{last}", detail), missing=last - first + 1)]
        for gap in await self._gaps(tx, about):
            first, last = map(int, gap.subject.rpartition("/")[2].split("-"))
            if first <= number <= last:
                ((came,),) = await tx.query(
                    "select count(distinct number) from arrival where feed = $1 and series = $2 and number between $3 and $4",
                    arrival.feed,
                    text(arrival.series),
                    first,
                    last,
                )
                if came == last - first + 1:
                    await self._close(tx, [(gap.kind, gap.subject)], arrival.file, now)
                else:
                    await self._change(tx, replace(gap, missing=last - first + 1 - came), now)
        ((same,),) = await tx.query(
            "select count(*) from arrival where feed = $1 and series = $2 and number = $3", arrival.feed, text(arrival.series), number
        )
        detail = f"file number {said} came after {_shown(highest, arrival.wraps)}"
        if same > 1:
            detail = f"file number {said} came before, with other content"
        return [replace(_of(arrival, "file_out_of_order", f"{about}/{number}/{arrival.digest[:12]}", detail), state="noted")]

    async def _gaps(self, tx: Transaction, about: str) -> list[Finding]:
        prefix = text(about) + "/"
        rows = await tx.query(
            "select id, body from finding where kind = 'file_gap' and state = 'open' and subject >= $1 and subject < $2",
            prefix,
            prefix[:-1] + "0",  # the sign after a slash
        )
        return [_finding(*row) for row in rows]

    async def close(self, findings: Sequence[Finding], by: str, now: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            await tx.lock(_LOCK)
            return await self._close(tx, [(f.kind, f.subject) for f in findings], by, now)

        return await self._engine.write(unit) if findings else 0

    async def came(self, feed: str, business_dates: Sequence[str]) -> AbstractSet[tuple[str, str]]:
        async def unit(tx: Transaction) -> AbstractSet[tuple[str, str]]:
            days = [(feed, day) for day in business_dates]
            rows = await tx.query_each("select distinct store, business_date from arrival where feed = $1 and business_date = $2", days)
            return {(store, day) for store, day in rows}

        return await self._engine.read(unit)

    async def stores(self, feed: str, since: datetime) -> AbstractSet[str]:
        async def unit(tx: Transaction) -> AbstractSet[str]:
            return {
                store for (store,) in await tx.query("select distinct store from arrival where feed = $1 and at >= $2", feed, micros(since))
            }

        return await self._engine.read(unit)

    async def tills(
        self,
        feed: str,
        settled: datetime,
        now: datetime,
        *,
        say: bool = True,
        odd: Callable[[TillDay], Iterable[Finding]] | None = None,
        limit: int = 500,
    ) -> int:
        since = micros(settled)

        async def any_touched(tx: Transaction) -> bool:
            return bool(
                await tx.query(
                    "select 1 from till_day t left join file f on f.digest = t.file"
                    " where t.looked <> t.booked and t.touched_at <= $1 and coalesce(f.feed, $2) = $2 limit 1",
                    since,
                    feed,
                )
            )

        async def look(tx: Transaction) -> int:
            await tx.lock(_LOCK)
            rows = await tx.query(
                "select t.id, t.store, t.workstation, t.business_date, t.low, t.high, t.booked, t.file, f.name, t.looked, t.touched_at,"
                " exists (select 1 from arrival a where a.feed = $1 and a.store = t.store and a.business_date = t.business_date"
                " and a.digest <> t.file) from till_day t"
                " left join file f on f.digest = t.file where t.looked <> t.booked and t.touched_at <= $2 and coalesce(f.feed, $1) = $1"
                " order by t.touched_at limit $3",
                feed,
                since,
                limit,
            )
            for till_day, store, workstation, day, low, high, booked, digest, name, looked, at, other in rows:
                subject = f"{store}/{workstation}/{day}"
                missing, ranges = 0, ""
                if say and booked != high - low + 1:
                    missing, ranges = await _left_out(tx, till_day)
                if missing:
                    finding = Finding(
                        kind="sequence_gap",
                        subject=subject,
                        feed=feed,
                        detail=f"till {workstation}, {day}: {missing} missing of transactions {low} to {high}: {ranges}",
                        store=store,
                        workstation=workstation,
                        business_date=day,
                        file=name or "",
                        digest=digest,
                        missing=missing,
                    )
                    if not await self._open(tx, [finding], now):
                        await self._change(tx, finding, now)
                else:
                    await self._close(tx, [("sequence_gap", subject)], name or "", now)
                if odd is not None:
                    day_now = TillDay(store, workstation, day, looked, booked, instant(at), name or "", digest, bool(other))
                    await self._open(tx, [*odd(day_now)], now)
                await tx.execute("update till_day set looked = $1 where id = $2", booked, till_day)
            return len(rows)

        return await self._engine.write(look) if await self._engine.read(any_touched) else 0

    async def list(
        self,
        limit: int,
        *,
        state: FindingState | None = None,
        kind: FindingKind | None = None,
        feed: str | None = None,
        stores: Collection[str] = (),
        about: str | None = None,
        before: int | None = None,
    ) -> Sequence[Finding]:
        given: list[Any] = [2**62 if before is None else before]
        wanted = ["id < $1"]
        wanted += [
            one_of(c, (value,), given) for c, value in (("state", state), ("kind", kind), ("feed", feed), ("digest", about)) if value
        ]
        if stores:
            wanted.append(one_of("store", stores, given))
        given.append(limit)
        sql = f"select id, body from finding where {' and '.join(wanted)} order by id desc limit ${len(given)}"  # noqa: S608 - constants and placeholders

        async def unit(tx: Transaction) -> Sequence[Finding]:
            return [_finding(*row) for row in await tx.query(sql, *given)]

        return await self._engine.read(unit)

    async def purge(self, before: datetime) -> int:
        """The newest number of each series stays: the next one is counted from it."""

        async def unit(tx: Transaction) -> int:
            await tx.lock(_LOCK)
            await tx.execute(
                "delete from arrival where at < $1 and (number is null or number < "
                "(select max(a.number) from arrival a where a.feed = arrival.feed and a.series = arrival.series))",
                micros(before),
            )
            return await tx.execute("delete from finding where state <> 'open' and changed_at < $1", micros(before))

        return await self._engine.write(unit)

    # ---- each change is one event ---------------------------------------------------------------------------------

    async def _open(self, tx: Transaction, findings: Sequence[Finding], now: datetime) -> int:
        """Those that do not stand yet; one that can come again stands again."""
        new = []
        for finding in findings:
            finding = _storable(replace(finding, opened_at=finding.opened_at or now, changed_at=now, id=0))
            if await tx.query(
                "insert into finding (kind, subject, state, feed, store, changed_at, digest, body) values ($1, $2, $3, $4, $5, $6, $7, $8)"
                " on conflict do nothing returning id",
                finding.kind,
                finding.subject,
                finding.state,
                finding.feed,
                finding.store,
                micros(now),
                text(finding.digest),
                encode(finding),
            ):
                new.append(finding)
            elif finding.kind in _COMES_AGAIN:
                await self._change(tx, finding, now)
        await append(tx, [self._event(finding, now) for finding in new])
        return len(new)

    async def _close(self, tx: Transaction, which: Iterable[tuple[FindingKind, str]], by: str, now: datetime) -> int:
        open_ = [
            _finding(*row)
            for kind, subject in which
            for row in await tx.query(
                "select id, body from finding where subject = $1 and kind = $2 and state = 'open'", text(subject), kind
            )
        ]
        for finding in open_:
            await self._change(tx, replace(finding, state="closed", missing=0, closed_by=by), now)
        return len(open_)

    async def _change(self, tx: Transaction, finding: Finding, now: datetime) -> None:
        """Of one that stands; nothing when it says the same."""
        ((id_, body),) = await tx.query(
            "select id, body from finding where subject = $1 and kind = $2", text(finding.subject), finding.kind
        )
        stands = decode(body, Finding)
        finding = _storable(replace(finding, opened_at=stands.opened_at, changed_at=stands.changed_at, revision=stands.revision, id=0))
        if finding == stands:
            return
        finding = replace(finding, changed_at=now, revision=stands.revision + 1)
        await tx.execute(
            "update finding set state = $1, feed = $2, changed_at = $3, body = $4 where id = $5",
            finding.state,
            finding.feed,
            micros(now),
            encode(finding),
            id_,
        )
        await append(tx, [self._event(finding, now)])

    def _event(self, finding: Finding, now: datetime) -> Event:
        noun = FileFinding(
            kind=finding.kind,
            state=finding.state,
            feed=finding.feed,
            detail=finding.detail,
            store=finding.store or None,
            workstation=finding.workstation or None,
            business_date=finding.business_date or None,
            file=finding.file or None,
            missing=finding.missing,
            closed_by=finding.closed_by or None,
        )
        return Event(
            id=f"{finding.kind}-{finding.subject}-{finding.revision}",
            source=self._source,
            type=f"{TYPE_PREFIX}file.finding.v1",
            time=now,
            subject=finding.subject,
            data=msgspec.to_builtins(noun),
        )


async def touched(tx: Transaction, digest: str, numbers: Iterable[tuple[int, int]], now: datetime) -> None:
    """What a batch adds to its tills' days: (till's day, number) of each transaction that is booked for the first time. `digest`: of the
    file, or empty."""
    spans: dict[int, list[int]] = {}
    for till_day, number in numbers:
        spans.setdefault(till_day, []).append(number)
    await tx.execute_each(
        "update till_day set low = case when low < $1 then low else $1 end, high = case when high > $2 then high else $2 end,"
        " booked = booked + $3, touched_at = $4, file = case when $5 = '' then file else $5 end where id = $6",
        [(min(span), max(span), len(span), micros(now), digest, till_day) for till_day, span in sorted(spans.items())],
    )


async def _left_out(tx: Transaction, till_day: int) -> tuple[int, str]:
    """How many numbers between those of a till's day nobody has, and which. Reads the keys of this one day."""
    steps = "from (select sequence, lead(sequence) over (order by sequence) as following from sale where till_day = $1) steps where"
    ((missing, gaps),) = await tx.query(
        f"select sum(following - sequence - 1), count(*) {steps} following > sequence + 1",
        till_day,
    )
    rows = await tx.query(
        f"select sequence + 1, following - 1 {steps} following > sequence + 1 order by sequence limit $2",
        till_day,
        _MOST_RANGES,
    )
    ranges = ", ".join(_numbers(first, last) for first, last in rows)
    return int(missing or 0), f"{ranges} and {gaps - len(rows)} ranges more" if gaps > len(rows) else ranges


def _numbers(first: int, last: int, wraps: int = 0) -> str:
    return _shown(first, wraps) if first == last else f"{_shown(first, wraps)} to {_shown(last, wraps)}"


def _of(arrival: Arrival, kind: FindingKind, subject: str, detail: str) -> Finding:
    return Finding(
        kind=kind,
        subject=subject,
        feed=arrival.feed,
        detail=detail,
        store=arrival.store,
        business_date=arrival.business_date,
        file=arrival.file,
        digest=arrival.digest,
    )


def _unwrapped(number: int, highest: int, wraps: int) -> int:
    """The number nearest to the highest one that stands for this one in a series that begins again after `wraps`."""
    return highest + (number - highest + wraps // 2) % wraps - wraps // 2


def _shown(number: int, wraps: int) -> str:
    return str((number - 1) % wraps + 1 if wraps else number)


def _storable(finding: Finding) -> Finding:
    """What names say is written as every engine takes it."""
    return replace(
        finding,
        subject=text(finding.subject),
        detail=text(finding.detail),
        store=text(finding.store),
        workstation=text(finding.workstation),
        file=text(finding.file),
        closed_by=text(finding.closed_by),
    )


def _finding(id_: int, body: bytes) -> Finding:
    return replace(decode(body, Finding), id=id_)

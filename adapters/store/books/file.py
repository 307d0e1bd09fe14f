"""The ledger of files: who works on which content, how far, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from adapters.store.books.audit import write_entries
from adapters.store.books.outbox import append, subjects
from adapters.store.forms import after, decode, encode, instant, micros, text
from adapters.store.unit import Engine, Row, Transaction
from contracts.books import AuditEntry, Claim, Decision, FileRecord, FileSeen, FileState, Phase, Quarantined
from contracts.errors import NotFound, StateConflict
from contracts.events import Event

_COLUMNS = (
    "digest, feed, name, size, state, first_seen, position, booked, repeated, conflicts, quarantined, reason, attempts, owner, fence,"
    " lease_until, finished_at, trace_id, seen_as, store, claimed_at, claimed_position, phase, share, decided, kept, removed_at, given_up"
)
_BY_DIGEST = f"select {_COLUMNS} from file where digest = $1"  # noqa: S608  # a constant list of columns
_MOST_NAMES = 100
_HEX: Final = re.compile(r"[0-9a-f]{6,64}")
"""What may be the beginning of a digest."""


def _record(row: Row) -> FileRecord:
    digest, feed, name, size, state, first_seen, position, booked, repeated, conflicts, quarantined, reason, *rest = row
    attempts, owner, fence, lease_until, finished_at, trace_id, seen_as, store, claimed_at, claimed_position, *rest = rest
    phase, share, decided, kept, removed_at, given_up = rest
    return FileRecord(
        digest=digest,
        feed=feed,
        name=name,
        size=size,
        state=state,
        first_seen=instant(first_seen),
        position=position,
        booked=booked,
        repeated=repeated,
        conflicts=conflicts,
        quarantined=quarantined,
        reason=reason,
        attempts=attempts,
        owner=owner,
        fence=fence,
        lease_until=instant(lease_until),
        finished_at=instant(finished_at),
        trace_id=trace_id,
        seen_as=decode(seen_as, tuple[str, ...]),
        store=store,
        claimed_at=instant(claimed_at),
        claimed_position=claimed_position,
        phase=phase,
        share=share / 1000,
        decided=decided,
        kept=kept,
        removed_at=instant(removed_at),
        given_up=decode(given_up, Decision) if given_up is not None else None,
    )


class Files:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def claim(self, seen: FileSeen, owner: str, now: datetime, lease: float, trace_id: str) -> Claim:
        name = text(seen.name)

        async def unit(tx: Transaction) -> Claim:
            await tx.lock(f"file {seen.digest}")
            rows = await tx.query(_BY_DIGEST, seen.digest)
            if not rows:
                await tx.execute(
                    "insert into file"
                    " (digest, feed, name, size, state, first_seen, owner, lease_until, trace_id, seen_as, store, claimed_at)"
                    " values ($1, $2, $3, $4, 'claimed', $5, $6, $7, $8, $9, $10, $11)",
                    seen.digest,
                    seen.feed,
                    name,
                    seen.size,
                    micros(now),
                    owner,
                    after(now, lease),
                    trace_id,
                    b"[]",
                    text(seen.store),
                    micros(now),
                )
                await _named(tx, name, seen.digest)
                return Claim("mine", _record((await tx.query(_BY_DIGEST, seen.digest))[0]))
            record = _record(rows[0])
            if name != record.name and name not in record.seen_as and len(record.seen_as) < _MOST_NAMES:
                record = msgspec.structs.replace(record, seen_as=(*record.seen_as, name))
                await tx.execute("update file set seen_as = $1 where digest = $2", encode(record.seen_as), seen.digest)
                await _named(tx, name, seen.digest)
            if record.state != "claimed":
                return Claim(record.state, record)
            if record.lease_until is not None and record.lease_until > now:
                return Claim("busy", record)
            await tx.execute(
                "update file set owner = $1, lease_until = $2, trace_id = $3, fence = fence + 1, claimed_at = $4,"
                " attempts = case when position > claimed_position then 1 else attempts + 1 end,"
                " claimed_position = position, phase = '', share = 0 where digest = $5",
                owner,
                after(now, lease),
                trace_id,
                micros(now),
                seen.digest,
            )
            return Claim("mine", _record((await tx.query(_BY_DIGEST, seen.digest))[0]))

        return await self._engine.write(unit)

    async def renew(self, digest: str, fence: int, until: datetime, phase: Phase = "", share: float = 0.0) -> bool:
        async def unit(tx: Transaction) -> bool:
            changed = await tx.execute(
                "update file set lease_until = $1, phase = $2, share = $3 where digest = $4 and fence = $5 and state = 'claimed'",
                micros(until),
                phase,
                round(1000 * share),
                digest,
                fence,
            )
            return changed == 1

        return await self._engine.write(unit)

    async def finish(
        self, digest: str, fence: int, state: Literal["done", "refused"], reason: str, now: datetime, events: Sequence[Event]
    ) -> FileRecord:
        """A repeat changes nothing. Raises NotFound, StateConflict when the fence is outdated or the file ended otherwise."""

        async def unit(tx: Transaction) -> FileRecord:
            await tx.lock(f"file {digest}", *subjects(events))
            if not (rows := await tx.query(_BY_DIGEST, text(digest))):
                raise NotFound(what="file", key=digest)
            record = _record(rows[0])
            if record.fence == fence and record.state == state:
                return record
            if record.fence != fence or record.state != "claimed":
                raise outdated(record.name, record.state, record.owner, record.fence, fence)
            await tx.execute(
                "update file set state = $1, reason = $2, finished_at = $3, lease_until = null, phase = '', share = 0 where digest = $4",
                state,
                text(reason),
                micros(now),
                digest,
            )
            await append(tx, events)
            return _record((await tx.query(_BY_DIGEST, text(digest)))[0])

        return await self._engine.write(unit)

    async def get(self, digest: str) -> FileRecord | None:
        async def unit(tx: Transaction) -> FileRecord | None:
            rows = await tx.query(_BY_DIGEST, text(digest))
            return _record(rows[0]) if rows else None

        return await self._engine.read(unit)

    async def list(
        self,
        limit: int,
        state: FileState | None = None,
        *,
        feed: str | None = None,
        stores: Collection[str] = (),
        since: datetime | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> Sequence[FileRecord]:
        wanted, given = [], list[Any]()
        for column, value in (("state", state), ("feed", feed)):
            if value is not None:
                given.append(text(value))
                wanted.append(f"{column} = ${len(given)}")
        if since is not None:
            given.append(micros(since))
            wanted.append(f"first_seen >= ${len(given)}")
        if stores:
            wanted.append(one_of("store", stores, given))
        if before is not None:
            given += [micros(before[0]), micros(before[0]), text(before[1])]
            n = len(given)
            wanted.append(f"(first_seen < ${n - 2} or (first_seen = ${n - 1} and digest > ${n}))")
        given.append(limit)
        sql = (
            f"select {_COLUMNS} from file"  # noqa: S608 - constants of this module and placeholders
            + (f" where {' and '.join(wanted)}" if wanted else "")
            + f" order by first_seen desc, digest limit ${len(given)}"
        )

        async def unit(tx: Transaction) -> Sequence[FileRecord]:
            return [_record(row) for row in await tx.query(sql, *given)]

        return await self._engine.read(unit)

    async def find(self, name: str, limit: int) -> Sequence[FileRecord]:
        name = text(name)

        async def unit(tx: Transaction) -> Sequence[FileRecord]:
            found = [digest for (digest,) in await tx.query("select digest from file_name where name = $1 limit $2", name, limit)]
            if not found and _HEX.fullmatch(name):
                found = [
                    d
                    for (d,) in await tx.query(
                        "select digest from file where digest >= $1 and digest < $2 limit $3", name, name + "g", limit
                    )
                ]
            records = [_record(row) for row in await tx.query_each(_BY_DIGEST, [(digest,) for digest in found])]
            return sorted(records, key=lambda r: (r.first_seen, r.digest), reverse=True)

        return await self._engine.read(unit)

    async def quarantined(self, digest: str | None, limit: int) -> Sequence[Quarantined]:
        """Newest first; of one file in the order in which they came."""

        async def unit(tx: Transaction) -> Sequence[Quarantined]:
            rows = await (
                tx.query("select id, body from quarantine order by id desc limit $1", limit)
                if digest is None
                else tx.query("select id, body from quarantine where digest = $1 order by id limit $2", text(digest), limit)
            )
            return [msgspec.structs.replace(decode(body, Quarantined), id=number) for number, body in rows]

        return await self._engine.read(unit)

    # ---- afterwards -----------------------------------------------------------------------------------------------

    async def settled(self, digest: str, fence: int, kept: str) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute("update file set kept = $1 where digest = $2 and fence = $3", text(kept), digest, fence)

        await self._engine.write(unit)

    async def removed(self, digest: str, now: datetime) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute("update file set removed_at = $1, kept = '' where digest = $2", micros(now), digest)

        await self._engine.write(unit)

    async def acknowledge(self, digest: str, name: str, fence: int, token: str) -> str:
        async def unit(tx: Transaction) -> str:
            where = (digest, text(name), fence)
            await tx.execute(
                "insert into acknowledgement (digest, name, fence, token) values ($1, $2, $3, $4) on conflict do nothing", *where, token
            )
            rows = await tx.query("select token from acknowledgement where digest = $1 and name = $2 and fence = $3", *where)
            return str(rows[0][0])

        return await self._engine.write(unit)

    async def reopen(self, digest: str, fence: int, now: datetime, entries: Sequence[AuditEntry]) -> FileRecord:
        async def unit(tx: Transaction) -> FileRecord:
            record = await self._unchanged(tx, digest, fence)
            if record.state == "done":
                raise StateConflict(what="file", key=record.name, state="done", why="everything in it is booked or in quarantine")
            await tx.execute(
                "update file set state = 'claimed', reason = '', owner = '', attempts = 0, fence = fence + 1, finished_at = null,"
                " kept = '', given_up = null, lease_until = $1 where digest = $2",
                micros(now),
                record.digest,
            )
            await write_entries(tx, entries)
            return _record((await tx.query(_BY_DIGEST, record.digest))[0])

        return await self._engine.write(unit)

    async def give_up(self, digest: str, fence: int, decision: Decision, entries: Sequence[AuditEntry]) -> FileRecord:
        async def unit(tx: Transaction) -> FileRecord:
            record = await self._unchanged(tx, digest, fence)
            if record.state != "refused":
                raise StateConflict(what="file", key=record.name, state=record.state, why="only a file that was refused is given up")
            if record.given_up is not None:
                raise StateConflict(what="file", key=record.name, state="given up", why=f"by {record.given_up.by} before")
            await tx.execute("update file set given_up = $1 where digest = $2", encode(decision), record.digest)
            await write_entries(tx, entries)
            return _record((await tx.query(_BY_DIGEST, record.digest))[0])

        return await self._engine.write(unit)

    async def _unchanged(self, tx: Transaction, digest: str, fence: int) -> FileRecord:
        await tx.lock(f"file {digest}")
        if not (rows := await tx.query(_BY_DIGEST, text(digest))):
            raise NotFound(what="file", key=digest)
        record = _record(rows[0])
        if record.fence != fence:
            raise StateConflict(what="file", key=record.name, state=record.state, why="somebody has taken it since you looked")
        return record


async def _named(tx: Transaction, name: str, digest: str) -> None:
    await tx.execute("insert into file_name (name, digest) values ($1, $2) on conflict do nothing", name, digest)


def one_of(column: str, values: Collection[str], given: list[Any]) -> str:
    """A condition, whose values are put behind those that are `given` already."""
    first = len(given) + 1
    given += [text(value) for value in sorted(values)]
    return f"{column} in ({', '.join(f'${n}' for n in range(first, len(given) + 1))})"


async def held(tx: Transaction, digest: str, fence: int) -> str:
    """The name of a file that this claim still holds. Raises NotFound, StateConflict."""
    rows = await tx.query("select name, state, fence, owner from file where digest = $1", digest)
    if not rows:
        raise NotFound(what="file", key=digest)
    name, state, current, owner = rows[0]
    if current != fence or state != "claimed":
        raise outdated(name, state, owner, current, fence)
    return str(name)


def outdated(name: str, state: str, owner: str, fence: int, presented: int) -> StateConflict:
    why = f"claim {presented} is outdated: {owner} holds claim {fence}" if fence != presented else "nothing more can be booked"
    return StateConflict(what="file", key=name, state=state, why=why)

"""The ledger of files: who works on which content, how far, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from adapters.store.books.outbox import append, subjects
from adapters.store.forms import after, decode, encode, instant, micros, text
from adapters.store.unit import Engine, Row, Transaction
from contracts.books import Claim, FileRecord, FileSeen, FileState, Quarantined
from contracts.errors import NotFound, StateConflict
from contracts.events import Event

_COLUMNS = (
    "digest, feed, name, size, state, first_seen, position, booked, repeated, conflicts, quarantined, reason, attempts, owner, fence,"
    " lease_until, finished_at, trace_id, seen_as"
)
_BY_DIGEST = f"select {_COLUMNS} from file where digest = $1"  # noqa: S608  # a constant list of columns
_MOST_NAMES = 100


def _record(row: Row) -> FileRecord:
    digest, feed, name, size, state, first_seen, position, booked, repeated, conflicts, quarantined, reason, *rest = row
    attempts, owner, fence, lease_until, finished_at, trace_id, seen_as = rest
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
                    "insert into file (digest, feed, name, size, state, first_seen, owner, lease_until, trace_id, seen_as)"
                    " values ($1, $2, $3, $4, 'claimed', $5, $6, $7, $8, $9)",
                    seen.digest,
                    seen.feed,
                    name,
                    seen.size,
                    micros(now),
                    owner,
                    after(now, lease),
                    trace_id,
                    b"[]",
                )
                return Claim("mine", _record((await tx.query(_BY_DIGEST, seen.digest))[0]))
            record = _record(rows[0])
            if name != record.name and name not in record.seen_as and len(record.seen_as) < _MOST_NAMES:
                record = msgspec.structs.replace(record, seen_as=(*record.seen_as, name))
                await tx.execute("update file set seen_as = $1 where digest = $2", encode(record.seen_as), seen.digest)
            if record.state != "claimed":
                return Claim(record.state, record)
            if record.lease_until is not None and record.lease_until > now:
                return Claim("busy", record)
            await tx.execute(
                "update file set owner = $1, lease_until = $2, trace_id = $3, fence = fence + 1, attempts = attempts + 1 where digest = $4",
                owner,
                after(now, lease),
                trace_id,
                seen.digest,
            )
            return Claim("mine", _record((await tx.query(_BY_DIGEST, seen.digest))[0]))

        return await self._engine.write(unit)

    async def renew(self, digest: str, fence: int, until: datetime) -> bool:
        async def unit(tx: Transaction) -> bool:
            changed = await tx.execute(
                "update file set lease_until = $1 where digest = $2 and fence = $3 and state = 'claimed'", micros(until), digest, fence
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
                "update file set state = $1, reason = $2, finished_at = $3, lease_until = null where digest = $4",
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

    async def list(self, limit: int, state: FileState | None = None) -> Sequence[FileRecord]:
        """Newest first."""

        async def unit(tx: Transaction) -> Sequence[FileRecord]:
            rows = await tx.query(
                f"select {_COLUMNS} from file where ($1 = '' or state = $1) order by first_seen desc, digest limit $2",  # noqa: S608  # a constant
                state or "",
                limit,
            )
            return [_record(row) for row in rows]

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


def outdated(name: str, state: str, owner: str, fence: int, presented: int) -> StateConflict:
    why = f"claim {presented} is outdated: {owner} holds claim {fence}" if fence != presented else "nothing more can be booked"
    return StateConflict(what="file", key=name, state=state, why=why)

"""Incidents: written by whoever holds the lease, each new thing they say an event of the same commit; with evidence and labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from adapters.store.books.audit import write_entries
from adapters.store.books.outbox import among, append
from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Row, Transaction, insert
from contracts.books import AuditEntry, IncidentRecord, Label, Said, StoredTrace
from contracts.books.incidents import LEASE, MOST_SAID, MOST_TRACE_BYTES, MOST_TRACES
from contracts.canonical.incident import IncidentNotice, IncidentState
from contracts.errors import NotFound, StateConflict
from contracts.events import TYPE_PREFIX, Event

_COLUMNS: Final = "place, id, state, verdict, opened_at, changed_at, ended_at, into_id, revision, version, subjects, body"


class Incidents:
    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def number(self, day: str) -> int:
        async def unit(tx: Transaction) -> int:
            sql = (
                "insert into incident_day (day, number) values ($1, 1)"
                " on conflict (day) do update set number = incident_day.number + 1 returning number"
            )
            return int((await tx.query(sql, day))[0][0])

        return await self._engine.write(unit)

    async def save(
        self, record: IncidentRecord, said: Said | None, notice: IncidentNotice | None, owner: str, now: datetime
    ) -> IncidentRecord:
        saved = replace(record, version=record.version + 1)

        async def unit(tx: Transaction) -> IncidentRecord:
            await tx.lock(f"subject {record.id}")
            if not await tx.query("select 1 from lease where name = $1 and owner = $2 and until > $3", LEASE, owner, micros(now)):
                why = "another process decides about incidents now"
                raise StateConflict(what="incident", key=record.id, state="not ours to write", why=why)
            place = await self._write(tx, saved)
            if said is not None:
                await tx.execute(
                    "insert into incident_said (incident, revision, body) values ($1, $2, $3) on conflict do nothing",
                    record.id,
                    said.revision,
                    encode(said),
                )
                await tx.execute(  # from the middle on: how it began stays, and how it is now
                    "delete from incident_said where incident = $1 and revision > $2 and revision <= $3",
                    record.id,
                    MOST_SAID // 2,
                    said.revision - MOST_SAID // 2,
                )
            if notice is not None:
                await append(tx, [self._event(saved, notice, now)])
            return replace(saved, place=place)

        return await self._engine.write(unit)

    async def _write(self, tx: Transaction, record: IncidentRecord) -> int:
        values = (
            record.state,
            record.verdict,
            micros(record.opened_at),
            micros(record.changed_at),
            micros(record.ended_at),
            record.into,
            record.revision,
            record.version,
            encode(record.subjects),
            record.body,
        )
        if record.version == 1:
            rows = await tx.query(
                "insert into incident (state, verdict, opened_at, changed_at, ended_at, into_id, revision, version, subjects, body, id)"
                " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing returning place",
                *values,
                record.id,
            )
        else:
            rows = await tx.query(
                "update incident set state = $1, verdict = $2, opened_at = $3, changed_at = $4, ended_at = $5, into_id = $6, revision = $7,"
                " version = $8, subjects = $9, body = $10 where id = $11 and version = $12 returning place",
                *values,
                record.id,
                record.version - 1,
            )
        if not rows:
            raise StateConflict(what="incident", key=record.id, state="changed", why="somebody else has just written it")
        return int(rows[0][0])

    def _event(self, record: IncidentRecord, notice: IncidentNotice, now: datetime) -> Event:
        what = "recovered" if record.state == "recovered" else "opened" if record.revision == 1 else "updated"
        return Event(
            id=f"{record.id}-{record.revision}",
            source=self._source,
            type=f"{TYPE_PREFIX}incident.{what}.v1",
            time=now,
            subject=record.id,
            data=msgspec.to_builtins(notice),
        )

    async def get(self, id: str) -> IncidentRecord:
        async def unit(tx: Transaction) -> IncidentRecord:
            rows = await tx.query(f"select {_COLUMNS} from incident where id = $1", text(id))  # noqa: S608 - constants of this module
            if not rows:
                raise NotFound(what="incident", key=id)
            return _record(rows[0])

        return await self._engine.read(unit)

    async def history(self, id: str) -> Sequence[Said]:
        async def unit(tx: Transaction) -> Sequence[Said]:
            rows = await tx.query("select body from incident_said where incident = $1 order by revision", text(id))
            return [decode(body, Said) for (body,) in rows]

        return await self._engine.read(unit)

    async def list(
        self, limit: int, *, state: IncidentState | None = None, since: datetime | None = None, before: int | None = None
    ) -> Sequence[IncidentRecord]:
        async def unit(tx: Transaction) -> Sequence[IncidentRecord]:
            rows = await tx.query(
                f"select {_COLUMNS} from incident where ($1 = '' or state = $1) and (ended_at is null or ended_at >= $2)"  # noqa: S608 - constants of this module
                " and place < $3 order by place desc limit $4",
                state or "",
                micros(since) if since else 0,
                2**62 if before is None else before,
                limit,
            )
            return [_record(row) for row in rows]

        return await self._engine.read(unit)

    async def lacking(self, id: str, traces: Collection[str]) -> Sequence[str]:
        async def unit(tx: Transaction) -> Sequence[str]:
            stored = {trace for (trace,) in await tx.query("select trace_id from incident_trace where incident = $1", text(id))}
            return [t for t in dict.fromkeys(traces) if t not in stored] if len(stored) < MOST_TRACES else []

        return await self._engine.read(unit)

    async def attach(self, id: str, traces: Sequence[StoredTrace]) -> int:
        async def unit(tx: Transaction) -> int:
            await tx.lock(f"subject {id}")
            if not await tx.query("select 1 from incident where id = $1", text(id)):
                return 0
            ((stored,),) = await tx.query("select count(*) from incident_trace where incident = $1", text(id))
            fitting = [t for t in traces if len(t.body) <= MOST_TRACE_BYTES][: MOST_TRACES - stored]
            return await insert(
                tx,
                "incident_trace (incident, trace_id, role, stored_at, body)",
                [(text(id), t.trace_id, t.role, micros(t.stored_at), t.body) for t in fitting],
                "on conflict do nothing",
            )

        return await self._engine.write(unit) if traces else 0

    async def traces(self, id: str) -> Sequence[StoredTrace]:
        return await self._stored("incident = $1 order by stored_at, trace_id", text(id))

    async def trace(self, trace_id: str) -> StoredTrace | None:
        return next(iter(await self._stored("trace_id = $1 limit 1", text(trace_id))), None)

    async def _stored(self, where: str, value: str) -> Sequence[StoredTrace]:
        async def unit(tx: Transaction) -> Sequence[StoredTrace]:
            rows = await tx.query(f"select trace_id, role, stored_at, body from incident_trace where {where}", value)  # noqa: S608 - of this class
            return [StoredTrace(trace_id=t, role=r, stored_at=instant(at), body=bytes(body)) for t, r, at, body in rows]

        return await self._engine.read(unit)

    async def label(self, id: str, label: Label, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            if not await tx.query("select 1 from incident where id = $1", text(id)):
                raise NotFound(what="incident", key=id)
            said = replace(label, by=text(label.by), culprit=text(label.culprit), note=text(label.note))
            await tx.execute(
                "insert into incident_label (incident, who, at, body) values ($1, $2, $3, $4)"
                " on conflict (incident, who) do update set at = excluded.at, body = excluded.body",
                text(id),
                said.by,
                micros(said.at),
                encode(said),
            )
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def labels(self, id: str) -> Sequence[Label]:
        async def unit(tx: Transaction) -> Sequence[Label]:
            rows = await tx.query("select body from incident_label where incident = $1 order by at desc, who", text(id))
            return [decode(body, Label) for (body,) in rows]

        return await self._engine.read(unit)

    async def purge(self, before: datetime, evidence: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            await tx.execute("delete from incident_trace where stored_at < $1", micros(evidence))
            gone = [one for (one,) in await tx.query("delete from incident where ended_at < $1 returning id", micros(before))]
            for part in ("incident_said", "incident_trace", "incident_label"):
                await among(tx, f"delete from {part} where incident in ({{}}) returning incident", gone)  # noqa: S608 - the three above
            return len(gone)

        return await self._engine.write(unit)


def _record(row: Row) -> IncidentRecord:
    place, number, state, verdict, opened, changed, ended, into, revision, version, subjects, body = row
    return IncidentRecord(
        id=number,
        state=state,
        verdict=verdict,
        opened_at=instant(opened),
        changed_at=instant(changed),
        ended_at=instant(ended),
        into=into,
        revision=revision,
        version=version,
        subjects=decode(subjects, tuple[str, ...]),
        body=bytes(body),
        place=place,
    )

"""The audit log: what was changed, by whom, and who was denied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Transaction, insert
from contracts.books import AuditEntry


async def write_entries(tx: Transaction, entries: Sequence[AuditEntry]) -> None:
    """In the transaction of what they tell."""
    await insert(
        tx,
        "audit (id, at, actor, what, subject, detail, times, trace_id)",
        [
            (
                e.id,
                micros(e.at),
                text(e.actor),
                e.what,
                text(e.subject),
                encode({k: text(v) for k, v in e.detail.items()}),
                e.count,
                e.trace_id,
            )
            for e in entries
        ],
        "on conflict do nothing returning id",
    )


class Audit:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def list(
        self, limit: int, *, since: datetime | None = None, client: str | None = None, before: tuple[datetime, str] | None = None
    ) -> Sequence[AuditEntry]:
        wanted: list[str] = []
        given: list[Any] = []
        if since is not None:
            given.append(micros(since))
            wanted.append(f"at >= ${len(given)}")
        if client is not None:
            given.append(text(client))
            n = len(given)
            keys = "select prefix from api_key where client"
            wanted.append(f"(actor = ${n} or subject = ${n} or subject in ({keys} = ${n}))")
        if before is not None:
            given += [micros(before[0]), before[1]]
            wanted.append(f"(at, id) < (${len(given) - 1}, ${len(given)})")
        given.append(limit)
        sql = (
            "select id, at, actor, what, subject, detail, times, trace_id from audit"  # noqa: S608 - constants of this method and placeholders
            + (f" where {' and '.join(wanted)}" if wanted else "")
            + f" order by at desc, id desc limit ${len(given)}"
        )

        async def unit(tx: Transaction) -> Sequence[AuditEntry]:
            return [
                AuditEntry(
                    id=i, at=instant(at), actor=actor, what=what, subject=subject, detail=decode(d, dict[str, str]), count=n, trace_id=trace
                )
                for i, at, actor, what, subject, d, n, trace in await tx.query(sql, *given)
            ]

        return await self._engine.read(unit)

    async def purge(self, before: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            return await tx.execute("delete from audit where at < $1", micros(before))

        return await self._engine.write(unit)

"""Idempotency keys: what was asked under them, and what was answered."""

from __future__ import annotations

from datetime import datetime

from adapters.store.forms import after, decode, encode, micros
from adapters.store.unit import Engine, Transaction
from contracts.books import Begun, StoredAnswer


class Idempotency:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, scope: str, key: str, fingerprint: bytes, now: datetime, lease: float) -> Begun:
        async def unit(tx: Transaction) -> Begun:
            until = after(now, lease)
            if await tx.query(
                "insert into idempotency (scope, key, fingerprint, lease_until, touched_at) values ($1, $2, $3, $4, $5)"
                " on conflict do nothing returning key",
                scope,
                key,
                fingerprint,
                until,
                micros(now),
            ):
                return Begun("new")
            rows = await tx.query("select fingerprint, answer from idempotency where scope = $1 and key = $2", scope, key)
            if not rows:  # abandoned this very moment
                return Begun("running")
            known, answer = rows[0]
            if known != fingerprint:
                return Begun("other_payload")
            if answer is not None:
                return Begun("done", decode(answer, StoredAnswer))
            taken = await tx.execute(
                "update idempotency set lease_until = $1, touched_at = $2"
                " where scope = $3 and key = $4 and answer is null and lease_until <= $2",
                until,
                micros(now),
                scope,
                key,
            )
            return Begun("new", repeated=True) if taken else Begun("running")

        return await self._engine.write(unit)

    async def finish(self, scope: str, key: str, answer: StoredAnswer, now: datetime) -> StoredAnswer:
        async def unit(tx: Transaction) -> StoredAnswer:
            if await tx.execute(
                "update idempotency set answer = $1, touched_at = $2 where scope = $3 and key = $4 and answer is null",
                encode(answer),
                micros(now),
                scope,
                key,
            ):
                return answer
            rows = await tx.query("select answer from idempotency where scope = $1 and key = $2", scope, key)
            return decode(rows[0][0], StoredAnswer) if rows else answer

        return await self._engine.write(unit)

    async def abandon(self, scope: str, key: str) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute("update idempotency set lease_until = 0 where scope = $1 and key = $2 and answer is null", scope, key)

        await self._engine.write(unit)

    async def purge(self, before: datetime) -> int:
        """Keys not touched since; a running one stays until its lease has ended."""

        async def unit(tx: Transaction) -> int:
            return await tx.execute(
                "delete from idempotency where touched_at < $1 and (answer is not null or lease_until < $1)", micros(before)
            )

        return await self._engine.write(unit)

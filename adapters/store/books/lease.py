"""Leases: what must be single over many processes."""

from __future__ import annotations

from datetime import datetime

from adapters.store.forms import after, micros
from adapters.store.unit import Engine, Transaction


class Leases:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def acquire(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        async def unit(tx: Transaction) -> bool:
            return bool(
                await tx.query(
                    "insert into lease (name, owner, until) values ($1, $2, $3) on conflict (name) do update"
                    " set owner = excluded.owner, until = excluded.until"
                    " where lease.owner = excluded.owner or lease.until <= $4 returning name",
                    name,
                    owner,
                    after(now, seconds),
                    micros(now),
                )
            )

        return await self._engine.write(unit)

    async def release(self, name: str, owner: str) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute("delete from lease where name = $1 and owner = $2", name, owner)

        await self._engine.write(unit)

"""Small facts the gateway keeps about itself."""

from __future__ import annotations

from adapters.store.unit import Engine, Transaction


class MetaBook:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get(self, key: str) -> bytes | None:
        async def unit(tx: Transaction) -> bytes | None:
            rows = await tx.query("select value from meta where key = $1", key)
            return rows[0][0] if rows else None

        return await self._engine.read(unit)

    async def put_if_absent(self, key: str, value: bytes) -> bytes:
        async def unit(tx: Transaction) -> bytes:
            await tx.execute("insert into meta (key, value) values ($1, $2) on conflict do nothing", key, value)
            stands: bytes = (await tx.query("select value from meta where key = $1", key))[0][0]
            return stands

        return await self._engine.write(unit)

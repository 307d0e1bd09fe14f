"""Clients and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Transaction
from contracts.books import ApiKey, Client
from contracts.errors import NotFound, StateConflict


class Clients:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, client: Client) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute(
                "insert into client (name, body) values ($1, $2) on conflict (name) do update set body = excluded.body",
                client.name,
                encode(client),
            )

        await self._engine.write(unit)

    async def get(self, name: str) -> Client | None:
        async def unit(tx: Transaction) -> Client | None:
            rows = await tx.query("select body from client where name = $1", text(name))
            return decode(rows[0][0], Client) if rows else None

        return await self._engine.read(unit)

    async def list(self) -> Sequence[Client]:
        async def unit(tx: Transaction) -> Sequence[Client]:
            return [decode(body, Client) for (body,) in await tx.query("select body from client order by name")]

        return await self._engine.read(unit)

    async def add_key(self, key: ApiKey) -> None:
        """A repeat changes nothing. Raises NotFound without its client, StateConflict when the prefix belongs to another key."""

        async def unit(tx: Transaction) -> None:
            if not await tx.query("select name from client where name = $1", key.client):
                raise NotFound(what="client", key=key.client)
            await tx.execute(
                "insert into api_key (prefix, client, digest, expires_at) values ($1, $2, $3, $4) on conflict do nothing",
                key.prefix,
                key.client,
                key.digest,
                micros(key.expires_at),
            )
            stands = (await tx.query("select client, digest from api_key where prefix = $1", key.prefix))[0]
            if tuple(stands) != (key.client, key.digest):
                raise StateConflict(what="API key", key=key.prefix, state="taken", why="its prefix belongs to another key: make a new one")

        await self._engine.write(unit)

    async def find_key(self, prefix: str) -> tuple[ApiKey, Client] | None:
        async def unit(tx: Transaction) -> tuple[ApiKey, Client] | None:
            rows = await tx.query(
                "select k.client, k.digest, k.expires_at, c.body from api_key k join client c on c.name = k.client where k.prefix = $1",
                text(prefix),
            )
            if not rows:
                return None
            client, digest, expires_at, body = rows[0]
            return ApiKey(prefix=prefix, client=client, digest=digest, expires_at=instant(expires_at)), decode(body, Client)

        return await self._engine.read(unit)

    async def expire_keys(self, client: str, at: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            return await tx.execute(
                "update api_key set expires_at = $1 where client = $2 and (expires_at is null or expires_at > $1)", micros(at), client
            )

        return await self._engine.write(unit)

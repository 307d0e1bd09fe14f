"""Clients and their keys. What an operator changes is written together with the entries that tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters.store.books.audit import write_entries
from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Transaction
from contracts.books import ApiKey, AuditEntry, Client, KeyRecord
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

    async def create(self, client: Client, key: ApiKey, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await _alone(tx, client)
            if not await tx.query(
                "insert into client (name, body) values ($1, $2) on conflict do nothing returning name", client.name, encode(client)
            ):
                why = f"give it a new key: tillgate client rotate {client.name}"
                raise StateConflict(what="client", key=client.name, state="there", why=why)
            await _add_key(tx, key)
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def change(self, before: Client, after: Client, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await _alone(tx, after)
            rows = await tx.query("select body from client where name = $1", before.name)
            if not rows:
                raise NotFound(what="client", key=before.name)
            if decode(rows[0][0], Client) != before:
                raise StateConflict(what="client", key=before.name, state="changed", why="somebody else has just changed it; look again")
            await tx.execute("update client set body = $1 where name = $2", encode(after), before.name)
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def rotate(self, key: ApiKey, overlap_until: datetime, entries: Sequence[AuditEntry]) -> int:
        async def unit(tx: Transaction) -> int:
            await tx.lock(f"client {key.client}")
            ended = await tx.execute(_EXPIRE, micros(overlap_until), key.client)
            await _add_key(tx, key)
            await write_entries(tx, entries)
            return ended

        return await self._engine.write(unit)

    async def end_key(self, client: str, prefix: str, at: datetime, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            if not await tx.execute(f"{_EXPIRE} and prefix = $3", micros(at), text(client), text(prefix)):
                if await tx.query("select prefix from api_key where client = $1 and prefix = $2", text(client), text(prefix)):
                    raise StateConflict(what="API key", key=prefix, state="ended", why="it is of no use any more")
                raise NotFound(what=f"API key of client {client}", key=prefix)
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def remove(self, name: str, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(f"client {name}")
            await tx.execute("delete from api_key where client = $1", text(name))
            if not await tx.execute("delete from client where name = $1", text(name)):
                raise NotFound(what="client", key=name)
            # scope = client + " " + method + " " + path; "!" follows the blank, which no name holds
            await tx.execute("delete from idempotency where scope > $1 and scope < $2", f"{text(name)} ", f"{text(name)}!")
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def purge_keys(self, before: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            return await tx.execute("delete from api_key where expires_at < $1", micros(before))

        return await self._engine.write(unit)

    async def keys(self, client: str | None) -> Sequence[KeyRecord]:
        async def unit(tx: Transaction) -> Sequence[KeyRecord]:
            whose = ("where client = $1", text(client)) if client is not None else ("",)
            columns = "select prefix, client, created_at, expires_at, used_at from api_key"
            order = "order by client, coalesce(created_at, 0) desc, prefix"
            rows = await tx.query(" ".join((columns, whose[0], order)), *whose[1:])
            return [
                KeyRecord(prefix=p, client=c, created_at=instant(made), expires_at=instant(ends), used_at=instant(used))
                for p, c, made, ends, used in rows
            ]

        return await self._engine.read(unit)

    async def used(self, at: Mapping[str, datetime]) -> None:
        rows = [(micros(when), prefix) for prefix, when in sorted(at.items())]  # everybody takes the rows in this order

        async def unit(tx: Transaction) -> None:
            await tx.execute_each("update api_key set used_at = $1 where prefix = $2 and (used_at is null or used_at < $1)", rows)

        await self._engine.write(unit)

    async def add_key(self, key: ApiKey) -> None:
        """A repeat changes nothing. Raises NotFound without its client, StateConflict when the prefix belongs to another key."""

        async def unit(tx: Transaction) -> None:
            await _add_key(tx, key)

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
            return await tx.execute(_EXPIRE, micros(at), client)

        return await self._engine.write(unit)


_EXPIRE = "update api_key set expires_at = $1 where client = $2 and (expires_at is null or expires_at > $1)"


async def _alone(tx: Transaction, client: Client) -> None:
    """Nobody else changes it now, or gives one of its certificates to another. Raises StateConflict when that has been done."""
    await tx.lock(f"client {client.name}", *(["certificates of clients"] if client.certificates else []))
    for (body,) in await tx.query("select body from client where name <> $1", client.name) if client.certificates else ():
        other = decode(body, Client)
        if shared := set(other.certificates) & set(client.certificates):
            raise StateConflict(what="certificate", key=min(shared), state="taken", why=f"it stands for client {other.name}")


async def _add_key(tx: Transaction, key: ApiKey) -> None:
    if not await tx.query("select name from client where name = $1", key.client):
        raise NotFound(what="client", key=key.client)
    await tx.execute(
        "insert into api_key (prefix, client, digest, expires_at, created_at) values ($1, $2, $3, $4, $5) on conflict do nothing",
        key.prefix,
        key.client,
        key.digest,
        micros(key.expires_at),
        micros(key.created_at),
    )
    stands = (await tx.query("select client, digest from api_key where prefix = $1", key.prefix))[0]
    if tuple(stands) != (key.client, key.digest):
        raise StateConflict(what="API key", key=key.prefix, state="taken", why="its prefix belongs to another key: make a new one")

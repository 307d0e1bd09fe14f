"""Records that were set aside: how a person changed them, and what was decided, once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from adapters.store.books import sale as sales
from adapters.store.books.audit import write_entries
from adapters.store.books.file import one_of
from adapters.store.forms import decode, encode, text, units
from adapters.store.unit import Engine, Row, Transaction
from contracts.books import AuditEntry, Decision, Effect, Quarantined, Reviewed
from contracts.canonical.sale import PosSale
from contracts.errors import InvalidBody, NotFound, StateConflict

_SELECT = (
    "select q.id, q.body, f.feed, f.store, q.state, q.version, q.revised, q.decision"
    " from quarantine q join file f on f.digest = q.digest where "
)


def _reviewed(row: Row) -> Reviewed:
    number, body, feed, store, state, version, revised, decision = row
    return Reviewed(
        record=msgspec.structs.replace(decode(body, Quarantined), id=number),
        feed=feed,
        store=store,
        state=state,
        version=version,
        revised=bytes(revised) if revised is not None else None,
        decision=decode(decision, Decision) if decision is not None else None,
    )


class Quarantine:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get(self, id: int) -> Reviewed | None:
        async def unit(tx: Transaction) -> Reviewed | None:
            rows = await tx.query(_SELECT + "q.id = $1", id)
            return _reviewed(rows[0]) if rows else None

        return await self._engine.read(unit)

    async def list(
        self,
        limit: int,
        *,
        digest: str | None = None,
        state: str | None = None,
        feed: str | None = None,
        stores: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[Reviewed]:
        given: list[Any] = [after]
        wanted = ["q.id > $1"]
        for column, value in (("q.digest", digest), ("q.state", state), ("f.feed", feed)):
            if value is not None:
                given.append(text(value))
                wanted.append(f"{column} = ${len(given)}")
        if stores:
            wanted.append(one_of("f.store", stores, given))
        given.append(limit)
        sql = f"{_SELECT}{' and '.join(wanted)} order by q.id limit ${len(given)}"

        async def unit(tx: Transaction) -> Sequence[Reviewed]:
            return [_reviewed(row) for row in await tx.query(sql, *given)]

        return await self._engine.read(unit)

    async def revise(self, id: int, version: int, revised: bytes | None, entries: Sequence[AuditEntry]) -> Reviewed:
        async def unit(tx: Transaction) -> Reviewed:
            await tx.lock(f"quarantined {id}")
            await _open(tx, id, version)
            await tx.execute("update quarantine set revised = $1, version = version + 1 where id = $2", revised, id)
            await write_entries(tx, entries)
            return await _again(tx, id)

        return await self._engine.write(unit)

    async def weigh(self, sale: PosSale) -> Effect:
        try:
            work = sales.prepared(sale)
        except InvalidBody as error:
            return Effect(outcome="uncountable", why=error.got)
        (one,) = work.sales
        links = [(str(link.sale_key), link.type) for link in sale.links]

        async def unit(tx: Transaction) -> Effect:
            standing = await sales.booked(tx, sale.key)
            booked = [await sales.booked(tx, link.sale_key) for link in sale.links]
            same = standing is not None and await sales.same(tx, work)
            return Effect(
                outcome="books" if standing is None else "repeats" if same else "conflict",
                standing=standing,
                cents=one.cents if standing is None else 0,
                stock={sku: f"{units(-moved):f}" for sku, moved in one.moves.items() if moved} if standing is None else {},
                found=tuple(f"{kind} {key}" for (key, kind), there in zip(links, booked, strict=True) if there is not None),
                missing=tuple(f"{kind} {key}" for (key, kind), there in zip(links, booked, strict=True) if there is None),
            )

        return await self._engine.read(unit)

    async def book(self, id: int, version: int, sale: PosSale, decision: Decision, entries: Sequence[AuditEntry]) -> Reviewed:
        work = sales.prepared(sale)
        digest = await self._digest(id)

        async def unit(tx: Transaction) -> Reviewed:
            await tx.lock(f"file {digest}", f"quarantined {id}", f"stock of {sale.key.store_number}")
            await _open(tx, id, version)
            new = await sales.book_one(tx, work, decision.at)
            made = msgspec.structs.replace(decision, what="booked" if new else "repeated", key=str(sale.key))
            await _decide(tx, id, digest, "booked", made)
            if new:
                await tx.execute("update file set booked = booked + 1 where digest = $1", digest)
            await write_entries(tx, entries)
            return await _again(tx, id)

        return await self._engine.write(unit)

    async def dismiss(self, id: int, version: int, decision: Decision, entries: Sequence[AuditEntry]) -> Reviewed:
        digest = await self._digest(id)

        async def unit(tx: Transaction) -> Reviewed:
            await tx.lock(f"file {digest}", f"quarantined {id}")
            await _open(tx, id, version)
            await _decide(tx, id, digest, "dismissed", decision)
            await write_entries(tx, entries)
            return await _again(tx, id)

        return await self._engine.write(unit)

    async def _digest(self, id: int) -> str:
        async def unit(tx: Transaction) -> str:
            if not (rows := await tx.query("select digest from quarantine where id = $1", id)):
                raise NotFound(what="quarantined record", key=str(id))
            return str(rows[0][0])

        return await self._engine.read(unit)


async def _open(tx: Transaction, id: int, version: int) -> None:
    rows = await tx.query("select state, version, decision from quarantine where id = $1", id)
    if not rows:
        raise NotFound(what="quarantined record", key=str(id))
    state, current, decision = rows[0]
    if state != "open":
        made = decode(decision, Decision)
        raise StateConflict(
            what="quarantined record", key=str(id), state=state, why=f"{made.by} decided this at {made.at:%Y-%m-%d %H:%M:%S}"
        )
    if current != version:
        raise StateConflict(
            what="quarantined record", key=str(id), state=f"version {current}", why="somebody has changed it since you looked"
        )


async def _decide(tx: Transaction, id: int, digest: str, state: str, decision: Decision) -> None:
    await tx.execute("update quarantine set state = $1, decision = $2, version = version + 1 where id = $3", state, encode(decision), id)
    await tx.execute("update file set decided = decided + 1 where digest = $1", digest)


async def _again(tx: Transaction, id: int) -> Reviewed:
    return _reviewed((await tx.query(_SELECT + "q.id = $1", id))[0])

"""Records that were set aside: how a person changed them, and what was decided, once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from adapters.store.books import report as reports
from adapters.store.books import sale as sales
from adapters.store.books.audit import write_entries
from adapters.store.books.file import held, one_of
from adapters.store.books.report import Prepared
from adapters.store.forms import decode, encode, text, units
from adapters.store.unit import Engine, Row, Transaction
from contracts.books import AuditEntry, Decision, Effect, Original, Posting, Quarantined, Reviewed
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

    async def originals(self, digest: str, fence: int, found: Sequence[Original]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(f"file {digest}")
            await held(tx, digest, fence)
            untouched = "select body from quarantine where id = $1 and state = 'open' and version = 0"
            for came in found:
                for (body,) in await tx.query(untouched, came.id):
                    stood = msgspec.structs.replace(
                        decode(body, Quarantined), form="record", raw=came.raw, around=came.around, line=came.line, file=text(came.file)
                    )
                    await tx.execute("update quarantine set body = $1 where id = $2", encode(stood), came.id)

        await self._engine.write(unit)

    async def weigh(self, posting: Posting) -> Effect:
        try:
            one = _prepared(posting)
        except InvalidBody as error:
            return Effect(outcome="uncountable", why=error.got)

        async def unit(tx: Transaction) -> Effect:
            standing: Posting | None
            moves: Mapping[str, int]
            why = ""
            if isinstance(one, Prepared):
                standing, same = await reports.booked(tx, one) or (None, False)
                change = await one.kind.change(tx, one)
                cents, moves, links = 0, {one.sku: -(change or 0)}, []
                why = "a later report is known, and counts" if change is None and standing is None else ""
            else:
                assert isinstance(posting, PosSale)  # noqa: S101  # what it was prepared from
                standing = await sales.booked(tx, posting.key)
                same = standing is not None and await sales.same(tx, one)
                (sale,) = one.sales
                cents, moves = sale.cents, sale.moves
                links = [(f"{link.type} {link.sale_key}", await sales.booked(tx, link.sale_key)) for link in posting.links]
            return Effect(
                outcome="books" if standing is None else "repeats" if same else "conflict",
                why=why,
                standing=standing,
                cents=cents if standing is None else 0,
                stock={sku: f"{units(-moved):f}" for sku, moved in moves.items() if moved} if standing is None else {},
                found=tuple(link for link, there in links if there is not None),
                missing=tuple(link for link, there in links if there is None),
            )

        return await self._engine.read(unit)

    async def book(self, id: int, version: int, posting: Posting, decision: Decision, entries: Sequence[AuditEntry]) -> Reviewed:
        one = _prepared(posting)
        place = one.place if isinstance(one, Prepared) else one.sales[0].till[0]
        digest = await self._digest(id)

        async def unit(tx: Transaction) -> Reviewed:
            await tx.lock(f"file {digest}", f"quarantined {id}", f"stock of {place}")
            await _open(tx, id, version)
            new = await (reports if isinstance(one, Prepared) else sales).book_one(tx, one, decision.at)
            made = msgspec.structs.replace(decision, what="booked" if new else "repeated", key=str(posting.key))
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


def _prepared(posting: Posting) -> sales.Work | Prepared:
    """Raises InvalidBody for what cannot be counted."""
    return sales.prepared(posting) if isinstance(posting, PosSale) else reports.prepared_one(posting)


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

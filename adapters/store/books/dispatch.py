"""Files on their way to the tills: the next number only behind an end, every step taken once whoever takes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from adapters.store.books.audit import write_entries
from adapters.store.books.file import one_of
from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Row, Transaction, insert
from contracts.books import AuditEntry, Dispatch, DispatchState, Refusal
from contracts.errors import NotFound, StateConflict

_COLUMNS: Final = "feed, store, number, state, name, digest, size, items, drafted_at, written_at, ended_at, reason, refused"
_ONE: Final = f"select {_COLUMNS} from dispatch where feed = $1 and store = $2 and number = $3"  # noqa: S608 - constants of this module
_LATEST: Final = f"select {_COLUMNS} from dispatch where feed = $1 and store = $2 order by number desc limit 1"  # noqa: S608 - constants of this module


class Dispatches:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def latest(self, feed: str, store: str) -> Dispatch | None:
        async def unit(tx: Transaction) -> Dispatch | None:
            rows = await tx.query(_LATEST, feed, store)
            return _dispatch(rows[0]) if rows else None

        return await self._engine.read(unit)

    async def told(self, feed: str, store: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        async def unit(tx: Transaction) -> Mapping[str, bytes]:
            asked = [(feed, store, text(key)) for key in keys]
            rows = await tx.query_each("select key, hash from dispatched where feed = $1 and store = $2 and key = $3", asked)
            return {key: bytes(found) for key, found in rows}

        return await self._engine.read(unit)

    async def draft(self, dispatch: Dispatch, body: bytes, changes: Mapping[str, bytes]) -> bool:
        async def unit(tx: Transaction) -> bool:
            await _locked(tx, dispatch.feed, dispatch.store)
            rows = await tx.query(_LATEST, dispatch.feed, dispatch.store)
            before = _dispatch(rows[0]) if rows else None
            if (before is not None and not before.ended) or dispatch.number != (before.number if before else 0) + 1:
                return False
            await insert(
                tx,
                "dispatch (feed, store, number, state, name, digest, size, items, drafted_at, refused, changes, body)",
                [
                    (
                        dispatch.feed,
                        dispatch.store,
                        dispatch.number,
                        "drafted",
                        text(dispatch.name),
                        dispatch.digest,
                        dispatch.size,
                        dispatch.items,
                        micros(dispatch.drafted_at),
                        encode(()),
                        encode({text(key): found.hex() for key, found in changes.items()}),
                        body,
                    )
                ],
            )
            return True

        return await self._engine.write(unit)

    async def body(self, feed: str, store: str, number: int) -> bytes:
        async def unit(tx: Transaction) -> bytes:
            rows = await tx.query("select body from dispatch where feed = $1 and store = $2 and number = $3", feed, text(store), number)
            if not rows:
                raise _unknown(feed, store, number)
            return bytes(rows[0][0])

        return await self._engine.read(unit)

    async def stage(self, feed: str, store: str, number: int, token: str) -> str | None:
        async def unit(tx: Transaction) -> str | None:
            await _locked(tx, feed, store)
            rows = await tx.query(
                "update dispatch set token = case when token = '' then $1 else token end"
                " where feed = $2 and store = $3 and number = $4 and state = 'drafted' returning token",
                token,
                feed,
                store,
                number,
            )
            return rows[0][0] if rows else None

        return await self._engine.write(unit)

    async def written(self, feed: str, store: str, number: int, now: datetime) -> bool:
        async def unit(tx: Transaction) -> bool:
            return bool(
                await tx.execute(
                    "update dispatch set state = 'written', written_at = $1"
                    " where feed = $2 and store = $3 and number = $4 and state = 'drafted'",
                    micros(now),
                    feed,
                    store,
                    number,
                )
            )

        return await self._engine.write(unit)

    async def overdue(self, feed: str, store: str, number: int) -> bool:
        async def unit(tx: Transaction) -> bool:
            return bool(
                await tx.execute(
                    "update dispatch set state = 'overdue' where feed = $1 and store = $2 and number = $3 and state = 'written'",
                    feed,
                    store,
                    number,
                )
            )

        return await self._engine.write(unit)

    async def answered(
        self,
        feed: str,
        store: str,
        number: int,
        state: Literal["accepted", "rejected"],
        reason: str,
        refused: Sequence[Refusal],
        now: datetime,
    ) -> bool:
        async def unit(tx: Transaction) -> bool:
            await _locked(tx, feed, store)
            stands = await self._newest(tx, feed, store, number)
            if stands.ended:
                return False
            ((changes,),) = await tx.query(
                "select changes from dispatch where feed = $1 and store = $2 and number = $3", feed, store, number
            )
            not_taken = {text(r.key) for r in refused}
            rows = [
                (feed, store, key, bytes.fromhex(found), number if state == "rejected" or key in not_taken else 0)
                for key, found in sorted(decode(changes, dict[str, str]).items())
            ]
            await insert(
                tx,
                "dispatched (feed, store, key, hash, refused)",
                rows,
                "on conflict (feed, store, key) do update set hash = excluded.hash, refused = excluded.refused",
            )
            await self._end(tx, stands, state, reason, refused, now)
            return True

        return await self._engine.write(unit)

    async def resend(self, feed: str, store: str, number: int, now: datetime, entries: Sequence[AuditEntry]) -> Dispatch:
        async def unit(tx: Transaction) -> Dispatch:
            await _locked(tx, feed, store)
            stands = await self._newest(tx, feed, store, number)
            if stands.state in ("written", "overdue"):
                await tx.execute(
                    "update dispatch set state = 'drafted', token = '', written_at = null where feed = $1 and store = $2 and number = $3",
                    feed,
                    store,
                    number,
                )
            elif stands.state == "drafted":
                raise StateConflict(what="file", key=stands.name, state="drafted", why="it is about to be written")
            elif not await tx.execute("delete from dispatched where feed = $1 and store = $2 and refused = $3", feed, store, number):
                raise StateConflict(what="file", key=stands.name, state=stands.state, why="nothing of it was refused that is still open")
            await write_entries(tx, entries)
            return await self._newest(tx, feed, store, number)

        return await self._engine.write(unit)

    async def give_up(self, feed: str, store: str, number: int, reason: str, now: datetime, entries: Sequence[AuditEntry]) -> Dispatch:
        async def unit(tx: Transaction) -> Dispatch:
            await _locked(tx, feed, store)
            stands = await self._newest(tx, feed, store, number)
            if stands.ended:
                raise StateConflict(what="file", key=stands.name, state=stands.state, why="it has ended")
            await self._end(tx, stands, "given_up", reason, (), now)
            await write_entries(tx, entries)
            return await self._newest(tx, feed, store, number)

        return await self._engine.write(unit)

    async def _newest(self, tx: Transaction, feed: str, store: str, number: int) -> Dispatch:
        rows = await tx.query(_LATEST, feed, text(store))
        if rows and (found := _dispatch(rows[0])).number == number:
            return found
        if not await tx.query(_ONE, feed, text(store), number):
            raise _unknown(feed, store, number)
        raise StateConflict(what="file", key=f"{feed}/{store}/{number}", state="ended", why="a later number was written since")

    async def _end(
        self, tx: Transaction, stands: Dispatch, state: DispatchState, reason: str, refused: Sequence[Refusal], now: datetime
    ) -> None:
        await tx.execute(
            "update dispatch set state = $1, reason = $2, refused = $3, ended_at = $4 where feed = $5 and store = $6 and number = $7",
            state,
            text(reason),
            encode(refused),
            micros(now),
            stands.feed,
            stands.store,
            stands.number,
        )

    async def get(self, feed: str, store: str, number: int) -> Dispatch:
        async def unit(tx: Transaction) -> Dispatch:
            rows = await tx.query(_ONE, feed, text(store), number)
            if not rows:
                raise _unknown(feed, store, number)
            return _dispatch(rows[0])

        return await self._engine.read(unit)

    async def list(
        self,
        limit: int,
        *,
        feed: str | None = None,
        stores: Collection[str] = (),
        state: DispatchState | None = None,
        before: tuple[datetime, str, str] | None = None,
    ) -> Sequence[Dispatch]:
        wanted, given = ["1 = 1"], list[Any]()
        for column, value in (("feed", feed), ("state", state)):
            if value is not None:
                wanted.append(one_of(column, (value,), given))
        if stores:
            wanted.append(one_of("store", stores, given))
        if before is not None:
            given += [micros(before[0]), micros(before[0]), text(before[1]), text(before[2])]
            n = len(given)
            wanted.append(f"(drafted_at < ${n - 3} or (drafted_at = ${n - 2} and (feed, store) > (${n - 1}, ${n})))")
        given.append(limit)
        where = " and ".join(wanted)
        sql = f"select {_COLUMNS} from dispatch where {where} order by drafted_at desc, feed, store limit ${len(given)}"  # noqa: S608 - constants and placeholders

        async def unit(tx: Transaction) -> Sequence[Dispatch]:
            return [_dispatch(row) for row in await tx.query(sql, *given)]

        return await self._engine.read(unit)

    async def purge(self, before: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            return await tx.execute(
                "delete from dispatch where ended_at < $1 and exists"
                " (select 1 from dispatch d where d.feed = dispatch.feed and d.store = dispatch.store and d.number > dispatch.number)",
                micros(before),
            )

        return await self._engine.write(unit)


async def _locked(tx: Transaction, feed: str, store: str) -> None:
    await tx.lock(f"dispatch {feed} {store}")


def _dispatch(row: Row) -> Dispatch:
    feed, store, number, state, name, digest, size, items, drafted, written, ended, reason, refused = row
    return Dispatch(
        feed=feed,
        store=store,
        number=number,
        state=state,
        name=name,
        digest=digest,
        size=size,
        items=items,
        drafted_at=instant(drafted),
        written_at=instant(written),
        ended_at=instant(ended),
        reason=reason,
        refused=decode(refused, tuple[Refusal, ...]),
    )


def _unknown(feed: str, store: str, number: int) -> NotFound:
    return NotFound(what="file", key=f"{feed}/{store}/{number}")

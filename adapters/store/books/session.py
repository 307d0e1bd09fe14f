"""Who is signed in to the console."""

from __future__ import annotations

from datetime import datetime

from adapters.store.forms import decode, encode, instant, micros, text
from adapters.store.unit import Engine, Transaction
from contracts.books import ConsoleSession


class Sessions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def open(self, session: ConsoleSession, most: int) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(f"sessions {session.client}")
            await tx.execute(
                "insert into console_session (mark, client, prefix, scopes, opened_at, seen_at) values ($1, $2, $3, $4, $5, $6)",
                session.mark,
                session.client,
                session.prefix,
                encode(session.scopes),
                micros(session.opened_at),
                micros(session.seen_at),
            )
            await tx.execute(
                "delete from console_session where client = $1 and mark not in"
                " (select mark from console_session where client = $1 order by opened_at desc, mark limit $2)",
                session.client,
                most,
            )

        await self._engine.write(unit)

    async def get(self, mark: str) -> ConsoleSession | None:
        async def unit(tx: Transaction) -> ConsoleSession | None:
            rows = await tx.query("select client, prefix, scopes, opened_at, seen_at from console_session where mark = $1", text(mark))
            if not rows:
                return None
            client, prefix, scopes, opened, seen = rows[0]
            return ConsoleSession(
                mark=mark,
                client=client,
                prefix=prefix,
                scopes=decode(scopes, tuple[str, ...]),
                opened_at=instant(opened),
                seen_at=instant(seen),
            )

        return await self._engine.read(unit)

    async def seen(self, mark: str, at: datetime) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute("update console_session set seen_at = $1 where mark = $2 and seen_at < $1", micros(at), text(mark))

        await self._engine.write(unit)

    async def end(self, mark: str) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.execute("delete from console_session where mark = $1", text(mark))

        await self._engine.write(unit)

    async def purge(self, opened_before: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            return await tx.execute("delete from console_session where opened_at < $1", micros(opened_before))

        return await self._engine.write(unit)

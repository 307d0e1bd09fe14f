import asyncio

import asyncpg
import pytest

from adapters.store.driver import open_store
from adapters.store.errors import StoreDefect
from adapters.store.postgres import Postgres
from adapters.store.spec import StoreOptions
from adapters.store.unit import Transaction
from contracts.errors import NotFound, StoreUnavailable


async def test_server_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached") as refused:
        await open_store(StoreOptions(url="postgresql://tillgate:s3cret@127.0.0.1:1/none", wait=1)).start()
    assert "s3cret" not in str(refused.value)


async def test_deadlock_is_repeated_until_both_are_through(fresh_postgres_dsn: str) -> None:
    engine = Postgres(StoreOptions(url=fresh_postgres_dsn))
    await engine.start()

    async def table(tx: Transaction) -> None:
        await tx.script("create table t (n bigint primary key, m bigint not null); insert into t values (1, 0), (2, 0)")

    await engine.write(table)
    runs = 0

    async def add(first: int, second: int) -> None:
        async def unit(tx: Transaction) -> None:
            nonlocal runs
            runs += 1
            await tx.execute("update t set m = m + 1 where n = $1", first)
            await asyncio.sleep(0.05)
            await tx.execute("update t set m = m + 1 where n = $1", second)

        await engine.write(unit)

    async def sums(tx: Transaction) -> list[int]:
        return [m for (m,) in await tx.query("select m from t order by n")]

    await asyncio.gather(add(1, 2), add(2, 1))
    assert await engine.read(sums) == [2, 2]
    assert runs == 3
    await engine.close()


async def test_refusal_inside_a_unit_rolls_back_and_a_reader_cannot_write(fresh_postgres_dsn: str) -> None:
    engine = Postgres(StoreOptions(url=fresh_postgres_dsn))
    await engine.start()

    async def table(tx: Transaction) -> None:
        await tx.script("create table t (n bigint)")
        raise NotFound(what="thing", key="x")

    async def look(tx: Transaction) -> object:
        return await tx.query("select n from t")

    async def write(tx: Transaction) -> None:
        await tx.script("create table t (n bigint)")

    async def misordered(tx: Transaction) -> object:
        return await tx.query("select $2::bigint, $1::bigint", 1, 2)

    with pytest.raises(NotFound):
        await engine.write(table)
    with pytest.raises(StoreDefect, match="42P01"):
        await engine.read(look)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await engine.read(write)
    with pytest.raises(StoreDefect, match="expected parameters"):
        await engine.read(misordered)
    await engine.close()


async def test_killed_connection_is_replaced_unnoticed_and_waiting_is_bounded(fresh_postgres_dsn: str) -> None:
    engine = Postgres(StoreOptions(url=fresh_postgres_dsn, connections=1, queue=2, wait=0.3))
    await engine.start()

    async def who(tx: Transaction) -> int:
        return int((await tx.query("select pg_backend_pid()"))[0][0])

    async def slow(tx: Transaction) -> object:
        return await tx.query("select pg_sleep(0.6)")

    pid = await engine.read(who)
    control = await asyncpg.connect(fresh_postgres_dsn)
    await control.execute("select pg_terminate_backend($1)", pid)
    await control.close()
    assert await engine.read(who) != pid
    outcomes = await asyncio.gather(*(engine.read(slow) for _ in range(4)), return_exceptions=True)
    reasons = sorted(str(o) for o in outcomes if isinstance(o, StoreUnavailable))
    assert reasons == [
        "store: 2 units of work are waiting already",
        "store: the server did not answer in time",
        "store: the server did not answer in time",
    ]
    await engine.close()

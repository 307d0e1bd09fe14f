"""A process whose disk is full at 2 MB: `python -m tests.unit.adapters.store.filler PATH` prints each answer and refusal."""

import asyncio
import resource
import sys
from pathlib import Path

from adapters.store.spec import StoreOptions
from adapters.store.sqlite import Sqlite
from adapters.store.unit import Transaction
from contracts.errors import StoreUnavailable


async def main(path: Path) -> None:
    store = Sqlite(StoreOptions(url=f"sqlite:///{path}"), path)
    await store.start()

    async def table(tx: Transaction) -> None:
        await tx.script("create table t (n integer primary key, body blob)")

    await store.write(table)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    async def put(n: int) -> str:
        async def unit(tx: Transaction) -> None:
            await tx.execute("insert into t (n, body) values ($1, $2)", n, bytes(20_000))

        try:
            await store.write(unit)
        except StoreUnavailable as exc:
            return f"refused {exc}"
        return f"answered {n}"

    for start in range(0, 200, 10):
        for line in await asyncio.gather(*(put(n) for n in range(start, start + 10))):
            print(line, flush=True)  # noqa: T201  # this is its answer
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

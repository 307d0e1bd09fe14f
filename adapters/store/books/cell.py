"""Packed cells of all processes, in bins of several widths."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.store.unit import Engine, Transaction, insert
from contracts.books.cells import CellBlob


class Cells:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, blobs: Sequence[CellBlob]) -> None:
        async def unit(tx: Transaction) -> None:
            await _add(tx, blobs)

        if blobs:
            await self._engine.write(unit)

    async def read(
        self, width: int, since: int, before: int, besides: str = "-", above: int = 0, most: int | None = None
    ) -> Sequence[CellBlob]:
        async def unit(tx: Transaction) -> Sequence[CellBlob]:
            rows = await tx.query(
                "select number, begin, source, body from cell where width = $1 and begin >= $2 and begin < $3 and source <> $4"
                " and number > $5 order by begin, number limit $6",
                *(width, since, before, besides, above, 2**62 if most is None else most),
            )
            return [CellBlob(width=width, begin=b, source=s, body=bytes(body), number=n) for n, b, s, body in rows]

        return await self._engine.read(unit)

    async def replace(self, gone: Sequence[int], blobs: Sequence[CellBlob]) -> bool:
        async def unit(tx: Transaction) -> bool:
            await tx.lock("cells")
            there = await tx.query_each("select number from cell where number = $1", [(number,) for number in gone])
            if len(there) < len(gone):
                return False
            await tx.execute_each("delete from cell where number = $1", [(number,) for number in gone])
            await _add(tx, blobs)
            return True

        return await self._engine.write(unit)

    async def prune(self, width: int, before: int, most_bytes: int) -> int:
        async def unit(tx: Transaction) -> int:
            went = await tx.execute("delete from cell where width = $1 and begin < $2", width, before)
            total = (await tx.query("select coalesce(cast(sum(size) as bigint), 0) from cell where width = $1", width))[0][0]
            if total > most_bytes:
                over, last = total - most_bytes, 0
                for begin, size in await tx.query(
                    "select begin, cast(sum(size) as bigint) from cell where width = $1 group by begin order by begin", width
                ):
                    over, last = over - size, begin
                    if over <= 0:
                        break
                went += await tx.execute("delete from cell where width = $1 and begin <= $2", width, last)
            return went

        return await self._engine.write(unit)


async def _add(tx: Transaction, blobs: Sequence[CellBlob]) -> None:
    rows = [(b.width, b.begin, b.source, len(b.body), b.body) for b in blobs]
    await insert(tx, "cell (width, begin, source, size, body)", rows, "returning number")

"""Chunks: the documents of sales, some dozens to a row, since a row of its own for each costs more than its content."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.store.unit import Transaction

SALES = 32
"""Sales of one chunk; with four lines each they make about 45 kB."""


def reference(chunk: int, place: int) -> int:
    """A sale's document, as one number."""
    return chunk * SALES + place


async def documents(tx: Transaction, references: Iterable[int]) -> dict[int, bytes]:
    """By reference."""
    wanted = sorted(references)
    chunks = dict.fromkeys(number // SALES for number in wanted)
    rows = await tx.query_each("select id, body from sale_chunk where id = $1", [(id_,) for id_ in chunks])
    lines = {id_: body.split(b"\n") for id_, body in rows}
    return {number: lines[number // SALES][number % SALES] for number in wanted}

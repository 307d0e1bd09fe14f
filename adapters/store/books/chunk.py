"""Chunks: the documents of sales, some dozens to a row, since a row of its own for each costs more than its content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.store.unit import Transaction

SALES = 32
"""Sales of one chunk; with four lines each they make about 40 kB."""


def reference(chunk: int, place: int) -> int:
    """A sale's document, as one number."""
    return chunk * SALES + place


def packed(heads: Sequence[bytes], tails: Sequence[bytes]) -> bytes:
    """Documents, each cut in two, a line each. A tail that all share (where they come from) is written once, as the last line: what it
    completes ends with its comma.
    """
    if tails[0][:1] == b"," and tails.count(tails[0]) == len(tails):
        return b",\n".join((*heads, tails[0][1:]))
    return b"\n".join(map(b"".join, zip(heads, tails, strict=True)))


def blanked(body: bytes, places: Iterable[int]) -> bytes:
    """The chunk without the documents at these places; the others stay where they are."""
    lines = body.split(b"\n")
    for place in places:
        lines[place] = b""
    return b"\n".join(lines)


async def documents(tx: Transaction, references: Iterable[int]) -> dict[int, bytes]:
    """By reference."""
    wanted = sorted(references)
    chunks = dict.fromkeys(number // SALES for number in wanted)
    rows = await tx.query_each("select id, body from sale_chunk where id = $1", [(id_,) for id_ in chunks])
    lines = {id_: body.split(b"\n") for id_, body in rows}
    return {number: _whole(lines[number // SALES], number % SALES) for number in wanted}


def _whole(lines: Sequence[bytes], place: int) -> bytes:
    head = lines[place]
    return head + lines[-1] if head.endswith(b",") else head

"""Movements of stock without a receipt: booked once by their key, with the events they cause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from adapters.store.books import outbox
from adapters.store.books.till import Till, days
from adapters.store.forms import decode, encode, millionths, text
from adapters.store.unit import Transaction, insert
from contracts.canonical.inventory import MovementKey, StockMovement
from contracts.errors import InvalidBody, StateConflict

NAMELESS = ""
"""The workstation that no till has: movements hang on it."""


class Prepared(NamedTuple):
    """A movement as it is booked. Where it comes from is no part of what it says."""

    till: Till
    reference: str
    digest: bytes
    body: bytes
    sku: str
    millionths: int
    unit: str
    key: str

    @property
    def row(self) -> tuple[str, int, str]:
        return f"{self.sku}@{self.till[0]}", self.millionths, self.unit


def prepared(movement: StockMovement) -> Prepared:
    """Raises ValueError for what cannot be counted."""
    key = movement.key
    said = encode(msgspec.structs.replace(movement, provenance=()))
    return Prepared(
        (text(key.location_id), NAMELESS, text(key.business_date)),
        text(key.reference),
        sha256(said).digest()[:16],
        encode(movement),
        movement.sku,
        millionths(movement.change.value),
        movement.change.unit,
        str(key),
    )


async def book(tx: Transaction, movements: Sequence[Prepared], now: datetime) -> tuple[int, list[int]]:
    """Returns how many are new, and which are in conflict: their key is booked with other content. The rest is booked already."""
    if not movements:
        return 0, []
    tills = await days(tx, {each.till for each in movements})
    news: list[tuple[int, Prepared]] = []
    conflicts: list[int] = []
    for at, each in enumerate(movements):
        new = await tx.query(
            "insert into movement (till_day, reference, digest, body) values ($1, $2, $3, $4)"
            " on conflict (till_day, reference) do nothing returning id",
            tills[each.till],
            each.reference,
            each.digest,
            each.body,
        )
        if new:
            news.append((new[0][0], each))
        elif not await same(tx, each):
            conflicts.append(at)
    await insert(
        tx, "stock_movement (till_day, sku, sequence, millionths)", [(tills[e.till], e.sku, number, -e.millionths) for number, e in news]
    )
    await outbox.append_bundle(tx, outbox.Bundle([], [each.row for _, each in news]), now)
    return len(news), conflicts


def prepared_one(movement: StockMovement) -> Prepared:
    """Raises InvalidBody for what cannot be counted."""
    try:
        return prepared(movement)
    except ValueError as error:
        raise InvalidBody(where="", expected="a quantity that a shelf can hold", got=str(error)) from error


async def book_one(tx: Transaction, movement: Prepared, now: datetime) -> bool:
    """As a batch is booked. False: it was, with the same content. Raises StateConflict when another content is."""
    new, against = await book(tx, [movement], now)
    if against:
        why = "it is booked with other content, and the first one stands"
        raise StateConflict(what="movement", key=movement.key, state="booked", why=why)
    return bool(new)


async def same(tx: Transaction, movement: Prepared) -> bool:
    """Whether it is booked with this content."""
    rows = await tx.query(_SELECT.format("m.digest"), *movement.till, movement.reference)
    return bool(rows) and bytes(rows[0][0]) == movement.digest


async def booked(tx: Transaction, key: MovementKey) -> StockMovement | None:
    till = text(key.location_id), NAMELESS, text(key.business_date)
    rows = await tx.query(_SELECT.format("m.body"), *till, text(key.reference))
    return decode(bytes(rows[0][0]), StockMovement) if rows else None


_SELECT = (
    "select {} from till_day t join movement m on m.till_day = t.id"
    " where t.store = $1 and t.workstation = $2 and t.business_date = $3 and m.reference = $4"
)

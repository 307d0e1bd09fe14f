"""Holding stock for carts: a conditional write in our own book, against the figures of the owning system."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec

from contracts.books import Books
from contracts.call import Call
from contracts.canonical.amounts import Quantity
from contracts.canonical.reservation import Reservation, ReservationDraft
from contracts.errors import InvalidBody, NotFound, StateConflict
from contracts.events import Event
from contracts.ports import SkuAt
from gateway.services.availability import AvailabilityReader
from gateway.services.clock import Now, new_id
from observability import current

MOST = Decimal(1_000_000)


def check_quantity(quantity: Quantity, where: str) -> None:
    """Of goods that somebody wants. Raises InvalidBody."""
    if not 0 < quantity.amount <= MOST:
        raise InvalidBody(where=where, expected=f"more than 0 and at most {MOST}", got=quantity.value)
    if quantity.unit == "EA" and quantity.amount % 1:
        raise InvalidBody(where=where, expected="a whole number of pieces", got=quantity.value)


class Reservations:
    def __init__(self, availability: AvailabilityReader, books: Books, source: str, now: Now) -> None:
        self._availability = availability
        self._books = books
        self._source = source
        self._now = now

    async def hold(self, draft: ReservationDraft, call: Call) -> Reservation:
        """A repeat with the same key changes nothing. Raises InvalidBody, InsufficientStock, NotFound, UpstreamError."""
        check_quantity(draft.quantity, "/quantity/value")
        if (stored := await self._books.reservations.get(draft.reservation_key)) is not None:
            self._same(stored, draft)
            return stored
        pair = SkuAt(sku=draft.sku, location_id=draft.location_id)
        stock = await self._availability.free_for_hold(pair, call)
        if stock is None:
            raise NotFound(what="stock of", key=f"{draft.sku} at {draft.location_id}")
        if draft.quantity.unit != stock.unit:
            raise InvalidBody(where="/quantity/unit", expected=stock.unit, got=draft.quantity.unit)
        now = self._now()
        reservation = Reservation(
            reservation_key=draft.reservation_key,
            sku=draft.sku,
            location_id=draft.location_id,
            quantity=draft.quantity,
            owner=draft.owner,
            expires_at=now + timedelta(seconds=draft.hold_seconds),
            state="active",
        )
        events = (self._event(reservation),)
        held = await self._books.reservations.hold(reservation, stock.free_before_holds, stock.counted_since, now, events)
        self._same(held, draft)  # another one with this key may have come first
        return held

    async def get(self, key: str) -> Reservation:
        reservation = await self._books.reservations.get(key)
        if reservation is None:
            raise NotFound(what="reservation", key=key)
        return reservation

    async def release(self, key: str, reason: str) -> Reservation:
        """A repeat changes nothing. Raises NotFound, StateConflict (an order holds it)."""
        stored = await self.get(key)
        if stored.state == "released":
            return stored
        if stored.owner.type == "order" and await self._books.orders.get(stored.owner.id) is not None:
            raise StateConflict(what="reservation", key=key, state=stored.state, why="an order holds it; cancel the order")
        released = msgspec.structs.replace(stored, state="released", release_reason=reason, version=stored.version + 1)
        return await self._books.reservations.change(key, "released", self._now(), (self._event(released),), reason=reason)

    async def expire(self, limit: int = 500) -> int:
        """Marks overdue holds; they stopped counting when they expired."""
        return len(await self._books.reservations.expire(self._now(), limit))

    def _same(self, stored: Reservation, draft: ReservationDraft) -> None:
        for name in ("sku", "location_id", "quantity", "owner"):
            if getattr(stored, name) != getattr(draft, name):
                raise InvalidBody(
                    where="/reservationKey", expected="a key of its own for each reservation", got=f"one that holds another {name}"
                )

    def _event(self, reservation: Reservation) -> Event:
        flight = current()
        return Event(
            id=new_id("evt"),
            source=self._source,
            type="io.tillgate.reservation.state_changed.v1",
            time=self._now(),
            subject=f"reservations/{reservation.reservation_key}",
            data=msgspec.to_builtins(reservation),
            traceparent=flight.traceparent if flight else None,
        )

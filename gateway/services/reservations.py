"""Holding stock for carts: a conditional write in our own book, against the figures of the owning system."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from contracts.books import Books
from contracts.call import Call
from contracts.canonical.reservation import Reservation, ReservationDraft
from contracts.errors import InvalidBody, NotFound
from contracts.events import Event
from contracts.ports import SkuAt
from gateway.services.availability import AvailabilityReader
from gateway.services.clock import Now, new_id
from observability import current


class Reservations:
    def __init__(self, availability: AvailabilityReader, books: Books, source: str, now: Now) -> None:
        self._availability = availability
        self._books = books
        self._source = source
        self._now = now

    async def hold(self, draft: ReservationDraft, call: Call) -> Reservation:
        """A repeat with the same key changes nothing. Raises InsufficientStock, NotFound, UpstreamError."""
        if draft.quantity.amount <= 0:
            raise InvalidBody(where="/quantity/value", expected="more than 0", got=draft.quantity.value)
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
        return await self._books.reservations.hold(reservation, stock.free_before_holds, stock.as_of, now, events)

    async def get(self, key: str) -> Reservation:
        reservation = await self._books.reservations.get(key)
        if reservation is None:
            raise NotFound(what="reservation", key=key)
        return reservation

    async def release(self, key: str, reason: str) -> Reservation:
        """Raises NotFound, StateConflict (an order holds it)."""
        stored = await self.get(key)
        if stored.state == "released":
            return stored
        released = msgspec.structs.replace(stored, state="released", release_reason=reason)
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

"""Holding stock for carts: a conditional write in our own book, against the figures of the owning system."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal

import msgspec

from contracts.books import Books, require_version
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
        own = _own(draft.reservation_key, call)
        if (stored := await self._books.reservations.get(own)) is not None:
            self._same(stored, draft)
            return _shown(stored, call)
        pair = SkuAt(sku=draft.sku, location_id=draft.location_id)
        stock = await self._availability.free_for_hold(pair, call)
        if stock is None:
            raise NotFound(what="stock of", key=f"{draft.sku} at {draft.location_id}")
        if draft.quantity.unit != stock.unit:
            raise InvalidBody(where="/quantity/unit", expected=stock.unit, got=draft.quantity.unit)
        now = self._now()
        reservation = Reservation(
            reservation_key=own,
            sku=draft.sku,
            location_id=draft.location_id,
            quantity=draft.quantity,
            owner=draft.owner,
            expires_at=now + timedelta(seconds=draft.hold_seconds),
            state="active",
        )
        events = (self._event(reservation, call),)
        held = await self._books.reservations.hold(reservation, stock.free_before_holds, stock.counted_since, now, events)
        self._same(held, draft)  # another one with this key may have come first
        return _shown(held, call)

    async def get(self, key: str, call: Call) -> Reservation:
        """Another channel's reservation is not found."""
        reservation = await self._books.reservations.get(_own(key, call))
        if reservation is None:
            raise NotFound(what="reservation", key=key)
        return _shown(reservation, call)

    async def release(
        self, key: str, reason: str, call: Call, *, expected: Collection[int] | None = None, repeated: bool = False
    ) -> Reservation:
        """From one of the versions `expected`, if given. A repeat changes nothing; one that is known to be `repeated` may find its own
        change where it expected a version before it (RFC 9110 §13.1.1). Raises NotFound, PreconditionFailed, StateConflict (an order
        holds it).
        """
        stored = await self.get(key, call)
        if stored.state == "released":
            if not repeated:
                require_version(expected, stored.version)
            return stored
        if stored.owner.type == "order" and await self._books.orders.get(stored.owner.id) is not None:
            raise StateConflict(what="reservation", key=key, state=stored.state, why="an order holds it; cancel the order")
        released = msgspec.structs.replace(stored, state="released", release_reason=reason, version=stored.version + 1)
        changed = await self._books.reservations.change(
            _own(key, call), "released", self._now(), (self._event(released, call),), reason=reason, expected=expected
        )
        return _shown(changed, call)

    async def expire(self, limit: int = 500) -> int:
        """Marks overdue holds; they stopped counting when they expired."""
        return len(await self._books.reservations.expire(self._now(), limit))

    def _same(self, stored: Reservation, draft: ReservationDraft) -> None:
        for name in ("sku", "location_id", "quantity", "owner"):
            if getattr(stored, name) != getattr(draft, name):
                raise InvalidBody(
                    where="/reservationKey", expected="a key of its own for each reservation", got=f"one that holds another {name}"
                )

    def _event(self, reservation: Reservation, call: Call) -> Event:
        reservation = _shown(reservation, call)
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


def _own(key: str, call: Call) -> str:
    """Keys are the channel's own: two channels may use the same one, and neither meets the other's."""
    return f"{call.channel}--{key}"


def _shown(reservation: Reservation, call: Call) -> Reservation:
    return msgspec.structs.replace(reservation, reservation_key=reservation.reservation_key.removeprefix(_own("", call)))

"""Stock held for carts."""

from __future__ import annotations

from typing import Any

from contracts.canonical.amounts import Quantity
from contracts.canonical.answers import NoParameters, Release
from contracts.canonical.base import Key
from contracts.canonical.reservation import Reservation, ReservationDraft, ReservationOwner
from contracts.errors import InsufficientStock, NotFound, PreconditionFailed, StateConflict
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Link, Outcome
from gateway.edge.identity.scopes import may_see, require_store
from gateway.edge.preconditions import versions
from gateway.services.services import Services


async def create_reservation(ask: Ask[NoParameters, ReservationDraft], services: Services) -> Outcome:
    require_store(ask.client, ask.body.location_id)
    reservation = await services.reservations.hold(ask.body, ask.call)
    return Outcome(reservation, status=201, version=reservation.version, location=f"/reservations/{reservation.reservation_key}")


async def get_reservation(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    reservation = await _seen(ask, services)
    return Outcome(reservation, version=reservation.version)


async def release_reservation(ask: Ask[NoParameters, Release], services: Services) -> Outcome:
    await _seen(ask, services)
    expected = versions(ask.if_match)
    reservation = await services.reservations.release(ask.path["key"], ask.body.reason, ask.call, expected=expected, repeated=ask.repeated)
    return Outcome(reservation, version=reservation.version)


async def _seen(ask: Ask[NoParameters, Any], services: Services) -> Reservation:
    """For a client that is bound to stores, those of other stores are not there."""
    reservation = await services.reservations.get(ask.path["key"], ask.call)
    if not may_see(ask.client, [reservation.location_id]):
        raise NotFound(what="reservation", key=ask.path["key"])
    return reservation


_KEY = "$response.body#/reservationKey"
_READ = Link("getReservation", {"key": _KEY})
_RELEASE = Link("releaseReservation", {"key": _KEY, "If-Match": "$response.header.ETag"})

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="POST",
        path="/reservations",
        name="createReservation",
        summary="Hold stock for a cart; a repeat with the same reservationKey changes nothing",
        scope="reservations:write",
        answer=Reservation,
        handle=create_reservation,
        parameters=NoParameters,
        body=ReservationDraft,
        statuses=(201,),
        errors=(InsufficientStock, NotFound),
        idempotent_key=True,
        conditional=True,
        tag="Reservations",
        capabilities=(
            "inventory.levels",
            "sale.feed",
            "movement.feed",
            "level.feed",
        ),
        needs="fresh",
        example=ReservationDraft(
            reservation_key="cart-4711-1",
            sku="10000001",
            location_id="0001",
            quantity=Quantity("1", "EA"),
            owner=ReservationOwner(type="cart", id="cart-4711"),
        ),
        links=(_READ, _RELEASE),
    ),
    Endpoint(
        method="GET",
        path="/reservations/{key}",
        name="getReservation",
        summary="One reservation",
        scope="reservations:write",
        answer=Reservation,
        handle=get_reservation,
        parameters=NoParameters,
        path_parameters={"key": Key},
        errors=(NotFound,),
        conditional=True,
        tag="Reservations",
        links=(_RELEASE,),
    ),
    Endpoint(
        method="POST",
        path="/reservations/{key}/release",
        name="releaseReservation",
        summary="Give the stock back",
        scope="reservations:write",
        answer=Reservation,
        handle=release_reservation,
        parameters=NoParameters,
        path_parameters={"key": Key},
        body=Release,
        errors=(NotFound, StateConflict, PreconditionFailed),
        idempotent_key=True,
        conditional=True,
        tag="Reservations",
        example=Release(),
        links=(_READ,),
    ),
)

"""Reservations: units held for a cart or an order (canonical model §2 and §5)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Instant, Key, LocationId, Noun, Sku

ReservationState = Literal["active", "committed", "released", "expired"]


class ReservationOwner(Noun, frozen=True, kw_only=True):
    """One cart or one order, never both."""

    type: Literal["cart", "order"]
    id: Annotated[str, Meta(min_length=1, max_length=100)]


class ReservationDraft(Noun, frozen=True, kw_only=True):
    """What a channel asks for. A repeat with the same key changes nothing; keys are each channel's own."""

    reservation_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{2,200}$(?!\n)")]
    sku: Sku
    location_id: LocationId
    quantity: Quantity
    owner: ReservationOwner
    hold_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 900


class Reservation(Noun, frozen=True, kw_only=True):
    reservation_key: Key
    sku: Sku
    location_id: LocationId
    quantity: Quantity
    owner: ReservationOwner
    expires_at: Instant
    state: ReservationState
    release_reason: str | None = None
    version: int = 1

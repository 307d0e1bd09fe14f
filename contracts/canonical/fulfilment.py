"""Fulfilments: the part of an order given to one location by one method (canonical model §2)."""

from __future__ import annotations

from typing import Literal

from contracts.canonical.amounts import Quantity
from contracts.canonical.base import LocationId, Noun

FulfilmentMethod = Literal["delivery", "scheduled_delivery", "pickup_in_store", "collection_point", "pickup_dropoff"]
FulfilmentStatus = Literal["scheduled", "open", "on_hold", "in_progress", "incomplete", "closed", "cancelled"]


class FulfilmentLine(Noun, frozen=True, kw_only=True):
    line_number: int
    quantity: Quantity


class Fulfilment(Noun, frozen=True, kw_only=True):
    id: str
    method: FulfilmentMethod
    status: FulfilmentStatus
    lines: tuple[FulfilmentLine, ...] = ()
    location_id: LocationId | None = None
    carrier: str | None = None
    tracking_number: str | None = None

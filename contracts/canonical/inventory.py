"""Inventory levels, availability and its arithmetic's parts (canonical model §2 and §6)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Instant, LocationId, Noun, Provenance, Sku


class TillPosition(Noun, frozen=True, kw_only=True):
    """The last POS transaction of one till that is contained in a figure."""

    workstation_id: str
    business_date: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$(?!\n)")]
    sequence_number: int


class InventoryLevel(Noun, frozen=True, kw_only=True):
    """What a system says about one sku at one location. A missing figure is absent, never 0. Natural key (sku, locationId)."""

    sku: Sku
    location_id: LocationId
    on_hand: Quantity | None = None
    available: Quantity | None = None
    committed: Quantity | None = None
    reserved: Quantity | None = None
    incoming: Quantity | None = None
    damaged: Quantity | None = None
    quality_control: Quantity | None = None
    safety_stock: Quantity | None = None
    display_only: Quantity | None = None
    net_of: tuple[str, ...] = ()
    posted_through: tuple[TillPosition, ...] = ()
    as_of: Instant | None = None
    provenance: tuple[Provenance, ...] = ()

    @property
    def key(self) -> str:
        """Of a report: what makes a repeated one harmless."""
        return f"{self.location_id}/{self.sku}/{self.as_of.isoformat() if self.as_of else ''}"

    @property
    def contained(self) -> tuple[TillPosition, ...] | Instant:
        """Of a report: which sales are in its figure: up to the positions of the tills, where it tells them, else all before its moment; a
        moment that was still to come when it arrived holds none of what was sold in between.
        """
        if self.posted_through or self.as_of is None:
            return self.posted_through
        came = min((each.received_at for each in self.provenance), default=self.as_of)
        return min(self.as_of, came.astimezone(self.as_of.tzinfo))


class InventoryChange(Noun, frozen=True, kw_only=True):
    """How far the tills moved the stock of one sku at one location. Negative: goods went out."""

    sku: Sku
    location_id: LocationId
    change: Quantity


class MovementKey(Noun, frozen=True, kw_only=True):
    """What makes a repeated report harmless: its line, as whoever sent it counts them."""

    location_id: LocationId
    business_date: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$(?!\n)")]
    """The last day of what it sums up."""
    reference: Annotated[str, Meta(min_length=1, max_length=120)]

    def __str__(self) -> str:
        return f"{self.location_id}/{self.business_date}/{self.reference}"


class StockMovement(Noun, frozen=True, kw_only=True):
    """What moved the stock of one sku at one location, told as a sum without receipts: sales reports, product activity, goods movements.
    It is no sale and counts in no turnover (canonical model §3.2, §3.3)."""

    key: MovementKey
    sku: Sku
    change: Quantity
    """Negative: goods went out."""
    provenance: tuple[Provenance, ...] = ()


TermName = Literal["on_hand", "committed", "reserved", "damaged", "quality_control", "display_only", "pos_delta", "own_holds"]


class Term(Noun, frozen=True, kw_only=True):
    """One line of the arithmetic: `free` starts at the first term and each further one is added with its sign."""

    name: TermName
    quantity: Quantity
    """Signed: subtractions are negative."""
    source: str
    as_of: Instant | None = None


class Availability(Noun, frozen=True, kw_only=True):
    """What a channel may promise: `atp = max(0, free - safetyStock)`. With `?explain=true` the terms are listed."""

    sku: Sku
    location_id: LocationId
    available: Quantity
    on_hand: Quantity | None = None
    as_of: Instant
    stale: bool
    free: Quantity | None = None
    safety_stock: Quantity | None = None
    explanation: tuple[Term, ...] = ()
    provenance: tuple[Provenance, ...] = ()

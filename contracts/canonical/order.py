"""Orders with lines, payments and fulfilments, and what systems say about them (canonical model §2 and §5)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.address import Address
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.base import Email, ExternalId, Instant, LocationId, Name, Noun, Number, PersonalText, Provenance, Sku
from contracts.canonical.fulfilment import Fulfilment, FulfilmentMethod
from contracts.canonical.payment import Payment

OrderState = Literal["open", "confirmed", "complete", "cancelled"]
ShipmentState = Literal["pending", "ready", "partial", "shipped", "delivered", "backorder", "delayed", "cancelled"]
PaymentState = Literal["pending", "balance_due", "paid", "credit_owed", "failed"]
ExportState = Literal["not_exported", "ready", "exported", "failed"]
LineNumber = Annotated[int, Meta(ge=1, le=999_999)]


class OrderCustomer(Noun, frozen=True, kw_only=True):
    customer_number: Number | None = None
    email: Email | None = None
    name: PersonalText | None = None


class OrderLineDraft(Noun, frozen=True, kw_only=True):
    line_number: LineNumber
    sku: Sku
    quantity: Quantity
    unit_price: Money
    requested_location_id: LocationId
    fulfilment_method: FulfilmentMethod = "delivery"


class OrderDraft(Noun, frozen=True, kw_only=True):
    """What a channel sends. Each unit price is what the customer was shown; `payments` add up to the lines' total when given."""

    lines: Annotated[tuple[OrderLineDraft, ...], Meta(min_length=1, max_length=200)]
    customer: OrderCustomer | None = None
    purchase_order_number: Annotated[str, Meta(min_length=1, max_length=35)] | None = None
    shipping_address: Address | None = None
    payments: Annotated[tuple[Payment, ...], Meta(max_length=20)] = ()


class StateQuantity(Noun, frozen=True, kw_only=True):
    state: Literal["created", "approved", "allocated", "backordered", "completed", "rejected", "cancelled", "returned"]
    quantity: Quantity


class OrderLine(Noun, frozen=True, kw_only=True):
    line_number: LineNumber
    sku: Sku
    quantity: Quantity
    unit_price: Money
    total_price: Money
    requested_location_id: LocationId
    fulfilment_method: FulfilmentMethod
    name: Name | None = None
    state_quantities: tuple[StateQuantity, ...] = ()


class Order(Noun, frozen=True, kw_only=True):
    """`pendingWrite`: a step towards a system is open or in doubt; nothing is claimed that is not known."""

    id: str
    order_number: Number
    channel: str
    placed_at: Instant
    lines: tuple[OrderLine, ...]
    total_price: Money
    order_state: OrderState
    shipment_state: ShipmentState
    payment_state: PaymentState
    export_state: ExportState
    pending_write: bool
    version: int
    customer: OrderCustomer | None = None
    purchase_order_number: str | None = None
    shipping_address: Address | None = None
    payments: tuple[Payment, ...] = ()
    fulfilments: tuple[Fulfilment, ...] = ()
    external_ids: tuple[ExternalId, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class OrderReceipt(Noun, frozen=True, kw_only=True):
    """What a system answers to a written, found or cancelled order: its own number, and the total as it booked it."""

    external_id: str
    order_number: str | None = None
    """Our reference, as the system keeps it."""
    state: OrderState | None = None
    total_price: Money | None = None


class OrderProgress(Noun, frozen=True, kw_only=True):
    """How far the owning system is with an order."""

    external_id: str
    order_number: str | None = None
    order_state: OrderState
    shipment_state: ShipmentState
    fulfilments: tuple[Fulfilment, ...] = ()

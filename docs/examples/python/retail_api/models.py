"""What the API takes and gives, in the shapes of one version. A field that is None was not there: it is not known."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

CurrencyCode = Literal[
    "AED",
    "AFN",
    "ALL",
    "AMD",
    "AOA",
    "ARS",
    "AUD",
    "AWG",
    "AZN",
    "BAM",
    "BBD",
    "BDT",
    "BGN",
    "BHD",
    "BIF",
    "BMD",
    "BND",
    "BOB",
    "BRL",
    "BSD",
    "BTN",
    "BWP",
    "BYN",
    "BZD",
    "CAD",
    "CDF",
    "CHF",
    "CLP",
    "CNY",
    "COP",
    "CRC",
    "CUP",
    "CVE",
    "CZK",
    "DJF",
    "DKK",
    "DOP",
    "DZD",
    "EGP",
    "ERN",
    "ETB",
    "EUR",
    "FJD",
    "FKP",
    "GBP",
    "GEL",
    "GHS",
    "GIP",
    "GMD",
    "GNF",
    "GTQ",
    "GYD",
    "HKD",
    "HNL",
    "HTG",
    "HUF",
    "IDR",
    "ILS",
    "INR",
    "IQD",
    "IRR",
    "ISK",
    "JMD",
    "JOD",
    "JPY",
    "KES",
    "KGS",
    "KHR",
    "KMF",
    "KPW",
    "KRW",
    "KWD",
    "KYD",
    "KZT",
    "LAK",
    "LBP",
    "LKR",
    "LRD",
    "LSL",
    "LYD",
    "MAD",
    "MDL",
    "MGA",
    "MKD",
    "MMK",
    "MNT",
    "MOP",
    "MRU",
    "MUR",
    "MVR",
    "MWK",
    "MXN",
    "MYR",
    "MZN",
    "NAD",
    "NGN",
    "NIO",
    "NOK",
    "NPR",
    "NZD",
    "OMR",
    "PAB",
    "PEN",
    "PGK",
    "PHP",
    "PKR",
    "PLN",
    "PYG",
    "QAR",
    "RON",
    "RSD",
    "RUB",
    "RWF",
    "SAR",
    "SBD",
    "SCR",
    "SDG",
    "SEK",
    "SGD",
    "SHP",
    "SLE",
    "SOS",
    "SRD",
    "SSP",
    "STN",
    "SVC",
    "SYP",
    "SZL",
    "THB",
    "TJS",
    "TMT",
    "TND",
    "TOP",
    "TRY",
    "TTD",
    "TWD",
    "TZS",
    "UAH",
    "UGX",
    "USD",
    "UYI",
    "UYU",
    "UZS",
    "VED",
    "VES",
    "VND",
    "VUV",
    "WST",
    "XAF",
    "XCD",
    "XOF",
    "XPF",
    "YER",
    "ZAR",
    "ZMW",
    "ZWG",
]
ExportState = Literal["exported", "failed", "not_exported", "ready"]
FulfilmentMethod = Literal["collection_point", "delivery", "pickup_dropoff", "pickup_in_store", "scheduled_delivery"]
FulfilmentStatus = Literal["cancelled", "closed", "in_progress", "incomplete", "on_hold", "open", "scheduled"]
ItemType = Literal["deposit", "fee", "gift_card", "other", "service", "stock"]
LineType = Literal["change", "deposit", "discount", "loyalty", "other", "return", "rounding", "sale", "tax", "tender"]
LocationType = Literal["collection_point", "dark_store", "store", "supplier", "virtual", "warehouse"]
OrderState = Literal["cancelled", "complete", "confirmed", "open"]
PackLevel = Literal["case", "each", "inner", "pallet"]
PaymentDirection = Literal["in", "out"]
PaymentState = Literal["balance_due", "credit_owed", "failed", "paid", "pending"]
PriceType = Literal["invoice", "list", "minimum_advertised", "msrp", "regular", "sale", "srp", "strikethrough"]
ProvenanceVia = Literal["cache", "event", "file", "live"]
QuantityUnit = Literal["CMT", "CS", "EA", "GRM", "KGM", "LBR", "LTR", "MLT", "MTK", "MTR", "PF", "PK", "PR", "SET"]
ReservationOwnerType = Literal["cart", "order"]
ReservationState = Literal["active", "committed", "expired", "released"]
ShipmentState = Literal["backorder", "cancelled", "delayed", "delivered", "partial", "pending", "ready", "shipped"]
SoldBy = Literal["each", "length", "volume", "weight"]
StateQuantityState = Literal["allocated", "approved", "backordered", "cancelled", "completed", "created", "rejected", "returned"]
TenderType = Literal[
    "account",
    "card_credit",
    "card_debit",
    "cash",
    "cheque",
    "gift_card",
    "loyalty_points",
    "other",
    "store_credit",
    "voucher",
    "wallet",
]
TermName = Literal["committed", "damaged", "display_only", "on_hand", "own_holds", "pos_delta", "quality_control", "reserved"]
TimeQuality = Literal["ambiguous", "as_sent", "from_store_zone"]
TransactionType = Literal["control", "exchange", "post_void", "return", "sale", "tender_control"]


class SaleFlags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    training: bool = False
    cancelled: bool = False
    suspended: bool = False
    post_voided: bool = False
    offline: bool = False


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    country: str
    name: str | None = None
    street: str | None = None
    postal_code: str | None = None
    city: str | None = None
    region: str | None = None
    email: str | None = None
    phone: str | None = None


class Availability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a channel may promise: `atp = max(0, free - safetyStock)`. With `?explain=true` the terms are listed."""

    sku: str
    location_id: str
    available: Quantity
    on_hand: Quantity | None = None
    as_of: datetime
    """RFC 3339 with offset"""
    stale: bool
    free: Quantity | None = None
    safety_stock: Quantity | None = None
    explanation: tuple[Term, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class Cancellation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    reason: str


class Customer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    customer_number: str
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None
    phone: str | None = None
    locale: str | None = None
    addresses: tuple[Address, ...] = ()
    is_guest: bool = False
    merged_into: str | None = None
    external_ids: tuple[ExternalId, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class ExternalId(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The id of a resource in one system behind the gateway."""

    system: str
    external_id: str


class Fulfilment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    id: str
    method: FulfilmentMethod
    status: FulfilmentStatus
    lines: tuple[FulfilmentLine, ...] = ()
    location_id: str | None = None
    carrier: str | None = None
    tracking_number: str | None = None


class FulfilmentLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    line_number: int
    quantity: Quantity


class Inventory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    items: tuple[Availability, ...]
    missing: tuple[Missing, ...] = ()


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Natural key `number`. Without `timeZone` no sale is accepted from there."""

    number: str
    type: LocationType
    name: str
    active: bool
    address: Address | None = None
    time_zone: str | None = None
    currency_code: str | None = None
    gln: str | None = None
    capabilities: tuple[str, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class Locations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    items: tuple[Location, ...]
    missing: tuple[Missing, ...] = ()


class Missing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A part that is not in the answer: `code` says why (problem catalogue), `keys` what it concerns."""

    code: str
    keys: tuple[str, ...] = ()


class Money(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An amount in the smallest unit of its currency: `{"centAmount": 1299, "currencyCode": "EUR", "fractionDigits": 2}`."""

    cent_amount: int
    currency_code: CurrencyCode
    fraction_digits: int


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`pendingWrite`: a step towards a system is open or in doubt; nothing is claimed that is not known."""

    id: str
    order_number: str
    channel: str
    placed_at: datetime
    """RFC 3339 with offset"""
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


class OrderCustomer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    customer_number: str | None = None
    email: str | None = None
    name: str | None = None


class OrderDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a channel sends. Each unit price is what the customer was shown; `payments` add up to the lines' total when given."""

    lines: tuple[OrderLineDraft, ...]
    customer: OrderCustomer | None = None
    purchase_order_number: str | None = None
    shipping_address: Address | None = None
    payments: tuple[Payment, ...] = ()


class OrderLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    line_number: int
    sku: str
    quantity: Quantity
    unit_price: Money
    total_price: Money
    requested_location_id: str
    fulfilment_method: FulfilmentMethod
    name: str | None = None
    state_quantities: tuple[StateQuantity, ...] = ()


class OrderLineDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    line_number: int
    sku: str
    quantity: Quantity
    unit_price: Money
    requested_location_id: str
    fulfilment_method: FulfilmentMethod = "delivery"


class OrderParts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What `expand` brings along with orders, as other routes would answer it. `missing` names the parts that are not there."""

    products: Products | None = None
    customer: Customer | None = None
    missing: tuple[Missing, ...] = ()


class Orders(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    items: tuple[Order, ...]


class PackGtin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    gtin: str
    pack_level: PackLevel = "each"
    base_quantity: str | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Card numbers never enter: the last four digits and a token survive."""

    payment_id: str
    tender_type: TenderType
    amount_planned: Money
    direction: PaymentDirection = "in"
    is_change: bool = False
    last4: str | None = None
    token: str | None = None
    psp_reference: str | None = None
    source_code: str | None = None


class PosSale(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One transaction of one till, as it was written; `countsAsSale` is computed in one place (`counts_as_sale`)."""

    key: SaleKey
    transaction_type: TransactionType
    begin_at: datetime
    """RFC 3339 with offset"""
    currency_code: str
    lines: tuple[SaleLine, ...]
    totals: SaleTotals | None = None
    tenders: tuple[Payment, ...] = ()
    tax: tuple[SaleTax, ...] = ()
    end_at: datetime | None = None
    """RFC 3339 with offset"""
    store_time_zone: str | None = None
    time_quality: TimeQuality = "as_sent"
    operator_id: str | None = None
    receipt_number: str | None = None
    till_id: str | None = None
    flags: SaleFlags = msgspec.field(default_factory=SaleFlags)
    links: tuple[SaleLink, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One price row: `value` for `per` units, valid from `validFrom` (included) until `validUntil` (excluded)."""

    sku: str
    price_type: PriceType
    value: Money
    per: Quantity
    tax_included: bool
    country: str | None = None
    location_id: str | None = None
    channel: str | None = None
    valid_from: datetime | None = None
    """RFC 3339 with offset"""
    valid_until: datetime | None = None
    """RFC 3339 with offset"""
    provenance: tuple[Provenance, ...] = ()


class Prices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    items: tuple[Price, ...]
    missing: tuple[Missing, ...] = ()


class Product(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A sellable variant. Natural key `sku`. GTINs are returned unpadded; they compare as 14 digits."""

    sku: str
    name: dict[str, str]
    base_unit: QuantityUnit
    active: bool
    description: dict[str, str] | None = None
    brand: str | None = None
    category_path: tuple[str, ...] = ()
    gtins: tuple[PackGtin, ...] = ()
    sold_by: SoldBy | None = None
    tax_class: str | None = None
    restrictions: tuple[str, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class ProductParts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What `expand` brings along with products, as other routes would answer it. `missing` names the parts that are not there."""

    prices: Prices | None = None
    inventory: Inventory | None = None
    missing: tuple[Missing, ...] = ()


class Products(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    items: tuple[Product, ...]
    missing: tuple[Missing, ...] = ()


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Where a statement comes from and how old it is. `part` names the part of a merged resource."""

    source_system: str
    as_of: datetime
    """RFC 3339 with offset"""
    received_at: datetime
    """RFC 3339 with offset"""
    via: ProvenanceVia
    source_record: str | None = None
    mapping_version: str | None = None
    part: str | None = None
    stale: bool = False


class Quantity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`{"value": "2", "unit": "EA"}`: a decimal string of at most 15 digits before and 6 after the point."""

    value: str
    unit: QuantityUnit


class Release(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    reason: str = "owner_removed"


class Reservation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    reservation_key: str
    sku: str
    location_id: str
    quantity: Quantity
    owner: ReservationOwner
    expires_at: datetime
    """RFC 3339 with offset"""
    state: ReservationState
    release_reason: str | None = None
    version: int = 1


class ReservationDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a channel asks for. A repeat with the same key changes nothing; keys are each channel's own."""

    reservation_key: str
    sku: str
    location_id: str
    quantity: Quantity
    owner: ReservationOwner
    hold_seconds: int = 900


class ReservationOwner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One cart or one order, never both."""

    type: ReservationOwnerType
    id: str


class SaleDiscount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    amount: Money
    promotion_id: str | None = None
    reason: str | None = None


class SaleKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The ARTS alternate key: unique for ever, and what makes a repeated file harmless."""

    store_number: str
    workstation_id: str
    business_date: str
    sequence_number: int


class SaleLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`units` counts and is positive; the line's type carries the direction (`return` brings goods back)."""

    line_number: int
    line_type: LineType
    extended_amount: Money
    item_type: ItemType = "stock"
    item_id: str | None = None
    pos_item_id: str | None = None
    gtin: str | None = None
    units: Quantity | None = None
    measure: Quantity | None = None
    regular_unit_price: UnitPrice | None = None
    actual_unit_price: UnitPrice | None = None
    discounts: tuple[SaleDiscount, ...] = ()
    entry_method: str | None = None
    voided: bool = False
    voids_line: int | None = None


class SaleLink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`type` is open: return_of, voids, resumes, pickup_of."""

    type: str
    sale_key: SaleKey
    line_number: int | None = None


class SaleParts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What `expand` brings along with sales, as other routes would answer it. `missing` names the parts that are not there."""

    products: Products | None = None
    missing: tuple[Missing, ...] = ()


class SaleTax(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    rate: str
    amount: Money
    taxable_amount: Money | None = None
    included: bool = True


class SaleTotals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    grand: Money
    gross: Money | None = None
    net: Money | None = None
    tax: Money | None = None
    rounding: Money | None = None


class Sales(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    items: tuple[PosSale, ...]


class StateQuantity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    state: StateQuantityState
    quantity: Quantity


class Term(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One line of the arithmetic: `free` starts at the first term and each further one is added with its sign."""

    name: TermName
    quantity: Quantity
    source: str
    as_of: datetime | None = None
    """RFC 3339 with offset"""


class UnitPrice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A price with more digits than its currency (fuel, weighed goods): `preciseAmount` / 10 ** `fractionDigits`."""

    precise_amount: int
    fraction_digits: int
    currency_code: CurrencyCode


class ExpandedOrder(Order, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`pendingWrite`: a step towards a system is open or in doubt; nothing is claimed that is not known."""

    expanded: OrderParts | None = None
    """Only where `expand` asks for it."""


class ExpandedOrders(Orders, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    expanded: OrderParts | None = None
    """Only where `expand` asks for it."""


class ExpandedProduct(Product, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A sellable variant. Natural key `sku`. GTINs are returned unpadded; they compare as 14 digits."""

    expanded: ProductParts | None = None
    """Only where `expand` asks for it."""


class ExpandedProducts(Products, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    expanded: ProductParts | None = None
    """Only where `expand` asks for it."""


class ExpandedSales(Sales, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    expanded: SaleParts | None = None
    """Only where `expand` asks for it."""

"""What travels to and from the order management system, as its OpenAPI document says it."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

State = Literal["NEW", "ACCEPTED", "PICKING", "PACKED", "DISPATCHED", "DONE", "CANCELLED", "ON_HOLD"]
CancelReason = Literal["CUSTOMER", "NO_STOCK", "PAYMENT", "FRAUD", "OTHER"]
HoldReason = Literal["FRAUD_CHECK", "PAYMENT_REVIEW", "ADDRESS_CHECK", "MANUAL"]
Millis = Annotated[int, Meta(ge=0, le=253402300799999)]
PosNo = Annotated[int, Meta(ge=1, le=9999)]
Site = Annotated[str, Meta(min_length=1, max_length=10, pattern=r"^[0-9A-Z]+$(?!\n)")]
CustomerNo = Annotated[str, Meta(max_length=20)]
Mail = Annotated[str, Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$(?!\n)")]
ClientRef = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$(?!\n)")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
Text12 = Annotated[str, Meta(max_length=12)]
Text30 = Annotated[str, Meta(max_length=30)]
Text64 = Annotated[str, Meta(max_length=64)]
Text80 = Annotated[str, Meta(max_length=80)]
Text120 = Annotated[str, Meta(max_length=120)]
Text200 = Annotated[str, Meta(max_length=200)]


class _Wire(msgspec.Struct, rename="camel"):
    pass


class Money(_Wire, forbid_unknown_fields=True):
    amount: Annotated[str, Meta(pattern=r"^-?[0-9]{1,12}\.[0-9]{2}$(?!\n)")]
    ccy: Currency


class Buyer(_Wire):
    no: CustomerNo | UnsetType = UNSET
    mail: Mail | UnsetType = UNSET
    name: Text120 | UnsetType = UNSET


class Address(_Wire, kw_only=True):
    name: Text120
    street: Text120
    street2: Text120 | UnsetType = UNSET
    post_code: Text12
    city: Text80
    country_code: Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)")]
    phone: Text30 | UnsetType = UNSET


class Position(_Wire):
    pos: PosNo
    article_no: Annotated[str, Meta(pattern=r"^[1-9A-Z][0-9A-Z-]{0,17}$(?!\n)")]
    qty: Decimal
    uom: Literal["PCE", "KGM"]
    unit_price: Money
    line_total: Money
    site: Site | UnsetType = UNSET

    def __post_init__(self) -> None:
        # Asked before any arithmetic: a few bytes such as 1e1000000 are a number of a million digits.
        if not self.qty.is_finite() or not -3 <= self.qty.adjusted() <= 4 or self.qty % Decimal("0.001"):
            raise ValueError(f"Expected a quantity of 0.001 to 99999 with at most three decimals, got {self.qty:.6g}")
        if self.qty <= 0:
            raise ValueError("Expected a quantity above 0")


class Payment(_Wire):
    method: Literal["CARD", "CASH", "GIFT", "INVOICE", "WALLET"]
    amount: Money
    psp_ref: Text64 | UnsetType = UNSET
    last4: Annotated[str, Meta(pattern=r"^[0-9]{4}$(?!\n)")] | UnsetType = UNSET


class Delivery(_Wire):
    mode: Literal["HOME", "CLICK_COLLECT"]
    site: Site | UnsetType = UNSET


class NewOrder(_Wire, kw_only=True):
    client_ref: ClientRef
    sales_channel: Literal["WEB", "APP", "SHOP", "PHONE", "MKTPL"]
    placed_utc: Millis
    buyer: Buyer
    ship_to: Address | UnsetType = UNSET
    positions: Annotated[list[Position], Meta(min_length=1, max_length=200)]
    grand_total: Money
    payments: Annotated[list[Payment], Meta(max_length=10)]
    delivery: Delivery

    @property
    def sites(self) -> set[str]:
        return {site for site in (self.delivery.site, *(p.site for p in self.positions)) if isinstance(site, str)}


class Order(NewOrder, kw_only=True):
    """One revision of an order. A change makes a new one."""

    order_no: str
    state: State
    changed_utc: Millis
    rev: int
    hold_reason: HoldReason | UnsetType = UNSET
    cancel_reason: CancelReason | UnsetType = UNSET


class CancelOrder(_Wire):
    reason: CancelReason
    note: Text200 | UnsetType = UNSET


class OrderPage(_Wire):
    items: list[Order]
    next_cursor: str | UnsetType = UNSET


class PackedPosition(_Wire):
    pos: int
    qty: Decimal


class Parcel(_Wire, kw_only=True):
    parcel_no: str
    carrier: str
    tracking_no: str
    sscc: str
    state: Literal["LABELLED", "HANDED_OVER", "DELIVERED"]
    site: str
    dispatched_utc: Millis | UnsetType = UNSET
    delivered_utc: Millis | UnsetType = UNSET
    positions: list[PackedPosition]


class Shipments(_Wire):
    order_no: str
    parcels: list[Parcel]


class PersonName(_Wire):
    last: str
    first: str | UnsetType = UNSET


class UsedAddress(_Wire):
    use: Literal["BILL", "SHIP"]
    address: Address


class OptIn(_Wire):
    purpose: str
    granted: bool
    since_utc: Millis


class Customer(_Wire, kw_only=True):
    no: str
    mail: str | UnsetType = UNSET
    name: PersonName
    phone: str | UnsetType = UNSET
    lang: str
    group: str | UnsetType = UNSET
    addresses: list[UsedAddress]
    opt_ins: list[OptIn]


class Error(_Wire):
    """The body of every refusal."""

    code: Literal[
        "BAD_KEY", "BAD_REQUEST", "BAD_CURSOR", "NOT_FOUND", "DUPLICATE_REF", "ALREADY_DISPATCHED", "UNKNOWN_ARTICLE",
        "NO_POSITIONS", "INVALID", "BODY_TOO_LARGE", "NOT_JSON", "TOO_MANY_CALLS", "INTERNAL", "UNAVAILABLE",
    ]  # fmt: skip
    message: str
    field: str | UnsetType = UNSET
    order_no: str | UnsetType = UNSET

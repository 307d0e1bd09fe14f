"""POS sales with lines, tenders and flags (canonical model §2 and §4; ARTS POSLog)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.amounts import CurrencyCode, Money, Quantity, UnitPrice
from contracts.canonical.base import Instant, LocationId, Noun, PersonalText, Provenance, Sku
from contracts.canonical.payment import Payment

TransactionType = Literal["sale", "return", "exchange", "post_void", "tender_control", "control"]
LineType = Literal["sale", "return", "discount", "tax", "tender", "change", "loyalty", "deposit", "rounding", "other"]
BusinessDate = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$(?!\n)", examples=["2026-03-11"])]


class SaleKey(Noun, frozen=True, kw_only=True):
    """The ARTS alternate key: unique for ever, and what makes a repeated file harmless."""

    store_number: LocationId
    workstation_id: Annotated[str, Meta(min_length=1, max_length=20)]
    business_date: BusinessDate
    sequence_number: Annotated[int, Meta(ge=0, le=10**12)]

    def __str__(self) -> str:
        return f"{self.store_number}/{self.workstation_id}/{self.business_date}/{self.sequence_number}"


class SaleFlags(Noun, frozen=True, kw_only=True):
    training: bool = False
    cancelled: bool = False
    suspended: bool = False
    post_voided: bool = False
    offline: bool = False


class SaleTotals(Noun, frozen=True, kw_only=True):
    grand: Money
    gross: Money | None = None
    net: Money | None = None
    tax: Money | None = None
    rounding: Money | None = None


class SaleDiscount(Noun, frozen=True, kw_only=True):
    amount: Money
    promotion_id: str | None = None
    reason: str | None = None


class SaleTax(Noun, frozen=True, kw_only=True):
    rate: str
    amount: Money
    taxable_amount: Money | None = None
    included: bool = True


class SaleLink(Noun, frozen=True, kw_only=True):
    """`type` is open: return_of, voids, resumes, pickup_of."""

    type: str
    sale_key: SaleKey
    line_number: int | None = None


class SaleLine(Noun, frozen=True, kw_only=True):
    """`units` counts and is positive; the line's type carries the direction (`return` brings goods back)."""

    line_number: Annotated[int, Meta(ge=0, le=999_999)]
    line_type: LineType
    extended_amount: Money
    item_type: Literal["stock", "service", "gift_card", "deposit", "fee", "other"] = "stock"
    item_id: Sku | None = None
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


class PosSale(Noun, frozen=True, kw_only=True):
    """One transaction of one till, as it was written; `countsAsSale` is computed in one place (`counts_as_sale`)."""

    key: SaleKey
    transaction_type: TransactionType
    begin_at: Instant
    currency_code: CurrencyCode
    lines: tuple[SaleLine, ...]
    totals: SaleTotals | None = None
    tenders: tuple[Payment, ...] = ()
    tax: tuple[SaleTax, ...] = ()
    end_at: Instant | None = None
    store_time_zone: str | None = None
    time_quality: Literal["as_sent", "from_store_zone", "ambiguous"] = "as_sent"
    operator_id: PersonalText | None = None
    receipt_number: str | None = None
    till_id: str | None = None
    flags: SaleFlags = SaleFlags()
    links: tuple[SaleLink, ...] = ()
    provenance: tuple[Provenance, ...] = ()

    @property
    def counts_as_sale(self) -> bool:
        """Retail transaction, and neither training nor cancelled nor suspended. A post-void counts with reversed sign."""
        retail = self.transaction_type in ("sale", "return", "exchange", "post_void")
        return retail and not (self.flags.training or self.flags.cancelled or self.flags.suspended)

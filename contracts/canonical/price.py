"""Prices (canonical model §2; commercetools Price, ARTS RetailPriceModifier)."""

from __future__ import annotations

from typing import Literal

from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.base import Country, Instant, LocationId, Noun, Provenance, Sku

PriceType = Literal["list", "regular", "sale", "msrp", "srp", "minimum_advertised", "invoice", "strikethrough"]


class Price(Noun, frozen=True, kw_only=True):
    """One price row: `value` for `per` units, valid from `validFrom` (included) until `validUntil` (excluded)."""

    sku: Sku
    price_type: PriceType
    value: Money
    per: Quantity
    tax_included: bool
    country: Country | None = None
    location_id: LocationId | None = None
    channel: str | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    provenance: tuple[Provenance, ...] = ()

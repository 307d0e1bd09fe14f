"""The published versions and their changes, newest first. To break the API: change the type, add one class here, regenerate."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from contracts.canonical.amounts import CURRENCIES, CurrencyCode, Money, Quantity
from contracts.canonical.base import Instant, LocationId, Noun, Provenance, Sku
from contracts.canonical.inventory import Availability, Term
from contracts.versions.change import Change, Plain, Version, VersionHistory


class OldMoney(Noun, frozen=True, kw_only=True):
    amount: str
    currency: CurrencyCode


class MoneyInTheSmallestUnit(Change):
    """Amounts are integers in the currency's smallest unit, `{"centAmount": 1299, "currencyCode": "EUR", "fractionDigits": 2}`;
    before, they were decimal strings, `{"amount": "12.99", "currency": "EUR"}`.
    """

    of = Money
    old = OldMoney

    @staticmethod
    def down(value: Plain) -> Plain:
        return {"amount": str(Decimal(value["centAmount"]).scaleb(-value["fractionDigits"])), "currency": value["currencyCode"]}

    @staticmethod
    def up(value: Plain) -> Plain:
        unknown = value.keys() - {"amount", "currency"}
        if unknown:
            raise ValueError(f"expected only amount and currency, got {min(map(str, unknown))[:40]!r}")
        amount, currency = value.get("amount"), value.get("currency")
        if not isinstance(amount, str) or not isinstance(currency, str) or len(amount) > 20 or set(amount) - set("-0123456789."):
            raise ValueError('expected an amount such as {"amount": "12.99", "currency": "EUR"}')
        if currency not in CURRENCIES:
            raise ValueError(f"expected an ISO 4217 currency code, got {currency[:10]!r}")
        try:
            return msgspec.to_builtins(Money.of(Decimal(amount), currency))  # type: ignore[no-any-return]  # a Struct becomes a dict
        except InvalidOperation:
            raise ValueError(f"expected a decimal amount, got {amount!r}") from None


class OldAvailability(Noun, frozen=True, kw_only=True):
    sku: Sku
    store_id: LocationId
    available: Quantity
    on_hand: Quantity | None = None
    as_of: Instant
    stale: bool
    free: Quantity | None = None
    safety_stock: Quantity | None = None
    explanation: tuple[Term, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class StockLivesAtLocations(Change):
    """Availability names its place `locationId` and is asked for with `?location=`, since warehouses hold stock too;
    before, the field was `storeId` and the parameter `?store=`.
    """

    of = Availability
    old = OldAvailability
    parameters = {"location": "store"}  # noqa: RUF012  # read only, declared as a Mapping in the base class

    @staticmethod
    def down(value: Plain) -> Plain:
        return {("storeId" if k == "locationId" else k): v for k, v in value.items()}

    @staticmethod
    def up(value: Plain) -> Plain:
        return {("locationId" if k == "storeId" else k): v for k, v in value.items()}


HISTORY = VersionHistory(
    (
        Version("2026-10-01", "Amounts in the smallest unit of their currency.", (MoneyInTheSmallestUnit,)),
        Version("2026-03-01", "Stock lives at locations, not only at stores.", (StockLivesAtLocations,)),
        Version(
            "2025-09-01",
            "First published version.",
            deprecated=datetime(2026, 10, 1, tzinfo=UTC),
            sunset=datetime(2027, 9, 30, 23, 59, 59, tzinfo=UTC),
        ),
    )
)

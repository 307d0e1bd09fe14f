"""The published versions and their changes, newest first. To break the API: change the type, add one class here, regenerate."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts import errors
from contracts.canonical.amounts import CURRENCIES, CurrencyCode, Money, Quantity
from contracts.canonical.base import Instant, LocationId, Noun, Provenance, Sku
from contracts.canonical.inventory import Availability, Term
from contracts.problem import Mistake, Problem
from contracts.versions.change import Change, Former, Misshapen, Plain, ProblemChange, Version
from contracts.versions.conversion import VersionHistory


class OldMoney(Noun, frozen=True, kw_only=True):
    amount: Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,3})?$(?!\n)", examples=["12.99"])]
    currency: CurrencyCode


class MoneyInTheSmallestUnit(Change):
    """Amounts are integers in the currency's smallest unit, with the number of its decimals; before, they were decimal strings."""

    of = Money
    old = OldMoney
    renamed = {"centAmount": "amount", "currencyCode": "currency"}  # noqa: RUF012  # read only, as the base class declares it
    example = Money(1299, "EUR", 2)

    @classmethod
    def down(cls, value: Plain) -> Plain:
        return {"amount": f"{Decimal(value['centAmount']).scaleb(-value['fractionDigits']):f}", "currency": value["currencyCode"]}

    @classmethod
    def up(cls, value: Plain) -> Plain:
        try:
            old = msgspec.convert(value, OldMoney)
        except msgspec.ValidationError as exc:
            raise Misshapen('an amount such as {"amount": "12.99", "currency": "EUR"}', str(exc)[:100]) from None
        if old.currency not in CURRENCIES:
            raise Misshapen("an ISO 4217 currency code", repr(old.currency), "currency")
        try:
            return msgspec.to_builtins(Money.of(Decimal(old.amount), old.currency))  # type: ignore[no-any-return]  # a Struct becomes a dict
        except ValueError:
            raise Misshapen(
                f"a moderate amount with at most {CURRENCIES[old.currency]} decimals for {old.currency}", old.amount, "amount"
            ) from None


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
    renamed = {"locationId": "storeId"}  # noqa: RUF012  # read only, as the base class declares it
    parameters = {"location": "store"}  # noqa: RUF012  # read only
    example = Availability(
        sku="10000001", location_id="0017", available=Quantity("3", "EA"), as_of=datetime(2026, 3, 2, 8, tzinfo=UTC), stale=False
    )


def _as(error: type[errors.TillgateError]) -> Former:
    """As what is wider than it, and still there for the rest."""
    return Former(error.code, error.title, error.status, error.advice)


class EachMistakeIsAProblemOfItsOwn(ProblemChange):
    """Mistakes in a request have a code and a type for each kind, such as `unknown_parameter` or `invalid_member`;
    before, all were `bad_request` (400) or `unprocessable` (422).
    """

    codes = {  # noqa: RUF012  # read only
        **dict.fromkeys(
            ("malformed_query", "unknown_parameter", "invalid_parameter", "invalid_cursor", "invalid_header", "malformed_json"),
            _as(errors.InvalidRequest),
        ),
        "invalid_member": _as(errors.InvalidBody),
    }
    example = Problem(
        type="/problems/invalid_member",
        title=errors.InvalidMember.title,
        status=422,
        detail="/lines/0/sku: expected a text, got an integer",
        code="invalid_member",
        fault="caller",
        retryable=False,
        advice=errors.InvalidMember.advice,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        errors=(Mistake(pointer="/lines/0/sku", expected="a text", got="an integer"),),
    )


EXPANSION = (
    "`?expand=` brings along what a caller would ask for next: prices and availability of products, the products of orders and sales, the"
    " customer of an order."
)

HISTORY = VersionHistory(
    (
        Version(
            "2026-10-01",
            "Amounts in the smallest unit of their currency.",
            (MoneyInTheSmallestUnit, EachMistakeIsAProblemOfItsOwn),
            (EXPANSION,),
        ),
        Version("2026-03-01", "Stock lives at locations, not only at stores.", (StockLivesAtLocations,)),
        Version(
            "2025-09-01",
            "First published version.",
            deprecated=datetime(2026, 10, 1, tzinfo=UTC),
            sunset=datetime(2027, 9, 30, 23, 59, 59, tzinfo=UTC),
        ),
    )
)

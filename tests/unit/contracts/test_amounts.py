"""Money, unit prices and quantities refuse what is no amount, before anything is computed with it."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.canonical.amounts import CURRENCIES, MAX_CENTS, UNITS, Money, Quantity, UnitPrice

ABSURD = ["NaN", "sNaN", "Infinity", "-Infinity", "1e1000000", "1e-1000000", "1e400"]


@pytest.mark.parametrize("text", ABSURD)
@pytest.mark.parametrize("make", [Money.of, Money.rounded, UnitPrice.of])
def test_a_number_that_is_none_or_absurd_makes_no_amount(make, text):
    with pytest.raises(ValueError, match="expected"):
        make(Decimal(text), "EUR")


@pytest.mark.parametrize("text", ABSURD)
def test_a_number_that_is_none_or_absurd_makes_no_quantity(text):
    with pytest.raises(ValueError, match="expected"):
        Quantity.of(Decimal(text), "EA")


@pytest.mark.parametrize(
    ("amount", "currency", "cents"), [("12.34", "EUR", 1234), ("1500", "JPY", 1500), ("1.234", "KWD", 1234), ("-0.05", "EUR", -5)]
)
def test_money_counts_the_smallest_unit_of_its_currency(amount, currency, cents):
    money = Money.of(Decimal(amount), currency)
    assert (money.cent_amount, money.amount) == (cents, Decimal(amount))


@pytest.mark.parametrize(("amount", "currency"), [("12.345", "EUR"), ("0.5", "JPY"), ("1.2345", "KWD")])
def test_more_digits_than_the_currency_has_are_refused_and_rounding_is_a_decision(amount, currency):
    with pytest.raises(ValueError, match="decimals for"):
        Money.of(Decimal(amount), currency)
    assert Money.rounded(Decimal(amount), currency).currency_code == currency


@pytest.mark.parametrize(("mode", "cents"), [("half_even", 12), ("half_up", 13), ("half_down", 12)])
def test_half_a_cent_goes_where_the_mode_says(mode, cents):
    assert Money.rounded(Decimal("0.125"), "EUR", mode).cent_amount == cents


@pytest.mark.parametrize("code", ["XXX", "XTS", "eur", "EURO", "", "E\n"])
def test_a_code_that_is_no_currency_is_refused(code):
    with pytest.raises(ValueError, match="ISO 4217"):
        Money.zero(code)


@pytest.mark.parametrize(
    "text",
    [
        '{"centAmount": 1, "currencyCode": "EUR", "fractionDigits": 3}',
        '{"centAmount": 1, "currencyCode": "JPY", "fractionDigits": 2}',
        '{"centAmount": 1.5, "currencyCode": "EUR", "fractionDigits": 2}',
        '{"centAmount": "1", "currencyCode": "EUR", "fractionDigits": 2}',
        '{"centAmount": true, "currencyCode": "EUR", "fractionDigits": 2}',
        '{"centAmount": 1e3000, "currencyCode": "EUR", "fractionDigits": 2}',
        f'{{"centAmount": {MAX_CENTS + 1}, "currencyCode": "EUR", "fractionDigits": 2}}',
        '{"centAmount": 1, "currencyCode": "EUR\\n", "fractionDigits": 2}',
        '{"centAmount": 1, "currencyCode": "XXX", "fractionDigits": 2}',
        '{"centAmount": 1, "currencyCode": "EUR", "fractionDigits": 2, "amount": "0.01"}',
    ],
)
def test_money_from_outside_with_a_wrong_scale_type_or_size_is_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Money)


@pytest.mark.parametrize("value", ["NaN", "1_000", "1e3", "+7", "007", " 1", "1 ", "1\n", ".5", "1.", "1.1234567", "1" * 16, "١", ""])
def test_a_quantity_from_outside_is_a_plain_decimal(value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"value": value, "unit": "EA"}), type=Quantity)
    with pytest.raises(ValueError, match="expected"):
        Quantity(value, "EA")


def test_a_unit_that_is_not_listed_is_refused():
    with pytest.raises(ValueError, match="UN/ECE"):
        Quantity("1", "PCE")  # type: ignore[arg-type]  # that is the test


def test_currencies_are_never_mixed():
    with pytest.raises(ValueError, match="never mixed"):
        _ = Money.zero("EUR") + Money.zero("USD")


def test_a_unit_price_keeps_its_digits_and_rounds_once_at_the_line():
    fuel = UnitPrice.of(Decimal("1.799"), "EUR")
    assert (fuel.precise_amount, fuel.fraction_digits) == (1799, 3)
    assert fuel.line_total(Decimal("10.01")) == Money(1801, "EUR", 2)


@given(
    st.sampled_from(sorted(CURRENCIES)),
    st.integers(-(10**14), 10**14),
    st.decimals(min_value=-(10**8), max_value=10**8, places=6),
    st.sampled_from(UNITS),
)
def test_what_goes_out_comes_back_the_same(currency, cents, amount, unit):
    money = Money(cents, currency, CURRENCIES[currency])
    assert msgspec.json.decode(msgspec.json.encode(money), type=Money) == money
    assert Money.of(money.amount, currency) == money
    quantity = Quantity.of(amount, unit)
    assert msgspec.json.decode(msgspec.json.encode(quantity), type=Quantity) == quantity
    assert quantity.amount == amount

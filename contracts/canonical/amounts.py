"""Money, unit prices and quantities: exact, bounded, never a float (canonical model §1)."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

RoundingMode = Literal["half_even", "half_up", "half_down"]
_ROUNDING = {"half_even": ROUND_HALF_EVEN, "half_up": ROUND_HALF_UP, "half_down": ROUND_HALF_DOWN}

MAX_CENTS = 10**15
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_TWO = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP "
    "DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD "
    "LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD "
    "SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
CURRENCIES: dict[str, int] = {code: digits for codes, digits in ((_ZERO, 0), (_TWO, 2), (_THREE, 3)) for code in codes.split()}
"""ISO 4217 code -> digits after the decimal point. Test and fund codes (XXX, XTS, …) are not money."""

CurrencyCode = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)", examples=["EUR"])]


def _digits(currency: str) -> int:
    try:
        return CURRENCIES[currency]
    except KeyError:
        raise ValueError(f"expected an ISO 4217 currency code, got {currency!r}") from None


def _finite(value: Decimal, most: int) -> Decimal:
    """Checked before anything is computed: `int(Decimal('1e1000000'))` would take the machine down."""
    if not value.is_finite():
        raise ValueError(f"expected a finite number, got {value}")
    if value and not -20 <= value.adjusted() <= most:
        raise ValueError(f"expected a number between 1e-20 and 1e{most}, got {value:.3e}")
    return value


class Money(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """An amount in the smallest unit of its currency: `{"centAmount": 1299, "currencyCode": "EUR", "fractionDigits": 2}`."""

    cent_amount: Annotated[int, Meta(ge=-MAX_CENTS, le=MAX_CENTS)]
    currency_code: CurrencyCode
    fraction_digits: Annotated[int, Meta(ge=0, le=3)]

    def __post_init__(self) -> None:
        digits = _digits(self.currency_code)
        if self.fraction_digits != digits:
            raise ValueError(f"expected fractionDigits {digits} for {self.currency_code}, got {self.fraction_digits}")
        if not -MAX_CENTS <= self.cent_amount <= MAX_CENTS:
            raise ValueError(f"expected at most {MAX_CENTS} in the smallest unit, got {self.cent_amount}")

    @classmethod
    def of(cls, amount: Decimal, currency: str) -> Money:
        """`amount` in whole units. Raises ValueError when it has more digits than the currency: rounding is a decision, see `rounded`."""
        digits = _digits(currency)
        cents = _finite(amount, 15).scaleb(digits)
        if cents != (whole := cents.to_integral_value()):
            raise ValueError(f"expected at most {digits} decimals for {currency}, got {amount}")
        return cls(int(whole), currency, digits)

    @classmethod
    def rounded(cls, amount: Decimal, currency: str, mode: RoundingMode = "half_even") -> Money:
        digits = _digits(currency)
        return cls(int(_finite(amount, 15).scaleb(digits).to_integral_value(rounding=_ROUNDING[mode])), currency, digits)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(0, currency, _digits(currency))

    @property
    def amount(self) -> Decimal:
        return Decimal(self.cent_amount).scaleb(-self.fraction_digits)

    def __add__(self, other: Money) -> Money:
        return Money(self.cent_amount + self._same(other).cent_amount, self.currency_code, self.fraction_digits)

    def __sub__(self, other: Money) -> Money:
        return Money(self.cent_amount - self._same(other).cent_amount, self.currency_code, self.fraction_digits)

    def __neg__(self) -> Money:
        return Money(-self.cent_amount, self.currency_code, self.fraction_digits)

    def times(self, quantity: Decimal, mode: RoundingMode = "half_even") -> Money:
        return Money.rounded(self.amount * _finite(quantity, 15), self.currency_code, mode)

    def _same(self, other: Money) -> Money:
        if other.currency_code != self.currency_code:
            raise ValueError(f"expected {self.currency_code}, got {other.currency_code}: currencies are never mixed")
        return other

    def __str__(self) -> str:
        return f"{self.amount} {self.currency_code}"


class UnitPrice(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """A price with more digits than its currency (fuel, weighed goods): `preciseAmount` / 10 ** `fractionDigits`."""

    precise_amount: Annotated[int, Meta(ge=-(10**18), le=10**18)]
    fraction_digits: Annotated[int, Meta(ge=0, le=12)]
    currency_code: CurrencyCode

    def __post_init__(self) -> None:
        if self.fraction_digits < _digits(self.currency_code) or self.fraction_digits > 12:
            raise ValueError(f"expected {_digits(self.currency_code)} to 12 fractionDigits, got {self.fraction_digits}")
        if abs(self.precise_amount) > 10**18:
            raise ValueError("expected at most 10**18 in preciseAmount")

    @classmethod
    def of(cls, amount: Decimal, currency: str) -> UnitPrice:
        exponent = _finite(amount, 15).as_tuple().exponent
        digits = max(_digits(currency), -exponent if isinstance(exponent, int) else 0)
        return cls(int(amount.scaleb(digits)), digits, currency)

    @property
    def amount(self) -> Decimal:
        return Decimal(self.precise_amount).scaleb(-self.fraction_digits)

    def line_total(self, quantity: Decimal, mode: RoundingMode = "half_even") -> Money:
        """Rounded once, at the line."""
        return Money.rounded(self.amount * _finite(quantity, 15), self.currency_code, mode)


UNITS = ("EA", "KGM", "GRM", "LTR", "MLT", "MTR", "CMT", "MTK", "LBR", "PR", "SET", "PK", "CS", "PF")
"""UN/ECE Recommendation 20 (and 21 for packs) codes in use."""

Unit = Literal["EA", "KGM", "GRM", "LTR", "MLT", "MTR", "CMT", "MTK", "LBR", "PR", "SET", "PK", "CS", "PF"]
_QUANTITY = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6})?")


class Quantity(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """`{"value": "2", "unit": "EA"}`: a decimal string of at most 15 digits before and 6 after the point."""

    value: Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?$(?!\n)", examples=["2", "0.420"])]
    unit: Unit

    def __post_init__(self) -> None:
        if not _QUANTITY.fullmatch(self.value):
            raise ValueError(f"expected a plain decimal such as 2 or 0.420, got {self.value[:40]!r}")
        if self.unit not in UNITS:
            raise ValueError(f"expected a UN/ECE Rec 20 unit ({', '.join(UNITS)}), got {self.unit!r}")

    @classmethod
    def of(cls, value: Decimal, unit: str) -> Quantity:
        text = f"{_finite(value, 14).normalize():f}"
        return cls("0" if text == "-0" else text, unit)  # type: ignore[arg-type]  # __post_init__ checks the unit

    @property
    def amount(self) -> Decimal:
        return Decimal(self.value)

    def __add__(self, other: Quantity) -> Quantity:
        if other.unit != self.unit:
            raise ValueError(f"expected {self.unit}, got {other.unit}: units are never mixed")
        return Quantity.of(self.amount + other.amount, self.unit)

    def __str__(self) -> str:
        return f"{self.value} {self.unit}"

"""Numbers in the forms that legacy systems and people write: packed decimals, over-punched signs, zeros in front, `1.299,00 €`."""

from __future__ import annotations

import base64
import binascii
import re
from decimal import Decimal
from typing import Any, Final

from contracts.canonical.amounts import CURRENCIES, Money
from mappings.language.runtime import BLANKS, Bad, decimal, integer, money, string

ENCODINGS: Final = ("hex", "latin-1", "base64")
MOST_BYTES: Final = 16
_SIGNS: Final = {"A": "", "B": "-", "C": "", "D": "-", "E": "", "F": ""}
_PUNCHED: Final = {False: "{ABCDEFGHI", True: "}JKLMNOPQR"}
SYMBOLS: Final = {"€": "EUR", "£": "GBP", "zł": "PLN", "Kč": "CZK", "Ft": "HUF", "₺": "TRY", "₹": "INR", "₴": "UAH", "лв": "BGN"}
"""Signs that mean one currency. A sign that several share ($, ¥, kr) needs the currency named."""
SHARED: Final = {"$": ("USD", "CAD", "AUD", "NZD", "MXN", "SGD", "HKD"), "¥": ("JPY", "CNY"), "kr": ("SEK", "NOK", "DKK", "ISK"),
                 "kr.": ("DKK", "NOK", "SEK"), "Fr.": ("CHF",), "lei": ("RON",)}  # fmt: skip
_SPACES: Final = str.maketrans("", "", " \t\u00a0\u202f\u2009'’")


def _bytes(value: str | bytes, encoding: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        match encoding:
            case "hex":
                return bytes.fromhex(value)
            case "base64":
                return base64.b64decode(value, validate=True)
            case _:
                return value.encode("latin-1")
    except (ValueError, binascii.Error):
        raise Bad(f"a packed decimal as {encoding} text", value) from None


def packed(value: str | bytes, digits: int, encoding: str) -> Decimal:
    """COMP-3: two digits a byte, the last half-byte is the sign (C, F and A, E plus; D and B minus)."""
    raw = _bytes(value, encoding)
    text = raw.hex().upper()
    if not 1 <= len(raw) <= MOST_BYTES or not text[:-1].isdigit() or text[-1] not in _SIGNS:
        raise Bad(f"a packed decimal (COMP-3) of 1 to {MOST_BYTES} bytes", text[:40] or "nothing")
    return Decimal(f"{_SIGNS[text[-1]]}{text[:-1]}").scaleb(-digits)


def pack(value: Any, size: int, digits: int, encoding: str) -> str:
    """A packed decimal of `size` bytes; what it cannot hold is refused."""
    number = integer(decimal(value).scaleb(digits))
    text = f"{abs(number):0{2 * size - 1}}{'D' if number < 0 else 'C'}"
    if len(text) > 2 * size:
        raise Bad(f"at most {2 * size - 1} digits", value)
    match encoding:
        case "hex":
            return text
        case "base64":
            return base64.b64encode(bytes.fromhex(text)).decode()
        case _:
            return bytes.fromhex(text).decode("latin-1")


def punch(value: Any) -> str:
    """Digits whose last one also says the sign: -123 is `12L`."""
    number = integer(value)
    digits = str(abs(number))
    return f"{digits[:-1]}{_PUNCHED[number < 0][int(digits[-1])]}"


def signed_pad(value: Any, width: int) -> str:
    """Zeros between the sign and the digits: -12 is `-0012` with 5."""
    text = string(value)
    padded = text.zfill(width)
    if len(padded) > width:
        raise Bad(f"at most {width} characters", text)
    return padded


def unsigned_zeros(value: str) -> str:
    """Without the zeros between sign and digits."""
    if not (m := re.fullmatch(r"([+-]?)0*([0-9][0-9.]*)", value.strip(BLANKS))):
        raise Bad("a number with zeros in front", value)
    return f"{m[1].replace('+', '')}{m[2]}"


def number(value: str, point: str, grouping: str) -> Decimal:
    """`1.299,00` with point `,` and grouping `.`. Groups have three digits; blanks and apostrophes between them are fine."""
    found = value.strip(BLANKS).translate(_SPACES).replace("\u2212", "-")  # the minus of typesetters
    sign, digits = ("-", found.strip("-")) if found.startswith("-") or found.endswith("-") else ("", found.removeprefix("+"))
    whole, dot, fraction = digits.partition(point)
    groups = whole.split(grouping) if grouping else [whole]
    good = all(g.isascii() and g.isdigit() for g in groups) and (
        len(groups) == 1 or (len(groups[0]) <= 3 and {*map(len, groups[1:])} == {3})
    )
    if not good or (dot and not (fraction.isascii() and fraction.isdigit())):
        raise Bad(f"a number with the decimal point {point!r}", value)
    return decimal(f"{sign}{''.join(groups)}{'.' if dot else ''}{fraction}")


def written(value: Any, point: str, grouping: str, digits: int) -> str:
    """A number as people write it; more digits than asked for are refused."""
    exact = decimal(value)
    if exact != (cut := round(exact, digits)):
        raise Bad(f"at most {digits} digits after the point", value)
    text = f"{cut:,.{digits}f}"
    return text.translate({ord(","): grouping, ord("."): point})


_MARK: Final = re.compile(r"[^\d\s.,'’+\-\u2212\u00a0\u202f\u2009]+\.?")


def priced(value: str, point: str, grouping: str, currency: str | None) -> Money:
    """`12,99 €`, `EUR 1.299,00`, `$1,299.00`: the mark says the currency, or agrees with the one that is named."""
    marks = _MARK.findall(value)
    if len(marks) > 1:
        raise Bad("an amount with one currency", value)
    said = ""
    if marks:
        mark = marks[0]
        code = mark.upper() if mark.upper() in CURRENCIES else SYMBOLS.get(mark) or SYMBOLS.get(mark.rstrip("."))
        shared = SHARED.get(mark, ())
        if code is None and currency in shared:
            code = currency
        if code is None:
            raise Bad("a currency code or sign" if not shared else f"a currency: {mark} is {', '.join(shared)}", value)
        said = code
    if currency is None and not said:
        raise Bad("an amount with its currency", value)
    if currency is not None and said and said != currency:
        raise Bad(f"an amount in {currency}", value)
    return money(number(value.replace(marks[0], "") if marks else value, point, grouping), said or str(currency))


def marked(value: Money, point: str, grouping: str) -> str:
    """`1.299,00 EUR`."""
    return f"{written(value.amount, point, grouping, value.fraction_digits)} {value.currency_code}"

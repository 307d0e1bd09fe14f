"""What compiled mappings call: pure conversions that refuse rather than guess. A failure is a `Bad`: what was expected, what came."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NoReturn

from contracts.canonical.amounts import CURRENCIES, MAX_CENTS, UNITS, Money, Quantity, UnitPrice
from contracts.canonical.base import gtin_is_valid

XSI_NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
MEMO: Final = 4096
MEMO_OF_ROWS: Final = 16384
"""A feed has one mapping and many different amounts and articles."""
TABLES: Final = 8
LONGEST_KEY: Final = 80
"""Longer texts are converted and not remembered, so that a table stays small whatever is sent."""
BLANKS: Final = " \t\r\n"
FILLERS: Final = frozenset({"", "null", "n/a", "none"})
UNIT_CODES: Final[dict[str, str]] = {unit: unit for unit in UNITS} | {
    "ST": "EA", "PCE": "EA", "PC": "EA", "PCS": "EA", "UN": "EA", "C62": "EA", "H87": "EA",
    "KG": "KGM", "Kg": "KGM", "kg": "KGM", "G": "GRM", "g": "GRM", "L": "LTR", "l": "LTR", "ML": "MLT", "ml": "MLT", "M": "MTR", "m": "MTR",
    "CM": "CMT", "cm": "CMT", "M2": "MTK", "LB": "LBR",
    "lb": "LBR", "PAA": "PR", "KAR": "CS", "CT": "CS",
}  # fmt: skip
"""Source code -> UN/ECE Recommendation 20 code, where a mapping says nothing else."""


class Bad(Exception):  # the name of a value's state, caught in one place
    """A value that cannot be what the mapping needs. `at` narrows the place: a name below it, or `../NAME` beside it."""

    def __init__(self, expected: str, got: object, at: str = "") -> None:
        super().__init__(expected, got)
        self.expected, self.got, self.at = expected, got, at


class Refused(Exception):
    """The answer is a business refusal."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Renamed(Exception):
    """The document writes known names in an unexpected namespace: read it once more by local names."""


class Memo(dict[Any, Any]):
    """`memo[key]` converts what it does not hold; a key is one text or several. Results are immutable, and an answer repeats most."""

    __slots__ = ("_convert", "_most")

    def __init__(self, convert: Callable[[Any], Any], most: int = MEMO) -> None:
        super().__init__()
        self._convert, self._most = convert, most

    def __missing__(self, key: Any) -> Any:
        value = self._convert(key)
        if (len(key) if key.__class__ is str else _length(key)) <= LONGEST_KEY:
            if len(self) >= self._most:
                self.clear()
            self[key] = value
        return value


def _length(key: Any) -> int:
    length = 0
    if key.__class__ is tuple:
        for part in key:
            if part.__class__ is str:
                length += len(part)
    return length


class Pattern(set[str]):
    """Texts that are known to match; `text in pattern or pattern(text)` says whether one does."""

    __slots__ = ("_match",)

    def __init__(self, match: Callable[[str], object]) -> None:
        super().__init__()
        self._match = match

    def __call__(self, text: str) -> bool:
        if self._match(text) is None:
            return False
        if len(text) <= LONGEST_KEY:
            if len(self) >= MEMO:
                self.clear()
            self.add(text)
        return True


def matching(pattern: Pattern, texts: list[str]) -> None:
    """All of a column at once: most were seen before."""
    if not pattern.issuperset(texts):
        for text in texts:
            if text not in pattern and not pattern(text):
                wrong("text that matches", text)


def remember(table: dict[Any, Any], key: Any, make: Callable[..., Any], *inputs: Any) -> Any:
    """What is made of the inputs, kept in a plain dict, which is the quickest to ask."""
    value = make(*inputs)
    if _length(inputs) <= LONGEST_KEY:
        if len(table) >= MEMO:
            table.clear()
        table[key] = value
    return value


def remember_by(tables: dict[Any, dict[Any, Any]], code: Any, key: Any, make: Callable[..., Any], *inputs: Any) -> Any:
    """The same with a table per code, such as a unit."""
    table = tables.get(code, {})
    value = remember(table, key, make, *inputs)
    if code not in tables and table:
        if len(tables) >= TABLES:
            tables.clear()
        tables[code] = table
    return value


# ---- reading documents --------------------------------------------------------------------------------------------


def odd(element: Any) -> str | None:
    """Text of an element that is empty, nil, or interrupted by comments and processing instructions."""
    if len(element):
        parts = [element.text or ""]
        for child in element:
            if isinstance(child.tag, str):
                raise Bad("text only", f"<{child.tag}> inside it")
            parts.append(child.tail or "")
        if text := "".join(parts):
            return text
    return None if element.get(XSI_NIL) in ("true", "1") else ""


def unknown(context: Any, where: str | None, element: Any, once: frozenset[str], local: frozenset[str]) -> None:
    """An element that the reader has no place for: a comment, a repetition, a known name in another namespace, or drift."""
    tag = element.tag
    if not isinstance(tag, str):
        return
    name = tag.rpartition("}")[2]
    if tag in once or (name in once and not local):
        raise Bad(f"one {tag}", "another one", tag)
    if name != tag and name in local:
        raise Renamed
    if where is not None:
        context.drift("element", f"{where}/{name[:100]}".lstrip("/"), "")


def local_name(tag: Any, names: frozenset[str]) -> Any:
    if isinstance(tag, str) and tag.startswith("{") and (name := tag.rpartition("}")[2]) in names:
        return name
    return tag


def typed(context: Any, where: str, element: Any, tag: str, kinds: Mapping[str, Mapping[str, str]]) -> str:
    """The tag that stands for an element's xsi:type. A type that the mapping does not name keeps its tag, and is drift."""
    said = (element.get(XSI_TYPE) or "").strip(BLANKS)
    prefix, _, local = said.rpartition(":")
    known = kinds[tag]
    namespace = element.nsmap.get(prefix or None) if said else None
    found = known.get(f"{{{namespace}}}{local}" if namespace else local)
    if found is None:  # some systems write types with a prefix of another namespace
        found = next((t for kind, t in known.items() if kind.rpartition("}")[2] == local), None)
    if found is None:
        context.drift("value", f"{where}/{tag.rpartition('}')[2]}/@xsi:type".lstrip("/"), local[:80])
    return found or tag


def unknown_members(context: Any, where: str, members: Iterable[Any], known: frozenset[str]) -> None:
    for name in members:
        if name not in known:
            context.drift("member", f"{where}/{str(name)[:100]}".lstrip("/"), "")


def entries(value: Any) -> Any:
    """An object whose names are data, as rows of key and value. An empty list is an empty object to some languages."""
    if value.__class__ is dict:
        return [{"key": k, "value": v} for k, v in value.items()]
    return wrong("an object", value) if value else value


def of_kind(value: Any, by: str, kinds: frozenset[str]) -> Any:
    """The record, or those of the rows, whose member `by` says one of these kinds."""
    if value.__class__ is list or value.__class__ is tuple:
        return [row for row in value if row.__class__ is dict and str(row.get(by)) in kinds]
    return value if value.__class__ is dict and str(value.get(by)) in kinds else None


def other_kinds(context: Any, path: str, value: Any, by: str, kinds: frozenset[str]) -> None:
    """Counts the variants that nobody reads."""
    for row in value if value.__class__ is list else (value,):
        if row.__class__ is dict and (kind := str(row.get(by))[:100]) not in kinds:
            context.drift("value", path, kind)


def missing(values: Mapping[str, object]) -> NoReturn:
    """Called when one of the required values is None."""
    raise Bad("a value, it is required", "nothing", next(k for k, v in values.items() if v is None))


def secret(context: Any, name: str) -> str:
    """The value is in no error; a gateway that starts has all that its mappings name."""
    try:
        return str(context.secrets[name])
    except LookupError:
        raise Bad(f"the secret {name} of the operation", "nothing") from None


def question(context: Any, *steps: str) -> Any:
    """A value of the request that this is the answer to."""
    value = context.asked
    if value is None:
        raise Bad("to know what was asked", "an answer alone")
    for step in (*steps, ""):
        if value.__class__ is tuple:
            if len(value) != 1:
                raise Bad("one question at a time (batch = { size = 1 } in the policy)", f"{len(value)} of them")
            value = value[0]
        if value is None or not step:
            break
        value = getattr(value, step)
    return value


def required(value: Any) -> Any:
    if value is None:
        raise Bad("a value, it is required", "nothing")
    return value


def wrong(expected: str, got: object) -> NoReturn:
    raise Bad(expected, got)


def nil(record: Any, name: str, form: str) -> bool:
    """Said to be empty (xsi:nil, JSON null), which is not the same as not said."""
    if form == "json":
        return isinstance(record, dict) and name in record and record[name] is None
    if form == "xml":  # a row that was cut out carries no attributes
        return record.__class__ is not tuple and any(
            local_name(c.tag, frozenset({name})) == name and c.get(XSI_NIL) in ("true", "1") for c in record
        )
    return False


# ---- leaves -------------------------------------------------------------------------------------------------------

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}").fullmatch
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?").fullmatch
_PLAIN = re.compile(r"(-?(?:0|[1-9][0-9]{0,14}))(?:\.([0-9]{1,6}))?").fullmatch
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:Z|[+-][0-9]{2}:[0-9]{2})?").fullmatch
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,]([0-9]{1,9}))?(Z|z|[+-][0-9]{2}:?[0-9]{2})?"
).fullmatch


def string(value: Any) -> str:
    """Canonical text of a value: plain decimals, ISO dates."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return f"{decimal(value):f}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int):
        return str(value)
    raise Bad("text", value)


def text_only(value: Any) -> str:
    """A string from JSON or a record; numbers are not quietly turned into text."""
    if value.__class__ is not str:
        raise Bad("text", value)
    return value


def integer(value: Any) -> int:
    if value.__class__ is int:
        return value
    if value.__class__ is str and value.isdigit() and value.isascii() and len(value) <= 30:
        return int(value)
    if isinstance(value, str) and (_INTEGER(value) or _INTEGER(value.strip(BLANKS))):
        return int(value)
    if isinstance(value, Decimal | float) and (number := decimal(value)) == number.to_integral_value() and number.adjusted() < 30:
        return int(number)
    raise Bad("an integer", value)


def decimal(value: Any) -> Decimal:
    if isinstance(value, str):
        if not _DECIMAL(value) and not _DECIMAL(value.strip(BLANKS)):
            raise Bad("a decimal number", value)
        return Decimal(value)
    if value.__class__ is int:
        if abs(value) >= 10**30:
            raise Bad("a decimal number of at most 30 digits", "a larger one")
        return Decimal(value)
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite() and -40 <= value.adjusted() <= 40:
        return value
    raise Bad("a decimal number", value)


def boolean(value: Any) -> bool:
    if value.__class__ is bool:
        return value
    if isinstance(value, str):
        text = value.strip(BLANKS)
        if text in ("true", "1"):
            return True
        if text in ("false", "0"):
            return False
    raise Bad("true or false", value)


def iso_date(value: Any) -> date:
    if value.__class__ is date:
        return value
    if isinstance(value, str) and (m := _DATE(value.strip(BLANKS))):
        return _day(int(m[1]), int(m[2]), int(m[3]), value)
    raise Bad("a date YYYY-MM-DD", value)


def iso_time(value: Any) -> time:
    if value.__class__ is time:
        return value
    try:
        return time.fromisoformat(value.strip(BLANKS))
    except (ValueError, AttributeError):
        raise Bad("a time HH:MM:SS", value) from None


def iso_datetime(value: Any) -> datetime:
    """With or without offset; fractions beyond microseconds are cut."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and (m := _DATETIME(value.strip(BLANKS))):
        fraction = f".{m[3][:6]:0<6}" if m[3] else ""
        try:
            return datetime.fromisoformat(f"{m[1]}T{m[2]}{fraction}{(m[4] or '').upper()}")
        except ValueError:
            pass
    raise Bad("a date and time such as 2026-03-11T09:30:00+01:00", value)


def instant(value: Any) -> datetime:
    """A point in time: with offset, else it is refused, never guessed."""
    if (found := iso_datetime(value)).tzinfo is None:
        raise Bad("a time with offset", value)
    return found


def anything(value: Any) -> Any:
    return value


NATIVE: Final[dict[str, Callable[[Any], Any]]] = {
    "string": text_only, "integer": integer, "decimal": decimal, "boolean": boolean, "date": iso_date, "time": iso_time,
    "datetime": iso_datetime, "binary": text_only, "any": anything,
}  # fmt: skip


def _day(year: int, month: int, day: int, got: object) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise Bad("a day of the calendar", got) from None


# ---- text ---------------------------------------------------------------------------------------------------------


def text(value: str) -> str | None:
    """Without blanks around it; nothing left and legacy fillers are absent."""
    stripped = value.strip(BLANKS)
    return None if stripped.casefold() in FILLERS else stripped


def strip_zeros(value: str) -> str:
    return (value.lstrip("0") or "0") if value.isdigit() else value


def pad(value: str | int, width: int, fill: str) -> str:
    if not (plain := str(value)):
        raise Bad("at least one character", value)
    padded = plain.rjust(width, fill)
    if len(padded) > width:
        raise Bad(f"at most {width} characters", value)
    return padded


def pad_zeros(value: str | int, width: int) -> str:
    """SAP's ALPHA conversion: numeric keys only."""
    if (plain := str(value)).isdigit() or len(plain) > width:
        return pad(plain, width, "0")
    return plain


def digest(value: str, length: int) -> str:
    return sha256(value.encode()).hexdigest()[:length]


def at_most(value: str, width: int) -> str:
    if len(value) > width:
        raise Bad(f"at most {width} characters", value)
    return value


def concat(parts: Iterable[str | None], between: str) -> str | None:
    given = [p for p in parts if p is not None]
    return between.join(given) if given else None


def split(value: str, between: str) -> tuple[str, ...]:
    return tuple(p for p in map(str.strip, value.split(between)) if p)


def part(value: str, between: str, position: int) -> str | None:
    parts = value.split(between)
    return parts[position].strip() or None if -len(parts) <= position < len(parts) else None


def cases(value: Any, table: Mapping[Any, Any]) -> Any:
    """Closed: an unknown code stops the record."""
    try:
        return table[value]
    except KeyError:
        raise Bad(f"one of {', '.join(repr(k) for k in list(table)[:12])}", value) from None


def open_cases(value: Any, table: Mapping[Any, Any], otherwise: Any, context: Any, where: str, *, personal: bool = False) -> Any:
    """Open: an unknown code becomes `otherwise` and is counted."""
    if value in table:
        return table[value]
    context.drift("value", where, "***" if personal else str(value)[:80])
    return otherwise


def gtin(value: str, context: Any, where: str) -> str | None:
    """GS1 General Specifications 7.9. Absent, and counted, when it is none."""
    found = value.strip(BLANKS)
    if gtin_is_valid(found):
        return found
    if found:
        context.drift("value", where, found[:80])
    return None


def flag(value: str | None, true: frozenset[str], false: frozenset[str]) -> bool:
    if value is None:
        return False
    if (found := value.strip(BLANKS)) in true:
        return True
    if not found or found in false:
        return False
    raise Bad(f"{' or '.join(sorted(true))}, or blank", value)


# ---- numbers ------------------------------------------------------------------------------------------------------

_ROUNDING = {"half_even": ROUND_HALF_EVEN, "half_up": ROUND_HALF_UP, "cut": ROUND_DOWN}
_OVERPUNCH = {c: (str(i % 10), "" if i < 10 else "-") for i, c in enumerate("{ABCDEFGHI}JKLMNOPQR")}


def scaled(value: Decimal, scale: int, rounding: str) -> Decimal:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -scale:
        return value
    if rounding == "refuse":
        if value != (cut := value.quantize(Decimal(1).scaleb(-scale), ROUND_DOWN)):
            raise Bad(f"at most {scale} digits after the point", value)
        return cut
    return value.quantize(Decimal(1).scaleb(-scale), _ROUNDING[rounding])


def implied(value: Any, digits: int) -> Decimal:
    return Decimal(integer(value)).scaleb(-digits)


def unimplied(value: Decimal, digits: int) -> int:
    return integer(decimal(value).scaleb(digits))


def sign_trailing(value: str) -> str:
    found = value.strip(BLANKS)
    if found.endswith("-"):
        return f"-{found[:-1].rstrip()}"
    return found.removesuffix("+").rstrip()


def trailing_sign(value: str) -> str:
    if not _DECIMAL(value):
        raise Bad("a decimal number", value)
    return f"{value[1:]}-" if value.startswith("-") else value


def overpunch(value: str) -> str:
    """Signed digit of COBOL: the last character holds digit and sign."""
    found = value.strip(BLANKS)
    if not found or found[-1] not in _OVERPUNCH:
        if found.isascii() and found.isdigit():
            return found
        raise Bad("digits with an over-punched last one", value)
    digit, sign = _OVERPUNCH[found[-1]]
    return f"{sign}{found[:-1]}{digit}"


def fixed(value: Any, scale: int) -> str:
    return f"{scaled(decimal(value), scale, 'refuse'):.{scale}f}"


def in_digits(value: Decimal, total: int, fraction: int) -> Decimal:
    """Fits `total` digits of which `fraction` stand after the point; nothing is rounded."""
    exact = scaled(decimal(value), fraction, "refuse")
    if exact and exact.adjusted() + 1 > total - fraction:
        raise Bad(f"at most {total - fraction} digits before the point", value)
    return exact


# ---- amounts ------------------------------------------------------------------------------------------------------


def unit(value: str, table: Mapping[str, str], at: str = "") -> str:
    try:
        return table[value.strip(BLANKS)]
    except KeyError:
        raise Bad(f"a known unit ({', '.join(list(table)[:12])}, …)", value, at) from None


def quantity(value: Any, code: str) -> Quantity:
    """`code` is canonical already."""
    if value.__class__ is str and (m := _PLAIN(value)):
        fraction = (m[2] or "").rstrip("0")
        whole = m[1]
        return Quantity(f"{whole}.{fraction}" if fraction else "0" if whole == "-0" else whole, code)  # type: ignore[arg-type]  # the unit was looked up
    try:
        return Quantity.of(decimal(value), code)
    except ValueError as error:
        raise Bad(str(error).removeprefix("expected ").partition(", got")[0], value) from None


def money(value: Any, currency: str, digits: int | None = None, at: str = "", *, rounds: bool = False) -> Money:
    """`digits`: the source stores that many decimals whatever the currency (SAP); else the value is in whole units. `rounds`: decimals that
    the currency has not are rounded, a half to the even neighbour.
    """
    known = CURRENCIES.get(currency)
    if known is None:
        raise Bad("an ISO 4217 currency code", currency, at)
    most = known if digits is None else digits
    before, after = (value[: -most - 1], value[-most:]) if value.__class__ is str and value[-most - 1 : -most] == "." else ("", "")
    if before.isdigit() and after.isdigit() and len(before) < 12 and value.isascii():  # as most amounts are written
        cents = int(before + after)
    elif value.__class__ is str and (m := _PLAIN(value)) and len(fraction := m[2] or "") <= most:
        cents = int(m[1] + fraction.ljust(most, "0"))
    else:
        exact = decimal(value).scaleb(most)
        if exact != (whole := exact.to_integral_value(ROUND_HALF_EVEN)) and not rounds:
            raise Bad(f"an amount of at most {most} decimals for {currency}", value)
        cents = int(whole)
    if abs(cents) > MAX_CENTS:
        raise Bad(f"an amount of at most {most} decimals for {currency}", value)
    return Money(cents, currency, known)


def cents(value: Any, currency: str) -> Money:
    known = CURRENCIES.get(currency)
    if known is None:
        raise Bad("an ISO 4217 currency code", currency)
    if abs(whole := integer(value)) > MAX_CENTS:
        raise Bad(f"at most {MAX_CENTS} in the smallest unit", value)
    return Money(whole, currency, known)


def unit_price(value: Any, currency: str) -> UnitPrice:
    try:
        if value.__class__ is str and currency in CURRENCIES and (m := _PLAIN(value)):
            fraction = m[2] or ""
            digits = max(CURRENCIES[currency], len(fraction))
            return UnitPrice(int(m[1] + fraction.ljust(digits, "0")), digits, currency)
        return UnitPrice.of(decimal(value), currency)
    except ValueError as error:
        raise Bad(str(error).removeprefix("expected ").partition(", got")[0], f"{value} {currency}") from None


# ---- time ---------------------------------------------------------------------------------------------------------


def filled_iso_date(value: Any) -> date | None:
    """ISO date; fillers and 9999-12-31 are absent."""
    if isinstance(value, str):
        found = value.strip(BLANKS)
        if found.casefold() in FILLERS or found in ("0000-00-00", "00000000"):
            return None
    day = iso_date(value)
    return None if (day.year, day.month, day.day) == (9999, 12, 31) else day


def zone_of(context: Any, location: str) -> tzinfo:
    zone: tzinfo | None = context.zone_of(location)
    if zone is None:
        raise Bad("a location whose time zone is known", location)
    return zone


def location_of(context: Any, number: str) -> Any:
    location = context.location_of(number)
    if location is None:
        raise Bad("the number of a known location", number)
    return location


def zone_named(zones: Mapping[str, tzinfo], name: str) -> tzinfo:
    try:
        return zones[name]
    except KeyError:
        raise Bad(f"one of the zones {', '.join(zones)}", name) from None


def local_datetime(value: datetime, zone: tzinfo) -> datetime:
    """Local time of `zone`, unless the value carries its own offset.

    The repeated hour of autumn takes the first offset (see `time_quality`); an hour that spring skips is refused.
    """
    if value.tzinfo is not None:
        return value
    found = datetime.combine(value, value.time(), zone)  # a tenth of what replace() takes
    if not even_hour(zone, value.toordinal(), value.hour) and found.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != value:
        raise Bad(f"a local time that exists in {zone}", value.isoformat())
    return found


def time_quality(value: datetime, zone: tzinfo) -> str:
    if value.tzinfo is not None:
        return "as_sent"
    if even_hour(zone, value.toordinal(), value.hour):
        return "from_store_zone"
    first, second = value.replace(tzinfo=zone, fold=0), value.replace(tzinfo=zone, fold=1)
    return "from_store_zone" if first.utcoffset() == second.utcoffset() else "ambiguous"


@lru_cache(MEMO)
def even_hour(zone: tzinfo, day: int, hour: int) -> bool:
    """Whether no clock of the zone was put forward or back within this local hour."""
    start = datetime.combine(date.fromordinal(day), time(hour), zone)
    ends = (start, start.replace(minute=59, second=59, microsecond=999_999))
    folds = [end.replace(fold=fold) for end in ends for fold in (0, 1)]
    return len({f.replace(tzinfo=None, fold=0) - f.astimezone(UTC).replace(tzinfo=None) for f in folds}) == 1


@lru_cache(MEMO)
def start_of_day(value: date, zone: tzinfo) -> datetime:
    """Local midnight; where a zone skips midnight, the first instant of the day. The rows of an answer share a few of them."""
    return datetime.combine(value, time(), zone).astimezone(UTC).astimezone(zone)


@lru_cache(MEMO)
def end_of_day(value: date, zone: tzinfo) -> datetime:
    """An inclusive last day becomes the next local midnight: periods are half-open."""
    return start_of_day(value + timedelta(days=1), zone)


def last_day(value: datetime, zone: tzinfo) -> date:
    """The inclusive form of an end: midnight belongs to the day before."""
    return (value.astimezone(zone) - timedelta(microseconds=1)).date()


def from_millis(value: Any) -> datetime:
    number = integer(value)
    if not -(10**14) < number < 253402300800000:
        raise Bad("milliseconds since 1970", value)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)


def to_millis(value: datetime) -> int:
    return (instant(value) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def utc(value: datetime) -> str:
    """RFC 3339 in UTC, with Z."""
    return instant(value).astimezone(UTC).isoformat().replace("+00:00", "Z")


def in_language(texts: Mapping[str, str], tags: Sequence[str]) -> str | None:
    for tag in tags:
        if (found := texts.get(tag)) is not None:
            return found
    return next(iter(texts.values()), None)


# ---- lists --------------------------------------------------------------------------------------------------------


def total(values: Sequence[Any]) -> Any:
    return sum(values[1:], values[0]) if values else None


def one_of(value: Any, allowed: frozenset[Any]) -> Any:
    if value not in allowed:
        raise Bad(f"one of {', '.join(sorted(map(str, allowed))[:12])}", value)
    return value

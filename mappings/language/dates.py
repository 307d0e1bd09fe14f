"""Days and times in the forms that legacy systems write: patterns such as `CYYMMDD` or `DD-MMM-YYYY`, serial numbers, complements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

from mappings.language.runtime import BLANKS, FILLERS, Bad, decimal, instant, integer, iso_datetime, local_datetime, string

TOKENS: Final = re.compile("YYYY|YY|MMMM|MMM|MM|M|DDD|DD|D|hh|h|mm|ss|f{1,6}|C|AP")
DAYS: Final = (("YYYY", "YY"), ("MM", "M", "MMM", "MMMM", "DDD"), ("DD", "D", "DDD"))
"""A day needs one of each."""
HOURS: Final = (("hh", "h"), ("mm",))
GROUPS: Final = {"YYYY": "year", "YY": "short", "C": "century", "MM": "month", "M": "month", "MMM": "name", "MMMM": "name", "DD": "day",
                  "D": "day", "DDD": "ordinal", "hh": "hour", "h": "hour", "mm": "minute", "ss": "second", "AP": "half"}  # fmt: skip
_DIGITS: Final = {"YYYY": "[0-9]{4}", "DDD": "[0-9]{3}", "C": "[0-9]", "M": "[0-9]{1,2}", "D": "[0-9]{1,2}", "h": "[0-9]{1,2}",
                  "MMM": r"[^\W\d_]{3,12}\.?", "MMMM": r"[^\W\d_]{3,12}\.?", "AP": "[AaPp]\\.?[Mm]\\.?"}  # fmt: skip
MONTHS: Final = {
    "en": "january february march april may june july august september october november december",
    "de": "januar februar märz april mai juni juli august september oktober november dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pl": "styczeń luty marzec kwiecień maj czerwiec lipiec sierpień wrzesień październik listopad grudzień",
}
_IRREGULAR: Final = {("nl", "mrt"): 3, ("de", "mrz"): 3, ("en", "sept"): 9}
PIVOT: Final = 70
NO_END: Final = date(9999, 12, 31)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = timedelta(microseconds=1)


class Format:
    """A legacy form of a date or time. `pivot`: two digits below it are of this century, others of the last.

    YYYY or YY (with C the AS/400 century digit: 0 is 19xx, 1 is 20xx), MM, M (one or two digits), MMM and MMMM (names), DD, D, DDD (the day
    of the year), hh, h, mm, ss, f to ffffff (digits of a second), AP (AM or PM). All else stands for itself.
    """

    __slots__ = ("language", "longest", "match", "names", "pivot", "spec", "tokens", "width")

    def __init__(self, spec: str, pivot: int = PIVOT, language: str = "en") -> None:
        self.spec, self.pivot, self.language = spec, pivot, language
        self.names = MONTHS[language].split()
        self.tokens: list[str] = []
        """Tokens and the text between them, by turns, text first."""
        pattern, at, self.width = "", 0, 0
        for token in TOKENS.finditer(spec):
            name = token[0]
            self.tokens += [spec[at : token.start()], name]
            digits = f"[0-9]{{{len(name)}}}" if name[0] == "f" else _DIGITS.get(name, "[0-9]{2}")
            pattern += f"{re.escape(self.tokens[-2])}(?P<{GROUPS.get(name, 'fraction')}>{digits})"
            at = token.end()
        self.tokens.append(spec[at:])
        self.longest = len(spec) + sum({"M": 1, "D": 1, "h": 1, "MMM": 9, "MMMM": 8}.get(t, 0) for t in self.tokens[1::2])
        self.match = re.compile(pattern + re.escape(spec[at:])).fullmatch
        if not any(self.tokens[::2]) and not {"M", "D", "h", "MMM", "MMMM", "AP"} & {*self.tokens}:
            self.width = len(spec)
        """Of digits only: a number that has lost its leading zeros is filled up to it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and (self.spec, self.pivot, self.language) == (other.spec, other.pivot, other.language)

    def __hash__(self) -> int:
        return hash((self.spec, self.pivot, self.language))

    def digits(self, value: Any) -> str:
        """The text of a value; an integer with the zeros that it has lost."""
        return string(value).strip(BLANKS) if isinstance(value, str) else f"{integer(value):0{self.width}}"

    def parts(self, value: str) -> dict[str, int]:
        """`year`, `month`, `day`, `hour`, `minute`, `second`, `micro`, as far as the form holds them."""
        if not (m := self.match(value.strip(BLANKS))):
            raise Bad(self.spec, value)
        found = m.groupdict()
        parts = {k: int(v) for k, v in found.items() if k not in ("name", "half", "fraction")}
        if (short := parts.pop("short", None)) is not None:
            century = parts.pop("century", None)
            parts["year"] = short + (1900 + 100 * century if century is not None else 2000 if short < self.pivot else 1900)
        if (name := found.get("name")) is not None:
            parts["month"] = self.month(name, value)
        if (ordinal := parts.pop("ordinal", None)) is not None:
            try:
                day = date(parts["year"], 1, 1) + timedelta(days=ordinal - 1)
            except (ValueError, OverflowError):
                raise Bad(self.spec, value) from None
            if day.year != parts["year"]:
                raise Bad(f"{self.spec} with a day of that year", value)
            parts |= {"month": day.month, "day": day.day}
        if (half := found.get("half")) is not None:
            if not 1 <= parts["hour"] <= 12:
                raise Bad(f"{self.spec} with an hour of 1 to 12", value)
            parts["hour"] = parts["hour"] % 12 + (12 if half[0] in "Pp" else 0)
        if (fraction := found.get("fraction")) is not None:
            parts["micro"] = int(fraction.ljust(6, "0"))
        return parts

    def month(self, name: str, value: str) -> int:
        word = name.rstrip(".").casefold()
        if known := _IRREGULAR.get((self.language, word)):
            return known
        meant = [n for n, full in enumerate(self.names, 1) if full.startswith(word)]
        if len(meant) != 1:
            raise Bad(f"{self.spec} with a month's name ({self.language})", value)
        return meant[0]

    def day(self, value: Any) -> date | None:
        """Fillers (blank, all zeros) are absent, and so is the end of time: 9999-12-31 means no end."""
        if value.__class__ is date:
            return None if value == NO_END else value
        found = self.digits(value)
        if found.casefold() in FILLERS:
            return None
        if not any(c in "123456789" for c in found):
            if any(c == "0" for c in found):
                return None
            raise Bad(self.spec, value)
        day = _day(self.parts(found), value)
        return None if day == NO_END else day

    def clock(self, value: Any) -> time:
        return value if value.__class__ is time else _clock(self.parts(self.digits(value)), value)

    def moment(self, value: Any) -> datetime | None:
        """Without zone; a filler is absent."""
        if isinstance(value, datetime):
            return value
        found = self.digits(value)
        if found.casefold() in FILLERS or (any(c.isdigit() for c in found) and not any(c in "123456789" for c in found)):
            return None
        parts = self.parts(found)
        return datetime.combine(_day(parts, value), _clock(parts, value))

    def write(self, value: date | datetime | time, zone: tzinfo | None = None) -> str:
        """Refuses a year that the form cannot hold."""
        if zone is not None and isinstance(value, datetime):
            value = instant(value).astimezone(zone)
        return "".join(t if i % 2 == 0 else self.written(t, value) for i, t in enumerate(self.tokens))

    def written(self, letters: str, value: Any) -> str:
        match letters:
            case "YY":
                first = 1900 if "C" in self.tokens else 1900 + self.pivot
                if not first <= value.year < (2900 if "C" in self.tokens else first + 100):
                    raise Bad(f"a year that {self.spec} can hold", value.isoformat())
                return f"{value.year % 100:02}"
            case "C":
                return str(value.year // 100 - 19)
            case "MMM" | "MMMM":
                full: str = self.names[value.month - 1]
                if letters == "MMMM":
                    return full.capitalize()
                return next(full[:n] for n in range(3, 13) if sum(other.startswith(full[:n]) for other in self.names) == 1).upper()
            case "DDD":
                return f"{value.timetuple().tm_yday:03}"
            case "AP":
                return "AM" if value.hour < 12 else "PM"
            case "hh" | "h":
                hour = (value.hour - 1) % 12 + 1 if "AP" in self.tokens else value.hour
                return f"{hour:0{len(letters)}}"
        if letters[0] == "f":
            return f"{value.microsecond:06}"[: len(letters)]
        return f"{getattr(value, GROUPS[letters]):0{len(letters)}}"


def _day(parts: Mapping[str, int], got: object) -> date:
    try:
        return date(parts["year"], parts["month"], parts["day"])
    except ValueError:
        raise Bad("a day of the calendar", got) from None


def _clock(parts: Mapping[str, int], got: object) -> time:
    try:
        return time(parts.get("hour", 0), parts.get("minute", 0), parts.get("second", 0), parts.get("micro", 0))
    except ValueError:
        raise Bad("a time of the day", got) from None


def iso_moment(value: Any) -> datetime | None:
    """An ISO date and time, with or without offset; a filler is absent."""
    if isinstance(value, datetime):
        return value
    found = string(value).strip(BLANKS)
    if found.casefold() in FILLERS or (any(c.isdigit() for c in found) and not any(c in "123456789" for c in found)):
        return None
    return iso_datetime(found)


# ---- numbers of days and seconds ----------------------------------------------------------------------------------


def excel_date(value: Any) -> date:
    """A serial day number of a spreadsheet: 1 is 1900-01-01, and 60 the day that 1900 did not have."""
    number = integer(value)
    if not 1 <= number <= 2_958_465 or number == 60:
        raise Bad("a serial day number of 1 to 2958465", value)
    return date(1899, 12, 30 if number > 60 else 31) + timedelta(days=number)


def excel_serial(value: date) -> int:
    """Refuses days before 1900."""
    number = (value - date(1899, 12, 30)).days
    if number < 2:
        raise Bad("a day from 1900 on", value.isoformat())
    return number if number > 60 else number - 1


def excel_instant(value: Any, zone: tzinfo) -> datetime:
    """A serial number whose fraction is the local time of the day, to the millisecond."""
    number = decimal(value)
    day = excel_date(int(number))
    millis = int((number % 1 * 86_400_000).to_integral_value())
    return local_datetime(datetime.combine(day, time()) + timedelta(milliseconds=millis), zone)


def excel_moment(value: datetime, zone: tzinfo) -> Decimal:
    local = value.astimezone(zone)
    millis = (local.replace(tzinfo=None) - datetime.combine(local.date(), time())) // timedelta(milliseconds=1)
    return (excel_serial(local.date()) + Decimal(millis) / 86_400_000).quantize(Decimal("1e-10"))


def inverted_date(value: str) -> date | None:
    """SAP's complement of a day (GDATU): 79739688 is 2026-03-11. Fillers and the ends of the calendar are absent."""
    found = value.strip(BLANKS)
    if found.casefold() in FILLERS or found in ("00000000", "99999999", "00008768"):
        return None
    if len(found) != 8 or not found.isascii() or not found.isdigit():
        raise Bad("the complement of YYYYMMDD, 8 digits", value)
    return _COMPLEMENT.day(f"{99_999_999 - int(found):08}")


_COMPLEMENT: Final = Format("YYYYMMDD")


def complement(value: date) -> str:
    return f"{99_999_999 - int(_COMPLEMENT.write(value)):08}"


_DOTNET: Final = re.compile(r"\\?/Date\((-?[0-9]{1,15})([+-][0-9]{4})?\)\\?/").fullmatch


def dotnet(value: str) -> datetime | None:
    """`/Date(1773219600000+0100)/`: milliseconds UTC; the offset is for display. The day before all days (year 1) is absent."""
    if not (m := _DOTNET(value.strip(BLANKS))):
        raise Bad("/Date(milliseconds)/", value)
    return None if int(m[1]) <= -62_135_500_000_000 else epoch(int(m[1]) * 1000, value)


def epoch_seconds(value: Any) -> datetime:
    """Seconds since 1970, with up to six digits after the point."""
    return epoch(int(decimal(value).scaleb(6).to_integral_value()), value)


def epoch(micros: int, got: object) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise Bad("a time of the years 1 to 9999", got) from None


def to_seconds(value: datetime) -> int:
    """Refuses a fraction of a second."""
    seconds, rest = divmod(instant(value) - _EPOCH, timedelta(seconds=1))
    if rest:
        raise Bad("whole seconds", value.isoformat())
    return seconds


def to_dotnet(value: datetime) -> str:
    return f"/Date({(instant(value) - _EPOCH) // timedelta(milliseconds=1)})/"

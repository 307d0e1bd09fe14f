"""Field values: the text of a field -> what mappings read, or what was expected instead. Pure; repeated texts are converted once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any, Final

from msgspec.structs import replace

from adapters.files.layout import FieldRule
from mappings.language.runtime import Bad, iso_date, iso_datetime, iso_time

MEMO: Final = 16384
SHOWN: Final = 80
LONGEST: Final = 4000
"""Characters of a string whose layout sets no limit."""
_OVERPUNCH: Final = {c: (str(i % 10), "" if i < 10 else "-") for i, c in enumerate("{ABCDEFGHI}JKLMNOPQR")} | {
    c: (str(i), "-") for i, c in enumerate("pqrstuvwxy")
}
"""EBCDIC's signed digits as they are written in ASCII, and those of compilers for ASCII (minus alone)."""
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_PARTS: Final = {
    "Y": ("year", 4),
    "y": ("short", 2),
    "m": ("month", 2),
    "d": ("day", 2),
    "H": ("hour", 2),
    "M": ("minute", 2),
    "S": ("second", 2),
}

Raw = str | None
Read = Callable[[Raw], Any]


class Wrong(Exception):
    """A record that is not what its layout declares. `line` counts from 1; 0 = not known yet."""

    def __init__(self, field: str, expected: str, got: str, line: int = 0) -> None:
        super().__init__(field, expected, got, line)
        self.field, self.expected, self.got, self.line = field, expected, got, line


class Memo(dict[Raw, Any]):
    """`memo[text]` converts a short text once, and forgets all when it holds too many."""

    __slots__ = ("_read",)

    def __init__(self, read: Read) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, raw: Raw) -> Any:
        value = self._read(raw)
        if not isinstance(raw, str) or len(raw) <= SHOWN:
            if len(self) >= MEMO:
                self.clear()
            self[raw] = value
        return value


def shown(text: str, personal: bool = False) -> str:
    """What a finding may quote of a value."""
    if personal:
        return "a personal value, not shown"
    return f"{text[:SHOWN]!r}" + (f" … ({len(text)} characters)" if len(text) > SHOWN else "")


def reader(f: FieldRule) -> tuple[Read, bool]:
    """The conversion of a field, and whether its texts repeat enough to be remembered. An empty text is absent. Raises Wrong."""
    convert, expected, repeats = _conversion(f)
    name, personal = f.name, f.personal
    empty: Any = None
    if f.type == "flags":
        empty = convert("")
    elif f.default is not None:
        empty = convert(f.default)

    def read(raw: Raw) -> Any:
        if not raw:
            if f.required:
                raise Wrong(name, expected, "nothing")
            return empty
        try:
            return convert(raw)
        except (ValueError, Bad):
            raise Wrong(name, expected, shown(raw, personal)) from None

    if f.type == "string" and not repeats:
        low, high = max(f.min or 0, 1), f.max if f.max is not None else LONGEST

        def quick(raw: Raw) -> Any:
            return raw if raw and low <= len(raw) <= high else read(raw)

        return quick, False
    if f.type == "integer" and not repeats:
        fewest, most = f.digits or 0 if f.pad == "0" else 1, f.digits or 0

        def whole(raw: Raw) -> Any:
            return int(raw) if raw and fewest <= len(raw) <= most and raw.isdigit() and raw.isascii() else read(raw)

        return whole, False
    return read, repeats


def _conversion(f: FieldRule) -> tuple[Callable[[str], Any], str, bool]:
    match f.type:
        case "string":
            return _string(f)
        case "integer" | "decimal":
            return _number(f)
        case "date" | "time" | "datetime":
            return _moment(f)
        case "enum":
            codes = ", ".join(list(f.values)[:12])
            if not f.closed:
                return _string(f)[0], f"one of {codes}, or another code", True
            known = f.values.keys()

            def code(raw: str) -> str:
                if raw not in known:
                    raise ValueError
                return raw

            return code, f"one of {codes}", True
        case "flags":
            letters = tuple(f.values)

            def flags(raw: str) -> tuple[bool, ...]:
                if not set(raw) <= f.values.keys():
                    raise ValueError
                return tuple(letter in raw for letter in letters)

            return flags, f"any of the letters {', '.join(letters)}", True
        case "boolean":

            def boolean(raw: str) -> bool:
                if (found := _BOOLEANS.get(raw)) is None:
                    raise ValueError
                return found

            return boolean, "true or false", True


def _string(f: FieldRule) -> tuple[Callable[[str], str], str, bool]:
    low, high = f.min or 0, f.max if f.max is not None else LONGEST
    matches = re.compile(f.pattern).fullmatch if f.pattern else None

    def string(raw: str) -> str:
        if not low <= len(raw) <= high or (matches is not None and matches(raw) is None):
            raise ValueError
        return raw

    parts = [f"at least {low}" if low else "", f"at most {high}"] if low != high else [f"exactly {low}"]
    expected = f"text of {' and '.join(p for p in parts if p)} characters" + (f" that matches {f.pattern}" if f.pattern else "")
    return string, expected, matches is not None or high <= 16


def _number(f: FieldRule) -> tuple[Callable[[str], Any], str, bool]:
    """Integers as int; decimals as plain text with a point, so that equal amounts stay one object downstream."""
    digits, implied, pad = f.digits or 0, f.decimals, f.pad
    point = r"(?:\.[0-9]+)?" if f.type == "decimal" and implied is None else ""
    matches = re.compile(rf"[0-9]+{point}").fullmatch
    bound = "exactly" if pad and f.type == "integer" else "at most"
    expected = f"{'an integer' if f.type == 'integer' else 'a decimal'} of {bound} {digits} digits"
    if implied:
        expected += f", {implied} of them decimals"
    if f.sign != "none":
        punched = {"overpunch": ", last digit over-punched", "overpunch_leading": ", first digit over-punched"}
        expected += punched.get(f.sign, f", {f.sign} sign")

    plainly = f.type == "decimal" and implied and not pad

    def number(raw: str) -> Any:
        if plainly and implied and raw.isdigit() and raw.isascii() and implied < len(raw) <= digits and raw[0] != "0":
            return f"{raw[:-implied]}.{raw[-implied:]}"
        minus = ""
        text = raw
        if plain := raw.isdigit() and raw.isascii():
            pass
        elif f.sign == "leading" and text[0] == "-":
            minus, text = "-", text[1:]
        elif f.sign == "trailing" and text[-1] == "-":
            minus, text = "-", text[:-1]
        elif f.sign == "overpunch" and text[-1] in _OVERPUNCH:
            last, minus = _OVERPUNCH[text[-1]]
            text = text[:-1] + last
        elif f.sign == "overpunch_leading" and text[0] in _OVERPUNCH:
            first, minus = _OVERPUNCH[text[0]]
            text = first + text[1:]
        if pad and pad != "0":
            text = text.lstrip(pad) or "0"
        count = len(text) - ("." in text)
        if (not plain and matches(text) is None) or count > digits or (pad == "0" and f.type == "integer" and count != digits):
            raise ValueError
        if f.type == "integer":
            return int(minus + text)
        if implied:
            text = text.zfill(implied + 1)
            return f"{minus}{text[:-implied].lstrip('0') or '0'}.{text[-implied:]}"
        return f"{minus}{text}"

    return number, expected, f.type == "decimal" or digits <= 4


def _moment(f: FieldRule) -> tuple[Callable[[str], Any], str, bool]:
    if f.format == "iso":
        return {
            "date": (iso_date, "a date YYYY-MM-DD", True),
            "time": (iso_time, "a time HH:MM:SS", False),
            "datetime": (_iso, "a date and time such as 2026-03-11T09:30:00", False),
        }[f.type]
    expected = f"a {f.type} {f.format}"
    if "|" in (f.format or ""):
        return _either([_moment(replace(f, format=each))[0] for each in (f.format or "").split("|")]), expected, f.type != "datetime"
    if (f.type, f.format) == ("datetime", "%Y%m%d%H%M%S"):
        return _compact, expected, False
    pattern = "".join(
        f"(?P<{_PARTS[p[1]][0]}>[0-9]{{{_PARTS[p[1]][1]}}})" if len(p) == 2 else re.escape(p)
        for p in re.findall(r"%.|[^%]", f.format or "")
    )
    matches = re.compile(pattern).fullmatch

    def moment(raw: str) -> date | time | datetime:
        if (found := matches(raw)) is None:
            raise ValueError
        n = {k: int(v) for k, v in found.groupdict().items()}
        year = n.get("year", 2000 + n.get("short", 0) - (100 if n.get("short", 0) >= 70 else 0))
        clock = time(n.get("hour", 0), n.get("minute", 0), n.get("second", 0))
        if f.type == "time":
            return clock
        day = date(year, n.get("month", 1), n.get("day", 1))
        return day if f.type == "date" else datetime.combine(day, clock)

    return moment, expected, f.type == "date"


def _either(ways: Sequence[Callable[[str], Any]]) -> Callable[[str], Any]:
    def either(raw: str) -> Any:
        for way in ways[:-1]:
            with suppress(ValueError, Bad):
                return way(raw)
        return ways[-1](raw)

    return either


def _compact(raw: str) -> datetime:
    if len(raw) != 14 or not (raw.isascii() and raw.isdigit()):
        raise ValueError
    return datetime.fromisoformat(f"{raw[:8]}T{raw[8:]}")


def _iso(raw: str) -> datetime:
    if len(raw) in (19, 25) and raw[7] == "-" and raw[10] == "T":
        return datetime.fromisoformat(raw)
    return iso_datetime(raw)

"""Functions on days, times of the day, points in time and zones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mappings.language import dates
from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Call, Const, Node
from mappings.language.functions.registry import Family, Parameter, back, same, short
from mappings.language.kinds import (
    DATE,
    DATETIME,
    DECIMAL,
    INSTANT,
    INTEGER,
    NO_CONST,
    STRING,
    TIME,
    ZONE,
    Type,
    Value,
)
from mappings.language.read import did_you_mean
from mappings.language.source import Source

family = Family()


def _unformat(value: Node, call: Call) -> Node | None:
    given = dict(call.named)
    spec, zone = given.get("format"), given.get("zone")
    form = tuple((k, n) for k, n in call.named if k in ("format", "pivot", "language"))
    if zone is not None:
        return Call("local_datetime", (value,), (("zone", zone), *form))
    return Call("time" if isinstance(spec, Const) and "Y" not in str(spec.value) else "date", (value,), form)


_ZONE = Parameter("zone", "a location (its zone is asked for), 'UTC' or an IANA name in quotes, or zone(…)", ("string", "zone"))


def _zone(b: Source, value: Value) -> Value:
    if value.type.kind == "zone":
        return value
    if value.const is not NO_CONST:
        return replace(value, code=b.constant("zone", _zone_named(value.const)), type=ZONE, const=NO_CONST)
    if value.optional:
        raise Problem(f"the location {'.'.join(value.path)} may be absent", "append | default('…') or | required to it, or name a zone")
    return value.with_(b.temporary(f"zone_of(context, {value.code})", value), ZONE)


def _zone_named(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Problem(f"{name!r} is no time zone", "write an IANA name such as 'Europe/Berlin', or a field that holds a location") from None


def _form(b: Source, args: dict[str, Any], *needs: tuple[str, ...]) -> str:
    """The constant that holds the format."""
    spec, letters = args["format"], dates.TOKENS.findall(args["format"])
    if len({dates.GROUPS.get(n, "fraction") for n in letters}) != len(letters) or not all({*n} & {*letters} for n in needs):
        hint = "made of YYYY YY C MM M MMM DD D DDD hh h mm ss fff AP, each once: 'YYYYMMDD', 'CYYMMDD', 'DD.MM.YYYY hh:mm'"
        raise Problem(f"{spec!r} is no format for this", f"formats are {hint}")
    if args["language"] not in dates.MONTHS:
        raise Problem(f"months in {args['language']!r} are not known", did_you_mean(args["language"], dates.MONTHS))
    if not 0 <= args["pivot"] <= 100:
        raise Problem(f"pivot is {args['pivot']}", "two digits below it are of this century: write 0 to 100")
    form = dates.Format(spec, args["pivot"], args["language"])
    return next((name for name, known in b.constants.items() if known == form), "") or b.constant("format", form)


_FORMAT = Parameter("format", "made of YYYY YY C MM M MMM MMMM DD D DDD hh h mm ss f… AP", ("str",), "constant")
_MAYBE = replace(_FORMAT, default=None)
_FORM = (
    Parameter("pivot", "two digits of a year below it mean 20xx", ("int",), "constant", dates.PIVOT),
    Parameter("language", f"of months' names: {' '.join(dates.MONTHS)}", ("str",), "constant", "en"),
)


@family.function(
    "date",
    "string date integer",
    "date",
    "A day. Fillers (blank, zeros) and 9999-12-31 (no end) become absent. Without a format: YYYY-MM-DD. YYDDD is a year with the day in "
    "it, CYYMMDD the AS/400 form, DD-MMM-YYYY has a month's name.",
    _MAYBE,
    *_FORM,
    example="date('YYYYMMDD')",
    samples=("20260311", "20240229", "19991231"),
    inverse="format(format)",
    invert=lambda v, c: Call("format", (v,), c.named or (("format", Const("YYYY-MM-DD")),)),
    loss="which filler it was",
    raw=True,
)
def _date(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["format"] is None:
        return b.apply(value, "filled_iso_date($)", DATE, optional=True)
    name = _form(b, args, *dates.DAYS)
    if value.raw == "xml":
        return b.apply(value, f"{b.memo('days', name, b.constants[name].day)}[$]", DATE, optional=True)
    return b.apply(value, f"{name}.day($)", DATE, optional=True)


@family.function(
    "time",
    "string time integer",
    "time",
    "A time of the day.",
    _FORMAT,
    *_FORM,
    example="time('hhmmss')",
    samples=("093000", "235959", "000000"),
    inverse="format(format)",
    invert=lambda v, c: Call("format", (v,), c.named),
    raw=True,
)
def _time(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"{_form(b, args, *dates.HOURS)}.clock($)", TIME)


@family.function(
    "instant",
    "string datetime",
    "instant",
    "A date and time that carries its offset (RFC 3339); without offset it is refused.",
    samples=("2026-03-11T09:30:00Z", "2026-03-11T09:30:00+01:00"),
    inverse="utc text",
    invert=same,
    raw=True,
    loss="the offset it was written with",
)
def _instant(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value if value.type.kind == "instant" and value.raw is None else b.apply(value, "instant($)", INSTANT)


@family.function(
    "local_datetime",
    "string datetime integer",
    "instant",
    "Local time to a point in time. An offset in the text wins; the repeated hour of autumn takes the first offset; an hour that spring "
    "skips is refused. Fillers become absent.",
    _ZONE,
    _MAYBE,
    *_FORM,
    example="local_datetime(WERKS, 'YYYYMMDDhhmmss')",
    samples=("20260311093000", "20261025023000", "20260701235959"),
    inverse="format(format, zone)",
    invert=lambda v, c: Call("format", (v,), c.named) if "format" in dict(c.named) else None,
    loss="which of two equal hours of autumn it was",
    raw=True,
)
def _local_datetime(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = _local(b, value, args)
    return b.apply(value, f"local_datetime($, {_zone(b, args['zone']).code})", INSTANT)


def _local(b: Source, value: Value, args: dict[str, Any]) -> Value:
    if args["format"] is not None:
        return b.apply(value, f"{_form(b, args, *dates.DAYS)}.moment($)", DATETIME, optional=True)
    if value.type.kind == "datetime":
        return b.native(value)
    return b.apply(value, f"{b.constant('iso_moment', dates.iso_moment)}($)", DATETIME, optional=True)


@family.function(
    "time_quality",
    "string datetime",
    "as_sent, from_store_zone or ambiguous",
    "How sure the offset of a local time is; see local_datetime.",
    _ZONE,
    _MAYBE,
    *_FORM,
    example="time_quality(WERKS, 'YYYYMMDDhhmmss')",
    loss="the time",
    raw=True,
)
def _time_quality(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = _local(b, value, args)
    return b.apply(
        value, f"time_quality($, {_zone(b, args['zone']).code})", Type("string", values=("as_sent", "from_store_zone", "ambiguous"))
    )


@family.function(
    "start_of_day",
    "date",
    "instant",
    "Local midnight at the start of a day.",
    _ZONE,
    example="date('YYYYMMDD') | start_of_day(WERKS)",
    samples=("20260311", "20261025"),
    inverse="day(zone)",
    invert=back("day", "zone"),
)
def _start_of_day(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"start_of_day($, {_zone(b, args['zone']).code})", INSTANT)


@family.function(
    "end_of_day",
    "date",
    "instant",
    "An inclusive last day becomes the next local midnight.",
    _ZONE,
    example="date('YYYYMMDD') | end_of_day(WERKS)",
    samples=("20260311", "20260329"),
    inverse="last_day(zone)",
    invert=back("last_day", "zone"),
)
def _end_of_day(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"end_of_day($, {_zone(b, args['zone']).code})", INSTANT)


@family.function("day", "instant", "date", "The local day of a point in time.", _ZONE, example="day(WERKS)", loss="the time of the day")
def _day(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"$.astimezone({_zone(b, args['zone']).code}).date()", DATE)


@family.function(
    "last_day",
    "instant",
    "date",
    "The last local day before a point in time: the inclusive form of an end.",
    _ZONE,
    example="last_day(WERKS)",
    loss="the time of the day",
)
def _last_day(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"last_day($, {_zone(b, args['zone']).code})", DATE)


@family.function(
    "epoch_millis",
    "integer string instant",
    "instant, or integer from an instant",
    "Milliseconds since 1970, UTC, in both directions.",
    samples=("1773219600123", "0", "-86400000"),
    inverse="itself",
    invert=back("epoch_millis"),
    raw=True,
)
def _epoch_millis(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "instant":
        return b.apply(value, "to_millis($)", INTEGER)
    return b.apply(value, "from_millis($)", INSTANT)


@family.function(
    "epoch_seconds",
    "integer decimal string instant",
    "instant, or integer from an instant",
    "Seconds since 1970, UTC, in both directions; up to six digits after the point are read, whole seconds are written.",
    samples=("1773219600", "0", "-86400"),
    inverse="itself",
    invert=back("epoch_seconds"),
    loss="how a fraction was written",
    raw=True,
)
def _epoch_seconds(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _both(b, value, "instant", (dates.to_seconds, INTEGER), (dates.epoch_seconds, INSTANT))


def _both(b: Source, value: Value, kind: str, there: tuple[Callable[[Any], Any], Type], here: tuple[Callable[[Any], Any], Type]) -> Value:
    """A conversion that turns itself round: what is of `kind` goes there, all else comes here."""
    convert, type_ = there if value.type.kind == kind else here
    return b.apply(value, f"{b.constant(convert.__name__, convert)}($)", type_, optional=True if convert in _FILLED else None)


_FILLED = (dates.inverted_date, dates.dotnet)
"""Conversions that make fillers absent."""


@family.function(
    "dotnet_date",
    "string instant",
    "instant, or string from an instant",
    "`/Date(1773219600000+0100)/`, milliseconds UTC, in both directions. The day before all days (year 1) is absent.",
    samples=("/Date(1773219600123)/", "/Date(-86400000)/", "/Date(1773219600000+0100)/"),
    inverse="itself",
    invert=back("dotnet_date"),
    loss="the offset it was written with",
)
def _dotnet_date(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _both(b, value, "instant", (dates.to_dotnet, STRING), (dates.dotnet, INSTANT))


@family.function(
    "inverted_date",
    "string date",
    "date, or string from a date",
    "SAP's complement of a day (GDATU): 79739688 is 2026-03-11. Fillers become absent.",
    samples=("79739688", "79759770"),
    inverse="itself",
    invert=back("inverted_date"),
    loss="which filler it was",
)
def _inverted_date(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _both(b, value, "date", (dates.complement, short(value, 8)), (dates.inverted_date, DATE))


@family.function(
    "excel_date",
    "integer decimal string date",
    "date, or integer from a date",
    "The serial day number of a spreadsheet: 46092 is 2026-03-11. A fraction is refused.",
    samples=("46092", "61", "59", "1"),
    inverse="itself",
    invert=back("excel_date"),
    raw=True,
)
def _excel_date(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _both(b, value, "date", (dates.excel_serial, INTEGER), (dates.excel_date, DATE))


@family.function(
    "excel_datetime",
    "decimal integer string instant",
    "instant, or decimal from an instant",
    "The serial number of a spreadsheet, whose fraction is the local time of the day, to the millisecond.",
    _ZONE,
    example="excel_datetime(WERKS)",
    samples=("46092.395833", "46092", "61.5"),
    inverse="itself",
    invert=back("excel_datetime", "zone"),
    loss="what is finer than a millisecond",
    raw=True,
)
def _excel_datetime(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    convert, type_ = (dates.excel_moment, DECIMAL) if value.type.kind == "instant" else (dates.excel_instant, INSTANT)
    return b.apply(value, f"{b.constant(convert.__name__, convert)}($, {_zone(b, args['zone']).code})", type_)


@family.function(
    "format",
    "date time instant",
    "string",
    "Date or time as text; a point in time needs a zone. A year that two digits cannot tell is refused.",
    _FORMAT,
    replace(_ZONE, default=None),
    *_FORM,
    example="date('YYYYMMDD') | format('DD.MM.YYYY')",
    samples=("20260311",),
    inverse="date, time or local_datetime with the same format",
    invert=_unformat,
)
def _write_format(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "instant" and args["zone"] is None:
        raise Problem("a point in time has no day without a zone", "write format('YYYYMMDD', 'UTC') or format('YYYYMMDD', LOCATION)")
    zone = "" if args["zone"] is None else f", {_zone(b, args['zone']).code}"
    form = _form(b, args)
    return b.apply(value, f"{form}.write(${zone})", short(value, b.constants[form].longest))


@family.function("zone_of", "string", "zone", "The time zone of a location; an unknown one is refused.", example="zone_of(WERKS)")
def _zone_of(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.simple(b.apply(value, "zone_of(context, $)", ZONE))


@family.function(
    "zone",
    "string",
    "zone",
    "A time zone by name. The names are known when the mapping is loaded: a constant, or the values of an enum.",
    example="LAND1 | enum(DE='Europe/Berlin', AT='Europe/Vienna') | zone",
)
def _zone_by_name(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.values is None:
        raise Problem("zone needs names that are known now", "write CODE | enum(DE='Europe/Berlin') | zone, or zone_of(LOCATION)")
    zones = {n: _zone_named(n) for n in value.type.values}
    return b.apply(value, f"zone_named({b.constant('zones', zones)}, $)", ZONE)

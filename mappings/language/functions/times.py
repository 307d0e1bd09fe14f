"""Functions on days, times of the day, points in time and zones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mappings.language import runtime
from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Call, Const, Node
from mappings.language.functions.registry import Family, Parameter, back, same, short
from mappings.language.kinds import (
    DATE,
    INSTANT,
    INTEGER,
    NO_CONST,
    TIME,
    ZONE,
    Type,
    Value,
)
from mappings.language.source import Source

family = Family()


def _unformat(value: Node, call: Call) -> Node | None:
    if len(call.arguments) == 3:
        return Call("local_datetime", (value, call.arguments[2], call.arguments[1]))
    spec = call.arguments[1] if len(call.arguments) > 1 else None
    return Call("time" if isinstance(spec, Const) and "Y" not in str(spec.value) else "date", (value, *call.arguments[1:2]))


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


def _format(b: Source, spec: str | None, needs: str) -> str:
    if spec is None:
        return "None"
    letters = runtime.TOKENS.findall(spec)
    if len(set(letters)) != len(letters) or not all(n in letters or (n == "YYYY" and "YY" in letters) for n in needs.split()):
        raise Problem(
            f"{spec!r} is no format for this", "formats are made of YYYY YY MM DD hh mm ss fff, each once: 'YYYYMMDD', 'DD.MM.YYYY hh:mm'"
        )
    for known, value in b.constants.items():
        if isinstance(value, runtime.Format) and value.spec == spec:
            return known
    return b.constant("format", runtime.Format(spec))


_FORMAT = Parameter("format", "made of YYYY YY MM DD hh mm ss fff", ("str",), "constant")


@family.function(
    "date",
    "string date integer",
    "date",
    "A day. Fillers (blank, zeros) and 9999-12-31 (no end) become absent. Without a format: YYYY-MM-DD.",
    replace(_FORMAT, default=None),
    example="date('YYYYMMDD')",
    inverse="format(format)",
    invert=lambda v, c: Call("format", (v, *(c.arguments[1:] or (Const("YYYY-MM-DD"),)))),
    loss="which filler it was",
    raw=True,
)
def _date(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["format"] is None:
        return b.apply(value, "filled_iso_date($)", DATE, optional=True)
    name = _format(b, args["format"], "YYYY MM DD")
    if value.raw == "xml":
        form = b.constants[name]
        return b.apply(value, f"{b.memo('days', name, lambda text: runtime.formatted_date(text, form))}[$]", DATE, optional=True)
    return b.apply(value, f"formatted_date($, {name})", DATE, optional=True)


@family.function(
    "time",
    "string time",
    "time",
    "A time of the day.",
    _FORMAT,
    example="time('hhmmss')",
    inverse="format(format)",
    invert=back("format", "format"),
    raw=True,
)
def _time(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"formatted_time($, {_format(b, args['format'], 'hh mm')})", TIME)


@family.function(
    "instant",
    "string datetime",
    "instant",
    "A date and time that carries its offset (RFC 3339); without offset it is refused.",
    inverse="utc text",
    invert=same,
    raw=True,
    loss="the offset it was written with",
)
def _instant(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value if value.type.kind == "instant" and value.raw is None else b.apply(value, "instant($)", INSTANT)


@family.function(
    "local_datetime",
    "string datetime",
    "instant",
    "Local time to a point in time. An offset in the text wins; the repeated hour of autumn takes the first offset; an hour that spring "
    "skips is refused. Fillers become absent.",
    _ZONE,
    replace(_FORMAT, default=None),
    example="local_datetime(WERKS, 'YYYYMMDDhhmmss')",
    inverse="format(format, zone)",
    invert=lambda v, c: Call("format", (v, c.arguments[2], c.arguments[1])) if len(c.arguments) == 3 else None,
    loss="which of two equal hours of autumn it was",
    raw=True,
)
def _local_datetime(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = _local(b, value, args)
    return b.apply(value, f"local_datetime($, {_zone(b, args['zone']).code})", INSTANT)


def _local(b: Source, value: Value, args: dict[str, Any]) -> Value:
    form = _format(b, args["format"], "YYYY MM DD")
    if value.type.kind == "datetime" and form == "None":
        return b.native(value)
    return b.apply(value, f"formatted_datetime($, {form})", Type("datetime"), optional=True)


@family.function(
    "time_quality",
    "string datetime",
    "as_sent, from_store_zone or ambiguous",
    "How sure the offset of a local time is; see local_datetime.",
    _ZONE,
    replace(_FORMAT, default=None),
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
    inverse="itself",
    invert=back("epoch_millis"),
    raw=True,
)
def _epoch_millis(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "instant":
        return b.apply(value, "to_millis($)", INTEGER)
    return b.apply(value, "from_millis($)", INSTANT)


@family.function(
    "format",
    "date time instant",
    "string",
    "Date or time as text; a point in time needs a zone.",
    _FORMAT,
    replace(_ZONE, default=None),
    example="format('YYYYMMDD')",
    inverse="date, time or local_datetime with the same format",
    invert=_unformat,
)
def _write_format(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "instant" and args["zone"] is None:
        raise Problem("a point in time has no day without a zone", "write format('YYYYMMDD', 'UTC') or format('YYYYMMDD', LOCATION)")
    zone = "None" if args["zone"] is None else _zone(b, args["zone"]).code
    return b.apply(value, f"write_time($, {_format(b, args['format'], '')}, {zone})", short(value, len(args["format"])))


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

"""Types and values of the language while a mapping is translated: what an expression gives, and the Python text that gives it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from mappings.language.shape import Form, Leaf, Record

NO_CONST: Final = object()
REFUSE: Final = object()
"""`otherwise=refuse`: a code without a case stops the record."""
NUMBERS: Final = ("integer", "decimal")
AMOUNTS: Final = {"Money": "money", "Quantity": "quantity", "UnitPrice": "unit_price"}
"""Canonical Structs that are values of the language."""


@dataclass(frozen=True, slots=True)
class Type:
    """`kind`: a kind of shape.Leaf, or instant (a datetime with offset), record, list, money, quantity, unit_price, localized, zone,
    nothing.

    `leaf` holds the facets that are known (lengths, digits); `values` is the complete set of values, when that is known.
    """

    kind: str
    leaf: Leaf | None = None
    record: Record | None = None
    item: Type | None = None
    values: tuple[Any, ...] | None = None

    def __str__(self) -> str:
        if self.kind == "list" and self.item is not None:
            return f"list of {self.item}"
        if self.kind == "record" and self.record is not None:
            return f"record {self.record.name}"
        if self.values is not None and self.kind == "string":
            return f"one of {', '.join(map(repr, self.values[:6]))}{', …' if len(self.values) > 6 else ''}"
        facets = self.leaf
        if facets is not None and self.kind == "string" and facets.max_length is not None:
            return f"string of at most {facets.max_length}"
        if facets is not None and facets.digits is not None:
            return f"{self.kind} of {facets.digits[0]} digits, {facets.digits[1]} after the point"
        return self.kind


STRING: Final = Type("string")
INTEGER: Final = Type("integer")
DECIMAL: Final = Type("decimal")
BOOLEAN: Final = Type("boolean")
DATE: Final = Type("date")
TIME: Final = Type("time")
DATETIME: Final = Type("datetime")
INSTANT: Final = Type("instant")
LOCALIZED: Final = Type("localized")
ZONE: Final = Type("zone")
NOTHING: Final = Type("nothing")


@dataclass(frozen=True, slots=True)
class Value:
    """`code` gives it. `raw`: not converted yet, as the form delivers it. `path`: where it was read, for errors and lineage."""

    code: str
    type: Type
    optional: bool = False
    raw: Form | None = None
    path: tuple[str, ...] = ()
    const: Any = field(default=NO_CONST, compare=False)
    where: str = ""
    """The path with the indexes of the rows, as error messages show it."""
    personal: bool = False
    node: Any = field(default=None, compare=False)
    """The record's Node, where one is open already."""

    def with_(self, code: str, type: Type, *, optional: bool | None = None) -> Value:
        """The converted value: same origin, new code and type."""
        return replace(
            self, code=code, type=type, raw=None, const=NO_CONST, node=None, optional=self.optional if optional is None else optional
        )


def lit(value: object) -> str:
    """A constant as Python text that holds no `$`, which stands for the value in templates."""
    return repr(value).replace("$", "\\x24")


def leaf_type(leaf: Leaf) -> Type:
    return Type(leaf.kind, leaf, values=leaf.enum if leaf.kind == "string" else None)


def either(one: Type, other: Type) -> Type | None:
    """The type of a value that is one or the other; None when they do not go together."""
    if one.kind == "nothing" or other.kind == "nothing":
        return other if one.kind == "nothing" else one
    if one.kind in NUMBERS and other.kind in NUMBERS:
        return INTEGER if one.kind == other.kind == "integer" else DECIMAL
    if one.kind != other.kind:
        return None
    if one.kind == "record" and one.record is not other.record:
        return None
    if one.kind == "list":
        item = either(one.item or NOTHING, other.item or NOTHING)
        return None if item is None else Type("list", item=item)
    values = None if one.values is None or other.values is None else tuple(dict.fromkeys((*one.values, *other.values)))
    return Type(one.kind, _wider(one, other), one.record, one.item, values)


def _wider(one: Type, other: Type) -> Leaf | None:
    lengths = [t.leaf.max_length if t.leaf else max(map(len, t.values)) if t.kind == "string" and t.values else None for t in (one, other)]
    return None if None in lengths or one.kind != "string" else Leaf("string", max(n for n in lengths if n is not None))


CONVERT: Final = {
    ("string", "integer"): "append | integer",
    ("string", "decimal"): "append | decimal",
    ("string", "boolean"): "append | boolean(true='X')",
    ("string", "date"): "append | date('YYYYMMDD')",
    ("string", "datetime"): "append | local_datetime(LOCATION, 'YYYYMMDDhhmmss')",
    ("string", "instant"): "append | local_datetime(LOCATION, 'YYYYMMDDhhmmss'), or | instant for RFC 3339",
    ("integer", "instant"): "append | epoch_millis",
    ("date", "instant"): "append | start_of_day(LOCATION) or | end_of_day(LOCATION)",
    ("datetime", "instant"): "append | local_datetime(LOCATION)",
    ("integer", "string"): "append | string",
    ("decimal", "string"): "append | string",
    ("decimal", "integer"): "append | integer: a fraction is refused",
    ("boolean", "string"): "append | enum({True: 'X', False: ''})",
    ("date", "string"): "append | format('YYYYMMDD')",
    ("instant", "string"): "append | format('YYYYMMDDhhmmss', 'UTC')",
    ("time", "string"): "append | format('hhmmss')",
    ("money", "decimal"): "append | amount",
    ("quantity", "decimal"): "append | amount",
    ("money", "string"): "append | amount | string(2)",
    ("quantity", "string"): "append | amount | string",
    ("instant", "integer"): "append | epoch_millis",
    ("instant", "date"): "append | day(LOCATION)",
    ("list", "string"): "append | first or | join(', ')",
}
"""(what is given, what is wanted) -> what to append to the expression."""

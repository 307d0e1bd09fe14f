"""Canonical Structs as shapes, so that both sides of a mapping are described in the same words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from mappings.language.shape import Field, Kind, Leaf, Message, Record

GATEWAY_FILLED = frozenset({"provenance"})
"""Target fields that no mapping fills: the gateway does, from the context."""
GATEWAY_KEPT = frozenset({"provenance", "version", "pending_write", "export_state"})
"""The gateway's own book-keeping in canonical sources: a mapping need neither use nor drop it."""


@dataclass(slots=True, eq=False)
class StructRecord(Record):
    """A Record that remembers its class. `defaults`: what a field holds when it is not given."""

    type: type[msgspec.Struct] | None = None
    defaults: dict[str, Any] | None = None
    wire: dict[str, str] | None = None
    """Attribute -> name in JSON."""


def message(struct: type[msgspec.Struct]) -> Message:
    return Message(struct.__name__, "struct", record(struct))


def record(struct: type[msgspec.Struct]) -> StructRecord:
    """Recursive types give recursive records. Attribute names, as Python writes them."""
    return _record(_info(struct), {})


@cache
def _info(struct: type[msgspec.Struct]) -> inspect.StructType:
    return inspect.type_info(struct)  # type: ignore[return-value]  # a Struct's info is a StructType


def _record(info: inspect.StructType, known: dict[type, StructRecord]) -> StructRecord:
    if info.cls in known:
        return known[info.cls]
    defaults: dict[str, Any] = {}
    made = known[info.cls] = StructRecord(
        info.cls.__name__, type=info.cls, defaults=defaults, wire={f.name: f.encode_name for f in info.fields}
    )
    for f in info.fields:
        if f.default is not msgspec.NODEFAULT:
            defaults[f.name] = f.default
        elif f.default_factory is not msgspec.NODEFAULT:
            defaults[f.name] = f.default_factory()
        made.fields.append(_field(f.name, f.type, known, required=f.required and f.name not in GATEWAY_FILLED))
    return made


def field_of(name: str, annotation: Any) -> Field:
    """What an annotation says about one value. Raises TypeError for what it cannot be."""
    return _field(name, inspect.type_info(annotation), {}, required=True)


def _field(name: str, info: inspect.Type, known: dict[type, StructRecord], *, required: bool) -> Field:
    info, personal = _plain(info)
    nillable = False
    if isinstance(info, inspect.UnionType):
        rest = [t for t in info.types if not isinstance(t, inspect.NoneType)]
        nillable = len(rest) < len(info.types)
        info, more = _plain(rest[0]) if len(rest) == 1 else (inspect.AnyType(), False)
        personal = personal or more
    repeated = isinstance(info, inspect.VarTupleType | inspect.ListType)
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        info, more = _plain(info.item_type)
        personal = personal or more
    shape = _record(info, known) if isinstance(info, inspect.StructType) else _leaf(info)
    return Field(name, shape, required=required, repeated=repeated, nillable=nillable, personal=personal)


def _plain(info: inspect.Type) -> tuple[inspect.Type, bool]:
    personal = False
    while isinstance(info, inspect.Metadata):
        personal = personal or bool((info.extra or {}).get("personal"))
        info = info.type
    return info, personal


def _leaf(info: inspect.Type) -> Leaf | Record:
    kind: Kind
    match info:
        case inspect.StrType():
            return Leaf("string", info.max_length, pattern=info.pattern, min_length=info.min_length)
        case inspect.IntType():
            return Leaf("integer", minimum=_text(info.ge, info.gt, 1), maximum=_text(info.le, info.lt, -1))
        case inspect.LiteralType(values=values) if all(isinstance(v, str) for v in values):
            return Leaf("string", enum=tuple(str(v) for v in values))
        case inspect.DictType():
            return Record("Localized", open=True)
        case inspect.BoolType():
            kind = "boolean"
        case inspect.DecimalType():
            kind = "decimal"
        case inspect.DateType():
            kind = "date"
        case inspect.TimeType():
            kind = "time"
        case inspect.DateTimeType():
            kind = "datetime"
        case inspect.BytesType():
            kind = "binary"
        case _:
            kind = "any"
    return Leaf(kind)


def _text(inclusive: int | None, exclusive: int | None, step: int) -> str | None:
    if inclusive is not None:
        return str(inclusive)
    return None if exclusive is None else str(exclusive + step)

"""The shape of estate.toml for editors."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from contracts.policy import Duration
from gateway.estate.tables import Estate


def schema() -> dict[str, Any]:
    """JSON Schema of estate.toml, so that editors complete it."""
    made = msgspec.json.schema(_written(Estate, {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "estate.toml"}


_WRITTEN_DURATION = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]{1,3})?(ms|s|m|h|d)$", examples=["800ms", "30s", "15m"])]


def _written(kind: Any, made: dict[Any, Any]) -> Any:
    """A type as it is written in TOML: durations are text, and a default that is no plain value is left out."""
    if kind is Duration:
        return _WRITTEN_DURATION
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in made:
            hints = typing.get_type_hints(kind, include_extras=True)
            fields: list[Any] = []
            for f in msgspec.structs.fields(kind):
                hint = _written(hints[f.name], made)
                if f.required:
                    fields.append((f.name, hint))
                elif isinstance(f.default, str | int):
                    fields.append((f.name, hint, f.default))
                else:
                    fields.append((f.name, hint | msgspec.UnsetType, msgspec.UNSET))
            made[kind] = msgspec.defstruct(
                kind.__name__, fields, kw_only=True, forbid_unknown_fields=True, namespace={"__doc__": kind.__doc__}
            )
        return made[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return Annotated[(_written(args[0], made), *args[1:])]
    if origin is Literal or not args:
        return kind
    inner = tuple(_written(a, made) for a in args)
    return Union[inner] if origin in (Union, types.UnionType) else origin[inner]  # noqa: UP007  # built at run time

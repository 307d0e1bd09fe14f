"""Personal data leaves through answers only for those who may read customers; for all others marked fields are absent."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

SCOPE = "customers:read"

Veil = Callable[[Any], Any]


@lru_cache(maxsize=256)
def veil(kind: Any) -> Veil | None:
    """A function that takes marked fields out of a value of this type; None where it has none. Raises ValueError at start for a
    marked field that can't be absent.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return veil(args[0])
    if origin in (Union, types.UnionType):
        return next((found for arg in args if (found := veil(arg))), None)
    if origin in (tuple, list):
        inner = veil(args[0])
        return None if inner is None else lambda values: tuple(inner(v) for v in values)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind)
    return None


def _struct(kind: type[msgspec.Struct]) -> Veil | None:
    hints = typing.get_type_hints(kind, include_extras=True)
    inner: dict[str, Veil] = {}
    for field in msgspec.structs.fields(kind):
        if _marked(hints[field.name]):
            if field.default is not None:
                raise ValueError(f"{kind.__name__}.{field.name} is personal: it must be optional, since not every client may see it")
            inner[field.name] = lambda _: None
        elif found := veil(hints[field.name]):
            inner[field.name] = found
    if not inner:
        return None

    def hide(value: Any) -> Any:
        changed = {name: hidden for name, v in inner.items() if (old := getattr(value, name)) is not None and (hidden := v(old)) is not old}
        return msgspec.structs.replace(value, **changed) if changed else value

    return hide


def _marked(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return any(isinstance(m, msgspec.Meta) and bool((m.extra or {}).get("personal")) for m in get_args(hint)[1:])
    return get_origin(hint) in (Union, types.UnionType) and any(_marked(arg) for arg in get_args(hint))

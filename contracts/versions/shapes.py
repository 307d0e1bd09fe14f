"""Types as trees: what a type holds, in the shape that it had at one version."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

Struct = type[msgspec.Struct]
Shapes = Mapping[Struct, Struct]
"""Type -> the shape that it had. What is not in there never changed."""

ANY = "*"
"""Every element of a list, every value of a map."""


@lru_cache(maxsize=1024)
def names(kind: Struct) -> Mapping[str, Any]:
    """Member as it stands in JSON -> its type."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {f.encode_name: hints[f.name] for f in msgspec.structs.fields(kind)}


@lru_cache(maxsize=1024)
def required(kind: Struct) -> frozenset[str]:
    return frozenset(f.encode_name for f in msgspec.structs.fields(kind) if f.required)


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def choices(kind: Any) -> frozenset[str]:
    """What an enumeration of texts, or a list of such, allows; empty for anything else."""
    if get_origin(kind) is Literal:
        return frozenset(a for a in get_args(kind) if isinstance(a, str))
    if get_origin(kind) in (Annotated, tuple, list, Union, types.UnionType):
        return frozenset().union(*(choices(a) for a in get_args(kind)))
    return frozenset()


def inside(kind: Any) -> Iterator[tuple[str, Any]]:
    """What a type that is no Struct holds: `*` for elements and values, an empty step for alternatives."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield "", args[0]
    elif origin in (Union, types.UnionType):
        for arg in args:
            yield "", arg
    elif origin in (tuple, list):
        yield ANY, args[0]
    elif origin is dict:
        yield ANY, args[1]


def declared(kind: Any, path: Sequence[str], shapes: Shapes) -> Any:
    """What a value of this type holds at a path (any step leads to an element of a list); None: nothing that is known."""
    if is_struct(kind):
        inner = names(shapes.get(kind, kind))
        return kind if not path else declared(inner[path[0]], path[1:], shapes) if path[0] in inner else None
    if not path and choices(kind):
        return kind
    within = (declared(each, path[1:] if step else path, shapes) for step, each in inside(kind) if path or not step)
    return next((found for found in within if found is not None), None)


def held(kind: Any, shapes: Shapes) -> set[Struct]:
    """Every Struct in a value of this type, itself among them."""
    found: set[Struct] = set()
    waiting = [kind]
    while waiting:
        each = waiting.pop()
        if not is_struct(each):
            waiting.extend(k for _, k in inside(each))
        elif each not in found:
            found.add(each)
            waiting.extend(names(shapes.get(each, each)).values())
    return found


def places(kind: Any, shapes: Shapes) -> Iterator[tuple[tuple[str, ...], Struct]]:
    """Where each Struct stands: its path, in the names of the shapes. A type inside itself is followed once."""
    waiting: list[tuple[tuple[str, ...], Any, tuple[Struct, ...]]] = [((), kind, ())]
    while waiting:
        path, each, above = waiting.pop(0)
        if not is_struct(each):
            waiting.extend(((*path, step) if step else path, k, above) for step, k in inside(each))
        elif each not in above:
            yield path, each
            waiting.extend(((*path, name), k, (*above, each)) for name, k in names(shapes.get(each, each)).items())


def member(kind: Any, step: str, shapes: Shapes) -> tuple[Struct | None, Any]:
    """The Struct (None: a list or map) whose member `step` is, and what that holds; (None, None) where the type has no such thing."""
    if is_struct(kind):
        return kind, names(shapes.get(kind, kind)).get(step)
    for name, each in inside(kind):
        if name:
            return None, each
        found = member(each, step, shapes)
        if found[1] is not None:
            return found
    return None, None

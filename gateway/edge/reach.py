"""Whom a field reaches: from a capability and a canonical field to routes, the API's field in each version, and channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import msgspec

from contracts.versions import Change, VersionHistory
from gateway.edge.endpoint import AnyEndpoint


@dataclass(frozen=True, slots=True)
class Seen:
    """One place of the API where a canonical field is seen. `fields`: version -> the JSON member's path there, newest first."""

    route: str
    fields: dict[str, str]


class Reach:
    """Knows the routes, the versions and the channels of a gateway."""

    def __init__(self, endpoints: Iterable[AnyEndpoint], history: VersionHistory, channels: Iterable[str]) -> None:
        self._endpoints, self._history = tuple(endpoints), history
        self.channels = tuple(channels)
        self.versions = tuple(v.date for v in history.versions)

    def routes(self, capability: str) -> tuple[str, ...]:
        return tuple(e.route for e in self._endpoints if capability in e.capabilities)

    def seen(self, capability: str, noun: type[msgspec.Struct], path: str) -> list[Seen]:
        """Where the field `path` (Python names, dotted) of the capability's answer `noun` is seen."""
        return [
            Seen(endpoint.route, {v: _named(endpoint.answer, steps, self._history.newer_than(v)) for v in self.versions})
            for endpoint in self._endpoints
            if capability in endpoint.capabilities
            for steps in dict.fromkeys(self._paths(endpoint, noun, tuple(path.split("."))))
        ]

    def _paths(self, endpoint: AnyEndpoint, noun: type[msgspec.Struct], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Paths in the answer: the noun itself where it is answered, else the fields of its name and those that are made of it."""
        whole = list(_places(endpoint.answer, noun))
        yield from ((*place, *path) for place in whole)
        if not whole and endpoint.method == "GET":
            inner = _fields(endpoint.answer).get("items")
            for place, kind in (((), endpoint.answer), *(((("items",), inner),) if inner is not None else ())):
                if path[0] in kind.__struct_fields__:
                    yield (*place, *path)
        for shown in endpoint.shows.get(f"{noun.__name__}.{path[0]}", ()):
            yield tuple(shown.split("."))


def _fields(kind: Any) -> dict[str, type[msgspec.Struct] | None]:
    """Field -> the Struct that it holds, if it holds one."""
    return {name: _struct(hint) for name, hint in get_type_hints(kind, include_extras=False).items() if name in kind.__struct_fields__}


def _struct(hint: Any) -> type[msgspec.Struct] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return next((found for part in get_args(hint) if (found := _struct(part)) is not None), None)


def _places(kind: type[msgspec.Struct], noun: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    """Where an answer holds a noun: itself, or in one of its collections."""
    if kind is noun:
        yield ()
        return
    yield from ((name,) for name, inner in _fields(kind).items() if inner is noun)


def _named(kind: type[msgspec.Struct], steps: tuple[str, ...], changes: tuple[type[Change], ...]) -> str:
    """The member's path in a version that lies behind `changes` (newest first)."""
    words: list[str] = []
    here: type[msgspec.Struct] | None = kind
    for step in steps:
        if here is None or step not in here.__struct_fields__:
            break
        encoded = dict(zip(here.__struct_fields__, here.__struct_encode_fields__, strict=True))
        words.append(_older(here, encoded[step], changes))
        here = _fields(here).get(step)
    whole = [c.old for c in changes if c.of is here]  # the value itself had another shape
    return ".".join(words) + (f" ({', '.join(whole[-1].__struct_encode_fields__)})" if whole else "")


def _older(kind: type[msgspec.Struct], name: str, changes: tuple[type[Change], ...]) -> str:
    for change in changes:
        if change.of is kind:
            name = _before(change, kind.__struct_encode_fields__, name)
    return name


def _before(change: type[Change], names: Iterable[str], name: str) -> str:
    """What a change calls a member: a mark is sent down in its place. Where values are converted too, the old shape's own members."""
    try:
        down: Mapping[str, Any] = change.down({n: f"\0{n}" for n in names})
        return next((old for old, value in down.items() if value == f"\0{name}"), name)
    except (ValueError, TypeError, ArithmeticError, LookupError):
        fields = change.old.__struct_encode_fields__
        return name if name in fields else "/".join(fields)

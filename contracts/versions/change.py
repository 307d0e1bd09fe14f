"""How a breaking change is written down, and how values move between versions.

Handlers know only the newest shape. A change names one type and converts its plain JSON value up and down; it is applied wherever that
type occurs, however deeply it is nested. A change that applies to nothing is an error at start.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

import msgspec

Plain = dict[str, Any]
Convert = Callable[[Any], Any]


class Misshapen(ValueError):
    """A value is not in the shape of its version: raised by `Change.up` with what was expected and got; the walk adds the place."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got
        self.path: list[str | int] = []


class Change:
    """One breaking change. The class docstring is the sentence for the customer. Subclasses are never instantiated."""

    of: ClassVar[type[msgspec.Struct]]
    """The type whose shape changed."""
    old: ClassVar[type[msgspec.Struct]]
    """Its shape before the change; the published contract of older versions shows it under the name of `of`."""
    parameters: ClassVar[Mapping[str, str]] = {}
    """Renamed query parameters: new name -> old name, wherever the new name is a parameter of a route whose answer holds `of`."""

    @staticmethod
    def down(value: Plain) -> Plain:
        """The new shape as the old one."""
        raise NotImplementedError

    @staticmethod
    def up(value: Plain) -> Plain:
        """The old shape as the new one. Raises Misshapen."""
        raise NotImplementedError

    @classmethod
    def sentence(cls) -> str:
        return " ".join((cls.__doc__ or cls.__name__).split())


@dataclass(frozen=True)
class Version:
    """A dated version with the changes that it introduced. `deprecated` and `sunset` are its last two stages."""

    date: str
    summary: str
    changes: tuple[type[Change], ...] = ()
    deprecated: datetime | None = None
    sunset: datetime | None = None
    """From this moment on the version is answered with 410."""


class VersionHistory:
    """Versions, newest first."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self.versions = tuple(versions)
        dates = [date.fromisoformat(v.date) for v in self.versions]
        if dates != sorted(set(dates), reverse=True):
            raise ValueError("expected versions newest first, each date once")
        for version in self.versions:
            if version.sunset and (version.deprecated is None or version.sunset < version.deprecated):
                raise ValueError(f"version {version.date}: expected a deprecation before its sunset (RFC 8594)")
        if self.versions[-1].changes:
            raise ValueError("the oldest version has nothing to differ from")
        self._converters: dict[tuple[Any, str, bool], Convert | None] = {}

    @property
    def newest(self) -> Version:
        return self.versions[0]

    @cached_property
    def by_date(self) -> Mapping[str, Version]:
        return {v.date: v for v in self.versions}

    def newer_than(self, version: str) -> tuple[type[Change], ...]:
        """The changes between `version` and the newest, newest first."""
        found: list[type[Change]] = []
        for v in self.versions:
            if v.date == version:
                return tuple(found)
            found.extend(v.changes)
        raise KeyError(version)

    def down(self, value: Any, kind: Any, version: str) -> Any:
        """A plain JSON value of type `kind` in the shape of `version`."""
        convert = self._converter(kind, version, up=False)
        return value if convert is None else convert(value)

    def up(self, value: Any, kind: Any, version: str) -> Any:
        convert = self._converter(kind, version, up=True)
        return value if convert is None else convert(value)

    def differs(self, kind: Any, version: str) -> bool:
        return self._converter(kind, version, up=False) is not None

    def parameter(self, name: str, kind: Any, version: str) -> str:
        """What `version` calls the query parameter `name` of a route that answers `kind`."""
        for change in self.newer_than(version):
            if name in change.parameters and _occurs(change.of, kind):
                name = change.parameters[name]
        return name

    def check(self, kinds: Iterable[Any]) -> None:
        """Raises ValueError for a change that applies to none of the given request and answer types."""
        kinds = tuple(kinds)
        for version in self.versions:
            for change in version.changes:
                if not any(_occurs(change.of, kind) for kind in kinds):
                    raise ValueError(
                        f"{change.__name__} of {version.date} applies to nothing: no route takes or answers {change.of.__name__}"
                    )

    def _converter(self, kind: Any, version: str, *, up: bool) -> Convert | None:
        at = (kind, version, up)
        if at not in self._converters:
            steps = [s for s in (_walk(kind, c, {}, up=up) for c in self.newer_than(version)) if s]
            if up:
                steps.reverse()
            self._converters[at] = _chain(steps)
        return self._converters[at]


def _chain(steps: list[Convert]) -> Convert | None:
    if not steps:
        return None

    def convert(value: Any) -> Any:
        for s in steps:
            value = s(value)
        return value

    return convert


def _occurs(wanted: type[msgspec.Struct], kind: Any) -> bool:
    return wanted in _reachable(kind, set())


def _reachable(kind: Any, seen: set[Any]) -> set[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in seen:
            seen.add(kind)
            for hint in typing.get_type_hints(kind).values():
                _reachable(hint, seen)
    else:
        for inner in get_args(kind):
            _reachable(inner, seen)
    return seen


def _walk(kind: Any, change: type[Change], active: dict[Any, list[Convert]], *, up: bool) -> Convert | None:
    """A function that visits only those parts of a `kind` value where the change's type can occur; None = nowhere."""
    if kind is None or not _occurs(change.of, kind):
        return None
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _walk(args[0], change, active, up=up)
    if origin in (Union, types.UnionType):
        return next((w for a in args if (w := _walk(a, change, active, up=up))), None)
    if origin in (tuple, list, dict):
        return _inside(_walk(args[-1] if origin is dict else args[0], change, active, up=up))
    return _struct(kind, change, active, up=up)


def _struct(kind: type[msgspec.Struct], change: type[Change], active: dict[Any, list[Convert]], *, up: bool) -> Convert:
    if kind in active:  # a recursive type: look the function up when it runs
        return _later(active[kind])
    slot: list[Convert] = []
    active[kind] = slot
    hints = typing.get_type_hints(kind, include_extras=True)
    inner = {f.encode_name: w for f in msgspec.structs.fields(kind) if (w := _walk(hints[f.name], change, active, up=up))}
    own = kind is change.of

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if own and up:
            value = change.up(value)
        if inner:
            value = {k: _at(k, inner[k], v) if k in inner and v is not None else v for k, v in value.items()}
        return change.down(value) if own and not up else value

    slot.append(convert)
    return convert


def _inside(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: _at(k, inner, v) for k, v in value.items()}
        return [_at(i, inner, v) for i, v in enumerate(value)] if isinstance(value, list | tuple) else value

    return convert


def _at(place: str | int, convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except Misshapen as exc:
        exc.path.insert(0, place)
        raise


def _later(slot: list[Convert]) -> Convert:
    def convert(value: Any) -> Any:
        return slot[0](value)

    return convert

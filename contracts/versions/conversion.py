"""How values, parameters, events and pointers move between versions.

Handlers know only the newest shape. A change converts the plain JSON value of one type up and down; it is applied wherever that type
occurs, however deeply it is nested, and inside the shapes that newer changes have left. A change that applies to nothing, or that does
not fit its own types, is an error at start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import msgspec

from contracts.events import DATA, Event, schema_id
from contracts.pointer import path_of, pointer_of
from contracts.versions.change import Change, Misshapen, Version, mistakes
from contracts.versions.shapes import ANY, Shapes, Struct, choices, declared, held, inside, is_struct, member, names, places, required

Convert = Callable[[Any], Any]


@dataclass(frozen=True)
class Touched:
    """A place that a newer version has otherwise, in the names of the older one: a pointer in which `*` stands for any element or key."""

    change: type[Change]
    place: str


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
        self._steps: dict[tuple[Any, str, bool], tuple[Convert, ...]] = {}
        self._touched: dict[tuple[Any, str], tuple[Touched, ...]] = {}
        self._wanted: dict[tuple[Any, str], _Tree] = {}

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

    def of(self, kinds: Iterable[Any], version: str) -> tuple[type[Change], ...]:
        """Those of `newer_than` that change something in a value of these types."""
        kinds = tuple(kinds)
        changes = enumerate(self.newer_than(version))
        return tuple(change for level, change in changes if any(self._occurs(change, level, kind) for kind in kinds))

    # ---- values

    def down(self, value: Any, kind: Any, version: str) -> Any:
        """A plain JSON value of type `kind` in the shape of `version`."""
        for convert in self._converters(kind, version, up=False):
            value = convert(value)
        return value

    def up(self, value: Any, kind: Any, version: str) -> Any:
        """Raises Misshapen, with the place in the names of `version`."""
        for convert in self._converters(kind, version, up=True):
            value = convert(value)
        return value

    def differs(self, kind: Any, version: str) -> bool:
        return bool(self._converters(kind, version, up=False))

    def down_event(self, event: Event, version: str) -> Event:
        """The event as `version` tells it; `dataschema` names its contract."""
        kind = DATA.get(event.type)
        if kind is None:  # of a newer release
            return event
        return msgspec.structs.replace(event, data=self.down(event.data, kind, version), dataschema=schema_id(event.type, version))

    # ---- names

    def parameter(self, name: str, kind: Any, version: str) -> str:
        """What `version` calls the query parameter `name` of a route that answers `kind`."""
        for level, change in enumerate(self.newer_than(version)):
            if name in change.parameters and self._occurs(change, level, kind):
                name = change.parameters[name]
        return name

    def as_sent(self, pointer: str, kind: Any, version: str) -> str:
        """A JSON pointer (RFC 6901) into the newest shape, in the names of `version`; it ends where that has nothing of its own."""
        return pointer_of(self._renamed(path_of(pointer), kind, self.newer_than(version), 0))

    def allowed(self, pointer: str, kind: Any, version: str) -> tuple[str, ...]:
        """What may stand at a JSON pointer in the shape of `version`: the members of an object, or the values of an enumeration."""
        shapes = self._shapes(len(self.newer_than(version)))
        found = declared(kind, path_of(pointer), shapes)
        return tuple(names(shapes.get(found, found))) if is_struct(found) else tuple(sorted(choices(found)))

    def touched(self, kind: Any, version: str) -> tuple[Touched, ...]:
        """What of a `kind` in the shape of `version` is otherwise in a newer one."""
        if (kind, version) not in self._touched:
            self._touched[kind, version] = tuple(dict.fromkeys(self._touches(kind, self.newer_than(version))))
        return self._touched[kind, version]

    def touched_parameters(self, parameters: Iterable[str], kind: Any, version: str) -> tuple[Touched, ...]:
        """Of the query parameters (by their newest names) of a route that answers `kind`."""
        found: list[Touched] = []
        for name in parameters:
            for level, change in enumerate(self.newer_than(version)):
                if name in change.parameters and self._occurs(change, level, kind):
                    found.append(Touched(change, self.parameter(name, kind, version)))
                    name = change.parameters[name]
        return tuple(found)

    def used(self, value: Any, kind: Any, version: str) -> set[str]:
        """The places of `touched` that there are in a plain JSON value, which may have any shape."""
        found: set[str] = set()
        if touched := self.touched(kind, version):
            if (kind, version) not in self._wanted:
                self._wanted[kind, version] = _tree(t.place for t in touched)
            _sight(value, self._wanted[kind, version], found)
        return found

    # ---- rules

    def check(self, kinds: Iterable[Any]) -> None:
        """`kinds`: all request, answer and event types. Raises ValueError for a change that applies to none, or does not fit its types."""
        kinds = tuple(kinds)
        for level, change in enumerate(self.newer_than(self.versions[-1].date)):
            version = next(v.date for v in self.versions if change in v.changes)
            if not any(self._occurs(change, level, kind) for kind in kinds):
                raise ValueError(f"{change.__name__} of {version} applies to nothing: no route takes or answers {change.of.__name__}")
            if wrong := next(mistakes(change), None):
                raise ValueError(f"{change.__name__} of {version}: {wrong}")

    # ---- inside

    def _shapes(self, level: int) -> Shapes:
        """After so many changes, counted from the newest."""
        return {c.of: c.old for c in self.newer_than(self.versions[-1].date)[:level]}

    def _occurs(self, change: type[Change], level: int, kind: Any) -> bool:
        return change.of in held(kind, self._shapes(level))

    def _converters(self, kind: Any, version: str, *, up: bool) -> tuple[Convert, ...]:
        """In the order in which they are applied."""
        found = self._steps.get((kind, version, up))
        if found is None:
            changes = self.newer_than(version)
            steps = [
                self._told(w, kind, changes, level) if up else w
                for level, change in enumerate(changes)
                if (w := _walk(kind, change, self._shapes(level), {}, up=up))
            ]
            found = self._steps[kind, version, up] = tuple(reversed(steps) if up else steps)
        return found

    def _told(self, convert: Convert, kind: Any, changes: tuple[type[Change], ...], level: int) -> Convert:
        """Whoever sent the value is told the place in the names that it has there."""

        def told(value: Any) -> Any:
            try:
                return convert(value)
            except Misshapen as exc:
                exc.path = self._renamed(exc.path, kind, changes, level)
                if exc.member:
                    name = exc.member
                    for change in changes[level + 1 :]:
                        if change.of is changes[level].of:
                            name = change.renamed.get(name, name)
                    exc.path.append(name)
                raise

        return told

    def _renamed(self, path: Iterable[str | int], kind: Any, changes: tuple[type[Change], ...], level: int) -> list[str | int]:
        """A path of the shapes at `level`, in the names after all `changes`."""
        path = list(path)
        for n, change in enumerate(changes[level:], level):
            path = _path_before(path, kind, change, self._shapes(n))
        return path

    def _touches(self, kind: Any, changes: tuple[type[Change], ...]) -> Iterable[Touched]:
        for path, struct in places(kind, self._shapes(len(changes))):
            for level, change in enumerate(changes):
                if change.of is not struct:
                    continue
                old, new = change.old, self._shapes(level).get(struct, struct)
                optional = required(new) ^ required(old)
                differing = [n for n, hint in names(old).items() if names(new).get(n) != hint or n in optional]
                if len(differing) == len(names(old)):
                    yield Touched(change, pointer_of(path))
                    continue
                for name in differing:
                    for later in changes[level + 1 :]:
                        if later.of is struct:
                            name = later.renamed.get(name, name)
                    yield Touched(change, pointer_of((*path, name)))


_Tree = dict[str, Any]
"""Step of a path -> the tree below; the whole place under the empty step, where one ends."""


def _tree(places: Iterable[str]) -> _Tree:
    found: _Tree = {}
    for place in places:
        node = found
        for step in path_of(place):
            node = node.setdefault(step, {})
        node[""] = place
    return found


def _sight(value: Any, tree: _Tree, found: set[str]) -> None:
    if "" in tree:
        found.add(tree[""])
    if isinstance(value, dict):
        for name in tree.keys() & value.keys():
            if name:
                _sight(value[name], tree[name], found)
    if ANY in tree and isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _sight(each, tree[ANY], found)


def _path_before(path: list[str | int], kind: Any, change: type[Change], shapes: Shapes) -> list[str | int]:
    """A path of `shapes` in the names before `change`."""
    found: list[str | int] = []
    for step in path:
        struct, kind = member(kind, str(step), shapes)
        if struct is change.of:
            before = change.renamed.get(str(step), str(step))
            if before not in names(change.old):
                return found
            found.append(before)
        else:
            found.append(step)
    return found


def _walk(kind: Any, change: type[Change], shapes: Shapes, active: dict[Struct, list[Convert]], *, up: bool) -> Convert | None:
    """A function that visits only those parts of a `kind` value where the change's type can occur; None = nowhere."""
    if change.of not in held(kind, shapes):
        return None
    if is_struct(kind):
        return _struct(kind, change, shapes, active, up=up)
    within = [(step, w) for step, each in inside(kind) if (w := _walk(each, change, shapes, active, up=up))]
    return _inside(within[0][1]) if within[0][0] == ANY else within[0][1]


def _struct(kind: Struct, change: type[Change], shapes: Shapes, active: dict[Struct, list[Convert]], *, up: bool) -> Convert:
    if kind in active:  # a recursive type: look the function up when it runs
        return _later(active[kind])
    slot: list[Convert] = []
    active[kind] = slot
    inner = {name: w for name, each in names(shapes.get(kind, kind)).items() if (w := _walk(each, change, shapes, active, up=up))}
    own = kind is change.of
    before = names(change.old).keys()

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if own and up:
            if unknown := next((k for k in value if k not in before), None):
                raise Misshapen(f"a member of this object ({', '.join(before)})", "an unknown one", unknown)
            value = change.up(value)
        if inner:
            value = {k: _at(k, inner[k], v) if k in inner and v is not None else v for k, v in value.items()}
        if own and not up:
            value = change.down(value)
            if not value.keys() <= before:
                value = {k: v for k, v in value.items() if k in before}
        return value

    slot.append(convert)
    return convert


def _inside(inner: Convert) -> Convert:
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

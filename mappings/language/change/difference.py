"""What changed between two descriptions of one message: fields that are gone, renamed, moved, new, or mean something else now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from mappings.language.likeness import alike
from mappings.language.shape import Field, Leaf, Record

Kind = Literal[
    "removed", "renamed", "moved", "added", "type", "length", "digits", "range", "pattern", "codes", "absent", "required", "nil", "list",
    "namespace", "place",
]  # fmt: skip
Steps = tuple[str, ...]

MOST_FIELDS: Final = 50_000
"""Fields of one message that are compared; types may contain themselves."""
_DEPTH: Final = 20
_LIKE_ENOUGH: Final = 0.55
_CERTAIN: Final = 0.75
_MOVED_DEPTH: Final = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """One change of one field. `path` is where it was (of an added one: where it is), `now` where it is; `text` says the change.

    `field`: as it is now; None when it is gone. `codes`: values that are new in the list of values.
    """

    kind: Kind
    path: Steps
    text: str
    now: Steps = ()
    field: Field | None = None
    codes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{'.'.join(self.path)} {self.text}"


@dataclass(slots=True)
class Differences:
    """In the order of the old message. `moves`: old path -> new one, for every field that has another name or place."""

    found: list[Difference] = field(default_factory=list)
    moves: dict[Steps, Steps] = field(default_factory=dict)
    doubtful: set[Steps] = field(default_factory=set)
    """Renamed fields that are taken for the same by place and type more than by name."""

    def now(self, path: Steps) -> Steps:
        """The path as it is written today."""
        for end in range(len(path), 0, -1):
            if (moved := self.moves.get(path[:end])) is not None:
                return (*moved, *path[end:])
        return path


def compare(old: Record | None, new: Record | None) -> Differences:
    """`None`: there is no such message. Bounded for recursive types."""
    walk = _Walk()
    if old is not None and new is not None:
        walk.record(old, new, (), (), ())
        walk.settle()
    return walk.result


class _Walk:
    def __init__(self) -> None:
        self.result = Differences()
        self.gone: list[tuple[Steps, Field]] = []
        self.fresh: list[tuple[Steps, Field]] = []
        self.left = MOST_FIELDS

    def note(self, kind: Kind, path: Steps, text: str, now: Steps, new: Field | None, codes: tuple[str, ...] = ()) -> None:
        self.result.found.append(Difference(kind, path, text, now, new, codes))

    def record(self, old: Record, new: Record, path: Steps, now: Steps, above: tuple[tuple[int, int], ...]) -> None:
        pair = (id(old), id(new))
        self.left -= len(old.fields) + len(new.fields)
        if pair in above or len(path) > _DEPTH or self.left < 0:
            return
        known = {f.name: f for f in new.fields}
        names = {f.name for f in old.fields}
        gone = [f for f in old.fields if f.name not in known]
        fresh = [f for f in new.fields if f.name not in names]
        deeper = {(f.name, _members(f)) for each in fresh for at, f in _below((), each) if at}
        renamed = _paired([f for f in gone if (f.name, _members(f)) not in deeper], fresh, (old, new), path, now)
        for field_ in old.fields:
            here = (*path, field_.name)
            if (same := known.get(field_.name)) is not None:
                self.field(field_, same, here, (*now, same.name), (*above, pair))
            elif field_.name in renamed:
                other, certain = renamed[field_.name]
                there = (*now, other.name)
                self.result.moves[here] = there
                if not certain:
                    self.result.doubtful.add(here)
                self.note("renamed", here, f"is called {other.name} now", there, other)
                self.field(field_, other, here, there, (*above, pair))
            else:
                self.gone.append((here, field_))
        taken = {f.name for f, _ in renamed.values()}
        self.fresh += [((*now, f.name), f) for f in fresh if f.name not in taken]

    def field(self, old: Field, new: Field, path: Steps, now: Steps, above: tuple[tuple[int, int], ...]) -> None:
        if old.repeated != new.repeated:
            self.note("list", path, "is a list now" if new.repeated else "is one value now, no list", now, new)
        if old.attribute != new.attribute:
            self.note("place", path, "is an attribute now" if new.attribute else "is an element now", now, new)
        if old.required and not new.required:
            self.note("absent", path, "may be absent now", now, new)
        if new.required and not old.required:
            self.note("required", path, "is required now", now, new)
        if new.nillable and not old.nillable:
            self.note("nil", path, "may be nil now", now, new)
        if old.namespace is not None and new.namespace is not None and old.namespace != new.namespace:
            self.note("namespace", path, f"is in the namespace {new.namespace or 'none'} now", now, new)
        match old.shape, new.shape:
            case Record() as one, Record() as other:
                self.record(one, other, path, now, above)
            case Leaf() as one, Leaf() as other:
                for kind, text, codes in _leaf(one, other):
                    self.note(kind, path, text, now, new, codes)
            case _:
                self.note("type", path, f"is {described(new)} now, before {described(old)}", now, new)

    def settle(self) -> None:
        """What is gone here may have come up there: under the same name, once."""
        places: dict[str, list[tuple[Steps, Field]]] = {}
        for path, field_ in self.fresh:
            for at, each in _below(path, field_):
                places.setdefault(each.name, []).append((at, each))
        taken: set[Steps] = set()

        def moved(path: Steps, field_: Field) -> bool:
            found = [(at, f) for at, f in places.get(field_.name, []) if _members(f) == _members(field_)]
            if len(found) != 1 or found[0][0] in taken:
                return False
            at, now = found[0]
            taken.add(at)
            self.result.moves[path] = at
            self.note("moved", path, f"is {'.'.join(at)} now", at, now)
            self.field(field_, now, path, at, ())
            return True

        for path, field_ in self.gone:
            if moved(path, field_):
                continue
            inside = [(p, f) for p, f in _below(path, field_) if p != path and isinstance(f.shape, Leaf)]
            if not [p for p, f in inside if moved(p, f)]:
                self.note("removed", path, "is gone", (), None)
        for path, field_ in self.fresh:
            parts = [(p, f) for p, f in _below(path, field_) if p != path and isinstance(f.shape, Leaf)]
            if path in taken:
                continue
            if any(p in taken for p, _ in parts):
                for p, f in parts:
                    if p not in taken:
                        self.note("added", p, f"is new: {described(f)}", p, f)
            else:
                self.note("added", path, f"is new: {described(field_)}", path, field_)


def _below(path: Steps, field_: Field, depth: int = 0) -> Iterator[tuple[Steps, Field]]:
    yield path, field_
    if isinstance(field_.shape, Record) and depth < _MOVED_DEPTH:
        for inner in field_.shape.fields[:500]:
            yield from _below((*path, inner.name), inner, depth + 1)


def _members(field_: Field) -> frozenset[str] | None:
    return frozenset(f.name for f in field_.shape.fields) if isinstance(field_.shape, Record) else None


def _paired(gone: list[Field], fresh: list[Field], around: tuple[Record, Record], path: Steps, now: Steps) -> dict[str, tuple[Field, bool]]:
    """Old name -> the new field that is most likely the same, each once, and whether that is certain: by name and type; what is left by
    type alone, between the same neighbours.
    """
    found: dict[str, tuple[Field, bool]] = {}
    taken: set[str] = set()
    if not gone or not fresh or len(gone) * len(fresh) > 40_000:
        return found
    for score, name, field_ in sorted(((_same(g, f, path, now), g.name, f) for g in gone for f in fresh), key=lambda s: -s[0]):
        if score >= _LIKE_ENOUGH and name not in found and field_.name not in taken:
            found[name] = field_, score >= _CERTAIN
            taken.add(field_.name)
    old, new = (_neighbours(r) for r in around)
    for each in gone:
        if each.name not in found:
            beside = tuple(found[n][0].name if n in found else n for n in old[each.name])
            for field_ in fresh:
                if field_.name not in taken and field_.shape == each.shape and new[field_.name] == beside:
                    found[each.name] = field_, False
                    taken.add(field_.name)
                    break
    return found


def _neighbours(record: Record) -> dict[str, tuple[str, str]]:
    names = ["", *(f.name for f in record.fields), ""]
    return {name: (names[n], names[n + 2]) for n, name in enumerate(names[1:-1])}


def _same(one: Field, other: Field, path: Steps, now: Steps) -> float:
    match one.shape, other.shape:
        case Record() as a, Record() as b:
            names, others = {f.name for f in a.fields}, {f.name for f in b.fields}
            shared = len(names & others) / max(len(names | others), 1)
            return max(alike(one, other, path, now), shared)
        case Leaf(), Leaf():
            return alike(one, other, path, now)
    return 0.0


def _leaf(old: Leaf, new: Leaf) -> Iterator[tuple[Kind, str, tuple[str, ...]]]:
    if old.kind != new.kind:
        yield "type", f"is {new.kind} now, before {old.kind}", ()
    if old.max_length != new.max_length and new.kind in ("string", old.kind):
        yield "length", f"has {_most(new.max_length)} now, before {_most(old.max_length)}", ()
    if (old.min_length or 0) != (new.min_length or 0):
        yield "length", f"has at least {new.min_length or 0} characters now, before {old.min_length or 0}", ()
    if old.digits != new.digits and new.kind == "decimal":
        yield "digits", f"has {_digits(new.digits)} now, before {_digits(old.digits)}", ()
    if (old.minimum, old.maximum) != (new.minimum, new.maximum) and old.kind == new.kind:
        yield (
            "range",
            f"is {new.minimum or 'any'} to {new.maximum or 'any'} now, before {old.minimum or 'any'} to {old.maximum or 'any'}",
            (),
        )
    if old.enum != new.enum:
        yield from _codes(old.enum, new.enum)
    if old.pattern != new.pattern and new.pattern is not None and old.kind == new.kind:
        yield "pattern", f"looks like {new.pattern} now", ()


def _codes(old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> Iterator[tuple[Kind, str, tuple[str, ...]]]:
    if new is None:
        yield "codes", "may hold any text now, before a list of values", ()
        return
    if old is None:
        yield "codes", f"is one of {', '.join(new[:20])} now", new
        return
    if more := tuple(c for c in new if c not in old):
        yield "codes", f"may be {', '.join(map(repr, more[:20]))} now", more
    if less := [c for c in old if c not in new]:
        yield "codes", f"is never {', '.join(map(repr, less[:20]))} any more", ()


def described(field_: Field) -> str:
    shape = field_.shape
    if isinstance(shape, Record):
        what = f"record {shape.name}"
    else:
        size = f" of up to {shape.max_length}" if shape.max_length else f" of {_digits(shape.digits)}" if shape.digits else ""
        what = f"{shape.kind}{size}"
    return f"{'required ' if field_.required else ''}{'list of ' if field_.repeated else ''}{what}"


def _most(length: int | None) -> str:
    return "any length" if length is None else f"up to {length} characters"


def _digits(digits: tuple[int, int] | None) -> str:
    return "any digits" if digits is None else f"{digits[0]} digits, {digits[1]} of them decimals"

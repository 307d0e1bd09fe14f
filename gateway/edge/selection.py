"""Field selection: `?fields=items.sku,items.available` leaves only what is named in an answer, in the names of the caller's version."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from contracts.errors import InvalidParameter
from contracts.pointer import pointer_of
from contracts.versions import VersionHistory
from gateway.edge.schemas import REF, component_schemas

PARAMETER = "fields"
EXPAND = "expand"
EXPANDED = "expanded"
"""The member of an answer that holds the parts which were asked for along with it."""
ALWAYS = ("missing",)
"""Members of a collection that tell of its gaps: nobody deselects them."""
MOST_FIELDS = 100
MOST_DEPTH = 12

Tree = Mapping[str, Any]
"""Name -> tree of what is chosen below; empty: all of it."""


@dataclass(frozen=True, slots=True)
class Selection:
    tree: Tree
    named: str
    """As one text: the same selection, however it was written."""
    used: frozenset[str]
    """Which of its fields another version has otherwise: `answer:/items/*/storeId`."""

    def of(self, value: Any) -> Any:
        """What is chosen of a plain JSON value."""
        return _chosen(value, self.tree)


def of(
    query: bytes, kind: type[msgspec.Struct], version: str, history: VersionHistory, parts: type[msgspec.Struct] | None = None
) -> Selection | None:
    """What a query string selects of an answer of type `kind`, and of its `parts` where some are asked for; None: all of it. Raises
    InvalidParameter, with the nearest right name.
    """
    if PARAMETER.encode() not in query and b"%" not in query:
        return None
    texts = [value for name, value in parse_qsl(query.decode("ascii"), keep_blank_values=True) if name == PARAMETER]
    names = tuple(dict.fromkeys(name for text in texts for name in text.split(",")))
    if not names:
        return None
    if len(names) > MOST_FIELDS:
        raise InvalidParameter(where=f"query:{PARAMETER}", expected=f"at most {MOST_FIELDS} names", got=str(len(names)))
    return (_made if sum(map(len, names)) < _REMEMBERED else _made.__wrapped__)(names, kind, version, history, parts)


_REMEMBERED = 400
"""Characters; what is longer is read anew each time."""


@lru_cache(maxsize=512)
def _made(
    names: tuple[str, ...], kind: type[msgspec.Struct], version: str, history: VersionHistory, parts: type[msgspec.Struct] | None
) -> Selection:
    schemas = _schemas(kind, version, history) if parts is None else _schemas(kind, version, history, parts)
    whole = schemas[kind.__name__]
    if parts is not None:
        whole = {**whole, "properties": {**whole["properties"], EXPANDED: {"$ref": REF.format(name=parts.__name__)}}}
    places, tree = [], dict[str, Any]()
    for name in sorted(names):  # a whole comes before its parts
        places.append(_place(name, whole, schemas))
        _grow(tree, name.split("."))
    if parts is not None:
        _keep(tree.setdefault(EXPANDED, {}), schemas[parts.__name__], schemas, depth=1)
    _keep(tree, whole, schemas)
    touched = [t.place for t in history.touched(kind, version)]
    used = frozenset(f"answer:{t}" for t in touched if any(f"{t}/".startswith(f"{p}/") or p.startswith(f"{t}/") for p in places))
    return Selection(tree, ",".join(sorted(names)), used)


def _keep(tree: dict[str, Any], schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> None:
    """What tells of gaps stays, also `depth` levels below. An empty tree is everything already."""
    members = _members(schema, schemas)[0]
    if depth:
        for name in tree.keys() & members.keys():
            if tree[name]:
                _keep(tree[name], members[name], schemas, depth - 1)
    if tree:
        tree.update({name: {} for name in ALWAYS if name in members})


@lru_cache(maxsize=256)
def _schemas(kind: type[msgspec.Struct], version: str, history: VersionHistory, *parts: type[msgspec.Struct]) -> dict[str, Any]:
    return component_schemas([kind, *parts], history, version)


def some(name: str, schemas: Mapping[str, Any]) -> list[str]:
    """A selection to show: the first two fields of the answer, or of what is listed in it."""
    whole = schemas[name]
    listed = "items" in whole["properties"]
    members, *_ = _members(whole["properties"]["items"] if listed else whole, schemas)
    return [f"items.{m}" if listed else m for m in list(members)[:2]]


def _place(name: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The JSON pointer of a dotted name. Raises InvalidParameter."""
    steps, place = name.split("."), ""
    if len(steps) > MOST_DEPTH:
        raise InvalidParameter(where=f"query:{PARAMETER}", expected=f"a name of at most {MOST_DEPTH} parts", got=f"{name[:40]!r}…")
    for at, step in enumerate(steps):
        members, stars, free = _members(schema, schemas)
        place += "/*" * stars
        if step in members:
            schema = members[step]
        elif free is not None and step:
            schema = free
        else:
            before = ".".join(steps[:at])
            near = difflib.get_close_matches(step[:80], members, 1, 0.5)
            if not near and not at and "items" in members:  # of a list, the fields of what is listed are meant
                near = [f"items.{n}" for n in difflib.get_close_matches(step[:80], _members(members["items"], schemas)[0], 1, 0.5)]
            near = near or sorted(members)[:8]
            known = " or ".join(f"{before}.{n}" if before else n for n in near)
            raise InvalidParameter(
                where=f"query:{PARAMETER}",
                expected=f"a field of the answer, such as {known}" if known else f"no field below {before}, which is a single value",
                got=repr(".".join(steps[: at + 1])[:80]),
            )
        place += pointer_of([step])
    return place


def _members(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> tuple[dict[str, Any], int, Any]:
    """The members of the objects that a schema describes, in how many arrays they stand, and the schema of further members of any name."""
    if depth > MOST_DEPTH:
        return {}, 0, None
    if "$ref" in schema:
        return _members(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth + 1)
    if "items" in schema:
        members, stars, free = _members(schema["items"], schemas, depth + 1)
        return members, stars + 1, free
    if "anyOf" in schema:
        found = [_members(s, schemas, depth + 1) for s in schema["anyOf"]]
        return (
            {k: v for members, _, _ in found for k, v in members.items()},
            max(s for _, s, _ in found),
            next((f for *_, f in found if f), None),
        )
    free = schema.get("additionalProperties")
    return schema.get("properties", {}), 0, free if isinstance(free, dict) else None


def _grow(tree: dict[str, Any], steps: Sequence[str]) -> None:
    for at, step in enumerate(steps):
        if step in tree and not tree[step]:
            return  # all of it already
        tree = tree.setdefault(step, {})
        if at == len(steps) - 1:
            tree.clear()


def _chosen(value: Any, tree: Tree) -> Any:
    if isinstance(value, list | tuple):
        return [_chosen(v, tree) for v in value]
    if isinstance(value, dict):
        return {name: _chosen(value[name], below) if below else value[name] for name, below in tree.items() if name in value}
    return value

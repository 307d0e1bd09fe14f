"""The single values and records of a message that a draft can use, by path."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mappings.language.expression import ANCHORS
from mappings.language.kinds import AMOUNTS
from mappings.language.likeness import bare
from mappings.language.shape import TEXT, Field, Leaf, Record
from mappings.language.structs import StructRecord

DEPTH: Final = 7
LEAVES: Final = 1500
RECORDS: Final = 400
LOOKED: Final = 6000
"""Values that are looked at to find the rows, or to see what a request takes."""
Samples = Mapping[tuple[str, ...], Sequence[str]]
"""Values that were seen, by path from the document."""
_WRAPPERS: Final = frozenset(("item", "items", "complexobjectarray", "string", "value", "entry", "element", "record", "row", "int", "text"))
"""Names that only say that something is in a list."""
NOT_DRAFTED: Final = frozenset({"external_ids", "net_of", "merged_into", "voids_line", "links"})


@dataclass(frozen=True, slots=True)
class Place:
    """A single value: its path, the names of the records on the way, and how an expression names it."""

    steps: tuple[str, ...]
    field: Field
    text: str
    anchor: str = ""
    part: str = ""
    """Of a canonical amount: `amount`, `currency` or `unit`."""
    owner: str = ""
    """Name of the Struct that holds it."""
    listed: str = ""
    """The canonical list it is in."""

    @property
    def name(self) -> str:
        return said_name(self.steps)[0]

    @property
    def leaf(self) -> Leaf:
        assert isinstance(self.field.shape, Leaf)  # noqa: S101 - only leaves are made places
        return self.field.shape


def said_name(steps: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The name that says something, and those above it: the text of an element is called like the element, an item like its list."""
    at = len(steps)
    while at > 1 and (steps[at - 1] == TEXT or bare(steps[at - 1]) in _WRAPPERS):
        at -= 1
    return steps[at - 1], tuple(steps[: at - 1])


def expression_of(steps: tuple[str, ...], anchor: str = "") -> str:
    if plainly_named(steps) and (anchor or steps[0] not in ANCHORS):
        return ".".join((*((anchor,) if anchor else ()), *steps))
    return f'path("{".".join(steps)}")'


def plainly_named(steps: Sequence[str]) -> bool:
    return all(s.isidentifier() and not keyword.iskeyword(s) for s in steps)


def leaves_of(record: Record, steps: tuple[str, ...] = (), seen: tuple[Record, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Single values below a record, lists left out."""
    for f in record.fields:
        if f.repeated or "." in f.name:
            continue
        if isinstance(f.shape, Leaf):
            yield (*steps, f.name), f
        elif f.shape not in seen and len(steps) < 4:
            yield from leaves_of(f.shape, (*steps, f.name), (*seen, record))


def records_of(record: Record, steps: tuple[str, ...] = (), seen: tuple[Record, ...] = ()) -> Iterator[tuple[tuple[str, ...], Record, int]]:
    """Every record that rows could be made of: its path, and how many lists lead there."""
    stack = [(record, steps, seen, 0)]
    count = 0
    while stack and count < RECORDS:
        record, steps, seen, lists = stack.pop(0)
        count += 1
        yield steps, record, lists
        if len(steps) < DEPTH:
            below = [
                (f, f.shape) for f in record.fields if isinstance(f.shape, Record) and f.shape not in seen and not {".", "/"} & set(f.name)
            ]
            stack += [(shape, (*steps, f.name), (*seen, record), lists + f.repeated) for f, shape in below]


def amount_of(field: Field) -> str:
    return AMOUNTS.get(field.shape.name, "") if isinstance(field.shape, StructRecord) else ""


def is_scalar(field: Field) -> bool:
    """A target that one line fills."""
    return isinstance(field.shape, Leaf) or bool(amount_of(field)) or field.shape.name == "Localized"

"""JSON answers decoded straight into types made from their contract: only what a mapping reads, and only where all is as promised.

What does not fit such a type (a member missing or unknown, null, text for a number's place, another type) is no error here: that answer is
decoded as plain objects, and the mapping says what is wrong with it and counts what drifted.
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from mappings.language.shape import Field, Record

MAX_VALUES: Final = 64
"""Values of an enumeration that are matched while decoding."""
DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
"""Plain objects; numbers as int or Decimal."""
UNTYPED: Final = frozenset({"integer", "decimal", "boolean"})
"""Kinds of which systems write one for the other; a fraction comes as the text it was written as."""
_as_written = str.strip  # nothing to strip; called from C, it takes a third of what `str` takes


class NotTyped(Exception):
    """No type can hold it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A JSON answer in the types that its mapping reads, and its text, should the mapping want it plain."""

    value: Any
    text: bytes
    typed: Typed

    def member(self, path: str) -> Any:
        """What stands at a path of names with dots; None: nothing. See `Typed.shows`. A list of records is a list all the same."""
        found = self.value
        for name in (path,) if self.typed.root.get(path) else path.split("."):
            if isinstance(found, msgspec.Struct):
                names = found.__struct_encode_fields__
                found = getattr(found, found.__struct_fields__[names.index(name)]) if name in names else None
                if isinstance(found, msgspec.Raw):
                    found = DECODER.decode(found) if bytes(found) else None
            else:
                found = found.get(name) if isinstance(found, dict) else None
        return found


class Typed:
    """`wanted`: per record, the fields that are read. Raises NotTyped."""

    least = 200
    """Bytes of an answer from which on it is tried."""

    def __init__(self, root: Record, wanted: dict[int, set[str]]) -> None:
        self.root, self.wanted = root, wanted
        self._types: dict[int, type[msgspec.Struct]] = {}
        self._decode = msgspec.json.Decoder(self._type(root, ()), float_hook=_as_written).decode
        self.failures = self._pause = 0

    def decode(self, text: bytes) -> Decoded | None:
        """None: it does not fit, or those before it did not and the next one is not looked at."""
        if len(text) < self.least:
            return None
        if self._pause:
            self._pause -= 1
            return None
        try:
            value = self._decode(text)
            if not text.isascii():
                text.decode()  # what is passed over is not looked at
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.failed()
            return None
        self.failures = 0
        return Decoded(value, text, self)

    def failed(self) -> None:
        """The last answer was not as it seemed; each further one makes the next try later."""
        self.failures += 1
        self._pause = (1 << min(self.failures, 8)) - 2

    def shows(self, path: str) -> bool:
        """Whether a path of names with dots leads to something that is kept, should it be there."""
        record = self.root
        for name in (path,) if record.get(path) else path.split("."):
            field = record.get(name)
            if field is None:
                return False
            if field.repeated or not isinstance(field.shape, Record) or field.name not in self.wanted.get(id(record), ()):
                return True
            record = field.shape
        return True

    def attribute(self, record: Record, name: str) -> str:
        """Where the type of a record holds a field."""
        return name if name.isidentifier() and not keyword.iskeyword(name) and name[0] != "_" else f"field_{_index(record, name)}"

    def _type(self, record: Record, above: tuple[int, ...]) -> type[msgspec.Struct]:
        if id(record) in above:
            raise NotTyped
        if id(record) not in self._types:
            wanted, above = self.wanted.get(id(record), set()), (*above, id(record))
            members: list[tuple[Any, ...]] = []
            if not wanted <= {field.name for field in record.fields}:  # a field of one kind of record
                raise NotTyped
            for field in record.fields:
                if isinstance(field.shape, Record) and (field.shape.by or field.shape.derived):
                    raise NotTyped
                name = self.attribute(record, field.name)
                if field.name not in wanted:
                    members.append((name, msgspec.Raw, msgspec.Raw()))
                    continue
                type_ = self._of(field, above)
                if field.repeated:
                    type_ = list[type_]  # type: ignore[valid-type]  # made here
                if field.required and not field.nillable:
                    members.append((name, type_))
                else:
                    members.append((name, type_ if type_ is Any else type_ | None, None))
            self._types[id(record)] = msgspec.defstruct(
                "Answer",
                members,
                rename={self.attribute(record, field.name): field.name for field in record.fields},
                forbid_unknown_fields=not record.open,
                kw_only=True,  # they stay in their order, in which they mostly come
                gc=False,
            )
        return self._types[id(record)]

    def _of(self, field: Field, above: tuple[int, ...]) -> Any:
        if field.keyed or field.embedded:
            raise NotTyped
        if isinstance(field.shape, Record):
            return self._type(field.shape, above)
        leaf = field.shape
        if leaf.kind == "any":
            raise NotTyped
        if leaf.kind in UNTYPED:
            return Any
        return Literal[leaf.enum] if leaf.enum and len(leaf.enum) <= MAX_VALUES else str


def _index(record: Record, name: str) -> int:
    return next(n for n, field in enumerate(record.fields) if field.name == name)

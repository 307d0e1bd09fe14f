"""Sample documents: one valid document made from nothing but a message's shape, always the same one."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Any, Final

from mappings.language.shape import TEXT, Field, Leaf, Message, Record

DEPTH: Final = 24
"""Levels after which a recursive type is left empty, and from which half of it on optional fields are left out."""
NODES: Final = 20_000
"""Fields after which optional ones are left out."""
_NEVER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_TEXTS: Final = {
    "date": "2026-01-15",
    "time": "12:00:00",
    "datetime": "2026-01-15T12:00:00Z",
    "boolean": "true",
    "binary": base64.b64encode(b"sample").decode(),
}


def document(
    message: Message,
    *,
    rows: int = 1,
    optional: bool = True,
    values: Mapping[str, str] | None = None,
    element: tuple[str, str] | None = None,
) -> Any:
    """form xml: the text (bytes) of the payload element, whose (namespace, name) is `element` where it is not the record's name. json: the
    decoded value, numbers as int and Decimal. rows: nested tuples of texts. struct: a dict by field name.

    `rows`: how many of what repeats. `values`: texts by dotted path (T_STOCK.item.MATNR) where the contract alone does not say enough.
    """
    maker = _Maker(message.form, rows, optional, dict(values or {}))
    if message.form == "xml":
        namespace, name = element or ("", message.root.name)
        return "".join(maker.xml(name, namespace, None, message.root, "", ())).encode()
    if message.form == "rows":
        return maker.row(message.root, "", ())
    return maker.table(message.root, "", ())


def leaf_text(leaf: Leaf, name: str = "") -> str:
    """The lexical form of a value that the leaf allows; `name` makes texts readable."""
    if leaf.enum:
        return leaf.enum[0]
    if leaf.pattern is not None and (made := matching(leaf.pattern)) is not None and leaf.kind in ("string", "any"):
        return made
    if leaf.kind in ("integer", "decimal"):
        return f"{_number(leaf):f}"
    if leaf.kind in _TEXTS:
        return _TEXTS[leaf.kind]
    text = (name or "text")[: leaf.max_length]
    return text.ljust(leaf.min_length or 0, "x")


def _number(leaf: Leaf) -> Decimal:
    """1, or what lies nearest to it within the bounds."""
    fraction = leaf.digits[1] if leaf.digits and leaf.kind == "decimal" else 0
    one = Decimal(1).scaleb(-fraction) if leaf.digits and leaf.digits[0] <= fraction else Decimal(1)
    least = one if leaf.minimum is None else max(one, Decimal(leaf.minimum))
    return least if leaf.maximum is None else min(least, Decimal(leaf.maximum))


@dataclass(slots=True)
class _Maker:
    form: str
    rows: int
    optional: bool
    values: dict[str, str]
    nodes: int = 0

    def _fields(self, record: Record, above: tuple[int, ...]) -> Iterator[Field]:
        """Of a recursive type optional fields are made once, required ones as far as there is depth."""
        seen = id(record) in above
        for each in record.fields:
            room = len(above) < DEPTH // 2 and self.nodes < NODES
            if (each.required and len(above) < DEPTH) or (self.optional and not seen and room):
                self.nodes += 1
                yield each

    def _times(self, each: Field, above: tuple[int, ...]) -> range:
        return range(self.rows if each.repeated and len(above) < DEPTH // 4 and self.nodes < NODES else 1)

    def _leaf(self, each: Field, leaf: Leaf, path: str) -> str:
        return self.values.get(path) or leaf_text(leaf, each.name if each.name != TEXT else "text")

    def xml(self, name: str, namespace: str, around: str | None, record: Record, path: str, above: tuple[int, ...]) -> Iterator[str]:
        """`around`: the default namespace that holds there."""
        attributes, children, inside = "", list[str](), (*above, id(record))
        for each in self._fields(record, above):
            at = _below(path, each.name)
            if each.attribute and isinstance(each.shape, Leaf):
                prefix = "a:" if each.namespace else ""
                declared = f" xmlns:a={_quoted(each.namespace)}" if each.namespace and "xmlns:a=" not in attributes else ""
                attributes += f"{declared} {prefix}{each.name}={_quoted(self._leaf(each, each.shape, at))}"
            elif isinstance(each.shape, Leaf):
                content = escape(_NEVER.sub("", self._leaf(each, each.shape, at)))
                start = f"<{each.name}{_xmlns(each.namespace or '', namespace)}>"
                one = content if each.name == TEXT else f"{start}{content}</{each.name}>"
                children += [one for _ in self._times(each, above)]
            else:
                for _ in self._times(each, above):
                    children += self.xml(each.name, each.namespace or "", namespace, each.shape, at, inside)
        yield f"<{name}{_xmlns(namespace, around)}{attributes}>"
        yield from children
        yield f"</{name}>"

    def table(self, record: Record, path: str, above: tuple[int, ...]) -> dict[str, Any]:
        made = {}
        for each in self._fields(record, above):
            at, inside = _below(path, each.name), (*above, id(record))
            shape = each.shape
            value: list[Any] = [
                self._value(shape, self._leaf(each, shape, at)) if isinstance(shape, Leaf) else self.table(shape, at, inside)
                for _ in self._times(each, above)
            ]
            made[each.name] = {str(v["key"]): v.get("value") for v in value} if each.keyed else value if each.repeated else value[0]
        return made

    def row(self, record: Record, path: str, above: tuple[int, ...]) -> tuple[Any, ...]:
        wanted = {id(each) for each in self._fields(record, above)}
        made: list[Any] = []
        for each in record.fields:
            if id(each) not in wanted:
                made.append([] if each.repeated else None)
                continue
            at, shape, inside = _below(path, each.name), each.shape, (*above, id(record))
            value: list[Any] = [
                self._row_value(shape, self._leaf(each, shape, at)) if isinstance(shape, Leaf) else self.row(shape, at, inside)
                for _ in self._times(each, above)
            ]
            made.append(value if each.repeated else value[0])
        return tuple(made)

    @staticmethod
    def _row_value(leaf: Leaf, text: str) -> Any:
        return text == "true" if leaf.kind == "boolean" else text

    @staticmethod
    def _value(leaf: Leaf, text: str) -> Any:
        match leaf.kind:
            case "integer":
                return int(text)
            case "decimal":
                return Decimal(text)
            case "boolean":
                return text == "true"
            case _:
                return text


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'


def _xmlns(namespace: str, around: str | None) -> str:
    return "" if namespace == (around or "") else f" xmlns={_quoted(namespace)}"


# ---- patterns -------------------------------------------------------------------------------------------------------

_CLASSES: Final = {"d": "0", "w": "A", "s": " ", "D": "A", "W": "-", "S": "A", "i": "A", "c": "A", "t": "\t", "n": "\n"}


class _Unreadable(Exception):
    """More of the grammar than is written here."""


def matching(pattern: str, groups: Mapping[str, str] | None = None) -> str | None:
    """A short text that the pattern matches as a whole, named groups as given; None for a pattern of more than the usual parts."""
    try:
        text = _Pattern(pattern, dict(groups or {})).read()
        return text if re.fullmatch(pattern, text) else None
    except (_Unreadable, re.error, RecursionError):
        return None


@dataclass(slots=True)
class _Pattern:
    """Literals, classes, groups, alternatives (the first one is taken), quantifiers (as few as allowed)."""

    text: str
    groups: dict[str, str]
    at: int = field(default=0, init=False)

    def read(self) -> str:
        made = self._either()
        if self.at < len(self.text):
            raise _Unreadable
        return made

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self) -> str:
        if self.at >= len(self.text):
            raise _Unreadable
        self.at += 1
        return self.text[self.at - 1]

    def _either(self) -> str:
        first = self._sequence()
        while self._peek() == "|":
            self.at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        made = ""
        while self._peek() not in ("", "|", ")"):
            one = self._one()
            made += one * self._times()
            if len(made) > 10_000:
                raise _Unreadable
        return made

    def _one(self) -> str:
        match c := self._take():
            case "(":
                return self._group()
            case "[":
                return self._set()
            case "\\":
                c = self._take()
                if c in "pPbBAZ" or c.isdigit():
                    raise _Unreadable
                return _CLASSES.get(c, c)
            case ".":
                return "A"
            case "^" | "$":
                return ""
            case "*" | "+" | "?" | "{":
                raise _Unreadable
            case _:
                return c

    def _group(self) -> str:
        name = ""
        if self._peek() == "?":
            if found := re.compile(r"\?P<(\w+)>").match(self.text, self.at):
                name, self.at = found[1], found.end()
            elif self.text.startswith("?:", self.at):
                self.at += 2
            else:
                raise _Unreadable
        made = self._either()
        if self._take() != ")":
            raise _Unreadable
        return self.groups.get(name, made)

    def _set(self) -> str:
        end = re.compile(r"\^?\]?(?:\\.|[^\]\\])*\]").match(self.text, self.at)
        if end is None:
            raise _Unreadable
        inside, self.at = self.text[self.at : end.end() - 1], end.end()
        allowed = re.compile(f"[{inside}]").fullmatch
        made = next((c for c in "1A0a-_ .XZz9" if allowed(c)), None) or next((chr(n) for n in range(32, 0x250) if allowed(chr(n))), None)
        if made is None:
            raise _Unreadable
        return made

    def _times(self) -> int:
        found = re.compile(r"(?:([*+?])|\{(\d+)(?:,\d*)?\})\??").match(self.text, self.at)
        if found is None:
            return 1
        self.at = found.end()
        return int(found[2][:5]) if found[2] else int(found[1] == "+")

"""Answers that differ from their contract in one place: the places of a document, and what may be done to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.proof.documents import base, calls
from mappings.language.expression import Cases, Const, ExpressionError, Node, parse
from mappings.language.mapping import CompiledMapping
from mappings.language.shape import TEXT, Field, Leaf, Message, Record

UNKNOWN: Final = "standInUnknown"
"""Name of an element that no contract has."""
_NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_CODED: Final = ("enum", "lookup", "boolean")
_CONVERTED: Final = (
    "integer", "decimal", "implied", "cents", "money", "unit_price", "quantity", "date", "time", "local_datetime", "instant",
    "epoch_millis",
)  # fmt: skip
_PRESENT: Final = ("missing", "nil", "empty")
_FORGIVING: Final = ("default", "coalesce", "missing", "nil", "empty", "first", "where", "any_row", "count")


@dataclass(frozen=True, slots=True)
class Spot:
    """One field that a document has: `steps` lead to it (name, index). `uses`: functions that the mapping sends it through; None: it is not
    mapped."""

    steps: tuple[tuple[str, int], ...]
    field: Field
    uses: frozenset[str] | None
    codes: frozenset[str]
    form: str = "json"

    @property
    def path(self) -> str:
        return ".".join(name for name, _ in self.steps)

    @property
    def leaf(self) -> Leaf | None:
        return self.field.shape if isinstance(self.field.shape, Leaf) else None

    @property
    def coded(self) -> bool:
        """Whether only some values are known, and the mapping reads which one it is, not just whether there is one."""
        if self.leaf is None or self.uses is None or (self.uses.intersection(_PRESENT) and self.uses <= {*_FORGIVING}):
            return False
        return bool(self.leaf.enum or self.uses.intersection(_CODED))

    @property
    def converted(self) -> bool:
        """Whether some texts cannot be its value."""
        if self.leaf is None or self.uses is None:
            return False
        return self.leaf.kind in ("integer", "decimal", "date", "datetime", "time", "boolean") or bool(self.uses.intersection(_CONVERTED))

    @property
    def doubles(self) -> bool:
        """Whether it can stand there twice: a member of a JSON object cannot."""
        element = self.form == "xml" and not self.field.attribute and self.field.name != TEXT
        return self.field.repeated or (element and self.leaf is not None and self.uses is not None)

    @property
    def forgiving(self) -> bool:
        """Whether the mapping says what holds when it is not there."""
        return self.uses is not None and bool(self.uses.intersection(_FORGIVING))


def spots(message: Message, document: Any, mapping: CompiledMapping | None) -> list[Spot]:
    """Each declared field that the document has, of what repeats the first row only."""
    uses, codes = _uses(mapping)

    def walk(record: Record, here: Any, above: tuple[tuple[str, int], ...]) -> Iterator[Spot]:
        for field in record.fields:
            found = _values(here, field)
            if not found:
                continue
            steps = (*above, (field.name, 0))
            path = ".".join(name for name, _ in steps)
            yield Spot(steps, field, uses.get(path), codes.get(path, frozenset()), message.form)
            if isinstance(field.shape, Record) and len(steps) < 24:
                yield from walk(field.shape, found[0], steps)

    return list(walk(message.root, document, ()))


def _values(here: Any, field: Field) -> list[Any]:
    if isinstance(here, dict):
        value = here.get(field.name)
        return value if field.repeated and isinstance(value, list) else [] if value is None else [value]
    if not isinstance(here, etree._Element):  # noqa: SLF001 - the class of every element has no other name
        return []
    if field.attribute:
        return [v for k, v in here.attrib.items() if etree.QName(k).localname == field.name]
    if field.name == TEXT:
        return [here.text] if here.text else []
    return here.findall(f"{{*}}{field.name}")


def _uses(mapping: CompiledMapping | None) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """By source path: the functions it goes through, and the codes that they know."""
    uses: dict[str, set[str]] = {}
    codes: dict[str, set[str]] = {}
    for line in mapping.lineage.values() if mapping is not None else ():
        for source in line.sources:
            uses.setdefault(source, set())
        try:
            node = parse(line.expression)
        except ExpressionError:
            continue
        for call in calls(node, certain=True):
            path = base(call)
            if path is None:
                continue
            wanted = ".".join(path.steps)
            for source in line.sources:
                if source == wanted or source.endswith(f".{wanted}"):
                    uses[source].add(call.name)
                    codes.setdefault(source, set()).update(_cases(call.arguments[1:], call.named))
    return {k: frozenset(v) for k, v in uses.items()}, {k: frozenset(v) for k, v in codes.items()}


def _cases(arguments: tuple[Node, ...], named: tuple[tuple[str, Node], ...]) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, Cases):
            yield from (str(k) for k, _ in argument.items)
        elif isinstance(argument, Const):
            yield str(argument.value)
    for name, each in named:
        yield name
        if isinstance(each, Const):
            yield str(each.value)


# ---- what may be done -----------------------------------------------------------------------------------------------

Change = Callable[[Any], Any]


def at(spot: Spot, change: Callable[[Any, Field, list[Any]], None]) -> Change:
    """Of a copy of the document, `change(parent, field, values)`."""

    def changed(document: Any) -> Any:
        made = deepcopy(document)
        here, field = made, spot.field
        for name, index in spot.steps[:-1]:
            if isinstance(here, dict):
                value = here[name]
                here = value[index] if isinstance(value, list) else value
            else:
                here = here.findall(f"{{*}}{name}")[index]
        change(here, field, _values(here, field))
        return made

    return changed


def remove(here: Any, field: Field, values: list[Any]) -> None:
    """All of it: every row of what repeats."""
    if isinstance(here, dict):
        del here[field.name]
    elif field.attribute:
        for key in [k for k in here.attrib if etree.QName(k).localname == field.name]:
            del here.attrib[key]
    elif field.name == TEXT:
        here.text = None
    else:
        for element in values:
            here.remove(element)


def value(text: Any) -> Callable[[Any, Field, list[Any]], None]:
    def put(here: Any, field: Field, values: list[Any]) -> None:
        if isinstance(here, dict):
            here[field.name] = [text, *values[1:]] if field.repeated else text
        elif field.attribute:
            key = next(k for k in here.attrib if etree.QName(k).localname == field.name)
            here.set(key, str(text))
        elif field.name == TEXT:
            here.text = str(text)
        else:
            for child in list(values[0]):
                values[0].remove(child)
            values[0].text = str(text)

    return put


def nil(here: Any, field: Field, values: list[Any]) -> None:
    if isinstance(here, dict):
        here[field.name] = None
    elif not field.attribute and field.name != TEXT:
        for child in list(values[0]):
            values[0].remove(child)
        values[0].text = None
        values[0].set(_NIL, "true")


def twice(here: Any, field: Field, values: list[Any]) -> None:
    """The first row comes again; a single element comes a second time, with another text."""
    if isinstance(here, dict):
        here[field.name] = [values[0], *values]
    elif not field.attribute and field.name != TEXT:
        again = deepcopy(values[0])
        again.tail = None
        if not field.repeated and len(again) == 0:
            again.text = f"{again.text or ''}9"
        values[0].addnext(again)


def widened(document: Any, message: Message) -> Any:
    """A copy with one more element, or member, in every record that the contract describes."""
    made = deepcopy(document)

    def add(record: Record, here: Any, depth: int) -> None:
        for field in record.fields:
            if isinstance(field.shape, Record) and depth < 24:
                for each in _values(here, field):
                    add(field.shape, each, depth + 1)
        if isinstance(here, dict):
            here[UNKNOWN] = "?"
        elif isinstance(here, etree._Element):  # noqa: SLF001 - as above
            etree.SubElement(here, UNKNOWN).text = "?"

    add(message.root, made, 0)
    return made


def reversed_order(document: Any) -> Any:
    """A copy in which the fields of every record come last first; rows of one name keep their order."""
    if isinstance(document, dict):
        return {name: reversed_order(document[name]) for name in reversed(list(document))}
    if isinstance(document, list):
        return [reversed_order(each) for each in document]
    if not isinstance(document, etree._Element):  # noqa: SLF001 - as above
        return document
    made = deepcopy(document)
    for element in list(made.iter(etree.Element)):
        names = list(dict.fromkeys(child.tag for child in element))
        element[:] = sorted(element, key=lambda child: -names.index(child.tag))
    return made


def unknown_code(spot: Spot) -> str:
    """A text that no enumeration here knows, no longer than the contract allows."""
    leaf = spot.leaf
    known = {*(leaf.enum or ()), *spot.codes} if leaf is not None else spot.codes
    longest = (leaf.max_length if leaf is not None else None) or 12
    for text in ("STANDIN-NEW"[:longest], *("ZQY78"[n] * min(longest, 2) for n in range(5)), *(chr(65 + n) for n in range(26))):
        if text not in known:
            return text
    return "~"

"""Files written by their declared layout: what a till would send, from rows as mappings read them, with totals that prove it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from adapters.files.checks import Checks, Row
from adapters.files.layout import FieldRule, Layout, Record, Step, steps
from mappings.language.sample import document, leaf_text, matching
from mappings.language.shape import Field, Leaf

_OVERPUNCH: Final = "{ABCDEFGHI", "}JKLMNOPQR"


class Unwritable(ValueError):
    """Rows that no file of this layout can hold."""


class Raw(str):
    """A text that is written as it is, whatever the field's type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A file. `starts`: the offset of each transaction, and of what follows the last."""

    name: str
    body: bytes
    starts: tuple[int, ...]


class Writer:
    """`transactions` are rows of the layout's message: own fields, headers, children; texts or values of the fields' types."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._xml = layout.file.format == "xml"
        self._encoding = "utf-8" if layout.file.encoding == "auto" else layout.file.encoding

    def file(self, transactions: Sequence[Row], number: int = 1, stated: Mapping[str, str] | None = None) -> Written:
        """`number` makes the name another one, where it has room for that. `stated`: other values of trailer fields, by RECORD.field.

        Raises Unwritable.
        """
        if not transactions:
            raise Unwritable("a file holds at least one transaction")
        layout = self.layout
        headers = {r.name: transactions[0][len(layout.transaction.fields) + at] for at, r in enumerate(layout.headers)}
        headers |= {r.name: self._sampled(r) for r in layout.headers if headers[r.name] is None and r.needed}
        name = self._name(headers, transactions[0], number)
        parts = [self._transaction(row) for row in transactions]
        if self._xml:
            root = self._root()
            opened = f"<?xml version='1.0' encoding='{self._encoding}'?>\n{root[0]}\n".encode(self._encoding)
            return _joined(name, opened, parts, f"{root[1]}\n".encode(self._encoding))
        before = b"".join(self._line(layout.records[n], row) for n, row in headers.items() if row is not None)
        if layout.file.columns:
            before = self._cells(
                [f.column or f.name for record in (layout.transaction, *layout.transaction.children) for f in record.fields]
            )
        ends = b"".join(self._line(r, row) for r, row in self._trailers(transactions, parts, stated or {}))
        return _joined(name, before, parts, ends)

    def transaction(self, row: Row) -> bytes:
        """One of them, with all that hangs under it. Raises Unwritable, UnicodeEncodeError."""
        return self._transaction(row)

    def sample(self, values: Mapping[str, str], *, optional: bool = False) -> Row:
        """A transaction made from the layout: amounts that checks add up are nothing, and what name and content share fits the name.
        `values`: texts by dotted path from the transaction down.
        """
        layout = self.layout
        made: dict[str, str] = {}
        for check in layout.checks:
            for term in (check.expect, *(t.sum or t.field for t in check.equals)):
                name, _, field = (term or "").rpartition(".")
                if (record := layout.record(name)) is not None and record.rule.role in ("transaction", "detail"):
                    made[".".join((*_chain(record), field))] = "0"
        plain = layout.pattern.fullmatch(matching(layout.pattern.pattern) or "")
        for group in layout.file.agree:
            for record in (*layout.headers, layout.transaction):
                rule = record.field(group)
                if rule is not None and rule.type not in ("date", "datetime") and plain is not None:
                    made[".".join((*([] if record is layout.transaction else [record.name]), group))] = plain[group]
        row: Row = document(layout.message, optional=optional, values={**values, **made})
        return row

    def _name(self, headers: Mapping[str, Any], first: Row, number: int) -> str:
        groups: dict[str, str] = {}
        for group in self.layout.file.agree:
            for record in (*self.layout.headers, self.layout.transaction):
                row = headers.get(record.name) if record is not self.layout.transaction else first
                at = record.at(group)
                if group not in groups and row is not None and at is not None and row[at] is not None:
                    value = row[at]
                    groups[group] = (value.isoformat() if isinstance(value, date) else str(value)).replace("-", "")
        pattern = self.layout.pattern
        plain = matching(pattern.pattern, groups)
        if plain is None:
            raise Unwritable(f"no name can be made for the pattern {pattern.pattern}")
        found = pattern.fullmatch(plain)
        free = {g: v for g, v in (found.groupdict() if found else {}).items() if g not in groups and v and v.isdigit()}
        numbered = {g: str(number).zfill(len(v)) for g, v in free.items()}
        return matching(pattern.pattern, groups | numbered) or plain

    # ---- rows ---------------------------------------------------------------------------------------------------------

    def _transaction(self, row: Row) -> bytes:
        top = self.layout.transaction
        if self._xml:
            element = self._element(top, row, None)
            return etree.tostring(element, encoding="unicode").encode(self._encoding) + b"\n"
        if self.layout.file.columns:
            below = [r for child in top.children for r in (row[child.index] if child.repeated else [row[child.index]])] or [()]
            return b"".join(self._cells([*_texts(top, row), *(t for child in top.children for t in _texts(child, each))]) for each in below)
        return b"".join(self._line(record, each) for record, each in _descend(top, row))

    def _cells(self, texts: Sequence[str]) -> bytes:
        file = self.layout.file
        return f"{file.delimiter.join(_quoted(t, file.delimiter, file.quote) for t in texts)}\n".encode(self._encoding)

    def _line(self, record: Record, row: Row) -> bytes:
        if self.layout.file.format == "delimited":
            return self._cells([record.name, *_texts(record, row)])
        width = max(((f.start or 1) + (f.width or 0) - 1 for f in record.fields), default=0)
        kind = self.layout.file.record_type
        columns = list(" " * max(width, (kind.start or 1) + (kind.width or 0) - 1))
        cells = [(kind.start, kind.width, record.name)]
        cells += [(f.start, f.width, text) for f, text in zip(record.fields, _texts(record, row), strict=True)]
        for start, size, text in ((start or 1, size or 0, text) for start, size, text in cells):
            if len(text) > size:
                raise Unwritable(f"{record.name}: {text[:40]!r} is longer than its {size} columns")
            columns[start - 1 : start - 1 + size] = text.ljust(size)
        return f"{''.join(columns)}\n".encode(self._encoding)

    def _trailers(self, rows: Sequence[Row], parts: Sequence[bytes], stated: Mapping[str, str]) -> Iterator[tuple[Record, Row]]:
        """Trailers with the totals that the layout's checks ask for."""
        checks = Checks(self.layout)
        counts: dict[str, int] = {}
        for row in rows:
            checks.add(_typed(self.layout.transaction, row))
            for record, _ in _descend(self.layout.transaction, row):
                counts[record.name] = counts.get(record.name, 0) + 1
        totals = {check.expect: total for check, total in checks.found(counts)}
        for record in self.layout.trailers:
            yield (
                record,
                tuple(
                    stated.get(f"{record.name}.{f.name}") or totals.get(f"{record.name}.{f.name}", _sample(f) if f.required else None)
                    for f in record.fields
                ),
            )

    def _sampled(self, record: Record) -> Row:
        return tuple(_sample(f) if f.required else None for f in record.fields)

    # ---- elements -----------------------------------------------------------------------------------------------------

    def _root(self) -> tuple[str, str]:
        file, spaces = self.layout.file, self.layout.file.namespaces
        space = next((s for s in spaces if s), "") if spaces != "any" else ""
        path = [file.root, *(step.names[0] for step in self.layout.transaction.steps[:-1])]
        first = f'<{path[0]} xmlns="{space}">' if space else f"<{path[0]}>"
        return first + "".join(f"<{name}>" for name in path[1:]), "".join(f"</{name}>" for name in reversed(path))

    def _element(self, record: Record, row: Row, above: etree._Element | None) -> etree._Element:
        if above is None:
            element = etree.Element(record.steps[-1].names[0])
        else:
            holder = _led(above, record.steps[:-1])
            element = etree.SubElement(holder, record.steps[-1].names[0])
        said = [(f, value) for f, value in zip(record.fields, row, strict=False) if value is not None and f.path]
        named = [(f, value) for f, value in said if _text(f, value) != f.default]
        for f, value in sorted(named, key=lambda each: each[0].read != "name"):  # which element there is decides where others stand
            path = steps(f.path or ".")
            if f.read == "name":
                _led(element, (*path[:-1], Step((str(value),))))
            elif path[-1].attribute:
                _led(element, path[:-1]).set(path[-1].names[0], _text(f, value))
            else:
                _led(element, path).text = _text(f, value)
        if record.where:
            _led(element, record.where)
        for child in record.children:
            for each in _rows(child, row):
                self._element(child, each, element)
        return element


def _chain(record: Record) -> tuple[str, ...]:
    """Names from below the transaction down to the record."""
    return () if record.parent is None else (*_chain(record.parent), record.name)


def _joined(name: str, before: bytes, parts: Sequence[bytes], after: bytes) -> Written:
    starts = [len(before)]
    for part in parts:
        starts.append(starts[-1] + len(part))
    return Written(name, before + b"".join(parts) + after, tuple(starts))


def _descend(record: Record, row: Row) -> Iterator[tuple[Record, Row]]:
    yield record, row
    for child in record.children:
        for each in _rows(child, row):
            yield from _descend(child, each)


def _rows(child: Record, row: Row) -> Sequence[Row]:
    found = row[child.index] if child.index < len(row) else None
    return found or () if child.repeated else () if found is None else (found,)


def _typed(record: Record, row: Row) -> Row:
    """Flags and numbers as the checks read them, everything else as it is."""
    made = list(row) + [None] * (len(record.fields) - len(row))
    for at, f in enumerate(record.fields):
        if f.type == "flags":
            made[at] = tuple(bool(v) for v in (made[at] or ())) + (False,) * (len(f.values) - len(made[at] or ()))
        elif f.type in ("integer", "decimal") and made[at] is not None:
            made[at] = str(made[at])
    for child in record.children:
        made += [None] * (child.index + 1 - len(made))
        rows = [_typed(child, each) for each in _rows(child, row)]
        made[child.index] = rows if child.repeated else (rows[0] if rows else None)
    return tuple(made)


def _led(element: etree._Element, path: Sequence[Step]) -> etree._Element:
    """Where a path leads, made where it is not there: of several names the one that is there already, else the first."""
    for step in path:
        if step.up:
            above = element.getparent()
            if above is None:
                raise Unwritable("a path leads above its document")
            element = above
        elif step.names:
            known = [e for e in element if e.tag in step.names and (step.where is None or e.get(step.where[0]) == step.where[1])]
            if known:
                element = known[-1]
            else:
                element = etree.SubElement(element, step.names[0])
                if step.where:
                    element.set(*step.where)
    return element


def _texts(record: Record, row: Row) -> list[str]:
    return [_text(f, row[at] if at < len(row) else None) for at, f in enumerate(record.fields)]


def _quoted(text: str, delimiter: str, quote: str) -> str:
    if delimiter in text or "\n" in text or (quote and quote in text):
        if not quote:
            raise Unwritable(f"{text[:40]!r} holds a delimiter, and the layout has no quotes")
        return quote + text.replace(quote, quote * 2) + quote
    return text


def _sample(f: FieldRule) -> Any:
    if f.type in ("enum", "flags"):
        return next(iter(f.values)) if f.type == "enum" else ()
    if f.type in ("date", "datetime", "time"):
        moment = datetime(2026, 1, 15, 12)  # noqa: DTZ001 - a layout's times are local
        return {"date": moment.date(), "time": moment.time(), "datetime": moment}[f.type]
    kind: Any = f.type
    leaf = Leaf(kind, f.max, None, f.pattern, min_length=f.min)
    return leaf_text(leaf, Field(f.name, leaf).name)


def _text(f: FieldRule, value: Any) -> str:
    """The text of a field, as the layout writes it."""
    if value is None or isinstance(value, Raw):
        return value or ""
    match f.type:
        case "flags":
            return value if isinstance(value, str) else "".join(c for c, on in zip(f.values, value, strict=False) if on)
        case "boolean":
            return value if isinstance(value, str) else ("true" if value else "false")
        case "integer" | "decimal":
            return _number(f, Decimal(str(value)))
        case "date" | "time" | "datetime":
            return _moment(f, value)
        case _:
            text = str(value)
            return text.rjust(f.min, f.pad) if f.pad and f.min else text


def _number(f: FieldRule, value: Decimal) -> str:
    shifted = value.scaleb(f.decimals) if f.decimals else value
    text = f"{abs(shifted):f}"
    if f.type == "integer" or f.decimals is not None:
        text = text.partition(".")[0]
    minus = shifted < 0
    if f.pad:
        digits, room = f.digits or 0, (f.width or 40) - (minus and f.sign != "overpunch")
        text = text.rjust(min(digits, room), f.pad)
    match f.sign:
        case "trailing":
            return text + ("-" if minus else "")
        case "leading":
            return ("-" if minus else "") + text
        case "overpunch":
            return text[:-1] + _OVERPUNCH[minus][int(text[-1])]
        case _:
            if minus:
                raise Unwritable(f"{f.name} has no sign, and {value} is negative")
            return text


def _moment(f: FieldRule, value: Any) -> str:
    kinds: dict[str, Any] = {"date": date, "time": time, "datetime": datetime}
    if isinstance(value, str):
        if f.format == "iso":
            return value
        value = kinds[f.type].fromisoformat(re.sub(r"Z$", "+00:00", value))
    text: str = value.isoformat() if f.format == "iso" else value.strftime(f.format or "")
    return text

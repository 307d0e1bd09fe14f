"""Transactions of XML: their elements as rows, and the pattern of their text."""

from __future__ import annotations

import re
from typing import Any

from adapters.files.formats.regular import VALUES, Marked, sign
from adapters.files.layout import Record
from adapters.files.learning.cells import ANY, MARK, Cell, Row, Unfit, lengths


def nested(marked: Marked, transaction: Record) -> list[Row]:
    """The rows of a transaction's elements, each before those below it."""
    made: list[Row] = []

    def add(record: Record, raw: tuple[Any, ...], above: Row | None, ordinal: int) -> Row:
        row = Row(record, {}, above, ordinal)
        made.append(row)
        for f, said in zip(record.fields, raw, strict=False):
            mark = said if isinstance(said, str) and said.startswith(MARK) else ""
            value = marked.values[mark] if mark else said if isinstance(said, str) else ""
            if MARK in value:
                raise Unfit
            if mark.startswith(f"{MARK}t"):
                value = value.strip()
            row.cells[f.name] = Cell(f, record.name, (sign(value) or "") if f.read == "sign" else value, len(made), mark=mark)
        for child, found in zip(record.children, raw[len(record.fields) :], strict=True):
            for n, each in enumerate(found if child.repeated else [] if found is None else [found]):
                row.below.append(add(child, each, row, n))
        return row

    add(transaction, marked.raw, None, 0)
    return made


def any_text(cell: Cell) -> str:
    """Pattern of whatever may stand there, where nothing is made of it. Empty where the layout asks more than a length."""
    low, high = lengths(cell.rule)
    if cell.rule.type != "string" or cell.rule.pattern or low > 1:
        return ""
    core = rf"{ANY}(?:[^<>&\"\'\]\x00-\x1f\ufffe\uffff]{{0,{high - 2}}}{ANY})?" if high > 1 else ANY
    return core if re.fullmatch(core, cell.text) else ""


def together(cells: list[Cell]) -> None:
    """Fields that are read of one text change together, or not at all; which way an amount goes does not change with it."""
    for mark in {cell.mark for cell in cells if cell.mark}:
        of = [cell for cell in cells if cell.mark == mark and cell.rule.read != "sign"]
        if len({(cell.core, cell.rule.type) for cell in of}) > 1:
            for cell in of:
                cell.core = ""


def marked_pattern(marked: Marked, cells: list[Cell]) -> str:
    """Its markup as it stands, the texts in it as the cells say; what no field is read of may be any text without entities."""
    grouped = {cell.mark: cell.grouped for cell in cells if cell.core}
    read = {cell.mark for cell in cells}
    parts, marks = list(marked.parts), iter(marked.values)
    for at, part in enumerate(parts):
        if part in VALUES:
            mark = next(marks)
            quote = part[0] if part[0] != "(" else ""
            own = grouped.get(mark) or (re.escape(marked.values[mark]) if mark in read else "")
            parts[at] = f"{quote}{own}{quote}" if own else part.replace("([^", "(?:[^&", 1)
    return "".join(parts)

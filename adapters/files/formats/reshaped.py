"""Files that are no rows with a record type in front, read as if they were: each row is rewritten, its own bytes and line are kept."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from msgspec.structs import replace

from adapters.files.formats.delimited import MISFIT, Plan, RowParser
from adapters.files.layout import FieldRule, Layout, Where
from adapters.files.parsing import MOST_RAW, Ending, Unit

DELIMITER: Final = "\u241f"
"""The sign for a unit separator, which no field holds; where one does, it is quoted."""
AHEAD: Final = 65_536


@dataclass(frozen=True, slots=True)
class Rewritten:
    """`rows`: what stands for one row of the file; `raw`, `line`: that row, as it is."""

    rows: tuple[str, ...]
    raw: bytes
    line: int


class Rewriter(Protocol):
    """Rewrites one file. `damage` and `findings` are complete when `rows` has ended."""

    damage: str
    findings: list[str]

    def rows(self, source: BinaryIO) -> Iterator[Rewritten]:
        """Raises Refuse."""
        ...


def row(name: str, cells: list[str]) -> str:
    return DELIMITER.join([name, *(_quoted(c) for c in cells)])


def misfit(why: str) -> str:
    """Stands for a row that is none, and sets the transaction aside that it belongs to."""
    return row(f"{MISFIT}{why}", [])


def _quoted(cell: str) -> str:
    if '"' in cell or "\n" in cell or "\r" in cell or DELIMITER in cell:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def as_rows(layout: Layout, field: Callable[[FieldRule], FieldRule] = lambda f: f) -> Layout:
    """The layout of what is written: delimited, the record type in front."""
    made = copy.deepcopy(layout)
    file = layout.file
    made.file = replace(
        file, format="delimited", delimiter=DELIMITER, quote='"', encoding="utf-8", record_type=Where(position=1),
        max_record=min(file.max_record * 8, 16_777_216),
    )  # fmt: skip
    for record in made.records.values():
        record.fields = tuple(replace(field(f), start=None, width=None) for f in record.fields)
    return made


class ReshapedParser:
    """Reads one file through a rewriter. Keeps the bytes of the rows that belong to no unit yet."""

    def __init__(self, plan: Plan, rewriter: Rewriter, skim: int | None) -> None:
        self._rows, self._rewriter = RowParser(plan, skim), rewriter
        self._most = plan.layout.file.max_records + 2
        self._strict = plan.layout.file.incomplete == "refuse_file"
        self._kept: deque[tuple[int, Rewritten]] = deque()
        """With the number of the first of its rewritten rows."""
        self._front: list[bytes] = []
        self.ending = Ending()

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        begun = False
        for unit in self._rows.units(_Stream(self._rewriter.rows(source), self._kept), name, facts):  # type: ignore[arg-type]  # it is read from, no more
            count = unit.raw().count(b"\n") if unit.row is not None or unit.wrong is not None else 1
            first, last = unit.line, unit.line + max(count, 1)
            while self._kept and self._kept[0][0] + len(self._kept[0][1].rows) <= first:
                _, passed = self._kept.popleft()
                if not begun and len(self._front) < self._most:
                    self._front.append(passed.raw)
            begun = True
            mine = [kept for at, kept in self._kept if at < last]
            lines = {at + n: kept.line for at, kept in self._kept if at < last for n in range(len(kept.rows))}
            raw = b"".join(kept.raw for kept in mine)[:MOST_RAW]
            front = b"".join(self._front)
            unit.line = lines.get(first, first)
            if unit.wrong is not None:
                unit.wrong.line = lines.get(unit.wrong.line, unit.line)
            yield Unit(unit.position, unit.line, unit.row, unit.wrong, lambda raw=raw: raw, name, lambda front=front: (front, b""))  # type: ignore[misc]  # bound now
        self.ending = self._rows.ending
        if self._rewriter.damage:
            (self.ending.reasons if self._strict else self.ending.findings).append(self._rewriter.damage)
        for finding in self._rewriter.findings:
            self.ending.find(finding)


class _Stream:
    """Rewritten rows as bytes, a block at a time."""

    def __init__(self, rows: Iterator[Rewritten], kept: deque[tuple[int, Rewritten]]) -> None:
        self._rows, self._kept, self._number = rows, kept, 1

    def read(self, _: int) -> bytes:
        texts: list[str] = []
        size = 0
        for each in self._rows:
            self._kept.append((self._number, each))
            for text in each.rows:
                self._number += 1 + text.count("\n")
                texts.append(text)
                size += len(text)
            if size > AHEAD:
                break
        return "".join(f"{t}\n" for t in texts).encode("utf-8", "surrogateescape")

"""A transaction that speaks of several places at once, as one for each: pairs of place and quantity (SDQ), quantities with a place each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from adapters.files.formats.interchange import Syntax
from adapters.files.generated import function
from adapters.files.layout import Record

MOST_PARTS: Final = 5_000
Row = tuple[Any, ...]


class Level(NamedTuple):
    """A kind of record between the transaction and the field that divides it."""

    record: Record
    tag: str
    fits: Callable[[list[str], Syntax], bool]
    below: frozenset[str]
    """Segments of all that hangs under it."""


class Division:
    """`levels` lead from below the transaction to the record with this field, which stands at element and component `place`."""

    def __init__(self, levels: Sequence[Level], field: str, place: tuple[int, int]) -> None:
        self._levels, self._index = levels, levels[-1].record.at(field) or 0
        self._element, self._component = place
        self._told_in = _told_in([level.record for level in levels], self._index)

    def divides(self, row: Row) -> bool:
        """Whether there is more than one value. Most transactions speak of one place, so this is asked of each."""
        return len(self._told_in(row)) > 1

    def rows(self, row: Row) -> dict[str | None, Row]:
        """By value, in the order in which they come. Records of the outermost level that tell none are together those of None."""
        return self._rows(row, 0) or {None: row}

    def _rows(self, row: Row, depth: int) -> dict[str | None, Row]:
        record, found = self._levels[depth].record, dict[str | None, list[Row]]()
        held = row[record.index]
        for each in held if record.repeated else () if held is None else (held,):
            if depth + 1 == len(self._levels):
                found.setdefault(each[self._index], []).append(each)
                continue
            for value, part in (self._rows(each, depth + 1) or ({} if depth else {None: each})).items():
                found.setdefault(value, []).append(part)
        at = record.index
        return {value: (*row[:at], parts if record.repeated else parts[0], *row[at + 1 :]) for value, parts in found.items()}

    def texts(self, texts: Sequence[str], syntax: Syntax, value: str | None) -> list[str]:
        """The segments of one of the rows."""
        return self._texts(texts, 0, syntax, lambda told: told == value, own=value is None)[0]

    def _texts(
        self, texts: Sequence[str], depth: int, syntax: Syntax, wanted: Callable[[str], bool], *, own: bool = False
    ) -> tuple[list[str], bool]:
        """Without what is of other values, and whether anything is left of this level. `own`: only what tells no value."""
        level, kept, any_, at = self._levels[depth], list[str](), False, 0
        while at < len(texts):
            end, elements = at + 1, texts[at].split(syntax.element)
            if elements[0].strip() != level.tag or not level.fits(elements, syntax):
                kept.append(texts[at])
            else:
                while end < len(texts) and texts[end].partition(syntax.element)[0].strip() in level.below:
                    end += 1
                block = list(texts[at:end])
                if own and depth + 1 < len(self._levels):
                    mine = [] if self._block(block, depth, syntax, lambda told: True) else block
                else:
                    mine = self._block(block, depth, syntax, wanted)
                kept += mine
                any_ = any_ or bool(mine)
            at = end
        return kept, any_

    def _block(self, block: list[str], depth: int, syntax: Syntax, wanted: Callable[[str], bool]) -> list[str]:
        """Of one record and what hangs under it: what is wanted, or nothing."""
        elements = block[0].split(syntax.element)
        if depth + 1 == len(self._levels):
            return block if wanted(self._told(elements, syntax)) else []
        rule = self._levels[depth + 1].record.rule
        if rule.first is None:
            rest, any_ = self._texts(block[1:], depth + 1, syntax, wanted)
            return [block[0], *rest] if any_ else []
        groups = [elements[at : at + rule.each] for at in range(rule.first, len(elements), rule.each)]
        groups = [group for group in groups if any(group) and wanted(self._told(["", *group], syntax))]
        return [syntax.element.join([*elements[: rule.first], *chain.from_iterable(groups)]), *block[1:]] if groups else []

    def _told(self, elements: Sequence[str], syntax: Syntax) -> str:
        text = elements[self._element] if self._element < len(elements) else ""
        if self._component:
            text = (text.split(syntax.component or "\0") + [""] * self._component)[self._component - 1]
        return syntax.plain(text).strip()


def _told_in(records: Sequence[Record], index: int) -> Callable[[Row], set[str | None]]:
    """The values in a row, as a comprehension through all levels; None where a record of the outermost has none below it."""
    loops = [f"for r{n + 1} in {_held(record, f'r{n}')}" for n, record in enumerate(records)]
    last = f"r{len(records)}[{index}]"
    values = f"{{{last} {loops[0]}}}" if len(loops) == 1 else f"{{v {loops[0]} for v in [{last} {' '.join(loops[1:])}] or (None,)}}"
    return function("told", f"def told(r0):\n    return {values}\n", {})


def _held(record: Record, row: str) -> str:
    at = f"{row}[{record.index}]"
    return at if record.repeated else f"(() if {at} is None else ({at},))"

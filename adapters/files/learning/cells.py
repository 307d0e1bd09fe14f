"""Cells of a transaction: a column of a row, or the text or an attribute of an element, and what may stand in their place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.files.layout import FieldRule, Record
from adapters.files.values import reader

MARK: Final = "\ue000"
MOMENT: Final = "([0-9]{10})([0-5][0-9])([0-5][0-9])"
ISO_MOMENT: Final = "([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}):([0-5][0-9]):([0-5][0-9])"
ANY: Final = r"[^\s<>&\"\'\]\x00-\x1f\ufffe\uffff]"
CANONICAL: Final = "(?:0|[1-9]"
_LONGEST: Final = 64
PLAIN_PATTERN: Final = re.compile(r"(?:\\d|[0-9]|\{[0-9]+(?:,[0-9]+)?\}|\|)+").fullmatch


class Unfit(Exception):
    """A mapping, a layout or a transaction that patterns cannot describe."""


@dataclass(eq=False, slots=True)
class Cell:
    """One cell of a transaction. `name`: of its group, where its text may change."""

    rule: FieldRule
    record: str
    text: str
    row: int
    core: str = ""
    name: str = ""
    mark: str = ""
    """Of an element's text or an attribute: several fields may be read of one."""
    tied: bool = False
    """Its text is that of the earlier cell whose name it has."""
    whole: bool = False
    """Its digits are asked as a number."""
    uses: list[tuple[tuple[str | int, ...], str, str]] = field(default_factory=list)
    """Where its value goes in the sale, in which form, and what is called with it."""

    @property
    def canonical(self) -> bool:
        """Whether one number has one text in its group."""
        return self.core.startswith(CANONICAL)

    @property
    def grouped(self) -> str:
        if self.tied:
            return f"(?P={self.name})"
        if self.rule.type != "datetime":
            return f"(?P<{self.name}>{self.core})"
        return MOMENT if self.rule.format != "iso" else ISO_MOMENT + re.escape(self.text[19:])

    @property
    def decimals(self) -> int:
        """Of a number: the layout's, or those that are written."""
        if self.rule.type != "decimal":
            return 0
        return self.rule.decimals if self.rule.decimals is not None else len(self.text.partition(".")[2])

    @property
    def number(self) -> int:
        """Without its point."""
        return int(self.text.replace(".", ""))

    @property
    def said(self) -> Any:
        """Value of a text that stays as it is."""
        return reader(self.rule)[0](self.text)

    @property
    def groups(self) -> str:
        return f"{self.name}, {self.name}m, {self.name}s" if self.rule.type == "datetime" else self.name


@dataclass(eq=False, slots=True)
class Row:
    record: Record
    cells: dict[str, Cell]
    above: Row | None
    ordinal: int
    below: list[Row] = field(default_factory=list)


def lengths(f: FieldRule) -> tuple[int, int]:
    """Of the texts that the pattern of a string takes."""
    return max(f.min or 0, 1), min(f.max or _LONGEST, f.width or _LONGEST, _LONGEST)

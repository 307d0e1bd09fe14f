"""What every format's reader gives: transactions with their place, raw bytes and either a row or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, BinaryIO, Final, Protocol

from adapters.files.checks import Checks
from adapters.files.layout import Layout
from adapters.files.values import Wrong
from contracts.books import PreparedSale
from contracts.errors import BadRecord

MOST_RAW: Final = 1_048_576
"""Bytes of a bad transaction that are kept for quarantine; more is cut."""
MOST_FINDINGS: Final = 50
MOST_EXTENSIONS: Final = 100


class Refuse(Exception):
    """The file as a whole cannot be what the layout declares. `line` is 0 where no line is to blame."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason, line)
        self.reason, self.line = reason, line

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


@dataclass(slots=True)
class Unit:
    """One transaction: a row for the mapping, or what is wrong. `raw()` is valid until the next unit is asked for."""

    position: int
    """Counts from 1, over good and bad ones alike."""
    line: int
    row: tuple[Any, ...] | None
    wrong: Wrong | None
    raw: Callable[[], bytes]
    file: str
    around: Callable[[], tuple[bytes, bytes]] = lambda: (b"", b"")
    """What must stand before and behind its bytes, so that they are read as they were in the file: headers, or the elements around."""
    text: str = ""
    """All of it, where it is wanted for learning from."""
    made: Sequence[PreparedSale] = ()
    """What it and those right before it are booked as, where they were written as earlier ones were: then there is neither a row nor
    anything wrong, and `line` is that of the first."""

    @property
    def bad(self) -> BadRecord | None:
        wrong = self.wrong
        if wrong is None:
            return None
        return BadRecord(file=self.file, line=wrong.line or self.line, field=wrong.field, expected=wrong.expected, got=wrong.got)


@dataclass(slots=True)
class Ending:
    """What is known of a file once it is read. `reasons` refuse it, as its layout declares; `findings` are reported."""

    units: int = 0
    set_aside: int = 0
    rows: int = 0
    reasons: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    """Elements of vendors' own that were passed over: their names, with their namespaces."""
    store: str = ""
    business_date: str = ""

    def find(self, text: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(text)


class Parser(Protocol):
    """Reads one stream once. `ending` is complete when `units` has ended."""

    ending: Ending

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        """`facts`: what the file's name says, by group. Raises Refuse."""
        ...


class Ledger:
    """The arithmetic of one reading: what each transaction and the file as a whole have to prove."""

    def __init__(self, layout: Layout, facts: Mapping[str, str]) -> None:
        self.layout, self.facts = layout, facts
        self.checks = Checks(layout)
        self._agreeing = {
            name: [(g, at, facts[g].replace("-", "")) for g in layout.file.agree if facts.get(g) and (at := record.at(g)) is not None]
            for name, record in layout.records.items()
        }
        self.counts: dict[str, int] = {}
        self.reported: dict[str, int] = {}
        self.ending = Ending(store=facts.get("store", ""), business_date=_day(facts.get("business_date", "")))

    def prove(self, row: tuple[Any, ...]) -> Wrong | None:
        """Of a transaction that could be read."""
        return self.checks.transaction(row, self.reported)

    def count(self, row: tuple[Any, ...] | None) -> int:
        """Counts a transaction, set aside when `row` is None. Returns its position."""
        self.ending.units += 1
        if row is None:
            self.ending.set_aside += 1
        else:
            self.checks.add(row)
        return self.ending.units

    def pass_over(self, transactions: int = 1, sums: Sequence[Decimal] | None = None) -> int:
        """Counts transactions that are not looked into, `sums`: what they add to the file's. Returns the position of the last."""
        self.ending.units += transactions
        if sums is not None:
            self.checks.add_sums(sums)
        return self.ending.units

    def agree(self, record: str, row: tuple[Any, ...], line: int) -> None:
        """Raises Refuse when the name says something else than the content."""
        for group, at, said in self._agreeing[record]:
            if row[at] is None:
                continue
            inside = row[at].isoformat() if isinstance(row[at], date) else str(row[at])
            if inside.replace("-", "") != said:
                raise Refuse(f"the name says {group} {self.facts.get(group)}, the content {inside}", line)

    def end(self, ends: Mapping[str, tuple[Any, ...]], damage: str) -> None:
        """`damage`: why the file is incomplete, empty when it is whole."""
        ending = self.ending
        if damage:
            (ending.reasons if self.layout.file.incomplete == "refuse_file" else ending.findings).append(damage)
        else:
            reasons, findings = self.checks.file(ends, self.counts, ending.set_aside)
            ending.reasons += reasons
            for finding in findings:
                ending.find(finding)
        says = {c.name: c.says for c in self.layout.checks}
        for name, times in self.reported.items():
            ending.find(f"{name} ({says[name]}): {times} times")


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if re.fullmatch(r"[0-9]{8}", text) else text

"""What can refuse a file of rows, found in whole blocks of its text: how many rows of a kind there are, and sums over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from adapters.files.checks import Checks
from adapters.files.generated import function
from adapters.files.layout import FieldRule, Layout, Record
from adapters.files.values import Memo, Read, Wrong, reader


class _Unfit(Exception):
    """The layout asks for more than a look at its rows one by one."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole transactions in the middle of a block, `before` and `behind` them the rows of others."""

    before: str
    behind: str
    rows: int
    counts: Mapping[str, int]
    sums: list[Decimal]


@dataclass(frozen=True, slots=True)
class _Column:
    """A field that is added up; without `find` nothing is."""

    find: Callable[[str], list[str]] | None
    digits: int
    decimals: int


class Skim:
    """Looks over rows without reading them. It may take a file for good only where reading it would: a total over transactions that cannot
    be read proves nothing, so that only those that can be read have to be added up right.
    """

    def __init__(self, layout: Layout) -> None:
        """Raises _Unfit."""
        file = layout.file
        self._fixed = file.format == "fixed"
        if file.agree and not layout.headers:  # every transaction has to agree with the file's name
            raise _Unfit
        if self._fixed and (file.record_type.start != 1 or any(len(name) != file.record_type.width for name in layout.records)):
            raise _Unfit
        self._end = "" if self._fixed else file.delimiter
        self._transaction = layout.transaction.name
        self._counted = sorted({self._transaction, *(t.count for c in layout.checks if c.scope == "file" for t in c.equals if t.count)})
        self._others = [name for name, r in layout.records.items() if r.rule.role in ("file_header", "file_trailer")]
        self._find: Callable[[str], list[Any]] | None = None
        self._add: Callable[[list[Any]], list[Decimal]] = lambda found: []
        self._odd: list[Callable[[str], object]] = []
        """Find a row with a code that the sums ask for."""
        self._plain: list[_Column] | None = None
        """What is added up where there is none."""
        checks = Checks(layout)
        if (needed := checks.needed()) is None:
            raise _Unfit
        if needed:
            self._compile(layout, checks, needed)

    def look(self, text: str) -> Stretch | None:
        """None where the rows have to be read. `text` holds no quote and no control character but line feeds."""
        text = f"\n{text}\n"
        mark = f"\n{self._transaction}{self._end}"
        start, stop = text.find(mark), text.rfind(mark)
        if start == stop or any(f"\n{name}" in text for name in self._others):
            return None
        rows = text[start : stop + 1]
        if not self._fixed and any(f"\n{name}\n" in rows for name in self._counted):
            return None
        try:
            sums = self._added(rows)
            if sums is None:
                sums = self._add(self._find(rows)) if self._find is not None else []
        except (Wrong, TypeError):  # a value that is none, or a row without the one it hangs under
            return None
        counts = {name: rows.count(f"\n{name}{self._end}") for name in self._counted}
        return Stretch(text[1:start], text[stop + 1 : -1], rows.count("\n") - 1, counts, sums)

    def _added(self, rows: str) -> list[Decimal] | None:
        """Where no row has a code that the sums ask for, and all numbers are plain digits."""
        if self._plain is None or any(odd(rows) for odd in self._odd):
            return None
        sums = []
        for column in self._plain:
            found = column.find(rows) if column.find is not None else []
            if self._fixed:
                found = [*map(str.strip, found)]
            joined = "".join(found)
            if found and not (joined.isdigit() and joined.isascii() and all(found) and max(map(len, found)) <= column.digits):
                return None
            sums.append(Decimal(sum(map(int, found))).scaleb(-column.decimals))
        return sums

    def _compile(self, layout: Layout, checks: Checks, needed: Mapping[str, set[str]]) -> None:
        """`needed`: fields by record. One pattern finds the rows of these records, one function goes through what it found."""
        names: dict[str, Any] = {"int": int}
        patterns, groups, body = list[str](), list[str](), list[str]()
        strip = ".strip()" if self._fixed else ""
        variables = {name: f"r{number}" for number, name in enumerate(needed)}
        for number, (name, fields) in enumerate(needed.items()):
            record = layout.records[name]
            wanted = [(at, f) for at, f in enumerate(record.fields) if f.name in fields]
            numbers = {at: f"n{number}_{at}" for at, f in wanted if f.type in ("integer", "decimal")}
            names |= {f"f{number}_{at}": Memo(self._value(f)) for at, f in wanted if at not in numbers}
            names |= {numbers[at]: Memo(self._number(f)) for at, f in wanted if at in numbers}
            cells = {at: f"v{number}_{at}" for at, _ in wanted}
            groups += [f"k{number}", *cells.values()]
            columns = ", ".join(f"{at}: {cell}{strip}" if at in numbers else f"{at}: f{number}_{at}[{cell}]" for at, cell in cells.items())
            body += [f"        {'el' if number else ''}if k{number}:", f"            {variables[name]} = {{{columns}}}"]
            code = partial(self._code, record, numbers)
            body += [f"            {line}" for line in checks.adding(name, variables, code)]
            patterns.append(self._pattern(layout, record, wanted))
        self._find = re.compile(rf"\n(?:{'|'.join(patterns)})").findall
        sums = {f"s{at}": (f and f.decimals) or 0 for at, f in enumerate(checks.summed)}
        start = "".join(
            f"    {name} = {value}\n" for name, value in {**dict.fromkeys(variables.values()), **dict.fromkeys(sums, 0)}.items()
        )
        loop = "\n".join([f"    for {', '.join(groups)} in found:", *body, ""])
        made = ", ".join(f"D({name}).scaleb({-digits})" for name, digits in sums.items())
        self._add = function("add", f"def add(found):\n{start}{loop}    return [{made}]\n", {**names, "D": Decimal})

        self._columns(layout, checks, needed, variables)

    def _columns(self, layout: Layout, checks: Checks, needed: Mapping[str, set[str]], variables: Mapping[str, str]) -> None:
        """What the sums are without any code, if they can be told then."""
        plain, body, names = list[_Column](), list[str](), dict[str, Any]()
        for name, fields in needed.items():
            record = layout.records[name]
            held = []
            for at, f in enumerate(record.fields):
                if f.name in fields and f.type not in ("integer", "decimal"):
                    try:
                        names[f"b{len(names)}"] = self._value(f)("")
                    except Wrong:
                        return
                    held.append(f"{at}: b{len(names) - 1}")
                    self._odd.append(re.compile(rf"\n{self._pattern(layout, record, [(at, f)], filled=True)}").search)
            body += [f"    {variables[name]} = {{{', '.join(held)}}}"]
            body += [f"    {line}" for line in checks.adding(name, variables, lambda at, cell: "1")]
        sums = [f"s{place}" for place in range(len(checks.summed))]
        start = f"    {' = '.join(sums)} = 0\n" if sums else ""
        body += [f"    return [{', '.join(sums)}]", ""]
        try:
            counted = function("counted", "def counted():\n" + start + "\n".join(body), names)()
        except LookupError:  # a number is asked for
            return
        for (name, at), counts in zip(checks.summing, counted, strict=True):
            record = layout.records[name]
            f = record.fields[at]
            if f.type != "decimal" or f.decimals is None or f.pad or not f.digits:
                return
            pattern = re.compile(rf"\n{self._pattern(layout, record, [(at, f)], named=False)}")
            plain.append(_Column(pattern.findall if counts else None, f.digits, f.decimals))
        self._plain = plain

    @staticmethod
    def _code(record: Record, numbers: Mapping[int, str], at: int, cell: str) -> str:
        """Plain digits are counted as they stand, without their point; everything else is looked at."""
        f = record.fields[at]
        quick = f.type == "decimal" and f.decimals is not None and not f.pad and f.digits
        careful = f"{numbers[at]}[{cell}]"
        return f"(int({cell}) if {cell}.isdigit() and {cell}.isascii() and len({cell}) <= {f.digits} else {careful})" if quick else careful

    def _value(self, f: FieldRule) -> Read:
        read, _ = reader(f)
        if not self._fixed:
            return read
        strip = str.strip if f.type in ("integer", "decimal") else str.rstrip
        return lambda raw: read(strip(raw or ""))

    def _number(self, f: FieldRule) -> Read:
        read, digits = self._value(f), f.decimals or 0
        return lambda raw: Decimal(read(raw) or 0).scaleb(digits)

    def _pattern(
        self, layout: Layout, record: Record, wanted: list[tuple[int, FieldRule]], *, named: bool = True, filled: bool = False
    ) -> str:
        """Of a row with groups for its name, if `named`, and these fields. `filled`: without groups, of a row where they are not blank."""
        name = re.escape(record.name)
        made = f"({name})" if named and not filled else name
        if self._fixed:
            at = layout.file.record_type.width or 0
            for _, f in wanted:
                start, width = (f.start or 1) - 1, f.width or 0
                if start < at:  # columns that overlap, or stand in another order
                    raise _Unfit
                made += (
                    f"[^\\n]{{{start - at}}}[^\\n]{{0,{width - 1}}}[^ \\n]" if filled
                    else f"[^\\n]{{0,{start - at}}}+([^\\n]{{0,{width}}}+)"
                )  # fmt: skip
                at = start + width
            return made
        end = re.escape(self._end)
        cell, reached = f"[^{end}\\n]*+", 0
        made += f"(?=[{end}\\n])"
        for at, _ in wanted:
            made += (
                f"(?:{end}{cell}){{{at - reached}}}{end}[^{end}\\n]" if filled
                else f"(?:{end}{cell}){{0,{at - reached}}}+(?:{end}({cell}))?+"
            )  # fmt: skip
            reached = at + 1
        return made


def skim_of(layout: Layout) -> Skim | None:
    """None for a layout whose totals need its transactions to be read."""
    try:
        return Skim(layout)
    except _Unfit:
        return None

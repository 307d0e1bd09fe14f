"""Control totals: a layout's equations, compiled to one function over the row of a transaction, and added up over the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from adapters.files.generated import function
from adapters.files.layout import CheckRule, FieldRule, Layout, Record, Term
from adapters.files.values import Memo, Wrong

_ZERO: Final = Decimal(0)
_NOTHING: Final[Mapping[str, str]] = {}
Row = tuple[Any, ...]


class Checks:
    """`transaction(row)` proves one transaction; `add(row)` and `file(...)` prove the whole file."""

    _totals: list[Decimal]

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._own = [c for c in layout.checks if c.scope != "file"]
        self._of_file = [c for c in layout.checks if c.scope == "file"]
        self._places = [(n, at) for n, c in enumerate(self._of_file) for at, t in enumerate(c.equals) if t.count is None]
        self._differs, self._parts = self.compiled(Memo(lambda value: _ZERO if value is None else Decimal(value)))
        self.begin()

    def compiled(self, numbers: Any) -> tuple[Callable[[Row], Any], Callable[[Row], list[Any]]]:
        """The equations of a transaction, and what it adds to the file's sums, as functions of its row. `numbers[value]` is a number."""
        names = {"D": numbers, "far": self._far}
        parts = ", ".join(self._source(self._of_file[n].equals[at]) for n, at in self._places)
        return function("differs", self._source_of_all(), names), function("parts", f"def parts(t):\n    return [{parts}]\n", names)

    def transaction(self, row: Row, findings: dict[str, int]) -> Wrong | None:
        """The first equation that sets the transaction aside; those that only report are counted in `findings`."""
        differs = self._differs(row)
        if differs is None:
            return None
        for at, expected, found in differs:
            check = self._own[at]
            if check.on_failure == "quarantine":
                return Wrong(check.expect, f"{Decimal(found):f} ({check.says})", f"{expected:f}")
            findings[check.name] = findings.get(check.name, 0) + 1
        return None

    def add(self, row: Row) -> None:
        if self._places:
            self._totals = [total + part for total, part in zip(self._totals, self._parts(row), strict=True)]

    def begin(self) -> None:
        """Nothing has been added up yet."""
        self._totals = [_ZERO] * len(self._places)

    def add_sums(self, sums: Sequence[Decimal]) -> None:
        """Of transactions that were added up elsewhere, see `adding`."""
        self._totals = [total + part for total, part in zip(self._totals, sums, strict=True)]

    def needed(self) -> dict[str, set[str]] | None:
        """The fields that the file's sums are made of, by record; None where a sum asks about more than its row and those above it."""
        found: dict[str, set[str]] = {}
        for number, at in self._places:
            term = self._of_file[number].equals[at]
            own = self._layout.records[(term.sum or "").rpartition(".")[0]]
            above = {own.name, *(r.name for r in own.above)}
            for name in (term.sum or "", *term.where, *term.unless):
                record, _, field = name.rpartition(".")
                if record not in above:
                    return None
                found.setdefault(record, set()).add(field)
        return {name: found[name] for name in self._layout.records if name in found}

    def adding(self, name: str, variables: Mapping[str, str], number: Callable[[int, str], str]) -> Iterator[str]:
        """Lines that add a row of this record to the sums `s0`, `s1`, …; `variables` hold rows, the last one of each record; `number`: code
        of a field's value, from its place and the code of what the row holds there.
        """
        for place, (check, at) in enumerate(self._places):
            term = self._of_file[check].equals[at]
            record, _, field = (term.sum or "").rpartition(".")
            if record == name:
                _, _, condition = self._loops(self._layout.records[name], term, variables)
                column = self._layout.records[name].at(field) or 0
                yield f"if {condition}: s{place} += {number(column, f'{variables[name]}[{column}]')}"

    @property
    def summed(self) -> list[FieldRule | None]:
        """The field of each sum."""
        return [self._layout.records[name].fields[at] if at >= 0 else None for name, at in self.summing]

    @property
    def summing(self) -> list[tuple[str, int]]:
        """Record of each sum, and the place of its field there."""
        names = [(self._of_file[number].equals[at].sum or "").rpartition(".") for number, at in self._places]
        return [(name, -1 if (at := self._layout.records[name].at(field)) is None else at) for name, _, field in names]

    def file(self, ends: Mapping[str, Row], counts: Mapping[str, int], set_aside: int) -> tuple[list[str], list[str]]:
        """What the file's own totals say: reasons to refuse it, and findings. `ends`: rows of headers and trailers by record."""
        reasons: list[str] = []
        findings: list[str] = []
        for check, found in self.found(counts):
            name, _, field = check.expect.rpartition(".")
            row, place = ends.get(name), self._layout.records[name].at(field)
            if row is None or place is None or row[place] is None:
                continue
            if set_aside and any(t.sum is not None for t in check.equals):
                findings.append(f"{check.name} is unproven: {set_aside} transactions were set aside")
                continue
            expected = Decimal(row[place])
            if abs(found - expected) > self._tolerance(check, expected):
                said = f"{check.says}: {check.expect} states {expected:f}, the file holds {found:f}"
                (reasons if check.on_failure == "refuse_file" else findings).append(said)
        return reasons, findings

    def found(self, counts: Mapping[str, int]) -> list[tuple[CheckRule, Decimal]]:
        """What the file holds, for each total that it states."""
        sums = dict(zip(self._places, self._totals, strict=True))
        found = []
        for number, check in enumerate(self._of_file):
            terms = ((t, Decimal(counts.get(t.count, 0)) if t.count else sums[number, at]) for at, t in enumerate(check.equals))
            found.append((check, sum((t.sign * value for t, value in terms), _ZERO)))
        return found

    def _far(self, at: int, expected: Decimal, found: Decimal) -> bool:
        return abs(found - expected) > self._tolerance(self._own[at], expected)

    @staticmethod
    def _tolerance(check: CheckRule, expected: Decimal) -> Decimal:
        exponent = expected.as_tuple().exponent
        return Decimal(check.tolerance).scaleb(exponent if isinstance(exponent, int) else 0) if check.tolerance else _ZERO

    # ---- compiling ------------------------------------------------------------------------------------------------

    def _source_of_all(self) -> str:
        """One function over all equations of a transaction: None, or a list of (number, expected, found) that differ."""
        lines = ["def differs(t):", "    found = None"]
        for at, check in enumerate(self._own):
            indent = "    "
            if check.skip:
                lines.append(f"{indent}if not ({self._condition(check.skip, {self._layout.transaction.name: 't'})}):")
                indent += "    "
            fields = [t for t in check.equals if t.field is not None]
            lines.append(f"{indent}e = {self._field(check.expect)}")
            lines += [f"{indent}n{n} = {self._field(t.field or '')}" for n, t in enumerate(fields)]
            lines.append(f"{indent}if {' and '.join(f'{v} is not None' for v in ('e', *(f'n{n}' for n in range(len(fields)))))}:")
            signed = "".join(f" {'-' if t.sign < 0 else '+'} D[n{n}]" for n, t in enumerate(fields))
            lines.append(f"{indent}    e, s = D[e], 0{signed}")
            lines += self._added([self._term(t) for t in check.equals if t.field is None], (), f"{indent}    ")
            lines.append(f"{indent}    if e != s" + (f" and far({at}, e, s)" if check.tolerance else "") + ":")
            lines.append(f"{indent}        found = [*(found or ()), ({at}, e, s)]")
        return "\n".join([*lines, "    return found", ""])

    def _term(self, term: Term) -> tuple[tuple[str, ...], str, str]:
        """`for` and `if` clauses down to the rows, condition, and what is added where it holds."""
        name, _, field = (term.sum or "").rpartition(".")
        record = self._layout.records[term.count or name]
        loops, variable, condition = self._loops(record, term)
        clauses = tuple(re.split(r" (?=(?:for|if) r\d)", loops.removesuffix(f" if {condition}"))[1:])
        return clauses, condition, f"s {'-' if term.sign < 0 else '+'}= {'1' if term.count else f'D[{variable}[{record.at(field)}]]'}"

    def _added(self, terms: Sequence[tuple[tuple[str, ...], str, str]], outer: tuple[str, ...], indent: str) -> list[str]:
        """Statements that add terms up, going once through rows that several of them ask for."""
        own = [(condition, adds) for clauses, condition, adds in terms if clauses == outer]
        lines = [f"{indent}{adds}" if condition == "True" else f"{indent}if {condition}: {adds}" for condition, adds in own]
        depth = len(outer)
        for inner in dict.fromkeys(clauses[: depth + 1] for clauses, _, _ in terms if len(clauses) > depth):
            below = [term for term in terms if term[0][: depth + 1] == inner]
            lines += [f"{indent}{inner[-1]}:", *self._added(below, inner, f"{indent}    ")]
        return lines

    def _source(self, term: Term) -> str:
        if term.field is not None:
            return self._field(term.field)
        if term.count is not None:
            loops, _, _ = self._loops(self._layout.records[term.count], term)
            return f"sum([1 {loops}])" if loops else "1"
        name, _, field = (term.sum or "").rpartition(".")
        record = self._layout.records[name]
        loops, variable, condition = self._loops(record, term)
        value = f"D[{variable}[{record.at(field)}]]"
        return f"sum([{value} {loops}])" if loops else f"({value} if {condition} else 0)"

    def _field(self, name: str) -> str:
        """The first value of a field: of the transaction itself, a header, or a record that occurs once."""
        record_name, _, field = name.rpartition(".")
        record = self._layout.records[record_name]
        if record is self._layout.transaction:
            return f"t[{record.at(field)}]"
        if record in self._layout.headers:
            return f"t[{record.index}][{record.at(field)}]"
        loops, variable, _ = self._loops(record, Term(sum=name))
        return (
            f"next((v for v in [{variable}[{record.at(field)}] {loops}] if v is not None), None)"
            if (record.repeated or record.parent is not self._layout.transaction or not record.needed)
            else f"t[{record.index}][{record.at(field)}]"
        )

    def _loops(self, record: Record, term: Term, known: Mapping[str, str] = _NOTHING) -> tuple[str, str, str]:
        """`for` clauses from the transaction down to `record`, the variable that holds its row, and the condition. `known` variables come
        first.
        """
        chain: list[Record] = []
        here: Record | None = record
        while here is not None and here is not self._layout.transaction:
            chain.insert(0, here)
            here = None if here in self._layout.headers else here.parent
        variables = {self._layout.transaction.name: "t"}
        loops, outer = "", "t"
        for depth, step in enumerate(chain):
            inner, source = f"r{depth}", f"{outer}[{step.index}]"
            if (step.needed and not step.repeated) or (step in self._layout.headers and step.rule.role != "file_header"):
                variables[step.name] = outer = source
                continue
            variables[step.name] = inner
            loops += f" for {inner} in {source}" if step.repeated else f" for {inner} in ({source},) if {inner} is not None"
            outer = inner
        variables |= known
        condition = " and ".join(
            ([f"({self._condition(term.where, variables)})"] if term.where else [])
            + ([f"not ({self._condition(term.unless, variables)})"] if term.unless else [])
        )
        return (f"{loops} if {condition}" if condition and loops else loops), outer, condition or "True"

    def _condition(self, condition: Mapping[str, list[str]], variables: Mapping[str, str]) -> str:
        tests: list[str] = []
        for name, codes in condition.items():
            record_name, _, field_name = name.rpartition(".")
            record = self._layout.records[record_name]
            rule = record.field(field_name)
            assert rule is not None  # noqa: S101  # the layout's reader has resolved every name
            value = f"{variables[record_name]}[{record.at(field_name)}]" if record_name in variables else self._field(name)
            if rule.type == "flags":
                tests += [f"{value}[{list(rule.values).index(code)}]" for code in codes]
            elif rule.type == "boolean":
                tests.append(f"{value} in {tuple(code == 'true' for code in codes)!r}")
            else:
                tests.append(f"{value} in {tuple(codes)!r}")
        return " or ".join(tests) or "False"

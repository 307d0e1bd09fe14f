"""Control totals: a layout's equations, compiled to one function over the row of a transaction, and added up over the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from adapters.files.generated import function
from adapters.files.layout import CheckRule, Layout, Record, Term
from adapters.files.values import Memo, Wrong

_ZERO: Final = Decimal(0)
Row = tuple[Any, ...]


class Checks:
    """`transaction(row)` proves one transaction; `add(row)` and `file(...)` prove the whole file."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        names: dict[str, Any] = {"D": Memo(lambda value: _ZERO if value is None else Decimal(value))}
        own = [c for c in layout.checks if c.scope != "file"]
        self._of_file = [c for c in layout.checks if c.scope == "file"]
        self._own = [(c, *self._compiled(c, names)) for c in own]
        self._sums = [[self._term(t, names) if t.count is None else None for t in c.equals] for c in self._of_file]
        self._totals = [[_ZERO] * len(c.equals) for c in self._of_file]

    def transaction(self, row: Row, findings: dict[str, int]) -> Wrong | None:
        """The first equation that sets the transaction aside; those that only report are counted in `findings`."""
        for check, asked, expect, total in self._own:
            if not asked(row) or (expected := expect(row)) is None:
                continue
            found = total(row)
            if found is None or abs(found - expected) <= self._tolerance(check, expected):
                continue
            if check.on_failure == "report":
                findings[check.name] = findings.get(check.name, 0) + 1
                continue
            return Wrong(check.expect, f"{found:f} ({check.says})", f"{expected:f}")
        return None

    def add(self, row: Row) -> None:
        for totals, terms in zip(self._totals, self._sums, strict=True):
            for at, term in enumerate(terms):
                if term is not None:
                    totals[at] += term(row) or _ZERO

    def file(self, ends: Mapping[str, Row], counts: Mapping[str, int], set_aside: int) -> tuple[list[str], list[str]]:
        """What the file's own totals say: reasons to refuse it, and findings. `ends`: rows of headers and trailers by record."""
        reasons: list[str] = []
        findings: list[str] = []
        for check, totals in zip(self._of_file, self._totals, strict=True):
            name, _, field = check.expect.rpartition(".")
            record, row = self._layout.records[name], ends.get(name)
            at = record.at(field)
            if row is None or at is None or row[at] is None:
                continue
            if set_aside and any(t.sum is not None for t in check.equals):
                findings.append(f"{check.name} is unproven: {set_aside} transactions were set aside")
                continue
            expected = Decimal(row[at])
            found = sum(
                (t.sign * (counts.get(t.count, 0) if t.count else total) for t, total in zip(check.equals, totals, strict=True)), _ZERO
            )
            if abs(found - expected) > self._tolerance(check, expected):
                said = f"{check.says}: {check.expect} states {expected:f}, the file holds {found:f}"
                (reasons if check.on_failure == "refuse_file" else findings).append(said)
        return reasons, findings

    @staticmethod
    def _tolerance(check: CheckRule, expected: Decimal) -> Decimal:
        exponent = expected.as_tuple().exponent
        return Decimal(check.tolerance).scaleb(exponent if isinstance(exponent, int) else 0) if check.tolerance else _ZERO

    # ---- compiling ------------------------------------------------------------------------------------------------

    def _compiled(
        self, check: CheckRule, names: dict[str, Any]
    ) -> tuple[Callable[[Row], bool], Callable[[Row], Any], Callable[[Row], Any]]:
        asked = f"not ({self._condition(check.skip, {self._layout.transaction.name: 't'})})" if check.skip else "True"
        terms = [self._source(t) for t in check.equals]
        needed = [s for t, s in zip(check.equals, terms, strict=True) if t.field is not None]
        signed = " + ".join(f"({t.sign}) * {s if t.field is None else f'D[{s}]'}" for t, s in zip(check.equals, terms, strict=True))
        total = f"None if {' or '.join(f'{s} is None' for s in needed)} else {signed}" if needed else signed
        expected = self._field(check.expect)
        return (
            _function(asked, names),
            _function(f"None if {expected} is None else D[{expected}]", names),
            _function(total, names),
        )

    def _term(self, term: Term, names: dict[str, Any]) -> Callable[[Row], Any]:
        return _function(self._source(term) if term.field is None else f"D[{self._field(term.field)}]", names)

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
        if record.parent is None:
            return f"t[{record.index}][{record.at(field)}]"
        loops, variable, _ = self._loops(record, Term(sum=name))
        return (
            f"next((v for v in [{variable}[{record.at(field)}] {loops}] if v is not None), None)"
            if (record.repeated or record.parent is not self._layout.transaction or not record.needed)
            else f"t[{record.index}][{record.at(field)}]"
        )

    def _loops(self, record: Record, term: Term) -> tuple[str, str, str]:
        """`for` clauses from the transaction down to `record`, the variable that holds its row, and the condition."""
        chain: list[Record] = []
        here: Record | None = record
        while here is not None and here is not self._layout.transaction:
            chain.insert(0, here)
            here = here.parent
        variables = {self._layout.transaction.name: "t"}
        loops, outer = "", "t"
        for depth, step in enumerate(chain):
            variables[step.name] = inner = f"r{depth}"
            source = f"{outer}[{step.index}]"
            loops += f" for {inner} in {source}" if step.repeated else f" for {inner} in ({source},) if {inner} is not None"
            outer = inner
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


def _function(source: str, names: dict[str, Any]) -> Callable[[Row], Any]:
    return function("check", f"def check(t):\n    return {source}\n", names)

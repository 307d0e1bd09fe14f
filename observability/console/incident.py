"""What the page of an incident shows beside its figures: attributes compared, and bad traces aligned with a healthy one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

import msgspec

from observability import vocabulary as names
from observability.console.waterfall import depths
from observability.rootcause.felt import bad
from observability.rootcause.model import Culprit, Incident
from observability.spans import Span

VALUES: Final = 20
"""Of all attributes."""
ALL: Final = 0.99
"""Share of those who have a value from which on all have it: figures in excess of the usual are rounded."""
STEPS: Final = 60
"""Rows of the comparison."""
SPANS: Final = 400
"""Of one trace."""
TRACES: Final = 3
CULPRITS: Final = 6


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One value: its share (0 to 1) of the bad requests and of the good ones, with both figures and their bases."""

    name: str
    value: str
    bad: int
    all_bad: int
    good: int
    all_good: int

    @property
    def bad_share(self) -> float:
        return min(1.0, self.bad / self.all_bad) if self.all_bad else 0.0

    @property
    def good_share(self) -> float:
        return min(1.0, self.good / self.all_good) if self.all_good else 0.0


def attributes(incident: Incident) -> tuple[list[Attribute], int]:
    """Most different first, and how many values are left out. Bad ones are those beyond what is usual, good ones the rest. A value that all
    have, good or bad, is nothing special.
    """
    impact = incident.impact
    found = []
    for name, values in impact.hit.items():
        bases = impact.of.get(name, {})
        all_bad = max(sum(values.values()), min(bad(incident), impact.requests))
        all_good = max(0, impact.requests - all_bad)
        for value, hit in values.items():
            good = max(0, bases.get(value, hit) - hit)
            found.append(Attribute(name=name, value=value, bad=hit, all_bad=all_bad, good=good, all_good=max(all_good, good)))
    found = [a for a in found if min(a.bad_share, a.good_share) < ALL]
    found.sort(key=lambda a: (a.good_share - a.bad_share, a.name, a.value))
    return found[:VALUES], max(0, len(found) - VALUES)


# ---- traces, step by step --------------------------------------------------------------------------------------------------


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A step of one trace; `left` and `width` are per cent of the longest of the compared traces."""

    left: float
    width: float
    milliseconds: float
    outcome: str
    error_type: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    depth: int
    cells: tuple[Cell | None, ...]
    """In the order of the columns; None: this trace has no such step."""
    blamed: bool


class Column(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    trace_id: str
    milliseconds: float
    found: bool
    """False: it is not kept any more."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    columns: tuple[Column, ...]
    steps: tuple[Step, ...]
    hidden: int
    """Steps beyond STEPS."""


def comparison(culprit: Culprit, traces: Mapping[str, Sequence[Span]]) -> Comparison:
    """The bad traces of a culprit beside their twin. Steps that have the same name in the same order stand in one row."""
    wanted = [(title, t) for title, t in zip(("earliest", "median", "worst"), culprit.bad_traces[:TRACES], strict=False) if t]
    if len(wanted) == 2:
        wanted[1] = ("worst", wanted[1][1])
    if culprit.twin:
        wanted.append(("healthy twin", culprit.twin))
    laid: list[list[tuple[str, int, Span]]] = []
    longest = 0.010
    columns = []
    for title, trace_id in wanted:
        spans = sorted(traces.get(trace_id, ()), key=lambda s: (s.start, -s.end))[:SPANS]
        whole = (max(s.end for s in spans) - spans[0].start) / 1e6 if spans else 0.0
        longest = max(longest, whole)
        columns.append(Column(title=title, trace_id=trace_id, milliseconds=whole, found=bool(spans)))
        laid.append([(f"{depth} {span.name}", depth, span) for span, depth in depths(spans)])
    rows: list[str] = []
    for line in laid:
        rows = _merged(rows, [key for key, _, _ in line])
    steps = [list[Cell | None]([None] * len(laid)) for _ in rows]
    facts: list[tuple[int, Span] | None] = [None] * len(rows)
    for number, line in enumerate(laid):
        at = 0
        begin = min((s.start for _, _, s in line), default=0)
        for key, depth, span in line:
            while rows[at] != key:
                at += 1
            steps[at][number] = _cell(span, begin, longest)
            facts[at] = facts[at] or (depth, span)
            if _is(culprit, span):
                facts[at] = depth, span
            at += 1
    shown = [
        Step(name=f[1].name, depth=min(f[0], 10), cells=tuple(cells), blamed=_is(culprit, f[1]))
        for f, cells in zip(facts, steps, strict=True)
        if f is not None
    ]
    return Comparison(columns=tuple(columns), steps=tuple(shown[:STEPS]), hidden=max(0, len(shown) - STEPS))


def _merged(rows: list[str], line: list[str]) -> list[str]:
    """Both sequences in one that keeps the order of each."""
    found: list[str] = []
    for what, a0, a1, b0, b1 in SequenceMatcher(None, rows, line, autojunk=False).get_opcodes():
        found += rows[a0:a1]
        if what != "equal":
            found += line[b0:b1]
    return found


def _cell(span: Span, begin: int, longest: float) -> Cell:
    left = min(99.0, (span.start - begin) / 1e4 / longest)
    width = max(0.5, span.milliseconds * 100 / longest)
    return Cell(
        left=round(max(0.0, left), 2),
        width=round(min(width, 100 - max(0.0, left)), 2),
        milliseconds=span.milliseconds,
        outcome=span.text(names.OUTCOME) or ("failure" if span.status == "error" else "success"),
        error_type=span.text(names.ERROR_TYPE)[:60],
    )


def _is(culprit: Culprit, span: Span) -> bool:
    """Whether the span is a hop to whom it is put down."""
    system = span.text(names.PEER)
    if not system or system not in (culprit.members or (culprit.system,)):
        return False
    return bool(culprit.members) or not culprit.operation or span.text(names.OPERATION) == culprit.operation

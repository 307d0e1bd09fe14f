"""The tables of a run, and its lines for machines: every figure beside chance and the best of the simpler methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.rootcause import cost, spans
from benchmarks.rootcause.baselines import METHODS
from benchmarks.rootcause.faults import BLIND, CONTROLS, LOADS, NAMES, PARTIAL, STATUS_ONLY
from benchmarks.rootcause.metrics import (
    Controls,
    Level,
    Score,
    at_k,
    brier,
    chance,
    ece,
    jaccard,
    judged,
    operation_right,
    quantile,
    ranking,
    scope_jaccard,
    system_right,
)
from benchmarks.rootcause.scopes import METHODS as SCOPES
from benchmarks.rootcause.trial import Outcome

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "root-cause-benchmark.md"
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    rows: list[Row]
    """The first is the header."""


@dataclass(frozen=True, slots=True)
class Line:
    """`theirs`: the best of the simpler methods at the same, NaN where none says anything of the kind. `gate` is for `ours`."""

    name: str
    against: str
    ours: float
    theirs: float
    gate: str
    chance: float = math.nan

    @property
    def limit(self) -> float:
        return float(self.gate[2:])

    @property
    def holds(self) -> bool:
        within = self.ours >= self.limit if self.gate.startswith(">=") else self.ours <= self.limit
        return within and (math.isnan(self.theirs) or self.ratio >= 1)

    @property
    def ratio(self) -> float:
        """Against the best other method; where there is none, against the gate."""
        if math.isnan(self.theirs):
            return self.ours / self.limit
        return self.ours / max(self.theirs, 1e-9)

    def spoken(self) -> dict[str, Any]:
        bar = ">=1.0" if not math.isnan(self.theirs) or self.gate.startswith(">=") else "<=1.0"
        said: dict[str, Any] = {"name": self.name, "against": self.against, "ratio": _round(self.ratio), "bar": bar, "holds": self.holds}
        said |= {"ours": _round(self.ours), "theirs": _round(self.theirs), "chance": _round(self.chance), "gate": self.gate}
        return {key: value for key, value in said.items() if value is not None}


def lines(outcomes: Sequence[Outcome]) -> list[Line]:
    """The gates."""
    plain = [o for o in outcomes if o.damage == "none"]
    score, controls, pairs = Score(plain), Controls(plain), judged(plain)
    blind = [o for o in score.single if o.case.kind in BLIND or o.case.kind == 1 or o.case.variant == "200 with fault"]
    found = [
        _accuracy("one fault, system AC@1", score.single, 1, system_right, ">=0.90"),
        _accuracy("one fault, system AC@3", score.single, 3, system_right, ">=0.97"),
        _accuracy("one fault, operation AC@1", score.single, 1, operation_right, ">=0.85"),
        _accuracy("two faults, recall@2", score.several, 0, system_right, ">=0.75"),
        _accuracy("breaker, dead system, 200 with fault AC@1", blind, 1, system_right, ">=0.75"),
    ]
    partial = [o for o in score.single if o.case.kind in PARTIAL]
    theirs = {name: _mean(x for o in partial if (x := _scope_of(o, name)) is not None) for name in SCOPES}
    best = max(theirs, key=lambda name: (not math.isnan(theirs[name]), theirs[name]))
    found.append(Line("partial faults, scope", best, score.scope(), theirs[best], ">=0.70"))
    found += [
        Line("controls with a verdict", "gate", controls.with_verdict(), math.nan, "<=0.02"),
        Line("time to detect, hard, s", "gate", _middle(score.detection(hard=True)), math.nan, "<=30"),
        Line("time to detect, slow, s", "gate", _middle(score.detection(hard=False)), math.nan, "<=60"),
        Line("onset error, s", "gate", _middle(score.onset_errors()), math.nan, "<=20"),
        Line("calibration error", "gate", ece(pairs), math.nan, "<=0.10"),
        Line("answer, s", "gate", _middle(score.cpu()), math.nan, "<=0.3"),
        Line("look over 3,100 slices, s of CPU", "gate", cost.look(), math.nan, "<=0.3"),
    ]
    found += [Line(f"AC@1 lost: {name}", "gate", max(0.0, loss), math.nan, "<=0.05") for name, _, _, loss in _native_losses(outcomes)]
    for name, same in _same_first(plain):
        found.append(Line(f"spans stripped, same first rank{name}", "gate", same, math.nan, ">=0.90"))
    return [line for line in found if not math.isnan(line.ours)]


def tables(outcomes: Sequence[Outcome]) -> list[Table]:
    plain = [o for o in outcomes if o.damage == "none"]
    found = [table(plain) for table in (_methods, _kinds, _controls, _scopes, _rest)]
    return [_gates(outcomes), *found, _damages(outcomes)]


def shown(found: Iterable[Table], *, markdown: bool = False) -> str:
    """For the terminal, or for a page."""
    parts = []
    for table in found:
        if markdown:
            head, *rows = table.rows
            body = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
            parts.append("\n".join((f"**{table.title}**", "", *body)))
            continue
        widths = [max(len(row[i]) for row in table.rows) for i in range(len(table.rows[0]))]
        body = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table.rows]
        parts.append("\n".join((table.title, *(f"  {row}" for row in body))))
    return "\n\n".join(parts)


def print_into(page: Path, what: str, text: str) -> None:
    """Replaces what stands between the marks for `what`."""
    begin, end = f"<!-- {what}: written by a command -->", f"<!-- end of {what} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def _gates(outcomes: Sequence[Outcome]) -> Table:
    rows: list[Row] = [("measure", "ours", "best other", "", "chance", "gate", "")]
    for line in lines(outcomes):
        other = line.against if line.against != "gate" else ""
        rows.append(
            (line.name, _text(line.ours), _text(line.theirs), other, _text(line.chance), line.gate, "holds" if line.holds else "MISSED")
        )
    return Table("Gates", rows)


def _methods(plain: Sequence[Outcome]) -> Table:
    score = Score(plain)
    single, several = score.single, score.several
    rows: list[Row] = [("method", "system AC@1", "AC@3", "Avg@5", "operation AC@1", "AC@3", "Avg@5", "recall@k of several")]
    for name in ("ours", *METHODS):
        cells = [_of(single, name, k, right) for right in (system_right, operation_right) for k in (1, 3)]
        average = [_mean(_of(single, name, k, right) for k in range(1, 6)) for right in (system_right, operation_right)]
        rows.append(
            (
                name,
                *map(_text, (cells[0], cells[1], average[0], cells[2], cells[3], average[1])),
                _text(_of(several, name, 0, system_right)),
            )
        )
    by_chance = [chance(single, k) for k in range(1, 6)]
    rows.append(("chance", _text(by_chance[0]), _text(by_chance[2]), _text(_mean(by_chance)), "", "", "", _text(chance(several, 2))))
    title = f"One fault ({len(single)} that users felt) and several ({len(several)}); the other methods are told when it began, ours is not"
    return Table(title, rows)


def _kinds(plain: Sequence[Outcome]) -> Table:
    rows: list[Row] = [("kind", "runs", "silent", "missed", "unsure", "AC@1", "AC@3", "operation", "exact set", "best other", "", "chance")]
    groups = {name: [o for o in plain if o.case.kind == kind] for kind, name in NAMES.items()}
    groups["pairs held out"] = [o for o in plain if o.case.unseen]
    groups |= {f"at {load}/s": [o for o in plain if o.case.load == load] for load in sorted(set(LOADS))}
    for name, found in groups.items():
        score = Score(o for o in found if not o.case.control)
        if not (felt := score.felt):
            continue
        best, theirs = _best(felt, 1, system_right)
        figures = (
            score.ac(1, system_right, felt),
            score.ac(3, system_right, felt),
            score.ac(1, operation_right, felt),
            score.exact(),
            theirs,
        )
        counts = (str(len(score.all)), str(len(score.all) - len(felt)), _text(score.missed()), _text(score.abstained()))
        rows.append((name, *counts, *map(_text, figures), best, _text(chance(felt))))
    return Table("By kind, of those that users felt", rows)


def _controls(plain: Sequence[Outcome]) -> Table:
    rows: list[Row] = [("nothing wrong", "windows", "with a verdict", "with any incident", "false verdicts in 24 h")]
    for name in (*CONTROLS, "all"):
        found = Controls(o for o in plain if name in (o.case.variant, "all"))
        if found.all:
            rows.append((name, str(len(found.all)), _text(found.with_verdict()), _text(found.with_incident()), f"{found.a_day():.2f}"))
    failed = sum(bool(o.error) for o in plain)
    return Table(f"Controls ({len(plain)} runs in all, {failed} failed)", rows)


def _scopes(plain: Sequence[Outcome]) -> Table:
    partial = [o for o in Score(plain).single if o.case.kind in PARTIAL]
    rows: list[Row] = [("scope of partial faults", "overlap")]
    rows.append(("ours", _text(_mean(x for o in partial if (x := scope_jaccard(o)) is not None))))
    rows += [(name, _text(_mean(x for o in partial if (x := _scope_of(o, name)) is not None))) for name in SCOPES]
    everything = [x for o in partial if (x := _jaccard(o, [])) is not None]
    rows.append(("everywhere", _text(_mean(everything))))
    return Table(f"Scope ({len(partial)} faults of an operation, stores, a version, a client)", rows)


def _rest(plain: Sequence[Outcome]) -> Table:
    score, pairs = Score(plain), judged(plain)
    hard, slow, onset, cpu = score.detection(hard=True), score.detection(hard=False), score.onset_errors(), score.cpu()
    rows: list[Row] = [("measure", "median", "90 %")]
    rows += [
        (name, f"{_middle(values):.3g}", f"{quantile(values, 0.9):.3g}")
        for name, values in (
            ("time to detect, hard, s", hard), ("time to detect, slow, s", slow), ("onset error, s", onset), ("CPU of an answer, s", cpu),
        )
        if values
    ]  # fmt: skip
    rows += [(f"blast radius, {name}", _text(value), "") for name, value in score.radius().items()]
    rows += [
        ("affected requests, relative error", _text(score.count_error()), ""),
        ("evidence that met the fault", _text(score.evidence()), ""),
        ("first named is right", _text(score.named_right()), ""),
        ("calibration error (ECE)", _text(ece(pairs)), ""),
        ("Brier score", _text(brier(pairs)), ""),
    ]
    return Table("Times, blast radius, evidence, confidence", rows)


def _damages(outcomes: Sequence[Outcome]) -> Table:
    rows: list[Row] = [("damage", "runs", "AC@1", "lost")]
    rows += [(f"cells: {name}", str(n), _text(ac), _text(loss)) for name, n, ac, loss in _native_losses(outcomes)]
    plain = [o for o in outcomes if o.damage == "none" and o.causes]
    usual = _mean(at_k(o.truths, o.causes["native"], 1, system_right) for o in plain)
    for name in spans.DAMAGES:
        ac = _mean(at_k(o.truths, o.causes[name], 1, system_right) for o in plain)
        rows.append((f"spans: {name}", str(len(plain)), _text(ac), _text(usual - ac)))
    rows += [(f"spans: stripped, same first as native{name}", "", _text(same), "") for name, same in _same_first(plain)]
    return Table("Damage: to the cells and the map of the gateway, and to spans given to `tillgate causes`", rows)


def _native_losses(outcomes: Sequence[Outcome]) -> list[tuple[str, int, float, float]]:
    by_case = {o.case.id: o for o in outcomes if o.damage == "none"}
    found = []
    for name in dict.fromkeys(o.damage for o in outcomes if o.damage != "none"):
        pairs = [(o, by_case[o.case.id]) for o in outcomes if o.damage == name and o.case.id in by_case]
        pairs = [(o, whole) for o, whole in pairs if whole.felt and len(whole.truths) == 1]
        damaged = _mean(at_k(o.truths, ranking(o.final), 1, system_right) for o, _ in pairs)
        whole = _mean(at_k(o.truths, ranking(o.final), 1, system_right) for _, o in pairs)
        found.append((name, len(pairs), damaged, whole - damaged))
    return found


def _same_first(plain: Sequence[Outcome]) -> Iterator[tuple[str, float]]:
    """Over all cases, and over those whose fault changes more than what statuses say."""
    tried = [o for o in plain if o.causes]
    shaped = [o for o in tried if o.case.kind not in STATUS_ONLY and o.case.variant not in STATUS_ONLY]
    for name, chosen in (("", tried), (", faults with a shape", shaped)):
        if chosen:
            yield name, _mean(bool(a and b) and a[0][0] == b[0][0] for a, b in ((o.causes["native"], o.causes["stripped"]) for o in chosen))


def _accuracy(name: str, outcomes: Sequence[Outcome], k: int, right: Level, gate: str) -> Line:
    best, theirs = _best(outcomes, k, right)
    by_chance = chance(outcomes, k or 2) if right is system_right else chance(outcomes, 1) / 3
    return Line(name, best, _of(outcomes, "ours", k, right), theirs, gate, by_chance)


def _of(outcomes: Sequence[Outcome], name: str, k: int, right: Level) -> float:
    """k = 0: as many as there are faults."""
    return _mean(
        at_k(o.truths, ranking(o.final) if name == "ours" else o.rankings.get(name, []), k or len(o.truths), right) for o in outcomes
    )


def _best(outcomes: Sequence[Outcome], k: int, right: Level) -> tuple[str, float]:
    looked = [o for o in outcomes if o.rankings]
    values = {name: _of(looked, name, k, right) for name in METHODS}
    best = max(values, key=lambda name: -1.0 if math.isnan(values[name]) else values[name])
    return best, values[best]


def _scope_of(outcome: Outcome, name: str) -> float | None:
    return _jaccard(outcome, outcome.scopes.get(name, []))


def _jaccard(outcome: Outcome, said: list[dict[str, tuple[str, ...]]]) -> float | None:
    truth = outcome.truths[0]
    return jaccard(outcome.leaves.get((truth.system, truth.operation), {}), [truth.scope], said)


def _middle(values: Sequence[float]) -> float:
    return median(values) if values else math.nan


def _mean(values: Iterable[Any]) -> float:
    found = [float(bool(v)) if isinstance(v, list) else float(v) for v in values]
    return sum(found) / len(found) if found else math.nan


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"

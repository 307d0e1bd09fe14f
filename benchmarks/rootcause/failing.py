"""What went wrong in a run, case by case: what was done, and what was said."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.rootcause.metrics import at_k, main, operation_right, ranking, system_right
from benchmarks.rootcause.simulator import BEGIN
from benchmarks.rootcause.trial import NAMING, Outcome
from observability.rootcause.model import Incident


def failing(outcomes: Iterable[Outcome]) -> list[str]:
    """A line for every case that was answered wrongly, late or in spite of nothing being wrong."""
    lines = []
    for o in outcomes:
        if o.error:
            lines.append(f"{told(o)}\n    failed: {o.error}")
        elif o.case.control:
            if any(named for _, named, _ in o.alarms):
                lines.append(f"{told(o)}\n    named somebody: {'; '.join(map(said, o.final))}")
        elif o.felt:
            names = ranking(o.final)
            if not o.final:
                lines.append(f"{told(o)}\n    not noticed")
            elif at_k(o.truths, names, len(o.truths), system_right) < 1:
                lines.append(f"{told(o)}\n    wrong system: {'; '.join(map(said, o.final))}; then {names[1:5]}")
            elif len(o.truths) == 1 and at_k(o.truths, names, 1, operation_right) < 1:
                lines.append(f"{told(o)}\n    wrong operation: {'; '.join(map(said, o.final))}")
            elif (first := main(o.final)) and first.verdict not in NAMING:
                inputs = first.confidence_inputs
                lines.append(f"{told(o)}\n    right, but not named: {'; '.join(map(said, o.final))} {inputs}")
    return lines


def told(o: Outcome) -> str:
    """What was done, and how bad it was."""
    truth = "; ".join(
        f"{t.system} {t.operation}".strip() + "".join(f", only {k} {sorted(v)}" for k, v in t.scope.items()) for t in o.truths
    )
    return (
        f"{o.case.id} [{o.damage}] {o.case.variant}: {truth or 'nothing wrong'}; {o.case.load}/s, from {o.begin:.0f} s on; "
        f"{o.met} of {o.requests} requests bad by it, {o.bad} in all"
    )


def said(incident: Incident) -> str:
    """In one line."""
    who = ", ".join(f"{c.kind} {c.system} {c.operation} {c.failure} {dict(*c.scope[:1])}" for c in incident.culprits)
    since = incident.onset.at.timestamp() - BEGIN
    return f"{incident.state} {incident.verdict} {incident.confidence:.2f} since {since:.0f}: {who or 'nobody'}"

"""A case through other eyes: the simpler methods, and the offline form of ours on spans."""

from __future__ import annotations

from typing import Final

from benchmarks.rootcause import baselines, scopes, spans
from benchmarks.rootcause.faults import Stage
from benchmarks.rootcause.trial import Outcome, World
from benchmarks.rootcause.view import view

EVERY: Final = 3
"""Of the cases of an estate, each third is given to `tillgate causes`."""


def look(outcome: Outcome, world: World, stage: Stage, start: float) -> None:
    """Fills in what the other methods say. Only faults that were felt are worth their time."""
    if not outcome.felt or outcome.damage != "none":
        return
    simulation = world.simulation
    flown, until = list(simulation.flown), simulation.now
    seen = view(world.estate, flown, start, until, stage.changes, world.estate.declared())
    outcome.rankings = {name: method(seen) for name, method in baselines.METHODS.items()}
    outcome.scopes = {name: method(seen) for name, method in scopes.METHODS.items()}
    case = outcome.case
    if case.number % EVERY == 0 and not {case.kind, case.variant} & _UNSEEN and len(outcome.truths) == 1:
        outcome.causes = spans.ranked(flown, start, until)


_UNSEEN: Final = frozenset({8, 14, 16, "stale stock"})
"""Kinds and variants that leave no trace in the spans of requests: what is stale is answered as quickly and as well as ever."""

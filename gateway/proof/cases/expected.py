"""What is expected of an ask: the subject's rows, or an error of ours in time."""

from __future__ import annotations

from typing import Any

from contracts.errors import (
    ContractViolation,
    OutcomeUnknown,
)
from gateway.proof.case import Differs
from gateway.proof.documents import Subject
from gateway.proof.lab import TOLERANCE, Outcome


def same(outcome: Outcome, subject: Subject) -> str:
    if outcome.rows is None:
        raise Differs(f"expected {len(subject.rows)} rows, got {outcome}")
    if _sorted(outcome.rows) != _sorted(subject.rows):
        raise Differs(f"the rows are not those that the mapping reads: {_first_difference(subject.rows, outcome.rows)}")
    return str(outcome)


def fails(outcome: Outcome, *kinds: type[Exception], within: float) -> str:
    """An error of our own, of one of these kinds, in time, that tells a channel nothing of the system."""
    if not isinstance(outcome.error, kinds):
        raise Differs(f"expected {' or '.join(k.__name__ for k in kinds)}, got {outcome}")
    if outcome.seconds > within + TOLERANCE:
        raise Differs(f"expected within {within:.3g} s, it took {outcome.seconds:.2f} s")
    return type(outcome.error).__name__


def _sorted(rows: list[Any]) -> list[str]:
    return sorted(map(repr, rows))


def _first_difference(expected: list[Any], came: list[Any]) -> str:
    if len(expected) != len(came):
        return f"{len(expected)} expected, {len(came)} came"
    for one, other in zip(expected, came, strict=True):
        if isinstance(one, dict) and isinstance(other, dict):
            for name in {**one, **other}:
                if one.get(name) != other.get(name):
                    return f"{name}: expected {str(one.get(name))[:60]}, got {str(other.get(name))[:60]}"
    return "they differ"


def refused(outcome: Outcome, subject: Subject) -> bool:
    """The answer was not taken, and the error says where. For a write that is a doubt."""
    return isinstance(outcome.error, OutcomeUnknown if subject.writes else ContractViolation)

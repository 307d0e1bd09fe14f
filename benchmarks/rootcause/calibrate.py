"""From right and wrong answers to the table that turns a raw figure into a confidence: isotonic regression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Final

from benchmarks.rootcause.metrics import judged
from benchmarks.rootcause.trial import Outcome
from observability.rootcause.online.confidence import Calibration, raw

_SMALLEST: Final = 15
"""Answers a point rests on at least."""


def learned(outcomes: Iterable[Outcome], date: str) -> Calibration:
    """From every incident of the part for development, those on days without any fault included."""
    return table(judged(outcomes, lambda incident: raw(incident.confidence_inputs), feeds=False), date)


def table(answers: Iterable[tuple[float, bool]], date: str) -> Calibration:
    """From raw figures and whether the answers were right. It begins at nothing: what was hardly ever said has earned no confidence."""
    pairs = sorted(answers)
    blocks = isotonic(pairs)
    points = [(mean(r for r, _ in b), (sum(right for _, right in b) + 0.5) / (len(b) + 1)) for b in blocks]
    figures: list[float] = []
    for _, share in points:
        figures.append(round(max([share, *figures[-1:]]), 4))
    return Calibration(raw=(0.0, *(round(r, 4) for r, _ in points)), confidence=(0.0, *figures), date=date, cases=len(pairs))


def isotonic(pairs: Sequence[tuple[float, bool]]) -> list[list[tuple[float, bool]]]:
    """Pools neighbours until shares rise (pool adjacent violators) and no block is too small to be believed."""
    blocks: list[list[tuple[float, bool]]] = []
    for start in range(0, len(pairs), _SMALLEST):
        blocks.append(list(pairs[start : start + _SMALLEST]))
        if len(blocks) > 1 and len(blocks[-1]) < _SMALLEST:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return blocks


def _share(block: Sequence[tuple[float, bool]]) -> float:
    return mean(right for _, right in block)

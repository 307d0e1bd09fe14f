"""How sure a verdict is: one figure from a few that are shown beside it, read through a table learned on known faults."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from observability.rootcause.model import Verdict

SHIPPED: Final = Path(__file__).parent.parent / "calibration.json"
UNKNOWN_PAST: Final = 0.6
"""The most that is said without knowing what is usual."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A monotone table: figures as computed, rising, and the share of right verdicts at each. Empty: as computed."""

    raw: tuple[float, ...] = ()
    confidence: tuple[float, ...] = ()
    date: str = ""
    cases: int = 0
    """Known faults that it was learned from."""

    def __post_init__(self) -> None:
        rising = all(all(a <= b for a, b in pairwise(x)) for x in (self.raw, self.confidence))
        if len(self.raw) != len(self.confidence) or not rising or any(not 0 <= v <= 1 for v in (*self.raw, *self.confidence)):
            raise ValueError("expected two rising columns of the same length, raw and confidence, each from 0 to 1")

    def of(self, raw: float) -> float:
        return float(np.interp(raw, self.raw, self.confidence)) if self.raw else raw


def shipped(path: Path = SHIPPED) -> Calibration:
    """The table beside this package; none: figures are shown as computed. Raises msgspec.ValidationError for a malformed one."""
    return msgspec.json.decode(path.read_bytes(), type=Calibration) if path.exists() else Calibration()


def raw(inputs: dict[str, float]) -> float:
    """From coverage, margin, bad, order_agrees, loss, residual."""
    return (
        math.sqrt(inputs["coverage"])
        * (1 - math.exp(-inputs["bad"] / 10))
        * (0.5 + 0.5 * inputs["margin"])
        * (0.5 + 0.5 * inputs["order_agrees"])
        * (1 - inputs["loss"]) ** 2
        * (1 - inputs["residual"])
    )


def verdict(confidence: float) -> Verdict:
    return "cause" if confidence >= 0.8 else "likely" if confidence >= 0.5 else "unsure"

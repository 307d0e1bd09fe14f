"""How sure an answer from spans is: one figure from a few that are shown beside it, read through a table learned on known incidents."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Final

from observability.rootcause.online import confidence
from observability.rootcause.online.confidence import Calibration

SHIPPED: Final = Path(__file__).parent / "calibration-spans.json"


@cache
def shipped() -> Calibration:
    return confidence.shipped(SHIPPED)


def raw(inputs: dict[str, float]) -> float:
    """From score, rival, shared, indirect, hit, order, loss: the higher, the surer (docs/root-cause.md)."""
    return (
        math.sqrt(inputs["score"])
        * (1 - 0.5 * min(1.0, inputs["rival"]))
        * (0.5 + 0.5 * inputs["shared"])
        * (1 - 0.5 * inputs["indirect"])
        * (0.5 + 0.5 * inputs["order"])
        * (1 - math.exp(-inputs["hit"] / 10))
        * (1 - inputs["loss"])
    )

"""From what services say to what the API answers."""

from __future__ import annotations

from itertools import product
from typing import Any

from contracts.canonical.answers import Missing
from contracts.errors import InvalidRequest
from contracts.ports import Answer, SkuAt
from observability import current

MAX_PAIRS = 500


def missing(answer: Answer[Any]) -> tuple[Missing, ...]:
    """Gaps without naming systems. A part that is missing makes the answer a degraded one."""
    if answer.gaps and (flight := current()):
        flight.degraded("partial")
    return tuple(Missing(code=gap.code, keys=gap.keys) for gap in answer.gaps)


def pairs(skus: tuple[str, ...], locations: tuple[str, ...]) -> list[SkuAt]:
    """Every sku at every location. Raises InvalidRequest beyond 500."""
    if len(skus) * len(locations) > MAX_PAIRS:
        raise InvalidRequest(
            where="query:sku", expected=f"at most {MAX_PAIRS} pairs of sku and location", got=str(len(skus) * len(locations))
        )
    return [SkuAt(sku=sku, location_id=location) for sku, location in product(skus, locations)]

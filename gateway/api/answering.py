"""From what services say to what the API answers."""

from __future__ import annotations

from collections.abc import Container, Iterable
from itertools import product
from typing import Any

from contracts.canonical.answers import Missing, ProductParameters
from contracts.errors import InvalidParameter, NotFound
from contracts.ports import Answer, SkuAt
from gateway.edge.endpoint import Question
from observability import current

MAX_PAIRS = 500


def missing(answer: Answer[Any], asked: Iterable[str] = (), said: Container[str] = ()) -> tuple[Missing, ...]:
    """Gaps without naming systems, which make the answer a degraded one; and what of `asked` no system knows: it is neither in a gap nor in
    what is `said`.
    """
    if answer.gaps and (flight := current()):
        flight.degraded("partial")
    untold = {key for gap in answer.gaps for key in gap.keys}
    unknown = tuple(key for key in dict.fromkeys(asked) if key not in said and key not in untold)
    gaps = tuple(Missing(code=gap.code, keys=gap.keys) for gap in answer.gaps)
    return (*gaps, Missing(code=NotFound.code, keys=unknown)) if unknown else gaps


def at(sku: str, location: str) -> str:
    """A pair as it is named among what is missing."""
    return f"{sku}/{location}"


def all_products(skus: Iterable[str]) -> Question | None:
    """What `expand` asks of products. Raises InvalidParameter beyond 500."""
    wanted = tuple(dict.fromkeys(skus))
    if len(wanted) > MAX_PAIRS:
        raise InvalidParameter(
            where="query:expand", expected=f"at most {MAX_PAIRS} skus in what is expanded; a smaller `limit`", got=str(len(wanted))
        )
    return Question(ProductParameters(sku=wanted)) if wanted else None


def pairs(skus: tuple[str, ...], locations: tuple[str, ...], where: str = "query:sku") -> list[SkuAt]:
    """Every sku at every location. Raises InvalidParameter beyond 500."""
    if len(skus) * len(locations) > MAX_PAIRS:
        raise InvalidParameter(where=where, expected=f"at most {MAX_PAIRS} pairs of sku and location", got=str(len(skus) * len(locations)))
    return [SkuAt(sku=sku, location_id=location) for sku, location in product(skus, locations)]

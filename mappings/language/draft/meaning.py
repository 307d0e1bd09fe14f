"""How likely a value is what a canonical field means: by name, place, type and the values that were seen."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from mappings.language.draft.places import Place, amount_of, said_name
from mappings.language.likeness import bare, concepts, evidence, meant, phrases_of, weight
from mappings.language.shape import Field, Leaf

CERTAIN: Final = 0.78
LIKELY: Final = 0.5
GUESSED: Final = 0.55
CANDIDATE: Final = 0.3
CLEAR: Final = 0.06
"""How far the best must be ahead of the next to be certain."""
EXACT: Final = 1.08
"""What a field is worth more whose name is the canonical one."""
_IMPLIED: Final = {
    "InventoryLevel": "stock",
    "Product": "product",
    "Price": "price",
    "Order": "order",
    "OrderReceipt": "order",
    "OrderProgress": "order",
    "OrderLine": "line order",
    "Customer": "customer",
    "OrderCustomer": "customer",
    "Location": "location",
    "Address": "address",
    "Payment": "payment",
    "Fulfilment": "delivery",
    "PackGtin": "product",
}


def _fits(target: Field, place: Place) -> float:
    """How well a value of the source's type can become the target: 0 to 1."""
    kind, wanted = place.leaf.kind, amount_of(target) or ("string" if not isinstance(target.shape, Leaf) else target.shape.kind)
    if kind == "any":
        return 0.85
    if kind in ("date", "datetime") and target.name == "business_date":
        return 1.0
    if wanted in ("quantity", "money", "unit_price", "decimal", "integer"):
        return {"decimal": 1.0, "integer": 1.0, "string": 0.93}.get(kind, 0.1) * (0.3 if place.leaf.enum else 1.0)
    if wanted == "string":
        listed = isinstance(target.shape, Leaf) and target.shape.enum
        if listed:
            return 1.0 if place.leaf.enum else {"string": 0.85, "boolean": 0.4, "integer": 0.6}.get(kind, 0.2)
        return {"string": 1.0, "integer": 0.95, "date": 0.4, "datetime": 0.4, "decimal": 0.5}.get(kind, 0.2)
    if wanted == "boolean":
        return {"boolean": 1.0, "string": 0.9, "integer": 0.8}.get(kind, 0.2)
    return {"datetime": 1.0, "date": 0.95, "string": 0.9, "integer": 0.75, "time": 0.3}.get(kind, 0.2)


@functools.lru_cache(maxsize=50_000)
def _by_name(noun: str, path: str, name: str, above: tuple[str, ...]) -> float:
    """0 to a little over 1: how well a name below these records says what the target means."""
    phrases, implied = phrases_of(noun, path), implied_by(noun)
    score = meant(phrases, concepts(name), [c for n in above for c in concepts(n)], implied)
    if not score:
        return 0.0
    expected = {c for phrase, _ in phrases for c in phrase} | implied
    strange = min(1.0, sum(weight(c) for c in (concepts(above[-1]) if above else ()) if c not in expected))
    return score * (EXACT if bare(name) == bare(path.rpartition(".")[2]) else 1.0) * (1 - 0.35 * strange)


def implied_by(noun: str) -> frozenset[str]:
    return frozenset(_IMPLIED.get(noun, "").split())


def likelihood(noun: str, path: str, target: Field, place: Place, values: Sequence[str] = ()) -> float:
    """How likely a source value is what the target means: by name, type, place and the values that were seen."""
    name, above = said_name(place.steps)
    score = _by_name(noun, path, name, above[-2:])
    if not score:
        return 0.0
    score *= 0.97 ** max(0, len(above) - 1) * _fits(target, place) * (0.85 if place.anchor == "root" else 1.0)
    if values and (proven := evidence(values)):
        first = {c for phrase, _ in phrases_of(noun, path)[:2] for c in phrase}
        score = (
            min(EXACT, score * 1.15) if proven in first else score * (0.4 if proven in ("gtin", "currency", "country", "email") else 0.8)
        )
    return score


def others_than(found: Sequence[tuple[float, Place]], best: Place) -> str:
    rest = [f"{p.text} ({min(s, 1.0):.2f})" for s, p in found if p is not best and s >= CANDIDATE][:3]
    return "; or " + ", ".join(rest) if rest else ""

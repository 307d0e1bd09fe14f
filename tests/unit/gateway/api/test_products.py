"""Which products are the next page, whatever the system can say about where to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from contracts.canonical.product import Product
from gateway.api.products import page_after

ALL = [Product(sku=str(n), name={"en": "-"}, base_unit="EA", active=True) for n in range(1, 8)]


def from_the_row(after: str | None, limit: int) -> Sequence[Product]:
    return [p for p in ALL if after is None or p.sku >= after][:limit]


def behind_the_row(after: str | None, limit: int) -> Sequence[Product]:
    return [p for p in ALL if after is None or p.sku > after][:limit]


def everything(after: str | None, limit: int) -> Sequence[Product]:
    return ALL


@pytest.mark.parametrize("limit", range(1, 9))
@pytest.mark.parametrize("system", [from_the_row, behind_the_row, everything])
def test_pages_follow_each_other_to_the_end_without_gap_or_repeat(
    system: Callable[[str | None, int], Sequence[Product]], limit: int
) -> None:
    seen: list[str] = []
    position: str | None = None
    for _ in range(len(ALL) + 1):
        asked = limit + (position is not None)
        items, more = page_after(system(position, asked), position, limit, asked)
        assert len(items) <= limit
        seen += [p.sku for p in items]
        if not more:
            break
        position = items[-1].sku
    assert seen == [p.sku for p in ALL]

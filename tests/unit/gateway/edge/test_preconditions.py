"""Weak tags: the same news have the same tag, however they are come by."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.answers import Prices
from contracts.canonical.base import Provenance
from contracts.canonical.price import Price
from gateway.edge.preconditions import weak_etag_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIVE = (Provenance(source_system="erp", as_of=NOW, received_at=NOW, via="live"),)
CACHED = (Provenance(source_system="erp", as_of=NOW, received_at=NOW, via="cache", stale=True),)


def rows(*provenances: tuple[Provenance, ...], cents: int = 529) -> Prices:
    value, per = Money(cent_amount=cents, currency_code="EUR", fraction_digits=2), Quantity(value="1", unit="EA")
    prices = [
        Price(sku=str(n), price_type="regular", value=value, per=per, tax_included=True, provenance=each)
        for n, each in enumerate(provenances)
    ]
    return Prices(items=tuple(prices))


def test_a_tag_cut_out_of_the_written_answer_is_that_of_the_answer_without_provenance() -> None:
    for read in (rows(LIVE, LIVE), rows(CACHED, CACHED), rows(LIVE, CACHED), rows(LIVE, ()), rows((), ()), rows()):
        assert weak_etag_of(read, "v", encoded=msgspec.json.encode(read)) == weak_etag_of(read, "v")


def test_the_same_news_read_otherwise_keep_their_tag_and_other_news_get_another() -> None:
    tags = {weak_etag_of(read, encoded=msgspec.json.encode(read)) for read in (rows(LIVE, LIVE), rows(CACHED, CACHED), rows(LIVE, CACHED))}
    other = rows(LIVE, LIVE, cents=530)
    assert len(tags) == 1
    assert weak_etag_of(other, encoded=msgspec.json.encode(other)) not in tags

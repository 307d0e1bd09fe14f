"""Prices that hold now."""

from __future__ import annotations

from contracts.canonical.answers import PairParameters, Prices
from gateway.api.answering import at, missing, pairs
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
from gateway.services.services import Services


async def list_prices(ask: Ask[PairParameters, None], services: Services) -> Outcome:
    asked = pairs(ask.parameters.sku, ask.parameters.location)
    answer, until = await services.catalogue.prices(asked, ask.call)
    said = {at(p.sku, place) for p in answer.items for place in ((p.location_id,) if p.location_id else ask.parameters.location)}
    gone = missing(answer, (at(p.sku, p.location_id) for p in asked), said)
    return Outcome(Prices(items=answer.items, missing=gone), sources=answer.sources, until=until)


LIST_PRICES = Endpoint(
    method="GET",
    path="/prices",
    name="listPrices",
    summary="Prices of every sku at every location, the most specific first",
    scope="catalogue:read",
    answer=Prices,
    handle=list_prices,
    parameters=PairParameters,
    cache=60.0,
    shared=True,
    tag="Prices",
    capabilities=("price.read",),
)

ENDPOINTS: tuple[AnyEndpoint, ...] = (LIST_PRICES,)

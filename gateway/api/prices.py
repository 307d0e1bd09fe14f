"""Prices that hold now."""

from __future__ import annotations

from contracts.canonical.answers import PairParameters, Prices
from gateway.api.answering import missing, pairs
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
from gateway.services.services import Services


async def list_prices(ask: Ask[PairParameters, None], services: Services) -> Outcome:
    answer, until = await services.catalogue.prices(pairs(ask.parameters.sku, ask.parameters.location), ask.call)
    return Outcome(Prices(items=answer.items, missing=missing(answer)), sources=answer.sources, until=until)


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
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
    ),
)

"""Products by sku, or page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contracts.canonical.answers import (
    InventoryParameters,
    PairParameters,
    PlaceParameters,
    ProductParameters,
    ProductParts,
    Products,
)
from contracts.canonical.base import SkuInPath
from contracts.canonical.product import Product
from contracts.errors import InvalidParameter, NotFound
from gateway.api.answering import missing, pairs
from gateway.api.inventory import LIST_INVENTORY
from gateway.api.prices import LIST_PRICES
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Expansion, Link, Outcome, Question
from gateway.services.services import Services


def page_after(found: Sequence[Product], position: str | None, limit: int, asked: int) -> tuple[Sequence[Product], bool]:
    """What stands behind `position`, at most `limit`, and whether more follows. A system that cannot continue at a row gives all."""
    known = next((at for at, p in enumerate(found, 1) if p.sku == position), 0)
    items = found[known : known + limit]
    return items, bool(items) and (len(found) > known + limit or len(found) == asked)


async def list_products(ask: Ask[ProductParameters, None], services: Services) -> Outcome:
    wanted = ask.parameters
    if wanted.sku:
        answer = await services.catalogue.products(wanted.sku, ask.call)
        gone = missing(answer, wanted.sku, {p.sku for p in answer.items})
        return Outcome(Products(items=answer.items, missing=gone), sources=answer.sources)
    position = wanted.cursor
    # Some systems continue at the row they are given, others behind it: one more is asked for, and the known one left out.
    most = wanted.limit + (position is not None)
    answer = await services.catalogue.page(position, most, ask.call)
    items, more = page_after(answer.items, position, wanted.limit, most)
    cursor = items[-1].sku if more else None
    return Outcome(Products(items=tuple(items), missing=missing(answer)), sources=answer.sources, cursor=cursor)


async def get_product(ask: Ask[PlaceParameters, None], services: Services) -> Outcome:
    answer = await services.catalogue.product(ask.path["sku"], ask.call)
    return Outcome(answer.items[0], sources=answer.sources)


def _there(kind: type[PairParameters | InventoryParameters]) -> Callable[[Ask[Any, Any], Any], Question | None]:
    """About the skus that are asked for, or else those of the page, at the locations that are asked for."""

    def question(ask: Ask[Any, Any], answer: Any) -> Question | None:
        places = ask.parameters.location
        if not places:
            raise InvalidParameter(where="query:location", expected="the locations that `expand` is about", got="none")
        skus = (ask.path["sku"],) if ask.path else ask.parameters.sku or tuple(p.sku for p in (answer.items if answer else ()))
        pairs(skus, places, "query:location")  # raises for too many
        return Question(kind(sku=skus, location=places)) if skus else None

    return question


_EXPANSIONS = (
    Expansion("prices", LIST_PRICES, _there(PairParameters)),
    Expansion("inventory", LIST_INVENTORY, _there(InventoryParameters)),
)

LIST_PRODUCTS = Endpoint(
    method="GET",
    path="/products",
    name="listProducts",
    summary="Products by sku (repeatable), or page by page",
    scope="catalogue:read",
    answer=Products,
    handle=list_products,
    parameters=ProductParameters,
    cache=300.0,
    shared=True,
    tag="Products",
    capabilities=(
        "product.read",
        "product.list",
    ),
    links=(Link("getProduct", {"sku": "$response.body#/items/0/sku"}),),
    expansions=_EXPANSIONS,
    parts=ProductParts,
)

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    LIST_PRODUCTS,
    Endpoint(
        method="GET",
        path="/products/{sku}",
        name="getProduct",
        summary="One product",
        scope="catalogue:read",
        answer=Product,
        handle=get_product,
        parameters=PlaceParameters,
        path_parameters={"sku": SkuInPath},
        errors=(NotFound,),
        cache=300.0,
        shared=True,
        tag="Products",
        capabilities=("product.read",),
        expansions=_EXPANSIONS,
        parts=ProductParts,
    ),
)

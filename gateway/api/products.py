"""Products by sku, or page by page."""

from __future__ import annotations

from contracts.canonical.answers import NoParameters, ProductParameters, Products
from contracts.canonical.base import Sku
from contracts.canonical.product import Product
from contracts.errors import NotFound
from gateway.api.answering import missing
from gateway.edge.door import cursor_of, position_of
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Link, Outcome
from gateway.services.services import Services


async def list_products(ask: Ask[ProductParameters, None], services: Services) -> Outcome:
    wanted = ask.parameters
    if wanted.sku:
        answer = await services.catalogue.products(wanted.sku, ask.call)
        return Outcome(Products(items=answer.items, missing=missing(answer)), sources=answer.sources)
    # Some systems continue at the row they are given, others behind it: one more is asked for, and the known one left out.
    position = position_of(wanted.cursor)
    most = wanted.limit + (position is not None)
    answer = await services.catalogue.page(position, most, ask.call)
    items = tuple(p for p in answer.items if p.sku != position)[: wanted.limit]
    cursor = cursor_of(items[-1].sku) if items and len(answer.items) == most else None
    return Outcome(Products(items=items, missing=missing(answer)), sources=answer.sources, cursor=cursor)


async def get_product(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    answer = await services.catalogue.product(ask.path["sku"], ask.call)
    return Outcome(answer.items[0], sources=answer.sources)


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/products",
        name="listProducts",
        summary="Products by sku (repeatable), or page by page",
        scope="catalogue:read",
        answer=Products,
        handle=list_products,
        parameters=ProductParameters,
        cache="private, max-age=300, stale-if-error=86400",
        tag="Products",
        capabilities=(
            "product.read",
            "product.list",
        ),
        links=(Link("getProduct", {"sku": "$response.body#/items/0/sku"}),),
    ),
    Endpoint(
        method="GET",
        path="/products/{sku}",
        name="getProduct",
        summary="One product",
        scope="catalogue:read",
        answer=Product,
        handle=get_product,
        parameters=NoParameters,
        path_parameters={"sku": Sku},
        errors=(NotFound,),
        cache="private, max-age=300, stale-if-error=86400",
        tag="Products",
        capabilities=("product.read",),
    ),
)

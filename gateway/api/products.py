"""Products by sku, or page by page."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.canonical.answers import NoParameters, ProductParameters, Products
from contracts.canonical.base import SkuInPath
from contracts.canonical.product import Product
from contracts.errors import NotFound
from gateway.api.answering import missing
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Link, Outcome
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
        cache=300.0,
        shared=True,
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
        path_parameters={"sku": SkuInPath},
        errors=(NotFound,),
        cache=300.0,
        shared=True,
        tag="Products",
        capabilities=("product.read",),
    ),
)

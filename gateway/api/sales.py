"""POS sales as the tills wrote them."""

from __future__ import annotations

from datetime import date
from typing import Any

from contracts.canonical.answers import SaleParameters, SaleParts, Sales
from contracts.canonical.sale import SaleKey
from contracts.errors import InvalidCursor, InvalidParameter
from gateway.api.answering import all_products
from gateway.api.products import LIST_PRODUCTS
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Expansion, Outcome, Question
from gateway.edge.identity.scopes import require_store
from gateway.services.services import Services


async def list_sales(ask: Ask[SaleParameters, None], services: Services) -> Outcome:
    wanted = ask.parameters
    require_store(ask.client, wanted.location)
    _require_day(wanted.business_date)
    sales = await services.books.sales.list(wanted.location, wanted.business_date, _after(wanted.cursor), wanted.limit)
    cursor = str(sales[-1].key) if len(sales) == wanted.limit else None
    return Outcome(Sales(items=tuple(sales)), cursor=cursor)


def _require_day(text: str) -> None:
    """What no pattern can say: 2026-02-29 is none. Raises InvalidParameter."""
    try:
        date.fromisoformat(text)
    except ValueError as exc:
        raise InvalidParameter(where="query:businessDate", expected="a day of the calendar such as 2026-03-11", got=repr(text)) from exc


def _after(position: str | None) -> SaleKey | None:
    if position is None:
        return None
    parts = position.split("/")
    if len(parts) != 4 or not parts[3].isascii() or not parts[3].isdigit():
        raise InvalidCursor(got=repr(position[:40]))
    return SaleKey(store_number=parts[0], workstation_id=parts[1], business_date=parts[2], sequence_number=int(parts[3][:12]))


def _products(ask: Ask[Any, Any], answer: Any) -> Question | None:
    return all_products(line.item_id for sale in (answer.items if answer else ()) for line in sale.lines if line.item_id)


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/sales",
        name="listSales",
        summary="Sales of one location and business day, in the order of the tills",
        scope="sales:read",
        answer=Sales,
        handle=list_sales,
        parameters=SaleParameters,
        tag="Sales",
        capabilities=("sale.feed",),
        expansions=(Expansion("products", LIST_PRODUCTS, _products),),
        parts=SaleParts,
    ),
)

"""Orders: accepted once per Idempotency-Key, brought to the systems by a durable process."""

from __future__ import annotations

from typing import Any

from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.answers import Cancellation, NoParameters, OrderParts, Orders, PageParameters
from contracts.canonical.base import Key
from contracts.canonical.order import Order, OrderDraft, OrderLineDraft
from contracts.canonical.payment import Payment
from contracts.errors import InsufficientStock, InvalidCursor, NotFound, PreconditionFailed, StateConflict, UpstreamRejected
from gateway.api.answering import all_products
from gateway.api.customers import GET_CUSTOMER
from gateway.api.products import LIST_PRODUCTS
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Expansion, Link, Outcome, Question
from gateway.edge.identity.scopes import may_see, require_store
from gateway.edge.preconditions import versions
from gateway.services.services import Services


async def create_order(ask: Ask[NoParameters, OrderDraft], services: Services) -> Outcome:
    for line in ask.body.lines:
        require_store(ask.client, line.requested_location_id)
    order = await services.orders.accept(ask.body, ask.idempotency_key, ask.call)
    return _outcome(order, done=201)


async def list_orders(ask: Ask[PageParameters, None], services: Services) -> Outcome:
    wanted = ask.parameters
    try:
        orders = await services.orders.list(ask.call, wanted.cursor, wanted.limit)
    except NotFound as exc:
        raise InvalidCursor(got="one that leads to no order") from exc
    cursor = orders[-1].id if len(orders) == wanted.limit else None
    return Outcome(Orders(items=tuple(o for o in orders if may_see(ask.client, _places(o)))), cursor=cursor)


async def get_order(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    order, sources = await services.orders.read(ask.path["id"], ask.call)
    if not may_see(ask.client, _places(order)):
        raise NotFound(what="order", key=order.id)
    return Outcome(order, sources=sources, version=None if sources else order.version)


async def cancel_order(ask: Ask[NoParameters, Cancellation], services: Services) -> Outcome:
    stored = await services.books.orders.get(ask.path["id"])
    if stored is None or stored.channel != ask.client.channel or not may_see(ask.client, _places(stored)):
        raise NotFound(what="order", key=ask.path["id"])
    for location in _places(stored):
        require_store(ask.client, location)
    expected = versions(ask.if_match)
    order = await services.orders.cancel(stored.id, ask.body.reason, ask.call, expected=expected, repeated=ask.repeated)
    return _outcome(order, done=200)


def _places(order: Order) -> set[str]:
    return {line.requested_location_id for line in order.lines}


def _outcome(order: Order, done: int) -> Outcome:
    if order.pending_write:
        return Outcome(order, status=202, version=order.version, location=f"/orders/{order.id}", retry_after=2)
    return Outcome(order, status=done, version=order.version, location=f"/orders/{order.id}")


_ID = "$response.body#/id"
_READ = Link("getOrder", {"id": _ID})
_CANCEL = Link("cancelOrder", {"id": _ID})


def _products(ask: Ask[Any, Any], answer: Any) -> Question | None:
    orders = () if answer is None else answer.items if isinstance(answer, Orders) else (answer,)
    return all_products(line.sku for order in orders for line in order.lines)


def _customer(ask: Ask[Any, Any], answer: Any) -> Question | None:
    number = answer.customer.customer_number if answer and answer.customer else None
    return Question(NoParameters(), {"number": number}) if number else None


_PRODUCTS = Expansion("products", LIST_PRODUCTS, _products)

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="POST",
        path="/orders",
        name="createOrder",
        summary="Place an order; 202 when a system behind is late: it is accepted and will be completed",
        scope="orders:write",
        answer=Order,
        handle=create_order,
        parameters=NoParameters,
        body=OrderDraft,
        statuses=(201, 202),
        errors=(InsufficientStock, NotFound, UpstreamRejected),
        idempotent_key=True,
        conditional=True,
        tag="Orders",
        capabilities=(
            "inventory.levels",
            "sale.feed",
            "movement.feed",
            "level.feed",
            "order.create",
            "order.find",
            "order.book",
            "order.find_booking",
            "order.cancel",
            "order.cancel_booking",
        ),
        needs="later",
        example=OrderDraft(
            lines=(
                OrderLineDraft(
                    line_number=1,
                    sku="10000001",
                    quantity=Quantity("1", "EA"),
                    unit_price=Money(379, "EUR", 2),
                    requested_location_id="0001",
                ),
            ),
            payments=(Payment(payment_id="pay-1", tender_type="card_credit", amount_planned=Money(379, "EUR", 2)),),
        ),
        links=(_READ, _CANCEL),
    ),
    Endpoint(
        method="GET",
        path="/orders",
        name="listOrders",
        summary="The channel's orders, newest first",
        scope="orders:read",
        answer=Orders,
        handle=list_orders,
        parameters=PageParameters,
        tag="Orders",
        links=(Link("getOrder", {"id": "$response.body#/items/0/id"}),),
        expansions=(_PRODUCTS,),
        parts=OrderParts,
    ),
    Endpoint(
        method="GET",
        path="/orders/{id}",
        name="getOrder",
        summary="One order with its progress",
        scope="orders:read",
        answer=Order,
        handle=get_order,
        parameters=NoParameters,
        path_parameters={"id": Key},
        errors=(NotFound,),
        conditional=True,
        tag="Orders",
        capabilities=("order.progress",),
        expansions=(_PRODUCTS, Expansion("customer", GET_CUSTOMER, _customer)),
        parts=OrderParts,
        needs="aside",
        links=(_CANCEL,),
    ),
    Endpoint(
        method="POST",
        path="/orders/{id}/cancel",
        name="cancelOrder",
        summary="Cancel an order as long as nothing has left",
        scope="orders:write",
        answer=Order,
        handle=cancel_order,
        parameters=NoParameters,
        path_parameters={"id": Key},
        body=Cancellation,
        statuses=(200, 202),
        errors=(NotFound, StateConflict, PreconditionFailed),
        idempotent_key=True,
        conditional=True,
        tag="Orders",
        capabilities=(
            "order.cancel",
            "order.cancel_booking",
            "order.find",
            "order.find_booking",
        ),
        needs="later",
        example=Cancellation(reason="customer changed their mind"),
        links=(_READ,),
    ),
)

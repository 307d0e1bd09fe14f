"""Customers: personal data, on a scope of its own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from contracts.canonical.answers import NoParameters
from contracts.canonical.base import Number
from contracts.canonical.customer import Customer
from contracts.errors import NotFound
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
from gateway.services.services import Services


async def get_customer(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    answer = await services.catalogue.customer(ask.path["number"], ask.call)
    return Outcome(answer.items[0], sources=answer.sources)


GET_CUSTOMER = Endpoint(
    method="GET",
    path="/customers/{number}",
    name="getCustomer",
    summary="One customer",
    scope="customers:read",
    route_class="personal",
    answer=Customer,
    handle=get_customer,
    parameters=NoParameters,
    path_parameters={"number": Annotated[Number, Meta(examples=["1000001"])]},
    errors=(NotFound,),
    tag="Customers",
    capabilities=("customer.read",),
)

ENDPOINTS: tuple[AnyEndpoint, ...] = (GET_CUSTOMER,)

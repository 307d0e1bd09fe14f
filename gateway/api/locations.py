"""Stores, warehouses and other places that hold stock."""

from __future__ import annotations

from contracts.canonical.answers import Locations, NoParameters
from contracts.canonical.base import LocationId
from contracts.canonical.location import Location
from contracts.errors import NotFound
from gateway.api.answering import missing
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Link, Outcome
from gateway.services.services import Services


async def list_locations(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    answer = await services.catalogue.locations(ask.call)
    return Outcome(Locations(items=answer.items, missing=missing(answer)), sources=answer.sources)


async def get_location(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    answer = await services.catalogue.location(ask.path["number"], ask.call)
    return Outcome(answer.items[0], sources=answer.sources)


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/locations",
        name="listLocations",
        summary="All locations",
        scope="catalogue:read",
        answer=Locations,
        handle=list_locations,
        parameters=NoParameters,
        cache=600.0,
        shared=True,
        tag="Locations",
        capabilities=("location.list",),
        links=(Link("getLocation", {"number": "$response.body#/items/0/number"}),),
    ),
    Endpoint(
        method="GET",
        path="/locations/{number}",
        name="getLocation",
        summary="One location",
        scope="catalogue:read",
        answer=Location,
        handle=get_location,
        parameters=NoParameters,
        path_parameters={"number": LocationId},
        errors=(NotFound,),
        cache=600.0,
        shared=True,
        tag="Locations",
        capabilities=("location.list",),
    ),
)

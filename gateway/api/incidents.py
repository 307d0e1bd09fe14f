"""The admin API of incidents: what is and was broken, what a window looked like in which nobody noticed anything, labels by people, and
the map that all of it stands on.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from contracts.admin import PageLimit
from contracts.books import Label
from contracts.books.incidents import Right
from contracts.canonical.answers import Cursor, NoParameters
from contracts.canonical.base import Instant, Noun
from contracts.canonical.incident import IncidentState
from contracts.errors import Forbidden, InvalidRequest, NotFound
from gateway.api.clients import actor
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
from gateway.services import incidents as service
from gateway.services.clock import utc_now
from gateway.services.incidents import EstateMap, IncidentDetail, Incidents, Window
from gateway.services.services import Services

IncidentId = Annotated[str, Meta(pattern=r"^INC-[0-9]{8}-[0-9]{4,9}$(?!\n)", examples=["INC-20260311-0007"])]


class IncidentsParameters(Noun, frozen=True, kw_only=True):
    state: IncidentState | None = None
    since: Annotated[Instant, Meta(description="Those that were not over by then")] | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50


class WindowParameters(Noun, frozen=True, kw_only=True):
    begin: Annotated[Instant, Meta(description="Within the last 90 minutes")]
    end: Annotated[Instant, Meta(description="At most 60 minutes later; left out: now")] | None = None


class MapParameters(Noun, frozen=True, kw_only=True):
    since: Annotated[Instant, Meta(description="Also what the flights kept since then say of it")] | None = None


class NewLabel(Noun, frozen=True, kw_only=True):
    right: Right
    culprit: Annotated[str, Meta(max_length=200, description="What it was, if the verdict was wrong", examples=["erp.GetStock"])] = ""
    note: Annotated[str, Meta(max_length=1000)] = ""


def _of_all_stores(ask: Ask[Any, Any]) -> None:
    """Raises Forbidden: what is broken is told with all whom it hits."""
    if ask.client.stores:
        raise Forbidden(reason=f"{ask.client.name!r} is bound to stores, and incidents tell of all of them")


async def list_incidents(ask: Ask[IncidentsParameters, None], services: Services) -> Outcome:
    _of_all_stores(ask)
    wanted = ask.parameters
    before = int(wanted.cursor) if wanted.cursor else None
    found = await services.books.incidents.list(wanted.limit, state=wanted.state, since=wanted.since, before=before)
    cursor = str(found[-1].place) if len(found) == wanted.limit else None
    return Outcome(Incidents(items=tuple(map(service.view, found)), watch=services.detective.watch), cursor=cursor)


async def get_incident(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    _of_all_stores(ask)
    return Outcome(await service.detail(services.books, ask.path["id"]))


async def label_incident(ask: Ask[NoParameters, NewLabel], services: Services) -> Outcome:
    _of_all_stores(ask)
    said, number = ask.body, ask.path["id"]
    label = Label(at=utc_now(), by=actor(ask.client).name, right=said.right, culprit=said.culprit, note=said.note)
    await service.label(services.books, number, label, utc_now)
    return Outcome(await service.detail(services.books, number))


async def explain_window(ask: Ask[WindowParameters, None], services: Services) -> Outcome:
    _of_all_stores(ask)
    return Outcome(Window(incident=await services.detective.explain(ask.parameters.begin, ask.parameters.end)))


async def get_map(ask: Ask[MapParameters, None], services: Services) -> Outcome:
    _of_all_stores(ask)
    since = ask.parameters.since
    declared = services.detective.witness.estate.map
    return Outcome(EstateMap(declared=declared, seen=await services.detective.seen(since) if since else None))


_INCIDENT: dict[str, Any] = {"tag": "Incidents", "path_parameters": {"id": IncidentId}}

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/admin/incidents",
        name="listIncidents",
        summary="What is and was broken, newest first, and what is watched",
        scope="admin:read",
        answer=Incidents,
        handle=list_incidents,
        parameters=IncidentsParameters,
        tag="Incidents",
    ),
    Endpoint(
        method="GET",
        path="/admin/incidents/{id}",
        name="getIncident",
        summary="One incident: the verdict with its evidence, what was said of it and when, and what people found of that",
        scope="admin:read",
        answer=IncidentDetail,
        handle=get_incident,
        parameters=NoParameters,
        errors=(NotFound,),
        **_INCIDENT,
    ),
    Endpoint(
        method="POST",
        path="/admin/incidents/{id}/label",
        name="labelIncident",
        summary="Was this right? The newest label of each person counts",
        scope="admin:write",
        answer=IncidentDetail,
        handle=label_incident,
        parameters=NoParameters,
        body=NewLabel,
        errors=(NotFound,),
        idempotent_key=True,
        example=NewLabel(right="no", culprit="oms", note="The segment was down"),
        **_INCIDENT,
    ),
    Endpoint(
        method="GET",
        path="/admin/windows",
        name="explainWindow",
        summary="What a window of time looked like, whether or not anybody noticed anything in it; nothing is written down",
        scope="admin:read",
        answer=Window,
        handle=explain_window,
        parameters=WindowParameters,
        errors=(InvalidRequest,),
        tag="Incidents",
    ),
    Endpoint(
        method="GET",
        path="/admin/map",
        name="getMap",
        summary="The declared dependencies, and whom the kept flights of this gateway were seen to reach",
        scope="admin:read",
        answer=EstateMap,
        handle=get_map,
        parameters=MapParameters,
        tag="Incidents",
    ),
)

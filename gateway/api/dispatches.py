"""The admin API of files for the tills: which were written, how the tills answered, and what people decide about them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from contracts.admin import DispatchContent, DispatchEnd, Dispatches, DispatchesParameters, DispatchView
from contracts.canonical.answers import NoParameters
from contracts.canonical.base import LocationId
from contracts.errors import NotFound, StateConflict
from gateway.api.clients import actor
from gateway.edge.endpoint import AnyEndpoint, Ask, Outcome, Subject
from gateway.services.dispatches import DispatchDesk, DispatchKey, cursor_behind
from gateway.services.services import Services

FeedName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)", examples=["pos.prices"])]
Number = Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)", description="Of the file among those of its store", examples=["7"])]


def _desk(ask: Ask[Any, Any], services: Services) -> DispatchDesk:
    return services.dispatches(actor(ask.client))


def _key(ask: Ask[Any, Any]) -> DispatchKey:
    return DispatchKey(ask.path["feed"], ask.path["store"], int(ask.path["number"]))


async def list_dispatches(ask: Ask[DispatchesParameters, None], services: Services) -> Outcome:
    found = await _desk(ask, services).list(ask.parameters)
    return Outcome(Dispatches(items=tuple(found)), cursor=cursor_behind(found[-1]) if len(found) == ask.parameters.limit else None)


async def get_dispatch(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).show(_key(ask)))


async def get_content(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).content(_key(ask)))


async def resend(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).resend(_key(ask)))


async def give_up(ask: Ask[NoParameters, DispatchEnd], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).give_up(_key(ask), ask.body))


_DISPATCHES = Subject("Files for the tills", "/admin/dispatches", {"feed": FeedName, "store": LocationId, "number": Number})

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    _DISPATCHES(
        "GET",
        "",
        "listDispatches",
        "Files that the tills were sent, newest first, and how they were answered",
        Dispatches,
        list_dispatches,
        parameters=DispatchesParameters,
    ),
    _DISPATCHES(
        "GET",
        "/{feed}/{store}/{number}",
        "getDispatch",
        "One file, and what the tills refused of it",
        DispatchView,
        get_dispatch,
        errors=(NotFound,),
    ),
    _DISPATCHES(
        "GET",
        "/{feed}/{store}/{number}/content",
        "getDispatchContent",
        "The bytes of a file, the same however often it was written",
        DispatchContent,
        get_content,
        errors=(NotFound,),
    ),
    _DISPATCHES(
        "POST",
        "/{feed}/{store}/{number}/resend",
        "resendDispatch",
        "Without an answer: the same file once more. Answered: what was refused of it is told again with the next number",
        DispatchView,
        resend,
        errors=(NotFound, StateConflict),
    ),
    _DISPATCHES(
        "POST",
        "/{feed}/{store}/{number}/give-up",
        "giveUpDispatch",
        "Wait no longer for an answer: what the file says is told again with the next number",
        DispatchView,
        give_up,
        body=DispatchEnd,
        errors=(NotFound, StateConflict),
        example=DispatchEnd(reason="The store's server was replaced"),
    ),
)

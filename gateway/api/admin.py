"""What operators make a running gateway do: read its estate again, record what it exchanges with a system, tell what drifted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from adapters.recording import EXCHANGES, SECONDS, Captures, Recorded
from contracts.canonical.answers import NoParameters
from contracts.canonical.base import Key
from contracts.errors import NotFound, StateConflict, StoreUnavailable
from contracts.versions import HISTORY
from gateway.edge import reading
from gateway.edge.audit import Audit
from gateway.edge.endpoint import Control
from gateway.edge.identity.principal import Principal
from gateway.edge.peer import certificate_of
from gateway.edge.quota import Near, Quotas
from observability import current
from observability.console.data import DriftView

Admitted = Callable[[str, str, Mapping[str, str], bytes | None, str], Awaitable[Principal]]
"""See gateway.edge.door.Door.admitted."""
Handler = Callable[[Request[Any, Any, Any], str, Any], Awaitable[Response[Any]]]
"""Of a request, the client that asks, and its parameters."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a new estate. With `findings` the one before serves on."""

    applied: bool
    at: datetime
    generation: int
    """Of the estate that serves now; the first has 1."""
    findings: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """What has changed and waits for the next start."""


class RecordingParameters(msgspec.Struct, frozen=True):
    exchanges: Annotated[int, msgspec.Meta(ge=1, le=EXCHANGES)] = 100
    seconds: Annotated[int, msgspec.Meta(ge=1, le=int(SECONDS))] = 300


class RecordingEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a recording's stream."""

    exchanges: int
    missed: int
    """While the listener or the masking was too slow."""
    left_out: dict[str, int]
    """What cannot be masked, by reason."""


class QuotaParameters(msgspec.Struct, frozen=True):
    most: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 20


class QuotasTold(msgspec.Struct, frozen=True, kw_only=True):
    """Clients that this process has lately seen near a limit of theirs, those with least left first."""

    near: tuple[Near, ...]
    notices: tuple[str, ...] = ()


class Controls(Protocol):
    stop: asyncio.Event

    @property
    def generation(self) -> int: ...
    @property
    def last_reload(self) -> Reloaded | None: ...
    @property
    def captures(self) -> Captures: ...
    @property
    def recordable(self) -> frozenset[str]:
        """Systems that are called."""
        ...

    async def reload(self) -> Reloaded:
        """Calls that come together share one reading of the files, which begins after the last of them."""
        ...

    async def ready(self) -> dict[str, str]:
        """Raises StoreUnavailable. A refused estate is told and does not make the gateway unready: the one before serves."""
        ...

    def notices(self) -> Sequence[str]:
        """What an operator should know of the gateway itself, in sentences."""
        ...


CONTROLS: tuple[Control, ...] = (
    Control(
        method="POST",
        path="/admin/reload",
        name="reloadEstate",
        summary="Read the estate again; with findings the one before serves on",
        scope="admin:write",
        answer=Reloaded,
        parameters=NoParameters,
    ),
    Control(
        method="POST",
        path="/admin/recordings/{system}",
        name="recordSystem",
        summary='What is exchanged with a system as it happens, masked, one JSON line each; the last one is `{"ended": {…}}`',
        scope="admin:write",
        answer=Recorded,
        parameters=RecordingParameters,
        path_parameters={"system": Key},
        errors=(NotFound, StateConflict),
        media_type="application/jsonl",
    ),
    Control(
        method="GET",
        path="/admin/drift",
        name="listDrift",
        summary="What answers of systems hold and their contracts do not know",
        scope="admin:read",
        answer=tuple[DriftView, ...],
        parameters=NoParameters,
    ),
    Control(
        method="GET",
        path="/admin/quotas",
        name="listQuotas",
        summary="Clients that this process has lately seen near a limit of theirs",
        scope="admin:read",
        answer=QuotasTold,
        parameters=QuotaParameters,
    ),
)


def routes(
    controls: Controls, admitted: Admitted, drift: Callable[[], Sequence[DriftView]], quotas: Quotas, audit: Audit
) -> list[HTTPRouteHandler]:
    async def drifted(request: Request[Any, Any, Any], who: str, wanted: NoParameters) -> Response[Any]:
        return _json(drift())

    async def counted(request: Request[Any, Any, Any], who: str, wanted: QuotaParameters) -> Response[Any]:
        return _json(QuotasTold(near=tuple(quotas.near(wanted.most)), notices=tuple(quotas.notices())))

    async def reload(request: Request[Any, Any, Any], who: str, wanted: NoParameters) -> Response[Any]:
        await audit.changed(who, "estate.reload", "estate")  # first: what cannot be written down is not done
        told = await controls.reload()
        outcome = {"applied": "yes" if told.applied else "no", "generation": str(told.generation)}
        with suppress(StoreUnavailable):  # it is done, and whoever asked must hear of it
            findings = {"findings": str(len(told.findings))} if told.findings else {}
            await audit.changed(who, "estate.reloaded", "estate", outcome | findings)
        return _json(told)

    async def record(request: Request[Any, Any, Any], who: str, wanted: RecordingParameters) -> Response[Any]:
        """JSON lines as exchanges happen; the recording ends with its listener."""
        system = request.path_params["system"]
        if system not in controls.recordable:
            raise NotFound(what="system that is called", key=system[:100])
        most, seconds = wanted.exchanges, wanted.seconds
        if system in controls.captures.running:
            raise StateConflict(what="recording", key=system, state="running", why="somebody records this system already")
        if flight := current():
            flight.objective = seconds + 10
        await audit.changed(who, "recording.begun", system, {"exchanges": str(most), "seconds": str(seconds)})

        async def lines() -> AsyncIterator[bytes]:
            with controls.captures.begin(system, most, seconds) as capture:
                async for found in capture.exchanges(controls.stop):
                    yield b"".join(msgspec.json.encode(recorded) + b"\n" for recorded in found)
                ended = RecordingEnded(exchanges=capture.taken, missed=capture.missed, left_out=dict(capture.left_out))
            yield msgspec.json.encode({"ended": ended}) + b"\n"

        return Stream(lines(), media_type="application/jsonl", headers={"cache-control": "no-store"})

    def route(control: Control, handle: Handler) -> HTTPRouteHandler:
        async def answer(request: Request[Any, Any, Any]) -> Response[Any]:
            if flight := current():
                flight.name = control.route
            peer = request.client.host if request.client else ""
            principal = await admitted(control.route, control.scope, request.headers, certificate_of(request.scope), peer)
            wanted = reading.parameters(request.scope["query_string"], control.parameters, control.answer, HISTORY.newest.date, HISTORY)
            return await handle(request, principal.name, wanted)

        return HTTPRouteHandler(control.path.replace("}", ":str}"), http_method=[control.method], status_code=200)(answer)

    handlers: dict[str, Handler] = {"reloadEstate": reload, "recordSystem": record, "listDrift": drifted, "listQuotas": counted}
    return [route(control, handlers[control.name]) for control in CONTROLS]


def _json(value: Any) -> Response[Any]:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"cache-control": "no-store"})

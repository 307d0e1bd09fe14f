"""What operators make a running gateway do: read its estate again, record what it exchanges with a system, tell what drifted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from adapters.recording import EXCHANGES, SECONDS, Captures
from contracts.errors import InvalidRequest, NotFound, StateConflict
from gateway.edge.audit import Audit
from gateway.edge.identity.principal import Principal
from gateway.edge.peer import certificate_of
from gateway.edge.quota import Near, Quotas
from observability import current
from observability.console.data import DriftView

SCOPE = "admin:write"

Admitted = Callable[[str, str, Mapping[str, str], bytes | None, str], Awaitable[Principal]]
"""See gateway.edge.door.Door.admitted."""
Handler = Callable[[Request[Any, Any, Any], str], Awaitable[Response[Any]]]
"""Of a request and the client that asks."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a new estate. With `findings` the one before serves on."""

    applied: bool
    at: datetime
    generation: int
    """Of the estate that serves now; the first has 1."""
    findings: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """What has changed and waits for the next start."""


class RecordingEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a recording's stream."""

    exchanges: int
    missed: int
    """While the listener or the masking was too slow."""
    left_out: dict[str, int]
    """What cannot be masked, by reason."""


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


def routes(
    controls: Controls, admitted: Admitted, drift: Callable[[], Sequence[DriftView]], quotas: Quotas, audit: Audit
) -> list[HTTPRouteHandler]:
    async def drifted(request: Request[Any, Any, Any], who: str) -> Response[Any]:
        return Response(msgspec.json.encode(drift()), media_type="application/json", headers={"cache-control": "no-store"})

    async def counted(request: Request[Any, Any, Any], who: str) -> Response[Any]:
        told = QuotasTold(near=tuple(quotas.near(_number(request, "most", 20, 1_000))), notices=tuple(quotas.notices()))
        return Response(msgspec.json.encode(told), media_type="application/json", headers={"cache-control": "no-store"})

    async def reload(request: Request[Any, Any, Any], who: str) -> Response[Any]:
        await audit.changed(who, "estate.reload", "estate")  # first: what cannot be written down is not done
        return Response(msgspec.json.encode(await controls.reload()), media_type="application/json", headers={"cache-control": "no-store"})

    async def record(request: Request[Any, Any, Any], who: str) -> Response[Any]:
        """JSON lines as exchanges happen; the recording ends with its listener."""
        system = request.path_params["system"]
        if system not in controls.recordable:
            raise NotFound(what="system that is called", key=system[:100])
        most, seconds = _number(request, "exchanges", 100, EXCHANGES), _number(request, "seconds", 300, int(SECONDS))
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

    def route(path: str, handle: Handler, method: Literal["GET", "POST"] = "POST", scope: str = SCOPE) -> HTTPRouteHandler:
        async def answer(request: Request[Any, Any, Any]) -> Response[Any]:
            name = f"{method} {path.replace(':str', '')}"
            if flight := current():
                flight.name = name
            peer = request.client.host if request.client else ""
            principal = await admitted(name, scope, request.headers, certificate_of(request.scope), peer)
            return await handle(request, principal.name)

        return HTTPRouteHandler(path, http_method=[method], status_code=200)(answer)

    return [
        route("/admin/reload", reload),
        route("/admin/recordings/{system:str}", record),
        route("/admin/drift", drifted, "GET", "admin:read"),
        route("/admin/quotas", counted, "GET", "admin:read"),
    ]


def _number(request: Request[Any, Any, Any], name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= most):
        raise InvalidRequest(where=f"query:{name}", expected=f"1 to {most}", got=f"{text[:20]!r}")
    return int(text)

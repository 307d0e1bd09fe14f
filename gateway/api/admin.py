"""What operators make a running gateway do: read its estate again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from gateway.edge import auth
from observability import current

SCOPE = "admin:write"


class Reloaded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a new estate. With `findings` the one before serves on."""

    applied: bool
    at: datetime
    generation: int
    """Of the estate that serves now; the first has 1."""
    findings: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """What has changed and waits for the next start."""


class Controls(Protocol):
    @property
    def generation(self) -> int: ...
    @property
    def last_reload(self) -> Reloaded | None: ...

    async def reload(self) -> Reloaded:
        """Calls that come together share one reading of the files, which begins after the last of them."""
        ...

    async def ready(self) -> dict[str, str]:
        """Raises StoreUnavailable. A refused estate is told and does not make the gateway unready: the one before serves."""
        ...

    def notices(self) -> Sequence[str]:
        """What an operator should know of the gateway itself, in sentences."""
        ...


def routes(controls: Controls, authenticator: auth.Authenticator) -> list[HTTPRouteHandler]:
    async def reload(request: Request[Any, Any, Any]) -> Response[bytes]:
        if flight := current():
            flight.name = "POST /admin/reload"
        auth.require(await authenticator.client(request.headers.get("authorization")), SCOPE)
        return Response(msgspec.json.encode(await controls.reload()), media_type="application/json", headers={"cache-control": "no-store"})

    return [HTTPRouteHandler("/admin/reload", http_method=["POST"], status_code=200)(reload)]

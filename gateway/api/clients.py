"""The admin API: clients, their keys, and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from contracts.admin import (
    AuditLog,
    AuditParameters,
    ClientChange,
    Clients,
    ClientsParameters,
    ClientView,
    IssuedKey,
    NewClient,
    Prefix,
    Rotation,
)
from contracts.books import AuditEntry
from contracts.canonical.answers import NoParameters
from contracts.canonical.base import Key
from contracts.errors import InvalidCursor, KeyShownOnce, NotFound, StateConflict
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Link, Outcome
from gateway.edge.identity.principal import Principal
from gateway.services.clients import Actor, Desk
from gateway.services.services import Services


def _desk(ask: Ask[Any, Any], services: Services) -> Desk:
    return services.desk(actor(ask.client))


def actor(principal: Principal) -> Actor:
    return Actor(principal.name, principal.scopes, principal.stores)


async def list_clients(ask: Ask[ClientsParameters, None], services: Services) -> Outcome:
    after, limit = ask.parameters.cursor or "", ask.parameters.limit
    found = [client for client in await _desk(ask, services).list() if client.name > after]
    cursor = found[limit - 1].name if len(found) > limit else None
    return Outcome(Clients(items=tuple(found[:limit])), cursor=cursor)


async def get_client(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).show(ask.path["name"]))


async def add_client(ask: Ask[NoParameters, NewClient], services: Services) -> Outcome:
    return _issued(await _desk(ask, services).add(ask.body), f"/admin/clients/{ask.body.name}")


async def change_client(ask: Ask[NoParameters, ClientChange], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).change(ask.path["name"], ask.body))


async def rotate_client(ask: Ask[NoParameters, Rotation], services: Services) -> Outcome:
    return _issued(await _desk(ask, services).rotate(ask.path["name"], ask.body), None)


async def end_key(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).end_key(ask.path["name"], ask.path["prefix"]))


async def remove_client(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    desk = _desk(ask, services)
    removed = await desk.show(ask.path["name"])
    await desk.remove(removed.name)
    return Outcome(removed)


def _issued(issued: IssuedKey, location: str | None) -> Outcome:
    """A repeat learns that it happened, and never the key: that is stored nowhere."""
    return Outcome(issued, status=201, location=location, repeat=KeyShownOnce(client=issued.client.name, prefix=issued.prefix))


async def list_audit(ask: Ask[AuditParameters, None], services: Services) -> Outcome:
    wanted = ask.parameters
    found = await services.audit.read(wanted.limit + 1, since=wanted.since, client=wanted.client, before=behind(wanted.cursor))
    page = found[: wanted.limit]
    return Outcome(AuditLog(items=tuple(page)), cursor=cursor_behind(page[-1]) if len(found) > wanted.limit else None)


def cursor_behind(entry: AuditEntry) -> str:
    """Where the next page of the audit log begins; fit for a URL as it is."""
    return f"{entry.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z~{entry.id}"


def behind(position: str | None) -> tuple[datetime, str] | None:
    """Raises InvalidCursor."""
    if position is None:
        return None
    moment, _, entry = position.partition("~")
    try:
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError(moment)
    except ValueError as exc:
        raise InvalidCursor(got="one that names no entry") from exc
    return at, entry


_NAMED: dict[str, Any] = {"path_parameters": {"name": Key}, "tag": "Clients", "scope": "admin:write"}
_SHOW = Link("getClient", {"name": "$response.body#/client/name"})

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/admin/clients",
        name="listClients",
        summary="Clients by name, with the prefixes of their keys",
        scope="admin:read",
        answer=Clients,
        handle=list_clients,
        parameters=ClientsParameters,
        tag="Clients",
    ),
    Endpoint(
        method="POST",
        path="/admin/clients",
        name="addClient",
        summary="A further client and its first key, which is shown in this answer only",
        scope="admin:write",
        answer=IssuedKey,
        handle=add_client,
        parameters=NoParameters,
        body=NewClient,
        statuses=(201,),
        errors=(StateConflict, KeyShownOnce),
        idempotent_key=True,
        tag="Clients",
        example=NewClient(name="shop-app", channel="mobile", scopes=("catalogue:read", "inventory:read")),
        links=(_SHOW,),
    ),
    Endpoint(
        method="GET",
        path="/admin/clients/{name}",
        name="getClient",
        summary="One client",
        answer=ClientView,
        handle=get_client,
        parameters=NoParameters,
        errors=(NotFound,),
        **{**_NAMED, "scope": "admin:read"},
    ),
    Endpoint(
        method="POST",
        path="/admin/clients/{name}",
        name="changeClient",
        summary="Other scopes, stores, quota or version; suspend or resume. What is left out stays",
        answer=ClientView,
        handle=change_client,
        parameters=NoParameters,
        body=ClientChange,
        errors=(NotFound, StateConflict),
        idempotent_key=True,
        example=ClientChange(suspended=True),
        **_NAMED,
    ),
    Endpoint(
        method="DELETE",
        path="/admin/clients/{name}",
        name="removeClient",
        summary="Remove a client with its keys and its stored answers; what it ordered stays",
        answer=ClientView,
        handle=remove_client,
        parameters=NoParameters,
        errors=(NotFound, StateConflict),
        idempotent_key=True,
        **_NAMED,
    ),
    Endpoint(
        method="POST",
        path="/admin/clients/{name}/keys",
        name="rotateClient",
        summary="A new key, which is shown in this answer only; older ones end after the overlap",
        answer=IssuedKey,
        handle=rotate_client,
        parameters=NoParameters,
        body=Rotation,
        statuses=(201,),
        errors=(NotFound, KeyShownOnce),
        idempotent_key=True,
        example=Rotation(overlap_hours=24),
        links=(_SHOW,),
        **_NAMED,
    ),
    Endpoint(
        method="DELETE",
        path="/admin/clients/{name}/keys/{prefix}",
        name="endKey",
        summary="End one key now",
        answer=ClientView,
        handle=end_key,
        parameters=NoParameters,
        errors=(NotFound, StateConflict),
        idempotent_key=True,
        **{**_NAMED, "path_parameters": {"name": Key, "prefix": Prefix}},
    ),
    Endpoint(
        method="GET",
        path="/admin/audit",
        name="listAudit",
        summary="Who changed what and who was denied, newest first",
        scope="admin:read",
        answer=AuditLog,
        handle=list_audit,
        parameters=AuditParameters,
        tag="Audit",
    ),
)

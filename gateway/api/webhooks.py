"""The admin API of webhooks: receivers of events over HTTP, their secrets, and what could not be delivered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from contracts.canonical.answers import NoParameters
from contracts.errors import InvalidRequest, NotFound, SecretShownOnce, StateConflict
from contracts.webhooks import (
    DeadLetters,
    IssuedSecret,
    Name,
    NewWebhook,
    Replay,
    Replayed,
    Resend,
    SecretRotation,
    WebhookChange,
    Webhooks,
    WebhooksParameters,
    WebhookTested,
    WebhookView,
)
from gateway.api.clients import actor
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Link, Outcome
from gateway.services.services import Services
from gateway.services.webhooks import WebhookDesk


def _desk(ask: Ask[Any, Any], services: Services) -> WebhookDesk:
    return services.webhooks(actor(ask.client))


async def list_webhooks(ask: Ask[WebhooksParameters, None], services: Services) -> Outcome:
    after, limit = ask.parameters.cursor or "", ask.parameters.limit
    found = [webhook for webhook in await _desk(ask, services).list() if webhook.name > after]
    return Outcome(Webhooks(items=tuple(found[:limit])), cursor=found[limit - 1].name if len(found) > limit else None)


async def get_webhook(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).show(ask.path["name"]))


async def add_webhook(ask: Ask[NoParameters, NewWebhook], services: Services) -> Outcome:
    return _issued(await _desk(ask, services).add(ask.body), f"/admin/webhooks/{ask.body.name}")


async def change_webhook(ask: Ask[NoParameters, WebhookChange], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).change(ask.path["name"], ask.body))


async def rotate_webhook(ask: Ask[NoParameters, SecretRotation], services: Services) -> Outcome:
    return _issued(await _desk(ask, services).rotate(ask.path["name"], ask.body), None)


async def test_webhook(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).test(ask.path["name"]))


async def remove_webhook(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    desk = _desk(ask, services)
    removed = await desk.show(ask.path["name"])
    await desk.remove(removed.name)
    return Outcome(removed)


async def list_dead_letters(ask: Ask[WebhooksParameters, None], services: Services) -> Outcome:
    limit = ask.parameters.limit
    found = await _desk(ask, services).dead(ask.path["name"], _behind(ask.parameters.cursor), limit + 1)
    return Outcome(DeadLetters(items=tuple(found[:limit])), cursor=str(found[limit - 1].position) if len(found) > limit else None)


async def replay_dead_letters(ask: Ask[NoParameters, Replay], services: Services) -> Outcome:
    return Outcome(Replayed(queued=await _desk(ask, services).replay(ask.path["name"], ask.body.positions)))


async def resend_events(ask: Ask[NoParameters, Resend], services: Services) -> Outcome:
    return Outcome(Replayed(queued=await _desk(ask, services).resend(ask.path["name"], ask.body)))


def _behind(cursor: str | None) -> int:
    """Raises InvalidRequest."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 17):
        raise InvalidRequest(where="query:cursor", expected="a cursor from a Link header", got="one that names no dead letter")
    return int(cursor or 0)


def _issued(issued: IssuedSecret, location: str | None) -> Outcome:
    """A repeat learns that it happened, and not the secret."""
    return Outcome(issued, status=201, location=location, repeat=SecretShownOnce(webhook=issued.webhook.name))


_NAMED: dict[str, Any] = {"path_parameters": {"name": Name}, "tag": "Webhooks", "scope": "admin:write", "parameters": NoParameters}
_SHOW = Link("getWebhook", {"name": "$response.body#/webhook/name"})

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/admin/webhooks",
        name="listWebhooks",
        summary="Receivers of events by name, and how each gets on",
        scope="admin:read",
        answer=Webhooks,
        handle=list_webhooks,
        parameters=WebhooksParameters,
        tag="Webhooks",
    ),
    Endpoint(
        method="POST",
        path="/admin/webhooks",
        name="addWebhook",
        summary="A further receiver and its first secret, which is shown in this answer only",
        scope="admin:write",
        answer=IssuedSecret,
        handle=add_webhook,
        parameters=NoParameters,
        body=NewWebhook,
        statuses=(201,),
        errors=(StateConflict, SecretShownOnce),
        idempotent_key=True,
        tag="Webhooks",
        example=NewWebhook(name="shop-orders", url="https://shop.example.com/hooks/tillgate", types=("io.tillgate.order.",)),
        links=(_SHOW,),
    ),
    Endpoint(
        method="GET",
        path="/admin/webhooks/{name}",
        name="getWebhook",
        summary="One receiver",
        answer=WebhookView,
        handle=get_webhook,
        errors=(NotFound,),
        **{**_NAMED, "scope": "admin:read"},
    ),
    Endpoint(
        method="POST",
        path="/admin/webhooks/{name}",
        name="changeWebhook",
        summary="Another URL, other event types or version; suspend or resume. What is left out stays",
        answer=WebhookView,
        handle=change_webhook,
        body=WebhookChange,
        errors=(NotFound, StateConflict),
        idempotent_key=True,
        example=WebhookChange(suspended=True),
        **_NAMED,
    ),
    Endpoint(
        method="DELETE",
        path="/admin/webhooks/{name}",
        name="removeWebhook",
        summary="Remove a receiver with all that waits for it",
        answer=WebhookView,
        handle=remove_webhook,
        errors=(NotFound,),
        idempotent_key=True,
        **_NAMED,
    ),
    Endpoint(
        method="POST",
        path="/admin/webhooks/{name}/secrets",
        name="rotateWebhook",
        summary="A new secret, which is shown in this answer only; deliveries are signed with older ones too until the overlap is over",
        answer=IssuedSecret,
        handle=rotate_webhook,
        body=SecretRotation,
        statuses=(201,),
        errors=(NotFound, StateConflict, SecretShownOnce),
        idempotent_key=True,
        example=SecretRotation(overlap_hours=24),
        links=(_SHOW,),
        **_NAMED,
    ),
    Endpoint(
        method="POST",
        path="/admin/webhooks/{name}/test",
        name="testWebhook",
        summary="Send one event now, past the queue, and tell what came of it",
        answer=WebhookTested,
        handle=test_webhook,
        errors=(NotFound,),
        idempotent_key=True,
        **_NAMED,
    ),
    Endpoint(
        method="GET",
        path="/admin/webhooks/{name}/dead-letters",
        name="listDeadLetters",
        summary="Events that could not be delivered, oldest first",
        answer=DeadLetters,
        handle=list_dead_letters,
        errors=(NotFound,),
        **{**_NAMED, "scope": "admin:read", "parameters": WebhooksParameters},
    ),
    Endpoint(
        method="POST",
        path="/admin/webhooks/{name}/replay",
        name="replayDeadLetters",
        summary="Queue dead letters again: those that are named, or all",
        answer=Replayed,
        handle=replay_dead_letters,
        body=Replay,
        errors=(NotFound,),
        idempotent_key=True,
        example=Replay(),
        **_NAMED,
    ),
    Endpoint(
        method="POST",
        path="/admin/webhooks/{name}/resend",
        name="resendEvents",
        summary="Queue events of a time again, delivered or missed, as far as they are kept",
        answer=Replayed,
        handle=resend_events,
        body=Resend,
        errors=(NotFound,),
        idempotent_key=True,
        example=Resend(since=datetime(2026, 11, 20, 8, tzinfo=UTC)),
        **_NAMED,
    ),
)

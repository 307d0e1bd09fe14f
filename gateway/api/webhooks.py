"""The admin API of webhooks: receivers of events over HTTP, their secrets, and what could not be delivered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from contracts.canonical.answers import NoParameters
from contracts.errors import InvalidCursor, NotFound, SecretShownOnce, StateConflict
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
from gateway.edge.endpoint import AnyEndpoint, Ask, Link, Outcome, Subject
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
    """Raises InvalidCursor."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 17):
        raise InvalidCursor(got="one that names no dead letter")
    return int(cursor or 0)


def _issued(issued: IssuedSecret, location: str | None) -> Outcome:
    """A repeat learns that it happened, and not the secret."""
    return Outcome(issued, status=201, location=location, repeat=SecretShownOnce(webhook=issued.webhook.name))


_HOOKS = Subject("Webhooks", "/admin/webhooks", {"name": Name})
_SHOW = Link("getWebhook", {"name": "$response.body#/webhook/name"})

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    _HOOKS(
        "GET",
        "",
        "listWebhooks",
        "Receivers of events by name, and how each gets on",
        Webhooks,
        list_webhooks,
        parameters=WebhooksParameters,
    ),
    _HOOKS(
        "POST",
        "",
        "addWebhook",
        "A further receiver and its first secret, which is shown in this answer only",
        IssuedSecret,
        add_webhook,
        body=NewWebhook,
        statuses=(201,),
        errors=(StateConflict, SecretShownOnce),
        example=NewWebhook(name="shop-orders", url="https://shop.example.com/hooks/tillgate", types=("io.tillgate.order.",)),
        links=(_SHOW,),
    ),
    _HOOKS("GET", "/{name}", "getWebhook", "One receiver", WebhookView, get_webhook, errors=(NotFound,)),
    _HOOKS(
        "POST",
        "/{name}",
        "changeWebhook",
        "Another URL, other event types or version; suspend or resume. What is left out stays",
        WebhookView,
        change_webhook,
        body=WebhookChange,
        errors=(NotFound, StateConflict),
        example=WebhookChange(suspended=True),
    ),
    _HOOKS(
        "DELETE",
        "/{name}",
        "removeWebhook",
        "Remove a receiver with all that waits for it",
        WebhookView,
        remove_webhook,
        errors=(NotFound,),
    ),
    _HOOKS(
        "POST",
        "/{name}/secrets",
        "rotateWebhook",
        "A new secret, which is shown in this answer only; deliveries are signed with older ones too until the overlap is over",
        IssuedSecret,
        rotate_webhook,
        body=SecretRotation,
        statuses=(201,),
        errors=(NotFound, StateConflict, SecretShownOnce),
        example=SecretRotation(overlap_hours=24),
        links=(_SHOW,),
    ),
    _HOOKS(
        "POST",
        "/{name}/test",
        "testWebhook",
        "Send one event now, past the queue, and tell what came of it",
        WebhookTested,
        test_webhook,
        errors=(NotFound,),
    ),
    _HOOKS(
        "GET",
        "/{name}/dead-letters",
        "listDeadLetters",
        "Events that could not be delivered, oldest first",
        DeadLetters,
        list_dead_letters,
        parameters=WebhooksParameters,
        errors=(NotFound,),
    ),
    _HOOKS(
        "POST",
        "/{name}/replay",
        "replayDeadLetters",
        "Queue dead letters again: those that are named, or all",
        Replayed,
        replay_dead_letters,
        body=Replay,
        errors=(NotFound,),
        example=Replay(),
    ),
    _HOOKS(
        "POST",
        "/{name}/resend",
        "resendEvents",
        "Queue events of a time again, delivered or missed, as far as they are kept",
        Replayed,
        resend_events,
        body=Resend,
        errors=(NotFound,),
        example=Resend(since=datetime(2026, 11, 20, 8, tzinfo=UTC)),
    ),
)

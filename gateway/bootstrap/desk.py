"""Where clients and webhooks are looked after, built for whoever asks: an operator's request, or the command line."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.books import Books, ClientBook
from contracts.ports import WebhookSender
from contracts.versions import HISTORY
from gateway.bootstrap.foundation import open_books, open_webhooks, pepper, source_of
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.estate import Estate, read
from gateway.services.clients import Actor, ClientDesk, Offer
from gateway.services.clock import Now, utc_now
from gateway.services.webhooks import WebhookDesk


def client_desk(books: ClientBook, secret: bytes, estate: Estate, actor: Actor, now: Now = utc_now) -> ClientDesk:
    """`secret`: in the hashes of API keys."""
    offer = Offer(tuple(SCOPES), tuple(estate.channel), tuple(estate.quota), tuple(v.date for v in HISTORY.versions))
    return ClientDesk(books, offer, lambda name, ends: new_key(name, secret, ends), actor, now)


def webhook_desk(books: Books, secret: bytes, sender: WebhookSender, source: str, actor: Actor, now: Now = utc_now) -> WebhookDesk:
    """`secret`: of which those of receivers are made."""
    return WebhookDesk(books.webhooks, books.audit, sender, secret, tuple(v.date for v in HISTORY.versions), source, actor, now)


@asynccontextmanager
async def open_webhook_desk(
    root: Path, data: Path, actor: Actor, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[WebhookDesk]:
    """For commands."""
    estate, _ = read(root)
    sender = await open_webhooks(estate.webhooks, environment)
    try:
        async with open_books(root, data, environment) as books:
            yield webhook_desk(books, await pepper(books), sender, source_of(estate), actor)
    finally:
        await sender.close()

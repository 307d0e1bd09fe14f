"""Receivers of events over HTTP: one set of rules for the command line and the admin API. Every change is in the audit log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from contracts.books import AuditBook, AuditEntry, Webhook, WebhookBook, WebhookSecret, WebhookState
from contracts.errors import Forbidden, InvalidBody, NotFound, UpstreamError
from contracts.events import DATA, Event
from contracts.ports import WebhookSender
from contracts.suggestion import nearest
from contracts.webhooks import (
    DeadLetter,
    IssuedSecret,
    NewWebhook,
    Resend,
    SecretRotation,
    SecretView,
    WebhookChange,
    WebhookTested,
    WebhookView,
)
from gateway.services.clients import Actor
from gateway.services.clock import Now, new_id
from gateway.services.trail import entry_of, tell

TEST = "io.tillgate.webhook.test.v1"
MOST_WEBHOOKS = 100
MOST_RESENT = 10_000
"""Events that are queued again at once."""
BY_HAND = "by hand"
_NEW = WebhookState(0, 0, 0, 0, 0, "", None, None)


def secret_of(gateway: bytes, name: str, secret: WebhookSecret) -> bytes:
    """32 bytes that only who knows the gateway's own secret can make again."""
    return hmac.digest(gateway, f"webhook\n{name}\n{secret.mark}".encode(), hashlib.sha256)


def valid(webhook: Webhook, now: datetime) -> list[WebhookSecret]:
    return [s for s in webhook.secrets if s.ends_at is None or s.ends_at > now]


class WebhookDesk:
    """For one actor."""

    def __init__(
        self,
        book: WebhookBook,
        audit: AuditBook,
        sender: WebhookSender,
        gateway: bytes,
        versions: Sequence[str],
        source: str,
        actor: Actor,
        now: Now,
    ) -> None:
        """`versions` newest first; `source` of events; `gateway`: its own secret, of which those of receivers are made."""
        self._book, self._audit, self._sender, self._gateway, self._versions = book, audit, sender, gateway, tuple(versions)
        self._source, self._actor, self._now = source, actor, now

    async def list(self) -> Sequence[WebhookView]:
        """By name."""
        states = await self._book.states()
        return [self._view(webhook, states.get(webhook.name, _NEW)) for webhook in await self._book.list()]

    async def show(self, name: str) -> WebhookView:
        """Raises NotFound."""
        return self._view(await self._existing(name), (await self._book.states()).get(name, _NEW))

    async def add(self, wanted: NewWebhook) -> IssuedSecret:
        """Raises InvalidBody, Forbidden, StateConflict."""
        self._may()
        secret = self._new_secret()
        webhook = Webhook(
            name=wanted.name,
            url=wanted.url,
            types=tuple(dict.fromkeys(wanted.types)),
            api_version=wanted.api_version or self._versions[0],
            secrets=(secret,),
            created_at=self._now(),
        )
        self._fits(webhook)
        entry = self._entry("webhook.added", webhook.name, _told(webhook))
        await self._book.create(webhook, MOST_WEBHOOKS, [entry])
        tell(entry)
        return await self._issued(webhook.name, secret)

    async def change(self, name: str, change: WebhookChange) -> WebhookView:
        """Raises NotFound, InvalidBody, Forbidden, StateConflict."""
        self._may()
        before = await self._existing(name)
        wanted = {f: value for f in ("url", "types", "api_version") if (value := getattr(change, f)) is not None}
        if change.suspended is not None:
            wanted["suspended"] = (before.suspended or BY_HAND) if change.suspended else ""
        after = msgspec.structs.replace(before, **wanted)
        self._fits(after)
        if after != before:
            was = _told(before)
            detail = {k: f"{was[k]} -> {new}" for k, new in _told(after).items() if was[k] != new}
            entry = self._entry("webhook.changed", name, detail)
            await self._book.change(before, after, [entry])
            tell(entry)
        return await self.show(name)

    async def rotate(self, name: str, rotation: SecretRotation) -> IssuedSecret:
        """A further secret; older ones sign on until the overlap is over. Raises NotFound, Forbidden, StateConflict."""
        self._may()
        before, now = await self._existing(name), self._now()
        secret, end = self._new_secret(), now + timedelta(hours=rotation.overlap_hours)
        older = [msgspec.structs.replace(s, ends_at=end if s.ends_at is None or s.ends_at > end else s.ends_at) for s in valid(before, now)]
        after = msgspec.structs.replace(before, secrets=(secret, *older[:4]))
        entry = self._entry("webhook.secret_added", name, {"overlap": f"{rotation.overlap_hours} h"})
        await self._book.change(before, after, [entry])
        tell(entry)
        return await self._issued(name, secret)

    async def test(self, name: str) -> WebhookTested:
        """Sends one event now, past the queue. Raises NotFound, Forbidden."""
        self._may()
        webhook, now = await self._existing(name), self._now()
        event = Event(id=new_id("evt"), source=self._source, type=TEST, time=now, subject=f"webhooks/{name}", data={})
        entry = self._entry("webhook.tested", name, {})
        await self._audit.add([entry])
        tell(entry)
        began = time.monotonic()
        keys = [secret_of(self._gateway, name, s) for s in valid(webhook, now)]
        status: int | None = None
        try:
            status = (await self._sender.send(name, webhook.url, event, keys, now)).status
            good = 200 <= status < 300
            reason = "" if good else f"answered {status}, only 2xx counts"
        except UpstreamError as error:
            good, reason = False, str(error)[:500]
        took = round((time.monotonic() - began) * 1000)
        return WebhookTested(delivered=good, status=status, reason=reason, milliseconds=took)

    async def remove(self, name: str) -> None:
        """Raises NotFound, Forbidden."""
        self._may()
        entry = self._entry("webhook.removed", name, _told(await self._existing(name)))
        await self._book.remove(name, [entry])
        tell(entry)

    async def dead(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        """Raises NotFound, Forbidden."""
        self._may()
        await self._existing(name)
        return [
            DeadLetter(
                position=d.position,
                id=d.event.id,
                type=d.event.type,
                subject=d.event.subject,
                queued_at=d.at,
                attempts=d.attempts,
                reason=d.error,
            )
            for d in await self._book.dead(name, after, limit)
        ]

    async def replay(self, name: str, positions: Sequence[int]) -> int:
        """Queues dead letters again, none named: all. Raises NotFound, Forbidden."""
        self._may()
        await self._existing(name)
        named = " ".join(map(str, positions[:20])) + (" …" if len(positions) > 20 else "")
        entry = self._entry("webhook.replayed", name, {"dead letters": named or "all"})
        queued = await self._book.replay(name, positions or None, self._now(), [entry])
        tell(entry)
        return queued

    async def resend(self, name: str, wanted: Resend) -> int:
        """Queues again what is kept of a time, whether it was delivered or missed. Raises NotFound, Forbidden, InvalidBody."""
        self._may()
        webhook, now = await self._existing(name), self._now()
        until = wanted.until or now
        if wanted.since >= until:
            raise InvalidBody(where="/since", expected="a moment before the end of the time", got=wanted.since.isoformat())
        entry = self._entry("webhook.resent", name, {"since": wanted.since.isoformat(), "until": until.isoformat()})
        queued = await self._book.resend(webhook, wanted.since, until, MOST_RESENT, now, [entry])
        tell(entry)
        return queued

    # ---- rules

    def _may(self) -> None:
        """Raises Forbidden: a receiver is told of all stores."""
        if self._actor.stores:
            raise Forbidden(reason=f"{self._actor.name!r} is bound to stores, and webhooks tell of all of them")

    def _fits(self, webhook: Webhook) -> None:
        if reason := self._sender.refusal(webhook.url):
            raise InvalidBody(where="/url", expected="where a receiver may be", got=reason)
        for at, prefix in enumerate(webhook.types):
            if not any(kind.startswith(prefix) for kind in DATA):
                raise InvalidBody(
                    where=f"/types/{at}", expected="the beginning of an event type", got=f"{prefix!r}; {nearest(prefix, DATA)}"
                )
        if webhook.api_version not in self._versions:
            known = f"one of {', '.join(self._versions)}"
            raise InvalidBody(
                where="/apiVersion", expected=known, got=f"{webhook.api_version!r}; {nearest(webhook.api_version, self._versions)}"
            )

    def _new_secret(self) -> WebhookSecret:
        return WebhookSecret(mark=secrets.token_hex(16), created_at=self._now())

    async def _issued(self, name: str, secret: WebhookSecret) -> IssuedSecret:
        shown = "whsec_" + base64.b64encode(secret_of(self._gateway, name, secret)).decode()
        return IssuedSecret(webhook=await self.show(name), secret=shown)

    async def _existing(self, name: str) -> Webhook:
        for webhook in await self._book.list():
            if webhook.name == name:
                return webhook
        raise NotFound(what="webhook", key=name)

    def _entry(self, what: str, name: str, detail: Mapping[str, str]) -> AuditEntry:
        return entry_of(self._now, self._actor.name, what, name, detail)

    def _view(self, webhook: Webhook, state: WebhookState) -> WebhookView:
        failing = bool(state.failures)
        return WebhookView(
            name=webhook.name,
            url=_shown(webhook.url),
            types=webhook.types,
            api_version=webhook.api_version,
            state="suspended" if webhook.suspended else "failing" if failing else "active",
            reason=webhook.suspended or state.error,
            created_at=webhook.created_at,
            secrets=tuple(SecretView(created_at=s.created_at, ends_at=s.ends_at) for s in valid(webhook, self._now())),
            waiting=state.waiting,
            dead=state.dead,
            delivered=state.delivered,
            missed=state.missed,
            delivered_at=state.delivered_at,
            tried_again_at=state.ready_at if failing else None,
        )


def _told(webhook: Webhook) -> dict[str, str]:
    """For the audit log."""
    return {
        "url": _shown(webhook.url),
        "types": " ".join(webhook.types),
        "version": webhook.api_version,
        "suspended": webhook.suspended or "no",
    }


def _shown(url: str) -> str:
    """A URL's query may hold what is secret: that there is one is all that is told."""
    address, query, _ = url.partition("?")
    return f"{address}?•••" if query else address

"""One event to one receiver: signed as Standard Webhooks asks, sent once, its answer bounded and not believed in more than its status."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from ssl import SSLContext

from adapters.webhook.client import Addresses, Connections, origin_of
from adapters.webhook.spec import WebhookOptions
from contracts.events import Event
from contracts.ports import Answered
from observability import Step, step

CONTENT_TYPE = "application/cloudevents+json"


def message_id(event: Event) -> str:
    """The same for each repeat. Of letters and digits, since `.` separates what is signed."""
    return "msg_" + hashlib.sha256(f"{event.source}\n{event.id}".encode()).hexdigest()[:32]


def signatures(secrets: Sequence[bytes], identity: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature`, one for each secret (https://www.standardwebhooks.com)."""
    signed = f"{identity}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)


class HttpWebhooks:
    """Fulfils `contracts.ports.WebhookSender`."""

    def __init__(self, options: WebhookOptions, tls: SSLContext | None = None) -> None:
        self._limit = float(options.limit)
        self._addresses = Addresses(options.declared)
        self._connections = Connections(options, tls, self._addresses.socket)

    async def close(self) -> None:
        await self._connections.close()

    def refusal(self, url: str) -> str:
        return self._addresses.refusal(url)

    async def send(self, name: str, url: str, event: Event, secrets: Sequence[bytes], at: datetime) -> Answered:
        _, origin, path = origin_of(url)
        wire = await self._connections.to(name, origin)
        identity, timestamp, body = message_id(event), int(at.timestamp()), event.encode()
        headers = {
            "content-type": CONTENT_TYPE,
            "webhook-id": identity,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(secrets, identity, timestamp, body),
        }
        with step(Step.PUBLISH, system="webhook", operation=name, message_id=event.id[:200], event_type=event.type) as hop:
            answer = await wire.exchange("deliver", "POST", path, headers, body, self._limit, cut=True)
            if not 200 <= answer.status < 300:
                hop.degraded(str(answer.status))
        return Answered(answer.status, answer.retry_after)

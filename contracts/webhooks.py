"""What operators send and get about receivers of events over HTTP: nouns of the admin API, which channels never meet."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.answers import Cursor
from contracts.canonical.base import Instant, Noun

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{2,64}$(?!\n)", examples=["shop-orders"])]
Url = Annotated[str, Meta(min_length=8, max_length=2000, examples=["https://shop.example.com/hooks/tillgate"])]
Types = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
    Meta(min_length=1, max_length=20, description="Prefixes of event types: `io.tillgate.order.`, or a whole type"),
]
Position = Annotated[int, Meta(ge=0, lt=2**53)]
Count = Annotated[int, Meta(ge=0)]


class NewWebhook(Noun, frozen=True, kw_only=True):
    name: Name
    url: Url
    types: Types = ("io.tillgate.",)
    api_version: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """In whose shapes it gets events; the newest if left out."""


class WebhookChange(Noun, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    url: Url | None = None
    types: Types | None = None
    api_version: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    suspended: bool | None = None


class SecretRotation(Noun, frozen=True, kw_only=True):
    overlap_hours: Annotated[int, Meta(ge=0, le=8760, description="How long deliveries are signed with older secrets too")] = 24


class SecretView(Noun, frozen=True, kw_only=True):
    """Of a secret that is never shown again."""

    created_at: Instant
    ends_at: Instant | None = None


class WebhookView(Noun, frozen=True, kw_only=True):
    name: str
    url: str
    types: tuple[str, ...]
    api_version: str
    state: Literal["active", "failing", "suspended"]
    reason: str = ""
    """Why it is suspended, or what its last failure was."""
    created_at: Instant
    secrets: tuple[SecretView, ...]
    waiting: Count
    dead: Count
    """Events that it refused too often, or that grew too old: kept, to be replayed by a person."""
    delivered: Count
    missed: Count
    """Events that found its queue full, or waited too long."""
    delivered_at: Instant | None = None
    tried_again_at: Instant | None = None


class IssuedSecret(Noun, frozen=True, kw_only=True):
    """The only answer that ever holds the secret."""

    webhook: WebhookView
    secret: str


class Webhooks(Noun, frozen=True, kw_only=True):
    items: tuple[WebhookView, ...]


class WebhooksParameters(Noun, frozen=True, kw_only=True):
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class WebhookTested(Noun, frozen=True, kw_only=True):
    """What came of one event of the type `io.tillgate.webhook.test.v1`, sent now."""

    delivered: bool
    status: int | None = None
    """Of HTTP; none if there was no answer."""
    reason: str = ""
    milliseconds: Count


class DeadLetter(Noun, frozen=True, kw_only=True):
    position: Position
    id: str
    type: str
    subject: str
    queued_at: Instant
    attempts: Count
    reason: str


class DeadLetters(Noun, frozen=True, kw_only=True):
    items: tuple[DeadLetter, ...]


class Replay(Noun, frozen=True, kw_only=True):
    positions: Annotated[tuple[Position, ...], Meta(max_length=1000, description="Empty: all dead letters")] = ()


class Resend(Noun, frozen=True, kw_only=True):
    """What happened in this time, of the receiver's types and as far as it is kept, delivered before or missed."""

    since: Instant
    until: Annotated[Instant, Meta(description="What happened before; without it all until now")] | None = None


class Replayed(Noun, frozen=True, kw_only=True):
    queued: Count

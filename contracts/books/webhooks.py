"""Receivers of events over HTTP, and what each of them has still to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.books.audit import AuditEntry
from contracts.canonical.base import Noun
from contracts.events import Event


class WebhookSecret(Noun, frozen=True, kw_only=True):
    """One of the secrets that deliveries are signed with: it is made from this mark and the gateway's own secret, and stored nowhere."""

    mark: str
    created_at: datetime
    ends_at: datetime | None = None


class Webhook(Noun, frozen=True, kw_only=True):
    name: str
    url: str
    types: tuple[str, ...]
    """Prefixes of event types."""
    api_version: str
    """In whose shapes it gets events."""
    secrets: tuple[WebhookSecret, ...]
    """Newest first."""
    created_at: datetime
    suspended: str = ""
    """Why nothing is sent to it; empty: it is served."""


@dataclass(frozen=True)
class WebhookState:
    """How a receiver gets on."""

    waiting: int
    dead: int
    delivered: int
    missed: int
    """Events that found its queue full."""
    failures: int
    """In a row, of the receiver as a whole."""
    error: str
    delivered_at: datetime | None
    ready_at: datetime | None
    """It is left alone until then."""


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one receiver, or a dead letter."""

    position: int
    event: Event
    at: datetime
    """When it was queued."""
    attempts: int
    refusals: int
    """Attempts that failed because of the event, not of the receiver."""
    error: str = ""


@dataclass(frozen=True)
class Failure:
    position: int
    error: str
    retry_at: datetime | None
    """None: a dead letter."""
    refused: bool = False


class WebhookBook(Protocol):
    """A change by a person and the entries that tell of it are one commit."""

    async def list(self) -> Sequence[Webhook]: ...

    async def states(self) -> Mapping[str, WebhookState]: ...

    async def create(self, webhook: Webhook, most: int, entries: Sequence[AuditEntry]) -> None:
        """Raises StateConflict when there is one of this name, or `most` of them."""
        ...

    async def change(self, before: Webhook, after: Webhook, entries: Sequence[AuditEntry]) -> None:
        """Raises NotFound, and StateConflict when it is no longer as it was. A receiver that is served again is tried at once."""
        ...

    async def remove(self, name: str, entries: Sequence[AuditEntry]) -> None:
        """With all that waits for it. Raises NotFound."""
        ...

    async def offer(self, positions: Mapping[str, Sequence[tuple[int, str]]], now: datetime, most: int) -> None:
        """By receiver: positions and subjects of the outbox. What a queue of `most` has no room for is counted as missed; what is known is
        not queued twice.
        """
        ...

    async def due(self, name: str, now: datetime, lease: float, limit: int) -> Sequence[Delivery]:
        """Leases what is next, at most one of each subject, and only one at all while the receiver fails."""
        ...

    async def settle(
        self, name: str, delivered: Sequence[int], failed: Sequence[Failure], now: datetime, pause: tuple[datetime, str] | None
    ) -> None:
        """`pause`: the receiver as a whole fails, until when it is left alone, and why."""
        ...

    async def dead(self, name: str, after: int, limit: int) -> Sequence[Delivery]:
        """Dead letters in the order of their positions, behind `after`."""
        ...

    async def replay(self, name: str, positions: Sequence[int] | None, now: datetime, entries: Sequence[AuditEntry]) -> int:
        """Queues dead letters again (None: all). Returns how many."""
        ...

    async def resend(
        self, webhook: Webhook, since: datetime, until: datetime, most: int, now: datetime, entries: Sequence[AuditEntry]
    ) -> int:
        """Queues events of the receiver's types again that happened since, before `until`, and are kept still; not those that wait, or are
        dead letters. Returns how many. Raises NotFound, and InvalidBody when they are more than `most`."""
        ...

    async def purge(self, before: datetime) -> int:
        """What was queued before, dead letters included."""
        ...

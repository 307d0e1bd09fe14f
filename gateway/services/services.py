"""The use cases that routes may call, built once by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.adoption import VersionsView
from contracts.books import AuditEntry, Books
from gateway.services.availability import AvailabilityReader
from gateway.services.catalogue import Catalogue
from gateway.services.clients import Actor, Desk
from gateway.services.dispatches import DispatchDesk
from gateway.services.incidents import Detective
from gateway.services.intake.review import FileDesk
from gateway.services.orders import Orders
from gateway.services.reservations import Reservations
from gateway.services.webhooks import WebhookDesk


class AuditReader(Protocol):
    async def read(
        self, limit: int, *, since: datetime | None = None, client: str | None = None, before: tuple[datetime, str] | None = None
    ) -> Sequence[AuditEntry]:
        """Newest first, from behind the entry with the time and id `before`."""
        ...


class AdoptionReader(Protocol):
    async def read(self, days: int) -> VersionsView:
        """Who spoke which version in the last so many days."""
        ...


@dataclass(frozen=True)
class Services:
    catalogue: Catalogue
    availability: AvailabilityReader
    reservations: Reservations
    orders: Orders
    books: Books
    desk: Callable[[Actor], Desk]
    files: Callable[[Actor], FileDesk]
    dispatches: Callable[[Actor], DispatchDesk]
    webhooks: Callable[[Actor], WebhookDesk]
    audit: AuditReader
    detective: Detective
    adoption: AdoptionReader

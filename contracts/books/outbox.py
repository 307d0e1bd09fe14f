"""Events that wait to leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.events import Event


@dataclass(frozen=True)
class OutboxRow:
    position: int
    event: Event
    attempts: int


class Outbox(Protocol):
    async def due(self, owner: str, now: datetime, lease: float, limit: int) -> Sequence[OutboxRow]:
        """Leases the oldest undelivered events, in order; never a later one of a subject whose earlier one is still out, so one call holds
        at most one event of each subject. Each comes with its `sequence`."""
        ...

    async def delivered(self, positions: Sequence[int]) -> None: ...

    async def failed(self, positions: Sequence[int], retry_at: datetime, error: str) -> None: ...

    async def depth(self) -> int: ...

    async def waiting_since(self) -> datetime | None:
        """When the oldest event was written of those that are next to leave; None when none waits."""
        ...

    async def put(self, events: Sequence[Event]) -> None: ...

    async def purge(self, before: datetime) -> int: ...

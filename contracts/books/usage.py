"""What clients still use of which version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from contracts.canonical.base import Noun


class Used(Noun, frozen=True, kw_only=True):
    """How often a client asked a route in a version, or (with `field`) used something there that another version has otherwise."""

    version: str
    client: str
    channel: str
    route: str
    field: str = ""
    """`query:store`, `body:/lines/*/unitPrice`, `answer:/items/*/storeId`, in the names of the version; empty: the request itself."""
    times: int
    seen_at: datetime


class UsageBook(Protocol):
    """Counts per day (UTC)."""

    async def add(self, day: date, counts: Sequence[Used]) -> None:
        """Adds up with what stands, whoever wrote it. Each combination of what is told apart comes once."""
        ...

    async def since(self, day: date) -> Sequence[Used]:
        """From that day on, summed up over the days, by version (newest first), client, channel, route and field."""
        ...

    async def purge(self, before: date) -> int: ...

"""Who did what to whom, and what was denied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from contracts.canonical.base import Noun


class AuditEntry(Noun, frozen=True, kw_only=True):
    """Who did what to whom. Holds no secret: `detail` names fields with what they were and became, or why an attempt was denied."""

    id: str
    at: datetime
    actor: str
    """A client, `command line: NAME` of the operating system, or the address of a denied attempt (IPv6: its /64)."""
    what: str
    """`client.added`, `key.ended`, `estate.reloaded`, …; `denied` for attempts."""
    subject: str
    """Client, key prefix, system: whom it concerns. Of a denied attempt who it claimed to be, as far as that is known."""
    detail: dict[str, str] = msgspec.field(default_factory=dict)
    count: int = 1
    """How often, of denied attempts within a minute."""
    trace_id: str = ""


class AuditBook(Protocol):
    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """An entry that is there already (by its id) is left as it is."""
        ...

    async def list(
        self, limit: int, *, since: datetime | None = None, client: str | None = None, before: tuple[datetime, str] | None = None
    ) -> Sequence[AuditEntry]:
        """Newest first. `client`: those that it did or that concern it or one of its keys; `before`: time and id of an entry, behind which
        to go on.
        """
        ...

    async def purge(self, before: datetime) -> int: ...

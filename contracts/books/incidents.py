"""Incidents: what was broken, what was said of it and when, the traces that show it, and whether people found it right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from contracts.books.audit import AuditEntry
from contracts.canonical.base import Instant, Noun
from contracts.canonical.incident import IncidentNotice, IncidentState, IncidentVerdict

LEASE = "incidents"
"""Its holder decides; see `IncidentBook.save`."""
Right = Literal["yes", "partly", "no"]
"""Whether a verdict was right."""
MOST_SAID = 500
"""Lines of history that one incident keeps: the first half of them, and the newest."""
MOST_TRACES = 32
"""Traces that one incident keeps."""
MOST_TRACE_BYTES = 1 << 20
"""Of one trace, as it is stored."""


class IncidentRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """`INC-20260311-0007`."""
    state: IncidentState
    verdict: IncidentVerdict
    opened_at: datetime
    changed_at: datetime
    """When it said something new, or was over."""
    ended_at: datetime | None = None
    into: str = ""
    """The incident that it turned out to be a part of."""
    revision: int = 1
    """Grows with everything new it says; each of these is one event."""
    version: int = 0
    """Grows with every writing, also of mere figures."""
    subjects: tuple[str, ...] = ()
    """What it is put down to: `system.operation`, or a system."""
    body: bytes
    """The published form, schema tillgate.incident/1."""
    place: int = 0
    """In the order of openings."""


class Said(Noun, frozen=True, kw_only=True):
    """A line of an incident's history."""

    at: Instant
    revision: int
    state: IncidentState
    verdict: IncidentVerdict
    confidence: float
    sentence: str


class Label(Noun, frozen=True, kw_only=True):
    """What a person found of the verdict; calibration learns from it."""

    at: Instant
    by: str
    right: Right
    culprit: str = ""
    """What it was, where the verdict was not right: `erp.GetStock`, `pos`, or a word of theirs."""
    note: str = ""


class StoredTrace(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    """32 hex digits."""
    role: Literal["bad", "twin"]
    stored_at: datetime
    body: bytes
    """Its spans, as whoever stored them wrote them."""


class IncidentBook(Protocol):
    """`IncidentRecord.body` and `StoredTrace.body` are opaque to it."""

    async def number(self, day: str) -> int:
        """The next number of a day (`20260311`), from 1. Numbers may be left out, and are never given twice."""
        ...

    async def save(
        self, record: IncidentRecord, said: Said | None, notice: IncidentNotice | None, owner: str, now: datetime
    ) -> IncidentRecord:
        """Opens an incident (`version` 0) or writes the next version of one, with its line of history and the event that tells of it, in
        one commit. Returns it with its new version. Raises StateConflict when somebody else holds the lease at `now`, or has written it
        since.
        """
        ...

    async def get(self, id: str) -> IncidentRecord:
        """Raises NotFound."""
        ...

    async def history(self, id: str) -> Sequence[Said]:
        """In the order of time."""
        ...

    async def list(
        self, limit: int, *, state: IncidentState | None = None, since: datetime | None = None, before: int | None = None
    ) -> Sequence[IncidentRecord]:
        """Newest first. `since`: those that were not over by then; `before`: the place behind which to go on."""
        ...

    async def lacking(self, id: str, traces: Collection[str]) -> Sequence[str]:
        """Which of them are not stored with the incident, in the order given; none when it has no room for more."""
        ...

    async def attach(self, id: str, traces: Sequence[StoredTrace]) -> int:
        """Returns how many were new; what is too large or too many is left out."""
        ...

    async def traces(self, id: str) -> Sequence[StoredTrace]: ...

    async def trace(self, trace_id: str) -> StoredTrace | None:
        """Of whichever incident."""
        ...

    async def label(self, id: str, label: Label, entries: Sequence[AuditEntry]) -> None:
        """The newest of each person counts. Raises NotFound."""
        ...

    async def labels(self, id: str) -> Sequence[Label]:
        """Newest first."""
        ...

    async def purge(self, before: datetime, evidence: datetime) -> int:
        """Incidents that were over `before`, with all that belongs to them, and traces stored before `evidence`. Returns how many incidents
        went."""
        ...

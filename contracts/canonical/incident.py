"""What is told about an incident: what is broken, since when, for whom, how sure that is, and whom to call."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.base import Instant, Noun

IncidentState = Literal["open", "recovered", "merged"]
"""`merged`: it turned out to be a part of another one, which goes on."""
IncidentVerdict = Literal["cause", "likely", "unsure", "none"]
"""`cause` from a confidence of 0.8, `likely` from 0.5; below that nobody is named."""
IncidentKind = Literal["system", "operation", "edge", "gateway_part", "version", "client", "feed", "data_quality", "shared", "unknown"]
_Count = Annotated[int, Meta(ge=0)]


class Suspect(Noun, frozen=True, kw_only=True):
    """What an incident is put down to."""

    kind: IncidentKind
    system: str
    operation: str | None = None
    failure: Annotated[str, Meta(description="How it fails, in a word", examples=["down", "slow", "faults", "stale", "missing"])]
    stores: Annotated[tuple[str, ...], Meta(description="Empty: not one of them in particular")] = ()
    owner: str | None = None
    contact: str | None = None


class IncidentNotice(Noun, frozen=True, kw_only=True):
    """Counts are requests in excess of what is usual, of `requests` in all."""

    id: Annotated[str, Meta(pattern=r"^INC-[0-9]{8}-[0-9]{4,}$(?!\n)", examples=["INC-20260311-0007"])]
    state: IncidentState
    verdict: IncidentVerdict
    confidence: Annotated[float, Meta(ge=0, le=1)]
    sentence: Annotated[str, Meta(description="All of it for people", examples=["erp GetStock slow since 10:42:10 (±8 s), 93 % sure"])]
    since: Instant
    detected_at: Instant
    recovered_at: Instant | None = None
    merged_into: str | None = None
    suspects: tuple[Suspect, ...] = ()
    channels: Annotated[tuple[str, ...], Meta(description="Hit, the hardest first")] = ()
    routes: Annotated[tuple[str, ...], Meta(description="Hit, the hardest first")] = ()
    requests: _Count = 0
    failed: _Count = 0
    late: _Count = 0
    orders: _Count = 0

"""What operators are told about API versions: who still uses which, and what of it a newer version has otherwise."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.base import Instant, Noun

State = Literal["current", "supported", "deprecated", "retired"]


class VersionsParameters(Noun, frozen=True, kw_only=True):
    since_days: Annotated[int, Meta(ge=1, le=400)] = 30


class UseView(Noun, frozen=True, kw_only=True):
    """A client uses something that a newer version has otherwise."""

    client: str
    route: str
    field: str
    """`query:store`, `body:/lines/*/unitPrice`, `answer:/items/*/storeId`, in the names of the version that the client speaks;
    `problem:bad_request` of a problem that it met."""
    change: str
    """The change that touched it."""
    times: int
    last_seen: Instant


class ClientUseView(Noun, frozen=True, kw_only=True):
    """A client that spoke the version. `pinned`: the version that it speaks unless it asks for another; none: it is no client any more."""

    client: str
    channel: str
    pinned: str | None = None
    suspended: bool = False
    requests: int
    routes: tuple[str, ...]
    last_seen: Instant
    uses: tuple[UseView, ...] = ()
    """Empty: it could speak the newest version without a change of its own."""

    @property
    def blocks(self) -> bool:
        return self.pinned is not None and not self.suspended


class ChangeView(Noun, frozen=True, kw_only=True):
    """A change that a client of the version has before it."""

    name: str
    version: str
    """Where it came in."""
    sentence: str
    clients: tuple[str, ...] = ()
    """Who still uses what it touched."""


class BrownOutView(Noun, frozen=True, kw_only=True):
    start: Instant
    end: Instant
    announcement: str | None = None


class VersionView(Noun, frozen=True, kw_only=True):
    version: str
    state: State
    summary: str
    deprecated: Instant | None = None
    sunset: Instant | None = None
    requests: int = 0
    clients: tuple[ClientUseView, ...] = ()
    """Most requests first."""
    pinned_unseen: tuple[str, ...] = ()
    """Pinned to it, and not seen in the time."""
    changes: tuple[ChangeView, ...] = ()
    brown_outs: tuple[BrownOutView, ...] = ()
    """The next ones."""

    @property
    def blockers(self) -> tuple[ClientUseView, ...]:
        """Who would be refused if it were switched off now."""
        return tuple(c for c in self.clients if c.blocks)


class VersionsView(Noun, frozen=True, kw_only=True):
    since: date
    items: tuple[VersionView, ...]
    """Newest first."""

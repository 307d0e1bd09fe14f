"""Files on their way to the tills: numbered by store without gaps, each the same bytes however often it is written, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from contracts.books.audit import AuditEntry

DispatchState = Literal["drafted", "written", "overdue", "accepted", "rejected", "given_up"]
"""`drafted`: its bytes are kept; `written`: it lies where the tills look; `overdue`: nobody has answered in time. The others are ends."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What a till did not take."""

    key: str
    reason: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a till said of a file."""

    state: Literal["accepted", "rejected"]
    reason: str = ""
    refused: tuple[Refusal, ...] = ()


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    feed: str
    store: str
    number: int
    name: str
    digest: str
    size: int
    items: int
    """Articles in it."""
    drafted_at: datetime
    state: DispatchState = "drafted"
    written_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""
    refused: tuple[Refusal, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ("accepted", "rejected", "given_up")


class DispatchBook(Protocol):
    async def latest(self, feed: str, store: str) -> Dispatch | None: ...

    async def told(self, feed: str, store: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Hash of what the store was told last, by key; what it refused counts as told."""
        ...

    async def draft(self, dispatch: Dispatch, body: bytes, changes: Mapping[str, bytes]) -> bool:
        """The next file of a store, with its content and the hash of every key in it. False when the one before has not ended, or the
        number is not the next one: somebody else was quicker."""
        ...

    async def body(self, feed: str, store: str, number: int) -> bytes:
        """Raises NotFound."""
        ...

    async def stage(self, feed: str, store: str, number: int, token: str) -> str | None:
        """Says which one of its hidden copies counts: the first that was staged. None when it is no longer drafted."""
        ...

    async def written(self, feed: str, store: str, number: int, now: datetime) -> bool:
        """A drafted one lies where the tills look. False when it is no longer drafted."""
        ...

    async def overdue(self, feed: str, store: str, number: int) -> bool:
        """A written one was not answered in time."""
        ...

    async def answered(
        self,
        feed: str,
        store: str,
        number: int,
        state: Literal["accepted", "rejected"],
        reason: str,
        refused: Sequence[Refusal],
        now: datetime,
    ) -> bool:
        """Its end. All that it says counts as told, also what was refused: it is not repeated until it changes, or a person resends it. Of
        a rejected one all is refused. False when it had ended before."""
        ...

    async def resend(self, feed: str, store: str, number: int, now: datetime, entries: Sequence[AuditEntry]) -> Dispatch:
        """The newest of its store: without an answer it is drafted again, the same bytes under the same number; of an ended one what was
        refused will be in the next. Raises NotFound, StateConflict."""
        ...

    async def give_up(self, feed: str, store: str, number: int, reason: str, now: datetime, entries: Sequence[AuditEntry]) -> Dispatch:
        """Ends one without an answer: what it says will be in the next. Raises NotFound, StateConflict."""
        ...

    async def get(self, feed: str, store: str, number: int) -> Dispatch:
        """Raises NotFound."""
        ...

    async def list(
        self,
        limit: int,
        *,
        feed: str | None = None,
        stores: Collection[str] = (),
        state: DispatchState | None = None,
        before: tuple[datetime, str, str] | None = None,
    ) -> Sequence[Dispatch]:
        """Newest first. `stores` empty: all; `before`: when a file was drafted, its feed and store, behind which to go on."""
        ...

    async def purge(self, before: datetime) -> int:
        """Those that ended before, the newest of each store left out. Returns how many went."""
        ...

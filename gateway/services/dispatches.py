"""What people see of files for the tills, and what they decide: one set of rules for commands, admin API and console."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from contracts.admin import DispatchContent, DispatchEnd, DispatchesParameters, DispatchView
from contracts.books import AuditEntry, Books, Dispatch
from contracts.errors import InvalidBody, InvalidCursor, NotFound
from gateway.services.clients import Actor
from gateway.services.clock import Now
from gateway.services.publication import unanswered
from gateway.services.trail import entry_of, tell


class DispatchKey(NamedTuple):
    """Written as feed/store/number."""

    feed: str
    store: str
    number: int

    def __str__(self) -> str:
        return f"{self.feed}/{self.store}/{self.number}"


class DispatchDesk(Protocol):
    """Where files for the tills are looked after: in the books, or through a running gateway."""

    async def list(self, wanted: DispatchesParameters) -> Sequence[DispatchView]: ...

    async def show(self, key: DispatchKey) -> DispatchView: ...

    async def content(self, key: DispatchKey) -> DispatchContent: ...

    async def resend(self, key: DispatchKey) -> DispatchView: ...

    async def give_up(self, key: DispatchKey, wanted: DispatchEnd) -> DispatchView: ...


class DispatchReview:
    """Fulfils `DispatchDesk` on the books, for one actor: who is bound to stores sees the files of these, and no others are there."""

    def __init__(self, books: Books, actor: Actor, now: Now) -> None:
        self._books, self._actor, self._now = books, actor, now

    async def list(self, wanted: DispatchesParameters) -> Sequence[DispatchView]:
        """Raises InvalidCursor for a cursor that is none."""
        if wanted.store is not None and not self._may_see(wanted.store):
            return ()
        stores = self._actor.stores if wanted.store is None else (wanted.store,)
        before = _behind(wanted.cursor)
        found = await self._books.dispatches.list(wanted.limit, feed=wanted.feed, stores=stores, state=wanted.state, before=before)
        return [_view(each) for each in found]

    async def show(self, key: DispatchKey) -> DispatchView:
        """Raises NotFound."""
        return _view(await self._seen(key))

    async def content(self, key: DispatchKey) -> DispatchContent:
        """Raises NotFound."""
        seen = await self._seen(key)
        return DispatchContent(name=seen.name, digest=seen.digest, content=b64encode(await self._books.dispatches.body(*key)).decode())

    async def resend(self, key: DispatchKey) -> DispatchView:
        """Raises NotFound, StateConflict."""
        seen = await self._seen(key)
        entry = self._entry("dispatch.resent", key, {"file": seen.name, "was": seen.state})
        resent = await self._books.dispatches.resend(*key, self._now(), [entry])
        tell(entry)
        return _view(resent)

    async def give_up(self, key: DispatchKey, wanted: DispatchEnd) -> DispatchView:
        """Raises NotFound, InvalidBody, StateConflict."""
        if not wanted.reason.strip():
            raise InvalidBody(where="/reason", expected="why, in a few words", got="nothing")
        seen = await self._seen(key)
        entry = self._entry("dispatch.given_up", key, {"file": seen.name, "reason": wanted.reason})
        await self._books.findings.close([unanswered(seen)], self._actor.name, self._now())
        ended = await self._books.dispatches.give_up(*key, wanted.reason, self._now(), [entry])
        tell(entry)
        return _view(ended)

    async def _seen(self, key: DispatchKey) -> Dispatch:
        if not self._may_see(key.store):
            raise NotFound(what="file", key=str(key)[:80])
        return await self._books.dispatches.get(*key)

    def _may_see(self, store: str) -> bool:
        return not self._actor.stores or store in self._actor.stores

    def _entry(self, what: str, key: DispatchKey, detail: dict[str, str]) -> AuditEntry:
        return entry_of(self._now, self._actor.name, what, str(key), detail)


def cursor_behind(last: DispatchView) -> str:
    return f"{last.drafted_at.isoformat()}~{last.feed}~{last.store}"


def _behind(cursor: str | None) -> tuple[datetime, str, str] | None:
    if cursor is None:
        return None
    moment, _, rest = cursor.partition("~")
    feed, tilde, store = rest.partition("~")
    try:
        at = datetime.fromisoformat(moment)
        if at.tzinfo is not None and tilde:
            return at, feed, store
    except ValueError:
        pass
    raise InvalidCursor(got="one that names no file")


def _view(found: Dispatch) -> DispatchView:
    return msgspec.convert(found, DispatchView, from_attributes=True)

"""What the edge tells the books for later: who changed what, who was denied, and when a key was last used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from contracts.books import AuditBook, AuditEntry, ClientBook
from contracts.errors import TillgateError
from gateway.edge.quota.subject import address as of_network
from gateway.services.clock import Now, new_id
from gateway.services.trail import entry_of, tell
from observability import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 60.0
MOST_DENIED = 200
"""Different denied attempts that are told apart between two flushes. When there are more, the network with the most of them is told in
one line, then the next; only where each network has one is a further one counted by its code alone.
"""
MOST_CLAIMS = 10
"""Different attempts that one network is told apart by, at most: who tries keys hides nobody else."""
MOST_KEYS = 10_000
"""Keys whose last use waits for the next flush."""
OTHER = "other"


_Attempt = tuple[str, str, str, str]
"""Code, whom it claimed to be, network and route."""


class Audit:
    """Changes are durable before they return. Denied attempts and uses of keys are counted in memory and written once a minute, many in
    one unit of work: an attacker costs no write. What was counted since the last flush is lost when the process is killed.
    """

    def __init__(self, book: AuditBook, clients: ClientBook, now: Now) -> None:
        self._book, self._clients, self._now = book, clients, now
        self._denied: dict[_Attempt, tuple[datetime, int]] = {}
        self._lines: dict[str, int] = {}
        """By network: how many different attempts are told of it."""
        self._folded: set[str] = set()
        """Networks that are told in one line of each code."""
        self._used: dict[str, datetime] = {}
        self._flushing = asyncio.Lock()

    async def changed(self, actor: str, what: str, subject: str, detail: dict[str, str] | None = None) -> None:
        """Raises StoreUnavailable. `detail` holds no secret."""
        entry = entry_of(self._now, actor, what, subject, detail or {})
        await self._book.add([entry])
        tell(entry)

    def denied(self, code: str, claimed: str, address: str, route: str) -> None:
        """`claimed`: the client or the prefix of the key, never more of a credential; empty if there was none."""
        self._count(self._told((code, claimed, of_network(address)[:64], route)), self._now(), 1)

    def _count(self, attempt: _Attempt, at: datetime, times: int) -> None:
        first, count = self._denied.get(attempt, (at, 0))
        self._denied[attempt] = (min(first, at), count + times)

    def _told(self, attempt: _Attempt) -> _Attempt:
        """As what it is counted."""
        code, _, network, _ = attempt
        if attempt in self._denied:
            return attempt
        if network in self._folded or self._lines.get(network, 0) >= MOST_CLAIMS:
            attempt = (code, OTHER, network, OTHER)
        if attempt not in self._denied:
            if len(self._denied) >= MOST_DENIED and not self._fold():
                return (code, OTHER, OTHER, OTHER)
            if network in self._folded:
                return (code, OTHER, network, OTHER)
            self._lines[network] = self._lines.get(network, 0) + 1
        return attempt

    def _fold(self) -> bool:
        """Makes room, if there is a network with more than its share."""
        full = len(self._denied)
        while len(self._denied) == full:
            network = max(self._lines, key=self._lines.__getitem__, default="")
            if self._lines.pop(network, 0) < 2:
                return False
            self._folded.add(network)
            for attempt in [a for a in self._denied if a[2] == network]:
                self._count((attempt[0], OTHER, network, OTHER), *self._denied.pop(attempt))
        return True

    def used(self, prefix: str) -> None:
        """A key with this prefix has just opened the door."""
        if prefix in self._used or len(self._used) < MOST_KEYS:
            self._used[prefix] = self._now()

    async def read(
        self, limit: int, *, since: datetime | None = None, client: str | None = None, before: tuple[datetime, str] | None = None
    ) -> Sequence[AuditEntry]:
        """Newest first, with what this process has counted until now."""
        await self.flush()
        return await self._book.list(limit, since=since, client=client, before=before)

    async def flush(self) -> None:
        """Writes what was counted until now. Raises StoreUnavailable; then it is counted on and written later."""
        async with self._flushing:
            denied, self._denied, self._lines, self._folded = self._denied, {}, {}, set()
            used, self._used = self._used, {}
            try:
                if denied:
                    await self._book.add(
                        [
                            AuditEntry(
                                id=new_id("aud"),
                                at=first,
                                actor=address,
                                what="denied",
                                subject=claimed,
                                detail={"code": code, "route": route},
                                count=count,
                            )
                            for (code, claimed, address, route), (first, count) in denied.items()
                        ]
                    )
                    denied = {}
                if used:
                    await self._clients.used(used)
            except TillgateError:
                for attempt, (first, count) in denied.items():
                    self._count(self._told(attempt), first, count)
                self._used = {**used, **self._used}
                raise

    @asynccontextmanager
    async def kept(self, seconds: float = FLUSH_SECONDS) -> AsyncIterator[None]:
        """Flushes from time to time, and at the end."""
        task = asyncio.create_task(self._keep(seconds), name="audit")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._try()

    async def _keep(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.flush()
        except TillgateError as error:
            log.warning("the audit log waits for the store", reason=str(error)[:200])

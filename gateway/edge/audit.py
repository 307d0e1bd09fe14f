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
"""Different denied attempts that are told apart between two flushes; what comes on top is counted by its code alone."""
MOST_CLAIMS = 10
"""Different names or prefixes that one address is told apart by: who tries keys hides nobody else."""
MOST_KEYS = 10_000
"""Keys whose last use waits for the next flush."""
OTHER = "other"


class Audit:
    """Changes are durable before they return. Denied attempts and uses of keys are counted in memory and written once a minute, many in
    one unit of work: an attacker costs no write. What was counted since the last flush is lost when the process is killed.
    """

    def __init__(self, book: AuditBook, clients: ClientBook, now: Now) -> None:
        self._book, self._clients, self._now = book, clients, now
        self._denied: dict[tuple[str, str, str, str], tuple[datetime, int]] = {}
        self._claims: dict[str, int] = {}
        """By address: how many different ones it has come with."""
        self._used: dict[str, datetime] = {}
        self._flushing = asyncio.Lock()

    async def changed(self, actor: str, what: str, subject: str, detail: dict[str, str] | None = None) -> None:
        """Raises StoreUnavailable. `detail` holds no secret."""
        entry = entry_of(self._now, actor, what, subject, detail or {})
        await self._book.add([entry])
        tell(entry)

    def denied(self, code: str, claimed: str, address: str, route: str) -> None:
        """`claimed`: the client or the prefix of the key, never more of a credential; empty if there was none."""
        network = of_network(address)[:64]
        key = (code, claimed, network, route)
        if key not in self._denied:
            if self._claims.get(network, 0) >= MOST_CLAIMS:
                key = (code, OTHER, network, route)
            if key not in self._denied:
                if len(self._denied) >= MOST_DENIED:
                    key = (code, OTHER, OTHER, OTHER)
                else:
                    self._claims[network] = self._claims.get(network, 0) + 1
        first, count = self._denied.get(key) or (self._now(), 0)
        self._denied[key] = (first, count + 1)

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
            denied, self._denied, self._claims = self._denied, {}, {}
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
                for key, (first, count) in denied.items():
                    at = key if key in self._denied or len(self._denied) < MOST_DENIED else (key[0], OTHER, OTHER, OTHER)
                    self._denied[at] = (first, count + self._denied.get(at, (first, 0))[1])
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

"""Who asks for what in which version: counted in memory as requests pass, and added to the books from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from contracts.books import UsageBook, Used
from contracts.errors import TillgateError
from gateway.edge.identity.principal import Principal
from gateway.services.clock import Now
from observability import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 10.0
MOST = 50_000
"""Different counts between two flushes. Only known clients are counted, by declared routes, versions and fields; what comes on top of
this many is not counted, and the log says so."""
SELECTED = "answer:"
"""The field that counts requests which named the fields that they want: the others read all of them."""

_Key = tuple[str, str, str, str, str]


class Usage:
    """One per process. What was counted since the last flush is lost when the process is killed."""

    def __init__(self, book: UsageBook, now: Now, most: int = MOST) -> None:
        self._book, self._now, self._most = book, now, most
        self._counts: dict[_Key, list[int]] = {}
        self._uncounted = 0
        self._flushing = asyncio.Lock()

    def seen(
        self,
        version: str,
        client: Principal,
        route: str,
        request_fields: Iterable[str] = (),
        answer_fields: Iterable[str] | None = None,
    ) -> None:
        """A request. `request_fields`: what it used of that which differs between versions (`VersionHistory.touched`); `answer_fields`:
        those of the answer's that it asked for, None if it asked for all.
        """
        name, channel = client.name, client.channel
        cell = self._counts.get((version, name, channel, route, ""))
        if cell is not None:
            cell[0] += 1
        else:
            self._add((version, name, channel, route, ""), 1)
        for field in request_fields:
            self._add((version, name, channel, route, field), 1)
        if answer_fields is not None:
            self._add((version, name, channel, route, SELECTED), 1)
            for field in answer_fields:
                self._add((version, name, channel, route, field), 1)

    def met(self, version: str, client: Principal, route: str, field: str) -> None:
        """What a request met, whether it came so far that it was counted or not."""
        self._add((version, client.name, client.channel, route, field), 1)

    def _add(self, key: _Key, times: int) -> None:
        cell = self._counts.get(key)
        if cell is not None:
            cell[0] += times
        elif len(self._counts) < self._most:
            self._counts[key] = [times]
        else:
            self._uncounted += times

    async def flush(self) -> None:
        """Writes what was counted until now. Raises StoreUnavailable; then it is counted on and written later."""
        async with self._flushing:
            counts, self._counts = self._counts, {}
            if self._uncounted:
                log.warning("requests were not counted: too many different ones", uncounted=self._uncounted, most=self._most)
                self._uncounted = 0
            if not counts:
                return
            now = self._now()
            try:
                await self._book.add(
                    now.date(),
                    [
                        Used(version=version, client=client, channel=channel, route=route, field=field, times=times, seen_at=now)
                        for (version, client, channel, route, field), (times,) in counts.items()
                    ],
                )
            except TillgateError:
                for key, (times,) in counts.items():
                    self._add(key, times)
                raise

    @asynccontextmanager
    async def kept(self, seconds: float = FLUSH_SECONDS) -> AsyncIterator[None]:
        """Flushes from time to time, and at the end."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._keep(seconds, stop), name="usage")
        try:
            yield
        finally:
            stop.set()  # not cancelled: what is being written would be in doubt
            await asyncio.gather(task, return_exceptions=True)

    async def _keep(self, seconds: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()
            try:
                await self.flush()
            except TillgateError as error:
                log.warning("counts of usage wait for the store", reason=str(error)[:200])

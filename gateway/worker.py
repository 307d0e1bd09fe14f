"""What runs without a caller: due processes, expired holds, events on their way, files from the tills, and housekeeping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.books import Books
from contracts.errors import TillgateError
from gateway.services.clock import Now
from gateway.services.order_process import OrderProcess
from gateway.services.reservations import Reservations
from observability import get_logger

log = get_logger(__name__)

USAGE_KEPT = timedelta(days=400)
"""Longer than a version lives on after its deprecation."""

Loop = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True)
class Every:
    """A job that is done again and again: at once while it finds work, else after `pause` seconds."""

    name: str
    job: Callable[[], Awaitable[int]]
    pause: float

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            found = await self.job()
            if not found:
                await wait(stop, self.pause)


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop`, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def supervised(name: str, loop: Loop, stop: asyncio.Event) -> None:
    """A loop that fails is started again, later each time, so that a store or a system that is away for a while ends nothing."""
    pause = 0.5
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        try:
            await loop(stop)
            return
        except TillgateError as error:
            log.warning("loop stumbled", loop=name, error=str(error)[:500])
        except Exception:
            log.exception("loop failed", loop=name)
        pause = 0.5 if asyncio.get_running_loop().time() - began > 60 else min(pause * 2, 30)
        await wait(stop, pause)


@dataclass(frozen=True)
class Steady:
    """A job with its own rhythm."""

    name: str
    run: Loop


def housekeeping(
    books: Books, process: OrderProcess, reservations: Reservations, retention: timedelta, audit: timedelta, webhooks: timedelta, now: Now
) -> list[Every | Steady]:
    """`retention` of stored answers and delivered events; `audit` of the audit log, of keys that have ended and of findings that are over;
    `webhooks` of what waits for a receiver, dead letters included.
    """

    def purge(name: str, job: Callable[[datetime], Awaitable[int]], kept: timedelta) -> Every:
        async def purged() -> int:
            await job(now() - kept)
            return 0

        return Every(f"purge {name}", purged, 3600.0)

    return [
        Steady("orders", process.run),
        Every("reservations", reservations.expire, 5.0),
        purge("answers", books.idempotency.purge, retention),
        purge("webhooks", books.webhooks.purge, webhooks),
        purge("events", books.outbox.purge, retention),
        purge("audit", books.audit.purge, audit),
        purge("keys", books.clients.purge_keys, audit),
        purge("dispatches", books.dispatches.purge, audit),
        purge("findings", books.findings.purge, audit),
        purge("sessions", books.sessions.purge, timedelta(days=1)),  # they live for some hours
        purge("usage", lambda before: books.usage.purge(before.date()), USAGE_KEPT),
    ]

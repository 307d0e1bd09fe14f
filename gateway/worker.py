"""What runs without a caller: due processes, expired holds, events on their way, files from the tills, and housekeeping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

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
    books: Books, process: OrderProcess, reservations: Reservations, retention: timedelta, audit: timedelta, now: Now
) -> list[Every | Steady]:
    """`retention` of stored answers and delivered events, `audit` of the audit log and of keys that have ended."""

    async def purge() -> int:
        await books.idempotency.purge(now() - retention)
        await books.outbox.purge(now() - retention)
        await books.audit.purge(now() - audit)
        await books.clients.purge_keys(now() - audit)
        await books.sessions.purge(now() - timedelta(days=1))  # they live for some hours
        await books.usage.purge((now() - USAGE_KEPT).date())
        return 0

    return [
        Steady("orders", process.run),
        Every("reservations", reservations.expire, 5.0),
        Every("purge", purge, 3600.0),
    ]

"""Where files and quarantine are looked after, built for whoever asks: an operator's request, or the command line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from contracts.call import Call
from gateway.bootstrap.checking import Checked, check
from gateway.bootstrap.foundation import open_books
from gateway.bootstrap.systems import feeds, wire
from gateway.services.catalogue import Catalogue, Zones
from gateway.services.clients import Actor
from gateway.services.clock import utc_now
from gateway.services.intake.feed import StoreZones
from gateway.services.intake.review import Review, Source, Sources

T = TypeVar("T")

ZONES_SECONDS = 10.0


def sources_of(checked: Checked, environment: Mapping[str, str], zones: Callable[[], Awaitable[StoreZones]]) -> Sources:
    return Sources({f"{feed.system}.{feed.name}": Source(feed, mapping) for feed, mapping in feeds(checked, environment)}, zones)


@asynccontextmanager
async def open_review(root: Path, data: Path, actor: Actor, environment: Mapping[str, str] = os.environ) -> AsyncIterator[Review]:
    """For commands. The estate is checked, and the systems are asked for the stores' time zones, only when a record is to be read."""

    async with open_books(root, data, environment) as books:
        made: list[Sources] = []

        async def sources() -> Sources:
            if not made:
                made.append(await _sources(root, environment))
            return made[0]

        try:
            yield Review(books, sources, actor, utc_now)
        finally:
            for each in made:
                for source in each.by_name.values():
                    await source.feed.close()


async def _sources(root: Path, environment: Mapping[str, str]) -> Sources:
    checked = await asyncio.to_thread(check, root)
    try:
        return sources_of(checked, environment, _once(lambda: _zones(checked, environment)))
    except LookupError as exc:
        raise LookupError(f"{exc}; set it as for the gateway itself, or ask a running one: --url, or TILLGATE_URL") from exc


async def _zones(checked: Checked, environment: Mapping[str, str]) -> StoreZones:
    """Raises UpstreamError when no system tells the locations."""
    zones = Zones(ZoneInfo(checked.estate.estate.time_zone))
    wiring = await wire(checked, environment, {}, zones)
    try:
        until = asyncio.get_running_loop().time() + ZONES_SECONDS
        await zones.load(Catalogue(wiring.switchboard, utc_now), Call(channel="store", client="tillgate", deadline=until))
    finally:
        await wiring.close()
    return zones


def given(value: T) -> Callable[[], Awaitable[T]]:
    """What is there already, for whoever asks for it by and by."""

    async def get() -> T:
        return value

    return get


def _once(make: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    made: list[T] = []

    async def once() -> T:
        if not made:
            made.append(await make())
        return made[0]

    return once

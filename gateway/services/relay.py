"""The relay: events on their way from the outbox to everybody who must hear them, in order per subject, at least once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, cast
from weakref import WeakSet

from contracts.books import Books, Outbox, OutboxRow
from contracts.errors import Overloaded, TillgateError
from contracts.events import Event
from contracts.ports import Publisher
from contracts.versions import VersionHistory
from gateway.services.clock import Now
from observability import Recorder, get_logger

log = get_logger(__name__)

_ROUNDS = 3
"""Under way at once while there is a backlog."""
_PAUSE_MAX = 5.0
"""Seconds between rounds when nothing goes through; new events for subscribers in this process wait no longer than that."""


@dataclass(frozen=True)
class Lost:
    """Stands in a subscriber's stream where it was too slow: so many of its events are gone."""

    count: int


class Subscription:
    """`with subscribers.subscribe("io.tillgate.order.") as stream: async for item in stream: …`; for one reader."""

    def __init__(self, prefixes: tuple[str, ...], capacity: int) -> None:
        self.prefixes = prefixes
        self._capacity = capacity
        self._items: deque[Event] = deque()
        self._lost = 0
        self._closed = False
        self._ready = asyncio.Event()

    def put(self, event: Event) -> None:
        if self._closed:
            return
        if len(self._items) == self._capacity:
            self._items.popleft()
            self._lost += 1
        self._items.append(event)
        self._ready.set()

    def close(self) -> None:
        """The reader gets what is left, then its loop ends."""
        self._closed = True
        self._ready.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lost:
        await self._ready.wait()
        if self._lost:
            lost, self._lost = Lost(self._lost), 0
            return lost
        if not self._items:
            raise StopAsyncIteration
        event = self._items.popleft()
        if not self._items and not self._closed:
            self._ready.clear()
        return event


class Subscribers:
    """Readers in this process. A slow one loses its oldest events and is told so; it never holds anybody up."""

    name = "subscribers"

    def __init__(self, capacity: int = 1000, most: int = 100) -> None:
        self._capacity, self._most = capacity, most
        self._readers: WeakSet[Subscription] = WeakSet()

    def subscribe(self, *prefixes: str) -> Subscription:
        """Events from now on whose type begins with one of `prefixes` (none: all). Ends when closed or forgotten. Raises Overloaded."""
        self._readers = WeakSet(r for r in self._readers if not r._closed)  # noqa: SLF001  # one room of two classes
        if len(self._readers) >= self._most:
            raise Overloaded
        reader = Subscription(prefixes or ("",), self._capacity)
        self._readers.add(reader)
        return reader

    async def publish(self, events: Sequence[Event]) -> Sequence[None]:
        for reader in tuple(self._readers):
            for event in events:
                if event.type.startswith(reader.prefixes):
                    reader.put(event)
        return [None] * len(events)


class Versioned:
    """A publisher whose readers are pinned to an API version: they get events in its shapes."""

    def __init__(self, publisher: Publisher, history: VersionHistory, version: str) -> None:
        self.name = publisher.name
        self._publisher, self._history, self._version = publisher, history, version

    async def publish(self, events: Sequence[Event]) -> Sequence[TillgateError | None]:
        return await self._publisher.publish([self._history.down_event(event, self._version) for event in events])


ANNOUNCING = {
    "reservations": ("hold", "change"),
    "sales": ("commit",),
    "files": ("finish",),
    "quarantine": ("book",),
    "orders": ("accept", "save"),
    "incidents": ("save",),
    "outbox": ("put",),
}
"""Book -> its methods that commit events."""


class _Announced:
    """A book whose `methods` set `nudge` when they have committed; everything else passes through."""

    def __init__(self, book: object, nudge: asyncio.Event, methods: Sequence[str]) -> None:
        self._book = book
        for name in methods:
            setattr(self, name, _nudging(getattr(book, name), nudge))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


def _nudging(commit: Callable[..., Awaitable[Any]], nudge: asyncio.Event) -> Callable[..., Awaitable[Any]]:
    async def committed(*args: Any, **named: Any) -> Any:
        result = await commit(*args, **named)
        if not args or args[-1]:  # events come last; most steps of a process have none
            nudge.set()
        return result

    return committed


def announced(books: Books, nudge: asyncio.Event) -> Books:
    """The same books; what commits events through them wakes the relay, so that nobody in this process waits for its timer."""
    found = _Announced(books, nudge, ())
    for name, methods in ANNOUNCING.items():
        setattr(found, name, _Announced(getattr(books, name), nudge, methods))
    return cast("Books", found)


class Relay:
    """One of any number that share a store. An event counts as delivered when every publisher has it; until then it holds its subject.

    `nudge` is set by whoever has just committed events; without it a timer (`every` seconds) finds them.
    """

    def __init__(
        self,
        outbox: Outbox,
        publishers: Sequence[Publisher],
        recorder: Recorder,
        owner: str,
        now: Now,
        *,
        nudge: asyncio.Event | None = None,
        every: float = 1.0,
        lease: float = 16.0,
        batch: int = 512,
        backoff: float = 0.5,
        backoff_max: float = 30.0,
    ) -> None:
        """Seconds all. After `lease` the events of a relay that died go to another. A publisher is cut off at three quarters of it, so that
        nobody else has the event while it is still under way here; its own time limit should be shorter.
        """
        self._outbox, self._publishers, self._recorder, self._owner, self._now = outbox, tuple(publishers), recorder, owner, now
        self.nudge = nudge or asyncio.Event()
        self._every, self._lease, self._limit, self._batch = every, lease, lease * 0.75, batch
        self._backoff, self._backoff_max = backoff, backoff_max
        self._untold: list[int] = []
        """Positions that are delivered and not yet marked so: the store went away in between."""
        self._reached: OrderedDict[int, set[str]] = OrderedDict()
        """Position -> publishers that already have it, so that one that is away causes no repeats at the others."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is under way then is finished. Raises StoreUnavailable when the outbox is away."""
        pause = self._every
        while not stop.is_set():
            self.nudge.clear()
            taken, delivered = await self._round()
            if delivered:
                pause = self._every
                if delivered == self._batch:
                    await self._catch_up(stop)
            elif taken:  # nothing goes through: a nudge for each new event must not turn that into a storm
                await self._wait(pause, stop)
                pause = min(pause * 2, _PAUSE_MAX)
            else:
                pause = self._every
                await self._wait(pause, stop, self.nudge)

    async def _catch_up(self, stop: asyncio.Event) -> None:
        """Several rounds at once until one of them finds less than it could take: the store writes for one while publishers have others."""

        async def rounds() -> None:
            while not stop.is_set() and (await self._round())[1] == self._batch:
                pass

        for error in await asyncio.gather(*(rounds() for _ in range(_ROUNDS)), return_exceptions=True):
            if error:
                raise error

    async def drain_once(self) -> int:
        """One batch: how many events were delivered."""
        return (await self._round())[1]

    async def _round(self) -> tuple[int, int]:
        """How many events were taken, and how many of them delivered."""
        await self._tell()
        rows = await self._outbox.due(self._owner, self._now(), self._lease, self._batch)
        if not rows:
            return 0, 0
        troubles = await self._relay(rows)
        self._untold += [row.position for row, trouble in zip(rows, troubles, strict=True) if trouble is None]
        await self._tell()
        failed: dict[tuple[int, str], list[int]] = {}
        for row, trouble in zip(rows, troubles, strict=True):
            if trouble is not None:
                failed.setdefault((row.attempts, trouble), []).append(row.position)
        for (attempts, trouble), positions in failed.items():
            pause = min(self._backoff * 2 ** min(attempts, 16), self._backoff_max)
            await self._outbox.failed(positions, self._now() + timedelta(seconds=pause), trouble)
            log.warning("events held back", count=len(positions), attempts=attempts + 1, error=trouble, retry_in=pause)
        return len(rows), troubles.count(None)

    async def _tell(self) -> None:
        """Marks what is delivered; until the store has heard of it, nothing new is taken."""
        untold, self._untold = self._untold, []
        try:
            await self._outbox.delivered(untold)
        except BaseException:
            self._untold += untold
            raise
        for position in untold if self._reached else ():
            self._reached.pop(position, None)

    async def _relay(self, rows: Sequence[OutboxRow]) -> list[str | None]:
        """What went wrong with each, or None. An event that continues a trace is published in a flight of its own, the others in one."""
        traced = [n for n, row in enumerate(rows) if row.event.traceparent]
        plain = [n for n, row in enumerate(rows) if not row.event.traceparent]
        parts = [[n] for n in traced] + ([plain] if plain else [])
        ended = await asyncio.gather(*(self._publish([rows[n] for n in part]) for part in parts))
        troubles: list[str | None] = [None] * len(rows)
        for part, told in zip(parts, ended, strict=True):
            for n, trouble in zip(part, told, strict=True):
                troubles[n] = trouble
        return troubles

    async def _publish(self, rows: Sequence[OutboxRow]) -> list[str | None]:
        single = rows[0].event if len(rows) == 1 else None
        troubles: list[str | None] = [None] * len(rows)
        reached: list[tuple[str, int]] = []
        try:
            name = f"publish {single.type}" if single else "publish events"
            with self._recorder.flight("task", name, parent=single.traceparent if single else None, trusted=True) as record:
                if single:
                    record.set(message_id=single.id, event_type=single.type)
                else:
                    record.set(batch_count=len(rows))
                failure: TillgateError | None = None
                async with asyncio.timeout(self._limit):
                    for publisher in self._publishers:
                        due = [n for n, row in enumerate(rows) if publisher.name not in self._reached.get(row.position, ())]
                        for n, error in zip(due, await publisher.publish([rows[n].event for n in due]) if due else (), strict=True):
                            if error is None:
                                reached.append((publisher.name, n))
                            else:
                                failure = failure or error
                                troubles[n] = troubles[n] or str(error)[:500]
                if failure:
                    raise failure
        except TillgateError:
            pass  # each event has its own, and the flight the first
        except TimeoutError:
            troubles = [f"no publisher may take longer than {self._limit:g} s"] * len(rows)
        except Exception as error:
            if single is None:  # one bad event must not stop its neighbours
                for publisher_name, n in reached:
                    self._note(rows[n].position, publisher_name)
                return [trouble for row in rows for trouble in await self._publish([row])]
            log.exception("event cannot be published", event_id=single.id, event_type=single.type)
            troubles = [f"{type(error).__name__}: {error}"[:500]]
        for publisher_name, n in reached if any(troubles) else ():
            if troubles[n]:
                self._note(rows[n].position, publisher_name)
        return troubles

    def _note(self, position: int, publisher: str) -> None:
        self._reached.setdefault(position, set()).add(publisher)
        if len(self._reached) > 10_000:
            self._reached.popitem(last=False)

    async def _wait(self, seconds: float, *events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(e.wait()) for e in events]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for w in waits:
                w.cancel()

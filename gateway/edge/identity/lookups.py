"""What the books said a moment ago, so that neither a busy client nor a flood of wrong keys asks them for each request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

SECONDS = 2.0
"""How long an answer is believed: a suspension, a rotation and a new scope take effect within this time."""
_MOST = 4096


class Lookups(Generic[T]):
    """`find` answers None for what there is not. Callers who come together share one question.

    What was found and what was not are kept apart: a flood of names that do not exist forgets none that does.
    """

    def __init__(
        self, find: Callable[[str], Awaitable[T | None]], clock: Callable[[], float], seconds: float = SECONDS, most: int = _MOST
    ) -> None:
        self._find, self._clock, self._seconds, self._most = find, clock, seconds, most
        self._found: OrderedDict[str, tuple[T | None, float]] = OrderedDict()
        self._absent: OrderedDict[str, tuple[T | None, float]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[tuple[T | None, float]]] = {}

    def found(self, key: str) -> bool:
        """Whether it was there when it was last looked for, however long ago."""
        return key in self._found

    async def get(self, key: str, *, ahead: float = 0.0) -> tuple[T | None, float]:
        """What there is, and until when (seconds of `clock`) that may be believed: from `ahead` of now on. Raises what `find` raises."""
        now = self._clock() + ahead
        for kept in (self._found, self._absent):
            if (entry := kept.get(key)) and entry[1] > now:
                return entry
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(key), name="look-up")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)  # who asked first may go away, the others stay

    async def _ask(self, key: str) -> tuple[T | None, float]:
        until = self._clock() + self._seconds
        found = await self._find(key)
        kept = self._absent if found is None else self._found
        kept[key] = entry = (found, until)
        kept.move_to_end(key)
        if len(kept) > self._most:
            kept.popitem(last=False)
        return entry

    def _answered(self, key: str, task: asyncio.Task[tuple[T | None, float]]) -> None:
        del self._asked[key]
        with suppress(asyncio.CancelledError):
            task.exception()  # looked at, also when nobody waits any more


class Roll:
    """All names there are, read together for everybody who asks for one that is not known: a flood of them costs few readings."""

    def __init__(self, names: Callable[[], Awaitable[Collection[str]]], pause: float = 0.05) -> None:
        """`pause`: seconds between the beginnings of two readings; ten times as long as a reading takes, at least."""
        self._names, self._pause = names, pause
        self._not_before = 0.0
        self._next: asyncio.Task[Collection[str]] | None = None
        """It has not begun to read: who comes now is in time for it."""

    async def holds(self, name: str) -> bool:
        """As of a reading that began after this was asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._read(), name="roll")
        return name in await asyncio.shield(self._next)

    async def _read(self) -> Collection[str]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before - loop.time())
        self._next, began = None, loop.time()
        try:
            return await self._names()
        finally:
            self._not_before = began + max(self._pause, 10 * (loop.time() - began))

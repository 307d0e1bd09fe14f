"""What the books said a moment ago, so that neither a busy client nor a flood of wrong keys asks them for each request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

SECONDS = 2.0
"""How long an answer is believed: a suspension, a rotation and a new scope take effect within this time."""
_MOST = 4096
_AT_ONCE = 16


class Lookups(Generic[T]):
    """`find` answers None for what there is not. Callers who come together share one question, and few questions run at once.

    What was found and what was not are kept apart: a flood of names that do not exist forgets none that does.
    """

    def __init__(
        self, find: Callable[[str], Awaitable[T | None]], clock: Callable[[], float], seconds: float = SECONDS, most: int = _MOST
    ) -> None:
        self._find, self._clock, self._seconds, self._most = find, clock, seconds, most
        self._found: OrderedDict[str, tuple[T | None, float]] = OrderedDict()
        self._absent: OrderedDict[str, tuple[T | None, float]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[tuple[T | None, float]]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def get(self, key: str) -> tuple[T | None, float]:
        """What there is, and until when (seconds of `clock`) that may be believed. Raises what `find` raises."""
        now = self._clock()
        for kept in (self._found, self._absent):
            if (entry := kept.get(key)) and entry[1] > now:
                return entry
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(key), name="look-up")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)  # who asked first may go away, the others stay

    async def _ask(self, key: str) -> tuple[T | None, float]:
        async with self._slots:
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

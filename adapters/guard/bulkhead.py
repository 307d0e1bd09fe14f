"""The bulkhead: so many calls at once, a bounded queue for the rest, served fairly by channel."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque


class Full(Exception):
    """No place to wait."""


class Bulkhead:
    """`limit` calls at once; at most `queue` wait. Channels take turns, so that a storm on one cannot starve another: when the queue is
    full, the newest of the longest queue gives its place to a channel that waits with fewer.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.limit, self.queue = limit, queue
        self.in_flight = self.waiting = 0
        self._turns: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def enter_now(self) -> bool:
        """Takes a place if one is free and nobody waits."""
        if self.in_flight >= self.limit or self.waiting:
            return False
        self.in_flight += 1
        return True

    async def enter(self, channel: str) -> None:
        """Waits for a place. Raises Full at once, or later when the place in the queue goes to a channel with fewer waiting."""
        if self.enter_now():
            return
        if self.waiting >= self.queue and not self._make_room(channel):
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.setdefault(channel, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._forget(channel, turn)
            elif turn.exception() is None:
                self.leave()  # the place was given in the same moment
            raise

    def leave(self) -> None:
        """Hands the place to the channel whose turn it is."""
        while self._turns:
            channel, queue = self._turns.popitem(last=False)
            turn = queue.popleft()
            self.waiting -= 1
            if queue:
                self._turns[channel] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self.in_flight -= 1

    def waiting_by_channel(self) -> dict[str, int]:
        return {channel: len(queue) for channel, queue in self._turns.items()}

    def _make_room(self, channel: str) -> bool:
        if not self._turns:
            return False
        longest = max(self._turns, key=lambda c: len(self._turns[c]))
        if len(self._turns[longest]) <= len(self._turns.get(channel, ())) + 1:
            return False
        turn = self._turns[longest][-1]
        self._forget(longest, turn)
        if not turn.done():
            turn.set_exception(Full())
        return True

    def _forget(self, channel: str, turn: asyncio.Future[None]) -> None:
        queue = self._turns.get(channel)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self.waiting -= 1
            if not queue:
                del self._turns[channel]

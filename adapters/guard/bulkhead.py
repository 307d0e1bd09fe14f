"""The bulkhead: so many calls at once, a bounded queue for the rest, served by importance and fairly."""

from __future__ import annotations

import asyncio

from adapters.guard.turns import Turn, Turns
from contracts.call import Priority

WEIGHTS = (8, 4, 2, 1)
"""Turns of critical, high, normal and low calls while all of them wait: what is important goes first, and nothing waits for ever."""


class Full(Exception):
    """No place to wait."""


class Bulkhead:
    """`limit` calls at once; at most `queue` wait, by priority, and of one priority channels and their clients take turns.

    When the queue is full, the newest of the least important gives its place to one that is more, or the newest of the longest queue to
    one that waits with fewer.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.limit, self.queue = limit, queue
        self.in_flight = 0
        self._turns = Turns(WEIGHTS)

    @property
    def waiting(self) -> int:
        return len(self._turns)

    def enter_now(self) -> bool:
        """Takes a place if one is free and nobody waits."""
        if self.in_flight >= self.limit or len(self._turns):
            return False
        self.in_flight += 1
        return True

    async def enter(self, channel: str, client: str = "", priority: Priority = Priority.NORMAL) -> None:
        """Waits for a place. Raises Full at once, or later when the place in the queue goes to somebody with a better right to it."""
        if self.enter_now():
            return
        if len(self._turns) >= self.queue:
            least = self._turns.least(priority, channel, client)
            if least is None:
                raise Full
            self._turns.remove(least)
            if not least.given.done():
                least.given.set_exception(Full())
        turn = Turn(priority, channel, client)
        self._turns.add(turn)
        try:
            await turn.given
        except asyncio.CancelledError:
            if turn.given.done() and not turn.given.cancelled() and turn.given.exception() is None:
                self.leave()  # the place was given in the same moment
            else:
                self._turns.remove(turn)
            raise

    def leave(self) -> None:
        """Hands the place to the one whose turn it is."""
        while turn := self._turns.next():
            if not turn.given.done():
                turn.given.set_result(None)
                return
        self.in_flight -= 1

    def waiting_by_channel(self) -> dict[str, int]:
        return self._turns.by_channel()

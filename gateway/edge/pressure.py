"""How much is worked on at once: a limit that follows the delay of our own event loop, and what is least important goes without first.

Two numbers bound what is let in. `most` counts every request, also those that wait for a system behind; it is fixed, since waiting costs
memory and nothing else, and a slow system must slow only its own answers (its places are the guard's). `limit` counts those at work
here, and adapts.

It follows Envoy's gradient controller (new = old x gradient + headroom, headroom = the root of the old limit), as Netflix's Gradient2
does, with another sample. Both take the time of whole requests, for which a slow system behind looks like an overload here, and must
find out by probing, or from a long average that drifts, what would be normal. We take how late the loop runs a timer: what every request
at work adds to every other. An idle loop is late by nothing, so nothing has to be probed, and a limit that is not used does not grow.

A limit alone fills the loop whatever it is: whoever ends makes room for the next. So while critical requests come, less important ones are
begun a few in a round of the loop, and with rests between, as long as are needed for the loop to have some time left: what waits for a loop
that has none waits for everybody.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from adapters.guard.turns import Turn, Turns
from contracts.call import Priority
from contracts.errors import Overloaded

TICK = 0.05
"""Seconds between two looks at the loop."""
TARGET = 0.002
"""Seconds that the loop may be late without anybody having to go without."""
LEAST = 8
"""The limit never falls below: more at work make nothing go faster, since one thread does it."""
CRITICAL = 64
"""At work at once whatever the limit: what is critical does not wait for the work of others that is done, only for its turn."""
WAITS = (2.0, 1.5, 1.0, 0.5)
"""Longest time in line by priority, seconds; whoever would wait longer is told at once. A burst of a page's requests is no overload: it may
stand in line, where it takes nothing from whoever matters more.
"""
BURST = 64
"""So many may always stand in line, as far as there is one: what comes at once and is done with soon."""
SHARES = (1.0, 0.9, 0.75, 0.5)
"""Of both limits, how much requests of each priority may fill: places that are held cannot be taken back, so some are kept free."""

ROUND = 0.002
"""Seconds for which less important requests are begun with in one round of the loop, while critical ones come."""
BUSY = 0.75
"""Of a processor that we may use while critical requests come, our other threads with the loop: they take the interpreter from each other,
and a change waits for both. The loop rests from less important requests for the remainder."""
REST = 0.02
"""Longest rest, seconds."""
GAIN = 0.01
"""Seconds that a rest grows with each look at a loop which is busy all the time instead of never."""

GAP = 0.001
"""Seconds from one caller who was refused to the next who is listened to again: refusing takes a tenth of the loop's time at most."""
HOLD = 1.0
"""Seconds for which somebody who was refused, and asked to wait for more than this, is not listened to at most."""

Word = Literal["critical", "high", "normal", "low"]


class Paced(bytes):
    """The bytes of an answer after which its caller waits a while before he is listened to again."""

    hold: float
    """Seconds."""

    def __new__(cls, written: bytes, hold: float) -> Self:
        self = super().__new__(cls, written)
        self.hold = hold
        return self


@dataclass(frozen=True, slots=True)
class Importance:
    """`routes` by name, `channels` by name: what the estate says. A route's word holds for all channels; without one a change is at least
    `high`, and a read is as important as its channel.
    """

    channels: Mapping[str, Word]
    routes: Mapping[str, Word]

    def of(self, route: str, channel: str) -> Priority:
        word = self.routes.get(route) or self.channels.get(channel, "normal")
        priority = Priority[word.upper()]
        if route not in self.routes and not route.startswith("GET "):
            return min(priority, Priority.HIGH)
        return priority


class Held:
    """A place. As a context manager it is put down while a system is waited for, and is not at work then."""

    __slots__ = ("_at", "_pressure", "_waits")

    def __init__(self, pressure: Pressure) -> None:
        self._pressure: Pressure | None = pressure
        self._waits = 0

    def __enter__(self) -> Self:
        self._waits += 1
        if self._waits == 1 and self._pressure is not None:
            self._pressure.put_down()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._waits -= 1
        if not self._waits and self._pressure is not None:
            self._pressure.busy += 1

    def leave(self) -> None:
        """Once; what still waits in the request's name counts no more."""
        pressure, self._pressure = self._pressure, None
        if pressure is not None:
            pressure.leave(at_work=not self._waits)


class Pressure:
    """One per process. `most` requests in all, `queue` of them in line at most."""

    def __init__(self, most: int, queue: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.set(most, queue)
        self.limit = float(most)
        self.busy = self.held = 0
        """At work; and those together with the ones that wait for a system."""
        self.late = 0.0
        """Seconds that the loop has been late, smoothed."""
        self.refused = dict.fromkeys(Priority, 0)
        self._turns = Turns()
        self._most_busy = self._left = 0
        self._let = [0] * len(Priority)
        self._rate, self._rates = 0.0, [0.0] * len(Priority)
        """Places given back in a second, and given to each priority, smoothed."""
        self.rest = 0.0
        """Seconds for which nobody but who is critical is begun with, between others."""
        self._began: float | None = None
        """When the first of the others was, since the last rest."""
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._looked = self._used = 0.0
        self._heard = 0.0
        """When the last of those who are not listened to is so again."""

    def set(self, most: int, queue: int) -> None:
        """From now on; what is at work stays."""
        self.most, self.queue = most, queue

    @property
    def waiting(self) -> int:
        return len(self._turns)

    @property
    def tight(self) -> bool:
        """Whether somebody may have to go without."""
        return bool(self._turns) or self.busy >= self.limit * SHARES[-1] or self.held >= self.most * SHARES[-1]

    def enter_now(self, priority: Priority) -> Held | None:
        """A place, if one is free for this priority and nobody as important waits for it."""
        if self._turns.before(priority) or not self._room(priority):
            return None
        return self._take(priority)

    async def enter(self, priority: Priority, channel: str, client: str, until: float) -> Held:
        """Waits in line, until the loop's time `until` at most. Raises Overloaded: at once for who cannot make it, or later when the place
        in line goes to somebody with a better right to it.
        """
        if place := self.enter_now(priority):
            return place
        if self.hopeless(priority, channel, client, until):
            raise self.no(priority)
        if len(self._turns) >= self.queue and (least := self._turns.least(priority, channel, client)) is not None:
            self._turns.remove(least)
            if not least.given.done():
                least.given.set_exception(self.no(least.priority))
        turn = Turn(priority, channel, client)
        self._turns.add(turn)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(until, loop.time() + WAITS[priority])):
                await turn.given
        except TimeoutError:
            self._take_back(turn)
            raise self.no(priority) from None
        except asyncio.CancelledError:
            self._take_back(turn)
            raise
        return Held(self)

    def hopeless(self, priority: Priority, channel: str, client: str, until: float) -> bool:
        """Whether such a request would wait in vain: the line is full of better ones, or too long for its time."""
        if not self.queue or (len(self._turns) >= self.queue and self._turns.least(priority, channel, client) is None):
            return True
        left = min(WAITS[priority], until - asyncio.get_running_loop().time())
        before = self._turns.before(priority)
        rate = self._rate - sum(self._rates[:priority])  # what those who matter more leave; half of it, for more of them come
        return left <= 0 or (before >= BURST and self._rate > 0 and before + 1 > rate * left / 2)

    def shed(self, priority: Priority, channel: str, client: str) -> Overloaded | None:
        """The refusal of one that would be refused whatever its time; to be asked before anything is spent on a request."""
        if not self._turns.before(priority) and self._room(priority):
            return None
        return self.no(priority) if self.hopeless(priority, channel, client, math.inf) else None

    def no(self, priority: Priority) -> Overloaded:
        """The refusal, counted. Less important callers are sent away for longer, each for another time."""
        self.refused[priority] += 1
        return Overloaded(policy=priority.name.lower(), retry_after=random.uniform(1, 2 + 2 * priority))  # noqa: S311 - spreads callers

    def hold(self) -> float:
        """How long not to listen to somebody who was refused, or need not hurry, in seconds: what he sends waits in the kernel, and he with
        it.
        """
        now = self._clock()
        self._heard = min(max(self._heard + max(GAP, self.rest / 4), now), now + HOLD)
        return self._heard - now

    def put_down(self) -> None:
        self.busy -= 1
        self._call()

    def leave(self, *, at_work: bool) -> None:
        self.held -= 1
        self.busy -= at_work
        self._left += 1
        self._call()

    def _room(self, priority: Priority) -> bool:
        share = SHARES[priority]
        limit = self.limit * share if priority else max(self.limit, CRITICAL)
        return self.busy < limit and self.held < self.most * share and not (priority and self._resting)

    @property
    def _resting(self) -> bool:
        return self._began is not None and self._guarding and self._clock() - self._began > ROUND

    @property
    def _guarding(self) -> bool:
        """Whether critical requests come; who would have to wait for them needs a line."""
        return self._rates[Priority.CRITICAL] > 1 and self.queue > 0

    def _take(self, priority: Priority) -> Held:
        self._count(priority)
        return Held(self)

    def _count(self, priority: Priority) -> None:
        self._let[priority] += 1
        self.busy += 1
        self.held += 1
        self._most_busy = max(self._most_busy, self.busy)
        if self._timer is None:
            self._looked, self._used = self._clock(), time.process_time()
            self._watch()
        if priority and self._began is None and self._guarding:
            self._began = self._clock()
            loop = asyncio.get_running_loop()
            if self.rest:
                loop.call_later(ROUND + self.rest, self._rested)
            else:
                loop.call_soon(self._rested)

    def _rested(self) -> None:
        self._began = None
        self._call()

    def _take_back(self, turn: Turn) -> None:
        given = turn.given
        if given.done() and not given.cancelled() and given.exception() is None:
            self.leave(at_work=True)  # the place was given in the same moment
        else:
            self._turns.remove(turn)

    def _call(self) -> None:
        """Whose turn it is. What finds no room for the first finds none for the others: theirs is smaller."""
        while (first := self._turns.first) is not None and self._room(first):
            turn = self._turns.next()
            if turn is not None and not turn.given.done():
                self._count(turn.priority)
                turn.given.set_result(None)
                if self._began is not None and turn.priority:
                    self._began = -math.inf  # its work is still to come in this round

    # ---- the limit

    def _watch(self) -> None:
        self._due = self._clock() + TICK
        self._timer = asyncio.get_running_loop().call_later(TICK, self._look)

    def _look(self) -> None:
        now, used = self._clock(), time.process_time()
        self.adapt(max(0.0, now - self._due), now - self._looked, used - self._used)
        self._looked, self._used = now, used
        self._call()
        if self.held:
            self._watch()
        else:
            self._timer = None

    def adapt(self, late: float, seconds: float, used: float = 0.0) -> None:
        """`late`: by how much the loop was; `seconds`: since the last look, of which we worked for `used`."""
        self.late += (late - self.late) / 2
        if seconds > 0:
            self._rate += (self._left / seconds - self._rate) / 4
            self._rates = [rate + (let / seconds - rate) / 4 for rate, let in zip(self._rates, self._let, strict=True)]
            busy = min(1.0, used / seconds) if self._guarding else 0.0
            self.rest = min(REST, max(0.0, self.rest + (busy - BUSY) * GAIN))
        if self.late > TARGET:
            self.limit = self.limit * max(0.5, TARGET / self.late) + math.sqrt(self.limit)
        elif self._most_busy >= self.limit / 2:
            self.limit += math.sqrt(self.limit)
        self.limit = min(float(self.most), max(float(LEAST), self.limit))
        self._most_busy, self._left, self._let = self.busy, 0, [0] * len(Priority)

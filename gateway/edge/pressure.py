"""How much is worked on at once: a limit that follows the delay of our own event loop, and what is least important goes without first.

Two numbers bound what is let in. `most` counts every request, also those that wait for a system behind; it is fixed, since waiting costs
memory and nothing else, and a slow system must slow only its own answers (its places are the guard's). `limit` counts those at work
here, and adapts.

It follows Envoy's gradient controller (new = old x gradient + headroom, headroom = the root of the old limit), as Netflix's Gradient2
does, with another sample. Both take the time of whole requests, for which a slow system behind looks like an overload here, and must
find out by probing, or from a long average that drifts, what would be normal. We take how late the loop runs a timer: what every request
at work adds to every other. An idle loop is late by nothing, so nothing has to be probed, and a limit that is not used does not grow.

A limit alone fills the loop whatever it is: whoever ends makes room for the next, and what waits for a loop that has no time left waits for
everybody. So while critical requests come, few others are at work at once, and they are begun one after the other, one in a round of the
loop, as far apart as leaves it some time; and the connections of others are read one after the other too. Whose turn it is among those who
wait goes by weight: the least important wait longest, and none waits for ever.
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
LEAST = 5
"""The limit never falls below: more at work make nothing go faster, since one thread does it."""
CRITICAL = 64
"""At work at once whatever the limit: what is critical does not wait for the work of others that is done, only for its turn."""
FEW = 2
"""At work at once while critical requests come, of all others: each more makes a round of the loop longer."""
WAITS = (2.0, 1.5, 1.0, 0.5)
"""Longest time in line by priority, seconds; whoever would wait longer is told at once. A burst of a page's requests is no overload: it may
stand in line, where it takes nothing from whoever matters more.
"""
BURST = 32
"""Of a priority so many in a second are always counted on: what comes at once and is done with soon may stand in line, as far as there is
one."""
WEIGHTS = (1_000_000, 16, 4, 1)
"""Of the turns of those who wait, by priority: critical ones have all that they need."""
SHARES = (1.0, 0.9, 0.75, 0.5)
"""Of `most`, how much requests of each priority may fill: places that are held cannot be taken back, so some are kept free."""

BUSY = 0.6
"""Of a processor that we may use while critical requests come, our other threads with the loop: they take the interpreter from each other,
and a change waits for both."""
REST = 0.02
"""Longest rest, seconds."""
GAIN = 0.005
"""Seconds that a rest grows with each look at a loop which is busy all the time instead of never."""
SLACK = 0.005
"""Seconds by which who is begun late may make up for it."""
SPACE = 0.0004
"""Seconds between two reads from connections while critical requests come, but for the connections of these: a thousand who ask in the same
moment would fill a round of the loop by being told to go.
"""

HOLD = 2.0
"""Seconds for which who was refused, and comes back before he was asked to, waits at most."""
PAUSE = 50
"""Rests until somebody is listened to again who was answered at once, and need not hurry."""

Word = Literal["critical", "high", "normal", "low"]


class Paced(bytes):
    """The bytes of an answer after which the next read on its connection is listened to in a while."""

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
        self._turns = Turns(WEIGHTS)
        self._most_busy = 0
        self._let = [0] * len(Priority)
        self._rates = [0.0] * len(Priority)
        """Places given to each priority in a second, smoothed."""
        self.rest = 0.0
        """Seconds from the begin of one request to that of the next, of those that are not critical."""
        self._next = 0.0
        """When another of them may be begun."""
        self._begun = False
        """In this round of the loop one of them was."""
        self._listened = 0.0
        """When a connection of others was, or is to be, read from."""
        self._wake: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._looked = self._used = 0.0

    def set(self, most: int, queue: int) -> None:
        """From now on; what is at work stays."""
        self.most, self.queue = most, queue

    @property
    def waiting(self) -> int:
        return len(self._turns)

    @property
    def tight(self) -> bool:
        """Whether somebody may have to go without."""
        return bool(self._turns) or not self._room(Priority.LOW)

    def enter_now(self, priority: Priority) -> Held | None:
        """A place, if one is free for this priority and nobody waits for it."""
        if not self._free(priority):
            return None
        self._count(priority)
        return Held(self)

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
        self._call()
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
        return left <= 0 or self._turns.waiting(priority) >= max(BURST, self._rates[priority] / 2) * left  # half: there may be less

    def shed(self, priority: Priority, channel: str, client: str) -> Overloaded | None:
        """The refusal of one that would be refused whatever its time; to be asked before anything is spent on a request."""
        if self._free(priority):
            return None
        return self.no(priority) if self.hopeless(priority, channel, client, math.inf) else None

    def no(self, priority: Priority) -> Overloaded:
        """The refusal, counted. Less important callers are sent away for longer, each for another time."""
        self.refused[priority] += 1
        return Overloaded(policy=priority.name.lower(), retry_after=random.uniform(1, 2 + 2 * priority))  # noqa: S311 - spreads callers

    def until_read(self) -> float:
        """Seconds after which a connection is to be read from that brought nothing critical last time; each call takes such a turn."""
        if not self._guarding:
            return 0.0
        now = self._clock()
        self._listened = max(self._listened + SPACE, now)
        return self._listened - now

    def put_down(self) -> None:
        self.busy -= 1
        self._call()

    def leave(self, *, at_work: bool) -> None:
        self.held -= 1
        self.busy -= at_work
        self._call()

    def _free(self, priority: Priority) -> bool:
        return not (self._turns if priority else self._turns.waiting(priority)) and self._room(priority)

    def _room(self, priority: Priority) -> bool:
        if self.held >= self.most * SHARES[priority]:
            return False
        if not priority:
            return self.busy < max(self.limit, CRITICAL)
        if self._guarding:
            return self.busy < FEW and not self._begun and self._clock() >= self._next
        return self.busy < self.limit

    @property
    def _guarding(self) -> bool:
        """Whether critical requests come; who would have to wait for them needs a line."""
        return self._rates[Priority.CRITICAL] > 1 and self.queue > 0

    def _count(self, priority: Priority) -> None:
        self._let[priority] += 1
        self.busy += 1
        self.held += 1
        self._most_busy = max(self._most_busy, self.busy)
        if self._timer is None:
            self._looked, self._used = self._clock(), time.process_time()
            self._watch()
        if priority and not self._begun and self._guarding:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._turn_of_the_loop)
        if priority and self.rest:
            self._next = max(self._next, self._clock() - SLACK) + self.rest

    def _take_back(self, turn: Turn) -> None:
        given = turn.given
        if given.done() and not given.cancelled() and given.exception() is None:
            self.leave(at_work=True)  # the place was given in the same moment
        else:
            self._turns.remove(turn)

    def _call(self) -> None:
        """Whose turn it is."""
        while turn := self._turns.next(self._room):
            if not turn.given.done():
                self._count(turn.priority)
                turn.given.set_result(None)
        if self._turns and self._wake is None and (left := self._next - self._clock()) > 0:
            self._wake = asyncio.get_running_loop().call_later(left, self._woken)

    def _turn_of_the_loop(self) -> None:
        self._begun = False
        self._call()

    def _woken(self) -> None:
        self._wake = None
        self._call()

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
            self._rates = [rate + (let / seconds - rate) / 4 for rate, let in zip(self._rates, self._let, strict=True)]
            busy = min(1.0, used / seconds) if self._guarding else 0.0
            self.rest = min(REST, max(0.0, self.rest + (busy - BUSY) * GAIN))
        if self.late > TARGET:
            self.limit = self.limit * max(0.5, TARGET / self.late) + math.sqrt(self.limit)
        elif self._most_busy >= self.limit / 2:
            self.limit += math.sqrt(self.limit)
        self.limit = min(float(self.most), max(float(LEAST), self.limit))
        self._most_busy, self._let = self.busy, [0] * len(Priority)

"""Whose turn it is: callers wait by importance, fairly between channels, and between the clients of one channel."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from contracts.call import Priority


@dataclass(slots=True, eq=False)
class Turn:
    """`given` is done when it has come; who waits on it is told by an exception that it never will."""

    priority: Priority
    channel: str
    client: str
    given: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


_Clients = OrderedDict[str, deque[Turn]]


class Turns:
    """Channels take turns, within a channel its clients, so that a storm is felt first where it comes from.

    `weights` by priority: of those that wait each has its share of the turns, and none starves.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = weights
        self._lines: list[OrderedDict[str, _Clients]] = [OrderedDict() for _ in Priority]
        self._sizes = [0] * len(Priority)
        self._spent = [0.0] * len(Priority)
        """Turns that each priority has had, over its weight; the smallest comes next (stride scheduling, Waldspurger 1995)."""
        self._now = 0.0

    def __len__(self) -> int:
        return sum(self._sizes)

    def waiting(self, priority: Priority) -> int:
        return self._sizes[priority]

    def add(self, turn: Turn) -> None:
        if not self._sizes[turn.priority]:  # what it did not use while nobody waited is not saved up
            self._spent[turn.priority] = max(self._spent[turn.priority], self._now)
        self._lines[turn.priority].setdefault(turn.channel, OrderedDict()).setdefault(turn.client, deque()).append(turn)
        self._sizes[turn.priority] += 1

    def next(self, fits: Callable[[Priority], bool] = lambda priority: True) -> Turn | None:
        """Takes out whose turn it is, of the priorities that fit."""
        if not any(self._sizes):  # mostly, after every call
            return None
        priority = min((p for p in Priority if self._sizes[p] and fits(p)), key=lambda p: self._spent[p], default=None)
        if priority is None:
            return None
        line = self._lines[priority]
        channel, clients = line.popitem(last=False)
        client, turns = clients.popitem(last=False)
        turn = turns.popleft()
        self._sizes[priority] -= 1
        if turns:
            clients[client] = turns
        if clients:
            line[channel] = clients
        self._now = max(self._now, self._spent[priority])
        self._spent[priority] = max(self._spent[priority], self._now - 1) + 1 / self._weights[priority]  # who did not fit saves up few
        return turn

    def remove(self, turn: Turn) -> None:
        line = self._lines[turn.priority]
        clients = line.get(turn.channel, OrderedDict())
        turns = clients.get(turn.client, ())
        if turn not in turns:
            return
        clients[turn.client].remove(turn)
        self._sizes[turn.priority] -= 1
        if not clients[turn.client]:
            del clients[turn.client]
        if not clients:
            del line[turn.channel]

    def least(self, priority: Priority, channel: str, client: str) -> Turn | None:
        """Who would give its place to such a newcomer: the newest of the least important, of the longest queue among them; of equals only
        one that waits with more than the newcomer would.
        """
        last = max((p for p in Priority if self._sizes[p]), default=None)
        if last is None or last < priority:
            return None
        line = self._lines[last]
        sizes = {name: sum(map(len, clients.values())) for name, clients in line.items()}
        longest = max(sizes, key=lambda name: sizes[name])
        if last == priority and sizes[longest] <= sizes.get(channel, 0) + 1:
            longest = channel
        clients = line.get(longest, OrderedDict())
        busiest = max(clients, key=lambda name: len(clients[name]), default=None)
        if busiest is None or (last == priority and longest == channel and len(clients[busiest]) <= len(clients.get(client, ())) + 1):
            return None
        return clients[busiest][-1]

    def by_channel(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for line in self._lines:
            for channel, clients in line.items():
                found[channel] = found.get(channel, 0) + sum(map(len, clients.values()))
        return found

"""How each channel and each system did minute by minute: the figures of the overview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from observability.rootcause.model import CLIENT, COUNTERS, GATEWAY, Rows, Where

MINUTES: Final = 60
MOST: Final = 60
"""Channels or systems."""
_CALLER, _LATE = COUNTERS.index("caller"), COUNTERS.index("late")


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """Of one channel or system; `n` and `bad` (failed or late) by minute, the oldest first."""

    name: str
    n: tuple[int, ...]
    bad: tuple[int, ...]
    p95_ms: float = 0.0
    """Since the gateway started; 0: nothing was counted."""

    @property
    def requests(self) -> int:
        return sum(self.n)

    @property
    def failed(self) -> int:
        return sum(self.bad)

    @property
    def lately(self) -> tuple[int, int]:
        """Bad ones and all of the last five minutes."""
        return sum(self.bad[-5:]), sum(self.n[-5:])


def by_channel(rows: Rows, now: float) -> list[Pulse]:
    """What callers felt."""
    return _pulses(rows, now, lambda key: "" if key.system else key.channel)


def by_system(rows: Rows, now: float) -> list[Pulse]:
    """Logical calls to each system."""
    return _pulses(rows, now, lambda key: "" if key.system in (GATEWAY, CLIENT) else key.system)


def _pulses(rows: Rows, now: float, name: Callable[[Where], str]) -> list[Pulse]:
    if not len(rows.bin):
        return []
    codes: dict[str, int] = {}
    of_key = np.array([codes.setdefault(n, len(codes)) if (n := name(key)) else -1 for key in rows.keys], np.int64)
    code = of_key[np.frombuffer(rows.key, np.int64)]
    end = int(now) // 60 + 1
    minute = np.frombuffer(rows.bin, np.int64) // 60 - (end - MINUTES)
    taken = (code >= 0) & (minute >= 0) & (minute < MINUTES)
    place = code[taken] * MINUTES + minute[taken]

    def summed(*columns: int) -> list[int]:
        values = [np.frombuffer(rows.counters[column], np.int64)[taken] for column in columns]
        return [int(v) for v in np.bincount(place, np.sum(values, axis=0), len(codes) * MINUTES)]

    counts = summed(0)
    troubles = summed(*(column for column in range(1, _LATE + 1) if column != _CALLER))
    found = [
        Pulse(
            name=each,
            n=tuple(counts[at * MINUTES : (at + 1) * MINUTES]),
            bad=tuple(min(b, n) for b, n in zip(troubles[at * MINUTES : (at + 1) * MINUTES], counts[at * MINUTES :], strict=False)),
        )
        for each, at in codes.items()
    ]
    return sorted(found, key=lambda p: (-p.lately[0], -p.requests, p.name))[:MOST]

"""How each channel and each system did minute by minute: the figures of the overview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from observability.rootcause.model import CLIENT, COUNTERS, GATEWAY, Rows, Where

MINUTES: Final = 60
"""That are looked at, to now."""
MOST: Final = 60
"""Channels or systems."""
_CALLER, _LATE, _DEGRADED = (COUNTERS.index(name) for name in ("caller", "late", "degraded"))


class Counted(NamedTuple):
    """Of one channel or system: requests, those that failed or were late, and those that got less than they asked for, by minute, the
    oldest first.
    """

    name: str
    n: tuple[int, ...]
    bad: tuple[int, ...]
    degraded: tuple[int, ...]


def by_channel(rows: Rows, now: float) -> list[Counted]:
    """What callers felt."""
    return _pulses(rows, now, lambda key: "" if key.system else key.channel)


def by_system(rows: Rows, now: float) -> list[Counted]:
    """Logical calls to each system."""
    return _pulses(rows, now, lambda key: "" if key.system in (GATEWAY, CLIENT) else key.system)


def _pulses(rows: Rows, now: float, name: Callable[[Where], str]) -> list[Counted]:
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
    lesser = summed(_DEGRADED)

    def of(values: list[int], at: int) -> tuple[int, ...]:
        return tuple(min(value, n) for value, n in zip(values[at : at + MINUTES], counts[at : at + MINUTES], strict=True))

    found = [Counted(each, of(counts, at), of(troubles, at), of(lesser, at)) for each, at in ((e, c * MINUTES) for e, c in codes.items())]
    return sorted(found, key=lambda p: (-sum(p.bad[-5:]), -sum(p.n), p.name))[:MOST]

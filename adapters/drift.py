"""Drift: what answers contain that the contract or mapping does not know, counted, never unbounded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class DriftCount:
    """`kind` is element, member or value; `path` a place in the answer; `value` the unknown value, empty for the others."""

    kind: str
    path: str
    value: str
    count: int
    first_seen: datetime
    last_seen: datetime


class Drift:
    """One per operation. Holds `most` different observations; what comes beyond is counted in `others` only."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._counts: dict[tuple[str, str, str], DriftCount] = {}
        self.total = self.others = 0

    def count(self, kind: str, path: str, value: str) -> None:
        self.total += 1
        now = datetime.now(UTC)
        known = self._counts.get((kind, path, value))
        if known is not None:
            known.count += 1
            known.last_seen = now
        elif len(self._counts) < self._most:
            self._counts[kind, path, value] = DriftCount(kind, path, value, 1, now, now)
        else:
            self.others += 1

    def read(self) -> list[DriftCount]:
        """Most frequent first."""
        counts = list(self._counts.values())  # a copy: a feed's thread may be counting
        return sorted(counts, key=lambda c: -c.count)

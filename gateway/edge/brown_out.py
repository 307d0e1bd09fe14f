"""Announced minutes in which a deprecated version fails, so that whoever still uses it notices before it is switched off for good."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE = re.compile(r"((?:[a-z]{3},)*[a-z]{3}) ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_EXPECTED = 'weekdays and hours such as "tue 10:00-10:15", "mon,thu 23:50-00:10" or "day 06:00-06:05"'
_AHEAD = timedelta(days=400)
"""How far recurring windows are looked for."""
LONGEST = timedelta(hours=24)
"""Longer is no brown-out: it is a sunset."""


@dataclass(frozen=True, order=True)
class Window:
    """From `start` to before `end`, both in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """ISO 8601, an interval."""
        return f"{self.start:%Y-%m-%dT%H:%MZ}/{self.end:%Y-%m-%dT%H:%MZ}"

    @property
    def said(self) -> str:
        """For people."""
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%H:%M} UTC"


@dataclass(frozen=True)
class Weekly:
    """On these days (0 = Monday), local time. An end that is not after the begin is on the next day."""

    days: frozenset[int]
    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Weekly:
        """Raises ValueError with what was expected."""
        found = _RULE.fullmatch(text)
        if not found:
            raise ValueError(f"expected {_EXPECTED}, got {text!r:.60}")
        names = found[1].split(",")
        if unknown := next((n for n in names if n not in (*_DAYS, "day")), None):
            raise ValueError(f"expected {_EXPECTED}: {unknown!r} is no day")
        days = range(7) if "day" in names else (_DAYS.index(n) for n in names)
        try:
            begin, end = time(int(found[2]), int(found[3])), time(int(found[4]), int(found[5]))
        except ValueError:
            raise ValueError(f"expected {_EXPECTED}, got {text!r:.60}") from None
        if begin == end:
            raise ValueError(f"expected {_EXPECTED}: it ends as it begins")
        return cls(frozenset(days), begin, end)

    def on(self, day: date, zone: ZoneInfo) -> Window:
        end = day if self.end > self.begin else day + timedelta(days=1)
        return Window(
            datetime.combine(day, self.begin, zone).astimezone(UTC),
            datetime.combine(end, self.end, zone).astimezone(UTC),
        )


@dataclass(frozen=True)
class BrownOut:
    """One window, or (with `weekly`) all that begin in it."""

    version: str
    zone: ZoneInfo
    since: datetime | None = None
    until: datetime | None = None
    weekly: Weekly | None = None
    announcement: str = ""
    """Where it is announced, for people."""

    def windows(self, at: datetime) -> Iterator[Window]:
        """Those that are not over at `at`, soonest first."""
        if self.weekly is None:
            if self.since and self.until and self.until > at:
                yield Window(self.since.astimezone(UTC), self.until.astimezone(UTC))
            return
        first = max(at, self.since) if self.since else at
        day, last = first.astimezone(self.zone).date() - timedelta(days=2), (first + _AHEAD).date()
        while day <= last:
            if day.weekday() in self.weekly.days:
                window = self.weekly.on(day, self.zone)
                if self.until and window.start >= self.until:
                    return
                if window.end > at and window.end > window.start and (not self.since or window.start >= self.since):
                    yield window
            day += timedelta(days=1)


def coming(brown_outs: Iterable[BrownOut], version: str, at: datetime, many: int) -> list[tuple[Window, BrownOut]]:
    """Those of a version that are not over at `at`, soonest first."""
    found = ((w, b) for b in brown_outs if b.version == version for w in islice(b.windows(at), many))
    return sorted(found, key=lambda each: each[0])[:many]


def upcoming(brown_outs: Iterable[BrownOut], version: str, at: datetime) -> tuple[Window, BrownOut] | None:
    """The one that runs at `at`, else the next."""
    return next(iter(coming(brown_outs, version, at, 1)), None)


def overlap(one: BrownOut, other: BrownOut, at: datetime) -> Window | None:
    """The first window of `one` in which `other` has one too, as far as anybody plans."""
    horizon = at + _AHEAD
    mine = list(takewhile(lambda w: w.start < horizon, one.windows(at)))
    others = list(takewhile(lambda w: w.start < horizon, other.windows(at)))
    return next((w for w in mine if any(w.start < o.end and o.start < w.end for o in others)), None)

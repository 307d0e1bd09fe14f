"""What a retailer expects of the files of a feed: when they come, and how they are numbered."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from contracts.policy import Duration

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", examples=["22:30"])]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", examples=["2026-12-25"])]


class Hours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one store, where it differs from the others; what is not said is as for them."""

    opens: TimeOfDay | None = None
    by: TimeOfDay | None = None
    until: TimeOfDay | None = None
    days: tuple[Weekday, ...] | None = None
    closed: tuple[Day, ...] = ()
    """Besides the days on which all are closed."""


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file is expected of each store for each of its business days. Times are those of the store's clock; one that is not behind
    the time before it is of the next day.
    """

    by: Annotated[TimeOfDay, Meta(description="When the file has come; without it none is expected, and only the days count")] | None = None
    opens: Annotated[TimeOfDay, Meta(description="A file that comes before is early")] = "00:00"
    until: (
        Annotated[TimeOfDay, Meta(description="From then on the file is not late but missing; without it a day after `opens`")] | None
    ) = None
    after: Annotated[int, Meta(ge=0, le=7, description="Days after the business day on which the window opens")] = 0
    grace: Annotated[Duration, Meta(description="So much later than `by` is not late yet")] = Duration(0)
    days: Annotated[tuple[Weekday, ...], Meta(description="Weekdays that are business days")] = WEEKDAYS
    closed: Annotated[tuple[Day, ...], Meta(description="Days on which no store opens")] = ()
    stores: Annotated[tuple[str, ...], Meta(description="Who is expected; without it every store that delivered in the last 30 days")] = ()
    store: Annotated[dict[str, Hours], Meta(description="Stores with other hours or days, by number")] = {}
    zone: Annotated[str, Meta(description="Time zone, where the files are of no one store", examples=["Europe/Berlin"])] = ""

    def __post_init__(self) -> None:
        hours, calendar = self.until or self.opens != "00:00" or self.grace, self.closed or self.store or self.days != WEEKDAYS
        if self.by is None and (hours or not calendar):
            raise ValueError("expected by, when the file has come; only a calendar of days and closed does without")
        if self.zone:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError(f"expected a time zone such as Europe/Berlin, got {self.zone!r}") from error
        for day in (*self.closed, *(day for hours in self.store.values() for day in hours.closed)):
            date.fromisoformat(day)
        for store, own in {"": _AS_ALL, **self.store}.items():
            slot = self._slot(own, date(2026, 1, 1), UTC)
            if slot is not None and slot.late > slot.until:
                whose, due, until = f"store {store}: " if store else "", own.by or self.by, own.until or self.until or "a day after opens"
                late = f"by {due} with its grace, {slot.late:%H:%M}{' of the next day' if slot.late.day > slot.opens.day else ''}"
                raise ValueError(
                    f"{whose}until {until} comes before {late}: no file would be late, only missing; a later until, or less grace"
                )

    def open(self, store: str, day: date) -> bool:
        """Whether it is a business day of the store."""
        own = self.store.get(store, _AS_ALL)
        days = self.days if own.days is None else own.days
        return WEEKDAYS[day.weekday()] in days and day.isoformat() not in (*self.closed, *own.closed)

    def slot(self, store: str, day: date, zone: ZoneInfo) -> Slot | None:
        """When the file of a business day is expected; None for a day on which the store is closed, or where none is expected."""
        return self._slot(self.store.get(store, _AS_ALL), day, zone) if self.open(store, day) else None

    def _slot(self, own: Hours, day: date, zone: tzinfo) -> Slot | None:
        if (due := own.by or self.by) is None:
            return None
        opens = datetime.combine(day + timedelta(self.after), _time(own.opens or self.opens), zone)
        by = _behind(opens, due)
        last = own.until or self.until
        return Slot(
            day.isoformat(), opens, by + timedelta(seconds=self.grace), _behind(by, last) if last else max(opens + timedelta(1), by)
        )


class Slot(msgspec.Struct, frozen=True):
    """Of one store and business day. `late`: from when on, grace included."""

    business_date: str
    opens: datetime
    late: datetime
    until: datetime


class Numbering(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the names of a store's files count them: they are read in this order, and gaps are told."""

    group: Annotated[str, Meta(description="Group of the layout's name pattern that holds the number", examples=["number"])] = ""
    restarts: Annotated[Literal["never", "daily"], Meta(description="`daily`: counted within each business day")] = "never"
    wraps: Annotated[int, Meta(ge=0, le=10**12, description="Number after which the count begins again at 1; 0: it never does")] = 0


def business_date(text: str) -> str:
    """20261120 or 2026-11-20 as a date; empty for what is none."""
    try:
        return date.fromisoformat(text).isoformat() if re.fullmatch(r"[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else ""
    except ValueError:
        return ""


_AS_ALL = Hours()


def _time(text: str) -> time:
    return time.fromisoformat(text)


def _behind(moment: datetime, text: str) -> datetime:
    """The first such time of the clock after a moment."""
    found = datetime.combine(moment.date(), _time(text), moment.tzinfo)
    return found if found > moment else datetime.combine(moment.date() + timedelta(1), _time(text), moment.tzinfo)

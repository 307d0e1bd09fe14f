"""Brown-outs as an estate announces them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.edge.brown_out import BrownOut, Weekly
from gateway.estate.tables import Estate


def brown_outs(estate: Estate) -> tuple[BrownOut, ...]:
    """As they are written. Raises ValueError for a rule that is none, ZoneInfoNotFoundError."""
    zone = ZoneInfo(estate.estate.time_zone)

    def moment(at: datetime | None) -> datetime | None:
        return at.replace(tzinfo=zone) if at is not None and at.tzinfo is None else at

    return tuple(
        BrownOut(b.version, zone, moment(b.from_), moment(b.until), Weekly.parse(b.every) if b.every else None, b.announcement)
        for b in estate.versions.brown_out
    )


def past_brown_outs(estate: Estate, now: datetime) -> Iterator[str]:
    """Entries that do nothing any more, as sentences."""
    for one in brown_outs(estate):
        if next(one.windows(now), None) is None:
            yield f"[[versions.brown_out]] of {one.version}: it is over, the entry may go"

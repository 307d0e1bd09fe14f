"""Holds of stock, and what is changed only from a known version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from contracts.canonical.reservation import Reservation, ReservationState
from contracts.errors import PreconditionFailed
from contracts.events import Event
from contracts.ports import SkuAt


def require_version(expected: Collection[int] | None, stands: int) -> None:
    """None expects nothing. Raises PreconditionFailed."""
    if expected is not None and stands not in expected:
        wanted = ", ".join(f'"v{v}"' for v in sorted(expected)) or "no strong tag of this resource"
        raise PreconditionFailed(expected=wanted[:80], actual=f'"v{stands}"')


class ReservationBook(Protocol):
    async def hold(
        self, reservation: Reservation, free: Decimal | None, counted_since: datetime, now: datetime, events: Sequence[Event]
    ) -> Reservation:
        """Insert if `free` (free stock before own holds; None: no limit) covers all active holds of that sku and location plus this one.

        A repeat with the same key returns the stored reservation and changes nothing. Own holds are active ones that have not expired at
        `now`, plus those committed after `counted_since` (the moment of the stock figure, which cannot contain them).
        Raises InsufficientStock.
        """
        ...

    async def change(
        self,
        key: str,
        to: ReservationState,
        now: datetime,
        events: Sequence[Event],
        *,
        reason: str | None = None,
        expires_at: datetime | None = None,
        expected: Collection[int] | None = None,
    ) -> Reservation:
        """A conditional change along canonical model §5; a repeat changes nothing. Only from one of the versions `expected`, if given.
        Raises NotFound, PreconditionFailed, StateConflict.
        """
        ...

    async def get(self, key: str) -> Reservation | None: ...

    async def held(self, pairs: Sequence[SkuAt], counted_since: Mapping[SkuAt, datetime], now: datetime) -> Mapping[SkuAt, Decimal]:
        """Own holds per pair, counted as in `hold`. Pairs without holds are absent."""
        ...

    async def expire(self, now: datetime, limit: int) -> Sequence[Reservation]:
        """Marks overdue active reservations expired. Returns those changed."""
        ...

    async def of_owner(self, owner_type: str, owner_id: str) -> Sequence[Reservation]: ...

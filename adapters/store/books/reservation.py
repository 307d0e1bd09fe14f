"""Reservations: held only while free stock covers them, changed only along the state machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal

import msgspec

from adapters.store.books.outbox import append, subjects
from adapters.store.forms import decode, encode, micros, millionths, text, units
from adapters.store.unit import Engine, Transaction
from contracts.books import require_version
from contracts.canonical.reservation import Reservation, ReservationState
from contracts.errors import InsufficientStock, NotFound, StateConflict
from contracts.events import Event
from contracts.ports import SkuAt

_BY_KEY = "select body from reservation where key = $1"
_OWN = (
    "select sku, location, sum(millionths) from reservation where sku = $1 and location = $2"
    " and ((state = 'active' and expires_at > $3) or (state = 'committed' and changed_at > $4)) group by sku, location"
)


class Reservations:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def hold(
        self, reservation: Reservation, free: Decimal | None, counted_since: datetime, now: datetime, events: Sequence[Event]
    ) -> Reservation:
        wanted = millionths(reservation.quantity.value)
        sku, location = reservation.sku, reservation.location_id

        async def unit(tx: Transaction) -> Reservation:
            await tx.lock(f"stock {sku}@{location}", f"reservation {reservation.reservation_key}", *subjects(events))
            if rows := await tx.query(_BY_KEY, reservation.reservation_key):
                return decode(rows[0][0], Reservation)
            if free is not None:
                own = await tx.query(_OWN, sku, location, micros(now), micros(counted_since))
                left = int(free.scaleb(6).to_integral_value(rounding=ROUND_FLOOR)) - (int(own[0][2]) if own else 0)
                if wanted > left:
                    available = f"{units(max(left, 0)):f}"
                    raise InsufficientStock(sku=sku, location=location, requested=reservation.quantity.value, available=available)
            await tx.execute(
                "insert into reservation (key, sku, location, millionths, state, expires_at, changed_at, owner_type, owner_id, body)"
                " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                reservation.reservation_key,
                sku,
                location,
                wanted,
                reservation.state,
                micros(reservation.expires_at),
                micros(now),
                reservation.owner.type,
                text(reservation.owner.id),
                encode(reservation),
            )
            await append(tx, events)
            return reservation

        return await self._engine.write(unit)

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
        async def unit(tx: Transaction) -> Reservation:
            await tx.lock(f"reservation {key}", *subjects(events))
            if not (rows := await tx.query(_BY_KEY, text(key))):
                raise NotFound(what="reservation", key=key)
            stands = decode(rows[0][0], Reservation)
            require_version(expected, stands.version)
            overdue = stands.expires_at <= now
            if stands.state == to and (to != "active" or expires_at is None or (expires_at == stands.expires_at and not overdue)):
                return stands
            if stands.state != "active" or (overdue and to != "expired"):
                state = "expired" if stands.state == "active" else stands.state
                raise StateConflict(what="reservation", key=key, state=state, why=f"it cannot become {to}; reserve again")
            if to == "expired" and not overdue:
                raise StateConflict(what="reservation", key=key, state="active", why=f"it expires at {stands.expires_at.isoformat()}")
            changed = msgspec.structs.replace(
                stands,
                state=to,
                version=stands.version + 1,
                expires_at=expires_at or stands.expires_at,
                release_reason=reason if reason is not None else stands.release_reason,
            )
            await _store(tx, changed, now)
            await append(tx, events)
            return changed

        return await self._engine.write(unit)

    async def get(self, key: str) -> Reservation | None:
        async def unit(tx: Transaction) -> Reservation | None:
            rows = await tx.query(_BY_KEY, text(key))
            return decode(rows[0][0], Reservation) if rows else None

        return await self._engine.read(unit)

    async def held(self, pairs: Sequence[SkuAt], counted_since: Mapping[SkuAt, datetime], now: datetime) -> Mapping[SkuAt, Decimal]:
        """A pair that `counted_since` does not name counts every committed reservation."""
        at, ever = micros(now), 0
        since = {pair: micros(moment) for pair, moment in counted_since.items()}
        wanted = [(pair.sku, pair.location_id, at, since.get(pair, ever)) for pair in dict.fromkeys(pairs)]

        async def unit(tx: Transaction) -> Mapping[SkuAt, Decimal]:
            rows = await tx.query_each(_OWN, wanted)
            return {SkuAt(sku=sku, location_id=location): units(int(total)) for sku, location, total in rows if total}

        return await self._engine.read(unit)

    async def expire(self, now: datetime, limit: int) -> Sequence[Reservation]:
        async def unit(tx: Transaction) -> Sequence[Reservation]:
            await tx.lock("reservations overdue")
            changed = []
            for (body,) in await tx.query(
                "select body from reservation where state = 'active' and expires_at <= $1 order by expires_at, key limit $2",
                micros(now),
                limit,
            ):
                stands = decode(body, Reservation)
                expired = msgspec.structs.replace(stands, state="expired", version=stands.version + 1)
                if await _store(tx, expired, now, only_from=body):  # another process may just have extended or released it
                    changed.append(expired)
            return changed

        return await self._engine.write(unit)

    async def of_owner(self, owner_type: str, owner_id: str) -> Sequence[Reservation]:
        async def unit(tx: Transaction) -> Sequence[Reservation]:
            rows = await tx.query(
                "select body from reservation where owner_type = $1 and owner_id = $2 order by key", owner_type, text(owner_id)
            )
            return [decode(body, Reservation) for (body,) in rows]

        return await self._engine.read(unit)


async def _store(tx: Transaction, changed: Reservation, now: datetime, only_from: bytes | None = None) -> int:
    set_ = "update reservation set state = $1, expires_at = $2, changed_at = $3, body = $4 where key = $5"
    values = changed.state, micros(changed.expires_at), micros(now), encode(changed), changed.reservation_key
    return await (tx.execute(set_, *values) if only_from is None else tx.execute(set_ + " and body = $6", *values, only_from))

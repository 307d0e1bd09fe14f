"""The outbox: events stored in the commit of what they tell, handed out in order per subject, at least once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from operator import itemgetter
from typing import Any

import msgspec

from adapters.store.books.chunk import documents
from adapters.store.forms import after, decode, encode, instant, micros, text, units
from adapters.store.unit import Engine, Row, Transaction, insert
from contracts.books import OutboxRow
from contracts.events import Event

WHOLE, SALE, STOCK, BUNDLE, LEVEL = 0, 1, 2, 3, 4
"""Kinds of rows: the whole event in `body`; a booked sale, `number` is its id; a stock change of `number` millionths, its unit in `body`;
`number` events of one batch in `body`, to be unpacked into rows when they are due; a level that was reported, in `body`."""
NEW, BEHIND, NEXT, DELIVERED = 0, 1, 2, 3
"""Turns. A new row gets its turn in the order of positions, when somebody asks for more than is ready: then it is known whether an earlier
event of its subject is still out. So whoever asks looks at no row that has to wait."""
SOLD, MOVED, REPORTED = "io.tillgate.sale.committed.v1", "io.tillgate.inventory.changed.v1", "io.tillgate.inventory.reported.v1"
_NAMES = {SALE: SOLD, STOCK: MOVED, LEVEL: REPORTED}
_COLUMNS = "outbox (position, subject, kind, number, at, body)"
_ROOM = 2**20
_BLOCK = 100
_MOST_ADMITTED = 20_000
"""New rows that one call gives their turn."""


def subjects(events: Iterable[Event]) -> list[str]:
    """Names to lock before `append`: rows of one subject get their positions in the order of their commits."""
    return [f"subject {event.subject}" for event in events]


async def append(tx: Transaction, events: Sequence[Event]) -> None:
    if events:
        base = await _base(tx)
        rows = [(base + part, text(event.subject), WHOLE, None, micros(event.time), encode(event)) for part, event in enumerate(events)]
        await insert(tx, _COLUMNS, rows)


async def _base(tx: Transaction) -> int:
    return int((await tx.query("insert into outbox_base default values returning base"))[0][0]) * _ROOM


class Bundle(msgspec.Struct, frozen=True, array_like=True):
    """The events of one batch, small, so that booking stays cheap: sales as (reference, key), stock as (subject, millionths, unit),
    levels as (subject, the level as JSON)."""

    sales: list[tuple[int, str]]
    stock: list[tuple[str, int, str]]
    levels: list[tuple[str, msgspec.Raw]] = []


async def append_bundle(tx: Transaction, bundle: Bundle, now: datetime) -> None:
    if size := len(bundle.sales) + len(bundle.stock) + len(bundle.levels):
        await insert(tx, _COLUMNS, [(await _base(tx), "", BUNDLE, size, micros(now), encode(bundle))])


async def _unpacked(tx: Transaction, position: int) -> list[Row]:
    """The bundle's events as rows of their own, right behind its position."""
    ((at, body),) = await tx.query("delete from outbox where position = $1 returning at, body", position)
    bundle = decode(body, Bundle)
    events = [(key, SALE, number, at, None) for number, key in bundle.sales]
    stock = [(subject, STOCK, moved, at, unit.encode()) for subject, moved, unit in bundle.stock]
    levels = [(subject, LEVEL, None, at, bytes(level)) for subject, level in bundle.levels]
    return [(position + part, *row) for part, row in enumerate((*events, *stock, *levels), 1)]


@lru_cache(4096)
def _units(number: int) -> str:
    return f"{units(number):f}"


class EventOutbox:
    """`origin` identifies this store in the ids of events it writes itself."""

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source
        self.origin = ""

    async def due(self, owner: str, now: datetime, lease: float, limit: int) -> Sequence[OutboxRow]:
        """At most one per subject in one call: the next follows when it is delivered. What it costs depends on `limit` alone."""
        at, until = micros(now), after(now, lease)

        async def any_due(tx: Transaction) -> bool:
            return bool(
                await tx.query("select 1 from outbox where turn = 2 and ready_at <= $1 limit 1", at)
                or await tx.query("select 1 from outbox where turn = 0 limit 1")
            )

        async def take(tx: Transaction) -> Sequence[OutboxRow]:
            await tx.lock("outbox")
            ready = await tx.query(
                "update outbox set ready_at = $1, attempts = attempts + 1 where position in"
                " (select position from outbox where turn = 2 and ready_at <= $2 order by ready_at, position limit $3)"
                " returning position, subject, kind, number, at, body, attempts - 1",
                until,
                at,
                limit,
            )
            taken = sorted([*ready, *await _admitted(tx, limit - len(ready), at, until)], key=itemgetter(0))
            return tuple(map(OutboxRow, [row[0] for row in taken], await self._events(tx, taken), [row[6] for row in taken]))

        return await self._engine.write(take) if limit > 0 and await self._engine.read(any_due) else ()

    async def events(self, tx: Transaction, positions: Sequence[int]) -> dict[int, Event]:
        """By position, of rows that have a turn; those that are gone are absent."""
        rows = await among(tx, "select position, subject, kind, number, at, body from outbox where position in ({})", positions)
        return dict(zip([row[0] for row in rows], await self._events(tx, rows), strict=True))

    async def _events(self, tx: Transaction, rows: Sequence[Row]) -> list[Event]:
        bodies = await documents(tx, [row[3] for row in rows if row[2] == SALE])
        moment = lru_cache(16)(instant)  # a batch of sales has one
        return [self._event(row, bodies, moment) for row in rows]

    def _event(self, row: Row, bodies: dict[int, bytes], instant: Callable[[int], datetime]) -> Event:
        position, subject, kind, number, at, body = row[:6]
        sequence = f"{position:020d}"
        if kind == WHOLE:
            event = decode(body, Event)
            return event if event.sequence is not None else msgspec.structs.replace(event, sequence=sequence)
        data: dict[str, Any]
        if kind == SALE:
            data = msgspec.json.decode(bodies[number])
            day, identity = data["key"]["businessDate"], f"sale.{subject}"
            name = SOLD
        elif kind == LEVEL:
            data, day, identity, name = msgspec.json.decode(body), None, f"{self.origin}.{position}", REPORTED
        else:
            sku, _, location = subject.rpartition("@")
            data = {"sku": sku, "locationId": location, "change": {"value": _units(number), "unit": body.decode()}}
            day, identity, name = None, f"{self.origin}.{position}", MOVED
        return Event(
            id=identity,
            source=self._source,
            type=name,
            time=instant(at),
            subject=subject,
            data=data,
            sequence=sequence,
            businessdate=day,
        )

    async def left(self, types: tuple[str, ...], since: datetime, until: datetime, most: int) -> list[tuple[int, str]]:
        """Positions and subjects of events of these types that were handed out, and are kept. One more than `most` at the most."""
        found: list[tuple[int, str]] = []
        behind = -1
        while len(found) <= most:

            async def page(tx: Transaction, behind: int = behind) -> Sequence[Row]:
                return await tx.query(
                    "select position, subject, kind, case when kind = 0 then body else null end from outbox"
                    " where turn = 3 and position > $1 and at >= $2 and at < $3 order by position limit 1000",
                    behind,
                    micros(since),
                    micros(until),
                )

            rows = await self._engine.read(page)
            for position, subject, kind, body in rows:
                name = _NAMES.get(kind) or decode(body, Event).type
                if name.startswith(types):
                    found.append((position, subject))
            if len(rows) < 1000:
                break
            behind = rows[-1][0]
        return found[: most + 1]

    async def delivered(self, positions: Sequence[int]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock("outbox")
            done = await among(tx, "update outbox set turn = 3 where position in ({}) and turn = 2 returning subject", positions)
            behind = await among(
                tx,
                "select min(position) from outbox where subject in ({}) and turn in (1, 2) group by subject",
                [subject for (subject,) in done],
            )
            await among(tx, "update outbox set turn = 2 where position in ({})", [position for (position,) in behind])

        if positions:
            await self._engine.write(unit)

    async def failed(self, positions: Sequence[int], retry_at: datetime, error: str) -> None:
        async def unit(tx: Transaction) -> None:
            at, why = micros(retry_at), text(error[:2000])
            await tx.execute_each(
                "update outbox set ready_at = $1, error = $2 where position = $3 and turn = 2",
                [(at, why, position) for position in sorted(positions)],
            )

        if positions:
            await self._engine.write(unit)

    async def depth(self) -> int:
        async def unit(tx: Transaction) -> int:
            ((new,),) = await tx.query("select sum(case when kind = 3 then number else 1 end) from outbox where turn = 0")
            ((out,),) = await tx.query("select count(*) from outbox where turn in (1, 2)")
            return int(new or 0) + int(out)

        return await self._engine.read(unit)

    async def waiting_since(self) -> datetime | None:
        async def unit(tx: Transaction) -> datetime | None:
            sql = (
                "select min(at) from (select at from (select at from outbox where turn = 0 order by position limit 1) new union all"
                " select at from (select at from outbox where turn = 2 order by ready_at, position limit 100) next) waiting"
            )
            return instant((await tx.query(sql))[0][0])

        return await self._engine.read(unit)

    async def put(self, events: Sequence[Event]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(*subjects(events))
            await append(tx, events)

        if events:
            await self._engine.write(unit)

    async def purge(self, before: datetime) -> int:
        """Delivered events that happened before, unless a receiver is still to be told."""

        async def unit(tx: Transaction) -> int:
            await tx.execute("delete from outbox_base")
            return await tx.execute(
                "delete from outbox where turn = 3 and at < $1"
                " and not exists (select 1 from webhook_delivery where webhook_delivery.position = outbox.position)",
                micros(before),
            )

        return await self._engine.write(unit)


async def _admitted(tx: Transaction, room: int, at: int, until: int) -> list[Row]:
    """Gives new rows their turn, in order. Returns up to `room` of those that are next, leased `until` then."""
    leased: list[Row] = []
    seen = 0
    while len(leased) < room and seen < _MOST_ADMITTED:
        new = await tx.query(
            "select position, subject, kind, number, at, case when kind = 3 then null else body end from outbox"
            " where turn = 0 order by position limit $1",
            room,
        )
        if not new:
            break
        packed = new[0][2] == BUNDLE
        rows = await _unpacked(tx, new[0][0]) if packed else list(takewhile(lambda row: row[2] != BUNDLE, new))
        asked = list(dict.fromkeys(row[1] for row in rows))
        out = {s for (s,) in await among(tx, "select distinct subject from outbox where subject in ({}) and turn in (1, 2)", asked)}
        turns: list[tuple[int, int, int]] = []
        for row in rows:
            if row[1] in out:
                turns.append((BEHIND, at, 0))
            elif len(leased) < room:
                turns.append((NEXT, until, 1))
                leased.append((*row, 0))
            else:
                turns.append((NEXT, at, 0))
            out.add(row[1])
        if packed:
            columns = "outbox (position, subject, kind, number, at, body, turn, ready_at, attempts)"
            await insert(tx, columns, [(*row, *turn) for row, turn in zip(rows, turns, strict=True)])
        else:
            await tx.execute_each(
                "update outbox set turn = $1, ready_at = $2, attempts = $3 where position = $4",
                [(*turn, row[0]) for row, turn in zip(rows, turns, strict=True)],
            )
        seen += len(rows)
    return leased


async def among(tx: Transaction, sql: str, values: Sequence[Any], *given: Any) -> list[Row]:
    """The statement with all `values` in place of `{}`, many at a time, behind those `given`; the last ones are repeated, so that its text
    is always the same.
    """
    returned: list[Row] = []
    places = ", ".join(f"${len(given) + n}" for n in range(1, _BLOCK + 1))
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        returned += await tx.query(sql.format(places), *given, *block, *[block[-1]] * (_BLOCK - len(block)))
    return returned

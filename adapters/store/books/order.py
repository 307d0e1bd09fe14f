"""Orders and the durable processes that carry them through the systems."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from adapters.store.books.outbox import append, subjects
from adapters.store.forms import after, decode, encode, instant, micros, text
from adapters.store.unit import Engine, Transaction
from contracts.books import Process, ProcessState
from contracts.canonical.order import Order
from contracts.errors import NotFound, StateConflict
from contracts.events import Event


class Orders:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def accept(self, order: Order, process: Process, client: str, key: str, events: Sequence[Event]) -> tuple[Order, Process, bool]:
        """Raises StateConflict when the id or number belongs to an order of another key."""

        async def unit(tx: Transaction) -> tuple[Order, Process, bool]:
            await tx.lock(*subjects(events))
            if not await tx.query(
                "insert into customer_order (id, number, channel, client, key, version, body) values ($1, $2, $3, $4, $5, $6, $7)"
                " on conflict do nothing returning id",
                order.id,
                order.order_number,
                order.channel,
                client,
                text(key),
                order.version,
                encode(order),
            ):
                rows = await tx.query(
                    "select o.body, p.body from customer_order o join process p on p.order_id = o.id where o.client = $1 and o.key = $2",
                    client,
                    text(key),
                )
                if not rows:
                    raise StateConflict(what="order", key=order.order_number, state="taken", why="it belongs to another order")
                return decode(rows[0][0], Order), decode(rows[0][1], Process), False
            await tx.execute(
                "insert into process (id, order_id, state, due_at, lease_until, version, body) values ($1, $2, $3, $4, $5, $6, $7)",
                process.id,
                process.subject,
                process.state,
                micros(process.due_at),
                micros(process.lease_until),
                process.version,
                encode(process),
            )
            await append(tx, events)
            return order, process, True

        return await self._engine.write(unit)

    async def get(self, order_id: str) -> Order | None:
        return await self._one("select body from customer_order where id = $1", order_id)

    async def by_number(self, number: str) -> Order | None:
        return await self._one("select body from customer_order where number = $1", number)

    async def _one(self, sql: str, key: str) -> Order | None:
        async def unit(tx: Transaction) -> Order | None:
            rows = await tx.query(sql, text(key))
            return decode(rows[0][0], Order) if rows else None

        return await self._engine.read(unit)

    async def list(self, channel: str, before: str | None, limit: int) -> Sequence[Order]:
        """Raises NotFound when `before` names no order of this channel."""

        async def unit(tx: Transaction) -> Sequence[Order]:
            place = 2**62
            if before is not None:
                found = await tx.query("select place from customer_order where id = $1 and channel = $2", text(before), channel)
                if not found:
                    raise NotFound(what="order", key=before)
                place = found[0][0]
            rows = await tx.query(
                "select body from customer_order where channel = $1 and place < $2 order by place desc limit $3", channel, place, limit
            )
            return [decode(body, Order) for (body,) in rows]

        return await self._engine.read(unit)

    async def save(self, process: Process, order: Order | None, events: Sequence[Event]) -> Process:
        async def unit(tx: Transaction) -> Process:
            await tx.lock(*subjects(events))
            saved = msgspec.structs.replace(process, version=process.version + 1)
            if not await _update(tx, saved, process.version):
                raise await _moved(tx, "process", process.id, process.version)
            if order is not None:
                changed = msgspec.structs.replace(order, version=order.version + 1)
                if not await tx.execute(
                    "update customer_order set version = $1, body = $2 where id = $3 and version = $4",
                    changed.version,
                    encode(changed),
                    order.id,
                    order.version,
                ):
                    raise await _moved(tx, "customer_order", order.id, order.version)
            await append(tx, events)
            return saved

        return await self._engine.write(unit)

    async def due(self, owner: str, now: datetime, lease: float, limit: int) -> Sequence[Process]:
        """Leasing raises the version, so that an earlier owner who wakes up late can save nothing."""
        at = micros(now)
        due = (
            " from process where state in ('running', 'waiting', 'compensating') and due_at <= $1"
            " and (lease_until is null or lease_until <= $1)"
        )

        async def any_due(tx: Transaction) -> bool:
            return bool(await tx.query(f"select 1{due} limit 1", at))

        async def take(tx: Transaction) -> Sequence[Process]:
            await tx.lock("process due")
            until = instant(after(now, lease))
            taken: list[Process] = []
            for (body,) in await tx.query(f"select body{due} order by due_at, id limit $2", at, limit):
                stands = decode(body, Process)
                leased = msgspec.structs.replace(stands, owner=owner, lease_until=until, version=stands.version + 1)
                if await _update(tx, leased, stands.version):
                    taken.append(leased)
            return tuple(taken)

        return await self._engine.write(take) if await self._engine.read(any_due) else ()

    async def process_of(self, order_id: str) -> Process | None:
        async def unit(tx: Transaction) -> Process | None:
            rows = await tx.query("select body from process where order_id = $1", text(order_id))
            return decode(rows[0][0], Process) if rows else None

        return await self._engine.read(unit)

    async def processes(self, states: Sequence[ProcessState], limit: int) -> Sequence[Process]:
        """Those due first come first."""
        wanted = ", ".join(f"${n}" for n in range(1, len(states) + 1))

        async def unit(tx: Transaction) -> Sequence[Process]:
            rows = await tx.query(
                f"select body from process where state in ({wanted}) order by due_at, id limit ${len(states) + 1}",  # noqa: S608  # placeholders
                *states,
                limit,
            )
            return [decode(body, Process) for (body,) in rows]

        return await self._engine.read(unit) if states else ()

    async def all_orders(self) -> Sequence[Order]:
        async def unit(tx: Transaction) -> Sequence[Order]:
            return [decode(body, Order) for (body,) in await tx.query("select body from customer_order order by place")]

        return await self._engine.read(unit)


async def _update(tx: Transaction, process: Process, version: int) -> int:
    return await tx.execute(
        "update process set state = $1, due_at = $2, lease_until = $3, version = $4, body = $5 where id = $6 and version = $7",
        process.state,
        micros(process.due_at),
        micros(process.lease_until),
        process.version,
        encode(process),
        process.id,
        version,
    )


async def _moved(tx: Transaction, table: str, id: str, version: int) -> NotFound | StateConflict:
    rows = await tx.query(f"select version from {table} where id = $1", id)  # noqa: S608  # one of two names above
    what = "order" if table == "customer_order" else table
    if not rows:
        return NotFound(what=what, key=id)
    return StateConflict(what=what, key=id, state=f"at version {rows[0][0]}", why=f"version {version} was changed meanwhile")

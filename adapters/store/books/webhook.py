"""Receivers of events over HTTP and their queues: references to the outbox, handed out in order per subject and receiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters.store.books.audit import write_entries
from adapters.store.books.outbox import BEHIND, NEXT, EventOutbox, among
from adapters.store.forms import after, decode, encode, instant, micros, text
from adapters.store.unit import Engine, Row, Transaction, insert
from contracts.books import AuditEntry, Delivery, Failure, Webhook, WebhookState
from contracts.errors import InvalidBody, NotFound, StateConflict


class Webhooks:
    def __init__(self, engine: Engine, outbox: EventOutbox) -> None:
        self._engine, self._outbox = engine, outbox

    async def list(self) -> Sequence[Webhook]:
        async def unit(tx: Transaction) -> Sequence[Webhook]:
            return [decode(body, Webhook) for (body,) in await tx.query("select body from webhook order by name")]

        return await self._engine.read(unit)

    async def states(self) -> Mapping[str, WebhookState]:
        async def unit(tx: Transaction) -> Mapping[str, WebhookState]:
            dead = {
                name: int(count)
                for name, count in await tx.query("select webhook, count(*) from webhook_delivery where turn = 3 group by webhook")
            }
            rows = await tx.query("select name, waiting, delivered, missed, failures, error, delivered_at, ready_at from webhook")
            return {
                name: WebhookState(waiting, dead.get(name, 0), delivered, missed, failures, error, instant(last), instant(ready or None))
                for name, waiting, delivered, missed, failures, error, last, ready in rows
            }

        return await self._engine.read(unit)

    async def create(self, webhook: Webhook, most: int, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock("webhooks")
            if await tx.query("select 1 from webhook where name = $1", webhook.name):
                why = f"choose another name, or remove it first: tillgate webhook remove {webhook.name}"
                raise StateConflict(what="webhook", key=webhook.name, state="there", why=why)
            ((count,),) = await tx.query("select count(*) from webhook")
            if count >= most:
                raise StateConflict(
                    what="webhook", key=webhook.name, state="one too many", why=f"there are {count}, and no more than {most}"
                )
            await tx.execute("insert into webhook (name, body) values ($1, $2)", webhook.name, encode(webhook))
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def change(self, before: Webhook, after: Webhook, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(f"webhook {before.name}")
            rows = await tx.query("select body from webhook where name = $1", before.name)
            if not rows:
                raise NotFound(what="webhook", key=before.name)
            if decode(rows[0][0], Webhook) != before:
                raise StateConflict(what="webhook", key=before.name, state="changed", why="somebody else has just changed it; look again")
            await tx.execute("update webhook set body = $1 where name = $2", encode(after), before.name)
            if before.suspended and not after.suspended:
                await tx.execute("update webhook set ready_at = 0, failures = 0, error = '' where name = $1", before.name)
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def remove(self, name: str, entries: Sequence[AuditEntry]) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(f"webhook {text(name)}")
            if not await tx.execute("delete from webhook where name = $1", text(name)):
                raise NotFound(what="webhook", key=name)
            await tx.execute("delete from webhook_delivery where webhook = $1", text(name))
            await write_entries(tx, entries)

        await self._engine.write(unit)

    async def offer(self, positions: Mapping[str, Sequence[tuple[int, str]]], now: datetime, most: int) -> None:
        at = micros(now)

        async def unit(tx: Transaction) -> None:
            await tx.lock(*(f"webhook {name}" for name in positions))
            for name, offered in positions.items():
                rows = await tx.query("select waiting from webhook where name = $1", name)
                if not rows:  # removed meanwhile
                    continue
                asked = "select position from webhook_delivery where webhook = $1 and position in ({})"
                known = {position for (position,) in await among(tx, asked, [position for position, _ in offered], name)}
                new = sorted((position, text(subject)) for position, subject in offered if position not in known)
                room = max(0, most - rows[0][0])
                await _queue(tx, name, [(position, subject, at) for position, subject in new[:room]], at)
                await tx.execute(
                    "update webhook set waiting = waiting + $1, missed = missed + $2 where name = $3",
                    len(new[:room]),
                    len(new[room:]),
                    name,
                )

        if positions:
            await self._engine.write(unit)

    async def due(self, name: str, now: datetime, lease: float, limit: int) -> Sequence[Delivery]:
        at, until = micros(now), after(now, lease)

        async def unit(tx: Transaction) -> Sequence[Delivery]:
            await tx.lock(f"webhook {name}")
            state = await tx.query("select failures from webhook where name = $1 and ready_at <= $2", name, at)
            if not state:
                return ()
            rows = await tx.query(
                "update webhook_delivery set ready_at = $1, attempts = attempts + 1 where webhook = $2 and position in"
                " (select position from webhook_delivery where webhook = $2 and turn = 2 and ready_at <= $3"
                " order by ready_at, position limit $4)"
                " returning position, at, attempts, refusals, error",
                until,
                name,
                at,
                1 if state[0][0] else limit,
            )
            return await self._deliveries(tx, sorted(rows, key=lambda row: row[0]))

        return await self._engine.write(unit)

    async def _deliveries(self, tx: Transaction, rows: Sequence[Row]) -> Sequence[Delivery]:
        events = await self._outbox.events(tx, [row[0] for row in rows])
        return [
            Delivery(position, events[position], instant(at), attempts, refusals, error)
            for position, at, attempts, refusals, error in rows
            if position in events
        ]

    async def settle(
        self, name: str, delivered: Sequence[int], failed: Sequence[Failure], now: datetime, pause: tuple[datetime, str] | None
    ) -> None:
        async def unit(tx: Transaction) -> None:
            await tx.lock(f"webhook {name}")
            gone = await tx.query_each(
                "delete from webhook_delivery where webhook = $1 and position = $2 returning subject, turn", [(name, n) for n in delivered]
            )
            waited = sum(turn in (BEHIND, NEXT) for _, turn in gone)  # not one that another worker has given up meanwhile
            dead = await tx.query_each(
                "update webhook_delivery set turn = 3, error = $1, refusals = refusals + $2 where webhook = $3 and position = $4"
                " and turn = 2 returning subject",
                [(text(f.error), int(f.refused), name, f.position) for f in failed if f.retry_at is None],
            )
            await tx.execute_each(
                "update webhook_delivery set ready_at = $1, error = $2, refusals = refusals + $3 where webhook = $4 and position = $5",
                [(micros(f.retry_at), text(f.error), int(f.refused), name, f.position) for f in failed if f.retry_at is not None],
            )
            await _promote(tx, name, [row[0] for row in (*gone, *dead)])
            await tx.execute(
                "update webhook set waiting = waiting - $1, delivered = delivered + $2 where name = $3",
                waited + len(dead),
                len(gone),
                name,
            )
            if delivered:
                await tx.execute(
                    "update webhook set failures = 0, error = '', ready_at = 0, delivered_at = $1 where name = $2", micros(now), name
                )
            elif pause:
                await tx.execute(
                    "update webhook set failures = failures + 1, ready_at = $1, error = $2 where name = $3",
                    micros(pause[0]),
                    text(pause[1]),
                    name,
                )

        await self._engine.write(unit)

    async def dead(self, name: str, after: int, limit: int) -> Sequence[Delivery]:
        async def unit(tx: Transaction) -> Sequence[Delivery]:
            rows = await tx.query(
                "select position, at, attempts, refusals, error from webhook_delivery where webhook = $1 and turn = 3 and position > $2"
                " order by position limit $3",
                text(name),
                after,
                limit,
            )
            return await self._deliveries(tx, rows)

        return await self._engine.read(unit)

    async def replay(self, name: str, positions: Sequence[int] | None, now: datetime, entries: Sequence[AuditEntry]) -> int:
        at = micros(now)

        async def unit(tx: Transaction) -> int:
            await tx.lock(f"webhook {text(name)}")
            if not await tx.query("select 1 from webhook where name = $1", text(name)):
                raise NotFound(what="webhook", key=name)
            sql = "delete from webhook_delivery where webhook = $1 and turn = 3"
            if positions is None:
                rows = await tx.query(sql + " returning position, subject", text(name))
            else:
                rows = await tx.query_each(sql + " and position = $2 returning position, subject", [(text(name), n) for n in positions])
                if missing := set(positions) - {row[0] for row in rows}:
                    raise NotFound(what=f"dead letter of webhook {name}", key=str(min(missing)))
            await _queue(tx, text(name), sorted((position, subject, at) for position, subject in rows), at)
            await tx.execute("update webhook set waiting = waiting + $1 where name = $2", len(rows), text(name))
            await write_entries(tx, entries)
            return len(rows)

        return await self._engine.write(unit)

    async def resend(
        self, webhook: Webhook, since: datetime, until: datetime, most: int, now: datetime, entries: Sequence[AuditEntry]
    ) -> int:
        name, at = webhook.name, micros(now)
        found = await self._outbox.left(webhook.types, since, until, most)
        if len(found) > most:
            raise InvalidBody(where="/since", expected=f"a time with at most {most} events", got="more: send them in shorter pieces")

        async def unit(tx: Transaction) -> int:
            await tx.lock(f"webhook {name}")
            if not await tx.query("select 1 from webhook where name = $1", name):
                raise NotFound(what="webhook", key=name)
            positions = [position for position, _ in found]
            asked = "select position from webhook_delivery where webhook = $1 and position in ({})"
            out = {position for (position,) in await among(tx, asked, positions, name)}
            kept = {position for (position,) in await among(tx, "select position from outbox where position in ({})", positions)} - out
            await _queue(tx, name, [(position, subject, at) for position, subject in found if position in kept], at)
            await tx.execute("update webhook set waiting = waiting + $1 where name = $2", len(kept), name)
            await write_entries(tx, entries)
            return len(kept)

        return await self._engine.write(unit)

    async def purge(self, before: datetime) -> int:
        async def unit(tx: Transaction) -> int:
            names = [name for (name,) in await tx.query("select name from webhook order by name")]
            await tx.lock(*(f"webhook {name}" for name in names))
            gone = 0
            for name in names:
                rows = await tx.query(
                    "delete from webhook_delivery where webhook = $1 and at < $2 returning subject, turn", name, micros(before)
                )
                await _promote(tx, name, [subject for subject, turn in rows if turn == NEXT])
                waited = sum(turn in (BEHIND, NEXT) for _, turn in rows)
                await tx.execute("update webhook set waiting = waiting - $1, missed = missed + $1 where name = $2", waited, name)
                gone += len(rows)
            return gone

        return await self._engine.write(unit)


async def _queue(tx: Transaction, name: str, new: Sequence[tuple[int, str, int]], at: int) -> None:
    """Position, subject, time. What comes back for a second time stands before later ones of its subject, unless one is out already."""
    asked = "select distinct subject from webhook_delivery where webhook = $1 and turn in (1, 2) and subject in ({})"
    out = {subject for (subject,) in await among(tx, asked, list(dict.fromkeys(subject for _, subject, _ in new)), name)}
    rows: list[Row] = []
    for position, subject, queued in new:
        rows.append((name, position, subject, queued, BEHIND if subject in out else NEXT, at))
        out.add(subject)
    await insert(tx, "webhook_delivery (webhook, position, subject, at, turn, ready_at)", rows)


async def _promote(tx: Transaction, name: str, subjects: Sequence[str]) -> None:
    """The next of each subject, if none is."""
    await tx.execute_each(
        "update webhook_delivery set turn = 2 where webhook = $1 and turn = 1 and position ="
        " (select position from webhook_delivery where webhook = $1 and subject = $2 and turn in (1, 2) order by position limit 1)"
        " and not exists (select 1 from webhook_delivery where webhook = $1 and subject = $2 and turn = 2)",
        [(name, subject) for subject in dict.fromkeys(subjects)],
    )

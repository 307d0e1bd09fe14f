"""Who asked for what in which version, in counts per day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from adapters.store.forms import instant, micros, text
from adapters.store.unit import Engine, Transaction, insert
from contracts.books import Used


class Usage:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, day: date, counts: Sequence[Used]) -> None:
        rows = sorted(  # everybody takes the rows in this order
            (_number(day), c.version, text(c.client), c.channel, c.route, c.field, c.times, micros(c.seen_at)) for c in counts
        )

        async def unit(tx: Transaction) -> None:
            await insert(
                tx,
                "usage (day, version, client, channel, route, field, times, seen_at)",
                rows,
                "on conflict (day, version, client, channel, route, field) do update set times = usage.times + excluded.times,"
                " seen_at = case when excluded.seen_at > usage.seen_at then excluded.seen_at else usage.seen_at end returning day",
            )

        await self._engine.write(unit)

    async def since(self, day: date) -> Sequence[Used]:
        async def unit(tx: Transaction) -> Sequence[Used]:
            rows = await tx.query(
                "select version, client, channel, route, field, cast(sum(times) as bigint), max(seen_at) from usage where day >= $1"
                " group by version, client, channel, route, field order by version desc, client, channel, route, field",
                _number(day),
            )
            return [Used(version=v, client=c, channel=ch, route=r, field=f, times=n, seen_at=instant(at)) for v, c, ch, r, f, n, at in rows]

        return await self._engine.read(unit)

    async def purge(self, before: date) -> int:
        async def unit(tx: Transaction) -> int:
            return await tx.execute("delete from usage where day < $1", _number(before))

        return await self._engine.write(unit)


def _number(day: date) -> int:
    return day.toordinal() - _FIRST


_FIRST = date(1970, 1, 1).toordinal()

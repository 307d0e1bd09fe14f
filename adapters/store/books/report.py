"""What files tell of stock without receipts, booked once by its own key with the events it causes: movements, and levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple, Protocol

import msgspec

from adapters.store.books import outbox
from adapters.store.books.till import days
from adapters.store.forms import MILLION, decode, encode, micros, millionths, text, units
from adapters.store.unit import Row, Transaction, insert
from contracts.books import Report
from contracts.canonical.inventory import InventoryLevel, StockMovement, TillPosition
from contracts.errors import InvalidBody, StateConflict
from contracts.ports import SkuAt

NAMELESS = ""
"""The workstation that no till has: movements hang on it."""
KEPT = 35 * 86_400 * MILLION
"""Microseconds behind a newer level of its sku and place, for which an older one is kept: so long it is known when it comes again."""
_LATE = timedelta(days=7)
"""Before a moment, the business days whose sales may still have ended after it."""
Key = tuple[str, str, str | int]
"""Place; business date and reference of a movement; sku and moment of a level."""


class Prepared(NamedTuple):
    """A report as it is booked. Where it comes from is no part of what it says."""

    kind: Kind
    at: Key
    digest: bytes
    body: bytes
    sku: str
    millionths: int
    """That a movement brought, or that a level says to be there."""
    unit: str
    key: str

    @property
    def place(self) -> str:
        return self.at[0]

    @property
    def subject(self) -> str:
        return f"{self.sku}@{self.place}"


class Kind(Protocol):
    """How the reports of one noun are booked."""

    noun: type[Report]

    async def known(self, tx: Transaction, keys: Sequence[Key]) -> Sequence[tuple[Key, bytes, bytes]]:
        """Of those that are booked: digest and body."""
        ...

    async def enter(self, tx: Transaction, news: Sequence[Prepared], now: datetime) -> None: ...

    async def change(self, tx: Transaction, report: Prepared) -> int | None:
        """Millionths by which booking it would change what counts as being there; None: a later report counts."""
        ...


def prepared(report: Report) -> Prepared:
    """Raises ValueError for what cannot be counted."""
    said = sha256(encode(msgspec.structs.replace(report, provenance=()))).digest()[:16]
    if isinstance(report, StockMovement):
        key = report.key
        at: Key = text(key.location_id), text(key.business_date), text(key.reference)
        return Prepared(MOVEMENTS, at, said, encode(report), report.sku, millionths(report.change.value), report.change.unit, str(key))
    figure = report.on_hand or report.available
    if figure is None or report.as_of is None:
        raise ValueError("a level counts by its figure and the moment that it is of")
    at = text(report.location_id), report.sku, micros(report.as_of)
    return Prepared(LEVELS, at, said, encode(report), report.sku, millionths(figure.value), figure.unit, report.key)


async def book(tx: Transaction, reports: Sequence[Prepared], now: datetime) -> tuple[int, list[int]]:
    """Returns how many are new, and which are in conflict: their key is booked with other content. The rest is booked already.

    Whoever calls it holds the locks of the places."""
    if not reports:
        return 0, []
    kind = reports[0].kind  # a feed brings one
    digests = {key: digest for key, digest, _ in await kind.known(tx, [each.at for each in reports])}
    news: list[Prepared] = []
    conflicts: list[int] = []
    for number, each in enumerate(reports):
        if (stands := digests.setdefault(each.at, each.digest)) != each.digest:
            conflicts.append(number)
        elif stands is each.digest:
            news.append(each)
    await kind.enter(tx, news, now)
    return len(news), conflicts


def prepared_one(report: Report) -> Prepared:
    """Raises InvalidBody for what cannot be counted."""
    try:
        return prepared(report)
    except ValueError as error:
        raise InvalidBody(where="", expected="a quantity that a shelf can hold", got=str(error)) from error


async def book_one(tx: Transaction, report: Prepared, now: datetime) -> bool:
    """As a batch is booked. False: it was, with the same content. Raises StateConflict when another content is."""
    new, against = await book(tx, [report], now)
    if against:
        why = "it is booked with other content, and the first one stands"
        raise StateConflict(what="report", key=report.key, state="booked", why=why)
    return bool(new)


async def booked(tx: Transaction, report: Prepared) -> tuple[Report, bool] | None:
    """What stands under its key, and whether that is the same."""
    for _, digest, body in await report.kind.known(tx, [report.at]):
        return decode(body, report.kind.noun), digest == report.digest
    return None


# ---- movements ----------------------------------------------------------------------------------------------------


class _Movements:
    noun: type[Report] = StockMovement

    async def known(self, tx: Transaction, keys: Sequence[Key]) -> Sequence[tuple[Key, bytes, bytes]]:
        rows = await tx.query_each(
            "select t.store, t.business_date, m.reference, m.digest, m.body from till_day t join movement m on m.till_day = t.id"
            " where t.store = $1 and t.workstation = $2 and t.business_date = $3 and m.reference = $4",
            [(place, NAMELESS, day, reference) for place, day, reference in dict.fromkeys(keys)],
        )
        return [((place, day, reference), bytes(digest), bytes(body)) for place, day, reference, digest, body in rows]

    async def enter(self, tx: Transaction, news: Sequence[Prepared], now: datetime) -> None:
        tills = await days(tx, {(each.place, NAMELESS, str(each.at[1])) for each in news})
        hung = [tills[each.place, NAMELESS, each.at[1]] for each in news]
        numbers = await tx.query_each(
            "insert into movement (till_day, reference, digest, body) values ($1, $2, $3, $4) returning id",
            [(day, each.at[2], each.digest, each.body) for day, each in zip(hung, news, strict=True)],
        )
        gone = [(day, each.sku, number, -each.millionths) for day, each, (number,) in zip(hung, news, numbers, strict=True)]
        await insert(tx, "stock_movement (till_day, sku, sequence, millionths)", gone)
        await outbox.append_bundle(tx, outbox.Bundle([], [(each.subject, each.millionths, each.unit) for each in news]), now)

    async def change(self, tx: Transaction, report: Prepared) -> int | None:
        return report.millionths


# ---- levels -------------------------------------------------------------------------------------------------------


class _Levels:
    noun: type[Report] = InventoryLevel

    async def known(self, tx: Transaction, keys: Sequence[Key]) -> Sequence[tuple[Key, bytes, bytes]]:
        rows = await tx.query_each(
            "select location, sku, at, digest, body from stock_level where location = $1 and sku = $2 and at = $3", [*dict.fromkeys(keys)]
        )
        return [((place, sku, at), bytes(digest), bytes(body)) for place, sku, at, digest, body in rows]

    async def enter(self, tx: Transaction, news: Sequence[Prepared], now: datetime) -> None:
        await insert(tx, "stock_level (location, sku, at, digest, body)", [(*each.at, each.digest, each.body) for each in news])
        pairs = dict.fromkeys((each.place, each.sku) for each in news)
        last = {(place, sku): at for place, sku, at, _ in await _last(tx, [*pairs])}
        await tx.execute_each(
            "delete from stock_level where location = $1 and sku = $2 and at < $3", [(*pair, at - KEPT) for pair, at in last.items()]
        )
        count = [(each.subject, msgspec.Raw(each.body)) for each in news if last[each.place, each.sku] == each.at[2]]
        await outbox.append_bundle(tx, outbox.Bundle([], [], count), now)

    async def change(self, tx: Transaction, report: Prepared) -> int | None:
        pair, level = SkuAt(sku=report.sku, location_id=report.place), decode(report.body, InventoryLevel)
        before = 0
        if (stands := (await newest(tx, [pair])).get(pair)) is not None:
            if stands.as_of is not None and level.as_of is not None and stands.as_of >= level.as_of:
                return None
            before = prepared(stands).millionths - (await gone(tx, {pair: stands.contained})).get(pair, 0)
        return report.millionths - (await gone(tx, {pair: level.contained})).get(pair, 0) - before


MOVEMENTS, LEVELS = _Movements(), _Levels()


async def _last(tx: Transaction, pairs: Sequence[tuple[str, str]]) -> Sequence[Row]:
    return await tx.query_each(
        "select location, sku, at, body from stock_level where location = $1 and sku = $2 order by at desc limit 1", pairs
    )


async def newest(tx: Transaction, pairs: Sequence[SkuAt]) -> Mapping[SkuAt, InventoryLevel]:
    rows = await _last(tx, [(text(pair.location_id), pair.sku) for pair in pairs])
    return {SkuAt(sku=sku, location_id=place): decode(bytes(body), InventoryLevel) for place, sku, _, body in rows}


# ---- what moved ---------------------------------------------------------------------------------------------------


async def gone(tx: Transaction, pairs: Mapping[SkuAt, Sequence[TillPosition] | datetime]) -> Mapping[SkuAt, int]:
    """Millionths that left the shelf, beyond what a figure holds."""
    stores = [(store,) for store in dict.fromkeys(pair.location_id for pair in pairs)]
    tills: dict[str, list[str]] = {store: [] for (store,) in stores}
    for store, workstation in await tx.query_each("select distinct store, workstation from till_day where store = $1", stores):
        tills[store].append(workstation)
    behind: list[Row] = []
    since: list[Row] = []
    for pair, held in pairs.items():
        if isinstance(held, datetime):
            first, day, at = (held - _LATE).date().isoformat(), held.date().isoformat(), micros(held)
            since += [(pair.location_id, till, pair.sku, first, at, day) for till in tills[pair.location_id]]
        else:
            posted = {text(p.workstation_id): (p.business_date, p.sequence_number) for p in held}
            behind += [(pair.location_id, till, pair.sku, *posted.get(till, ("", -1))) for till in tills[pair.location_id]]
    rows = [*await tx.query_each(_MOVED.format("(t.business_date > $4 or m.sequence > $5)"), behind)]
    rows += await tx.query_each(_MOVED.format("(m.at > $5 or (m.at is null and t.business_date >= $6))"), since)
    totals: dict[SkuAt, int] = {}
    for store, sku, total in rows:
        pair = SkuAt(sku=sku, location_id=store)
        totals[pair] = totals.get(pair, 0) + int(total)
    return totals


async def delta(tx: Transaction, pairs: Mapping[SkuAt, Sequence[TillPosition] | datetime]) -> Mapping[SkuAt, Decimal]:
    return {pair: units(total) for pair, total in (await gone(tx, pairs)).items() if total}


_MOVED = (
    "select t.store, m.sku, sum(m.millionths) from till_day t join stock_movement m on m.till_day = t.id"
    " where t.store = $1 and t.workstation = $2 and m.sku = $3 and t.business_date >= $4 and {} group by t.store, m.sku"
)

"""Sales: booked once by their natural key, with the stock they move and the events they cause, in one commit per batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from adapters.store.books import outbox
from adapters.store.books.file import outdated
from adapters.store.forms import decode, encode, millionths, text, units
from adapters.store.unit import Engine, Row, Transaction
from contracts.books import BatchResult, Quarantined, SaleBatch
from contracts.canonical.inventory import TillPosition
from contracts.canonical.sale import PosSale, SaleKey
from contracts.errors import NotFound
from contracts.ports import SkuAt

_INSERT = (
    "insert into sale (store, business_date, workstation, sequence, digest, body) values ($1, $2, $3, $4, $5, $6)"
    " on conflict do nothing returning id, store, business_date, workstation, sequence"
)
_KEY = "store = $1 and business_date = $2 and workstation = $3 and sequence = $4"
_MOVED = (
    "from stock_day d join stock_movement m on m.location = d.location and m.business_date = d.business_date"
    " where d.location = $1 and m.sku = $2"
)
_INLINE = 20
"""Up to so many sales are prepared on the event loop (some microseconds each); larger batches in a thread of their own."""


_NONE: Mapping[str, Any] = {}
_GOODS = frozenset({"sale", "return"})
_PROVENANCE = b',"provenance":['


class _Prepared(NamedTuple):
    sale: PosSale
    row: Row
    """As `_INSERT` takes it; the first four are the natural key."""
    counted: bool
    cents: int
    moves: Mapping[str, int]
    """Sku -> millionths that left the shelf."""
    measures: Mapping[str, str]
    """Sku -> unit, where it is not pieces."""


class Sales:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="store-prepare")  # its thread starts with the first large batch

    def close(self) -> None:
        self._preparer.shutdown(wait=False)

    async def commit(self, batch: SaleBatch, now: datetime) -> BatchResult:
        prepared, refused = (
            _prepare(batch)
            if len(batch.sales) <= _INLINE
            else await asyncio.get_running_loop().run_in_executor(self._preparer, _prepare, batch)
        )

        async def unit(tx: Transaction) -> BatchResult:
            return await _book(tx, batch, prepared, [*batch.quarantined, *refused], now)

        return await self._engine.write(unit)

    async def get(self, key: SaleKey) -> PosSale | None:
        async def unit(tx: Transaction) -> PosSale | None:
            rows = await tx.query(
                f"select body from sale where {_KEY}",  # noqa: S608  # a constant
                key.store_number,
                key.business_date,
                text(key.workstation_id),
                key.sequence_number,
            )
            found = await _sales(tx, rows)
            return found[0] if found else None

        return await self._engine.read(unit)

    async def list(self, store: str, business_date: str, after: SaleKey | None, limit: int) -> Sequence[PosSale]:
        """By till and sequence number, behind `after`."""
        start = (text(after.workstation_id), after.sequence_number) if after else ("", -1)

        async def unit(tx: Transaction) -> Sequence[PosSale]:
            rows = await tx.query(
                "select body from sale where store = $1 and business_date = $2 and (workstation, sequence) > ($3, $4)"
                " order by workstation, sequence limit $5",
                text(store),
                text(business_date),
                *start,
                limit,
            )
            return await _sales(tx, rows)

        return await self._engine.read(unit)

    async def delta(self, pairs: Mapping[SkuAt, Sequence[TillPosition]]) -> Mapping[SkuAt, Decimal]:
        posted_rows = [
            (pair.location_id, pair.sku, text(till.workstation_id), till.business_date, till.sequence_number)
            for pair, tills in pairs.items()
            for till in {till.workstation_id: till for till in tills}.values()
        ]

        async def unit(tx: Transaction) -> Mapping[SkuAt, Decimal]:
            moved = await tx.query_each(
                f"select m.location, m.sku, sum(m.millionths) {_MOVED} group by m.location, m.sku",
                [(pair.location_id, pair.sku) for pair in pairs],
            )
            posted = await tx.query_each(
                f"select m.location, m.sku, sum(m.millionths) {_MOVED} and m.workstation = $3"
                " and (d.business_date, m.sequence) <= ($4, $5) group by m.location, m.sku",
                posted_rows,
            )
            totals = {(location, sku): int(total) for location, sku, total in moved}
            for location, sku, total in posted:
                totals[location, sku] -= int(total)
            return {SkuAt(sku=sku, location_id=location): units(total) for (location, sku), total in totals.items() if total}

        return await self._engine.read(unit)

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        async def unit(tx: Transaction) -> Mapping[str, Mapping[str, int]]:
            return {
                store: {"sales": sales, "cents": cents, "units_milli": moved // 1000}
                for store, sales, cents, moved in await tx.query("select store, sales, cents, millionths from store_total order by store")
            }

        return await self._engine.read(unit)


async def _sales(tx: Transaction, rows: Sequence[Row]) -> list[PosSale]:
    """A booked sale keeps its facts; that a later transaction voided it is added when it is read."""
    sales = [decode(body, PosSale) for (body,) in rows]
    found = await tx.query_each("select target from sale_link where target = $1 and type = 'voids' limit 1", [(str(s.key),) for s in sales])
    voided = {target for (target,) in found}
    return [
        msgspec.structs.replace(sale, flags=msgspec.structs.replace(sale.flags, post_voided=True)) if str(sale.key) in voided else sale
        for sale in sales
    ]


# ---- preparing ----------------------------------------------------------------------------------------------------


def _prepare(batch: SaleBatch) -> tuple[list[_Prepared], list[Quarantined]]:
    prepared: list[_Prepared] = []
    refused: list[Quarantined] = []
    for sale in batch.sales:
        try:
            counted = sale.counts_as_sale
            cents, moves, measures = _effect(sale) if counted else (0, _NONE, _NONE)
        except ValueError as exc:
            reason = f"this transaction cannot be counted: {exc}"
            refused.append(_refusal(batch, sale, "quantity", "a quantity that a shelf can hold", str(exc), reason))
            continue
        body, key = encode(sale), sale.key
        row = key.store_number, key.business_date, text(key.workstation_id), key.sequence_number, content_digest(sale, body), body
        prepared.append(_Prepared(sale, row, counted, cents, moves, measures))
    return prepared, refused


def content_digest(sale: PosSale, body: bytes) -> bytes:
    """Of everything but the provenance, the last member of the document: the same sale from another file is the same sale."""
    return sha256(body[: body.rindex(_PROVENANCE)] + b"}" if sale.provenance else body).digest()


def _effect(sale: PosSale) -> tuple[int, Mapping[str, int], Mapping[str, str]]:
    """Signed cents of the grand total, and what left the shelf per sku: the line's type gives the direction, a post-void turns all round.

    Weighed goods move by their measure, everything else by count. Sources sign the totals of returns and post-voids or not: there the
    sign comes from the lines.
    """
    turn = -1 if sale.transaction_type == "post_void" else 1
    moves: dict[str, int] = {}
    measures: Mapping[str, str] = _NONE
    for line in sale.lines:
        if line.voided or (kind := line.line_type) not in _GOODS or line.item_type != "stock" or (sku := line.item_id) is None:
            continue
        if (quantity := line.measure or line.units) is not None:
            moved = millionths(quantity.value)
            moves[sku] = moves.get(sku, 0) + (turn * moved if kind == "sale" else -turn * moved)
            if quantity.unit != "EA":
                measures = {**measures, sku: quantity.unit}
    if sale.totals is None:
        return _worth(sale, turn), moves, measures
    cents = sale.totals.grand.cent_amount
    if sale.transaction_type == "return":
        cents = -abs(cents)
    elif turn < 0:
        cents = abs(cents) if _worth(sale, turn) > 0 else -abs(cents)
    return cents, moves, measures


def _worth(sale: PosSale, turn: int) -> int:
    return sum(
        (turn if line.line_type == "sale" else -turn) * abs(line.extended_amount.cent_amount)
        for line in sale.lines
        if line.line_type in _GOODS and not line.voided
    )


def _refusal(batch: SaleBatch, sale: PosSale, field: str, expected: str, got: str, reason: str) -> Quarantined:
    return Quarantined(
        digest=batch.digest,
        file="",
        position=batch.position,
        line=0,
        field=field,
        expected=expected,
        got=got,
        reason=reason,
        raw=encode(sale),
        key=str(sale.key),
    )


# ---- booking ------------------------------------------------------------------------------------------------------


async def _book(tx: Transaction, batch: SaleBatch, prepared: list[_Prepared], refused: list[Quarantined], now: datetime) -> BatchResult:
    stores = sorted({p.row[0] for p in prepared})
    await tx.lock(f"file {batch.digest}", *(f"stock of {store}" for store in stores))
    name = await _reached(tx, batch)
    new, repeated, conflicts = await _insert(tx, batch, prepared)
    await _count(tx, new, now)
    kept = await _quarantine(tx, batch, name, [*refused, *conflicts], now)
    result = BatchResult(booked=len(new), repeated=repeated, conflicts=len(conflicts))
    await tx.execute(
        "update file set booked = booked + $1, repeated = repeated + $2, conflicts = conflicts + $3, quarantined = quarantined + $4"
        " where digest = $5",
        result.booked,
        result.repeated,
        result.conflicts,
        kept,
        batch.digest,
    )
    return result


async def _reached(tx: Transaction, batch: SaleBatch) -> str:
    """Moves the file's position, never back. Returns the file's name."""
    rows = await tx.query("select name, state, fence, owner from file where digest = $1", batch.digest)
    if not rows:
        raise NotFound(what="file", key=batch.digest)
    name, state, fence, owner = rows[0]
    if fence != batch.fence or state != "claimed":
        raise outdated(name, state, owner, fence, batch.fence)
    await tx.execute(
        "update file set position = $1 where digest = $2 and position < $1",
        batch.position,
        batch.digest,
    )
    return str(name)


async def _insert(
    tx: Transaction, batch: SaleBatch, prepared: list[_Prepared]
) -> tuple[list[tuple[int, _Prepared]], int, list[Quarantined]]:
    """New sales with their ids, how many came again, and those that came again with other content."""
    inserted = await tx.query_each(_INSERT, [p.row for p in prepared])
    if len(inserted) == len(prepared):
        return [(row[0], p) for row, p in zip(inserted, prepared, strict=True)], 0, []
    ids = {tuple(row[1:]): row[0] for row in inserted}
    new: list[tuple[int, _Prepared]] = []
    known: list[_Prepared] = []
    for p in prepared:
        if (number := ids.pop(tuple(p.row[:4]), None)) is not None:  # the first of equal keys is the one that got in
            new.append((number, p))
        else:
            known.append(p)
    stand = await tx.query_each(
        f"select store, business_date, workstation, sequence, digest from sale where {_KEY}",  # noqa: S608  # a constant
        [p.row[:4] for p in known],
    )
    digests = {tuple(row[:4]): row[4] for row in stand}
    conflicts = [
        _refusal(
            batch,
            p.sale,
            "key",
            f"the content first booked under {p.sale.key}",
            "other content",
            f"transaction {p.sale.key} is booked already with other content; the first one stands",
        )
        for p in known
        if digests[tuple(p.row[:4])] != p.row[4]
    ]
    return new, len(known) - len(conflicts), conflicts


async def _count(tx: Transaction, new: list[tuple[int, _Prepared]], now: datetime) -> None:
    """Stock, totals, links and events of the sales that count."""
    movements: list[Row] = []
    sold: list[tuple[int, str]] = []
    links: list[Row] = []
    changed: dict[tuple[str, str], int] = {}
    units_of: dict[str, str] = {}
    totals: dict[str, tuple[int, int, int]] = {}
    days: dict[tuple[str, str], None] = {}
    for number, (sale, row, counted, cents, moves, measures) in new:
        if not counted:
            continue
        store, day, workstation, sequence = row[:4]
        units_of.update(measures)
        for sku, moved in moves.items():
            movements.append((store, day, sku, workstation, sequence, moved))
            pair = sku, store
            changed[pair] = changed.get(pair, 0) + moved
        sold.append((number, f"{store}/{workstation}/{day}/{sequence}"))
        links.extend((str(link.sale_key), link.type, str(sale.key)) for link in sale.links)
        before = totals.get(store, (0, 0, 0))
        totals[store] = before[0] + 1, before[1] + cents, before[2] + sum(moves.values())
        days[store, day] = None
    movements.sort(key=itemgetter(2))  # neighbours share pages
    await tx.execute_each(
        "insert into stock_movement (location, business_date, sku, workstation, sequence, millionths) values ($1, $2, $3, $4, $5, $6)",
        movements,
    )
    await tx.execute_each("insert into stock_day (location, business_date) values ($1, $2) on conflict do nothing", sorted(days))
    await tx.execute_each("insert into sale_link (target, type, source) values ($1, $2, $3) on conflict do nothing", links)
    await tx.execute_each(
        "insert into store_total (store, sales, cents, millionths) values ($1, $2, $3, $4) on conflict (store) do update"
        " set sales = store_total.sales + excluded.sales, cents = store_total.cents + excluded.cents,"
        " millionths = store_total.millionths + excluded.millionths",
        [(store, *totals[store]) for store in sorted(totals)],
    )
    stock = [(f"{sku}@{store}", -moved, units_of.get(sku, "EA")) for (sku, store), moved in changed.items()]
    await outbox.append_bundle(tx, outbox.Bundle(sold, stock), now)


async def _quarantine(tx: Transaction, batch: SaleBatch, name: str, records: list[Quarantined], now: datetime) -> int:
    """Each once, also when a batch is sent again. Returns how many were new."""
    rows = []
    for record in records:
        kept = msgspec.structs.replace(
            record,
            digest=batch.digest,
            file=text(record.file) or name,
            field=text(record.field),
            expected=text(record.expected),
            got=text(record.got),
            reason=text(record.reason),
            key=text(record.key),
            at=record.at or now,
            id=0,
        )
        mark = sha256(encode(msgspec.structs.replace(kept, at=None))).digest()[:16]
        rows.append((batch.digest, mark, encode(kept)))
    return len(
        await tx.query_each("insert into quarantine (digest, mark, body) values ($1, $2, $3) on conflict do nothing returning id", rows)
    )

"""Sales: booked once by their natural key, with the stock they move and the events they cause, in one commit per batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from adapters.store.books import outbox, report
from adapters.store.books.chunk import SALES, blanked, documents, packed, reference
from adapters.store.books.file import held
from adapters.store.books.finding import touched
from adapters.store.books.till import Till, days
from adapters.store.forms import MILLION, decode, encode, micros, millionths, text
from adapters.store.unit import Engine, Row, Transaction, insert
from contracts.books import BatchResult, Posting, PreparedSale, Quarantined, SaleBatch
from contracts.canonical.inventory import InventoryLevel, TillPosition
from contracts.canonical.sale import PosSale, SaleKey
from contracts.errors import InvalidBody, StateConflict
from contracts.ports import SkuAt

_INLINE = 20
"""Up to so many transactions are prepared on the event loop (some microseconds each); larger batches in a thread of their own."""


_NONE: Mapping[str, Any] = {}
_GOODS = frozenset({"sale", "return"})
_PROVENANCE = b',"provenance":['
_BEGIN, _END = b',"beginAt":"', b',"endAt":"'
"""A quotation mark within a value has a backslash before it."""


class Work(NamedTuple):
    sales: list[PreparedSale]
    digests: list[bytes]
    chunks: list[bytes]
    refused: list[Quarantined]
    places: list[int]
    """Of the sales, in the file."""
    reports: list[tuple[int, report.Prepared]]


class Sales:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="store-prepare")  # its thread starts with the first large batch

    def close(self) -> None:
        self._preparer.shutdown(wait=False)

    async def commit(self, batch: SaleBatch, now: datetime) -> BatchResult:
        work = (
            _prepare(batch)
            if len(batch.sales) + len(batch.reports) <= _INLINE
            else await asyncio.get_running_loop().run_in_executor(self._preparer, _prepare, batch)
        )

        async def unit(tx: Transaction) -> BatchResult:
            return await _book(tx, batch, work, now)

        return await self._engine.write(unit)

    async def get(self, key: SaleKey) -> PosSale | None:
        async def unit(tx: Transaction) -> PosSale | None:
            return await booked(tx, key)

        return await self._engine.read(unit)

    async def list(self, store: str, business_date: str, after: SaleKey | None, limit: int) -> Sequence[PosSale]:
        """By till and sequence number, behind `after`."""
        start = (text(after.workstation_id), after.sequence_number) if after else ("", -1)

        async def unit(tx: Transaction) -> Sequence[PosSale]:
            rows = await tx.query(
                "select s.chunk, s.place from till_day t join sale s on s.till_day = t.id"
                " where t.store = $1 and t.business_date = $2 and (t.workstation, s.sequence) > ($3, $4)"
                " order by t.workstation, s.sequence limit $5",
                text(store),
                text(business_date),
                *start,
                limit,
            )
            return await _sales(tx, rows)

        return await self._engine.read(unit)

    async def delta(self, pairs: Mapping[SkuAt, Sequence[TillPosition] | datetime]) -> Mapping[SkuAt, Decimal]:
        async def unit(tx: Transaction) -> Mapping[SkuAt, Decimal]:
            return await report.delta(tx, pairs)

        return await self._engine.read(unit)

    async def levels(self, pairs: Sequence[SkuAt]) -> Mapping[SkuAt, InventoryLevel]:
        async def unit(tx: Transaction) -> Mapping[SkuAt, InventoryLevel]:
            return await report.newest(tx, pairs)

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
    references = [reference(chunk, place) for chunk, place in rows]
    found_documents = await documents(tx, references)
    sales = [decode(found_documents[number], PosSale) for number in references]
    found = await tx.query_each("select target from sale_link where target = $1 and type = 'voids' limit 1", [(str(s.key),) for s in sales])
    voided = {target for (target,) in found}
    return [
        msgspec.structs.replace(sale, flags=msgspec.structs.replace(sale.flags, post_voided=True)) if str(sale.key) in voided else sale
        for sale in sales
    ]


# ---- preparing ----------------------------------------------------------------------------------------------------


def _prepare(batch: SaleBatch) -> Work:
    prepared: list[PreparedSale] = []
    refused: list[Quarantined] = []
    places: list[int] = []
    reports: list[tuple[int, report.Prepared]] = []
    for place, sale in zip(batch.places or [batch.position] * len(batch.sales), batch.sales, strict=True):
        try:
            prepared.append(sale if isinstance(sale, PreparedSale) else prepared_form(sale))
            places.append(place)
        except ValueError as exc:
            assert isinstance(sale, PosSale)  # noqa: S101  # what is prepared was counted
            refused.append(_uncountable(batch, place, sale, exc))
    for place, told in batch.reports:
        try:
            reports.append((place, report.prepared(told)))
        except ValueError as exc:
            refused.append(_uncountable(batch, place, told, exc))
    heads = [sale.head for sale in prepared]
    tails = [sale.tail for sale in prepared]
    chunks = [packed(heads[n : n + SALES], tails[n : n + SALES]) for n in range(0, len(heads), SALES)]
    return Work(prepared, [sha256(head).digest()[:16] for head in heads], chunks, refused, places, reports)


def prepared_form(sale: PosSale) -> PreparedSale:
    """Raises ValueError for what cannot be counted. The same sale from another file is the same sale: where it comes from is no part of
    its head.
    """
    counted, key = sale.counts_as_sale, sale.key
    cents, moves, measures = _effect(sale) if counted else (0, _NONE, _NONE)
    body = encode(sale)
    cut = body.rindex(_PROVENANCE) if sale.provenance else -1
    return PreparedSale(
        till=(text(key.store_number), text(key.workstation_id), text(key.business_date)),
        sequence=key.sequence_number,
        head=body[:cut],
        tail=body[cut:],
        counted=counted,
        cents=cents,
        moves=moves,
        measures=measures,
        links=tuple([(str(link.sale_key), link.type) for link in sale.links]) if sale.links else (),
    )


def over(head: bytes) -> int:
    """Microseconds at which a sale was over, as its document says it; without an end, when it began."""
    at = head.rfind(_END)
    at = head.index(_BEGIN) + len(_BEGIN) if at < 0 else at + len(_END)
    return (
        _hour(head[at : at + 13], head[at + 19 : head.index(b'"', at)])
        + (int(head[at + 14 : at + 16]) * 60 + int(head[at + 17 : at + 19])) * MILLION
    )


@lru_cache(4096)
def _hour(hour: bytes, rest: bytes) -> int:
    """`rest`: fraction and offset, where it has them."""
    return micros(datetime.fromisoformat(f"{hour.decode()}:00:00{rest.decode()}"))


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


def _uncountable(batch: SaleBatch, place: int, posting: Posting, why: ValueError) -> Quarantined:
    wrong = "quantity", "a quantity that a shelf can hold", str(why), f"this transaction cannot be counted: {why}"
    return _refusal(batch, place, encode(posting), str(posting.key), *wrong)


def _conflict(batch: SaleBatch, place: int, document: bytes, key: str) -> Quarantined:
    reason = f"transaction {key} is booked already with other content; the first one stands"
    return _refusal(batch, place, document, key, "key", f"the content first booked under {key}", "other content", reason)


def _refusal(batch: SaleBatch, place: int, document: bytes, key: str, field: str, expected: str, got: str, reason: str) -> Quarantined:
    return Quarantined(
        digest=batch.digest,
        file="",
        position=place,
        line=0,
        field=field,
        expected=expected,
        got=got,
        reason=reason,
        raw=document,
        key=key,
        form="sale",
    )


# ---- booking ------------------------------------------------------------------------------------------------------


async def _book(tx: Transaction, batch: SaleBatch, work: Work, now: datetime) -> BatchResult:
    stores = {sale.till[0] for sale in work.sales} | {told.place for _, told in work.reports}
    await tx.lock(f"file {batch.digest}", *(f"stock of {store}" for store in stores))
    name = await _reached(tx, batch)
    tills = await days(tx, {sale.till for sale in work.sales})
    new, known = await _insert(tx, work, tills)
    conflicts = await _conflicts(tx, batch, known, tills)
    await _count(tx, new, tills, now, batch.digest)
    told, against = await report.book(tx, [each for _, each in work.reports], now)
    conflicts += [_conflict(batch, place, each.body, each.key) for place, each in map(work.reports.__getitem__, against)]
    kept = await _quarantine(tx, batch, name, [*batch.quarantined, *work.refused, *conflicts], now)
    repeated = len(known) + len(work.reports) - told - len(conflicts)
    result = BatchResult(booked=len(new) + told, repeated=repeated, conflicts=len(conflicts), quarantined=kept)
    await tx.execute(
        "update file set booked = booked + $1, repeated = repeated + $2, conflicts = conflicts + $3, quarantined = quarantined + $4"
        " where digest = $5",
        result.booked,
        result.repeated,
        result.conflicts,
        result.quarantined,
        batch.digest,
    )
    return result


async def _reached(tx: Transaction, batch: SaleBatch) -> str:
    """Moves the file's position, never back. Returns the file's name."""
    name = await held(tx, batch.digest, batch.fence)
    await tx.execute(
        "update file set position = $1 where digest = $2 and position < $1",
        batch.position,
        batch.digest,
    )
    return name


async def _insert(
    tx: Transaction, work: Work, tills: Mapping[Till, int]
) -> tuple[list[tuple[int, PreparedSale]], list[tuple[int, bytes, PreparedSale]]]:
    """New sales with the references of their documents; those whose key is taken with their places and digests."""
    chunks = [
        number for (number,) in await tx.query_each("insert into sale_chunk (body) values ($1) returning id", [(c,) for c in work.chunks])
    ]
    places = [(chunk, place) for chunk in chunks for place in range(SALES)]
    booked = [*zip([reference(chunk, 0) + place for chunk in chunks for place in range(SALES)], work.sales, strict=False)]
    rows = [
        (day, sale.sequence, digest, chunk, place)
        for (day, sale), digest, (chunk, place) in zip(_each_day(work.sales, tills), work.digests, places, strict=False)
    ]
    if await insert(tx, "sale (till_day, sequence, digest, chunk, place)", rows, "on conflict do nothing") == len(rows):
        return booked, []
    stand = await tx.query_each("select chunk, place from sale where till_day = $1 and sequence = $2", [row[:2] for row in rows])
    fresh = {reference(chunk, place) for chunk, place in stand}
    for at, (chunk, body) in enumerate(zip(chunks, work.chunks, strict=True)):
        held = range(min(SALES, len(rows) - at * SALES))
        gone = [place for place in held if reference(chunk, place) not in fresh]
        if len(gone) == len(held):
            await tx.execute("delete from sale_chunk where id = $1", chunk)
        elif gone:
            await tx.execute("update sale_chunk set body = $1 where id = $2", blanked(body, gone), chunk)
    known = [
        (place, digest, sale)
        for place, digest, (number, sale) in zip(work.places, work.digests, booked, strict=True)
        if number not in fresh
    ]
    return [each for each in booked if each[0] in fresh], known


def _each_day(sales: Iterable[PreparedSale], tills: Mapping[Till, int]) -> Iterator[tuple[int, PreparedSale]]:
    """With the number of its till's day: neighbours have one, and often the same tuple."""
    last, day = None, 0
    for sale in sales:
        if (till := sale.till) is not last:
            last, day = till, tills[till]
        yield day, sale


async def _conflicts(
    tx: Transaction, batch: SaleBatch, known: list[tuple[int, bytes, PreparedSale]], tills: Mapping[Till, int]
) -> list[Quarantined]:
    """Those that came again with other content."""
    stand = await tx.query_each(
        "select till_day, sequence, digest from sale where till_day = $1 and sequence = $2",
        [(tills[sale.till], sale.sequence) for _, _, sale in known],
    )
    digests = {(till, sequence): digest for till, sequence, digest in stand}
    return [
        _conflict(batch, place, sale.head + sale.tail, sale.key)
        for place, digest, sale in known
        if digests[tills[sale.till], sale.sequence] != digest
    ]


async def _count(tx: Transaction, new: list[tuple[int, PreparedSale]], tills: Mapping[Till, int], now: datetime, digest: str = "") -> None:
    """Stock, totals, links and events of the sales that count."""
    movements: list[Row] = []
    sold: list[tuple[int, str]] = []
    links: list[Row] = []
    changed: dict[str, dict[str, int]] = {}
    units_of: dict[str, str] = {}
    totals: dict[str, list[int]] = {}
    last, till_day, prefix, gone, total = None, 0, "", dict[str, int](), list[int]()
    for number, sale in new:
        if not sale.counted:
            continue
        if (till := sale.till) is not last:
            last, till_day, prefix = till, tills[till], "/".join(till)
            gone, total = changed.setdefault(till[0], {}), totals.setdefault(till[0], [0, 0])
        sequence, at = sale.sequence, over(sale.head)
        for sku, moved in sale.moves.items():
            movements.append((till_day, sku, sequence, moved, at))
            gone[sku] = gone.get(sku, 0) + moved
        if sale.measures:
            units_of.update(sale.measures)
        key = f"{prefix}/{sequence}"
        sold.append((number, key))
        if sale.links:
            links += [(target, type_, key) for target, type_ in sale.links]
        total[0] += 1
        total[1] += sale.cents
    movements.sort(key=itemgetter(1))  # neighbours share pages
    await insert(tx, "stock_movement (till_day, sku, sequence, millionths, at)", movements)
    await tx.execute_each("insert into sale_link (target, type, source) values ($1, $2, $3) on conflict do nothing", links)
    await tx.execute_each(
        "insert into store_total (store, sales, cents, millionths) values ($1, $2, $3, $4) on conflict (store) do update"
        " set sales = store_total.sales + excluded.sales, cents = store_total.cents + excluded.cents,"
        " millionths = store_total.millionths + excluded.millionths",
        [(store, *totals[store], sum(changed[store].values())) for store in sorted(totals)],
    )
    stock = [(f"{sku}@{store}", -moved, units_of.get(sku, "EA")) for store, gone in changed.items() for sku, moved in gone.items()]
    await outbox.append_bundle(tx, outbox.Bundle(sold, stock), now)
    await touched(tx, digest, ((day, sale.sequence) for day, sale in _each_day([sale for _, sale in new], tills)), now)


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


# ---- one sale, by a person's decision -----------------------------------------------------------------------------


async def booked(tx: Transaction, key: SaleKey) -> PosSale | None:
    rows = await tx.query(
        "select s.chunk, s.place from till_day t join sale s on s.till_day = t.id"
        " where t.store = $1 and t.workstation = $2 and t.business_date = $3 and s.sequence = $4",
        text(key.store_number),
        text(key.workstation_id),
        text(key.business_date),
        key.sequence_number,
    )
    found = await _sales(tx, rows)
    return found[0] if found else None


async def same(tx: Transaction, work: Work) -> bool:
    """Whether it is booked with this content."""
    (one,), (digest,) = work.sales, work.digests
    rows = await tx.query(
        "select s.digest from till_day t join sale s on s.till_day = t.id"
        " where t.store = $1 and t.workstation = $2 and t.business_date = $3 and s.sequence = $4",
        *one.till,
        one.sequence,
    )
    return bool(rows) and bytes(rows[0][0]) == digest


def prepared(sale: PosSale) -> Work:
    """Of one sale. Raises InvalidBody for what cannot be counted."""
    work = _prepare(SaleBatch(digest="", fence=0, position=0, sales=(sale,)))
    for refused in work.refused:
        raise InvalidBody(where="", expected=refused.expected, got=refused.got)
    return work


async def book_one(tx: Transaction, work: Work, now: datetime) -> bool:
    """As a batch is booked. False: it was, with the same content. Raises StateConflict when another content is."""
    tills = await days(tx, {sale.till for sale in work.sales})
    new, known = await _insert(tx, work, tills)
    if await _conflicts(tx, SaleBatch(digest="", fence=0, position=0, sales=()), known, tills):
        key = work.sales[0].key
        raise StateConflict(what="sale", key=key, state="booked", why="it is booked with other content, and the first one stands")
    await _count(tx, new, tills, now)
    return bool(new)

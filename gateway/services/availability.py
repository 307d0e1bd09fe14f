"""What may be promised: arithmetic over a figure of the ERP or of a report, POS sales behind it, and our own holds (canonical model §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import msgspec

from contracts import ports
from contracts.books import Books
from contracts.call import Call
from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import Availability, InventoryLevel, Term, TermName
from contracts.errors import UpstreamError
from contracts.ports import Answer, SkuAt, Systems
from gateway.services.clock import Now
from observability import current

SUBTRACTED: tuple[TermName, ...] = ("committed", "reserved", "damaged", "quality_control", "display_only")


@dataclass(frozen=True)
class Stock:
    """The arithmetic of one sku at one location before own holds and safety stock."""

    level: InventoryLevel
    terms: tuple[Term, ...]
    unit: str
    as_of: datetime
    counted_since: datetime
    """What was booked after this moment of our own clock cannot be in the figure."""

    @property
    def free_before_holds(self) -> Decimal:
        return sum((t.quantity.amount for t in self.terms), Decimal(0))


class AvailabilityReader:
    def __init__(
        self, systems: Systems, books: Books, safety_stock: Mapping[str, int], now: Now, *, reporting: Mapping[str, float] | None = None
    ) -> None:
        """`reporting`: systems whose levels come in files, with the seconds after which one of them is stale (0: never)."""
        self._systems, self._reporting = systems, reporting or {}
        self._books = books
        self._safety_stock = safety_stock
        self._now = now

    async def read(self, pairs: Sequence[SkuAt], call: Call, *, explain: bool = False) -> Answer[Availability]:
        stocks, answer = await self.stock(pairs, call)
        held = await self._books.reservations.held(list(stocks), {pair: s.counted_since for pair, s in stocks.items()}, self._now())
        items = tuple(self._availability(pair, stock, held.get(pair, Decimal(0)), call.channel, explain) for pair, stock in stocks.items())
        return Answer(items, answer.sources, answer.gaps)

    async def stock(self, pairs: Sequence[SkuAt], call: Call) -> tuple[dict[SkuAt, Stock], Answer[InventoryLevel]]:
        """Figures of the owning system, or those that a file has reported since, and what the tills sold behind them. Pairs of which nobody
        knows a figure are absent."""
        asked, pairs = self._now(), tuple(dict.fromkeys(pairs))
        reports = await self._reports(pairs) if self._reporting else {}
        answer = await self._ask(pairs, reports, call)
        said = {SkuAt(sku=x.sku, location_id=x.location_id): x for x in answer.items if x.on_hand or x.available}
        used = {
            pair: level
            for pair, level in reports.items()
            if pair not in said or self._moment(level, ()) > self._moment(said[pair], answer.sources)
        }
        levels = {pair: level for pair in pairs if (level := used.get(pair) or said.get(pair)) is not None}
        held = {pair: level.contained if pair in used else level.posted_through for pair, level in levels.items()}
        sold = await self._books.sales.delta(held)
        fresh = call.fresh and not answer.stale
        stocks = {
            pair: self._stock(level, sold.get(pair, Decimal(0)), answer, asked if fresh and pair not in used else None)
            for pair, level in levels.items()
        }
        if used and answer.gaps:
            at = {f"{pair.sku}/{pair.location_id}" for pair in used}
            gaps = (replace(gap, keys=tuple(key for key in gap.keys if key not in at)) for gap in answer.gaps)
            answer = replace(answer, gaps=tuple(gap for gap in gaps if gap.keys))
        return stocks, answer

    async def _reports(self, pairs: Sequence[SkuAt]) -> dict[SkuAt, InventoryLevel]:
        """What systems have reported that still do."""
        found: dict[SkuAt, InventoryLevel] = {}
        for pair, level in (await self._books.sales.levels(pairs)).items():
            source = level.provenance[0]
            if (most := self._reporting.get(source.source_system)) is not None:
                stale = bool(most) and (self._now() - source.as_of).total_seconds() > most
                found[pair] = msgspec.structs.replace(level, provenance=(msgspec.structs.replace(source, stale=True),)) if stale else level
        return found

    async def _ask(self, pairs: tuple[SkuAt, ...], reports: Mapping[SkuAt, InventoryLevel], call: Call) -> Answer[InventoryLevel]:
        """Raises UpstreamError unless all is reported; then what is reported stands."""
        if self._reporting and not self._systems.provides(ports.LEVELS):
            return Answer(())
        try:
            return await self._systems.ask(ports.LEVELS, ports.LevelQuery(pairs=pairs), call)
        except UpstreamError as error:
            if len(reports) < len(pairs):
                raise
            if flight := current():
                flight.degraded(error.code)
            return Answer(())

    def _moment(self, level: InventoryLevel, sources: Sequence[Provenance]) -> datetime:
        said = level.provenance or sources
        return level.as_of or (said[0].as_of if said else self._now())

    def _stock(self, level: InventoryLevel, sold: Decimal, answer: Answer[InventoryLevel], asked: datetime | None) -> Stock:
        said = level.provenance or answer.sources
        source = said[0].source_system if said else ""
        as_of = self._moment(level, said)
        # The system's clock may run ahead of ours: a figure is no younger than our question, or else than its answer.
        counted_since = min(as_of, asked or (said[0].received_at if said else as_of))
        base = level.on_hand or level.available
        if base is None:
            raise ValueError("a level without a figure has no arithmetic")
        unit = base.unit
        terms = [Term(name="on_hand", quantity=base, source=source, as_of=as_of)]
        for name in SUBTRACTED:
            quantity: Quantity | None = getattr(level, name)
            if quantity is not None and quantity.amount and not _taken_out(level, name):
                terms.append(Term(name=name, quantity=Quantity.of(-quantity.amount, unit), source=source, as_of=as_of))
        if sold and not _taken_out(level, "pos_delta"):
            terms.append(Term(name="pos_delta", quantity=Quantity.of(-sold, unit), source="pos"))
        return Stock(level, tuple(terms), unit, as_of, counted_since)

    def _availability(self, pair: SkuAt, stock: Stock, held: Decimal, channel: str, explain: bool) -> Availability:
        terms = stock.terms
        if _taken_out(stock.level, "own_holds"):
            held = Decimal(0)
        if held:
            terms = (*terms, Term(name="own_holds", quantity=Quantity.of(-held, stock.unit), source="tillgate"))
        free = stock.free_before_holds - held
        safety = Decimal(self._safety_stock.get(channel, 0))
        provenance: tuple[Provenance, ...] = stock.level.provenance
        availability = Availability(
            sku=pair.sku,
            location_id=pair.location_id,
            available=Quantity.of(max(Decimal(0), free - safety), stock.unit),
            on_hand=stock.level.on_hand,
            as_of=stock.as_of,
            stale=any(p.stale for p in provenance),
            provenance=provenance,
        )
        if not explain:
            return availability
        return msgspec.structs.replace(
            availability, free=Quantity.of(free, stock.unit), safety_stock=Quantity.of(safety, stock.unit), explanation=terms
        )

    async def free_for_hold(self, pair: SkuAt, call: Call) -> Stock | None:
        """For a reservation: the figures as fresh as they can be had, before own holds. None: no system knows the pair."""
        stocks, _ = await self.stock([pair], msgspec.structs.replace(call, fresh=True))
        return stocks.get(pair)


def _taken_out(level: InventoryLevel, term: str) -> bool:
    """`netOf` speaks of `available` only: a figure that starts from what is physically there holds everything."""
    return level.on_hand is None and term in level.net_of

"""What may be promised: arithmetic over the ERP's figures, POS sales it has not seen, and our own holds (canonical model §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from contracts import ports
from contracts.books import Books
from contracts.call import Call
from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import Availability, InventoryLevel, Term, TermName
from contracts.ports import Answer, SkuAt, Systems
from gateway.services.clock import Now

_SUBTRACTED: tuple[TermName, ...] = ("committed", "reserved", "damaged", "quality_control", "display_only")


@dataclass(frozen=True)
class Stock:
    """The arithmetic of one sku at one location before own holds and safety stock."""

    level: InventoryLevel
    terms: tuple[Term, ...]
    unit: str
    as_of: datetime

    @property
    def free_before_holds(self) -> Decimal:
        return sum((t.quantity.amount for t in self.terms), Decimal(0))


class AvailabilityReader:
    def __init__(self, systems: Systems, books: Books, safety_stock: Mapping[str, int], now: Now) -> None:
        self._systems = systems
        self._books = books
        self._safety_stock = safety_stock
        self._now = now

    async def read(self, pairs: Sequence[SkuAt], call: Call, *, explain: bool = False) -> Answer[Availability]:
        stocks, answer = await self.stock(pairs, call)
        held = await self._books.reservations.held(list(stocks), {pair: s.as_of for pair, s in stocks.items()}, self._now())
        items = tuple(self._availability(pair, stock, held.get(pair, Decimal(0)), call.channel, explain) for pair, stock in stocks.items())
        return Answer(items, answer.sources, answer.gaps)

    async def stock(self, pairs: Sequence[SkuAt], call: Call) -> tuple[dict[SkuAt, Stock], Answer[InventoryLevel]]:
        """Figures of the owning system and what the tills sold since. Pairs that no system knows are absent."""
        answer = await self._systems.ask(ports.LEVELS, ports.LevelQuery(pairs=tuple(dict.fromkeys(pairs))), call)
        levels = {SkuAt(sku=level.sku, location_id=level.location_id): level for level in answer.items}
        levels = {pair: levels[pair] for pair in dict.fromkeys(pairs) if pair in levels}
        sold = await self._books.sales.delta({pair: level.posted_through for pair, level in levels.items()})
        return {pair: self._stock(level, sold.get(pair, Decimal(0)), answer) for pair, level in levels.items()}, answer

    def _stock(self, level: InventoryLevel, sold: Decimal, answer: Answer[InventoryLevel]) -> Stock:
        source = level.provenance[0].source_system if level.provenance else "erp"
        as_of = level.as_of or (level.provenance[0].as_of if level.provenance else self._now())
        base = level.on_hand or level.available
        unit = base.unit if base else "EA"
        terms = []
        if base is not None:
            terms.append(Term(name="on_hand", quantity=base, source=source, as_of=as_of))
            if level.on_hand is not None:
                for name in _SUBTRACTED:
                    quantity: Quantity | None = getattr(level, name)
                    if quantity is not None and quantity.amount and name not in level.net_of:
                        terms.append(Term(name=name, quantity=Quantity.of(-quantity.amount, unit), source=source, as_of=as_of))
        if sold:
            terms.append(Term(name="pos_delta", quantity=Quantity.of(-sold, unit), source="pos"))
        return Stock(level, tuple(terms), unit, as_of)

    def _availability(self, pair: SkuAt, stock: Stock, held: Decimal, channel: str, explain: bool) -> Availability:
        terms = stock.terms
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

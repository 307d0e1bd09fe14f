"""Sales of the tills, the stock they move and the events they cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from contracts.books.files import Quarantined, Report
from contracts.canonical.inventory import InventoryLevel, TillPosition
from contracts.canonical.sale import PosSale, SaleKey
from contracts.ports import SkuAt


class PreparedSale(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sale as it is booked: its document, and what it does to stock and totals. What is read regularly comes so, without a `PosSale`."""

    till: tuple[str, str, str]
    """Store, workstation, business date."""
    sequence: int
    head: bytes
    """The JSON document of the `PosSale` up to its last member, the provenance; it knows sales that came again."""
    tail: bytes
    """The rest of it: `,"provenance":[…]}`, or `}` alone."""
    counted: bool
    cents: int = 0
    """Signed grand total, where the sale counts."""
    moves: Mapping[str, int] = {}
    """Sku -> millionths that left the shelf."""
    measures: Mapping[str, str] = {}
    """Sku -> unit, where it is not pieces."""
    links: tuple[tuple[str, str], ...] = ()
    """(key of another sale, how it is linked)."""

    @property
    def key(self) -> str:
        return f"{self.till[0]}/{self.till[1]}/{self.till[2]}/{self.sequence}"


@dataclass(frozen=True)
class SaleBatch:
    """Transactions, their stock movements and events, bad records and the position reached: one commit."""

    digest: str
    fence: int
    position: int
    sales: Sequence[PosSale | PreparedSale]
    quarantined: Sequence[Quarantined] = ()
    places: Sequence[int] = ()
    """Where each of the sales stands in the file, where it is known."""
    reports: Sequence[tuple[int, Report]] = ()
    """Of one kind, with where each stands."""


@dataclass(frozen=True)
class BatchResult:
    booked: int
    repeated: int
    conflicts: int
    quarantined: int = 0
    """Records set aside now: conflicts and what cannot be counted among them."""


class SaleBook(Protocol):
    async def commit(self, batch: SaleBatch, now: datetime) -> BatchResult:
        """Books each sale once by its natural key. The same key with the same content is `repeated`; with other content it goes to
        quarantine as a conflict, never over the first. A counted sale moves stock (sold minus returned; `item_type` stock, not
        voided; weighed lines move by their measure) and writes one `sale.committed` event (data: the sale); each touched (sku, location) of
        the batch writes one `inventory.changed` event (subject `sku@location`; data `sku`, `locationId`, `change`, a signed quantity).
        Reports go by their own key in the same way and count in no total. Movements move stock. A level is of its moment, whenever it
        comes: the last one of a pair counts, and writes one `inventory.reported` event (subject `sku@location`, data: the level).
        Raises StateConflict when the fence is outdated.
        """
        ...

    async def get(self, key: SaleKey) -> PosSale | None: ...

    async def list(self, store: str, business_date: str, after: SaleKey | None, limit: int) -> Sequence[PosSale]: ...

    async def delta(self, pairs: Mapping[SkuAt, Sequence[TillPosition] | datetime]) -> Mapping[SkuAt, Decimal]:
        """posDelta (canonical model §6): sold minus returned in transactions after the given position of each till; a till that is not
        named counts with all its transactions. Of a moment: in transactions that ended after it, and, where no end is known, of business
        days that were not over in the time zone that it is given in. Movements are those of a till without a name, and have no end.
        Positive = units gone. Pairs without movement are absent."""
        ...

    async def levels(self, pairs: Sequence[SkuAt]) -> Mapping[SkuAt, InventoryLevel]:
        """The last that was reported of each; pairs without a report are absent."""
        ...

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Per store: `sales` (counted transactions), `cents` (their signed grand totals), `units_milli` (net units sold in thousandths)."""
        ...

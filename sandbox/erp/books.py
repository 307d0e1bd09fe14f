"""The ERP's books: stock per material and plant, sales documents, and how far each till has been posted.

Material numbers, plants and customers are in the world's form here (no padding); the ERP's own form is made at its port.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from sandbox.world import World

FIRST_DOCUMENT = 5_000_001

S = TypeVar("S")
E = TypeVar("E", bound=tuple[Any, ...])


class Posted(NamedTuple):
    """A transaction of a till; the last posted one is what the ERP shows."""

    business_day: date
    sequence: int


@dataclass(frozen=True, slots=True)
class TillTransaction:
    """What the day close needs of one POS transaction. Without movements if it does not count (training, void …)."""

    store: str
    till: str
    business_day: date
    sequence: int
    sold: tuple[tuple[str, Decimal], ...]
    """(sku, quantity) that left the shelf; negative for what came back."""


class Figures(NamedTuple):
    on_hand: Decimal
    committed: Decimal


@dataclass(slots=True)
class OrderItem:
    number: str
    sku: str
    quantity: Decimal
    unit: str
    price: Decimal
    plant: str
    rejected: str | None = None


@dataclass(slots=True)
class SalesOrder:
    document: str
    """Ten digits, as VBELN."""
    reference: str
    kind: str
    currency: str
    customer: str | None
    plant: str
    wanted_on: str
    created_at: datetime
    items: list[OrderItem]

    @property
    def status(self) -> str:
        return "C" if all(item.rejected for item in self.items) else "A"

    @property
    def net(self) -> Decimal:
        return sum((i.quantity * i.price for i in self.items if not i.rejected), Decimal(0)).quantize(Decimal("0.01"))

    @property
    def plants(self) -> set[str]:
        return {self.plant, *(item.plant for item in self.items)}


class _Entry(NamedTuple):
    at: datetime
    sold: Decimal
    committed: Decimal


@dataclass(slots=True)
class Books:
    """All figures are exact. History is kept only from the moment `keep_since` names: for answers as of then."""

    world: World
    keep_since: Callable[[], datetime | None] = lambda: None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _stock: dict[tuple[str, str], list[_Entry]] = field(default_factory=dict)
    _tills: dict[str, dict[str, list[tuple[datetime, Posted]]]] = field(default_factory=dict)
    _posted: set[tuple[str, str, Posted]] = field(default_factory=set)
    _orders: dict[str, SalesOrder] = field(default_factory=dict)
    _by_reference: dict[str, SalesOrder] = field(default_factory=dict)

    def stock(self, sku: str, plant: str, as_of: datetime | None = None) -> Figures:
        """Unrestricted stock and open order quantity. KeyError for an unknown sku or plant."""
        entry = _as_of(self._stock.get((sku, plant), ()), as_of)
        opening = self.world.opening_stock(sku, plant)
        return Figures(opening, Decimal(0)) if entry is None else Figures(opening - entry.sold, entry.committed)

    def posted_through(self, plant: str, as_of: datetime | None = None) -> dict[str, Posted]:
        """The last posted transaction of each till of that plant."""
        found = {till: _as_of(steps, as_of) for till, steps in self._tills.get(plant, {}).items()}
        return {till: step[1] for till, step in sorted(found.items()) if step is not None}

    def post(self, transactions: Iterable[TillTransaction]) -> int:
        """Take over till transactions, each once, late ones of an earlier day too. Answers how many were new."""
        before = len(self._posted)
        for sale in transactions:
            key = (sale.store, sale.till, Posted(sale.business_day, sale.sequence))
            if key in self._posted:
                continue
            self._posted.add(key)
            for sku, quantity in sale.sold:
                self._move(sku, sale.store, sold=quantity)
            steps = self._tills.setdefault(sale.store, {}).setdefault(sale.till, [])
            if not steps or key[2] > steps[-1][1]:
                self._keep(steps, (self.clock(), key[2]))
        return len(self._posted) - before

    def create(self, order: SalesOrder) -> SalesOrder:
        """Book an order under the next document number and promise its quantities. The reference must be new."""
        order.document = f"{FIRST_DOCUMENT + len(self._orders):010}"
        order.created_at = self.clock()
        self._orders[order.document] = self._by_reference[order.reference] = order
        if order.kind != "RE":
            for item in order.items:
                self._move(item.sku, item.plant, committed=item.quantity)
        return order

    def find(self, reference: str) -> SalesOrder | None:
        return self._by_reference.get(reference)

    def order(self, document: str) -> SalesOrder | None:
        return self._orders.get(document)

    def cancel(self, order: SalesOrder, reason: str) -> None:
        for item in order.items:
            if item.rejected is None:
                item.rejected = reason
                if order.kind != "RE":
                    self._move(item.sku, item.plant, committed=-item.quantity)

    def account(self) -> dict[str, object]:
        """Everything that happened, for reconciliation: orders, stock of every touched pair, tills."""
        return {
            "orders": [
                {
                    "VBELN": o.document, "BSTNK": o.reference, "AUART": o.kind, "GBSTK": o.status, "NETWR": str(o.net),
                    "WAERK": o.currency, "KUNNR": o.customer, "WERKS": o.plant, "created": o.created_at.isoformat(),
                    "items": [
                        {"POSNR": i.number, "sku": i.sku, "WERKS": i.plant, "KWMENG": str(i.quantity), "VRKME": i.unit,
                         "NETPR": str(i.price), "ABGRU": i.rejected}
                        for i in o.items
                    ],
                }
                for o in self._orders.values()
            ],
            "stock": [
                {"sku": sku, "WERKS": plant, "opening": str(self.world.opening_stock(sku, plant)),
                 "posted_sales": str(steps[-1].sold), "committed": str(steps[-1].committed),
                 "on_hand": str(self.stock(sku, plant).on_hand)}
                for (sku, plant), steps in sorted(self._stock.items())
            ],
            "posted_through": [
                {"WERKS": plant, "KASSE": till, "BUDAT": last.business_day.isoformat(), "BONNR": last.sequence}
                for plant in sorted(self._tills) for till, last in self.posted_through(plant).items()
            ],
        }  # fmt: skip

    def _move(self, sku: str, plant: str, sold: Decimal = Decimal(0), committed: Decimal = Decimal(0)) -> None:
        steps = self._stock.setdefault((sku, plant), [])
        last = steps[-1] if steps else _Entry(self.clock(), Decimal(0), Decimal(0))
        self._keep(steps, _Entry(self.clock(), last.sold + sold, last.committed + committed))

    def _keep(self, steps: list[S], step: S) -> None:
        if self.keep_since() is None:
            steps.clear()
        steps.append(step)


def _as_of(steps: Sequence[E], as_of: datetime | None) -> E | None:
    if not steps:
        return None
    if as_of is None:
        return steps[-1]
    before = bisect_right(steps, as_of, key=lambda s: s[0])
    return steps[before - 1] if before else None

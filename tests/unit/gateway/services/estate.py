"""A legacy estate in memory that fulfils contracts.ports.Systems, for tests of use cases, and what such a test needs besides."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts import ports
from contracts.books import Books
from contracts.call import Call
from contracts.canonical.amounts import Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.inventory import InventoryLevel
from contracts.errors import TillgateError
from contracts.ports import Answer, Capability, Gap, SkuAt


class Clock:
    """Stands still until it is moved on."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 11, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def on(self, seconds: float) -> datetime:
        self.at += timedelta(seconds=seconds)
        return self.at


class Estate:
    """`rows` per capability are answered; an error there is raised. `asked` notes every request. `gaps` come with each answer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[str, tuple[Any, ...] | TillgateError] = {}
        self.gaps: tuple[Gap, ...] = ()
        self.stale = False
        self.during: Callable[[str], None] = lambda asked: None
        """What happens while a question (a capability's name) is under way."""
        self.asked: list[Any] = []

    def provides(self, capability: Capability[Any, Any]) -> bool:
        return capability.name in self.rows

    async def ask(self, capability: Capability[ports.Q, ports.A], request: ports.Q, call: Call) -> Answer[ports.A]:
        self.asked.append(request)
        self.during(capability.name)
        rows = self.rows[capability.name]
        if isinstance(rows, TillgateError):
            raise rows
        return Answer(rows, (self.source(),), self.gaps)

    def source(self) -> Provenance:
        via: Any = "cache" if self.stale else "live"
        return Provenance(source_system="erp", as_of=self.clock(), received_at=self.clock(), via=via, stale=self.stale)

    def level(self, sku: str, location: str = "0017", *, as_of: datetime | None = None, unit: str = "EA", **figures: Any) -> InventoryLevel:
        """Figures as numbers or their text."""
        quantities = {k: Quantity.of(Decimal(v), unit) if isinstance(v, int | str) else v for k, v in figures.items()}
        return InventoryLevel(sku=sku, location_id=location, as_of=as_of or self.clock(), provenance=(self.source(),), **quantities)


def at(sku: str, location: str = "0017") -> SkuAt:
    return SkuAt(sku=sku, location_id=location)


def asking(channel: str = "web") -> Call:
    return Call(channel=channel, client="test", deadline=1e12)


@asynccontextmanager
async def books_in(folder: Path) -> AsyncIterator[Books]:
    books = open_store(StoreOptions(url=f"sqlite:///{folder}/books.db"))
    await books.start()
    try:
        yield books
    finally:
        await books.close()

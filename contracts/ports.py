"""Ports: what the use cases need from outside, typed. Capabilities of systems first, then the books that the store keeps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import msgspec

from contracts.call import Call
from contracts.canonical.base import LocationId, Noun, Number, Provenance, Sku
from contracts.canonical.customer import Customer
from contracts.canonical.inventory import InventoryLevel, StockMovement
from contracts.canonical.location import Location
from contracts.canonical.order import Order, OrderProgress, OrderReceipt
from contracts.canonical.price import Price
from contracts.canonical.product import Product
from contracts.canonical.sale import PosSale
from contracts.errors import TillgateError
from contracts.events import Event

Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)


class SkuAt(Noun, frozen=True, kw_only=True, order=True, cache_hash=True):
    """One sku at one location. A key of many tables on the way to a system and back: its hash is made once."""

    sku: Sku
    location_id: LocationId


class LocationQuery(Noun, frozen=True, kw_only=True):
    """All locations."""


class ProductPage(Noun, frozen=True, kw_only=True):
    """Products in the system's order, after `after` (the system's own continuation), at most `limit`."""

    limit: int
    after: Sku | None = None


class ProductQuery(Noun, frozen=True, kw_only=True):
    skus: tuple[Sku, ...]


class PriceQuery(Noun, frozen=True, kw_only=True):
    pairs: tuple[SkuAt, ...]


class LevelQuery(Noun, frozen=True, kw_only=True):
    pairs: tuple[SkuAt, ...]


class OrderReference(Noun, frozen=True, kw_only=True):
    """Our order number: the reference that every system keeps and can be asked for."""

    order_number: Number


class ExternalOrder(Noun, frozen=True, kw_only=True):
    external_id: str


class OrderCancellation(Noun, frozen=True, kw_only=True):
    external_id: str
    reason: str


class CustomerQuery(Noun, frozen=True, kw_only=True):
    customer_number: Number


@dataclass(frozen=True)
class Capability(Generic[Q, A]):
    """A canonical verb that the gateway needs. Systems provide it by operations (estate.toml).

    `keys` names the tuple field of a keyed read; such reads are cached, coalesced and batched per key, and `key_of` tells which key an
    answer row belongs to. `natural_key` identifies a resource when the answers of several systems are combined.
    """

    name: str
    request: type[Q]
    answer: type[A]
    writes: bool = False
    keys: str | None = None
    key_of: Callable[[A], Hashable] | None = None
    natural_key: Callable[[A], Hashable] | None = None


LOCATIONS = Capability("location.list", LocationQuery, Location, natural_key=lambda x: x.number)
PRODUCT_PAGE = Capability("product.list", ProductPage, Product, natural_key=lambda x: x.sku)
PRODUCTS = Capability("product.read", ProductQuery, Product, keys="skus", key_of=lambda x: x.sku, natural_key=lambda x: x.sku)
PRICES = Capability("price.read", PriceQuery, Price, keys="pairs", key_of=lambda x: SkuAt(sku=x.sku, location_id=x.location_id or ""))
LEVELS = Capability(
    "inventory.levels",
    LevelQuery,
    InventoryLevel,
    keys="pairs",
    key_of=lambda x: SkuAt(sku=x.sku, location_id=x.location_id),
    natural_key=lambda x: (x.sku, x.location_id),
)
ORDER_CREATE = Capability("order.create", Order, OrderReceipt, writes=True)
ORDER_FIND = Capability("order.find", OrderReference, OrderReceipt)
ORDER_CANCEL = Capability("order.cancel", OrderCancellation, OrderReceipt, writes=True)
ORDER_PROGRESS = Capability("order.progress", ExternalOrder, OrderProgress)
ORDER_BOOK = Capability("order.book", Order, OrderReceipt, writes=True)
ORDER_FIND_BOOKING = Capability("order.find_booking", OrderReference, OrderReceipt)
ORDER_CANCEL_BOOKING = Capability("order.cancel_booking", OrderCancellation, OrderReceipt, writes=True)
CUSTOMER = Capability("customer.read", CustomerQuery, Customer, natural_key=lambda x: x.customer_number)
SALE_FEED = Capability("sale.feed", LocationQuery, PosSale, natural_key=lambda x: str(x.key))
MOVEMENT_FEED = Capability("movement.feed", LocationQuery, StockMovement, natural_key=lambda x: str(x.key))
LEVEL_FEED = Capability("level.feed", LocationQuery, InventoryLevel, natural_key=lambda x: x.key)
FED = (SALE_FEED.name, MOVEMENT_FEED.name, LEVEL_FEED.name)
"""Feeds: they are not asked for; files bring them."""
PRICE_PUBLISH = Capability("price.publish", Price, Price)
ASSORTMENT_PUBLISH = Capability("assortment.publish", Product, Product)
"""Written into files, one noun after the other; nobody asks for them."""
PUBLISHED = (PRICE_PUBLISH.name, ASSORTMENT_PUBLISH.name)

CAPABILITIES: dict[str, Capability[msgspec.Struct, msgspec.Struct]] = {
    c.name: c  # type: ignore[misc]  # a mapping of differently typed capabilities; `Systems.ask` restores the types
    for c in (
        LOCATIONS,
        PRODUCT_PAGE,
        PRODUCTS,
        PRICES,
        LEVELS,
        ORDER_CREATE,
        ORDER_FIND,
        ORDER_CANCEL,
        ORDER_PROGRESS,
        ORDER_BOOK,
        ORDER_FIND_BOOKING,
        ORDER_CANCEL_BOOKING,
        CUSTOMER,
        SALE_FEED,
        MOVEMENT_FEED,
        LEVEL_FEED,
        PRICE_PUBLISH,
        ASSORTMENT_PUBLISH,
    )
}


@dataclass(frozen=True)
class Gap:
    """A part of the answer that is missing, and why (a code of the error tree)."""

    system: str
    code: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer(Generic[A]):
    """What systems said: rows, where each comes from and how old it is (on the rows and in `sources`), and what is missing."""

    items: tuple[A, ...]
    sources: tuple[Provenance, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def stale(self) -> bool:
        return any(s.stale for s in self.sources)


class Systems(Protocol):
    """The legacy estate, seen as capabilities."""

    async def ask(self, capability: Capability[Q, A], request: Q, call: Call) -> Answer[A]:
        """Raises the error tree's UpstreamError classes. A read may be answered from cache or stale, as policy says, and says so.

        A write is performed once: `OutcomeUnknown` when nobody can tell whether the system did it.
        """
        ...

    def provides(self, capability: Capability[Q, A]) -> bool: ...


class Publisher(Protocol):
    """Where the relay takes events: subscribers in this process, a broker, somebody's endpoint."""

    name: str
    """One short word, for telemetry and errors."""

    async def publish(self, events: Sequence[Event]) -> Sequence[TillgateError | None]:
        """Of each event None when it is safe there, else what went wrong with it. No two are of one subject, so nothing is held up by a
        failed neighbour. May be repeated: whoever reads drops a known (source, id).
        """
        ...


@dataclass(frozen=True)
class Answered:
    """What a receiver of webhooks said. Only 2xx is success."""

    status: int
    retry_after: float | None
    """Seconds."""


class WebhookSender(Protocol):
    """Tells one event to one receiver."""

    def refusal(self, url: str) -> str:
        """Why nobody at this URL can be a receiver, as far as the URL alone tells it; empty if somebody can."""
        ...

    async def send(self, name: str, url: str, event: Event, secrets: Sequence[bytes], at: datetime) -> Answered:
        """Once, within a time limit, signed with each of the `secrets`. Raises UpstreamError when there is no answer."""
        ...

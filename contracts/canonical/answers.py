"""What the API's routes answer and are asked with: collections around nouns, with what is missing from them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from contracts.canonical.base import LocationId, Noun, Sku
from contracts.canonical.customer import Customer
from contracts.canonical.inventory import Availability
from contracts.canonical.location import Location
from contracts.canonical.order import Order
from contracts.canonical.price import Price
from contracts.canonical.product import Product
from contracts.canonical.sale import BusinessDate, PosSale

Cursor = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,200}$(?!\n)", description="Opaque; follow the Link header instead of building it")]
Limit = Annotated[int, Meta(ge=1, le=200)]
ListLimit = Annotated[int, Meta(ge=1, le=100)]
PartLocations = Annotated[
    tuple[LocationId, ...], Meta(max_length=100, description="Where the prices and the availability are meant that `expand` brings along")
]


class Missing(Noun, frozen=True, kw_only=True):
    """A part that is not in the answer: `code` says why (problem catalogue), `keys` what it concerns."""

    code: str
    keys: tuple[str, ...] = ()


class Locations(Noun, frozen=True, kw_only=True):
    items: tuple[Location, ...]
    missing: tuple[Missing, ...] = ()


class Products(Noun, frozen=True, kw_only=True):
    items: tuple[Product, ...]
    missing: tuple[Missing, ...] = ()


class Prices(Noun, frozen=True, kw_only=True):
    items: tuple[Price, ...]
    missing: tuple[Missing, ...] = ()


class Inventory(Noun, frozen=True, kw_only=True):
    items: tuple[Availability, ...]
    missing: tuple[Missing, ...] = ()


class Orders(Noun, frozen=True, kw_only=True):
    items: tuple[Order, ...]


class Sales(Noun, frozen=True, kw_only=True):
    items: tuple[PosSale, ...]


class ProductParts(Noun, frozen=True, kw_only=True):
    """What `expand` brings along with products, as other routes would answer it. `missing` names the parts that are not there."""

    prices: Prices | None = None
    inventory: Inventory | None = None
    missing: tuple[Missing, ...] = ()


class OrderParts(Noun, frozen=True, kw_only=True):
    """What `expand` brings along with orders, as other routes would answer it. `missing` names the parts that are not there."""

    products: Products | None = None
    customer: Customer | None = None
    missing: tuple[Missing, ...] = ()


class SaleParts(Noun, frozen=True, kw_only=True):
    """What `expand` brings along with sales, as other routes would answer it. `missing` names the parts that are not there."""

    products: Products | None = None
    missing: tuple[Missing, ...] = ()


class NoParameters(Noun, frozen=True, kw_only=True):
    """A route without parameters."""


class ProductParameters(Noun, frozen=True, kw_only=True):
    sku: Annotated[tuple[Sku, ...], Meta(max_length=100)] = ()
    location: PartLocations = ()
    cursor: Cursor | None = None
    limit: Limit = 50


class PlaceParameters(Noun, frozen=True, kw_only=True):
    location: PartLocations = ()


class PairParameters(Noun, frozen=True, kw_only=True):
    """Every sku at every location: at most 500 pairs."""

    sku: Annotated[tuple[Sku, ...], Meta(min_length=1, max_length=100)]
    location: Annotated[tuple[LocationId, ...], Meta(min_length=1, max_length=100)]


class InventoryParameters(Noun, frozen=True, kw_only=True):
    sku: Annotated[tuple[Sku, ...], Meta(min_length=1, max_length=100)]
    location: Annotated[tuple[LocationId, ...], Meta(min_length=1, max_length=100)]
    explain: bool = False


class PageParameters(Noun, frozen=True, kw_only=True):
    cursor: Cursor | None = None
    limit: ListLimit = 20


class SaleParameters(Noun, frozen=True, kw_only=True):
    location: LocationId
    business_date: BusinessDate
    cursor: Cursor | None = None
    limit: ListLimit = 20


class Cancellation(Noun, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(min_length=1, max_length=100)]


class Release(Noun, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(min_length=1, max_length=100)] = "owner_removed"

"""Locations: stores, warehouses and other places that hold stock (canonical model §2; ARTS BusinessUnit, GS1 GLN)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.address import Address
from contracts.canonical.amounts import CurrencyCode
from contracts.canonical.base import LocationId, Name, Noun, Provenance

LocationType = Literal["store", "warehouse", "dark_store", "collection_point", "supplier", "virtual"]


class Location(Noun, frozen=True, kw_only=True):
    """Natural key `number`. Without `timeZone` no sale is accepted from there."""

    number: LocationId
    type: LocationType
    name: Name
    active: bool
    address: Address | None = None
    time_zone: Annotated[str, Meta(examples=["Europe/Berlin"])] | None = None
    currency_code: CurrencyCode | None = None
    gln: str | None = None
    capabilities: tuple[str, ...] = ()
    provenance: tuple[Provenance, ...] = ()

"""Products and their variants (canonical model §2; commercetools ProductVariant, GS1 GTIN)."""

from __future__ import annotations

from typing import Literal

from contracts.canonical.amounts import Unit
from contracts.canonical.base import Gtin, Localized, Name, Noun, Provenance, Sku, Text, gtin_is_valid


class PackGtin(Noun, frozen=True, kw_only=True):
    gtin: Gtin
    pack_level: Literal["each", "inner", "case", "pallet"] = "each"
    base_quantity: str | None = None

    def __post_init__(self) -> None:
        if not gtin_is_valid(self.gtin):
            raise ValueError(f"expected a GTIN with a valid check digit, got {self.gtin!r}")


class Product(Noun, frozen=True, kw_only=True):
    """A sellable variant. Natural key `sku`. GTINs are returned unpadded; they compare as 14 digits."""

    sku: Sku
    name: Localized
    base_unit: Unit
    active: bool
    description: Localized | None = None
    brand: Name | None = None
    category_path: tuple[Text, ...] = ()
    gtins: tuple[PackGtin, ...] = ()
    sold_by: Literal["each", "weight", "length", "volume"] | None = None
    tax_class: str | None = None
    restrictions: tuple[str, ...] = ()
    provenance: tuple[Provenance, ...] = ()

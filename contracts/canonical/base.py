"""What all nouns share: naming on the wire, identifiers, provenance and personal data marks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Noun(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Immutable, camelCase in JSON, absent when a source did not say. A field without default must be filled by every mapping.

    What cannot change holds no cycle, so the garbage collector need not know it (`gc=False` is inherited).

    Subclasses repeat `frozen` and `kw_only`: msgspec does not inherit the second, and type checkers want to see the first.
    """


Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with offset")]
Text = Annotated[str, Meta(min_length=1, max_length=500)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{2,256}$(?!\n)")]
Number = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]
Sku = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9 ._/+#:&()*=@-]{0,62}[A-Za-z0-9._/+#:&()*=@-])?$(?!\n)", examples=["10000001"])]
"""What systems call an article, as they write it: `MA464LL/A`, `Rebel XT`. No comma, which separates values in a query."""
SkuInPath = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9 ._+#:&()*=@-]{0,62}[A-Za-z0-9._+#:&()*=@-])?$(?!\n)", examples=["10000001"])
]
"""Without a slash: servers and proxies take that for a further segment, however it is escaped."""
LocationId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,19}$(?!\n)", examples=["0017"])]
Gtin = Annotated[str, Meta(pattern=r"^([0-9]{8}|[0-9]{12,14})$(?!\n)")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)", examples=["DE"])]
PersonalText = Annotated[str, Meta(min_length=1, max_length=200, extra={"personal": True})]
"""Masked in logs, traces and dead letters (canonical model §1, personal data)."""

Email = Annotated[str, Meta(min_length=3, max_length=254, extra={"personal": True})]
"""Kept as written, matched case-folded; RFC 5321 §4.5.3.1.3 bounds its length."""

Localized = dict[Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)")], Text]
"""BCP 47 tag -> text."""


class ExternalId(Noun, frozen=True, kw_only=True):
    """The id of a resource in one system behind the gateway."""

    system: str
    external_id: str


class Provenance(Noun, frozen=True, kw_only=True):
    """Where a statement comes from and how old it is. `part` names the part of a merged resource."""

    source_system: str
    as_of: Instant
    received_at: Instant
    via: Literal["live", "cache", "file", "event"]
    source_record: str | None = None
    mapping_version: str | None = None
    part: str | None = None
    stale: bool = False


def gtin_is_valid(gtin: str) -> bool:
    """GS1 General Specifications §7.9: the last digit makes the weighted sum (3, 1, 3, … from the right) a multiple of ten."""
    if len(gtin) not in (8, 12, 13, 14) or not gtin.isascii() or not gtin.isdigit():
        return False
    return sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(reversed(gtin))) % 10 == 0

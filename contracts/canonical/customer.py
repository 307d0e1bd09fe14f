"""Customers (canonical model §2; commercetools Customer)."""

from __future__ import annotations

from contracts.canonical.address import Address
from contracts.canonical.base import Email, ExternalId, Noun, Number, PersonalText, Provenance


class Customer(Noun, frozen=True, kw_only=True):
    customer_number: Number
    email: Email | None = None
    first_name: PersonalText | None = None
    last_name: PersonalText | None = None
    company_name: PersonalText | None = None
    phone: PersonalText | None = None
    locale: str | None = None
    addresses: tuple[Address, ...] = ()
    is_guest: bool = False
    merged_into: Number | None = None
    external_ids: tuple[ExternalId, ...] = ()
    provenance: tuple[Provenance, ...] = ()

"""Postal and geographic addresses."""

from __future__ import annotations

from contracts.canonical.base import Country, Email, Noun, PersonalText


class Address(Noun, frozen=True, kw_only=True):
    country: Country
    name: PersonalText | None = None
    street: PersonalText | None = None
    postal_code: PersonalText | None = None
    city: PersonalText | None = None
    region: PersonalText | None = None
    email: Email | None = None
    phone: PersonalText | None = None

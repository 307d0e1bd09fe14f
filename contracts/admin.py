"""What operators send and get: clients, their keys, and the audit log. The nouns of the admin API, which channels never meet."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.books import AuditEntry
from contracts.canonical.answers import Cursor
from contracts.canonical.base import Instant, Key, LocationId, Noun

Scopes = Annotated[tuple[str, ...], Meta(min_length=1, max_length=50)]
Stores = Annotated[tuple[LocationId, ...], Meta(max_length=500, description="Empty: all stores")]
Fingerprint = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$(?!\n)", description="`x5t#S256` of a client certificate (RFC 8705 §3.1)")]
Certificates = Annotated[tuple[Fingerprint, ...], Meta(max_length=20)]
Word = Annotated[str, Meta(min_length=1, max_length=64)]
Prefix = Annotated[str, Meta(pattern=r"^[a-z2-7]{8}$(?!\n)", examples=["mfzwi3d2"])]
PageLimit = Annotated[int, Meta(ge=1, le=200)]


class NewClient(Noun, frozen=True, kw_only=True):
    name: Key
    channel: Word
    scopes: Scopes
    stores: Stores = ()
    certificates: Certificates = ()
    quota: Word = "standard"
    api_version: Word | None = None
    """Pinned; the newest if left out."""
    key_expires_at: Instant | None = None


class ClientChange(Noun, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    scopes: Scopes | None = None
    stores: Stores | None = None
    certificates: Certificates | None = None
    quota: Word | None = None
    api_version: Word | None = None
    suspended: bool | None = None


class Rotation(Noun, frozen=True, kw_only=True):
    overlap_hours: Annotated[int, Meta(ge=0, le=8760, description="How long older keys still work")] = 24
    key_expires_at: Instant | None = None


KeyState = Literal["active", "ending", "ended"]


class KeyView(Noun, frozen=True, kw_only=True):
    """Of a key that is never shown again. `ending`: it works until `expires_at`, which is within thirty days."""

    prefix: str
    state: KeyState
    created_at: Instant | None = None
    expires_at: Instant | None = None
    used_at: Instant | None = None
    """To the minute."""


class ClientView(Noun, frozen=True, kw_only=True):
    name: str
    channel: str
    state: Literal["active", "suspended"]
    scopes: tuple[str, ...]
    stores: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    quota: str
    api_version: str
    keys: tuple[KeyView, ...] = ()


class IssuedKey(Noun, frozen=True, kw_only=True):
    """The only answer that ever holds the key."""

    client: ClientView
    prefix: str
    key: str


class Clients(Noun, frozen=True, kw_only=True):
    items: tuple[ClientView, ...]


class ClientsParameters(Noun, frozen=True, kw_only=True):
    cursor: Cursor | None = None
    limit: PageLimit = 50


class AuditLog(Noun, frozen=True, kw_only=True):
    """Newest first."""

    items: tuple[AuditEntry, ...]


class AuditParameters(Noun, frozen=True, kw_only=True):
    since: Instant | None = None
    client: Annotated[str, Meta(min_length=1, max_length=256, description="Entries that it made or that concern it")] | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50

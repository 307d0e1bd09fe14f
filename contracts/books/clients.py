"""Clients of the API, their keys, and the sessions of the console that a key opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from contracts.books.audit import AuditEntry
from contracts.canonical.base import Noun


class Client(Noun, frozen=True, kw_only=True):
    """An authenticated application of one channel. Keys are never stored: only their keyed hash and look-up prefix."""

    name: str
    channel: str
    scopes: tuple[str, ...]
    api_version: str
    """Pinned version; a request may name another one in `API-Version`."""
    quota: str = "standard"
    stores: tuple[str, ...] = ()
    """Empty: all stores."""
    suspended: bool = False
    certificates: tuple[str, ...] = ()
    """Fingerprints of client certificates that stand for it: `x5t#S256` (RFC 8705 §3.1)."""


class ApiKey(Noun, frozen=True, kw_only=True):
    prefix: str
    client: str
    digest: bytes
    """HMAC-SHA256 of the secret part with the gateway's pepper."""
    expires_at: datetime | None = None
    created_at: datetime | None = None


class KeyRecord(Noun, frozen=True, kw_only=True):
    """What people see of a key."""

    prefix: str
    client: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    used_at: datetime | None = None
    """To the minute."""


class ClientBook(Protocol):
    """A change and the entries that tell of it are one commit."""

    async def put(self, client: Client) -> None: ...

    async def create(self, client: Client, key: ApiKey, entries: Sequence[AuditEntry]) -> None:
        """Raises StateConflict when there is a client of this name, or one of its certificates stands for another."""
        ...

    async def change(self, before: Client, after: Client, entries: Sequence[AuditEntry]) -> None:
        """Raises NotFound, and StateConflict when the client is no longer as it was in `before`, or one of its certificates stands for
        another.
        """
        ...

    async def rotate(self, key: ApiKey, overlap_until: datetime, entries: Sequence[AuditEntry]) -> int:
        """A further key; those without an earlier end end at `overlap_until`. Returns how many. Raises NotFound, StateConflict."""
        ...

    async def end_key(self, client: str, prefix: str, at: datetime, entries: Sequence[AuditEntry]) -> None:
        """Raises NotFound when the client has no such key, StateConflict when it ended before `at`."""
        ...

    async def remove(self, name: str, entries: Sequence[AuditEntry]) -> None:
        """With its keys and its stored answers, which a later client of the same name must not be given. Raises NotFound."""
        ...

    async def purge_keys(self, before: datetime) -> int:
        """Keys that ended before."""
        ...

    async def keys(self, client: str | None) -> Sequence[KeyRecord]:
        """By client, newest first. None: those of all."""
        ...

    async def used(self, at: Mapping[str, datetime]) -> None:
        """Last use by prefix; an earlier one than is known changes nothing."""
        ...

    async def get(self, name: str) -> Client | None: ...

    async def list(self) -> Sequence[Client]: ...

    async def add_key(self, key: ApiKey) -> None: ...

    async def find_key(self, prefix: str) -> tuple[ApiKey, Client] | None: ...

    async def expire_keys(self, client: str, at: datetime) -> int:
        """Every key of the client that has no earlier end ends at `at` (rotation with overlap). Returns how many."""
        ...


class ConsoleSession(Noun, frozen=True, kw_only=True):
    """Somebody who has signed in with a key. It is found by the `mark` of its cookie, which is stored nowhere."""

    mark: str
    """SHA-256 of the cookie's value, in hexadecimal."""
    client: str
    prefix: str
    """Of the key that opened it: it lives no longer than that."""
    scopes: tuple[str, ...]
    """What the key was good for then."""
    opened_at: datetime
    seen_at: datetime


class SessionBook(Protocol):
    async def open(self, session: ConsoleSession, most: int) -> None:
        """Of one client's sessions the `most` that were opened last stay."""
        ...

    async def get(self, mark: str) -> ConsoleSession | None: ...

    async def seen(self, mark: str, at: datetime) -> None: ...

    async def end(self, mark: str) -> None: ...

    async def purge(self, opened_before: datetime) -> int: ...

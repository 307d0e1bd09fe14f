"""API keys: 256 random bits, shown once, stored as a keyed hash, found by prefix."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime

from contracts.books import ApiKey, Books, Client
from contracts.errors import Forbidden, Unauthenticated
from observability import Step, step

SCOPES = {
    "catalogue:read": "products, prices and locations",
    "inventory:read": "availability",
    "reservations:write": "hold and release stock",
    "orders:read": "own channel's orders",
    "orders:write": "place and cancel orders",
    "customers:read": "customers, with personal data",
    "sales:read": "POS sales",
    "admin:read": "traces, systems, files and processes of the gateway itself",
    "admin:write": "make the gateway read its estate again, and record exchanges",
}
"""Every scope there is; a route that names another one fails the start."""

_KEY = re.compile(r"tg_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_REMEMBER_SECONDS = 2.0
_REMEMBER_KEYS = 4096


def new_key(client: str, pepper: bytes, expires_at: datetime | None = None) -> tuple[str, ApiKey]:
    """The key as it is shown once, and what is stored of it."""
    prefix = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    secret = secrets.token_urlsafe(32)
    return f"tg_{prefix}_{secret}", ApiKey(prefix=prefix, client=client, digest=_digest(secret, pepper), expires_at=expires_at)


def _digest(secret: str, pepper: bytes) -> bytes:
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


class Authenticator:
    """Bearer credentials to a client. A positive answer is remembered for two seconds, so that a suspension takes effect quickly."""

    def __init__(self, books: Books, pepper: bytes) -> None:
        self._books = books
        self._pepper = pepper
        self._known: OrderedDict[bytes, tuple[float, Client]] = OrderedDict()

    async def client(self, authorization: str | None) -> Client:
        """Raises Unauthenticated."""
        if not authorization:
            raise Unauthenticated
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(reason=f"expected the scheme Bearer, got {scheme[:20]!r}", presented=True)
        found = _KEY.fullmatch(token.strip()) if len(token) < 200 else None
        if found is None:
            raise Unauthenticated(reason="expected an API key of the form tg_PREFIX_SECRET", presented=True)
        at = hashlib.sha256(token.encode()).digest()
        now = time.monotonic()
        if (known := self._known.get(at)) and known[0] > now:
            return known[1]
        with step(Step.AUTH):
            stored = await self._books.clients.find_key(found[1])
        digest = stored[0].digest if stored else bytes(32)
        if not hmac.compare_digest(digest, _digest(found[2], self._pepper)) or stored is None:
            raise Unauthenticated(reason="unknown API key", presented=True)
        key, client = stored
        if key.expires_at and key.expires_at <= datetime.now(UTC):
            raise Unauthenticated(reason="this API key has expired", presented=True)
        if client.suspended:
            raise Forbidden(reason="this client is suspended")
        self._known[at] = (now + _REMEMBER_SECONDS, client)
        while len(self._known) > _REMEMBER_KEYS:
            self._known.popitem(last=False)
        return client


def require(client: Client, scope: str) -> None:
    if scope not in client.scopes:
        raise Forbidden(reason=f"client {client.name!r} lacks the scope {scope}", scope=scope)


def may_see(client: Client, locations: Iterable[str]) -> bool:
    """Record-level rule: a client that is bound to stores sees what concerns one of them."""
    return not client.stores or not set(client.stores).isdisjoint(locations)


def require_store(client: Client, location: str) -> None:
    """Record-level rule: a client that is bound to stores acts for these only."""
    if client.stores and location not in client.stores:
        raise Forbidden(reason=f"client {client.name!r} may not act for location {location!r}")

"""API keys: 256 random bits, shown once, stored as a keyed hash, found by prefix."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime

from contracts.books import ApiKey, Client, ClientBook
from contracts.errors import Unauthenticated
from gateway.edge.identity.lookups import Lookups, Roll
from gateway.services.clock import Now
from observability import Step, step

_KEY = re.compile(r"tg_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")


def new_key(client: str, pepper: bytes, expires_at: datetime | None = None) -> tuple[str, ApiKey]:
    """The key as it is shown once, and what is stored of it."""
    prefix = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    secret = secrets.token_urlsafe(32)
    return f"tg_{prefix}_{secret}", ApiKey(prefix=prefix, client=client, digest=_digest(secret, pepper), expires_at=expires_at)


def prefix_of(text: str) -> str:
    """What may be written down of a key that was sent: its prefix; empty for anything else."""
    found = _KEY.fullmatch(text.strip()) if len(text) < 200 else None
    return found[1] if found else ""


def _digest(secret: str, pepper: bytes) -> bytes:
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


class ApiKeys:
    def __init__(self, clients: ClientBook, pepper: bytes, now: Now, clock: Callable[[], float]) -> None:
        async def names() -> frozenset[str]:
            return frozenset([key.prefix for key in await clients.keys(None)])

        async def find(prefix: str) -> tuple[ApiKey, Client] | None:
            there = self._known.found(prefix) or await roll.holds(prefix)
            return await clients.find_key(prefix) if there else None

        roll = Roll(names)
        self._known = Lookups(find, clock)
        self._pepper = pepper
        self._now, self._clock = now, clock

    async def client(self, text: str, *, ahead: float = 0.0) -> tuple[Client, str, float]:
        """The client, the key's prefix, and until when (seconds of the clock) that may be believed, which is more than `ahead` from now,
        unless the key expires. Raises Unauthenticated.

        Unknown prefixes take the same path as wrong secrets.
        """
        found = _KEY.fullmatch(text.strip()) if len(text) < 200 else None
        if found is None:
            raise Unauthenticated(reason="expected an API key of the form tg_PREFIX_SECRET", presented=True)
        with step(Step.AUTH):
            stored, until = await self._known.get(found[1], ahead=ahead)
        digest = stored[0].digest if stored else bytes(32)
        if not hmac.compare_digest(digest, _digest(found[2], self._pepper)) or stored is None:
            raise Unauthenticated(reason="unknown API key", presented=True)
        key, client = stored
        if key.expires_at is not None:
            left = (key.expires_at - self._now()).total_seconds()
            if left <= 0:
                raise Unauthenticated(reason="this API key has expired", presented=True)
            until = min(until, self._clock() + left)
        return client, key.prefix, until

"""Credentials of a request to its principal."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict

from contracts.books import Books
from contracts.errors import Forbidden, Unauthenticated
from gateway.edge.identity.keys import ApiKeys
from gateway.edge.identity.principal import Principal

_REMEMBER_SECONDS = 2.0
_REMEMBERED = 4096


class Authenticator:
    """A positive answer is remembered for two seconds, so that a suspension takes effect quickly."""

    def __init__(self, books: Books, pepper: bytes) -> None:
        self._keys = ApiKeys(books.clients, pepper)
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def principal(self, authorization: str | None) -> Principal:
        """Raises Unauthenticated, Forbidden."""
        if not authorization:
            raise Unauthenticated
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(reason=f"expected the scheme Bearer, got {scheme[:20]!r}", presented=True)
        at = hashlib.sha256(token.encode()).digest()
        now = time.monotonic()
        if (known := self._known.get(at)) and known[0] > now:
            return known[1]
        client = await self._keys.client(token)
        if client.suspended:
            raise Forbidden(reason="this client is suspended")
        principal = Principal.of(client, "key")
        self._known[at] = (now + _REMEMBER_SECONDS, principal)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal

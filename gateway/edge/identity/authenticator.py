"""Credentials of a request to its principal."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress

from contracts.books import Books
from contracts.errors import Forbidden, TillgateError, Unauthenticated
from gateway.edge.identity.certificates import Certificates
from gateway.edge.identity.keys import ApiKeys
from gateway.edge.identity.lookups import SECONDS
from gateway.edge.identity.principal import Principal
from gateway.edge.identity.tokens import Tokens
from gateway.services.clock import Now, utc_now

AHEAD = SECONDS / 2
"""Seconds before the time is up the book is asked anew, if the client is still there."""
_REMEMBERED = 4096
_OWN = frozenset({"none", "same-origin"})
_SCHEMES = frozenset({"basic", "digest", "dpop", "negotiate", "apikey", "token"})


class Authenticator:
    """What it found is believed for two seconds at most, so that a suspension takes effect quickly.

    `used` is told the prefix of each key that was accepted, every two seconds or so per key; it must return at once. `tokens`: None where
    no issuer is declared; `metadata`: URL where callers learn which ones are.
    """

    def __init__(
        self,
        books: Books,
        pepper: bytes,
        *,
        tokens: Tokens | None = None,
        metadata: str = "",
        used: Callable[[str], None] = lambda prefix: None,
        now: Now = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = ApiKeys(books.clients, pepper, now, clock)
        self._certificates = Certificates(books.clients, clock)
        self._tokens, self._metadata = tokens, metadata
        self._used = used
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[None]] = {}

    def known(self, authorization: str, at: bytes | None = None) -> Principal | None:
        """Whom these credentials alone stand for, if that was found out a moment ago; else `principal` must be asked. `at`: their digest,
        where it is known.
        """
        at = at or digest(authorization)
        entry = self._known.get(at)
        if entry is None or (left := entry[0] - self._clock()) <= 0:
            return None
        if left < AHEAD and at not in self._asked and authorization[:10].lower() == "bearer tg_":
            self._asked[at] = task = asyncio.get_running_loop().create_task(self._asked_ahead(authorization), name="credentials")
            task.add_done_callback(lambda _: self._asked.pop(at))
        return entry[1]

    async def _asked_ahead(self, authorization: str) -> None:
        """So that a busy client never waits for the book. What becomes of an error is seen when the time is up."""
        with suppress(TillgateError):
            client, prefix, until = await self._keys.client(authorization[7:], ahead=AHEAD)
            if not client.suspended:
                self._used(prefix)
                self._remember(authorization, Principal.of(client, "key", prefix), until)

    async def principal(self, headers: Mapping[str, str], certificate: bytes | None = None) -> Principal:
        """`headers` by lower case name; `certificate` in DER, as the caller has proved to hold it.

        Raises Unauthenticated, Forbidden, KeysUnavailable, Overloaded.
        """
        try:
            authorization = headers.get("authorization")
            return await (self._stated(authorization, certificate) if authorization else self._shown(headers, certificate))
        except Unauthenticated as refused:
            refused.resource_metadata = self._metadata
            raise

    async def _stated(self, authorization: str, certificate: bytes | None) -> Principal:
        if known := self.known(authorization):
            return known
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            got = f", got {scheme}" if scheme.lower() in _SCHEMES else ""  # anything else may be a secret without its scheme
            raise Unauthenticated(reason=f"expected the scheme Bearer{got}", presented=True)
        if self._tokens is not None and not secret.startswith("tg_"):
            principal, until, bound = await self._tokens.principal(secret.strip(), certificate)
            if bound:
                return principal  # good with this certificate only
        else:
            client, prefix, until = await self._keys.client(secret)
            if client.suspended:
                raise Forbidden(reason="this client is suspended")
            principal = Principal.of(client, "key", prefix)
            self._used(prefix)
        self._remember(authorization, principal, until)
        return principal

    async def _shown(self, headers: Mapping[str, str], certificate: bytes | None) -> Principal:
        if certificate is None:
            raise Unauthenticated
        if headers.get("sec-fetch-site", "none") not in _OWN:  # a browser shows certificates unasked, whoever makes it send something
            raise Forbidden(reason="a client certificate alone does not count for what another site makes a browser send")
        client = await self._certificates.client(certificate)
        if client is None:
            raise Unauthenticated(reason="the request carries no credentials but a client certificate that stands for no client here")
        if client.suspended:
            raise Forbidden(reason="this client is suspended", client=client.name)
        return Principal.of(client, "certificate")

    def _remember(self, authorization: str, principal: Principal, until: float) -> None:
        at = digest(authorization)
        self._known[at] = (until, principal)
        self._known.move_to_end(at)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def digest(authorization: str) -> bytes:
    """Credentials themselves are not kept, and no comparison of them takes a time that tells something."""
    return hashlib.sha256(authorization.encode("utf-8", "surrogatepass")).digest()

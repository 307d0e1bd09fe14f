"""Access tokens of declared issuers: JSON Web Tokens (RFC 7519, RFC 8725, RFC 9068), bound to certificates where they say so (RFC 8705)."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.util import urlsafe_b64decode

from contracts.books import Client
from contracts.errors import Forbidden, KeysUnavailable, Unauthenticated
from gateway.edge.identity.certificates import thumbprint
from gateway.edge.identity.issuer import KeyRing
from gateway.edge.identity.lookups import SECONDS, Lookups
from gateway.edge.identity.principal import Principal
from gateway.edge.identity.scopes import SCOPES
from gateway.services.clock import Now

if TYPE_CHECKING:
    from gateway.estate import Issuer

T = TypeVar("T")

MAX_TOKEN = 16_384
_COMPACT = re.compile(r"([A-Za-z0-9_-]{1,4096})\.([A-Za-z0-9_-]{1,16384})\.([A-Za-z0-9_-]{1,1400})")
_MOST = 4096
_CLIENT = re.compile(r"[!-~]{1,256}")
_MOST_WORDS = 256


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str = ""
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    exp: float
    aud: str | list[str] = ""
    nbf: float = 0.0
    iat: float = 0.0
    cnf: dict[str, Any] | None = None


class _Issued(msgspec.Struct, frozen=True):
    iss: str


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token says, with what must still hold whenever it is used again."""

    issuer: Issuer
    ring: KeyRing
    kid: str | None
    key: jwk.Key
    until: float
    """Seconds since 1970, leeway included."""
    certificate: str
    """Thumbprint that it is bound to; empty: to none."""
    client: str
    scopes: frozenset[str]
    stores: frozenset[str] | None
    """What it is narrowed to, where the issuer says so."""
    unregistered: Client | None
    """Whom its claims describe, for an issuer that may."""


class Tokens:
    """`channels` and `newest` (API version) are what an unregistered client may be of and gets. `clients` asks the books."""

    def __init__(
        self,
        issuers: Sequence[tuple[Issuer, KeyRing]],
        clients: Lookups[Client],
        *,
        channels: Iterable[str],
        newest: str,
        now: Now,
        clock: Callable[[], float],
    ) -> None:
        self._issuers = {issuer.url: (issuer, ring) for issuer, ring in issuers}
        self._registries = {issuer.url: _registry(issuer.algorithms) for issuer, _ in issuers}
        self._clients = clients
        self._channels, self._newest = frozenset(channels), newest
        self._now, self._clock = now, clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        """With the reason, for as long as any look-up: whoever insists on a bad token costs no signature each time."""

    async def principal(self, token: str, certificate: bytes | None) -> tuple[Principal, float, bool]:
        """Who it stands for, until when (seconds of the clock) that may be believed, and whether only along with this certificate.

        Raises Unauthenticated, Forbidden, KeysUnavailable, Overloaded.
        """
        at = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        verified = self._verified.get(at)
        if verified is None or verified.ring.known(verified.kid) is not verified.key:  # a key that was taken back takes its tokens along
            if (entry := self._refused.get(at)) and entry[0] > self._clock():
                raise _refused(entry[1])
            try:
                verified = await self._verify(token)
            except Unauthenticated as refused:
                _keep(self._refused, at, (self._clock() + SECONDS, refused.reason))
                raise
            _keep(self._verified, at, verified)
        left = verified.until - self._now().timestamp()
        if left <= 0:
            del self._verified[at]
            raise _refused("the token has expired")
        if verified.certificate and (certificate is None or thumbprint(certificate) != verified.certificate):
            raise _refused("the token is bound to a client certificate that this connection does not carry")
        client, until = await self._clients.get(verified.client)
        client = client or verified.unregistered
        if client is None:
            raise _refused(f"the token is valid, but its client {verified.client[:80]!r} is not registered here")
        if client.suspended:
            raise Forbidden(reason="this client is suspended", client=client.name)
        principal = Principal.of(client, "token", scopes=verified.scopes, stores=verified.stores)
        return principal, min(until, self._clock() + left), bool(verified.certificate)

    async def _verify(self, token: str) -> _Verified:
        parts = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN else None
        if parts is None:
            raise _refused(f"expected an API key, or a signed JSON Web Token of at most {MAX_TOKEN} bytes")
        header, issued = _part(parts[1], _Header, "header"), _part(parts[2], _Issued, "claims")
        issuer, ring = self._issuers.get(issued.iss, (None, None))
        if issuer is None or ring is None:
            raise _refused("the token comes from an issuer that is not accepted here")
        if header.crit is not msgspec.UNSET:
            raise _refused("the token's header demands an extension (crit) that is not understood")
        if header.alg not in issuer.algorithms:
            raise _refused(f"the token is signed with an algorithm that is not accepted; accepted: {', '.join(issuer.algorithms)}")
        kind = header.typ.lower().removeprefix("application/")
        if kind != issuer.type.lower() and not (issuer.type == "JWT" and not kind):
            raise _refused(f"expected a token of the type {issuer.type}")
        key = await ring.key(header.kid)
        if key is None:
            if not ring.loaded:
                raise KeysUnavailable(issuer=issuer.url)
            raise _refused("the token is signed with a key that its issuer does not publish")
        try:
            payload = deserialize_compact(token.encode(), key, registry=self._registries[issuer.url]).payload
        except (JoseError, ValueError, TypeError) as exc:
            raise _refused("the token's signature does not fit") from exc
        return self._claimed(_json(payload, _Claims, "claims"), _json(payload, dict[str, Any], "claims"), header.kid, key, issuer, ring)

    def _claimed(
        self, claims: _Claims, every: Mapping[str, Any], kid: str | None, key: jwk.Key, issuer: Issuer, ring: KeyRing
    ) -> _Verified:
        now, leeway = self._now().timestamp(), float(issuer.leeway)
        if claims.iss != issuer.url:
            raise _refused("the token comes from an issuer that is not accepted here")
        if claims.exp + leeway <= now:
            raise _refused("the token has expired")
        if max(claims.nbf, claims.iat) > now + leeway:
            raise _refused("the token is not valid yet")
        audiences = {claims.aud} if isinstance(claims.aud, str) else {*claims.aud}
        if audiences.isdisjoint(issuer.audiences):
            raise _refused(f"the token is meant for another audience; expected {' or '.join(issuer.audiences)}")
        bound = ""
        if claims.cnf is not None:
            found = claims.cnf.get("x5t#S256")
            if len(claims.cnf) != 1 or not isinstance(found, str) or not found:
                raise _refused("the token is bound (cnf) in a way that is not understood")
            bound = found
        elif issuer.bound:
            raise _refused("expected a token that is bound to a client certificate")
        client = every.get(issuer.client)
        if not isinstance(client, str) or not _CLIENT.fullmatch(client):
            raise _refused(f"the token does not say which client it is for (claim {issuer.client})")
        if not any(fnmatch.fnmatchcase(client, pattern) for pattern in issuer.clients):
            raise _refused("the token's issuer does not speak for this client")
        words = _words(every.get(issuer.scope, ()), issuer.scope)
        granted = {scope for word in words for scope in issuer.scopes.get(word, ())} if issuer.scopes else {*words} & SCOPES.keys()
        stores = None
        if issuer.claims.stores:
            stores = frozenset(_words(every.get(issuer.claims.stores, ()), issuer.claims.stores))
            if not stores:
                raise _refused(f"the token does not say which stores it is for (claim {issuer.claims.stores})")
        return _Verified(
            issuer=issuer,
            ring=ring,
            kid=kid,
            key=key,
            until=claims.exp + leeway,
            certificate=bound,
            client=client,
            scopes=frozenset(granted),
            stores=stores,
            unregistered=self._described(client, every, issuer) if issuer.claims.channel else None,
        )

    def _described(self, name: str, every: Mapping[str, Any], issuer: Issuer) -> Client | None:
        """Administration is never granted to whom only a token describes."""
        names = issuer.claims
        channel, quota = every.get(names.channel), every.get(names.quota) if names.quota else "standard"
        version = every.get(names.api_version, self._newest) if names.api_version else self._newest
        if channel not in self._channels or not isinstance(quota, str) or not isinstance(version, str):
            return None
        scopes = tuple(s for s in SCOPES if not s.startswith("admin:"))
        return Client(name=name, channel=str(channel), scopes=scopes, api_version=version, quota=quota)


def _keep(kept: OrderedDict[bytes, T], at: bytes, value: T) -> None:
    kept[at] = value
    if len(kept) > _MOST:
        kept.popitem(last=False)


def _registry(algorithms: Sequence[str]) -> JWSRegistry:
    registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
    registry.max_header_length = 4096
    return registry


def _part(segment: str, kind: Any, what: str) -> Any:
    try:
        raw = urlsafe_b64decode(segment.encode())
    except ValueError as exc:
        raise _refused(f"the token's {what} cannot be read") from exc
    return _json(raw, kind, what)


def _json(raw: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise _refused(f"the token's {what} cannot be read") from exc


def _words(value: Any, claim: str) -> list[str]:
    """A claim as a list, or as words with blanks between (RFC 6749 §3.3)."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or len(words) > _MOST_WORDS or not all(isinstance(w, str) for w in words):
        raise _refused(f"the token's claim {claim} cannot be read")
    return list(words)


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(reason=reason, presented=True)

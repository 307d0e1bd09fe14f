"""What an issuer of tokens publishes of itself: its metadata, and from there its keys. Both are bounded in size and time."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from adapters.options import Tls
from adapters.wire import Wire, WireAnswer, client_tls
from contracts.errors import ContractViolation, UpstreamError, UpstreamFault

T = TypeVar("T", bound=msgspec.Struct)

SECONDS = 5.0
"""For metadata and keys together."""
_LIMIT = 256 * 1024
_MOST_KEYS = 100
OPERATION = "keys"


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class IssuerDocuments:
    """`url`: the issuer, character for character as tokens name it. `insecure`: http on this machine is fine. `ca`: file of an authority.

    Reads the file of `ca`: build it at start, in a thread.
    """

    def __init__(self, url: str, *, ca: str = "", insecure: bool = False, seconds: float = SECONDS) -> None:
        self.url, self._seconds = url, seconds
        self._tls = client_tls(Tls(ca=ca or None))
        self._insecure = insecure

    async def keys(self) -> list[dict[str, Any]]:
        """The JSON Web Keys (RFC 7517) that the issuer signs with now. Raises UpstreamError."""
        until = asyncio.get_running_loop().time() + self._seconds
        metadata = await self._metadata(until)
        answer = await self._get(metadata.jwks_uri, until)
        if answer.status != 200:
            raise self._fault(answer)
        keys = self._read(answer, _KeySet).keys
        if len(keys) > _MOST_KEYS:
            raise self._violation("keys", f"at most {_MOST_KEYS}", str(len(keys)))
        return keys

    async def _metadata(self, until: float) -> _Metadata:
        """OpenID Connect Discovery §4 appends its path to the issuer; RFC 8414 §3 inserts its own before the issuer's path."""
        parts = urlsplit(self.url)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        answer = await self._get(f"{origin}{path}/.well-known/openid-configuration", until)
        if answer.status != 200:
            answer = await self._get(f"{origin}/.well-known/oauth-authorization-server{path}", until)
        if answer.status != 200:
            raise self._fault(answer)
        metadata = self._read(answer, _Metadata)
        if metadata.issuer != self.url:
            raise self._violation("issuer", repr(self.url), repr(metadata.issuer[:200]))
        return metadata

    async def _get(self, url: str, until: float) -> WireAnswer:
        if not (url.startswith("https://") or (self._insecure and url.startswith("http://") and loopback(url))):
            raise self._violation("jwks_uri", "an https URL", repr(url[:200]))
        try:
            parts = urlsplit(url)
            wire = Wire(self.url, f"{parts.scheme}://{parts.netloc}", connections=1, tls=self._tls, body_limit=_LIMIT)
        except ValueError as exc:
            raise self._violation("jwks_uri", "an https URL without user and password", repr(url.rpartition("@")[2][:200])) from exc
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        async with wire:
            left = until - asyncio.get_running_loop().time()
            return await wire.exchange(OPERATION, "GET", path, {"Accept": "application/json"}, None, left)

    def _read(self, answer: WireAnswer, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            fields = ", ".join(kind.__struct_fields__)
            raise self._violation("body", f"a JSON object with {fields}", "something else") from exc

    def _fault(self, answer: WireAnswer) -> UpstreamError:
        return UpstreamFault(system=self.url, operation=OPERATION, fault_code=str(answer.status), reason=f"HTTP {answer.status}")

    def _violation(self, where: str, expected: str, got: str) -> ContractViolation:
        return ContractViolation(system=self.url, operation=OPERATION, where=where, expected=expected, got=got)

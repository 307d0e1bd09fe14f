"""Who speaks to us: the other end of the connection, or whom a declared proxy names in its place."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

CERTIFICATE = "peer_cert"
"""In the `state` of an ASGI scope: the certificate (DER) of the caller, or None."""
CRITICAL = "critical"
"""In the same place, of a request that was."""
_MOST_HOPS = 32

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def certificate_of(scope: Mapping[str, Any]) -> bytes | None:
    """In DER, as the caller has proved to hold it."""
    found: bytes | None = scope.get("state", {}).get(CERTIFICATE)
    return found


class Proxies:
    """`declared`: addresses and networks (`10.0.0.0/8`) whose word counts. `certificate_header`: where they write the caller's certificate.

    Raises ValueError for what is neither. Whoever is not declared is taken for what its connection says, and its fields for nothing.
    """

    def __init__(self, declared: Iterable[str] = (), certificate_header: str = "") -> None:
        networks = tuple(ipaddress.ip_network(each) for each in declared)
        self._header = certificate_header.lower().encode()

        @lru_cache(4096)
        def trusted(peer: str) -> bool:
            address = _address(peer)
            return address is not None and any(address.version == n.version and address in n for n in networks)

        self.trusts = trusted if networks else lambda peer: False

    def admit(self, scope: Mapping[str, Any]) -> bool:
        """Whether the other end is a declared proxy. Afterwards the scope's `client` is the caller, and its `state` has the certificate."""
        peer, port = scope.get("client") or ("", 0)
        if not self.trusts(peer):
            return False
        changed: Any = scope  # ASGI lets a middleware change what follows
        fields = [(name, value.decode("latin-1")) for name, value in scope["headers"] if name in (b"x-forwarded-for", self._header)]
        caller = self._caller(peer, [value for name, value in fields if name == b"x-forwarded-for"])
        changed["client"] = (caller, port if caller == peer else 0)
        found = [value for name, value in fields if name == self._header]
        certificate = _certificate(found[0]) if len(found) == 1 else None
        changed.setdefault("state", {})[CERTIFICATE] = certificate  # never the proxy's own
        return True

    def _caller(self, peer: str, forwarded: list[str]) -> str:
        """The nearest address that is no declared proxy: what stands further left, anybody could have written."""
        for hop in reversed(",".join(forwarded).rsplit(",", _MOST_HOPS)):
            address = _address(hop.strip())
            if address is None:
                return peer
            peer = str(address)
            if not self.trusts(peer):
                return peer
        return peer


def _address(text: str) -> _Address | None:
    """Also with a port, as some proxies write it; an IPv4 address within IPv6 is that address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _certificate(text: str) -> bytes | None:
    """DER from a Byte Sequence (`Client-Cert`, RFC 9440) or from PEM, percent-encoded as it may be."""
    try:
        if len(text) > 2 and text[0] == text[-1] == ":":
            return base64.b64decode(text[1:-1], validate=True)
        return ssl.PEM_cert_to_DER_cert(unquote(text).replace("\t", "\n").strip())
    except (binascii.Error, ValueError):
        return None

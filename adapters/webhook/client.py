"""Connections to receivers: only to addresses that are allowed, decided about the very address that is connected to."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from ssl import SSLContext
from typing import Any
from urllib.parse import SplitResult, urlsplit

from adapters.webhook.spec import WebhookOptions
from adapters.wire import Wire, carries

_CARRIERS = tuple(map(ip_network, ("2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "fec0::/10")))
"""IPv6 networks whose addresses hold IPv4 ones (6to4, NAT64, compatible, translated), or are a site's own: where they lead is not ours to
judge."""
MOST_RECEIVERS = 200


def origin_of(url: str) -> tuple[SplitResult, str, str]:
    """Its parts, scheme with host and port, and the path with the query. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("expected https://host[:port]/path without user, password or fragment")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url or parts.port == 0:
        raise ValueError("expected a URL in printable ASCII, percent-encoded")
    origin, path = f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not carries(origin, path):
        raise ValueError("expected a host of letters, digits, dots and hyphens, and a path without dot segments")
    return parts, origin, path


class Addresses:
    """Which addresses may be connected to: public ones, and those in declared networks."""

    def __init__(self, declared: Sequence[IPv4Network | IPv6Network]) -> None:
        self._declared = tuple(declared)

    def allows(self, text: str) -> bool:
        address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if any(address.version == network.version and address in network for network in self._declared):
            return True
        hidden = address.version == 6 and any(address in network for network in _CARRIERS)
        return address.is_global and not address.is_multicast and not hidden

    def refusal(self, url: str) -> str:
        """Why nobody at this URL can be a receiver, as far as the URL alone tells it; empty if somebody can."""
        try:
            parts, _, _ = origin_of(url)
            literal = _literal(parts.hostname or "")
        except ValueError as exc:
            return str(exc)
        if literal and not self.allows(literal):
            return f"{literal} is not public; a network of receivers is declared in the estate: [webhooks] networks"
        if parts.scheme == "http" and not (literal and ip_address(literal).is_loopback):
            return "expected https; http is for this machine alone, by its address (127.0.0.1), in a declared network"
        return ""

    def socket(self, found: Any) -> socket.socket:
        """For an address that a name was resolved to, right before it is connected to (aiohttp's `socket_factory`). Raises OSError."""
        family, kind, protocol, _, to = found
        if not self.allows(str(to[0])):
            raise PermissionError(1, f"{to[0]} is not public and in no declared network")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def _literal(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return ""


class Connections:
    """One `Wire` per receiver; the one that was not used for longest goes when there are too many."""

    def __init__(self, options: WebhookOptions, tls: SSLContext | None, factory: Callable[[Any], socket.socket]) -> None:
        self._options, self._tls, self._factory = options, tls, factory
        self._wires: OrderedDict[tuple[str, str], Wire] = OrderedDict()

    async def to(self, name: str, origin: str) -> Wire:
        if (wire := self._wires.get((name, origin))) is None:
            options = self._options
            wire = self._wires[name, origin] = Wire(
                f"webhook {name}",
                origin,
                connections=options.connections,
                body_limit=options.body_limit,
                tls=self._tls,
                socket_factory=self._factory,
            )
            await wire.start()
        self._wires.move_to_end((name, origin))
        while len(self._wires) > MOST_RECEIVERS:
            await self._wires.popitem(last=False)[1].close()
        return wire

    async def close(self) -> None:
        while self._wires:
            await self._wires.popitem()[1].close()

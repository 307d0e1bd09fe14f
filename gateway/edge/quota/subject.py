"""As whom a call counts, and about which store it is."""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qs

from gateway.edge.identity.principal import Principal


def address(peer: str) -> str:
    """The key of a caller without credentials: of IPv6 the /64, which is what one customer of a provider gets."""
    try:
        ip = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped) if ip.ipv4_mapped else str(ipaddress.ip_network((ip, 64), strict=False))


def store(principal: Principal, query: bytes) -> str:
    """The store that a client stands for, or that its query names among those it may act for; "" for all others, which count as one."""
    if len(principal.stores) == 1:
        return next(iter(principal.stores))
    try:
        named = parse_qs(query.decode("ascii"), max_num_fields=50).get("location", [""])[0]
    except ValueError:
        return ""
    return named if named in principal.stores or (not principal.stores and named.isalnum() and len(named) <= 20) else ""

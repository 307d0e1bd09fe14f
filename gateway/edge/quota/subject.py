"""As whom a call counts, and about which store it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import parse_qsl

from contracts.versions import VersionHistory
from gateway.edge.identity.principal import Principal

_STORE = "location"


def address(peer: str) -> str:
    """The key of a caller without credentials: of IPv6 the /64, which is what one customer of a provider gets."""
    try:
        ip = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped) if ip.ipv4_mapped else str(ipaddress.ip_network((ip, 64), strict=False))


def parameters(history: VersionHistory) -> frozenset[str]:
    """What the query parameter that names stores is called, in any version."""
    names = {_STORE}
    for version in history.versions:
        for change in version.changes:
            names |= {old for new, old in change.parameters.items() if new in names}
    return frozenset(names)


def store(principal: Principal, query: bytes, names: Collection[str]) -> str:
    """The store that a client stands for, or the one that its query names among those it may act for; "" for all others, and for several
    at once, which count as one. `names`: see `parameters`.
    """
    if len(principal.stores) == 1:
        return next(iter(principal.stores))
    try:
        said = parse_qsl(query.decode("ascii"), max_num_fields=50)
    except ValueError:
        return ""
    named, *others = {each for name, value in said if name in names for each in value.split(",")} or {""}
    if others:
        return ""
    return named if named in principal.stores or (not principal.stores and named.isalnum() and len(named) <= 20) else ""


def about(principal: Principal, parameters: object, body: object) -> str:
    """The store that an understood request is about: the one its client stands for, or the only one that query or body name; else ""."""
    if len(principal.stores) == 1:
        return next(iter(principal.stores))
    named = getattr(parameters, _STORE, None)
    if isinstance(named, tuple):
        named = named[0] if len(named) == 1 else ""
    if named is None:
        named = getattr(body, "location_id", None) or getattr(body, "requested_location_id", None)
    return named if isinstance(named, str) and len(named) <= 20 else ""

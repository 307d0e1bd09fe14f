"""What there is to be allowed, and the rules that compare a principal with it."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.errors import Forbidden
from gateway.edge.identity.principal import Principal

SCOPES = {
    "catalogue:read": "products, prices and locations",
    "inventory:read": "availability",
    "reservations:write": "hold and release stock",
    "orders:read": "own channel's orders",
    "orders:write": "place and cancel orders",
    "customers:read": "customers, with personal data",
    "sales:read": "POS sales",
    "admin:read": "traces, systems, files, processes, clients and the audit log of the gateway itself",
    "admin:write": "change clients, webhooks and their secrets, make the gateway read its estate again, and record exchanges",
}
"""Every scope there is; a route that names another one fails the start."""


def require(principal: Principal, scope: str, where: str = "") -> None:
    if scope not in principal.scopes:
        whose = "the token of " if principal.credential == "token" else ""
        raise Forbidden(reason=f"{whose}client {principal.name!r} lacks the scope {scope}", scope=scope, where=where)


def may_see(principal: Principal, locations: Iterable[str]) -> bool:
    """Record-level rule: a client that is bound to stores sees what concerns one of them."""
    return not principal.stores or not principal.stores.isdisjoint(locations)


def require_store(principal: Principal, location: str) -> None:
    """Record-level rule: a client that is bound to stores acts for these only."""
    if principal.stores and location not in principal.stores:
        raise Forbidden(reason=f"client {principal.name!r} may not act for location {location!r}")

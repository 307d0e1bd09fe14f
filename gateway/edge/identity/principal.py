"""Who asks, whatever the credentials were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.books import Client
from contracts.errors import Forbidden

Credential = Literal["key", "token", "certificate"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A client as one request sees it. `stores`: the locations it may act for; empty: all of them."""

    name: str
    channel: str
    scopes: frozenset[str]
    stores: frozenset[str]
    api_version: str
    """Pinned version; a request may name another one in `API-Version`."""
    quota: str
    credential: Credential
    key: str = ""
    """Prefix of its API key, for audit; empty with other credentials."""

    @classmethod
    def of(
        cls,
        client: Client,
        credential: Credential,
        key: str = "",
        scopes: frozenset[str] | None = None,
        stores: frozenset[str] | None = None,
    ) -> Principal:
        """`scopes` and `stores`: what the credential grants of the client's; None: all. Raises Forbidden if no store is left."""
        granted = frozenset(client.scopes)
        return cls(
            name=client.name,
            channel=client.channel,
            scopes=granted if scopes is None else granted & scopes,
            stores=_narrowed(frozenset(client.stores), stores),
            api_version=client.api_version,
            quota=client.quota,
            credential=credential,
            key=key,
        )


def _narrowed(own: frozenset[str], granted: frozenset[str] | None) -> frozenset[str]:
    """An empty set means all stores: what two sets leave must not become it by having nothing in common."""
    if granted is None:
        return own
    both = own & granted if own else granted
    if not both:
        raise Forbidden(reason="the credentials are for stores that this client may not act for")
    return both

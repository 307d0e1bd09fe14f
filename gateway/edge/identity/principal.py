"""Who asks, whatever the credentials were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.books import Client

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

    @classmethod
    def of(cls, client: Client, credential: Credential) -> Principal:
        return cls(
            name=client.name,
            channel=client.channel,
            scopes=frozenset(client.scopes),
            stores=frozenset(client.stores),
            api_version=client.api_version,
            quota=client.quota,
            credential=credential,
        )

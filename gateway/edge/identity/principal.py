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
    key: str = ""
    """Prefix of its API key, for audit; empty with other credentials."""

    @classmethod
    def of(cls, client: Client, credential: Credential, key: str = "", scopes: frozenset[str] | None = None) -> Principal:
        """`scopes`: what the credential grants of the client's; None: all."""
        granted = frozenset(client.scopes)
        return cls(
            name=client.name,
            channel=client.channel,
            scopes=granted if scopes is None else granted & scopes,
            stores=frozenset(client.stores),
            api_version=client.api_version,
            quota=client.quota,
            credential=credential,
            key=key,
        )

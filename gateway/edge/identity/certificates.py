"""Client certificates: which client one stands for, by its fingerprint."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from contracts.books import Client, ClientBook
from gateway.edge.identity.lookups import Lookups


def thumbprint(certificate: bytes) -> str:
    """`x5t#S256` (RFC 8705 §3.1): SHA-256 of the certificate in DER, base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).decode().rstrip("=")


_AGAIN = 0.05
"""Seconds after which a certificate that nobody knows makes us look again: its client may just have been added."""


class Certificates:
    """All fingerprints are read together, and are believed for as long as any look-up."""

    def __init__(self, clients: ClientBook, clock: Callable[[], float]) -> None:
        async def owners(_: str) -> dict[str, Client]:
            return {print_: client for client in await clients.list() for print_ in client.certificates}

        self._owners, self._again = Lookups(owners, clock), Lookups(owners, clock, _AGAIN)

    async def client(self, certificate: bytes) -> Client | None:
        wanted = thumbprint(certificate)
        for lookups in (self._owners, self._again):
            owners, _ = await lookups.get("")
            if owners and wanted in owners:
                return owners[wanted]
        return None

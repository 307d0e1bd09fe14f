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


class Certificates:
    """All fingerprints are read together, every two seconds at most."""

    def __init__(self, clients: ClientBook, clock: Callable[[], float]) -> None:
        async def owners(_: str) -> dict[str, Client]:
            return {print_: client for client in await clients.list() for print_ in client.certificates}

        self._owners = Lookups(owners, clock)

    async def client(self, certificate: bytes) -> Client | None:
        owners, _ = await self._owners.get("")
        return owners.get(thumbprint(certificate)) if owners else None

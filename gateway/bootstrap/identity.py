"""Who vouches for callers: the books of clients, and the issuers that an estate declares, with what is known of their keys already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from litestar.handlers import HTTPRouteHandler

from adapters.issuer import IssuerDocuments
from contracts.versions import HISTORY
from gateway.api.identity import metadata_url, routes
from gateway.bootstrap.foundation import Foundation
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.identity.issuer import KeyRing
from gateway.edge.identity.lookups import Lookups
from gateway.edge.identity.tokens import Tokens
from gateway.estate import Estate, Issuer

Rings = Mapping[str, tuple[Issuer, KeyRing]]
"""By the issuer's URL."""


async def key_rings(estate: Estate, before: Rings, stack: AsyncExitStack) -> Rings:
    """One per issuer, fetching until the stack closes. Raises LookupError for a file of an authority that cannot be read.

    What an earlier ring of an issuer that has not changed knew is known at once, so that a reload while it is away refuses nobody.
    """
    rings: dict[str, tuple[Issuer, KeyRing]] = {}
    for issuer in estate.identity.issuer:
        try:
            documents = await asyncio.to_thread(IssuerDocuments, issuer.url, ca=issuer.ca, insecure=issuer.insecure)
        except OSError as exc:
            raise LookupError(f"[[identity.issuer]] {issuer.url}: ca {issuer.ca}: {exc.strerror or exc}") from exc
        ring = KeyRing(issuer.url, issuer.algorithms, documents.keys, float(issuer.refresh))
        if (known := before.get(issuer.url)) is not None and known[0] == issuer:
            ring.take_over(known[1])
        ring.start()
        stack.push_async_callback(ring.close)
        rings[issuer.url] = (issuer, ring)
    return rings


def notices(rings: Rings) -> list[str]:
    """What an operator should know of the issuers, in sentences."""
    return [
        f"Keys of the issuer {url} cannot be read: {ring.problem}. {'Those known before stay.' if ring.loaded else 'Its tokens get 503.'}"
        for url, (_, ring) in rings.items()
        if ring.problem
    ]


def authenticator_of(estate: Estate, base: Foundation, rings: Rings) -> Authenticator:
    clients = Lookups(base.books.clients.get, time.monotonic)
    tokens = Tokens([*rings.values()], clients, channels=estate.channel, newest=HISTORY.newest.date, now=base.now, clock=time.monotonic)
    metadata = metadata_url(estate.edge.public_url) if rings and estate.edge.public_url else ""
    return Authenticator(base.books, base.secret, tokens=tokens if rings else None, metadata=metadata, used=base.audit.used, now=base.now)


def metadata_of(estate: Estate) -> list[HTTPRouteHandler]:
    """Where issuers are declared and the gateway knows its own name."""
    url, issuers = estate.edge.public_url, estate.identity.issuer
    return routes(url, estate.estate.api_title, issuers) if url and issuers else []

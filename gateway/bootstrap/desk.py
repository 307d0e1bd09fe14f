"""Where clients are looked after, built for whoever asks: an operator's request, or the command line."""

from __future__ import annotations

from contracts.books import ClientBook
from contracts.versions import HISTORY
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.estate import Estate
from gateway.services.clients import Actor, ClientDesk, Offer
from gateway.services.clock import Now, utc_now


def client_desk(books: ClientBook, secret: bytes, estate: Estate, actor: Actor, now: Now = utc_now) -> ClientDesk:
    """`secret`: in the hashes of API keys."""
    offer = Offer(tuple(SCOPES), tuple(estate.channel), tuple(estate.quota), tuple(v.date for v in HISTORY.versions))
    return ClientDesk(books, offer, lambda name, ends: new_key(name, secret, ends), actor, now)

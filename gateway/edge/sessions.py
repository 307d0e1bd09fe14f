"""Who is signed in to the console: opened with a key, told by a cookie, and at an end with the rights that opened it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from contracts.books import Books, ConsoleSession
from contracts.errors import Forbidden, TillgateError, Unauthenticated
from gateway.edge.audit import Audit
from gateway.edge.identity import scopes
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.identity.keys import prefix_of
from gateway.edge.quota import ANONYMOUS, Quotas, address, unwelcome
from gateway.services.clock import Now

SCOPE = "admin:read"
LIFETIME = timedelta(hours=8)
IDLE = timedelta(hours=2)
"""Without a page that somebody opened; a page that refreshes itself is nobody."""
MOST = 20
"""Sessions of one client; a further one ends the oldest."""
_NOTED = timedelta(minutes=1)
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOGIN = "POST /console/login"


@dataclass(frozen=True, slots=True)
class Session:
    client: str
    scopes: frozenset[str]
    stores: frozenset[str]
    mark: str
    csrf: str
    """What every form of it must send along."""

    def require_form(self, token: str) -> None:
        """Raises Forbidden for a form that this session was not given (a synchroniser token)."""
        if not hmac.compare_digest(token.encode(), self.csrf.encode()):
            raise Forbidden(reason="this form was not given to this session: open the page again and repeat it")


class Sessions:
    """The cookie's value is random and stored nowhere; the books know its hash, so that an end holds in every process, at once."""

    def __init__(self, books: Books, authenticator: Authenticator, quotas: Quotas, audit: Audit, secret: bytes, now: Now) -> None:
        self._books, self._authenticator, self._quotas = books, authenticator, quotas
        self._audit, self._secret, self._now = audit, secret, now

    def beginning(self) -> tuple[str, str]:
        """For the sign-in form, which belongs to no session yet: a value for a cookie of its own, and the token that goes with it."""
        value = secrets.token_urlsafe(32)
        return value, self._token("login", value)

    async def open(self, key: str, begun: str, token: str, peer: str) -> str:
        """The value of a new session's cookie. `begun` and `token`: the cookie and the field of the sign-in form. Attempts are limited by
        address. Raises Forbidden, AbnormalUsage, Unauthenticated.
        """
        try:
            await self._limited(peer)
            if not hmac.compare_digest(token.encode(), self._token("login", begun).encode()):
                raise Forbidden(reason="this form is too old or was sent from elsewhere: sign in again")
            principal = await self._authenticator.principal({"authorization": f"Bearer {key}"})
            scopes.require(principal, SCOPE)
            if not principal.key:
                raise Unauthenticated(reason="expected an API key", presented=True)
        except TillgateError as error:
            self._audit.denied(error.code, prefix_of(key), peer, _LOGIN)
            raise
        value, now = secrets.token_urlsafe(32), self._now()
        session = ConsoleSession(
            mark=_mark(value),
            client=principal.name,
            prefix=principal.key,
            scopes=tuple(sorted(principal.scopes)),
            opened_at=now,
            seen_at=now,
        )
        await self._books.sessions.open(session, MOST)
        await self._audit.changed(principal.name, "session.opened", principal.name, {"prefix": principal.key, "address": address(peer)})
        return value

    async def check(self, value: str | None, *, opened: bool) -> Session:
        """`opened`: somebody looks, not a page that refreshes itself. Raises Unauthenticated, also once the client is suspended or gone,
        has lost one of the scopes it signed in with, or the key has ended.
        """
        mark = _mark(value) if value and _VALUE.fullmatch(value) else ""
        session = await self._books.sessions.get(mark) if mark else None
        if session is None or value is None:
            raise Unauthenticated(reason="not signed in")
        now = self._now()
        found = await self._books.clients.find_key(session.prefix)
        if (
            found is None
            or found[1].suspended
            or not set(session.scopes) <= set(found[1].scopes)
            or (found[0].expires_at is not None and found[0].expires_at <= now)
            or now - session.opened_at >= LIFETIME
            or now - session.seen_at >= IDLE
        ):
            await self._books.sessions.end(mark)
            raise Unauthenticated(reason="not signed in")
        if opened and now - session.seen_at >= _NOTED:
            await self._books.sessions.seen(mark, now)
        client = found[1]
        return Session(client.name, frozenset(session.scopes), frozenset(client.stores), mark, self._token("form", value))

    async def end(self, session: Session) -> None:
        await self._books.sessions.end(session.mark)
        await self._audit.changed(session.client, "session.ended", session.client)

    def denied(self, error: TillgateError, session: Session, peer: str, route: str) -> None:
        self._audit.denied(error.code, session.client, peer, route)

    async def _limited(self, peer: str) -> None:
        """Raises AbnormalUsage."""
        asked = (ANONYMOUS, address(peer), "", "write")
        taken = self._quotas.take_now(*asked) or await self._quotas.take(*asked)
        if taken.refusal:
            raise unwelcome(taken.refusal)

    def _token(self, what: str, value: str) -> str:
        return hmac.digest(self._secret, f"console {what}\0{value}".encode(), hashlib.sha256).hex()


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()

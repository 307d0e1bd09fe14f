"""What every request passes, in this order: load, identity, quota, version, decoding, idempotency, handler, version down, encoding."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from contracts import errors
from contracts.books import Books, Client, StoredAnswer
from contracts.call import Call
from contracts.errors import TillgateError
from contracts.versions import Version, VersionHistory
from gateway.edge import auth, personal, problems, reading
from gateway.edge.endpoint import AnyEndpoint, Ask, Outcome
from gateway.edge.quota import Quotas
from gateway.services.clock import Now, utc_now
from observability import FlightRecord, Step, step

IDEMPOTENCY_LEASE = 20.0
"""Seconds after which a request that never finished may be taken over, at least; handlers are safe to repeat under their key, and none
runs longer than its deadline and the grace."""

BODY_SECONDS = 10.0

ANONYMOUS = "anonymous"
"""The quota of callers without valid credentials, by address. Always declared."""

DEADLINE = 10.0
"""Seconds, for routes that declare none."""
GRACE = 2.0
"""Seconds that a handler may take beyond the deadline of its calls."""

KEY = r"[!#-\[\]-~]{1,128}"
"""Idempotency-Key, bare or in quotes: printable ASCII without spaces, quotes and backslashes."""
_KEY = re.compile(f'"({KEY})"|({KEY})')


@dataclass(frozen=True, slots=True)
class Request:
    """What the web framework hands over. `headers` by lower case name; `read` gives the body once, or raises what is wrong with it."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    path_values: Mapping[str, Any]
    read: Callable[[], Awaitable[bytes]]
    peer: str


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Door:
    """Holds what all routes share. One per process."""

    def __init__(
        self,
        *,
        books: Books,
        authenticator: auth.Authenticator,
        quotas: Quotas,
        history: VersionHistory,
        services: Any,
        max_body: int,
        deadlines: Mapping[str, float],
        retention_days: float,
        now: Now = utc_now,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """`deadlines` in seconds by route; `body_seconds`: how long a body may take to arrive."""
        self._books = books
        self._authenticator = authenticator
        self._quotas = quotas
        self._history = history
        self._services = services
        self.max_body = max_body
        self._deadlines = deadlines
        self._lease = max(IDEMPOTENCY_LEASE, max(deadlines.values(), default=0.0) + GRACE + 1)
        self._retention = f"{retention_days:g} days"
        self._now = now
        self.body_seconds = body_seconds

    async def answer(self, endpoint: AnyEndpoint, request: Request, flight: FlightRecord) -> Answer:
        """Never raises a TillgateError: each becomes its problem document."""
        extra: dict[str, str] = {}
        try:
            return await self._answer(endpoint, request, flight, extra)
        except TillgateError as error:
            flight.failed(error)
            return Answer(
                problems.status_of(error),
                problems.encode(error, flight.trace_id),
                {**extra, **problems.headers(error), "content-type": problems.MEDIA_TYPE, "cache-control": "no-store"},
            )

    async def _answer(self, endpoint: AnyEndpoint, request: Request, flight: FlightRecord, extra: dict[str, str]) -> Answer:
        client = await self._client(endpoint, request, flight, extra)
        version = self._version(request, client, extra)
        flight.api_version = version.date
        reading.check_accept(request.headers.get("accept", ""))
        parameters = reading.parameters(request.query, endpoint.parameters, endpoint.answer, version.date, self._history)
        path = reading.path(request.path_values, endpoint.path_parameters)
        raw, body = b"", None
        if endpoint.body is not None:
            reading.check_media(request.headers)
            raw = await request.read()
            body = reading.body(raw, endpoint.body, version.date, self._history)
        ask = Ask(
            client=client,
            call=Call(
                channel=client.channel,
                client=client.name,
                deadline=asyncio.get_running_loop().time() + self._deadlines.get(endpoint.route, DEADLINE),
                api_version=version.date,
            ),
            path=path,
            parameters=parameters,
            body=body,
            flight=flight,
            idempotency_key=self._key(endpoint, request),
            if_match=reading.entity_tags(request.headers, "if-match"),
            if_none_match=reading.entity_tags(request.headers, "if-none-match"),
        )
        if endpoint.idempotent_key:
            return await self._once(endpoint, request, raw, ask, version, extra)
        return await self._perform(endpoint, request, ask, version, extra)

    async def _client(self, endpoint: AnyEndpoint, request: Request, flight: FlightRecord, extra: dict[str, str]) -> Client:
        try:
            client = await self._authenticator.client(request.headers.get("authorization"))
        except (errors.Unauthenticated, errors.Forbidden):
            _, refusal = self._quotas.take(ANONYMOUS, request.peer)
            if refusal:
                raise refusal from None
            raise
        flight.channel, flight.client = client.channel, client.name
        quota = client.quota if client.quota in self._quotas else ANONYMOUS  # a quota that the estate has dropped: the narrowest
        fields, refusal = self._quotas.take(quota, client.name)
        extra.update(fields)
        if refusal:
            raise refusal
        auth.require(client, endpoint.scope)
        return client

    def _version(self, request: Request, client: Client, extra: dict[str, str]) -> Version:
        """Also the fields of its life cycle: Deprecation (RFC 9745) and Sunset (RFC 8594)."""
        wanted = request.headers.get("api-version") or client.api_version
        version = self._history.by_date.get(wanted)
        if version is None:
            raise errors.UnknownVersion(got=wanted[:40], offered=", ".join(self._history.by_date))
        extra["api-version"] = version.date
        extra["vary"] = "API-Version, Authorization"
        if version.deprecated:
            extra["deprecation"] = f"@{int(version.deprecated.timestamp())}"
            links = ['</docs/versions>; rel="deprecation"; type="text/html"']
            if version.sunset:
                extra["sunset"] = format_datetime(version.sunset, usegmt=True)
                links.append('</docs/versions>; rel="sunset"; type="text/html"')
            links.append(f'</openapi/{self._history.newest.date}.json>; rel="successor-version"')
            extra["link"] = ", ".join(links)
        if version.sunset and self._now() >= version.sunset:
            raise errors.RetiredVersion(version=version.date, sunset=version.sunset.date().isoformat(), newest=self._history.newest.date)
        return version

    @staticmethod
    def _key(endpoint: AnyEndpoint, request: Request) -> str:
        if not endpoint.idempotent_key:
            return ""
        key = request.headers.get("idempotency-key", "")
        if not key:
            raise errors.IdempotencyKeyMissing
        if not (found := _KEY.fullmatch(key)):
            expected = "1 to 128 printable ASCII characters without spaces, quotes and backslashes"
            raise errors.InvalidRequest(where="header:Idempotency-Key", expected=expected, got=f"{key[:40]!r}")
        return found[1] or found[2]

    async def _once(
        self, endpoint: AnyEndpoint, request: Request, raw: bytes, ask: Ask[Any, Any], version: Version, extra: dict[str, str]
    ) -> Answer:
        """Idempotency-Key (draft -07): recorded before anything happens; a repeat gets the stored answer, success or error."""
        scope = f"{ask.client.name} {request.method} {request.path}"
        fingerprint = hashlib.sha256(b"\0".join((request.query, version.date.encode(), raw))).digest()
        book = self._books.idempotency
        extra["idempotency-retention"] = self._retention
        state = await book.begin(scope, ask.idempotency_key, fingerprint, self._now(), self._lease)
        if state.state == "other_payload":
            raise errors.IdempotencyKeyReused(key=ask.idempotency_key)
        if state.state == "running":
            raise errors.RequestInProgress
        if state.answer is not None:
            return Answer(state.answer.status, state.answer.body, {**extra, **dict(state.answer.headers), "idempotency-replayed": "true"})
        fixed: dict[str, str] = {}
        try:
            answer = await self._perform(endpoint, request, ask, version, fixed)
        except TillgateError as error:
            if problems.status_of(error) >= 500 or error.retryable:  # nothing was decided: the same key may try again
                await book.abandon(scope, ask.idempotency_key)
                raise
            fixed |= problems.headers(error)
            answer = Answer(
                problems.status_of(error),
                problems.encode(error, ask.flight.trace_id),
                {**fixed, "content-type": problems.MEDIA_TYPE, "cache-control": "no-store"},
            )
            ask.flight.failed(error)
        except Exception:  # our own mistake: handlers are safe to repeat under their key
            await book.abandon(scope, ask.idempotency_key)
            raise
        stored = StoredAnswer(status=answer.status, headers=tuple(answer.headers.items()), body=answer.body)
        await book.finish(scope, ask.idempotency_key, stored, self._now())
        answer.headers = {**extra, **answer.headers}
        return answer

    async def _perform(
        self, endpoint: AnyEndpoint, request: Request, ask: Ask[Any, Any], version: Version, extra: dict[str, str]
    ) -> Answer:
        try:
            async with asyncio.timeout_at(ask.call.deadline + GRACE):
                outcome = await endpoint.handle(ask, self._services)
        except TimeoutError as exc:
            raise errors.DeadlineExceeded(system="", operation=endpoint.name) from exc
        headers = {**extra, "content-type": "application/json", "cache-control": endpoint.cache}
        if outcome.sources:
            self._provenance(outcome, headers)
        if outcome.version is not None:
            headers["etag"] = etag = f'"v{outcome.version}"'
            if endpoint.method == "GET" and any(tag.removeprefix("W/") in (etag, "*") for tag in ask.if_none_match):
                del headers["content-type"]
                return Answer(304, b"", headers)
        if outcome.cursor is not None:
            headers["link"] = ", ".join(filter(None, (extra.get("link"), _next(request, outcome.cursor))))
        if outcome.location is not None:
            headers["location"] = outcome.location
        if outcome.retry_after is not None:
            headers["retry-after"] = str(max(1, round(outcome.retry_after)))
        with step(Step.MAP):
            content = self._encode(outcome.value, endpoint, version, ask.client)
        return Answer(outcome.status, content, headers)

    def _provenance(self, outcome: Outcome, headers: dict[str, str]) -> None:
        """Cache-Status (RFC 9211) and Age. What is stale or incomplete is kept by no cache: the next answer may be better."""
        stale = any(s.stale for s in outcome.sources)
        cached = [s for s in outcome.sources if s.via == "cache"]
        if stale:
            headers["cache-status"] = "tillgate; fwd=stale; detail=stale-if-error"
        elif not cached:
            headers["cache-status"] = "tillgate; fwd=miss"
        else:
            headers["cache-status"] = "tillgate; hit" if len(cached) == len(outcome.sources) else "tillgate; fwd=partial"
        if stale or cached:
            oldest = min(s.received_at for s in outcome.sources)
            headers["age"] = str(max(0, int((self._now() - oldest).total_seconds())))
        if stale or bool(getattr(outcome.value, "missing", None)):
            headers["cache-control"] = "no-store"

    def _encode(self, value: msgspec.Struct | None, endpoint: AnyEndpoint, version: Version, client: Client) -> bytes:
        if value is None:
            return b""
        if personal.SCOPE not in client.scopes and (hide := personal.veil(endpoint.answer)):
            value = hide(value)
        if not self._history.differs(endpoint.answer, version.date):
            return msgspec.json.encode(value)
        return msgspec.json.encode(self._history.down(msgspec.to_builtins(value), endpoint.answer, version.date))


def _next(request: Request, cursor: str) -> str:
    kept = [(k, v) for k, v in parse_qsl(request.query.decode("ascii"), keep_blank_values=True) if k != "cursor"]
    return f'<{request.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def cursor_of(text: str) -> str:
    """An opaque cursor for a position."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str | None) -> str | None:
    """Raises InvalidRequest for a cursor that this API has not made."""
    if cursor is None:
        return None
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        if not position.isprintable():
            raise ValueError(position)
    except (binascii.Error, ValueError) as exc:
        raise errors.InvalidRequest(where="query:cursor", expected="a cursor from a Link header", got=f"{cursor[:40]!r}") from exc
    return position


def require_match(if_match: tuple[str, ...], what: str, current: int) -> None:
    """If-Match on a change (RFC 9110 §13.1.1, strong comparison). Raises PreconditionFailed."""
    if if_match and not {"*", f'"v{current}"'} & set(if_match):
        raise errors.PreconditionFailed(expected=", ".join(if_match)[:80], actual=f'"v{current}" of this {what}')

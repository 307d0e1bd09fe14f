"""What every request passes, in this order: load, identity, quota, version, decoding, idempotency, handler, version down, encoding."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from contracts import errors
from contracts.books import Books, Client, StoredAnswer
from contracts.call import Call
from contracts.errors import TillgateError
from contracts.versions import Version, VersionHistory
from gateway.edge import auth, problems, reading
from gateway.edge.endpoint import AnyEndpoint, Ask, Outcome
from gateway.edge.quota import Quotas
from observability import FlightRecord, Step, step

IDEMPOTENCY_LEASE = 60.0
"""Seconds after which a request that never finished may be taken over; handlers are safe to repeat under their key."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the web framework hands over."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    path_values: Mapping[str, str]
    body: bytes
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
    ) -> None:
        self._books = books
        self._authenticator = authenticator
        self._quotas = quotas
        self._history = history
        self._services = services
        self.max_body = max_body
        self._deadlines = deadlines
        self._retention = f"{retention_days:g} days"

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
        client = await self._client(endpoint, request, extra)
        flight.channel, flight.client = client.channel, client.name
        version = self._version(request, client)
        flight.api_version = version.date
        self._lifecycle(version, extra)
        accept = request.headers.get("accept", "*/*")
        if not any(kind in accept for kind in ("*/*", "application/json", "application/*")):
            raise errors.NotAcceptable(got=accept[:80])
        if endpoint.body is not None:
            reading.check_media(request.headers, len(request.body), self.max_body)
        parameters = reading.parameters(request.query, endpoint.parameters, endpoint.answer, version.date, self._history)
        body = reading.body(request.body, endpoint.body, version.date, self._history) if endpoint.body is not None else None
        ask = Ask(
            client=client,
            call=Call(
                channel=client.channel,
                client=client.name,
                deadline=asyncio.get_running_loop().time() + self._deadlines.get(endpoint.route, 10.0),
                api_version=version.date,
            ),
            path=reading.path(request.path_values, endpoint.path_parameters),
            parameters=parameters,
            body=body,
            flight=flight,
            idempotency_key=self._key(endpoint, request),
            if_match=request.headers.get("if-match", ""),
        )
        if endpoint.idempotent_key:
            return await self._once(endpoint, request, ask, version, extra)
        return await self._perform(endpoint, request, ask, version, extra)

    async def _client(self, endpoint: AnyEndpoint, request: Request, extra: dict[str, str]) -> Client:
        try:
            client = await self._authenticator.client(request.headers.get("authorization"))
        except errors.Unauthenticated:
            _, refusal = self._quotas.take("anonymous", f"peer:{request.peer}")
            if refusal:
                raise refusal from None
            raise
        fields, refusal = self._quotas.take(client.quota, client.name)
        extra.update(fields)
        if refusal:
            raise refusal
        auth.require(client, endpoint.scope)
        return client

    def _version(self, request: Request, client: Client) -> Version:
        wanted = request.headers.get("api-version") or client.api_version
        version = self._history.by_date.get(wanted)
        if version is None:
            raise errors.UnknownVersion(got=wanted[:40], offered=", ".join(self._history.by_date))
        if version.sunset and datetime.now(UTC) >= version.sunset:
            raise errors.RetiredVersion(version=version.date, sunset=version.sunset.date().isoformat(), newest=self._history.newest.date)
        return version

    def _lifecycle(self, version: Version, extra: dict[str, str]) -> None:
        """Deprecation (RFC 9745) and Sunset (RFC 8594) fields."""
        extra["api-version"] = version.date
        extra["vary"] = "API-Version, Authorization"
        if version.deprecated:
            extra["deprecation"] = f"@{int(version.deprecated.timestamp())}"
            links = ['</docs/versions>; rel="deprecation"; type="text/html"']
            if version.sunset:
                extra["sunset"] = version.sunset.strftime("%a, %d %b %Y %H:%M:%S GMT")
                links.append('</docs/versions>; rel="sunset"; type="text/html"')
            links.append(f'</openapi/{self._history.newest.date}.json>; rel="successor-version"')
            extra["link"] = ", ".join(links)

    @staticmethod
    def _key(endpoint: AnyEndpoint, request: Request) -> str:
        if not endpoint.idempotent_key:
            return ""
        key = request.headers.get("idempotency-key", "")
        if not key:
            raise errors.IdempotencyKeyMissing
        key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
        if not (0 < len(key) <= 128) or not key.isascii() or not key.isprintable():
            raise errors.InvalidRequest(where="header:Idempotency-Key", expected="1 to 128 printable ASCII characters", got=f"{key[:40]!r}")
        return key

    async def _once(self, endpoint: AnyEndpoint, request: Request, ask: Ask[Any, Any], version: Version, extra: dict[str, str]) -> Answer:
        """Idempotency-Key (draft -07): recorded before anything happens; a repeat gets the stored answer, success or error."""
        scope = f"{ask.client.name} {request.method} {request.path}"
        fingerprint = hashlib.sha256(b"\0".join((request.query, version.date.encode(), request.body))).digest()
        book = self._books.idempotency
        extra["idempotency-retention"] = self._retention
        state = await book.begin(scope, ask.idempotency_key, fingerprint, datetime.now(UTC), IDEMPOTENCY_LEASE)
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
            answer = Answer(
                problems.status_of(error),
                problems.encode(error, ask.flight.trace_id),
                {**problems.headers(error), "content-type": problems.MEDIA_TYPE, "cache-control": "no-store"},
            )
            ask.flight.failed(error)
        stored = StoredAnswer(status=answer.status, headers=tuple(answer.headers.items()), body=answer.body)
        await book.finish(scope, ask.idempotency_key, stored, datetime.now(UTC))
        answer.headers = {**extra, **answer.headers}
        return answer

    async def _perform(
        self, endpoint: AnyEndpoint, request: Request, ask: Ask[Any, Any], version: Version, extra: dict[str, str]
    ) -> Answer:
        outcome = await endpoint.handle(ask, self._services)
        headers = {**extra, "content-type": "application/json", "cache-control": endpoint.cache}
        if outcome.version is not None:
            etag = f'"v{outcome.version}"'
            headers["etag"] = etag
            if request.method == "GET" and _matches(request.headers.get("if-none-match", ""), etag):
                return Answer(304, b"", headers)
        if outcome.cursor is not None:
            headers["link"] = ", ".join(filter(None, (extra.get("link"), _next(request, outcome.cursor))))
        if outcome.location is not None:
            headers["location"] = outcome.location
        if outcome.retry_after is not None:
            headers["retry-after"] = str(max(1, round(outcome.retry_after)))
        if outcome.sources:
            headers["cache-status"] = _cache_status(outcome)
        with step(Step.MAP):
            content = self._encode(outcome.value, endpoint, version)
        return Answer(outcome.status, content, headers)

    def _encode(self, value: msgspec.Struct | None, endpoint: AnyEndpoint, version: Version) -> bytes:
        if value is None:
            return b""
        if not self._history.differs(endpoint.answer, version.date):
            return msgspec.json.encode(value)
        return msgspec.json.encode(self._history.down(msgspec.to_builtins(value), endpoint.answer, version.date))


def _matches(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in header.split(","))


def _next(request: Request, cursor: str) -> str:
    kept = [(k, v) for k, v in parse_qsl(request.query.decode("ascii"), keep_blank_values=True) if k != "cursor"]
    return f'<{request.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def _cache_status(outcome: Outcome) -> str:
    """RFC 9211. The oldest part decides what is said about the whole."""
    age = max(0, int((datetime.now(UTC) - min(s.as_of for s in outcome.sources)).total_seconds()))
    if any(s.stale for s in outcome.sources):
        return f"tillgate; fwd=stale; detail=stale-if-error; ttl=-{age}"
    if all(s.via == "cache" for s in outcome.sources):
        return f"tillgate; hit; detail=age-{age}s"
    return "tillgate; fwd=miss"


def cursor_of(text: str) -> str:
    """An opaque cursor for a position."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str | None) -> str | None:
    """Raises InvalidRequest for a cursor that this API has not made."""
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise errors.InvalidRequest(where="query:cursor", expected="a cursor from a Link header", got=f"{cursor[:40]!r}") from exc

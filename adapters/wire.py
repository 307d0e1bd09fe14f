"""One HTTP/1.1 exchange with an upstream: bounded in time and size, never repeated silently, foreign exceptions translated once."""

from __future__ import annotations

import math
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection

from adapters.options import Tls
from contracts.errors import ConnectFailed, ConnectionLost, ContractViolation, UpstreamError, UpstreamTimeout

BODY_LIMIT = 16 * 1024 * 1024
_PATH = re.compile(r"(?!(.*/)?(\.|%2e){1,2}([/?]|$)|.*#)([/?][!-~]*)?", re.IGNORECASE)
"""Printable ASCII, no dot segment, no fragment: a key that is `..` must not reach another resource, and no path may add to the host."""
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:_]+(/[!-~]*)?")


def carries(base_url: str, path: str) -> bool:
    """Whether a `Wire` can be made for this base, and takes this path."""
    return bool(_ORIGIN.fullmatch(base_url) and _PATH.fullmatch(path))


@dataclass(eq=False, kw_only=True)
class NameNotResolved(ConnectFailed):
    error_type: ClassVar[str] = "dns"


@dataclass(eq=False, kw_only=True)
class TlsFailed(ConnectFailed):
    error_type: ClassVar[str] = "tls"


@dataclass(eq=False, kw_only=True)
class ConnectTimeout(UpstreamTimeout):
    """No connection in time: nothing was sent."""

    error_type: ClassVar[str] = "timeout.connect"
    sent: bool = False


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """`body` is complete and decompressed. `content_type` is lower case, without parameters; "" if the upstream named none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    content_type: str

    @property
    def retry_after(self) -> float | None:
        """Seconds the upstream asks us to wait (RFC 9110 §10.2.3: seconds or a date), at most a day; None if it says nothing usable."""
        text = self.headers.get(hdrs.RETRY_AFTER, "").strip()
        if text.isascii() and text.isdigit():
            return float(min(int(text[:10]), 86_400))
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), 86_400.0)


def client_tls(files: Tls) -> ssl.SSLContext:
    """One context per credential; reads the files, so call it at start."""
    context = ssl.create_default_context(cafile=files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate:
        context.load_cert_chain(files.certificate, files.key, files.password or None)
    return context


@dataclass(frozen=True, slots=True)
class WireRequest:
    operation: str
    method: str
    path: str = field(repr=False)  # a query may hold a key
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class Tap(Protocol):
    """Stands between a driver and the wire, for the task that has set it: to write exchanges down, or to answer from what was written."""

    async def exchange(self, asked: WireRequest, send: Callable[[Mapping[str, str]], Awaitable[WireAnswer]]) -> WireAnswer:
        """`send` performs the exchange, with these headers. Raises what it raises."""
        ...


_PROGRESS: ContextVar[SimpleNamespace] = ContextVar("progress")
"""Of the exchange that the task is in: whether a byte of it may have left."""
TAP: ContextVar[Tap | None] = ContextVar("tap", default=None)


class Wire:
    """The connections to one upstream. `exchange` raises contracts.errors.UpstreamError classes only, with `sent` exactly as far as known:
    False as long as no byte of the request left, True from then on.
    """

    def __init__(
        self,
        system: str,
        base_url: str,
        *,
        connections: int = 32,
        connect_seconds: float = 3.0,
        keep_alive: float = 4.0,
        body_limit: int = BODY_LIMIT,
        tls: ssl.SSLContext | None = None,
        deadline_header: str = "",
        socket_factory: Callable[[Any], socket.socket] | None = None,
    ) -> None:
        """`keep_alive` stays below the five seconds after which many servers drop an idle connection, maybe with our next request in it.
        `deadline_header` tells the system how many seconds we wait. `socket_factory` makes the socket for an address that was found, or
        refuses it by OSError.
        """
        if not _ORIGIN.fullmatch(base_url):
            raise ValueError(f"{system}: expected http(s)://host[:port][/path] without user or password")
        self.system, self.base_url, self.body_limit = system, base_url.rstrip("/"), body_limit
        address = urlsplit(self.base_url)
        self.host, self.port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
        self._connections, self._connect_seconds, self._keep_alive, self._tls = connections, connect_seconds, keep_alive, tls
        self._deadline_header, self._socket_factory = deadline_header, socket_factory
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        if self._session is None:
            self._session = _session(self._connections, self._keep_alive, self._tls, self._socket_factory)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def exchange(
        self,
        operation: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
        *,
        traceparent: str = "",
        body_limit: int | None = None,
        cut: bool = False,
    ) -> WireAnswer:
        """One request, one answer of any status; redirects are answers too (following one could carry credentials to another host).

        `path` is appended to the base URL as it is, already percent-encoded, query included. `seconds` limits everything: waiting
        for a free connection, connecting, sending, reading. `traceparent` is that of the current hop (`hop.traceparent`). `cut`: of a body
        beyond the limit the beginning is enough.
        """
        if (tap := TAP.get()) is not None:

            async def send(headers: Mapping[str, str]) -> WireAnswer:
                around = TAP.set(None)
                try:
                    return await self.exchange(
                        operation, method, path, headers, body, seconds, traceparent=traceparent, body_limit=body_limit, cut=cut
                    )
                finally:
                    TAP.reset(around)

            return await tap.exchange(WireRequest(operation, method, path, headers, body), send)
        if self._session is None:
            raise ConnectFailed(system=self.system, operation=operation, reason="the connection is not started or already closed")
        if seconds <= 0:
            raise ConnectTimeout(system=self.system, operation=operation, reason="no time left to connect")
        _PROGRESS.set(progress := SimpleNamespace(sent=False))
        try:
            if not _PATH.fullmatch(path):
                raise ValueError("a path that is not percent-encoded or has dot segments")
            if traceparent:
                headers = {**headers, "traceparent": traceparent}
            if self._deadline_header:
                headers = {**headers, self._deadline_header: f"{seconds:.3f}"}
            async with self._session.request(
                method,
                self.base_url + path,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, connect=min(self._connect_seconds, seconds), ceil_threshold=math.inf),
            ) as response:
                content = await _bounded(response, self.body_limit if body_limit is None else body_limit, cut=cut)
                kind = response.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
                return WireAnswer(response.status, response.headers, content, kind)
        except (aiohttp.ClientError, OSError, ValueError, _TooLarge) as exc:  # TimeoutError and ssl.SSLError are OSErrors
            raise _translated(exc, self.system, operation, seconds, progress.sent) from exc


def _session(
    connections: int, keep_alive: float, tls: ssl.SSLContext | None, socket_factory: Callable[[Any], socket.socket] | None
) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, keepalive_timeout=keep_alive, ttl_dns_cache=60, ssl=tls or True, socket_factory=socket_factory
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={hdrs.USER_AGENT: "tillgate", hdrs.ACCEPT_ENCODING: "gzip, deflate"},
        request_class=_Request,
    )
    session._retry_connection = False  # noqa: SLF001  # else a PUT whose connection dies is sent twice; watched by a test
    return session


class _Request(aiohttp.ClientRequest):
    """Notes that it goes on its way. A trace of aiohttp would tell the same at the price of all its events."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        _PROGRESS.get().sent = True
        return await super().send(conn)


class _TooLarge(Exception):
    def __init__(self, limit: int) -> None:
        self.limit = limit


async def _bounded(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """What is left of a body that is cut goes with its connection."""
    if not cut and (response.content_length or 0) > limit and response.method != hdrs.METH_HEAD:
        raise _TooLarge(limit)
    chunks, size = [], 0
    async for chunk in response.content.iter_any():  # decompressed by aiohttp in bounded pieces
        size += len(chunk)
        chunks.append(chunk)
        if size > limit:
            if cut:
                break
            raise _TooLarge(limit)
    return b"".join(chunks)


def _translated(exc: Exception, system: str, operation: str, seconds: float, sent: bool) -> UpstreamError:
    """The table of foreign exceptions. Reasons are written here, since aiohttp's texts may quote a URL and with it a key."""
    at: dict[str, Any] = {"system": system, "operation": operation}
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return ConnectTimeout(**at, reason="no connection in time")
        case TimeoutError() if not sent:
            return ConnectTimeout(**at, reason=f"no connection within {seconds:.3g} s")
        case TimeoutError():
            return UpstreamTimeout(**at, reason=f"no complete answer within {seconds:.3g} s")
        case aiohttp.ClientConnectorDNSError():
            return NameNotResolved(**at, reason=f"host {exc.host} has no address")
        case aiohttp.ClientConnectorCertificateError():
            return TlsFailed(**at, reason=f"certificate of {exc.host} refused: {exc.certificate_error}")
        case aiohttp.ClientConnectorSSLError() | aiohttp.ServerFingerprintMismatch() | ssl.SSLError() if not sent:
            return TlsFailed(**at, reason=f"TLS handshake failed: {getattr(exc, 'os_error', exc)}")
        case aiohttp.ClientConnectorError():
            return ConnectFailed(**at, reason=f"{exc.host}:{exc.port}: {exc.os_error.strerror or exc.os_error}")
        case _TooLarge():
            return ContractViolation(**at, where="body", expected=f"at most {exc.limit} bytes", got="more", reason="answer too large")
        case aiohttp.ClientPayloadError() if isinstance(exc.__cause__, aiohttp.http_exceptions.ContentEncodingError):
            return ContractViolation(**at, where="body", expected="its Content-Encoding", got="bytes that do not decode")
        case aiohttp.ClientPayloadError():
            return ConnectionLost(**at, reason="the answer ended before its announced length")
        case aiohttp.ClientResponseError():
            return ContractViolation(**at, where="HTTP", expected="an HTTP/1.1 answer", got=exc.message or "something else")
        case ValueError():
            return ContractViolation(**at, where="request", expected="a path and headers that HTTP can carry", got=str(exc), sent=False)
        case aiohttp.ServerDisconnectedError():
            lost = "the connection was closed before an answer"
        case _:
            lost = getattr(exc, "strerror", None) or type(exc).__name__
    return ConnectionLost(**at, reason=lost) if sent else ConnectFailed(**at, reason=lost)

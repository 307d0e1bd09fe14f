"""Pages for operators, behind a session of their own; and the gateway's health, metrics and published documents."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_303_SEE_OTHER

from contracts.books import Books
from contracts.errors import NotFound, TillgateError, Unauthenticated
from gateway.edge.identity import scopes
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.peer import certificate_of
from gateway.services.overview import Overview
from observability import current
from observability.console import pages, portal
from observability.console.data import FlightFilter

COOKIE = "tillgate_session"
SESSION_SECONDS = 8 * 3600
SCOPE = "admin:read"
_FORM_BYTES = 2_000

WebRequest = Request[Any, Any, Any]


@dataclass(frozen=True)
class Sessions:
    """A signed cookie instead of the key: HttpOnly, same site only, eight hours."""

    authenticator: Authenticator
    books: Books
    secret: bytes

    async def open(self, key: str) -> str:
        """Raises Unauthenticated, Forbidden."""
        client = await self.authenticator.principal({"authorization": f"Bearer {key}"})
        scopes.require(client, SCOPE)
        text = f"{client.name}|{int(time.time()) + SESSION_SECONDS}".encode()
        return base64.urlsafe_b64encode(text).decode() + "." + self._sign(text)

    async def check(self, cookie: str | None) -> str:
        """The client's name, as long as it may still look. Raises Unauthenticated."""
        head, _, signature = (cookie or "").partition(".")
        try:
            text = base64.urlsafe_b64decode(head)
        except (binascii.Error, ValueError) as exc:
            raise Unauthenticated(reason="not signed in") from exc
        name, _, until = text.decode("utf-8", "replace").partition("|")
        if not hmac.compare_digest(signature, self._sign(text)) or not until.isdigit() or int(until) < time.time():
            raise Unauthenticated(reason="not signed in")
        client = await self.books.clients.get(name)
        if client is None or client.suspended or SCOPE not in client.scopes:
            raise Unauthenticated(reason="not signed in")
        return name

    def _sign(self, text: bytes) -> str:
        return hmac.digest(self.secret, b"console\0" + text, hashlib.sha256).hex()


def _html(body: str, status: int = 200) -> Response[bytes]:
    headers = {"content-security-policy": pages.CONTENT_SECURITY_POLICY, "cache-control": "no-store"}
    return Response(body.encode(), status_code=status, media_type="text/html; charset=utf-8", headers=headers)


def console(overview: Overview, sessions: Sessions, channels: tuple[str, ...], *, secure: bool) -> list[HTTPRouteHandler]:
    """`secure`: the cookie travels over TLS only."""

    def page(path: str, show: Callable[[WebRequest], Awaitable[str]]) -> HTTPRouteHandler:
        async def handle(request: WebRequest) -> Response[bytes]:
            if flight := current():
                flight.name = f"GET {path}"
            try:
                await sessions.check(request.cookies.get(COOKIE))
            except Unauthenticated:
                return Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": f"{pages.BASE}/login"})
            try:
                return _html(await show(request))
            except TillgateError as error:
                flight = current()
                shown = pages.render_error(error.status, error.title, error.public, trace_id=flight.trace_id if flight else "")
                return _html(shown, error.status)

        return HTTPRouteHandler(path, http_method=["GET"])(handle)

    async def systems(request: WebRequest) -> str:
        return pages.render_systems(overview.systems(), routes=overview.routes(), drifted=overview.drift(), notices=overview.notices())

    async def flights(request: WebRequest) -> str:
        chosen = {k: request.query_params.get(k, "")[:100] for k in ("channel", "route", "system", "outcome", "kind")}
        found = await overview.flights(200, **chosen)
        names = [s.id for s in overview.systems()]
        return pages.render_flights(found, chosen=FlightFilter(**chosen), channels=channels, systems=names, seen=overview.seen)

    async def flight(request: WebRequest) -> str:
        spans = await overview.flight(request.path_params["trace_id"])
        if not spans:
            raise NotFound(what="trace", key=request.path_params["trace_id"][:40])
        return pages.render_flight(spans)

    async def files(request: WebRequest) -> str:
        return pages.render_files(await overview.files())

    async def file(request: WebRequest) -> str:
        found = await overview.file(request.path_params["digest"])
        if found is None:
            raise NotFound(what="file", key=request.path_params["digest"][:40])
        return pages.render_file(*found)

    async def orders(request: WebRequest) -> str:
        return pages.render_orders(await overview.orders())

    async def static(request: WebRequest) -> Response[bytes]:
        found = pages.asset(request.path_params["name"])
        if found is None:
            raise NotFound(what="file", key=request.path_params["name"][:40])
        headers = {"etag": found.etag, "cache-control": "public, max-age=31536000, immutable"}
        return Response(found.body, media_type=found.media_type, headers=headers)

    async def login_form(request: WebRequest) -> Response[bytes]:
        return _html(portal.render_login())

    async def login(request: WebRequest) -> Response[bytes]:
        form = await request.form()
        key = str(form.get("key", ""))[:_FORM_BYTES].strip()
        try:
            cookie = await sessions.open(key)
        except TillgateError as error:
            return _html(portal.render_login(error.public), error.status)
        flags = f"HttpOnly; SameSite=Strict; Path={pages.BASE}; Max-Age={SESSION_SECONDS}" + ("; Secure" if secure else "")
        headers = {"location": f"{pages.BASE}/systems", "set-cookie": f"{COOKIE}={cookie}; {flags}"}
        return Response(b"", status_code=HTTP_303_SEE_OTHER, headers=headers)

    async def logout(request: WebRequest) -> Response[bytes]:
        cookie = f"{COOKIE}=; HttpOnly; SameSite=Strict; Path={pages.BASE}; Max-Age=0"
        return Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": f"{pages.BASE}/login", "set-cookie": cookie})

    base = pages.BASE
    return [
        page(base, systems),
        page(f"{base}/systems", systems),
        page(f"{base}/flights", flights),
        page(base + "/flights/{trace_id:str}", flight),
        page(f"{base}/files", files),
        page(base + "/files/{digest:str}", file),
        page(f"{base}/orders", orders),
        _named("GET", base + "/static/{name:str}", static),
        _named("GET", f"{base}/login", login_form),
        _named("POST", f"{base}/login", login),
        _named("POST", f"{base}/logout", logout),
    ]


@dataclass(frozen=True)
class Documents:
    """What anybody may read: contracts and how the process feels. Nothing of a retailer's data."""

    openapi: dict[str, bytes]
    problems: bytes
    changelog: bytes
    reference: Callable[[str], str]
    problem: Callable[[dict[str, Any]], str]
    """A problem's entry -> its page."""
    ready: Callable[[], Awaitable[dict[str, str]]]
    metrics: Callable[[], Awaitable[bytes]]
    authenticator: Authenticator


def documents(docs: Documents) -> list[HTTPRouteHandler]:
    newest = next(iter(docs.openapi))

    async def openapi(request: WebRequest) -> Response[bytes]:
        version = request.path_params["file"].removesuffix(".json")
        if version not in docs.openapi:
            raise NotFound(what="API version", key=version[:40])
        return _json(docs.openapi[version])

    async def problems(request: WebRequest) -> Response[bytes]:
        return _json(docs.problems)

    async def problem(request: WebRequest) -> Response[bytes]:
        code = request.path_params["code"]
        for entry in msgspec.json.decode(docs.problems):
            if entry["code"] == code:
                page = "text/html" in request.headers.get("accept", "")  # a browser; whoever says nothing gets what a program reads
                found = _html(docs.problem(entry)) if page else _json(msgspec.json.encode(entry))
                found.set_header("vary", "accept")
                return found
        raise NotFound(what="problem", key=code[:40])

    async def versions(request: WebRequest) -> Response[bytes]:
        return _json(docs.changelog)

    async def reference(request: WebRequest) -> Response[bytes]:
        version = request.path_params.get("version", newest)
        if version == "versions":
            version = newest
        if version not in docs.openapi:
            raise NotFound(what="API version", key=version[:40])
        return _html(docs.reference(version))

    async def alive(request: WebRequest) -> Response[bytes]:
        return _json(b'{"status":"alive"}')

    async def ready(request: WebRequest) -> Response[bytes]:
        return _json(msgspec.json.encode(await docs.ready()))

    async def metrics(request: WebRequest) -> Response[bytes]:
        scopes.require(await docs.authenticator.principal(request.headers, certificate_of(request.scope)), SCOPE)
        return Response(await docs.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def root(request: WebRequest) -> Response[bytes]:
        return Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": "/docs"})

    routes: dict[str, Callable[[WebRequest], Awaitable[Response[bytes]]]] = {
        "/": root,
        "/openapi/{file:str}": openapi,
        "/problems": problems,
        "/problems/{code:str}": problem,
        "/changelog": versions,
        "/docs": reference,
        "/docs/{version:str}": reference,
        "/health/live": alive,
        "/health/ready": ready,
        "/metrics": metrics,
    }
    return [_named("GET", path, handle) for path, handle in routes.items()]


def _named(method: Literal["GET", "POST"], path: str, handle: Callable[[WebRequest], Awaitable[Response[bytes]]]) -> HTTPRouteHandler:
    async def answer(request: WebRequest) -> Response[bytes]:
        if flight := current():
            flight.name = f"{method} {path.replace(':str', '')}"
        return await handle(request)

    return HTTPRouteHandler(path, http_method=[method], status_code=HTTP_303_SEE_OTHER if method == "POST" else None)(answer)


def _json(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json", headers={"cache-control": "public, max-age=60"})

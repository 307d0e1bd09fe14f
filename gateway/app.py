"""The web application: the route table on Litestar, one flight per request around it, and problem documents for whatever goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send

from contracts import errors
from contracts.errors import TillgateError
from gateway.edge import door as edge
from gateway.edge import problems
from gateway.edge.endpoint import AnyEndpoint
from observability import Recorder, current

log = structlog.get_logger("edge")

_SECURE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def application(
    endpoints: Iterable[AnyEndpoint],
    door: edge.Door,
    recorder: Recorder,
    *,
    pages: Sequence[ControllerRouterHandler] = (),
    max_requests: int,
    trusted: Callable[[str], bool],
) -> ASGIApp:
    """`pages` are documents and console routes of their own; `trusted` says whose trace context is continued (by peer address)."""
    endpoints = tuple(endpoints)
    app = Litestar(
        route_handlers=[*(_handler(e, door) for e in endpoints), *pages],
        openapi_config=None,
        exception_handlers={
            HTTPException: _Failures(endpoints, door.max_body).http,
            TillgateError: _refused,
            Exception: _unexpected,
        },
        request_max_body_size=door.max_body,
        logging_config=None,
    )
    return Flights(app, recorder, max_requests, trusted)


def _handler(endpoint: AnyEndpoint, door: edge.Door) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        flight = current()
        if flight is None:
            raise RuntimeError("a request without a flight: the application was not wrapped in Flights")
        flight.name = endpoint.route
        answer = await door.answer(
            endpoint,
            edge.Request(
                method=request.method,
                path=request.scope["path"],
                query=request.scope["query_string"],
                headers=request.headers,
                path_values=request.path_params,
                body=await request.body() if endpoint.body is not None else b"",
                peer=request.client.host if request.client else "",
            ),
            flight,
        )
        media = answer.headers.pop("content-type", "application/json")
        return Response(answer.body, status_code=answer.status, headers=answer.headers, media_type=media)

    path = re.sub(r"\{(\w+)\}", r"{\1:str}", endpoint.path)
    return HTTPRouteHandler(path, http_method=[endpoint.method], name=endpoint.name, status_code=endpoint.statuses[0])(handle)


class _Failures:
    """The framework's own refusals, in our words."""

    def __init__(self, endpoints: tuple[AnyEndpoint, ...], max_body: int) -> None:
        self._allowed: dict[re.Pattern[str], list[str]] = {}
        for endpoint in endpoints:
            pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(endpoint.path)))
            self._allowed.setdefault(pattern, []).append(endpoint.method)
        self._max_body = max_body

    def http(self, request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
        path = request.scope["path"]
        error: TillgateError
        if exc.status_code == 404:
            error = errors.NotFound(what="route", key=path[:100])
        elif exc.status_code == 405:
            methods = [m for pattern, found in self._allowed.items() if pattern.fullmatch(path) for m in found]
            error = errors.MethodNotAllowed(method=request.method[:20], allowed=", ".join(sorted(set(methods))) or "GET")
        elif exc.status_code == 413:
            error = errors.BodyTooLarge(limit=self._max_body)
        elif exc.status_code < 500:
            error = errors.InvalidRequest(where="request", expected="a well-formed HTTP request", got=str(exc.detail)[:200])
        else:
            return _unexpected(request, exc)
        return problem(error)


def _unexpected(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    log.error("unexpected error", path_template=request.scope.get("path_template", ""), exc_info=exc)
    return problem(errors.TillgateError())


def _refused(request: Request[Any, Any, Any], exc: TillgateError) -> Response[bytes]:
    return problem(exc)


def problem(error: TillgateError) -> Response[bytes]:
    flight = current()
    if flight:
        flight.failed(error)
    headers = {**problems.headers(error), "cache-control": "no-store"}
    content = problems.encode(error, flight.trace_id if flight else "")
    return Response(content, status_code=problems.status_of(error), headers=headers, media_type=problems.MEDIA_TYPE)


class Flights:
    """Wraps the application itself, so that 404 and 405 are seen too. Beyond `most` requests at once the answer is 503."""

    def __init__(self, app: ASGIApp, recorder: Recorder, most: int, trusted: Callable[[str], bool]) -> None:
        self._app = app
        self._recorder = recorder
        self._most = most
        self._trusted = trusted
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        headers = dict(scope["headers"])
        with self._recorder.flight(
            "request",
            f"{_known(scope['method'])} unmatched",
            parent=headers.get(b"traceparent", b"").decode("ascii", "replace") or None,
            tracestate=headers.get(b"tracestate", b"").decode("ascii", "replace"),
            trusted=self._trusted(client[0] if client else ""),
        ) as flight:
            added = [(k.encode().lower(), v.encode()) for k, v in (*flight.response_headers, *_SECURE.items())]

            async def send_(message: Message) -> None:
                if message["type"] == "http.response.start":
                    flight.set(status=message["status"])
                    message["headers"] = [*message["headers"], *added]
                await send(message)

            if self.running >= self._most:
                await problem(errors.Overloaded()).to_asgi_response(app=None, request=Request(scope))(scope, receive, send_)
                return
            self.running += 1
            try:
                await self._app(scope, receive, send_)
            finally:
                self.running -= 1


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "HTTP"

"""The web application: the route table on Litestar, one flight per request around it, and problem documents for whatever goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import getrandbits
from time import monotonic_ns
from typing import Any

from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Method, Receive, Scope, Send

from contracts import errors
from contracts.errors import TillgateError
from gateway.edge import problems, reading
from gateway.edge import request as edge
from gateway.edge.door import Door
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.peer import Proxies, certificate_of
from observability import Recorder, Step, current, get_logger
from observability.flight import RANDOM_ID, Hop, format_traceparent

log = get_logger(__name__)

_SECURE = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_SECURE_WRITTEN = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in _SECURE)
_PROBES = "/health/"


def application(
    endpoints: Iterable[AnyEndpoint],
    door: Door,
    recorder: Recorder,
    *,
    pages: Sequence[ControllerRouterHandler] = (),
    max_requests: int,
    proxies: Proxies,
) -> Flights:
    """`pages` are documents and console routes of their own; `proxies`: whose trace context and forwarded address count."""
    by_path: dict[str, dict[Method, AnyEndpoint]] = {}
    for e in endpoints:
        by_path.setdefault(e.path, {})[e.method] = e
        if e.method == "GET":
            by_path[e.path]["HEAD"] = e
    app = Litestar(
        route_handlers=[*(_route(path, each, door) for path, each in by_path.items()), *pages],
        openapi_config=None,
        exception_handlers={HTTPException: partial(_http_refused, door.max_body), TillgateError: _refused, Exception: _unexpected},
        request_max_body_size=door.max_body,
        logging_config=None,
    )
    return Flights(app, door, recorder, max_requests, proxies)


def _route(path: str, endpoints: Mapping[Method, AnyEndpoint], door: Door) -> HTTPRouteHandler:
    """Reads and answers below the framework's request and response objects: those cost more than the whole door."""

    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
        flight = current()
        if flight is None:
            raise RuntimeError("a request without a flight: the application was not wrapped in Flights")
        scope = request.scope
        endpoint = endpoints[scope["method"]]
        flight.name = endpoint.route
        headers = reading.fields(scope["headers"])
        answer = await door.answer(
            endpoint,
            edge.Request(
                method=scope["method"],
                path=scope["path"],
                query=scope["query_string"],
                headers=headers,
                path_values=scope["path_params"],
                read=partial(reading.received, request.receive, headers, door.max_body, door.body_seconds),
                peer=client[0] if (client := scope.get("client")) else "",
                certificate=certificate_of(scope),
                target=scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b""),
            ),
            flight,
        )

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            fields = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers.items()]
            if answer.status not in (204, 304):
                fields.append((b"content-length", b"%d" % len(answer.body)))
            await send({"type": "http.response.start", "status": answer.status, "headers": fields})
            await send({"type": "http.response.body", "body": answer.body, "more_body": False})

        return respond

    return HTTPRouteHandler(re.sub(r"\{(\w+)\}", r"{\1:str}", path), http_method=[*endpoints], status_code=200)(handle)


def _http_refused(max_body: int, request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    """The framework's own refusals, in our words."""
    error: TillgateError
    if exc.status_code == 404:
        error = errors.NotFound(what="route", key=request.scope["path"][:100])
    elif exc.status_code == 405:
        error = errors.MethodNotAllowed(method=request.method[:20], allowed=(exc.headers or {}).get("allow", "GET"))
    elif exc.status_code == 413:
        error = errors.BodyTooLarge(limit=max_body)
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

    def __init__(self, app: ASGIApp, door: Door, recorder: Recorder, most: int, proxies: Proxies) -> None:
        self._app = app
        self._door = door
        self._recorder = recorder
        self._most = most
        self._proxies = proxies
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._app(scope, receive, send)
            return
        trusted = self._proxies.admit(scope)
        parents = [v for k, v in scope["headers"] if k == b"traceparent"]
        state = b",".join([v for k, v in scope["headers"] if k == b"tracestate"])
        with self._recorder.flight(
            "request",
            f"{_known(scope['method'])} unmatched",
            parent=parents[0].decode("ascii", "replace") if len(parents) == 1 else None,  # repeated is invalid: a new trace
            tracestate=state.decode("ascii", "replace"),
            trusted=trusted,
        ) as flight:
            added = [*((k.encode(), v.encode()) for k, v in flight.response_headers), *_SECURE]

            async def send_(message: Message) -> None:
                if message["type"] == "http.response.start":
                    flight.set(status=message["status"])
                    message["headers"] = [*message["headers"], *added]
                await send(message)

            if self.running >= self._most and not scope["path"].startswith(_PROBES):
                await problem(errors.Overloaded()).to_asgi_response(app=None, request=Request(scope))(scope, receive, send_)
                return
            self.running += 1
            try:
                await self._app(scope, receive, send_)
            finally:
                self.running -= 1

    def at_once(self, head: bool, target: bytes, fields: Sequence[tuple[bytes, bytes]], peer: str, added: bytes) -> bytes | None:
        """A GET or HEAD without a body, as it stands in an HTTP/1.1 message, answered from stored bytes with the fields `added`; counted
        and remembered like every other request. None: the application is to be called.
        """
        began = monotonic_ns()
        found = self._door.at_once(target, fields)
        if found is None:
            return None
        kept, principal, version, unchanged, quota, headers = found
        flight, recorder = None, self._recorder
        if "traceparent" not in headers and not recorder.head_share:
            trace, span = getrandbits(128) or 1, getrandbits(64) or 1
            here = format_traceparent(trace, span, RANDOM_ID)
            if not recorder.passed(kept.route, principal.channel, version, began):
                flight = recorder.flight("request", kept.route)
                flight.trace, flight.root.bits = trace, span
        else:
            parent, state, trusted = headers.get("traceparent"), headers.get("tracestate", ""), self._proxies.trusts(peer)
            flight = recorder.flight("request", kept.route, parent=parent, tracestate=state, trusted=trusted)
            here = flight.traceparent
        if flight is not None:
            flight.channel, flight.client, flight.api_version = principal.channel, principal.name, version
            flight.set(status=304 if unchanged else 200)
            flight.ended(began, [Hop(Step.CACHE, system=s, operation=o, cache="hit", keys=n) for s, o, n in kept.hits])
        own = "".join([f"{name}: {value}\r\n" for name, value in quota.items()])
        end = f"{own}traceresponse: {here}\r\nserver-timing: trace;desc={here}\r\n{_SECURE_WRITTEN}\r\n".encode("latin-1")
        if unchanged:
            return b"".join((b"HTTP/1.1 304 Not Modified\r\n", added, kept.head_unchanged, end))
        return b"".join((b"HTTP/1.1 200 OK\r\n", added, kept.head, end, b"" if head else kept.body))


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "HTTP"

"""The web application: the route table on Litestar, one flight per request around it, and problem documents for whatever goes wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from random import getrandbits
from time import monotonic_ns
from typing import Any

from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler, HTTPScope, Message, Method, Receive, Scope, Send

from contracts import errors
from contracts.errors import TillgateError
from gateway.edge import problems, reading
from gateway.edge import request as edge
from gateway.edge.door import Door
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.peer import CRITICAL, Proxies, certificate_of
from gateway.edge.pressure import HOLD, Paced
from gateway.edge.stored import Fields
from observability import FlightRecord, Recorder, Step, current, get_logger
from observability.flight import RANDOM_ID, Hop, format_traceparent
from observability.vocabulary import OTHER_METHOD, UNMATCHED

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
        exception_handlers={
            HTTPException: partial(_http_refused, door.max_body, [*by_path]),
            TillgateError: _refused,
            Exception: _unexpected,
        },
        request_max_body_size=door.max_body,
        logging_config=None,
    )
    return Flights(app, Routes(by_path), door, recorder, max_requests, proxies)


def _route(path: str, endpoints: Mapping[Method, AnyEndpoint], door: Door) -> HTTPRouteHandler:
    """Of what `Routes` leaves to the framework: paths that are written in another way, and methods that a path does not have."""

    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
        flight = current()
        if flight is None:
            raise RuntimeError("a request without a flight: the application was not wrapped in Flights")
        scope = request.scope
        answer = await _answer(door, endpoints[scope["method"]], scope["path_params"], scope, request.receive, flight)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            await _send(answer, send)

        return respond

    return HTTPRouteHandler(re.sub(r"\{(\w+)\}", r"{\1:str}", path), http_method=[*endpoints], status_code=200)(handle)


class Routes:
    """Finds the endpoint of a path that is written as declared. The framework's way there costs more than the whole door."""

    def __init__(self, endpoints: Mapping[str, Mapping[Method, AnyEndpoint]]) -> None:
        self._plain = {path: each for path, each in endpoints.items() if "{" not in path}
        self._shaped: dict[tuple[int, str], list[tuple[list[str], Mapping[Method, AnyEndpoint]]]] = {}
        for path, each in endpoints.items():
            if "{" in path:
                parts = path.split("/")
                self._shaped.setdefault((len(parts), parts[1]), []).append((parts, each))

    def find(self, scope: HTTPScope) -> tuple[AnyEndpoint, dict[str, str]] | None:
        """The endpoint with the values of its path. None: the framework is to be asked."""
        return None if b"%" in scope["raw_path"] else self.at(scope["path"], scope["method"])

    def at(self, path: str, method: Method) -> tuple[AnyEndpoint, dict[str, str]] | None:
        there, values = self._there(path)
        return (found, values) if (found := there.get(method)) else None

    def declared(self, path: str) -> str:
        """The template of a path, whatever methods it has; empty: there is none."""
        there, _ = self._there(path)
        return next((endpoint.path for endpoint in there.values()), "")

    def _there(self, path: str) -> tuple[Mapping[Method, AnyEndpoint], dict[str, str]]:
        if plain := self._plain.get(path):
            return plain, {}
        parts = path.split("/")
        if len(parts) < 2 or "" in parts[1:]:
            return {}, {}
        for declared, methods in self._shaped.get((len(parts), parts[1]), ()):
            values = {}
            for here, part in zip(declared, parts, strict=True):
                if here[:1] == "{":
                    values[here[1:-1]] = part
                elif here != part:
                    break
            else:
                return methods, values
        return {}, {}


async def _answer(
    door: Door, endpoint: AnyEndpoint, values: Mapping[str, Any], scope: HTTPScope, receive: Receive, flight: FlightRecord
) -> edge.Answer:
    flight.name = endpoint.route
    headers, query = reading.fields(scope["headers"]), scope["query_string"]
    return await door.answer(
        endpoint,
        edge.Request(
            method=scope["method"],
            path=scope["path"],
            query=query,
            headers=headers,
            path_values=values,
            read=partial(reading.received, receive, headers, door.max_body, door.body_seconds),
            peer=client[0] if (client := scope.get("client")) else "",
            certificate=certificate_of(scope),
            target=scope["raw_path"] + (b"?" + query if query else b""),
        ),
        flight,
    )


async def _send(answer: edge.Answer, send: Send) -> None:
    fields = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers.items()]
    if answer.status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": fields})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _http_refused(max_body: int, paths: Sequence[str], request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    """The framework's own refusals, in our words."""
    error: TillgateError
    if exc.status_code == 404:
        error = errors.NotFound(what="route", key=(path := request.scope["path"][:100]), instead=_nearest(path, paths))
    elif exc.status_code == 405:
        error = errors.MethodNotAllowed(method=request.method[:20], allowed=(exc.headers or {}).get("allow", "GET"))
    elif exc.status_code == 413:
        error = errors.BodyTooLarge(limit=max_body)
    elif exc.status_code < 500:
        error = errors.InvalidRequest(where="request", expected="a well-formed HTTP request", got=str(exc.detail)[:200])
    else:
        return _unexpected(request, exc)
    return problem(error)


def _nearest(path: str, paths: Sequence[str]) -> str:
    """Of the API's paths, by their words: a prefix such as /v1 or /api is no part of them."""
    words = path.lower().strip("/").split("/")[:8]
    near = [p for p in paths if (head := p.split("/")[1]) in words or difflib.get_close_matches(head, words, 1, 0.7)]
    return f"; there is {', '.join(near)}" if near else ""


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

    def __init__(self, app: ASGIApp, routes: Routes, door: Door, recorder: Recorder, most: int, proxies: Proxies) -> None:
        self._app = app
        self._routes = routes
        self._door = door
        self._recorder = recorder
        self._most = most
        self._proxies = proxies
        self._refusals: dict[tuple[str, str], str] = {}
        """By what there is too much of, and version: what is the same in all of them."""
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
            f"{_known(scope['method'])} {UNMATCHED}",
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
                if found := self._routes.find(scope):
                    await self._direct(*found, scope, receive, send_, flight)
                else:
                    if declared := self._routes.declared(scope["path"]):  # in another method, else the framework names it
                        flight.name = f"{_known(scope['method'])} {declared}"
                    await self._app(scope, receive, send_)
            finally:
                self.running -= 1

    async def _direct(
        self, endpoint: AnyEndpoint, values: Mapping[str, str], scope: HTTPScope, receive: Receive, send: Send, flight: FlightRecord
    ) -> None:
        try:
            answer = await _answer(self._door, endpoint, values, scope, receive, flight)
            if self._door.critical(endpoint.route, flight.channel):
                scope.setdefault("state", {})[CRITICAL] = True
        except TillgateError as exc:
            answer = self._door.problems.answer(exc, flight, None, flight.api_version, {})
        except Exception:  # a mistake of ours is logged, and answered without its text
            log.exception("unexpected error", path_template=endpoint.path)
            answer = self._door.problems.answer(TillgateError(), flight, None, flight.api_version, {})
        await _send(answer, send)

    def until_read(self) -> float:
        """See gateway.edge.pressure.Pressure."""
        return self._door.pressure.until_read()

    def at_once(self, head: bool, target: bytes, fields: Fields, peer: str, added: bytes) -> bytes | None:
        """A GET or HEAD without a body, as it stands in an HTTP/1.1 message, answered from stored bytes with the fields `added`; counted
        and remembered like every other request. None: the application is to be called.
        """
        began = monotonic_ns()
        found = self._door.at_once(target, fields)
        if found is None:
            return self._shed(head, target, fields.raw, peer, added) if self._door.pressure.tight else None
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
            answer = b"".join((b"HTTP/1.1 304 Not Modified\r\n", added, kept.head_unchanged, end))
        else:
            answer = b"".join((b"HTTP/1.1 200 OK\r\n", added, kept.head, end, b"" if head else kept.body))
        hold = self._door.pause(kept.route, principal)
        return Paced(answer, hold) if hold else answer

    def _shed(self, head: bool, target: bytes, fields: Sequence[tuple[bytes, bytes]], peer: str, added: bytes) -> Paced | None:
        """The refusal of a read for which there is no room, for a fraction of what its answer would cost: most are counted only."""
        began = monotonic_ns()
        found = self._routes.at(target.partition(b"?")[0].decode("latin-1"), "GET")
        refused = self._door.shed(found[0].route, fields) if found else None
        if found is None or refused is None:
            return None
        (error, principal, version), route, recorder = refused, found[0].route, self._recorder
        parents = [value for name, value in fields if name == b"traceparent"]
        if not parents and not recorder.head_share and recorder.passed(route, principal.channel, "", began, "rejected"):
            trace, span = getrandbits(128) or 1, getrandbits(64) or 1
            here, trace_id = format_traceparent(trace, span, RANDOM_ID), f"{trace:032x}"
        else:
            parent = parents[0].decode("ascii", "replace") if len(parents) == 1 else None
            with recorder.flight("request", route, parent=parent, trusted=self._proxies.trusts(peer)) as flight:
                flight.channel, flight.client = principal.channel, principal.name
                flight.failed(error)
                flight.set(status=error.status)
                here, trace_id = flight.traceparent, flight.trace_id
        form = self._refusals.get((error.policy, version))
        if form is None:
            form = self._refusals[error.policy, version] = _form(self._door.problems, error, version)
        said = form % (problems.headers(error)["retry-after"], here, here, "" if head else trace_id)
        line, _, written = said.encode("latin-1").partition(b"\r\n")
        if head:
            written = written[: written.index(b"\r\n\r\n") + 4]
        return Paced(line + b"\r\n" + added + written, min(HOLD, error.retry_after))


def _form(told: problems.Problems, error: errors.Overloaded, version: str) -> str:
    """An answer with such an error, but for Retry-After, the trace context (twice) and the trace id; all documents are of one length."""
    blank = "0" * 32
    answer = told.told(error, blank, version, {})
    fields = {**answer.headers, "content-length": str(len(answer.body))}
    del fields["retry-after"]
    said = "".join([f"{name}: {value}\r\n" for name, value in fields.items()]) + _SECURE_WRITTEN
    body = answer.body.decode().replace("%", "%%").replace(blank, "%s")
    line = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"
    return f"{line}\r\nretry-after: %s\r\ntraceresponse: %s\r\nserver-timing: trace;desc=%s\r\n{said}\r\n{body}"


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else OTHER_METHOD

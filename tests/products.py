"""The whole product on real sockets for a test: sandbox, gateway and keys, started together and stopped together.

    async with running(tmp_path) as live:                          # inside an async test
        answer = await live.http.get("/products/10000001", headers=live.auth("web"))
        live.sandbox.faults.add(Rule(system="erp", kind="refuse"))

    with threaded(tmp_path) as live: ...                           # for clients that block; `live.base` and `live.keys` are what they need

`live.product` has the books, the systems and the recorder; `live.keys` one key per channel, `operator` (admin scope) and `pinned`
(oldest version). Sku 10000001 and location 0001 exist. `change` edits the estate before it is built: `change=no_limits`.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

import httpx
import msgspec

from contracts.books import Client
from contracts.policy import Duration
from contracts.versions import HISTORY
from gateway.bootstrap import Checked, Product, check, pepper, product
from gateway.cli.serving import demo_keys, sandbox_environment, server
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.edge.protocol import BoundedProtocol
from gateway.estate import Estate, Quota, QuotaPolicy
from gateway.services.clock import Now, utc_now
from sandbox.server import Sandbox
from sandbox.server import start as start_sandbox

ROOT = Path(__file__).resolve().parents[1]
SKU, LOCATION, CUSTOMER = "10000001", "0001", "1000001"
EVERYTHING = tuple(SCOPES)


@dataclass
class Live:
    base: str
    """http://127.0.0.1:PORT"""
    product: Product
    sandbox: Sandbox
    keys: dict[str, str]
    http: httpx.AsyncClient = field(repr=False)
    """Speaks to the gateway; use it in the loop that runs the product only."""
    data: Path
    """The product's own folder."""

    def auth(self, who: str = "web") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"}

    async def sign_in(self, who: str, http: httpx.AsyncClient | None = None) -> httpx.Response:
        """To the console, as a browser does: the form with its cookie, then the key with what the form holds."""
        http = http or self.http
        form = re.search(r'name="csrf" value="([0-9a-f]+)"', (await http.get("/console/login")).text)
        assert form
        return await http.post("/console/login", data={"key": self.keys.get(who, who), "csrf": form[1]})

    async def client(
        self,
        name: str,
        scopes: Sequence[str] = EVERYTHING,
        *,
        channel: str = "web",
        version: str = HISTORY.newest.date,
        quota: str = "standard",
        stores: tuple[str, ...] = (),
        suspended: bool = False,
        expires_at: datetime | None = None,
    ) -> dict[str, str]:
        """A further client with a fresh key; answers its headers. Its key is also in `keys` under `name`."""
        books = self.product.books
        await books.clients.put(
            Client(
                name=name,
                channel=channel,
                scopes=tuple(scopes),
                api_version=version,
                quota=quota,
                stores=stores,
                suspended=suspended,
            )
        )
        self.keys[name], stored = new_key(name, await pepper(books), expires_at)
        await books.clients.add_key(stored)
        return self.auth(name)


def no_limits(estate: Estate) -> Estate:
    """Quotas that no test reaches, and systems that rest at no hour: tests run at night, too."""
    wide = Quota(policies=(QuotaPolicy(name="burst", requests=1_000_000, window=Duration(1)),))
    awake = {name: msgspec.structs.replace(system, batch_window="") for name, system in estate.system.items()}
    return msgspec.structs.replace(estate, quota=dict.fromkeys((*estate.quota, "anonymous"), wide), system=awake)


@cache
def reference() -> Checked:
    """The reference estate, read once per run."""
    return check(ROOT)


def nothing_published(estate: Estate) -> Estate:
    """Nothing is told to the tills: what it takes would be in all that a test counts of the systems."""
    kept = {name: operation for name, operation in estate.operation.items() if operation.mode != "outbound"}
    return msgspec.structs.replace(estate, operation=kept)


def own_estate(folder: Path) -> Path:
    """A copy of the reference estate that a test may change, with quotas that nobody reaches."""
    folder.mkdir()
    text = (ROOT / "estate.toml").read_text(encoding="utf-8")
    text = text.replace("requests = 100,", "requests = 100000,").replace("requests = 3000,", "requests = 1000000,")
    (folder / "estate.toml").write_text(text, encoding="utf-8")
    for part in ("contracts/systems", "mappings"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.py", "__pycache__", "language"))
    return folder


@asynccontextmanager
async def running(
    folder: Path,
    *,
    change: Callable[[Estate], Estate] = lambda e: e,
    work: bool = False,
    now: Now = utc_now,
    seed: int = 1,
    http: type[BoundedProtocol] = BoundedProtocol,
    root: Path | None = None,
    skus: int = 20_000,
    publish: bool = False,
    systems: Mapping[str, object] = MappingProxyType({}),
) -> AsyncIterator[Live]:
    """`work`: also the background loops (files, events, due processes). `now`: another clock for the product. `root`: of another estate
    than the reference one. `publish`: also what the tills are told, which asks the systems for all that they sell. `systems`: those that
    run elsewhere, as a sandbox describes them.
    """
    checked = await asyncio.to_thread(check, root) if root else await asyncio.to_thread(reference)
    checked = replace(checked, estate=change(checked.estate if publish else nothing_published(checked.estate)))
    sandbox = await start_sandbox(folder / "sandbox", seed, skus=skus)
    try:
        environment = sandbox_environment(sandbox.describe() | systems)
        async with product(checked, folder / "data", environment=environment, now=now) as built, _served(built, work, http) as base:
            keys = await demo_keys(built)
            # A context of its own: the one httpx makes reads the world's certificates, which takes longer than most tests.
            no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            async with httpx.AsyncClient(base_url=base, timeout=30, limits=httpx.Limits(max_connections=None), verify=no_tls) as speaker:
                yield Live(base, built, sandbox, keys, speaker, folder / "data")
    finally:
        await sandbox.stop()


@asynccontextmanager
async def _served(built: Product, work: bool, protocol: type[BoundedProtocol]) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio leaves it to whoever made the socket; uvloop does it
        http = server(built)
        http.config.http = protocol
        serving = asyncio.create_task(http._serve([listening]))  # without uvicorn's hold on the test run's signals
        jobs = asyncio.create_task(built.work()) if work else None
        try:
            while not http.started:  # uvicorn offers no event for it
                if serving.done():
                    serving.result()
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            built.stop.set()
            http.should_exit = http.force_exit = True
            await serving
            if jobs is not None:
                await jobs


@contextmanager
def threaded(folder: Path, *, change: Callable[[Estate], Estate] = no_limits, work: bool = False) -> Iterator[Live]:
    """The same in a loop of its own, for a client that blocks. Raises what the start raised."""
    started = threading.Event()
    found: list[Live] = []
    failed: list[BaseException] = []

    async def main() -> None:
        stop = asyncio.Event()
        async with running(folder, change=change, work=work) as live:
            found.append(live)
            letting_go.append(lambda: loop.call_soon_threadsafe(stop.set))
            loop = asyncio.get_running_loop()
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as exc:  # told to the test, in its own thread
            failed.append(exc)
        finally:
            started.set()

    letting_go: list[Callable[[], object]] = []
    thread = threading.Thread(target=run, name="product", daemon=True)
    thread.start()
    started.wait(60)
    if failed:
        raise failed[0]
    try:
        yield found[0]
    finally:
        letting_go[0]()
        thread.join(30)
    if failed:
        raise failed[0]

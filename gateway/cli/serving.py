"""`tillgate serve`, `work` and `demo`: the running gateway, alone or together with the sandbox."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
import uvicorn
import uvloop
from watchfiles import awatch

from contracts.books import Client
from contracts.errors import StoreUnavailable
from contracts.versions import HISTORY
from gateway.cli.settings import DEMO, Settings
from gateway.edge.handshake import Handshakes
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.edge.peer import Proxies
from gateway.edge.protocol import BoundedProtocol, EdgeConfig
from gateway.estate import CHANNELS, Estate, resolve
from observability import get_logger
from observability.logs import configure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.bootstrap import Product

T = TypeVar("T")

log = get_logger(__name__)

GRACE_SECONDS = 15
PATIENCE = 60.0
"""Seconds that a worker waits for a store that is away when it starts: one that is set up together with it, or comes back."""
LOCK = "lock"
SWITCH = 0.0003
"""Seconds after which the loop's thread lets another have the interpreter: a transaction asks for it many times."""
GARBAGE = 1_000, 10, 100
"""Objects between two looks for garbage, and looks between two wider ones: each holds up every request, and most of ours ends without."""
DEMO_CLIENTS = {name: f"demo-{name.replace('_', '-')}" for name in CHANNELS}


class Server(uvicorn.Server):
    """Readiness goes off first, so that a balancer sends nobody new; for as long as the estate's `drain` says everything is answered still,
    each answer being the last of its connection. Then running requests end. A second signal ends the wait.
    """

    def __init__(self, config: uvicorn.Config, product: Product) -> None:
        super().__init__(config)
        self._product = product
        self._draining: tuple[float, int] | None = None
        """Until when, and for which signal."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's. With TLS a connection is counted from its first packet on, and its handshake has as long as a head."""
        config = self.config
        if config.ssl is None or sockets is None:
            await super().startup(sockets)
            return
        kind: Any = config.http_protocol_class
        await self.lifespan.startup()

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)
            return made

        bounds: dict[str, Any] = {"seconds": kind.head_seconds, "most": config.limit_concurrency}
        if isinstance(config, EdgeConfig):
            bounds |= {"per_address": config.per_address, "exempt": config.exempt}
        self.servers = [Handshakes(sockets, config.ssl, protocol, **bounds)]  # type: ignore[list-item]  # what uvicorn asks of a server
        self.started = True

    def handle_exit(self, sig: int, frame: Any) -> None:
        first, self._product.accepting = self._product.accepting, False
        drain = self._product.checked.estate.edge.drain
        if first and drain:
            self._draining = time.monotonic() + drain, sig
            return
        self._draining = None
        self._product.stop.set()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._draining is not None and time.monotonic() >= self._draining[0]:
            self.handle_exit(self._draining[1], None)
        return await super().on_tick(counter)


def server(product: Product) -> Server:
    estate, tls = product.checked.estate, product.tls
    config = EdgeConfig(
        product.app,
        http=BoundedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        limit_concurrency=estate.edge.max_connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=65_536,
        ssl_context_factory=(lambda config, default: tls.context) if tls else None,
    )
    config.per_address = estate.edge.max_connections_per_address
    config.exempt = Proxies(estate.edge.trusted_proxies).trusts
    return Server(config, product)


def place(estate: Estate, host: str | None, port: int | None, environment: Mapping[str, str]) -> tuple[str, int]:
    return host or resolve(estate.edge.host, environment), estate.edge.port if port is None else port


@click.command("serve")
@click.option("--host", default=None, help="Default: the estate's.")
@click.option("--port", type=int, default=None, help="Default: the estate's; 0: any free one.")
@click.option("--no-work", is_flag=True, help="Only answer requests; processes, files and events are done by `tillgate work`.")
@click.option("--watch", is_flag=True, help="Read the estate again whenever one of its files changes, as `tillgate reload` does.")
@click.pass_obj
def serve(settings: Settings, host: str | None, port: int | None, no_work: bool, watch: bool) -> None:
    """Answer requests and do the background work until SIGTERM or Ctrl-C. SIGHUP: read the estate again."""
    configure()
    uvloop.run(_serve(settings, host, port, work=not no_work, watch=watch))


async def _serve(settings: Settings, host: str | None, port: int | None, *, work: bool, watch: bool) -> None:
    from gateway.bootstrap import check, product

    checked = await asyncio.to_thread(check, settings.estate)
    with listening(*place(checked.estate, host, port, os.environ)) as door:
        async with product(checked, settings.data) as running:
            await run(running, door, work=work, watch=watch)


def listening(host: str, port: int) -> socket.socket:
    """Taken before anything else is done, so that a second start disturbs nobody."""
    try:
        door = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    except OSError as exc:
        raise click.ClickException(f"cannot listen on {host}:{port}: {exc.strerror}; choose another with --port (0: any free one)") from exc
    door.set_inheritable(False)
    return door


Started = asyncio.Future[str]


async def run(running: Product, door: socket.socket, *, work: bool = True, started: Started | None = None, watch: bool = False) -> None:
    """The server and the workers, until one of the signals or the product's own `stop`. `started` is given the address."""
    http = server(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.reload_soon)
    jobs = asyncio.create_task(running.work(), name="work") if work else None
    beside = [_announce(http, started), _end(http, running.stop), *(_watched(running) if watch else ())]
    notices = [asyncio.create_task(each) for each in beside]
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()  # what is there now stays: looking through it again would hold up every request for a tenth of a second
    gc.set_threshold(*GARBAGE)
    try:
        await http.serve(sockets=[door])
    finally:
        for notice in notices:
            notice.cancel()
        running.stop.set()
        if jobs is not None:
            await asyncio.wait({jobs}, timeout=GRACE_SECONDS)
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)


def _watched(running: Product) -> Iterator[Coroutine[Any, Any, None]]:
    """The estate file by its folder, since editors replace files; contracts and mappings with all below. A second of edits is one."""
    root = running.checked.root
    folders = {root / Path(path).parts[0] for path in running.checked.digests if len(Path(path).parts) > 1}

    async def follow(*places: Path, recursive: bool, only: Callable[[str], bool]) -> None:
        changes = awatch(
            *places, watch_filter=lambda _, path: only(path), recursive=recursive, debounce=1000, step=200, stop_event=running.stop
        )
        async for _ in changes:
            await running.reload()

    yield follow(root, recursive=False, only=lambda path: path.endswith(".toml"))
    yield follow(*folders, recursive=True, only=lambda path: "__pycache__" not in path)


async def _end(http: Server, stop: asyncio.Event) -> None:
    await stop.wait()
    http.should_exit = True


async def _announce(http: Server, started: Started | None) -> None:
    while not http.started:  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.02)
    host, port = http.servers[0].sockets[0].getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    base = f"{'https' if http.config.is_ssl else 'http'}://{host}:{port}"
    if started is None:
        click.echo(f"listening on {base}", err=True)
    elif not started.done():
        started.set_result(base)


@click.command("work")
@click.pass_obj
def work(settings: Settings) -> None:
    """Only the background work: due processes, files, events. Many may run; leases keep each job single."""
    configure()
    uvloop.run(_work(settings))


async def _work(settings: Settings) -> None:
    from gateway.bootstrap import check, product

    checked = await asyncio.to_thread(check, settings.estate)
    async with AsyncExitStack() as stack:
        running = await with_store(stack, lambda: product(checked, settings.data))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.stop.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.reload_soon)
        await running.work()


async def with_store(
    stack: AsyncExitStack, made: Callable[[], AbstractAsyncContextManager[T]], patience: float = PATIENCE, pause: float = 2.0
) -> T:
    """Enters what needs the store, once that answers. Raises StoreUnavailable when it still does not after so many seconds."""
    ends = time.monotonic() + patience
    while True:
        try:
            return await stack.enter_async_context(made())
        except StoreUnavailable as error:
            left = ends - time.monotonic()
            if left <= 0:
                raise
            log.warning("the store is away, it is tried again", reason=str(error)[:300], seconds_left=round(left))
            await asyncio.sleep(min(pause, left))


# ---- the demo -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def sandbox(root: Path, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """The legacy estate as a child process that ends with us; answers its addresses and sample credentials."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        "--root",
        str(root),
        "--json",
        "--with-parent",
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to handle: the gateway ends first
    )
    if child.stdout is None or child.stdin is None:
        raise RuntimeError("the sandbox has no pipes")
    try:
        async with asyncio.timeout(30):
            line = await child.stdout.readline()
        if not line:
            raise click.ClickException("the sandbox did not start; see the lines above")
        yield json.loads(line)
    finally:
        child.stdin.close()
        try:
            async with asyncio.timeout(5):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def sandbox_environment(found: Mapping[str, Any]) -> dict[str, str]:
    """What the reference estate refers to by env:NAME."""
    return {
        "TILLGATE_ERP_URL": found["erp"]["url"],
        "TILLGATE_ERP_USER": found["erp"]["user"],
        "TILLGATE_ERP_PASSWORD": found["erp"]["password"],
        "TILLGATE_OMS_URL": found["oms"]["url"],
        "TILLGATE_OMS_KEY": found["oms"]["key"],
        "TILLGATE_POS_INBOX": found["pos"]["inbox"],
        "TILLGATE_POS_CHANGES": found["pos"]["changes"],
    }


async def demo_keys(running: Product) -> dict[str, str]:
    """A fresh key per channel, one for operators, and one of a client that is pinned to the oldest version."""
    from gateway.bootstrap import pepper

    secret = await pepper(running.books)
    wanted = {
        name: Client(
            name=client,
            channel=name,
            scopes=tuple(s for s in SCOPES if not s.startswith("admin:")),
            api_version=HISTORY.newest.date,
        )
        for name, client in DEMO_CLIENTS.items()
    }
    wanted["operator"] = Client(
        name="demo-operator", channel="store", scopes=("admin:read", "admin:write", "customers:read"), api_version=HISTORY.newest.date
    )
    wanted["pinned"] = Client(
        name="demo-pinned",
        channel="web",
        scopes=("catalogue:read", "inventory:read"),
        api_version=HISTORY.versions[-1].date,
    )
    keys = {}
    for name, client in wanted.items():
        await running.books.clients.put(client)
        await running.books.clients.expire_keys(client.name, datetime.now(UTC))
        keys[name], stored = new_key(client.name, secret)
        await running.books.clients.add_key(stored)
    return keys


@click.command("demo")
@click.option("--port", type=int, default=None, help="Default: the estate's (8080); 0: any free one.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another sample company.")
@click.pass_obj
def demo(settings: Settings, port: int | None, seed: int) -> None:
    """Start the sandbox and the gateway with workers and console, print addresses and keys, stop on Ctrl-C."""
    configure(level="warning")
    uvloop.run(_demo(settings, port, seed))


async def _demo(settings: Settings, port: int | None, seed: int) -> None:
    from gateway.bootstrap import check, product

    data = settings.data / DEMO
    with ExitStack() as held:
        held.enter_context(alone(data))
        checked = await asyncio.to_thread(check, settings.estate)
        door = held.enter_context(listening(*place(checked.estate, None, port, os.environ)))
        await asyncio.to_thread(_forget, data)
        async with sandbox(data / "sandbox", "--seed", str(seed)) as found:
            environment = {**os.environ, **sandbox_environment(found)}
            async with product(checked, data, environment=environment) as running:
                keys = await demo_keys(running)
                running.offer(keys["web"])
                started: Started = asyncio.get_running_loop().create_future()
                task = asyncio.create_task(run(running, door, started=started))
                waited: set[asyncio.Future[Any]] = {task, started}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if started.done():
                    click.echo(_welcome(started.result(), keys, found))
                await task


def _forget(folder: Path) -> None:
    """The sandbox begins anew with each start; a gateway that remembered more than it would not agree with its books."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One demo per folder: a second one would take the first one's books away."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise click.ClickException(f"a demo runs already in {folder}; stop it, or name another folder: ./run --data DIR demo") from exc
        yield


def _welcome(base: str, keys: Mapping[str, str], found: Mapping[str, Any]) -> str:
    lines = [
        "",
        f"  API       {base}          reference {base}/docs",
        f"  Console   {base}/console  sign in with the operator key",
        f"  Sandbox   {found['control']}  ERP {found['erp']['wsdl']}",
        f"            OMS {found['oms']['openapi']}  tills {found['pos']['inbox']}",
        "",
        *(f"  {name:12} {key}" for name, key in keys.items()),
        "",
        f"  export KEY={keys['web']}",
        f'  curl -s -H "Authorization: Bearer $KEY" {base}/products/10000001',
        f'  curl -s -H "Authorization: Bearer $KEY" "{base}/prices?sku=10000001&location=0001"',
        f'  curl -s -H "Authorization: Bearer $KEY" "{base}/inventory?sku=10000001&location=0001&explain=true"',
        "",
        "  Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)


COMMANDS: list[click.Command] = [serve, work, demo]

"""The running product: which generation answers, how the next one takes over, and what goes on beside."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from litestar.types import ASGIApp, Receive, Scope, Send

from adapters.driver import Connection
from adapters.recording import Captures
from adapters.switchboard import Switchboard
from contracts.books import Books
from contracts.call import Call
from contracts.errors import Findings, StoreUnavailable, TillgateError, UpstreamError
from gateway.api.admin import Reloaded
from gateway.bootstrap.building import Generation, build
from gateway.bootstrap.checking import Checked, check
from gateway.bootstrap.foundation import VERSION, Foundation, foundation, needs_restart, own_tls
from gateway.bootstrap.systems import missing
from gateway.bootstrap.watching import differences, watching
from gateway.edge.pressure import Pressure
from gateway.edge.protocol import GONE
from gateway.edge.stored import Fields
from gateway.edge.tls import ServerTls
from gateway.estate import Estate
from gateway.services.catalogue import Zones
from gateway.services.clock import Now, utc_now
from gateway.services.evidence import CHANGED, RELEASED
from gateway.services.incidents import Detective
from gateway.services.intake.intake import Intake
from gateway.services.order_process import OrderProcess
from gateway.services.relay import Relay, Subscribers
from gateway.services.services import Services
from gateway.worker import supervised, wait
from observability import Recorder, get_logger
from observability.ring import Ring

log = get_logger(__name__)


class Product:
    """A running gateway: `app` answers requests, `work` does what has no caller, `reload` reads the estate again."""

    def __init__(self, base: Foundation) -> None:
        self._base = base
        self._generations: list[Generation] = []
        """The last one answers; those before it end what they have begun."""
        self._retiring: set[asyncio.Task[None]] = set()
        self._working: asyncio.TaskGroup | None = None
        self._reloading = asyncio.Lock()
        self._coming: asyncio.Task[Reloaded] | None = None
        self.last_reload: Reloaded | None = None
        self.stop = asyncio.Event()
        self.accepting = True
        self._started_with: Estate | None = None

    # ---- what it is made of now

    @property
    def current(self) -> Generation:
        return self._generations[-1]

    @property
    def generation(self) -> int:
        return self.current.number

    @property
    def checked(self) -> Checked:
        return self.current.checked

    @property
    def systems(self) -> Switchboard:
        return self.current.wiring.switchboard

    @property
    def services(self) -> Services:
        return self.current.services

    @property
    def process(self) -> OrderProcess:
        return self.current.process

    @property
    def intakes(self) -> tuple[Intake, ...]:
        return self.current.intakes

    @property
    def books(self) -> Books:
        return self._base.books

    def offer(self, key: str) -> None:
        """Shows a key to everybody who reads the reference: for a demo on one machine."""
        self._base.offered = key

    @property
    def recorder(self) -> Recorder:
        return self._base.recorder

    @property
    def ring(self) -> Ring:
        return self._base.ring

    @property
    def zones(self) -> Zones:
        return self._base.zones

    @property
    def subscribers(self) -> Subscribers:
        return self._base.subscribers

    @property
    def relay(self) -> Relay:
        return self._base.relay

    @property
    def tls(self) -> ServerTls | None:
        return self._base.tls

    @property
    def now(self) -> Now:
        return self._base.now

    # ---- answering

    @property
    def app(self) -> ASGIApp:
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        generation = self.current
        generation.requests += 1
        try:
            await generation.app(scope, receive, send)
        except asyncio.CancelledError as exc:
            if GONE not in exc.args:
                raise
        finally:
            generation.requests -= 1
            if not generation.requests:
                generation.idle.set()

    def at_once(self, head: bool, target: bytes, fields: Fields, peer: str, added: bytes) -> bytes | None:
        """See gateway.app.Flights: it waits for nothing, so that the generation that began it has ended it."""
        return self.current.app.at_once(head, target, fields, peer, added)

    def until_read(self) -> float:
        """See gateway.edge.pressure.Pressure."""
        return self.current.app.until_read()

    async def ready(self) -> dict[str, str]:
        if not self.accepting:
            raise StoreUnavailable(reason="shutting down")
        await self.books.check()
        refused = self.last_reload is not None and not self.last_reload.applied
        return {"status": "ready", "estate": "refused, the one before serves"} if refused else {"status": "ready"}

    @property
    def pressure(self) -> Pressure:
        return self._base.pressure

    @property
    def detective(self) -> Detective:
        return self._base.detective

    @property
    def captures(self) -> Captures:
        return self._base.captures

    @property
    def recordable(self) -> frozenset[str]:
        return frozenset(self.current.wiring.held)

    def notices(self) -> Sequence[str]:
        recording = (
            f"Exchanges with {c.system} are being recorded: {c.taken} of at most {c.most} so far, {c.missed} missed."
            for c in self.captures.running.values()
        )
        return (*self._told_of_reload(), *self.current.quotas.notices(), *recording)

    def _told_of_reload(self) -> Sequence[str]:
        last = self.last_reload
        if last is None:
            return ()
        at = f"{last.at:%Y-%m-%d %H:%M:%S} UTC"
        if not last.applied:
            return (f"The estate was changed and refused at {at}; generation {self.generation} serves on.", *last.findings)
        return (f"Waiting for a restart since {at}: {', '.join(last.restart)}.",) if last.restart else ()

    # ---- working

    async def work(self) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as group:
            self._working = group
            group.create_task(supervised("relay", self.relay.run, self.stop), name="relay")
            group.create_task(supervised("webhooks", self._base.courier.run, self.stop), name="webhooks")
            group.create_task(supervised("zones", self._learn_zones, self.stop), name="zones")
            group.create_task(supervised("incidents", self._watch, self.stop), name="incidents")
            self._put_to_work(self.current)
            await self.stop.wait()
            self._working = None
            for generation in self._generations:
                generation.stop.set()

    async def _watch(self, stop: asyncio.Event) -> None:
        began = self.now().isoformat().encode()
        if await self.books.meta.put_if_absent(f"release.{VERSION}", began) == began:
            await self._base.audit.changed("tillgate", RELEASED, VERSION)
        await self.detective.run(stop)

    def _put_to_work(self, generation: Generation) -> None:
        if self._working is not None:
            generation.jobs = self._working.create_task(generation.work(), name=f"work {generation.number}")

    async def _learn_zones(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.zones.load(self.services.catalogue, self.task())
            except UpstreamError as error:
                log.info("locations unknown", reason=str(error)[:200])
            await wait(stop, 600 if self.zones.known else 1)

    def task(self, seconds: float = 10.0) -> Call:
        """A call of the gateway itself."""
        return Call(channel="store", client="tillgate", deadline=asyncio.get_running_loop().time() + seconds)

    # ---- changing

    async def reload(self) -> Reloaded:
        """See gateway.api.admin.Controls. Never raises: what is wrong with the new estate is in the findings."""
        return await asyncio.shield(self.reload_soon())  # who asked may go away

    def reload_soon(self) -> asyncio.Task[Reloaded]:
        """Signals that come together cause one reading."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._reload(), name="reload")
        return self._coming

    async def _reload(self) -> Reloaded:
        async with self._reloading:
            self._coming = None  # from here on the files are being read: who comes later asks for a reading of their own
            old = self.current
            findings: tuple[str, ...] = ()
            try:
                await self._replace(old)
            except Findings as exc:
                findings = tuple(map(str, exc.findings))
            except (TillgateError, LookupError, OSError, ValueError) as exc:
                findings = (str(exc.args[0] if isinstance(exc, LookupError) else exc),)
            except Exception as exc:
                log.exception("reload failed")
                findings = (f"{type(exc).__name__}: {exc}",)
            restart = needs_restart(self._started_with, self.checked.estate) if self._started_with else ()
            self.last_reload = told = Reloaded(
                applied=not findings, at=self.now(), generation=self.generation, findings=findings, restart=restart
            )
            if findings:
                log.error("the new estate is refused, the old one serves on", generation=self.generation, findings=list(findings))
            else:
                log.info("the new estate serves", generation=self.generation, waits_for_restart=list(restart))
            return told

    async def _replace(self, old: Generation) -> None:
        checked = await asyncio.to_thread(check, old.checked.root)
        _complete(checked, self._base.environment)
        tls = await own_tls(checked.estate, self._base.environment)
        self.take(await build(checked, self._base, self, old))
        for what, detail in differences(old.checked, checked):
            await self._base.audit.changed("tillgate", CHANGED, what, detail)
        if tls is not None and self._base.tls is not None:
            self._base.tls.renew(tls)
        task = asyncio.create_task(self._retire(old, old.patience), name=f"retire {old.number}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def take(self, generation: Generation) -> None:
        """It answers from now on."""
        self._started_with = self._started_with or generation.checked.estate
        self._generations.append(generation)
        edge = generation.checked.estate.edge
        self._base.pressure.set(edge.max_requests, edge.max_waiting)
        self.recorder.objectives = {name: float(route.objective.p99) for name, route in generation.checked.estate.route.items()}
        self.detective.witness.estate = watching(generation.checked, generation.wiring)
        self.recorder.deadlines = {name: float(route.deadline) for name, route in generation.checked.estate.route.items()}
        self._put_to_work(generation)

    async def _retire(self, generation: Generation, patience: float) -> None:
        try:
            await generation.retire(self._generations, patience)
        except Exception:
            log.exception("an old estate did not close", generation=generation.number)
        finally:
            with suppress(ValueError):
                self._generations.remove(generation)

    async def close(self) -> None:
        """At once what is retiring, then the one that answers."""
        if self._coming is not None:
            await asyncio.gather(self._coming, return_exceptions=True)
        async with self._reloading:
            for task in self._retiring:
                task.cancel()
            await asyncio.gather(*self._retiring, return_exceptions=True)
            while self._generations:
                await self._retire(self.current, 5)


def _complete(checked: Checked, environment: Mapping[str, str]) -> None:
    if unset := missing(checked, environment):
        raise LookupError(f"the estate refers to environment variables that are not set: {', '.join(unset)}")


@asynccontextmanager
async def product(
    checked: Checked,
    data: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    now: Now = utc_now,
    connections: Mapping[str, Connection] | None = None,
    recording: type[Recorder] = Recorder,
) -> AsyncIterator[Product]:
    """Builds every part, starts it, and closes it in reverse order. `connections`: other ones for some systems (tests); `recording`:
    another way to remember flights (what it costs is measured against one that does not).
    """
    _complete(checked, environment)
    async with foundation(checked.estate, data, environment, now, connections or {}, recording) as base:
        running = Product(base)
        running.take(await build(checked, base, running))
        try:
            try:
                await base.zones.load(running.services.catalogue, running.task(2.0))
            except UpstreamError as error:
                log.warning("locations unknown at start", reason=str(error)[:200])
            yield running
        finally:
            await running.close()

"""A checked estate is built into a running product, and closed in reverse order."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from litestar.types import ASGIApp

from adapters.broker.driver import RabbitPublisher
from adapters.broker.spec import BrokerOptions
from adapters.drift import Drift
from adapters.driver import Connection
from adapters.files import spec as files_spec
from adapters.files.driver import FileContract, FileFeed
from adapters.guard import Bulkhead, Guard, GuardState, RetryBudget
from adapters.operation import Operation as WiredOperation
from adapters.rest import driver as rest
from adapters.rest.contract import RestContract
from adapters.soap import driver as soap
from adapters.soap.contract import SoapContract
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from adapters.switchboard import Route, Switchboard
from contracts.books import Books
from contracts.call import Call
from contracts.errors import StoreUnavailable, UpstreamError
from contracts.ports import CAPABILITIES, Publisher
from contracts.versions import HISTORY
from gateway import estate as estates
from gateway.api import ENDPOINTS
from gateway.api import console as console_pages
from gateway.app import application
from gateway.bootstrap.checking import Checked
from gateway.edge import openapi, problems
from gateway.edge.auth import Authenticator
from gateway.edge.door import Door
from gateway.edge.quota import Limit, Quotas
from gateway.estate import Estate, Events, System
from gateway.services.availability import AvailabilityReader
from gateway.services.catalogue import Catalogue, Zones
from gateway.services.clock import Now, utc_now
from gateway.services.intake import Intake
from gateway.services.order_process import OrderProcess, Rules
from gateway.services.orders import Orders
from gateway.services.overview import GuardFacts, OperationFacts, Overview, SystemFacts
from gateway.services.relay import Relay, Subscribers, announced
from gateway.services.reservations import Reservations
from gateway.services.services import Services
from gateway.worker import Loop, housekeeping, supervised, wait
from mappings.language import CompiledMapping
from observability import Recorder, get_logger
from observability.console import portal
from observability.export import Otlp
from observability.metrics import Reading, exposition
from observability.recorder import Sink
from observability.ring import Ring
from observability.spans import resource

log = get_logger(__name__)

VERSION = "0.1.0"


def trace_folder(data: Path) -> Path:
    return data / "traces"


def store_options(estate: Estate, data: Path, environment: Mapping[str, str]) -> StoreOptions:
    url = estates.resolve(estate.store.url, environment)
    if url.startswith("sqlite:") and not url.startswith("sqlite:///"):
        url = f"sqlite:///{(data / url.removeprefix('sqlite:')).absolute()}"
    try:
        return StoreOptions(
            url=url, connections=estate.store.connections, statement_cache=estate.store.statement_cache, source=_source(estate)
        )
    except ValueError as exc:
        raise LookupError(f"[store] url: {exc}") from exc


def _source(estate: Estate) -> str:
    """CloudEvents `source`."""
    return f"/tillgate/{estate.estate.name}"


def _broker(events: Events, environment: Mapping[str, str]) -> BrokerOptions:
    url = estates.resolve(events.rabbitmq or "", environment)
    try:
        return BrokerOptions(url=url, exchange=events.exchange, unroutable=events.unroutable, tls=_resolved(events.tls, environment))
    except ValueError as exc:
        raise LookupError(f"[events] rabbitmq: {exc}") from exc


@asynccontextmanager
async def open_books(root: Path, data: Path, environment: Mapping[str, str] = os.environ) -> AsyncIterator[Books]:
    """The store alone, for commands."""
    estate, _ = estates.read(root)
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    books = open_store(store_options(estate, data, environment))
    await books.start()
    try:
        yield books
    finally:
        await books.close()


async def pepper(books: Books) -> bytes:
    """The secret in the hashes of API keys; made once per store."""
    return await books.meta.put_if_absent("pepper", secrets.token_bytes(32))


@dataclass
class Product:
    """A running gateway: `app` answers requests, `work` does what has no caller."""

    checked: Checked
    app: ASGIApp
    books: Books
    systems: Switchboard
    services: Services
    recorder: Recorder
    ring: Ring
    process: OrderProcess
    zones: Zones
    intakes: tuple[Intake, ...]
    subscribers: Subscribers
    relay: Relay
    now: Now
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = True

    async def work(self) -> None:
        """Until `stop`. Each loop is restarted when it fails."""
        retention = timedelta(seconds=self.checked.estate.edge.idempotency_retention)
        loops: list[tuple[str, Loop]] = [
            (job.name, job.run) for job in housekeeping(self.books, self.process, self.services.reservations, retention, self.now)
        ]
        loops.append(("zones", self._learn_zones))
        loops.append(("relay", self.relay.run))
        loops.extend((f"intake {intake.feed}", intake.run) for intake in self.intakes)
        async with asyncio.TaskGroup() as group:
            for name, loop in loops:
                group.create_task(supervised(name, loop, self.stop), name=name)

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


@asynccontextmanager
async def product(
    checked: Checked,
    data: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    now: Now = utc_now,
    connections: Mapping[str, Connection] | None = None,
) -> AsyncIterator[Product]:
    """Builds every part, starts it, and closes it in reverse order. `connections`: other ones for some systems (tests)."""
    estate = checked.estate
    if unset := missing(checked, environment):
        raise LookupError(f"the estate refers to environment variables that are not set: {', '.join(unset)}")
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
        nudge = asyncio.Event()
        books = announced(open_store(store_options(estate, data, environment)), nudge)
        await books.start()
        stack.push_async_callback(books.close)

        ring = Ring(trace_folder(data), max_age_s=estate.telemetry.keep_for, max_bytes=estate.telemetry.keep_bytes)
        ring.start()
        sinks: list[Sink] = [ring]
        if estate.telemetry.otlp:
            endpoint = estates.resolve(estate.telemetry.otlp, environment).rstrip("/") + "/v1/traces"
            sinks.append(Otlp.over_http(endpoint, resource(VERSION, secrets.token_hex(8))))
        objectives = {name: float(route.objective.p99) for name, route in estate.route.items()}
        recorder = Recorder(sinks=sinks, objectives=objectives)
        stack.push_async_callback(recorder.close)

        zones = Zones()
        switchboard = await _switchboard(checked, environment, dict(connections or {}), zones, stack)
        catalogue = Catalogue(switchboard, now)
        availability = AvailabilityReader(switchboard, books, {n: c.safety_stock for n, c in estate.channel.items()}, now)
        rules = Rules(estate.orders.settle, estate.orders.retry, estate.orders.retry_max, estate.orders.attempts)
        process = OrderProcess(switchboard, books, availability, recorder, _source(estate), rules, now)
        stack.push_async_callback(process.close)
        services = Services(
            catalogue=catalogue,
            availability=availability,
            reservations=Reservations(availability, books, _source(estate), now),
            orders=Orders(switchboard, books, process, now),
            books=books,
        )
        subscribers = Subscribers()
        publishers: list[Publisher] = [subscribers]
        if estate.events.rabbitmq:
            broker = RabbitPublisher(_broker(estate.events, environment))
            await broker.start()
            stack.push_async_callback(broker.close)
            publishers.append(broker)
        relay = Relay(books.outbox, publishers, recorder, process.owner, now, nudge=nudge)
        intakes: list[Intake] = []
        drifts: dict[str, Drift] = {}
        for feed, mapping in _feeds(checked, environment):
            await feed.start()
            stack.push_async_callback(feed.close)
            drift = drifts[f"{feed.system}.{feed.name}"] = Drift()
            intakes.append(
                Intake(
                    feed, mapping, books, recorder, zones, _source(estate), now=now, owner=f"{process.owner} {feed.name}", drift=drift.count
                )
            )

        secret = await pepper(books)
        authenticator = Authenticator(books, secret)
        overview = Overview(_facts(checked, switchboard, drifts), books, recorder, ring)
        running: Product

        async def ready() -> None:
            if not running.ready:
                raise StoreUnavailable(reason="shutting down")
            await books.check()

        app = _application(checked, books, authenticator, services, recorder, switchboard, overview, secret, ready, now)
        running = Product(
            checked=checked,
            app=app,
            books=books,
            systems=switchboard,
            services=services,
            recorder=recorder,
            ring=ring,
            process=process,
            zones=zones,
            intakes=tuple(intakes),
            subscribers=subscribers,
            relay=relay,
            now=now,
        )
        try:
            await zones.load(catalogue, running.task(2.0))
        except UpstreamError as error:
            log.warning("locations unknown at start", reason=str(error)[:200])
        yield running


async def _switchboard(
    checked: Checked, environment: Mapping[str, str], connections: dict[str, Connection], zones: Zones, stack: AsyncExitStack
) -> Switchboard:
    estate = checked.estate
    shared: dict[str, tuple[RetryBudget, Bulkhead]] = {}
    for name, system in estate.system.items():
        if system.protocol == "files":
            continue
        shared[name] = RetryBudget(), Bulkhead(system.concurrency, 8 * system.concurrency)
        if name not in connections:
            connections[name] = _connect(name, system, checked, environment)
        await connections[name].start()
        stack.push_async_callback(connections[name].close)
    operations: dict[str, WiredOperation] = {}
    for full, declared in estate.operation.items():
        system_name, _, short = full.partition(".")
        if declared.mode == "file":
            continue
        capability = CAPABILITIES[declared.provides]
        budget, bulkhead = shared[system_name]
        guard = Guard(system_name, short, declared.policy, writes=capability.writes, budget=budget, shared=bulkhead)
        operations[full] = WiredOperation(
            system=system_name,
            name=short,
            capability=capability,
            connection=connections[system_name],
            guard=guard,
            request=checked.mappings.get(declared.request),
            answer=checked.mappings.get(declared.answer),
            policy=declared.policy,
            call=declared.calls or short,
            zone_of=zones.of,
        )
    routes = []
    for name in dict.fromkeys(o.capability.name for o in operations.values()):
        rule = estate.capability.get(name)
        names = rule.operations if rule else tuple(n for n, o in operations.items() if o.capability.name == name)
        chosen = tuple(operations[n] for n in names)
        routes.append(Route(CAPABILITIES[name], chosen, rule.combine if rule else "first", rule.partial if rule else False))
    switchboard = Switchboard(routes)
    stack.push_async_callback(switchboard.close)
    return switchboard


def _feeds(checked: Checked, environment: Mapping[str, str]) -> Iterator[tuple[FileFeed, CompiledMapping]]:
    for full, declared in checked.estate.operation.items():
        contract = checked.contracts.get(full)
        if declared.mode == "file" and isinstance(contract, FileContract):
            system, _, feed = full.partition(".")
            inbox = estates.resolve(checked.estate.system[system].endpoint, environment)
            yield FileFeed(system, feed, contract, files_spec.options(inbox, declared.feed)), checked.mappings[declared.answer]


def _connect(name: str, system: System, checked: Checked, environment: Mapping[str, str]) -> Connection:
    """Raises LookupError for a reference that leads nowhere."""
    options = _resolved(checked.options[name], environment)
    endpoint = estates.resolve(system.endpoint, environment)
    contract = checked.contracts[name]
    if isinstance(contract, SoapContract):
        return soap.SoapConnection(name, contract, endpoint, options, connections=system.concurrency)
    if isinstance(contract, RestContract):
        return rest.RestConnection(name, endpoint, contract, options, connections=system.concurrency)
    raise LookupError(f"system {name}: {system.protocol} systems are not called")


def missing(checked: Checked, environment: Mapping[str, str]) -> list[str]:
    """Every env:NAME of the estate that is not set and has no default, so that all can be named at once."""
    estate = checked.estate
    texts = [
        estate.store.url,
        estate.events.rabbitmq,
        estate.telemetry.otlp,
        estate.edge.host,
        *(s.endpoint for s in estate.system.values()),
    ]
    references = {t for t in [*texts, *_texts(list(checked.options.values()))] if t and t.startswith("env:") and "|" not in t}
    return sorted(r[4:] for r in references if r[4:] not in environment)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, f) for f in value.__struct_fields__]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def _resolved(value: Any, environment: Mapping[str, str]) -> Any:
    """Options with every env: and file: reference replaced by its value."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{f: _resolved(getattr(value, f), environment) for f in value.__struct_fields__})
    if isinstance(value, dict):
        return {k: _resolved(v, environment) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_resolved(v, environment) for v in value)
    return estates.resolve(value, environment) if isinstance(value, str) and value.startswith(("env:", "file:")) else value


def _facts(checked: Checked, switchboard: Switchboard, feeds: Mapping[str, Drift]) -> list[SystemFacts]:
    estate = checked.estate
    wired = {f"{o.system}.{o.name}": o for o in switchboard.operations}

    def operation(full: str, declared: estates.Operation) -> OperationFacts:
        guard = wired[full].guard if full in wired else None
        return OperationFacts(
            name=full.partition(".")[2],
            provides=declared.provides,
            mode=declared.mode,
            objective=float(declared.policy.deadline),
            guard=(lambda: _guard_facts(guard)) if guard else None,
            drift=(wired[full].drift if full in wired else feeds[full]).read,
        )

    return [
        SystemFacts(
            id=name,
            protocol=system.protocol,
            owner=system.owner,
            criticality=system.criticality,
            title=system.description,
            note=f"nightly batch {system.batch_window}" if system.batch_window else "",
            operations=tuple(operation(n, o) for n, o in estate.operation.items() if n.partition(".")[0] == name),
        )
        for name, system in estate.system.items()
    ]


def _guard_facts(guard: Guard) -> GuardFacts:
    state = guard.state()
    return GuardFacts(
        breaker=state.breaker,
        failure_rate=state.failure_rate,
        slow_rate=state.slow_rate,
        opened_at=state.opened_at,
        opened_by=state.opened_by,
        in_flight=state.in_flight,
        limit=state.limit,
        waiting=state.waiting,
    )


async def _metrics(recorder: Recorder, switchboard: Switchboard, books: Books) -> bytes:
    """Counters of all flights, and the gauges of this moment."""
    states = [o.guard.state() for o in switchboard.operations]
    gauges: list[tuple[str, str, Callable[[GuardState], float]]] = [
        (
            "tillgate_breaker_open",
            "1 while the circuit breaker is open, 0.5 half-open",
            lambda s: {"open": 1.0, "half_open": 0.5}.get(s.breaker, 0.0),
        ),
        ("tillgate_breaker_failure_rate", "Share of failed calls in the breaker's window", lambda s: s.failure_rate),
        ("tillgate_bulkhead_in_flight", "Calls under way", lambda s: s.in_flight),
        ("tillgate_bulkhead_waiting", "Calls that wait for a place", lambda s: s.waiting),
        ("tillgate_guard_refused", "Calls that the guard refused since start", lambda s: s.refused),
        ("tillgate_retry_tokens", "What is left of the system's retry budget", lambda s: s.retry_tokens),
    ]
    readings = [Reading(name, what, {"system": s.system, "operation": s.operation}, of(s)) for name, what, of in gauges for s in states]
    drifted = [
        Reading("tillgate_drift", "Observations that contracts do not know", {"system": o.system, "operation": o.name}, o.drift.total)
        for o in switchboard.operations
    ]
    outbox = Reading("tillgate_outbox_depth", "Events that are not delivered yet", {}, await books.outbox.depth())
    return exposition(recorder, [*readings, *drifted, outbox])


def _application(
    checked: Checked,
    books: Books,
    authenticator: Authenticator,
    services: Services,
    recorder: Recorder,
    switchboard: Switchboard,
    overview: Overview,
    secret: bytes,
    ready: Callable[[], Awaitable[None]],
    now: Now,
) -> ASGIApp:
    estate = checked.estate
    openapi.check(ENDPOINTS, HISTORY)
    limits = {n: [Limit(p.name, p.requests, float(p.window)) for p in q.policies] for n, q in estate.quota.items()}
    limits["anonymous"] = [Limit("anonymous", 60, 60.0)]
    door = Door(
        books=books,
        authenticator=authenticator,
        quotas=Quotas(limits, time.monotonic),
        history=HISTORY,
        services=services,
        max_body=estate.edge.max_body_bytes,
        deadlines={name: float(route.deadline) for name, route in estate.route.items()},
        retention_days=estate.edge.idempotency_retention / 86_400,
        now=now,
    )
    published = {v.date: openapi.document(ENDPOINTS, HISTORY, v.date, estate.estate.api_title) for v in HISTORY.versions}
    changelog, catalogue = openapi.changelog(HISTORY), problems.catalogue()
    documents = console_pages.Documents(
        openapi={version: msgspec.json.encode(document) for version, document in published.items()},
        problems=msgspec.json.encode(catalogue),
        changelog=msgspec.json.encode(changelog),
        reference=functools.cache(lambda version: portal.render_reference(published[version], changelog, catalogue)),
        ready=ready,
        metrics=functools.partial(_metrics, recorder, switchboard, books),
        authenticator=authenticator,
    )
    sessions = console_pages.Sessions(authenticator, books, secret)
    return application(
        ENDPOINTS,
        door,
        recorder,
        pages=[
            *console_pages.documents(documents),
            *console_pages.console(overview, sessions, tuple(estate.channel), secure=estate.edge.https),
        ],
        max_requests=estate.edge.max_requests,
        trusted=frozenset(estate.edge.trusted_proxies).__contains__,
    )

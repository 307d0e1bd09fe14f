"""What outlives an estate: the books, the memory of flights, and whoever hears of events. A reload leaves it as it is."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from adapters.broker.driver import RabbitPublisher
from adapters.broker.spec import BrokerOptions
from adapters.driver import Connection
from adapters.options import Tls
from adapters.recording import Captures
from adapters.store.driver import cell_file, open_store
from adapters.store.spec import StoreOptions
from adapters.webhook.driver import HttpWebhooks
from adapters.webhook.spec import WebhookOptions
from adapters.wire import client_tls
from contracts.books import Books
from contracts.ports import Publisher, WebhookSender
from contracts.quota import Ledger
from contracts.versions import HISTORY
from gateway import estate as estates
from gateway.bootstrap.quotas import open_ledger
from gateway.bootstrap.systems import resolved
from gateway.bootstrap.watching import engine
from gateway.edge.audit import Audit
from gateway.edge.pressure import Pressure
from gateway.edge.tls import ServerTls, server_context
from gateway.edge.usage import Usage
from gateway.estate import Estate, Events, Webhooks
from gateway.services.catalogue import Zones
from gateway.services.clock import Now, new_id
from gateway.services.courier import Courier, Fanout
from gateway.services.evidence import GuardLog, Witness
from gateway.services.incidents import Detective
from gateway.services.relay import Relay, Subscribers, Versioned, announced
from observability import Recorder
from observability.cellstore import CellStore
from observability.export import Otlp
from observability.recorder import Sink
from observability.ring import Ring
from observability.spans import resource

VERSION = "0.1.0"


def trace_folder(data: Path) -> Path:
    return data / "traces"


def store_options(estate: Estate, data: Path, environment: Mapping[str, str]) -> StoreOptions:
    url = estates.resolve(estate.store.url, environment)
    if url.startswith("sqlite:") and not url.startswith("sqlite:///"):
        url = f"sqlite:///{(data / url.removeprefix('sqlite:')).absolute()}"
    try:
        return StoreOptions(
            url=url, connections=estate.store.connections, statement_cache=estate.store.statement_cache, source=source_of(estate)
        )
    except ValueError as exc:
        raise LookupError(f"[store] url: {exc}") from exc


def source_of(estate: Estate) -> str:
    """CloudEvents `source`."""
    return f"/tillgate/{estate.estate.name}"


def _broker(events: Events, environment: Mapping[str, str]) -> BrokerOptions:
    url = estates.resolve(events.rabbitmq or "", environment)
    try:
        return BrokerOptions(url=url, exchange=events.exchange, unroutable=events.unroutable, tls=resolved(events.tls, environment))
    except ValueError as exc:
        raise LookupError(f"[events] rabbitmq: {exc}") from exc


async def open_webhooks(webhooks: Webhooks, environment: Mapping[str, str]) -> HttpWebhooks:
    """Raises LookupError."""
    try:
        options = WebhookOptions(networks=webhooks.networks, limit=webhooks.limit, tls=resolved(webhooks.tls, environment))
        return HttpWebhooks(options, await asyncio.to_thread(client_tls, options.tls) if options.tls != Tls() else None)
    except (ValueError, OSError) as exc:
        raise LookupError(f"[webhooks]: {exc}") from exc


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
class Foundation:
    environment: Mapping[str, str]
    connections: Mapping[str, Connection]
    """Other ones than the estate declares (tests)."""
    now: Now
    source: str
    books: Books
    secret: bytes
    audit: Audit
    tls: ServerTls | None
    """Of the gateway's own port."""
    usage: Usage
    ledger: Ledger | None
    """Quotas that the processes of the estate count together."""
    recorder: Recorder
    cells: CellStore
    ring: Ring
    subscribers: Subscribers
    relay: Relay
    webhooks: WebhookSender
    courier: Courier
    zones: Zones
    detective: Detective
    captures: Captures
    pressure: Pressure
    offered: str = field(default="", repr=False)
    """A key that the reference offers to whoever reads it: a demo's, and nothing else's."""


@asynccontextmanager
async def foundation(
    estate: Estate,
    data: Path,
    environment: Mapping[str, str],
    now: Now,
    connections: Mapping[str, Connection],
    recording: type[Recorder] = Recorder,
) -> AsyncIterator[Foundation]:
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
        recorder = recording(sinks=sinks)
        stack.push_async_callback(recorder.close)
        own = store_options(estate, data, environment).path is not None
        cells = CellStore(recorder, await stack.enter_async_context(cell_file(data / "cells" / "cells.db")) if own else books.cells)
        await stack.enter_async_context(cells.kept())

        subscribers = Subscribers()
        publishers: list[Publisher] = [subscribers]
        if estate.events.rabbitmq:
            broker = RabbitPublisher(_broker(estate.events, environment))
            await broker.start()
            stack.push_async_callback(broker.close)
            publishers.append(Versioned(broker, HISTORY, estate.events.version or HISTORY.newest.date))
        fanout = Fanout(books.webhooks, now, estate.webhooks.queue)
        publishers.append(fanout)
        webhooks = await open_webhooks(estate.webhooks, environment)
        stack.push_async_callback(webhooks.close)
        ledger = await stack.enter_async_context(open_ledger(estate, environment))
        secret = await pepper(books)
        audit = Audit(books.audit, books.clients, now)
        await stack.enter_async_context(audit.kept())
        witness = Witness(books, recorder, GuardLog(now), now)
        witness.history = cells.history
        detective = Detective(
            books,
            witness,
            engine,
            recorder,
            ring,
            new_id("own"),
            now,
            keep=timedelta(seconds=estate.incidents.keep_for),
            keep_evidence=timedelta(seconds=estate.incidents.keep_evidence),
        )
        stack.callback(detective.close)
        usage = Usage(books.usage, now)
        await stack.enter_async_context(usage.kept())
        yield Foundation(
            environment=environment,
            connections=connections,
            now=now,
            source=source_of(estate),
            books=books,
            secret=secret,
            audit=audit,
            tls=ServerTls(tls) if (tls := await own_tls(estate, environment)) else None,
            usage=usage,
            ledger=ledger,
            recorder=recorder,
            cells=cells,
            ring=ring,
            subscribers=subscribers,
            relay=Relay(books.outbox, publishers, recorder, new_id("own"), now, nudge=nudge),
            webhooks=webhooks,
            courier=Courier(
                books.webhooks,
                webhooks,
                HISTORY,
                secret,
                recorder,
                now,
                nudge=fanout.nudge,
                keep=timedelta(seconds=estate.webhooks.keep),
            ),
            zones=Zones(ZoneInfo(estate.estate.time_zone)),
            detective=detective,
            captures=Captures(),
            pressure=Pressure(estate.edge.max_requests, estate.edge.max_waiting),
        )


async def own_tls(estate: Estate, environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """Raises LookupError."""
    return await asyncio.to_thread(server_context, estate.edge.tls, environment) if estate.edge.tls else None


def needs_restart(old: Estate, new: Estate) -> tuple[str, ...]:
    """What of a new estate waits for the next start."""
    tables = {
        "[estate] name": (old.estate.name, new.estate.name),
        "[estate] time_zone": (old.estate.time_zone, new.estate.time_zone),
        "[store]": (old.store, new.store),
        "[events]": (old.events, new.events),
        "[webhooks]": (old.webhooks, new.webhooks),
        "[shared]": (old.shared, new.shared),
        "[telemetry]": (old.telemetry, new.telemetry),
        "[incidents]": (old.incidents, new.incidents),
        "[edge] host": (old.edge.host, new.edge.host),
        "[edge] port": (old.edge.port, new.edge.port),
        "[edge.tls]": (_handshake(old), _handshake(new)),
        "[edge] max_connections": (old.edge.max_connections, new.edge.max_connections),
    }
    return tuple(name for name, (before, after) in tables.items() if before != after)


def _handshake(estate: Estate) -> tuple[str, str] | None:
    """What no renewal changes."""
    return (estate.edge.tls.client_certificates, estate.edge.tls.minimum) if estate.edge.tls else None

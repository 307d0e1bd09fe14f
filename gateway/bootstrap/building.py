"""One generation of a running product: all that is built from one checked estate, on the foundation that outlives it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from adapters.drift import Drift
from adapters.files.spec import Retention as Keep
from contracts.ports import LEVEL_FEED
from contracts.versions import HISTORY
from gateway.api import ADMIN, ENDPOINTS, admin
from gateway.api import console as console_pages
from gateway.app import Flights, application
from gateway.bootstrap.checking import Checked
from gateway.bootstrap.desk import client_desk, webhook_desk
from gateway.bootstrap.facts import facts, metrics
from gateway.bootstrap.foundation import Foundation
from gateway.bootstrap.identity import Rings, authenticator_of, key_rings, metadata_of, notices
from gateway.bootstrap.quotas import quotas_of
from gateway.bootstrap.reviewing import given, sources_of
from gateway.bootstrap.systems import Wiring, outlets, wire
from gateway.edge import asyncapi, openapi, problems
from gateway.edge.adoption import Adoption
from gateway.edge.brown_out import coming
from gateway.edge.door import GRACE, Door
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.peer import Proxies
from gateway.edge.pressure import Importance
from gateway.edge.quota import Quotas
from gateway.edge.sessions import Sessions
from gateway.estate import brown_outs
from gateway.services.availability import AvailabilityReader
from gateway.services.catalogue import Catalogue
from gateway.services.dispatches import DispatchReview
from gateway.services.intake.intake import Intake
from gateway.services.intake.retention import Retention
from gateway.services.intake.review import Review, Sources
from gateway.services.order_process import STEP_LIMIT, OrderProcess, Rules
from gateway.services.orders import Orders
from gateway.services.overview import Overview
from gateway.services.publication import Publication
from gateway.services.reservations import Reservations
from gateway.services.services import Services
from gateway.worker import Every, Loop, housekeeping, supervised
from observability import get_logger
from observability.console import portal

log = get_logger(__name__)


@dataclass
class Generation:
    number: int
    checked: Checked
    base: Foundation
    wiring: Wiring
    services: Services
    process: OrderProcess
    intakes: tuple[Intake, ...]
    retentions: tuple[Retention, ...]
    publications: tuple[Publication, ...]
    quotas: Quotas
    rings: Rings
    app: Flights
    stack: AsyncExitStack
    """Its feeds, and who reads the keys of issuers."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    """In work, or answering."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    jobs: asyncio.Task[None] | None = None
    closing: bool = False
    """It uses nothing any more; what nobody else uses may go."""

    async def work(self) -> None:
        """What has no caller, until `stop`. Each loop is restarted when it fails."""
        retention = timedelta(seconds=self.checked.estate.edge.idempotency_retention)
        audit = timedelta(seconds=self.checked.estate.audit.keep_for)
        webhooks = timedelta(seconds=self.checked.estate.webhooks.keep_dead)
        housework = housekeeping(self.base.books, self.process, self.services.reservations, retention, audit, webhooks, self.base.now)
        loops: list[tuple[str, Loop]] = [*((job.name, job.run) for job in housework), *((f"intake {i.feed}", i.run) for i in self.intakes)]
        loops += [(f"retention {r.feed}", Every(f"retention {r.feed}", r.sweep, 3600.0).run) for r in self.retentions]
        loops += [(f"publish {p.feed}", Every(f"publish {p.feed}", p.round, p.pause).run) for p in self.publications]
        async with asyncio.TaskGroup() as group:
            for name, loop in loops:
                group.create_task(supervised(name, loop, self.stop), name=name)

    @property
    def patience(self) -> float:
        """Seconds after which nothing of it is under way any more, if all keep to their limits."""
        routes = (float(route.deadline) for route in self.checked.estate.route.values())
        return max((STEP_LIMIT, *routes)) + GRACE + 1

    async def retire(self, others: Iterable[Generation], patience: float) -> None:
        """Ends its work, waits so long for what is under way, and closes what none of `others` uses then."""
        self.stop.set()
        try:
            async with asyncio.timeout(patience):
                while self.requests:
                    self.idle.clear()
                    await self.idle.wait()
                if under_way := {*self.process.under_way, *([self.jobs] if self.jobs else [])}:
                    await asyncio.wait(under_way)
        except TimeoutError:
            log.warning("an old estate is given up with work under way", generation=self.number, requests=self.requests)
        finally:
            if self.jobs is not None:
                self.jobs.cancel()
                await asyncio.gather(self.jobs, return_exceptions=True)
            await self.process.close()
            await self.stack.aclose()
            self.closing = True
            await self.wiring.close(other.wiring for other in others if not other.closing)


async def build(checked: Checked, base: Foundation, controls: admin.Controls, before: Generation | None = None) -> Generation:
    """Raises LookupError, OSError, ValueError, TillgateError; then nothing stays open, and `before` is as it was."""
    estate = checked.estate
    old = before.wiring if before else None
    moves = base.detective.witness.guards
    wiring = await wire(checked, base.environment, base.connections, base.zones, old, base.captures, base.recorder, moves)
    stack, used = AsyncExitStack(), [old] if old else []
    try:
        catalogue = Catalogue(wiring.switchboard, base.now)
        safety = {n: c.safety_stock for n, c in estate.channel.items()}
        reporting: dict[str, float] = {}  # by system, as levels name no feed: what the strictest of its feeds says
        for name, operation in estate.operation.items():
            if operation.provides == LEVEL_FEED.name:
                system, most = name.partition(".")[0], operation.policy.freshness.max_age
                reporting[system] = min(filter(None, (reporting.get(system, 0), most)), default=0)
        availability = AvailabilityReader(wiring.switchboard, base.books, safety, base.now, reporting=reporting)
        rules = Rules(estate.orders.settle, estate.orders.retry, estate.orders.retry_max, estate.orders.attempts)
        process = OrderProcess(wiring.switchboard, base.books, availability, base.recorder, base.source, rules, base.now)
        sources = sources_of(checked, base.environment, given(base.zones))
        services = Services(
            catalogue=catalogue,
            availability=availability,
            reservations=Reservations(availability, base.books, base.source, base.now),
            orders=Orders(wiring.switchboard, base.books, process, base.now),
            books=base.books,
            desk=lambda actor: client_desk(base.books.clients, base.secret, estate, actor, base.now),
            files=lambda actor: Review(base.books, given(sources), actor, base.now),
            dispatches=lambda actor: DispatchReview(base.books, actor, base.now),
            webhooks=lambda actor: webhook_desk(base.books, base.secret, base.webhooks, base.source, actor, base.now),
            audit=base.audit,
            detective=base.detective,
            adoption=Adoption(base.books, HISTORY, (*ENDPOINTS, *ADMIN), brown_outs(estate), base.now, base.usage.flush),
        )
        drifts: dict[str, Drift] = {}
        intakes = [intake async for intake in _intakes(sources, base, process.owner, drifts, stack)]
        keeping = (s.feed for s in sources.by_name.values() if s.feed.options.retention != Keep())
        retentions = tuple(Retention(feed, base.books, base.now) for feed in keeping)
        publications = list[Publication]()
        for outlet, provides, mapping in outlets(checked, base.environment):
            stack.push_async_callback(outlet.close)
            owner = f"{process.owner} {outlet.name}"
            publications.append(Publication(outlet, provides, mapping, catalogue, base.books, base.zones, base.recorder, owner, base.now))
            stack.push_async_callback(publications[-1].close)
        quotas = quotas_of(estate, base.ledger, before.quotas if before else None)
        rings = await key_rings(estate, before.rings if before else {}, stack)
        authenticator = authenticator_of(estate, base, rings)
        app = await asyncio.to_thread(_application, checked, base, wiring, services, quotas, authenticator, rings, drifts, controls)
    except BaseException:
        await stack.aclose()
        await wiring.close(used)
        raise
    number = before.number + 1 if before else 1
    return Generation(
        number, checked, base, wiring, services, process, tuple(intakes), retentions, tuple(publications), quotas, rings, app, stack
    )


async def _intakes(
    sources: Sources, base: Foundation, owner: str, drifts: dict[str, Drift], stack: AsyncExitStack
) -> AsyncIterator[Intake]:
    for source in sources.by_name.values():
        feed, mapping = source.feed, source.mapping
        await feed.start()
        stack.push_async_callback(feed.close)
        drift = drifts[f"{feed.system}.{feed.name}"] = Drift()
        yield Intake(
            feed,
            mapping,
            base.books,
            base.recorder,
            base.zones,
            base.source,
            now=base.now,
            owner=f"{owner} {feed.name}",
            drift=drift.count,
        )


def _feeds(checked: Checked) -> tuple[str, ...]:
    return tuple(name for name, operation in checked.estate.operation.items() if operation.mode == "file")


def _application(
    checked: Checked,
    base: Foundation,
    wiring: Wiring,
    services: Services,
    quotas: Quotas,
    authenticator: Authenticator,
    rings: Rings,
    drifts: dict[str, Drift],
    controls: admin.Controls,
) -> Flights:
    estate, announced = checked.estate, brown_outs(checked.estate)
    openapi.check((*ENDPOINTS, *ADMIN), HISTORY)
    door = Door(
        books=base.books,
        authenticator=authenticator,
        quotas=quotas,
        history=HISTORY,
        usage=base.usage,
        services=services,
        secret=base.secret,
        max_body=estate.edge.max_body_bytes,
        deadlines={name: float(route.deadline) for name, route in estate.route.items()},
        freshness={e.route: wiring.switchboard.freshness(e.capabilities) for e in ENDPOINTS if e.method == "GET"},
        retention_days=estate.edge.idempotency_retention / 86_400,
        now=base.now,
        denied=base.audit.denied,
        brown_outs=announced,
        pressure=base.pressure,
        importance=Importance(
            {name: channel.priority for name, channel in estate.channel.items()},
            {name: route.priority for name, route in estate.route.items() if route.priority}
            | {e.route: "critical" for e in ADMIN},  # operators must get in when it is full
        ),
    )
    published = {v.date: openapi.document(ENDPOINTS, HISTORY, v.date, estate.estate.api_title) for v in HISTORY.versions}
    changelog, catalogue = openapi.changelog(HISTORY), [*problems.catalogue(), *problems.former(HISTORY)]

    @functools.lru_cache(maxsize=2 * len(published))
    def reference(version: str, today: date, offered: str) -> str:
        midnight = datetime.combine(today, time(), UTC)
        told = [{**v, "brownOuts": [w.said for w, _ in coming(announced, v["version"], midnight, 3)]} for v in changelog]
        return portal.render_reference(published[version], told, catalogue, today=today, demo_key=offered)

    documents = console_pages.Documents(
        openapi={version: msgspec.json.encode(document) for version, document in published.items()},
        asyncapi={v.date: msgspec.json.encode(asyncapi.document(HISTORY, v.date)) for v in HISTORY.versions},
        problems=msgspec.json.encode(catalogue),
        changelog=msgspec.json.encode(changelog),
        reference=lambda version: reference(version, base.now().date(), base.offered),
        problem=lambda entry: portal.render_problem(entry, published[HISTORY.newest.date], catalogue),
        ready=controls.ready,
        metrics=functools.partial(metrics, base.recorder, wiring.switchboard, base.books, controls, quotas, base.pressure),
        admitted=door.admitted,
    )
    overview = Overview(
        facts(checked, wiring.switchboard, drifts),
        base.books,
        base.recorder,
        base.ring,
        base.detective,
        lambda: (*controls.notices(), *wiring.notices(), *notices(rings)),
    )
    sessions = Sessions(base.books, authenticator, quotas, base.audit, base.secret, base.now)
    secure = estate.edge.https or estate.edge.tls is not None
    console = console_pages.Console(
        overview,
        sessions,
        services.desk,
        services.audit,
        services.adoption,
        tuple(estate.channel),
        secure,
        services.files,
        services.dispatches,
        _feeds(checked),
    )
    return application(
        (*ENDPOINTS, *ADMIN),
        door,
        base.recorder,
        pages=[
            *console_pages.documents(documents),
            *metadata_of(estate),
            *console.routes(),
            *admin.routes(controls, door.admitted, overview.drift, quotas, base.audit),
        ],
        max_requests=estate.edge.max_connections,  # one each: the door says who goes without, once it knows who it is
        proxies=Proxies(estate.edge.trusted_proxies, estate.edge.certificate_header),
    )

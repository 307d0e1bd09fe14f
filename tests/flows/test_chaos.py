"""Ten minutes of everything that can happen at once to four workers that read the files of three hundred stores, and then not a cent is
wrong: workers are killed, the store and the broker go away and come back, disks are full or read-only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lxml import etree

from adapters.broker.driver import RabbitConsumer
from adapters.broker.spec import BrokerOptions, Subscription
from contracts.books import Books
from contracts.policy import Duration
from gateway.bootstrap import open_books
from observability import Recorder
from sandbox.faults import Faults
from sandbox.pos.till import Tills
from sandbox.world import World
from tests.flows.chaos import DAYS, QUIET, Disk, Listener, Server, Storm, Trade, Worker, digests, disk
from tests.products import ROOT
from tests.servers import postgres, rabbitmq
from tests.servers.process import free_port
from tests.unit.adapters.broker.proxy import Proxy, proxied

WORKERS = 4
STORES = 300
EXCHANGE = "chaos"
FEEDS = ("tlog", "poslog")
SALE, STOCK, ASIDE = (f"io.tillgate.{kind}.v1" for kind in ("sale.committed", "inventory.changed", "file.quarantined"))
MOST = 1_000_000

ESTATE = """
[estate]
name      = "chaos"
owner     = "integration@example.test"
time_zone = "Europe/Berlin"

[store]
url         = "env:CHAOS_STORE"
connections = 6

[events]
rabbitmq = "env:CHAOS_BROKER"
exchange = "{exchange}"

[channel]
store = {{ description = "Store staff devices", owner = "stores-it" }}

[quota.standard]
policies = [{{ name = "burst", requests = 50, window = "1s" }}]

[system.pos]
protocol    = "files"
contract    = "contracts/systems/pos/tlog.toml"
endpoint    = "{near}/inbox"
owner       = "stores-it"
criticality = "high"

[operation."pos.tlog"]
provides = "sale.feed"
mode     = "file"
answer   = "mappings/pos/tlog.toml"
feed     = {{ quiet = "{quiet}s", sweep = "500ms", lease = "4s", batch = 4, parallel = 2, acknowledge = {{ folder = "{near}/told" }} }}

[operation."pos.poslog"]
contract = "contracts/systems/pos/poslog.toml"
provides = "sale.feed"
mode     = "file"
answer   = "mappings/pos/poslog.toml"

[operation."pos.poslog".feed]
quiet       = "{quiet}s"
sweep       = "500ms"
lease       = "4s"
batch       = 4
archive     = "{far}/archive"
quarantine  = "{far}/quarantine"
acknowledge = {{ folder = "{far}/told" }}
"""


@dataclass
class Place:
    """TLOG files stay on the disk of the inbox; POSLog files go to another one, so that they are copied."""

    near: Path
    far: Path
    disks: dict[str, Disk] = field(default_factory=dict)

    def of(self, name: str) -> Path:
        return self.near if name.startswith("TLOG") else self.far

    def settled(self, name: str) -> bool:
        _, store, day, _ = name.split("_")
        archive = self.of(name) / "archive" / f"{day[:4]}-{day[4:6]}-{day[6:]}" / store / name
        return archive.exists() or (self.of(name) / "quarantine" / name).exists()

    def waiting(self) -> list[str]:
        return [p.name for p in (self.near / "inbox").iterdir() if not p.name.startswith(".")]


def mounted(folder: Path, held: ExitStack) -> Place:
    place = Place(folder / "near", folder / "far")
    for path in (place.near, place.far):
        if (made := held.enter_context(disk(path, 128))) is not None:
            place.disks[path.name] = made
    (place.near / "inbox").mkdir()
    return place


def estate_of(folder: Path, place: Place) -> Path:
    folder.mkdir()
    text = ESTATE.format(near=place.near, far=place.far, quiet=QUIET, exchange=EXCHANGE)
    (folder / "estate.toml").write_text(text, encoding="utf-8")
    for shared in ("contracts", "mappings"):
        (folder / shared).symlink_to(ROOT / shared)
    return folder


@dataclass
class Run:
    place: Place
    trade: Trade
    storm: Storm
    workers: list[Worker]
    listener: Listener
    books: Callable[[], Any]
    """Opens them."""
    proxy: Proxy


@asynccontextmanager
async def stopped(server: Server, next_by: signal.Signals) -> AsyncIterator[None]:
    """By the signal that was said when it started; the next time by `next_by`."""
    await server.stop()
    try:
        yield
    finally:
        await server.start(next_by)


@asynccontextmanager
async def killed(workers: list[Worker], chance: Random) -> AsyncIterator[None]:
    worker = chance.choice(workers)
    assert not (ended := await worker.ended()), ended
    await worker.kill()
    try:
        yield
    finally:
        await worker.start()


@asynccontextmanager
async def suffering(disk: Disk, how: str) -> AsyncIterator[None]:
    async with disk.busy:
        fault = disk.full() if how == "full" else disk.read_only()
        await asyncio.to_thread(fault.__enter__)
        try:
            yield
        finally:
            await asyncio.to_thread(fault.__exit__, None, None, None)


@asynccontextmanager
async def cut(proxy: Proxy, chance: Random) -> AsyncIterator[None]:
    """Answers held back for a moment, so that confirms are lost with the line."""
    proxy.hold()
    await asyncio.sleep(chance.uniform(0, 0.3))
    proxy.cut()
    proxy.sent.clear()
    yield


@asynccontextmanager
async def running(folder: Path, scratch: Path, amqp_url: str | None, seed: int) -> AsyncIterator[Run]:
    """`amqp_url`: of a broker that others use too; without it one of our own, which is stopped as well."""
    chance = Random(seed)
    with ExitStack() as held:
        place = mounted(folder, held)
        async with AsyncExitStack() as stack:
            (scratch / "postgres").mkdir(parents=True)
            database = Server(postgres.Cluster(scratch / "postgres").running)
            await database.start(signal.SIGINT)
            stack.push_async_callback(database.stop)
            faults: dict[str, Any] = {}
            if amqp_url is None:
                (scratch / "rabbitmq").mkdir()
                port = free_port()
                broker = Server(lambda ends_by: rabbitmq.running(scratch / "rabbitmq", port, ends_by))
                await broker.start(signal.SIGTERM)
                stack.push_async_callback(broker.stop)
                faults["broker stopped"] = lambda: stopped(broker, chance.choice((signal.SIGTERM, signal.SIGKILL)))
                amqp_url = broker.url
            proxy = await stack.enter_async_context(proxied(amqp_url))
            listener = Listener()
            options = BrokerOptions(url=proxy.url, exchange=EXCHANGE, backoff_max=Duration(1))
            consumer = RabbitConsumer(
                options, Subscription(queue="chaos.all", prefetch=200, delivery_limit=1000), listener.hear, Recorder()
            )
            await consumer.start()
            stack.push_async_callback(consumer.close)

            estate, data = estate_of(folder / "estate", place), folder / "data"
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "CHAOS_STORE": database.url, "CHAOS_BROKER": proxy.url}
            async with open_books(estate, data, environment):
                pass  # made by one, before four begin
            workers = [Worker(estate, folder / f"worker{n}", environment) for n in range(WORKERS)]
            for worker in workers:
                await worker.start()
                stack.push_async_callback(worker.kill)

            faults["worker killed"] = partial(killed, workers, chance)
            faults["store stopped"] = lambda: stopped(database, chance.choice((signal.SIGINT, signal.SIGQUIT)))
            faults["broker cut"] = partial(cut, proxy, chance)
            for worker in workers:
                await worker.works()
            for name, each in place.disks.items():
                faults |= {f"{name} disk {how}": partial(suffering, each, how) for how in ("full", "read-only")}
            world = World(seed, STORES + 40, 400)
            stores = [s.number for s in world.stores if s.kind == "store" and not s.closed][:STORES]
            tills = Tills(world, Faults(), folder / "tills")
            trade = Trade(tills, stores, place.disks.get("near", place.near), place.settled, chance)
            yield Run(place, trade, Storm(faults, chance), workers, listener, partial(open_books, estate, data, environment), proxy)


# ---- at the end ---------------------------------------------------------------------------------------------------


async def drained(run: Run, books: Books, seconds: float) -> None:
    """Until nothing waits any more: no file, no claim, no event."""
    until = time.monotonic() + seconds
    while True:
        await alive(run)
        waiting, claimed, depth = run.place.waiting(), await books.files.list(100, "claimed"), await books.outbox.depth()
        if run.trade.carried and not (waiting or claimed or depth):
            break
        assert time.monotonic() < until, f"after {seconds:.0f} s: waiting {waiting[:5]}, claimed {claimed[:3]}, {depth} events"
        await asyncio.sleep(0.2)
    counted = sum(t.counts for t in run.trade.tills.transactions() if t.readable_in)
    with suppress(TimeoutError):  # what is missing then is told by key
        async with asyncio.timeout(20):
            before = -1
            while before < len(run.listener.events) or sum(e.type == SALE for e in run.listener.events.values()) < counted:
                before = len(run.listener.events)
                await asyncio.sleep(0.5)


async def alive(run: Run) -> None:
    for n, worker in enumerate(run.workers):
        assert not (ended := await worker.ended()), f"worker {n} {ended}"


async def books_agree(run: Run, books: Books) -> int:
    """Every transaction that is readable in an undamaged file is booked once, to the unit and the cent; nothing else is."""
    tills: Any = run.trade.tills.books(readable=True, detail=False)["stores"]
    said = {s: (b["counted"], b["grand"], sum(map(Decimal, b["units"].values()))) for s, b in tills.items() if b["counted"]}
    ours = await books.sales.totals()
    found = {s: (t["sales"], t["cents"], Decimal(t["units_milli"]).scaleb(-3)) for s, t in ours.items() if t["sales"]}
    differ = {s: (said.get(s), found.get(s)) for s in {*said, *found} if said.get(s) != found.get(s)}
    assert not differ, f"store: (tills, books): {differ}"
    readable = {str(t.key): abs(t.grand) for t in run.trade.tills.transactions() if t.readable_in}
    booked: Counter[str] = Counter()
    for store in {key.partition("/")[0] for key in readable}:
        for day in DAYS:
            for sale in await books.sales.list(store, day.isoformat(), None, MOST):
                key = f"{sale.key.store_number}/{sale.key.workstation_id}/{sale.key.business_date}/{sale.key.sequence_number}"
                booked[key] += 1
                assert sale.totals is None or abs(sale.totals.grand.cent_amount) == readable.get(key), (key, sale.totals)
    wanted = Counter([*readable])
    assert booked == wanted, {"missing": [*(wanted - booked)][:9], "more": [*(booked - wanted)][:9]}
    return len(readable)


async def ledger_agrees(run: Run, books: Books) -> None:
    """Each content ended once, as it had to; each bad record is in quarantine once, with its bytes."""
    records = {r.digest: r for r in await books.files.list(MOST)}
    more = {r.name: r.state for d, r in records.items() if d not in run.trade.contents and d not in run.trade.halves}
    assert not more, f"files that nobody dropped: {more}"
    for digest, content in run.trade.contents.items():
        record = records.get(digest)
        assert record is not None, f"{content.name} never came to the ledger"
        assert record.state == ("refused" if content.refused else "done"), (content.name, content.lost, content.rows, record)
        assert {record.name, *record.seen_as} == set(content.names), (content.names, record)
        if content.refused:
            assert (record.booked, record.repeated, record.conflicts) == (0, 0, 0), record
            continue
        ended = (record.position, record.booked + record.repeated, record.conflicts, record.quarantined)
        good = content.rows - content.lost - content.conflicts
        assert ended == (content.rows, good, content.conflicts, content.lost + content.conflicts), (content.name, ended, content.rows, good)
        aside = await books.files.quarantined(digest, 1000)
        assert len({q.position for q in aside}) == len(aside) == content.lost + content.conflicts, (content, aside)
        assert all(holds(content.body, q.raw) for q in aside if q.form == "record"), (content.name, [q.raw for q in aside])


def holds(body: bytes, raw: bytes) -> bool:
    """Whether these are bytes of the file; an element taken out of its document says which namespace it is in, and how it is empty."""
    return raw in body or (body.startswith(b"<?xml") and canonical(etree.fromstring(raw)) in map(canonical, etree.fromstring(body)))


def canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_tail=False)


def folders_agree(run: Run) -> None:
    """Every file that was dropped lies once where it belongs, a refused one with its reason; who sent it was told once."""
    wanted: dict[str, Counter[str]] = {"archive": Counter(), "quarantine": Counter()}
    for digest, content in run.trade.contents.items():
        wanted["quarantine" if content.refused else "archive"][digest] += content.names.total()
    for kind, expected in wanted.items():
        found = sum((digests(top / kind) for top in (run.place.near, run.place.far)), Counter[str]())
        found = Counter({d: n for d, n in found.items() if d not in run.trade.halves})
        differ = {
            (run.trade.contents[d].name if d in run.trade.contents else d): (expected[d], found[d])
            for d in {*expected, *found}
            if expected[d] != found[d]
        }
        assert not differ, f"{kind}, name: (dropped, found): {differ}"
    for top in (run.place.near, run.place.far):
        if (top / "quarantine").exists():
            listed = {p.name for p in (top / "quarantine").iterdir() if not p.name.startswith(".")}
            files = {name for name in listed if not name.endswith(".reason.txt")}
            assert listed == files | {f"{name}.reason.txt" for name in files}, listed
            assert all((top / "quarantine" / f"{name}.reason.txt").read_text().strip() for name in files)
    told = {p.name: json.loads(p.read_bytes()) for top in (run.place.near, run.place.far) for p in (top / "told").glob("[!.]*.ack")}
    by_name = {name: content for content in run.trade.contents.values() for name in content.names}
    assert set(told) == {f"{name}.ack" for name in by_name}, set(told) ^ {f"{name}.ack" for name in by_name}
    for name, content in by_name.items():
        assert told[f"{name}.ack"]["digest"] == content.digest, name
        assert told[f"{name}.ack"]["state"] == ("refused" if content.refused else "done"), told[f"{name}.ack"]


def events_agree(run: Run) -> None:
    """One event for each sale that counts, changes of stock that add up to what was moved, and one for each file with something bad."""
    events, tills = run.listener.events.values(), run.trade.tills
    counted = Counter(str(t.key) for t in tills.transactions() if t.readable_in and t.counts)
    told = Counter(e.subject for e in events if e.type == SALE)
    assert told == counted, {"missing": [*(counted - told)][:9], "more": [*(told - counted)][:9]}
    moved: defaultdict[str, int] = defaultdict(int)
    for t in tills.transactions():
        if t.readable_in:
            for sku, thousandths in t.units.items():
                moved[f"{sku}@{t.key.store}"] += thousandths
    changed: defaultdict[str, int] = defaultdict(int)
    for e in events:
        if e.type == STOCK:
            data: Any = e.data
            changed[e.subject] -= int(Decimal(data["change"]["value"]) * 1000)
    wrong = {s: (moved[s], changed[s]) for s in {*moved, *changed} if moved[s] != changed[s]}
    assert not wrong, f"sku@store: (tills, events) in thousandths: {dict([*wrong.items()][:9])}"
    bad = {d for d, c in run.trade.contents.items() if c.lost or c.conflicts}
    aside = Counter(str(e.data["digest"]) for e in events if e.type == ASIDE and e.data["digest"] not in run.trade.halves)
    assert aside == Counter(bad), (set(aside) ^ bad, aside.most_common(3))


# ---- the run ------------------------------------------------------------------------------------------------------


def plan_of(names: list[str], chance: Random, deep: bool) -> Iterator[str]:
    """Every kind once and kills between them; in a long run whatever comes, the broker rarely: it takes long to come back."""
    often = {"worker killed": 6.0, "broker stopped": 0.4, "store stopped": 0.8}
    if not deep:
        short = [*names, "store stopped", "broker cut", *["worker killed"] * 2]
        chance.shuffle(short)
        yield from short
    while deep:
        yield chance.choices(names, [often.get(name, 1.0) for name in names])[0]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(1500)
async def test_after_everything_that_can_fail_has_failed_books_folders_and_events_agree_with_the_tills(
    request: pytest.FixtureRequest, tmp_path: Path, scratch: Path, deep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or (Random().randrange(1, 100_000) if deep else 20261122))
    seconds, began = (600 if deep else 10), time.monotonic()

    def say(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    say(f"\nchaos with seed {seed} for {seconds} s" + ("" if deep else " at least"))
    amqp_url = None if deep else request.getfixturevalue("amqp_url")
    async with running(tmp_path, scratch / "chaos", amqp_url, seed) as run:
        if not run.place.disks:
            say("CHAOS: this machine lets nobody mount: full and read-only disks are LEFT OUT")
        storm = run.storm
        stop = asyncio.Event()
        carriers = [asyncio.create_task(run.trade.carry()) for _ in range(3)]
        writing = asyncio.create_task(run.trade.write(0.33 if deep else 0.06, stop))
        try:
            await storm.blow(plan_of([*storm.faults], Random(seed), deep), 2 if deep else 3, 5.0 if deep else 1.0, seconds)
            stop.set()
            await writing
            left = run.trade.finish()
            faults = time.monotonic() - began
            async with run.books() as books:
                await drained(run, books, 180 if deep else 60)
                agreed = time.monotonic() - began
                transactions = await books_agree(run, books)
                await ledger_agrees(run, books)
            folders_agree(run)
            events_agree(run)
        except BaseException:
            for n, worker in enumerate(run.workers):
                say(f"--- worker {n}\n{worker.said[-2500:]}")
            raise
        finally:
            for task in (*carriers, writing):
                task.cancel()
        for worker in run.workers:
            await worker.works()
        ended = [await worker.kill(signal.SIGTERM) for worker in run.workers]
        assert ended == [0] * WORKERS, [worker.said[-2000:] for worker in run.workers]
    trade, listener = run.trade, run.listener
    happened = ", ".join(f"{n} {name}" for name, n in sorted(storm.happened.items()))
    say(
        f"chaos: seed {seed}, {faults:.0f} s, agreed {agreed - faults:.0f} s later; {trade.files} files, "
        f"{transactions} transactions booked, {len(listener.events)} events, {listener.repeats} repeats; {happened}; "
        f"{sum(w.restarts for w in run.workers)} starts without a store, {trade.refused_by_disk} drops refused by the disk, "
        f"{len(trade.halves)} halves too slow, {left} sequels left out"
    )

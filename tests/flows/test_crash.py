"""The crash proof of the file intake: a worker is killed before each of its calls to the outside, one run for each; whoever comes next
brings books, folders and events to exactly what they are without a crash.

What a call to the outside is, and how the worker dies, stands in tests/flows/crash_child.py. The points are counted, none is left out:
the bound is raised until a worker reaches its end.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from adapters.broker.driver import RabbitConsumer, RabbitPublisher
from adapters.broker.spec import BrokerOptions, Subscription
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books
from contracts.canonical.amounts import Quantity
from contracts.canonical.sale import PosSale
from contracts.events import Event, EventType
from contracts.ports import SkuAt
from observability import Recorder
from sandbox.faults import Faults
from sandbox.pos.till import Tills
from sandbox.world import World
from tests.products import ROOT, own_estate

DAY = date(2026, 3, 11)
EXCHANGE = "crash"
MOMENT = re.compile(rb'"(receivedAt|finishedAt)": ?"[^"]*"')
BATCH = 3
"""Transactions of one commit: every file of sales has several."""
STOCK = {"10000001": "250", "10000002": "3"}
ADVICE = "~\n".join(
    [
        f"ISA*00*{' ' * 10}*00*{' ' * 10}*ZZ*{'SUPPLIER':15}*ZZ*{'RETAILER':15}*260311*0930*U*00401*000000007*0*P*>",
        "GS*IB*S*R*20260311*0930*7*X*004010", "ST*846*0001", "BIA*00*SI*STOCK-7*20260311*0600", "N1*WH*Store 1*92*0001",
        *(segment for sku, figure in STOCK.items() for segment in (f"LIN**IN*{sku}", f"QTY*17*{figure}*EA")),
        "SE*8*0001", "GE*1*7", "IEA*1*000000007", "",
    ]
)  # fmt: skip


# ---- what is given ------------------------------------------------------------------------------------------------


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    folder = own_estate(tmp_path / "estate")
    text = (folder / "estate.toml").read_text(encoding="utf-8")
    text += '\n[operation."pos.x12_846"]\ncontract = "contracts/systems/edi/x12_846.toml"\nprovides = "level.feed"\nmode = "file"\n'
    text += 'answer = "mappings/pos/stock.toml"\n'
    advice = (folder / "mappings/edi/x12_846.toml").read_text(encoding="utf-8")
    (folder / "mappings/pos/stock.toml").write_text(advice.replace('"edi.x12_846"', '"pos.x12_846"'), encoding="utf-8")
    for feed in ("tlog", "poslog", "x12_846"):
        options = f'complete = "renamed", batch = {BATCH}, lease = "60s", watch = false'
        told = f', acknowledge = {{ folder = "{tmp_path}/run/told" }}' if feed != "x12_846" else ""
        text = text.replace(f'[operation."pos.{feed}"]\n', f'[operation."pos.{feed}"]\nfeed = {{ {options}{told} }}\n')
    (folder / "estate.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of both formats, with a bad transaction, a resend under another name, other content under a booked key, a file that is
    refused, and a report of stock.
    """
    tills = Tills(World(1, 3, 30), Faults(), tmp_path_factory.mktemp("tills"))
    tills.random_day("0001", 4, DAY)
    first = tills.write_file("0001", damage="bad_line")
    tills.random_day("0001", 2, DAY)
    second = tills.write_file("0001")
    tills.random_day("0002", 2, DAY)
    tills.write_file("0002", "poslog")
    tills.damage(first, "renamed")
    tills.damage(second, "conflict")
    tills.random_day("0001", 1, DAY)
    tills.write_file("0001", damage="wrong_total")
    (tills.inbox / "STOCK_7.edi").write_text(ADVICE, encoding="ascii")
    return tills.inbox


class Worker:
    """Forks a child for each job."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, **job: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the worker's parent has ended"
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def worker(estate: Path, inbox: Path) -> Iterator[Worker]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.crash_child", str(estate), str(inbox)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


class Stores(Protocol):
    """Empty books, made quickly."""

    async def fresh(self, folder: Path) -> str: ...


class SqliteStores:
    def __init__(self, template: Path) -> None:
        self._template = template

    async def fresh(self, folder: Path) -> str:
        shutil.copyfile(self._template, folder / "books.db")
        return f"sqlite:///{folder}/books.db"


class PostgresStores:
    """One database, emptied: a new one for each run costs three times as much as the run."""

    def __init__(self, control: Any, dsn: str, tables: str) -> None:
        self._control, self._dsn, self._tables = control, dsn, tables

    async def fresh(self, folder: Path) -> str:
        await self._control.execute(f"truncate {self._tables} restart identity")
        return self._dsn


async def migrated(url: str) -> None:
    books = open_store(StoreOptions(url=url))
    await books.start()
    await books.close()


@asynccontextmanager
async def sqlite_stores(tmp_path: Path) -> AsyncIterator[Stores]:
    await migrated(f"sqlite:///{tmp_path}/template.db")
    yield SqliteStores(tmp_path / "template.db")


@asynccontextmanager
async def postgres_stores(dsn: str) -> AsyncIterator[Stores]:
    await migrated(dsn)
    control = await asyncpg.connect(dsn)
    try:
        tables = await control.fetch("select tablename from pg_tables where schemaname = 'public' and tablename <> 'schema_step'")
        yield PostgresStores(control, dsn, ", ".join(name for (name,) in tables))
    finally:
        await control.close()


class Heard:
    """Every event that reaches the broker, in order. One worker runs at a time, so what was heard is of the last run."""

    def __init__(self, url: str) -> None:
        options = BrokerOptions(url=url, exchange=EXCHANGE)
        self._publisher = RabbitPublisher(options)
        self._consumer = RabbitConsumer(options, Subscription(queue=f"crash-{uuid4().hex}"), self._hear, Recorder())
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    async def _hear(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def start(self) -> None:
        await self._publisher.start()
        await self._consumer.start()
        await self.drained()

    async def drained(self) -> list[Event]:
        """What came before the mark that is sent now."""
        kind: EventType = "io.tillgate.inventory.changed.v1"
        mark = Event(id=uuid4().hex, source="/crash", type=kind, time=datetime.now(UTC), subject="mark", data={})
        found: list[Event] = []
        async with asyncio.timeout(30):
            assert await self._publisher.publish([mark]) == [None]
            while (event := await self._events.get()).id != mark.id:
                found.append(event)
        return found

    async def close(self) -> None:
        await self._consumer.close()
        await self._publisher.close()


# ---- what is compared ---------------------------------------------------------------------------------------------


def plain(sale: PosSale) -> Any:
    """Without the moment in which it was read."""
    return msgspec.to_builtins(msgspec.structs.replace(sale, provenance=()))


async def books_of(url: str) -> dict[str, Any]:
    books: Books = open_store(StoreOptions(url=url))
    await books.start()
    try:
        files = await books.files.list(100)
        # whether a till has left out numbers is looked at some time after its last file: no part of what a crash can change
        noticed = [f for f in await books.findings.list(100) if f.kind != "sequence_gap"]
        aside = [q for f in files for q in await books.files.quarantined(f.digest, 100)]
        return {
            "sales": [plain(s) for store in ("0001", "0002") for s in await books.sales.list(store, DAY.isoformat(), None, 1000)],
            "totals": await books.sales.totals(),
            "levels": {p.sku: x.on_hand for p, x in (await books.sales.levels([SkuAt(sku=s, location_id="0001") for s in STOCK])).items()},
            "files": sorted(
                (
                    f.digest,
                    f.feed,
                    f.state,
                    f.position,
                    f.booked,
                    f.repeated,
                    f.conflicts,
                    f.quarantined,
                    f.reason,
                    sorted((f.name, *f.seen_as)),
                )
                for f in files
            ),
            "quarantined": sorted((q.digest, q.position, q.line, q.field, q.expected, q.got, MOMENT.sub(b"", q.raw), q.key) for q in aside),
            "findings": sorted((f.kind, f.subject, f.state, f.detail) for f in noticed),
            "waiting": await books.outbox.depth(),
        }
    finally:
        await books.close()


def folders_of(folder: Path) -> dict[str, bytes]:
    """Every file that is left, by its place, but for the books."""
    return {
        str(path.relative_to(folder)): MOMENT.sub(b"", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("books.db")
    }


def events_of(events: list[Event]) -> dict[str, Any]:
    """Each event by what it says; delivered again under its id it is the same event. Stock is summed up: a batch says it at once."""
    by_id = {event.id: event for event in events}
    assert all(event.data == by_id[event.id].data for event in events), "one id, two contents"
    said: Counter[tuple[str, str]] = Counter()
    stock: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event in by_id.values():
        if event.type == "io.tillgate.inventory.changed.v1":
            stock[event.subject] += Decimal(event.data["change"]["value"])
        elif event.data.get("kind") != "sequence_gap":
            said[event.type, event.subject] += 1
    return {"said": dict(said), "stock": {subject: str(change.normalize()) for subject, change in stock.items()}}


def differing(expected: Any, found: Any) -> str:
    if not isinstance(expected, dict):
        return f"expected {expected}, found {found}"
    return "; ".join(
        f"{key}: " + (differing(expected.get(key), found.get(key)))
        for key in sorted({*expected, *found}, key=str)
        if expected.get(key) != found.get(key)
    )


# ---- the proof ----------------------------------------------------------------------------------------------------


class Proof:
    def __init__(self, scratch: Path, inbox: Path, amqp: str, stores: Stores, worker: Worker) -> None:
        self._scratch, self._inbox, self._amqp, self._stores, self._worker = scratch, inbox, amqp, stores, worker
        self.heard = Heard(amqp)

    async def ends(self, bound: int, *, database: bool, all_: bool) -> tuple[str, dict[str, Any]]:
        """What killed the worker at `bound` (empty: it came to its end before), and what is found when the next one has finished."""
        folder = self._scratch / "run"
        folder.mkdir()
        shutil.copytree(self._inbox, folder / "inbox")
        store = await self._stores.fresh(folder)
        job = {"store": store, "broker": self._amqp, "exchange": EXCHANGE, "database": database, "all": all_}
        died = await asyncio.to_thread(self._worker.run, **job, bound=bound, later=0)
        assert died["ended"] in (0, -signal.SIGKILL), died["at"]
        killed = died["ended"] != 0
        if killed:
            after = await asyncio.to_thread(self._worker.run, **job, bound=0, later=3600)
            assert after["ended"] == 0, f"killed before call {bound} ({died['at']}); the next worker: {after['at']}"
        found = {**await books_of(store), "folders": folders_of(folder), "events": events_of(await self.heard.drained())}
        shutil.rmtree(folder)
        return (died["at"] if killed else ""), found

    async def holds(self, *, database: bool = False, every: int = 1, all_: bool = False) -> Counter[str]:
        """Kinds of the points, with how many of each. `database`: those of SQLite's own files. `every`: 1 for each of them. `all_`: also
        before calls that leave what is outside as it is.
        """
        at, expected = await self.ends(0, database=False, all_=all_)
        assert not at
        assert expected["sales"]
        assert expected["levels"] == {sku: Quantity(figure, "EA") for sku, figure in STOCK.items()}
        assert expected["quarantined"]
        assert expected["waiting"] == 0
        points: Counter[str] = Counter()
        for bound in count(every, every):
            at, found = await self.ends(bound, database=database, all_=all_)
            if not at:
                break
            points[at] += 1
            for part, value in expected.items():
                assert found[part] == value, f"killed before call {bound} ({at}), {part}: {differing(value, found[part])}"
        return points


@asynccontextmanager
async def proof(estate: Path, inbox: Path, amqp: str, stores: Stores, scratch: Path) -> AsyncIterator[Proof]:
    with worker(estate, scratch / "run/inbox") as forking:
        found = Proof(scratch, inbox, amqp, stores, forking)
        await found.heard.start()
        try:
            yield found
        finally:
            await found.heard.close()


def figures(engine: str, points: Counter[str]) -> str:
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(points.items()))
    return f"crash points on {engine}: {points.total()} ({kinds})"


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(1_800)
async def test_on_sqlite_a_worker_killed_before_any_call_loses_nothing_and_books_nothing_twice(
    estate: Path, inbox: Path, amqp_url: str, tmp_path: Path, record_property: Callable[[str, object], None], deep: bool
) -> None:
    """Before every call of the worker itself; in a nightly run also before every change that SQLite makes to its files."""
    async with sqlite_stores(tmp_path) as stores, proof(estate, inbox, amqp_url, stores, tmp_path) as proven:
        points = await proven.holds(all_=True)
        inside = await proven.holds(database=True) if deep else Counter[str]()
    record_property("figures", figures("SQLite", points + inside))
    assert {kind.partition(" ")[0] for kind in points} == {"file", "store", "network"}
    assert not deep or {"database write", "database sync"} <= inside.keys()


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(2_700)
async def test_on_postgresql_a_worker_killed_before_any_call_loses_nothing_and_books_nothing_twice(
    estate: Path,
    inbox: Path,
    amqp_url: str,
    fresh_postgres_dsn: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    deep: bool,
) -> None:
    """Before every call in a nightly run, before every fourth that changes something in a usual one: a usual run has to end."""
    async with postgres_stores(fresh_postgres_dsn) as stores, proof(estate, inbox, amqp_url, stores, tmp_path) as proven:
        points = await proven.holds(every=1 if deep else 4, all_=deep)
    record_property("figures", figures("PostgreSQL", points))
    assert {kind.partition(" ")[0] for kind in points} == {"file", "network"}

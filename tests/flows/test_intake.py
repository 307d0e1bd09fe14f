import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest

from adapters.files.driver import FileContract, FileFeed
from adapters.files.spec import options
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, FileRecord
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.location import Location
from contracts.canonical.sale import PosSale, SaleKey, SaleLine
from contracts.ports import SkuAt
from gateway.services.clock import Now, utc_now
from gateway.services.intake.intake import Intake
from gateway.services.intake.normal_form import NotNormal, normal_form
from mappings.language import CompiledMapping, load
from mappings.language.examples import run
from observability import Recorder
from observability.cells import OperationKey
from sandbox.faults import Faults
from sandbox.pos.till import Tills
from sandbox.world import World

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 3, 11)
WORLD = World(1, 20, 500)


class Zones:
    def __init__(self) -> None:
        self.zones: dict[str, ZoneInfo] = {s.number: ZoneInfo(s.time_zone) for s in WORLD.stores}

    def of(self, location: str) -> ZoneInfo | None:
        return self.zones.get(location)

    def location(self, number: str) -> Location | None:
        return None

    @property
    def known(self) -> int:
        return len(self.zones)


def contract(kind: str) -> FileContract:
    return FileContract("pos", ROOT / f"contracts/systems/pos/{kind}.toml")


def mapping(kind: str, layout: FileContract) -> CompiledMapping:
    text = (ROOT / f"mappings/pos/{kind}.toml").read_text(encoding="utf-8")
    return load(text, f"mappings/pos/{kind}.toml", lambda name: layout.exchange(name.partition(".")[2]), {"PosSale": PosSale})


LAYOUTS = {kind: contract(kind) for kind in ("tlog", "poslog")}
MAPPINGS = {kind: mapping(kind, layout) for kind, layout in LAYOUTS.items()}


class Shop:
    """Tills of a world, one folder, one store, and intakes over both kinds of file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tills = Tills(WORLD, Faults(), folder)
        self.inbox = self.tills.inbox
        self.books: Books = open_store(StoreOptions(url=f"sqlite:///{folder}/books.db"))
        self.zones, self.recorder = Zones(), Recorder()
        self.now: Now = utc_now
        self.feeds: list[FileFeed] = []

    async def intake(self, kind: str, **given: Any) -> Intake:
        feed = FileFeed("pos", kind, LAYOUTS[kind], options(str(self.inbox), {"complete": "renamed", "watch": False, **given}))
        await feed.start()
        self.feeds.append(feed)
        return Intake(feed, MAPPINGS[kind], self.books, self.recorder, self.zones, "/test", now=self._clock)

    def _clock(self) -> datetime:
        return self.now()

    async def sweep(self, **given: Any) -> int:
        return sum([await (await self.intake(kind, **given)).sweep_once() for kind in LAYOUTS])

    async def record(self, name: str) -> FileRecord:
        return next(r for r in await self.books.files.list(1000) if name in (r.name, *r.seen_as))

    async def reconciled(self) -> None:
        """To the unit and the cent: what undamaged files hold is in the books, once."""
        truth: Any = self.tills.books(readable=True, detail=False)["stores"]
        totals = await self.books.sales.totals()
        for store, said in truth.items():
            ours = totals.get(store, {"sales": 0, "cents": 0, "units_milli": 0})
            units = sum(int(Decimal(n) * 1000) for n in said["units"].values())
            assert (ours["sales"], ours["cents"], ours["units_milli"]) == (said["counted"], said["grand"], units), store

    def left(self) -> list[str]:
        return sorted(p.name for p in self.inbox.iterdir())


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    found = Shop(tmp_path)
    await found.books.start()
    yield found
    for feed in found.feeds:
        await feed.close()
    await found.books.close()


@pytest.mark.parametrize("kind", ["tlog", "poslog"])
def test_every_example_of_the_mapping_holds(kind: str) -> None:
    def no_xml(text: bytes) -> Any:
        raise AssertionError(text)

    outcomes = run(MAPPINGS[kind], no_xml)
    assert outcomes
    assert [str(o.finding) for o in outcomes if o.finding] == []


@pytest.mark.slow
async def test_a_random_day_of_both_kinds_agrees_with_the_tills_to_the_unit_and_the_cent(shop: Shop) -> None:
    for store in ("0001", "0002", "0003"):
        shop.tills.random_day(store, 120, DAY)
    shop.tills.flush()
    assert await shop.sweep(batch=50) == 3
    await shop.reconciled()
    assert shop.left() == []
    archived = sorted(str(p.relative_to(shop.inbox.parent)) for p in (shop.inbox.parent / "archive").rglob("*.*"))
    assert [a.rpartition("/")[0] for a in archived] == [f"archive/2026-03-11/000{n}" for n in (1, 2, 3)]


async def test_returns_voids_training_and_exchange_move_stock_as_they_should(shop: Shop) -> None:
    pair = {SkuAt(sku="10000001", location_id="0001"): ()}
    sale = shop.tills.sell("0001", [("10000001", 5)], business_date=DAY)
    shop.tills.sell("0001", [("10000001", 2)], kind="return", of=sale.key, business_date=DAY)
    for flag in ("training", "cancelled", "suspended"):
        shop.tills.sell("0001", [("10000001", 9)], flags=(flag,), business_date=DAY)
    shop.tills.sell("0001", kind="void", of=shop.tills.sell("0001", [("10000001", 4)], business_date=DAY).key, business_date=DAY)
    shop.tills.sell("0001", [{"sku": "10000001", "quantity": 1, "voided": True}, ("10000002", 1)], business_date=DAY)
    shop.tills.sell("0001", [{"sku": "10000001", "quantity": 1, "kind": "return"}, ("10000002", 1)], kind="exchange", business_date=DAY)
    shop.tills.flush()
    await shop.sweep()
    assert await shop.books.sales.delta(pair) == {SkuAt(sku="10000001", location_id="0001"): Decimal(2)}  # 5 - 2 - 1
    await shop.reconciled()
    original = next(t for t in shop.tills.transactions() if t.kind == "post_void").links[0].key
    key = SaleKey(
        store_number="0001",
        workstation_id=original.workstation,
        business_date=original.business_date.isoformat(),
        sequence_number=original.sequence,
    )
    voided = await shop.books.sales.get(key)
    assert voided is not None
    assert voided.flags.post_voided
    assert voided.store_time_zone == "Europe/Berlin"


@pytest.mark.parametrize("store", ["0001", "0002"])
@pytest.mark.parametrize("how", ["bad_line", "unknown_enum"])
async def test_a_bad_transaction_is_set_aside_with_place_and_bytes_and_the_others_are_booked(shop: Shop, store: str, how: Any) -> None:
    shop.tills.random_day(store, 20, DAY)
    path = shop.tills.write_file(store, damage=how)
    await shop.sweep()
    record = await shop.record(path.name)
    assert (record.state, record.quarantined) == ("done", 1)
    (bad,) = await shop.books.files.quarantined(record.digest, 10)
    assert (bad.file, bad.line > 0, bool(bad.field)) == (path.name, True, True)
    assert bad.raw
    assert bad.field in bad.reason
    await shop.reconciled()
    events = [r.event.type for r in await shop.books.outbox.due("t", datetime.now(UTC), 60, 1000)]
    assert events.count("io.tillgate.file.quarantined.v1") == 1
    assert "io.tillgate.sale.committed.v1" in events


@pytest.mark.parametrize(
    ("store", "how"), [("0001", "wrong_total"), ("0001", "truncated"), ("0002", "truncated"), ("0002", "wrong_encoding")]
)
async def test_a_file_that_its_layout_refuses_books_nothing_and_lies_beside_its_reason(shop: Shop, store: str, how: Any) -> None:
    shop.tills.random_day(store, 20, DAY)
    path = shop.tills.write_file(store, damage=how)
    await shop.sweep()
    record = await shop.record(path.name)
    assert (record.state, record.booked, shop.left()) == ("refused", 0, [])
    note = (shop.inbox.parent / "quarantine" / f"{path.name}.reason.txt").read_text()
    assert record.reason in note
    assert len(record.reason) > 10
    assert await shop.books.sales.totals() == {}


@pytest.mark.parametrize("store", ["0001", "0002"])
async def test_repeats_change_nothing_and_other_content_is_a_conflict(shop: Shop, store: str) -> None:
    shop.tills.random_day(store, 20, DAY)
    first = shop.tills.write_file(store)
    again = shop.tills.damage(first, "renamed").path
    await shop.sweep()
    record = await shop.record(again.name)
    assert (record.name, record.seen_as) == (first.name, (again.name,))
    resent = shop.tills.damage(first, "resent").path
    conflict = shop.tills.damage(first, "conflict").path
    await shop.sweep()
    seen_again = await shop.record(resent.name)  # a POSLog holds nothing of its own: resent, it is the same bytes
    assert seen_again.repeated == record.booked if store == "0001" else resent.name in seen_again.seen_as
    assert (await shop.record(conflict.name)).conflicts == 1
    told = [row.event for row in await shop.books.outbox.due("me", utc_now(), 1, 10_000) if row.event.subject == conflict.name]
    assert [event.data["quarantined"] for event in told] == [1]
    assert shop.left() == []
    await shop.reconciled()


async def test_a_half_written_file_is_not_touched_until_it_is_complete(shop: Shop) -> None:
    shop.tills.random_day("0001", 20, DAY)
    path = shop.tills.write_file("0001", mode="half")
    intake = await shop.intake("tlog", complete="quiet", quiet="200ms")
    for _ in range(3):
        assert await intake.sweep_once() == 0
        with path.open("ab") as out:  # a slow writer
            out.write(b"")
        os.utime(path)
        await asyncio.sleep(0.1)
    shop.tills.complete(path)
    assert await intake.sweep_once() == 0
    await asyncio.sleep(0.25)
    assert await intake.sweep_once() == 1
    await shop.reconciled()


async def test_a_declared_share_of_bad_transactions_refuses_the_file_before_anything_is_booked(shop: Shop) -> None:
    shop.tills.random_day("0001", 20, DAY)
    path = shop.tills.write_file("0001", damage="bad_line")
    await shop.sweep(refuse_share=0.01)
    record = await shop.record(path.name)
    assert (record.state, record.booked) == ("refused", 0)
    assert "more than the declared share of 1.0%" in record.reason


@pytest.mark.parametrize(("total", "state", "booked"), [(-1, "done", 2100), (1, "refused", 0)])
async def test_a_long_file_whose_total_differs_is_refused_unless_a_bad_transaction_is_why(
    shop: Shop, total: int, state: str, booked: int
) -> None:
    sale = "TH;001;{n:06};S;20260311120000;20260311120000;0012;;EUR;\nTL;1;S;000010000001;;1000;ST;100;100;;S\nTT;BAR;100;;;\nTF;100;100;0;"
    sale += "100\n"
    rows = [sale.format(n=n) for n in range(1, 2101)]
    if total < 0:
        rows.append(sale.format(n=2101).replace("0;100\n", "0;900\n"))
    trailer = f"FT;{len(rows)};{len(rows)};{100 * len(rows) + total}\n"
    path = shop.inbox / "TLOG_0001_20260311_00001.tlog"
    path.write_text("FH;2;0001;20260311;20260311220000;00001\n" + "".join(rows) + trailer)
    await shop.sweep()
    record = await shop.record(path.name)
    assert (record.state, record.booked, record.quarantined) == (state, booked, len(rows) - 2100)
    assert ("unproven" if state == "done" else "the file holds") in record.reason


async def test_files_wait_while_no_zone_is_known_and_one_unknown_zone_sets_aside_its_sales(shop: Shop) -> None:
    shop.tills.random_day("0001", 5, DAY)
    path = shop.tills.write_file("0001")
    known, shop.zones.zones = shop.zones.zones, {}
    assert await shop.sweep() == 0
    assert shop.left() == [path.name]
    shop.zones.zones = {k: v for k, v in known.items() if k != "0001"}
    assert await shop.sweep() == 1
    record = await shop.record(path.name)
    bad = await shop.books.files.quarantined(record.digest, 100)
    assert (record.booked, len(bad)) == (0, record.position)
    assert "time zone is known" in bad[0].reason


async def test_empty_oversize_and_link_files_cost_nothing(shop: Shop) -> None:
    empty = shop.inbox / "TLOG_0001_20260311_00001.tlog"
    empty.touch()
    (shop.inbox / "TLOG_0001_20260311_00002.tlog").symlink_to("/etc/passwd")
    big = shop.inbox / "TLOG_0001_20260311_00003.tlog"
    big.touch()
    os.truncate(big, 10**12)
    assert await shop.sweep() == 2
    assert (await shop.record(empty.name)).reason == "the file is empty"
    assert "larger than" in (await shop.record(big.name)).reason
    assert shop.left() == ["TLOG_0001_20260311_00002.tlog"]
    told = await shop.books.findings.list(9, kind="file_refused")
    assert [(f.state, f.file) for f in told] == [("open", "TLOG_0001_20260311_00002.tlog")]
    assert "a symbolic link" in told[0].detail
    (shop.inbox / "TLOG_0001_20260311_00002.tlog").unlink()
    await shop.sweep()
    assert [f.state for f in await shop.books.findings.list(9, kind="file_refused")] == ["closed"]


async def test_a_file_whose_name_is_in_no_encoding_is_taken_like_any_other(shop: Shop) -> None:
    (shop.inbox / os.fsdecode(b"TLOG-\xfc.zip")).write_bytes(b"no zip")
    (shop.inbox / os.fsdecode(b"TLOG-\xfc.zip.done")).touch()
    assert await (await shop.intake("tlog", archives=r"TLOG.*\.zip", complete="marker")).sweep_once() == 1
    record = await shop.record(r"TLOG-\udcfc.zip")
    assert (record.state, record.seen_as, shop.left()) == ("refused", (), [])
    assert (await shop.books.outbox.due("me", utc_now(), 1, 9))[-1].event.subject == record.name


async def test_what_nobody_thought_of_in_one_file_stops_no_other(shop: Shop) -> None:
    for store in ("0001", "0002"):
        shop.tills.random_day(store, 1, DAY)
        shop.tills.write_file(store, "tlog")
    intake = await shop.intake("tlog", attempts=1)
    commit = shop.books.sales.commit

    async def stumbling(batch: Any, now: datetime) -> Any:
        if any(sale.key.store_number == "0001" for sale in batch.sales):
            raise ZeroDivisionError
        return await commit(batch, now)

    shop.books.sales.commit = stumbling  # type: ignore[method-assign]  # no known way leads there
    assert await intake.sweep_once() == 1
    assert len(shop.left()) == 1
    shop.now = lambda: utc_now() + timedelta(hours=1)
    assert await intake.sweep_once() == 1
    assert "workers died over this file" in (await shop.record("TLOG_0001_20260311_00001.tlog")).reason


async def test_a_folder_that_cannot_be_written_keeps_the_file_and_books_it_once(shop: Shop) -> None:
    shop.tills.random_day("0001", 5, DAY)
    path = shop.tills.write_file("0001")
    blocker = shop.folder / "blocker"
    blocker.touch()
    intake = await shop.intake("tlog")
    intake._feed.inbox.options = options(str(shop.inbox), {"archive": str(blocker), "complete": "renamed"})  # type: ignore[attr-defined]  # the disk's place
    assert await intake.sweep_once() == 0
    assert (await shop.record(path.name)).state == "done"
    assert shop.left() == [path.name]
    assert await shop.sweep() == 0  # only archived
    assert shop.left() == []
    await shop.reconciled()


async def test_a_dead_workers_file_is_taken_over_behind_its_position_and_its_old_claim_books_nothing(shop: Shop) -> None:
    shop.tills.random_day("0001", 60, DAY)
    path = shop.tills.write_file("0001")
    first = await shop.intake("tlog", batch=10)
    stop = asyncio.Event()
    commit = shop.books.sales.commit
    commits = 0

    async def counted(batch: Any, now: datetime) -> Any:
        nonlocal commits
        commits += 1
        if commits == 3:
            stop.set()
        return await commit(batch, now)

    shop.books.sales.commit = counted  # type: ignore[method-assign]  # counts only
    await first.run(stop)
    record = await shop.record(path.name)
    assert (record.state, record.position, shop.left()) == ("claimed", 30, [path.name])
    shop.now = lambda: datetime.now(UTC) + timedelta(seconds=60)
    assert await shop.sweep() == 1
    record = await shop.record(path.name)
    assert (record.state, record.repeated, record.fence) == ("done", 0, 2)
    await shop.reconciled()


async def test_the_flight_of_a_file_tells_its_counts(shop: Shop) -> None:
    class Kept:
        flights: list[Any] = []  # noqa: RUF012  # one test, one list

        losses: ClassVar[dict[str, int]] = {}

        def put(self, record: Any) -> None:
            self.flights.append((record.kind, record.name, record.store, [h.kind.value for h in record.hops], dict(record.root.attributes)))

        async def close(self) -> None: ...

    shop.recorder = Recorder(sinks=[Kept()], head_share=1.0)
    shop.tills.random_day("0001", 20, DAY)
    path = shop.tills.write_file("0001", damage="bad_line")
    await shop.sweep()
    kind, name, store, steps, attributes = Kept.flights[0]
    assert (kind, name, store, steps) == ("file", "pos.tlog", "0001", ["file.receive", "file.parse", "file.publish"])
    assert (attributes["file"], attributes["records_quarantined"]) == (path.name, 1)


async def test_a_file_counts_as_one_call_of_its_feed_and_a_refused_one_as_a_failed_call(shop: Shop) -> None:
    shop.tills.random_day("0001", 20, DAY)
    shop.tills.write_file("0001")
    await shop.sweep()
    (shop.inbox / "TLOG_0001_20260311_99999.tlog").touch()
    await shop.sweep()
    cell = shop.recorder.snapshot().operations[OperationKey("pos", "tlog")]
    assert (cell.n, cell.failed, cell.count("data")) == (2, 1, 1)


# ---- dying --------------------------------------------------------------------------------------------------------


def worker(folder: Path, bound: int = 0) -> int:
    arguments = [sys.executable, "-m", "tests.flows.intake_worker", str(folder), str(bound)]
    return subprocess.run(arguments, cwd=ROOT, check=False, timeout=60).returncode


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [(105, 215), (490, 120), (545,), (560, 30)])
async def test_a_killed_worker_loses_nothing_and_books_nothing_twice(tmp_path: Path, bounds: tuple[int, ...]) -> None:
    """Killed while it claims, between commits, behind the last one, with the ledger done and the file still in the inbox. Before every
    single call: tests/flows/test_crash.py.
    """
    shop = Shop(tmp_path)
    shop.tills.random_day("0001", 60, DAY)
    shop.tills.write_file("0001")
    shutil.move(shop.inbox, tmp_path / "inbox")
    for bound in bounds:
        died = await asyncio.to_thread(worker, tmp_path, bound)
        assert died in (-signal.SIGKILL, 0)
        assert died or bound != bounds[0] or bound > 570, "it ended before its step came"
    assert await asyncio.to_thread(worker, tmp_path) == 0
    await shop.books.start()
    try:
        await shop.reconciled()
        sales = [
            r.event for r in await shop.books.outbox.due("t", datetime.now(UTC), 60, 1000) if r.event.type.startswith("io.tillgate.sale")
        ]
        assert len({e.subject for e in sales}) == len(sales) == sum(t.counts for t in shop.tills.transactions())
    finally:
        await shop.books.close()
    assert list((tmp_path / "inbox").iterdir()) == []


# ---- the normal form ----------------------------------------------------------------------------------------------


def line(number: int, kind: Any, units: str, **more: Any) -> SaleLine:
    return SaleLine(
        line_number=number, line_type=kind, extended_amount=Money(100, "EUR", 2), item_id="1", units=Quantity(units, "EA"), **more
    )


def sale(*lines: SaleLine, kind: Any = "sale") -> PosSale:
    key = SaleKey(store_number="1", workstation_id="1", business_date="2026-03-11", sequence_number=1)
    return PosSale(key=key, transaction_type=kind, begin_at=datetime.now(UTC), currency_code="EUR", lines=lines)


Kinds = list[tuple[str, str, bool, int | None]]


def kinds(found: PosSale) -> Kinds:
    return [(x.line_type, x.units.value if x.units else "", x.voided, x.voids_line) for x in found.lines]


@pytest.mark.parametrize(
    ("dialect", "lines", "expected", "type_"),
    [
        ({"return_line": "negative"}, (line(1, "sale", "-2"),), [("return", "2", False, None)], "return"),
        ({"return_line": "negative"}, (line(1, "sale", "1"), line(2, "sale", "-2")),
         [("sale", "1", False, None), ("return", "2", False, None)], "exchange"),
        ({"void_line": "flag"}, (line(1, "sale", "1", voided=True),), [("sale", "1", True, None)], "sale"),
        ({"void_line": "reversing", "return_line": "negative"}, (line(1, "sale", "2"), line(2, "sale", "-2", voided=True)),
         [("sale", "2", False, None), ("return", "2", False, 1)], "sale"),
        ({"void_line": "flagged_reversing"}, (line(1, "sale", "2"), line(2, "sale", "2"), line(3, "sale", "2", voided=True)),
         [("sale", "2", False, None), ("sale", "2", False, None), ("return", "2", False, 2)], "sale"),
    ],
)  # fmt: skip
def test_the_declared_dialect_gives_one_normal_form(
    dialect: dict[str, str], lines: tuple[SaleLine, ...], expected: Kinds, type_: str
) -> None:
    found = normal_form(sale(*lines), dialect, None)
    assert (kinds(found), found.transaction_type) == (expected, type_)


@pytest.mark.parametrize(
    ("dialect", "lines"), [({}, (line(1, "sale", "-1"),)), ({"void_line": "flagged_reversing"}, (line(1, "sale", "2", voided=True),))]
)
def test_what_the_dialect_does_not_allow_is_set_aside(dialect: dict[str, str], lines: tuple[SaleLine, ...]) -> None:
    with pytest.raises(NotNormal):
        normal_form(sale(*lines), dialect, None)

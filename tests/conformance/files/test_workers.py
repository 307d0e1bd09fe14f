"""Several workers over one place: what a dead one left is taken over, and what came before is known again."""

import asyncio
import gzip
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.files.driver import FileFeed
from adapters.files.spec import options
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, FileRecord
from contracts.errors import UpstreamError
from gateway.services.intake.intake import Intake
from observability import Recorder
from sandbox.faults import Faults
from sandbox.pos.till import Tills
from tests.conformance.files.conftest import Place
from tests.flows.test_intake import LAYOUTS, MAPPINGS, WORLD, Zones

DAY = date(2026, 3, 11)


@dataclass
class Works:
    place: Place
    books: Books
    tills: Tills
    ahead: timedelta = timedelta()
    feeds: list[FileFeed] = field(default_factory=list)

    async def worker(self, **given: Any) -> Intake:
        """As one process has it: a storage, an inbox and a name of its own."""
        chosen = options(self.place.inbox, {"complete": "renamed", "watch": False, "batch": 10, **given})
        feed = FileFeed("pos", "tlog", LAYOUTS["tlog"], chosen, storage=self.place.make())
        await feed.start()
        self.feeds.append(feed)
        return Intake(feed, MAPPINGS["tlog"], self.books, Recorder(), Zones(), "/test", now=lambda: datetime.now(UTC) + self.ahead)

    def rung(self, store: str = "0001", transactions: int = 60, **more: Any) -> Path:
        """A file of a till, and where it lies; nowhere yet."""
        self.tills.random_day(store, transactions, DAY)
        return self.tills.write_file(store, "tlog", **more)

    def drop(self, path: Path, name: str = "", body: bytes | None = None) -> str:
        target = self.place.disk / "inbox" / (name or path.name)
        part = target.with_name(f".{target.name}")
        part.write_bytes(path.read_bytes() if body is None else body)
        part.replace(target)
        return target.name

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.place.disk / "inbox").iterdir())

    async def record(self, name: str) -> FileRecord:
        return next(r for r in await self.books.files.list(100) if name in (r.name, *r.seen_as))

    async def counted(self) -> dict[str, tuple[int, int]]:
        return {store: (said["sales"], said["cents"]) for store, said in (await self.books.sales.totals()).items()}

    def truth(self, *stores: str) -> dict[str, tuple[int, int]]:
        said: Any = self.tills.books(readable=True, detail=False)["stores"]
        return {store: (said[store]["counted"], said[store]["grand"]) for store in stores}


@pytest.fixture
async def works(place: Place, tmp_path: Path) -> AsyncIterator[Works]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/books.db"))
    await books.start()
    found = Works(place, books, Tills(WORLD, Faults(), tmp_path / "tills"))
    yield found
    for feed in found.feeds:
        await feed.close()
    await books.close()


async def killed_after(works: Works, worker: Intake, commits: int) -> None:
    """Ends the worker without a word at its commit of this number: the claim stands, the lease runs on."""
    reached = asyncio.Event()
    commit, count = works.books.sales.commit, 0

    async def counted(batch: Any, now: datetime) -> Any:
        nonlocal count
        count += 1
        if count > commits:
            reached.set()
            await asyncio.sleep(60)
        return await commit(batch, now)

    works.books.sales.commit = counted  # type: ignore[method-assign]  # stops there
    task = asyncio.create_task(worker.sweep_once())
    await asyncio.wait_for(reached.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    works.books.sales.commit = commit  # type: ignore[method-assign]  # as it was


async def test_a_dead_workers_file_is_taken_over_from_its_last_committed_position(works: Works) -> None:
    name = works.drop(works.rung())
    first, second = await works.worker(), await works.worker()
    await killed_after(works, first, 3)
    record = await works.record(name)
    assert (record.state, record.position, record.booked) == ("claimed", 30, 30)
    assert await second.sweep_once() == 0, "the lease of the dead one has not ended"
    works.ahead = timedelta(seconds=60)
    assert await second.sweep_once() == 1
    record = await works.record(name)
    assert (record.state, record.repeated, record.fence, record.attempts) == ("done", 0, 2, 1)
    assert await works.counted() == works.truth("0001")
    assert works.left() == []
    assert [path.rpartition("/")[2] for path in works.place.kept()] == [name]


async def test_a_packed_file_is_taken_over_within_its_member(works: Works) -> None:
    paths = [works.rung("0001", 30), works.rung("0002", 30)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    name = works.drop(paths[0], "DAY.zip", out.getvalue())
    first, second = await works.worker(archives=r"DAY\.zip"), await works.worker(archives=r"DAY\.zip")
    await killed_after(works, first, 4)
    assert (await works.record(name)).position == 40
    works.ahead = timedelta(seconds=60)
    assert await second.sweep_once() == 1
    record = await works.record(name)
    assert (record.state, record.fence, record.repeated) == ("done", 2, 0)
    assert record.booked > 40
    assert await works.counted() == works.truth("0001", "0002")


async def test_many_workers_book_each_file_once(works: Works) -> None:
    stores = ("0001", "0002", "0003", "0004")
    for store in stores:
        works.drop(works.rung(store, 25))
    workers = [await works.worker() for _ in range(3)]
    await asyncio.gather(*(worker.sweep_once() for worker in workers))
    await workers[0].sweep_once()
    assert await works.counted() == works.truth(*stores)
    assert works.left() == []
    assert len(works.place.kept()) == 4


async def test_content_that_comes_again_is_put_away_and_told_and_not_booked(works: Works) -> None:
    path = works.rung()
    first = works.drop(path)
    worker = await works.worker()
    await worker.sweep_once()
    booked = await works.counted()
    other = works.drop(path, first.replace("00001", "00002"))
    await worker.sweep_once()
    works.drop(path, first)
    works.ahead = timedelta(seconds=2)
    await worker.sweep_once()
    assert await works.counted() == booked
    assert works.left() == []
    assert len(works.place.kept()) == 3
    again = [f.detail for f in await works.books.findings.list(9, kind="file_again")]
    known = await works.record(first)
    assert f"{other} came with the content of {first}, which is booked ({known.booked} transactions)" in again


async def test_a_packed_resend_is_another_file_whose_sales_are_known(works: Works) -> None:
    path = works.rung()
    works.drop(path)
    worker = await works.worker()
    await worker.sweep_once()
    booked = await works.counted()
    packed = works.drop(path, f"{path.name}.gz", gzip.compress(path.read_bytes(), mtime=0))
    await worker.sweep_once()
    record = await works.record(packed)
    assert (record.state, record.booked, record.repeated) == ("done", 0, (await works.record(path.name)).booked)
    assert await works.counted() == booked


async def test_a_bad_transaction_of_a_zip_names_file_and_member(works: Works) -> None:
    path = works.rung(damage="bad_line")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.write(path, path.name)
    works.drop(path, "DAY.zip", out.getvalue())
    await (await works.worker(archives=r"DAY\.zip")).sweep_once()
    (bad,) = await works.books.files.quarantined(None, 9)
    assert bad.file == f"DAY.zip/{path.name}"
    assert bad.line > 1


async def test_a_cut_off_zip_is_refused_before_anything_is_booked(works: Works) -> None:
    path = works.rung()
    packed = gzip.compress(path.read_bytes())
    name = works.drop(path, f"{path.name}.gz", packed[: len(packed) - 20])
    await (await works.worker()).sweep_once()
    record = await works.record(name)
    assert (record.state, record.booked) == ("refused", 0)
    assert "is cut off" in record.reason
    assert await works.counted() == {}
    assert sorted(path.rpartition("/")[2] for path in works.place.kept()) == [name, f"{name}.reason.txt"]


async def test_a_line_that_breaks_leaves_the_file_for_the_next_sweep(works: Works) -> None:
    """Of a server: while the file is copied, and while it is put away. A folder has no line, and nothing is left."""
    name = works.drop(works.rung())
    worker = await works.worker()
    if works.place.host is not None:
        works.place.host.cut_after = 1000
        with pytest.raises(UpstreamError, match="the connection to the server was lost"):
            await worker.sweep_once()
        assert not await works.books.files.list(9)
        archive = works.feeds[0].archive

        async def cut(*given: Any) -> Any:
            assert works.place.host is not None
            works.place.host.cut()
            works.feeds[0].archive = archive  # type: ignore[method-assign]  # the line is back
            return await archive(*given)

        works.feeds[0].archive = cut  # type: ignore[method-assign]  # the line breaks between the last commit and the archive
        await worker.sweep_once()
    while works.left():
        await worker.sweep_once()
    record = await works.record(name)
    assert (record.state, record.repeated, record.attempts) == ("done", 0, 1)
    assert await works.counted() == works.truth("0001")


async def test_files_of_a_store_wait_for_the_one_before_them_which_another_worker_has(works: Works) -> None:
    first, other, second = works.rung("0001", 25), works.rung("0002", 5), works.rung("0001", 5)
    for path in (first, other, second):
        works.drop(path)
    numbered = {"sequence": {"group": "file_no"}}
    dead, alive = await works.worker(**numbered), await works.worker(**numbered)
    await killed_after(works, dead, 1)
    assert await alive.sweep_once() == 1
    assert works.left() == sorted([first.name, second.name]), "the second of the store would overtake its first"
    works.ahead = timedelta(seconds=60)
    assert await alive.sweep_once() == 2
    ended = [await works.record(path.name) for path in (first, second)]
    assert ended[0].finished_at is not None
    assert ended[1].finished_at is not None
    assert ended[0].finished_at <= ended[1].finished_at
    assert await works.counted() == works.truth("0001", "0002")


async def test_files_of_several_stores_are_read_at_once_only_when_it_is_declared(works: Works) -> None:
    stores = ("0001", "0002", "0003")
    for store in stores:
        works.drop(works.rung(store, 10))
        works.drop(works.rung(store, 10))
    commit, now, most = works.books.sales.commit, list[str](), list[list[str]]()

    async def counted(batch: Any, at: datetime) -> Any:
        now.append(batch.sales[0].key.store_number if batch.sales else "")
        most.append(sorted(now))
        await asyncio.sleep(0.02)
        try:
            return await commit(batch, at)
        finally:
            now.remove(batch.sales[0].key.store_number if batch.sales else "")

    works.books.sales.commit = counted  # type: ignore[method-assign]  # counts only
    assert await (await works.worker(parallel=3)).sweep_once() == 6
    assert max(map(len, most)) > 1
    assert all(len(each) == len(set(each)) for each in most), "one file of a store at a time"
    assert await works.counted() == works.truth(*stores)
    for store in stores:
        works.drop(works.rung(store, 10))
    most.clear()
    assert await (await works.worker()).sweep_once() == 3
    assert max(map(len, most)) == 1

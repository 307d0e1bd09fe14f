import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.files.driver import FileContract, FileFeed
from adapters.files.parsing import Unit
from adapters.files.spec import FeedOptions
from contracts.errors import BadFile, UpstreamError
from contracts.policy import Duration
from tests.unit.adapters.files.formats.test_delimited import HEAD, SALE

NAME = "TLOG_0001_20260311_00001.tlog"


@pytest.fixture
async def feed(tmp_path: Path, root: Path) -> AsyncIterator[FileFeed]:
    contract = FileContract("pos", root / "contracts/systems/pos/tlog.toml")
    options = FeedOptions(inbox=str(tmp_path / "inbox"), complete="renamed", batch=10, sweep=Duration(30))
    found = FileFeed("pos", "tlog", contract, options)
    await found.start()
    yield found
    await found.close()


def drop(feed: FileFeed, transactions: int, name: str = NAME) -> Path:
    rows = b"".join(SALE.replace(b"000001", b"%06d" % n) for n in range(1, transactions + 1))
    path = feed.options.inbox_path / name
    part = path.with_name(f".{name}")
    part.write_bytes(HEAD + rows + b"FT;%d;%d;%d\n" % (transactions, transactions, 500 * transactions))
    part.replace(path)
    return path


async def test_batches_come_from_a_named_thread_and_begin_behind_a_position(feed: FileFeed) -> None:
    drop(feed, 35)
    (file,) = [f async for f in feed.files()]
    threads = set()

    def convert(unit: Unit) -> int:
        threads.add(threading.current_thread().name)
        return unit.position

    async with feed.read(file, convert, after=12) as reading:
        batches = [b async for b in reading.batches]
        ending = reading.ending
    assert [b[0] for b in batches] == [13, 23, 33]
    assert (batches[-1][-1], ending.units, ending.rows) == (35, 35, 142)
    assert {t.rpartition("_")[0] for t in threads} == {"files-tlog"}


async def test_a_reader_that_stops_early_leaves_nothing_open(feed: FileFeed) -> None:
    drop(feed, 200)
    (file,) = [f async for f in feed.files()]
    async with feed.read(file, lambda unit: unit.position) as reading:
        async for _ in reading.batches:
            break
    async with feed.read(file, lambda unit: unit.position) as reading:
        assert len([b async for b in reading.batches]) == 20


async def test_a_file_that_is_none_of_this_feed_is_a_bad_file(feed: FileFeed) -> None:
    drop(feed, 1).write_bytes(b"hello\n")
    (file,) = [f async for f in feed.files()]
    with pytest.raises(BadFile, match="expected the file header FH"):
        async with feed.read(file, lambda unit: unit) as reading:
            [b async for b in reading.batches]


async def test_a_file_that_changes_under_the_reader_is_no_result(feed: FileFeed) -> None:
    path = drop(feed, 100)
    (file,) = [f async for f in feed.files()]

    async def reads() -> list[Any]:
        async with feed.read(file, lambda unit: unit.position) as reading:
            found = []
            async for batch in reading.batches:
                with path.open("ab") as out:
                    out.write(b"x")
                found += batch
            return found

    with pytest.raises(BadFile, match="changed while it was read"):
        await reads()


async def test_a_missing_inbox_is_an_error_that_may_heal(feed: FileFeed) -> None:
    feed.options.inbox_path.rmdir()
    with pytest.raises(UpstreamError, match="the inbox cannot be read"):
        [f async for f in feed.files()]


async def test_a_new_file_wakes_the_sweep_and_stopping_ends_the_wait(feed: FileFeed) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(feed.wait(stop))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    drop(feed, 1)
    await asyncio.wait_for(waiting, 5)
    waiting = asyncio.create_task(feed.wait(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(waiting, 1)

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import UpstreamTimeout
from observability import FlightRecord, Recorder, Step, step
from observability.keep import Keep
from observability.ring import SUFFIX, Ring


@asynccontextmanager
async def opened(directory: Path, **limits: Any) -> AsyncIterator[tuple[Recorder, Ring]]:
    ring = Ring(directory, **limits)
    ring.start()
    recorder = Recorder(sinks=[ring], keep=Keep(per_second=1e6), objective=0)  # everything is late, so everything is kept
    yield recorder, ring
    await recorder.close()


def fly(recorder: Recorder, name: str = "GET /x", *, channel: str = "web", system: str = "erp", fail: bool = False) -> FlightRecord:
    with recorder.flight("request", name, channel=channel) as record:
        with step(Step.CALL, system=system, operation="GetStock"):
            pass
        if fail:
            record.failed(UpstreamTimeout(system=system, operation="GetStock"))
    return record


async def test_a_trace_can_be_read_as_soon_as_it_was_put_with_all_its_flights(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, ring):
        record = fly(recorder)
        with recorder.flight("process", "order", parent=record.traceparent, trusted=True):
            pass
        spans = await ring.trace(record.trace_id)
        assert spans is not None
        assert [s.name for s in spans] == ["GET /x", "call erp.GetStock", "order"]
        assert spans[2].parent_id == record.span_id
        assert spans[0].start == record.wall


async def test_unknown_and_malformed_trace_ids_find_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (_, ring):
        for bad in ("f" * 32, "", "zz", "' or 1=1 --", "f" * 31, "f" * 4000):
            assert await ring.trace(bad) is None


async def test_recent_filters_and_orders_newest_first(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, ring):
        fly(recorder, "GET /a")
        fly(recorder, "GET /b", channel="mobile")
        bad = fly(recorder, "GET /c", system="oms", fail=True)
        assert [f.name for f in await ring.recent()] == ["GET /c", "GET /b", "GET /a"]
        assert [f.name for f in await ring.recent(2)] == ["GET /c", "GET /b"]
        assert [f.name for f in await ring.recent(channel="mobile")] == ["GET /b"]
        assert [f.name for f in await ring.recent(route="GET /a")] == ["GET /a"]
        assert [f.name for f in await ring.recent(system="erp")] == ["GET /b", "GET /a"]
        assert await ring.recent(system="er") == []
        found = await ring.recent(outcome="bad")
        assert [(f.name, f.error_type, f.trace_id) for f in found] == [("GET /c", "timeout.read", bad.trace_id)]
        older = await ring.recent(before=found[0].start)
        assert [f.name for f in older] == ["GET /b", "GET /a"]


async def test_moments_beyond_what_the_file_can_say_are_the_first_and_the_last(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, ring):
        fly(recorder)
        first, last = (datetime(year, 1, 2, tzinfo=UTC) for year in (1, 9999))
        assert len(await ring.recent(since=first, before=last)) == 1
        assert await ring.recent(since=last) == await ring.recent(before=first) == []
        assert (await ring.edges(first)).requests == {"GET /x": 1}


async def test_files_belong_to_their_owner_only(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, ring):
        fly(recorder)
        await ring.recent()
        modes = {p.stat().st_mode & 0o777 for p in ring.directory.iterdir()}
        assert modes == {0o600}
        assert ring.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
async def test_the_ring_stays_within_its_bytes_and_drops_the_oldest_first(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring", max_bytes=400_000) as (recorder, ring):
        for _ in range(12):
            for _ in range(150):
                fly(recorder)
            await ring.recent(1)
        size = sum(p.stat().st_size for p in ring.directory.iterdir() if not p.name.endswith("-shm"))
        assert size < 600_000
        newest = await ring.recent(1_000)
        assert 0 < len(newest) <= 1_000
        assert ring.written == 1_800
        assert ring.failed == ring.dropped == 0


async def test_files_beyond_the_age_are_deleted(tmp_path: Path) -> None:
    directory = tmp_path / "ring"
    async with opened(directory) as (recorder, _):
        old = fly(recorder)
    segment = next(directory.glob(f"*{SUFFIX}"))
    os.utime(segment, (1, 1))
    async with opened(directory) as (recorder, ring):
        fly(recorder)
        await ring.recent()
        assert await ring.trace(old.trace_id) is None
        assert not segment.exists()


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, _):
        record = fly(recorder)
    async with opened(tmp_path / "ring") as (_, ring):
        assert await ring.trace(record.trace_id)


async def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", queue=5)  # its writer is not started
    recorder = Recorder(sinks=[ring], objective=0, keep=Keep(per_second=1e6))
    for _ in range(12):
        fly(recorder)
    assert ring.dropped == 7
    await ring.close()


async def test_a_flight_that_cannot_be_written_is_counted_and_takes_no_other_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, ring):
        fly(recorder)
        with recorder.flight("file", "pos.tlog") as odd:
            odd.name = 7  # type: ignore[assignment]  # a mistake of ours
        fly(recorder)
        assert [f.name for f in await ring.recent()] == ["GET /x", "GET /x"]
        assert (ring.written, ring.failed) == (2, 1)
        fly(recorder)
        assert len(await ring.recent()) == 3


async def test_a_file_whose_name_is_no_text_leaves_a_trace_like_any_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (recorder, ring):
        with recorder.flight("file", "pos.tlog", store="\udcff") as record:
            record.set(file="TLOG_\udcff.txt")
        spans = await ring.trace(record.trace_id)
        assert spans is not None
        assert spans[0].text("file.name") == "TLOG_ .txt"


async def test_a_damaged_file_is_counted_and_the_others_still_answer(tmp_path: Path) -> None:
    directory = tmp_path / "ring"
    async with opened(directory) as (recorder, ring):
        record = fly(recorder)
        await ring.recent()
        (directory / f"20200101T000000-00{SUFFIX}").write_bytes(b"this is no database, not even a small one" * 40)
        assert await ring.trace(record.trace_id)
        assert ring.unreadable == 1


async def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    async with opened(tmp_path / "ring") as (one, ring), opened(tmp_path / "ring") as (two, other):
        first, second = fly(one, "GET /1"), fly(two, "GET /2")
        await asyncio.to_thread(ring.flush)
        assert await other.trace(first.trace_id)
        await asyncio.to_thread(other.flush)
        assert {f.name for f in await ring.recent()} == {"GET /1", "GET /2"}
        assert await ring.trace(second.trace_id)

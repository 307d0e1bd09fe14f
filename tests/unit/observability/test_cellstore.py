"""Cells outlive the process that counted them, add up over processes, and get wider as they age."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import time
from typing import Any

import pytest

from adapters.store.driver import cell_file
from contracts.books.cells import CellBlob, CellBook
from contracts.errors import StoreUnavailable, UpstreamTimeout
from observability import FlightRecord, Recorder, Step, step
from observability.cellstore import BASELINE, SLICE, CellStore, _Body, _packed
from observability.rings import Fresh
from observability.rootcause.model import COUNTERS, Rows, Where

FAILED, BLAMED = COUNTERS.index("timeout"), COUNTERS.index("blamed")


def flight(recorder: Recorder, store: str = "17", *, fail: bool = False) -> FlightRecord:
    """As it happened, unseen by any recorder."""
    record = recorder.flight("request", "GET /stock", channel="web", api_version="v", store=store)
    with Recorder().flight("request", "GET /stock") as real, step(Step.CALL, system="erp", operation="GetStock") as hop:
        if fail:
            hop.failed(error := UpstreamTimeout(system="erp", operation="GetStock"))
            real.failed(error)
    record.t0, record.t1, record.wall, record.root, record.hops = real.t0, real.t1, real.wall, real.root, real.hops
    return record


def sums(rows: Rows) -> Counter[tuple[Where, int, str]]:
    found: Counter[tuple[Where, int, str]] = Counter()
    for row, (key, begin) in enumerate(zip(rows.key, rows.bin, strict=True)):
        for name, column in zip(COUNTERS, rows.counters, strict=True):
            if column[row]:
                found[rows.keys[key], begin, name] += column[row]
    return found


async def test_another_process_and_the_next_one_see_what_was_counted(tmp_path: Path) -> None:
    now = time() // 60 * 60 - 60
    async with AsyncExitStack() as stack:
        one, two = [
            CellStore(Recorder(objective=5), await stack.enter_async_context(cell_file(tmp_path / "cells" / "cells.db"))) for _ in range(2)
        ]
        for store in (one, two):
            await store.load()
            for second in range(60):
                store.recorder.count(flight(store.recorder, fail=second % 10 == 0), now + second)
            store.recorder.seen(now + 60)
        await one.flush(now + 60)
        await two.flush(now + 60)
        await one.flush(now + 60)
        await one.flush(now + 60)
        await one._save_baseline(now + 60)
        seen = [s.recorder.seen(now + 60) for s in (one, two)]
        assert sums(seen[0].coarse) == sums(seen[1].coarse)
        assert sums(seen[0].fine) == sums(seen[1].fine)
        whole = Where(channel="web", route="GET /stock", api_version="v", store="17")
        assert sums(seen[0].coarse)[whole, now, "n"] == 20
        assert sums(seen[0].coarse)[Where("erp", "GetStock", *whole[2:]), now, "blamed"] == 2_000
        assert sums(seen[0].fine)[Where(channel="web", route="GET /stock"), now + 1, "n"] == 2
        next_one = CellStore(Recorder(objective=5), one.book)
        await next_one.load()
        told = next_one.recorder.seen(now + 60)
        assert sums(told.coarse) == sums(seen[0].coarse)
        assert told.exemplars[Where("erp", "GetStock", *whole[2:])]
        usual = next_one.recorder.blame.baseline.of(("", ""), "GET /stock")
        assert usual is not None
        assert usual.n == 54


@pytest.mark.slow
async def test_bins_get_wider_with_age_and_lose_nothing_but_the_stores_in_the_end(tmp_path: Path) -> None:
    now = int(time()) // 3_600 * 3_600
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        store = CellStore(Recorder(objective=5), book)
        await store.load()
        began = now - 9 * 86_400
        for n in range(0, 3_600, 5):
            store.recorder.count(flight(store.recorder, str(n % 3)), began + n)
            if n % 600 == 595:
                store.recorder.seen(began + n + 5)
                await store.flush(began + n + 5)
        before = sums(await store.history(began, began + 3_600))
        widths = []
        for later in (900 + 3_600, 7 * 3_600 + 60, 9 * 86_400):
            for _ in range(4):
                await store.tidy(began + later)
            widths.append([w for w in (10, 60, 300, 3_600) if await book.read(w, 0, now)])
        assert widths == [[60], [300], [3_600]]
        after = sums(await store.history(began, began + 3_600))
        assert sum(before.values()) == sum(after.values()) == 2 * 720
        assert {where.store for where, _, _ in after} == {""}


class Watched:
    """A book that knows how much was read at once."""

    def __init__(self, book: CellBook) -> None:
        self._book, self.most = book, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    async def read(self, *what: Any, **more: Any) -> Sequence[CellBlob]:
        found = await self._book.read(*what, **more)
        self.most = max(self.most, len(found))
        return found


async def test_old_cells_are_merged_a_few_at_a_time_however_many_there_are(tmp_path: Path) -> None:
    now = int(time()) // 3_600 * 3_600
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        body = _packed(_Body([(("", "", "web", "GET /stock", "v", "17"), 3)], []))
        blobs = [CellBlob(width=10, begin=now - 7_200 + 10 * (n // 3), source=f"s{n % 3}", body=body) for n in range(10 * SLICE)]
        await book.add(blobs)
        watched: Any = Watched(book)
        await CellStore(Recorder(), watched).tidy(now)
        assert watched.most == SLICE
        assert not await book.read(10, 0, now)
        wider = await book.read(60, 0, now)
        assert len(wider) == len({b.begin for b in wider}) == -(-10 * SLICE // 18)
        assert sum((await CellStore(Recorder(), book).history(0, now)).counters[0]) == 3 * len(blobs)


@pytest.mark.slow
async def test_a_damaged_blob_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    now = int(time())
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        bomb = zlib.compress(b"\x00" * (80 << 20))
        for width, body in ((10, b"no"), (10, bomb), (60, b""), (BASELINE, b"\xff")):
            await book.add([CellBlob(width=width, begin=now // 60 * 60, source="x", body=body)])
        store = CellStore(Recorder(objective=5), book)
        await store.load()
        assert store.unreadable == 4
        store.recorder.count(flight(store.recorder), now - 20)
        store.recorder.seen(now)
        await store.flush(now)
        assert sums(await store.history(now - 30, now))


async def test_what_a_store_that_is_away_misses_is_lost_and_said(tmp_path: Path) -> None:
    now = time() // 10 * 10 - 2_000
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        store = CellStore(Recorder(objective=5), book)
        await store.load()
    for n in range(100):
        store.recorder.count(flight(store.recorder), now + 10 * n)
    store.recorder.seen(now + 1_000)
    await store._quietly(store.flush(now + 1_000))
    assert store.recorder.losses().lost == 10
    assert {u.what for u in store.recorder.losses().unseen} == {"cells_unwritten"}


@pytest.mark.slow
async def test_cells_are_kept_although_the_store_cannot_be_read_at_the_start_and_a_tick_fails(tmp_path: Path) -> None:
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        store = CellStore(recorder := Recorder(objective=5), NotYet(book))
        async with store.kept():
            odd = recorder.flight("request", "GET /stock")
            odd.t0 = "no time"  # type: ignore[assignment]  # whatever makes a tick fail
            recorder.begin(odd)
            recorder.end(flight(recorder))
            await asyncio.sleep(1.1)
            del recorder._open[odd]
            await asyncio.sleep(1)
        assert recorder.faults >= 2  # the read, and a tick
        next_one = CellStore(Recorder(objective=5), book)
        await next_one.load()
        assert sums(next_one.recorder.seen(time() + 1).coarse).total() > 0


async def test_what_is_usual_weighs_no_more_after_many_restarts(tmp_path: Path) -> None:
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        known = []
        for life in range(5):
            recorder = Recorder(objective=5)
            async with CellStore(recorder, book).kept():
                if life == 0:
                    for _ in range(200):
                        recorder.end(flight(recorder))
                usual = recorder.blame.baseline.of(("", ""), "GET /stock")
                assert usual is not None
                known.append((usual.n, usual.late))
        assert len(set(known)) == 1
        assert known[0][0] == 200


def test_a_clock_that_was_ahead_and_is_put_right_does_not_make_what_comes_then_too_old() -> None:
    recorder = Recorder(objective=5)
    recorder.rings.fresh = Fresh()
    recorder.count(flight(recorder), time() + 7_200)
    recorder.tick()
    recorder.tick()
    recorder.count(flight(recorder), time())
    seen = recorder.seen(time() + 1)
    assert Counter(n for _, _, n in sums(seen.coarse)) == Counter(n=2)  # the request and its call, of one bin
    assert sums(seen.fine)
    assert recorder.rings.too_late == 0
    assert all(begin <= time() for begin in recorder.rings.take_fresh(time() + 9_999).tens)


class NotYet:
    """A book that cannot be read the first time."""

    def __init__(self, book: CellBook) -> None:
        self._book, self._asked = book, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    async def read(self, *what: Any) -> Sequence[CellBlob]:
        if not self._asked:
            self._asked = True
            raise OSError("not yet")
        return await self._book.read(*what)


async def test_what_another_process_held_back_for_minutes_is_counted_once_it_comes(tmp_path: Path) -> None:
    now = int(time()) // 10 * 10
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        cut_off, other = (CellStore(Recorder(objective=5), book) for _ in range(2))
        await cut_off.load()
        await other.load()
        for at in range(now - 600, now - 100, 10):
            cut_off.recorder.count(flight(cut_off.recorder), at)
        await other.flush(now - 300)
        cut_off.recorder.seen(now)
        await cut_off.flush(now)
        for _ in range(2):
            await other.flush(now)
        seen = other.recorder.seen(now)
        whole = {index for index, key in enumerate(seen.coarse.keys) if not key.system}
        assert sum(n for n, key in zip(seen.coarse.counters[0], seen.coarse.key, strict=True) if key in whole) == 50


async def test_how_long_requests_took_lately_is_known_of_all_processes(tmp_path: Path) -> None:
    now = time()
    async with AsyncExitStack() as stack:
        one, two = [
            CellStore(Recorder(objective=5), await stack.enter_async_context(cell_file(tmp_path / "cells" / "cells.db"))) for _ in range(2)
        ]
        for store, n in ((one, 3), (two, 4)):
            await store.load()
            for _ in range(n):
                with store.recorder.flight("request", "GET /stock", channel="web"), step(Step.CALL, system="erp", operation="GetStock"):
                    pass
            store.recorder.seen(now + 20)
        for store in (one, two, one):
            await store.flush(now + 20)
        for store in (one, two):
            lately = store.recorder.durations.lately()
            assert {key: cell.n for key, cell in lately.items()} == {("channel", "web"): 7, ("system", "erp"): 7}
            assert 0 < lately["channel", "web"].quantile(0.95) < 0.1
        one.recorder.durations.add(int(now) - 400, [(("channel", "old"), [(1, 9)])])
        assert ("channel", "old") not in one.recorder.durations.lately()


async def test_what_was_written_although_nobody_heard_of_it_is_not_written_again(tmp_path: Path) -> None:
    now = time() // 10 * 10 - 2_000
    async with cell_file(tmp_path / "cells" / "cells.db") as book:

        class Mute:
            """A book that writes some of what it is given, and never says so when `deaf`."""

            deaf, share = True, 1.0

            async def add(self, blobs: Sequence[CellBlob]) -> None:
                await book.add(blobs[: round(len(blobs) * self.share)])
                if self.deaf:
                    raise StoreUnavailable(reason="the connection broke")

            def __getattr__(self, name: str) -> Any:
                return getattr(book, name)

        mute = Mute()
        store = CellStore(Recorder(objective=5), mute)  # type: ignore[arg-type]  # hands on what it has not
        await store.load()
        for begun, mute.share in ((0, 1.0), (100, 0.5), (200, 0.0)):
            for n in range(10):
                store.recorder.count(flight(store.recorder), now + begun + 10 * n)
            store.recorder.seen(now + begun + 100)
            await store._quietly(store.flush(now + begun + 100))
        mute.deaf, mute.share = False, 1.0
        await store.flush(now + 300)
        begins = [b.begin for b in await book.read(10, int(now), int(now) + 400)]
        assert sorted(begins) == [int(now) + 10 * n for n in range(30)]
        assert store.recorder.losses().lost == 0

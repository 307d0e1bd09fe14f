"""A day of traffic stays within what is declared, in memory and on disk."""

from __future__ import annotations

import random
from pathlib import Path
from time import time

import pytest

from adapters.store.driver import cell_file
from contracts.errors import UpstreamTimeout
from observability import FlightRecord, Recorder, Step, step
from observability.cellstore import LEVELS, CellStore
from observability.rings import COARSE, FINE_S, HELD_S, KEYS, MINUTE

CALLS = (("erp", "GetStock"), ("erp", "GetPrice"), ("oms", "Find"), ("pim", "Product"), ("crm", "Get"))


class _Nobody:
    def begin(self, record: FlightRecord) -> None: ...

    def end(self, record: FlightRecord) -> None: ...


def flights(chance: random.Random, n: int) -> list[FlightRecord]:
    """Ten routes of two calls each, four channels, two versions; one of a hundred fails."""
    made = []
    for _ in range(n):
        number, bad = chance.randrange(10), chance.random() < 0.01
        channel, version = chance.choice(["web", "mobile", "store", "call-centre"]), chance.choice(["2026-09", "2026-01"])
        with FlightRecord(_Nobody(), "request", f"GET /{number}", channel=channel, api_version=version) as record:
            for system, operation in (CALLS[number % 5], CALLS[(number + 1) % 5]):
                with (
                    step(Step.CALL, system=system, operation=operation) as call,
                    step(Step.ATTEMPT, system=system, operation=operation, attempt=1),
                ):
                    pass
                if bad:
                    call.failed(error := UpstreamTimeout(system=system, operation=operation))
                    record.failed(error)
        made.append(record)
    return made


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def keys_of(record: FlightRecord) -> list[tuple[str, str]]:
    """Whom its cells are of: the request, and the calls it made."""
    return [("", ""), *((hop.system, hop.operation) for hop in record.hops if hop.kind is Step.CALL)]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_day_stays_within_its_memory_and_disk(tmp_path: Path, deep: bool) -> None:
    hours, rate = (24.0, 200) if deep else (0.4, 5)
    chance = random.Random(24)
    pool = [(record, keys_of(record)) for record in flights(chance, 4_000 if deep else 400)]
    stores = [str(int(chance.paretovariate(0.6)) % 300) for _ in range(100_003)]
    recorder, before, largest = Recorder(objective=5), resident(), 0
    begin = int(time()) // 3_600 * 3_600 - int(hours * 3_600)
    async with cell_file(tmp_path / "cells" / "cells.db") as book:
        store = CellStore(recorder, book)
        await store.load()
        for ten in range(int(hours * 360)):
            for n in range(rate * COARSE):
                record, parts = pool[int(chance.random() * len(pool))]
                record.store = stores[(ten * rate * COARSE + n) % len(stores)]
                if n % (10 if deep else 1) == 0 or record.outcome != "success":
                    recorder.count(record, begin + ten * COARSE + n / rate)
                else:  # its cells only: who is blamed, and what is usual, holds as much after a tenth of them
                    for part in parts:
                        recorder.rings.count((*part, record.channel, record.name, record.api_version, record.store))
            now = begin + (ten + 1) * COARSE
            recorder.rings.turn(now)
            recorder.rings.fold()
            await store.flush(now)
            if ten % 6 == 5:
                await store.tidy(now)
                largest = max(largest, resident() - before)
        assert largest < 400 << 20
        seen = recorder.seen(now)
        for level in LEVELS:
            assert sum(len(blob.body) for blob in await book.read(level.width, 0, now)) <= level.most_bytes
        total = sum((await store.history(begin, now)).counters[0]) if not deep else 0
    assert sum(path.stat().st_size for path in (tmp_path / "cells").iterdir()) < 1 << 30
    assert len(set(seen.coarse.bin)) <= FINE_S // COARSE + HELD_S // MINUTE + 3
    assert len(set(seen.fine.bin)) <= FINE_S + 1
    assert len(seen.coarse.keys) < KEYS + 1_000
    assert deep or total == 3 * rate * int(hours * 3_600)

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books
from contracts.errors import StoreUnavailable
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, key, later, seen

ROOT = Path(__file__).resolve().parents[3]


async def test_lease_is_held_by_one_owner_until_it_ends(books: Books, another: Open) -> None:
    other = await another()
    owners = await asyncio.gather(*((books, other)[n % 2].leases.acquire("sweep", f"w{n}", NOW, 30) for n in range(8)))
    assert sum(owners) == 1
    holder = f"w{owners.index(True)}"
    assert await other.leases.acquire("sweep", holder, later(29), 30)
    assert not await books.leases.acquire("sweep", "late", later(58), 30)
    assert await books.leases.acquire("sweep", "late", later(59), 30)
    await books.leases.release("sweep", holder)
    assert not await books.leases.acquire("sweep", holder, later(60), 30)
    await books.leases.release("sweep", "late")
    assert await books.leases.acquire("sweep", holder, later(60), 30)


async def test_first_value_of_a_fact_stands(books: Books, another: Open) -> None:
    stores = [books, await another()]
    values = await asyncio.gather(*(stores[n % 2].meta.put_if_absent("pepper", bytes([n])) for n in range(8)))
    assert len(set(values)) == 1
    assert await books.meta.get("pepper") == values[0]
    assert await books.meta.get("nothing") is None


async def test_check_tells_engine_and_step(books: Books) -> None:
    found = await books.check()
    assert found["engine"] in {"sqlite", "postgresql"}
    assert found["step"] >= 1


async def test_closed_store_refuses_at_once(url: str) -> None:
    books = open_store(StoreOptions(url=url))
    with pytest.raises(StoreUnavailable, match="not started"):
        await books.check()
    await books.start()
    await books.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await books.meta.get("x")
    await books.close()


async def test_many_stores_starting_at_once_agree_on_one_schema(url: str) -> None:
    stores = [open_store(StoreOptions(url=url, connections=2)) for _ in range(6)]
    await asyncio.gather(*(s.start() for s in stores))
    assert {(await s.meta.get("store.id")) for s in stores} == {await stores[0].meta.get("store.id")}
    await asyncio.gather(*(s.close() for s in stores))


def booker(url: str, till: str) -> subprocess.Popen[str]:
    """A process that books batch after batch and says what was answered."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.store.booker", url, till], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
async def test_what_was_answered_before_a_kill_stands_whole(url: str, another: Open) -> None:
    answered = 0
    for round_ in range(3):
        process = booker(url, "3")
        assert process.stdout is not None
        lines = [await asyncio.to_thread(process.stdout.readline)]
        stop = time.monotonic() + 0.1 + 0.05 * round_
        while time.monotonic() < stop:
            lines.append(await asyncio.to_thread(process.stdout.readline))
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        answered = max([answered, *(int(line) for line in lines if line.endswith("\n"))])
    books = await another()
    record = await books.files.get("d3")
    assert record is not None
    assert record.position >= answered > 0
    assert record.booked == record.position
    for sequence in range(1, record.position + 1):
        assert await books.sales.get(key(sequence)) is not None
    assert await books.sales.get(key(record.position + 1)) is None
    totals = (await books.sales.totals())["0017"]
    assert totals == {"sales": record.position, "cents": 100 * record.position, "units_milli": 1000 * record.position}
    taken = await books.files.claim(seen("d3"), "after", later(10_000), 60, "t")
    assert (taken.state, taken.record.position) == ("mine", record.position)


@pytest.mark.slow
async def test_several_processes_book_side_by_side(url: str, another: Open) -> None:
    processes = [booker(url, till) for till in ("3", "4", "5")]
    for process in processes:
        assert process.stdout is not None
        while int(await asyncio.to_thread(process.stdout.readline)) < 200:
            pass
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    books = await another()
    records = [await books.files.get(f"d{till}") for till in ("3", "4", "5")]
    booked = sum(r.booked for r in records if r)
    assert (await books.sales.totals())["0017"]["sales"] == booked >= 600
    assert await books.outbox.depth() >= booked

from __future__ import annotations

from time import time

from contracts.books import Books, CellBlob
from observability import Recorder, Step, step
from observability.cellstore import CellStore
from tests.conformance.store.conftest import Open


def blob(begin: int, body: bytes = b"x", *, width: int = 10, source: str = "a") -> CellBlob:
    return CellBlob(width=width, begin=begin, source=source, body=body)


async def test_bins_of_a_width_are_read_oldest_first_whoever_wrote_them(books: Books, another: Open) -> None:
    other = await another()
    await books.cells.add([blob(20), blob(10, b"\x00\xff")])
    await other.cells.add([blob(10, b"two", source="b"), blob(0, width=60), blob(30)])
    found = await books.cells.read(10, 10, 30)
    assert [(b.begin, b.source, b.body) for b in found] == [(10, "a", b"\x00\xff"), (10, "b", b"two"), (20, "a", b"x")]
    assert [b.source for b in await books.cells.read(10, 0, 100, "a")] == ["b"]
    assert len({b.number for b in found}) == 3
    assert [(b.begin, b.source) for b in await books.cells.read(10, 10, 100, most=2)] == [(10, "a"), (10, "b")]
    first, *_ = sorted(b.number for b in found)
    assert {b.number for b in await books.cells.read(10, 10, 30, above=first)} == {b.number for b in found} - {first}


async def test_of_two_that_merge_the_same_bins_one_does_and_the_other_is_told(books: Books, another: Open) -> None:
    other = await another()
    await books.cells.add([blob(0), blob(10), blob(20)])
    gone = [b.number for b in await books.cells.read(10, 0, 20)]
    assert await books.cells.replace(gone, [blob(0, b"both", width=60, source="")])
    assert not await other.cells.replace(gone, [blob(0, b"both", width=60, source="")])
    assert [b.body for b in await other.cells.read(60, 0, 60)] == [b"both"]
    assert [b.begin for b in await books.cells.read(10, 0, 100)] == [20]
    assert await books.cells.replace([], [blob(60, width=60)])


async def test_what_is_too_old_goes_and_then_the_oldest_beyond_the_bytes(books: Books) -> None:
    await books.cells.add([blob(begin, b"x" * 100) for begin in range(0, 100, 10)] + [blob(0, b"y" * 1000, width=60)])
    assert await books.cells.prune(10, 20, 10_000) == 2
    assert await books.cells.prune(10, 20, 350) == 5
    assert [b.begin for b in await books.cells.read(10, 0, 100)] == [70, 80, 90]
    assert await books.cells.prune(10, 0, 0) == 3
    assert len(await books.cells.read(60, 0, 100)) == 1


async def test_nothing_is_nothing(books: Books) -> None:
    await books.cells.add([])
    assert await books.cells.read(10, 0, 1 << 40) == []
    assert await books.cells.prune(10, 1 << 40, 0) == 0


async def test_processes_that_share_a_book_see_each_others_flights(books: Books, another: Open) -> None:
    one, two = [CellStore(Recorder(), each.cells) for each in (books, await another())]
    for store in (one, two):
        await store.load()
        with store.recorder.flight("request", "GET /x", channel="web", store="17"), step(Step.CALL, system="erp", operation="Get"):
            pass
        store.recorder.seen()
    now = time() + 10
    for store in (one, two, one):
        await store.flush(now)
    coarse = [store.recorder.seen(now).coarse for store in (one, two)]
    assert [sum(rows.counters[0]) for rows in coarse] == [4, 4]
    later = CellStore(Recorder(), books.cells)
    await later.load()
    assert sum(later.recorder.seen(now).coarse.counters[0]) == 4

import asyncio
from datetime import date, timedelta

from contracts.books import Books, Used
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, later

DAY = NOW.date()


def used(client: str = "shop", times: int = 1, *, field: str = "", version: str = "2026-03-01", at: float = 0) -> Used:
    return Used(version=version, client=client, channel="web", route="GET /inventory", field=field, times=times, seen_at=later(at))


async def test_counts_of_several_processes_add_up(books: Books, another: Open) -> None:
    other = await another()
    rows = [used("shop", 2), used("shop", 1, field="query:store"), used("app", 5)]
    await asyncio.gather(*(b.usage.add(DAY, rows if n % 2 else rows[::-1]) for n in range(10) for b in (books, other)))
    assert await books.usage.since(DAY) == await other.usage.since(DAY)
    assert [(u.client, u.field, u.times) for u in await books.usage.since(DAY)] == [
        ("app", "", 100),
        ("shop", "", 40),
        ("shop", "query:store", 20),
    ]


async def test_days_are_summed_up_and_the_last_sight_is_kept(books: Books) -> None:
    for back, at in ((0, 5), (3, 90), (3, 60), (8, 1)):
        await books.usage.add(DAY - timedelta(days=back), [used(times=10**9, at=at)])
    (found,) = await books.usage.since(DAY - timedelta(days=3))
    assert (found.times, found.seen_at) == (3 * 10**9, later(90))
    assert await books.usage.since(DAY + timedelta(days=1)) == []


async def test_newest_versions_come_first_and_odd_names_are_kept(books: Books) -> None:
    await books.usage.add(DAY, [used("b\0ü"), used("a", version="2026-10-01"), used("a")])
    assert [(u.version, u.client) for u in await books.usage.since(DAY)] == [
        ("2026-10-01", "a"),
        ("2026-03-01", "a"),
        ("2026-03-01", "b\\x00ü"),
    ]


async def test_old_days_are_purged(books: Books) -> None:
    for back in range(5):
        await books.usage.add(DAY - timedelta(days=back), [used()])
    assert await books.usage.purge(DAY - timedelta(days=1)) == 3
    assert [u.times for u in await books.usage.since(date(1970, 1, 1))] == [2]


async def test_nothing_to_add_is_no_mistake(books: Books) -> None:
    await books.usage.add(DAY, [])
    assert await books.usage.since(DAY) == []

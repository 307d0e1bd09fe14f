import asyncio

import msgspec

from contracts.books import Books
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, event, later


async def test_events_come_out_as_they_went_in_with_a_sequence(books: Books) -> None:
    sent = [event("e1", "a"), event("e2", "b\x00")]
    await books.outbox.put(sent)
    rows = await books.outbox.due("w", NOW, 30, 10)
    assert [msgspec.structs.replace(r.event, sequence=None) for r in rows] == sent
    assert [r.event.sequence for r in rows] == [f"{r.position:020d}" for r in rows]
    assert [r.attempts for r in rows] == [0, 0]
    await books.outbox.delivered([r.position for r in rows])
    assert await books.outbox.depth() == 0
    assert await books.outbox.due("w", later(99), 30, 10) == ()


async def test_later_event_of_a_subject_waits_for_the_earlier_one(books: Books) -> None:
    await books.outbox.put([event("a1", "a"), event("b1", "b"), event("a2", "a")])
    first = await books.outbox.due("w1", NOW, 30, 10)
    assert [r.event.id for r in first] == ["a1", "b1"]
    assert await books.outbox.due("w2", NOW, 30, 10) == ()
    await books.outbox.failed([first[0].position], later(60), "broker away")
    await books.outbox.delivered([first[1].position])
    assert await books.outbox.due("w2", later(59), 30, 10) == ()
    (again,) = await books.outbox.due("w2", later(60), 30, 10)
    assert (again.event.id, again.attempts) == ("a1", 1)
    await books.outbox.delivered([again.position])
    assert [r.event.id for r in await books.outbox.due("w2", later(60), 30, 10)] == ["a2"]


async def test_event_of_a_dead_worker_is_handed_out_again(books: Books) -> None:
    await books.outbox.put([event("a1", "a")])
    assert len(await books.outbox.due("w1", NOW, 30, 10)) == 1
    assert await books.outbox.due("w2", later(29), 30, 10) == ()
    assert [r.attempts for r in await books.outbox.due("w2", later(30), 30, 10)] == [1]


async def test_many_workers_share_a_backlog_without_overlap(books: Books, another: Open) -> None:
    await books.outbox.put([event(f"{s}.{n}", f"s{s}") for n in range(4) for s in range(300)])
    stores = [books, await another()]
    told: list[str] = []

    async def work(n: int) -> None:
        while rows := await stores[n % 2].outbox.due(f"w{n}", NOW, 300, 50):
            told.extend(r.event.id for r in rows)
            await stores[n % 2].outbox.delivered([r.position for r in rows])

    while await books.outbox.depth():
        await asyncio.gather(*(work(n) for n in range(4)))
    assert len(told) == len(set(told)) == 1200
    for subject in range(300):
        assert [e for e in told if e.startswith(f"{subject}.")] == [f"{subject}.{n}" for n in range(4)]


async def test_due_looks_behind_a_long_row_of_waiting_events(books: Books) -> None:
    await books.outbox.put([event(f"stuck.{n}", "stuck") for n in range(1500)] + [event("free", "free")])
    (head,) = await books.outbox.due("w", NOW, 30, 1)
    await books.outbox.failed([head.position], later(3600), "poison")
    assert [r.event.id for r in await books.outbox.due("w", later(1), 30, 10)] == ["free"]


async def test_purge_removes_delivered_events_only(books: Books) -> None:
    await books.outbox.put([event("a", "a"), event("b", "b"), event("c", "c", later(60))])
    rows = await books.outbox.due("w", NOW, 30, 10)
    await books.outbox.delivered([rows[0].position, rows[2].position])
    assert await books.outbox.purge(later(30)) == 1
    assert await books.outbox.depth() == 1
    await books.outbox.put([event("d", "d")])
    (new,) = await books.outbox.due("w", later(1), 30, 10)
    assert new.position > rows[2].position


async def test_nothing_to_do_is_nothing_done(books: Books) -> None:
    await books.outbox.put([])
    await books.outbox.delivered([])
    await books.outbox.failed([], NOW, "")
    assert await books.outbox.due("w", NOW, 30, 0) == ()

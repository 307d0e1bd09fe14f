import asyncio

import pytest

from contracts.books import Books
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, batch, event, later, sale, seen


async def test_one_of_many_workers_gets_the_file(books: Books, another: Open) -> None:
    stores = [books, await another()]
    claims = await asyncio.gather(*(stores[n % 2].files.claim(seen(), f"w{n}", NOW, 60, "t") for n in range(16)))
    assert sorted(c.state for c in claims) == ["busy"] * 15 + ["mine"]
    assert {c.record.fence for c in claims} == {1}


async def test_file_of_a_dead_worker_is_taken_over_from_its_position(books: Books) -> None:
    first = await books.files.claim(seen(), "w1", NOW, 60, "t1")
    assert (first.state, first.record.first_seen, first.record.lease_until) == ("mine", NOW, later(60))
    await books.sales.commit(batch(sale(1), sale(2), position=2), later(1))
    assert await books.files.renew("d1", 1, later(120))
    assert (await books.files.claim(seen(), "w2", later(119), 60, "t2")).state == "busy"
    taken = await books.files.claim(seen(), "w2", later(120), 60, "t2")
    assert (taken.state, taken.record.position, taken.record.fence, taken.record.attempts, taken.record.owner) == ("mine", 2, 2, 2, "w2")
    assert not await books.files.renew("d1", 1, later(500))
    with pytest.raises(StateConflict, match="outdated"):
        await books.files.finish("d1", 1, "done", "", later(121), [])


async def test_position_never_goes_back(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    await books.sales.commit(batch(sale(1), position=9), NOW)
    await books.sales.commit(batch(sale(2), position=5), NOW)
    assert (record := await books.files.get("d1")) is not None
    assert record.position == 9


async def test_same_content_under_another_name_is_done_and_noted(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    await books.files.finish("d1", 1, "done", "", later(1), [event("e")])
    for _ in range(2):
        claim = await books.files.claim(seen(name="resend\udcff.tlog"), "w1", later(2), 60, "t2")
        assert (claim.state, claim.record.seen_as) == ("done", ("resend\\udcff.tlog",))
    assert (await books.files.claim(seen(), "w1", later(3), 60, "t3")).record.seen_as == ("resend\\udcff.tlog",)


async def test_finish_is_safe_to_repeat_and_final(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    ended = await books.files.finish("d1", 1, "refused", "wrong control total", later(1), [event("e")])
    assert (ended.state, ended.reason, ended.finished_at, ended.lease_until) == ("refused", "wrong control total", later(1), None)
    assert await books.files.finish("d1", 1, "refused", "again", later(2), [event("f")]) == ended
    with pytest.raises(StateConflict):
        await books.files.finish("d1", 1, "done", "", later(2), [])
    with pytest.raises(NotFound):
        await books.files.finish("d9", 1, "done", "", later(2), [])
    assert (await books.files.claim(seen(), "w1", later(99), 60, "t")).state == "refused"
    assert await books.outbox.depth() == 1


async def test_list_shows_newest_first_and_by_state(books: Books) -> None:
    for n in range(3):
        await books.files.claim(seen(f"d{n}", f"f{n}"), "w1", later(n), 60, "t")
    await books.files.finish("d1", 1, "done", "", later(9), [])
    assert [r.digest for r in await books.files.list(10)] == ["d2", "d1", "d0"]
    assert [r.digest for r in await books.files.list(1, "claimed")] == ["d2"]
    assert [r.digest for r in await books.files.list(10, "done")] == ["d1"]
    assert await books.files.get("nothing") is None

import asyncio
from dataclasses import replace

import pytest

from contracts.books import Books, Decision
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, batch, entry, event, later, sale, seen


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
    assert (taken.state, taken.record.position, taken.record.fence, taken.record.attempts, taken.record.owner) == ("mine", 2, 2, 1, "w2")
    assert not await books.files.renew("d1", 1, later(500))
    with pytest.raises(StateConflict, match="outdated"):
        await books.files.finish("d1", 1, "done", "", later(121), [])


async def test_workers_that_die_without_a_step_forward_are_counted_and_a_step_begins_anew(books: Books) -> None:
    counted = [(await books.files.claim(seen(), "w", later(100 * n), 60, "t")).record.attempts for n in range(3)]
    await books.sales.commit(replace(batch(sale(1), position=1), fence=3), later(201))
    counted += [(await books.files.claim(seen(), "w", later(100 * n), 60, "t")).record.attempts for n in range(3, 6)]
    assert counted == [1, 2, 3, 1, 2, 3]


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


async def test_list_filters_by_feed_store_and_time_and_goes_on_behind_a_file(books: Books) -> None:
    for n, store in enumerate(("0017", "0018", "0017")):
        await books.files.claim(replace(seen(f"d{n}", f"f{n}"), store=store), "w1", later(n // 2), 60, "t")
    assert [r.digest for r in await books.files.list(10, stores=("0017", "0099"))] == ["d2", "d0"]
    assert [r.digest for r in await books.files.list(10, feed="pos.sales", since=later(1))] == ["d2"]
    assert await books.files.list(10, feed="pos.other") == []
    first, *_ = await books.files.list(1)
    assert [r.digest for r in await books.files.list(10, before=(first.first_seen, first.digest))] == ["d0", "d1"]


async def test_a_file_is_found_by_every_name_it_came_under_and_by_the_beginning_of_its_digest(books: Books) -> None:
    await books.files.claim(seen("abc123" + "0" * 58), "w1", NOW, 60, "t1")
    await books.files.claim(seen("abc124" + "0" * 58, "b"), "w1", later(1), 60, "t1")
    await books.files.finish("abc123" + "0" * 58, 1, "done", "", later(1), [])
    await books.files.claim(seen("abc123" + "0" * 58, "again.tlog"), "w1", later(2), 60, "t2")
    for name in (seen().name, "again.tlog", "abc123", "abc123" + "0" * 58):
        assert [r.digest[:6] for r in await books.files.find(name, 10)] == ["abc123"], name
    assert [r.digest[:6] for r in await books.files.find("abc12", 10)] == []
    assert await books.files.find("a%", 10) == []


async def test_a_renewal_tells_how_far_the_worker_has_read(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    await books.sales.commit(batch(sale(1), position=4), later(1))
    assert await books.files.renew("d1", 1, later(120), "booking", 0.4567)
    assert (record := await books.files.get("d1")) is not None
    assert (record.phase, record.share, record.claimed_at, record.claimed_position, record.store) == ("booking", 0.457, NOW, 0, "0017")
    taken = (await books.files.claim(seen(), "w2", later(200), 60, "t2")).record
    assert (taken.phase, taken.share, taken.claimed_at, taken.claimed_position) == ("", 0, later(200), 4)
    ended = await books.files.finish("d1", 2, "done", "", later(201), [])
    assert (ended.phase, ended.share) == ("", 0)


async def test_a_refused_file_is_reopened_once_and_goes_on_behind_its_position(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    await books.sales.commit(batch(sale(1), position=1), later(1))
    await books.files.finish("d1", 1, "refused", "wrong total", later(2), [])
    await books.files.settled("d1", 1, "quarantine/f")
    opened = await books.files.reopen("d1", 1, later(3), [entry("a1", "file.retried", "d1")])
    assert (opened.state, opened.reason, opened.attempts, opened.kept, opened.position, opened.fence) == ("claimed", "", 0, "", 1, 2)
    with pytest.raises(StateConflict, match="since you looked"):
        await books.files.reopen("d1", 1, later(3), [entry("a2", "file.retried", "d1")])
    assert [e.what for e in await books.audit.list(10)] == ["file.retried"]
    claim = await books.files.claim(seen(), "w2", later(3), 60, "t2")
    assert (claim.state, claim.record.position, claim.record.attempts) == ("mine", 1, 1)
    await books.files.finish("d1", 3, "done", "", later(4), [])
    with pytest.raises(StateConflict, match="booked or in quarantine"):
        await books.files.reopen("d1", 3, later(5), [])


async def test_a_living_workers_claim_that_is_taken_from_it_can_book_nothing_more(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 600, "t1")
    await books.files.reopen("d1", 1, later(1), [])
    with pytest.raises(StateConflict):
        await books.sales.commit(batch(sale(1)), later(2))
    assert (await books.files.claim(seen(), "w2", later(2), 60, "t2")).state == "mine"


async def test_only_a_refused_file_is_given_up_and_only_once(books: Books) -> None:
    given_up = Decision(by="anna", at=later(3), what="given_up", reason="the till was broken")
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    with pytest.raises(StateConflict, match="only a file that was refused"):
        await books.files.give_up("d1", 1, given_up, [])
    await books.files.finish("d1", 1, "refused", "no header", later(2), [])
    assert (await books.files.give_up("d1", 1, given_up, [entry("a1", "file.given_up", "d1")])).given_up == given_up
    with pytest.raises(StateConflict, match="by anna before"):
        await books.files.give_up("d1", 1, given_up, [entry("a2", "file.given_up", "d1")])
    assert len(await books.audit.list(10)) == 1
    await books.files.removed("d1", later(9))
    assert (record := await books.files.get("d1")) is not None
    assert record.removed_at == later(9)
    assert (await books.files.reopen("d1", 1, later(10), [])).given_up is None


async def test_all_workers_learn_one_token_for_an_acknowledgement(books: Books, another: Open) -> None:
    stores = [books, await another()]
    tokens = await asyncio.gather(*(stores[n % 2].files.acknowledge("d1", "f", 1, f"t{n}") for n in range(8)))
    assert len(set(tokens)) == 1
    assert await books.files.acknowledge("d1", "f", 2, "later") == "later"
    assert await books.files.acknowledge("d1", "other\udcff", 1, "own") == "own"

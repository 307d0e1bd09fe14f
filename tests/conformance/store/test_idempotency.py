import asyncio

from contracts.books import Begun, Books, StoredAnswer
from tests.conformance.store.make import NOW, later

ANSWER = StoredAnswer(status=201, headers=(("location", "/orders/1"),), body=b"\x00{}\xff")
SCOPE = "shop POST /orders"


async def test_answer_is_replayed_to_the_same_payload_only(books: Books) -> None:
    book = books.idempotency
    assert await book.begin(SCOPE, "k", b"f", NOW, 30) == Begun("new")
    assert await book.begin(SCOPE, "k", b"f", later(1), 30) == Begun("running")
    assert await book.finish(SCOPE, "k", ANSWER, later(2)) == ANSWER
    assert await book.finish(SCOPE, "k", StoredAnswer(status=500, headers=(), body=b""), later(3)) == ANSWER, "the first one stands"
    assert await book.begin(SCOPE, "k", b"f", later(4), 30) == Begun("done", ANSWER)
    assert await book.begin(SCOPE, "k", b"other", later(4), 30) == Begun("other_payload")
    assert await book.begin("app POST /orders", "k", b"other", later(4), 30) == Begun("new")


async def test_key_of_a_dead_owner_is_new_again_for_one_caller(books: Books) -> None:
    await books.idempotency.begin(SCOPE, "k", b"f", NOW, 30)
    states = await asyncio.gather(*(books.idempotency.begin(SCOPE, "k", b"f", later(31), 30) for _ in range(10)))
    assert sorted(s.state for s in states) == ["new"] + ["running"] * 9
    assert [s.repeated for s in states if s.state == "new"] == [True]


async def test_first_of_many_concurrent_callers_runs(books: Books) -> None:
    states = await asyncio.gather(*(books.idempotency.begin(SCOPE, "k", b"f", NOW, 30) for _ in range(20)))
    assert sorted(s.state for s in states) == ["new"] + ["running"] * 19


async def test_abandoned_key_is_new_to_its_payload_and_an_answered_one_stays(books: Books) -> None:
    await books.idempotency.begin(SCOPE, "k", b"f", NOW, 30)
    await books.idempotency.abandon(SCOPE, "k")
    assert (await books.idempotency.begin(SCOPE, "k", b"g", NOW, 30)).state == "other_payload"
    assert await books.idempotency.begin(SCOPE, "k", b"f", NOW, 30) == Begun("new", repeated=True)
    await books.idempotency.finish(SCOPE, "k", ANSWER, NOW)
    await books.idempotency.abandon(SCOPE, "k")
    assert (await books.idempotency.begin(SCOPE, "k", b"f", NOW, 30)).state == "done"


async def test_purge_removes_old_keys_and_keeps_running_ones(books: Books) -> None:
    await books.idempotency.begin(SCOPE, "old", b"f", NOW, 30)
    await books.idempotency.finish(SCOPE, "old", ANSWER, NOW)
    await books.idempotency.begin(SCOPE, "running", b"f", NOW, 900)
    assert await books.idempotency.purge(later(60)) == 1
    assert (await books.idempotency.begin(SCOPE, "running", b"f", later(60), 30)).state == "running"
    assert (await books.idempotency.begin(SCOPE, "old", b"x", later(60), 30)).state == "new"

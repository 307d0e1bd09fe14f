from collections.abc import Sequence
from typing import Any

import pytest

from contracts.books import Books, Dispatch, Refusal
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, entry, later

FEED, STORE = "pos.prices", "0017"
CHANGES = {"10000001": b"\x01", "10000002": b"\x02"}


def dispatch(number: int = 1, store: str = STORE, at: float = 0, **more: Any) -> Dispatch:
    name = f"PRICES_{store}_{number:06}.csv"
    return Dispatch(feed=FEED, store=store, number=number, name=name, digest="0" * 64, size=5, items=2, drafted_at=later(at), **more)


async def states(books: Books) -> list[tuple[str, int, str]]:
    return [(d.store, d.number, d.state) for d in await books.dispatches.list(9)]


async def accept(books: Books, number: int = 1, refused: Sequence[Refusal] = ()) -> bool:
    return await books.dispatches.answered(FEED, STORE, number, "accepted", "", refused, later(number))


async def test_next_number_is_drafted_only_behind_an_end_and_by_one_worker(books: Books, another: Open) -> None:
    other = await another()
    assert [await b.dispatches.draft(dispatch(), b"body\n", CHANGES) for b in (books, other)] == [True, False]
    assert not await other.dispatches.draft(dispatch(2), b"two", {})
    assert await books.dispatches.draft(dispatch(1, "0018"), b"body\n", CHANGES)
    assert await other.dispatches.body(FEED, STORE, 1) == b"body\n"
    assert await other.dispatches.written(FEED, STORE, 1, NOW)
    assert not await books.dispatches.draft(dispatch(2), b"two", {})
    assert await accept(other)
    assert not await books.dispatches.draft(dispatch(3, at=1), b"two", {})
    assert await books.dispatches.draft(dispatch(2, at=1), b"two", {})
    assert await states(books) == [("0017", 2, "drafted"), ("0017", 1, "accepted"), ("0018", 1, "drafted")]


async def test_first_hidden_copy_that_is_staged_counts_for_everybody(books: Books, another: Open) -> None:
    other = await another()
    await books.dispatches.draft(dispatch(), b"body\n", CHANGES)
    assert [await b.dispatches.stage(FEED, STORE, 1, t) for b, t in ((books, "1-a"), (other, "1-b"))] == ["1-a", "1-a"]
    assert [await b.dispatches.written(FEED, STORE, 1, NOW) for b in (books, other)] == [True, False]
    assert await other.dispatches.stage(FEED, STORE, 1, "1-c") is None


async def test_what_a_store_has_accepted_is_what_it_was_told_and_no_draft_is(books: Books) -> None:
    await books.dispatches.draft(dispatch(), b"body\n", CHANGES)
    assert await books.dispatches.told(FEED, STORE, [*CHANGES, "x"]) == {}
    await books.dispatches.written(FEED, STORE, 1, NOW)
    assert [await accept(books), await accept(books)] == [True, False]
    assert await books.dispatches.told(FEED, STORE, [*CHANGES, "x"]) == CHANGES
    assert await books.dispatches.told(FEED, "0018", [*CHANGES]) == {}
    await books.dispatches.draft(dispatch(2), b"two", {"10000002": b"\x03"})
    await accept(books, 2)
    assert await books.dispatches.told(FEED, STORE, [*CHANGES]) == CHANGES | {"10000002": b"\x03"}


async def test_refused_keys_are_not_repeated_until_a_person_resends_them(books: Books) -> None:
    await books.dispatches.draft(dispatch(), b"body\n", CHANGES)
    refused = (Refusal(key="10000002", reason="no such article"),)
    await accept(books, 1, refused)
    assert (await books.dispatches.get(FEED, STORE, 1)).refused == refused
    assert await books.dispatches.told(FEED, STORE, [*CHANGES]) == CHANGES
    await books.dispatches.resend(FEED, STORE, 1, NOW, [entry("a", "dispatch.resend", "1")])
    assert await books.dispatches.told(FEED, STORE, [*CHANGES]) == {"10000001": b"\x01"}
    with pytest.raises(StateConflict, match="nothing of it was refused"):
        await books.dispatches.resend(FEED, STORE, 1, NOW, [entry("b", "dispatch.resend", "1")])
    assert [e.what for e in await books.audit.list(9)] == ["dispatch.resend"]


async def test_rejected_file_is_refused_whole(books: Books) -> None:
    await books.dispatches.draft(dispatch(), b"body\n", CHANGES)
    assert await books.dispatches.answered(FEED, STORE, 1, "rejected", "wrong\0currency", (), NOW)
    assert (await books.dispatches.latest(FEED, STORE)) == dispatch(state="rejected", reason="wrong\\x00currency", ended_at=NOW)
    assert await books.dispatches.told(FEED, STORE, [*CHANGES]) == CHANGES
    await books.dispatches.resend(FEED, STORE, 1, NOW, [])
    assert await books.dispatches.told(FEED, STORE, [*CHANGES]) == {}


async def test_overdue_file_is_written_again_as_it_was_or_given_up_for_the_next_number(books: Books) -> None:
    await books.dispatches.draft(dispatch(), b"body\n", CHANGES)
    assert not await books.dispatches.overdue(FEED, STORE, 1)
    await books.dispatches.stage(FEED, STORE, 1, "1-a")
    await books.dispatches.written(FEED, STORE, 1, NOW)
    assert await books.dispatches.overdue(FEED, STORE, 1)
    assert (await books.dispatches.resend(FEED, STORE, 1, NOW, [])).state == "drafted"
    assert await books.dispatches.body(FEED, STORE, 1) == b"body\n"
    assert await books.dispatches.stage(FEED, STORE, 1, "1-b") == "1-b"
    found = await books.dispatches.give_up(FEED, STORE, 1, "the store is closed", later(5), [entry("a", "dispatch.give_up", "1")])
    assert (found.state, found.reason, found.ended_at) == ("given_up", "the store is closed", later(5))
    assert await books.dispatches.told(FEED, STORE, [*CHANGES]) == {}
    assert not await accept(books)
    with pytest.raises(StateConflict, match="it has ended"):
        await books.dispatches.give_up(FEED, STORE, 1, "", NOW, [])


async def test_only_the_newest_of_a_store_can_be_decided_about(books: Books) -> None:
    await books.dispatches.draft(dispatch(), b"body\n", CHANGES)
    await accept(books)
    await books.dispatches.draft(dispatch(2, at=1), b"two", {})
    with pytest.raises(StateConflict, match="a later number"):
        await books.dispatches.resend(FEED, STORE, 1, NOW, [])
    with pytest.raises(NotFound):
        await books.dispatches.give_up(FEED, STORE, 7, "", NOW, [])
    with pytest.raises(NotFound):
        await books.dispatches.get(FEED, "no\0store", 1)


async def test_purge_leaves_the_newest_of_each_store_so_that_numbers_go_on(books: Books) -> None:
    for number in (1, 2):
        await books.dispatches.draft(dispatch(number, at=number), b"body\n", CHANGES)
        await accept(books, number)
    assert await books.dispatches.purge(later(99)) == 1
    assert await states(books) == [("0017", 2, "accepted")]
    assert [d.number for d in await books.dispatches.list(9, feed=FEED, stores=(STORE,), state="accepted", before=(later(3), "", ""))] == [
        2
    ]
    assert await books.dispatches.list(9, before=(later(2), FEED, STORE)) == []


async def test_pages_of_the_list_go_on_behind_files_of_the_same_moment_and_show_the_stores_that_were_asked_for(books: Books) -> None:
    for store in ("0017", "0018", "0019"):
        await books.dispatches.draft(dispatch(1, store), b"body\n", CHANGES)
    page = await books.dispatches.list(2)
    assert [d.store for d in page] == ["0017", "0018"]
    rest = await books.dispatches.list(2, before=(page[-1].drafted_at, page[-1].feed, page[-1].store))
    assert [d.store for d in rest] == ["0019"]
    assert [d.store for d in await books.dispatches.list(9, stores=("0019", "0017"))] == ["0017", "0019"]

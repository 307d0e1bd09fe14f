import asyncio
from decimal import Decimal

import pytest

from contracts.books import Books
from contracts.canonical.reservation import Reservation
from contracts.errors import InsufficientStock, NotFound, PreconditionFailed, StateConflict
from contracts.ports import SkuAt
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, event, later, reservation

PAIR = SkuAt(sku="10000001", location_id="0017")


async def hold(books: Books, key: str, quantity: str = "1", free: str | None = "10", expires: float = 900) -> str:
    held = await books.reservations.hold(
        reservation(key, quantity, expires=expires), None if free is None else Decimal(free), NOW, NOW, [event(key, key)]
    )
    return held.state


async def test_64_concurrent_holders_never_hold_more_than_is_free(books: Books, another: Open) -> None:
    stores = [books, await another()]
    outcomes = await asyncio.gather(*(hold(stores[n % 2], f"r-{n}") for n in range(64)), return_exceptions=True)
    assert [o for o in outcomes if o == "active"] == ["active"] * 10
    assert sum(isinstance(o, InsufficientStock) for o in outcomes) == 54
    assert await books.reservations.held([PAIR], {}, NOW) == {PAIR: Decimal(10)}
    assert await books.outbox.depth() == 10


async def test_refusal_says_what_is_left_and_writes_nothing(books: Books) -> None:
    await hold(books, "r-1", "8.5")
    with pytest.raises(InsufficientStock, match=r"2 requested, 1\.5 available"):
        await hold(books, "r-2", "2")
    assert await books.reservations.get("r-2") is None
    assert await books.outbox.depth() == 1


async def test_repeat_with_the_same_key_changes_nothing(books: Books) -> None:
    await hold(books, "r-1", "7")
    assert await hold(books, "r-1", "7") == "active"
    assert await books.reservations.held([PAIR, PAIR], {}, NOW) == {PAIR: Decimal(7)}
    assert await books.outbox.depth() == 1


async def test_hold_without_limit_is_always_taken(books: Books) -> None:
    assert await hold(books, "r-1", "999", free=None) == "active"


async def test_overdue_holds_do_not_count_even_before_the_sweep(books: Books) -> None:
    await hold(books, "r-1", "10", expires=60)
    assert await books.reservations.held([PAIR], {}, later(60)) == {}
    await books.reservations.hold(reservation("r-2", "10"), Decimal(10), NOW, later(60), [])


async def test_committed_holds_count_until_the_figure_contains_them(books: Books) -> None:
    await hold(books, "r-1", "4")
    await books.reservations.change("r-1", "committed", later(5), [])
    assert await books.reservations.held([PAIR], {PAIR: later(4)}, later(10)) == {PAIR: Decimal(4)}
    assert await books.reservations.held([PAIR], {PAIR: later(5)}, later(10)) == {}
    await books.reservations.hold(reservation("r-2", "10"), Decimal(10), later(5), later(10), [])
    with pytest.raises(InsufficientStock):
        await books.reservations.hold(reservation("r-3", "7"), Decimal(10), later(4), later(10), [])


async def test_changes_follow_the_state_machine(books: Books) -> None:
    book = books.reservations
    await hold(books, "r-1")
    extended = await book.change("r-1", "active", NOW, [event("e", "r-1")], expires_at=later(1800))
    assert (extended.state, extended.expires_at, extended.version) == ("active", later(1800), 2)
    released = await book.change("r-1", "released", NOW, [], reason="cart emptied")
    assert (released.state, released.release_reason, released.version) == ("released", "cart emptied", 3)
    assert await book.change("r-1", "released", later(1), [event("f", "r-1")], reason="again") == released
    with pytest.raises(StateConflict, match="released"):
        await book.change("r-1", "committed", NOW, [])
    with pytest.raises(NotFound):
        await book.change("nobody", "released", NOW, [])
    assert await book.get("r-1") == released
    assert await books.outbox.depth() == 2


async def test_of_many_changes_that_expect_one_version_exactly_one_happens(books: Books, another: Open) -> None:
    await hold(books, "r-1")
    stores = (books, await another(), await another(), await another())
    ends = await asyncio.gather(
        *(
            stores[n % 4].reservations.change("r-1", "released", NOW, [event(f"e{n}", "r-1")], reason=str(n), expected={1})
            for n in range(40)
        ),
        return_exceptions=True,
    )
    won = [x for x in ends if isinstance(x, Reservation)]
    assert [(x.version, x.state) for x in won] == [(2, "released")]
    assert {type(x) for x in ends} == {Reservation, PreconditionFailed}
    assert await books.reservations.get("r-1") == won[0]
    assert await books.outbox.depth() == 2, "the hold and the one release"
    with pytest.raises(PreconditionFailed, match=r'names "v1", the resource is at "v2"'):
        await books.reservations.change("r-1", "released", NOW, [], expected={1})
    assert await books.reservations.change("r-1", "released", NOW, [], expected={1, 2}) == won[0]


async def test_late_commit_is_refused_and_early_expiry_too(books: Books) -> None:
    await hold(books, "r-1", expires=60)
    with pytest.raises(StateConflict, match="expires at"):
        await books.reservations.change("r-1", "expired", later(59), [])
    with pytest.raises(StateConflict, match="expired"):
        await books.reservations.change("r-1", "committed", later(60), [])
    assert (await books.reservations.change("r-1", "expired", later(60), [])).state == "expired"


async def test_sweep_expires_overdue_holds_once(books: Books, another: Open) -> None:
    for n in range(5):
        await hold(books, f"r-{n}", expires=60 + n)
    assert await books.reservations.expire(later(59), 10) == []
    first = await books.reservations.expire(later(62), 2)
    assert [r.reservation_key for r in first] == ["r-0", "r-1"]
    sweeps = await asyncio.gather(*(store.reservations.expire(later(70), 10) for store in (books, await another())))
    assert sorted(r.reservation_key for sweep in sweeps for r in sweep) == ["r-2", "r-3", "r-4"]


async def test_holds_of_an_owner_are_found(books: Books) -> None:
    await hold(books, "r-2")
    await hold(books, "r-1")
    assert [r.reservation_key for r in await books.reservations.of_owner("cart", "cart-1")] == ["r-1", "r-2"]
    assert await books.reservations.of_owner("order", "cart-1") == []

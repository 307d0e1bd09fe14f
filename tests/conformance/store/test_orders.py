import asyncio

import msgspec
import pytest

from contracts.books import Books, StepRecord
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, event, later, order, process


async def test_same_key_is_one_order_however_often_it_is_sent(books: Books, another: Open) -> None:
    stores = [books, await another()]
    answers = await asyncio.gather(
        *(stores[n % 2].orders.accept(order(f"o{n}"), process(f"o{n}"), "shop", "k1", [event(f"e{n}", f"o{n}")]) for n in range(12))
    )
    assert sum(new for _, _, new in answers) == 1
    assert len({o.id for o, _, _ in answers}) == 1
    assert len({p.id for _, p, _ in answers}) == 1
    assert await books.outbox.depth() == 1
    assert len(await books.orders.all_orders()) == 1


async def test_order_is_found_by_id_and_number_and_is_whole(books: Books) -> None:
    await books.orders.accept(order("o1"), process("o1"), "shop", "k1", [])
    assert await books.orders.get("o1") == order("o1")
    assert await books.orders.by_number("N-o1") == order("o1")
    assert await books.orders.process_of("o1") == process("o1")
    assert await books.orders.get("o2") is None
    assert await books.orders.by_number("o\x001") is None
    assert await books.orders.process_of("o2") is None


async def test_number_of_another_order_is_refused(books: Books) -> None:
    await books.orders.accept(order("o1", "N-1"), process("o1"), "shop", "k1", [])
    with pytest.raises(StateConflict, match="another order"):
        await books.orders.accept(order("o2", "N-1"), process("o2"), "shop", "k2", [])


async def test_list_pages_through_a_channel_newest_first(books: Books) -> None:
    for n in range(5):
        await books.orders.accept(order(f"o{n}"), process(f"o{n}"), "shop", f"k{n}", [])
    await books.orders.accept(order("other", channel="store"), process("other"), "till", "k", [])
    first = await books.orders.list("web", None, 3)
    assert [o.id for o in first] == ["o4", "o3", "o2"]
    assert [o.id for o in await books.orders.list("web", first[-1].id, 3)] == ["o1", "o0"]
    with pytest.raises(NotFound):
        await books.orders.list("web", "other", 3)
    assert [o.id for o in await books.orders.all_orders()] == ["o0", "o1", "o2", "o3", "o4", "other"]


async def test_save_stores_step_order_and_events_only_from_the_version_read(books: Books) -> None:
    await books.orders.accept(order("o1"), process("o1"), "shop", "k1", [])
    step = msgspec.structs.replace(process("o1"), steps=(StepRecord(name="reserve", state="confirmed", attempts=1, at=NOW),))
    saved = await books.orders.save(step, msgspec.structs.replace(order("o1"), order_state="confirmed"), [event("e", "o1")])
    assert (saved.version, saved.steps) == (2, step.steps)
    assert await books.orders.process_of("o1") == saved
    assert (stands := await books.orders.get("o1")) is not None
    assert (stands.version, stands.order_state) == (2, "confirmed")
    with pytest.raises(StateConflict, match="version 1 was changed meanwhile"):
        await books.orders.save(step, None, [event("f", "o1")])
    with pytest.raises(StateConflict, match="order 'o1' is at version 2"):
        await books.orders.save(saved, order("o1"), [event("g", "o1")])
    assert await books.orders.process_of("o1") == saved
    with pytest.raises(NotFound):
        await books.orders.save(process("o9"), None, [])
    assert await books.outbox.depth() == 1


async def test_one_of_concurrent_saves_wins(books: Books, another: Open) -> None:
    await books.orders.accept(order("o1"), process("o1"), "shop", "k1", [])
    stores = [books, await another()]
    saves = await asyncio.gather(
        *(stores[n % 2].orders.save(process("o1"), order("o1"), [event(f"e{n}", "o1")]) for n in range(10)), return_exceptions=True
    )
    assert sum(isinstance(s, StateConflict) for s in saves) == 9
    assert await books.outbox.depth() == 1


async def test_due_processes_are_leased_to_one_worker_each(books: Books, another: Open) -> None:
    for n in range(20):
        await books.orders.accept(order(f"o{n}"), process(f"o{n}", due=n), "shop", f"k{n}", [])
    for n, state in enumerate(("done", "failed", "manual", "compensated", "waiting", "compensating")):
        await books.orders.accept(order(f"x{n}"), process(f"x{n}", state=state), "shop", f"x{n}", [])
    stores = [books, await another()]
    leased = await asyncio.gather(*(stores[n % 2].orders.due(f"w{n}", later(9), 30, 4) for n in range(6)))
    ids = [p.subject for batch in leased for p in batch]
    assert sorted(ids) == sorted([f"o{n}" for n in range(10)] + ["x4", "x5"])
    assert {p.owner for batch in leased for p in batch} <= {f"w{n}" for n in range(6)}
    assert await books.orders.due("w9", later(9), 30, 99) == ()


async def test_lease_that_ended_passes_on_and_shuts_the_old_owner_out(books: Books) -> None:
    await books.orders.accept(order("o1"), process("o1"), "shop", "k1", [])
    (first,) = await books.orders.due("w1", NOW, 30, 10)
    assert (first.owner, first.lease_until) == ("w1", later(30))
    sending = await books.orders.save(msgspec.structs.replace(first, steps=(StepRecord(name="oms", state="sending"),)), None, [])
    (second,) = await books.orders.due("w2", later(30), 30, 10)
    assert (second.owner, second.steps[0].state) == ("w2", "sending")
    with pytest.raises(StateConflict):
        await books.orders.save(sending, None, [])
    await books.orders.save(msgspec.structs.replace(second, state="done", owner="", lease_until=None), None, [])
    assert await books.orders.due("w3", later(999), 30, 10) == ()


async def test_processes_are_found_by_state(books: Books) -> None:
    for n, state in enumerate(("manual", "running", "manual")):
        await books.orders.accept(order(f"o{n}"), process(f"o{n}", due=-n, state=state), "shop", f"k{n}", [])
    assert [p.subject for p in await books.orders.processes(["manual"], 10)] == ["o2", "o0"]
    assert len(await books.orders.processes(["manual", "running"], 2)) == 2
    assert await books.orders.processes([], 10) == ()

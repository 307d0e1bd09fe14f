"""Receivers and their queues: in order per subject and receiver, bounded, each for itself."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from contracts.books import Books, Failure, Webhook, WebhookSecret
from contracts.errors import InvalidBody, NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, batch, entry, event, later, sale, seen


def webhook(name: str = "shop") -> Webhook:
    return Webhook(
        name=name,
        url="https://shop.example/hooks",
        types=("io.tillgate.order.",),
        api_version="2026-10-01",
        secrets=(WebhookSecret(mark="m1", created_at=NOW),),
        created_at=NOW,
    )


async def offered(books: Books, names: Sequence[str], *subjects: str, most: int = 1000) -> list[int]:
    """Queues one event per subject for each receiver, as the relay does."""
    await books.outbox.put([event(f"e{n}", subject) for n, subject in enumerate(subjects)])
    positions: list[int] = []
    while rows := await books.outbox.due("relay", NOW, 30, 100):
        await books.webhooks.offer({name: [(row.position, row.event.subject) for row in rows] for name in names}, NOW, most)
        await books.outbox.delivered([row.position for row in rows])
        positions += [row.position for row in rows]
    return sorted(positions)


async def test_receivers_are_created_once_changed_as_seen_and_removed_with_their_queue(books: Books) -> None:
    made = webhook()
    await books.webhooks.create(made, 2, [])
    with pytest.raises(StateConflict, match="there"):
        await books.webhooks.create(made, 2, [])
    await books.webhooks.create(webhook("other"), 2, [])
    with pytest.raises(StateConflict, match="no more than 2"):
        await books.webhooks.create(webhook("third"), 2, [])
    after = msgspec.structs.replace(made, suspended="by hand")
    await books.webhooks.change(made, after, [])
    with pytest.raises(StateConflict, match="look again"):
        await books.webhooks.change(made, after, [])
    assert [w.suspended for w in await books.webhooks.list()] == ["", "by hand"]
    await offered(books, ["shop"], "a")
    await books.webhooks.remove("shop", [])
    with pytest.raises(NotFound):
        await books.webhooks.remove("shop", [])
    await books.webhooks.create(made, 2, [])
    assert (await books.webhooks.states())["shop"].waiting == 0


async def test_later_event_of_a_subject_waits_at_each_receiver_for_itself(books: Books) -> None:
    for name in ("one", "two"):
        await books.webhooks.create(webhook(name), 9, [])
    a1, b1, a2 = await offered(books, ["one", "two"], "a", "b", "a")
    assert [d.position for d in await books.webhooks.due("one", NOW, 30, 10)] == [a1, b1]
    assert not await books.webhooks.due("one", NOW, 30, 10)
    assert [d.event.id for d in await books.webhooks.due("two", NOW, 30, 10)] == ["e0", "e1"], "the first holds nobody up"
    await books.webhooks.settle("one", [a1], [Failure(b1, "no", later(60), refused=True)], NOW, None)
    assert [d.position for d in await books.webhooks.due("one", NOW, 30, 10)] == [a2]
    (again,) = [d for d in await books.webhooks.due("one", later(60), 30, 10) if d.position == b1]
    assert (again.attempts, again.refusals, again.error) == (2, 1, "no")


async def test_failing_receiver_is_left_alone_and_then_probed_with_one(books: Books) -> None:
    await books.webhooks.create(webhook(), 9, [])
    a, b = await offered(books, ["shop"], "a", "b")
    assert len(await books.webhooks.due("shop", NOW, 30, 10)) == 2
    failed = [Failure(n, "away", NOW) for n in (a, b)]
    await books.webhooks.settle("shop", [], failed, NOW, (later(5), "away"))
    assert not await books.webhooks.due("shop", later(4), 30, 10)
    state = (await books.webhooks.states())["shop"]
    assert (state.failures, state.error, state.waiting, state.ready_at) == (1, "away", 2, later(5))
    (probe,) = await books.webhooks.due("shop", later(5), 30, 10)
    await books.webhooks.settle("shop", [probe.position], [], later(6), None)
    state = (await books.webhooks.states())["shop"]
    assert (state.failures, state.error, state.waiting, state.delivered, state.delivered_at) == (0, "", 1, 1, later(6))


async def test_dead_letter_steps_aside_and_comes_back_before_what_waits_behind_it(books: Books) -> None:
    await books.webhooks.create(webhook(), 9, [])
    first, second, third = await offered(books, ["shop"], "a", "a", "a")
    await books.webhooks.due("shop", NOW, 30, 10)
    await books.webhooks.settle("shop", [], [Failure(first, "400", None, refused=True)], NOW, None)
    (dead,) = await books.webhooks.dead("shop", 0, 10)
    assert (dead.position, dead.error, dead.event.id) == (first, "400", "e0")
    assert await books.webhooks.dead("shop", first, 10) == []
    with pytest.raises(NotFound):
        await books.webhooks.replay("shop", [second], NOW, [])
    (out,) = await books.webhooks.due("shop", NOW, 30, 10)
    assert out.position == second
    assert await books.webhooks.replay("shop", None, NOW, []) == 1
    assert not await books.webhooks.due("shop", NOW, 30, 10), "never two of a subject at once"
    await books.webhooks.settle("shop", [second], [], NOW, None)
    assert [d.position for d in await books.webhooks.due("shop", NOW, 30, 10)] == [first]
    await books.webhooks.settle("shop", [first], [], NOW, None)
    assert [d.position for d in await books.webhooks.due("shop", NOW, 30, 10)] == [third]


async def test_delivery_that_another_worker_had_given_up_counts_as_waiting_no_more_than_once(books: Books) -> None:
    await books.webhooks.create(webhook(), 9, [])
    a1, _ = await offered(books, ["shop"], "a", "b")
    await books.webhooks.settle("shop", [], [Failure(a1, "no", None, refused=True)], NOW, None)
    await books.webhooks.settle("shop", [a1], [], NOW, None)
    state = (await books.webhooks.states())["shop"]
    assert (state.waiting, state.dead, state.delivered) == (1, 0, 1)


async def test_queue_is_bounded_and_says_what_it_missed_and_a_repeat_is_queued_once(books: Books) -> None:
    await books.webhooks.create(webhook(), 9, [])
    positions = await offered(books, ["shop", "gone"], *(f"s{n}" for n in range(5)), most=3)
    again = [(position, f"s{n}") for n, position in enumerate(positions[:3])]
    await books.webhooks.offer({"shop": again}, NOW, 9)
    state = (await books.webhooks.states())["shop"]
    assert (state.waiting, state.missed) == (3, 2)


async def test_what_a_receiver_waits_for_stays_in_the_outbox_until_it_is_purged_here_too(books: Books) -> None:
    await books.webhooks.create(webhook(), 9, [])
    await offered(books, ["shop"], "a", "a")
    assert await books.outbox.purge(later(1)) == 0
    assert await books.webhooks.purge(later(1)) == 2
    assert await books.outbox.purge(later(1)) == 2
    state = (await books.webhooks.states())["shop"]
    assert (state.waiting, state.missed) == (0, 2)


async def test_many_workers_share_a_queue_without_overlap_and_in_order(books: Books, another: Open) -> None:
    await books.webhooks.create(webhook(), 9, [])
    positions = await offered(books, ["shop"], *(f"s{s}" for _ in range(4) for s in range(25)))
    stores = [books, await another()]
    told: list[tuple[str, int]] = []

    async def work(n: int) -> None:
        while rows := await stores[n % 2].webhooks.due("shop", NOW, 300, 7):
            told.extend((d.event.subject, d.position) for d in rows)
            await stores[n % 2].webhooks.settle("shop", [d.position for d in rows], [], NOW, None)

    while (await books.webhooks.states())["shop"].waiting:
        await asyncio.gather(*(work(n) for n in range(4)))
    assert sorted(position for _, position in told) == positions
    for s in range(25):
        mine = [position for subject, position in told if subject == f"s{s}"]
        assert mine == sorted(mine)


async def test_what_was_missed_or_delivered_is_queued_again_once_and_audited(books: Books) -> None:
    await books.webhooks.create(webhook(), 9, [])
    positions = await offered(books, ["shop"], *(f"s{n}" for n in range(5)), most=3)
    await books.webhooks.settle("shop", positions[:1], [Failure(positions[1], "no", None, refused=True)], NOW, None)
    until = later(1)
    assert await books.webhooks.resend(webhook(), later(1), later(2), 9, NOW, []) == 0, "nothing happened then"
    with pytest.raises(InvalidBody, match="at most 4"):
        await books.webhooks.resend(webhook(), NOW, until, 4, NOW, [])
    assert await books.webhooks.resend(webhook(), NOW, until, 5, NOW, [entry("a1", "webhook.resent", "shop")]) == 3
    assert await books.webhooks.resend(webhook(), NOW, until, 5, NOW, []) == 0
    state = (await books.webhooks.states())["shop"]
    assert (state.waiting, state.dead, state.missed) == (4, 1, 2)
    out = await books.webhooks.due("shop", NOW, 30, 10)
    assert [d.position for d in out] == [positions[0], *positions[2:]], "neither the dead letter nor one twice"
    assert [e.what for e in await books.audit.list(9)] == ["webhook.resent"]
    with pytest.raises(NotFound):
        await books.webhooks.resend(webhook("gone"), NOW, until, 5, NOW, [])


async def test_sales_and_stock_are_resent_by_their_types_without_a_look_at_what_they_say(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t")
    await books.sales.commit(batch(sale(1), sale(2), position=2), NOW)
    for name, types in (("sold", ("io.tillgate.sale.",)), ("stock", ("io.tillgate.inventory.",)), ("none", ("io.tillgate.order.",))):
        made = msgspec.structs.replace(webhook(name), types=types)
        await books.webhooks.create(made, 9, [])
    await offered(books, [])
    counts = [await books.webhooks.resend(w, NOW, later(1), 9, NOW, []) for w in await books.webhooks.list()]
    assert counts == [0, 2, 1]

"""Committed events are heard at once: what commits them wakes the relay, and nothing else does."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books
from contracts.errors import StoreUnavailable
from contracts.events import Event
from gateway.services.clock import utc_now
from gateway.services.relay import ANNOUNCING, Relay, Subscribers, announced
from observability import Recorder


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Books]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/tillgate.db"))
    await books.start()
    yield books
    await books.close()


def event(number: int) -> Event:
    return Event(
        id=f"e{number}",
        source="/tillgate/test",
        type="io.tillgate.order.accepted.v1",
        time=datetime(2026, 3, 2, 8, tzinfo=UTC),
        subject="orders/1",
        data={},
    )


def test_every_method_of_the_books_that_takes_events_is_one_that_wakes_the_relay() -> None:
    taking = {
        (book, name)
        for book, port in get_type_hints(Books).items()
        for name, method in inspect.getmembers(port, inspect.isfunction)
        if "events" in inspect.signature(method).parameters
    }
    announcing = {(book, name) for book, names in ANNOUNCING.items() for name in names}
    own = {("sales", "commit"), ("quarantine", "book"), ("incidents", "save")}
    assert announcing - taking == own, "booked sales make their events themselves, and an incident has one at most"
    assert taking <= announcing


async def test_commit_without_events_wakes_nobody(store: Books) -> None:
    nudge = asyncio.Event()
    books = announced(store, nudge)
    await books.outbox.put(())
    await books.outbox.depth()
    await books.meta.put_if_absent("k", b"v")
    assert not nudge.is_set()
    await books.outbox.put([event(1)])
    assert nudge.is_set()


async def test_what_was_delivered_while_the_store_went_away_is_marked_when_it_is_back_and_never_repeated(store: Books) -> None:
    class Outage(Subscribers):
        async def publish(self, events: Sequence[Event]) -> Sequence[None]:
            heard.extend(event.id for event in events)
            await store.close()
            return [None] * len(events)

    heard: list[str] = []
    relay = Relay(store.outbox, [Outage()], Recorder(), "r1", utc_now)
    await store.outbox.put([event(1)])
    with pytest.raises(StoreUnavailable):
        await relay.drain_once()
    await store.start()
    assert await relay.drain_once() == 0
    assert (heard, await store.outbox.depth()) == (["e1"], 0)


async def test_subscriber_in_this_process_hears_an_event_long_before_the_timer(store: Books) -> None:
    nudge, stop, subscribers = asyncio.Event(), asyncio.Event(), Subscribers()
    books = announced(store, nudge)
    relay = Relay(books.outbox, [subscribers], Recorder(), "r1", utc_now, nudge=nudge, every=60)
    running = asyncio.create_task(relay.run(stop))
    await asyncio.sleep(0.05)
    waited = []
    with subscribers.subscribe() as stream:
        for number in range(5):
            began = time.monotonic()
            await books.outbox.put([event(number)])
            async with asyncio.timeout(5):
                await anext(stream)
            waited.append(time.monotonic() - began)
    stop.set()
    await running
    assert sorted(waited)[2] < 0.05

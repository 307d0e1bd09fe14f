"""Events from the outbox to subscribers: order per subject, at least once, whatever dies in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from adapters.broker.driver import RabbitConsumer, RabbitPublisher
from adapters.broker.spec import BrokerOptions, Subscription
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books
from contracts.errors import ConnectFailed, Overloaded
from contracts.events import Event
from contracts.policy import Duration
from contracts.ports import Publisher
from gateway.services.clock import utc_now
from gateway.services.relay import Lost, Relay, Subscribers
from observability import Recorder, current
from tests.unit.adapters.broker.proxy import proxied

SALE, STOCK = "io.tillgate.sale.committed.v1", "io.tillgate.inventory.changed.v1"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Book:
    """A publisher that notes what it got; `refuse` names subjects it cannot take, `hang` makes it never answer."""

    name = "book"

    def __init__(self) -> None:
        self.got: list[Event] = []
        self.traces: list[str] = []
        self.refuse: set[str] = set()
        self.hang = False
        self._heard = asyncio.Event()

    async def has(self, count: int) -> None:
        while len(self.got) < count:
            self._heard.clear()
            await self._heard.wait()

    async def publish(self, events: Sequence[Event]) -> Sequence[ConnectFailed | None]:
        told: list[ConnectFailed | None] = []
        for event in events:
            if event.subject in self.refuse:
                told.append(ConnectFailed(system="book", operation="publish"))
                continue
            await self.take(event)
            told.append(None)
        if self.hang:
            await asyncio.Event().wait()
        return told

    async def take(self, event: Event) -> None:
        self.got.append(event)
        self._heard.set()
        record = current()
        self.traces.append(record.trace_id if record else "")

    @property
    def ids(self) -> list[str]:
        return [e.id for e in self.got]


def event(subject: str, number: int, kind: str = SALE, traceparent: str | None = None) -> Event:
    return Event(
        id=f"{subject}.{number}",
        source="/tillgate/test",
        type=kind,
        time=datetime(2026, 3, 2, 8, tzinfo=UTC),
        subject=subject,
        data={"n": number},
        traceparent=traceparent,
    )


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    store = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/tillgate.db", synchronous="normal"))
    await store.start()
    yield store
    await store.close()


@pytest.fixture
def now() -> Clock:
    return Clock()


def relay(books: Books, now: Clock, *publishers: Publisher, owner: str = "r1", every: float = 60.0) -> Relay:
    return Relay(books.outbox, publishers, Recorder(), owner, now, every=every)


async def drain(relay: Relay) -> None:
    while await relay.drain_once():
        pass


async def test_all_events_arrive_once_and_in_order_per_subject(books: Books, now: Clock) -> None:
    book = Book()
    await books.outbox.put([event(f"s{s}", n) for n in range(5) for s in range(20)])
    await drain(relay(books, now, book))
    assert len(book.ids) == len(set(book.ids)) == 100
    for s in range(20):
        assert [e.data["n"] for e in book.got if e.subject == f"s{s}"] == list(range(5))
    assert await books.outbox.depth() == 0


async def test_failed_event_holds_its_subject_only_and_comes_back_later_each_time(books: Books, now: Clock) -> None:
    book = Book()
    book.refuse = {"bad"}
    await books.outbox.put([event("bad", 0), event("bad", 1), event("good", 0)])
    r = relay(books, now, book)
    await drain(r)
    assert book.ids == ["good.0"]
    assert await books.outbox.due("other", now(), 30, 10) == ()
    now.on(0.5)
    await drain(r)
    now.on(0.5)
    assert await books.outbox.due("other", now(), 30, 10) == (), "the second pause is longer"
    book.refuse = set()
    now.on(0.5)
    await drain(r)
    assert book.ids == ["good.0", "bad.0", "bad.1"]


async def test_one_publisher_away_causes_no_repeats_at_the_others(books: Books, now: Clock) -> None:
    here, away = Book(), Book()
    here.name, away.name = "here", "away"
    away.refuse = {"a"}
    await books.outbox.put([event("a", 0)])
    r = relay(books, now, away, here)
    for _ in range(3):
        await drain(r)
        now.on(60)
    assert (here.ids, away.ids, await books.outbox.depth()) == (["a.0"], [], 1)
    away.refuse = set()
    await drain(r)
    assert (here.ids, away.ids, await books.outbox.depth()) == (["a.0"], ["a.0"], 0)


async def test_relay_that_dies_between_publish_and_delivered_repeats_and_loses_nothing(books: Books, now: Clock) -> None:
    book = Book()
    book.hang = True
    await books.outbox.put([event("a", 0), event("a", 1), event("b", 0)])
    dying = asyncio.create_task(relay(books, now, book, owner="dying").drain_once())
    await book.has(2)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    book.hang = False
    heir = relay(books, now, book, owner="heir")
    await drain(heir)
    assert len(book.got) == 2, "the dead one's lease still runs"
    now.on(30)
    await drain(heir)
    assert book.ids == ["a.0", "b.0", "a.0", "b.0", "a.1"]
    assert len({(e.source, e.id) for e in book.got}) == 3, "a repeat is known by source and id"
    assert await books.outbox.depth() == 0


async def test_two_relays_on_one_store_share_the_work_without_overlap(books: Books, now: Clock) -> None:
    book = Book()
    await books.outbox.put([event(f"s{s}", n) for n in range(4) for s in range(150)])
    relays = [relay(books, now, book, owner=o) for o in ("r1", "r2")]
    while await books.outbox.depth():
        await asyncio.gather(*(r.drain_once() for r in relays))
    assert len(book.ids) == len(set(book.ids)) == 600
    for s in range(150):
        assert [e.data["n"] for e in book.got if e.subject == f"s{s}"] == list(range(4))


async def test_backlog_larger_than_a_batch_goes_out_in_rounds_at_once_and_keeps_the_order_of_each_subject(books: Books, now: Clock) -> None:
    book, stop = Book(), asyncio.Event()
    await books.outbox.put([event(f"s{s}", n) for n in range(4) for s in range(100)])
    running = asyncio.create_task(Relay(books.outbox, [book], Recorder(), "r1", now, every=60, batch=16).run(stop))
    async with asyncio.timeout(10):
        await book.has(400)
    stop.set()
    await running
    assert len(book.ids) == len(set(book.ids)) == 400
    for s in range(100):
        assert [e.data["n"] for e in book.got if e.subject == f"s{s}"] == list(range(4))


async def test_event_that_breaks_a_publisher_stops_none_of_its_neighbours(books: Books, now: Clock) -> None:
    class Brittle(Book):
        name = "brittle"

        async def take(self, event: Event) -> None:
            if event.subject == "bad":
                raise KeyError(event.subject)
            await super().take(event)

    first, brittle = Book(), Brittle()
    await books.outbox.put([event("a", 0), event("bad", 0), event("b", 0)])
    r = relay(books, now, first, brittle)
    assert await r.drain_once() == 2
    assert (first.ids, sorted(set(brittle.ids))) == (["a.0", "bad.0", "b.0"], ["a.0", "b.0"])


async def test_nudge_wakes_the_relay_and_stop_ends_it(books: Books, now: Clock) -> None:
    book = Book()
    r, stop = relay(books, now, book), asyncio.Event()
    running = asyncio.create_task(r.run(stop))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        for n in range(3):
            await books.outbox.put([event("a", n)])
            r.nudge.set()
            await book.has(n + 1)
        stop.set()
        await running


async def test_timer_finds_what_nobody_announced(books: Books, now: Clock) -> None:
    book = Book()
    stop = asyncio.Event()
    running = asyncio.create_task(relay(books, now, book, every=0.05).run(stop))
    async with asyncio.timeout(5):
        await asyncio.sleep(0.1)
        await books.outbox.put([event("a", 0)])
        await book.has(1)
        stop.set()
        await running


async def test_publishing_continues_the_trace_that_caused_the_event(books: Books, now: Clock) -> None:
    book = Book()
    await books.outbox.put([event("a", 0, traceparent=PARENT), event("b", 0)])
    await drain(relay(books, now, book))
    assert sorted(book.ids) == ["a.0", "b.0"]
    assert book.traces.count(PARENT.split("-")[1]) == 1


async def test_publisher_that_never_answers_is_cut_off_before_the_lease_ends(books: Books, now: Clock) -> None:
    book = Book()
    book.hang = True
    await books.outbox.put([event("a", 0)])
    r = Relay(books.outbox, [book], Recorder(), "r1", now, lease=0.2)
    async with asyncio.timeout(5):
        assert await r.drain_once() == 0
    book.hang = False
    now.on(1)
    assert await r.drain_once() == 1


async def test_subscriber_gets_its_types_in_order_and_its_loop_ends_when_closed() -> None:
    subscribers = Subscribers()
    with subscribers.subscribe("io.tillgate.inventory.") as stock, subscribers.subscribe() as everything:
        for n, kind in enumerate((SALE, STOCK, SALE, STOCK)):
            await subscribers.publish([event("a", n, kind)])
    assert [e.id async for e in stock if isinstance(e, Event)] == ["a.1", "a.3"]
    assert [e.id async for e in everything if isinstance(e, Event)] == ["a.0", "a.1", "a.2", "a.3"]


async def test_slow_subscriber_is_told_where_it_lost_events_and_holds_nobody_up() -> None:
    subscribers = Subscribers(capacity=3)
    with subscribers.subscribe() as slow:
        for n in range(10):
            await subscribers.publish([event("a", n)])
        assert [await anext(slow) for _ in range(2)] == [Lost(7), event("a", 7)]
        await subscribers.publish([event("a", 10)])
    rest = [item async for item in slow]
    assert rest == [event("a", 8), event("a", 9), event("a", 10)]
    assert all(x.id != y.id for x, y in pairwise(e for e in rest if isinstance(e, Event)))


async def test_forgotten_and_closed_subscribers_make_room_and_too_many_are_refused() -> None:
    subscribers = Subscribers(most=2)
    subscribers.subscribe()
    subscribers.subscribe().close()
    kept = [subscribers.subscribe() for _ in range(2)]
    with pytest.raises(Overloaded):
        subscribers.subscribe()
    kept[0].close()
    subscribers.subscribe()


async def test_committed_events_reach_rabbitmq_and_subscribers_although_the_connection_is_cut_again_and_again(
    books: Books, amqp_url: str
) -> None:
    there, subscribers, stop = Book(), Subscribers(), asyncio.Event()
    async with proxied(amqp_url) as proxy:
        options = BrokerOptions(url=proxy.url, exchange="flow", backoff=Duration(0.02), confirm_limit=Duration(1))
        out = RabbitPublisher(options)
        direct = BrokerOptions(url=amqp_url, exchange="flow", close_limit=Duration(1))
        reader = RabbitConsumer(direct, Subscription(queue="flow.q"), there.take, Recorder())
        await reader.start()
        await out.start()
        r = Relay(books.outbox, [subscribers, out], Recorder(), "r1", utc_now, every=0.02, lease=4, backoff=0.02)
        running = asyncio.create_task(r.run(stop))
        with subscribers.subscribe() as here:
            for n in range(5):
                await books.outbox.put([event(f"s{s}", n, traceparent=PARENT) for s in range(30)])
                r.nudge.set()
                proxy.hold()
                await asyncio.sleep(0.05)
                proxy.cut()
            async with asyncio.timeout(20):
                while await books.outbox.depth():  # noqa: ASYNC110  # the relay tells nobody when it is done
                    await asyncio.sleep(0.02)
                while len(set(there.ids)) < 150:
                    await there.has(len(there.got) + 1)
            stop.set()
            await running
        heard = [e.id async for e in here if isinstance(e, Event)]
        await out.close()
        await reader.close()
    assert len(heard) == len(set(heard)) == 150
    first = list(dict.fromkeys(there.ids))
    assert len(there.ids) > len(first) == 150, "cut before the confirm: repeated under the same id"
    for s in range(30):
        assert [i for i in heard if i.startswith(f"s{s}.")] == [f"s{s}.{n}" for n in range(5)]
        assert [i for i in first if i.startswith(f"s{s}.")] == [f"s{s}.{n}" for n in range(5)]
    assert set(there.traces) == {PARENT.split("-")[1]}, "one trace from the cause to the consumer"

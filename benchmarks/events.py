"""Events from the outbox to RabbitMQ with confirms, against pika's own loops over the same messages: by the clock, in turn."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from adapters.broker.driver import CONTENT_TYPE, RabbitConsumer, RabbitPublisher
from adapters.broker.spec import BrokerOptions, Subscription
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from benchmarks.ratio import Ratio, show
from contracts.books import Books, FileSeen, SaleBatch
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.sale import PosSale, SaleKey, SaleLine, SaleTotals
from contracts.events import Event
from gateway.services.clock import utc_now
from gateway.services.relay import Relay
from observability import Recorder
from tests.servers import rabbitmq
from tests.servers.process import ServerMissing

SALES = 10_000
BATCH = 250
SKUS = 20_000
ROUNDS = 5
WINDOW = 1_000
"""Messages that the pika loop has sent and not yet heard of: with as many the gateway's own publisher is built."""
EXCHANGE = "bench.events"
OF_SALES = "io.tillgate.sale.committed.v1"
AT = datetime(2026, 3, 11, 12, tzinfo=UTC)


def sale(number: int, chance: Random) -> PosSale:
    """Two items, as a till books them."""
    lines = tuple(
        SaleLine(
            line_number=n,
            line_type="sale",
            extended_amount=Money(chance.randrange(49, 4999), "EUR", 2),
            item_id=f"{10_000_001 + chance.randrange(SKUS)}",
            units=Quantity("1", "EA"),
        )
        for n in (1, 2)
    )
    total = sum(line.extended_amount.cent_amount for line in lines)
    return PosSale(
        key=SaleKey(store_number="0017", workstation_id=f"{number // 5000 + 1:03}", business_date="2026-03-11", sequence_number=number + 1),
        transaction_type="sale",
        begin_at=AT,
        currency_code="EUR",
        lines=lines,
        totals=SaleTotals(grand=Money(total, "EUR", 2)),
        provenance=(Provenance(source_system="pos", as_of=AT, received_at=AT, via="file", source_record=f"row {number}"),),
    )


async def book(url: str, sales: int) -> None:
    """What an intake leaves: sales, and the stock that they moved, as events in the outbox."""
    chance = Random(1)
    books = open_store(StoreOptions(url=url))
    await books.start()
    try:
        seen = FileSeen(digest="d1", feed="pos.tlog", name="bench", size=1, store="0017")
        claim = await books.files.claim(seen, "bench", AT, 3600, "bench")
        for start in range(0, sales, BATCH):
            booked = tuple(sale(n, chance) for n in range(start, min(start + BATCH, sales)))
            batch = SaleBatch(digest="d1", fence=claim.record.fence, position=start + BATCH, sales=booked)
            await books.sales.commit(batch, AT)
    finally:
        await books.close()


class Heard:
    """A publisher that keeps what it is told: the messages of the pika loops."""

    name = "heard"

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, events: Sequence[Event]) -> Sequence[None]:
        self.events += events
        return [None] * len(events)


async def drained(books: Books, *publishers: Any) -> None:
    stop = asyncio.Event()
    relay = Relay(books.outbox, publishers, Recorder(), "bench", utc_now)
    running = asyncio.create_task(relay.run(stop))
    while await books.outbox.depth():  # noqa: ASYNC110  # the relay tells nobody when it is done
        await asyncio.sleep(0.01)
    stop.set()
    relay.nudge.set()
    await running


@contextmanager
def opened(template: Path, scratch: Path) -> Iterator[str]:
    """The address of a copy of the filled store."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    shutil.copyfile(template, folder / "books.db")
    try:
        yield f"sqlite:///{folder}/books.db"
    finally:
        shutil.rmtree(folder)


async def ours(store: str, broker: str) -> float:
    """Seconds until the outbox is empty, each event confirmed by the broker and marked delivered."""
    books = open_store(StoreOptions(url=store))
    await books.start()
    publisher = RabbitPublisher(BrokerOptions(url=broker, exchange=EXCHANGE, unroutable="refuse"))
    await publisher.start()
    try:
        began = time.perf_counter()
        await drained(books, publisher)
        return time.perf_counter() - began
    finally:
        await publisher.close()
        await books.close()


async def messages(template: Path, scratch: Path) -> list[tuple[str, bytes, pika.BasicProperties]]:
    heard = Heard()
    with opened(template, scratch) as store:
        books = open_store(StoreOptions(url=store))
        await books.start()
        try:
            await drained(books, heard)
        finally:
            await books.close()
    return [(e.type, e.encode(), properties(e)) for e in heard.events]


def properties(event: Event) -> pika.BasicProperties:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    return pika.BasicProperties(
        content_type=CONTENT_TYPE, message_id=event.id, type=event.type, delivery_mode=2, timestamp=int(AT.timestamp()), headers=headers
    )


async def pika_loop(broker: str, sending: Sequence[tuple[str, bytes, pika.BasicProperties]], window: int) -> float:
    """pika on asyncio with the bytes at hand: so many under way at once, confirms counted, nothing else. Begins with an empty queue."""
    loop = asyncio.get_running_loop()
    up: asyncio.Future[None] = loop.create_future()
    opening: asyncio.Future[Any] = loop.create_future()
    ready: asyncio.Future[Any] = loop.create_future()
    empty: asyncio.Future[Any] = loop.create_future()
    closed: asyncio.Future[None] = loop.create_future()
    done: asyncio.Future[None] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(broker),
        on_open_callback=lambda _: up.set_result(None),
        on_close_callback=lambda *_: closed.set_result(None),
        custom_ioloop=loop,
    )
    await up
    connection.channel(on_open_callback=opening.set_result)
    channel = await opening
    rest = iter(sending)
    reached = 0

    def send(count: int) -> None:
        for _ in range(count):
            if (message := next(rest, None)) is None:
                return
            channel.basic_publish(EXCHANGE, *message, mandatory=True)

    def confirmed(frame: Any) -> None:
        nonlocal reached
        fresh = frame.method.delivery_tag - reached if frame.method.multiple else 1
        reached += fresh
        send(fresh)
        if reached >= len(sending) and not done.done():
            done.set_result(None)

    channel.confirm_delivery(confirmed, callback=ready.set_result)
    await ready
    channel.queue_purge("bench.q", callback=empty.set_result)
    await empty
    began = time.perf_counter()
    if not sending:
        done.set_result(None)
    send(window)
    await done
    took = time.perf_counter() - began
    connection.close()
    await closed
    return took


async def declare(broker: str) -> None:
    """A quorum queue that takes all, as a consumer declares it."""

    async def nothing(_: Event) -> None:
        """Nobody reads it here."""

    options = BrokerOptions(url=broker, exchange=EXCHANGE)
    consumer = RabbitConsumer(options, Subscription(queue="bench.q"), nothing, Recorder())
    await consumer.start()
    consumer.check()
    await consumer.close()


def compare(name: str, against: str, count: int, pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Of seconds: how many times as fast as the other."""
    each = sorted(b / a for a, b in pairs)
    value = median(each)
    mine, other = (median(p[n] for p in pairs) / count * 1e6 for n in (0, 1))
    spread = round(each[0], 2), round(each[-1], 2)
    return Ratio(name, against, round(value, 2), spread, round(mine, 1), round(other, 1), ">=0.6", value >= 0.6)


def measure(broker: str, scratch: Path, sales: int, rounds: int) -> list[Ratio]:
    template = scratch / "template.db"
    asyncio.run(book(f"sqlite:///{template}", sales))
    asyncio.run(declare(broker))
    sending = asyncio.run(messages(template, scratch))
    contenders: dict[str, Callable[[], float]] = {
        "pika loop": lambda: asyncio.run(pika_loop(broker, sending, WINDOW)),
        "pika loop, one by one": lambda: asyncio.run(pika_loop(broker, sending[: len(sending) // 10], 1)) * 10,
    }

    def mine() -> float:
        with opened(template, scratch) as store:
            return asyncio.run(ours(store, broker))

    times: dict[str, list[tuple[float, float]]] = {peer: [] for peer in contenders}
    for n in range(-1, rounds):
        for peer, theirs in contenders.items():
            taken = {}
            for who in (mine, theirs) if n % 2 else (theirs, mine):
                asyncio.run(pika_loop(broker, (), 1))  # empties the queue
                gc.collect()
                taken[who] = who()
            if n >= 0:  # the first round only warms up
                times[peer].append((taken[mine], taken[theirs]))
    return [compare("events", peer, len(sending), pairs) for peer, pairs in times.items()]


def main() -> None:
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    sales = next((int(a) for a in sys.argv[1:] if a.isdigit()), SALES)
    with tempfile.TemporaryDirectory(prefix="tillgate-bench-") as name:
        scratch = Path(name)
        try:
            with rabbitmq.running(scratch) as broker:
                ratios = measure(broker, scratch, sales, ROUNDS)
        except ServerMissing as missing:
            ratios = [Ratio("events", "pika loop", 0, (0, 0), 0, 0, note=f"SKIPPED: {missing}")]
        show(ratios)
    if "--json" not in sys.argv:
        for ratio in ratios:
            if not ratio.note:
                print(f"{ratio.name}: {1e6 / ratio.ours_us:,.0f} a second, {ratio.against}: {1e6 / ratio.theirs_us:,.0f} (by the clock)")


if __name__ == "__main__":
    main()

"""Events to RabbitMQ and from it: a publisher that returns when the broker has taken an event, a consumer that settles after the work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from adapters.broker.client import Channel, Delivery, Line, Link
from adapters.broker.errors import SYSTEM, refused, translated, unroutable
from adapters.broker.spec import BrokerOptions, Subscription
from contracts.errors import ContractViolation, UpstreamError
from contracts.events import Event
from observability import Recorder, Step, get_logger, step

log = get_logger(__name__)

CONTENT_TYPE = "application/cloudevents+json"
MESSAGING = "rabbitmq"
_DECODER = msgspec.json.Decoder(Event)

Handler = Callable[[Event], Awaitable[None]]
"""Returns when the event's work is done and safe; it is repeated after any exception, and may be repeated after success."""


class RabbitPublisher:
    """Fulfils `contracts.ports.Publisher`. Confirmed, bounded, never retried here: the outbox brings an event again."""

    name = "rabbitmq"

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._line = Line(options, "tillgate publisher", self._furnish)
        self._free = options.in_flight
        self._room = asyncio.Event()
        """Set when a place becomes free."""
        self._waiting = 0
        self._channel: Channel | None = None
        self._closing = False

    async def start(self) -> None:
        """A broker that is away is no reason not to start: `check` says so, and events wait in the outbox. Raises for bad TLS files."""
        await self._line.start()

    async def close(self) -> None:
        """New events are refused, confirms under way awaited, then channel and connection closed."""
        if not self._closing:
            self._closing = True
            await self._settled()
        await self._line.close()

    def check(self) -> None:
        """Raises UpstreamError while no event would get through."""
        self._line.check()

    async def publish(self, events: Sequence[Event]) -> Sequence[UpstreamError | None]:
        """Within the confirm limit. An error with `sent`: the broker may have the event."""
        exchange, batch = self._options.exchange, _Batch(len(events))
        about: dict[str, Any] = {"destination": exchange, "batch_count": len(events)}
        if len(events) == 1:
            key = events[0].type
            about = {"destination": f"{exchange}:{key}", "routing_key": key, "message_id": events[0].id, "event_type": key}
        with suppress(UpstreamError), step(Step.PUBLISH, system=SYSTEM, operation="publish", messaging_system=MESSAGING, **about) as hop:
            await self._send(events, batch, hop.traceparent)
            if failure := next(filter(None, batch.errors), None):
                raise failure
        return batch.errors

    async def _send(self, events: Sequence[Event], batch: _Batch, traceparent: str) -> None:
        """Until each is settled, one way or the other."""
        if self._closing:
            return batch.end(refused("publish", "shutting down", sent=False))
        if not self._free and self._waiting >= self._options.waiting:
            return batch.end(refused("publish", "too many events wait for the broker", sent=False))
        headers = {"traceparent": traceparent}
        where = ""
        try:
            async with asyncio.timeout(self._options.confirm_limit):
                while batch.sent < len(events):
                    where = "too many events wait for the broker's confirms"
                    await self._place()
                    where = "not connected"
                    link = await self._line.link()
                    where = "the broker takes no messages"
                    await link.flowing.wait()
                    for event in events[batch.sent : batch.sent + self._free]:
                        self._write(event, headers, batch)
                await batch.settled
        except UpstreamError as error:
            batch.end(error)
        except TimeoutError as exc:
            batch.end(refused("publish", where, sent=False), translated(exc, "publish", sent=True))
        return None

    async def _place(self) -> None:
        """Until one is free."""
        self._waiting += 1
        try:
            while not self._free:
                self._room.clear()
                await self._room.wait()
        finally:
            self._waiting -= 1

    def _write(self, event: Event, headers: Mapping[str, str], batch: _Batch) -> None:
        """Raises UpstreamError when there is no channel; what is wrong with the event alone is its own."""
        if self._channel is None:
            raise refused("publish", "not connected", sent=False)
        exchange, key, number = self._options.exchange, event.type, batch.sent
        batch.sent += 1

        def settle(outcome: bool | UpstreamError) -> None:
            self._free += 1
            self._room.set()
            if outcome is False and self._options.unroutable == "refuse":
                outcome = unroutable(key, exchange)
            batch.settle(number, outcome if isinstance(outcome, UpstreamError) else None)

        properties = {
            "content_type": CONTENT_TYPE,
            "message_id": event.id,
            "type": key,
            "timestamp": int(event.time.timestamp()),
            "headers": headers,
        }
        self._free -= 1
        try:
            self._channel.publish(exchange, key, event.encode(), properties, settle)
        except UpstreamError as error:
            settle(error)

    async def _furnish(self, link: Link) -> None:
        channel = await link.channel()
        await channel.ask("exchange_declare", self._options.exchange, exchange_type="topic", durable=True)
        await channel.confirm()
        self._channel = channel

    async def _settled(self) -> None:
        """All places free again: nothing is under way."""
        try:
            async with asyncio.timeout(self._options.close_limit):
                while self._free < self._options.in_flight:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            log.warning("closing without all confirms; the outbox repeats those events")


class _Batch:
    """What became of the events of one call."""

    def __init__(self, count: int) -> None:
        self.errors: list[UpstreamError | None] = [None] * count
        self.sent = 0
        self._open = set(range(count))
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, number: int, error: UpstreamError | None) -> None:
        if number not in self._open:  # nobody waits for it any more
            return
        self._open.remove(number)
        self.errors[number] = error
        if not self._open and not self.settled.done():
            self.settled.set_result(None)

    def end(self, unsent: UpstreamError, sent: UpstreamError | None = None) -> None:
        """What is open failed so: what was not sent, and what was (by default alike)."""
        for number in tuple(self._open):
            self.settle(number, unsent if number >= self.sent or sent is None else sent)


class RabbitConsumer:
    """Reads one queue. An event is acknowledged after its handler returned; a failed one comes again, until it is a dead letter."""

    def __init__(self, options: BrokerOptions, subscription: Subscription, handler: Handler, recorder: Recorder) -> None:
        self._options, self._subscription, self._handler, self._recorder = options, subscription, handler, recorder
        self._line = Line(options, f"tillgate {subscription.queue}", self._furnish)
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()  # bounded by the prefetch, which the broker keeps
        self._workers: list[asyncio.Task[None]] = []
        self._channel: Channel | None = None
        self._tag = ""

    async def start(self) -> None:
        """Like the publisher's: a broker that is away is waited for."""
        self._workers = self._workers or [asyncio.create_task(self._work()) for _ in range(self._subscription.workers)]
        await self._line.start()

    async def close(self) -> None:
        """No further deliveries, those at hand finished in time, then channel and connection. The rest stays in the queue."""
        try:
            async with asyncio.timeout(self._options.close_limit):
                if self._channel is not None and self._channel.is_open:
                    await self._channel.ask("basic_cancel", self._tag)
                await self._deliveries.join()
        except (UpstreamError, TimeoutError) as error:
            log.warning("closing with events at hand", queue=self._subscription.queue, reason=str(error))
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._line.close()

    def check(self) -> None:
        """Raises UpstreamError while nothing can be read."""
        self._line.check()

    async def _furnish(self, link: Link) -> None:
        s, exchange = self._subscription, self._options.exchange
        dead = f"{exchange}.dead"
        channel = await link.channel()
        await channel.ask("exchange_declare", exchange, exchange_type="topic", durable=True)
        await channel.ask("exchange_declare", dead, exchange_type="direct", durable=True)
        bounds = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": s.max_length}
        # nobody works on dead letters by failing: a limit that is never reached keeps newer brokers from dropping what a person looked at
        await channel.ask("queue_declare", f"{s.queue}.dead", durable=True, arguments={**bounds, "x-delivery-limit": 2**31 - 1})
        await channel.ask("queue_bind", f"{s.queue}.dead", dead, s.queue)
        letters = {
            "x-delivery-limit": s.delivery_limit,
            "x-dead-letter-exchange": dead,
            "x-dead-letter-routing-key": s.queue,
            "x-dead-letter-strategy": "at-least-once",
        }
        await channel.ask("queue_declare", s.queue, durable=True, arguments=bounds | letters)
        for key in s.keys:
            await channel.ask("queue_bind", s.queue, exchange, key)
        while not self._deliveries.empty():  # of the lost connection: they come again
            self._deliveries.get_nowait()
            self._deliveries.task_done()
        self._channel = channel
        self._tag = await channel.consume(s.queue, s.prefetch, self._deliveries.put_nowait)

    async def _work(self) -> None:
        while True:
            delivery = await self._deliveries.get()
            try:
                await self._take(delivery)
            finally:
                self._deliveries.task_done()

    async def _take(self, delivery: Delivery) -> None:
        s = self._subscription
        if not delivery.channel.is_open:
            return
        parent = delivery.headers.get("traceparent")
        try:
            with self._recorder.flight("message", s.queue, parent=parent if isinstance(parent, str) else None, trusted=True) as record:
                record.set(
                    messaging_system=MESSAGING,
                    destination=f"{delivery.exchange}:{delivery.routing_key}:{s.queue}",
                    routing_key=delivery.routing_key,
                    message_id=delivery.message_id[:200],
                )
                event = self._read(delivery)
                record.set(event_type=event.type[:200])
                async with asyncio.timeout(s.handler_limit):
                    await self._handler(event)
        except Unreadable as error:
            log.warning("unreadable message is a dead letter", queue=s.queue, message_id=delivery.message_id[:200], error=str(error))
            delivery.refuse(again=False)
        except Exception as error:
            log.exception(
                "event failed", queue=s.queue, message_id=delivery.message_id[:200], failures=delivery.failures + 1, error=str(error)
            )
            await asyncio.sleep(min(s.backoff * 2 ** min(delivery.failures, 16), s.backoff_max))
            delivery.refuse(again=True)
        else:
            delivery.ack()

    def _read(self, delivery: Delivery) -> Event:
        """Raises Unreadable: repeating would not help."""
        kind = delivery.content_type.partition(";")[0].strip().lower()
        if kind != CONTENT_TYPE:
            raise _unreadable("content_type", CONTENT_TYPE, kind[:100] or "none")
        if len(delivery.body) > self._subscription.body_limit:
            raise _unreadable("body", f"at most {self._subscription.body_limit} bytes", f"{len(delivery.body)} bytes")
        try:
            return _DECODER.decode(delivery.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise _unreadable("body", "a CloudEvents document", str(exc)[:200]) from exc


class Unreadable(ContractViolation):
    """A message that is no event of ours."""


def _unreadable(where: str, expected: str, got: str) -> Unreadable:
    return Unreadable(system=SYSTEM, operation="consume", where=where, expected=expected, got=got)

"""Events to RabbitMQ and from it: a publisher that returns when the broker has taken an event, a consumer that settles after the work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

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
        self._slots = asyncio.Semaphore(options.in_flight)
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

    async def publish(self, event: Event) -> None:
        """Within the confirm limit. Raises UpstreamError; with `sent` the broker may have it."""
        key, exchange = event.type, self._options.exchange
        with step(
            Step.PUBLISH,
            system=SYSTEM,
            operation="publish",
            messaging_system=MESSAGING,
            destination=f"{exchange}:{key}",
            routing_key=key,
            message_id=event.id,
            event_type=key,
        ) as hop:
            if not await self._send(event, hop.traceparent) and self._options.unroutable == "refuse":
                raise unroutable(key, exchange)

    async def _send(self, event: Event, traceparent: str) -> bool:
        if self._closing:
            raise refused("publish", "shutting down", sent=False)
        if self._slots.locked() and self._waiting >= self._options.waiting:
            raise refused("publish", "too many events wait for the broker", sent=False)
        sent, self._waiting = False, self._waiting + 1
        where = "too many events wait for the broker's confirms"
        try:
            async with asyncio.timeout(self._options.confirm_limit):
                try:
                    await self._slots.acquire()
                finally:
                    self._waiting -= 1
                try:
                    where = "not connected"
                    link = await self._line.link()
                    where = "the broker takes no messages"
                    await link.flowing.wait()
                    future = self._write(event, traceparent)
                except BaseException:
                    self._slots.release()
                    raise
                sent = True
                return await future
        except TimeoutError as exc:
            if sent:
                raise translated(exc, "publish", sent=True) from exc
            raise refused("publish", where, sent=False) from exc

    def _write(self, event: Event, traceparent: str) -> asyncio.Future[bool]:
        if self._channel is None:
            raise refused("publish", "not connected", sent=False)
        return self._channel.publish(
            self._options.exchange,
            event.type,
            event.encode(),
            {
                "content_type": CONTENT_TYPE,
                "message_id": event.id,
                "type": event.type,
                "timestamp": int(event.time.timestamp()),
                "headers": {"traceparent": traceparent},
            },
            self._slots.release,
        )

    async def _furnish(self, link: Link) -> None:
        channel = await link.channel()
        await channel.ask("exchange_declare", self._options.exchange, exchange_type="topic", durable=True)
        await channel.confirm()
        self._channel = channel

    async def _settled(self) -> None:
        """All places free again: nothing is under way."""
        try:
            async with asyncio.timeout(self._options.close_limit):
                for _ in range(self._options.in_flight):
                    await self._slots.acquire()
        except TimeoutError:
            log.warning("closing without all confirms; the outbox repeats those events")


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

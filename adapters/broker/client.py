"""Connections and channels of pika as awaitables on our own loop, and a connection that comes back after it was lost."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError

from adapters.broker.errors import refused, translated
from adapters.broker.spec import BrokerOptions
from adapters.wire import client_tls
from contracts.errors import UpstreamError
from observability import get_logger

log = get_logger(__name__)

_STABLE = 5.0
"""Seconds after which a connection counts as good, so that the next loss is answered quickly again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a queue, to be settled once. Settling after the channel is gone does nothing: the broker delivers it again."""

    channel: Channel
    tag: int
    exchange: str
    routing_key: str
    failures: int
    """How often it was delivered before."""
    content_type: str
    message_id: str
    headers: Mapping[str, Any]
    body: bytes

    def ack(self) -> None:
        if self.channel.is_open:
            self.channel.raw.basic_ack(self.tag)

    def refuse(self, *, again: bool) -> None:
        """Back into its queue, or to the dead letters at once."""
        if self.channel.is_open:
            self.channel.raw.basic_nack(self.tag, requeue=again)


Settle = Callable[[bool | UpstreamError], None]
"""Called once, when the broker or the end of the channel has decided: whether any queue took the message; UpstreamError when it was
refused or lost."""


class Channel:
    """An open channel. `closed` gets the reason when it is gone; whatever still waits fails with it."""

    def __init__(self, link: Link, raw: Any) -> None:
        loop = asyncio.get_running_loop()
        self._link = link
        self.raw = raw
        self.closed: asyncio.Future[UpstreamError] = loop.create_future()
        self._sent = self._reached = 0
        """Tags: of the last message, and the one up to which all are confirmed."""
        self._pending: dict[int, tuple[str, Settle]] = {}
        self._returned: Counter[str] = Counter()
        raw.add_on_close_callback(lambda _, error: self._gone(error))
        raw.add_on_cancel_callback(lambda _: self._link.end(refused("consume", "the queue was deleted", sent=True)))

    @property
    def is_open(self) -> bool:
        return bool(self.raw.is_open)

    async def ask(self, method: str, *args: Any, **kwargs: Any) -> None:
        """A method that the broker answers (declare, bind, consume, …), bounded by the connect limit."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(_: Any) -> None:
            if not answered.done():
                answered.set_result(None)

        try:
            getattr(self.raw, method)(*args, callback=settle, **kwargs)
            async with asyncio.timeout(self._link.options.connect_limit):
                await asyncio.wait((answered, self.closed), return_when=asyncio.FIRST_COMPLETED)
        except (AMQPError, TimeoutError) as exc:
            raise translated(exc, method, sent=True) from exc
        if not answered.done():
            raise replace(self.closed.result(), operation=method)

    async def confirm(self) -> None:
        """From now on every message is confirmed by the broker."""
        self.raw.add_on_return_callback(lambda _c, _m, properties, _b: self._returned.update((properties.message_id,)))
        await self.ask("confirm_delivery", self._confirmed)

    def publish(self, exchange: str, key: str, body: bytes, properties: Mapping[str, Any], settle: Settle) -> None:
        """Written in order. Raises UpstreamError when nothing was sent."""
        try:
            self.raw.basic_publish(exchange, key, body, pika.BasicProperties(delivery_mode=2, **properties), mandatory=True)
        except AMQPError as exc:
            raise translated(exc, "publish", sent=False) from exc
        self._sent += 1
        self._pending[self._sent] = properties["message_id"], settle

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> str:
        """Returns the consumer's tag."""

        def received(_: Any, method: Any, properties: Any, body: bytes) -> None:
            headers = properties.headers or {}
            failures = headers.get("x-delivery-count", 0)
            deliver(
                Delivery(
                    self,
                    method.delivery_tag,
                    _text(method.exchange),
                    _text(method.routing_key),
                    failures if isinstance(failures, int) else 0,
                    _text(properties.content_type),
                    _text(properties.message_id),
                    headers,
                    body,
                )
            )

        tag = f"tillgate.{random.getrandbits(64):016x}"
        await self.ask("basic_qos", prefetch_count=prefetch)
        await self.ask("basic_consume", queue, received, consumer_tag=tag)
        return tag

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        taken = isinstance(method, pika.spec.Basic.Ack)
        for tag in range(self._reached + 1, method.delivery_tag + 1) if method.multiple else (method.delivery_tag,):
            if (entry := self._pending.pop(tag, None)) is None:
                continue
            message_id, settle = entry
            if not (routed := message_id not in self._returned):
                self._returned.subtract((message_id,))
                self._returned = +self._returned
            settle(routed if taken else refused("publish", "a queue is full or not available", sent=True))
        if method.multiple:
            self._reached = max(self._reached, method.delivery_tag)

    def _gone(self, error: BaseException) -> None:
        reason = self._link.lost.result() if self._link.lost.done() else translated(error, "publish", sent=True)
        if not self.closed.done():
            self.closed.set_result(reason)
        pending, self._pending = self._pending, {}
        for _, settle in pending.values():
            settle(replace(reason, operation="publish", sent=True))
        self._link.end(reason)


def _text(value: str | bytes | None) -> str:
    """pika leaves bytes what is no UTF-8."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


class Link:
    """One connection, from connect to loss; a lost channel ends it too. `lost` gets the reason as soon as nothing goes through."""

    def __init__(self, options: BrokerOptions) -> None:
        self.options = options
        self.lost: asyncio.Future[UpstreamError] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self.flowing = asyncio.Event()
        """Cleared while the broker has no memory or disk left and takes no messages (connection.blocked)."""
        self.flowing.set()
        self._raw: Any = None

    async def open(self, name: str, tls: ssl.SSLContext | None) -> None:
        """Raises UpstreamError; within the connect limit."""
        options, loop = self.options, asyncio.get_running_loop()
        up: asyncio.Future[None] = loop.create_future()

        def opened(_: Any) -> None:
            if not up.done():
                up.set_result(None)

        def failed(connection: Any, error: BaseException) -> None:
            if not up.done():
                up.set_exception(error)
            self._closed(connection, error)

        self._raw = raw = AsyncioConnection(
            _parameters(options, name, tls),
            on_open_callback=opened,
            on_open_error_callback=failed,
            on_close_callback=self._closed,
            custom_ioloop=loop,
        )
        raw.add_on_connection_blocked_callback(self._blocked)
        raw.add_on_connection_unblocked_callback(self._unblocked)
        try:
            async with asyncio.timeout(options.connect_limit):
                await up
        except Exception as exc:
            raise translated(exc, "connect", sent=False) from exc

    async def channel(self) -> Channel:
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def ready(raw: Any) -> None:
            if not opened.done():
                opened.set_result(raw)

        try:
            self._raw.channel(on_open_callback=ready)
            async with asyncio.timeout(self.options.connect_limit):
                await asyncio.wait((opened, self.lost), return_when=asyncio.FIRST_COMPLETED)
        except (AMQPError, TimeoutError) as exc:
            raise translated(exc, "channel", sent=False) from exc
        if not opened.done():
            raise replace(self.lost.result(), operation="channel")
        return Channel(self, opened.result())

    def end(self, reason: UpstreamError) -> None:
        """Give the connection up."""
        if not self.lost.done():
            self.lost.set_result(reason)
        self.flowing.set()  # who waits for it shall see that the connection is gone
        self._hang_up()

    async def close(self) -> None:
        """Channels first, then the connection, then, if the broker does not answer, the socket."""
        if self._raw is None:
            return
        for let_go in (self._hang_up, self._drop):
            let_go()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.options.close_limit):
                    await self._over.wait()
                return

    def _drop(self) -> None:
        if (transport := self._raw._transport) is not None:  # noqa: SLF001  # pika has no public way to let go of a silent broker
            transport.abort()

    def _hang_up(self) -> None:
        if self._raw is not None and not (self._raw.is_closed or self._raw.is_closing):
            self._raw.close()

    def _closed(self, _: Any, error: BaseException) -> None:
        self._over.set()
        self.end(translated(error, "connection", sent=True))

    def _blocked(self, _: Any, frame: Any) -> None:
        self.flowing.clear()
        log.warning("broker takes no messages", reason=str(frame.method.reason)[:200])

    def _unblocked(self, _: Any, __: Any) -> None:
        self.flowing.set()
        log.info("broker takes messages again")


def _parameters(options: BrokerOptions, name: str, tls: ssl.SSLContext | None) -> Any:
    at = options.address
    return pika.ConnectionParameters(
        host=at.host,
        port=at.port,
        virtual_host=at.vhost,
        credentials=pika.PlainCredentials(at.user, at.password),
        heartbeat=options.heartbeat,
        connection_attempts=1,
        socket_timeout=float(options.connect_limit),
        stack_timeout=float(options.connect_limit),
        client_properties={"connection_name": name},
        ssl_options=pika.SSLOptions(tls, at.host) if tls else None,
    )


class Line:
    """A connection that is renewed with growing pauses. `furnish` declares and opens what its owner needs, on every new connection."""

    def __init__(self, options: BrokerOptions, name: str, furnish: Callable[[Link], Awaitable[None]]) -> None:
        self._options, self._name, self._furnish = options, name, furnish
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._error: UpstreamError | None = None

    async def start(self) -> None:
        """Returns after the first attempt, also when that failed: `check` knows, and further attempts follow. Raises for bad TLS files."""
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # it writes a page per lost connection; the reason is told here, in one line
        if self._keeper is not None:
            return
        context = None
        if self._options.address.tls:
            try:
                context = await asyncio.to_thread(client_tls, self._options.tls)
            except OSError as exc:
                raise translated(exc, "connect", sent=False) from exc
        self._keeper = asyncio.create_task(self._keep(context), name=f"broker {self._name}")
        tried = asyncio.create_task(self._tried.wait())
        await asyncio.wait((tried, self._keeper), return_when=asyncio.FIRST_COMPLETED)
        tried.cancel()

    async def close(self) -> None:
        self._error = translated(ConnectionAbortedError("closed"), "connect", sent=False)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))

    async def link(self) -> Link:
        """The furnished connection. Waits while it is renewed for the first time; once that failed, fails at once until it is back."""
        if self._error is not None:
            raise replace(self._error) from self._error.__cause__
        while True:
            await self._up.wait()
            if self._link is not None and not self._link.lost.done():
                return self._link
            await asyncio.sleep(0)  # the keeper is about to notice

    def check(self) -> None:
        """Raises UpstreamError unless connected and allowed to send."""
        if self._error is not None:
            raise replace(self._error) from self._error.__cause__
        if self._link is None or self._link.lost.done():
            raise translated(ConnectionError("not connected"), "connect", sent=False)
        if not self._link.flowing.is_set():
            raise refused("check", "the broker takes no messages", sent=False)

    async def _keep(self, tls: ssl.SSLContext | None) -> None:
        loop, pause = asyncio.get_running_loop(), float(self._options.backoff)
        while True:
            link = Link(self._options)
            try:
                await link.open(self._name, tls)
                await self._furnish(link)
                since = loop.time()
                self._link, self._error = link, None
                self._up.set()
                self._tried.set()
                log.info("broker connected", connection=self._name)
                await asyncio.wait((link.lost,))
                log.warning("broker connection lost", connection=self._name, error=str(link.lost.result()))
                if loop.time() - since > _STABLE:
                    pause = float(self._options.backoff)
            except Exception as exc:  # a connection that nobody renews would be worse than any surprise
                error = translated(exc, "connect", sent=False)
                if self._error is None:
                    log.warning("broker is away", connection=self._name, error=str(error), exc_info=error is not exc)
                self._error = error
                self._tried.set()
            finally:
                self._up.clear()
                self._link = None
                await link.close()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads gateways that lost the same broker
            pause = min(pause * 2, self._options.backoff_max)

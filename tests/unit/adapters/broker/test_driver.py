"""The broker driver against a real RabbitMQ: confirmed, bounded, back after a loss, dead letters, one trace."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
import trustme
import uvloop

from adapters.broker.client import Channel, Delivery, Link
from adapters.broker.driver import CONTENT_TYPE, RabbitConsumer, RabbitPublisher
from adapters.broker.spec import BrokerOptions, Subscription
from adapters.options import Tls
from adapters.wire import TlsFailed
from contracts.errors import ConnectFailed, ConnectionLost, UpstreamBusy, UpstreamError, UpstreamFault, UpstreamTimeout
from contracts.events import Event
from contracts.policy import Duration
from observability import Recorder, current
from tests.unit.adapters.broker.proxy import proxied

_numbers = count(1)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def options(url: str, **kwargs: object) -> BrokerOptions:
    """An exchange of its own for each test."""
    made = {"exchange": f"t{next(_numbers)}", "backoff": Duration(0.05), "confirm_limit": Duration(5), "close_limit": Duration(1)}
    return BrokerOptions(url=url, **{**made, **kwargs})  # type: ignore[arg-type]  # each test names fields of its own


def event(number: int, kind: str = "io.tillgate.sale.committed.v1") -> Event:
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    return Event(id=f"e{number}", source="/tillgate/test", type=kind, time=at, subject="s", data={"n": number}, sequence=f"{number:020d}")


async def sent(out: RabbitPublisher, one: Event) -> None:
    """Raises what became of it."""
    (error,) = await out.publish([one])
    if error:
        raise error


@asynccontextmanager
async def publisher(at: BrokerOptions) -> AsyncIterator[RabbitPublisher]:
    made = RabbitPublisher(at)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


class Reader:
    """A handler that notes what came; `fail` says how often each event fails first."""

    def __init__(self, fail: int = 0) -> None:
        self.got: list[Event] = []
        self.tries = 0
        self.traces: list[str] = []
        self._fail = fail
        self._heard = asyncio.Event()

    async def __call__(self, event: Event) -> None:
        self.tries += 1
        self._heard.set()
        if self.tries <= self._fail:
            raise ConnectFailed(system="erp", operation="test")
        record = current()
        self.traces.append(record.trace_id if record else "")
        self.got.append(event)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(8):
            while not true():
                self._heard.clear()
                await self._heard.wait()


@asynccontextmanager
async def consumer(
    at: BrokerOptions, handler: Callable[[Event], Awaitable[None]], queue: Subscription | None = None
) -> AsyncIterator[RabbitConsumer]:
    made = RabbitConsumer(at, queue or subscription(at), handler, Recorder())
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def subscription(at: BrokerOptions, **kwargs: object) -> Subscription:
    made = {"queue": f"{at.exchange}.q", "backoff": Duration(0.01)}
    return Subscription(**{**made, **kwargs})  # type: ignore[arg-type]  # as above


@asynccontextmanager
async def raw(at: BrokerOptions) -> AsyncIterator[Channel]:
    link = Link(at)
    await link.open("test", None)
    try:
        yield await link.channel()
    finally:
        await link.close()


async def read(at: BrokerOptions, queue: str, number: int) -> list[Delivery]:
    """The first messages of a queue, left in it."""
    got: list[Delivery] = []
    heard = asyncio.Event()

    def take(delivery: Delivery) -> None:
        got.append(delivery)
        heard.set()

    async with raw(at) as channel, asyncio.timeout(8):
        await channel.consume(queue, number, take)
        while len(got) < number:
            heard.clear()
            await heard.wait()
    return got


async def settled(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not true():  # noqa: ASYNC110  # a foreign process has no event to wait for
            await asyncio.sleep(0.01)


async def test_published_events_are_confirmed_and_arrive_in_order_as_cloud_events(amqp_url: str) -> None:
    at, reader = options(amqp_url), Reader()
    async with consumer(at, reader), publisher(at) as out:
        await asyncio.gather(*(sent(out, event(n)) for n in range(300)))
        await reader.until(lambda: len(reader.got) == 300)
    assert reader.got == [event(n) for n in range(300)]


async def test_events_of_one_call_arrive_in_order_and_each_is_told_for_itself(amqp_url: str) -> None:
    at, reader = options(amqp_url, in_flight=7, unroutable="refuse"), Reader()
    events = [event(n, "io.tillgate.order.accepted.v1" if n % 50 == 3 else "io.tillgate.sale.committed.v1") for n in range(200)]
    events[20] = event(20, "io.tillgate.sale." + "x" * 300)
    async with consumer(at, reader, subscription(at, keys=("io.tillgate.sale.#",))), publisher(at) as out:
        told = await out.publish(events)
        await reader.until(lambda: len(reader.got) == 195)
    bad = {n for n in range(200) if n % 50 == 3}
    assert {n for n, error in enumerate(told) if isinstance(error, UpstreamFault) and error.fault_code == "312"} == bad
    assert {n for n, error in enumerate(told) if error} == bad | {20}
    assert reader.got == [e for e, error in zip(events, told, strict=True) if error is None]


async def test_connection_cut_in_the_middle_of_a_call_settles_every_event_of_it(amqp_url: str) -> None:
    async with proxied(amqp_url) as proxy, publisher(options(proxy.url, in_flight=10, unroutable="accept")) as out:
        proxy.hold()
        task = asyncio.create_task(out.publish([event(n) for n in range(50)]))
        await settled(lambda: proxy.sent.count(b"application/cloudevents") == 10)
        proxy.refuse()
        proxy.cut()
        async with asyncio.timeout(8):
            told = await task
        assert all(isinstance(error, UpstreamError) for error in told)
        assert [error.sent for error in told if isinstance(error, UpstreamError)] == [True] * 10 + [False] * 40


async def test_message_carries_the_structured_form_with_the_events_id(amqp_url: str) -> None:
    at = options(amqp_url)
    async with consumer(at, Reader()):
        pass
    async with publisher(at) as out:
        await sent(out, event(1))
    (message,) = await read(at, f"{at.exchange}.q", 1)
    assert (message.content_type, message.message_id, message.body) == (CONTENT_TYPE, "e1", event(1).encode())
    assert message.routing_key == event(1).type
    assert message.headers["traceparent"].startswith("00-")


async def test_trace_goes_through_the_broker(amqp_url: str) -> None:
    at, reader, recorder = options(amqp_url), Reader(), Recorder()
    async with consumer(at, reader), publisher(at) as out:
        with recorder.flight("task", "publish", parent=PARENT, trusted=True):
            await sent(out, event(1))
        await sent(out, event(2))
        await reader.until(lambda: len(reader.got) == 2)
    assert reader.traces[0] == PARENT.split("-")[1]
    assert reader.traces[1] not in ("", reader.traces[0])


async def test_unroutable_event_is_fine_or_a_failure_as_the_option_says(amqp_url: str) -> None:
    async with publisher(options(amqp_url)) as out:
        await sent(out, event(1))
    at = options(amqp_url, unroutable="refuse")
    async with publisher(at) as out:
        with pytest.raises(UpstreamFault, match=r"no queue of t\d+ asks for io\.tillgate\.sale") as caught:
            await sent(out, event(1))
        assert (caught.value.fault_code, caught.value.retryable, caught.value.sent) == ("312", True, False)
        async with consumer(at, reader := Reader()):
            await sent(out, event(1))
            await reader.until(lambda: len(reader.got) == 1)


async def test_subscription_gets_only_the_types_it_names(amqp_url: str) -> None:
    at, reader = options(amqp_url), Reader()
    async with consumer(at, reader, subscription(at, keys=("io.tillgate.order.#",))), publisher(at) as out:
        await sent(out, event(1))
        await sent(out, event(2, "io.tillgate.order.accepted.v1"))
        await reader.until(lambda: bool(reader.got))
    assert [e.id for e in reader.got] == ["e2"]


async def test_connection_killed_mid_publish_loses_nothing_and_repeats_are_known(amqp_url: str) -> None:
    reader = Reader()
    async with proxied(amqp_url) as proxy:
        at = options(proxy.url)
        direct = options(amqp_url, exchange=at.exchange)
        async with consumer(direct, reader), publisher(at) as out:

            async def until_confirmed(number: int) -> int:
                for lost in count():
                    try:
                        await sent(out, event(number))
                    except (ConnectionLost, ConnectFailed):
                        await asyncio.sleep(0.02)
                    else:
                        return lost
                raise AssertionError

            proxy.hold()  # the broker takes them, its confirms do not reach us
            tasks = [asyncio.create_task(until_confirmed(n)) for n in range(100)]
            await reader.until(lambda: len({e.id for e in reader.got}) == 100)
            proxy.cut()
            async with asyncio.timeout(8):
                losses = await asyncio.gather(*tasks)
            assert all(losses), "each was under way when the connection died"
            await reader.until(lambda: len(reader.got) >= 200)
    assert {e.id for e in reader.got} == {f"e{n}" for n in range(100)}
    assert len(reader.got) >= 200, "sent again, under the same source and id"


async def test_loss_under_way_says_that_the_broker_may_have_it(amqp_url: str) -> None:
    async with proxied(amqp_url) as proxy, publisher(options(proxy.url)) as out:
        proxy.hold()
        task = asyncio.create_task(sent(out, event(1)))
        await settled(lambda: b"cloudevents" in proxy.sent)
        proxy.cut()
        with pytest.raises(ConnectionLost) as caught:
            await task
        assert (caught.value.sent, caught.value.system, caught.value.operation) == (True, "broker", "publish")


async def test_publisher_and_consumer_come_back_after_the_broker_was_away(amqp_url: str) -> None:
    reader = Reader()
    async with proxied(amqp_url) as proxy:
        at = options(proxy.url)
        async with consumer(at, reader) as source, publisher(at) as out:
            await sent(out, event(1))
            proxy.refuse()
            proxy.cut()
            with pytest.raises(UpstreamError):
                await sent(out, event(2))
            with pytest.raises(ConnectFailed):
                out.check()
            before = proxy.connections
            await proxy.listen()
            await settled(lambda: connected(out) and connected(source))
            assert proxy.connections == before + 2
            await sent(out, event(3))
            await reader.until(lambda: any(e.id == "e3" for e in reader.got))


def connected(part: RabbitPublisher | RabbitConsumer) -> bool:
    try:
        part.check()
    except UpstreamError:
        return False
    return True


async def test_what_was_deleted_is_declared_again(amqp_url: str) -> None:
    at, reader = options(amqp_url), Reader()
    async with consumer(at, reader) as source, publisher(at) as out:
        async with raw(at) as channel:
            await channel.ask("exchange_delete", at.exchange)
            await channel.ask("queue_delete", f"{at.exchange}.q")
        with pytest.raises(UpstreamFault) as caught:
            await sent(out, event(1))
        assert caught.value.fault_code == "404"
        await settled(lambda: connected(out) and connected(source))
        await sent(out, event(2))
        await reader.until(lambda: bool(reader.got))


@pytest.mark.slow
async def test_start_with_the_broker_away_succeeds_and_publishing_fails_at_once(unused_port: int) -> None:
    async with asyncio.timeout(5), publisher(options(f"amqp://guest:secret@127.0.0.1:{unused_port}/")) as out:
        with pytest.raises(ConnectFailed, match="refused") as caught:
            await sent(out, event(1))
        assert caught.value.sent is False
        assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


async def test_wrong_password_and_vhost_are_named(amqp_url: str) -> None:
    for url, words in (
        (amqp_url.replace("guest:guest", "guest:wrong"), "user or password not accepted"),
        (amqp_url.replace("%2F", "nowhere"), "no access to the vhost.*nowhere"),
    ):
        async with publisher(options(url)) as out:
            with pytest.raises(ConnectFailed, match=words):
                out.check()


@pytest.mark.slow
async def test_server_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(5), publisher(options(f"amqp://127.0.0.1:{port}", connect_limit=Duration(0.2))) as out:
        with pytest.raises(UpstreamTimeout) as caught:
            await sent(out, event(1))
        assert (caught.value.error_type, caught.value.sent) == ("timeout.connect", False)
    server.close()


async def test_untrusted_certificate_is_a_tls_failure_and_a_missing_file_is_told_at_start(amqp_url: str, tmp_path: Path) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    url = f"amqps://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with publisher(options(url)) as out:
        with pytest.raises(TlsFailed):
            out.check()
    server.close()
    with pytest.raises(ConnectFailed, match="No such file"):
        await RabbitPublisher(options(url, tls=Tls(ca=str(tmp_path / "none.pem")))).start()


async def test_blocked_connection_makes_publishers_wait_then_refuses_unsent(amqp_url: str) -> None:
    async with proxied(amqp_url) as proxy, publisher(options(proxy.url, confirm_limit=Duration(0.3))) as out:
        proxy.block()
        await settled(lambda: not connected(out))
        with pytest.raises(UpstreamBusy, match="takes no messages") as caught:
            await sent(out, event(1))
        assert caught.value.sent is False
        assert b"cloudevents" not in proxy.sent
        waiting = asyncio.create_task(sent(out, event(2)))
        await asyncio.sleep(0.05)
        proxy.unblock()
        await waiting


async def test_places_under_way_and_waiting_are_bounded_and_come_back(amqp_url: str) -> None:
    async with proxied(amqp_url) as proxy, publisher(options(proxy.url, confirm_limit=Duration(0.3), in_flight=2, waiting=1)) as out:
        proxy.hold()
        three = [asyncio.create_task(sent(out, event(n))) for n in range(3)]
        await settled(lambda: proxy.sent.count(b"application/cloudevents") == 2)
        with pytest.raises(UpstreamBusy, match="too many events wait"):
            await sent(out, event(4))
        errors = await asyncio.gather(*three, return_exceptions=True)
        assert [(type(e), isinstance(e, UpstreamError) and e.sent) for e in errors] == [
            (UpstreamTimeout, True),
            (UpstreamTimeout, True),
            (UpstreamBusy, False),
        ]
        with pytest.raises(UpstreamBusy, match="confirms"):
            await sent(out, event(5))
        proxy.release()
        for n in range(3):
            await sent(out, event(n))


async def test_full_queue_refuses_the_publisher(amqp_url: str) -> None:
    at = options(amqp_url)
    async with consumer(at, Reader(), subscription(at, max_length=1)):
        pass
    async with publisher(at) as out:

        async def fill() -> None:
            for n in range(100):
                await sent(out, event(n))

        with pytest.raises(UpstreamBusy, match="a queue is full") as caught:
            await fill()
        assert caught.value.retryable


async def test_property_that_amqp_cannot_carry_is_refused_and_the_next_event_goes_through(amqp_url: str) -> None:
    async with publisher(options(amqp_url)) as out:
        with pytest.raises(UpstreamError, match="AMQP 0-9-1"):
            await sent(out, event(1, "io.tillgate." + "x" * 300))
        await sent(out, event(2))


async def test_closing_waits_for_confirms_and_refuses_new_events(amqp_url: str) -> None:
    at, reader = options(amqp_url), Reader()
    async with consumer(at, reader):
        out = RabbitPublisher(at)
        await out.start()
        tasks = [asyncio.create_task(sent(out, event(n))) for n in range(50)]
        await asyncio.sleep(0)
        await out.close()
        await asyncio.gather(*tasks)
        with pytest.raises(UpstreamBusy, match="shutting down"):
            await sent(out, event(99))
        await reader.until(lambda: len(reader.got) == 50)


async def test_closing_lets_go_of_a_broker_that_no_longer_answers(amqp_url: str) -> None:
    async with proxied(amqp_url) as proxy, asyncio.timeout(5):
        out = RabbitPublisher(options(proxy.url, close_limit=Duration(0.1)))
        await out.start()
        proxy.hold()
        task = asyncio.create_task(sent(out, event(1)))
        await asyncio.sleep(0.01)
        await out.close()
        with pytest.raises(ConnectionLost) as caught:
            await task
        assert caught.value.sent


async def test_failed_event_comes_again_and_becomes_a_dead_letter_after_the_limit(amqp_url: str) -> None:
    at, reader = options(amqp_url), Reader(fail=4)
    async with consumer(at, reader, subscription(at, delivery_limit=3)), publisher(at) as out:
        await sent(out, event(1))
        await reader.until(lambda: reader.tries == 4)
        (dead,) = await read(at, f"{at.exchange}.q.dead", 1)
        assert (dead.message_id, dead.body) == ("e1", event(1).encode())
        await sent(out, event(2))
        await reader.until(lambda: bool(reader.got))
    assert [e.id for e in reader.got] == ["e2"]


async def test_event_that_fails_once_is_handled_at_the_second_delivery(amqp_url: str) -> None:
    at, reader = options(amqp_url), Reader(fail=1)
    async with consumer(at, reader), publisher(at) as out:
        await sent(out, event(1))
        await reader.until(lambda: bool(reader.got))
    assert (reader.tries, reader.got) == (2, [event(1)])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", event(1).encode()),
        (CONTENT_TYPE, b"{"),
        (CONTENT_TYPE, b'{"specversion":"0.3"}'),
        (CONTENT_TYPE, b"[" * 100_000),
        (CONTENT_TYPE, b"\xff" * 10),
        (CONTENT_TYPE, b" " * 2_000_000),
        (b"\xff\xfe", b"{}"),
    ],
    ids=["media type", "half", "other version", "nested", "no text", "large", "media type no text"],
)
async def test_unreadable_message_is_a_dead_letter_at_once(amqp_url: str, content_type: str | bytes, body: bytes) -> None:
    at, reader = options(amqp_url), Reader()
    async with consumer(at, reader), raw(at) as channel:
        await channel.confirm()
        channel.publish(at.exchange, "x", body, {"content_type": content_type, "message_id": "bad"}, lambda _: None)
        (dead,) = await read(at, f"{at.exchange}.q.dead", 1)
    assert (dead.message_id, reader.tries) == ("bad", 0)


async def test_handler_that_hangs_is_cut_off_and_its_event_comes_again(amqp_url: str) -> None:
    tries = 0
    done = asyncio.Event()

    async def hang_once(_: Event) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.Event().wait()
        done.set()

    at = options(amqp_url)
    async with consumer(at, hang_once, subscription(at, handler_limit=Duration(0.1))), publisher(at) as out:
        await sent(out, event(1))
        async with asyncio.timeout(8):
            await done.wait()
    assert tries == 2


async def test_closing_consumer_finishes_what_it_has_at_hand(amqp_url: str) -> None:
    got: list[str] = []
    begun = asyncio.Event()

    async def slow(e: Event) -> None:
        begun.set()
        await asyncio.sleep(0.02)
        got.append(e.id)

    at = options(amqp_url)
    async with publisher(at) as out:
        async with consumer(at, slow):
            await asyncio.gather(*(sent(out, event(n)) for n in range(5)))
            await begun.wait()
        first = list(got)
        async with consumer(at, reader := Reader()):
            await sent(out, event(9))
            await reader.until(lambda: any(e.id == "e9" for e in reader.got))
    assert first + [e.id for e in reader.got] == ["e0", "e1", "e2", "e3", "e4", "e9"]


async def test_events_at_hand_when_the_connection_dies_are_delivered_again(amqp_url: str) -> None:
    gate, seen = asyncio.Event(), Reader()

    async def gated(e: Event) -> None:
        await gate.wait()
        await seen(e)

    async with proxied(amqp_url) as proxy:
        at = options(proxy.url)
        async with publisher(options(amqp_url, exchange=at.exchange)) as out, consumer(at, gated):
            await asyncio.gather(*(sent(out, event(n)) for n in range(10)))
            await asyncio.sleep(0.05)
            proxy.cut()
            await settled(lambda: proxy.connections == 2)
            gate.set()
            await seen.until(lambda: len({e.id for e in seen.got}) == 10)


def test_driver_runs_on_uvloop(amqp_url: str) -> None:
    async def work() -> list[Event]:
        at, reader = options(amqp_url), Reader()
        async with consumer(at, reader), publisher(at) as out:
            await asyncio.gather(*(sent(out, event(n)) for n in range(50)))
            await reader.until(lambda: len(reader.got) == 50)
        return reader.got

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(work()) == [event(n) for n in range(50)]


async def test_lost_connection_says_so_once_without_the_librarys_pages(amqp_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with proxied(amqp_url) as proxy, publisher(options(proxy.url)) as out:
            proxy.cut()
            await settled(lambda: proxy.connections == 2 and connected(out))
    assert not [r for r in caplog.records if r.name.startswith("pika")]


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

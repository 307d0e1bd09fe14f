"""What happens before a connection is encrypted, in both loops that the gateway may run in."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
import uvloop

from gateway.edge.handshake import Handshakes

HOST = "127.0.0.1"
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Echo(asyncio.Protocol):
    """Sends back what came, in capitals."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's is registered nowhere

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None, "nothing is received before the connection is made"
        self.transport.write(data.upper())


def runs(loop: Callable[[], asyncio.AbstractEventLoop], what: Callable[[int, ssl.SSLContext], Awaitable[None]], **bounds: Any) -> None:
    authority, theirs = trustme.CA(), ssl.create_default_context()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(own)
    authority.configure_trust(theirs)

    async def main() -> None:
        with socket.create_server((HOST, 0)) as door:
            server = Handshakes([door], own, Echo, **{"seconds": 5, **bounds})
            async with asyncio.timeout(10):
                await what(door.getsockname()[1], theirs)
            server.close()
            await server.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("loop", LOOPS)
def test_what_comes_with_the_last_packet_of_the_handshake_reaches_the_protocol(
    version: ssl.TLSVersion, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def ask(port: int, context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
        reader, writer = await asyncio.open_connection(HOST, port)
        done = sent = False
        answer = b""
        while not answer:
            try:
                if done:
                    answer = client.read(100)
                else:
                    client.do_handshake()
                    done = True
                    client.write(b"at once")
                    writer.write(outgoing.read())
                    sent = True
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    writer.write(outgoing.read())
                incoming.write(await reader.read(65_536))
        assert sent
        assert answer == b"AT ONCE"
        writer.close()

    runs(loop, ask)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("bounds", [{"most": 3}, {"per_address": 3}], ids=["in all", "from one address"])
def test_beyond_the_bound_a_handshake_is_not_begun_until_another_has_ended(
    loop: Callable[[], asyncio.AbstractEventLoop], bounds: dict[str, int]
) -> None:
    async def crowd(port: int, context: ssl.SSLContext) -> None:
        silent = [await asyncio.open_connection(HOST, port) for _ in range(3)]
        for _, writer in silent:
            writer.write(b"\x16\x03\x01")
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(HOST, port, ssl=context, server_hostname=HOST)
        silent.pop()[1].close()
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=HOST)
            except ConnectionError:
                continue  # the server has not heard of the end yet
            break
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        for _, each in (*silent, (reader, writer)):
            each.close()

    runs(loop, crowd, **bounds)


@pytest.mark.parametrize("loop", LOOPS)
def test_addresses_that_stand_for_many_are_not_counted(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def crowd(port: int, context: ssl.SSLContext) -> None:
        silent = [await asyncio.open_connection(HOST, port) for _ in range(3)]
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=HOST)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        for _, each in (*silent, (reader, writer)):
            each.close()

    runs(loop, crowd, per_address=2, exempt=lambda address: address == HOST)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""], ids=["no TLS", "a beginning", "nothing"])
def test_who_does_not_shake_hands_is_left(loop: Callable[[], asyncio.AbstractEventLoop], said: bytes) -> None:
    async def odd(port: int, context: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(said)
        try:
            while await reader.read(100):  # an alert may be said
                pass
        except ConnectionError:
            pass
        writer.close()

    runs(loop, odd, seconds=0.3)

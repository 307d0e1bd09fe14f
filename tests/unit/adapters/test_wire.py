import asyncio
import gzip
import socket
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
import trustme

from adapters.options import Tls
from adapters.wire import NameNotResolved, TlsFailed, Wire, WireAnswer, WireRequest, _session, client_tls
from contracts.errors import ConnectFailed, ConnectionLost, ContractViolation, UpstreamError, UpstreamTimeout

Script = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: Text/XML; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi"


@asynccontextmanager
async def scripted(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that reads one request head after another and lets the script answer with raw bytes."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await script(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def says(answer: bytes) -> Script:
    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return script


async def reset(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    raise ConnectionError


async def ask(url: str, seconds: float = 5.0, *, method: str = "GET", path: str = "/x", **options: object) -> WireAnswer:
    async with Wire("erp", url, **options) as wire:  # type: ignore[arg-type]  # each test names the options it means
        return await wire.exchange("GetStock", method, path, {}, None, seconds)


async def refusal(url: str, seconds: float = 5.0, **options: object) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await ask(url, seconds, **options)  # type: ignore[arg-type]  # as above
    assert caught.value.__cause__ is not None or seconds <= 0
    return caught.value


async def test_an_answer_is_complete_with_lower_case_content_type() -> None:
    async with scripted(says(OK)) as url:
        answer = await ask(url)
    assert (answer.status, answer.body, answer.content_type) == (200, b"hi", "text/xml")


async def test_the_request_carries_traceparent_and_no_cookie_that_an_answer_set() -> None:
    heads: list[bytes] = []

    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=1\r\n\r\n"))

    async with scripted(script) as url, Wire("erp", url) as wire:
        for _ in range(2):
            await wire.exchange(
                "GetStock", "GET", "/a%2Fb?x=1", {"X-A": "b"}, None, 5, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
            )
    assert heads[1].startswith(b"GET /a%2Fb?x=1 HTTP/1.1\r\n")
    assert b"traceparent: 00-aaaa" in heads[1]
    assert b"cookie" not in heads[1].lower()


async def test_a_system_that_wants_to_know_is_told_how_long_its_answer_is_waited_for() -> None:
    heads: list[bytes] = []

    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(OK)

    async with scripted(script) as url:
        await ask(url, 2.5, deadline_header="X-Time-Left")
        await ask(url, 2.5)
    assert [b"X-Time-Left: 2.500\r\n" in head for head in heads] == [True, False]


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with scripted(says(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")) as url:
        assert (await ask(url)).status == 302


async def test_a_refused_connection_was_not_sent(unused_tcp_port: int) -> None:
    error = await refusal(f"http://127.0.0.1:{unused_tcp_port}")
    assert type(error) is ConnectFailed
    assert (error.sent, error.error_type) == (False, "connect.refused")


async def test_an_unknown_host_was_not_sent() -> None:
    error = await refusal("http://nowhere.invalid")
    assert type(error) is NameNotResolved
    assert (error.sent, error.error_type) == (False, "dns")


async def test_a_connection_that_is_not_accepted_in_time_was_not_sent() -> None:
    with socket.socket() as full:  # a full backlog: the kernel drops further connection attempts
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        error = await refusal(f"http://127.0.0.1:{full.getsockname()[1]}", 0.2)
        assert (type(error).__mro__[1], error.sent, error.error_type) == (UpstreamTimeout, False, "timeout.connect")
        error = await refusal(f"http://127.0.0.1:{full.getsockname()[1]}", connect_seconds=0.2)
        assert (error.sent, error.error_type) == (False, "timeout.connect")
        for filler in fillers:
            filler.close()


async def test_waiting_for_a_free_connection_counts_as_connecting() -> None:
    async with scripted(hang) as url, Wire("erp", url, connections=1, connect_seconds=0.1) as wire:
        busy = asyncio.create_task(wire.exchange("GetStock", "GET", "/", {}, None, 5))
        await asyncio.sleep(0.05)
        with pytest.raises(UpstreamTimeout) as caught:
            await wire.exchange("GetStock", "GET", "/", {}, None, 5)
        assert (caught.value.sent, caught.value.error_type) == (False, "timeout.connect")
        busy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await busy


async def test_a_silent_upstream_is_a_read_timeout_that_may_have_been_executed() -> None:
    async with scripted(hang) as url:
        started = time.monotonic()
        error = await refusal(url, 0.2)
    assert type(error) is UpstreamTimeout
    assert (error.sent, error.error_type) == (True, "timeout.read")
    assert time.monotonic() - started < 1


async def test_a_trickling_body_ends_at_the_time_limit() -> None:
    async def trickle(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with scripted(trickle) as url:
        assert type(await refusal(url, 0.2)) is UpstreamTimeout


async def test_no_time_left_sends_nothing() -> None:
    async with scripted(hang) as url:
        error = await refusal(url, 0.0)
    assert (error.sent, error.error_type) == (False, "timeout.connect")


@pytest.mark.parametrize(
    "script",
    [
        reset,
        says(b"HTTP/1.1 200 OK\r\nContent-Le"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    ],
    ids=["reset", "half a head", "short body", "half a chunk"],
)
async def test_a_connection_that_dies_in_the_exchange_may_have_been_executed(script: Script) -> None:
    async def closing(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(head, reader, writer)
        await writer.drain()
        raise ConnectionError

    async with scripted(closing) as url:
        error = await refusal(url)
    assert type(error) is ConnectionLost
    assert (error.sent, error.error_type) == (True, "connect.reset")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_kept_connection_that_dies_is_not_repeated_silently(method: str) -> None:
    heads: list[bytes] = []

    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        if len(heads) == 2:
            await reset(head, reader, writer)
        writer.write(OK)

    async with scripted(script) as url, Wire("erp", url) as wire:
        await wire.exchange("Put", method, "/1", {}, None, 5)
        with pytest.raises(ConnectionLost):
            await wire.exchange("Put", method, "/2", {}, None, 5)
    assert [h.split()[1] for h in heads] == [b"/1", b"/2"]


async def test_aiohttp_still_has_the_private_switch_that_stops_its_silent_repeats() -> None:
    async with aiohttp.ClientSession() as fresh:
        assert fresh._retry_connection is True
    session = _session(1, 1.0, None, None)
    assert session._retry_connection is False
    await session.close()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"])
async def test_what_is_not_http_breaks_the_contract(answer: bytes) -> None:
    async with scripted(says(answer)) as url:
        error = await refusal(url)
    assert type(error) is ContractViolation
    assert (error.where, error.sent) == ("HTTP", True)


@pytest.mark.parametrize("head", [b"Content-Length: 200000", b"Transfer-Encoding: chunked"])
async def test_a_body_over_the_limit_is_refused_wherever_it_shows(head: bytes) -> None:
    async with scripted(says(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b"30d40\r\n" + b"x" * 200_000)) as url:
        error = await refusal(url, body_limit=100_000)
    assert type(error) is ContractViolation
    assert "100000 bytes" in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compression_bomb_is_refused_before_it_unfolds(encoding: str) -> None:
    zeros = bytes(64 * 1024 * 1024)
    bomb = gzip.compress(zeros, 9) if encoding == "gzip" else zlib.compress(zeros, 9)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with scripted(says(head + bomb)) as url:
        started = time.process_time()
        error = await refusal(url, body_limit=1_000_000)
    assert type(error) is ContractViolation
    assert time.process_time() - started < 0.5


async def test_a_compressed_answer_is_decompressed() -> None:
    body = gzip.compress(b"hello")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with scripted(says(head + body)) as url:
        assert (await ask(url)).body == b"hello"


async def test_a_body_that_is_not_what_its_encoding_says_breaks_the_contract() -> None:
    async with scripted(says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello")) as url:
        error = await refusal(url)
    assert type(error) is ContractViolation
    assert error.expected == "its Content-Encoding"


async def test_a_cancellation_passes_through_untouched() -> None:
    async with scripted(hang) as url:
        task = asyncio.create_task(ask(url))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_untrusted_certificate_is_refused_before_anything_is_sent() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with scripted(says(OK), context) as url:
        error = await refusal(url)
    assert type(error) is TlsFailed
    assert (error.sent, error.error_type) == (False, "tls")


async def test_a_plain_server_behind_https_is_a_failed_handshake() -> None:
    async with scripted(says(OK)) as url:
        error = await refusal(url.replace("http:", "https:"), 1.0)
    assert error.sent is False


async def test_a_client_certificate_is_shown_to_a_server_that_asks(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    mine, theirs = authority.issue_cert("client.example"), authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with scripted(says(OK), context) as url:
        assert (await ask(url, tls=client_tls(Tls(ca=str(folder / "ca.pem"), certificate=str(folder / "client.pem"))))).status == 200
        stranger = await refusal(url, tls=client_tls(Tls(ca=str(folder / "ca.pem"))))
    assert isinstance(stranger, ConnectFailed | ConnectionLost)  # TLS 1.3 says no only after the first bytes have left


@pytest.mark.parametrize(
    "path", ["/a b", "/ä", "/a\r\nX: y", "/items/..", "/items/../other", "/%2e%2E/x", "/.?a=1", "/a#b", "@127.0.0.1/x", "0/x"]
)
async def test_a_path_http_cannot_carry_is_refused_unsent(path: str) -> None:
    async with scripted(says(OK)) as url:
        error = await refusal(url, path=path)
    assert type(error) is ContractViolation
    assert error.sent is False


@pytest.mark.parametrize("path", ["", "/a..b/.c/..d", "/a?b=.."])
async def test_dots_inside_names_are_fine(path: str) -> None:
    async with scripted(says(OK)) as url:
        assert (await ask(url, path=path)).status == 200


async def test_a_header_value_with_a_line_break_is_refused_unsent() -> None:
    async with scripted(says(OK)) as url, Wire("erp", url) as wire:
        with pytest.raises(ContractViolation) as caught:
            await wire.exchange("GetStock", "GET", "/", {"X-A": "secret\r\nX-B: c"}, None, 5)
    assert caught.value.sent is False
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x", "http://user:secret@x", "http://", "x"])
def test_a_base_url_with_credentials_or_no_host_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected http") as caught:
        Wire("erp", url)
    assert "secret" not in str(caught.value)


async def test_a_closed_wire_says_so() -> None:
    wire = Wire("erp", "http://127.0.0.1:1")
    await wire.start()
    await wire.close()
    await wire.close()
    with pytest.raises(ConnectFailed, match="closed"):
        await wire.exchange("GetStock", "GET", "/", {}, None, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("7", 7.0), (" 7 ", 7.0), ("9" * 40, 86_400.0), ("", None), ("soon", None), ("-1", None), ("1.5", None)],
        *[(f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", None), (f"Mon, 01 Jan 2020 00:00:00 +{'9' * 20}", None)],
    ],
)
def test_retry_after_is_read_in_bounds(text: str, expected: float | None) -> None:
    assert WireAnswer(503, {"Retry-After": text}, b"", "").retry_after == expected


def test_retry_after_as_a_date_counts_from_now() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = WireAnswer(503, {"Retry-After": soon}, b"", "").retry_after
    assert seconds is not None
    assert 55 < seconds <= 60
    assert WireAnswer(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", "").retry_after == 0.0


def test_a_request_that_is_printed_shows_no_key_of_its_query() -> None:
    assert "k3y" not in repr(WireRequest("getThing", "GET", "/things?key=k3y", {"X": "k3y"}, b"k3y"))

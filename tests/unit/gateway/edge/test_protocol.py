"""Bytes on a real socket, before the framework sees anything."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trustme
import uvicorn
from uvicorn.server import ServerState

from contracts.call import Priority
from gateway.edge import protocol
from gateway.edge.pressure import REST
from gateway.edge.stored import Fields
from gateway.estate import EdgeTls, Estate
from tests.products import SKU, Live, no_limits, running

pytestmark = pytest.mark.slow


def few(estate: Estate) -> Estate:
    return msgspec.structs.replace(no_limits(estate), edge=msgspec.structs.replace(estate.edge, max_connections=20, max_body_bytes=100_000))


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, change=few) as found:
        yield found


async def said(live: Live, *pieces: bytes, seconds: float = 5.0) -> bytes:
    """What the gateway answers until it closes, or until `seconds` are over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(65_536):
                answer += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


def refused(answer: bytes, status: int, code: str) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document: dict[str, Any] = json.loads(body)
    assert document["code"] == code
    assert len(document["traceId"]) == 32
    return document


@pytest.mark.parametrize(
    "noise",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_and_the_end_of_the_connection(live: Live, noise: bytes) -> None:
    refused(await said(live, noise), 400, "bad_request")


@pytest.mark.parametrize(
    "pieces",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: ", *[b"a" * 8192] * 8),
        (b"GET /products?x=", *[b"a" * 8192] * 8),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"".join(b"X-%d: 1\r\n" % n for n in range(k, k + 500)) for k in range(0, 5000, 500)]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 40_000 + b"\r\n\r\n",),
    ],
)
async def test_a_head_beyond_its_bound_is_431(live: Live, pieces: tuple[bytes, ...]) -> None:
    refused(await said(live, *pieces), 431, "head_too_large")


class Hasty(protocol.BoundedProtocol):
    head_seconds = 0.3


async def test_a_head_that_does_not_end_is_given_up_and_an_idle_connection_is_not(tmp_path: Path) -> None:
    async with running(tmp_path, http=Hasty) as live:
        answers = await asyncio.gather(
            said(live, b"GET / HTTP/1.1\r\nHost:", seconds=3),
            said(live, seconds=3),
            said(live, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", seconds=0.8),
        )
    for answer in answers[:2]:
        refused(answer, 408, "request_too_slow")
    assert answers[2].startswith(b"HTTP/1.1 200")
    assert answers[2].count(b"HTTP/1.1") == 1


async def test_an_idle_connection_is_served_again_and_pipelined_requests_are_answered_in_turn(live: Live) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
    for _ in range(2):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(len(b'{"status":"alive"}'))
        await asyncio.sleep(0.3)
    writer.close()


async def test_connections_beyond_their_number_are_told_to_come_back(live: Live) -> None:
    port = int(live.base.rpartition(":")[2])
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    await asyncio.sleep(0.05)
    answer = await said(live)
    refused(answer, 503, "overloaded")
    assert b"retry-after: 1" in answer
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.05)
    assert (await live.http.get("/health/live")).status_code == 200


async def test_a_large_body_after_a_small_head_is_no_large_head(live: Live) -> None:
    fields = {**live.auth(), "Content-Type": "application/json", "Idempotency-Key": "k", "Content-Length": "90000", "Connection": "close"}
    head = "\r\n".join(["POST /orders HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in fields.items()), "", ""])
    answer = await said(live, head.encode() + b" " * 90_000)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"a JSON document" in answer


async def test_a_pipeline_is_answered_in_order_and_a_flood_of_requests_only_as_far_as_is_kept(live: Live) -> None:
    one = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    short = await said(live, one * 5 + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", short) == [b"200"] * 5 + [b"404"]
    flood = await said(live, one * 5_000)
    assert flood.count(b"HTTP/1.1 200 ") == flood.count(b"HTTP/1.1 ") == protocol.PIPELINE + 1
    assert flood.count(b"connection: close") == 1, "the last one says that the rest must be sent again"


async def test_a_mistake_behind_requests_that_wait_does_not_answer_in_their_place(live: Live) -> None:
    answer = await said(live, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"nonsense\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200"] * 3
    assert answer.count(b"connection: close") == 1


def asking(live: Live, target: str, method: str = "GET", more: str = "") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {live.keys['web']}\r\n{more}\r\n"
    return head.encode()


async def test_stored_and_built_answers_of_one_pipeline_come_in_the_order_of_their_requests(live: Live) -> None:
    cached, other = f"/products/{SKU}", "/locations/0001"
    await said(live, asking(live, cached), seconds=0.5)
    await said(live, asking(live, cached), seconds=0.5)
    order = [(cached, "GET"), (cached, "HEAD"), (other, "GET"), (cached, "GET"), ("/nothing", "GET"), (cached, "GET")]
    last = asking(live, cached, more="Connection: close\r\n")
    text = await said(live, b"".join(asking(live, *each) for each in order) + last)
    answers = re.findall(rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: (\d+)\r\n", text, re.DOTALL)
    assert [int(status) for status, _ in answers] == [200, 200, 200, 200, 404, 200, 200]
    bodies = re.findall(rb"\r\n\r\n(\{.*?\})(?=HTTP/1\.1|$)", text, re.DOTALL)
    assert [b'"sku"' in body for body in bodies] == [True, False, True, False, True, True]
    assert text.count(b"cache-status: tillgate; hit") >= 5
    assert text.count(b"\r\ndate: ") == 7


async def test_the_same_fields_on_one_connection_are_read_once_and_mean_the_same_for_every_target(live: Live) -> None:
    targets = [f"/products/{SKU}", f"/products/{SKU}?fields=sku", "/locations/0001", "/nothing", "/products/1%20", f"/products/{SKU}"]
    alone = [await said(live, asking(live, target), seconds=0.3) for target in targets * 2][len(targets) :]
    together = await one_by_one(live, *[asking(live, target) for target in targets])
    assert [status_and_body(answer) for answer in together] == [status_and_body(answer) for answer in alone]
    assert [answer[9:12] for answer in together] == [b"200", b"200", b"200", b"404", b"400", b"200"]
    key = asking(live, targets[0])
    assert [a[9:12] for a in await one_by_one(live, key, key.replace(b"Bearer tg_", b"Bearer tg-"), key)] == [b"200", b"401", b"200"]


async def test_what_looks_like_the_same_request_again_within_another_is_read_as_what_it_is(live: Live) -> None:
    cached = f"/products/{SKU}"
    whole, bare = asking(live, cached), f"GET {cached} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
    await one_by_one(live, whole, whole)
    begun = whole.replace(b"Host: gateway\r\n", b"").removesuffix(b"\r\n") + b"X-Note: "
    assert [a[9:12] for a in await one_by_one(live, (begun, bare), bare)] == [b"200", b"401"]  # the second has no credentials of its own
    order = asking(live, "/orders", "POST", f"Content-Type: application/json\r\nContent-Length: {len(whole) + 8}\r\n")
    answers = await one_by_one(live, whole, (order, b'{"a": 1 ', whole), whole)
    assert [a[9:12] for a in answers] == [b"200", b"400", b"200"]


class Ready:
    """An application that has an answer to everything."""

    accepting = True

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.asked_with_body: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        self.asked_with_body.append(scope["raw_path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def at_once(self, head: bool, target: bytes, fields: Fields, peer: str, added: bytes) -> bytes:
        self.asked.append(target)
        return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("framing", [b"Content-Length: 24", b"Transfer-Encoding: chunked"])
async def test_a_body_behind_a_head_that_came_before_is_no_request_of_its_own(framing: bytes) -> None:
    app = Ready()
    config = uvicorn.Config(cast("Any", app), lifespan="off", log_config=None)
    config.load()
    config.loaded_app = app
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: protocol.BoundedProtocol(config, state, {}), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        head, body = b"GET /a HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n", b"GET /hidden HTTP/1.1\r\n\r\n"
        if b"chunked" in framing:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        plain = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
        for piece in (plain, head, body, plain, head.replace(b"/a", b"/b"), body, head.replace(b"/a", b"/c"), body, plain):
            writer.write(piece)
            await asyncio.sleep(0.02)
        writer.close()
    assert (app.asked, app.asked_with_body) == ([b"/plain"] * 3, [b"/a", b"/b", b"/c"])


async def one_by_one(live: Live, *requests: bytes | tuple[bytes, ...]) -> list[bytes]:
    """Answers on one connection, each asked for when the one before is there; pieces of one request are sent one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
    answers = []
    for request in requests:
        for piece in (request,) if isinstance(request, bytes) else request:
            writer.write(piece)
            await asyncio.sleep(0.05)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
        answers.append(head + await reader.readexactly(int(length[1]) if length else 0))
    writer.close()
    return answers


def status_and_body(answer: bytes) -> tuple[bytes, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head[9:12], re.sub(rb'"traceId":"[0-9a-f]+"', b"", body)


async def test_a_flood_of_stored_answers_on_one_connection_is_cut_like_any_other(live: Live) -> None:
    cached = f"/products/{SKU}"
    for _ in range(2):
        await said(live, asking(live, cached), seconds=0.5)
    text = await said(live, asking(live, cached) * 200, seconds=3)
    assert protocol.PIPELINE <= text.count(b"HTTP/1.1 200 ") < 200


class Impatient(protocol.BoundedProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = 1


async def test_an_idle_connection_ends_after_stored_answers_as_after_built_ones(tmp_path: Path) -> None:
    async with running(tmp_path, change=few, http=Impatient) as live:
        cached = f"/products/{SKU}"
        for _ in range(2):
            await said(live, asking(live, cached), seconds=0.5)
        began = asyncio.get_running_loop().time()
        assert (await said(live, asking(live, cached), asking(live, cached), seconds=30)).count(b"HTTP/1.1 200 ") == 2
        assert asyncio.get_running_loop().time() - began < 30


async def test_a_reloaded_estate_answers_from_no_bytes_of_the_old_one(live: Live) -> None:
    cached = f"/products/{SKU}"
    for _ in range(3):
        await said(live, asking(live, cached), seconds=0.5)
    target, fields = cached.encode(), [(b"authorization", f"Bearer {live.keys['web']}".encode())]
    assert live.product.at_once(False, target, Fields(fields), "127.0.0.1", b"") is not None
    assert (await live.product.reload()).applied
    assert live.product.at_once(False, target, Fields(fields), "127.0.0.1", b"") is None


AMBIGUOUS = (
    # what two parsers may understand in two ways, so that one request hides in another (RFC 9112 §5.2, §6, §7.1, §11.2)
    b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\nX-B: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\rX-B: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
)


async def test_what_others_may_read_in_another_way_is_refused_so_that_no_request_hides_in_one(live: Live) -> None:
    for noise in AMBIGUOUS:
        refused(await said(live, noise), 400, "bad_request")
    head = b"POST /orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    auth = f"Authorization: Bearer {live.keys['web']}\r\n\r\n".encode()
    for size in (b"0x5", b"5 ", b"10000000000000005", b"-5", b"5\nabcde", b"g"):
        refused(await said(live, head + auth + size + b"\r\nabcde\r\n0\r\n\r\n"), 400, "bad_request")


async def test_a_caller_who_does_not_read_loses_the_connection_and_holds_nothing(tmp_path: Path) -> None:
    class Hurried(protocol.BoundedProtocol):
        write_seconds = 0.3

    async with running(tmp_path, change=few, http=Hurried) as live:
        port = int(live.base.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as mute:
            mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            mute.setblocking(False)
            ask = b"GET /openapi/2026-10-01.json HTTP/1.1\r\nHost: x\r\n\r\n"
            ended = False
            async with asyncio.timeout(20):
                while not ended:
                    try:
                        mute.send(ask)
                    except BlockingIOError:
                        pass
                    except ConnectionError:
                        ended = True
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while live.product.recorder.open_flights:  # noqa: ASYNC110 - nobody announces the end of a flight
                await asyncio.sleep(0.01)
        assert (await live.http.get("/health/live")).status_code == 200


@pytest.mark.parametrize("drop", [b"x", b"\r\n"], ids=["the rest of a body", "empty lines"])
async def test_what_drops_in_after_the_answer_keeps_no_connection_open(tmp_path: Path, drop: bytes) -> None:
    async with running(tmp_path, change=few, http=Impatient) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
        body = "Content-Length: 90000\r\n" if drop == b"x" else ""
        writer.write(asking(live, "/locations", more=body))
        answer = await reader.readuntil(b"\r\n\r\n")
        ended = asyncio.create_task(reader.read())
        for _ in range(40):
            if ended.done():
                break
            await asyncio.sleep(0.1)
            writer.write(drop)
        writer.close()
        assert ended.done()
        with suppress(ConnectionError):  # what was dropped in last met a closed end
            answer += await ended
        assert answer.count(b"HTTP/1.1 200 ") == 1


async def test_a_connection_that_was_idle_serves_on_however_long_the_next_request_takes(tmp_path: Path) -> None:
    async with running(tmp_path, change=few, http=Impatient) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
        whole = asking(live, "/locations")
        for piece in (whole, whole[:20], whole[20:40], whole[40:]):
            writer.write(piece)
            await asyncio.sleep(0.6)
        answer = await reader.read()
        writer.close()
        assert answer.count(b"HTTP/1.1 200 ") == 2


async def test_a_handshake_that_does_not_go_on_is_given_up_like_a_head(tmp_path: Path) -> None:
    class Hurried(protocol.BoundedProtocol):
        head_seconds = 0.5

    pem = tmp_path / "own.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)

    def tls(estate: Estate) -> Estate:
        return msgspec.structs.replace(estate, edge=msgspec.structs.replace(estate.edge, tls=EdgeTls(certificate=str(pem), key=str(pem))))

    async with running(tmp_path, change=tls, http=Hurried) as live, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
        writer.write(b"\x16\x03\x01")
        assert await reader.read() == b""
        writer.close()


async def test_a_wish_for_another_protocol_is_passed_over_without_a_word(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    for wish in ("h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n", "websocket\r\nConnection: upgrade\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))
        for target in ("/locations", "/health/live"):
            writer.write(asking(live, target, more=f"Upgrade: {wish}"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
        writer.close()
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


@pytest.mark.parametrize("proxies", [(), ("127.0.0.0/8",)], ids=["a caller", "a declared proxy"])
async def test_who_was_refused_is_not_listened_to_for_a_while_unless_the_connection_is_shared(
    tmp_path: Path, proxies: tuple[str, ...]
) -> None:
    def full(estate: Estate) -> Estate:
        edge = msgspec.structs.replace(estate.edge, max_requests=10, max_waiting=0, trusted_proxies=proxies)
        return msgspec.structs.replace(no_limits(estate), edge=edge)

    async with running(tmp_path, change=full) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))

        async def answer() -> tuple[bytes, bytes]:
            head = await reader.readuntil(b"\r\n\r\n")
            return head, await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))

        ask = asking(live, "/locations")
        writer.write(ask)
        assert (await answer())[0].startswith(b"HTTP/1.1 200 ")
        pressure = live.product.pressure
        places = []
        while place := pressure.enter_now(Priority.CRITICAL):
            places.append(place)
        ask = asking(live, "/products/" + SKU)
        writer.write(ask)
        refusals = [await answer()]
        writer.write(ask)
        assert (await live.http.get("/health/live")).status_code == 200
        assert sum(pressure.refused.values()) == (2 if proxies else 1)
        writer.write(ask.replace(b"GET", b"HEAD", 1)[:20])  # part of another one behind it
        refusals.append(await answer())
        writer.write(ask.replace(b"GET", b"HEAD", 1)[20:])
        assert {head.partition(b"\r\n")[0] for head, _ in refusals} == {b"HTTP/1.1 503 Service Unavailable"}
        documents = [json.loads(body) for _, body in refusals]
        assert {document["code"] for document in documents} == {"overloaded"}
        assert len({document["traceId"] for document in documents}) == len(documents)
        for (head, _), document in zip(refusals, documents, strict=True):
            assert f"traceresponse: 00-{document['traceId']}-" in head.decode()
            assert 1 <= int(re.findall(rb"retry-after: (\d+)", head)[0]) <= 8
        head = await reader.readuntil(b"\r\n\r\n")
        assert int(re.findall(rb"content-length: (\d+)", head)[0]) == len(refusals[0][1])
        for place in places:
            place.leave()
        writer.close()


async def test_a_change_does_not_wait_on_the_connection_of_a_read_that_was_refused(tmp_path: Path) -> None:
    def full(estate: Estate) -> Estate:
        edge = msgspec.structs.replace(estate.edge, max_requests=10, max_waiting=0)
        return msgspec.structs.replace(no_limits(estate), edge=edge)

    async with running(tmp_path, change=full) as live:
        ask = asking(live, "/products/" + SKU)
        change = ask.replace(b"GET", b"DELETE", 1)
        pressure = live.product.pressure
        assert (await live.http.get("/locations", headers=live.auth())).status_code == 200  # who asks is known
        places = []
        while place := pressure.enter_now(Priority.CRITICAL):
            places.append(place)
        port = int(live.base.rpartition(":")[2])
        (reads, asks), (answers, changes) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in ((reads, asks), (answers, changes)):
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
        asks.write(ask)
        changes.write(change)
        assert (await answers.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
        assert sum(pressure.refused.values()) == 2, "the read on the other one waits still"
        for place in places:
            place.leave()
        assert (await reads.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        asks.close()
        changes.close()


async def test_who_is_not_critical_is_listened_to_more_seldom_while_the_loop_has_too_little_time(tmp_path: Path) -> None:
    async with running(tmp_path, change=no_limits) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.base.rpartition(":")[2]))

        async def answer() -> bytes:
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))

        ask = asking(live, "/products/" + SKU)
        for _ in range(3):  # from the second on from stored bytes
            writer.write(ask)
            assert (await answer()).startswith(b"HTTP/1.1 200 ")
        pressure = live.product.pressure
        pressure.rest = REST
        writer.write(ask)
        assert (await answer()).startswith(b"HTTP/1.1 200 ")
        answered = asyncio.ensure_future(answer())
        writer.write(ask)
        assert (await live.http.get("/health/live")).status_code == 200
        assert not answered.done(), "what it sent waits"
        assert (await answered).startswith(b"HTTP/1.1 200 ")
        writer.close()


def critical_customers(estate: Estate) -> Estate:
    route = msgspec.structs.replace(estate.route["GET /customers/{number}"], priority="critical")
    return msgspec.structs.replace(no_limits(estate), route={**estate.route, "GET /customers/{number}": route})


async def test_connections_that_bring_what_is_critical_are_read_before_others_in_a_storm(tmp_path: Path) -> None:
    async with running(tmp_path, change=critical_customers) as live:
        port, pressure = int(live.base.rpartition(":")[2]), live.product.pressure
        other = asking(live, "/locations")
        critical = other.replace(b"/locations", b"/customers/1000001").replace(live.keys["web"].encode(), live.keys["call_centre"].encode())

        async def connected(ask: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await answered(reader, writer, ask)
            return reader, writer

        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: bytes) -> None:
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))

        important, usual = await connected(critical), await connected(other)
        pressure._rates[Priority.CRITICAL] = 1000.0
        pressure._listened = time.monotonic() + 0.5  # as many others as half a second can listen to have asked before
        waits = asyncio.create_task(answered(*usual, other))
        await asyncio.sleep(0)
        await answered(*important, critical)
        assert not waits.done()
        await waits
        for _, writer in (important, usual):
            writer.close()


async def test_one_address_has_only_so_many_connections_unless_it_is_a_declared_proxy_s(tmp_path: Path) -> None:
    for proxies, expected in (((), 503), (("127.0.0.0/8",), 200)):

        def crowded(estate: Estate, proxies: tuple[str, ...] = proxies) -> Estate:
            edge = msgspec.structs.replace(estate.edge, max_connections_per_address=5, trusted_proxies=proxies)
            return msgspec.structs.replace(no_limits(estate), edge=edge)

        folder = tmp_path / str(expected)
        folder.mkdir()
        async with running(folder, change=crowded) as live:
            port = int(live.base.rpartition(":")[2])
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            answer = await said(live, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer.startswith(f"HTTP/1.1 {expected} ".encode())
            if expected == 503:
                document = refused(answer, 503, "overloaded")
                assert document["violated-policies"] == ["connections"]
            for _, writer in held:
                writer.close()
            assert b"retry-after: " in answer or expected == 200

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from sandbox.faults import Faults, Rule
from sandbox.wire import Listener, hang, reset, send_half

Get = tuple[Listener, Faults, aiohttp.ClientSession]


@pytest.fixture
async def wire() -> AsyncIterator[Get]:
    faults = Faults()

    async def handle(request: web.Request) -> web.StreamResponse:
        fault = faults.draw("oms", "read")
        match fault and fault.kind:
            case "refuse":
                return reset(request)
            case "reset":
                return await send_half(request, web.Response(body=b"x" * 1000))
            case "hang" if fault:
                return await hang(request, faults, fault)
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", handle)
    listener = Listener(app, "oms", faults)
    await listener.start()
    async with aiohttp.ClientSession() as session:
        yield listener, faults, session
    await listener.stop()


async def read(session: aiohttp.ClientSession, url: str, seconds: float = 5) -> str:
    async with session.get(url, timeout=aiohttp.ClientTimeout(seconds)) as answer:
        return await answer.text()


async def test_a_refusing_system_refuses_in_the_kernel_and_comes_back_on_the_same_port(wire: Get) -> None:
    listener, faults, session = wire
    url = listener.url
    assert await read(session, url) == "ok"
    faults.add(Rule("oms", "refuse"))
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await read(session, url)
        assert isinstance(refused.value.os_error, ConnectionRefusedError)
    faults.clear()
    assert listener.url == url
    assert await read(session, url) == "ok"


async def test_opening_and_closing_in_a_row_ends_as_the_last_rule_says(wire: Get) -> None:
    listener, faults, session = wire
    for _ in range(20):
        faults.add(Rule("oms", "refuse"))
        faults.clear()
    assert await read(session, listener.url) == "ok"


async def test_callers_that_arrive_while_the_port_closes_get_an_end_and_never_wait(wire: Get) -> None:
    listener, faults, _ = wire

    async def knock() -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        except ConnectionRefusedError:
            return b""
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    url_port = listener.port
    knocks = [asyncio.ensure_future(knock()) for _ in range(20)]
    await asyncio.sleep(0.001)
    faults.add(Rule("oms", "refuse"))
    async with asyncio.timeout(2):
        await asyncio.gather(*knocks)
    faults.clear()
    assert listener.port == url_port


async def test_a_partial_refusal_is_a_reset_without_an_answer(wire: Get) -> None:
    listener, faults, session = wire
    faults.add(Rule("oms", "refuse", operation="read"))
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await read(session, listener.url)
    faults.clear()
    assert await read(session, listener.url) == "ok"


async def test_a_reset_comes_in_the_middle_of_the_answer(wire: Get) -> None:
    listener, faults, session = wire
    faults.add(Rule("oms", "reset", count=1))
    with pytest.raises(aiohttp.ClientPayloadError, match="received 500 of 1000 bytes"):
        await read(session, listener.url)
    assert await read(session, listener.url) == "ok"


async def test_a_hang_answers_nothing_and_holds_nothing_once_the_caller_gave_up(wire: Get) -> None:
    listener, faults, session = wire
    faults.add(Rule("oms", "hang"))
    before = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        await read(session, listener.url, 0.05)
    async with asyncio.timeout(2):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - the end of a task of the server has no event here
            await asyncio.sleep(0.05)


async def test_a_port_somebody_else_holds_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = Listener(web.Application(), "oms", Faults(), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await listener.start()

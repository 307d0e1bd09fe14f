import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from gateway.bootstrap import Checked
from gateway.bootstrap.proving import options_of, speaker
from gateway.proof.documents import Answers, answers, subjects
from gateway.proof.stand_in import Fault, Kind, StandIn


@pytest.fixture
async def oms(reference: Checked) -> AsyncIterator[StandIn]:
    options, _ = options_of(reference, "oms", {})
    spoken = speaker(reference, "oms", options)
    stand = StandIn(spoken, answers(reference, "oms", subjects(reference, "oms", spoken), spoken))
    await stand.start()
    yield stand
    await stand.close()


async def get(stand: StandIn, path: str = "/v2/customers/1000001", key: str = "stand-in", seconds: float = 3.0) -> tuple[int, Any]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session:
        session._retry_connection = False  # else a call whose connection dies is sent twice
        async with session.get(stand.url + path, headers={"X-Oms-Key": key}) as answer:
            return answer.status, await answer.read()


async def test_it_listens_on_the_loopback_only(oms: StandIn) -> None:
    assert oms.url.startswith("http://127.0.0.1:")
    assert oms._server is not None
    assert {s.getsockname()[0] for s in oms._server.sockets} == {"127.0.0.1"}


async def test_it_answers_the_example_of_the_mapping(oms: StandIn) -> None:
    status, body = await get(oms)
    assert status == 200
    assert b'"no"' in body
    assert oms.executed == {"getCustomer": 1}


async def test_without_our_credentials_nothing_is_carried_out(oms: StandIn) -> None:
    assert (await get(oms, key="another"))[0] == 401
    assert (oms.executed, oms.turned_away) == ({}, 1)


async def test_of_the_calls_that_it_keeps_neither_credentials_nor_bodies_stay(oms: StandIn) -> None:
    await get(oms)
    (seen,) = oms.seen
    assert (seen.operation, seen.asked.method, seen.asked.path) == ("getCustomer", "GET", "/v2/customers/1000001")
    assert (dict(seen.asked.headers), seen.asked.body) == ({}, b"")


async def test_an_operation_that_the_estate_does_not_use_is_answered_from_the_contract(oms: StandIn) -> None:
    status, body = await get(oms, "/v2/orders/SO-000001/shipments")
    assert status == 200
    assert b'"parcels"' in body


async def test_what_the_contract_does_not_describe_is_not_there(oms: StandIn) -> None:
    assert (await get(oms, "/nothing/of/this"))[0] == 404
    assert oms.unknown == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("drop", aiohttp.ClientError),
        ("reset", aiohttp.ClientError),
        ("lost_answer", aiohttp.ClientError),
        ("hang", TimeoutError),
    ],
)
async def test_a_broken_connection_is_broken(oms: StandIn, kind: Kind, error: type[Exception]) -> None:
    oms.breaks(Fault(kind, seconds=0))
    with pytest.raises((error, ConnectionError)):
        await get(oms, seconds=0.5)
    assert oms.executed.get("getCustomer", 0) == (1 if kind in ("lost_answer", "reset") else 0)


async def test_nothing_listens_while_it_refuses_and_the_port_stays_its_own(oms: StandIn) -> None:
    port = oms.port
    await oms.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(oms)
    await oms.listen()
    assert (await get(oms))[0] == 200
    assert oms.port == port


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [("error", 500, b"STAND_IN"), ("429", 429, b""), ("refusal", 409, b"NOT_POSSIBLE"), ("credentials", 401, b""), ("empty", 200, b"")],
)
async def test_an_error_has_the_systems_own_form(oms: StandIn, kind: Kind, status: int, part: bytes) -> None:
    oms.breaks(Fault(kind, seconds=1))
    found, body = await get(oms)
    assert part in body
    assert found == status or (kind == "refusal" and found in (400, 409, 422))


async def test_a_truncated_body_has_a_length_that_fits_it(oms: StandIn) -> None:
    _, whole = await get(oms)
    oms.breaks(Fault("truncate"))
    assert (await get(oms))[1] == whole[: len(whole) // 2]


async def test_an_answer_in_drops_takes_its_time_and_is_whole(oms: StandIn) -> None:
    _, whole = await get(oms)
    oms.breaks(Fault("trickle", seconds=0.4))
    began = time.monotonic()
    assert (await get(oms))[1] == whole
    assert time.monotonic() - began >= 0.35


async def test_a_fault_is_spent_after_its_count(oms: StandIn) -> None:
    oms.breaks(Fault("error", count=1))
    assert [(await get(oms))[0] for _ in range(2)] == [500, 200]


async def test_what_is_no_http_is_hung_up_on(oms: StandIn) -> None:
    for rubbish in (b"\x00" * 100 + b"\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"a" * 200_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", oms.port)
        writer.write(rubbish)
        async with asyncio.timeout(3):
            with suppress(ConnectionError):
                assert b" 200 " not in await reader.read()
        writer.close()
    assert (await get(oms))[0] == 200


async def test_a_call_that_was_recorded_is_answered_as_it_was_then(oms: StandIn) -> None:
    assert isinstance(oms.answer, Answers)
    oms.answer.exact["getCustomer", "GET", "/v2/customers/7", b""] = {"no": "7", "name": {"last": "Hopper"}, "group": "GUEST"}
    assert b"Hopper" in (await get(oms, "/v2/customers/7"))[1]
    assert b"Hopper" not in (await get(oms, "/v2/customers/8"))[1]

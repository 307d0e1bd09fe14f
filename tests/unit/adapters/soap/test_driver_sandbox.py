"""The driver against the sandbox ERP: every operation, and every fault of its table."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.login import CredentialsRefused
from adapters.soap.driver import SoapConnection
from contracts.errors import (
    ConnectFailed,
    ConnectionLost,
    ContractViolation,
    UpstreamBusy,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
    UpstreamTimeout,
)
from observability import Recorder, Step, step
from observability.spans import spans_of
from sandbox.erp.server import ErpServer
from sandbox.faults import Faults, Rule
from sandbox.world import World
from tests.unit.adapters.soap.conftest import CALL, OPTIONS, connected

WORLD = World(seed=1)
SKU = WORLD._product(0).sku
STORE = WORLD.stores[0]
STOCK = {"T_REQ": {"item": [{"MATNR": SKU, "WERKS": STORE.number}]}}
ORDER: dict[str, Any] = {
    "HEADER": {"BSTNK": "ORD-1", "AUART": "ZWEB", "WAERK": STORE.currency, "WERKS": STORE.number, "EDATU": "20261201"},
    "T_ITEMS": {
        "item": [{"POSNR": "000010", "MATNR": SKU, "KWMENG": Decimal(2), "VRKME": "ST", "NETPR": Decimal("19.90"), "WERKS": STORE.number}]
    },
}


@pytest.fixture
async def erp() -> AsyncIterator[ErpServer]:
    server = ErpServer(WORLD, Faults())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def connection(erp: ErpServer, wsdl: Path) -> AsyncIterator[SoapConnection]:
    async with connected(wsdl, erp.url) as live:
        yield live


async def refusal(connection: SoapConnection, operation: str, request: dict[str, Any], seconds: float = 5) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await connection.call(operation, request, CALL, seconds)
    return caught.value


async def test_every_operation_of_the_contract_is_called_and_answered(connection: SoapConnection, erp: ErpServer) -> None:
    sold = WORLD._customer(0).number
    requests: dict[str, dict[str, Any]] = {
        "GetPlants": {},
        "GetMaterials": {"T_MATNR": {"item": [{"MATNR": SKU}]}, "I_MAX": 10},
        "GetPrices": {"T_MATNR": {"item": [{"MATNR": SKU}]}, "WERKS": STORE.number},
        "GetStock": STOCK,
        "CreateSalesOrder": ORDER,
        "FindSalesOrder": {"BSTNK": "ORD-1"},
        "GetCustomer": {"KUNNR": sold.zfill(10)},
    }
    answers = {}
    for operation, request in requests.items():
        (answers[operation],) = (await connection.call(operation, request, CALL, 10)).documents
        assert answers[operation].tag.endswith(f"}}{operation}Response")
    document = answers["CreateSalesOrder"].findtext("VBELN")
    cancelled = await connection.call("CancelSalesOrder", {"VBELN": document, "ABGRU": "01"}, CALL, 5)
    assert cancelled.documents
    assert set(connection.contract.operations()) == {*requests, "CancelSalesOrder", "Login"}
    assert erp.calls["Login"] == 1
    assert answers["GetStock"].findtext("T_STOCK/item/WERKS") == STORE.number
    assert answers["FindSalesOrder"].findtext("T_ORDERS/item/VBELN") == document


async def test_the_answer_says_when_it_was_true(connection: SoapConnection) -> None:
    as_of = (await connection.call("GetStock", STOCK, CALL, 5)).as_of
    assert as_of is not None
    assert abs(datetime.now(UTC) - as_of) < timedelta(seconds=10)


async def test_a_hundred_waiting_calls_share_one_login(connection: SoapConnection, erp: ErpServer) -> None:
    replies = await asyncio.gather(*(connection.call("GetStock", STOCK, CALL, 10) for _ in range(100)))
    assert len(replies) == 100
    assert erp.calls["Login"] == 1


async def test_an_expired_session_is_renewed_once_inside_the_attempt(connection: SoapConnection, erp: ErpServer) -> None:
    await connection.call("GetStock", STOCK, CALL, 5)
    erp.sessions.expire_all()
    replies = await asyncio.gather(*(connection.call("GetStock", STOCK, CALL, 10) for _ in range(50)))
    assert len(replies) == 50
    assert erp.calls["Login"] == 2


async def test_a_write_under_an_expired_session_is_done_once(connection: SoapConnection, erp: ErpServer) -> None:
    await connection.call("GetPlants", {}, CALL, 5)
    erp.sessions.expire_all()
    await connection.call("CreateSalesOrder", ORDER, CALL, 5)
    assert len((await connection.call("FindSalesOrder", {"BSTNK": "ORD-1"}, CALL, 5)).documents[0].findall("T_ORDERS/item")) == 1


async def test_a_wrong_password_fails_unsent_and_is_not_tried_again_at_once(erp: ErpServer, wsdl: Path) -> None:
    wrong = {**OPTIONS["session"], "password": "wrong-secret"}
    async with connected(wsdl, erp.url, {"session": wrong}) as live:
        errors = [await refusal(live, "GetStock", STOCK) for _ in range(5)]
        assert erp.calls["Login"] == 1
        await asyncio.sleep(0.25)
        await refusal(live, "GetStock", STOCK)
        assert erp.calls["Login"] == 2
        assert {(type(e), e.sent) for e in errors} == {(CredentialsRefused, False)}
        assert all("wrong-secret" not in f"{e}{e!r}{live.options!r}" for e in errors)


async def test_a_business_error_in_a_normal_answer_is_a_refusal_with_its_code(connection: SoapConnection) -> None:
    error = await refusal(connection, "GetCustomer", {"KUNNR": "0000000001"})
    assert type(error) is UpstreamRejected
    assert error.refusal == "VP/199"
    assert "does not exist" in error.reason
    await connection.call("CreateSalesOrder", ORDER, CALL, 5)
    twice = await refusal(connection, "CreateSalesOrder", ORDER)
    assert isinstance(twice, UpstreamRejected)
    assert twice.refusal == "V4/115"


async def test_an_unknown_key_among_others_does_not_fail_a_batched_read(connection: SoapConnection) -> None:
    request = {"T_REQ": {"item": [*STOCK["T_REQ"]["item"], {"MATNR": "99999999", "WERKS": STORE.number}]}}
    (answer,) = (await connection.call("GetStock", request, CALL, 5)).documents
    assert len(answer.findall("T_STOCK/item")) == 1


async def test_a_value_that_does_not_fit_is_refused_before_it_is_sent(connection: SoapConnection, erp: ErpServer) -> None:
    error = await refusal(connection, "GetStock", {"T_REQ": {"item": [{"MATNR": "1" * 25, "WERKS": "0001"}]}})
    assert type(error) is UpstreamRejected
    assert error.sent is False
    assert error.reason == "T_REQ.item[0].MATNR: expected at most 18 characters, got 25"
    assert erp.calls["GetStock"] == 0


async def test_a_request_its_contract_does_not_know_is_our_mistake_and_not_sent(connection: SoapConnection) -> None:
    error = await refusal(connection, "GetStock", {"T_REQ": {"item": [{"MATNO": SKU}]}})
    assert type(error) is ContractViolation
    assert (error.sent, error.where) == (False, "T_REQ.item[0]")
    assert "did you mean MATNR?" in error.got


@pytest.mark.parametrize(
    ("kind", "error", "sent"),
    [
        ("error", UpstreamFault, True),
        ("fault_in_200", UpstreamFault, True),
        ("reset", ConnectionLost, True),
        ("truncate", ContractViolation, True),
        ("lost_answer", ConnectionLost, True),
        ("429", UpstreamBusy, False),
    ],
)
async def test_each_fault_becomes_one_error_that_says_whether_the_write_may_be_done(
    connection: SoapConnection, erp: ErpServer, kind: Any, error: type[UpstreamError], sent: bool
) -> None:
    await connection.call("GetPlants", {}, CALL, 5)
    erp._faults.add(Rule("erp", kind, operation="CreateSalesOrder", count=1, seconds=3 if kind == "429" else 0))
    caught = await refusal(connection, "CreateSalesOrder", ORDER)
    assert (type(caught), caught.sent) == (error, sent)
    assert erp.calls["CreateSalesOrder"] == 1
    assert "sapprd01" not in caught.public
    if isinstance(caught, UpstreamFault):
        assert (caught.fault_code, caught.code) == ("Server", "upstream_failed")
    if isinstance(caught, UpstreamBusy):
        assert caught.retry_after == 3.0


async def test_a_hanging_operation_ends_at_its_deadline(connection: SoapConnection, erp: ErpServer) -> None:
    await connection.call("GetPlants", {}, CALL, 5)
    erp._faults.add(Rule("erp", "hang", operation="GetStock"))
    started = time.monotonic()
    error = await refusal(connection, "GetStock", STOCK, 0.2)
    assert (type(error), error.sent, error.error_type) == (UpstreamTimeout, True, "timeout.read")
    assert time.monotonic() - started < 0.6
    erp._faults.clear()


async def test_a_hanging_login_leaves_the_write_unsent_and_ends_with_the_caller(connection: SoapConnection, erp: ErpServer) -> None:
    erp._faults.add(Rule("erp", "hang", operation="Login"))
    error = await refusal(connection, "CreateSalesOrder", ORDER, 0.2)
    assert (type(error), error.sent) == (UpstreamTimeout, False)
    assert erp.calls["CreateSalesOrder"] == 0
    erp._faults.clear()


async def test_who_gives_up_does_not_take_the_login_away_from_the_others(connection: SoapConnection, erp: ErpServer) -> None:
    erp._faults.add(Rule("erp", "slow", operation="Login", seconds=0.2))
    calls = [asyncio.create_task(connection.call("GetStock", STOCK, CALL, 5)) for _ in range(3)]
    await asyncio.sleep(0.05)
    calls[0].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert [type(d).__name__ for d in done[1:]] == ["Reply", "Reply"]
    assert erp.calls["Login"] == 1


async def test_a_refusing_system_is_unreachable_and_nothing_was_sent(connection: SoapConnection, erp: ErpServer) -> None:
    await connection.call("GetPlants", {}, CALL, 5)
    erp._faults.add(Rule("erp", "refuse"))
    errors = [await refusal(connection, "CreateSalesOrder", ORDER) for _ in range(2)]
    assert type(errors[1]) is ConnectFailed
    assert errors[1].sent is False


async def test_a_cancelled_call_passes_its_cancellation_on(connection: SoapConnection, erp: ErpServer) -> None:
    await connection.call("GetPlants", {}, CALL, 5)
    erp._faults.add(Rule("erp", "hang", operation="GetStock"))
    task = asyncio.create_task(connection.call("GetStock", STOCK, CALL, 5))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    erp._faults.clear()


async def test_the_hop_tells_method_status_and_fault_and_its_traceparent_goes_upstream(connection: SoapConnection, erp: ErpServer) -> None:
    erp._faults.add(Rule("erp", "fault_in_200", operation="GetStock"))
    with Recorder().flight("request", "GET /inventory") as record:
        with pytest.raises(UpstreamFault), step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=1) as hop:
            await connection.call("GetStock", STOCK, CALL, 5)
        login = next(h for h in record.hops if h.operation == "Login")
    assert (hop.attributes["rpc_method"], hop.attributes["status"], hop.attributes["fault_code"]) == ("RETAIL_API/GetStock", 200, "Server")
    assert hop.error_type == "soap.fault.Server"
    said = next(span for span in spans_of(record) if span.span_id == hop.span_id).attributes
    assert (said["rpc.system.name"], said["http.request.method"]) == ("soap", "POST")
    assert f"http://{said['server.address']}:{said['server.port']}/" in erp.url
    sent = [str(call["traceparent"]).split("-")[1:3] for call in erp.journal]
    assert sent == [[record.trace_id, f"{h.bits:016x}"] for h in (login, hop)]
    assert login.outcome == "success"


async def test_a_closed_connection_says_so(connection: SoapConnection) -> None:
    await connection.close()
    error = await refusal(connection, "GetPlants", {})
    assert (type(error), error.sent) == (ConnectFailed, False)

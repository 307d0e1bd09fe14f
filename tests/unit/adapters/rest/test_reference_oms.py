"""The driver behind its guard, against the sandbox's order management on a real socket, broken in every way it knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.driver import Reply
from adapters.guard import Guard
from adapters.login import CredentialsRefused
from adapters.options import read
from adapters.rest.contract import RestContract
from adapters.rest.driver import RestConnection
from adapters.rest.spec import RestOptions
from contracts.call import Call
from contracts.errors import ContractViolation, OutcomeUnknown, UpstreamBusy, UpstreamFault, UpstreamRejected, UpstreamTimeout
from contracts.policy import Duration, Policy, Retry
from sandbox.faults import Faults, Rule
from sandbox.oms.server import OmsServer
from sandbox.world import World

OPTIONS: dict[str, Any] = {
    "auth": {"kind": "api_key", "header": "X-Oms-Key", "value": "oms-demo-key"},
    "paging": {"kind": "cursor", "next": "nextCursor", "parameter": "cursor"},
    "meanings": [{"status": 503, "means": "busy"}, {"status": 409, "code": "DUPLICATE_REF", "means": "in_doubt"}],
}
READS, WRITES = Policy(deadline=Duration(0.15), retry=Retry(attempts=3, backoff=Duration(0.001))), Policy(deadline=Duration(0.3))


class Oms:
    def __init__(
        self, server: OmsServer, faults: Faults, contract: RestContract, connection: RestConnection, order: dict[str, Any]
    ) -> None:
        self.server, self.faults, self.contract, self.connection, self.order = server, faults, contract, connection, order

    async def ask(self, operation: str, **request: Any) -> Reply:
        writes = self.contract.operation(operation).method == "POST"
        guard = Guard("oms", operation, WRITES if writes else READS, writes=writes)
        call = Call(channel="web", client="c", deadline=asyncio.get_running_loop().time() + 3)
        return await guard.run(lambda seconds: self.connection.call(operation, request, call, seconds), call)

    async def create(self, reference: str) -> Reply:
        return await self.ask("createOrder", body={**self.order, "clientRef": reference})

    async def find(self, reference: str) -> list[Any]:
        return [order for page in (await self.ask("findOrders", clientRef=reference)).documents for order in page["items"]]


@pytest.fixture
async def oms(root: Path) -> AsyncIterator[Oms]:
    faults = Faults(seed=3)
    server = OmsServer(World(stores=5, skus=50), faults)
    await server.start()
    path = root / "contracts/systems/oms/openapi.json"
    contract = RestContract("oms", path)
    connection = RestConnection("oms", server.url, contract, read(RestOptions, OPTIONS))
    await connection.start()
    order = json.loads(path.read_bytes())["paths"]["/v2/orders"]["post"]["requestBody"]["content"]["application/json"]["example"]
    yield Oms(server, faults, contract, connection, order)
    faults.clear()
    await connection.close()
    await server.stop()


async def test_orders_are_taken_found_read_and_cancelled(oms: Oms) -> None:
    (created,) = (await oms.create("tg-1")).documents
    assert [o["orderNo"] for o in await oms.find("tg-1")] == [created["orderNo"]]
    first = await oms.ask("getOrder", orderNo=created["orderNo"])
    again = await oms.ask("getOrder", orderNo=created["orderNo"])
    assert first.documents == again.documents
    assert first.etag == again.etag
    (cancelled,) = (await oms.ask("cancelOrder", orderNo=created["orderNo"], body={"reason": "CUSTOMER"})).documents
    assert cancelled["state"] == "CANCELLED"
    assert (await oms.ask("getOrder", orderNo=created["orderNo"])).documents[0]["state"] == "CANCELLED"


async def test_all_pages_of_a_search_are_read(oms: Oms) -> None:
    for i in range(7):
        await oms.create(f"tg-{i}")
    pages = (await oms.ask("findOrders", limit=3)).documents
    assert [len(p["items"]) for p in pages] == [3, 3, 1]


async def test_what_is_not_there_is_an_empty_answer_and_a_wrong_key_is_ours(oms: Oms) -> None:
    assert (await oms.ask("getOrder", orderNo="SO-999999")).documents == ()
    refused = read(RestOptions, {**OPTIONS, "auth": {"kind": "api_key", "value": "wrong"}})
    wrong = RestConnection("oms", oms.server.url, oms.contract, refused)
    await wrong.start()
    oms.connection, kept = wrong, oms.connection
    with pytest.raises(CredentialsRefused):
        await oms.ask("getOrder", orderNo="SO-1")
    assert oms.server.calls["getOrder"] == 2
    await wrong.close()
    oms.connection = kept


async def test_a_refusal_says_why(oms: Oms) -> None:
    with pytest.raises(UpstreamRejected) as raised:
        await oms.ask("createOrder", body={**oms.order, "clientRef": "tg-2", "positions": []})
    assert raised.value.refusal == "NO_POSITIONS"


@pytest.mark.parametrize(
    ("kind", "error"),
    [("error", None), ("hang", UpstreamTimeout), ("slow", UpstreamTimeout), ("truncate", ContractViolation), ("429", UpstreamBusy)],
)
async def test_reads_under_fault_are_retried_or_fail_with_their_own_error(oms: Oms, kind: Any, error: type[Exception] | None) -> None:
    (created,) = (await oms.create("tg-3")).documents
    oms.faults.add(Rule(system="oms", operation="getOrder", kind=kind, seconds=0.3 if kind == "slow" else 0))
    with pytest.raises(error or (UpstreamFault, UpstreamBusy)):
        await oms.ask("getOrder", orderNo=created["orderNo"])
    assert oms.server.calls["getOrder"] == (1 if kind == "truncate" else 3)
    oms.faults.clear()
    assert (await oms.ask("getOrder", orderNo=created["orderNo"])).documents


@pytest.mark.parametrize("kind", ["refuse", "reset", "error"])
async def test_a_read_survives_one_fault(oms: Oms, kind: Any) -> None:
    (created,) = (await oms.create("tg-4")).documents
    oms.faults.add(Rule(system="oms", operation="getOrder", kind=kind, count=1))
    assert (await oms.ask("getOrder", orderNo=created["orderNo"])).documents


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "truncate"])
async def test_a_write_whose_answer_was_lost_is_in_doubt_was_done_once_and_can_be_found(oms: Oms, kind: Any) -> None:
    oms.faults.add(Rule(system="oms", operation="createOrder", kind=kind))
    with pytest.raises(OutcomeUnknown):
        await oms.create("tg-5")
    oms.faults.clear()
    assert len(await oms.find("tg-5")) == 1
    with pytest.raises(OutcomeUnknown):
        await oms.create("tg-5")
    assert len(await oms.find("tg-5")) == 1
    assert oms.server.calls["createOrder"] == 2


async def test_a_write_that_hangs_is_in_doubt_and_not_repeated(oms: Oms) -> None:
    oms.faults.add(Rule(system="oms", operation="createOrder", kind="hang"))
    with pytest.raises(OutcomeUnknown):
        await oms.create("tg-6")
    assert oms.server.calls["createOrder"] == 1


async def test_a_write_that_was_put_off_is_tried_again(oms: Oms) -> None:
    oms.faults.add(Rule(system="oms", operation="createOrder", kind="429", seconds=0, count=1))
    assert (await oms.create("tg-7")).documents

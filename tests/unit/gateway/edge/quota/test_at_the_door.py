"""What a call costs at the door, and how it is counted there."""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar

import httpx
import pytest

from contracts.canonical.base import Provenance
from contracts.errors import GuardRefused, NotFound, StateConflict, TillgateError, UpstreamTimeout
from contracts.versions import HISTORY
from gateway.edge.endpoint import Ask, Outcome
from gateway.edge.identity.principal import Principal
from gateway.edge.quota import Limit, MemoryQuotas, Quota, subject
from observability import FlightRecord, Step, step
from tests.unit.gateway.edge.conftest import Bench, Thing


def left(answer: httpx.Response, policy: str = "hourly") -> int:
    found = re.search(rf'"{policy}";r=(\d+)', answer.headers["ratelimit"])
    assert found
    return int(found[1])


async def answered(bench: Bench, via: Any) -> None:
    async def handle(ask: Ask[Any, Any], runs: int) -> Outcome:
        source = Provenance(source_system="erp", as_of=bench.now, received_at=bench.now, via=via)
        return Outcome(Thing(key=f"{runs}"), sources=(source,))

    bench.handle = handle


@pytest.mark.parametrize(("via", "costs"), [("live", 5), ("cache", 1), ("file", 1), ("event", 1)])
async def test_a_read_that_reached_a_system_costs_more_than_one_from_memory(bench: Bench, via: str, costs: int) -> None:
    await answered(bench, via)
    weighted = await bench.client("weighted", quota="weighted")
    answers = [await bench.http.get(f"/things/a{n}", headers=weighted) for n in range(3)]
    assert [left(answer) for answer in answers] == [39 - costs * n for n in range(3)]


@pytest.mark.parametrize(
    ("error", "costs"),
    [(UpstreamTimeout(system="erp", operation="GetStock"), 5), (GuardRefused(system="erp", operation="GetStock", reason="open"), 1)],
)
async def test_a_call_that_failed_costs_what_it_did_to_the_system(bench: Bench, error: TillgateError, costs: int) -> None:
    async def fail(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise error

    bench.handle = fail
    weighted = await bench.client("weighted", quota="weighted")
    answers = [await bench.http.get(f"/things/a{n}", headers=weighted) for n in range(3)]
    assert [left(answer) for answer in answers] == [39 - costs * n for n in range(3)]


async def test_what_reached_a_system_is_paid_also_where_the_answer_is_a_no_comes_too_late_or_is_not_waited_for(bench: Bench) -> None:
    asked = asyncio.Event()

    async def end(ask: Ask[Any, Any], runs: int) -> Outcome:
        with step(Step.CALL, system="erp", operation="GetThing"):
            if runs > 2:
                asked.set()
                await asyncio.sleep(30)
        raise NotFound(what="thing", key="a") if runs == 1 else StateConflict(what="thing", key="a", state="x", why="y")

    bench.handle = end
    weighted = await bench.client("weighted", quota="weighted")
    answers = [await bench.http.get(f"/things/a{n}", headers=weighted) for n in range(3)]
    assert [a.status_code for a in answers] == [404, 409, 504]
    asked.clear()
    gone = asyncio.create_task(bench.http.get("/things/aa", headers=weighted))
    await asked.wait()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await answered(bench, "cache")
    told = left(await bench.http.get("/things/aa", headers=weighted))
    assert ([left(a) for a in answers], told) == ([39, 34, 29], 19)


async def test_a_no_that_nobody_was_asked_for_costs_what_any_answer_does(bench: Bench) -> None:
    async def no(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise NotFound(what="thing", key="a")

    bench.handle = no
    weighted = await bench.client("weighted", quota="weighted")
    assert [left(await bench.http.get(f"/things/a{n}", headers=weighted)) for n in range(3)] == [39, 38, 37]


async def test_a_write_costs_most_and_its_replay_no_more_than_any_answer(bench: Bench) -> None:
    weighted = await bench.client("weighted", quota="weighted")
    told = [left(await bench.post(key=key, **weighted)) for key in ("k1", "k1", "k1", "k2", "k2")]
    assert told == [39, 29, 28, 27, 17]
    assert bench.runs == 2


async def test_a_client_in_debt_is_refused_until_it_has_paid(bench: Bench) -> None:
    weighted = await bench.client("weighted", quota="weighted")
    statuses = [(await bench.post(key=f"k{n}", **weighted)).status_code for n in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]
    refused = await bench.post(key="k9", **weighted)
    assert refused.json()["violated-policies"] == ["hourly"]
    assert refused.headers["retry-after"] == "90"
    bench.seconds += 90
    assert (await bench.post(key="k9", **weighted)).status_code == 200


async def test_a_store_counts_for_itself_and_the_answer_names_it(bench: Bench) -> None:
    tills = await bench.client("tills", quota="tills", stores=("0001", "0002"))

    async def ask(location: str) -> httpx.Response:
        return await bench.http.get(f"/things?location={location}", headers=tills)

    first = await ask("0001")
    assert '"till";q=2;w=3600;pk=:MDAwMQ==:' in first.headers["ratelimit-policy"]
    assert '"till";r=1;t=1800;pk=:MDAwMQ==:' in first.headers["ratelimit"]
    assert '"writes"' not in first.headers["ratelimit-policy"]
    assert [(left(await ask(location), "till")) for location in ("0002", "0001", "0001", "0003", "0004")] == [1, 0, 0, 1, 0]


async def test_who_names_several_stores_or_invents_one_beside_its_own_gets_no_count_for_each_of_them(bench: Bench) -> None:
    for name, stores in (("bound", ("0001", "0002")), ("free", ())):
        tills = await bench.client(name, quota="tills", stores=stores)
        spelled = ("0001,0002", "0002&location=0001", "x1&location=0001", "0001%2Cx2")
        answers = [await bench.http.get(f"/things?location={location}", headers=tills) for location in spelled]
        assert [left(answer, "till") for answer in answers] == [1, 0, 0, 0]
        assert '"till";r=0;t=1800;pk=::' in answers[-1].headers["ratelimit"]
        same = [await bench.http.get(f"/things?location={location}", headers=tills) for location in ("0001,0001", "%30001")]
        assert [left(answer, "till") for answer in same] == [1, 0]


def test_a_store_is_found_under_the_name_that_its_parameter_has_in_any_version() -> None:
    bound = Principal("tills", "web", frozenset(), frozenset(("0001", "0002")), "", "tills", "key")
    names = subject.parameters(HISTORY)
    assert [subject.store(bound, b"sku=1&%s=0002" % name, names) for name in (b"location", b"store", b"shop")] == ["0002", "0002", ""]


async def test_a_limit_of_writes_holds_for_writes_only(bench: Bench) -> None:
    tills = await bench.client("tills", quota="tills", stores=("0001", "0002"))
    assert [(await bench.post(key=key, **tills)).status_code for key in ("k1", "k2")] == [200, 429]
    assert (await bench.http.get("/things/aa", headers=tills)).status_code == 200


class Kept:
    def __init__(self) -> None:
        self.flights: list[FlightRecord] = []

    losses: ClassVar[dict[str, int]] = {}

    def put(self, record: FlightRecord) -> None:
        self.flights.append(record)

    async def close(self) -> None:
        pass


async def test_a_flight_knows_which_policy_refused_it(bench: Bench) -> None:
    kept = Kept()
    bench.recorder.sinks = (kept,)
    tills = await bench.client("tills", quota="tills", stores=("0001",))
    statuses = [(await bench.http.get(f"/things/a{n}", headers=tills)).status_code for n in range(3)]
    assert statuses == [200, 200, 429]
    hops = [hop for flight in kept.flights for hop in flight.hops if hop.kind is Step.QUOTA]
    assert [(hop.attributes["quota"], hop.outcome, hop.error_type) for hop in hops] == [("till", "caller", "caller")]


def test_a_refusal_that_is_found_on_the_short_way_is_counted_once() -> None:
    found = MemoryQuotas({"q": Quota((Limit("x", 1, 60.0),))}, lambda: 0)
    for final in (True, False, True, False):
        found.take_now("q", "shop", "", "read", final=final)
    assert found.telling.refused == {("q", "x"): 1}
    assert [near.refused for near in found.near(1)] == [1]

"""Expansion: parts are asked for at once, each as its own route is; what goes wrong with one is said in its place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from contracts.canonical.order import OrderCustomer
from contracts.errors import ConnectFailed, NotFound
from gateway.edge.endpoint import Ask, Outcome
from observability import Step
from tests.unit.gateway.edge.conftest import START, Bench, Thing
from tests.unit.gateway.edge.test_door import problem, source
from tests.unit.gateway.edge.test_stored import at_once

BOTH = "/pairs/aa?expand=twin,seller"
TWIN = "/pairs/aa?expand=twin"


@dataclass
class Shop:
    """Answers each key with what a test says of it: an outcome, or something to await or raise before the usual one."""

    said: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, ask: Ask[Any, Any], runs: int) -> Outcome:
        key = ask.path["key"]
        self.asked.append(key)
        found = self.said.get(key)
        if isinstance(found, Exception):
            raise found
        if callable(found):
            await found()
        return found if isinstance(found, Outcome) else Outcome(Thing(key=key), sources=(source(0, via="cache"),))


@pytest.fixture
def shop(bench: Bench) -> Shop:
    bench.handle = found = Shop()
    return found


def old(key: str, seconds: float, **more: Any) -> Outcome:
    return Outcome(Thing(key=key), sources=(source(seconds, **{"via": "cache", **more}),))


async def test_nothing_is_brought_along_unless_it_is_asked_for(bench: Bench, shop: Shop) -> None:
    assert "expanded" not in (await bench.get("/pairs/aa")).json()
    assert shop.asked == ["aa"]


async def test_each_part_is_what_its_own_route_answers(bench: Bench, shop: Shop) -> None:
    answer = (await bench.get(BOTH)).json()
    twin, seller = [(await bench.get(path)).json() for path in ("/things/aa-twin", "/sellers/aa-seller")]
    assert answer["expanded"] == {"twin": twin, "seller": seller}


async def test_a_part_that_needs_nothing_of_the_answer_is_asked_for_at_the_same_time(bench: Bench, shop: Shop) -> None:
    begun = asyncio.Event()

    async def begins() -> None:
        begun.set()

    shop.said = {"aa": begun.wait, "aa-twin": begins}
    assert (await bench.get(TWIN)).json()["expanded"]["twin"]["key"] == "aa-twin"


@pytest.mark.parametrize("version", ["2026-10-01", "2026-01-01"])
async def test_parts_speak_the_version_of_the_answer(bench: Bench, shop: Shop, version: str) -> None:
    answer = (await bench.get(BOTH, API_Version=version)).json()
    name = "key" if version == "2026-10-01" else "id"
    assert [part[name] for part in (answer, *answer["expanded"].values())] == ["aa", "aa-twin", "aa-seller"]


async def test_fields_choose_of_parts_too_and_what_is_not_named_of_them_is_left_out(bench: Bench, shop: Shop) -> None:
    shop.said["aa-seller"] = NotFound(what="seller", key="x")
    gap = {"missing": [{"code": "not_found", "keys": ["seller"]}]}
    assert (await bench.get(f"{BOTH}&fields=expanded.twin.price.centAmount")).json() == {"expanded": {"twin": {}, **gap}}
    assert (await bench.get(f"{BOTH}&fields=key")).json() == {"key": "aa", "expanded": {"twin": {"key": "aa-twin"}, **gap}}
    missing = problem(await bench.get(f"{BOTH}&fields=expanded.twin.keys"), 400, "invalid_parameter")
    assert missing["errors"][0]["expected"] == "a field of the answer, such as expanded.twin.key"


async def never() -> None:
    await asyncio.sleep(10)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (ConnectFailed(system="erp", operation="GetTwin"), "upstream_unreachable"),
        (NotFound(what="thing", key="aa-twin"), "not_found"),
        (never, "deadline_exceeded"),
    ],
)
async def test_a_part_that_cannot_be_had_is_named_and_the_rest_is_answered(bench: Bench, shop: Shop, wrong: Any, code: str) -> None:
    shop.said["aa-twin"] = wrong
    answer = await bench.get(BOTH)
    assert answer.status_code == 200
    assert answer.json()["expanded"].keys() == {"seller", "missing"}
    assert answer.json()["expanded"]["missing"] == [{"code": code, "keys": ["twin"]}]
    twin = await bench.get(TWIN)
    kept = code == "not_found"  # that there is none is an answer
    assert ("etag" in twin.headers, twin.headers["cache-control"] != "no-store") == (kept, kept)


async def test_what_goes_wrong_with_the_answer_itself_ends_its_parts(bench: Bench, shop: Shop) -> None:
    ended: list[str] = []

    async def long() -> None:
        try:
            await never()
        finally:
            ended.append("twin")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise NotFound(what="thing", key="aa")

    shop.said = {"aa": fails, "aa-twin": long}
    problem(await bench.get(BOTH), 404, "not_found")
    assert (ended, shop.asked) == (["twin"], ["aa", "aa-twin"])


async def test_without_the_scope_of_a_part_nothing_is_asked_and_the_refusal_names_scope_and_parameter(bench: Bench, shop: Shop) -> None:
    bench.auth = await bench.client("kiosk", scopes=("orders:read",))
    refused = problem(await bench.get(BOTH), 403, "forbidden")
    assert (refused["requiredScope"], refused["errors"][0]["pointer"]) == ("customers:read", "query:expand")
    assert (shop.asked, bench.denied[-1][0]) == ([], "forbidden")
    assert (await bench.get(TWIN)).status_code == 200


async def test_personal_data_of_a_part_is_veiled_as_on_its_own_route(bench: Bench, shop: Shop) -> None:
    shop.said["aa-twin"] = Outcome(Thing(key="x", seller=OrderCustomer(name="Ada")), sources=(source(0, via="cache"),))
    assert (await bench.get(TWIN)).json()["expanded"]["twin"]["seller"] == {"name": "Ada"}
    bench.auth = await bench.client("kiosk", scopes=("orders:read",))
    assert (await bench.get(TWIN)).json()["expanded"]["twin"]["seller"] == {}


@pytest.mark.parametrize(("named", "expected"), [("twins", "twin"), ("seler", "seller"), ("", "twin or seller"), ("x.y", "twin or seller")])
async def test_a_part_that_there_is_not_is_told_the_nearest(bench: Bench, shop: Shop, named: str, expected: str) -> None:
    (error,) = problem(await bench.get(f"/pairs/aa?expand={named}"), 400, "invalid_parameter")["errors"]
    assert (error["pointer"], error["expected"]) == ("query:expand", f"a part of this answer: {expected}")


async def test_where_there_is_nothing_to_expand_the_parameter_is_unknown(bench: Bench, shop: Shop) -> None:
    (error,) = problem(await bench.get("/things/aa?expand=twin"), 400, "unknown_parameter")["errors"]
    assert error["pointer"] == "query:expand"


@pytest.mark.parametrize(
    ("own", "twin", "age", "cache"),
    [
        (0, 0, "0", "max-age=30, stale-while-revalidate=60, stale-if-error=570"),
        (200, 0, "200", "max-age=230, stale-while-revalidate=60, stale-if-error=570"),  # 30 seconds more, counted from the older one
        (0, 40, "40", "max-age=30, stale-while-revalidate=60, stale-if-error=570"),
        (290, 0, "290", "max-age=300, stale-if-error=590"),
    ],
)
async def test_an_answer_is_as_old_as_its_oldest_part_and_kept_no_longer_than_any(
    bench: Bench, shop: Shop, own: int, twin: int, age: str, cache: str
) -> None:
    shop.said = {"aa": old("aa", own), "aa-twin": old("aa-twin", twin)}
    answer = await bench.get(TWIN)
    assert (answer.headers["age"], answer.headers["cache-control"]) == (age, f"private, {cache}")


async def test_the_tag_is_that_of_answer_and_parts(bench: Bench, shop: Shop) -> None:
    first = (await bench.get(TWIN)).headers["etag"]
    bench.now += timedelta(seconds=100)
    shop.said["aa-twin"] = old("aa-twin", -100)
    assert (await bench.get(TWIN, If_None_Match=first)).status_code == 304
    bench.now += timedelta(seconds=100)
    shop.said["aa-twin"] = Outcome(Thing(key="aa-twin", runs=2), sources=(source(-200, via="cache"),))
    assert (await bench.get(TWIN, If_None_Match=first)).status_code == 200


async def test_what_may_be_kept_is_answered_again_from_its_bytes_at_the_cost_of_all_its_parts(bench: Bench, shop: Shop) -> None:
    bench.auth = await bench.client("counted", quota="weighted")
    accepted = {"Accept": "*/*", "Accept_Encoding": "gzip, deflate"}
    answers = [await bench.get(TWIN, **accepted), at_once(bench, TWIN, **accepted), at_once(bench, TWIN, **accepted)]
    assert all(answer is not None and answer.json()["expanded"] for answer in answers)
    assert [a.headers["ratelimit"].partition("r=")[2].partition(";")[0] for a in answers if a] == ["38", "36", "34"]
    assert shop.asked == ["aa", "aa-twin"]
    await bench.get(BOTH, **accepted)
    assert at_once(bench, BOTH, **accepted) is None  # of another scope, and of no shared route


async def test_a_part_that_reaches_a_system_costs_what_its_route_costs(bench: Bench, shop: Shop) -> None:
    bench.auth = await bench.client("counted", quota="weighted")
    shop.said = {"aa-twin": old("aa-twin", 0, via="live")}
    await bench.get(TWIN)
    answer = await bench.get("/pairs/bb")
    assert "r=33;" in answer.headers["ratelimit"]  # 40 - 1 - 5 - 1


async def test_a_part_beyond_the_quota_is_missing_as_such(bench: Bench, shop: Shop) -> None:
    bench.auth = await bench.client("little", quota="small")
    answer = await bench.get(BOTH)
    assert answer.json()["expanded"]["missing"] == [{"code": "quota_exceeded", "keys": ["seller"]}]


async def test_the_flight_has_a_step_for_each_part_and_a_missing_one_degrades_it(bench: Bench, shop: Shop) -> None:
    shop.said["aa-twin"] = ConnectFailed(system="erp", operation="GetTwin")
    await bench.get(BOTH)
    flight = bench.asks[0].flight
    steps = {hop.attributes["process_step"]: hop.outcome for hop in flight.hops if hop.kind is Step.PROCESS_STEP}
    assert steps == {"twin": "failure", "seller": "success"}
    assert flight.root.degraded_by == "partial"


async def test_a_part_counts_as_use_of_its_own_route(bench: Bench, shop: Shop) -> None:
    await bench.get(TWIN)
    await bench.usage.flush()
    assert {u.route for u in await bench.books.usage.since(START.date())} == {"GET /pairs/{key}", "GET /things/{key}"}

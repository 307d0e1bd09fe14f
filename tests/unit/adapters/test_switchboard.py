from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from adapters.guard import Guard
from adapters.operation import Operation
from adapters.reads import RENEWALS
from adapters.switchboard import Route, Switchboard
from contracts.call import Call
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.customer import Customer
from contracts.canonical.inventory import InventoryLevel
from contracts.canonical.price import Price
from contracts.errors import (
    ConnectFailed,
    ContractViolation,
    DeadlineExceeded,
    InvalidBody,
    NotFound,
    OutcomeUnknown,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
    UpstreamTimeout,
)
from contracts.policy import Batch, Breaker, Duration, Freshness, Policy, Retry
from contracts.ports import (
    CUSTOMER,
    LEVELS,
    ORDER_CANCEL,
    ORDER_FIND,
    PRICES,
    Capability,
    CustomerQuery,
    LevelQuery,
    OrderCancellation,
    OrderReference,
    PriceQuery,
    SkuAt,
)
from observability import Recorder, Step
from tests.fakes.connection import FakeConnection, FakeMapping

AT: dict[str, Any] = {"system": "erp", "operation": "Levels"}
ONE = Quantity("1", "EA")


def policy(
    max_age: float = 0, stale: float = 0, size: int = 1, linger: float = 0.005, same: str = "", renewed: float = 0, **more: Any
) -> Policy:
    return Policy(
        retry=Retry(attempts=1),
        breaker=Breaker(minimum_calls=10**6),
        freshness=Freshness(max_age=Duration(max_age), stale_while_revalidate=Duration(renewed), stale_if_error=Duration(stale)),
        batch=Batch(size=size, linger=Duration(linger), same=same),
        **more,
    )


def operation(connection: FakeConnection, capability: Capability[Any, Any], limits: Policy, system: str = "erp") -> Operation:
    guard = Guard(system, "Levels", limits, writes=capability.writes)
    return Operation(system, "Levels", capability, connection, guard, FakeMapping(), FakeMapping(), limits)


def levels(_: str, request: Mapping[str, Any]) -> list[InventoryLevel]:
    return [InventoryLevel(sku=k.sku, location_id=k.location_id, on_hand=ONE) for k in request["pairs"] if k.sku != "absent"]


class Estate:
    def __init__(
        self,
        limits: Policy,
        capability: Capability[Any, Any] = LEVELS,
        answer: Callable[..., Any] = levels,
        request: FakeMapping | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.connection = FakeConnection(answer)
        self.operation = replace(operation(self.connection, capability, limits), request=request or FakeMapping())
        self.board = Switchboard([Route(capability, (self.operation,))], recorder=recorder)


def call(seconds: float = 5.0, *, fresh: bool = False, channel: str = "web") -> Call:
    return Call(channel=channel, client="c", deadline=asyncio.get_running_loop().time() + seconds, fresh=fresh)


def at(*skus: str) -> LevelQuery:
    return LevelQuery(pairs=tuple(SkuAt(sku=sku, location_id="0017") for sku in skus))


async def test_what_no_system_of_the_estate_provides_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"no capability 'price\.read'"):
        await Estate(policy()).board.ask(PRICES, PriceQuery(pairs=at("a").pairs), call())


# ---- cache and provenance -----------------------------------------------------------------------------------------


async def test_a_live_answer_says_where_it_comes_from_on_rows_and_in_sources() -> None:
    answer = await Estate(policy()).board.ask(LEVELS, at("a"), call())
    (row,), (source,) = answer.items, answer.sources
    assert row.provenance == (source,)
    assert (source.source_system, source.via, source.mapping_version, source.stale) == ("erp", "live", "v1", False)


async def test_a_second_read_within_max_age_is_answered_from_cache_and_says_so() -> None:
    estate = Estate(policy(max_age=60))
    live = await estate.board.ask(LEVELS, at("a"), call())
    cached = await estate.board.ask(LEVELS, at("a", "b"), call())
    assert [r["pairs"] for r in estate.connection.requests] == [at("a").pairs, at("b").pairs]
    assert {s.via for s in cached.sources} == {"cache", "live"}
    assert [row.provenance[0].via for row in cached.items] == ["cache", "live"]
    assert cached.items[0].provenance[0].received_at == live.items[0].provenance[0].received_at
    assert not cached.stale


async def test_an_empty_answer_is_remembered_too() -> None:
    estate = Estate(policy(max_age=60))
    for _ in range(2):
        assert (await estate.board.ask(LEVELS, at("absent"), call())).items == ()
    assert len(estate.connection.requests) == 1


async def test_a_fresh_read_asks_again_and_renews_the_cache() -> None:
    estate = Estate(policy(max_age=60))
    for fresh in (False, True, False):
        await estate.board.ask(LEVELS, at("a"), call(fresh=fresh))
    assert len(estate.connection.requests) == 2


async def test_without_a_max_age_every_read_is_live() -> None:
    estate = Estate(policy(stale=60))
    for _ in range(2):
        assert (await estate.board.ask(LEVELS, at("a"), call())).sources[0].via == "live"
    assert len(estate.connection.requests) == 2


async def test_a_stale_answer_stands_in_for_an_error_and_says_so() -> None:
    estate = Estate(policy(stale=60))
    await estate.board.ask(LEVELS, at("a"), call())
    estate.connection.error = UpstreamFault(**AT)
    with Recorder().flight("request", "GET /inventory") as record:
        answer = await estate.board.ask(LEVELS, at("a"), call())
    assert answer.stale
    assert (answer.sources[0].via, answer.items[0].provenance[0].stale) == ("cache", True)
    assert record.outcome == "degraded"
    with pytest.raises(UpstreamFault):
        await estate.board.ask(LEVELS, at("b"), call())
    with pytest.raises(UpstreamFault):
        await estate.board.ask(LEVELS, at("a"), call(fresh=True))


async def test_past_its_time_an_answer_comes_at_once_and_is_read_again_behind_it_once() -> None:
    recorder = Recorder()
    estate = Estate(policy(max_age=0.05, renewed=60, stale=60), recorder=recorder)
    with recorder.flight("request", "GET /inventory", channel="web"):
        first = await estate.board.ask(LEVELS, at("a"), call())
    await asyncio.sleep(0.06)
    estate.connection.gate = asyncio.Event()
    with recorder.flight("request", "GET /inventory", channel="web") as asked:
        for _ in range(3):
            answer = await estate.board.ask(LEVELS, at("a"), call(0.01))
            assert (answer.stale, answer.sources[0].via, answer.sources[0].received_at) == (True, "cache", first.sources[0].received_at)
    await asyncio.sleep(0)
    (renewing,) = recorder.open_flights
    assert (renewing.kind, renewing.name, renewing.channel) == ("task", "renew erp.Levels", "web")
    assert [(x.kind, x.trace_id) for x in renewing.root.links or ()] == [("caller_trace", asked.trace)]
    estate.connection.gate.set()
    await asyncio.sleep(0.02)
    assert (recorder.open_flights, len(estate.connection.requests)) == ([], 2)
    assert not (await estate.board.ask(LEVELS, at("a"), call())).stale
    await estate.board.close()


async def test_readings_behind_answers_are_bounded_and_end_with_the_board() -> None:
    estate = Estate(policy(max_age=0.01, renewed=60))
    skus = [f"s{n}" for n in range(RENEWALS + 4)]
    for sku in skus:
        await estate.board.ask(LEVELS, at(sku), call())
    await asyncio.sleep(0.02)
    estate.connection.gate = asyncio.Event()
    for sku in skus:
        assert (await estate.board.ask(LEVELS, at(sku), call())).stale
    await asyncio.sleep(0.02)
    assert len(estate.connection.requests) == len(skus) + RENEWALS
    await estate.board.close()


async def test_what_cannot_be_read_again_is_served_until_its_end_and_then_fails() -> None:
    estate = Estate(policy(max_age=0.01, renewed=0.1))
    await estate.board.ask(LEVELS, at("a"), call())
    await asyncio.sleep(0.02)
    estate.connection.error = UpstreamTimeout(system="erp", operation="Levels")
    assert (await estate.board.ask(LEVELS, at("a"), call())).stale
    await asyncio.sleep(0.1)
    with pytest.raises(UpstreamTimeout):
        await estate.board.ask(LEVELS, at("a"), call())


def test_what_callers_may_keep_is_what_the_shortest_lived_operation_allows() -> None:
    board = Switchboard(
        [
            Route(LEVELS, (Estate(policy(max_age=5, renewed=60, stale=600)).operation,)),
            Route(PRICES, (Estate(policy(max_age=30, renewed=40, stale=90), PRICES).operation,)),
        ]
    )
    both = board.freshness(["inventory.levels", "price.read", "sale.feed"])
    assert (both.max_age, both.stale_while_revalidate, both.stale_if_error) == (5, 40, 90)
    assert board.freshness(["price.read"]).max_age == 30
    assert board.freshness(["customer.read"]) == Freshness()


async def test_a_refusal_is_an_answer_and_no_stale_row_replaces_it() -> None:
    estate = Estate(policy(stale=60))
    await estate.board.ask(LEVELS, at("a"), call())
    estate.connection.error = UpstreamRejected(**AT)
    with pytest.raises(UpstreamRejected):
        await estate.board.ask(LEVELS, at("a"), call())


async def test_a_stale_answer_has_an_age_limit() -> None:
    estate = Estate(policy(stale=0.02))
    await estate.board.ask(LEVELS, at("a"), call())
    await asyncio.sleep(0.03)
    estate.connection.error = UpstreamFault(**AT)
    with pytest.raises(UpstreamFault):
        await estate.board.ask(LEVELS, at("a"), call())


async def test_the_cache_is_bounded_and_forgets_the_longest_unused() -> None:
    estate = Estate(policy(max_age=60, size=100))
    board = Switchboard([Route(LEVELS, (estate.operation,))], cache_rows=10)
    await board.ask(LEVELS, at(*(f"s{i}" for i in range(10))), call())
    await board.ask(LEVELS, at("s0"), call())
    await board.ask(LEVELS, at("new"), call())
    sources = (await board.ask(LEVELS, at("s0"), call())).sources
    assert sources[0].via == "cache"
    assert (await board.ask(LEVELS, at("s1"), call())).sources[0].via == "live"


# ---- coalescing ---------------------------------------------------------------------------------------------------


async def test_a_hundred_callers_of_one_key_cause_one_call_and_each_links_to_it() -> None:
    estate = Estate(policy())
    estate.connection.gate = asyncio.Event()
    records = []

    async def caller() -> int:
        with Recorder().flight("request", "GET /inventory") as record:
            records.append(record)
            return len((await estate.board.ask(LEVELS, at("a"), call())).items)

    tasks = [asyncio.create_task(caller()) for _ in range(100)]
    await asyncio.sleep(0.01)
    estate.connection.gate.set()
    assert await asyncio.gather(*tasks) == [1] * 100
    assert len(estate.connection.requests) == 1
    attempts = [h for r in records for h in r.hops if h.kind is Step.ATTEMPT]
    assert len(attempts) == 1
    links = [link for r in records for h in r.hops for link in h.links or ()]
    assert [link.kind for link in links] == ["joined_call"] * 99
    (sent,) = estate.connection.traceparents
    assert {f"{link.trace_id:032x}" for link in links} == {sent[3:35]}
    assert attempts[0].span_id == sent[36:52]


async def test_a_caller_who_goes_away_does_not_take_the_call_with_him() -> None:
    estate = Estate(policy())
    estate.connection.gate = asyncio.Event()
    leader = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call()))
    await asyncio.sleep(0.01)
    joined = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call()))
    await asyncio.sleep(0.01)
    leader.cancel()
    await asyncio.sleep(0.01)
    assert estate.connection.in_flight == 1
    estate.connection.gate.set()
    assert len((await joined).items) == 1


async def test_when_the_last_caller_goes_the_call_is_cancelled_and_its_key_is_free() -> None:
    estate = Estate(policy())
    estate.connection.gate = asyncio.Event()
    tasks = [asyncio.create_task(estate.board.ask(LEVELS, at("a"), call())) for _ in range(5)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0.01)
    assert (estate.connection.in_flight, estate.connection.cancelled) == (0, 1)
    assert estate.operation.guard.state().in_flight == 0
    estate.connection.gate = None
    assert len((await estate.board.ask(LEVELS, at("a"), call())).items) == 1


async def test_a_patient_caller_is_not_cut_short_by_the_hurry_of_the_first() -> None:
    estate = Estate(policy())
    estate.connection.seconds = 0.06
    hurried = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call(0.02)))
    await asyncio.sleep(0.01)
    patient = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call()))
    with pytest.raises(DeadlineExceeded):
        await hurried
    assert len((await patient).items) == 1
    assert len(estate.connection.requests) == 1


async def test_a_fresh_read_does_not_join_a_call_that_began_before_it() -> None:
    estate = Estate(policy())
    estate.connection.gate = asyncio.Event()
    first = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call()))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call(fresh=True)))
    await asyncio.sleep(0.01)
    estate.connection.gate.set()
    await asyncio.gather(first, second)
    assert len(estate.connection.requests) == 2


async def test_everyone_who_joined_a_failing_call_gets_an_error_of_his_own() -> None:
    estate = Estate(policy())
    estate.connection.gate = asyncio.Event()
    estate.connection.error = UpstreamTimeout(**AT)
    tasks = [asyncio.create_task(estate.board.ask(LEVELS, at("a"), call())) for _ in range(3)]
    await asyncio.sleep(0.01)
    estate.connection.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(e) for e in errors] == [UpstreamTimeout] * 3
    assert len({id(e) for e in errors}) == 3


# ---- batching -----------------------------------------------------------------------------------------------------


async def test_keys_that_arrive_together_travel_as_one_call() -> None:
    estate = Estate(policy(size=500))
    answers = await asyncio.gather(*(estate.board.ask(LEVELS, at(f"s{i}"), call()) for i in range(50)))
    assert [a.items[0].sku for a in answers] == [f"s{i}" for i in range(50)]
    assert [len(r["pairs"]) for r in estate.connection.requests] == [50]


async def test_more_keys_than_fit_are_split_across_calls_in_order() -> None:
    estate = Estate(policy(size=20))
    answer = await estate.board.ask(LEVELS, at(*(f"s{i}" for i in range(50))), call())
    assert [row.sku for row in answer.items] == [f"s{i}" for i in range(50)]
    assert [len(r["pairs"]) for r in estate.connection.requests] == [20, 20, 10]


async def test_keys_travel_only_with_those_that_agree_in_the_field_that_one_call_can_name_once() -> None:
    estate = Estate(policy(size=3, same="location_id"))
    pairs = [SkuAt(sku=f"s{i}", location_id=f"000{i % 2}") for i in range(8)]
    answers = await asyncio.gather(*(estate.board.ask(LEVELS, LevelQuery(pairs=(pair,)), call()) for pair in pairs))
    assert [(a.items[0].sku, a.items[0].location_id) for a in answers] == [(p.sku, p.location_id) for p in pairs]
    assert sorted([k.sku for k in r["pairs"]] for r in estate.connection.requests) == [
        ["s0", "s2", "s4"],
        ["s1", "s3", "s5"],
        ["s6"],
        ["s7"],
    ]


async def test_a_group_whose_only_caller_leaves_does_not_travel_and_the_others_do() -> None:
    estate = Estate(policy(size=10, linger=0.02, same="location_id"))
    gone, stays = (
        asyncio.create_task(estate.board.ask(LEVELS, LevelQuery(pairs=(SkuAt(sku="a", location_id=at),)), call()))
        for at in ("0001", "0002")
    )
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays).items[0].location_id == "0002"
    assert [k.location_id for r in estate.connection.requests for k in r["pairs"]] == ["0002"]


async def test_a_key_asked_twice_is_answered_once() -> None:
    estate = Estate(policy(size=20))
    assert len((await estate.board.ask(LEVELS, at("a", "a", "b"), call())).items) == 2
    assert len(estate.connection.requests[0]["pairs"]) == 2


@pytest.mark.parametrize("error", [UpstreamRejected(**AT), ContractViolation(**AT, where="/", expected="a", got="b")])
async def test_one_bad_key_does_not_spoil_its_neighbours_in_the_batch(error: UpstreamError) -> None:
    def picky(name: str, request: Mapping[str, Any]) -> list[InventoryLevel]:
        if any(k.sku == "bad" for k in request["pairs"]):
            raise error
        return levels(name, request)

    estate = Estate(policy(size=100), answer=picky)
    skus = [f"s{i}" for i in range(20)] + ["bad"]
    results = await asyncio.gather(*(estate.board.ask(LEVELS, at(sku), call()) for sku in skus), return_exceptions=True)
    assert [type(r) for r in results if isinstance(r, Exception)] == [type(error)]
    assert len(estate.connection.requests) <= 11


async def test_a_key_that_the_system_cannot_take_is_the_callers_own_mistake_and_costs_nobody_else_a_thing() -> None:
    estate = Estate(policy(size=100), request=FakeMapping(refuses="endless"))
    skus = [f"s{i}" for i in range(20)] + ["endless"]
    results = await asyncio.gather(*(estate.board.ask(LEVELS, at(sku), call()) for sku in skus), return_exceptions=True)
    assert [type(r) for r in results if isinstance(r, Exception)] == [InvalidBody]
    assert estate.operation.guard.budget.tokens == 10
    with pytest.raises(InvalidBody, match="/pairs/2/sku"):
        await estate.board.ask(LEVELS, at("a", "b", "endless"), call())


async def test_unknown_values_are_counted_and_the_table_is_bounded() -> None:
    estate = Estate(policy(), answer=lambda _name, _request: ["Q", "Q", *map(str, range(600))])
    await estate.board.ask(LEVELS, at("a"), call())
    drift = estate.operation.drift
    assert (drift.read()[0].value, drift.read()[0].count) == ("Q", 2)
    assert (drift.total, len(drift.read()), drift.others) == (602, 500, 101)


async def test_the_search_for_a_bad_key_is_paid_from_the_retry_budget() -> None:
    def broken(_: str, request: Mapping[str, Any]) -> list[InventoryLevel]:
        raise ContractViolation(**AT, where="/", expected="a", got="b")

    estate = Estate(policy(size=500), answer=broken)
    for _ in range(10):
        with suppress(ContractViolation):
            await estate.board.ask(LEVELS, at(*(f"s{i}" for i in range(500))), call())
    assert len(estate.connection.requests) <= 50  # 10 reads, and two calls for each token: 10 at the start, 0.2 earned by every call


# ---- prices: several rows per key, with or without a location -----------------------------------------------------


def price(sku: str, location: str | None) -> Price:
    return Price(sku=sku, price_type="regular", value=Money.zero("EUR"), per=ONE, tax_included=True, location_id=location)


async def test_price_rows_without_location_answer_every_location_asked_and_several_rows_stay_together() -> None:
    def prices(_: str, request: Mapping[str, Any]) -> list[Price]:
        return [price("a", None), price("a", "0001"), price("a", "0001"), price("b", "0009")]

    estate = Estate(policy(max_age=60, size=10), PRICES, prices)
    query = PriceQuery(pairs=(SkuAt(sku="a", location_id="0001"), SkuAt(sku="a", location_id="0002")))
    answer = await estate.board.ask(PRICES, query, call())
    assert [p.location_id for p in answer.items] == [None, "0001", "0001"]
    only = await estate.board.ask(PRICES, PriceQuery(pairs=(SkuAt(sku="a", location_id="0002"),)), call())
    assert [p.location_id for p in only.items] == [None]
    assert len(estate.connection.requests) == 1


# ---- several systems ----------------------------------------------------------------------------------------------


def customers(**fields: Any) -> Callable[..., list[Customer]]:
    return lambda _name, request: [Customer(customer_number=request["customer_number"], **fields)]


def two(combine: Any, *, partial: bool = False, **fields: Any) -> tuple[FakeConnection, FakeConnection, Switchboard]:
    oms = FakeConnection(customers(email="ada@example.com"))
    erp = FakeConnection(customers(email="old@example.com", last_name="Example"))
    limits = policy(**fields)
    parts = operation(oms, CUSTOMER, limits, "oms"), operation(erp, CUSTOMER, limits, "erp")
    return oms, erp, Switchboard([Route(CUSTOMER, parts, combine, partial)])


ADA = CustomerQuery(customer_number="42")


async def test_first_asks_the_next_system_only_when_one_fails() -> None:
    oms, erp, board = two("first")
    assert (await board.ask(CUSTOMER, ADA, call())).sources[0].source_system == "oms"
    assert erp.requests == []
    oms.error = ConnectFailed(system="oms", operation="x")
    assert (await board.ask(CUSTOMER, ADA, call())).sources[0].source_system == "erp"


async def test_first_prefers_another_live_system_to_a_stale_answer() -> None:
    oms, erp, board = two("first", stale=60)
    await board.ask(CUSTOMER, ADA, call())
    oms.error = ConnectFailed(system="oms", operation="x")
    assert not (await board.ask(CUSTOMER, ADA, call())).stale
    erp.error = UpstreamFault(system="erp", operation="x")
    answer = await board.ask(CUSTOMER, ADA, call())
    assert (answer.stale, answer.sources[0].source_system) == (True, "oms")


async def test_all_fills_what_one_system_leaves_out_from_the_next_and_names_the_part() -> None:
    *_, board = two("all")
    answer = await board.ask(CUSTOMER, ADA, call())
    (row,) = answer.items
    assert (row.email, row.last_name) == ("ada@example.com", "Example")
    assert [(p.source_system, p.part) for p in row.provenance] == [("oms", None), ("erp", "last_name")]
    assert {s.source_system for s in answer.sources} == {"oms", "erp"}


async def test_all_says_what_is_missing_when_a_part_fails_and_partial_answers_are_allowed() -> None:
    oms, erp, board = two("all", partial=True)
    oms.error = UpstreamFault(system="oms", operation="x")
    answer = await board.ask(CUSTOMER, ADA, call())
    assert [(g.system, g.code) for g in answer.gaps] == [("oms", "upstream_failed")]
    assert answer.items[0].last_name == "Example"
    erp.error = UpstreamTimeout(system="erp", operation="x")
    with pytest.raises(UpstreamFault):
        await board.ask(CUSTOMER, ADA, call())


async def test_all_fails_with_its_part_when_partial_answers_are_not_allowed() -> None:
    oms, _, board = two("all")
    oms.error = UpstreamFault(system="oms", operation="x")
    with pytest.raises(UpstreamFault):
        await board.ask(CUSTOMER, ADA, call())


# ---- writes, requests that are no keys, closing -------------------------------------------------------------------


async def test_writes_are_neither_joined_nor_cached_and_doubt_passes_through() -> None:
    estate = Estate(policy(max_age=60), ORDER_CANCEL, lambda _name, _request: [])
    cancel = OrderCancellation(external_id="SO-1", reason="customer")
    await asyncio.gather(*(estate.board.ask(ORDER_CANCEL, cancel, call()) for _ in range(3)))
    assert len(estate.connection.requests) == 3
    estate.connection.error = UpstreamTimeout(**AT)
    with Recorder().flight("process", "order") as record, pytest.raises(OutcomeUnknown):
        await estate.board.ask(ORDER_CANCEL, cancel, call())
    assert [h.attributes.get("in_doubt") for h in record.hops if h.kind is Step.CALL] == [True]


async def test_identical_requests_without_keys_are_joined() -> None:
    estate = Estate(policy(), ORDER_FIND, lambda _name, _request: [])
    await asyncio.gather(*(estate.board.ask(ORDER_FIND, OrderReference(order_number="T1"), call()) for _ in range(10)))
    assert len(estate.connection.requests) == 1


async def test_a_mistake_in_our_own_code_is_neither_hidden_by_stale_answers_nor_lost() -> None:
    def bug(_name: str, _request: Mapping[str, Any]) -> list[InventoryLevel]:
        raise ZeroDivisionError

    estate = Estate(policy(stale=60))
    await estate.board.ask(LEVELS, at("a"), call())
    estate.connection.answer = bug
    with pytest.raises(ZeroDivisionError):
        await estate.board.ask(LEVELS, at("a"), call())


async def test_closing_ends_what_is_under_way() -> None:
    estate = Estate(policy())
    estate.connection.gate = asyncio.Event()
    task = asyncio.create_task(estate.board.ask(LEVELS, at("a"), call()))
    await asyncio.sleep(0.01)
    await estate.board.close()
    assert estate.connection.in_flight == 0
    with pytest.raises(UpstreamError):
        await task


async def test_thousands_of_reads_leave_no_task_and_no_key_behind() -> None:
    estate = Estate(policy(size=50, linger=0.001, concurrency=8))

    async def one(i: int) -> None:
        with suppress(UpstreamError):
            await estate.board.ask(LEVELS, at(f"s{i % 97}"), call(0.001 if i % 7 == 0 else 5))

    await asyncio.gather(*(one(i) for i in range(3000)))
    await asyncio.sleep(0.02)
    assert len(asyncio.all_tasks()) == 1
    assert estate.operation.guard.state().in_flight == 0

"""An operation that takes several calls: their order, what they hand on, and what an error at each of them says of the write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from adapters.driver import Reply
from adapters.guard import Guard
from adapters.operation import Operation, Part
from contracts.call import Call
from contracts.canonical.order import OrderReceipt
from contracts.errors import (
    ConnectFailed,
    ContractViolation,
    InvalidBody,
    OutcomeUnknown,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
    UpstreamTimeout,
)
from contracts.policy import Breaker, Duration, Policy, Retry
from contracts.ports import ORDER_CANCEL, ORDER_FIND, Capability, OrderCancellation, OrderReference
from mappings.language import CompiledMapping, ReadContext
from mappings.language.shape import Message, Record
from observability import Recorder, Step
from tests.fakes.connection import FakeConnection, FakeMapping

AT: dict[str, Any] = {"system": "shop", "operation": "any"}
CALLS = ("open", "fill", "commit", "note")


class Kept(msgspec.Struct):
    quote: str | None


class Keeping(FakeMapping):
    """Keeps what the fake connection answers."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Message("shop.open", "json", Record("open"))

    def read(self, document: Any, context: ReadContext) -> list[Any]:
        return [Kept(document)]


class Writing(FakeMapping):
    """Writes the parameters besides the request."""

    def write(self, source: Any, context: ReadContext) -> dict[str, Any]:
        return {**super().write(source, context), **context.parameters}


class Shop(FakeConnection):
    """`broken`: what a call raises, `names`: the calls that came."""

    def __init__(self, quote: str | None = "Q1") -> None:
        super().__init__(lambda name, _: {"open": quote}.get(name, [OrderReceipt(external_id="1")] if name == CALLS[-1] else []))
        self.names: list[str] = []
        self.broken: dict[str, Callable[[], Exception]] = {}
        self.hanging = ""
        self.hung = asyncio.Event()

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, shortcut: Any = None) -> Reply:
        self.names.append(operation)
        self.gate = None
        if operation == self.hanging:
            self.gate = asyncio.Event()
            asyncio.get_running_loop().call_soon(self.hung.set)
        self.error = self.broken[operation]() if operation in self.broken else None
        return await super().call(operation, request, call, seconds, shortcut)


def operation(
    shop: Shop, commits: str = "commit", *, attempts: int = 1, capability: Capability[Any, Any] = ORDER_CANCEL, **requests: CompiledMapping
) -> Operation:
    limits = Policy(
        deadline=Duration(0.3),
        retry=Retry(attempts=attempts, backoff=Duration(0.001)),
        breaker=Breaker(minimum_calls=10**6),
    )
    parts = tuple(Part(name, requests.get(name, Writing()), Keeping() if name == "open" else None) for name in CALLS)
    guard = Guard("shop", "Order", limits, writes=capability.writes)
    return Operation(
        "shop", "Order", capability, shop, guard, answer=FakeMapping(), policy=limits, parts=parts, commits=CALLS.index(commits),
        parameters={"store": "S", "quote": "none"},
    )  # fmt: skip


async def perform(op: Operation, seconds: float = 5.0) -> Any:
    asked: msgspec.Struct = OrderCancellation(external_id="1", reason="x")
    if op.capability is ORDER_FIND:
        asked = OrderReference(order_number="W-1")
    call = Call(channel="web", client="test", deadline=asyncio.get_running_loop().time() + seconds)
    return (await op.perform(asked, call))[0]


async def test_calls_come_in_their_order_and_what_one_keeps_is_a_parameter_of_all_that_follow() -> None:
    shop = Shop()
    assert [r.external_id for r in await perform(operation(shop))] == ["1"]
    assert tuple(shop.names) == CALLS
    assert [r["quote"] for r in shop.requests] == ["none", "Q1", "Q1", "Q1"]
    assert {r["store"] for r in shop.requests} == {"S"}


async def test_a_list_of_the_request_is_called_for_element_by_element() -> None:
    class Pair(msgspec.Struct):
        sku: str

    class Asked(msgspec.Struct):
        lines: tuple[Pair, ...]

    shop = Shop()
    first, _, *rest = operation(shop).parts
    op = replace(operation(shop), parts=(first, Part("fill", Writing(), each="lines"), *rest))
    call = Call(channel="web", client="test", deadline=asyncio.get_running_loop().time() + 5)
    await op.perform(Asked((Pair("a"), Pair("b"))), call)
    assert shop.names == ["open", "fill", "fill", "commit", "note"]
    assert [r.get("sku") for r in shop.requests[1:3]] == ["a", "b"]


@pytest.mark.parametrize("wrong", [UpstreamFault(**AT), ContractViolation(**AT, where="x", expected="y", got="z"), OutcomeUnknown(**AT)])
@pytest.mark.parametrize("at", ["open", "fill"])
async def test_an_error_before_the_call_that_counts_was_not_sent(at: str, wrong: UpstreamError) -> None:
    shop = Shop()
    shop.broken[at] = lambda: wrong
    with pytest.raises(UpstreamError) as raised:
        await perform(operation(shop))
    assert not raised.value.sent
    assert not isinstance(raised.value, OutcomeUnknown)
    assert shop.names[-1] == at


async def test_a_call_that_hangs_before_the_one_that_counts_is_a_timeout_and_no_doubt() -> None:
    shop = Shop()
    shop.hanging = "fill"
    with pytest.raises(UpstreamTimeout) as raised:
        await perform(operation(shop))
    assert not raised.value.sent


async def test_a_failure_before_the_call_that_counts_is_tried_again_from_the_first_call() -> None:
    shop, failures = Shop(), [UpstreamFault(**AT)]

    def once(request: Mapping[str, Any]) -> None:
        if failures:
            raise failures.pop()

    answer = shop.answer
    shop.answer = lambda name, request: (once(request) if name == "fill" else None, answer(name, request))[1]
    await perform(operation(shop, attempts=2))
    assert shop.names == ["open", "fill", *CALLS]


@pytest.mark.parametrize("wrong", [UpstreamFault(**AT), ContractViolation(**AT, where="x", expected="y", got="z")])
async def test_a_lost_answer_of_the_call_that_counts_is_a_doubt_and_is_not_sent_again(wrong: UpstreamError) -> None:
    shop = Shop()
    shop.broken["commit"] = lambda: wrong
    with pytest.raises(OutcomeUnknown):
        await perform(operation(shop, attempts=3))
    assert shop.names.count("commit") == 1


async def test_a_call_that_counts_and_never_left_is_no_doubt() -> None:
    shop = Shop()
    shop.broken["commit"] = lambda: ConnectFailed(**AT)
    with pytest.raises(ConnectFailed) as raised:
        await perform(operation(shop))
    assert not raised.value.sent


@pytest.mark.parametrize(
    "wrong",
    [ConnectFailed(**AT), UpstreamRejected(**AT, refusal="E1"), InvalidBody(where="/x", expected="y", got="z")],
)
async def test_whatever_fails_behind_the_call_that_counts_is_a_doubt(wrong: Exception) -> None:
    shop = Shop()
    shop.broken["note"] = lambda: wrong
    with pytest.raises(OutcomeUnknown):
        await perform(operation(shop))


@pytest.mark.parametrize("at", ["fill", "commit"])
async def test_a_business_refusal_ends_the_calls_and_stays_a_refusal(at: str) -> None:
    shop = Shop()
    shop.broken[at] = lambda: UpstreamRejected(**AT, refusal="E1")
    with pytest.raises(UpstreamRejected) as raised:
        await perform(operation(shop, attempts=3))
    assert raised.value.refusal == "E1"
    assert shop.names[-1] == at


async def test_a_request_that_cannot_be_written_before_the_call_that_counts_is_the_callers() -> None:
    shop = Shop()
    with pytest.raises(InvalidBody):
        await perform(operation(shop, fill=FakeMapping(refuses="reason")))
    assert shop.names == ["open"]


async def test_a_write_whose_kept_value_is_missing_breaks_the_contract_and_was_not_sent() -> None:
    shop = Shop(quote=None)
    with pytest.raises(ContractViolation, match="a value of quote that later calls need, got nothing") as raised:
        await perform(operation(shop))
    assert (raised.value.sent, shop.names) == (False, ["open"])


async def test_a_read_whose_kept_value_is_missing_finds_nothing() -> None:
    shop = Shop(quote=None)
    assert await perform(operation(shop, "open", capability=ORDER_FIND)) == ()
    assert shop.names == ["open"]


async def test_a_read_is_tried_again_whichever_call_failed() -> None:
    shop, failures = Shop(), [UpstreamFault(**AT)]
    answer = shop.answer

    def answers(name: str, request: Mapping[str, Any]) -> Any:
        if name == "note" and failures:
            raise failures.pop()
        return answer(name, request)

    shop.answer = answers
    assert len(await perform(operation(shop, "open", capability=ORDER_FIND, attempts=2))) == 1
    assert tuple(shop.names) == CALLS * 2


async def test_who_goes_away_ends_the_calls_where_they_are() -> None:
    shop = Shop()
    shop.hanging = "fill"
    task = asyncio.create_task(perform(operation(shop)))
    async with asyncio.timeout(5):
        await shop.hung.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (shop.cancelled, shop.names) == (1, ["open", "fill"])


async def test_every_call_is_a_hop_of_its_own_within_the_attempt() -> None:
    with Recorder().flight("request", "POST /orders") as record:
        await perform(operation(Shop()))
    assert [h.operation for h in record.hops if h.kind is Step.ATTEMPT] == ["Order", *CALLS]


async def test_an_answer_is_read_with_the_request_that_it_belongs_to() -> None:
    class Echoing(FakeMapping):
        def read(self, document: Any, context: ReadContext) -> list[Any]:
            assert isinstance(context.asked, OrderCancellation)
            return [OrderReceipt(external_id=context.asked.external_id)]

    for op in (operation(Shop()), replace(operation(Shop()), parts=(), commits=0, call="cancel")):
        (receipt,) = await perform(replace(op, answer=Echoing()))
        assert receipt.external_id == "1"

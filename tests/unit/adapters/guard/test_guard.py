from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from adapters.guard import Bulkhead, Guard, RetryBudget
from contracts.call import Call
from contracts.errors import (
    BreakerOpen,
    BulkheadFull,
    ConnectFailed,
    ConnectionLost,
    ContractViolation,
    DeadlineExceeded,
    OutcomeUnknown,
    UpstreamBusy,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
    UpstreamTimeout,
)
from contracts.policy import Breaker, Duration, Policy, Retry
from observability import Recorder, Step

AT: dict[str, Any] = {"system": "erp", "operation": "GetStock"}
QUICK = Retry(attempts=3, backoff=Duration(0.001), backoff_max=Duration(0.002))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def call(seconds: float = 5.0, channel: str = "web") -> Call:
    return Call(channel=channel, client="c", deadline=asyncio.get_running_loop().time() + seconds)


class Script:
    """An attempt that plays its script: an exception is raised, a number is slept, anything else is the answer."""

    def __init__(self, *acts: object) -> None:
        self.acts, self.calls, self.seconds = list(acts), 0, 0.0

    async def __call__(self, seconds: float) -> object:
        self.calls += 1
        self.seconds = seconds
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        if isinstance(act, BaseException):
            raise act
        if isinstance(act, float):
            await asyncio.sleep(act)
        return act


def guard(policy: Policy | None = None, **options: object) -> Guard:
    return Guard("erp", "GetStock", policy or Policy(retry=QUICK), **options)  # type: ignore[arg-type]  # tests pass what they mean


async def outcome(run: Awaitable[object]) -> object:
    try:
        return await run
    except UpstreamError as exc:
        return type(exc)


# ---- retry --------------------------------------------------------------------------------------------------------


async def test_a_first_success_is_one_attempt() -> None:
    script, flights = Script("ok"), Recorder()
    with flights.flight("request", "GET /x") as record:
        assert await guard().run(script, call()) == "ok"
    assert [h.attempt for h in record.hops if h.kind is Step.ATTEMPT] == [1]


async def test_retryable_errors_of_a_read_are_tried_again_and_each_attempt_is_a_step() -> None:
    script = Script(ConnectFailed(**AT), UpstreamTimeout(**AT), "ok")
    with Recorder().flight("request", "GET /x") as record:
        assert await guard().run(script, call()) == "ok"
    attempts = [h for h in record.hops if h.kind is Step.ATTEMPT]
    assert [(h.attempt, h.outcome) for h in attempts] == [(1, "failure"), (2, "failure"), (3, "success")]
    assert record.retried


async def test_the_last_error_is_raised_when_attempts_run_out() -> None:
    script = Script(ConnectFailed(**AT), ConnectFailed(**AT), UpstreamFault(**AT, fault_code="500"))
    with pytest.raises(UpstreamFault):
        await guard().run(script, call())
    assert script.calls == 3


@pytest.mark.parametrize(
    "error", [UpstreamRejected(**AT), ContractViolation(**AT, where="/a", expected="b", got="c")], ids=["rejected", "contract"]
)
async def test_errors_that_another_try_cannot_help_are_not_tried_again(error: UpstreamError) -> None:
    script = Script(error)
    with pytest.raises(type(error)):
        await guard().run(script, call())
    assert script.calls == 1


async def test_retry_after_is_waited_for_or_given_up_when_the_deadline_comes_first() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await guard().run(Script(UpstreamBusy(**AT, retry_after=0.1), "ok"), call()) == "ok"
    assert loop.time() - began >= 0.1
    began = loop.time()
    script = Script(UpstreamBusy(**AT, retry_after=30.0))
    with pytest.raises(UpstreamBusy):
        await guard().run(script, call(1))
    assert script.calls == 1
    assert loop.time() - began < 0.5


async def test_the_retry_budget_bounds_the_extra_load_of_a_dead_system() -> None:
    budget = RetryBudget()
    policy = Policy(retry=QUICK, breaker=Breaker(minimum_calls=10**6))
    one, two = guard(policy, budget=budget), guard(policy, budget=budget)
    script = Script(ConnectFailed(**AT))
    with Recorder().flight("request", "GET /x") as record:
        for _ in range(50):
            await outcome(one.run(script, call()))
            await outcome(two.run(script, call()))
    assert 100 + 10 <= script.calls <= 100 + 10 + 100 * 0.2 + 1
    assert any(h.attributes.get("guard") == "budget" for h in record.hops)


# ---- writes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        UpstreamTimeout(**AT),
        ConnectionLost(**AT),
        UpstreamFault(**AT, fault_code="503"),
        ContractViolation(**AT, where="/", expected="json", got="html"),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_a_write_that_may_have_been_done_is_in_doubt_and_never_repeated(error: UpstreamError) -> None:
    script = Script(error)
    with pytest.raises(OutcomeUnknown) as raised:
        await guard(writes=True).run(script, call())
    assert script.calls == 1
    assert raised.value.__cause__ is error


async def test_a_write_that_never_left_is_tried_again() -> None:
    script = Script(ConnectFailed(**AT), UpstreamBusy(**AT), "done")
    assert await guard(writes=True).run(script, call()) == "done"


async def test_a_write_that_only_failed_to_connect_is_not_in_doubt() -> None:
    with pytest.raises(ConnectFailed):
        await guard(writes=True).run(Script(ConnectFailed(**AT)), call())


async def test_a_refused_write_is_a_result() -> None:
    with pytest.raises(UpstreamRejected):
        await guard(writes=True).run(Script(UpstreamRejected(**AT, refusal="E17")), call())


async def test_a_repeatable_write_stays_in_doubt_when_only_its_last_attempt_did_not_leave() -> None:
    script = Script(UpstreamTimeout(**AT), ConnectFailed(**AT))
    with pytest.raises(OutcomeUnknown):
        await guard(Policy(retry=QUICK, idempotent=True), writes=True).run(script, call())
    assert script.calls == 3


async def test_a_repeatable_write_that_is_refused_after_an_attempt_without_answer_stays_in_doubt() -> None:
    script = Script(UpstreamTimeout(**AT), UpstreamRejected(**AT, refusal="DUPLICATE"))
    with pytest.raises(OutcomeUnknown, match="DUPLICATE"):
        await guard(Policy(retry=QUICK, idempotent=True), writes=True).run(script, call())
    unsent = Script(ConnectFailed(**AT), UpstreamRejected(**AT, refusal="E17"))
    with pytest.raises(UpstreamRejected):
        await guard(Policy(retry=QUICK, idempotent=True), writes=True).run(unsent, call())


async def test_our_own_mistake_after_a_write_may_have_left_is_doubt_too_and_in_a_read_it_is_a_mistake() -> None:
    with pytest.raises(OutcomeUnknown):
        await guard(writes=True).run(Script(ZeroDivisionError()), call())
    with pytest.raises(ZeroDivisionError):
        await guard().run(Script(ZeroDivisionError()), call())


# ---- time ---------------------------------------------------------------------------------------------------------


async def test_an_attempt_gets_the_shorter_of_policy_and_caller() -> None:
    script = Script("ok")
    await guard(Policy(deadline=Duration(2))).run(script, call(60))
    assert script.seconds == 2
    await guard(Policy(deadline=Duration(2))).run(script, call(1))
    assert 0.9 < script.seconds <= 1


async def test_an_attempt_that_ignores_its_limit_is_stopped() -> None:
    script = Script(60.0)
    with pytest.raises(UpstreamTimeout):
        await guard(Policy(deadline=Duration(0.05), retry=Retry(attempts=1))).run(script, call())


async def test_nothing_is_asked_after_the_callers_deadline() -> None:
    script = Script("ok")
    with pytest.raises(DeadlineExceeded):
        await guard().run(script, call(-1))
    assert script.calls == 0


# ---- breaker ------------------------------------------------------------------------------------------------------

LIMITS = Breaker(minimum_calls=4, failure_rate=0.5, slow_call=Duration(1), slow_call_rate=0.75, open_for=Duration(10))


def breaker_guard(clock: Clock, limits: Breaker = LIMITS, **policy: object) -> Guard:
    return guard(Policy(retry=Retry(attempts=1), breaker=limits, **policy), clock=clock)  # type: ignore[arg-type]  # fields of Policy


async def fail(g: Guard, times: int) -> None:
    for _ in range(times):
        with suppress(UpstreamError):
            await g.run(Script(UpstreamFault(**AT)), call())


async def test_the_breaker_opens_by_failure_rate_and_the_refusal_links_to_the_flight_that_opened_it() -> None:
    g = breaker_guard(Clock())
    await g.run(Script("ok"), call())
    await g.run(Script("ok"), call())
    await fail(g, 1)
    assert g.state().breaker == "closed"
    with Recorder().flight("request", "GET /opener") as opener:
        await fail(g, 1)
    script = Script("ok")
    with Recorder().flight("request", "GET /refused") as refused, pytest.raises(BreakerOpen) as raised:
        await g.run(script, call())
    assert script.calls == 0
    assert 9 < (raised.value.retry_after or 0) <= 10
    state = g.state()
    assert (state.breaker, state.opened_by, state.refused) == ("open", opener.trace_id, 1)
    assert (state.reason, state.calls, state.failure_rate) == ("2 of 4 calls failed in 30 s", 4, 0.5)
    (hop,) = [h for h in refused.hops if h.kind is Step.GUARD]
    assert (hop.outcome, hop.attributes["guard"], hop.attributes["guard_state"]) == ("rejected", "breaker", "open")
    assert [(link.kind, f"{link.trace_id:032x}") for link in hop.links or ()] == [("opened_by", opener.trace_id)]


async def test_the_breaker_opens_by_slow_calls_that_succeed() -> None:
    clock = Clock()
    g = breaker_guard(clock)

    async def slow(_: float) -> str:
        clock.now += 1.5
        return "ok"

    for _ in range(4):
        await g.run(slow, call())
    assert g.state().breaker == "open"
    assert "slow" in g.state().reason


async def test_old_failures_leave_the_window() -> None:
    clock = Clock()
    g = breaker_guard(clock)
    await fail(g, 3)
    clock.now += 31
    await fail(g, 3)
    assert g.state().breaker == "closed"
    assert g.state().calls == 3


async def test_refusals_of_the_system_and_slips_of_the_caller_do_not_open_it() -> None:
    g = breaker_guard(Clock())
    for _ in range(20):
        assert await outcome(g.run(Script(UpstreamRejected(**AT)), call())) is UpstreamRejected
    assert (g.state().breaker, g.state().failure_rate) == ("closed", 0)


async def test_half_open_lets_only_its_trials_through_and_closes_after_them() -> None:
    clock = Clock()
    g = breaker_guard(clock, Breaker(minimum_calls=4, trials=2))
    await fail(g, 4)
    clock.now += 11
    gate = asyncio.Event()

    async def waits(_: float) -> str:
        await gate.wait()
        return "ok"

    trials = [asyncio.create_task(g.run(waits, call())) for _ in range(2)]
    await asyncio.sleep(0)
    others = [await outcome(g.run(Script("ok"), call())) for _ in range(20)]
    assert others == [BreakerOpen] * 20
    gate.set()
    assert await asyncio.gather(*trials) == ["ok", "ok"]
    assert g.state().breaker == "closed"


async def test_a_failed_trial_opens_it_again_for_the_whole_time() -> None:
    clock = Clock()
    g = breaker_guard(clock)
    await fail(g, 4)
    clock.now += 11
    await fail(g, 1)
    clock.now += 9
    assert await outcome(g.run(Script("ok"), call())) is BreakerOpen
    clock.now += 2
    assert await outcome(g.run(Script("ok"), call())) == "ok"
    assert g.state().breaker == "closed"


async def test_a_slow_trial_does_not_close_it() -> None:
    clock = Clock()
    g = breaker_guard(clock)
    await fail(g, 4)
    clock.now += 11

    async def slow(_: float) -> str:
        clock.now += 2
        return "ok"

    await g.run(slow, call())
    assert g.state().breaker == "open"


async def test_a_late_result_of_an_earlier_period_is_dropped() -> None:
    clock = Clock()
    g = breaker_guard(clock)
    gate = asyncio.Event()

    async def late(_: float) -> str:
        await gate.wait()
        raise UpstreamFault(**AT)

    tasks = [asyncio.create_task(outcome(g.run(late, call()))) for _ in range(10)]
    await asyncio.sleep(0)
    await fail(g, 4)
    opened = g.state().opened_at
    clock.now += 11
    assert await outcome(g.run(Script("ok"), call())) == "ok"
    gate.set()
    await asyncio.gather(*tasks)
    state = g.state()
    assert (state.breaker, state.calls, state.opened_at) == ("closed", 0, opened)


async def test_a_cancelled_trial_reports_nothing_and_frees_its_place() -> None:
    clock = Clock()
    g = breaker_guard(clock)
    await fail(g, 4)
    clock.now += 11
    trial = asyncio.create_task(g.run(Script(60.0), call()))
    await asyncio.sleep(0.01)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert g.state().breaker == "half_open"
    assert g.state().in_flight == 0
    assert await outcome(g.run(Script("ok"), call())) == "ok"


async def test_a_caller_in_a_hurry_does_not_open_the_breaker_for_others() -> None:
    g = breaker_guard(Clock(), deadline=Duration(5))
    for _ in range(10):
        assert await outcome(g.run(Script(60.0), call(0.002))) is UpstreamTimeout
    assert g.state().breaker == "closed"


async def test_a_hanging_system_opens_the_breaker_even_if_callers_wait_less_than_the_policy() -> None:
    g = breaker_guard(Clock(), deadline=Duration(0.03))
    for _ in range(4):
        await outcome(g.run(Script(60.0), call(0.02)))
    assert g.state().breaker == "open"


async def test_transitions_are_announced() -> None:
    clock, seen = Clock(), list[object]()
    g = guard(
        Policy(retry=Retry(attempts=1), breaker=LIMITS), clock=clock, changed=lambda g, old, new: seen.append((g.operation, old, new))
    )
    await fail(g, 4)
    clock.now += 11
    await g.run(Script("ok"), call())
    assert seen == [("GetStock", "closed", "open"), ("GetStock", "open", "half_open"), ("GetStock", "half_open", "closed")]


async def test_calls_that_waited_while_the_breaker_opened_are_not_sent() -> None:
    g = breaker_guard(Clock(), concurrency=1, queue=50)
    script = Script(UpstreamFault(**AT))

    async def attempt(seconds: float) -> object:
        await asyncio.sleep(0.001)
        return await script(seconds)

    results = await asyncio.gather(*(outcome(g.run(attempt, call())) for _ in range(30)))
    assert script.calls == 4
    assert results.count(BreakerOpen) == 26


# ---- bulkhead -----------------------------------------------------------------------------------------------------


def holder(gate: asyncio.Event, order: list[str], name: str) -> Callable[[float], Awaitable[None]]:
    async def attempt(_: float) -> None:
        order.append(name)
        await gate.wait()

    return attempt


async def test_at_most_the_limit_is_in_flight_and_the_rest_is_refused_by_name() -> None:
    g = guard(Policy(concurrency=2, queue=3))
    gate, order = asyncio.Event(), list[str]()
    tasks = [asyncio.create_task(g.run(holder(gate, order, "x"), call())) for _ in range(5)]
    await asyncio.sleep(0)
    assert (g.state().in_flight, g.state().waiting) == (2, 3)
    with Recorder().flight("request", "GET /x") as record, pytest.raises(BulkheadFull):
        await g.run(Script("ok"), call())
    (hop,) = [h for h in record.hops if h.kind is Step.GUARD]
    assert hop.attributes["guard"] == "bulkhead"
    gate.set()
    await asyncio.gather(*tasks)
    assert (g.state().in_flight, g.state().waiting, g.state().calls) == (0, 0, 5)


async def test_a_storm_on_one_channel_does_not_starve_another() -> None:
    g = guard(Policy(concurrency=1, queue=200))
    order: list[str] = []

    async def attempt_of(channel: str) -> None:
        async def attempt(_: float) -> None:
            order.append(channel)
            await asyncio.sleep(0)

        await g.run(attempt, call(channel=channel))

    storm = [asyncio.create_task(attempt_of("web")) for _ in range(100)]
    await asyncio.sleep(0)
    quiet = [asyncio.create_task(attempt_of("call_centre")) for _ in range(3)]
    await asyncio.gather(*storm, *quiet)
    assert max(i for i, c in enumerate(order) if c == "call_centre") <= 8


async def test_a_full_queue_still_takes_a_channel_that_waits_with_fewer() -> None:
    g = guard(Policy(concurrency=1, queue=4))
    gate, order = asyncio.Event(), list[str]()
    storm = [asyncio.create_task(outcome(g.run(holder(gate, order, "web"), call()))) for _ in range(5)]
    await asyncio.sleep(0)
    quiet = asyncio.create_task(outcome(g.run(holder(gate, order, "call_centre"), call(channel="call_centre"))))
    await asyncio.sleep(0.01)
    assert g.state().waiting_by_channel == {"web": 3, "call_centre": 1}
    gate.set()
    results = await asyncio.gather(*storm, quiet)
    assert results == [None, None, None, None, BulkheadFull, None]
    assert g.state().in_flight == 0


async def test_waiting_ends_with_the_callers_deadline_and_a_cancelled_waiter_leaves_no_gap() -> None:
    g = guard(Policy(concurrency=1, queue=10))
    gate, order = asyncio.Event(), list[str]()
    first = asyncio.create_task(g.run(holder(gate, order, "first"), call()))
    await asyncio.sleep(0)
    assert await outcome(g.run(Script("ok"), call(0.02))) is DeadlineExceeded
    gone = asyncio.create_task(g.run(Script("ok"), call()))
    last = asyncio.create_task(g.run(Script("ok"), call()))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    await first
    assert await last == "ok"
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (g.state().in_flight, g.state().waiting) == (0, 0)


async def test_a_place_given_to_a_waiter_that_is_cancelled_in_the_same_moment_is_passed_on() -> None:
    places = Bulkhead(1, 10)
    await places.enter("web")
    waiter = asyncio.create_task(places.enter("web"))
    await asyncio.sleep(0)
    places.leave()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert places.in_flight == 0


async def test_operations_of_one_system_share_its_places() -> None:
    shared = Bulkhead(1, 10)
    one, two = guard(shared=shared), guard(shared=shared)
    gate, order = asyncio.Event(), list[str]()
    task = asyncio.create_task(one.run(holder(gate, order, "one"), call()))
    await asyncio.sleep(0)
    assert await outcome(two.run(Script("ok"), call(0.02))) is DeadlineExceeded
    gate.set()
    await task
    assert await two.run(Script("ok"), call()) == "ok"
    assert shared.in_flight == 0


async def test_an_operation_that_hangs_leaves_a_quarter_of_its_system_to_the_others() -> None:
    shared = Bulkhead(8, 100)
    hanging, other = guard(Policy(concurrency=32), shared=shared), guard(shared=shared)
    gate, order = asyncio.Event(), list[str]()
    tasks = [asyncio.create_task(hanging.run(holder(gate, order, "x"), call())) for _ in range(20)]
    await asyncio.sleep(0)
    assert (hanging.state().limit, shared.in_flight) == (6, 6)
    assert await other.run(Script("ok"), call()) == "ok"
    gate.set()
    await asyncio.gather(*tasks)


async def test_a_system_that_stops_answering_in_a_busy_hour_opens_the_breaker_at_once() -> None:
    g = guard(Policy(concurrency=64, queue=500, retry=Retry(attempts=1), breaker=Breaker(minimum_calls=5)))
    for _ in range(200):
        await g.run(Script("ok"), call())
    for n in range(10):
        assert g.state().breaker == "closed", f"{n} in a row may be chance"
        with pytest.raises(UpstreamFault):
            await g.run(Script(UpstreamFault(**AT)), call())
    assert (g.state().breaker, g.state().reason) == ("open", "the last 10 calls failed")


async def test_failures_with_answers_between_are_judged_by_their_rate() -> None:
    g = guard(Policy(retry=Retry(attempts=1), breaker=Breaker(minimum_calls=5, failure_rate=0.95)))
    for _ in range(5):
        for _ in range(9):
            with pytest.raises(UpstreamFault):
                await g.run(Script(UpstreamFault(**AT)), call())
            if g.state().calls < 5:
                await g.run(Script("ok"), call())
        await g.run(Script("ok"), call())
    assert g.state().breaker == "closed"


async def test_a_thousand_calls_at_once_leave_nothing_behind() -> None:
    g = guard(Policy(concurrency=8, queue=2000, breaker=Breaker(minimum_calls=10**6), retry=QUICK))
    failures = [UpstreamTimeout(**AT), ConnectFailed(**AT), "ok", "ok", "ok"]

    async def attempt(_: float) -> object:
        await asyncio.sleep(0)
        act = failures[g.state().retries % len(failures)]
        if isinstance(act, Exception):
            raise act
        return act

    await asyncio.gather(*(outcome(g.run(attempt, call(channel=str(i % 5)))) for i in range(1000)))
    state = g.state()
    assert (state.in_flight, state.waiting, state.waiting_by_channel) == (0, 0, {})

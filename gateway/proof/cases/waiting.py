"""Time, connections, repetition and load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from contracts.errors import (
    BreakerOpen,
    BulkheadFull,
    DeadlineExceeded,
    UpstreamBusy,
    UpstreamFault,
    UpstreamTimeout,
)
from gateway.proof.case import Differs, Trial
from gateway.proof.cases.expected import fails, same
from gateway.proof.documents import Subject
from gateway.proof.lab import SHORTENED, Bench, Outcome, every
from gateway.proof.stand_in import Fault

MOST_CALLERS: Final = 400


async def deadline(trial: Trial) -> str:
    subject = trial.lab.read()
    async with trial.lab.bench(trial, subject) as bench:
        await bench.ask()
        bench.stand.breaks(Fault("slow", subject.call, seconds=5.0))
        outcome = await bench.ask(seconds=0.4)
        return f"{fails(outcome, DeadlineExceeded, UpstreamTimeout, within=0.4)} after {outcome.seconds:.1f} s"


async def cancel(trial: Trial) -> str:
    subject = trial.lab.read()
    async with trial.lab.bench(trial, subject) as bench:
        await bench.ask()
        bench.stand.breaks(Fault("hang", subject.call))
        asking = asyncio.create_task(bench.perform())
        await _until(lambda: bench.stand.in_flight > 0, 3.0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        if not await _until(lambda: bench.stand.in_flight == 0, 2.0):
            raise Differs("the call goes on at the system although nobody waits for it")
        state = bench.operation().guard.state()
        if state.in_flight or state.waiting:
            raise Differs(f"{state.in_flight} places stay taken after the caller went")
        if state.failure_rate:
            raise Differs("the breaker blames the system for a caller who went")
        bench.stand.breaks()
        same(await bench.ask(), subject)
        return "the call ended, its place is free, the next call is answered"


async def repeats(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        if subject.policy.retry.attempts < 2 or subject.policy.idempotent is False:
            return "declared as never repeated"
        async with trial.lab.bench(trial, subject) as bench:
            await bench.ask()
            before = bench.stand.calls(subject.call)
            bench.stand.breaks(Fault("drop", subject.call, count=1))
            same(await bench.ask(), subject)
            if (seen := bench.stand.calls(subject.call) - before) != 2:
                raise Differs(f"expected one repetition, the system saw {seen} calls")
            return "asked a second time, answered"

    return await every(trial.lab.reads(), check, "no operation reads")


async def retry_after(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        async with trial.lab.bench(trial, subject) as bench:
            await bench.ask()
            bench.stand.breaks(Fault("429", subject.call, seconds=1, count=1))
            outcome = await bench.ask(seconds=8)
            seen = [s.at for s in bench.stand.seen if s.operation == subject.call][-2:]
            if subject.policy.retry.attempts < 2:
                fails(outcome, UpstreamBusy, within=8)
                return "told to wait, not repeated as declared"
            same(outcome, subject)
            if seen[1] - seen[0] < 0.95:
                raise Differs(f"asked to wait for 1 s, the next call came after {seen[1] - seen[0]:.2f} s")
            return "waited as asked, then answered"

    return await every(trial.lab.reads(), check, "no operation reads")


async def _opened(bench: Bench, subject: Subject) -> int:
    """Fails until the breaker opens. Returns how many calls that took."""
    bench.stand.breaks(Fault("error", subject.call))
    most = min(subject.policy.breaker.minimum_calls * 3 + 10, 120)
    for number in range(1, most + 1):
        outcome = await bench.perform(seconds=3.0)
        if isinstance(outcome.error, BreakerOpen):
            return number
    raise Differs(f"after {most} failures in a row the breaker is still closed (minimum_calls = {subject.policy.breaker.minimum_calls})")


async def breaker(trial: Trial) -> str:
    subject = trial.lab.read()
    async with trial.lab.bench(trial, subject) as bench:
        number = await _opened(bench, subject)
        before = bench.stand.calls(subject.call)
        for _ in range(10):
            fails(await bench.perform(seconds=3.0), BreakerOpen, within=0.2)
        if bench.stand.calls(subject.call) != before:
            raise Differs("calls reach the system although the breaker is open")
        return f"opened at call {number}, then nothing was sent"


async def half_open(trial: Trial) -> str:
    subject = trial.lab.read()
    rule = subject.policy.breaker
    wait = min(rule.open_for, SHORTENED["open_for"]) + 0.1
    async with trial.lab.bench(trial, subject) as bench:
        await _opened(bench, subject)
        await asyncio.sleep(wait)
        before = bench.stand.calls(subject.call)
        for _ in range(3):
            fails(await bench.perform(seconds=3.0), UpstreamFault, BreakerOpen, within=3.0)
        if (tried := bench.stand.calls(subject.call) - before) > rule.trials:
            raise Differs(f"half open, {tried} calls reached a system that still fails; declared are {rule.trials}")
        await asyncio.sleep(wait)
        bench.stand.breaks(Fault("slow", subject.call, seconds=0.2))
        bench.stand.most_in_flight = 0
        outcomes = await asyncio.gather(*(bench.perform(seconds=3.0) for _ in range(rule.trials + 5)))
        if bench.stand.most_in_flight > rule.trials:
            raise Differs(f"{bench.stand.most_in_flight} calls at once tried a system that had just failed; declared are {rule.trials}")
        if not any(o.rows is not None for o in outcomes):
            raise Differs(f"the system is well again, and no trial was answered: {outcomes[0]}")
        bench.stand.breaks()
        if not await _healed(bench):
            raise Differs("the breaker stays open although its trials succeeded")
        return f"a failed trial closed it again, then {bench.stand.most_in_flight} trial at a time, then all"


async def _healed(bench: Bench) -> bool:
    for _ in range(20):
        if (await bench.perform(seconds=3.0)).rows is not None and bench.operation().guard.state().breaker == "closed":
            return True
        await asyncio.sleep(0.05)
    return False


async def stale(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        async with trial.lab.bench(trial, subject) as bench:
            same(await bench.ask(fresh=False), subject)
            await asyncio.sleep(SHORTENED["max_age"] * 2)
            bench.stand.breaks(Fault("error", subject.call))
            outcome = await bench.ask(fresh=False, seconds=5)
            same(outcome, subject)
            if "stale" not in outcome.via:
                raise Differs(f"an old answer stood in and does not say so ({outcome.via})")
            return "the last answer stood in, and said so"

    declared = [s for s in trial.lab.reads() if s.policy.freshness.stale_if_error > 1]
    return await every(declared, check, "no operation declares stale_if_error")


async def reuse(trial: Trial) -> str:
    subject = trial.lab.read()
    async with trial.lab.bench(trial, subject) as bench:
        for _ in range(10):
            same(await bench.ask(), subject)
        if bench.stand.connections > 2:
            raise Differs(f"{bench.stand.connections} connections for 10 calls, one after the other")
        before = bench.stand.connections
        bench.stand.breaks(Fault("close_idle", subject.call))
        for _ in range(3):
            same(await bench.ask(), subject)
            await asyncio.sleep(0.05)
        return f"{before} connection for 10 calls; after a silent close the next call is answered"


async def load(trial: Trial) -> str:
    subject = trial.lab.read()
    most = min(subject.policy.concurrency, trial.lab.places)
    callers = min(4 * most, MOST_CALLERS, most + subject.policy.queue)
    async with trial.lab.bench(trial, subject) as bench:
        await bench.perform()
        bench.stand.breaks(Fault("slow", subject.call, seconds=0.05))
        bench.stand.most_in_flight = 0
        finished: list[str] = []

        async def one(channel: str) -> Outcome:
            outcome: Outcome = await bench.perform(channel=channel, seconds=20)
            finished.append(channel)
            return outcome

        many = [asyncio.create_task(one("web")) for _ in range(callers)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(one("call_centre")) for _ in range(max(1, callers // 20))]
        outcomes = await asyncio.gather(*many, *few)
        if bench.stand.most_in_flight > most:
            raise Differs(f"{bench.stand.most_in_flight} calls at once, declared are {most}")
        if bad := next((o for o in outcomes if o.rows is None and not isinstance(o.error, BulkheadFull)), None):
            raise Differs(f"under load: {bad}")
        last = max(n for n, channel in enumerate(finished) if channel == "call_centre")
        if callers > 2 * most and last > 0.8 * len(finished):
            raise Differs(f"the last of {len(few)} calls of another channel was answered as number {last + 1} of {len(finished)}")
        state = bench.operation().guard.state()
        if state.in_flight or state.waiting or bench.stand.in_flight:
            raise Differs(f"{state.in_flight} places and {state.waiting} turns stay taken")
        if bench.stand.open_connections > trial.lab.places:
            raise Differs(f"{bench.stand.open_connections} connections stay open")
        return f"{len(outcomes)} callers, at most {bench.stand.most_in_flight} at once (declared {most}), other channels in between"


async def _until(holds: Callable[[], bool], seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not holds():
        if loop.time() > end:
            return False
        await asyncio.sleep(0.01)
    return True

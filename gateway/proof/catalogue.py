"""The catalogue for systems that are called: what is done to them, what is expected, and what came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from adapters.login import CredentialsRefused
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
from gateway.proof import spoil
from gateway.proof.case import Case, Differs, NotHere, Trial
from gateway.proof.documents import Subject, with_reference
from gateway.proof.lab import LONGEST_DEADLINE, SHORTENED, TOLERANCE, Bench, Outcome, every
from gateway.proof.stand_in import Fault, Kind

MOST_CALLERS: Final = 400
SMALL: Final = 1_000_000
"""Bytes that an answer without end may have, in place of a larger limit."""
FINDS: Final = {
    "order.create": "order.find",
    "order.cancel": "order.find",
    "order.book": "order.find_booking",
    "order.cancel_booking": "order.find_booking",
}
"""Which question settles a doubt about which write."""


# ---- what is expected -----------------------------------------------------------------------------------------------


def same(outcome: Outcome, subject: Subject) -> str:
    if outcome.rows is None:
        raise Differs(f"expected {len(subject.rows)} rows, got {outcome}")
    if _sorted(outcome.rows) != _sorted(subject.rows):
        raise Differs(f"the rows are not those that the mapping reads: {_first_difference(subject.rows, outcome.rows)}")
    return str(outcome)


def fails(outcome: Outcome, *kinds: type[Exception], within: float) -> str:
    """An error of our own, of one of these kinds, in time, that tells a channel nothing of the system."""
    if not isinstance(outcome.error, kinds):
        raise Differs(f"expected {' or '.join(k.__name__ for k in kinds)}, got {outcome}")
    if outcome.seconds > within + TOLERANCE:
        raise Differs(f"expected within {within:.3g} s, it took {outcome.seconds:.2f} s")
    return type(outcome.error).__name__


def _sorted(rows: list[Any]) -> list[str]:
    return sorted(map(repr, rows))


def _first_difference(expected: list[Any], came: list[Any]) -> str:
    if len(expected) != len(came):
        return f"{len(expected)} expected, {len(came)} came"
    for one, other in zip(expected, came, strict=True):
        if isinstance(one, dict) and isinstance(other, dict):
            for name in {**one, **other}:
                if one.get(name) != other.get(name):
                    return f"{name}: expected {str(one.get(name))[:60]}, got {str(other.get(name))[:60]}"
    return "they differ"


# ---- reading, and failing cleanly -------------------------------------------------------------------------------------


async def answers(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        if subject.problem:
            raise Differs(subject.problem)
        async with trial.lab.bench(trial, subject) as bench:
            same(await bench.ask(), subject)
            return f"{subject.source.split(' ', maxsplit=1)[0]}: as the mapping says"

    return await every(trial.lab.subjects, check, "the estate uses no operation of this system")


def broken(
    kind: Kind,
    reads: tuple[type[Exception], ...],
    writes: tuple[type[Exception], ...],
    *,
    seconds: Callable[[Subject], float] | None = None,
) -> Callable[[Trial], Awaitable[str]]:
    """A fault that stays: every operation fails with one of these, within its time."""

    async def run(trial: Trial) -> str:
        async def check(subject: Subject) -> str:
            if subject.policy.deadline > LONGEST_DEADLINE:
                raise Differs(f"declares a deadline of {subject.policy.deadline:g} s, nobody waits longer than {LONGEST_DEADLINE:g} s")
            limit = min(subject.policy.deadline, SHORTENED["deadline"]) + 1.0
            async with trial.lab.bench(trial, subject, body_limit=SMALL if kind == "oversized" else 0) as bench:
                if subject.answer is None and kind == "empty":
                    return ""
                if not subject.writes:
                    await bench.ask()  # opens the connection, and logs in
                if kind == "refuse":
                    await bench.stand.refuse()
                else:
                    bench.stand.breaks(Fault(kind, subject.call, seconds=seconds(subject) if seconds else 0.0))
                outcome = await bench.ask(seconds=limit)
                if kind == "empty" and subject.writes and outcome.rows == []:
                    return "no receipt, so it is asked for"
                said = fails(outcome, *(writes if subject.writes else reads), within=limit)
                if kind == "oversized" and bench.stand.sent > subject.policy.retry.attempts * (SMALL + 16_000_000):
                    raise Differs(f"{bench.stand.sent} bytes were read of an answer without end")
                return said

        if kind == "fault_in_200" and all(trial.lab.speaker.fault_in_200(s.call) is None for s in trial.lab.good()):
            raise NotHere("the protocol has no fault of its own")
        return await every(trial.lab.good(), check, "no operation can be asked")

    return run


async def refusal(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        async with trial.lab.bench(trial, subject) as bench:
            bench.stand.breaks(Fault("refusal", subject.call))
            outcome = await bench.ask()
            tolerated = not subject.writes and outcome.rows == [] and _tolerated(trial.lab.options, subject)
            said = "no row, as declared" if tolerated else fails(outcome, UpstreamRejected, within=15)
            keys = len(getattr(subject.request, subject.capability.keys)) if subject.capability.keys else 1
            if bench.stand.calls(subject.call) > max(1, 2 * keys - 1):
                raise Differs(f"a refusal was asked again, {bench.stand.calls(subject.call)} times")
            return said

    return await every(trial.lab.good(), check, "no operation can be asked")


def _tolerated(options: Any, subject: Subject) -> bool:
    """Whether the estate declares that a refusal of this read is an answer without rows."""
    own = options.operations.get(subject.call)
    meanings = (*getattr(own, "meanings", ()), *getattr(options, "meanings", ()))
    return "*" in getattr(own, "tolerate", ()) or any(m.means == "absent" for m in meanings)


async def statuses(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        async with trial.lab.bench(trial, subject, breaker=False) as bench:
            for status in (400, 403, 404, 409, 418, 500, 502, 503, 504):
                bench.stand.breaks(Fault("error", subject.call, status=status))
                outcome = await bench.ask(seconds=3.0)
                if not isinstance(outcome.error, UpstreamError) and not (status == 404 and outcome.rows == [] and not subject.writes):
                    raise Differs(f"HTTP {status}: {outcome}")
                if subject.writes and status >= 500 and not isinstance(outcome.error, OutcomeUnknown | UpstreamBusy):
                    raise Differs(f"HTTP {status} leaves a write open, and it is said: {outcome}")
            return "an error of ours for each"

    return await every(trial.lab.good(), check, "no operation can be asked")


# ---- documents that differ from their contract ------------------------------------------------------------------------


def _single(subject: Subject) -> Any:
    """A request for one key: an answer about several would be asked for again, key by key."""
    if subject.capability.keys:
        return subject.capability.request(**{subject.capability.keys: getattr(subject.request, subject.capability.keys)[:1]})
    return subject.request


async def _one_row(trial: Trial, bench: Bench, subject: Subject) -> Subject:
    """The subject as it looks when one key is asked for."""
    whole = await bench.ask(subject, request=_single(subject))
    if whole.rows is None:
        raise Differs(f"before anything was changed: {whole}")
    return replace(subject, rows=whole.rows, request=_single(subject))


def changed(
    which: Callable[[spoil.Spot], bool],
    change: Callable[[spoil.Spot], list[Callable[[Any, Any, list[Any]], None]]],
    judge: Callable[[spoil.Spot, Outcome, Subject], str],
    nothing: str,
) -> Callable[[Trial], Awaitable[str]]:
    """One field of the answer at a time is changed, in every operation."""

    async def run(trial: Trial) -> str:
        done = 0

        async def check(subject: Subject) -> str:
            nonlocal done
            message = trial.lab.checked.contracts[trial.lab.system].exchange(subject.call).answer
            if message is None or subject.answer is None:
                return ""
            places = [s for s in spoil.spots(message, subject.document, subject.answer) if which(s)]
            if not places:
                return ""
            said: list[str] = []
            async with trial.lab.bench(trial, subject, breaker=False) as bench:
                one = await _one_row(trial, bench, subject)
                for spot in places[:60]:
                    for each in change(spot):
                        alter = spoil.at(spot, each)
                        bench.stand.spoil = lambda operation, document, alter=alter, call=subject.call: (
                            alter(document) if operation == call else document
                        )
                        outcome = await bench.ask(one, request=one.request)
                        if outcome.crash is not None:
                            raise Differs(f"{spot.path}: {outcome}")
                        try:
                            said.append(judge(spot, outcome, one))
                        except Differs as exc:
                            raise Differs(f"{spot.path}: {exc}") from None
                        done += 1
            kinds = list(dict.fromkeys(said))
            return " or ".join(kinds[:3])

        came = await every(trial.lab.good(), check, "no operation can be asked")
        if not done:
            raise NotHere(nothing)
        return f"{done} changes, {came}"

    return run


def _refused(outcome: Outcome, subject: Subject) -> bool:
    """The answer was not taken, and the error says where. For a write that is a doubt."""
    return isinstance(outcome.error, OutcomeUnknown if subject.writes else ContractViolation)


def told(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if _refused(outcome, subject):
        return "refused, with the place"
    if outcome.rows is not None and outcome.drift:
        return "read, and counted as drift"
    raise Differs(f"expected a refusal or a count of drift, got {outcome} without a word")


def stops(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if _refused(outcome, subject):
        return "refused, with the place"
    if outcome.rows is not None and outcome.drift:
        return "read, and counted as drift"
    if outcome.rows is not None and spot.forgiving:
        return "read, as the mapping declares"
    raise Differs(f"expected a refusal with the place, got {outcome}")


def reads_on(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if _refused(outcome, subject):
        return "refused, because the mapping needs it"
    if outcome.rows is not None:
        return "read without it"
    raise Differs(f"expected rows, or a refusal with the place, got {outcome}")


def once(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if _refused(outcome, subject):
        return "refused, with the place"
    if outcome.rows is None:
        raise Differs(f"expected rows or a refusal, got {outcome}")
    if spot.field.repeated:
        if len(outcome.rows) > 2 * max(len(subject.rows), 1):
            raise Differs(f"one row came twice, and {len(outcome.rows)} rows were read")
        return "a repeated row is a row"
    if outcome.drift:
        return "read, and counted as drift"
    raise Differs(f"a single field came twice with different values, and one of them was taken without a word: {outcome}")


def _removals(spot: spoil.Spot) -> list[Callable[[Any, Any, list[Any]], None]]:
    return [spoil.remove]


def _not_there(spot: spoil.Spot) -> list[Callable[[Any, Any, list[Any]], None]]:
    return [spoil.remove, spoil.value(""), spoil.nil]


async def extra(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        message = trial.lab.checked.contracts[trial.lab.system].exchange(subject.call).answer
        if message is None or subject.answer is None:
            return ""
        async with trial.lab.bench(trial, subject) as bench:
            one = await _one_row(trial, bench, subject)
            bench.stand.spoil = lambda operation, document: spoil.widened(document, message) if operation == subject.call else document
            outcome = await bench.ask(one, request=one.request)
            same(outcome, one)
            if not outcome.drift:
                raise Differs("an unknown element was read over, and nobody counted it")
            return "same rows, counted as drift"

    return await every(trial.lab.good(), check, "no operation can be asked")


async def reorder(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        if subject.answer is None:
            return ""
        async with trial.lab.bench(trial, subject) as bench:
            one = await _one_row(trial, bench, subject)
            bench.stand.spoil = lambda operation, document: spoil.reversed_order(document) if operation == subject.call else document
            outcome = await bench.ask(one, request=one.request)
            if _refused(outcome, subject):
                return "refused, with the place"
            same(outcome, one)
            return "same rows"

    return await every(trial.lab.good(), check, "no operation can be asked")


# ---- time, connections, repetition ------------------------------------------------------------------------------------


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


# ---- sessions and credentials -----------------------------------------------------------------------------------------


async def session(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        if trial.lab.speaker.expired(subject.call) is None:
            raise Differs("the estate declares a login, but not which answers mean that it has ended")
        async with trial.lab.bench(trial, subject) as bench:
            first = await asyncio.gather(*(bench.perform() for _ in range(20)))
            if bad := next((o for o in first if o.rows is None), None):
                raise Differs(f"with a new session: {bad}")
            if bench.stand.logins != 1:
                raise Differs(f"20 callers at once caused {bench.stand.logins} logins")
            executed = bench.stand.executed.get(subject.call, 0)
            bench.stand.breaks(Fault("expired", subject.call, count=1))
            outcome = await bench.perform()
            if outcome.rows is None:
                raise Differs(f"the session ended, and the call failed: {outcome}")
            if bench.stand.logins != 2:
                raise Differs(f"the session ended once, {bench.stand.logins - 1} logins followed")
            if bench.stand.executed.get(subject.call, 0) != executed + 1:
                raise Differs("the call was carried out more than once")
            return "one login for 20 callers, one more when it ended"

    with_session = [s for s in trial.lab.good() if trial.lab.lacks(s) == "session"]
    return await every(with_session[:3], check, "the estate declares no session")


async def credentials(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        async with trial.lab.bench(trial, subject) as bench:
            logs_in = trial.lab.lacks(subject) == "session"
            bench.stand.breaks(Fault("credentials"))
            outcomes = [await bench.perform(seconds=5) for _ in range(3)]
            for outcome in outcomes:
                if not isinstance(outcome.error, CredentialsRefused | UpstreamFault) or isinstance(outcome.error, OutcomeUnknown):
                    raise Differs(f"expected CredentialsRefused, got {outcome}")
            seen = len(bench.stand.seen)
            if seen > (1 if logs_in else 3):
                raise Differs(f"3 calls with refused credentials knocked {seen} times: an account gets locked so")
            return "refused, and not tried again" if logs_in else "refused, not repeated"

    chosen = [s for s in trial.lab.reads() or trial.lab.good() if trial.lab.lacks(s)]
    return await every(chosen[:1], check, "the estate declares no credentials")


# ---- load -------------------------------------------------------------------------------------------------------------


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


# ---- writes -----------------------------------------------------------------------------------------------------------


async def written_once(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        for kind in ("lost_answer", "reset", "truncate"):
            async with trial.lab.bench(trial, subject) as bench:
                bench.stand.breaks(Fault(kind, subject.call, count=1))
                outcome = await bench.ask()
                done = bench.stand.executed.get(subject.call, 0)
                if done > 1:
                    raise Differs(f"{kind}: the system carried it out {done} times (idempotent = {subject.policy.idempotent})")
                fails(outcome, OutcomeUnknown, within=15)
        return "in doubt, carried out once"

    return await every(trial.lab.writes(), check, "no operation writes")


async def not_sent(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        async with trial.lab.bench(trial, subject) as bench:
            await bench.stand.refuse()
            outcome = await bench.ask(seconds=3)
            if not isinstance(outcome.error, ConnectFailed):
                raise Differs(f"nothing could be sent, so nothing is in doubt; got {outcome}")
            await bench.stand.listen()
            same(await bench.ask(), subject)
            if (done := bench.stand.executed.get(subject.call, 0)) != 1:
                raise Differs(f"carried out {done} times")
            return "not in doubt, done when it was sent"

    return await every(trial.lab.writes(), check, "no operation writes")


async def asked_back(trial: Trial) -> str:
    async def check(subject: Subject) -> str:
        wanted = FINDS[subject.capability.name]
        found = next((s for s in trial.lab.reads() if s.capability.name == wanted), None)
        if found is None:
            raise Differs(f"no operation of this system provides {wanted}: a doubt about {subject.capability.name} goes to a person")
        async with trial.lab.bench(trial, subject, found) as bench:
            request = with_reference(subject.request, 1)
            bench.stand.breaks(Fault("lost_answer", subject.call, count=1))
            fails(await bench.ask(subject, request=request), OutcomeUnknown, within=15)
            receipt = await bench.ask(found)
            same(receipt, found)
            if not receipt.rows:
                raise Differs("the system was asked whether it has it, and no receipt can be read from its answer")
            if (done := bench.stand.executed.get(subject.call, 0)) != 1:
                raise Differs(f"carried out {done} times")
            return f"{wanted} finds it, nothing is sent again"

    return await every([s for s in trial.lab.writes() if s.capability.name in FINDS], check, "no operation writes an order")


async def _until(holds: Callable[[], bool], seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not holds():
        if loop.time() > end:
            return False
        await asyncio.sleep(0.01)
    return True


_DOUBT: Final = (OutcomeUnknown,)


def _longer(subject: Subject) -> float:
    return min(subject.policy.deadline, SHORTENED["deadline"]) * 2 + 2


CASES: Final[tuple[Case, ...]] = (
    Case("answers", "bronze", "every operation is asked, and answered as its contract says", "the rows of its mapping", answers),
    Case("refuse", "bronze", "nothing listens", "unreachable, in time; a write is not in doubt",
         broken("refuse", (ConnectFailed,), (ConnectFailed,))),
    Case("hang", "bronze", "the request is read and never answered", "a timeout at the declared deadline; a write is in doubt",
         broken("hang", (UpstreamTimeout, DeadlineExceeded), _DOUBT)),
    Case("error", "bronze", "the system's own error", "the system failed; a write is in doubt", broken("error", (UpstreamFault,), _DOUBT)),
    Case("refusal", "bronze", "a business refusal in the system's form", "refused, and not asked again", refusal),
    Case("truncate", "bronze", "the body ends in the middle", "not half-read", broken("truncate", (ContractViolation,), _DOUBT)),
    Case("garbage", "bronze", "bytes that are nothing", "unusable", broken("garbage", (ContractViolation,), _DOUBT)),
    Case("wrong_type", "bronze", "a proxy's page under HTTP 200", "unusable", broken("wrong_type", (ContractViolation,), _DOUBT)),
    Case("empty", "bronze", "HTTP 200 without a body", "unusable", broken("empty", (ContractViolation,), _DOUBT)),
    Case("missing_required", "bronze", "required fields are left out, one at a time", "refused with the place, or as declared",
         changed(lambda s: s.field.required and s.leaf is not None and s.uses is not None, _removals, stops,
                 "no mapped field of an answer is required")),
    Case("wrong_value", "bronze", "numbers, dates and truth values hold a word", "refused with the place",
         changed(lambda s: s.converted, lambda s: [spoil.value("a word")], stops, "no mapped field of an answer has a form")),
    Case("drop", "silver", "the connection is reset before an answer", "lost; a write is in doubt",
         broken("drop", (ConnectionLost,), _DOUBT)),
    Case("reset", "silver", "the connection is reset in the middle of the answer", "lost; a write is in doubt",
         broken("reset", (ConnectionLost,), _DOUBT)),
    Case("trickle", "silver", "the answer comes in drops, for longer than the deadline", "a timeout at the declared deadline",
         broken("trickle", (UpstreamTimeout, DeadlineExceeded), _DOUBT, seconds=_longer)),
    Case("oversized", "silver", "an answer without end", "stopped at the limit", broken("oversized", (ContractViolation,), _DOUBT)),
    Case("fault_in_200", "silver", "the protocol's fault under HTTP 200", "the system failed",
         broken("fault_in_200", (UpstreamFault,), _DOUBT)),
    Case("statuses", "silver", "HTTP 400 to 504, one after the other", "an error of ours for each; 404 may mean: no such thing", statuses),
    Case("missing_optional", "silver", "optional fields are left out, one at a time", "read without them",
         changed(lambda s: not s.field.required, _removals, reads_on, "no field of an answer is optional")),
    Case("nothing_in_it", "silver", "optional fields are missing, empty and nil", "three kinds of nothing, none of them a crash",
         changed(lambda s: not s.field.required and s.leaf is not None and s.uses is not None, _not_there, reads_on,
                 "no mapped field of an answer is optional")),
    Case("duplicate", "silver", "a field or row comes twice", "refused, or nothing vanishes without a word",
         changed(lambda s: s.doubles, lambda s: [spoil.twice], once, "no field can come twice")),
    Case("reorder", "silver", "fields come in another order", "the same rows", reorder),
    Case("repeat", "silver", "one connection is lost while reading", "asked a second time, once", repeats),
    Case("429", "silver", "too many requests, wait for a second", "waited as asked", retry_after),
    Case("deadline", "silver", "the caller has 0.4 s, the system takes 5 s", "an error when the caller's time is up", deadline),
    Case("cancel", "silver", "the caller goes away", "the call ends, its place is free, nobody is blamed", cancel),
    Case("breaker", "silver", "the system fails again and again", "the breaker opens, nothing more is sent", breaker),
    Case("half_open", "silver", "the system is well again", "trials one by one, then everybody", half_open),
    Case("stale", "silver", "the system fails after it has answered", "the last answer stands in and says so", stale),
    Case("reuse", "silver", "calls one after the other; a kept connection is closed", "one connection; no call is lost", reuse),
    Case("not_sent", "silver", "a write, while nothing listens", "not in doubt, and done once", not_sent),
    Case("unknown_enum", "gold", "codes that nobody knows, one at a time", "refused, or read and counted as drift",
         changed(lambda s: s.coded, lambda s: [spoil.value(spoil.unknown_code(s))], told, "no mapped field of an answer holds codes")),
    Case("extra", "gold", "every record has one more field", "the same rows, and drift is counted", extra),
    Case("session", "gold", "20 callers at once; then the session ends", "one login each time, nothing done twice", session),
    Case("credentials", "gold", "our credentials are not known", "said so, not tried again", credentials),
    Case("load", "gold", "four times as many callers as places", "never more calls than declared, all served, other channels in between",
         load, alone=True),
    Case("written_once", "gold", "a write is done and its answer lost", "in doubt, never sent again", written_once),
    Case("asked_back", "gold", "a write is in doubt", "the system can be asked whether it has it", asked_back),
)  # fmt: skip

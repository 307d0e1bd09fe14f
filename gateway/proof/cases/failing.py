"""The system answers, fails or refuses: what a caller gets of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from contracts.errors import (
    OutcomeUnknown,
    UpstreamBusy,
    UpstreamError,
    UpstreamRejected,
)
from gateway.proof.case import Differs, NotHere, Trial
from gateway.proof.cases.expected import fails, same
from gateway.proof.documents import Subject
from gateway.proof.lab import LONGEST_DEADLINE, SHORTENED, SMALL, every
from gateway.proof.stand_in import Fault, Kind


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


def longer(subject: Subject) -> float:
    return min(subject.policy.deadline, SHORTENED["deadline"]) * 2 + 2

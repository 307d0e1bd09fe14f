"""Sessions and credentials."""

from __future__ import annotations

import asyncio

from adapters.login import CredentialsRefused
from contracts.errors import (
    OutcomeUnknown,
    UpstreamFault,
)
from gateway.proof.case import Differs, Trial
from gateway.proof.documents import Subject
from gateway.proof.lab import every
from gateway.proof.stand_in import Fault


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

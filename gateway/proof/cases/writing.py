"""Writes whose answer is lost, or that never left."""

from __future__ import annotations

from typing import Final

from contracts.errors import (
    ConnectFailed,
    OutcomeUnknown,
)
from gateway.proof.case import Differs, Trial
from gateway.proof.cases.expected import fails, same
from gateway.proof.documents import Subject, with_reference
from gateway.proof.lab import every
from gateway.proof.stand_in import Fault

FINDS: Final = {
    "order.create": "order.find",
    "order.cancel": "order.find",
    "order.book": "order.find_booking",
    "order.cancel_booking": "order.find_booking",
}
"""Which question settles a doubt about which write."""


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

"""Documents that differ from their contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from gateway.proof import spoil
from gateway.proof.case import Differs, NotHere, Trial
from gateway.proof.cases.expected import refused, same
from gateway.proof.documents import Subject
from gateway.proof.lab import Bench, Outcome, every


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


def told(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if refused(outcome, subject):
        return "refused, with the place"
    if outcome.rows is not None and outcome.drift:
        return "read, and counted as drift"
    raise Differs(f"expected a refusal or a count of drift, got {outcome} without a word")


def stops(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if refused(outcome, subject):
        return "refused, with the place"
    if outcome.rows is not None and outcome.drift:
        return "read, and counted as drift"
    if outcome.rows is not None and spot.forgiving:
        return "read, as the mapping declares"
    raise Differs(f"expected a refusal with the place, got {outcome}")


def reads_on(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if refused(outcome, subject):
        return "refused, because the mapping needs it"
    if outcome.rows is not None:
        return "read without it"
    raise Differs(f"expected rows, or a refusal with the place, got {outcome}")


def once(spot: spoil.Spot, outcome: Outcome, subject: Subject) -> str:
    if refused(outcome, subject):
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


def removals(spot: spoil.Spot) -> list[Callable[[Any, Any, list[Any]], None]]:
    return [spoil.remove]


def not_there(spot: spoil.Spot) -> list[Callable[[Any, Any, list[Any]], None]]:
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
            if refused(outcome, subject):
                return "refused, with the place"
            same(outcome, one)
            return "same rows"

    return await every(trial.lab.good(), check, "no operation can be asked")

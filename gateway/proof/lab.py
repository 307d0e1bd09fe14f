"""Where cases run: a stand-in and, in front of it, the real parts of one system with the estate's own limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from adapters.driver import Connection
from adapters.recording import Recorded
from adapters.speaker import Asked, Speaker
from contracts.call import Call
from contracts.errors import TillgateError
from contracts.policy import Duration, Policy
from gateway.bootstrap import Checked
from gateway.bootstrap.proving import Wiring, alone, options_of, speaker, wired
from gateway.proof.case import Differs, NotHere, Trial
from gateway.proof.documents import EveryZone, Subject, answers, plain, subjects
from gateway.proof.stand_in import StandIn

TOLERANCE: Final = 0.75
"""Seconds that a loaded machine may add to a limit."""
LONGEST_DEADLINE: Final = 20.0
"""Seconds; nobody waits longer for one attempt."""
SMALL: Final = 1_000_000
"""Bytes that an answer without end may have, in place of a larger limit."""
SHORTENED: Final = {"deadline": 5.0, "open_for": 3.0, "backoff": 0.2, "backoff_max": 1.0, "max_age": 0.05}
"""Longest times in a proof; what the estate declares longer is shortened to them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ask came to. `crash`: something that is none of our errors escaped."""

    seconds: float
    rows: list[Any] | None = None
    error: TillgateError | None = None
    crash: BaseException | None = None
    drift: int = 0
    via: str = ""

    def __str__(self) -> str:
        if self.crash is not None:
            return f"{type(self.crash).__name__} escaped: {str(self.crash)[:120]}"
        if self.error is not None:
            return f"{type(self.error).__name__} ({str(self.error)[:160]})"
        return f"{len(self.rows or ())} row{'s' if len(self.rows or ()) != 1 else ''}{f', {self.drift} drift' if self.drift else ''}"


@dataclass(eq=False)
class Bench:
    """A stand-in with the real parts in front of it."""

    stand: StandIn
    wiring: Wiring
    subjects: tuple[Subject, ...]

    @property
    def subject(self) -> Subject:
        return self.subjects[0]

    def operation(self, subject: Subject | None = None) -> Any:
        name = (subject or self.subject).full.partition(".")[2]
        return next(o for o in self.wiring.switchboard.operations if o.name == name)

    async def ask(
        self, subject: Subject | None = None, *, seconds: float = 15.0, fresh: bool = True, channel: str = "web", request: Any = None
    ) -> Outcome:
        subject = subject or self.subject
        asked = subject.request if request is None else request
        loop = asyncio.get_running_loop()
        began, drift = loop.time(), self.operation(subject).drift
        before = drift.total
        call = Call(channel=channel, client="proof", deadline=began + seconds, fresh=fresh)
        try:
            answer = await self.wiring.switchboard.ask(subject.capability, asked, call)
        except TillgateError as error:
            return Outcome(loop.time() - began, error=error, drift=drift.total - before)
        except Exception as crash:  # noqa: BLE001 - that nothing else escapes is what is proven
            return Outcome(loop.time() - began, crash=crash)
        via = ",".join(sorted({f"{s.via}{' stale' if s.stale else ''}" for s in answer.sources}))
        return Outcome(loop.time() - began, plain(answer.items), drift=drift.total - before, via=via)

    async def perform(self, subject: Subject | None = None, *, seconds: float = 15.0, channel: str = "web") -> Outcome:
        """One guarded call of its own: neither cached, joined nor batched."""
        subject = subject or self.subject
        loop = asyncio.get_running_loop()
        began = loop.time()
        call = Call(channel=channel, client="proof", deadline=began + seconds)
        try:
            rows, _ = await self.operation(subject).perform(subject.request, call)
        except TillgateError as error:
            return Outcome(loop.time() - began, error=error)
        except Exception as crash:  # noqa: BLE001 - as above
            return Outcome(loop.time() - began, crash=crash)
        return Outcome(loop.time() - began, plain(rows))


@dataclass(eq=False)
class Lab:
    """One system of an estate that is called."""

    checked: Checked
    system: str
    environment: Mapping[str, str] = field(repr=False)
    recordings: tuple[Recorded, ...] = ()
    connections: Callable[[Checked], Mapping[str, Connection]] = lambda _: {}
    """Other connections than the driver's, to what was cut out: for whoever writes a driver, and to prove the catalogue itself."""
    notes: list[str] = field(default_factory=list)
    options: Any = field(default=None, repr=False)
    subjects: list[Subject] = field(default_factory=list)
    speaker: Speaker = field(init=False)

    def __post_init__(self) -> None:
        """Raises LookupError for a system that is not called."""
        self.options, notes = options_of(self.checked, self.system, self.environment)
        self.notes += notes
        self.speaker = speaker(self.checked, self.system, self.options)
        self.subjects = subjects(self.checked, self.system, self.speaker, self.recordings)
        self.notes += sorted({n for s in self.subjects for n in shortened(s.policy)})
        if self.options.body_limit > SMALL:
            self.notes.append(f"body_limit {self.options.body_limit} bytes shortened to {SMALL} where an answer has no end")

    async def prepare(self) -> None:
        """Everything is known from the start."""

    @property
    def sources(self) -> dict[str, str]:
        return {s.full: s.source for s in self.subjects}

    @property
    def places(self) -> int:
        return self.checked.estate.system[self.system].concurrency

    def good(self, which: Callable[[Subject], bool] = lambda _: True) -> list[Subject]:
        return [s for s in self.subjects if not s.problem and which(s)]

    def reads(self) -> list[Subject]:
        return self.good(lambda s: not s.writes)

    def writes(self) -> list[Subject]:
        return self.good(lambda s: s.writes)

    def read(self) -> Subject:
        """The read with the shortest deadline: what takes time is shown with one operation."""
        if not (found := self.reads()):
            raise NotHere("no operation reads")
        return min(found, key=lambda s: s.policy.deadline)

    def lacks(self, subject: Subject) -> str | None:
        """What a call that carries nothing lacks: `credentials`, `session` or, as none are declared, nothing."""
        body = _NOTHING.get(self.checked.estate.system[self.system].protocol, b"")
        return self.speaker.admitted(subject.call, Asked("POST", "/", {}, body), frozenset())

    @asynccontextmanager
    async def bench(self, trial: Trial, *chosen: Subject, breaker: bool = True, body_limit: int = 0) -> AsyncIterator[Bench]:
        """`breaker` false: it never opens, where many bad answers follow each other."""
        stand = StandIn(self.speaker, answers(self.checked, self.system, (*chosen, *self.subjects), self.speaker))
        options = replace(self.options, body_limit=min(body_limit or self.options.body_limit, self.options.body_limit))
        await stand.start()
        try:
            cut = alone(self.checked, [s.full for s in chosen], options, stand.url, lambda p: _limits(p, breaker=breaker))
            wiring = await wired(cut, EveryZone(self.checked.estate.estate.time_zone), self.connections(cut))
            try:
                yield Bench(stand, wiring, chosen)
            finally:
                await wiring.close()
        finally:
            trial.calls += stand.calls()
            await stand.close()


_NOTHING: Final = {"soap": b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><nothing/></e:Body></e:Envelope>'}


def _limits(policy: Policy, *, breaker: bool) -> Policy:
    rule = policy.breaker
    return replace(
        policy,
        deadline=_at_most(policy.deadline, "deadline"),
        retry=replace(
            policy.retry, backoff=_at_most(policy.retry.backoff, "backoff"), backoff_max=_at_most(policy.retry.backoff_max, "backoff_max")
        ),
        breaker=replace(
            rule,
            open_for=_at_most(rule.open_for, "open_for"),
            minimum_calls=rule.minimum_calls if breaker else 1_000_000,
        ),
        freshness=replace(policy.freshness, max_age=_at_most(policy.freshness.max_age, "max_age")),
    )


def _at_most(seconds: float, what: str) -> Duration:
    return Duration(min(seconds, SHORTENED[what]))


def shortened(policy: Policy) -> list[str]:
    """What a proof does not wait for."""
    declared = {
        "deadline": policy.deadline,
        "open_for": policy.breaker.open_for,
        "backoff": policy.retry.backoff,
        "backoff_max": policy.retry.backoff_max,
        "max_age": policy.freshness.max_age,
    }
    return [f"{name} {seconds:g} s shortened to {SHORTENED[name]:g} s" for name, seconds in declared.items() if seconds > SHORTENED[name]]


async def every(chosen: Iterable[Subject], check: Callable[[Subject], Awaitable[str]], nothing: str) -> str:
    """The check of each operation, at the same time. Raises Differs with all that differed, NotHere with `nothing` when there is none."""

    async def one(subject: Subject) -> tuple[bool, str]:
        try:
            return True, await check(subject)
        except Differs as exc:
            return False, str(exc)

    chosen = list(chosen)
    if not chosen:
        raise NotHere(nothing)
    outcomes = await asyncio.gather(*(one(s) for s in chosen))
    bad = [f"{s.full}: {said}" for s, (fine, said) in zip(chosen, outcomes, strict=True) if not fine]
    if bad:
        raise Differs("; ".join(bad[:4]) + (f"; and {len(bad) - 4} more" if len(bad) > 4 else ""))
    names: dict[str, list[str]] = {}
    for subject, (_, said) in zip(chosen, outcomes, strict=True):
        if said:
            names.setdefault(said, []).append(subject.full.partition(".")[2])
    return "; ".join(f"{said} ({', '.join(n) if len(n) < 4 else f'{len(n)} operations'})" for said, n in names.items())

"""The circuit breaker of one operation: pybreaker as state machine, opened by failure rate or slow-call rate in a rolling window."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from contracts.policy import Breaker

# pybreaker takes a database client along for a storage that is not used here: a tenth of the time that every start takes.
_UNLOADED = "redis" not in sys.modules
if _UNLOADED:
    sys.modules["redis"] = None  # type: ignore[assignment]  # as the import system wants it for "there is none"
try:
    import pybreaker
finally:
    if _UNLOADED:
        del sys.modules["redis"]

State = Literal["closed", "open", "half_open"]
_BUCKETS = 10


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Rates are shares (0 to 1) of the `calls` in the window; while it is not closed, those that opened it. `opened_by` is the traceparent
    of the hop whose result did.
    """

    state: State
    calls: int
    failure_rate: float
    slow_rate: float
    opened_at: datetime | None
    opened_by: str
    reason: str
    """Why it opened, for people: `6 of 10 calls failed in 30 s`."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to make one attempt. A result is news only in the period it was admitted in."""

    period: int
    trial: bool


class _Bucket:
    __slots__ = ("calls", "failed", "slow", "start")

    def __init__(self, start: float) -> None:
        self.start, self.calls, self.failed, self.slow = start, 0, 0, 0


class _Window:
    def __init__(self, seconds: float) -> None:
        self._seconds, self._width = seconds, seconds / _BUCKETS
        self._buckets: deque[_Bucket] = deque(maxlen=_BUCKETS + 1)

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        if not self._buckets or now >= self._buckets[-1].start + self._width:
            self._buckets.append(_Bucket(now))
        last = self._buckets[-1]
        last.calls += 1
        last.failed += failed
        last.slow += slow

    def totals(self, now: float) -> tuple[int, int, int]:
        while self._buckets and self._buckets[0].start <= now - self._seconds:
            self._buckets.popleft()
        buckets = self._buckets
        return sum(b.calls for b in buckets), sum(b.failed for b in buckets), sum(b.slow for b in buckets)

    def clear(self) -> None:
        self._buckets.clear()


ROW = 10
"""Failures in a row that open it whatever came before, if not `minimum_calls` are more."""


class CircuitBreaker(pybreaker.CircuitBreakerListener):
    """Admit, call, report: nothing is held while the call runs, and whoever is cancelled reports nothing.

    Half-open admits at most `trials` at once and closes after as many good ones; a failed or slow trial opens it again.
    """

    def __init__(
        self,
        name: str,
        limits: Breaker,
        *,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[State, State], None] | None = None,
    ) -> None:
        self._limits, self._clock, self._changed = limits, clock, changed
        self._window = _Window(limits.window)
        self._machine = pybreaker.CircuitBreaker(
            fail_max=sys.maxsize,  # consecutive failures decide nothing here: the window opens it
            reset_timeout=0,  # nor does the library's wall clock: `admit` watches our own
            success_threshold=limits.trials,
            name=name,
            throw_new_error_on_trip=False,
            listeners=[self],
        )
        self._period = self._trials = self._in_a_row = 0
        self._opened = float("-inf")
        self._totals = (0, 0, 0)
        self._opened_at: datetime | None = None
        self._opened_by = self._reason = ""

    @property
    def current(self) -> State:
        return self._machine.current_state.replace("-", "_")  # type: ignore[return-value]  # the library's three names

    @property
    def opened_by(self) -> str:
        return self._opened_by

    def retry_after(self) -> float:
        """Seconds until a trial may be made."""
        return max(0.0, self._opened + self._limits.open_for - self._clock())

    def admit(self) -> Ticket | None:
        """None: refused."""
        if self._machine.current_state == pybreaker.STATE_CLOSED:
            return Ticket(self._period, trial=False)
        if self._machine.current_state == pybreaker.STATE_OPEN:
            if self.retry_after() > 0:
                return None
            self._machine.half_open()
        if self._trials >= self._limits.trials:
            return None
        self._trials += 1
        return Ticket(self._period, trial=True)

    def valid(self, ticket: Ticket) -> bool:
        return ticket.period == self._period

    def release(self, ticket: Ticket) -> None:
        """Gives a trial's place back; called once for every ticket, whatever became of the attempt."""
        if ticket.trial and self.valid(ticket):
            self._trials -= 1

    def report(self, ticket: Ticket, seconds: float, failure: BaseException | None, trace: str = "") -> None:
        """`failure` None: the system did its work, be it with a refusal. `trace`: traceparent of the hop that ends with this result."""
        if not self.valid(ticket):
            return  # a late result of an earlier period
        now, slow = self._clock(), seconds >= self._limits.slow_call
        if ticket.trial:
            if failure is not None or slow:
                self._cause(now, trace, "a trial call failed" if failure is not None else "a trial call was slow")
                with suppress(_Bad):
                    self._machine.call(_raise_bad)
            else:
                self._machine.call(_good)
            return
        self._window.add(now, failed=failure is not None, slow=slow)
        self._in_a_row = self._in_a_row + 1 if failure is not None else 0
        calls, failed, slows = self._window.totals(now)
        if self._in_a_row >= max(ROW, self._limits.minimum_calls):  # a busy window would take its whole length to notice
            self._totals = calls, failed, slows
            self._cause(now, trace, f"the last {self._in_a_row} calls failed")
            self._machine.open()
            return
        if calls >= self._limits.minimum_calls:
            for count, rate, word in (
                (failed, self._limits.failure_rate, "failed"),
                (slows, self._limits.slow_call_rate, "were slow"),
            ):
                if count and count >= rate * calls:
                    self._totals = calls, failed, slows
                    self._cause(now, trace, f"{count} of {calls} calls {word} in {self._limits.window:g} s")
                    self._machine.open()
                    return

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._period += 1
        self._trials = self._in_a_row = 0
        self._window.clear()
        if self._changed and old_state:
            self._changed(old_state.name.replace("-", "_"), new_state.name.replace("-", "_"))  # type: ignore[arg-type]  # as in `current`

    def read(self) -> BreakerState:
        calls, failed, slow = self._window.totals(self._clock()) if self.current == "closed" else self._totals
        return BreakerState(
            state=self.current,
            calls=calls,
            failure_rate=failed / calls if calls else 0.0,
            slow_rate=slow / calls if calls else 0.0,
            opened_at=self._opened_at,
            opened_by=self._opened_by,
            reason=self._reason,
        )

    def _cause(self, now: float, trace: str, reason: str) -> None:
        self._opened, self._opened_at, self._reason = now, datetime.now(UTC), reason
        if trace or self.current == "closed":  # a failed trial outside any flight leaves the link to the origin
            self._opened_by = trace


class _Bad(Exception):
    pass


def _raise_bad() -> None:
    raise _Bad


def _good() -> None:
    return

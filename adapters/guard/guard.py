"""The guard of one operation. Order: retry budget, breaker, bulkhead, attempt with its own time limit inside the caller's deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NoReturn, TypeVar

from adapters.guard.breaker import CircuitBreaker, State, Ticket
from adapters.guard.bulkhead import Bulkhead, Full
from adapters.guard.retry import RetryBudget, retry, worthwhile
from contracts.call import Call
from contracts.errors import (
    BreakerOpen,
    BulkheadFull,
    DeadlineExceeded,
    GuardRefused,
    OutcomeUnknown,
    TillgateError,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
)
from contracts.policy import Policy
from observability import Hop, Step, step

T = TypeVar("T")
Kind = Literal["breaker", "bulkhead", "budget"]
_GRACE = 0.05
"""A driver keeps to its seconds; the guard stops one that does not, this much later."""


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the console shows of one guard. Rates are shares (0 to 1) of the `calls` in the breaker's window."""

    system: str
    operation: str
    breaker: State
    calls: int
    failure_rate: float
    slow_rate: float
    opened_at: datetime | None
    opened_by: str
    """Trace id of the flight whose result opened it last; empty if that was none."""
    reason: str
    in_flight: int
    limit: int
    waiting: int
    waiting_by_channel: dict[str, int]
    refused: int
    retries: int
    retry_tokens: float


class Guard:
    """One per operation. `shared`: the places of the whole system, taken besides the operation's own, three quarters of them at most, so
    that one that hangs leaves room for the others; `budget`: the system's retries.

    `writes`: an error that leaves open whether the system did it, in whichever attempt, becomes OutcomeUnknown: whoever asked can query
    back, the guard cannot.
    """

    def __init__(
        self,
        system: str,
        operation: str,
        policy: Policy,
        *,
        writes: bool = False,
        budget: RetryBudget | None = None,
        shared: Bulkhead | None = None,
        changed: Callable[[Guard, State, State], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.system, self.operation, self.policy = system, operation, policy
        self._repeatable = not writes if policy.idempotent is None else policy.idempotent
        self._in_doubt = writes or not self._repeatable
        self.budget = budget or RetryBudget()
        most = min(policy.concurrency, max(1, shared.limit * 3 // 4)) if shared else policy.concurrency
        self._places = [Bulkhead(most, policy.queue), *([shared] if shared else [])]
        self._clock = clock
        self._breaker = CircuitBreaker(
            f"{system}.{operation}",
            policy.breaker,
            clock=clock,
            changed=(lambda old, new: changed(self, old, new)) if changed else None,
        )
        self._refused = self._retries = 0

    async def run(self, attempt: Callable[[float], Awaitable[T]], call: Call) -> T:
        """`attempt` is given its seconds and raises contracts.errors only. Raises what it raised last, or the guard's own refusal:
        BreakerOpen, BulkheadFull, DeadlineExceeded; OutcomeUnknown for a write that may have been done.
        """
        self.budget.earn(self.policy.retry.budget)
        sent = False

        async def numbered(number: int) -> T:
            nonlocal sent
            try:
                return await self._once(attempt, call, number)
            except UpstreamError as exc:
                sent |= exc.sent and not isinstance(exc, UpstreamRejected)
                raise

        try:
            try:
                return await numbered(1)  # bare: what mostly succeeds pays for no retry machinery
            except UpstreamError as exc:
                if not worthwhile(exc, idempotent=self._repeatable) or self.policy.retry.attempts < 2:
                    raise
                first = exc

            def again(number: int) -> Awaitable[T]:
                self._retries += 1
                return numbered(number)

            return await retry(
                again,
                first,
                self.policy.retry,
                idempotent=self._repeatable,
                deadline=call.deadline,
                budget=self.budget,
                spent=self._budget_spent,
            )
        except OutcomeUnknown:
            raise
        except UpstreamError as exc:
            if self._in_doubt and sent:  # also when the repetition was refused: that may mean "I have it already"
                raise self._unknown(exc) from exc
            raise
        except TillgateError:
            raise
        except Exception as exc:
            if self._in_doubt:  # a mistake of ours after the request may have left: just as little is known
                raise self._unknown(exc) from exc
            raise

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(system=self.system, operation=self.operation, reason=str(error) or type(error).__name__)

    def state(self) -> GuardState:
        breaker, own = self._breaker.read(), self._places[0]
        return GuardState(
            system=self.system,
            operation=self.operation,
            breaker=breaker.state,
            calls=breaker.calls,
            failure_rate=breaker.failure_rate,
            slow_rate=breaker.slow_rate,
            opened_at=breaker.opened_at,
            opened_by=breaker.opened_by[3:35],
            reason=breaker.reason,
            in_flight=own.in_flight,
            limit=own.limit,
            waiting=own.waiting,
            waiting_by_channel=own.waiting_by_channel(),
            refused=self._refused,
            retries=self._retries,
            retry_tokens=self.budget.tokens,
        )

    async def _once(self, attempt: Callable[[float], Awaitable[T]], call: Call, number: int) -> T:
        ticket = self._breaker.admit()
        if ticket is None:
            self._breaker_says_no()
        entered = 0
        try:
            for places in self._places:
                await self._enter(places, call)
                entered += 1
            if not self._breaker.valid(ticket):  # it opened while this call waited for a place
                renewed = self._breaker.admit()
                if renewed is None:
                    self._breaker_says_no()
                ticket = renewed
            return await self._attempt(attempt, call, number, ticket)
        finally:
            for places in self._places[:entered]:
                places.leave()
            self._breaker.release(ticket)

    async def _attempt(self, attempt: Callable[[float], Awaitable[T]], call: Call, number: int, ticket: Ticket) -> T:
        left = call.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise DeadlineExceeded(system=self.system, operation=self.operation, reason="no time left to ask", sent=False)
        seconds = min(self.policy.deadline, left)
        began = self._clock()
        state: State = "half_open" if ticket.trial else "closed"
        with step(Step.ATTEMPT, system=self.system, operation=self.operation, attempt=number, guard_state=state) as hop:
            if ticket.trial:
                hop.set(probe=True)
            try:
                try:
                    async with asyncio.timeout(seconds + _GRACE):
                        result = await attempt(seconds)
                except TimeoutError as exc:
                    raise UpstreamTimeout(system=self.system, operation=self.operation, reason=f"no answer within {seconds:.3g} s") from exc
            except (UpstreamRejected, OutcomeUnknown):  # it answered properly: "no", or "that I have taken already"
                self._report(ticket, began, None, hop)
                raise
            except asyncio.CancelledError:  # who asked went away: no failure, but what was slow by then was slow
                if self._clock() - began >= self.policy.breaker.slow_call:
                    self._breaker.report(ticket, self._clock() - began, None, hop.traceparent if hop.record else "")
                raise
            except GuardRefused:
                raise  # another guard's no, inside the attempt: no news about this system
            except TillgateError as exc:
                if exc.fault == "caller":
                    self._report(ticket, began, None, hop)
                elif exc.fault == "upstream" and (
                    not isinstance(exc, UpstreamTimeout | DeadlineExceeded) or seconds >= self.policy.deadline / 2
                ):  # else the caller was in too much of a hurry to judge the system by it
                    self._report(ticket, began, exc, hop)
                raise
            self._report(ticket, began, None, hop)
            return result

    def _report(self, ticket: Ticket, began: float, failure: BaseException | None, hop: Hop) -> None:
        hop.set(guard_outcome="failure" if failure else "success")
        self._breaker.report(ticket, self._clock() - began, failure, hop.traceparent if hop.record else "")

    async def _enter(self, places: Bulkhead, call: Call) -> None:
        if places.enter_now():
            return
        left = call.deadline - asyncio.get_running_loop().time()
        try:
            with step(
                Step.WAIT,
                system=self.system,
                operation=self.operation,
                resource="bulkhead",
                waiters=places.waiting,
                holders=f"{self.system}:{places.in_flight}",
            ):
                async with asyncio.timeout(max(left, 0)):
                    await places.enter(call.channel, call.client, call.priority)
        except TimeoutError:
            raise DeadlineExceeded(
                system=self.system, operation=self.operation, reason=f"all {places.limit} places busy until the deadline", sent=False
            ) from None
        except Full:
            self._refuse(
                BulkheadFull(
                    system=self.system,
                    operation=self.operation,
                    reason=f"{places.limit} calls in flight and {places.waiting} waiting",
                    retry_after=1.0,
                ),
                kind="bulkhead",
            )

    def _breaker_says_no(self) -> NoReturn:
        state = self._breaker.read()
        wait = self._breaker.retry_after()
        self._refuse(
            BreakerOpen(
                system=self.system,
                operation=self.operation,
                reason=f"circuit breaker {state.state.replace('_', '-')}: {state.reason}",
                retry_after=wait or 1.0,
            ),
            kind="breaker",
        )

    def _refuse(self, error: GuardRefused, kind: Kind) -> NoReturn:
        self._refused += 1
        with self._no(kind) as hop:
            if kind == "breaker":
                hop.link_to("opened_by", self._breaker.opened_by)
            raise error

    def _budget_spent(self) -> None:
        with self._no("budget"):
            pass

    def _no(self, kind: Kind) -> Hop:
        return step(
            Step.GUARD,
            system=self.system,
            operation=self.operation,
            guard=kind,
            guard_name=f"{self.system}.{self.operation}",
            guard_state=self._breaker.current,
            guard_outcome="rejected",
        )

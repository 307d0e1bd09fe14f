"""When to try again: tenacity's decision, started only after a first attempt has failed, and a budget that bounds the extra load."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter
from tenacity.wait import wait_base

from contracts.errors import UpstreamError
from contracts.policy import Retry

T = TypeVar("T")


class RetryBudget:
    """Per system: every call earns a share of a retry, every retry costs one; a quiet start has `most` to spend."""

    def __init__(self, most: float = 10.0) -> None:
        self._most = self.tokens = most

    def earn(self, share: float) -> None:
        self.tokens = min(self._most, self.tokens + share)

    def spend(self) -> bool:
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class _RetryAfterOr(wait_base):
    def __init__(self, base: wait_base) -> None:
        self._base = base

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return max(self._base(retry_state), getattr(error, "retry_after", None) or 0.0)


def worthwhile(error: BaseException, *, idempotent: bool) -> bool:
    return isinstance(error, UpstreamError) and error.retryable and (idempotent or not error.sent)


async def retry(
    attempt: Callable[[int], Awaitable[T]],
    first: UpstreamError,
    limits: Retry,
    *,
    idempotent: bool,
    deadline: float,
    budget: RetryBudget,
    spent: Callable[[], None],
) -> T:
    """Goes on after the `first` attempt failed; `attempt` is called with the number of the attempt (from 2).

    `deadline` is a reading of the loop's clock: no attempt begins after it, and none waits for it in vain. `spent` is told when only the
    budget forbids another attempt.
    """
    loop = asyncio.get_running_loop()

    def stop(state: RetryCallState) -> bool:
        if state.attempt_number >= limits.attempts or loop.time() + state.upcoming_sleep >= deadline:
            return True
        if not budget.spend():
            spent()
            return True
        return False

    number = 0

    async def once() -> T:
        nonlocal number
        number += 1
        if number == 1:
            raise first
        return await attempt(number)

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: worthwhile(error, idempotent=idempotent)),
        wait=_RetryAfterOr(wait_exponential_jitter(multiplier=limits.backoff, jitter=limits.backoff, max=limits.backoff_max)),
        stop=stop,
        reraise=True,
    )
    return await retrying(once)

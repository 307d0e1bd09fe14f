"""One login for everybody who waits for it, kept until it ends or the system says that it does not know it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from contracts.errors import ConnectFailed, UpstreamError, UpstreamTimeout


@dataclass(eq=False, kw_only=True)
class CredentialsRefused(UpstreamError):
    """Our own credentials are wrong or may not do this. Nothing was done, and trying again may lock the account."""

    retryable: ClassVar[bool] = False
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """`until` is a reading of the loop's clock."""

    text: str = field(repr=False)
    until: float = inf


class Login:
    """Holds the token. `log_in` gets one within the seconds it is given. After CredentialsRefused nobody tries again for `pause`."""

    def __init__(
        self, system: str, operation: str, log_in: Callable[[float], Awaitable[Token]], *, time_limit: float, pause: float
    ) -> None:
        self._system, self._operation, self._log_in = system, operation, log_in
        self._time_limit, self._pause = time_limit, pause
        self._token: Token | None = None
        self._task: asyncio.Task[Token | UpstreamError] | None = None
        self._refused: tuple[float, UpstreamError] | None = None

    async def token(self, seconds: float) -> str:
        """The token, after a login if there is none. Every error has sent=False: what wanted the token did not leave."""
        loop = asyncio.get_running_loop()
        if self._token is not None and loop.time() < self._token.until:
            return self._token.text
        if self._refused is not None and loop.time() < self._refused[0]:
            raise _unsent(self._refused[1]) from self._refused[1]
        if self._task is None:
            self._task = loop.create_task(self._renew(), name=f"login {self._system}")
        task = self._task
        try:
            async with asyncio.timeout(seconds):
                outcome = await asyncio.shield(task)  # whoever gives up must not take the login away from the others
        except TimeoutError as exc:
            raise UpstreamTimeout(
                system=self._system, operation=self._operation, reason=f"no login within {seconds:.3g} s", sent=False
            ) from exc
        except asyncio.CancelledError as exc:
            me = asyncio.current_task()
            if task.cancelled() and not (me and me.cancelling()):
                raise ConnectFailed(system=self._system, operation=self._operation, reason="the connection is being closed") from exc
            raise
        if isinstance(outcome, UpstreamError):
            raise _unsent(outcome) from outcome
        return outcome.text

    @property
    def held(self) -> str | None:
        """The token as far as there is one: nobody logs in for it."""
        return self._token.text if self._token is not None else None

    def expire(self, token: str) -> None:
        """Forget this token; a newer one, fetched by somebody else meanwhile, stays."""
        if self._token is not None and self._token.text == token:
            self._token = None

    async def close(self) -> None:
        self._token, task = None, self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _renew(self) -> Token | UpstreamError:
        """An error is answered, not raised: perhaps nobody waits any more."""
        try:
            self._token = await self._log_in(self._time_limit)
        except UpstreamError as exc:
            if isinstance(exc, CredentialsRefused):
                self._refused = (asyncio.get_running_loop().time() + self._pause, exc)
            return exc
        else:
            self._refused = None
            return self._token
        finally:
            self._task = None


def _unsent(error: UpstreamError) -> UpstreamError:
    """A new instance for each who waits: a shared one would collect their tracebacks."""
    return type(error)(**{**error.data, "sent": False})

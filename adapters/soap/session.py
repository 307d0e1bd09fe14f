"""One login for everybody who waits for it, renewed when the system says that it has expired."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from contracts.errors import ConnectFailed, UpstreamError, UpstreamFault, UpstreamRejected, UpstreamTimeout


class Login:
    """Holds the token. `open_session` logs in within the seconds it is given and answers the token."""

    def __init__(
        self, system: str, operation: str, open_session: Callable[[float], Awaitable[str]], *, time_limit: float, pause: float
    ) -> None:
        self._system, self._operation, self._open = system, operation, open_session
        self._time_limit, self._pause = time_limit, pause
        self._token: str | None = None
        self._task: asyncio.Task[str | UpstreamError] | None = None
        self._refused: tuple[float, UpstreamError] | None = None

    async def token(self, seconds: float) -> str:
        """The token, after a login if there is none. Every error has sent=False: what wanted the token did not leave."""
        if self._token is not None:
            return self._token
        loop = asyncio.get_running_loop()
        if self._refused is not None and loop.time() < self._refused[0]:
            raise _unsent(self._refused[1]) from self._refused[1]
        if self._task is None:
            self._task = loop.create_task(self._login(), name=f"login {self._system}")
        task = self._task
        try:
            async with asyncio.timeout(seconds):
                outcome = await asyncio.shield(task)  # whoever gives up must not take the login away from the others
        except TimeoutError as exc:
            raise UpstreamTimeout(
                system=self._system, operation=self._operation, reason=f"no session within {seconds:.3g} s", sent=False
            ) from exc
        except asyncio.CancelledError as exc:
            me = asyncio.current_task()
            if task.cancelled() and not (me and me.cancelling()):
                raise ConnectFailed(system=self._system, operation=self._operation, reason="the connection is being closed") from exc
            raise
        if isinstance(outcome, UpstreamError):
            raise _unsent(outcome) from outcome
        return outcome

    def expire(self, token: str) -> None:
        """Forget this token; a newer one, fetched by somebody else meanwhile, stays."""
        if self._token == token:
            self._token = None

    async def close(self) -> None:
        self._token, task = None, self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _login(self) -> str | UpstreamError:
        """An error is answered, not raised: perhaps nobody waits any more."""
        try:
            self._token = await self._open(self._time_limit)
        except UpstreamRejected as exc:
            error = UpstreamFault(
                system=self._system, operation=self._operation, fault_code="Client", reason=f"login refused: {exc.reason} ({exc.refusal})"
            )
            error.__cause__ = exc
            self._refused = (asyncio.get_running_loop().time() + self._pause, error)
            return error
        except UpstreamError as exc:
            return exc
        else:
            self._refused = None
            return self._token
        finally:
            self._task = None


def _unsent(error: UpstreamError) -> UpstreamError:
    """A new instance for each who waits: a shared one would collect their tracebacks."""
    return type(error)(**{**error.data, "sent": False})

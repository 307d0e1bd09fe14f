"""Idempotency-Key (draft -07): recorded before anything happens; a repeat gets the stored answer, success or error."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from contracts import errors
from contracts.books import IdempotencyBook, StoredAnswer
from contracts.errors import TillgateError
from gateway.edge.endpoint import Ask
from gateway.edge.problems import Problems, status_of
from gateway.edge.request import Answer, Request
from gateway.services.clock import Now

MARGIN = 1.0
"""Seconds for storing an answer. After them what never finished may be taken over: handlers are safe to repeat under their key."""

KEY = r"[!#-\[\]-~]{1,128}"
"""Idempotency-Key, bare or in quotes: printable ASCII without spaces, quotes and backslashes."""
_KEY = re.compile(f'"({KEY})"|({KEY})')


def key_of(request: Request) -> str:
    """Raises IdempotencyKeyMissing, InvalidHeader."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise errors.IdempotencyKeyMissing
    if not (found := _KEY.fullmatch(key)):
        expected = "1 to 128 printable ASCII characters without spaces, quotes and backslashes"
        raise errors.InvalidHeader(where="header:Idempotency-Key", expected=expected, got=f"{key[:40]!r}")
    return found[1] or found[2]


class Once:
    """Keys are kept for `retention_days`. What has begun goes on when its caller goes away: the answer is there for the repeat."""

    def __init__(self, book: IdempotencyBook, problems: Problems, *, grace: float, retention_days: float, now: Now) -> None:
        """`grace`: seconds that a handler may take beyond its deadline."""
        self._book = book
        self._problems = problems
        self._grace = grace + MARGIN
        self._running: set[asyncio.Task[Answer]] = set()
        self._retention = f"{retention_days:g} days"
        self._now = now

    async def answer(
        self,
        request: Request,
        raw: bytes,
        ask: Ask[Any, Any],
        extra: dict[str, str],
        perform: Callable[[Ask[Any, Any], dict[str, str]], Awaitable[Answer]],
    ) -> Answer:
        """`perform` is given the fields that belong to the stored answer. The key is the client's own, per method and path; `raw`, the
        query and the version are its payload.
        """
        scope = f"{ask.client.name} {request.method} {request.path}"
        fingerprint = hashlib.sha256(b"\0".join((request.query, ask.call.api_version.encode(), raw))).digest()
        extra["idempotency-retention"] = self._retention
        lease = max(0.0, ask.call.deadline - asyncio.get_running_loop().time()) + self._grace
        state = await self._book.begin(scope, ask.idempotency_key, fingerprint, self._now(), lease)
        if state.state == "other_payload":
            raise errors.IdempotencyKeyReused(key=ask.idempotency_key)
        if state.state == "running":
            raise errors.RequestInProgress
        if state.answer is not None:
            ask.flight.root.set(replayed=True)
            return _replayed(state.answer, extra)
        task = asyncio.create_task(self._first(scope, replace(ask, repeated=True) if state.repeated else ask, extra, perform))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # told to the caller; of one who is gone nobody asks

    async def _first(
        self, scope: str, ask: Ask[Any, Any], extra: dict[str, str], perform: Callable[[Ask[Any, Any], dict[str, str]], Awaitable[Answer]]
    ) -> Answer:
        fixed: dict[str, str] = {}
        try:
            answer = await perform(ask, fixed)
        except TillgateError as error:
            if status_of(error) >= 500 or error.retryable:  # nothing was decided: the same key may try again
                await self._book.abandon(scope, ask.idempotency_key)
                raise
            answer = self._problems.answer(error, ask.flight, ask.client, ask.call.api_version, fixed)
        except Exception:  # our own mistake: handlers are safe to repeat under their key
            await self._book.abandon(scope, ask.idempotency_key)
            raise
        kept = answer if answer.repeat is None else self._problems.told(answer.repeat, ask.flight.trace_id, ask.call.api_version, fixed)
        stored = StoredAnswer(status=kept.status, headers=tuple(kept.headers.items()), body=kept.body)
        stands = await self._book.finish(scope, ask.idempotency_key, stored, self._now())
        if stands != stored:  # somebody took over, and was faster
            return _replayed(stands, extra)
        answer.headers = {**extra, **answer.headers}
        return answer


def _replayed(answer: StoredAnswer, extra: dict[str, str]) -> Answer:
    return Answer(answer.status, answer.body, {**extra, **dict(answer.headers), "idempotency-replayed": "true"})

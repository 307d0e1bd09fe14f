"""Idempotency-Key (draft -07): recorded before anything happens; a repeat gets the stored answer, success or error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from contracts import errors
from contracts.books import IdempotencyBook, StoredAnswer
from contracts.errors import TillgateError
from gateway.edge import problems
from gateway.edge.endpoint import Ask
from gateway.edge.request import Answer, Request
from gateway.services.clock import Now

LEASE = 20.0
"""Seconds after which a request that never finished may be taken over, at least; handlers are safe to repeat under their key, and none
runs longer than its deadline and the grace."""

KEY = r"[!#-\[\]-~]{1,128}"
"""Idempotency-Key, bare or in quotes: printable ASCII without spaces, quotes and backslashes."""
_KEY = re.compile(f'"({KEY})"|({KEY})')


def key_of(request: Request) -> str:
    """Raises IdempotencyKeyMissing, InvalidRequest."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise errors.IdempotencyKeyMissing
    if not (found := _KEY.fullmatch(key)):
        expected = "1 to 128 printable ASCII characters without spaces, quotes and backslashes"
        raise errors.InvalidRequest(where="header:Idempotency-Key", expected=expected, got=f"{key[:40]!r}")
    return found[1] or found[2]


class Once:
    """`lease` in seconds; keys are kept for `retention_days`."""

    def __init__(self, book: IdempotencyBook, *, lease: float, retention_days: float, now: Now) -> None:
        self._book = book
        self._lease = max(LEASE, lease)
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
        state = await self._book.begin(scope, ask.idempotency_key, fingerprint, self._now(), self._lease)
        if state.state == "other_payload":
            raise errors.IdempotencyKeyReused(key=ask.idempotency_key)
        if state.state == "running":
            raise errors.RequestInProgress
        if state.answer is not None:
            return Answer(state.answer.status, state.answer.body, {**extra, **dict(state.answer.headers), "idempotency-replayed": "true"})
        fixed: dict[str, str] = {}
        try:
            answer = await perform(replace(ask, repeated=True) if state.repeated else ask, fixed)
        except TillgateError as error:
            if problems.status_of(error) >= 500 or error.retryable:  # nothing was decided: the same key may try again
                await self._book.abandon(scope, ask.idempotency_key)
                raise
            answer = problems.answer(error, ask.flight, fixed)
        except Exception:  # our own mistake: handlers are safe to repeat under their key
            await self._book.abandon(scope, ask.idempotency_key)
            raise
        kept = answer if answer.repeat is None else problems.document_of(answer.repeat, ask.flight.trace_id, fixed)
        stored = StoredAnswer(status=kept.status, headers=tuple(kept.headers.items()), body=kept.body)
        await self._book.finish(scope, ask.idempotency_key, stored, self._now())
        answer.headers = {**extra, **answer.headers}
        return answer

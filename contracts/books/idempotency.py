"""Answers kept under their Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from contracts.canonical.base import Noun


class StoredAnswer(Noun, frozen=True, kw_only=True):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Begun:
    """What `begin` found under an idempotency key.

    `new`: run it now (also when an earlier owner's lease has ended: handlers are safe to repeat under their key).
    """

    state: Literal["new", "running", "done", "other_payload"]
    answer: StoredAnswer | None = None
    repeated: bool = False
    """It began before and never came to an answer: what it changes may be changed already."""


class IdempotencyBook(Protocol):
    async def begin(self, scope: str, key: str, fingerprint: bytes, now: datetime, lease: float) -> Begun:
        """`scope` = client + method + route. Durable before it returns. `lease` in seconds."""
        ...

    async def finish(self, scope: str, key: str, answer: StoredAnswer, now: datetime) -> StoredAnswer:
        """Returns the answer that stands: the first one."""
        ...

    async def abandon(self, scope: str, key: str) -> None:
        """It came to no answer: the same payload may try again at once."""
        ...

    async def purge(self, before: datetime) -> int: ...

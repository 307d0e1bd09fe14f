"""A request and its answer as the door sees them, whatever web framework stands in front."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.errors import TillgateError


@dataclass(frozen=True, slots=True)
class Request:
    """What the web framework hands over. `headers` by lower case name; `read` gives the body once, or raises what is wrong with it."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    path_values: Mapping[str, Any]
    read: Callable[[], Awaitable[bytes]]
    peer: str
    """Address of the caller."""
    certificate: bytes | None = None
    """That the caller has proved to hold, in DER."""
    target: bytes = b""
    """Path and query as they came, percent-encoded; empty: nothing is stored under it."""


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    repeat: TillgateError | None = None
    """Stored in its place under an Idempotency-Key."""

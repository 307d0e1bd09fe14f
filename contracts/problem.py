"""What a caller reads when something goes wrong: problem documents (RFC 9457), in their newest shape."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.canonical.base import Noun


class Mistake(Noun, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """`pointer`: a JSON pointer into the body, or `query:sku`, `header:If-Match`, `path:number`."""

    pointer: str
    expected: str
    got: str


class Problem(Noun, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """RFC 9457. `code` is stable; nobody should parse `detail`. Ignore members that you do not know."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Meta(examples=["insufficient_stock"])]
    fault: Literal["caller", "system", "gateway"]
    retryable: bool
    advice: str
    trace_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
    errors: tuple[Mistake, ...] = ()
    required_scope: str | None = None
    violated_policies: tuple[str, ...] = msgspec.field(default=(), name="violated-policies")
    """Registered at IANA under this name, with the problem types of quotas."""
    version: str | None = None
    until: str | None = None
    newest_version: str | None = None

"""The options of a REST system, as they stand in its estate entry. The only source of their types, defaults and secrecy."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from adapters.options import Options, Secret, Tls
from contracts.policy import Duration

Path = Annotated[str, Meta(min_length=1, description="Member names with dots between them, such as error.code")]
Status = Annotated[int, Meta(ge=400, le=599)]


class ApiKey(Options, frozen=True, kw_only=True, tag_field="kind", tag="api_key"):
    """A key in a header (or, where a system knows nothing better, in the query, where proxies may log it)."""

    value: Secret
    header: str = "X-Api-Key"
    query: str = ""

    def __repr__(self) -> str:
        return f"ApiKey(header={self.header!r}, query={self.query!r})"


class Bearer(Options, frozen=True, kw_only=True, tag_field="kind", tag="bearer"):
    token: Secret

    def __repr__(self) -> str:
        return "Bearer()"


class Basic(Options, frozen=True, kw_only=True, tag_field="kind", tag="basic"):
    user: Secret
    password: Secret

    def __repr__(self) -> str:
        return "Basic()"


class OAuth2(Options, frozen=True, kw_only=True, tag_field="kind", tag="oauth2"):
    """Client credentials (RFC 6749 §4.4). The token endpoint is reached with the system's own TLS options."""

    token_url: str
    client_id: str
    client_secret: Secret
    scope: str = ""
    extra: dict[str, str] = msgspec.field(default_factory=dict)
    """Further form members, such as audience."""
    in_body: bool = False
    """Credentials as form members instead of HTTP Basic, for servers that know no better."""
    time_limit: Duration = Duration(5)
    pause: Duration = Duration(5)
    """After a refusal nobody asks for a token again for this long."""

    def __repr__(self) -> str:
        return f"OAuth2(token_url={self.token_url!r}, client_id={self.client_id!r})"


class CursorPaging(Options, frozen=True, kw_only=True, tag_field="kind", tag="cursor"):
    """The answer names the next page in `next`; it travels in the query parameter. Missing, null or empty: the last page."""

    next: Path = "nextCursor"
    parameter: str = "cursor"


class NumberedPaging(Options, frozen=True, kw_only=True, tag_field="kind", tag="page"):
    """Pages are counted from `first`, or with `step` by offset; a page with fewer than `size` items (or none) is the last."""

    items: Path = "items"
    parameter: str = "page"
    first: int = 1
    step: Annotated[int, Meta(ge=1)] = 1
    size: Annotated[int, Meta(ge=0)] = 0


class LinkPaging(Options, frozen=True, kw_only=True, tag_field="kind", tag="link"):
    """RFC 8288: `Link: <…>; rel="next"` leads on, within the same origin."""


class ErrorBody(Options, frozen=True, kw_only=True):
    """Where an error body says what is wrong. Members of RFC 9457 problem documents are understood besides."""

    code: Path = "code"
    message: Path = "message"


class Meaning(Options, frozen=True, kw_only=True):
    """What an error of this status and code (both when both are given) means.

    rejected: a refusal of what was asked. busy: not done, try later. failed: the system broke, a write may have been done.
    absent: there is no such thing, the answer of a read is empty. in_doubt: a write was already taken once, ask for it.
    """

    means: Literal["rejected", "busy", "failed", "absent", "in_doubt"]
    status: Status | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        if self.status is None and self.code is None:
            raise ValueError("a meaning needs a status, a code, or both")


class OperationOptions(Options, frozen=True, kw_only=True):
    paging: CursorPaging | NumberedPaging | LinkPaging | None = None
    """Instead of the system's own."""
    meanings: tuple[Meaning, ...] = ()
    """Looked at before the system's own."""


class RestOptions(Options, frozen=True, kw_only=True):
    auth: ApiKey | Bearer | Basic | OAuth2 | None = None
    paging: CursorPaging | NumberedPaging | LinkPaging | None = None
    """For every read that has the paging's parameter in the contract (`link`: for every read)."""
    max_pages: Annotated[int, Meta(ge=1, le=10_000)] = 100
    errors: ErrorBody = ErrorBody()
    meanings: tuple[Meaning, ...] = ()
    operations: dict[str, OperationOptions] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Further HTTP headers."""
    tls: Tls | None = None
    body_limit: Annotated[int, Meta(ge=1_000, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    """Of one answer, all its pages together."""
    connect_limit: Duration = Duration(3)
    etags: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """How many answers are kept to be asked for conditionally."""

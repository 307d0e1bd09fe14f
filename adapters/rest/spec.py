"""The options of a REST system, as they stand in its estate entry. The only source of their types, defaults and secrecy."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from adapters.options import Options, Secret, Tls
from contracts.policy import Duration

Path = Annotated[str, Meta(min_length=1, description="Member names with dots between them, such as error.code")]
Status = Annotated[int, Meta(ge=200, le=599)]
Lists = Literal["repeat", "brackets", "indices"]


class ApiKey(Options, frozen=True, kw_only=True, tag_field="kind", tag="api_key"):
    """A key in a header, or in a cookie, or (where a system knows nothing better) in the query, where proxies may log it."""

    value: Secret
    header: str = "X-Api-Key"
    prefix: str = ""
    """Before the key, such as `Token ` in an Authorization header."""
    cookie: str = ""
    query: str = ""

    def __repr__(self) -> str:
        return f"ApiKey(header={self.header!r}, cookie={self.cookie!r}, query={self.query!r})"


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
    """A token of RFC 6749, asked for with the system's own TLS options. A refresh token that comes with it is used to renew it."""

    token_url: str
    client_id: str
    client_secret: Secret
    grant: Literal["client_credentials", "password", "refresh_token"] = "client_credentials"
    user: Secret = ""
    password: Secret = ""
    """Grant password: the account that the system knows us by."""
    refresh_token: Secret = ""
    """Grant refresh_token: the first one. A newer one that an answer brings is kept in memory only."""
    scope: str = ""
    extra: dict[str, str] = msgspec.field(default_factory=dict)
    """Further members, such as audience."""
    in_body: bool = False
    """Credentials as members of the body instead of HTTP Basic, for servers that know no better."""
    json: bool = False
    """The body as JSON instead of a form."""
    time_limit: Duration = Duration(5)
    pause: Duration = Duration(5)
    """After a refusal nobody asks for a token again for this long."""

    def __post_init__(self) -> None:
        if self.grant == "password" and not (self.user and self.password):
            raise ValueError("grant password needs user and password")
        if self.grant == "refresh_token" and not self.refresh_token:
            raise ValueError("grant refresh_token needs refresh_token")

    def __repr__(self) -> str:
        return f"OAuth2(token_url={self.token_url!r}, client_id={self.client_id!r}, grant={self.grant!r})"


class SessionLogin(Options, frozen=True, kw_only=True, tag_field="kind", tag="login"):
    """An ordinary operation of the contract whose answer holds the token that all others carry."""

    operation: str
    user: Secret
    password: Secret
    user_field: Path = "body.username"
    password_field: Path = "body.password"  # noqa: S105 - where it goes, not what it is
    request: dict[str, str] = msgspec.field(default_factory=dict)
    """Further fields of the login's request, by path."""
    token: str = ""
    """Member of the answer that holds the token, such as data.token; empty: the answer is the token."""
    header: str = "Authorization"
    prefix: str = "Bearer "
    cookie: str = ""
    """The token is this cookie, which the login sets and later calls send."""
    life: Duration = Duration(3600)
    """How long a token is used."""
    expired: tuple[str, ...] = ("401",)
    """Statuses, or codes of error bodies, that mean: log in again, nothing was executed."""
    time_limit: Duration = Duration(5)
    pause: Duration = Duration(5)
    """After a refused login nobody tries again for this long, so that no account gets locked."""

    def __repr__(self) -> str:
        return f"SessionLogin(operation={self.operation!r})"


Auth = ApiKey | Bearer | Basic | OAuth2 | SessionLogin


class Pages(Options, frozen=True, kw_only=True):
    size: Annotated[int, Meta(ge=0)] = 0
    """How many items a full page holds."""
    limit: str = ""
    """Query parameter, or member of the request body (`body.limit`), that carries `size`. A request mapping that fills it itself asks for
    that one page alone.
    """


class CursorPaging(Pages, frozen=True, kw_only=True, tag_field="kind", tag="cursor"):
    """The answer names the next page in `next`; it travels in the query parameter, or in a member of the request body (`body.after`).
    Missing, null or empty: the last page.
    """

    next: Path = "nextCursor"
    parameter: str = "cursor"
    more: str = ""
    """Member that says whether there is a further page, for systems that always name a cursor."""


class NumberedPaging(Pages, frozen=True, kw_only=True, tag_field="kind", tag="page"):
    """Pages are counted from `first` by `step`. The last one holds fewer than `size` items (or none), or is where `total` is reached."""

    items: Path = "items"
    parameter: str = "page"
    """A query parameter, or a member of the request body (`body.page`)."""
    first: int = 1
    step: Annotated[int, Meta(ge=1)] = 1
    total: str = ""
    """Member that says how many items there are in all."""
    pages: str = ""
    """Member that says how many pages there are in all."""


class OffsetPaging(Pages, frozen=True, kw_only=True, tag_field="kind", tag="offset"):
    """The parameter says how many items to leave out. The last page holds fewer than `size` items (or none), or reaches `total`."""

    items: Path = "items"
    parameter: str = "offset"
    """A query parameter, or a member of the request body (`body.offset`)."""
    total: str = ""
    """Member that says how many items there are in all."""


class LinkPaging(Pages, frozen=True, kw_only=True, tag_field="kind", tag="link"):
    """RFC 8288: `Link: <…>; rel="next"` leads on, within the same origin."""


class AddressPaging(Pages, frozen=True, kw_only=True, tag_field="kind", tag="url"):
    """The answer holds the next page's address, within the same origin, or path. Missing, null or empty: the last page."""

    next: Path = "next"


Paging = CursorPaging | NumberedPaging | OffsetPaging | LinkPaging | AddressPaging


class ErrorBody(Options, frozen=True, kw_only=True):
    """Where an error body says what is wrong (`errors.0.code`: in the first row). Members of RFC 9457 problem documents are understood
    besides.
    """

    code: Path = "code"
    message: Path = "message"


class Meaning(Options, frozen=True, kw_only=True):
    """What an answer of this status, code or member means (all that are given). Answers of success are looked at only by meanings that
    name a status below 300 or a member.

    rejected: a refusal of what was asked. busy: not done, try later. failed: the system broke, a write may have been done.
    absent: there is no such thing, the answer of a read is empty. in_doubt: a write was already taken once, ask for it.
    """

    means: Literal["rejected", "busy", "failed", "absent", "in_doubt"]
    status: Status | None = None
    code: str | None = None
    member: str = ""
    """A member of the body by its path, such as success or errors.0."""
    equals: str | int | bool | None = None
    """What the member says; without it: it is there, and neither null, false nor empty."""

    def __post_init__(self) -> None:
        if self.status is None and self.code is None and not self.member:
            raise ValueError("a meaning needs a status, a code or a member")
        if self.equals is not None and not self.member:
            raise ValueError("equals needs the member that it speaks of")


class OperationOptions(Options, frozen=True, kw_only=True):
    paging: Paging | None = None
    """Instead of the system's own."""
    meanings: tuple[Meaning, ...] = ()
    """Looked at before the system's own."""
    reads: bool | None = None
    """Whether it only reads, such as a search by POST: it may be paged. Without it the method says so."""
    authenticated: bool = True
    """Whether it carries the credentials."""
    content: dict[str, str] = msgspec.field(default_factory=dict)
    """Path of a text -> a JSON Schema, a sample, or `openapi.json#/…` beside the contract: the JSON document that travels as this text."""


class RestOptions(Options, frozen=True, kw_only=True):
    auth: Auth | None = None
    paging: Paging | None = None
    """For every read that has the paging's parameter in the contract (`link` and `url`: for every read)."""
    max_pages: Annotated[int, Meta(ge=1, le=10_000)] = 100
    errors: ErrorBody = ErrorBody()
    meanings: tuple[Meaning, ...] = ()
    operations: dict[str, OperationOptions] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Further HTTP headers."""
    json_types: tuple[str, ...] = ()
    """Media types under which this system sends JSON although they are none, such as text/html."""
    lists: Lists = "repeat"
    """How forms write lists that the contract says nothing of: a=1&a=2, a[]=1&a[]=2 or a[0]=1&a[1]=2."""
    tls: Tls | None = None
    body_limit: Annotated[int, Meta(ge=1_000, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    """Of one answer, all its pages together."""
    connect_limit: Duration = Duration(3)
    deadline_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,60}$")] = ""
    """A header in which each call says how long its answer is waited for, in seconds (`2.500`), for a system that stops working then."""
    etags: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """How many answers are kept to be asked for conditionally, by ETag or Last-Modified."""

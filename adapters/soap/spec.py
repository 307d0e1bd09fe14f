"""The options of a SOAP system, as they stand in its estate entry. The only source of their types, defaults and secrecy."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from adapters.options import Options, Secret, Tls
from contracts.policy import Duration

Means = Literal["rejected", "busy", "failed", "absent", "in_doubt", "expired", "tolerated"]
Path = Annotated[str, Meta(min_length=1, description="Element names with dots between them, such as T_RETURN.item")]


class Carried(Options, frozen=True, kw_only=True):
    """One value that the login answers, and where later calls carry it: in a header block, in a field of the request, or in a cookie."""

    token: Path | None = None
    """The answer's field that holds the value; not needed with `cookie`."""
    found_in: Literal["body", "header"] = "body"
    """`header`: the token stands in a header block of the answer, and `token` starts with the block's name."""
    header: Path | None = None
    """Header block and its field, such as SessionHeader.SESSION_ID."""
    field: Path | None = None
    """Field of every request, such as sessionId."""
    cookie: str | None = None
    """Cookie that the login sets and later calls send."""

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.header, self.field, self.cookie)) != 1:
            raise ValueError("a session's token travels in exactly one of header, field and cookie")
        if self.cookie is None and self.token is None:
            raise ValueError("token is missing: which field of the login answer holds it?")
        if self.header is not None and "." not in self.header:
            raise ValueError(f"header names a block and its field, such as SessionHeader.SESSION_ID; got {self.header!r}")


class Session(Carried, frozen=True, kw_only=True):
    """A login that later calls refer to. Which answers mean that it has ended is said in `meanings`: `means = "expired"`."""

    operation: str
    """The login operation."""
    user: Secret = ""
    password: Secret = ""
    user_field: Path = "user"
    password_field: Path = "password"  # noqa: S105  # the name of a field
    request: dict[str, str] = msgspec.field(default_factory=dict)
    """Further fields of the login request, by path: company, language, agreement number."""
    secrets: dict[str, Secret] = msgspec.field(default_factory=dict)
    """Further secret fields of the login request, by path."""
    also: tuple[Carried, ...] = ()
    """What else of the login answer travels with every call, for token pairs."""
    endpoint: str = ""
    """Where to log in, if that is not the system's own endpoint."""
    logout: str = ""
    """Operation that ends the session when the connection is closed."""
    time_limit: Duration = Duration(5)
    pause: Duration = Duration(5)
    """After a refused login nobody tries again for this long, so that no account gets locked."""

    def __repr__(self) -> str:
        return f"Session(operation={self.operation!r})"

    @property
    def carried(self) -> tuple[Carried, ...]:
        return (self, *self.also)


class Results(Options, frozen=True, kw_only=True):
    """Business errors that arrive as a normal answer: rows of messages, of which some say that it failed. The defaults are SAP's BAPIRET2.

    Paths name elements, or attributes where there is no element of that name.
    """

    path: Annotated[str, Meta(description="Path of the rows, such as T_RETURN.item; empty is the answer itself")]
    type: Annotated[str, Meta(description="The row's field that says how it went")] = "TYPE"
    """A row without it failed. Empty: every row failed."""
    errors: tuple[str, ...] = ("E", "A")
    """Its values that mean a failure."""
    fine: tuple[str, ...] = ()
    """Or: its values that mean no failure, all others do."""
    code: tuple[str, ...] = ("ID", "NUMBER")
    """The fields that make the code, joined by a slash: `M3/305`."""
    text: str = "MESSAGE"

    def failed(self, kind: str | None) -> bool:
        if kind is None or not self.type:
            return "" not in self.fine
        return kind not in self.fine if self.fine else kind in self.errors


class Meaning(Options, frozen=True, kw_only=True):
    """What a fault, a result code or an HTTP status means. All that is given must be so; the first that fits counts.

    rejected: a refusal of what was asked. busy: not done, try later. failed: the system broke, a write may have been done.
    absent: there is no such thing, the answer of a read is empty. in_doubt: a write was already taken once, ask for it.
    expired: the session has ended and nothing was done, log in again. tolerated: a result row that does not fail the whole answer,
    because it answers for several keys.
    """

    means: Means
    code: str | tuple[str, ...] = ()
    """Fault codes, subcodes, names and values in the fault's detail, or result codes. A `*` at the end stands for any rest."""
    field: Path | None = None
    """With `code`: where in the fault's detail it stands, such as ApiFault.exceptionCode."""
    text: str | None = None
    """Part of the text, for systems that say it in words only."""
    status: Annotated[int, Meta(ge=100, le=599)] | None = None

    def __post_init__(self) -> None:
        if self.status is None and self.text is None and not self.codes:
            raise ValueError("a meaning needs a code, a text or a status")
        if self.field is not None and not self.codes:
            raise ValueError("field goes with code: which value of it means this?")

    @property
    def codes(self) -> tuple[str, ...]:
        return (self.code,) if isinstance(self.code, str) else self.code


class SignedBlock(Options, frozen=True, kw_only=True):
    """A header field that is computed for each request: the HMAC, in base64, of other fields of its block, joined by `&`.

    In `blocks`, `{nonce}` stands for letters that never come again, and `{timestamp}` for seconds since 1970.
    """

    field: Path
    of: tuple[Path, ...]
    key: tuple[Secret, ...]
    """Parts of the key, joined by `&`."""
    hash: Literal["sha256", "sha1", "sha512"] = "sha256"

    def __repr__(self) -> str:
        return f"SignedBlock(field={self.field!r})"


class AsOf(Options, frozen=True, kw_only=True):
    """Where an answer says when it was true: fields joined, read by strptime `format` in `zone`."""

    fields: tuple[Path, ...]
    format: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError) as exc:
            raise ValueError(f"zone: {self.zone!r} is no time zone; expected a name such as Europe/Berlin") from exc


class OperationOptions(Options, frozen=True, kw_only=True):
    meanings: tuple[Meaning, ...] = ()
    """Looked at before the system's own."""
    results: Results | None = None
    """Instead of the system's own."""
    as_of: AsOf | None = None
    session: bool = True
    """Whether the session's token travels with it."""
    path: str = ""
    """Another path than the endpoint's, where a system has one for each service: `/ws/Orders`."""
    content: dict[str, str] = msgspec.field(default_factory=dict)
    """Path of a field -> `file.xsd#Name` beside the WSDL: the document that travels as the text of this field, or what a wildcard holds."""


class Basic(Options, frozen=True, kw_only=True):
    user: Secret
    password: Secret

    def __repr__(self) -> str:
        return "Basic()"


class UsernameToken(Options, frozen=True, kw_only=True):
    """User and password in the header (UsernameToken Profile 1.1)."""

    user: Secret
    password: Secret
    digest: bool = False
    """The password as a digest with nonce and time, never as text."""
    nonce: bool = False
    """Nonce and time beside a password in plain text, for systems that want them there too. A digest always has them."""

    def __repr__(self) -> str:
        return f"UsernameToken(digest={self.digest})"


class Timestamp(Options, frozen=True, kw_only=True):
    """How long a request is good for. An answer with a timestamp is refused when it is out of date; `skew` is what clocks may differ."""

    valid: Duration = Duration(300)
    skew: Duration = Duration(60)


class Sign(Options, frozen=True, kw_only=True):
    """Requests are signed: Body, Timestamp, UsernameToken and the named header blocks. Files in PEM form; RSA from 2048 bits."""

    certificate: str
    key: str
    password: Secret = ""
    """Of the key's file."""
    headers: tuple[str, ...] = ()
    """Names of further header blocks that are signed where they are sent, such as SessionHeader."""
    token: Literal["message", "issuer_serial"] = "message"  # noqa: S105  # where the certificate is found, no secret
    """Whether the certificate travels with each message or is named by issuer and serial number."""

    def __repr__(self) -> str:
        return f"Sign(certificate={self.certificate!r})"


class Verify(Options, frozen=True, kw_only=True):
    """Answers must be signed (Body, and the Timestamp unless `timestamp` is false) by the one `certificate` or one that `ca` issued."""

    certificate: str | None = None
    ca: str | None = None
    subject: str = ""
    """With `ca`: the common name, or the whole RFC 4514 name, that a certificate must be for; otherwise any of this authority counts."""
    timestamp: bool = True
    confirmation: bool = False
    """Whether the answer must repeat the signature of the request it belongs to (SignatureConfirmation)."""

    def __post_init__(self) -> None:
        if (self.certificate is None) == (self.ca is None):
            raise ValueError("verify names exactly one of certificate and ca")
        if self.subject and self.ca is None:
            raise ValueError("subject goes with ca: a named certificate is trusted as it is")


class Security(Options, frozen=True, kw_only=True):
    """WS-Security 1.1 of every request and answer. Any of its parts may be left out."""

    username: UsernameToken | None = None
    timestamp: Timestamp | None = None
    sign: Sign | None = None
    verify: Verify | None = None
    actor: str = ""
    """Whom the header is for, where there are intermediaries (`actor`, in SOAP 1.2 `role`)."""
    must_understand: bool = True

    def __post_init__(self) -> None:
        if self.verify is not None and self.verify.confirmation and self.sign is None:
            raise ValueError("verify.confirmation needs sign: there is no signature that an answer could repeat")


class Mtom(Options, frozen=True, kw_only=True):
    """Binary fields of requests travel as attachments (MTOM/XOP). Answers with attachments are understood anyway."""

    threshold: Annotated[int, Meta(ge=0)] = 1024
    """Bytes from which on a field becomes an attachment."""
    always: bool = False
    """Also requests without any attachment are sent as a package, for systems that take nothing else."""


class SoapOptions(Options, frozen=True, kw_only=True):
    port: str = ""
    """Which port of the WSDL, when there are several for the same operations."""
    binding: str = ""
    session: Session | None = None
    results: Results | None = None
    meanings: tuple[Meaning, ...] = ()
    """Without one, a fault that blames the client, and a failed result row, are refusals; other faults are failures."""
    blocks: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Header blocks by element name: constant fields by path, attributes too. They go with the operations that declare the block; where
    none does, with all.
    """
    secret_blocks: dict[str, dict[str, Secret]] = msgspec.field(default_factory=dict)
    """Secret fields of header blocks."""
    signed_blocks: dict[str, SignedBlock] = msgspec.field(default_factory=dict)
    """Header blocks with a field that proves who sent them."""
    constants: dict[str, str] = msgspec.field(default_factory=dict)
    """Fields of every request that has them, by path: `callContext.poolAlias`. What a mapping writes there wins."""
    secrets: dict[str, Secret] = msgspec.field(default_factory=dict)
    """The same for secret values."""
    operations: dict[str, OperationOptions] = msgspec.field(default_factory=dict)
    basic: Basic | None = None
    security: Security | None = None
    mtom: Mtom | None = None
    tls: Tls | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Further HTTP headers."""
    body_limit: Annotated[int, Meta(ge=1_000, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    connect_limit: Duration = Duration(3)
    deadline_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,60}$")] = ""
    """A header in which each call says how long its answer is waited for, in seconds (`2.500`), for a system that stops working then."""

"""The options of a SOAP system, as they stand in its estate entry. The only source of their types, defaults and secrecy."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from adapters.options import Options, Secret, Tls
from contracts.policy import Duration

Path = Annotated[str, Meta(min_length=1, description="Element names with dots between them, such as T_RETURN.item")]


class Session(Options, frozen=True, kw_only=True):
    """A login that later calls refer to. The token travels in a header block, in a field of the request, or in a cookie."""

    operation: str
    """The login operation."""
    user: Secret
    password: Secret
    user_field: Path = "user"
    password_field: Path = "password"  # noqa: S105  # the name of a field
    request: dict[str, str] = msgspec.field(default_factory=dict)
    """Further fields of the login request, by path."""
    token: Path | None = None
    """The answer's field that holds the token; not needed with `cookie`."""
    header: Path | None = None
    """Header block and its field, such as SessionHeader.SESSION_ID."""
    field: Path | None = None
    """Field of every request, such as sessionId."""
    cookie: str | None = None
    """Cookie that the login sets and later calls send."""
    expired: tuple[str, ...] = ()
    """Fault codes, subcodes, detail values or result codes that mean: log in again, nothing was executed. `401` is the HTTP status."""
    expired_text: tuple[str, ...] = ()
    """Parts of a fault's text that mean the same, for systems that say it in words only."""
    time_limit: Duration = Duration(5)
    pause: Duration = Duration(5)
    """After a refused login nobody tries again for this long, so that no account gets locked."""

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.header, self.field, self.cookie)) != 1:
            raise ValueError("a session's token travels in exactly one of header, field and cookie")
        if self.cookie is None and self.token is None:
            raise ValueError("token is missing: which field of the login answer holds it?")
        if self.header is not None and "." not in self.header:
            raise ValueError(f"header names a block and its field, such as SessionHeader.SESSION_ID; got {self.header!r}")

    def __repr__(self) -> str:
        return f"Session(operation={self.operation!r})"


class Results(Options, frozen=True, kw_only=True):
    """Business errors that arrive as a normal answer: rows of messages, of which some types mean that the system refused."""

    path: Path
    type: str = "TYPE"
    """The row's field that says how bad it is; a row without it is an error."""
    errors: tuple[str, ...] = ("E", "A")
    code: tuple[str, ...] = ("ID", "NUMBER")
    """The fields that make the code, joined by a slash: `M3/305`."""
    text: str = "MESSAGE"
    busy: tuple[str, ...] = ()
    """Codes that mean: not done, because something is locked or overloaded; trying again helps."""


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
    tolerate: tuple[str, ...] = ()
    """Result codes that do not fail the whole answer, because it answers for several keys; `*` means all."""
    results: Results | None = None
    """Instead of the system's own."""
    as_of: AsOf | None = None
    session: bool = True


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
    """Which port of the WSDL, when there are several."""
    binding: str = ""
    session: Session | None = None
    results: Results | None = None
    rejections: tuple[str, ...] = ()
    """Fault codes that are business refusals although the fault does not blame the client."""
    operations: dict[str, OperationOptions] = msgspec.field(default_factory=dict)
    basic: Basic | None = None
    security: Security | None = None
    mtom: Mtom | None = None
    tls: Tls | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Further HTTP headers."""
    body_limit: Annotated[int, Meta(ge=1_000, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    connect_limit: Duration = Duration(3)

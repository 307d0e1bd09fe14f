"""The one error tree: the class says code, HTTP status, whose fault it is and whether trying again helps; the instance carries data.

`str(error)` is for engineers (logs, traces, the command line). `error.public` is for channels: it never holds a legacy
system's text, code, host or field name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

Fault = Literal["caller", "upstream", "gateway"]


@dataclass(eq=False, kw_only=True)
class TillgateError(Exception):
    """Root of everything that Tillgate raises on purpose."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong inside the gateway"
    status: ClassVar[int] = 500
    fault: ClassVar[Fault] = "gateway"
    retryable: ClassVar[bool] = False
    error_type: ClassVar[str] = "gateway"
    """Failure class of the flight record (closed list in observability/vocabulary.py)."""
    advice: ClassVar[str] = "Report the trace id to the operator of this API."
    text: ClassVar[str] = "{title}"

    def __str__(self) -> str:
        return self.text.format(title=self.title, **self.data)

    @property
    def data(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def public(self) -> str:
        """What a channel may read about this error."""
        return str(self) if self.fault == "caller" else f"{self.title}."

    members: ClassVar[tuple[str, ...]] = ()
    """Names of the problem document's further members."""

    @property
    def extensions(self) -> dict[str, Any]:
        """Further members of the problem document, with their values."""
        return {}


# ---- the caller's fault -------------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class CallerError(TillgateError):
    fault: ClassVar[Fault] = "caller"
    status: ClassVar[int] = 400
    error_type: ClassVar[str] = "caller"
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "The request cannot be understood"
    advice: ClassVar[str] = "Correct the request; sending it again unchanged gives the same answer."


def _at(pointer: str, expected: str, got: str) -> dict[str, Any]:
    """The member `errors`: what is wrong where."""
    return {"errors": [{"pointer": pointer, "expected": expected, "got": got}]}


@dataclass(eq=False, kw_only=True)
class InvalidRequest(CallerError):
    """One place of the request is wrong. `where` is a JSON pointer into the body (`/lines/0/sku`) or `query:sku`, `header:X`, `path:id`."""

    text: ClassVar[str] = "{where}: expected {expected}, got {got}"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    where: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{'' if self.where else 'the body'}{super().__str__()}"

    @property
    def extensions(self) -> dict[str, Any]:
        return _at(self.where, self.expected, self.got)


@dataclass(eq=False, kw_only=True)
class MalformedQuery(InvalidRequest):
    code: ClassVar[str] = "malformed_query"
    title: ClassVar[str] = "The query string cannot be read"
    advice: ClassVar[str] = "Send `name=value` pairs, percent-encoded in UTF-8."


@dataclass(eq=False, kw_only=True)
class InvalidParameter(InvalidRequest):
    code: ClassVar[str] = "invalid_parameter"
    title: ClassVar[str] = "A parameter of the path or query has no such value"
    advice: ClassVar[str] = "Correct the parameter that `errors` points to."


@dataclass(eq=False, kw_only=True)
class UnknownParameter(InvalidRequest):
    code: ClassVar[str] = "unknown_parameter"
    title: ClassVar[str] = "This operation has no such parameter"
    advice: ClassVar[str] = "Leave it out, or write it as the reference of this version does."


@dataclass(eq=False, kw_only=True)
class InvalidCursor(InvalidRequest):
    code: ClassVar[str] = "invalid_cursor"
    title: ClassVar[str] = "This cursor leads nowhere"
    advice: ClassVar[str] = "Begin without a cursor, and follow the Link fields of the answers with the parameters that they have."
    where: str = "query:cursor"
    expected: str = "a cursor from a Link header"


@dataclass(eq=False, kw_only=True)
class InvalidHeader(InvalidRequest):
    code: ClassVar[str] = "invalid_header"
    title: ClassVar[str] = "A header field has no such value"
    advice: ClassVar[str] = "Correct the field that `errors` points to."


@dataclass(eq=False, kw_only=True)
class MalformedJson(InvalidRequest):
    code: ClassVar[str] = "malformed_json"
    title: ClassVar[str] = "The body is no JSON that has one meaning"
    advice: ClassVar[str] = "Send one JSON document in UTF-8, each member once."
    where: str = ""


@dataclass(eq=False, kw_only=True)
class InvalidBody(InvalidRequest):
    """Well-formed, but breaks a rule of the resource."""

    status: ClassVar[int] = 422
    code: ClassVar[str] = "unprocessable"
    title: ClassVar[str] = "The request breaks a rule of this resource"


@dataclass(eq=False, kw_only=True)
class InvalidMember(InvalidBody):
    """Not of the published shape."""

    code: ClassVar[str] = "invalid_member"
    title: ClassVar[str] = "A member of the body is not as this version has it"
    advice: ClassVar[str] = "Correct the member that `errors` points to; the operation's schema says what it may hold."


@dataclass(eq=False, kw_only=True)
class Unauthenticated(CallerError):
    status: ClassVar[int] = 401
    code: ClassVar[str] = "unauthenticated"
    title: ClassVar[str] = "No valid credentials"
    advice: ClassVar[str] = "Send `Authorization: Bearer <API key or access token>`."
    text: ClassVar[str] = "{reason}"
    reason: str = "the request carries no credentials"
    presented: bool = False
    """Whether credentials were sent at all (RFC 6750 §3.1: only then is an error code given)."""
    resource_metadata: str = ""
    """URL that says who issues tokens for this API (RFC 9728 §5.1)."""


@dataclass(eq=False, kw_only=True)
class Forbidden(CallerError):
    status: ClassVar[int] = 403
    code: ClassVar[str] = "forbidden"
    title: ClassVar[str] = "This client may not do that"
    advice: ClassVar[str] = "Ask the operator of this API: for the scope that the answer names, or why this client is refused."
    members: ClassVar[tuple[str, ...]] = ("requiredScope", "errors")
    text: ClassVar[str] = "{reason}"
    reason: str
    scope: str = ""
    client: str = ""
    """Who it is, where that is proved but is not seen from the key."""
    where: str = ""
    """The parameter that asks for too much, where it is not the route."""

    @property
    def extensions(self) -> dict[str, Any]:
        place = _at(self.where, f"a client with the scope {self.scope}", "one without it") if self.where else {}
        return {"requiredScope": self.scope, **place} if self.scope else place


@dataclass(eq=False, kw_only=True)
class NotFound(CallerError):
    status: ClassVar[int] = 404
    code: ClassVar[str] = "not_found"
    title: ClassVar[str] = "There is nothing here"
    advice: ClassVar[str] = (
        "Check path and id: /docs lists the paths; what the id names may belong to another channel or store, or be gone."
    )
    text: ClassVar[str] = "no {what} {key!r}{instead}"
    what: str
    key: str
    instead: str = ""
    """The nearest thing that there is, as the end of the sentence."""


@dataclass(eq=False, kw_only=True)
class MethodNotAllowed(CallerError):
    status: ClassVar[int] = 405
    code: ClassVar[str] = "method_not_allowed"
    title: ClassVar[str] = "This method is not offered here"
    advice: ClassVar[str] = "Use one of the methods that the answer names in Allow."
    text: ClassVar[str] = "{method} is not offered here; allowed: {allowed}"
    method: str
    allowed: str


@dataclass(eq=False, kw_only=True)
class NotAcceptable(CallerError):
    status: ClassVar[int] = 406
    code: ClassVar[str] = "not_acceptable"
    title: ClassVar[str] = "No such representation"
    advice: ClassVar[str] = "Accept application/json, or send no Accept field."
    text: ClassVar[str] = "{got!r} is not offered; this API answers application/json"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    got: str

    @property
    def extensions(self) -> dict[str, Any]:
        return _at("header:Accept", "application/json among what is accepted", repr(self.got))


@dataclass(eq=False, kw_only=True)
class StateConflict(CallerError):
    """The resource is in a state that does not allow the change (canonical model §5)."""

    status: ClassVar[int] = 409
    code: ClassVar[str] = "state_conflict"
    title: ClassVar[str] = "The resource does not allow this change now"
    advice: ClassVar[str] = "Read the resource: its state says what can still be done with it."
    text: ClassVar[str] = "{what} {key!r} is {state}: {why}"
    what: str
    key: str
    state: str
    why: str


@dataclass(eq=False, kw_only=True)
class InsufficientStock(CallerError):
    status: ClassVar[int] = 409
    code: ClassVar[str] = "insufficient_stock"
    title: ClassVar[str] = "Not enough stock"
    advice: ClassVar[str] = "Ask for less, or at another location; GET /inventory says what there is."
    text: ClassVar[str] = "{sku} at {location}: {requested} requested, {available} available"
    sku: str
    location: str
    requested: str
    available: str


@dataclass(eq=False, kw_only=True)
class PreconditionFailed(CallerError):
    status: ClassVar[int] = 412
    code: ClassVar[str] = "precondition_failed"
    title: ClassVar[str] = "The resource has changed"
    advice: ClassVar[str] = "Read the resource again and repeat the change with its new ETag."
    text: ClassVar[str] = "If-Match names {expected}, the resource is at {actual}"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    expected: str
    actual: str

    @property
    def extensions(self) -> dict[str, Any]:
        return _at("header:If-Match", self.actual, self.expected)


@dataclass(eq=False, kw_only=True)
class BodyTooLarge(CallerError):
    status: ClassVar[int] = 413
    code: ClassVar[str] = "body_too_large"
    title: ClassVar[str] = "The body is too large"
    advice: ClassVar[str] = "Send less at once; the limit stands in the answer."
    text: ClassVar[str] = "the body is larger than {limit} bytes"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    limit: int

    @property
    def extensions(self) -> dict[str, Any]:
        return _at("", f"at most {self.limit} bytes", "more")


@dataclass(eq=False, kw_only=True)
class UnsupportedMediaType(CallerError):
    status: ClassVar[int] = 415
    code: ClassVar[str] = "unsupported_media_type"
    title: ClassVar[str] = "The body's media type or encoding is not supported"
    advice: ClassVar[str] = "Send application/json in UTF-8, uncompressed."
    text: ClassVar[str] = "expected {expected}, got {got!r}"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    expected: str
    got: str
    where: str = "header:Content-Type"

    @property
    def extensions(self) -> dict[str, Any]:
        return _at(self.where, self.expected, repr(self.got))


@dataclass(eq=False, kw_only=True)
class UnknownVersion(CallerError):
    code: ClassVar[str] = "unknown_version"
    title: ClassVar[str] = "There is no such API version"
    advice: ClassVar[str] = "Send one of the versions that the answer names, or no API-Version field to get your own."
    text: ClassVar[str] = "header API-Version: {got!r} is no version; offered: {offered}"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    got: str
    offered: str

    @property
    def extensions(self) -> dict[str, Any]:
        return _at("header:API-Version", f"one of {self.offered}", repr(self.got))


@dataclass(eq=False, kw_only=True)
class RetiredVersion(CallerError):
    status: ClassVar[int] = 410
    code: ClassVar[str] = "version_retired"
    title: ClassVar[str] = "This API version has been switched off"
    advice: ClassVar[str] = "Move to the version that the answer names; the changelog says what changed."
    text: ClassVar[str] = "API version {version} was switched off on {sunset}; the newest is {newest}"
    version: str
    sunset: str
    newest: str


@dataclass(eq=False, kw_only=True)
class VersionBrownOut(CallerError):
    """503 and not 410: it ends, and says when (RFC 9110 §15.6.4); 410 would tell caches and callers that it never comes back."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "version_brown_out"
    title: ClassVar[str] = "This deprecated API version is switched off for some announced minutes"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Move to a newer version before the sunset of this one; until then it is back after the seconds in Retry-After."
    text: ClassVar[str] = "API version {version} is switched off until {until}, as announced; the newest is {newest}"
    members: ClassVar[tuple[str, ...]] = ("version", "until", "newestVersion")
    version: str
    until: str
    newest: str
    retry_after: float

    @property
    def extensions(self) -> dict[str, Any]:
        return {"version": self.version, "until": self.until, "newestVersion": self.newest}


@dataclass(eq=False, kw_only=True)
class IdempotencyKeyMissing(CallerError):
    code: ClassVar[str] = "idempotency_key_missing"
    title: ClassVar[str] = "This request needs an Idempotency-Key"
    advice: ClassVar[str] = 'Send `Idempotency-Key: "<a UUID of your own>"` and repeat it with every retry.'
    members: ClassVar[tuple[str, ...]] = ("errors",)

    @property
    def extensions(self) -> dict[str, Any]:
        return _at("header:Idempotency-Key", "a key of your own", "none")


@dataclass(eq=False, kw_only=True)
class IdempotencyKeyReused(CallerError):
    status: ClassVar[int] = 422
    code: ClassVar[str] = "idempotency_key_reused"
    title: ClassVar[str] = "This Idempotency-Key was used for another request"
    advice: ClassVar[str] = "Use a new key for a new request, and an old one only to repeat its own."
    text: ClassVar[str] = "key {key!r} belongs to a request with another method, path or body"
    members: ClassVar[tuple[str, ...]] = ("errors",)
    key: str

    @property
    def extensions(self) -> dict[str, Any]:
        return _at("header:Idempotency-Key", "a key of its own for each request", repr(self.key))


@dataclass(eq=False, kw_only=True)
class RequestInProgress(CallerError):
    status: ClassVar[int] = 409
    code: ClassVar[str] = "request_in_progress"
    title: ClassVar[str] = "The first request with this Idempotency-Key is still running"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Wait for the seconds in Retry-After, then repeat the same request."
    retry_after: float = 1.0


@dataclass(eq=False, kw_only=True)
class KeyShownOnce(CallerError):
    """The repeat of a request whose answer held an API key."""

    status: ClassVar[int] = 409
    code: ClassVar[str] = "key_shown_once"
    title: ClassVar[str] = "The key was shown once and is stored nowhere"
    advice: ClassVar[str] = "If the first answer is lost, end the key named here and give the client a new one."
    text: ClassVar[str] = "this request was carried out before: client {client!r} has the key tg_{prefix}_…, which is not shown again"
    client: str
    prefix: str


@dataclass(eq=False, kw_only=True)
class SecretShownOnce(CallerError):
    """The repeat of a request whose answer held the secret of a webhook."""

    status: ClassVar[int] = 409
    code: ClassVar[str] = "secret_shown_once"
    title: ClassVar[str] = "The secret was shown once and is not shown again"
    advice: ClassVar[str] = "If the first answer is lost, give the webhook a new secret."
    text: ClassVar[str] = "this request was carried out before: webhook {webhook!r} has its secret, which is not shown again"
    webhook: str


@dataclass(eq=False, kw_only=True)
class QuotaExceeded(CallerError):
    status: ClassVar[int] = 429
    code: ClassVar[str] = "quota_exceeded"
    title: ClassVar[str] = "Quota exceeded"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Wait for the seconds in Retry-After."
    text: ClassVar[str] = "policy {policy} allows no further request for {seconds} s"
    members: ClassVar[tuple[str, ...]] = ("violated-policies",)
    policy: str
    """The one that is waited for longest."""
    retry_after: float
    violated: tuple[str, ...] = ()

    @property
    def data(self) -> dict[str, Any]:
        return {**super().data, "seconds": max(1, math.ceil(self.retry_after))}  # as Retry-After says it

    @property
    def extensions(self) -> dict[str, Any]:
        return {"violated-policies": self.violated or (self.policy,)}


@dataclass(eq=False, kw_only=True)
class AbnormalUsage(QuotaExceeded):
    """From one address, by callers who were not let in."""

    code: ClassVar[str] = "abnormal_usage"
    title: ClassVar[str] = "Too many attempts without valid credentials"
    advice: ClassVar[str] = "Wait for the seconds in Retry-After, and send valid credentials; who has them is counted apart."


@dataclass(eq=False, kw_only=True)
class QuotaUnavailable(TillgateError):
    """Nobody can say what is left, and the estate wants no call to pass uncounted."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "quota_unavailable"
    title: ClassVar[str] = "Calls cannot be counted at the moment, and none passes uncounted"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Wait for the seconds in Retry-After."
    members: ClassVar[tuple[str, ...]] = ("violated-policies",)
    policies: tuple[str, ...] = ()
    retry_after: float = 2.0

    @property
    def extensions(self) -> dict[str, Any]:
        return {"violated-policies": self.policies}


# ---- a legacy system's fault --------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class UpstreamError(TillgateError):
    """A legacy system failed. `sent` tells whether the request may have been executed there (canonical model §7)."""

    fault: ClassVar[Fault] = "upstream"
    status: ClassVar[int] = 502
    code: ClassVar[str] = "upstream_failed"
    title: ClassVar[str] = "A system behind this API failed"
    error_type: ClassVar[str] = "upstream_error"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Try again later; a write with its Idempotency-Key may be repeated safely."
    text: ClassVar[str] = "{system}.{operation}: {reason}"
    system: str
    operation: str
    reason: str = "failed"
    sent: bool = True
    retry_after: float | None = None


@dataclass(eq=False, kw_only=True)
class ConnectFailed(UpstreamError):
    """Refused, unreachable, DNS or TLS: nothing was sent."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "upstream_unreachable"
    error_type: ClassVar[str] = "connect.refused"
    sent: bool = False


@dataclass(eq=False, kw_only=True)
class ConnectionLost(UpstreamError):
    """Reset or closed in the middle of an exchange."""

    error_type: ClassVar[str] = "connect.reset"


@dataclass(eq=False, kw_only=True)
class UpstreamTimeout(UpstreamError):
    status: ClassVar[int] = 504
    code: ClassVar[str] = "upstream_timeout"
    title: ClassVar[str] = "A system behind this API did not answer in time"
    error_type: ClassVar[str] = "timeout.read"


@dataclass(eq=False, kw_only=True)
class UpstreamBusy(UpstreamError):
    """429, or 503 with Retry-After: not done."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "upstream_busy"
    title: ClassVar[str] = "A system behind this API is busy"
    sent: bool = False


@dataclass(eq=False, kw_only=True)
class UpstreamFault(UpstreamError):
    """A SOAP Fault or 5xx: `fault_code` is Client or Server (1.2 Sender and Receiver), or the HTTP status."""

    fault_code: str = "Server"


@dataclass(eq=False, kw_only=True)
class ContractViolation(UpstreamError):
    """The answer breaks the system's own contract: `where` is a path or line in it."""

    code: ClassVar[str] = "upstream_contract"
    title: ClassVar[str] = "A system behind this API gave an unusable answer"
    error_type: ClassVar[str] = "contract_invalid"
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = "Report the trace id: until that system is mended the same request gets the same answer."
    text: ClassVar[str] = "{system}.{operation}: {where}: expected {expected}, got {got}"
    where: str
    expected: str
    got: str


@dataclass(eq=False, kw_only=True)
class UpstreamRejected(UpstreamError):
    """A typed business refusal (result code in the body, 4xx, Client fault): a result, not a failure of the system."""

    status: ClassVar[int] = 422
    code: ClassVar[str] = "rejected_by_system"
    title: ClassVar[str] = "The owning system does not accept this"
    error_type: ClassVar[str] = "caller"
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = "Change the request: the system that owns this data refuses it."
    text: ClassVar[str] = "{system}.{operation} refused: {reason} ({refusal})"
    refusal: str = ""
    """The system's own code, for engineers only."""


@dataclass(eq=False, kw_only=True)
class OutcomeUnknown(UpstreamError):
    """A write was sent and no usable answer came: in doubt. Never retried blindly; query back first."""

    status: ClassVar[int] = 202
    code: ClassVar[str] = "outcome_unknown"
    title: ClassVar[str] = "Whether the system did it is not known yet"
    retryable: ClassVar[bool] = False
    error_type: ClassVar[str] = "timeout.read"


# ---- our own no ---------------------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class GuardRefused(UpstreamError):
    """The guard said no before anything was sent."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "temporarily_unavailable"
    title: ClassVar[str] = "This part of the API is temporarily unavailable"
    error_type: ClassVar[str] = "guard.rejected"
    retryable: ClassVar[bool] = False
    sent: bool = False


@dataclass(eq=False, kw_only=True)
class BreakerOpen(GuardRefused):
    reason: str = "circuit breaker open"


@dataclass(eq=False, kw_only=True)
class BulkheadFull(GuardRefused):
    reason: str = "too many calls waiting"


@dataclass(eq=False, kw_only=True)
class DeadlineExceeded(UpstreamError):
    """The caller's own time is used up."""

    status: ClassVar[int] = 504
    code: ClassVar[str] = "deadline_exceeded"
    title: ClassVar[str] = "No answer within the request's deadline"
    advice: ClassVar[str] = "Wait longer (Request-Timeout), or try again later; a write with its Idempotency-Key may be repeated safely."
    error_type: ClassVar[str] = "timeout.deadline"
    retryable: ClassVar[bool] = False


@dataclass(eq=False, kw_only=True)
class Overloaded(TillgateError):
    status: ClassVar[int] = 503
    code: ClassVar[str] = "overloaded"
    title: ClassVar[str] = "The gateway is at its limit"
    retryable: ClassVar[bool] = True
    error_type: ClassVar[str] = "guard.rejected"
    advice: ClassVar[str] = "Wait for the seconds in Retry-After."
    members: ClassVar[tuple[str, ...]] = ("violated-policies",)
    policy: str = "requests"
    """What there is too much of: `connections`, or requests of this priority and below."""
    retry_after: float = 1.0

    @property
    def extensions(self) -> dict[str, Any]:
        return {"violated-policies": [self.policy]}


@dataclass(eq=False, kw_only=True)
class KeysUnavailable(TillgateError):
    """No key of the issuer has been read yet, so that its tokens are neither good nor bad."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "keys_unavailable"
    title: ClassVar[str] = "Access tokens cannot be verified at the moment"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Repeat the request with the same token after the seconds in Retry-After."
    text: ClassVar[str] = "no keys of the issuer {issuer}"
    issuer: str
    retry_after: float = 1.0


@dataclass(eq=False, kw_only=True)
class StoreUnavailable(TillgateError):
    status: ClassVar[int] = 503
    code: ClassVar[str] = "store_unavailable"
    title: ClassVar[str] = "The gateway cannot record this now"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Nothing was accepted; try again."
    text: ClassVar[str] = "store: {reason}"
    reason: str
    retry_after: float = 1.0


# ---- records, files and configuration -----------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class BadRecord(TillgateError):
    """A record of a file that cannot be booked. It goes to quarantine with this place and reason."""

    code: ClassVar[str] = "bad_record"
    error_type: ClassVar[str] = "data_invalid"
    fault: ClassVar[Fault] = "upstream"
    text: ClassVar[str] = "{file}:{line}: {field}: expected {expected}, got {got}"
    file: str
    line: int
    field: str
    expected: str
    got: str


@dataclass(eq=False, kw_only=True)
class BadFile(TillgateError):
    """A file that is refused as a whole; nothing of it is booked."""

    code: ClassVar[str] = "bad_file"
    error_type: ClassVar[str] = "data_invalid"
    fault: ClassVar[Fault] = "upstream"
    text: ClassVar[str] = "{file}: {reason}"
    file: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """One mistake in a file that a person wrote (estate, mapping, contract): shown together with all others."""

    file: str
    line: int
    message: str
    suggestion: str = ""
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")
        return f"{place}: {self.message}" + (f"; {self.suggestion}" if self.suggestion else "")


@dataclass(eq=False, kw_only=True)
class Findings(TillgateError):
    """An estate or mapping with mistakes never starts: all of them at once."""

    code: ClassVar[str] = "invalid_configuration"
    findings: tuple[Finding, ...] = field(default=())

    def __str__(self) -> str:
        return "\n".join(str(f) for f in self.findings)

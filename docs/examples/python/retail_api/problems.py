"""Everything that can go wrong, one class per code of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .transport import Problem


class AbnormalUsage(Problem):
    """Too many attempts without valid credentials (429, the fault of the caller). Wait for the seconds in Retry-After, and send valid
    credentials; who has them is counted apart.
    """


class BadRequest(Problem):
    """The request cannot be understood (400, the fault of the caller). Correct the request; sending it again unchanged gives the same
    answer.
    """


class BodyTooLarge(Problem):
    """The body is too large (413, the fault of the caller). Send less at once; the limit stands in the answer."""


class DeadlineExceeded(Problem):
    """No answer within the request's deadline (504, the fault of the system). Wait longer (Request-Timeout), or try again later; a
    write with its Idempotency-Key may be repeated safely.
    """


class Forbidden(Problem):
    """This client may not do that (403, the fault of the caller). Ask the operator of this API: for the scope that the answer names,
    or why this client is refused.
    """


class HeadTooLarge(Problem):
    """The request's head is too large (431, the fault of the caller). Correct the request; sending it again unchanged gives the same
    answer.
    """


class IdempotencyKeyMissing(Problem):
    """This request needs an Idempotency-Key (400, the fault of the caller). Send `Idempotency-Key: "<a UUID of your own>"` and repeat
    it with every retry.
    """


class IdempotencyKeyReused(Problem):
    """This Idempotency-Key was used for another request (422, the fault of the caller). Use a new key for a new request, and an old
    one only to repeat its own.
    """


class InsufficientStock(Problem):
    """Not enough stock (409, the fault of the caller). Ask for less, or at another location; GET /inventory says what there is."""


class InternalError(Problem):
    """Something went wrong inside the gateway (500, the fault of the gateway). Report the trace id to the operator of this API."""


class InvalidCursor(Problem):
    """This cursor leads nowhere (400, the fault of the caller). Begin without a cursor, and follow the Link fields of the answers with
    the parameters that they have.
    """


class InvalidHeader(Problem):
    """A header field has no such value (400, the fault of the caller). Correct the field that `errors` points to."""


class InvalidMember(Problem):
    """A member of the body is not as this version has it (422, the fault of the caller). Correct the member that `errors` points to;
    the operation's schema says what it may hold.
    """


class InvalidParameter(Problem):
    """A parameter of the path or query has no such value (400, the fault of the caller). Correct the parameter that `errors` points
    to.
    """


class KeyShownOnce(Problem):
    """The key was shown once and is stored nowhere (409, the fault of the caller). If the first answer is lost, end the key named here
    and give the client a new one.
    """


class KeysUnavailable(Problem):
    """Access tokens cannot be verified at the moment (503, the fault of the gateway). Repeat the request with the same token after the
    seconds in Retry-After.
    """


class MalformedJson(Problem):
    """The body is no JSON that has one meaning (400, the fault of the caller). Send one JSON document in UTF-8, each member once."""


class MalformedQuery(Problem):
    """The query string cannot be read (400, the fault of the caller). Send `name=value` pairs, percent-encoded in UTF-8."""


class MethodNotAllowed(Problem):
    """This method is not offered here (405, the fault of the caller). Use one of the methods that the answer names in Allow."""


class NotAcceptable(Problem):
    """No such representation (406, the fault of the caller). Accept application/json, or send no Accept field."""


class NotFound(Problem):
    """There is nothing here (404, the fault of the caller). Check path and id: /docs lists the paths; what the id names may belong to
    another channel or store, or be gone.
    """


class Overloaded(Problem):
    """The gateway is at its limit (503, the fault of the gateway). Wait for the seconds in Retry-After."""


class PreconditionFailed(Problem):
    """The resource has changed (412, the fault of the caller). Read the resource again and repeat the change with its new ETag."""


class QuotaExceeded(Problem):
    """Quota exceeded (429, the fault of the caller). Wait for the seconds in Retry-After."""


class QuotaUnavailable(Problem):
    """Calls cannot be counted at the moment, and none passes uncounted (503, the fault of the gateway). Wait for the seconds in Retry-
    After.
    """


class RejectedBySystem(Problem):
    """The owning system does not accept this (422, the fault of the system). Change the request: the system that owns this data
    refuses it.
    """


class RequestInProgress(Problem):
    """The first request with this Idempotency-Key is still running (409, the fault of the caller). Wait for the seconds in Retry-
    After, then repeat the same request.
    """


class RequestTooSlow(Problem):
    """The request did not arrive in time (408, the fault of the caller). Send head and body without pauses."""


class SecretShownOnce(Problem):
    """The secret was shown once and is not shown again (409, the fault of the caller). If the first answer is lost, give the webhook a
    new secret.
    """


class StateConflict(Problem):
    """The resource does not allow this change now (409, the fault of the caller). Read the resource: its state says what can still be
    done with it.
    """


class StoreUnavailable(Problem):
    """The gateway cannot record this now (503, the fault of the gateway). Nothing was accepted; try again."""


class TemporarilyUnavailable(Problem):
    """This part of the API is temporarily unavailable (503, the fault of the system). Try again later; a write with its Idempotency-
    Key may be repeated safely.
    """


class Unauthenticated(Problem):
    """No valid credentials (401, the fault of the caller). Send `Authorization: Bearer <API key or access token>`."""


class UnknownParameter(Problem):
    """This operation has no such parameter (400, the fault of the caller). Leave it out, or write it as the reference of this version
    does.
    """


class UnknownVersion(Problem):
    """There is no such API version (400, the fault of the caller). Send one of the versions that the answer names, or no API-Version
    field to get your own.
    """


class Unprocessable(Problem):
    """The request breaks a rule of this resource (422, the fault of the caller). Correct the request; sending it again unchanged gives
    the same answer.
    """


class UnsupportedMediaType(Problem):
    """The body's media type or encoding is not supported (415, the fault of the caller). Send application/json in UTF-8, uncompressed."""


class UpstreamBusy(Problem):
    """A system behind this API is busy (503, the fault of the system). Try again later; a write with its Idempotency-Key may be
    repeated safely.
    """


class UpstreamContract(Problem):
    """A system behind this API gave an unusable answer (502, the fault of the system). Report the trace id: until that system is
    mended the same request gets the same answer.
    """


class UpstreamFailed(Problem):
    """A system behind this API failed (502, the fault of the system). Try again later; a write with its Idempotency-Key may be
    repeated safely.
    """


class UpstreamTimeout(Problem):
    """A system behind this API did not answer in time (504, the fault of the system). Try again later; a write with its Idempotency-
    Key may be repeated safely.
    """


class UpstreamUnreachable(Problem):
    """A system behind this API failed (503, the fault of the system). Try again later; a write with its Idempotency-Key may be
    repeated safely.
    """


class VersionBrownOut(Problem):
    """This deprecated API version is switched off for some announced minutes (503, the fault of the caller). Move to a newer version
    before the sunset of this one; until then it is back after the seconds in Retry-After.
    """


class VersionRetired(Problem):
    """This API version has been switched off (410, the fault of the caller). Move to the version that the answer names; the changelog
    says what changed.
    """


BY_CODE: Final[Mapping[str, type[Problem]]] = {
    "abnormal_usage": AbnormalUsage,
    "bad_request": BadRequest,
    "body_too_large": BodyTooLarge,
    "deadline_exceeded": DeadlineExceeded,
    "forbidden": Forbidden,
    "head_too_large": HeadTooLarge,
    "idempotency_key_missing": IdempotencyKeyMissing,
    "idempotency_key_reused": IdempotencyKeyReused,
    "insufficient_stock": InsufficientStock,
    "internal_error": InternalError,
    "invalid_cursor": InvalidCursor,
    "invalid_header": InvalidHeader,
    "invalid_member": InvalidMember,
    "invalid_parameter": InvalidParameter,
    "key_shown_once": KeyShownOnce,
    "keys_unavailable": KeysUnavailable,
    "malformed_json": MalformedJson,
    "malformed_query": MalformedQuery,
    "method_not_allowed": MethodNotAllowed,
    "not_acceptable": NotAcceptable,
    "not_found": NotFound,
    "overloaded": Overloaded,
    "precondition_failed": PreconditionFailed,
    "quota_exceeded": QuotaExceeded,
    "quota_unavailable": QuotaUnavailable,
    "rejected_by_system": RejectedBySystem,
    "request_in_progress": RequestInProgress,
    "request_too_slow": RequestTooSlow,
    "secret_shown_once": SecretShownOnce,
    "state_conflict": StateConflict,
    "store_unavailable": StoreUnavailable,
    "temporarily_unavailable": TemporarilyUnavailable,
    "unauthenticated": Unauthenticated,
    "unknown_parameter": UnknownParameter,
    "unknown_version": UnknownVersion,
    "unprocessable": Unprocessable,
    "unsupported_media_type": UnsupportedMediaType,
    "upstream_busy": UpstreamBusy,
    "upstream_contract": UpstreamContract,
    "upstream_failed": UpstreamFailed,
    "upstream_timeout": UpstreamTimeout,
    "upstream_unreachable": UpstreamUnreachable,
    "version_brown_out": VersionBrownOut,
    "version_retired": VersionRetired,
}

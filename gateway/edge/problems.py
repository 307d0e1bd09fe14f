"""One shape for everything that goes wrong: RFC 9457 problem documents with a stable code, whose fault it is and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from contracts import errors
from contracts.errors import TillgateError
from gateway.edge.request import Answer
from observability import FlightRecord

MEDIA_TYPE = "application/problem+json"
REGISTERED: dict[type[TillgateError], str] = {
    errors.QuotaExceeded: "quota-exceeded",
    errors.AbnormalUsage: "abnormal-usage-detected",
    errors.QuotaUnavailable: "temporary-reduced-capacity",
    errors.Overloaded: "temporary-reduced-capacity",
}
"""https://iana.org/assignments/http-problem-types"""


def type_of(error: type[TillgateError]) -> str:
    """The problem's stable `type`: the registered one for quotas, else our catalogue's page."""
    registered = REGISTERED.get(error)
    return f"https://iana.org/assignments/http-problem-types#{registered}" if registered else f"/problems/{error.code}"


def document(error: TillgateError, trace_id: str) -> dict[str, Any]:
    return {
        "type": type_of(type(error)),
        "title": error.title,
        "status": status_of(error),
        "detail": error.public,
        "code": error.code,
        "fault": "system" if error.fault == "upstream" else error.fault,
        "retryable": error.retryable or error.status in (503, 504),
        "advice": error.advice,
        "traceId": trace_id,
        **error.extensions,
    }


def status_of(error: TillgateError | type[TillgateError]) -> int:
    return error.status if error.status >= 400 else 503


def status_named(name: str) -> int:
    """Of the error with this class name, as a flight keeps it; 502 for one of nobody's."""
    return next((status_of(c) for c in _leaves(TillgateError) if c.__qualname__ == name), 502)


def headers(error: TillgateError) -> dict[str, str]:
    """Retry-After on every 429 and 503 (and where trying again is the advice); WWW-Authenticate on every 401 and 403 of scope."""
    found: dict[str, str] = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None or status_of(error) in (429, 503):
        found["retry-after"] = str(max(1, math.ceil(retry_after or 1)))
    if isinstance(error, errors.Unauthenticated):
        more = {"error": "invalid_token" if error.presented else "", "resource_metadata": error.resource_metadata}
        found["www-authenticate"] = ", ".join(['Bearer realm="tillgate"', *(f'{k}="{v}"' for k, v in more.items() if v)])
    if isinstance(error, errors.Forbidden) and error.scope:
        found["www-authenticate"] = f'Bearer realm="tillgate", error="insufficient_scope", scope="{error.scope}"'
    if isinstance(error, errors.MethodNotAllowed):
        found["allow"] = error.allowed
    return found


def encode(error: TillgateError, trace_id: str) -> bytes:
    return msgspec.json.encode(document(error, trace_id))


def answer(error: TillgateError, flight: FlightRecord, fields: Mapping[str, str]) -> Answer:
    """The problem as an answer, and into the flight. `fields` are those that the request has earned already."""
    flight.failed(error)
    return document_of(error, flight.trace_id, fields)


def document_of(error: TillgateError, trace_id: str, fields: Mapping[str, str]) -> Answer:
    body = encode(error, trace_id)
    return Answer(status_of(error), body, {**fields, **headers(error), "content-type": MEDIA_TYPE, "cache-control": "no-store"})


def catalogue() -> list[dict[str, Any]]:
    """Every problem that a channel can meet, for contracts/published/problems.json."""
    known: dict[str, type[TillgateError]] = {}
    for c in _leaves(TillgateError):
        if c.code not in _INSIDE and c.__module__ in _HOMES:
            stands = known.setdefault(c.code, c)
            if len(c.members) > len(stands.members):  # the code's own class may be too general to say where
                known[c.code] = c
    return [
        {
            "code": c.code,
            "type": type_of(c),
            "title": c.title,
            "status": c.status if c.status >= 400 else 503,
            "fault": "system" if c.fault == "upstream" else c.fault,
            "retryable": c.retryable or c.status in (503, 504),
            "advice": c.advice,
            "members": list(c.members),
        }
        for c in sorted(known.values(), key=lambda c: (c.status, c.code))
    ]


_INSIDE = ("bad_record", "bad_file", "invalid_configuration", "outcome_unknown")
"""Codes that no channel meets: operators do, and a write whose outcome is unknown is answered with 202 and settled."""
_HOMES = (errors.__name__, "gateway.edge.protocol", "gateway.edge.reading")
"""Modules whose classes bring codes; drivers refine classes, never codes."""


def _leaves(kind: type[TillgateError]) -> Iterator[type[TillgateError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _leaves(sub)

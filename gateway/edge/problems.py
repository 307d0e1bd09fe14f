"""One shape for everything that goes wrong: RFC 9457 problem documents with a stable code, whose fault it is and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from contracts import errors
from contracts.errors import TillgateError
from contracts.problem import Problem
from contracts.versions import Change, ProblemChange, VersionHistory
from gateway.edge.identity.principal import Principal
from gateway.edge.request import Answer
from gateway.edge.usage import Usage
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
    same = _same(type(error))
    first = {"type": same["type"], "title": same["title"], "status": same["status"], "detail": error.public}
    return {**first, **same, "traceId": trace_id, **error.extensions}


def status_of(error: TillgateError | type[TillgateError]) -> int:
    return error.status if error.status >= 400 else 503


def status_named(name: str) -> int:
    """Of the error with this class name, as a flight keeps it; 502 for one of nobody's."""
    return next((status_of(c) for c in _leaves(TillgateError) if c.__qualname__ == name), 502)


def headers(error: TillgateError, status: int = 0) -> dict[str, str]:
    """Retry-After on every 429 and 503 (and where trying again is the advice); WWW-Authenticate on every 401 and 403 of scope. `status`:
    where it is not the error's own.
    """
    found: dict[str, str] = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None or (status or status_of(error)) in (429, 503):
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
    """In the newest shape, for whoever speaks no version yet."""
    return msgspec.json.encode(document(error, trace_id))


class Problems:
    """Errors as answers, in the words of the version that the caller speaks."""

    def __init__(self, history: VersionHistory, usage: Usage) -> None:
        self._history, self._usage = history, usage

    def answer(
        self, error: TillgateError, flight: FlightRecord, client: Principal | None, version: str, fields: Mapping[str, str]
    ) -> Answer:
        """The problem, and into the flight. `client`: None before it is known; `fields` are those that the request has earned already."""
        flight.failed(error)
        return self._told(error, flight.trace_id, client, flight.name, version, fields)

    def told(self, error: TillgateError, trace_id: str, version: str, fields: Mapping[str, str]) -> Answer:
        """In the newest words where nobody knows such a version."""
        return self._told(error, trace_id, None, "", version, fields)

    def _told(
        self, error: TillgateError, trace_id: str, client: Principal | None, route: str, version: str, fields: Mapping[str, str]
    ) -> Answer:
        newest = said = document(error, trace_id)
        if version in self._history.by_date:
            said = self._history.down(newest, Problem, version)
            if client is not None and said != newest:
                self._usage.met(version, client, route, told(said["code"]))
        status = said["status"]
        own = {**headers(error, status), "content-type": MEDIA_TYPE, "cache-control": "no-store"}
        return Answer(status, msgspec.json.encode(said), {**fields, **own})


def told(code: str) -> str:
    """The name under which it is counted that a client met a problem which newer versions tell otherwise; `code` as it was told."""
    return f"problem:{code}"


def touched(history: VersionHistory, version: str) -> dict[str, type[Change]]:
    """What of problems newer versions tell otherwise, by the names under which it is counted."""
    found: dict[str, type[Change]] = {}
    changes = [c for c in history.newer_than(version) if c.of is Problem]
    for kind in _leaves(TillgateError) if changes else ():
        said, by = _same(kind), None
        for change in changes:
            before = change.down(said)
            by, said = by or (change if before != said else None), before
        if by is not None:
            found.setdefault(told(said["code"]), by)
    return found


def told_as(kind: type[TillgateError], history: VersionHistory, version: str) -> dict[str, Any]:
    """What is the same in all problems of a kind, as `version` tells it."""
    return history.down(_same(kind), Problem, version)  # type: ignore[no-any-return]  # an object stays one


def _same(kind: type[TillgateError]) -> dict[str, Any]:
    return {
        "code": kind.code,
        "type": type_of(kind),
        "title": kind.title,
        "status": status_of(kind),
        "fault": "system" if kind.fault == "upstream" else kind.fault,
        "retryable": kind.retryable or kind.status in (503, 504),
        "advice": kind.advice,
    }


def catalogue(history: VersionHistory | None = None, version: str = "") -> list[dict[str, Any]]:
    """Every problem that a channel can meet, for contracts/published/problems.json; those of an older version as that tells them."""
    known: dict[str, type[TillgateError]] = {}
    for c in _leaves(TillgateError):
        if c.code not in _INSIDE and c.__module__ in _HOMES:
            stands = known.setdefault(c.code, c)
            if len(c.members) > len(stands.members):  # the code's own class may be too general to say where
                known[c.code] = c
    rows: dict[str, dict[str, Any]] = {}
    for c in sorted(known.values(), key=lambda c: (c.status, c.code)):
        told = told_as(c, history, version) if history and version else _same(c)
        if told["code"] == c.code or told["code"] not in known:
            rows.setdefault(told["code"], {**told, "members": list(c.members)})
    return list(rows.values())


def former(history: VersionHistory) -> list[dict[str, Any]]:
    """Problems that only older versions tell, each with these `versions`: their types lead to the catalogue as long as anybody is told."""
    known = {row["code"] for row in catalogue()}
    rows: dict[str, dict[str, Any]] = {}
    for version in history.versions[1:]:
        for row in catalogue(history, version.date):
            if row["code"] not in known:
                rows.setdefault(row["code"], {**row, "versions": []})["versions"].append(version.date)
    return list(rows.values())


def check(history: VersionHistory) -> None:
    """Raises ValueError for a change that tells a problem otherwise which there is not."""
    known = {c.code for c in _leaves(TillgateError)}
    for change in history.newer_than(history.versions[-1].date):
        if issubclass(change, ProblemChange):
            if unknown := sorted(change.codes.keys() - known):
                raise ValueError(f"{change.__name__} tells the problem {unknown[0]!r} otherwise, which there is not")
            known |= {each.code for each in change.codes.values()}


_INSIDE = ("bad_record", "bad_file", "invalid_configuration", "outcome_unknown")
"""Codes that no channel meets: operators do, and a write whose outcome is unknown is answered with 202 and settled."""
_HOMES = (errors.__name__, "gateway.edge.protocol", "gateway.edge.reading")
"""Modules whose classes bring codes; drivers refine classes, never codes."""


def _leaves(kind: type[TillgateError]) -> Iterator[type[TillgateError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _leaves(sub)

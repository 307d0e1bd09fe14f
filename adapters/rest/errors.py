"""What an error answer means: status, declared codes and error body, translated into the error tree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal

from adapters.login import CredentialsRefused
from adapters.rest.spec import ErrorBody, Meaning
from adapters.wire import WireAnswer
from contracts.errors import OutcomeUnknown, UpstreamBusy, UpstreamError, UpstreamFault, UpstreamRejected

_SHORTEST = 4
"""Characters of a credential that is looked for in texts; a shorter one would be found in every other word."""
Means = Literal["rejected", "busy", "failed", "absent", "in_doubt", "credentials"]


def declared(answer: WireAnswer, document: Any, code: str, meanings: Iterable[Meaning]) -> Means | None:
    """The first declared meaning that fits. An answer of success is none unless a meaning speaks of its status or of a member."""
    for meaning in meanings:
        if meaning.status not in (None, answer.status) or meaning.code not in (None, code):
            continue
        if meaning.status is None and not meaning.member and answer.status < 300:
            continue
        if not meaning.member or _holds(member(document, meaning.member), meaning.equals):
            return meaning.means
    return None


def _holds(value: Any, wanted: str | int | bool | None) -> bool:
    if wanted is None:
        return value not in (None, False, "", 0, [], {})
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted or (isinstance(value, str) and value.lower() == str(wanted).lower())
    return isinstance(value, str | int | Decimal) and str(value) == str(wanted)


def means(answer: WireAnswer, body_is_json: bool, promised: bool | None, *, read: bool) -> Means:
    """What nobody declared. A 4xx is a refusal only if the system itself says so, in its own form: JSON, or without body as
    the contract declares (`promised` False). A proxy's page is a failure. A 404 that the contract knows makes a read empty.
    """
    status = answer.status
    if status in (408, 425, 429) or (status == 503 and answer.retry_after is not None):
        return "busy"
    if status in (401, 403):
        return "credentials"
    own = body_is_json or (promised is False and not answer.body)
    if not 400 <= status < 500 or not own:
        return "failed"
    return "absent" if status in (404, 410) and read and promised is not None else "rejected"


def translated(meaning: Means, answer: WireAnswer, code: str, message: str, system: str, operation: str) -> UpstreamError:
    """`absent` of a write is a refusal: the thing to be changed is not there."""
    status = str(answer.status)
    at: dict[str, Any] = {
        "system": system,
        "operation": operation,
        "reason": f"HTTP {status}" + (f": {message}" if message else "") + (f" ({code})" if code else ""),
        "retry_after": answer.retry_after,
    }
    match meaning:
        case "rejected" | "absent":
            return UpstreamRejected(**at | {"reason": message or f"HTTP {status}"}, refusal=code or status)
        case "busy":
            return UpstreamBusy(**at)
        case "credentials":
            return CredentialsRefused(**at)
        case "in_doubt":
            return OutcomeUnknown(**at)
        case "failed":
            return UpstreamFault(**at, fault_code=status)


def said(document: Any, form: ErrorBody) -> tuple[str, str]:
    """Code and message of an error body; empty where it says nothing. RFC 9457: `type` and `detail` or `title`."""
    code = _text(document, form.code) or _text(document, "code") or _text(document, "type").rpartition("/")[2]
    message = _text(document, form.message) or _text(document, "detail") or _text(document, "title") or _text(document, "message")
    return ("" if code == "about:blank" else code), message


def without(text: str, secrets: Iterable[str], *more: str | None) -> str:
    """A text of a system without credentials of ours that it repeats."""
    for secret in (*secrets, *more):
        if secret and len(secret) >= _SHORTEST:
            text = text.replace(secret, "…")
    return text


def member(document: Any, path: str) -> Any:
    """The value at a dotted path, None if there is none. The last name may hold dots itself: `@odata.nextLink`."""
    while path:
        if isinstance(document, dict) and path in document:
            return document[path]
        name, _, path = path.partition(".")
        if isinstance(document, list) and name.isdecimal() and int(name[:9]) < len(document):
            document = document[int(name[:9])]
        elif isinstance(document, dict):
            document = document.get(name)
        else:
            return None
    return document


def _text(document: Any, path: str) -> str:
    value = member(document, path)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return re.sub(r"\s+", " ", str(value)[:1000]).strip()[:300]

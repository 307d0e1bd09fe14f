"""Entity tags and the preconditions that name them (RFC 9110 §13)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from contracts.errors import InvalidRequest, PreconditionFailed

TAGS = r'(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)'
"""If-Match and If-None-Match."""
_TAGS = re.compile(TAGS)


def entity_tags(headers: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The tags of a precondition, as they came; empty without one. Raises InvalidRequest."""
    if (value := headers.get(name)) is None:
        return ()
    if not _TAGS.fullmatch(value):
        raise InvalidRequest(where=f"header:{name}", expected='entity tags in quotes such as "v3", or *', got=repr(value[:40]))
    return tuple(tag.strip() for tag in value.split(","))


def etag_of(version: int) -> str:
    return f'"v{version}"'


def matches_none(tags: tuple[str, ...], etag: str) -> bool:
    """If-None-Match, weak comparison: True means that the caller has it already."""
    return any(tag.removeprefix("W/") in (etag, "*") for tag in tags)


def require_match(if_match: tuple[str, ...], what: str, current: int) -> None:
    """If-Match on a change (§13.1.1, strong comparison). Raises PreconditionFailed."""
    etag = etag_of(current)
    if if_match and not {"*", etag} & set(if_match):
        raise PreconditionFailed(expected=", ".join(if_match)[:80], actual=f"{etag} of this {what}")

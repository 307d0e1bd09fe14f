"""Entity tags and the preconditions that name them (RFC 9110 §13)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from contracts.errors import InvalidHeader

TAGS = r'(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)'
"""If-Match and If-None-Match."""
_TAGS = re.compile(TAGS)
_TAG = re.compile(r'(?:W/)?"[^"]*"|\*')
_VERSION = re.compile(r'"v(0|[1-9][0-9]{0,17})"')


def entity_tags(headers: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The tags of a precondition, as they came; empty without one. Raises InvalidHeader."""
    if (value := headers.get(name)) is None:
        return ()
    if not _TAGS.fullmatch(value):
        raise InvalidHeader(where=f"header:{name.title()}", expected='entity tags in quotes such as "v3", or *', got=repr(value[:40]))
    return tuple(_TAG.findall(value))


def etag_of(version: int) -> str:
    return f'"v{version}"'


def weak_etag_of(value: Any, *shape: str, encoded: bytes = b"") -> str:
    """Of what a read says in this `shape` (version, selection). Where it was read and when is no part of it: the same news, read again,
    is still the same, and fields tell its age (RFC 9110 §8.8.1: weak tags stand for what is equivalent).

    `encoded`: the same value as JSON, if it is written already: what its rows share is cut out of it instead of writing it again.
    """
    if encoded and (plain := _cut(value, encoded)):
        return _tag(plain, shape)
    if isinstance(value, dict):
        value = {name: [_without(row) for row in rows] if name == "items" else rows for name, rows in _without(value).items()}
    elif (rows := getattr(value, "items", None)) and hasattr(rows[0], "provenance"):
        value = msgspec.structs.replace(value, items=tuple([msgspec.structs.replace(row, provenance=()) for row in rows]))
    elif getattr(value, "provenance", None):
        value = msgspec.structs.replace(value, provenance=())
    return _tag(msgspec.json.encode(value), shape)


def _cut(value: Any, encoded: bytes) -> bytes:
    """Nothing, unless all rows have one provenance, as those that were read together, and nothing within them has another."""
    rows: Sequence[Any] = getattr(value, "items", None) or ()
    if not rows or not (shared := getattr(rows[0], "provenance", ())) or any(row.provenance is not shared for row in rows):
        return b""
    said = b',"provenance":' + msgspec.json.encode(shared)
    plain = encoded.replace(said, b"")  # no text holds it: quotes in texts are escaped
    return b"" if len(plain) + len(said) * len(rows) != len(encoded) or b'"provenance":' in plain else plain


def _tag(said: bytes, shape: Sequence[str]) -> str:
    digest = hashlib.sha256(said)
    digest.update("\0".join(("", *shape)).encode())
    return f'W/"{base64.urlsafe_b64encode(digest.digest()[:15]).decode()}"'


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "provenance"}


def matches_none(tags: tuple[str, ...], etag: str) -> bool:
    """If-None-Match, weak comparison: True means that the caller has it already."""
    opaque = etag.removeprefix("W/")
    return any(tag.removeprefix("W/") in (opaque, "*") for tag in tags)


def versions(if_match: tuple[str, ...]) -> frozenset[int] | None:
    """The versions from which a change may start (§13.1.1, strong comparison: weak tags name none). None: from any."""
    if not if_match or "*" in if_match:
        return None
    return frozenset(int(found[1]) for tag in if_match if (found := _VERSION.fullmatch(tag)))

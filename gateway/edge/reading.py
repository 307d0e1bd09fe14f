"""From bytes to the newest shape: media type, size, JSON, version, types; each mistake with the place where it stands."""

from __future__ import annotations

import re
import typing
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from contracts.errors import BodyTooLarge, InvalidBody, InvalidRequest, UnsupportedMediaType
from contracts.versions import VersionHistory

MAX_QUERY_BYTES = 16_384
MAX_QUERY_FIELDS = 400


def body(raw: bytes, kind: type[msgspec.Struct], version: str, history: VersionHistory) -> Any:
    """Raises InvalidRequest (not JSON, 400) or InvalidBody (breaks a rule, 422)."""
    try:
        if not history.differs(kind, version):
            return msgspec.json.decode(raw, type=kind)
        return msgspec.convert(history.up(msgspec.json.decode(raw), kind, version), kind)
    except msgspec.ValidationError as exc:
        raise _invalid(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(where="", expected="a JSON document", got=str(exc)[:200]) from exc
    except RecursionError as exc:
        raise InvalidRequest(where="", expected="JSON of moderate depth", got="nesting too deep") from exc
    except ValueError as exc:  # a version's change says what it expected
        raise InvalidBody(where="", expected=f"the shape of version {version}", got=str(exc)[:200]) from exc


def _invalid(exc: msgspec.ValidationError) -> InvalidBody:
    message, _, path = str(exc).partition(" - at `")
    expected, _, got = message.removeprefix("Expected ").partition(", got ")
    return InvalidBody(where=pointer(path.rstrip("`")), expected=expected[:200], got=(got or "something else")[:200])


def pointer(path: str) -> str:
    """msgspec's `$.lines[0].unitPrice` as a JSON pointer (RFC 6901)."""
    steps = re.findall(r"\.([^.\[\]]+)|\[([^\]]*)\]", path)
    return "".join("/" + (name or index).strip("'\"").replace("~", "~0").replace("/", "~1") for name, index in steps)


def check_media(headers: typing.Mapping[str, str], length: int, limit: int) -> None:
    """Raises UnsupportedMediaType, BodyTooLarge. A body under another media type is refused: browsers send those across sites unasked."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(expected="an uncompressed body", got=encoding[:40])
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType(expected="application/json", got=media[:80])
    if length > limit:
        raise BodyTooLarge(limit=limit)


def parameters(query: bytes, kind: type[msgspec.Struct], answer: Any, version: str, history: VersionHistory) -> Any:
    """The query string as `kind`. A repeated parameter or commas make a list; unknown and doubled ones are refused."""
    if len(query) > MAX_QUERY_BYTES:
        raise InvalidRequest(where="query", expected=f"at most {MAX_QUERY_BYTES} bytes", got=f"{len(query)} bytes")
    hints = typing.get_type_hints(kind, include_extras=True)
    names = {history.parameter(f.encode_name, answer, version): f for f in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=MAX_QUERY_FIELDS)
    except ValueError as exc:
        raise InvalidRequest(where="query", expected="name=value pairs, percent-encoded UTF-8", got=str(exc)[:100]) from exc
    for name, value in pairs:
        field = names.get(name)
        if field is None:
            allowed = ", ".join(names) or "none"
            raise InvalidRequest(where=f"query:{name[:40]}", expected=f"a known parameter ({allowed})", got="an unknown one")
        if _is_list(hints[field.name]):
            values.setdefault(field.encode_name, []).extend(value.split(","))
        elif field.encode_name in values:
            raise InvalidRequest(where=f"query:{name}", expected="the parameter once", got="it twice")
        else:
            values[field.encode_name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as exc:
        invalid = _invalid(exc)
        where = invalid.where.lstrip("/") or re.sub(r".*`(\w+)`.*", r"\1", str(exc))
        name = next((old for old, f in names.items() if f.encode_name == where.partition("/")[0]), where)
        raise InvalidRequest(where=f"query:{name}", expected=invalid.expected, got=invalid.got) from exc


def _is_list(hint: Any) -> bool:
    hint = get_args(hint)[0] if get_origin(hint) is typing.Annotated else hint
    return get_origin(hint) is tuple


def path(values: typing.Mapping[str, str], kinds: typing.Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, kind in kinds.items():
        try:
            found[name] = msgspec.convert(values[name], kind)
        except msgspec.ValidationError as exc:
            invalid = _invalid(exc)
            raise InvalidRequest(where=f"path:{name}", expected=invalid.expected, got=invalid.got) from exc
    return found

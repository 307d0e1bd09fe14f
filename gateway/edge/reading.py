"""From bytes to the newest shape: fields, media type, size, JSON, version, types; each mistake with the place where it stands."""

from __future__ import annotations

import asyncio
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Receive

from contracts.errors import (
    BodyTooLarge,
    CallerError,
    InvalidHeader,
    InvalidMember,
    InvalidParameter,
    MalformedJson,
    MalformedQuery,
    NotAcceptable,
    UnknownParameter,
    UnsupportedMediaType,
)
from contracts.pointer import pointer_of
from contracts.versions import Misshapen, VersionHistory

MAX_QUERY_BYTES = 16_384
MAX_QUERY_FIELDS = 400
MOST_LISTED = 16
"""Names or values that an answer lists; of more it says how many."""

_ONCE = frozenset(
    ("accept", "api-version", "authorization", "content-encoding", "content-type", "idempotency-key", "if-match", "request-timeout")
)
"""Two of these would leave it to chance which one counts."""

UNFIT = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff"
"""Characters that no XML document can hold (XML 1.0 §2.2), so that no system behind could be told; a class for patterns."""
_UNFIT = re.compile(f"[{UNFIT}\ud800-\udfff]")


class RequestTooSlow(CallerError):
    status: ClassVar[int] = 408
    code: ClassVar[str] = "request_too_slow"
    title: ClassVar[str] = "The request did not arrive in time"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = "Send head and body without pauses."
    text: ClassVar[str] = "the rest of the request did not come"


# ---- header -------------------------------------------------------------------------------------------------------


def fields(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by lower case name; of a repeated one the first. Raises InvalidHeader for one that may stand only once."""
    found: dict[str, str] = {}
    for key, value in raw:
        name = key.decode("latin-1")
        if found.setdefault(name, text := value.decode("latin-1")) is not text and name in _ONCE:
            raise InvalidHeader(where=f"header:{name}", expected="the field once", got="it twice")
    return found


def check_accept(accept: str) -> None:
    """Raises NotAcceptable unless JSON may be answered (RFC 9110 §12.5.1: the most specific range decides)."""
    if accept in ("", "*/*", "application/json"):
        return
    weights: dict[str, bool] = {}
    for part in accept.split(","):
        media, *parameters = (p.strip().lower() for p in part.split(";"))
        weights[media] = not any(re.fullmatch(r"q=0(\.0*)?", p) for p in parameters)
    if not next((weights[m] for m in ("application/json", "application/*", "*/*") if m in weights), False):
        raise NotAcceptable(got=accept[:80])


def check_media(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedMediaType. A body under another media type is refused: browsers send those across sites unasked."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(expected="an uncompressed body", got=encoding[:40], where="header:Content-Encoding")
    media, *parameters = (p.strip().lower() for p in headers.get("content-type", "").split(";"))
    if media != "application/json":
        raise UnsupportedMediaType(expected="application/json", got=media[:80])
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaType(expected="UTF-8, the only encoding of JSON", got=value[:40])


async def received(receive: Receive, headers: Mapping[str, str], limit: int, seconds: float) -> bytes:
    """The body, at most `limit` bytes, within `seconds`. Raises BodyTooLarge, RequestTooSlow, MalformedJson (it ended too early)."""
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and (len(announced) > 15 or int(announced) > limit):
        raise BodyTooLarge(limit=limit)
    whole = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise MalformedJson(expected="a complete body", got="a closed connection")
                if message["type"] != "http.request":
                    continue
                whole += message.get("body", b"")
                if len(whole) > limit:
                    raise BodyTooLarge(limit=limit)
                if not message.get("more_body", False):
                    return bytes(whole)
    except TimeoutError as exc:
        raise RequestTooSlow from exc


# ---- body ---------------------------------------------------------------------------------------------------------


def body(raw: bytes, kind: type[msgspec.Struct], version: str, history: VersionHistory, used: set[str] | None = None) -> Any:
    """Raises MalformedJson (400) or InvalidMember (422). Notes in `used` what a newer version has otherwise."""
    try:
        if history.differs(kind, version):
            sent = msgspec.json.decode(raw)
            if used is not None:
                used.update(f"body:{place}" for place in history.used(sent, kind, version))
            value = msgspec.convert(history.up(sent, kind, version), kind)
        else:
            value = msgspec.json.decode(raw, type=kind)
        json.loads(raw, object_pairs_hook=_members, parse_int=str, parse_float=str)
    except msgspec.ValidationError as exc:
        try:
            sent = msgspec.json.decode(raw)
        except (msgspec.ValidationError, RecursionError):  # a number too large, or too deep: JSON all the same
            sent = None
        except (msgspec.DecodeError, UnicodeDecodeError) as broken:  # a rule was broken first, but it is no JSON at all
            raise _no_json(raw, broken) from exc
        raise _invalid(
            exc,
            sent,
            lambda place: history.as_sent(place, kind, version),
            lambda place: history.allowed(place, kind, version),
        ) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _no_json(raw, exc) from exc
    except Misshapen as exc:
        raise InvalidMember(where="".join(map(_step, exc.path)), expected=exc.expected, got=exc.got) from exc
    return value


def _no_json(raw: bytes, broken: Exception) -> MalformedJson:
    if isinstance(broken, RecursionError):
        return MalformedJson(expected="JSON of moderate depth", got="nesting too deep")
    got = str(broken).removeprefix("JSON is malformed: ")[:200] if raw.strip() else "an empty body"
    return MalformedJson(expected="a JSON document in UTF-8", got=got)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What msgspec lets pass: a doubled member (its last value would win), null (a missing value is absent), unfit characters."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add answers None
        raise MalformedJson(where=f"/{double[:40]}", expected="each member once", got=f"{double[:40]!r} twice")
    for name, value in pairs:
        if value is None:
            raise InvalidMember(where=f"/{name[:40]}", expected="a value, or no such member at all", got="null")
        for text in (name, *value) if isinstance(value, list) else (name, value):
            if isinstance(text, str) and (unfit := _UNFIT.search(text)):
                raise InvalidMember(where=f"/{name[:40]}", expected="text without control characters", got=f"U+{ord(unfit[0]):04X}")
    return found


_NAMES = {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "object": "an object", "array": "an array"}


def _invalid(
    exc: msgspec.ValidationError,
    sent: Any,
    as_sent: Callable[[str], str] = str,
    allowed: Callable[[str], Collection[str]] = lambda place: (),
) -> InvalidMember:
    """msgspec's sentence in ours: what was expected, what came, where. `allowed` gives the names or values that may stand at a place."""
    message, _, path = str(exc).partition(" - at `")
    within = pointer(path.rstrip("`"))
    where = as_sent(within)
    known = allowed(where)
    listed = ", ".join(known) if len(known) <= MOST_LISTED else ", ".join([*known][:MOST_LISTED]) + f" and {len(known) - MOST_LISTED} more"
    if found := re.fullmatch(r"Object (missing required|contains unknown) field `(.*)`", message):
        missing = found[1].startswith("missing")
        return InvalidMember(
            where=as_sent(within + _step(found[2])),
            expected="a value" if missing else f"a member of this object ({listed})",
            got="none" if missing else "an unknown one",
        )
    if found := re.fullmatch(r"Invalid enum value (.*)", message, re.DOTALL):
        return InvalidMember(where=where, expected=f"one of {listed}" if listed else "one of the published values", got=found[1][:80])
    if found := re.fullmatch(r"(?:Integer value|Number) out of range", message):
        return InvalidMember(where=where, expected="a number of moderate size", got="one out of range")
    expected, _, got = re.sub(r"^[Ee]xpected ", "", message).partition(", got ")
    expected = re.sub(r"matching regex '(.*)'", lambda m: "matching " + m[1].replace("\\\\", "\\").removesuffix(r"(?!\n)"), expected)
    return InvalidMember(where=where, expected=_plain(expected)[:300], got=(_plain(got) or _shown(sent, where))[:200])


def _shown(sent: Any, place: str) -> str:
    """What stands there: a number itself, of a text only how long it is. A body has names and addresses of persons."""
    for step in place.split("/")[1:]:
        if isinstance(sent, dict):
            sent = sent.get(step)
        elif isinstance(sent, list) and step.isdecimal() and int(step) < len(sent):
            sent = sent[int(step)]
        else:
            return "another value"
    if isinstance(sent, str):
        return f"a text of {len(sent)} characters" if sent else "an empty text"
    if isinstance(sent, list):
        return f"{len(sent)} elements"
    return str(sent)[:40] if isinstance(sent, int | float) else "another value"


def _plain(text: str) -> str:
    return re.sub(r"`(\w+)`", lambda m: _NAMES.get(m[1], m[1]), text)


def pointer(path: str) -> str:
    """msgspec's `$.lines[0].unitPrice` as a JSON pointer (RFC 6901)."""
    steps = re.findall(r"\.([^.\[\]]+)|\[([^\]]*)\]", path)
    return "".join(_step((name or index).strip("'\"")) for name, index in steps)


def _step(name: object) -> str:
    return pointer_of([str(name)[:80]])


# ---- query and path -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    """In the newest shape."""
    kind: type
    """str, int, bool, or tuple for a list of strings."""


@lru_cache(maxsize=1024)
def _known(kind: type[msgspec.Struct], answer: Any, version: str, history: VersionHistory) -> dict[str, _Parameter]:
    """Public name -> parameter. Asked for with declared types and versions only, never with a caller's words."""
    hints = typing.get_type_hints(kind)
    return {
        history.parameter(f.encode_name, answer, version): _Parameter(f.encode_name, _base(hints[f.name]))
        for f in msgspec.structs.fields(kind)
    }


def _base(hint: Any) -> type:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType, Annotated):
        return _base(next(a for a in get_args(hint) if a is not type(None)))
    return typing.cast("type", origin or hint)


def parameters(
    query: bytes,
    kind: type[msgspec.Struct],
    answer: Any,
    version: str,
    history: VersionHistory,
    used: set[str] | None = None,
    beside: Collection[str] = (),
) -> Any:
    """The query string as `kind`. A repeated parameter or commas make a list; unknown and doubled ones are refused. Notes in `used` those
    that a newer version calls otherwise. Those `beside` them are read by somebody else.
    """
    names = _known(kind, answer, version, history)
    values: dict[str, Any] = {}
    for name, value in _pairs(query):
        known = names.get(name)
        if known is None:
            if name in beside:
                continue
            allowed = ", ".join([*names, *beside]) or "none"
            raise UnknownParameter(where=f"query:{name[:40]}", expected=f"a known parameter ({allowed})", got="an unknown one")
        if used is not None and known.name != name:
            used.add(f"query:{name}")
        if known.kind is tuple:
            values.setdefault(known.name, []).extend(value.split(","))
        elif known.name in values:
            raise InvalidParameter(where=f"query:{name}", expected="the parameter once", got="it twice")
        else:
            values[known.name] = _typed(name, value, known.kind)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as exc:
        invalid = _invalid(exc, values, allowed=lambda place: history.allowed(place, kind, history.newest.date))
        where = invalid.where.split("/")[1] if invalid.where else ""
        public = next((name for name, known in names.items() if known.name == where), where)
        sent = values.get(where)
        got = repr(sent[:40]) if isinstance(sent, str) else invalid.got  # as of a path; only a body may tell of persons
        raise InvalidParameter(where=f"query:{public}", expected=invalid.expected, got=got) from exc


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    if len(query) > MAX_QUERY_BYTES:
        raise MalformedQuery(where="query", expected=f"at most {MAX_QUERY_BYTES} bytes", got=f"{len(query)} bytes")
    if broken := re.search(rb"%(?![0-9A-Fa-f]{2}).{0,2}", query, re.DOTALL):
        raise MalformedQuery(where="query", expected="percent-encoded UTF-8", got=repr(broken[0].decode("ascii", "replace")))
    try:
        text = query.decode("ascii")
        fields = text.split("&")
        if "%" not in text and "+" not in text and len(fields) <= MAX_QUERY_FIELDS:  # as written: a third of the work
            plain = [(name, value) for name, found, value in [field.partition("=") for field in fields] if found]
            if len(plain) == len(fields):
                return plain
        return parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
    except UnicodeDecodeError as exc:
        raise MalformedQuery(where="query", expected="percent-encoded UTF-8", got=f"the byte 0x{exc.object[exc.start]:02x}") from exc
    except ValueError as exc:
        raise MalformedQuery(where="query", expected=f"at most {MAX_QUERY_FIELDS} name=value pairs", got=str(exc)[:100]) from exc


def _typed(name: str, value: str, kind: type) -> Any:
    if kind is bool:
        if value not in ("true", "false"):
            raise InvalidParameter(where=f"query:{name}", expected="true or false", got=repr(value[:40]))
        return value == "true"
    if kind is int:
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value):
            raise InvalidParameter(where=f"query:{name}", expected="an integer", got=repr(value[:40]))
        return int(value)
    return value


def path(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, kind in kinds.items():
        try:
            found[name] = msgspec.convert(values[name], kind)
        except msgspec.ValidationError as exc:
            invalid = _invalid(exc, values[name])
            raise InvalidParameter(where=f"path:{name}", expected=invalid.expected, got=repr(str(values[name])[:80])) from exc
    return found

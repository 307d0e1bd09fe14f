"""Requests and answers as bytes: paths, queries, headers and bodies written; JSON read without losing a digit."""

from __future__ import annotations

import codecs
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus, urlsplit, urlunsplit

import msgspec

from adapters.rest.contract import Operation, Parameter, is_json, is_lines
from adapters.rest.spec import ApiKey, Basic, Bearer, Lists, OAuth2, SessionLogin

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})
"""Codecs that no system writes texts in; some take time by the square of what they read."""
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_JSON_ACCEPT = "application/json, application/*+json;q=0.9"
_ACCEPT = {
    "json": _JSON_ACCEPT,
    "": _JSON_ACCEPT,
    "lines": "application/x-ndjson, application/json;q=0.5",
    "text": "text/plain, */*;q=0.5",
}


class Unusable(Exception):
    """A request that cannot be sent, or an answer that cannot be read: the place, what was expected, what came."""

    def __init__(self, where: str, expected: str, got: str) -> None:
        super().__init__(where, expected, got)
        self.where, self.expected, self.got = where, expected, got


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it goes out. `path` is percent-encoded, query included."""

    path: str
    headers: dict[str, str]
    body: bytes | None


def written(operation: Operation, request: Mapping[str, Any], lists: Lists = "repeat") -> Asked:
    """`lists`: how a form writes lists that its contract says nothing of. Raises Unusable for a missing path parameter or a value that
    has no place where it stands.
    """
    path, query, headers = operation.path, list[str](), {"Accept": _ACCEPT[operation.answers]}
    cookies: list[str] = []
    for parameter in operation.parameters:
        value = request.get(parameter.field)
        if value is None:
            if parameter.place == "path":
                raise Unusable(f"request.{parameter.field}", "a value, the path needs it", "nothing")
            continue
        match parameter.place:
            case "path":
                path = path.replace(f"{{{parameter.name}}}", _in_path(parameter, value))
            case "query":
                query += _pairs(parameter, value, _percent)
            case "header":
                headers[parameter.name] = _flat(parameter, value, str)
            case "cookie":
                cookies += _pairs(parameter, value, _percent)
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    body = request.get("body")
    if body is None:
        if operation.body_required:
            raise Unusable("request.body", "a body, the operation needs it", "nothing")
        return Asked(_with(path, query), headers, None)
    headers["Content-Type"], raw = _body(operation, body, lists)
    return Asked(_with(path, query), headers, raw)


def with_parameter(path: str, name: str, value: str) -> str:
    """The same path with this query parameter set; the others stay as they are written."""
    before, _, query = path.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) != name]
    return _with(before, [*kept, f"{_percent(name)}={_percent(value)}"])


def credentials(auth: object) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Headers, and at most one query parameter, that every request carries. OAuth 2.0 and logins: none, see adapters.rest.token."""
    match auth:
        case ApiKey() if auth.query:
            return {}, (auth.query, f"{auth.prefix}{auth.value}")
        case ApiKey() if auth.cookie:
            return {"Cookie": f"{auth.cookie}={quote(auth.prefix + auth.value, safe='')}"}, None
        case ApiKey():
            return {auth.header: f"{auth.prefix}{auth.value}"}, None
        case Bearer():
            return {"Authorization": f"Bearer {auth.token}"}, None
        case Basic():
            return {"Authorization": "Basic " + b64encode(f"{auth.user}:{auth.password}".encode()).decode()}, None
    return {}, None


def secrets(auth: object) -> tuple[str, ...]:
    """What must not be repeated where we speak of an answer."""
    match auth:
        case ApiKey():
            return (auth.value,)
        case Bearer():
            return (auth.token,)
        case Basic():
            return auth.password, credentials(auth)[0]["Authorization"].removeprefix("Basic ")
        case OAuth2():
            return auth.client_secret, auth.password, auth.refresh_token
        case SessionLogin():
            return (auth.password,)
    return ()


def decoded(body: bytes, content_type: str, also: Collection[str] = ()) -> Any:
    """JSON with numbers as int or Decimal, under a JSON media type or one of `also`. Raises Unusable for anything else: another type,
    broken, nested too deeply.
    """
    if not is_json(content_type) and content_type not in also:
        raise Unusable("Content-Type", "application/json", content_type or "nothing")
    return _read(_DECODER.decode, body.removeprefix(b"\xef\xbb\xbf"))


def lines(body: bytes, content_type: str, also: Collection[str] = ()) -> list[Any]:
    """One JSON document per line, or one list of them. Raises Unusable."""
    if not is_lines(content_type):
        found = decoded(body, content_type, also)
        return found if isinstance(found, list) else [found]
    rows: list[Any] = _read(_DECODER.decode_lines, body.removeprefix(b"\xef\xbb\xbf").replace(b"\x1e", b""))
    return rows


def text(body: bytes, header: str) -> str:
    """`header`: the whole Content-Type, which may say a charset. Raises Unusable."""
    said = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", header, re.IGNORECASE)
    charset = said[1] if said else "utf-8"
    try:
        if codecs.lookup(charset).name.replace("_", "-") in _NO_CHARSETS:
            raise LookupError(charset)
        return body.removeprefix(b"\xef\xbb\xbf").decode(charset)
    except (UnicodeError, LookupError) as exc:
        raise Unusable("body", f"text in {charset}", "bytes that are none") from exc


def _read(decode: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return decode(body)
    except RecursionError:
        raise Unusable("body", "JSON of reasonable depth", "nesting too deep to read") from None
    except msgspec.DecodeError as exc:
        raise Unusable("body", "JSON", str(exc)[:200]) from exc
    except (ValueError, ArithmeticError) as exc:  # a number that even Decimal refuses
        raise Unusable("body", "JSON with numbers of reasonable size", str(exc)[:200]) from exc


def next_link(header: str, base: str, here: str) -> str | None:
    """Path and query of RFC 8288's rel="next", below `base` (scheme, host, path). Raises Unusable if it leads to another origin."""
    found = next((target for target, relations in _links(header) if "next" in relations), None)
    return None if found is None else below(found, base, here, "header Link")


def below(target: str, base: str, here: str, where: str) -> str:
    """Path and query of an address, relative to `base`; `here` is the path it was found at. Raises Unusable if it leads elsewhere."""
    try:
        origin, there = urlsplit(base), urlsplit(target)
    except ValueError:
        raise Unusable(where, "an absolute URL or path", target[:100]) from None
    if there.scheme or there.netloc:
        if (there.scheme.lower(), there.netloc.lower()) != (origin.scheme.lower(), origin.netloc.lower()):
            raise Unusable(where, f"the next page at {origin.netloc}", f"one at {there.netloc[:100] or target[:100]}")
    elif not target.startswith(("/", "?")):
        raise Unusable(where, "an absolute URL or path", target[:100])
    folder = origin.path.rstrip("/")
    path = there.path or urlsplit(here).path
    if folder and (path == folder or path.startswith(f"{folder}/")):
        path = path.removeprefix(folder)
    return urlunsplit(("", "", path, there.query, ""))


def _links(header: str) -> Iterator[tuple[str, list[str]]]:
    for part in header[:8_000].split("<")[1:]:
        target, _, rest = part.partition(">")
        for parameter in rest.split(";"):
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "rel":
                yield target.strip(), value.strip().rstrip(",").strip().strip('"').lower().split()


def _with(path: str, query: list[str]) -> str:
    return f"{path}?{'&'.join(query)}" if query else path


def _percent(text: str) -> str:
    return quote(text, safe="$")


_SEPARATORS = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}


def _flat(parameter: Parameter, value: Any, write: Callable[[str], str]) -> str:
    """One text: simple style, and every style that does not explode."""
    if parameter.json:
        return write(_json(value, parameter.field).decode())
    between = _SEPARATORS.get(parameter.style, ",")
    if isinstance(value, Mapping):
        members = [(write(str(n)), write(_text(v, f"{parameter.field}.{n}"))) for n, v in value.items() if v is not None]
        return between.join(f"{n}={v}" if parameter.explode else f"{n}{between}{v}" for n, v in members)
    if isinstance(value, list | tuple):
        return between.join(write(_text(v, parameter.field)) for v in value)
    return write(_text(value, parameter.field))


def _in_path(parameter: Parameter, value: Any) -> str:
    text = _flat(parameter, value, lambda v: quote(v, safe=""))
    return {"label": f".{text}", "matrix": f";{_percent(parameter.name)}={text}"}.get(parameter.style, text)


def _pairs(parameter: Parameter, value: Any, write: Callable[[str], str]) -> list[str]:
    """`name=value`, as often as the style wants it."""
    name, several = write(parameter.name), isinstance(value, Mapping | list | tuple)
    if parameter.json or not several:
        return [f"{name}={_flat(parameter, value, write)}"]
    if parameter.style == "deepObject":
        return [f"{write(n)}={write(v)}" for n, v in _nested(parameter.name, value, "indices")]
    if parameter.explode and isinstance(value, Mapping):
        return [f"{write(str(n))}={write(_text(v, f'{parameter.field}.{n}'))}" for n, v in value.items() if v is not None]
    if parameter.explode:
        return [f"{name}={write(_text(v, parameter.field))}" for v in value]
    return [f"{name}={_flat(parameter, value, write)}"]


def _nested(name: str, value: Any, lists: Lists) -> Iterator[tuple[str, str]]:
    """Members and rows in brackets: `address[city]`, `lines[0][sku]`; texts of a list as `lists` says."""
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield from _nested(f"{name}[{member}]", inner, lists)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            rows = isinstance(inner, Mapping | list | tuple)
            suffix = f"[{index}]" if rows or lists == "indices" else "[]" if lists == "brackets" else ""
            yield from _nested(f"{name}{suffix}", inner, lists)
    elif value is not None:
        yield name, _text(value, name)


def _json(value: Any, where: str) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (TypeError, msgspec.EncodeError, RecursionError) as exc:
        raise Unusable(f"request.{where}", "values that JSON can hold", str(exc)[:200]) from exc


def _body(operation: Operation, body: Any, lists: Lists) -> tuple[str, bytes]:
    """Content type and bytes."""
    media = operation.body
    if is_json(media):
        return media, _json(body, "body")
    if is_lines(media) and isinstance(body, list | tuple):
        return media, b"".join(_json(row, "body") + b"\n" for row in body)
    if media in (_FORM, _MULTIPART):
        if not isinstance(body, Mapping):
            raise Unusable("request.body", "members of a form", type(body).__name__)
        return _form(operation, body, lists) if media == _FORM else _multipart(body)
    if isinstance(body, str):
        return f"{media}; charset=utf-8" if media.startswith("text/") else media, body.encode()
    raise Unusable("request.body", "a JSON or form body, or a text", media)


def _form(operation: Operation, body: Mapping[str, Any], lists: Lists) -> tuple[str, bytes]:
    pairs: list[str] = []
    for name, value in body.items():
        if value is not None and (style := operation.encoding.get(name)) is not None:
            pairs += _pairs(style, value, quote_plus)
        else:
            pairs += [f"{quote_plus(n)}={quote_plus(v)}" for n, v in _nested(name, value, lists)]
    return _FORM, "&".join(pairs).encode()


def _multipart(body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Objects travel as JSON, everything else as text. The boundary is made of the content, so that it does not occur in it."""
    parts: list[bytes] = []
    for name, value in body.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if one is not None:
                kind = b"Content-Type: application/json\r\n" if isinstance(one, Mapping) else b""
                content = _json(one, f"body.{name}") if isinstance(one, Mapping) else _text(one, f"body.{name}").encode()
                label = quote(name, safe=" []").encode()
                parts.append(b'Content-Disposition: form-data; name="%b"\r\n%b\r\n%b\r\n' % (label, kind, content))
    boundary = sha256(b"".join(parts)).hexdigest()
    line = f"--{boundary}".encode()
    return f"{_MULTIPART}; boundary={boundary}", b"".join(line + b"\r\n" + part for part in parts) + line + b"--\r\n"


def _text(value: object, field: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case Decimal() if value.is_finite() and -30 < value.adjusted() < 30:
            return f"{value:f}"
        case datetime() | date() | time():
            return value.isoformat()
    raise Unusable(f"request.{field}", "a single value", type(value).__name__)

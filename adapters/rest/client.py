"""Requests and answers as bytes: paths, queries, headers and bodies written; JSON read without losing a digit."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from adapters.rest.contract import Operation, is_json
from adapters.rest.spec import ApiKey, Basic, Bearer, OAuth2

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_FORM = "application/x-www-form-urlencoded"


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


def written(operation: Operation, request: Mapping[str, Any]) -> Asked:
    """Raises Unusable for a missing path parameter or a value that has no place there."""
    path, query, headers = operation.path, list[tuple[str, str]](), {"Accept": "application/json, application/*+json;q=0.9"}
    cookies: list[str] = []
    for parameter in operation.parameters:
        value = request.get(parameter.field)
        if value is None:
            if parameter.place == "path":
                raise Unusable(f"request.{parameter.field}", "a value, the path needs it", "nothing")
            continue
        values = [_text(v, parameter.field) for v in (value if isinstance(value, list | tuple) else (value,))]
        match parameter.place:
            case "path":
                path = path.replace(f"{{{parameter.name}}}", quote(",".join(values), safe=""))
            case "query" if parameter.explode:
                query += [(parameter.name, v) for v in values]
            case "query":
                query.append((parameter.name, ",".join(values)))
            case "header":
                headers[parameter.name] = ",".join(values)
            case "cookie":
                cookies += [f"{parameter.name}={quote(v, safe='')}" for v in values]
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    body = request.get("body")
    if body is None:
        if operation.body_required:
            raise Unusable("request.body", "a body, the operation needs it", "nothing")
        return Asked(_with(path, query), headers, None)
    headers["Content-Type"] = operation.body
    return Asked(_with(path, query), headers, _body(operation.body, body))


def with_parameter(path: str, name: str, value: str) -> str:
    """The same path with this query parameter set."""
    parts = urlsplit(path)
    query = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n != name]
    return _with(parts.path, [*query, (name, value)])


def credentials(auth: ApiKey | Bearer | Basic | OAuth2 | None) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Headers, and at most one query parameter, that every request carries. OAuth 2.0: none, see adapters.rest.token."""
    match auth:
        case ApiKey() if auth.query:
            return {}, (auth.query, auth.value)
        case ApiKey():
            return {auth.header: auth.value}, None
        case Bearer():
            return {"Authorization": f"Bearer {auth.token}"}, None
        case Basic():
            return {"Authorization": "Basic " + b64encode(f"{auth.user}:{auth.password}".encode()).decode()}, None
    return {}, None


def decoded(body: bytes, content_type: str) -> Any:
    """JSON with numbers as int or Decimal. Raises Unusable for anything else: another type, broken, nested too deeply."""
    if not is_json(content_type):
        raise Unusable("Content-Type", "application/json", content_type or "nothing")
    try:
        return _DECODER.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        raise Unusable("body", "JSON of reasonable depth", "nesting too deep to read") from None
    except msgspec.DecodeError as exc:
        raise Unusable("body", "JSON", str(exc)[:200]) from exc
    except (ValueError, ArithmeticError) as exc:  # a number that even Decimal refuses
        raise Unusable("body", "JSON with numbers of reasonable size", str(exc)[:200]) from exc


def next_link(header: str, base: str, here: str) -> str | None:
    """Path and query of RFC 8288's rel="next", below `base` (scheme, host, path). Raises Unusable if it leads to another origin."""
    for target, relations in _links(header):
        if "next" in relations:
            origin, there = urlsplit(base), urlsplit(target)
            if there.scheme or there.netloc:
                if (there.scheme.lower(), there.netloc.lower()) != (origin.scheme.lower(), origin.netloc.lower()):
                    raise Unusable("header Link", f"the next page at {origin.netloc}", f"one at {there.netloc[:100] or target[:100]}")
            elif not target.startswith(("/", "?")):
                raise Unusable("header Link", "an absolute URL or path", target[:100])
            path = there.path.removeprefix(origin.path.rstrip("/")) if there.path else urlsplit(here).path
            return urlunsplit(("", "", path, there.query, ""))
    return None


def _links(header: str) -> Iterator[tuple[str, list[str]]]:
    for part in header[:8_000].split("<")[1:]:
        target, _, rest = part.partition(">")
        for parameter in rest.split(";"):
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "rel":
                yield target.strip(), value.strip().rstrip(",").strip().strip('"').lower().split()


def _with(path: str, query: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def _body(media: str, body: Any) -> bytes:
    if media == _FORM:
        if not isinstance(body, Mapping):
            raise Unusable("request.body", "members of a form", type(body).__name__)
        pairs = [(n, v) for n, value in body.items() if value is not None for v in (value if isinstance(value, list | tuple) else (value,))]
        return urlencode([(n, _text(v, f"body.{n}")) for n, v in pairs]).encode()
    if not is_json(media):
        raise Unusable("request.body", "a JSON or form body", media)
    try:
        return _ENCODER.encode(body)
    except (TypeError, msgspec.EncodeError, RecursionError) as exc:
        raise Unusable("request.body", "values that JSON can hold", str(exc)[:200]) from exc


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

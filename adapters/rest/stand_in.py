"""How a REST system speaks: operations found by method and route template, documents as JSON, errors in the declared form."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from adapters.rest.client import credentials, decoded
from adapters.rest.contract import Operation, RestContract
from adapters.rest.errors import member
from adapters.rest.spec import CursorPaging, NumberedPaging, OAuth2, OperationOptions, RestOptions
from adapters.speaker import Asked, Said

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_JSON = "application/json"


class RestSpeaker:
    """Implements adapters.speaker.Speaker. A token endpoint is answered wherever its path is asked for."""

    def __init__(self, contract: RestContract, options: RestOptions) -> None:
        self._contract, self._options = contract, options
        described = [contract.operation(name) for name in contract.operations()]
        self._routes = sorted(((o.method, _template(o.path), o.path, o.name) for o in described), key=lambda r: r[2].count("{"))
        auth = options.auth
        self._token_path = urlsplit(auth.token_url).path if isinstance(auth, OAuth2) else ""
        self._headers, self._key = credentials(auth)

    def operation(self, asked: Asked) -> str | None:
        if self._token_path and asked.path == self._token_path:
            return ""
        return next((name for method, route, _, name in self._routes if method == asked.method and route.fullmatch(asked.path)), None)

    def prepared(self, operation: str, document: Any) -> Any:
        if isinstance(document, bytes | str):
            document = decoded(document if isinstance(document, bytes) else document.encode(), _JSON)
            if (wraps := self._contract.operation(operation).wraps) and not (isinstance(document, dict) and wraps in document):
                return {wraps: document}
        return document

    def answer(self, operation: str, document: Any, asked: Asked) -> Said:
        described = self._contract.operation(operation)
        status = int(next((s for s in sorted(described.declared) if s.startswith("2") and s.isdigit()), "200"))
        if not described.answers or document is None:
            return Said(status if status in (202, 204, 205) else 204)
        document = self._last_page(described, document, asked)
        content = document[described.wraps] if described.wraps and isinstance(document, dict) and described.wraps in document else document
        return Said(status, _ENCODER.encode(content), _JSON)

    def _last_page(self, operation: Operation, document: Any, asked: Asked) -> Any:
        paging = self._options.operations.get(operation.name, OperationOptions()).paging or self._options.paging
        match paging:
            case CursorPaging() if isinstance(document, dict):
                return _without(document, paging.next.split("."))
            case NumberedPaging() if isinstance(member(document, paging.items), list):
                page = parse_qs(asked.query).get(paging.parameter, [str(paging.first)])
                return document if page == [str(paging.first)] else _emptied(document, paging.items.split("."))
            case _:  # a Link header is not sent
                return document

    def logs_in(self, operation: str) -> bool:
        return operation == "" and bool(self._token_path)

    def session(self, operation: str, asked: Asked, token: str) -> Said:
        return Said(200, _ENCODER.encode({"access_token": token, "token_type": "Bearer", "expires_in": 3600}), _JSON)

    def admitted(self, operation: str, asked: Asked, tokens: frozenset[str]) -> str | None:
        auth = self._options.auth
        if isinstance(auth, OAuth2):
            if operation == "":
                form, basic = parse_qs(asked.body.decode("utf-8", "replace")), asked.headers.get("authorization", "")
                known = form.get("client_secret") == [auth.client_secret] if auth.in_body else basic.startswith("Basic ")
                return None if known else "credentials"
            scheme, _, token = asked.headers.get("authorization", "").partition(" ")
            return None if scheme == "Bearer" and token in tokens else "session"
        if any(asked.headers.get(name.lower()) != value for name, value in self._headers.items()):
            return "credentials"
        if self._key and parse_qs(asked.query).get(self._key[0]) != [self._key[1]]:
            return "credentials"
        return None

    def refused(self, operation: str) -> Said:
        if operation == "":
            return Said(401, _ENCODER.encode({"error": "invalid_client"}), _JSON)
        return self._error(401, "UNAUTHORIZED", "these credentials are not known")

    def expired(self, operation: str) -> Said | None:
        return self._error(401, "TOKEN_EXPIRED", "the token has ended") if self._token_path else None

    def error(self, operation: str, status: int) -> Said:
        return self._error(status, "STAND_IN", "the system failed")

    def fault_in_200(self, operation: str) -> Said | None:
        return None

    def refusal(self, operation: str) -> Said:
        status = next((s for s in self._contract.operation(operation).declared if s in ("422", "409", "400")), "422")
        return self._error(int(status), "NOT_POSSIBLE", "this is not possible")

    def _error(self, status: int, code: str, message: str) -> Said:
        body: dict[str, Any] = {}
        for path, value in ((self._options.errors.code, code), (self._options.errors.message, message)):
            *above, last = path.split(".")
            here = body
            for name in above:
                here = here.setdefault(name, {})
            here[last] = value
        return Said(status, _ENCODER.encode(body), _JSON)


def _template(path: str) -> re.Pattern[str]:
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", path)))


def _without(document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """A copy without the member at a path."""
    head, *rest = path
    inner = document.get(head)
    if rest:
        return {**document, head: _without(inner, rest)} if isinstance(inner, dict) else document
    return {name: value for name, value in document.items() if name != head}


def _emptied(document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """A copy whose list at a path is empty."""
    head, *rest = path
    return {**document, head: _emptied(document[head], rest) if rest else []}

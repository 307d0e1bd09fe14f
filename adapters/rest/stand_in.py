"""How a REST system speaks: operations found by method and route template, documents as JSON, errors in the declared form."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import msgspec

from adapters.rest.client import Unusable, credentials, decoded
from adapters.rest.contract import Operation, RestContract
from adapters.rest.errors import member
from adapters.rest.spec import (
    AddressPaging,
    ApiKey,
    CursorPaging,
    Meaning,
    NumberedPaging,
    OAuth2,
    OffsetPaging,
    OperationOptions,
    RestOptions,
    SessionLogin,
)
from adapters.speaker import Asked, Said
from mappings.language.sample import document as sample

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
        path = asked.path.removeprefix(self._contract.base)  # which the driver adds to an endpoint without a path, as a stand-in's is
        return next((name for method, route, _, name in self._routes if method == asked.method and route.fullmatch(path)), None)

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
        match described.answers:
            case "text":
                return Said(status, str(content).encode(), "text/plain; charset=utf-8")
            case "lines":
                rows = content if isinstance(content, list) else [content]
                return Said(status, b"".join(_ENCODER.encode(row) + b"\n" for row in rows), "application/x-ndjson")
            case _:
                return Said(status, _ENCODER.encode(content), _JSON)

    def _last_page(self, operation: Operation, document: Any, asked: Asked) -> Any:
        paging = self._options.operations.get(operation.name, OperationOptions()).paging or self._options.paging
        if not isinstance(document, dict):
            return document
        match paging:
            case CursorPaging():
                document = _put(document, paging.next, None)
                return _put(document, paging.more, False) if paging.more else document
            case AddressPaging():
                return _put(document, paging.next, None)
            case NumberedPaging() | OffsetPaging():
                items = member(document, paging.items)
                if not isinstance(items, list):
                    return document
                if _asked_for(paging.parameter, asked) not in (None, str(getattr(paging, "first", 0))):
                    return _put(document, paging.items, [])
                for name, number in ((paging.total, len(items)), (getattr(paging, "pages", ""), 1)):
                    document = _put(document, name, number) if name else document
                return document
            case _:  # a Link header is not sent
                return document

    def logs_in(self, operation: str) -> bool:
        auth = self._options.auth
        return auth.operation == operation if isinstance(auth, SessionLogin) else operation == "" and bool(self._token_path)

    def session(self, operation: str, asked: Asked, token: str) -> Said:
        auth = self._options.auth
        if not isinstance(auth, SessionLogin):
            return Said(200, _ENCODER.encode({"access_token": token, "token_type": "Bearer", "expires_in": 3600}), _JSON)
        described = self._contract.operation(operation)
        message = described.exchange.answer
        document: Any = sample(message, optional=False) if message is not None else {}
        if auth.cookie:
            said = self.answer(operation, document, asked)
            return Said(said.status, said.body, said.content_type, {"Set-Cookie": f"{auth.cookie}={token}; Path=/; HttpOnly"})
        where = ".".join(filter(None, (described.wraps, auth.token)))
        return self.answer(operation, _put(document, where, token), asked)

    def admitted(self, operation: str, asked: Asked, tokens: frozenset[str]) -> str | None:
        auth = self._options.auth
        if not self._options.operations.get(operation, OperationOptions()).authenticated:
            return None
        if isinstance(auth, OAuth2):
            if operation == "":
                sent = asked.body.decode("utf-8", "replace") if auth.in_body else _basic(asked)
                return None if auth.client_secret in unquote_plus(sent) else "credentials"
            scheme, _, token = asked.headers.get("authorization", "").partition(" ")
            return None if scheme == "Bearer" and token in tokens else "session"
        if isinstance(auth, SessionLogin):
            if operation == auth.operation:
                sent = unquote_plus(asked.body.decode("utf-8", "replace") + asked.query)
                return None if auth.user in sent and auth.password in sent else "credentials"
            carried = _cookies(asked).get(auth.cookie, "") if auth.cookie else asked.headers.get(auth.header.lower(), "")
            return None if carried.removeprefix("" if auth.cookie else auth.prefix) in tokens else "session"
        if isinstance(auth, ApiKey) and auth.cookie and not auth.query:
            return None if unquote_plus(_cookies(asked).get(auth.cookie, "")) == f"{auth.prefix}{auth.value}" else "credentials"
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
        auth = self._options.auth
        if isinstance(auth, SessionLogin):
            if not auth.expired:
                return None
            code = auth.expired[0]
            return self._error(int(code), "EXPIRED", "the session has ended") if code.isdigit() else self._error(401, code, "it has ended")
        return self._error(401, "TOKEN_EXPIRED", "the token has ended") if self._token_path else None

    def error(self, operation: str, status: int) -> Said:
        return self._error(status, "STAND_IN", "the system failed")

    def fault_in_200(self, operation: str) -> Said | None:
        """As the options declare it: a member of a successful answer that says that it failed."""
        rule = next((m for m in self._meanings(operation) if m.means == "failed" and m.member), None)
        if rule is None:
            return None
        body = _put(
            self._body("STAND_IN" if rule.code is None else rule.code, "the system failed"),
            rule.member,
            "failed" if rule.equals is None else rule.equals,
        )
        return Said(rule.status or 200, _ENCODER.encode(body), _JSON)

    def refusal(self, operation: str) -> Said:
        """With a status that the options give no other meaning."""
        declared, meanings = self._contract.operation(operation).declared, self._meanings(operation)
        if rule := next((m for m in meanings if m.means == "rejected" and not m.member), None):
            return self._error(rule.status or 422, rule.code or "NOT_POSSIBLE", "this is not possible")
        free = [s for s in ("422", "409", "400") if all(m.status != int(s) for m in meanings)]
        return self._error(int(next((s for s in free if s in declared), (free or ["422"])[0])), "NOT_POSSIBLE", "this is not possible")

    def _meanings(self, operation: str) -> tuple[Meaning, ...]:
        return (*self._options.operations.get(operation, OperationOptions()).meanings, *self._options.meanings)

    def _error(self, status: int, code: str, message: str) -> Said:
        return Said(status, _ENCODER.encode(self._body(code, message)), _JSON)

    def _body(self, code: str, message: str) -> dict[str, Any]:
        body: dict[str, Any] = _put(_put({}, self._options.errors.code, code), self._options.errors.message, message)
        return body


def _template(path: str) -> re.Pattern[str]:
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", path)))


def _put(document: Any, path: str, value: Any) -> Any:
    """A copy with a member at a dotted path (a number is a place in a list); None takes it away."""
    head, _, rest = path.partition(".")
    if head.isdigit():
        return [_put((document or [{}])[0] if isinstance(document, list) else {}, rest, value) if rest else value]
    made = dict(document) if isinstance(document, dict) else {}
    if rest:
        made[head] = _put(made.get(head), rest, value)
    elif value is None:
        made.pop(head, None)
    else:
        made[head] = value
    return made


def _asked_for(parameter: str, asked: Asked) -> str | None:
    """What a request says of its page: in the query, or in a member of its body."""
    if parameter.startswith("body."):
        try:
            found = member(decoded(asked.body, _JSON), parameter.removeprefix("body."))
        except Unusable:
            return None
        return None if found is None else str(found)
    return next(iter(parse_qs(asked.query).get(parameter, ())), None)


def _basic(asked: Asked) -> str:
    try:
        return b64decode(asked.headers.get("authorization", "").removeprefix("Basic ")).decode("utf-8", "replace")
    except ValueError:
        return ""


def _cookies(asked: Asked) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in asked.headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}

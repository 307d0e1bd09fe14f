"""Tokens: asked for at an OAuth 2.0 endpoint (RFC 6749 §4.3, §4.4, §6) or by a login operation, and how long one is used."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from adapters.login import CredentialsRefused, Token
from adapters.rest.client import Unusable, decoded, secrets, text, written
from adapters.rest.contract import RestContract
from adapters.rest.errors import member, said, without
from adapters.rest.spec import ErrorBody, OAuth2, SessionLogin
from adapters.wire import Wire, WireAnswer
from contracts.errors import ContractViolation, UpstreamError, UpstreamFault
from observability import Step, step

OPERATION = "token"
"""What the exchange is called in traces and errors."""
_LIMIT = 100_000
_LIFE = 300.0
"""Seconds a token is used for when the server does not say how long it lives."""


class TokenEndpoint:
    """Asks for tokens. Call it with the seconds it may take. Raises UpstreamError; CredentialsRefused when ours are not accepted."""

    def __init__(self, system: str, options: OAuth2, wire: Wire) -> None:
        self._system, self._options, self._wire = system, options, wire
        self._refresh = options.refresh_token

    async def __call__(self, seconds: float) -> Token:
        if self._refresh:
            try:
                return await self._asked({"grant_type": "refresh_token", "refresh_token": self._refresh}, seconds)
            except CredentialsRefused:
                if self._options.grant == "refresh_token":
                    raise
                self._refresh = ""  # it has ended too: once more with the credentials
        form: dict[str, str] = {"grant_type": self._options.grant}
        if self._options.grant == "password":
            form |= {"username": self._options.user, "password": self._options.password}
        return await self._asked(form, seconds)

    async def _asked(self, form: dict[str, str], seconds: float) -> Token:
        options = self._options
        with step(Step.ATTEMPT, system=self._system, operation=OPERATION, protocol="rest", method="POST") as hop:
            form = {**form, **({"scope": options.scope} if options.scope else {}), **options.extra}
            headers = {"Content-Type": "application/json" if options.json else "application/x-www-form-urlencoded"}
            headers["Accept"] = "application/json"
            if options.in_body:
                form |= {"client_id": options.client_id, "client_secret": options.client_secret}
            else:
                pair = f"{quote_plus(options.client_id)}:{quote_plus(options.client_secret)}"
                headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
            address = urlsplit(options.token_url)
            path = f"{address.path}?{address.query}" if address.query else address.path
            body = msgspec.json.encode(form) if options.json else urlencode(form).encode()
            answer = await self._wire.exchange(
                OPERATION, "POST", path, headers, body, seconds, traceparent=hop.traceparent, body_limit=_LIMIT
            )
            hop.set(status=answer.status)
            token, refresh = _read(self._system, answer, (*secrets(options), self._refresh))
            self._refresh = refresh or self._refresh
            return token


async def session_token(
    system: str, options: SessionLogin, contract: RestContract, wire: Wire, headers: dict[str, str], errors: ErrorBody, seconds: float
) -> Token:
    """The token of a login by an ordinary operation. Raises as TokenEndpoint does."""
    described = contract.operation(options.operation)
    request: dict[str, Any] = {}
    given = {**options.request, options.user_field: options.user, options.password_field: options.password}
    for path, value in given.items():
        *above, last = path.split(".")
        here = request
        for name in above:
            here = here.setdefault(name, {})
        here[last] = value
    at: dict[str, Any] = {"system": system, "operation": options.operation}
    with step(Step.ATTEMPT, **at, protocol="rest", method=described.method) as hop:
        try:
            asked = written(described, contract.on_wire(options.operation, request))
            answer = await wire.exchange(
                options.operation,
                described.method,
                asked.path,
                {**asked.headers, **headers},
                asked.body,
                seconds,
                traceparent=hop.traceparent,
                body_limit=_LIMIT,
            )
            hop.set(status=answer.status)
            if not 200 <= answer.status < 300:
                raise _refused(system, options, answer, errors)
            found: Any = _cookie(answer, options.cookie) if options.cookie else _told(answer, options.token)
        except Unusable as exc:
            raise ContractViolation(**at, where=exc.where, expected=exc.expected, got=exc.got, sent=False) from exc
    if not isinstance(found, str) or not re.fullmatch(r"[!-~]{1,20000}", found):
        where = f"cookie {options.cookie}" if options.cookie else options.token or "body"
        raise ContractViolation(**at, where=where, expected="a token", got=type(found).__name__, sent=False)
    return Token(found, asyncio.get_running_loop().time() + float(options.life))


def _told(answer: WireAnswer, path: str) -> Any:
    if answer.content_type.startswith("text/") and not path:
        return text(answer.body, answer.headers.get("Content-Type", "")).strip().strip('"')
    document = decoded(answer.body, answer.content_type)
    return member(document, path) if path else document


def _cookie(answer: WireAnswer, name: str) -> str | None:
    for key, header in answer.headers.items():
        if key.lower() == "set-cookie":
            said, _, value = header.partition(";")[0].partition("=")
            if said.strip() == name:
                return value.strip()
    return None


def _refused(system: str, options: SessionLogin, answer: WireAnswer, errors: ErrorBody) -> UpstreamError:
    try:
        code, message = (without(text, secrets(options)) for text in said(decoded(answer.body, answer.content_type), errors))
    except Unusable:
        code = message = ""
    reason = f"no login: HTTP {answer.status}" + (f" {code}" if code else "") + (f", {message}" if message else "")
    if answer.status in (400, 401, 403, 422):
        return CredentialsRefused(system=system, operation=options.operation, reason=reason)
    return UpstreamFault(system=system, operation=options.operation, fault_code=str(answer.status), reason=reason, sent=False)


def _read(system: str, answer: WireAnswer, ours: Iterable[str]) -> tuple[Token, str]:
    """The token, and the refresh token that came with it. `ours`: what no error may repeat."""
    try:
        document = decoded(answer.body, answer.content_type)
    except Unusable as exc:
        document, unusable = {}, exc
    else:
        unusable = Unusable("token answer", "a string access_token and token_type Bearer", "something else")
    if answer.status in (400, 401, 403):
        code, message = (without(text, ours) for text in said(document, ErrorBody(code="error", message="error_description")))
        reason = f"no token: HTTP {answer.status}" + (f" {code}" if code else "") + (f", {message}" if message else "")
        raise CredentialsRefused(system=system, operation=OPERATION, reason=reason)
    if answer.status != 200:
        raise UpstreamFault(
            system=system, operation=OPERATION, fault_code=str(answer.status), reason=f"no token: HTTP {answer.status}", sent=False
        )
    told = document if isinstance(document, dict) else {}
    token, kind = told.get("access_token"), told.get("token_type", "bearer")
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]{1,20000}", token) or str(kind).lower() != "bearer":
        raise ContractViolation(
            system=system, operation=OPERATION, where=unusable.where, expected=unusable.expected, got=unusable.got, sent=False
        )
    life, refresh = str(told.get("expires_in")), told.get("refresh_token")
    seconds = float(life) if re.fullmatch(r"[1-9][0-9]{0,7}", life, re.ASCII) else _LIFE
    # a tenth before its end, so that no clock or way is late
    return Token(token, asyncio.get_running_loop().time() + max(seconds * 0.9 - 1, 1.0)), refresh if isinstance(refresh, str) else ""

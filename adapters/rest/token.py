"""OAuth 2.0 client credentials (RFC 6749 §4.4): how a token is asked for, and how long it is used."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from urllib.parse import quote_plus, urlencode, urlsplit

from adapters.login import CredentialsRefused, Token
from adapters.rest.client import Unusable, decoded
from adapters.rest.errors import said
from adapters.rest.spec import ErrorBody, OAuth2
from adapters.wire import Wire, WireAnswer
from contracts.errors import ContractViolation, UpstreamFault
from observability import Step, step

OPERATION = "token"
"""What the exchange is called in traces and errors."""
_LIFE = 300.0
"""Seconds a token is used for when the server does not say how long it lives."""


async def new_token(system: str, options: OAuth2, wire: Wire, seconds: float) -> Token:
    """Raises UpstreamError; CredentialsRefused when the server does not accept ours."""
    with step(Step.ATTEMPT, system=system, operation=OPERATION, protocol="rest", method="POST") as hop:
        form = {"grant_type": "client_credentials", **({"scope": options.scope} if options.scope else {}), **options.extra}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if options.in_body:
            form |= {"client_id": options.client_id, "client_secret": options.client_secret}
        else:
            pair = f"{quote_plus(options.client_id)}:{quote_plus(options.client_secret)}"
            headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        path, body = urlsplit(options.token_url).path, urlencode(form).encode()
        answer = await wire.exchange(OPERATION, "POST", path, headers, body, seconds, traceparent=hop.traceparent, body_limit=100_000)
        hop.set(status=answer.status)
        return _read(system, answer)


def _read(system: str, answer: WireAnswer) -> Token:
    try:
        document = decoded(answer.body, answer.content_type)
    except Unusable as exc:
        document, unusable = {}, exc
    else:
        unusable = Unusable("token answer", "a string access_token and token_type Bearer", "something else")
    if answer.status in (400, 401, 403):
        code, message = said(document, ErrorBody(code="error", message="error_description"))
        reason = f"no token: HTTP {answer.status}" + (f" {code}" if code else "") + (f", {message}" if message else "")
        raise CredentialsRefused(system=system, operation=OPERATION, reason=reason)
    if answer.status != 200:
        raise UpstreamFault(
            system=system, operation=OPERATION, fault_code=str(answer.status), reason=f"no token: HTTP {answer.status}", sent=False
        )
    text, kind = (document.get("access_token"), document.get("token_type")) if isinstance(document, dict) else (None, None)
    if not isinstance(text, str) or not re.fullmatch(r"[!-~]{1,20000}", text) or str(kind).lower() != "bearer":
        raise ContractViolation(
            system=system, operation=OPERATION, where=unusable.where, expected=unusable.expected, got=unusable.got, sent=False
        )
    life = document.get("expires_in")
    seconds = float(life) if isinstance(life, int) and 0 < life < 10**8 else _LIFE
    return Token(text, asyncio.get_running_loop().time() + max(seconds * 0.9 - 1, 1.0))

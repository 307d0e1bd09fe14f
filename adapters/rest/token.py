"""OAuth 2.0 client credentials (RFC 6749 §4.4): one token for everybody who waits, renewed before it expires or when refused."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from urllib.parse import quote_plus, urlencode, urlsplit

from adapters.rest.client import Unusable, decoded
from adapters.rest.errors import CredentialsRefused, said
from adapters.rest.spec import ErrorBody, OAuth2
from adapters.wire import Wire
from contracts.errors import ContractViolation, UpstreamError, UpstreamFault, UpstreamTimeout

_LIFE = 300.0
"""Seconds a token is used for when the server does not say how long it lives."""


class Tokens:
    """Every error has sent=False: what wanted the token did not leave. After a refusal nobody asks again for `pause`."""

    def __init__(self, system: str, options: OAuth2, wire: Wire) -> None:
        self._system, self._options, self._wire = system, options, wire
        self._path = urlsplit(options.token_url).path
        self._lock = asyncio.Lock()
        self._token, self._until = "", 0.0
        self._refused: tuple[float, str] = (0.0, "")

    async def token(self, operation: str, seconds: float) -> str:
        if self._valid():
            return self._token
        try:
            async with asyncio.timeout(seconds), self._lock:
                if not self._valid():
                    await self._renew(operation, min(seconds, self._options.time_limit))
        except TimeoutError as exc:
            raise UpstreamTimeout(system=self._system, operation=operation, reason=f"no token within {seconds:.3g} s", sent=False) from exc
        return self._token

    def expire(self, token: str) -> None:
        """Forget this token; a newer one, fetched by somebody else meanwhile, stays."""
        if self._token == token:
            self._until = 0.0

    def _valid(self) -> bool:
        return asyncio.get_running_loop().time() < self._until

    async def _renew(self, operation: str, seconds: float) -> None:
        o, loop = self._options, asyncio.get_running_loop()
        if loop.time() < self._refused[0]:
            raise CredentialsRefused(system=self._system, operation=operation, reason=self._refused[1])
        form = {"grant_type": "client_credentials", **({"scope": o.scope} if o.scope else {}), **o.extra}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if o.in_body:
            form |= {"client_id": o.client_id, "client_secret": o.client_secret}
        else:
            pair = f"{quote_plus(o.client_id)}:{quote_plus(o.client_secret)}"
            headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        try:
            answer = await self._wire.exchange("token", "POST", self._path, headers, urlencode(form).encode(), seconds, body_limit=100_000)
        except UpstreamError as exc:
            raise type(exc)(**{**exc.data, "operation": operation, "sent": False}) from exc
        try:
            document = decoded(answer.body, answer.content_type)
        except Unusable as exc:
            document, unusable = {}, exc
        else:
            unusable = Unusable("token answer", "a string access_token and token_type Bearer", "something else")
        if answer.status in (400, 401, 403):
            code, message = said(document, ErrorBody(code="error", message="error_description"))
            reason = f"no token: HTTP {answer.status}" + (f" {code}" if code else "") + (f", {message}" if message else "")
            self._refused = loop.time() + o.pause, reason
            raise CredentialsRefused(system=self._system, operation=operation, reason=reason)
        if answer.status != 200:
            reason = f"no token: HTTP {answer.status}"
            raise UpstreamFault(system=self._system, operation=operation, fault_code=str(answer.status), reason=reason, sent=False)
        token, kind = (document.get("access_token"), document.get("token_type")) if isinstance(document, dict) else (None, None)
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]{1,20000}", token) or str(kind).lower() != "bearer":
            raise ContractViolation(
                system=self._system, operation=operation, where=unusable.where, expected=unusable.expected, got=unusable.got, sent=False
            )
        life = document.get("expires_in")
        seconds_left = float(life) if isinstance(life, int) and 0 < life < 10**8 else _LIFE
        self._token, self._until = token, loop.time() + max(seconds_left * 0.9 - 1, 1.0)

"""An issuer of access tokens on loopback, with real signatures; it rotates its keys, hangs, and talks nonsense on command.

async with running() as issuer:
    token = issuer.token(client_id="shop", scope="orders:read")
    issuer.rotate("k2")                # new tokens are signed with it; `issuer.published` says what is shown
    issuer.mood = "hang"               # or: garbage, error, huge, moved, plain (RFC 8414 only), empty
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from joserfc import jwk, jwt
from joserfc.jws import JWSRegistry

Mood = Literal["fine", "hang", "garbage", "error", "huge", "moved", "plain", "empty", "deep"]
AUDIENCE = "https://api.example.test"


@dataclass
class Issuer:
    url: str = ""
    keys: dict[str, jwk.Key] = field(default_factory=dict)
    """Private keys by their names, newest last."""
    published: set[str] = field(default_factory=set)
    mood: Mood = "fine"
    named: str = ""
    """What its metadata calls it, if not by its URL."""
    keys_at: str = ""
    """Where its metadata says that its keys are, if not there."""
    asked: list[str] = field(default_factory=list)
    """Paths, in order."""

    def rotate(self, kid: str, *, kind: Literal["EC", "RSA", "OKP"] = "EC", publish: bool = True) -> None:
        size: Any = {"EC": "P-256", "RSA": 2048, "OKP": "Ed25519"}[kind]
        self.keys[kid] = jwk.generate_key(kind, size, {"kid": kid, "use": "sig"})
        if publish:
            self.published.add(kid)

    def jwks(self) -> list[dict[str, Any]]:
        return [dict(self.keys[kid].as_dict(private=False)) for kid in self.published]

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A value of None takes the claim away."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "u1", "client_id": "shop", "scope": "orders:read", "iat": now, "exp": now + 300}
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, kid: str = "", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        kid = kid or [*self.keys][-1]
        key = self.keys[kid]
        algorithm = {"EC": "ES256", "RSA": "RS256", "OKP": "Ed25519"}[key.key_type]
        said = {"alg": algorithm, "kid": kid, "typ": "at+jwt", **(header or {})}
        registry = JWSRegistry(algorithms=[said["alg"]], strict_check_header=False)
        return jwt.encode(
            {k: v for k, v in said.items() if v is not None}, self.claims(**changes), key, registry=registry, default_type=None
        )

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                path = head.split(" ", 2)[1]
                self.asked.append(path)
                status, body, fields = self._said(path)
                if self.mood == "hang":
                    await asyncio.sleep(60)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _said(self, path: str) -> tuple[int, bytes, str]:
        nonsense = {"garbage": b"<html>\xff", "huge": b"[" + b" " * 1_000_000, "deep": b"[" * 200_000, "empty": b'{"keys": []}'}
        if self.mood == "error":
            return 500, b"{}", ""
        if self.mood == "moved":
            return 302, b"", "Location: http://127.0.0.1:1/\r\n"
        if path == "/jwks":
            return 200, nonsense.get(self.mood) or json.dumps({"keys": self.jwks()}).encode(), "Content-Type: application/json\r\n"
        known = "/.well-known/oauth-authorization-server" if self.mood == "plain" else "/.well-known/openid-configuration"
        tail = self.url.partition("://")[2].partition("/")[2].strip("/")
        expected = known + ("/" + tail if tail else "") if self.mood == "plain" else ("/" + tail if tail else "") + known
        if path != expected:
            return 404, b"", ""
        origin = "/".join(self.url.split("/")[:3])
        return 200, json.dumps({"issuer": self.named or self.url, "jwks_uri": self.keys_at or f"{origin}/jwks"}).encode(), ""


@asynccontextmanager
async def running(path: str = "") -> AsyncIterator[Issuer]:
    issuer = Issuer()
    issuer.rotate("k1")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(issuer.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    try:
        yield issuer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

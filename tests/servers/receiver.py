"""A receiver of webhooks on loopback: it keeps what it is told and answers as it is told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Post:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)  # type: ignore[no-any-return]  # JSON

    def signed_with(self, secret: str) -> bool:
        """As the manual of Standard Webhooks checks it, with the secret as it was shown."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(f"v1,{wanted}", each) for each in self.headers["webhook-signature"].split())


@dataclass
class Receiver:
    """`answer` of each post: a status, or a whole answer in bytes; `hold` makes it wait."""

    answer: Callable[[Post], int | bytes] = lambda _: 204
    posts: list[Post] = field(default_factory=list)
    url: str = ""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        return [post.event["id"] for post in self.posts]

    async def has(self, count: int, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while len(self.posts) < count:
                self._heard.clear()
                await self._heard.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")[:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                post = Post(first.split()[1], headers, await reader.readexactly(int(headers.get("content-length", 0))))
                self.posts.append(post)
                self._heard.set()
                await self.open.wait()
                said = self.answer(post)
                writer.write(said if isinstance(said, bytes) else f"HTTP/1.1 {said} X\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(answer: Callable[[Post], int | bytes] = lambda _: 204, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    receiver.open.set()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        receiver.open.set()
        server.close()

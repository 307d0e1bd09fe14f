"""A wire between us and a real broker that can be cut, held up, and made to say that the broker is blocked."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Proxy:
    """`hold` keeps what the broker says from us; `cut` resets every connection; `refuse` takes no new ones."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._broker = parts.hostname, parts.port
        self._parts = parts
        self._open: set[asyncio.StreamWriter] = set()
        self._ours: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._port = 0
        self.connections = 0
        self.sent = bytearray()
        """What we said to the broker."""

    @property
    def url(self) -> str:
        return self._parts._replace(netloc=f"guest:guest@127.0.0.1:{self._port}").geturl()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    def refuse(self) -> None:
        assert self._server
        self._server.close()

    def cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()
        self.release()

    def block(self, reason: bytes = b"low on memory") -> None:
        """connection.blocked, as the broker says it; only between its own frames, so while it is silent."""
        payload = struct.pack(">HHB", 10, 60, len(reason)) + reason
        self._say(payload)

    def unblock(self) -> None:
        self._say(struct.pack(">HH", 10, 61))

    def _say(self, payload: bytes) -> None:
        for writer in self._ours:
            writer.write(struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection(*self._broker)
        except OSError:  # the broker itself is away
            writer.transport.abort()
            return
        self._open |= {writer, back}
        self._ours.add(writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back, self.sent))
                group.create_task(self._copy(there, writer, None))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= {writer, back}
            self._ours.discard(writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: bytearray | None) -> None:
        try:
            while data := await reader.read(65536):
                if log is None:
                    await self._flows.wait()
                else:
                    log += data
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    await proxy.listen()
    try:
        yield proxy
    finally:
        proxy.refuse()
        proxy.cut()
        await asyncio.sleep(0.01)

"""One system's port: an aiohttp application that can stop listening, reset, stall or cut its answers on command."""

import asyncio
import socket
import struct
from contextlib import suppress

from aiohttp import web

from sandbox.faults import Fault, Faults, System

LINGER_NOT = struct.pack("ii", 1, 0)


class Listener:
    """Serves an application at host:port (0: any free port) and keeps that port while the system refuses.

    A `refuse` rule for the whole system closes the listening socket and resets every connection: the next connect gets
    ECONNREFUSED. A second socket, bound but not listening, holds the port until the rule is gone.
    """

    def __init__(self, app: web.Application, system: System, faults: Faults, host: str = "127.0.0.1", port: int = 0) -> None:
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        self._system, self._faults, self._host, self._wanted = system, faults, host, port
        self._holder: socket.socket | None = None
        self._listening: socket.socket | None = None
        self._arriving: set[asyncio.Task[object]] = set()

    @property
    def port(self) -> int:
        if self._holder is None:
            raise RuntimeError(f"{self._system} has a port only while it runs")
        return int(self._holder.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen. OSError when the port is taken."""
        if self._wanted:
            # SO_REUSEPORT below would share a port with another sandbox of the same user: ask without it first.
            with socket.create_server((self._host, self._wanted)):
                pass
        await self._runner.setup()
        self._holder = self._bound(self._wanted)
        self._faults.watch(self._follow)
        self._follow()

    async def stop(self) -> None:
        self._shut()
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        await asyncio.gather(*self._arriving, return_exceptions=True)
        await self._runner.cleanup()

    def _bound(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((self._host, port))
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def _follow(self) -> None:
        """Open or shut as the table of faults says. Without awaiting, so that it holds when the rule is set."""
        if self._holder is None:
            return
        refused = self._faults.refused(self._system)
        if refused:
            self._shut()
        elif self._listening is None:
            self._listening = self._bound(self.port)
            self._listening.listen(512)
            asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _shut(self) -> None:
        if self._listening is None:
            return
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        self._listening = None
        for handler in list(self._runner.server.connections if self._runner.server else ()):
            if handler.transport is not None:
                _abort(handler.transport)

    def _accept(self, listening: socket.socket) -> None:
        # Own accept loop: closing an asyncio.Server between accept and attach leaves the caller's socket open for ever.
        try:
            sock, _ = listening.accept()
        except OSError:
            return
        sock.setblocking(False)
        task: asyncio.Task[object] = asyncio.ensure_future(self._attach(sock))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _attach(self, sock: socket.socket) -> None:
        if self._listening is None or self._runner.server is None:
            sock.close()
            return
        await asyncio.get_running_loop().connect_accepted_socket(self._runner.server, sock)


def reset(request: web.Request) -> web.Response:
    """Reset the caller's connection (RST) now. Returns what a handler may return afterwards: nobody reads it."""
    if request.transport is not None:
        _abort(request.transport)
    return web.Response(status=500)


async def hang(request: web.Request, faults: Faults, fault: Fault) -> web.Response:
    """Answer nothing until the fault's seconds are over, its rule is gone or the caller gave up; then reset."""
    waiting = asyncio.ensure_future(faults.hang(fault))
    try:
        while not waiting.done() and request.transport is not None:
            await asyncio.wait({waiting}, timeout=0.2)
    finally:
        waiting.cancel()
    return reset(request)


async def send_half(request: web.Request, whole: web.Response) -> web.Response:
    """Send the head with its full Content-Length and half of the body, then reset."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    part = web.StreamResponse(status=whole.status, headers=whole.headers)
    part.content_length = len(body)
    with suppress(ConnectionError):
        await part.prepare(request)
        await part.write(body[: len(body) // 2])
        # The kernel throws away what it has not sent yet when it resets: give the half a moment to arrive.
        await asyncio.sleep(0.02)
    return reset(request)


def _abort(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()

"""TLS handshakes that are bounded in number and time: a connection counts from its first packet on, not only once it is encrypted."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from observability import get_logger

_PAUSE: Final = 0.1
"""Seconds, when the process has no descriptors left: who waits is not lost."""
log = get_logger(__name__)


class Handshakes:
    """A server as `loop.create_server` makes one with `ssl`, but for its bounds: beyond `most` handshakes at once, or `per_address` from
    one address that is not `exempt`, a connection is closed unanswered, since a problem document could not be read yet.
    """

    def __init__(
        self,
        doors: Sequence[socket.socket],
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
        *,
        seconds: float,
        most: int | None = None,
        per_address: int | None = None,
        exempt: Callable[[str], bool] = lambda address: False,
    ) -> None:
        """Needs a running loop. `doors` listen already; they stay their owner's."""
        self.sockets = tuple(doors)
        self._context, self._protocol, self._seconds = context, protocol, seconds
        self._most, self._per_address, self._exempt = most, per_address, exempt
        self._addresses = Counter[str]()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._accepting = [self._loop.create_task(self._accept(door), name="tls door") for door in doors]

    def close(self) -> None:
        """No connection is taken any more; handshakes under way are given up."""
        for task in (*self._accepting, *self._tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._accepting, *self._tasks, return_exceptions=True)

    async def _accept(self, door: socket.socket) -> None:
        door.setblocking(False)
        while True:
            try:
                raw, peer = await self._loop.sock_accept(door)
            except ConnectionError:
                continue  # went away before it was taken
            except OSError as exc:
                log.warning("accept_failed", reason=exc.strerror or str(exc))
                await asyncio.sleep(_PAUSE)
                continue
            address = str(peer[0]) if isinstance(peer, tuple) else ""
            crowd = self._per_address is not None and self._addresses[address] >= self._per_address and not self._exempt(address)
            if crowd or (self._most is not None and len(self._tasks) >= self._most):
                raw.close()
                continue
            self._addresses[address] += 1
            task = self._loop.create_task(self._shake(raw, address), name="tls handshake")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shake(self, raw: socket.socket, address: str) -> None:
        try:
            with suppress(OSError):  # also ssl.SSLError and TimeoutError: no TLS, a wrong certificate, or nothing was said
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._loop.connect_accepted_socket(self._protocol, raw, ssl=self._context, ssl_handshake_timeout=self._seconds)
        finally:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

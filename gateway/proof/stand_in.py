"""A stand-in of one system on a loopback socket: it speaks from the contract, counts what it is asked, and breaks on command."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, Literal, get_args

from adapters.speaker import Asked, Said, Speaker

HEAD_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 64 * 1024 * 1024
SEEN_LIMIT: Final = 100_000
LONGEST: Final = 60.0
"""Seconds that a hanging call is held, unless its fault says so."""
_RESET: Final = struct.pack("ii", 1, 0)

Kind = Literal[
    "refuse",  # nothing listens
    "drop",  # the connection is reset before an answer
    "hang",  # the request is read, no byte is answered
    "trickle",  # the answer comes in drops, over `seconds`
    "slow",  # answered correctly after `seconds`
    "reset",  # the answer starts and the connection is reset in the middle of it
    "truncate",  # the body ends too early, under a matching Content-Length
    "garbage",  # bytes that are nothing, under the right Content-Type
    "wrong_type",  # a proxy's page instead of an answer
    "empty",  # HTTP 200 without a body
    "oversized",  # a body without end
    "error",  # the system's own error: HTTP `status`, else 500
    "fault_in_200",  # the protocol's fault under HTTP 200
    "refusal",  # a business refusal in the system's own form
    "429",  # too many requests, with Retry-After = `seconds`
    "expired",  # the session has ended: every token known so far is forgotten
    "credentials",  # our name and password are not known
    "lost_answer",  # the operation IS executed, then the connection dies without an answer
    "close_idle",  # answered, and the connection is closed without a word
]
KINDS: Final[tuple[str, ...]] = get_args(Kind)


@dataclass(eq=False)
class Fault:
    """One thing to break. After `count` calls it is spent; None: it stays."""

    kind: Kind
    operation: str = "*"
    seconds: float = 0.0
    status: int = 500
    count: int | None = None
    hits: int = 0

    def strikes(self, operation: str) -> bool:
        if self.operation not in ("*", operation) or self.count == 0:
            return False
        self.count = None if self.count is None else self.count - 1
        self.hits += 1
        return True


@dataclass(frozen=True, slots=True)
class Seen:
    """One call, as the system saw it, without headers and body: many are kept. `connection` counts from 1; `at` is the loop's clock."""

    operation: str
    at: float
    connection: int
    asked: Asked


Answer = Callable[[str, Asked], Any]
"""The prepared document of an operation. Raises LookupError where there is none."""


@dataclass(eq=False)
class StandIn:
    """`start`, then `url`. Faults may be set at any time; the first that matches decides."""

    speaker: Speaker
    answer: Answer
    spoil: Callable[[str, Any], Any] | None = None
    """What is done to a document before it is said."""
    faults: list[Fault] = field(default_factory=list)
    watcher: Callable[[Seen, str], None] | None = None
    """Is told of every call and what became of it."""
    seen: list[Seen] = field(default_factory=list)
    executed: dict[str, int] = field(default_factory=dict)
    """How often each operation was really carried out, whether or not anybody heard of it."""
    logins: int = 0
    turned_away: int = 0
    """Calls whose credentials or session were not known."""
    unknown: int = 0
    """Calls that the contract does not describe."""
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    open_connections: int = 0
    sent: int = 0
    """Bytes of bodies."""
    _tokens: set[str] = field(default_factory=set)
    _holder: socket.socket | None = None
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        if self._holder is None:
            raise RuntimeError("a stand-in has a port only while it runs")
        return int(self._holder.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Raises OSError when the port is taken."""
        if port:
            with socket.create_server(("127.0.0.1", port)):  # SO_REUSEPORT below would share it with another stand-in
                pass
        self._holder = _bound(port)
        await self.listen()

    async def listen(self) -> None:
        """Again, after `refuse`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=_bound(self.port), limit=HEAD_LIMIT, backlog=512)

    async def refuse(self) -> None:
        """Nothing listens any more; the port stays ours."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            _reset(writer)

    async def close(self) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def breaks(self, *faults: Fault) -> None:
        """These faults instead of all others."""
        self.faults = list(faults)

    def calls(self, operation: str = "") -> int:
        """How many calls of an operation (all but logins) arrived."""
        return sum(1 for s in self.seen if (s.operation == operation if operation else not self.speaker.logs_in(s.operation)))

    # ---- connections --------------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a server's callback runs in one
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        try:
            while (asked := await _read(reader)) is not None:
                if not await self._exchange(asked, number, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass  # whoever asked is gone, or speaks no HTTP; a cancellation comes from `close` alone
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, asked: Asked, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        operation = self.speaker.operation(asked)
        seen = Seen(operation or "", asyncio.get_running_loop().time(), number, replace(asked, headers={}, body=b""))
        if operation is None:
            self.unknown += 1
            self._tell(seen, "the contract describes no such operation")
            return await self._send(writer, Said(404, b"the contract of this system describes no such operation\n", "text/plain"))
        if len(self.seen) < SEEN_LIMIT:
            self.seen.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            fault = next((f for f in self.faults if f.strikes(operation)), None)
            turned_away = self.turned_away
            try:
                return await self._say(operation, asked, fault, reader, writer)
            finally:
                refused = "credentials or session not known" if self.turned_away > turned_away else "answered"
                self._tell(seen, fault.kind if fault else refused)
        finally:
            self.in_flight -= 1

    def _tell(self, seen: Seen, outcome: str) -> None:
        if self.watcher is not None:
            self.watcher(seen, outcome)

    async def _say(
        self, operation: str, asked: Asked, fault: Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        kind = fault.kind if fault else None
        if kind == "expired":
            self._tokens.clear()
            fault = kind = None
        if fault is None or kind in ("trickle", "slow", "close_idle", "reset", "truncate", "lost_answer"):
            said = self._carried_out(operation, asked)
        else:
            said = self._spoken(operation, fault)
        match kind:
            case "refuse" | "drop" | "lost_answer":
                _reset(writer)
                return False
            case "hang" | "slow":
                await _until_gone(reader, (fault.seconds if fault else 0) or LONGEST)
                return await self._send(writer, said) if kind == "slow" else False
            case "trickle" if fault is not None:
                return await self._trickle(writer, said, fault.seconds)
            case "reset":
                await self._send(writer, said, until=len(said.body) // 2)
                await asyncio.sleep(0.02)  # the kernel throws away what it has not sent yet when it resets
                _reset(writer)
                return False
            case "truncate":
                return await self._send(writer, Said(said.status, said.body[: len(said.body) // 2], said.content_type, said.headers))
            case "oversized":
                await self._without_end(writer, said)
                return False
            case _:
                return await self._send(writer, said) and kind != "close_idle"

    def _carried_out(self, operation: str, asked: Asked) -> Said:
        """What the system says when nothing is broken."""
        match self.speaker.admitted(operation, asked, frozenset(self._tokens)):
            case "credentials":
                self.turned_away += 1
                return self.speaker.refused(operation)
            case "session":
                self.turned_away += 1
                return self.speaker.expired(operation) or self.speaker.refused(operation)
        if self.speaker.logs_in(operation):
            self.logins += 1
            token = f"stand-in-{self.logins}"
            self._tokens.add(token)
            return self.speaker.session(operation, asked, token)
        try:
            document = self.answer(operation, asked)
        except LookupError:
            return self.speaker.error(operation, 501)
        self.executed[operation] = self.executed.get(operation, 0) + 1
        return self.speaker.answer(operation, self.spoil(operation, document) if self.spoil else document, asked)

    def _spoken(self, operation: str, fault: Fault) -> Said:
        right = self.speaker.error(operation, 500).content_type or "text/xml"
        match fault.kind:
            case "error":
                return self.speaker.error(operation, fault.status)
            case "429":
                said = self.speaker.error(operation, 429)
                return Said(429, said.body, said.content_type, {"Retry-After": f"{fault.seconds:.0f}"})
            case "fault_in_200":
                return self.speaker.fault_in_200(operation) or self.speaker.error(operation, 500)
            case "refusal":
                return self.speaker.refusal(operation)
            case "credentials":
                return self.speaker.refused(operation)
            case "garbage":
                return Said(200, bytes(range(256)) * 8, right)
            case "wrong_type":
                return Said(200, b"<html><body><h1>It works!</h1></body></html>", "text/html; charset=utf-8")
            case _:
                return Said(200, b"", right)

    # ---- bytes --------------------------------------------------------------------------------------------------------

    async def _send(self, writer: asyncio.StreamWriter, said: Said, until: int | None = None) -> bool:
        writer.write(_head(said, len(said.body)) + said.body[:until])
        self.sent += len(said.body)
        await writer.drain()
        return True

    async def _trickle(self, writer: asyncio.StreamWriter, said: Said, seconds: float) -> bool:
        writer.write(_head(said, len(said.body)))
        pieces = 20
        size = max(1, -(-len(said.body) // pieces))
        for start in range(0, len(said.body), size):
            await asyncio.sleep(seconds / pieces)
            writer.write(said.body[start : start + size])
            await writer.drain()
        return True

    async def _without_end(self, writer: asyncio.StreamWriter, said: Said) -> None:
        """At most 1 GiB, if nobody hangs up."""
        writer.write(_head(said, None))
        block = b" " * 65_536
        for _ in range(16_384):
            writer.write(block)
            self.sent += len(block)
            await writer.drain()


def _head(said: Said, length: int | None) -> bytes:
    try:
        reason = HTTPStatus(said.status).phrase
    except ValueError:
        reason = "Status"
    lines: Mapping[str, str] = {
        **({"Content-Type": said.content_type} if said.content_type else {}),
        **({"Content-Length": str(length)} if length is not None else {"Connection": "close"}),
        **said.headers,
    }
    return "".join([f"HTTP/1.1 {said.status} {reason}\r\n", *(f"{n}: {v}\r\n" for n, v in lines.items()), "\r\n"]).encode("latin-1")


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    """The next request of a connection; None when it is closed between two. Raises ValueError for what is no HTTP/1.1 request."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= BODY_LIMIT or "transfer-encoding" in headers:
        raise ValueError("a request of known length is expected")
    return Asked(method, target, headers, await reader.readexactly(length))


async def _until_gone(reader: asyncio.StreamReader, seconds: float) -> None:
    """For so long, or until the caller closes the connection."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await reader.read(1)


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()

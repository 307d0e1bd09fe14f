"""Recorded exchanges of a system: JSON lines, one per HTTP exchange, masked before they leave the gateway; and how they are read again."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from adapters.masking import Mask, Masking, Unmaskable
from adapters.wire import TAP, WireAnswer, WireRequest
from contracts.errors import ContractViolation, Finding, Findings, StateConflict

FOLDER = "recordings"
LINE_LIMIT = 32 * 1024 * 1024
"""Bytes of one line."""
ANSWER_LIMIT = LINE_LIMIT // 4
"""Bytes of an answer that is recorded: written as JSON it grows, and its rows stand beside it."""
EXCHANGES = 10_000
"""Lines of one file."""
BYTES = 64 * 1024 * 1024
"""Of answers in one recording."""
SECONDS = 3600.0
"""That one recording may take."""
_WAITING = 64
_WAITING_BYTES = 32 * 1024 * 1024


class Recorded(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One exchange, secrets and personal data masked. `path` is that of the request with its query; bodies are text, or base64 if `binary`.

    The exchanges of one canonical call (pages, or the calls it takes, one after the other) share `call`; the last of them says what was
    asked and what came of it.
    """

    system: str
    operation: str
    """Its name in the system's contract."""
    at: datetime
    seconds: float
    method: str
    path: str
    request_headers: dict[str, str] = {}
    request: str = ""
    status: int
    headers: dict[str, str] = {}
    answer: str = ""
    binary: bool = False
    call: str = ""
    provides: str = ""
    """`system.operation` of the estate that was performed."""
    capability: str = ""
    asked: Any = None
    """The capability's request, as JSON."""
    rows: list[Any] | None = None
    """The canonical rows that the mapping of that day made of the (masked) answers; None where `failed` says why there are none."""
    failed: str = ""

    @property
    def request_bytes(self) -> bytes:
        return base64.b64decode(self.request, validate=True) if self.binary else self.request.encode()

    @property
    def answer_bytes(self) -> bytes:
        return base64.b64decode(self.answer, validate=True) if self.binary else self.answer.encode()


def bodies(request: bytes, answer: bytes) -> dict[str, str | bool]:
    """The fields `request`, `answer` and `binary` of two bodies."""
    try:
        return {"request": request.decode(), "answer": answer.decode()}
    except UnicodeDecodeError:
        return {"request": base64.b64encode(request).decode(), "answer": base64.b64encode(answer).decode(), "binary": True}


def path(estate: Path, system: str) -> Path:
    """Where the recordings of a system are kept."""
    return estate / FOLDER / f"{system}.jsonl"


def write(file: Path, exchanges: Iterable[Recorded]) -> None:
    """Replaces the file at once, so that a reader never meets half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as out:
        out.writelines(msgspec.json.encode(exchange) + b"\n" for exchange in exchanges)
    part.replace(file)


def read(file: Path) -> Iterator[Recorded]:
    """Raises Findings with the line of the first one that is not a recorded exchange, and OSError."""
    decoder = msgspec.json.Decoder(Recorded)
    with file.open("rb") as lines:
        for number in range(1, EXCHANGES + 2):
            line = lines.readline(LINE_LIMIT + 1)
            if not line:
                return
            if number > EXCHANGES:
                raise _finding(file, number, f"more than {EXCHANGES} exchanges")
            if len(line) > LINE_LIMIT:
                raise _finding(file, number, f"more than {LINE_LIMIT} bytes in one line")
            if not line.strip():
                continue
            try:
                recorded = decoder.decode(line)
                _ = recorded.binary and (recorded.request_bytes, recorded.answer_bytes)
            except (ValueError, RecursionError) as exc:
                raise _finding(file, number, f"not a recorded exchange: {exc}") from exc
            yield recorded


def _finding(file: Path, line: int, message: str) -> Findings:
    return Findings(findings=(Finding(str(file), line, message, "record it again with `tillgate record`"),))


# ---- capturing


@dataclass(frozen=True, slots=True)
class _Heard:
    asked: WireRequest
    answer: WireAnswer
    at: datetime
    seconds: float


class _Listening:
    """Implements adapters.wire.Tap: writes down what these operations exchange; logins on the way are none of it."""

    def __init__(self, operations: Collection[str]) -> None:
        self.operations, self.heard = operations, list[_Heard]()

    async def exchange(self, asked: WireRequest, send: Callable[[Mapping[str, str]], Awaitable[WireAnswer]]) -> WireAnswer:
        if asked.operation not in self.operations:
            return await send(asked.headers)
        at, began = datetime.now(UTC), time.monotonic()
        answer = await send({k: v for k, v in asked.headers.items() if k.lower() != "if-none-match"})  # 304 says nothing
        self.heard.append(_Heard(asked, answer, at, time.monotonic() - began))
        return answer


@dataclass(frozen=True, slots=True)
class _Taken:
    """One attempt of one operation."""

    provides: str
    capability: str
    masking: Mapping[str, Masking]
    """By call."""
    request: msgspec.Struct
    heard: list[_Heard]

    @property
    def size(self) -> int:
        return sum(len(h.answer.body) for h in self.heard)


class Capture:
    """What a system exchanges while somebody listens: bounded in number, time and bytes; a listener that is too slow misses some."""

    def __init__(self, system: str, most: int, seconds: float, mask: Mask) -> None:
        self.system, self.most, self.until = system, most, asyncio.get_running_loop().time() + seconds
        self.taken = self.missed = 0
        self.left_out: Counter[str] = Counter()
        """Why exchanges were not written down."""
        self._mask = mask
        self._waiting: asyncio.Queue[_Taken] = asyncio.Queue(_WAITING)
        self._bytes = self._seen = 0

    @asynccontextmanager
    async def listening(
        self, provides: str, capability: str, masking: Mapping[str, Masking], request: msgspec.Struct
    ) -> AsyncIterator[None]:
        """Around one attempt, which it neither delays nor fails. `masking`: of each call that belongs to it."""
        tap = _Listening(masking.keys())
        around = TAP.set(tap)
        try:
            yield
        finally:
            TAP.reset(around)
            taken = _Taken(provides, capability, masking, request, tap.heard)
            if tap.heard and self._bytes + taken.size <= _WAITING_BYTES and not self._waiting.full():
                self._bytes += taken.size
                self._waiting.put_nowait(taken)
            else:
                self.missed += len(tap.heard)

    async def exchanges(self, stop: asyncio.Event) -> AsyncIterator[list[Recorded]]:
        """Masked, one list per attempt, until enough are taken, the time is over, or `stop`."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while self.taken < self.most and self._seen < BYTES:
                left = self.until - asyncio.get_running_loop().time()
                coming = asyncio.ensure_future(self._waiting.get())
                try:
                    await asyncio.wait({coming, stopped}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    coming.cancel()
                if not coming.done():
                    return
                taken = coming.result()
                self._bytes -= taken.size
                self._seen += taken.size
                try:
                    found = await asyncio.to_thread(_masked, self.system, taken, self._mask)
                except Unmaskable as exc:
                    self.left_out[f"{taken.provides}: {exc}"[:200]] += len(taken.heard)
                    continue
                self.taken += len(found)
                yield found
        finally:
            stopped.cancel()


def _masked(system: str, taken: _Taken, mask: Mask) -> list[Recorded]:
    """The request is not among it: whoever reads the recording writes it anew from the masked question, without any credentials."""
    call, found = secrets.token_hex(6), list[Recorded]()
    if any(len(heard.answer.body) > ANSWER_LIMIT for heard in taken.heard):
        raise Unmaskable(f"an answer of more than {ANSWER_LIMIT} bytes")
    asked = msgspec.to_builtins([*taken.masking.values()][-1].request(taken.request, mask))
    for number, heard in enumerate(taken.heard, 1):
        answer, last, masking = heard.answer, number == len(taken.heard), taken.masking[heard.asked.operation]
        found.append(
            Recorded(
                system=system,
                operation=heard.asked.operation,
                at=heard.at,
                seconds=round(heard.seconds, 6),
                method=heard.asked.method,
                path="",
                status=answer.status,
                headers=masking.headers(answer.headers, mask),
                **bodies(b"", masking.body(answer.body, answer.content_type, mask, heard.asked.headers)),  # type: ignore[arg-type]  # its three fields
                call=call,
                provides=taken.provides,
                capability=taken.capability,
                asked=asked if last else None,
            )
        )
    return found


class Captures:
    """At most one per system; costs nothing while there is none. Those that run together mask equal values alike."""

    def __init__(self) -> None:
        self.running: dict[str, Capture] = {}
        self._mask = Mask(b"")

    @contextmanager
    def begin(self, system: str, most: int, seconds: float) -> Iterator[Capture]:
        """Raises StateConflict while another one runs."""
        if system in self.running:
            raise StateConflict(what="recording", key=system, state="running", why="somebody records this system already")
        if not self.running:
            self._mask = Mask(secrets.token_bytes(32))
        capture = self.running[system] = Capture(system, min(most, EXCHANGES), min(seconds, SECONDS), self._mask)
        try:
            yield capture
        finally:
            del self.running[system]


# ---- replaying


@dataclass(frozen=True, slots=True)
class Replayed:
    """What today's driver and mappings make of recorded exchanges: the requests, and the rows or why there are none."""

    requests: tuple[WireRequest, ...]
    rows: list[Any] | None
    failed: str = ""


class _Headers(dict[str, str]):
    """Written in lower case, asked for in any."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)

    def getall(self, key: str, default: Sequence[str] = ()) -> Sequence[str]:
        return (self[key.lower()],) if key.lower() in self else default


class Replaying:
    """Implements adapters.wire.Tap: answers from a recording. `login` answers what is asked besides, without a network."""

    def __init__(self, operations: Collection[str], exchanges: Sequence[Recorded], login: Callable[[WireRequest], WireAnswer]) -> None:
        self._operations, self._exchanges, self._login = operations, exchanges, login
        self.asked: list[WireRequest] = []

    async def exchange(self, asked: WireRequest, send: Callable[[Mapping[str, str]], Awaitable[WireAnswer]]) -> WireAnswer:
        if asked.operation not in self._operations:
            answer = self._login(asked)
            return replace(answer, headers=_Headers((name.lower(), value) for name, value in answer.headers.items()))
        self.asked.append(asked)
        if len(self.asked) > len(self._exchanges):
            more = f"another exchange, where the recording has {len(self._exchanges)}"
            raise ContractViolation(
                system=self._exchanges[0].system, operation=asked.operation, where="paging", expected="no more", got=more
            )
        recorded = self._exchanges[len(self.asked) - 1]
        headers = _Headers(recorded.headers)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return WireAnswer(recorded.status, headers, recorded.answer_bytes, kind)


def newest(exchanges: Iterable[Recorded]) -> list[Recorded]:
    """The last calls, as many as one file may hold."""
    whole = list(calls(exchanges))
    count = sum(map(len, whole))
    while count > EXCHANGES:
        count -= len(whole.pop(0))
    return [recorded for one in whole for recorded in one]


def calls(exchanges: Iterable[Recorded]) -> Iterator[list[Recorded]]:
    """The exchanges of one call each."""
    for _, found in groupby(exchanges, lambda recorded: recorded.call or object()):
        yield list(found)


def volatile(row: Any) -> Any:
    """A row as JSON, without what says when and how it was read."""
    built = msgspec.json.decode(msgspec.json.encode(row))
    for source in built.get("provenance", ()) if isinstance(built, dict) else ():
        for name in ("receivedAt", "mappingVersion"):
            source.pop(name, None)
    return built

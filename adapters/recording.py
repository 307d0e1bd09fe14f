"""Recorded exchanges of a system: JSON lines, one per HTTP exchange, masked before they are written."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import Finding, Findings

FOLDER = "recordings"
LINE_LIMIT = 32 * 1024 * 1024
"""Bytes of one line; a body of the wire's limit fits."""
EXCHANGES = 10_000
"""Lines of one file."""


class Recorded(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One exchange, secrets and personal data masked. `path` is that of the request with its query; bodies are text, or base64 if `binary`.

    The exchanges of one canonical call (pages, one after the other) share `call`; the last of them says what was asked and what came of it.
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

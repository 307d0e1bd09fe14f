"""Files for the tills: rows written by a layout, put into a folder under their names at once, and the answers to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from adapters.files.checks import Row
from adapters.files.driver import FileContract
from adapters.files.errors import from_os, refused
from adapters.files.inbox import kept
from adapters.files.inbox.folder import Folders
from adapters.files.inbox.storage import Changed, Storage
from adapters.files.layout import Layout, Record
from adapters.files.spec import OutletOptions
from adapters.files.writing import Unwritable, Writer
from contracts.books import Refusal, Verdict

T = TypeVar("T")

FILLED: Final = ("store", "number", "created_at", "business_date")
"""Fields of a header that the gateway knows."""
MOST_ANSWER: Final = 1_000_000
"""Bytes of an answer."""
MOST_REFUSED: Final = 100_000
_ACCEPTED: Final = ("accepted", "done", "ok")
_REJECTED: Final = ("rejected", "refused", "error")


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in an answer, as JSON; keys beyond these mean nothing here."""

    state: str
    digest: str = ""
    reason: str = ""
    rejections: tuple[Refusal, ...] = ()


def unwritable(layout: Layout) -> str:
    """Why no file of this layout can be written, as far as the layout alone tells it."""
    if layout.edi or layout.file.columns or layout.file.record_length:
        return "files are written as delimited or fixed rows with record types, or as XML"
    if layout.file.encoding == "auto":
        return "a file is written in one encoding: name it"
    for header in layout.headers:
        unknown = [f.name for f in header.fields if f.required and f.name not in FILLED]
        if header.needed and unknown:
            return f"{header.name}.{unknown[0]} is required, and the gateway fills {', '.join(FILLED)}"
    return ""


class FileOutlet:
    """One kind of files of one system. Nothing is touched before the first call; the storage belongs to it."""

    def __init__(
        self,
        system: str,
        name: str,
        contract: FileContract,
        options: OutletOptions,
        folder: PurePath,
        parameters: Mapping[str, Any] | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.system, self.name, self.options = system, name, options
        self.parameters: Mapping[str, Any] = parameters or {}
        self._layout, self._writer = contract.layout, Writer(contract.layout)
        self._folder = folder
        self._answers = PurePath(options.answers) if options.answers else folder
        self._storage = storage or Folders()
        self._started = False

    async def close(self) -> None:
        await asyncio.to_thread(self._storage.close)

    def item(self, document: Mapping[str, Any]) -> bytes:
        """As it will stand in a file. Raises BadFile for what the layout cannot hold."""
        try:
            return self._writer.transaction(_row(self._layout.transaction, document))
        except (Unwritable, ValueError) as error:
            raise refused(self.name, str(error)) from error

    def file(
        self, documents: Sequence[Mapping[str, Any]], store: str, number: int, at: datetime, zone: ZoneInfo | None
    ) -> tuple[str, bytes]:
        """Name and content. Raises BadFile."""
        layout = self._layout
        local = at.astimezone(zone).replace(tzinfo=None, microsecond=0) if zone else at.replace(tzinfo=None, microsecond=0)
        known = {"store": store, "number": number, "created_at": local, "business_date": local.date()}
        around = tuple(tuple(known.get(f.name) for f in header.fields) for header in layout.headers)
        top = layout.transaction
        rows = [_row(top, document) for document in documents]
        own = len(top.fields)
        rows = [(*row[:own], *around, *row[own + len(around) :]) for row in rows]
        name = self.options.named(store, number, local)
        if layout.pattern.fullmatch(name) is None:
            raise refused(name, f"the layout's names look otherwise: {layout.pattern.pattern}")
        try:
            return name, self._writer.file(rows, number).body
        except (Unwritable, ValueError) as error:
            raise refused(name, str(error)) from error

    async def hide(self, name: str, token: str, body: bytes) -> None:
        """Whole and durable beside where it will stand. Raises UpstreamError."""
        await self._do(lambda: kept.written(self._storage, self._folder, name, token, body), f"{name} cannot be written")

    async def publish(self, name: str, token: str, own: str, *, first: bool = False) -> bool:
        """The hidden one whose token counts gets its name; False when it had it before. `first`: nobody has tried it before. Raises
        UpstreamError."""
        return await self._do(
            lambda: kept.published(self._storage, self._folder, name, token, own, first=first), f"{name} cannot be written"
        )

    async def answer(self, name: str, digest: str) -> Verdict | None:
        """None while there is none. Raises BadFile for one that says nothing, or is about another content; UpstreamError."""
        said = self.options.answer_to(name)
        body = await self._do(lambda: self._read(self._answers / said), f"{said} cannot be read")
        return None if body is None else _verdict(said, body, digest)

    async def forget(self, name: str) -> None:
        """The answer is in the books. Raises UpstreamError."""
        said = self.options.answer_to(name)
        await self._do(lambda: self._storage.remove(self._answers / said), f"{said} cannot be removed")

    def _read(self, path: PurePath) -> bytes | None:
        try:
            status = self._storage.status(path)
            if status.refused:
                return b"\0"  # a link, a folder or a device is no answer
            with self._storage.open(path, status.stamp, most=MOST_ANSWER + 1) as source:
                body = b""
                while len(body) <= MOST_ANSWER and (block := source.read(MOST_ANSWER + 1 - len(body))):
                    body += block
                return body if self._storage.unchanged(source, status.stamp) else None
        except (FileNotFoundError, Changed):
            return None

    async def _do(self, work: Callable[[], T], what: str) -> T:
        if not self._started:
            self._started = True
            self._storage.start()
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise from_os(error, self.system, self.name, what) from error


def _verdict(name: str, body: bytes, digest: str) -> Verdict:
    """JSON, or KEY=VALUE in lines with REJECTED=key;reason; an empty one accepts all."""
    if len(body) > MOST_ANSWER:
        raise refused(name, f"it is larger than {MOST_ANSWER} bytes")
    try:
        text = body.decode("utf-8-sig")
        said = msgspec.json.decode(text, type=_Answer) if text.lstrip().startswith("{") else _lines(text)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise refused(name, f"it says nothing that can be read: {error}") from error
    state = said.state.strip().lower()
    if state not in (*_ACCEPTED, *_REJECTED):
        raise refused(name, f"expected a state of {', '.join((*_ACCEPTED, *_REJECTED))}, got {said.state[:40]!r}")
    if said.digest and said.digest.lower() != digest:
        raise refused(name, "it is about another content")
    if len(said.rejections) > MOST_REFUSED:
        raise refused(name, f"it refuses more than {MOST_REFUSED} articles")
    taken = state in _ACCEPTED
    return Verdict(state="accepted" if taken else "rejected", reason=said.reason[:500], refused=said.rejections if taken else ())


def _lines(text: str) -> _Answer:
    if not text.strip():
        return _Answer(state="accepted")
    said: dict[str, str] = {}
    refusals: list[Refusal] = []
    for line in text.splitlines():
        word, _, value = line.partition("=")
        if (word := word.strip().lower()) == "rejected":
            key, _, reason = value.partition(";")
            refusals.append(Refusal(key=key.strip(), reason=reason.strip()[:500]))
        else:
            said[word] = value.strip()
    return _Answer(
        state=said.get("state", ""),
        digest=said.get("digest", ""),
        reason=said.get("reason", ""),
        rejections=tuple(refusals[: MOST_REFUSED + 1]),
    )


def _row(record: Record, document: Mapping[str, Any]) -> Row:
    """What a mapping wrote, in the order of the layout."""
    row: list[Any] = [_value(document.get(f.name)) for f in record.fields]
    for child in record.children:
        row += [None] * (child.index + 1 - len(row))
        held = document.get(child.name)
        row[child.index] = None if held is None else [_row(child, each) for each in held] if child.repeated else _row(child, held)
    return tuple(row)


def _value(value: Any) -> Any:
    return tuple(value.values()) if isinstance(value, dict) else value

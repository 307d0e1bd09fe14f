"""A feed of files: the contract that mappings are checked against, and complete files streamed as batches of parsed transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Generic, TypeVar

from watchfiles import awatch

from adapters.files import shown
from adapters.files.errors import from_os, refused
from adapters.files.formats.delimited import RowParser
from adapters.files.formats.reading import parsing
from adapters.files.formats.xml import XmlParser
from adapters.files.inbox import kept
from adapters.files.inbox.folder import Folders
from adapters.files.inbox.incoming import Arrived, Inbox
from adapters.files.inbox.incoming import shown as shown_name
from adapters.files.inbox.packed import Limits, Members
from adapters.files.inbox.storage import Changed, Storage
from adapters.files.layout import Layout, load
from adapters.files.parsing import MOST_RAW, Ending, Refuse, Unit
from adapters.files.spec import FeedOptions
from adapters.files.written import Written, written
from mappings.language import CompiledMapping
from mappings.language.shape import Exchange, Message

T = TypeVar("T")


class FileContract:
    """A layout, as the check of estate and mappings sees it. Raises Findings."""

    def __init__(self, system: str, path: Path, *, outbound: bool = False) -> None:
        """`outbound`: such files are written, transaction by transaction, instead of read."""
        self.system, self.outbound = system, outbound
        self.layout = load(path)

    def operations(self) -> tuple[str, ...]:
        return (self.layout.name,)

    def exchange(self, operation: str) -> Exchange:
        """A feed has no request, and what is written no answer; around its transactions the gateway writes by itself."""
        if operation != self.layout.name:
            raise KeyError(operation)
        shape = self.layout.message
        if self.outbound:
            around = {header.name for header in self.layout.headers}
            root = replace(shape.root, fields=[f for f in shape.root.fields if f.name not in around])
            return Exchange(operation, Message(f"{self.system}.{operation}", shape.form, root, shape.source), None)
        return Exchange(operation, None, Message(f"{self.system}.{operation}", shape.form, shape.root, shape.source))


@dataclass(slots=True)
class Reading(Generic[T]):
    """One pass over a file: `batches` first, then what is known at its end."""

    batches: AsyncIterator[list[T]]
    ending: Ending = field(default_factory=Ending)
    share: float = 0.0
    """Of the file's bytes, that were read until now."""


class FileFeed:
    """One feed of one system. `start` before use; parsing runs in a thread of its own, one batch ahead of whoever takes them."""

    def __init__(
        self,
        system: str,
        feed: str,
        contract: FileContract,
        options: FeedOptions,
        parameters: Mapping[str, Any] | None = None,
        storage: Storage | None = None,
    ) -> None:
        """`storage`: where the files lie, folders of this machine if it is not said."""
        self.system, self.name, self.options = system, feed, options
        self.parameters: Mapping[str, Any] = parameters or {}
        """Values of the estate for the parameters that its mapping declares."""
        self.layout: Layout = contract.layout
        self.dialect: Mapping[str, str] = self.layout.dialect
        self._storage = storage or Folders()
        self.inbox = Inbox(options, self.layout.pattern, self._storage)
        self.proves = self.layout.proves_file
        self._parser = parsing(self.layout)
        self._pool: ThreadPoolExecutor | None = None
        self._reached = False
        self._wake = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Raises UpstreamError when the folders cannot be made. A server is not asked before the first sweep."""
        threads = self.options.parallel + (self.options.parallel > 1)  # one of them sweeps
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"files-{self.name}")
        self._storage.start()
        if not self._storage.local:
            return
        try:
            for folder in (self.options.inbox_path, self.options.archive_path, self.options.quarantine_path):
                await self._thread(partial(self._storage.make, folder))
        except OSError as error:
            raise from_os(error, self.system, self.name, "the folders cannot be made") from error
        if self.options.watch:
            self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def close(self) -> None:
        self._stop.set()
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await asyncio.to_thread(self._storage.close)
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown)

    async def _watch(self) -> None:
        """Wakes the sweep. Where the file system tells nothing, the sweep comes by itself."""
        with suppress(OSError, RuntimeError):
            async for _ in awatch(self.options.inbox_path, stop_event=self._stop, recursive=False, step=50, debounce=200):
                self._wake.set()

    async def wait(self, stop: asyncio.Event) -> None:
        """Until the next sweep is due, something happened in the folder, or `stop`."""
        seconds = float(self.options.sweep)
        if (left := self.inbox.waiting()) is not None:
            seconds = min(seconds, left + 0.005)
        waits = [asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._wake.clear()

    @property
    def refused(self) -> Mapping[str, str]:
        """Entries that the last sweep saw under a right name, and that are no files to read: why."""
        return {shown_name(name): why for name, why in self.inbox.refused.items()}

    async def files(self) -> AsyncIterator[Arrived]:
        """One sweep: complete files, each hashed when it is asked for. Raises UpstreamError when the folder cannot be read."""
        sweep = self.inbox.sweep()
        try:
            while (file := await self._thread(lambda: next(sweep, None))) is not None:
                yield file
        except OSError as error:
            raise from_os(error, self.system, self.name, "the inbox cannot be read") from error
        finally:
            await self._thread(sweep.close)  # type: ignore[attr-defined]  # a generator behind an iterator's type

    @asynccontextmanager
    async def read(
        self, file: Arrived, convert: Callable[[Unit], T], *, after: int = 0, skim: int | None = None, written: Written | None = None
    ) -> AsyncIterator[Reading[T]]:
        """Transactions behind position `after`, converted in the parser's thread, in batches. `reading.ending` is complete at the end.
        Behind `skim`, where the layout allows it, only what can refuse the file is read: such units have neither row nor fault. A refusal
        then is for a whole reading to confirm: totals may differ only because of a transaction that it sets aside. With `written`, units
        may come as they are booked.

        Raises BadFile for what is no such file at all, or changes under the reader; UpstreamError when it cannot be read.
        """
        reading: Reading[T] = Reading(batches=_nothing())
        source = self._batches(file, convert, after, skim, reading, written)
        reading.batches = self._ahead(source, file)
        try:
            yield reading
        finally:
            await reading.batches.aclose()  # type: ignore[attr-defined]  # a generator behind an iterator's type

    async def _ahead(self, source: Iterator[list[T]], file: Arrived) -> AsyncIterator[list[T]]:
        """One batch is parsed while the one before is worked on; never more."""
        loop = asyncio.get_running_loop()
        pool = self._running()
        following = loop.run_in_executor(pool, next, source, None)
        try:
            while (batch := await asyncio.shield(following)) is not None:
                following = loop.run_in_executor(pool, next, source, None)
                yield batch
        except Refuse as error:
            raise refused(file.name, str(error)) from error
        except Changed as error:
            raise refused(file.name, "it changed while it was read; it is taken again when it is complete") from error
        except OSError as error:
            raise from_os(error, self.system, self.name, f"{file.name} cannot be read") from error
        finally:
            await asyncio.shield(self._closed(following, source))

    async def _closed(self, following: asyncio.Future[Any], source: Iterator[list[T]]) -> None:
        with suppress(Exception):
            await following
        await self._thread(source.close)  # type: ignore[attr-defined]  # a generator behind an iterator's type

    def written(self, mapping: CompiledMapping, zone_of: Callable[[str], Any]) -> Written | None:
        """Learns how transactions are written, for one file at a time. None where each has to be read exactly."""
        return written(self.layout, mapping, zone_of)

    def _batches(
        self,
        file: Arrived,
        convert: Callable[[Unit], T],
        after: int,
        skim: int | None,
        reading: Reading[T],
        written: Written | None,
    ) -> Iterator[list[T]]:
        parser = self._parser(skim)
        if file.packed:
            limits = Limits(self.options.max_bytes, self.options.max_ratio, self.options.max_members)
            parser = Members(self._parser, file.packed, self.layout.pattern, limits, skim=skim, checked=after > 0)
        elif isinstance(parser, RowParser | XmlParser):
            parser.written = written
        name, size = file.name, self.options.batch
        with self.inbox.open(file) as source:
            batch: list[T] = []
            for unit in parser.units(source, name, file.facts):
                if (last := unit.position) <= after:
                    continue
                if unit.made:
                    batch += _made(unit)[after - last :]
                else:
                    batch.append(convert(unit))
                while len(batch) >= size:
                    reading.share = source.tell() / file.size
                    yield batch[:size]
                    del batch[:size]
            if not self.inbox.unchanged(source, file):
                raise Changed(name)
            reading.ending = parser.ending
            if batch:
                yield batch

    async def one(self, record: bytes, around: tuple[bytes, bytes], name: str) -> Unit:
        """A transaction by itself, read as it would be in a file of this name. Raises BadFile when it is none, or several."""
        return await asyncio.to_thread(self._one, record, around, name)

    def _one(self, record: bytes, around: tuple[bytes, bytes], name: str) -> Unit:
        matched = self.inbox.matched(name.rpartition("/")[2])  # of a member of a zip its own name says more
        facts = matched[0].groupdict(default="") if matched else {}
        try:
            units = [*islice(self._parser(None).units(BytesIO(record.join(around)), name, facts), 2)]
        except Refuse as error:
            raise refused(name, str(error)) from error
        if len(units) != 1:
            raise refused(name, f"expected one {self.layout.transaction.name}, got {'several' if units else 'none'}")
        return units[0]

    async def archive(self, file: Arrived, store: str, business_date: str) -> PurePath | None:
        """Raises UpstreamError; the file then stays, and is archived by a later sweep."""
        return await self._moved(lambda: self.inbox.archive(file, store, business_date), f"{file.name} cannot be archived")

    async def quarantine(self, file: Arrived, reason: str) -> PurePath | None:
        return await self._moved(lambda: self.inbox.quarantine(file, reason), f"{file.name} cannot be moved to quarantine")

    # ---- for people, and afterwards ------------------------------------------------------------------------------

    @property
    def personal(self) -> frozenset[str]:
        """`RECORD.field` of what is masked."""
        return shown.personal(self.layout)

    def text(self, raw: bytes, around: shown.Around) -> str:
        return shown.text_of(raw, shown.encoding_of(self.layout, around))

    def masked(self, raw: bytes, around: shown.Around) -> str | None:
        return shown.masked(self.layout, raw, around)

    def editable(self, raw: bytes, around: shown.Around) -> bool:
        return len(raw) < MOST_RAW and shown.editable(raw, shown.encoding_of(self.layout, around))

    def bytes_of(self, text: str, like: bytes, around: shown.Around) -> bytes:
        """Raises ValueError for what the encoding cannot say."""
        return shown.bytes_of(text, like, shown.encoding_of(self.layout, around))

    def rows(self, raw: bytes, around: shown.Around) -> list[shown.Row]:
        return shown.rows(self.layout, raw, around)

    async def look(self, name: str, stores: AbstractSet[str] = frozenset()) -> kept.Look:
        """What the inbox holds under this name. `stores`: of these alone, as the name says it; empty for all. Raises UpstreamError."""
        matched = self.inbox.matched(name)
        pattern = self.layout.pattern.pattern
        if stores and (matched is None or matched[0].groupdict(default="").get("store") not in stores):
            return kept.Look(str(self.options.inbox_path), pattern, matched is not None)
        look = partial(kept.look, self._storage, self.options, pattern, matched is not None, name)
        return await self._folder(look, "the inbox cannot be read")

    async def bring_back(self, place: str, names: list[str], digest: str, name: str) -> bool:
        """A file that was set aside, into the inbox; False when it lies nowhere. Raises UpstreamError, also when a file of this name waits
        there."""
        back = partial(kept.bring_back, self._storage, self.options, place, names, digest, name)
        return await self._folder(back, f"{name} cannot be put into the inbox")

    async def write_acknowledgement(self, name: str, token: str, body: bytes) -> None:
        """Hidden and durable. Raises UpstreamError."""
        folder = self._acknowledgements()
        await self._folder(lambda: kept.written(self._storage, folder, name, token, body), f"the acknowledgement {name} cannot be written")

    async def publish_acknowledgement(self, name: str, token: str, own: str, *, first: bool = False) -> bool:
        """The one that counts gets its name; False when it had it before. `first`: nobody has tried it before. Raises UpstreamError."""
        folder = self._acknowledgements()
        return await self._folder(
            lambda: kept.published(self._storage, folder, name, token, own, first=first), f"the acknowledgement {name} cannot be written"
        )

    def _acknowledgements(self) -> Path:
        if self.options.acknowledge is None:
            raise RuntimeError(f"feed {self.name} declares no acknowledgements")
        return Path(self.options.acknowledge.folder)

    async def kept_before(self, kind: str, before: float, most: int, known: AbstractSet[str]) -> list[tuple[str, str]]:
        """See gateway.services.intake.feed.Feed. Raises UpstreamError."""
        top, depth = (self.options.archive_path, 2) if kind == "archive" else (self.options.quarantine_path, 0)

        def look() -> list[tuple[str, str]]:
            found = ((str(place), f"{place} {stamp}") for place, stamp in kept.older(self._storage, top, before, depth))
            return [*islice((each for each in found if each[1] not in known), most)]

        return await self._folder(look, f"the {kind} cannot be read")

    async def digest_of(self, place: str) -> str | None:
        """Of a kept file, as it was when it came; None when it is gone. Raises UpstreamError."""
        return await self._folder(lambda: kept.digest_of(self._storage, self.options, PurePath(place)), f"{place} cannot be read")

    async def remove(self, kind: str, place: str) -> None:
        """Raises UpstreamError."""
        top = self.options.archive_path if kind == "archive" else self.options.quarantine_path
        await self._folder(lambda: kept.remove(self._storage, PurePath(place), top), f"{place} cannot be removed")

    async def _folder(self, work: Callable[[], T], what: str) -> T:
        """Of commands too, which do not start the feed and close it all the same."""
        if self._pool is None and not self._reached:
            self._reached = True
            self._storage.start()
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise from_os(error, self.system, self.name, what) from error

    async def _moved(self, move: Callable[[], PurePath | None], what: str) -> PurePath | None:
        try:
            return await self._thread(move)
        except Changed:
            return None
        except OSError as error:
            raise from_os(error, self.system, self.name, what) from error

    async def _thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._running(), work)

    def _running(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise RuntimeError(f"feed {self.name} is not started")
        return self._pool


def _made(unit: Unit) -> list[Any]:
    """With their positions, as whoever reads a file with `written` takes them."""
    return [*enumerate(unit.made, unit.position - len(unit.made) + 1)]


async def _nothing() -> AsyncIterator[list[Any]]:
    return
    yield  # makes it a generator

"""The embedded trace store: kept flights in SQLite files of their own, bounded by age and bytes, written by one thread."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Full, Queue
from secrets import token_hex
from threading import Event, Thread
from time import monotonic, time, time_ns
from typing import Any, Final, TypeVar

import apsw
import msgspec

from observability.aside import give_way
from observability.dependencies import Carrier, Edge, Seen
from observability.flight import FlightRecord
from observability.logs import get_logger
from observability.spans import FlightSummary, Span, instant, spans_of, summary_of
from observability.vocabulary import NAMES, OPERATION, PEER, STEP

SQLITE_NEEDED: Final = (3, 51, 3)
"""Older ones can lose committed writes in write-ahead mode when two connections write and checkpoint at once."""
GROUP: Final = 1_000
LINGER_S: Final = 0.5
READ_LIMIT_S: Final = 5.0
"""Of one file: a search may answer with what it found so far, but not keep others waiting."""
SUFFIX: Final = ".flights"
EDGES: Final = 2_000
EDGES_READ: Final = 20_000
"""Flights of one file that are looked at for edges."""
_SCHEMA: Final = """
create table dictionary (bytes blob not null);
create table flight (
  trace_id blob not null, span_id blob not null, kind text not null, name text not null, channel text not null,
  api_version text not null, store text not null, client text not null, start integer not null, milliseconds real not null,
  outcome text not null, error_type text not null, status integer not null, systems text not null, degraded text not null,
  hops integer not null, reason text not null, weight integer not null, spans blob not null
);
create index flight_trace on flight (trace_id);
create index flight_start on flight (start);
"""
_COLUMNS: Final = (
    "trace_id, span_id, kind, name, channel, api_version, store, client, start, milliseconds, outcome, error_type, status, systems,"
    " degraded, hops, reason, weight"
)
_DICTIONARY: Final = "".join(f'"{name}":' for name in sorted(NAMES.values())).encode()
_ENCODE: Final = msgspec.json.Encoder()
_DECODE: Final = msgspec.json.Decoder(list[Span])
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


class Ring:
    """A sink that can be read. `directory` belongs to it alone; several processes may share one, each writes files of its own."""

    def __init__(
        self, directory: Path, *, max_age_s: float = 86_400, max_bytes: int = 2 << 30, queue: int = 4_096, segment_s: float = 3_600
    ) -> None:
        """Raises RuntimeError when the SQLite inside is too old to be trusted. Opens nothing before `start()`."""
        if (found := tuple(int(part) for part in apsw.sqlite_lib_version().split("."))) < SQLITE_NEEDED:
            raise RuntimeError(f"SQLite {'.'.join(map(str, SQLITE_NEEDED))} or newer is needed, APSW carries {'.'.join(map(str, found))}")
        self.directory, self.max_age_s, self.max_bytes, self.segment_s = directory, max_age_s, max_bytes, segment_s
        self.written = self.dropped = self.failed = self.unreadable = 0
        self._queue: Queue[FlightRecord | Event | None] = Queue(queue)
        self._writer = Thread(target=self._write, name="trace-ring-writer", daemon=True)
        self._readers = ThreadPoolExecutor(1, "trace-ring-reader", give_way)
        self._connection: apsw.Connection | None = None
        self._segment: Path | None = None
        self._opened = self._pruned = self._retry_at = 0.0

    def start(self) -> None:
        """Make the directory (readable by its owner only) and start the writer."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer.start()

    async def close(self) -> None:
        """Write what is queued, at most for a few seconds, and close the files."""
        if self._writer.is_alive():
            await asyncio.to_thread(self._stop)
        self._readers.shutdown(wait=False, cancel_futures=True)

    @property
    def losses(self) -> dict[str, int]:
        return {"ring_queue": self.dropped, "ring_write": self.failed}

    def put(self, record: FlightRecord) -> None:
        try:
            self._queue.put_nowait(record)
        except Full:
            self.dropped += 1

    async def trace(self, trace_id: str) -> list[Span] | None:
        """All stored spans of a trace (32 hex digits), earliest first; None when there are none or the id is malformed."""
        try:
            wanted = bytes.fromhex(trace_id)
        except ValueError:
            return None
        spans = await self._read(lambda: self._trace(wanted)) if len(wanted) == 16 else []
        return sorted(spans, key=lambda s: (s.start, -s.end)) or None

    async def recent(
        self,
        limit: int = 100,
        *,
        channel: str | None = None,
        route: str | None = None,
        system: str | None = None,
        outcome: str | None = None,
        kind: str | None = None,
        operation: str | None = None,
        store: str | None = None,
        trace_id: str | None = None,
        at_least: float = 0.0,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> list[FlightSummary]:
        """The newest kept flights first, at most 1,000. `outcome` may also be `bad`: everything but success. `operation`: as
        `system.operation`; `trace_id`: its beginning; `at_least`: milliseconds.
        """
        where: list[str] = ["1"]
        values: list[str | int | float | bytes] = []
        for column, value in (("channel", channel), ("name", route), ("kind", kind), ("store", store)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if trace_id is not None:
            where.append("trace_id between ? and ?")
            try:
                values += [bytes.fromhex(trace_id[:32].ljust(32, digit)) for digit in "0f"]
            except ValueError:
                return []
        if at_least > 0:
            where.append("milliseconds >= ?")
            values.append(at_least)
        if outcome is not None:
            where.append("outcome != ?" if outcome == "bad" else "outcome = ?")
            values.append("success" if outcome == "bad" else outcome)
        for called in (system, operation):
            if called is not None:
                where.append("instr(systems, ?)")
                values.append(f" {_word(called)} ")
        for test, moment in (("start >= ?", since), ("start < ?", before)):
            if moment is not None:
                where.append(test)
                values.append(_nanoseconds(moment))
        limit = max(1, min(limit, 1_000))
        query = f"select {_COLUMNS} from flight where {' and '.join(where)} order by start desc limit {limit}"  # noqa: S608  # fixed words
        return await self._read(lambda: self._recent(query, tuple(values), limit))

    async def edges(self, since: datetime) -> Seen:
        """Who was seen to reach whom by the kept flights that began since then, each with the weight of those it stands for."""
        return await self._read(lambda: self._edges(since))

    def flights(self, since: datetime, until: datetime) -> Iterator[list[Span]]:
        """The spans of each kept flight that began in this span of time, in the order in which they were written. Blocks; not for the event
        loop.
        """
        self.flush()
        columns = "rowid, spans, (select bytes from dictionary)"
        query = f"select {columns} from flight where rowid > ? and start >= ? and start < ? order by rowid limit ?"  # noqa: S608  # fixed words
        begin, end = _nanoseconds(since), _nanoseconds(until)
        for segment in reversed(self._segments()):
            if _written(segment) < since.timestamp():
                continue
            last, more = 0, True
            while more:
                more = False
                for row, blob, dictionary in list(self._rows(segment, query, (last, begin, end, GROUP))):
                    last, more = row, True
                    if (spans := self._spans(blob, dictionary)) is not None:
                        yield spans

    # ---- the writer's thread ------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        with suppress(Full):
            self._queue.put(None, timeout=2)
        self._writer.join(5)

    def _write(self) -> None:
        give_way()
        running = True
        while running:
            group, waiting, running = self._group()
            if group and monotonic() < self._retry_at:
                self.failed += len(group)
            elif group:
                try:
                    self._store(group)
                except (apsw.Error, OSError) as exc:  # a full disk must not end the recording
                    self.failed += len(group)
                    self._retry_at = monotonic() + 5
                    get_logger(__name__).error("trace_ring_write_failed", reason=str(exc), flights=len(group))
                    self._seal()
            for event in waiting:
                event.set()
        self._seal()

    def _group(self) -> tuple[list[FlightRecord], list[Event], bool]:
        """Up to GROUP flights or half a second of them; somebody who waits for a flush ends the wait."""
        group: list[FlightRecord] = []
        waiting: list[Event] = []
        until = monotonic() + LINGER_S
        while len(group) < GROUP:
            try:
                item = self._queue.get(timeout=None if not group else max(0.0, until - monotonic()))
            except Empty:
                break
            if item is None:
                return group, waiting, False
            if isinstance(item, Event):
                waiting.append(item)
                break
            if not group:
                until = monotonic() + LINGER_S
            group.append(item)
        return group, waiting, True

    def _store(self, group: list[FlightRecord]) -> None:
        connection = self._current()
        rows = [row for record in group if (row := self._packed(record)) is not None]
        if not rows:
            return
        marks = ", ".join("?" * len(rows[0]))
        connection.execute("begin immediate")
        try:
            connection.executemany(f"insert into flight ({_COLUMNS}, spans) values ({marks})", rows)  # noqa: S608  # fixed words
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        self.written += len(rows)

    def _packed(self, record: FlightRecord) -> tuple[Any, ...] | None:
        try:
            return _row(record)
        except Exception:  # noqa: BLE001  # one odd flight takes neither the others nor the writer with it
            self.failed += 1
            get_logger(__name__).exception("trace_ring_flight_unwritable", flight=record.name)
            return None

    def _current(self) -> apsw.Connection:
        now = monotonic()
        full = self._segment is not None and _size(self._segment) > self.max_bytes // 8
        if self._connection is not None and (full or now - self._opened > self.segment_s):
            self._seal()
        if self._connection is None:
            self._segment = self.directory / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(4)}{SUFFIX}"
            os.close(os.open(self._segment, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = apsw.Connection(str(self._segment))
            connection.set_busy_timeout(1_000)
            connection.execute("pragma journal_mode = wal; pragma synchronous = normal; pragma journal_size_limit = 8388608")
            connection.execute(_SCHEMA)
            connection.execute("insert into dictionary values (?)", (_DICTIONARY,))
            self._connection, self._opened = connection, now
            self._pruned = 0.0
        if now - self._pruned > 60 or full:
            self._pruned = now
            self._prune()
        return self._connection

    def _seal(self) -> None:
        if self._connection is not None:
            with suppress(apsw.Error):
                self._connection.close()
        self._connection = self._segment = None

    def _prune(self) -> None:
        """Delete the oldest files until age and bytes are in bounds; a file that is being written by us stays."""
        total, oldest = 0, time() - self.max_age_s
        for segment in self._segments():
            size, written = _size(segment), _written(segment)
            if segment != self._segment and (written < oldest or total + size > self.max_bytes):
                for path in (segment, *_beside(segment)):
                    path.unlink(missing_ok=True)
            else:
                total += size

    # ---- the reader's thread ------------------------------------------------------------------------------------------

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def flush(self) -> None:
        """Wait until what was put so far can be read, at most 2 s. Blocks; not for the event loop."""
        if self._writer.is_alive():
            event = Event()
            with suppress(Full):
                self._queue.put(event, timeout=1)
                event.wait(2)

    def _segments(self) -> list[Path]:
        """Newest first; a file that vanishes meanwhile is simply gone."""
        return sorted(self.directory.glob(f"*{SUFFIX}"), key=lambda p: p.name, reverse=True) if self.directory.exists() else []

    def _rows(self, segment: Path, query: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            with closing(apsw.Connection(str(segment), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
                connection.set_busy_timeout(500)
                until = monotonic() + READ_LIMIT_S
                connection.set_progress_handler(lambda: monotonic() > until, 20_000)
                yield from connection.execute(query, values)
        except apsw.Error:
            if segment.exists():  # pruned while we looked is no trouble; damaged or too slow is counted, and the others still answer
                self.unreadable += 1

    def _trace(self, wanted: bytes) -> list[Span]:
        self.flush()
        query = "select spans, (select bytes from dictionary) from flight where trace_id = ?"
        found: list[Span] = []
        for segment in self._segments():
            for blob, dictionary in self._rows(segment, query, (wanted,)):
                found += self._spans(blob, dictionary) or ()
        return found

    def _spans(self, blob: bytes, dictionary: bytes) -> list[Span] | None:
        """None: they are damaged, which is counted."""
        try:
            return _DECODE.decode(zlib.decompressobj(zdict=dictionary).decompress(blob, 16 << 20))
        except (zlib.error, msgspec.DecodeError):
            self.unreadable += 1
            return None

    def _edges(self, since: datetime) -> Seen:
        self.flush()
        columns = "start, kind, name, weight, spans, (select bytes from dictionary)"
        query = f"select {columns} from flight where start >= ? order by start desc limit ?"  # noqa: S608  # fixed words
        begin, until = _nanoseconds(since), monotonic() + 2 * READ_LIMIT_S
        counts: Counter[tuple[str, str, str, Carrier]] = Counter()
        requests: Counter[str] = Counter()
        oldest = time_ns()
        for segment in self._segments():
            if _written(segment) < since.timestamp() or monotonic() > until:
                break
            for start, kind, name, weight, blob, dictionary in self._rows(segment, query, (begin, EDGES_READ)):
                oldest = min(oldest, start)
                if kind == "request":
                    requests[name] += weight
                if (spans := self._spans(blob, dictionary)) is None:
                    continue
                for system, operation, carrier in {m for span in spans if (m := met(span))}:
                    counts[name, system, operation, carrier] += weight
        edges = tuple(Edge(route=r, system=s, operation=o, carrier=c, n=n) for (r, s, o, c), n in counts.most_common(EDGES))
        return Seen(hours=max(0.0, (time_ns() - oldest) / 3.6e12), edges=edges, requests=dict(requests))

    def _recent(self, query: str, values: tuple[Any, ...], limit: int) -> list[FlightSummary]:
        self.flush()
        found: list[FlightSummary] = []
        for segment in self._segments():
            if len(found) >= limit and _written(segment) < min(f.start for f in found).timestamp():
                break
            found += [_summary(row) for row in self._rows(segment, query, values)]
            found.sort(key=lambda f: f.start, reverse=True)
            del found[limit:]
        return found


def _row(record: FlightRecord) -> tuple[Any, ...]:
    s = summary_of(record)
    called = dict.fromkeys((*s.systems, *(_word(f"{h.system}.{h.operation}") for h in record.hops if h.system and h.operation)))
    packer = zlib.compressobj(level=1, zdict=_DICTIONARY)
    spans = packer.compress(_ENCODE.encode(spans_of(record))) + packer.flush()
    return (
        bytes.fromhex(s.trace_id),
        bytes.fromhex(s.span_id),
        *(s.kind, s.name, s.channel, s.api_version, s.store, s.client),
        record.wall,
        s.milliseconds,
        *(s.outcome, s.error_type, s.status, f" {' '.join(called)} ", s.degraded, s.hops, s.reason, s.weight),
        spans,
    )


def _summary(row: tuple[Any, ...]) -> FlightSummary:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["trace_id"], values["span_id"] = row[0].hex(), row[1].hex()
    values["start"] = instant(values["start"])
    values["systems"] = tuple(word for word in values["systems"].split(" ") if word and "." not in word)  # the others are operations
    return FlightSummary(**values)


def _nanoseconds(when: datetime) -> int:
    """Since 1970, as far as SQLite's integers reach: years 1677 to 2262."""
    return max(-(2**63), min(2**63 - 1, (when - _EPOCH) // timedelta(microseconds=1) * 1_000))


def _word(name: str) -> str:
    """Without the blank that stands between the words of a column."""
    return name.replace(" ", "\u00a0")


def met(span: Span) -> tuple[str, str, Carrier] | None:
    """Whom a span reached: system, operation and how."""
    system, operation, step = span.text(PEER), span.text(OPERATION), span.text(STEP)
    if not system or not (operation or span.kind == "CLIENT"):
        return None
    return system, operation, "file" if step.startswith("file") else "message" if span.kind in ("PRODUCER", "CONSUMER") else "call"


def _beside(segment: Path) -> tuple[Path, Path]:
    return segment.with_name(segment.name + "-wal"), segment.with_name(segment.name + "-shm")


def _size(segment: Path) -> int:
    total = 0
    for path in (segment, _beside(segment)[0]):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _written(segment: Path) -> float:
    latest = 0.0
    for path in (segment, _beside(segment)[0]):
        with suppress(OSError):
            latest = max(latest, path.stat().st_mtime)
    return latest

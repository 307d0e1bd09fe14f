"""Cells of hours, days and a year: written every ten seconds, added up with those of other processes, read again at the next start."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from itertools import groupby, pairwise
from secrets import token_hex
from time import monotonic_ns, time
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from contracts.books.cells import CellBlob, CellBook
from contracts.errors import StoreUnavailable
from observability.aside import give_way
from observability.baseline import BUCKETS
from observability.durations import Lasted
from observability.logs import get_logger
from observability.recorder import Recorder
from observability.rings import COARSE, FINE_S, HELD_S, MINUTE, SECOND, Fresh, Full, Key, Keys, Plain, add, rows_of, sealed
from observability.rootcause.model import Exemplar, Rows, Where

BASELINE: Final = 1
"""Width under which histograms are kept, one blob per process."""
BASELINE_S: Final = 300
BASELINE_HELD_S: Final = 7_200
BEAT_S: Final = 0.05
"""Seconds between two looks at whether the event loop is on time."""
UNSENT: Final = 90
"""Bins that wait for a store that is away."""
OVERLAP: Final = 1_000
"""Numbers that are looked at again: a transaction that was given a lower one may end later."""
LARGEST: Final = 64 << 20
"""Bytes of one body when unpacked."""
LOADED_S: Final = 600
"""Seconds of which cells are read at a time."""
SLICE: Final = 48
"""Blobs that are merged at a time; a few MB each at most in practice."""
SLICES: Final = 60
"""In one round."""
T = TypeVar("T")
log = get_logger(__name__)


class Level(NamedTuple):
    """Bins of one width are merged into the next wider ones after `held` seconds; never more than `most_bytes` of them are kept."""

    width: int
    held: int
    most_bytes: int
    stores: bool = True
    """False: what tells stores apart is dropped."""


LEVELS: Final = (
    Level(COARSE, FINE_S, 64 << 20),
    Level(MINUTE, 6 * 3_600, 320 << 20),
    Level(300, 8 * 86_400, 350 << 20),
    Level(3_600, 400 * 86_400, 210 << 20, stores=False),
)


class _Body(msgspec.Struct, array_like=True):
    plain: list[tuple[Key, int]]
    full: list[tuple[Key, list[int]]]
    seconds: list[tuple[int, list[tuple[Key, int]], list[tuple[Key, list[int]]]]] = []
    exemplars: list[tuple[Where, Exemplar]] = []
    twins: list[tuple[tuple[str, str, str], str]] = []
    losses: dict[str, int] = {}
    durations: list[Lasted] = []


_Histograms = list[tuple[tuple[str, str, str], list[tuple[int, int]]]]
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_BODY: Final = msgspec.msgpack.Decoder(_Body)
_HISTOGRAMS: Final = msgspec.msgpack.Decoder(_Histograms)


def _packed(value: _Body | _Histograms) -> bytes:
    return zlib.compress(_ENCODE(value), 1)


def _unpacked(body: bytes) -> bytes:
    packer = zlib.decompressobj()
    found = packer.decompress(body, LARGEST)
    if packer.unconsumed_tail:
        raise ValueError(f"a body of cells is larger than {LARGEST} bytes")
    return found


class CellStore:
    """Keeps what a recorder counts. What other processes write to the same book is counted here as well."""

    def __init__(self, recorder: Recorder, book: CellBook) -> None:
        self.recorder, self.book = recorder, book
        self.source = token_hex(8)
        self.unreadable = 0
        self._unsent: list[CellBlob] = []
        self._in_doubt = False
        """Whether some of them may have been written, by a write whose end nobody heard of."""
        self._known: dict[int, int] = {}  # numbers of others' blobs that were counted, and when their bins began
        self._latest = 0
        self._baseline: list[int] = []
        self._stop = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "cells", give_way)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Meanwhile it is written and read. A store that is away delays nobody; what it misses for too long is counted as lost."""
        await self._quietly(self.load())
        self._stop.clear()
        task, beat = asyncio.create_task(self._run(), name="cells"), asyncio.create_task(self._beat(), name="on time")
        try:
            yield
        finally:
            beat.cancel()
            self._stop.set()  # what is being written is written to its end: cut off, nobody would know whether it was
            await task
            await self._quietly(self._in_thread(self.recorder.tick))
            await self._quietly(self.flush(time() + COARSE))
            await self._quietly(self._save_baseline(time()))
            self._thread.shutdown()

    async def _run(self) -> None:
        flushed = tidied = saved = time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(1 - time() % 1):
                    await self._stop.wait()
                return
            await self._quietly(self._in_thread(self.recorder.tick))
            now = time()
            if now // COARSE != flushed // COARSE:
                flushed = now
                await self._quietly(self.flush(now))
            if now - tidied > MINUTE and now % MINUTE > MINUTE / 2:
                tidied = now
                await self._quietly(self.tidy(now))
            if now - saved > BASELINE_S:
                saved = now
                await self._quietly(self._save_baseline(now))

    async def _beat(self) -> None:
        while True:
            due = monotonic_ns() + int(BEAT_S * 1e9)
            await asyncio.sleep(BEAT_S)
            self.recorder.behind(due, monotonic_ns())

    async def _quietly(self, doing: Awaitable[None]) -> None:
        try:
            await doing
        except StoreUnavailable as exc:
            log.warning("cells are not written", reason=str(exc))
        except Exception:
            self.recorder.faults += 1
            log.exception("cells are not written")

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    # ---- writing ------------------------------------------------------------------------------------------------------

    async def flush(self, now: float) -> None:
        """Writes bins that ended, and reads those of others."""
        self._unsent += await self._in_thread(self._taken, now)
        if len(self._unsent) > UNSENT:
            self.recorder.lose("cells_unwritten", len(self._unsent) - UNSENT)
            del self._unsent[:-UNSENT]
        if self._in_doubt:
            self._unsent = await self._unwritten(self._unsent)
        self._in_doubt = bool(self._unsent)
        await self.book.add(self._unsent)
        self._unsent, self._in_doubt = [], False
        await self._pull(now)

    async def _unwritten(self, blobs: Sequence[CellBlob]) -> list[CellBlob]:
        """Those of ours that the book has not: counted twice, they would be news that there was none of."""
        begins = [b.begin for b in blobs]
        stood = await self.book.read(COARSE, min(begins), max(begins) + 1) if begins else ()
        written = Counter((b.begin, b.body) for b in stood if b.source == self.source)
        found: list[CellBlob] = []
        for blob in blobs:
            if written[blob.begin, blob.body]:
                written[blob.begin, blob.body] -= 1
            else:
                found.append(blob)
        return found

    def _taken(self, now: float) -> list[CellBlob]:
        fresh = self.recorder.rings.take_fresh(now)
        exemplars, twins, losses = fresh.exemplars, list(fresh.twins.items()), self.recorder.new_losses()
        lasted = self.recorder.new_durations()
        self.recorder.durations.add(int(now) // COARSE * COARSE, lasted)
        found: list[CellBlob] = []
        for begin, (plain, full) in fresh.tens.items():
            seconds = [(second, list(few.items()), list(some.items())) for second, few, some in fresh.seconds[begin]]
            body = _Body(list(plain.items()), list(full.items()), seconds, exemplars, twins, losses, lasted)
            exemplars, twins, losses, lasted = [], [], {}, []
            found.append(CellBlob(width=COARSE, begin=begin, source=self.source, body=_packed(body)))
        return found

    async def _save_baseline(self, now: float) -> None:
        histories = self.recorder.blame.baseline.histories
        rows = [(key, own) for key, h in list(histories.items()) if (own := [(i, n) for i, n in enumerate(h.own) if n])]
        blob = CellBlob(width=BASELINE, begin=int(now), source=self.source, body=await self._in_thread(_packed, rows))
        await self.book.replace(self._baseline, [blob])
        stood = await self.book.read(BASELINE, int(now) - BASELINE_HELD_S, int(now) + 1)
        self._baseline = [b.number for b in stood if b.source == self.source]

    # ---- reading ------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """What was counted before this process began: cells of the last 90 minutes, and what was usual in the last hour. From now on what
        is counted is kept, also when the store cannot be read now.
        """
        self.recorder.rings.fresh = Fresh()
        now = int(time())
        for width in (MINUTE, COARSE):
            for since in range(now - HELD_S, now + 1, LOADED_S):
                blobs = await self.book.read(width, since, min(since + LOADED_S, now + 1))
                await self._in_thread(self._count, blobs)
                if width == COARSE:
                    self._know(blobs, 0)
        if self._known:  # somebody was here before, and what was under way then was not counted
            self.recorder.lose("restarts")
        newest: dict[str, CellBlob] = {blob.source: blob for blob in await self.book.read(BASELINE, now - 3_600, now + 1)}
        await self._in_thread(self._learn, list(newest.values()))

    async def _pull(self, now: float) -> None:
        since = int(now) - UNSENT * COARSE  # as long as a process may hold back what it counted
        found = await self.book.read(COARSE, since, int(now) + 1, self.source, self._latest - OVERLAP)
        blobs = [b for b in found if b.number not in self._known]
        if blobs:
            await self._in_thread(self._count, blobs)
        self._know(blobs, since)

    def _know(self, blobs: Sequence[CellBlob], since: int) -> None:
        self._known = {n: begin for n, begin in self._known.items() if begin >= since} | {b.number: b.begin for b in blobs}
        self._latest = max((self._latest, *(b.number for b in blobs)))

    def _count(self, blobs: Iterable[CellBlob]) -> None:
        rings = self.recorder.rings
        for blob in blobs:
            if (body := self._read(blob)) is None:
                continue
            rings.restore(blob.width, blob.begin, dict(body.plain), dict(body.full))
            for second, few, some in body.seconds:
                rings.restore(SECOND, second, dict(few), dict(some))
            self.recorder.told(body.exemplars, body.twins, body.losses)
            self.recorder.durations.add(blob.begin, body.durations)

    def _learn(self, blobs: Iterable[CellBlob]) -> None:
        for blob in blobs:
            try:
                found = _HISTOGRAMS.decode(_unpacked(blob.body))
            except (zlib.error, msgspec.DecodeError, ValueError):
                self.unreadable += 1
                continue
            for key, counts in found:
                durations = [0] * BUCKETS
                for index, n in counts:
                    durations[index % BUCKETS] = n
                self.recorder.blame.baseline.merge(key, durations, blob.begin)

    def _read(self, blob: CellBlob) -> _Body | None:
        """One that is damaged is counted, and the others still say what they hold."""
        try:
            return _BODY.decode(_unpacked(blob.body))
        except (zlib.error, msgspec.DecodeError, ValueError):
            self.unreadable += 1
            return None

    # ---- wider bins ---------------------------------------------------------------------------------------------------

    async def tidy(self, now: float) -> None:
        """Merges what is old into wider bins, once whoever does it, and deletes what is older still, or too much."""
        for level, wider in pairwise(LEVELS):
            until = int(now - level.held) // wider.width * wider.width
            for _ in range(SLICES):
                blobs = await self.book.read(level.width, 0, until, most=SLICE)
                bins = [list(parts) for _, parts in groupby(blobs, key=lambda b: b.begin // wider.width)]
                for parts in bins[:-1] if len(bins) > 1 and len(blobs) == SLICE else bins:  # the last one may go on
                    body = await self._in_thread(self._merged, parts, wider)
                    begin = parts[0].begin // wider.width * wider.width
                    await self.book.replace([b.number for b in parts], [CellBlob(width=wider.width, begin=begin, source="", body=body)])
                if len(blobs) < SLICE or self._stop.is_set():
                    break
        for level in LEVELS:
            await self.book.prune(level.width, int(now) - level.held - 86_400, level.most_bytes)
        await self.book.prune(BASELINE, int(now) - BASELINE_HELD_S, LARGEST)

    def _merged(self, blobs: Iterable[CellBlob], into: Level) -> bytes:
        plain: Plain = {}
        full: Full = {}
        for blob in blobs:
            if (body := self._read(blob)) is not None:
                for key, n in body.plain:
                    at = key if into.stores else (*key[:5], "")
                    plain[at] = plain.get(at, 0) + n
                for key, counters in body.full:
                    add(plain, full, key if into.stores else (*key[:5], ""), counters)
        return _packed(_Body(list(plain.items()), list(full.items())))

    async def history(self, since: int, before: int) -> Rows:
        """What was counted in some hours or days, at the width it is still held in."""
        keys = Keys(1 << 20)
        bins = [
            (blob.begin, sealed(keys, blob.begin, dict(body.plain), dict(body.full)))
            for level in LEVELS
            for blob in await self.book.read(level.width, since, before)
            if (body := await self._in_thread(self._read, blob)) is not None
        ]
        return await self._in_thread(rows_of, bins, keys.known)

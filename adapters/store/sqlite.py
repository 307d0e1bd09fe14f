"""SQLite through APSW: one writer thread whose units share commits, readers with their own read-only connections."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import apsw

from adapters.store.errors import StoreDefect, from_sqlite
from adapters.store.spec import StoreOptions
from adapters.store.unit import Row, Transaction, Unit, in_order
from contracts.errors import StoreUnavailable

T = TypeVar("T")

OLDEST = (3, 51, 3)
"""Before it, two connections that write and checkpoint at once could lose commits (https://sqlite.org/wal.html, "WAL-reset bug")."""
GROUP_SECONDS = 0.05
"""A group takes no further unit after that, so that other processes get the write lock and callers their answer."""
CACHE_KIB = 32_768
PAGE = 8192
"""Bytes of a page of a new file: documents of sales are long, and each page is written twice."""

_Job = tuple[Unit[Any], "asyncio.Future[Any]"]
_Outcome = tuple["asyncio.Future[Any]", Any, Exception | None]


class Statements:
    """A transaction on one connection; its coroutines never suspend."""

    block = 40

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._checked: set[str] = set()

    def _sql(self, sql: str) -> str:
        if sql not in self._checked:
            if len(self._checked) > 2000:  # texts with a varying number of parameters must not pile up
                self._checked.clear()
            self._checked.add(in_order(sql))
        return sql

    async def query(self, sql: str, *args: Any) -> Sequence[Row]:
        return self._db.execute(self._sql(sql), args).fetchall()

    async def execute(self, sql: str, *args: Any) -> int:
        self._db.execute(self._sql(sql), args).fetchall()
        return self._db.changes()

    async def query_each(self, sql: str, rows: Sequence[Row]) -> Sequence[Row]:
        return self._db.executemany(self._sql(sql), rows).fetchall()

    async def execute_each(self, sql: str, rows: Sequence[Row]) -> None:
        self._db.executemany(self._sql(sql), rows).fetchall()

    async def script(self, sql: str) -> None:
        self._db.execute(sql).fetchall()

    async def lock(self, *names: str) -> None:
        """The writer is alone as it is."""


class Sqlite:
    """Fulfils `Engine`. Belongs to the event loop in which it was started."""

    dialect = {  # noqa: RUF012  # read only
        "int": "integer",
        "text": "text",
        "blob": "blob",
        "id": "integer primary key",
        "serial": "integer primary key autoincrement",
        "strict": "strict",
        "clustered": "strict, without rowid",
    }

    def __init__(self, options: StoreOptions, path: Path, *, cache_kib: int = CACHE_KIB) -> None:
        self._options, self._path, self._cache_kib = options, path, cache_kib
        self._writes: queue.Queue[_Job | None] = queue.Queue(options.queue)
        self._reads: queue.Queue[_Job | None] = queue.Queue(options.queue)
        self._threads: list[tuple[threading.Thread, queue.Queue[_Job | None]]] = []
        self._open = False

    # ---- on the event loop ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        require(apsw.sqlite_lib_version())
        try:
            await self._thread("store-writer", self._writes, self._writer)
            for number in range(self._options.readers):
                await self._thread(f"store-reader-{number}", self._reads, self._reader)
        except BaseException:
            await self.close()
            raise
        self._open = True

    async def _thread(self, name: str, jobs: queue.Queue[_Job | None], body: Any) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=body, args=(loop, ready), name=name, daemon=True)
        thread.start()
        await ready
        self._threads.append((thread, jobs))

    async def close(self) -> None:
        """What waits is still done; the readers end first, so that the writer's connection folds the log into the database."""
        self._open = False
        for jobs in (self._reads, self._writes):
            threads = [thread for thread, served in self._threads if served is jobs]
            await asyncio.to_thread(_end, threads, jobs)
        self._threads.clear()

    async def write(self, unit: Unit[T]) -> T:
        return await self._submit(self._writes, unit)

    async def read(self, unit: Unit[T]) -> T:
        return await self._submit(self._reads, unit)

    async def _submit(self, jobs: queue.Queue[_Job | None], unit: Unit[T]) -> T:
        if not self._open:
            raise StoreUnavailable(reason="not started, or already closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            jobs.put_nowait((unit, future))
        except queue.Full:
            raise StoreUnavailable(reason=f"{self._options.queue} units of work are waiting already") from None
        return await future

    def describe(self) -> dict[str, Any]:
        return {"engine": "sqlite", "version": apsw.sqlite_lib_version(), "waiting": self._writes.qsize() + self._reads.qsize()}

    # ---- in the threads -------------------------------------------------------------------------------------------

    def _connect(self, *, writes: bool) -> apsw.Connection:
        if writes:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its -wal and -shm files the same mode
        flags = apsw.SQLITE_OPEN_READWRITE if writes else apsw.SQLITE_OPEN_READONLY
        db = apsw.Connection(str(self._path), flags=flags, statementcachesize=256)
        try:
            db.set_busy_timeout(round(self._options.wait * 1000))
            if writes:
                db.execute(f"pragma page_size = {PAGE}")
                _wal(db, self._options.wait)
                db.execute(f"pragma synchronous = {self._options.synchronous}; pragma foreign_keys = on")
            db.execute(f"pragma cache_size = -{self._cache_kib}; pragma temp_store = memory")
        except BaseException:
            db.close()
            raise
        return db

    def _opened(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None], *, writes: bool) -> apsw.Connection | None:
        try:
            db = self._connect(writes=writes)
        except Exception as exc:  # noqa: BLE001  # handed to the starter, translated
            error = StoreUnavailable(reason=f"{self._path}: {exc.strerror}") if isinstance(exc, OSError) else _translated(exc)
            error.__cause__ = exc
            _tell(loop, [(ready, None, error)])
            return None
        _tell(loop, [(ready, None, None)])
        return db

    def _writer(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        if (db := self._opened(loop, ready, writes=True)) is None:
            return
        statements = Statements(db)
        try:
            job = self._writes.get()
            while job:
                _tell(loop, self._group(db, statements, job))
                job = self._writes.get()
        finally:
            db.close()

    def _group(self, db: apsw.Connection, tx: Transaction, first: _Job) -> list[_Outcome]:
        """Units until the group is full or old enough, or nobody waits: each in a savepoint, all in one commit."""
        taken = [first]
        done: list[_Outcome] = []
        job: _Job | None = first
        until = time.monotonic() + GROUP_SECONDS
        try:
            db.execute("begin immediate")
            while job:
                unit, future = job
                if not future.done():  # its caller has gone: nothing was promised
                    try:
                        with db:  # inside a transaction, this is a savepoint
                            done.append((future, _driven(unit(tx)), None))
                    except Exception as exc:
                        if not db.in_transaction:  # SQLite dropped the whole group: disk full, I/O error
                            raise
                        done.append((future, None, _translated(exc)))
                job = None
                if len(taken) < self._options.group and time.monotonic() < until and (job := self._next()):
                    taken.append(job)
            db.execute("commit")
        except Exception as exc:  # noqa: BLE001  # told to every caller of the group, translated
            if db.in_transaction:
                with suppress(apsw.Error):
                    db.execute("rollback")
            if isinstance(exc, apsw.BusyError):  # whoever waits behind has waited as long: nobody waits twice
                while len(taken) < self._options.queue and (job := self._next()):
                    taken.append(job)
            error = _translated(exc)
            done = [(future, None, error) for _, future in taken]
        return done

    def _next(self) -> _Job | None:
        try:
            job = self._writes.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._writes.put_nowait(None)  # the end comes after this group
        return job

    def _reader(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        if (db := self._opened(loop, ready, writes=False)) is None:
            return
        statements = Statements(db)
        try:
            while job := self._reads.get():
                unit, future = job
                if future.done():
                    continue
                outcome: _Outcome
                try:
                    with db:
                        outcome = future, _driven(unit(statements)), None
                except Exception as exc:  # noqa: BLE001  # told to the caller, translated
                    outcome = future, None, _translated(exc)
                _tell(loop, [outcome])
        finally:
            db.close()


def _end(threads: list[threading.Thread], jobs: queue.Queue[_Job | None]) -> None:
    for _ in threads:  # an end for each, before any is waited for: they share the queue
        jobs.put(None)
    for thread in threads:
        thread.join()


def require(version: str) -> None:
    if tuple(map(int, version.split("."))) < OLDEST:
        raise StoreUnavailable(
            reason=f"expected SQLite {'.'.join(map(str, OLDEST))} or newer, got {version}, which can lose commits: install a newer apsw"
        )


def _wal(db: apsw.Connection, seconds: float) -> None:
    """Changing the journal needs the file alone, and SQLite does not wait for that; several processes may start at once."""
    until = time.monotonic() + seconds
    while True:
        try:
            if (mode := db.pragma("journal_mode", "wal")) != "wal":
                raise StoreUnavailable(reason=f"expected a file system that can hold a write-ahead log, got journal mode {mode}")
            return
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _driven(unit: Coroutine[Any, Any, T]) -> T:
    try:
        unit.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typeshed types the value as Any
    unit.close()
    raise StoreDefect(reason=f"expected a unit of work that awaits nothing but its transaction; {unit!r} waited for something else")


def _translated(exc: Exception) -> Exception:
    if not isinstance(exc, apsw.Error):
        return exc
    error = from_sqlite(exc)
    error.__cause__ = exc
    return error


def _tell(loop: asyncio.AbstractEventLoop, done: list[_Outcome]) -> None:
    with suppress(RuntimeError):  # the loop has ended without closing the store: nobody is left to tell
        loop.call_soon_threadsafe(_settle, done)


def _settle(done: list[_Outcome]) -> None:
    for future, result, exc in done:
        if future.done():  # cancelled meanwhile
            continue
        if exc is None:
            future.set_result(result)
        else:
            future.set_exception(exc)

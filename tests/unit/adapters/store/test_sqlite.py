import asyncio
import stat
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from adapters.store.errors import StoreDefect
from adapters.store.spec import StoreOptions
from adapters.store.sqlite import Sqlite, require
from adapters.store.unit import Transaction
from contracts.errors import NotFound, StoreUnavailable

ROOT = Path(__file__).resolve().parents[4]


def engine(path: Path, **options: object) -> Sqlite:
    return Sqlite(StoreOptions(url=f"sqlite:///{path}", **options), path)  # type: ignore[arg-type]  # options as a test names them


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Sqlite]:
    sqlite = engine(tmp_path / "t.db")
    await sqlite.start()

    async def table(tx: Transaction) -> None:
        await tx.script("create table t (n integer primary key, thread text) strict")

    await sqlite.write(table)
    yield sqlite
    await sqlite.close()


async def put(store: Sqlite, n: int) -> int:
    async def unit(tx: Transaction) -> int:
        return await tx.execute("insert into t (n, thread) values ($1, $2)", n, threading.current_thread().name)

    return await store.write(unit)


async def numbers(store: Sqlite) -> list[int]:
    async def unit(tx: Transaction) -> list[int]:
        return [n for (n,) in await tx.query("select n from t order by n")]

    return await store.read(unit)


class Gate:
    """A unit that stops the writer until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    async def __call__(self, tx: Transaction) -> None:
        self.reached.set()
        assert self.opened.wait(10)


async def stopped(store: Sqlite) -> tuple[Gate, "asyncio.Task[None]"]:
    gate = Gate()
    task = asyncio.create_task(store.write(gate))
    await asyncio.to_thread(gate.reached.wait, 10)
    return gate, task


async def test_group_commit_survives_one_failing_unit(store: Sqlite) -> None:
    async def half(tx: Transaction) -> None:
        await tx.execute("insert into t (n) values ($1)", 100)
        raise NotFound(what="thing", key="x")

    gate, task = await stopped(store)
    waiting = [asyncio.create_task(put(store, n)) for n in (1, 2)]
    failing = asyncio.create_task(store.write(half))
    duplicate = asyncio.create_task(put(store, 1))
    waiting.append(asyncio.create_task(put(store, 3)))
    await asyncio.sleep(0)
    gate.opened.set()
    await task
    assert await asyncio.gather(*waiting) == [1, 1, 1]
    with pytest.raises(NotFound):
        await failing
    with pytest.raises(StoreDefect, match="UNIQUE"):
        await duplicate
    assert await numbers(store) == [1, 2, 3]


async def test_many_waiting_units_share_commits(store: Sqlite, tmp_path: Path) -> None:
    gate, task = await stopped(store)
    waiting = [asyncio.create_task(put(store, n)) for n in range(200)]
    await asyncio.sleep(0)
    watcher = apsw.Connection(str(tmp_path / "t.db"))
    before = watcher.pragma("data_version")
    gate.opened.set()
    await asyncio.gather(task, *waiting)
    assert watcher.pragma("data_version") == before + 1
    watcher.close()


async def test_cancelled_caller_harms_nobody_and_a_waiting_unit_is_dropped(store: Sqlite) -> None:
    gate, task = await stopped(store)
    kept, dropped = asyncio.create_task(put(store, 1)), asyncio.create_task(put(store, 2))
    await asyncio.sleep(0)
    task.cancel()
    dropped.cancel()
    gate.opened.set()
    assert await kept == 1
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(store) == [1]


async def test_full_queue_refuses_at_once(tmp_path: Path) -> None:
    store = engine(tmp_path / "t.db", queue=2)
    await store.start()
    gate, task = await stopped(store)
    waiting = [asyncio.create_task(store.write(Gate.__call__.__get__(gate))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="2 units of work are waiting"):
        await store.write(gate)
    gate.opened.set()
    await asyncio.gather(task, *waiting)
    await store.close()


async def test_unit_that_waits_for_something_else_is_refused(store: Sqlite) -> None:
    async def sleeper(tx: Transaction) -> None:
        await tx.execute("insert into t (n) values ($1)", 1)
        await asyncio.sleep(0)

    with pytest.raises(StoreDefect, match="awaits nothing but its transaction"):
        await store.write(sleeper)
    assert await numbers(store) == []


@pytest.mark.parametrize("sql", ["select $2, $1", "select $1, $3, $2", "select $2"])
async def test_statement_whose_parameters_appear_out_of_order_is_refused(store: Sqlite, sql: str) -> None:
    async def unit(tx: Transaction) -> object:
        return await tx.query(sql, 1, 2, 3)

    with pytest.raises(StoreDefect, match=r"expected parameters to appear first as \$1, \$2"):
        await store.read(unit)


async def test_parameter_may_appear_again(store: Sqlite) -> None:
    async def unit(tx: Transaction) -> list[object]:
        return [tuple(row) for row in await tx.query("select $1, $2, $1", "a", "b")]

    assert await store.read(unit) == [("a", "b", "a")]


async def test_reader_cannot_write(store: Sqlite) -> None:
    async def unit(tx: Transaction) -> int:
        return await tx.execute("insert into t (n) values ($1)", 1)

    with pytest.raises(StoreUnavailable, match="may not be written"):
        await store.read(unit)


async def test_work_happens_in_named_threads(store: Sqlite) -> None:
    async def name(tx: Transaction) -> str:
        return threading.current_thread().name

    assert await store.write(name) == "store-writer"
    assert (await store.read(name)).startswith("store-reader-")


async def test_what_waits_at_close_is_still_done(tmp_path: Path) -> None:
    store = engine(tmp_path / "t.db")
    await store.start()

    async def table(tx: Transaction) -> None:
        await tx.script("create table t (n integer primary key, thread text) strict")

    await store.write(table)
    waiting = [asyncio.create_task(put(store, n)) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*waiting) == [1] * 50


async def test_write_lock_of_another_process_is_waited_for_and_then_told(tmp_path: Path) -> None:
    store = engine(tmp_path / "t.db", wait=0.2)
    await store.start()
    other = apsw.Connection(str(tmp_path / "t.db"))
    other.execute("begin immediate")

    async def nothing(tx: Transaction) -> None:
        return None

    started = asyncio.get_running_loop().time()
    refused = await asyncio.gather(*(store.write(nothing) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(r, StoreUnavailable) and "another process" in str(r) for r in refused)
    assert asyncio.get_running_loop().time() - started < 2
    other.execute("commit")
    await store.write(nothing)
    other.close()
    await store.close()


async def test_database_files_are_closed_to_other_users(store: Sqlite, tmp_path: Path) -> None:
    await put(store, 1)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("t.db", "t.db-wal", "t.db-shm")}  # a test
    assert modes == {"t.db": 0o600, "t.db-wal": 0o600, "t.db-shm": 0o600}


async def test_commits_are_synchronous_in_a_write_ahead_log(store: Sqlite) -> None:
    async def pragmas(tx: Transaction) -> list[object]:
        return [(await tx.query(f"pragma {name}"))[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert await store.write(pragmas) == ["wal", 2, 1]


async def test_file_that_is_no_database_or_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await engine(tmp_path / "t.db").start()
    with pytest.raises(StoreUnavailable, match="directory"):
        await engine(tmp_path).start()


async def test_full_disk_refuses_and_what_was_answered_stays(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.unit.adapters.store.filler", str(tmp_path / "t.db"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    lines = (await child.communicate())[0].decode().splitlines()
    answered = sorted(int(line.split()[1]) for line in lines if line.startswith("answered"))
    refused = {line for line in lines if line.startswith("refused")}
    assert child.returncode == 0
    assert 0 < len(answered) < 200
    assert all("store: the disk" in line for line in refused)
    store = engine(tmp_path / "t.db")
    await store.start()
    assert await numbers(store) == answered
    await store.close()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.0"])
def test_library_that_can_lose_commits_is_refused(version: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"3.51.3 or newer, got {version}"):
        require(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.100.0", apsw.sqlite_lib_version()])
def test_library_that_keeps_commits_is_taken(version: str) -> None:
    require(version)

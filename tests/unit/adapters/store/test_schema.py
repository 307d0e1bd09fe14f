from pathlib import Path

import pytest

from adapters.store.schema import FOLDER, migrate, steps
from adapters.store.spec import StoreOptions
from adapters.store.sqlite import Sqlite
from adapters.store.unit import Transaction
from contracts.errors import StoreUnavailable


async def applied(database: Path, folder: Path) -> int:
    engine = Sqlite(StoreOptions(url=f"sqlite:///{database}"), database)

    async def unit(tx: Transaction) -> int:
        return await migrate(tx, engine.dialect, folder)

    await engine.start()
    try:
        return await engine.write(unit)
    finally:
        await engine.close()


async def test_steps_are_applied_once_in_order_and_later_ones_on_top(tmp_path: Path) -> None:
    folder, database = tmp_path / "steps", tmp_path / "t.db"
    folder.mkdir()
    (folder / "0001_a.sql").write_text("create table a (n {int}) {strict}; insert into a values (1);")
    (folder / "notes.txt").write_text("not a step")
    assert await applied(database, folder) == 1
    (folder / "0002_b.sql").write_text("create table b as select n from a;")
    assert await applied(database, folder) == 2
    assert await applied(database, folder) == 2


async def test_step_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("create table a (n {int}) {strict}; insert into nothing values (1);")
    with pytest.raises(Exception, match="nothing"):
        await applied(tmp_path / "t.db", tmp_path)
    (tmp_path / "0001_a.sql").write_text("create table a (n {int}) {strict};")
    assert await applied(tmp_path / "t.db", tmp_path) == 1


async def test_changed_step_and_newer_books_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("create table a (n {int}) {strict};")
    (tmp_path / "0002_b.sql").write_text("create table b (n {int}) {strict};")
    await applied(tmp_path / "t.db", tmp_path)
    (tmp_path / "0002_b.sql").unlink()
    with pytest.raises(StoreUnavailable, match="at step 2, this release knows 1"):
        await applied(tmp_path / "t.db", tmp_path)
    (tmp_path / "0001_a.sql").write_text("create table a (n {int}, m {int}) {strict};")
    with pytest.raises(StoreUnavailable, match=r"another text than 0001_a\.sql"):
        await applied(tmp_path / "t.db", tmp_path)


def test_numbers_of_steps_have_no_gap() -> None:
    assert [int(name[:4]) for name, _ in steps(FOLDER)] == list(range(1, len(steps(FOLDER)) + 1))

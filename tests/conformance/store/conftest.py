"""Every test of this folder runs on both engines."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books

_numbers = count(1)

Open = Callable[[], Awaitable[Books]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def engine(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name, and address of a server for those that need one."""
    return request.param, request.getfixturevalue("postgres_dsn") if request.param == "postgres" else ""


@pytest.fixture
async def url(engine: tuple[str, str], tmp_path: Path) -> AsyncIterator[str]:
    """Address of empty books."""
    name, dsn = engine
    if name == "sqlite":
        yield f"sqlite:///{tmp_path}/books/tillgate.db"
        return
    schema = f"store_{next(_numbers)}"
    control = await asyncpg.connect(dsn)
    try:
        await control.execute(f"create schema {schema}")
        yield f"{dsn}?search_path={schema}"
        await control.execute(f"drop schema {schema} cascade")
    finally:
        await control.close()


@pytest.fixture
async def another(url: str) -> AsyncIterator[Open]:
    """Opens the same books once more, as another process would."""
    opened: list[Books] = []

    async def start() -> Books:
        books = open_store(StoreOptions(url=url))
        await books.start()
        opened.append(books)
        return books

    yield start
    for books in opened:
        await books.close()


@pytest.fixture
async def books(another: Open) -> Books:
    return await another()

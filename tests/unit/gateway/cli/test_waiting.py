"""A worker that starts before its store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books
from contracts.errors import StoreUnavailable
from gateway.cli.serving import with_store


class Away:
    """A store whose place is no database yet. Counts how often it was tried."""

    def __init__(self, folder: Path) -> None:
        self.place, self.tried, self.again = folder / "books.db", 0, asyncio.Event()
        self.place.mkdir()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Books]:
        self.tried += 1
        if self.tried > 1:
            self.again.set()
        books = open_store(StoreOptions(url=f"sqlite:///{self.place}"))
        try:
            await books.start()
            yield books
        finally:
            await books.close()


async def test_a_store_that_is_away_is_waited_for_and_used_when_it_comes(tmp_path: Path) -> None:
    away = Away(tmp_path)
    async with AsyncExitStack() as stack:
        coming = asyncio.create_task(with_store(stack, away.opened, patience=30, pause=0.01))
        await away.again.wait()
        away.place.rmdir()
        await (await coming).check()


async def test_a_store_that_stays_away_ends_the_worker_with_its_reason(tmp_path: Path) -> None:
    away = Away(tmp_path)
    async with AsyncExitStack() as stack:
        with pytest.raises(StoreUnavailable):
            await with_store(stack, away.opened, patience=0.05, pause=0.02)
    assert away.tried > 1

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.admin import NewClient, Rotation
from contracts.books import ApiKey, Books
from gateway.services.clients import Actor, ClientDesk, Offer
from gateway.services.clock import utc_now


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/tillgate.db"))
    await books.start()
    yield books
    await books.close()


async def test_log_tells_the_end_of_a_key_in_utc_whatever_offset_it_came_with(books: Books) -> None:
    prefixes = iter(["abcdefgh", "bcdefghi"])

    def new_key(name: str, ends: datetime | None) -> tuple[str, ApiKey]:
        return "shown", ApiKey(prefix=next(prefixes), client=name, digest=b"1", expires_at=ends)

    offer = Offer(scopes=("catalogue:read",), channels=("web",), quotas=("standard",), versions=("2026-10-01",))
    desk = ClientDesk(books.clients, offer, new_key, Actor("ops"), utc_now)
    ends = datetime.fromisoformat("2099-01-01T01:30:00+02:00")
    await desk.add(NewClient(name="app", channel="web", scopes=("catalogue:read",), key_expires_at=ends))
    await desk.rotate("app", Rotation(key_expires_at=ends))
    assert {entry.detail["key ends"] for entry in await books.audit.list(10)} == {"2098-12-31 23:30 UTC"}

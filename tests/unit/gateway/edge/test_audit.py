from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import ApiKey, AuditEntry, Books, Client
from contracts.errors import StoreUnavailable
from gateway.edge.audit import MOST_CLAIMS, MOST_DENIED, Audit
from gateway.services.clock import utc_now


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/tillgate.db"))
    await books.start()
    yield books
    await books.close()


@pytest.fixture
def audit(books: Books) -> Audit:
    return Audit(books.audit, books.clients, utc_now)


async def denied(books: Books) -> dict[tuple[str, str, str], int]:
    return {(e.actor, e.subject, e.detail["code"]): e.count for e in await books.audit.list(1000) if e.what == "denied"}


async def test_change_is_in_the_books_when_it_returns(books: Books, audit: Audit) -> None:
    await audit.changed("ops", "estate.reloaded", "estate", {"generation": "2"})
    (entry,) = await books.audit.list(10)
    assert (entry.actor, entry.what, entry.subject, entry.detail) == ("ops", "estate.reloaded", "estate", {"generation": "2"})


async def test_denied_attempts_are_counted_and_written_once(books: Books, audit: Audit) -> None:
    for _ in range(1000):
        audit.denied("unauthenticated", "abcdefgh", "192.0.2.7", "GET /products")
    audit.denied("forbidden", "shop", "2001:db8:1:2:3:4:5:6", "GET /orders")
    assert await books.audit.list(10) == []
    await audit.flush()
    await audit.flush()
    assert await denied(books) == {
        ("192.0.2.7", "abcdefgh", "unauthenticated"): 1000,
        ("2001:db8:1:2::/64", "shop", "forbidden"): 1,
    }


async def test_who_tries_many_keys_is_one_line_and_hides_nobody(books: Books, audit: Audit) -> None:
    for n in range(5000):
        audit.denied("unauthenticated", f"key{n}", "192.0.2.7", "GET /products")
    audit.denied("unauthenticated", "shop", "192.0.2.8", "GET /products")
    await audit.flush()
    found = await denied(books)
    assert len(found) == MOST_CLAIMS + 2
    assert found["192.0.2.7", "other", "unauthenticated"] == 5000 - MOST_CLAIMS
    assert found["192.0.2.8", "shop", "unauthenticated"] == 1


async def test_networks_that_try_many_keys_are_told_in_a_line_each_as_soon_as_others_need_the_room(books: Books, audit: Audit) -> None:
    for n in range(MOST_DENIED):
        for claim in range(MOST_CLAIMS):
            audit.denied("unauthenticated", f"key{claim}", f"192.0.2.{n % 20}", f"GET /{n % 7}")
    for n in range(100):
        audit.denied("forbidden", f"shop{n}", f"198.51.100.{n}", "GET /orders")
    await audit.flush()
    found = await denied(books)
    assert len(found) <= MOST_DENIED
    assert sum(found.values()) == MOST_DENIED * MOST_CLAIMS + 100
    assert all(found[f"198.51.100.{n}", f"shop{n}", "forbidden"] == 1 for n in range(100))
    assert {actor for actor, _, _ in found} == {f"192.0.2.{n}" for n in range(20)} | {f"198.51.100.{n}" for n in range(100)}


async def test_flood_of_addresses_is_bounded_and_every_attempt_is_counted(books: Books, audit: Audit) -> None:
    for n in range(3000):
        audit.denied("unauthenticated", "", f"10.0.{n // 250}.{n % 250}", "GET /products")
    await audit.flush()
    found = await denied(books)
    assert len(found) <= MOST_DENIED + 1
    assert sum(found.values()) == 3000
    assert found["other", "other", "unauthenticated"] == 3000 - MOST_DENIED


class Away:
    """Books that cannot be written."""

    def __init__(self, books: Books) -> None:
        self.books, self.away = books.audit, True

    async def add(self, entries: list[AuditEntry]) -> None:
        if self.away:
            raise StoreUnavailable(reason="away")
        await self.books.add(entries)


async def test_what_cannot_be_written_is_counted_on_within_the_bound(books: Books) -> None:
    book = Away(books)
    audit = Audit(book, books.clients, utc_now)  # type: ignore[arg-type]  # of the book only `add` is asked
    for minute in range(3):
        for n in range(MOST_DENIED):
            audit.denied("unauthenticated", "", f"10.{minute}.0.{n}", "GET /products")
        with pytest.raises(StoreUnavailable):
            await audit.flush()
    book.away = False
    await audit.flush()
    found = await denied(books)
    assert sum(found.values()) == 3 * MOST_DENIED
    assert len(found) <= MOST_DENIED + 1


async def test_last_use_of_a_key_is_written_with_the_flush(books: Books, audit: Audit) -> None:
    client = Client(name="shop", channel="web", scopes=(), api_version="2026-10-01")
    await books.clients.create(client, ApiKey(prefix="abcdefgh", client="shop", digest=b"1"), [])
    async with audit.kept():
        audit.used("abcdefgh")
        audit.used("abcdefgh")
    (key,) = await books.clients.keys("shop")
    assert key.used_at is not None

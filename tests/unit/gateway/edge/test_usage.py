"""What is counted, that nothing counted is lost while the store is away, and that requests are counted by what they used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date

import pytest

from contracts.books import Client, Used
from contracts.errors import InvalidBody, InvalidRequest, StoreUnavailable
from gateway.edge.endpoint import Ask, Outcome
from gateway.edge.identity.principal import Principal
from gateway.edge.usage import SELECTED, Usage

from .conftest import START, Bench

SHOP = Principal.of(Client(name="shop", channel="web", scopes=(), api_version="2026-01-01"), "key")


class Book:
    """A book that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.rows: list[Used] = []
        self.written = asyncio.Event()

    async def add(self, day: date, counts: Sequence[Used]) -> None:
        if self.away:
            raise StoreUnavailable(reason="away")
        assert day == START.date()
        self.rows.extend(counts)
        self.written.set()

    async def since(self, day: date) -> Sequence[Used]:
        return self.rows

    async def purge(self, before: date) -> int:
        return 0


@pytest.fixture
def book() -> Book:
    return Book()


def counts(book: Book) -> dict[str, int]:
    return {u.field: u.times for u in book.rows}


async def test_requests_and_what_they_used_are_counted_apart(book: Book) -> None:
    usage = Usage(book, lambda: START)
    for _ in range(3):
        usage.seen("v", SHOP, "GET /x", ("query:store",))
    usage.seen("v", SHOP, "GET /x", (), ("answer:/items/*/storeId",))
    await usage.flush()
    assert counts(book) == {"": 4, "query:store": 3, SELECTED: 1, "answer:/items/*/storeId": 1}
    assert {(u.version, u.client, u.channel, u.route, u.seen_at) for u in book.rows} == {("v", "shop", "web", "GET /x", START)}
    await usage.flush()
    assert len(book.rows) == 4


async def test_what_could_not_be_written_is_counted_on(book: Book) -> None:
    usage = Usage(book, lambda: START)
    book.away = True
    usage.seen("v", SHOP, "GET /x")
    with pytest.raises(StoreUnavailable):
        await usage.flush()
    usage.seen("v", SHOP, "GET /x", ("query:store",))
    book.away = False
    await usage.flush()
    assert counts(book) == {"": 2, "query:store": 1}


async def test_memory_is_bounded_and_known_counts_go_on(book: Book) -> None:
    usage = Usage(book, lambda: START, most=2)
    for n in range(5):
        usage.seen("v", SHOP, f"GET /{n}")
    usage.seen("v", SHOP, "GET /0")
    await usage.flush()
    assert [(u.route, u.times) for u in book.rows] == [("GET /0", 2), ("GET /1", 1)]


async def test_counts_are_written_from_time_to_time_and_at_the_end(book: Book) -> None:
    usage = Usage(book, lambda: START)
    async with usage.kept(0.01):
        usage.seen("v", SHOP, "GET /x")
        async with asyncio.timeout(10):
            await book.written.wait()
    async with usage.kept(3600):
        usage.seen("v", SHOP, "GET /y")
        await asyncio.sleep(0)
    assert [u.route for u in book.rows] == ["GET /x", "GET /y"]


async def test_the_door_counts_every_request_and_what_it_used_of_what_changed(bench: Bench) -> None:
    await bench.get()
    for version in ("2026-01-01", "2026-10-01", "1999-01-01"):
        await bench.get(API_Version=version)
    body = {"id": "aa", "price": {"centAmount": 1, "currencyCode": "EUR", "fractionDigits": 2}}
    await bench.post(body, "/things/aa/change", API_Version="2026-01-01", If_Match='"v0"')
    await bench.post({"key": "aa"}, "/things/aa/change", key="k2", API_Version="2026-01-01")
    await bench.usage.flush()
    assert {(u.version, u.route, u.field): u.times for u in await bench.books.usage.since(START.date())} == {
        ("2026-10-01", "GET /things/{key}", ""): 2,
        ("2026-01-01", "GET /things/{key}", ""): 1,
        ("2026-01-01", "POST /things/{key}/change", ""): 2,
        ("2026-01-01", "POST /things/{key}/change", "body:/id"): 1,
    }


@pytest.mark.parametrize(
    ("raised", "version", "pointer"),
    [
        (InvalidBody(where="/key", expected="another", got="this"), "2026-01-01", "/id"),
        (InvalidBody(where="/key", expected="another", got="this"), "2026-10-01", "/key"),
        (InvalidBody(where="/price/centAmount", expected="more", got="less"), "2026-01-01", "/price/centAmount"),
        (InvalidBody(where="/seller/name", expected="a name", got="none"), "2026-01-01", ""),
        (InvalidRequest(where="query:cursor", expected="another", got="this"), "2026-01-01", "query:cursor"),
    ],
)
async def test_a_problem_that_a_handler_found_points_to_what_the_caller_sent(
    raised: InvalidRequest, version: str, pointer: str, bench: Bench
) -> None:
    async def refuse(ask: Ask[object, object], runs: int) -> Outcome:
        raise raised

    bench.handle = refuse
    sent = {("key" if version == "2026-10-01" else "id"): "aa", "price": {"centAmount": 1, "currencyCode": "EUR", "fractionDigits": 2}}
    answer = await bench.post(sent, "/things/aa/change", API_Version=version, If_Match='"v0"')
    assert [e["pointer"] for e in answer.json()["errors"]] == [pointer]
    assert answer.json()["detail"].startswith(f"{pointer or 'the body'}: expected")


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ({"key": "aa"}, "/key"),
        ({"id": 7}, "/id"),
        ({}, "/id"),
        ({"id": "a", "seller": {}}, "/seller"),
        ({"id": "a", "price": {"centAmount": "1"}}, "/price/centAmount"),
    ],
)
async def test_a_body_is_refused_in_the_words_of_its_version(sent: object, pointer: str, bench: Bench) -> None:
    answer = await bench.post(sent, "/things/aa/change", API_Version="2026-01-01")
    assert (answer.status_code, [e["pointer"] for e in answer.json()["errors"]]) == (422, [pointer])

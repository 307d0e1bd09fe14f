"""API keys against real books, with a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import ApiKey, Books, Client, KeyRecord
from contracts.errors import Forbidden, Unauthenticated
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.identity.keys import new_key, prefix_of
from gateway.edge.identity.lookups import Lookups
from gateway.edge.identity.principal import Principal

PEPPER = b"p" * 32
START = datetime(2026, 11, 1, tzinfo=UTC)
SHOP = Client(name="shop", channel="web", scopes=("orders:read",), api_version="2026-10-01")


@dataclass
class Bench:
    books: Books
    authenticator: Authenticator
    seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    readings: list[str] = field(default_factory=list)

    @property
    def rolls(self) -> int:
        return len(self.readings)

    async def key(self, client: Client = SHOP, expires_at: datetime | None = None) -> str:
        await self.books.clients.put(client)
        key, stored = new_key(client.name, PEPPER, expires_at)
        await self.books.clients.add_key(stored)
        return key

    async def ask(self, key: str) -> Principal:
        return await self.authenticator.principal({"authorization": f"Bearer {key}"})


class Counted:
    """The books of clients, counting questions."""

    def __init__(self, books: Books, asked: list[str], rolls: list[str]) -> None:
        self._books, self._asked, self._rolls = books, asked, rolls
        self.clients = self

    async def find_key(self, prefix: str) -> tuple[ApiKey, Client] | None:
        self._asked.append(prefix)
        return await self._books.clients.find_key(prefix)

    async def keys(self, client: str | None) -> Sequence[KeyRecord]:
        self._rolls.append("all")
        return await self._books.clients.keys(client)

    def __getattr__(self, name: str) -> object:
        return getattr(self._books.clients, name)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/books.db", source="/test"))
    await books.start()
    asked: list[str] = []
    used: list[str] = []
    rolls: list[str] = []
    authenticator = Authenticator(
        Counted(books, asked, rolls),  # type: ignore[arg-type]  # only its clients are asked
        PEPPER,
        used=used.append,
        now=lambda: START + timedelta(seconds=found.seconds),
        clock=lambda: found.seconds,
    )
    found = Bench(books, authenticator, asked=asked, used=used, readings=rolls)
    yield found
    await books.close()


async def test_a_key_is_its_client_and_is_looked_up_once_in_two_seconds(it: Bench) -> None:
    key = await it.key()
    callers = await asyncio.gather(*(it.ask(key) for _ in range(50)))
    assert {p.name for p in callers} == {"shop"}
    assert {p.credential for p in callers} == {"key"}
    assert len(it.asked) == 1
    it.seconds = 1.9
    assert it.authenticator.known(f"Bearer {key}") == await it.ask(key)
    it.seconds = 2.1
    assert it.authenticator.known(f"Bearer {key}") is None
    await it.ask(key)
    assert it.asked == [prefix_of(key)] * 2


async def test_each_accepted_key_is_told_of_by_its_prefix_and_no_refused_one(it: Bench) -> None:
    key = await it.key()
    await it.ask(key)
    with pytest.raises(Unauthenticated):
        await it.ask(key[:-1] + ("A" if key[-1] != "A" else "B"))
    assert it.used == [prefix_of(key)]


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1.99])
async def test_a_suspension_and_a_lost_scope_count_after_two_seconds_at_the_latest(it: Bench, seconds: float) -> None:
    key = await it.key()
    await it.ask(key)
    it.seconds = seconds
    await it.books.clients.put(msgspec.structs.replace(SHOP, scopes=()))
    it.seconds = seconds + 2
    assert (await it.ask(key)).scopes == frozenset()
    await it.books.clients.put(msgspec.structs.replace(SHOP, suspended=True))
    it.seconds = seconds + 4
    with pytest.raises(Forbidden, match="suspended"):
        await it.ask(key)


async def test_a_key_ends_at_its_second_though_it_is_remembered(it: Bench) -> None:
    key = await it.key(expires_at=START + timedelta(seconds=1))
    assert await it.ask(key)
    it.seconds = 1.0
    assert it.authenticator.known(f"Bearer {key}") is None
    with pytest.raises(Unauthenticated, match="expired"):
        await it.ask(key)


async def test_old_and_new_key_work_side_by_side_until_the_overlap_ends(it: Bench) -> None:
    old = await it.key()
    await it.books.clients.expire_keys("shop", START + timedelta(hours=1))
    new = await it.key()
    assert (await it.ask(old)).name == (await it.ask(new)).name == "shop"
    it.seconds = 3600
    with pytest.raises(Unauthenticated):
        await it.ask(old)
    assert (await it.ask(new)).key == prefix_of(new)


async def test_wrong_keys_ask_the_books_once_per_prefix(it: Bench) -> None:
    wrong = "tg_aaaaaaaa_" + "A" * 43
    for n in range(100):
        with pytest.raises(Unauthenticated, match="unknown API key"):
            await it.ask(wrong[:-2] + f"{n:02}")
    assert (it.asked, it.rolls) == ([], 1)


async def test_a_flood_of_unknown_prefixes_costs_few_readings(it: Bench) -> None:
    key = await it.key()
    await it.ask(key)
    prefixes = ("".join("abcdefghijklmnopqrstuvwxyz234567"[n >> s & 31] for s in range(0, 40, 5)) for n in range(500))
    answers = await asyncio.gather(*(it.ask(f"tg_{prefix}_" + "A" * 43) for prefix in prefixes), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unauthenticated}
    assert (len(it.asked), it.rolls) == (1, 2)


async def test_what_is_not_there_forgets_nothing_that_is() -> None:
    async def find(name: str) -> str | None:
        asked.append(name)
        return name if name == "shop" else None

    asked: list[str] = []
    lookups = Lookups(find, lambda: 0.0, most=10)
    for n in range(50):
        await lookups.get(f"unknown {n}")
        assert (await lookups.get("shop"))[0] == "shop"
    assert asked.count("shop") == 1
    await lookups.get("unknown 49")
    await lookups.get("unknown 1")
    assert (asked.count("unknown 49"), asked.count("unknown 1")) == (1, 2), "few of them are remembered"


async def test_a_busy_client_is_known_all_the_time_and_one_that_is_suspended_not_longer_than_any_other(it: Bench) -> None:
    authorization = f"Bearer {await it.key()}"
    first = await it.authenticator.principal({"authorization": authorization})
    for second in range(1, 5):
        it.seconds = second * 1.5
        assert it.authenticator.known(authorization) == first, "though the time of the first answer is up"
        assert it.authenticator.known(authorization) == first
        await asyncio.gather(*it.authenticator._asked.values())
    assert len(it.asked) == 5, "the book was asked once each time"
    await it.books.clients.put(msgspec.structs.replace(SHOP, suspended=True))
    it.seconds += 1.5
    assert it.authenticator.known(authorization) == first
    await asyncio.gather(*it.authenticator._asked.values())
    it.seconds += 0.6
    assert it.authenticator.known(authorization) is None
    with pytest.raises(Forbidden):
        await it.authenticator.principal({"authorization": authorization})


async def test_a_key_works_at_once_though_unknown_ones_were_asked_for_just_before(it: Bench) -> None:
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await it.ask(new_key("nobody", PEPPER)[0])
        assert await it.ask(await it.key())


@pytest.mark.parametrize("sent", ["{key}", "Basic {key}", "{key} x", "bearer\t{key}", "Bearer  {key}x", "Bearer {key}\x00"])
async def test_no_part_of_a_secret_comes_back_however_it_was_sent(it: Bench, sent: str) -> None:
    key = await it.key()
    with pytest.raises(Unauthenticated) as refused:
        await it.authenticator.principal({"authorization": sent.format(key=key)})
    assert key[:11] not in refused.value.public
    assert key[-8:] not in refused.value.public


async def test_no_credentials_and_the_wrong_header_are_the_same(it: Bench) -> None:
    key = await it.key()
    for headers in ({}, {"x-api-key": key}, {"authorization": ""}):
        with pytest.raises(Unauthenticated, match="no credentials"):
            await it.authenticator.principal(headers)

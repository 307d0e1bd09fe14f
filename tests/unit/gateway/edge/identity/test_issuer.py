"""Keys of an issuer over time: rotation, outages, floods of unknown names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from adapters.issuer import IssuerDocuments
from contracts.errors import Overloaded, UpstreamFault
from gateway.edge.identity import issuer as module
from gateway.edge.identity.issuer import COOL_DOWN, KeyRing
from tests.servers.issuer import Issuer, running


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def ring_of(issuer: Issuer, clock: Callable[[], float], refresh: float = 600.0) -> KeyRing:
    return KeyRing(issuer.url, ["ES256", "RS256", "Ed25519"], IssuerDocuments(issuer.url, insecure=True).keys, refresh, clock)


async def test_a_key_that_nobody_knows_is_fetched_once_however_many_ask_and_then_not_for_a_while() -> None:
    clock = Clock()
    async with running() as issuer:
        ring = ring_of(issuer, clock)
        assert all(await asyncio.gather(*(ring.key("k1") for _ in range(50))))
        assert issuer.asked.count("/jwks") == 1
        clock.seconds += COOL_DOWN
        issuer.rotate("k2")
        for name in ("k2", *(f"../{n}" for n in range(100))):
            found = await ring.key(name)
            assert (found is not None) == (name == "k2")
        assert issuer.asked.count("/jwks") == 2
        clock.seconds += COOL_DOWN
        assert await ring.key("k3") is None
        assert issuer.asked.count("/jwks") == 3
        await ring.close()


@pytest.mark.parametrize("mood", ["garbage", "error", "huge", "moved", "empty", "deep"])
async def test_the_last_good_set_is_kept_whatever_the_issuer_says(mood: str) -> None:
    clock = Clock()
    async with running() as issuer:
        ring = ring_of(issuer, clock)
        good = await ring.key("k1")
        issuer.mood = mood  # type: ignore[assignment]  # one of its words
        clock.seconds += COOL_DOWN
        assert await ring.key("k2") is None
        assert ring.known("k1") is good is not None
        assert ring.problem
        issuer.mood = "fine"
        issuer.rotate("k2")
        issuer.published.discard("k1")
        clock.seconds += COOL_DOWN
        assert await ring.key("k2")
        assert ring.known("k1") is None, "a key that was taken back is gone"
        assert not ring.problem
        await ring.close()


async def test_keys_are_read_again_before_anybody_asks_until_the_ring_is_closed() -> None:
    async with running() as issuer:
        read: asyncio.Queue[None] = asyncio.Queue()

        async def fetch() -> list[dict[str, Any]]:
            read.put_nowait(None)
            return await IssuerDocuments(issuer.url, insecure=True).keys()

        ring = KeyRing(issuer.url, ["ES256"], fetch, 0.02)
        ring.start()
        async with asyncio.timeout(5):
            for _ in range(2):  # when it reads the second time it has taken the first
                await read.get()
            assert ring.known("k1") is not None
            issuer.rotate("k2")
            for _ in range(3):
                await read.get()
            assert ring.known("k2") is not None
        await ring.close()
        assert not [t for t in asyncio.all_tasks() if issuer.url in t.get_name()]


async def test_a_mistake_of_our_own_while_keys_are_read_does_not_end_their_refreshing() -> None:
    asked: asyncio.Queue[int] = asyncio.Queue()

    async def fetch() -> list[dict[str, Any]]:
        asked.put_nowait(asked.qsize())
        if not ring.loaded or ring.problem:
            return await IssuerDocuments(issuer.url, insecure=True).keys()
        raise RuntimeError("something that nobody thought of")

    async with running() as issuer:
        ring = KeyRing(issuer.url, ["ES256"], fetch, 0.02)
        ring.start()
        async with asyncio.timeout(5):
            for _ in range(2):  # read, and failed
                await asked.get()
            issuer.rotate("k2")
            for _ in range(3):
                await asked.get()
        assert ring.known("k2") is not None
        await ring.close()


async def test_a_flood_that_waits_for_a_hanging_issuer_is_bounded() -> None:
    going = asyncio.Event()

    async def fetch() -> list[dict[str, Any]]:
        await going.wait()
        raise UpstreamFault(system="issuer", operation="keys", reason="late")

    ring = KeyRing("https://login.example.test", ["ES256"], fetch, 600)
    waiting = [asyncio.create_task(ring.key(f"k{n}")) for n in range(module._WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await ring.key("one more")
    waiting[0].cancel()
    going.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [None] * (len(found) - 1)
    await ring.close()


@pytest.mark.parametrize(
    "raw",
    [
        {"kty": "oct", "kid": "x", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "x", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "kid": "x", "crv": "P-256", "x": "!", "y": 3},
        {"kty": "EC", "kid": "x", "crv": "none"},
        {"kty": ["EC"], "kid": "x"},
        {"kid": "x"},
        {},
    ],
)
async def test_keys_that_cannot_be_used_are_left_out(raw: dict[str, Any]) -> None:
    async with running() as issuer:
        usable = issuer.jwks()[0]

    async def fetch() -> list[dict[str, Any]]:
        encryption = {**usable, "kid": "enc", "use": "enc"}
        other = {**usable, "kid": "other", "alg": "ES384"}
        return [raw, encryption, other, {**usable, "kid": 5}, {**usable, "kid": "ops", "key_ops": ["sign"]}, usable]

    ring = KeyRing("https://login.example.test", ["ES256"], fetch, 600)
    assert await ring.key("k1")
    assert [ring.known(name) for name in ("x", "enc", "other", "ops", "")] == [None] * 5
    assert ring.known(None) is ring.known("k1"), "one key needs no name"
    await ring.close()


async def test_a_reload_keeps_what_was_known_and_only_what_the_new_table_allows() -> None:
    async with running() as issuer:
        before = ring_of(issuer, Clock())
        await before.key("k1")
    after = KeyRing(issuer.url, ["ES256"], before._fetch, 600)
    after.take_over(before)
    assert after.known("k1") is before.known("k1")
    await before.close()

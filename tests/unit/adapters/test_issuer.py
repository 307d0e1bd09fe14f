"""What is read of an issuer, from a real server in every mood."""

from __future__ import annotations

import asyncio

import pytest

from adapters.issuer import IssuerDocuments
from contracts.errors import ContractViolation, UpstreamError, UpstreamFault
from tests.servers.issuer import Issuer, running


def of(issuer: Issuer, url: str = "") -> IssuerDocuments:
    return IssuerDocuments(url or issuer.url, insecure=True)


@pytest.mark.parametrize("path", ["", "/tenant", "/tenant/a/"])
async def test_metadata_is_found_in_both_forms_and_leads_to_the_keys(path: str) -> None:
    for mood, well_known in (("fine", "/.well-known/openid-configuration"), ("plain", "/.well-known/oauth-authorization-server")):
        async with running(path) as issuer:
            issuer.mood = mood  # type: ignore[assignment]  # one of its words
            assert [k["kid"] for k in await of(issuer).keys()] == ["k1"]
            tail = path.rstrip("/")
            assert issuer.asked[-2:] == [tail + well_known if mood == "fine" else well_known + tail, "/jwks"]


@pytest.mark.parametrize("named", ["http://127.0.0.1/", "https://login.example.test", "{url}/", "{url}#", "HTTP://127.0.0.1"])
async def test_an_issuer_that_calls_itself_otherwise_by_one_character_is_not_believed(named: str) -> None:
    async with running() as issuer:
        issuer.named = named.format(url=issuer.url)
        with pytest.raises(ContractViolation, match="issuer"):
            await of(issuer).keys()
        assert "/jwks" not in issuer.asked


@pytest.mark.parametrize("mood", ["garbage", "error", "huge", "moved", "deep"])
async def test_nonsense_is_an_error_of_the_issuer(mood: str) -> None:
    async with running() as issuer:
        issuer.mood = mood  # type: ignore[assignment]  # one of its words
        with pytest.raises((ContractViolation, UpstreamFault)):
            await of(issuer).keys()


@pytest.mark.parametrize(
    "uri",
    ["https://[::1/jwks", "http://[::1/jwks", "https://127.0.0.1:99999/jwks", "https:///jwks", "https://me:secret@127.0.0.1/", "jwks"],
)
async def test_keys_at_a_place_that_there_cannot_be_are_an_error_of_the_issuer(uri: str) -> None:
    async with running() as issuer:
        issuer.keys_at = uri
        with pytest.raises(ContractViolation) as caught:
            await of(issuer).keys()
        assert "secret" not in str(caught.value)


async def test_an_issuer_that_hangs_is_given_up() -> None:
    async with running() as issuer:
        issuer.mood = "hang"
        async with asyncio.timeout(5):
            with pytest.raises(UpstreamError):
                await IssuerDocuments(issuer.url, insecure=True, seconds=0.2).keys()


async def test_http_is_for_this_machine_and_only_where_declared() -> None:
    async with running() as issuer:
        with pytest.raises(ContractViolation, match="https"):
            await IssuerDocuments(issuer.url).keys()
        assert issuer.asked == []
    with pytest.raises(ContractViolation, match="https"):
        await IssuerDocuments("http://192.0.2.1", insecure=True).keys()

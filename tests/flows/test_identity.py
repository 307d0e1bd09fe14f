"""Tokens and certificates through the whole product: a real issuer, real TLS, an estate that is read again while both are in use."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trustme

from contracts.books import Client
from contracts.versions import HISTORY
from gateway.bootstrap.identity import notices
from gateway.edge.identity.certificates import thumbprint
from tests.products import SKU, Live, own_estate, running
from tests.servers import issuer as servers
from tests.servers.issuer import Issuer

pytestmark = pytest.mark.slow

PATH = f"/products/{SKU}"
SHOP = Client(name="shop", channel="web", scopes=("catalogue:read", "admin:read"), api_version=HISTORY.newest.date)


@dataclass
class House:
    live: Live
    issuer: Issuer
    estate: Path
    files: Path
    ca: trustme.CA

    @property
    def base(self) -> str:
        return self.live.base.replace("http:", "https:")

    def context(self, certificate: trustme.LeafCert | None = None, ca: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        (ca or self.ca).configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context

    async def get(
        self, token: str = "", certificate: trustme.LeafCert | None = None, ca: trustme.CA | None = None, path: str = PATH, **fields: str
    ) -> httpx.Response:
        """Over a connection of its own."""
        async with httpx.AsyncClient(verify=self.context(certificate, ca), base_url=self.base) as http:
            return await http.get(path, headers={**({"Authorization": f"Bearer {token}"} if token else {}), **fields})

    def serve_as(self, ca: trustme.CA, clients: trustme.CA) -> None:
        certificate = ca.issue_cert("127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(self.files / "own.pem")
        clients.cert_pem.write_to_path(self.files / "clients.pem")


@asynccontextmanager
async def house(folder: Path, mode: str = "optional", more: str = "") -> AsyncIterator[House]:
    estate, files, ca = own_estate(folder / "estate"), folder, trustme.CA()
    async with servers.running("/realms/retail") as issuer:
        text = (estate / "estate.toml").read_text(encoding="utf-8")
        text += f'public_url = "https://api.example.test"\n{more}'
        text += f"""
[edge.tls]
certificate = "{files}/own.pem"
key = "{files}/own.pem"
client_ca = "{files}/clients.pem"
client_certificates = "{mode}"

[[identity.issuer]]
url = "{issuer.url}"
audiences = ["{servers.AUDIENCE}"]
insecure = true
"""
        (estate / "estate.toml").write_text(text, encoding="utf-8")
        it = House(None, issuer, estate, files, ca)  # type: ignore[arg-type]  # is set below: the files come first
        it.serve_as(ca, ca)
        async with running(folder, root=estate) as live:
            it.live = live
            await live.product.books.clients.put(SHOP)
            yield it


def der(certificate: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


async def test_a_certificate_is_its_client_and_a_bound_token_is_good_with_it_only(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        mine, other = it.ca.issue_cert("shop@example.test"), it.ca.issue_cert("other@example.test")
        books = it.live.product.books.clients
        await books.put(msgspec.structs.replace(SHOP, name="terminal", certificates=(thumbprint(der(mine)),)))
        scope = {"scope": "catalogue:read"}
        bound = it.issuer.token(**scope, cnf={"x5t#S256": thumbprint(der(mine))})
        for path in (PATH, "/metrics"):
            assert (await it.get(certificate=mine, path=path)).status_code == 200
            assert (await it.get(certificate=other, path=path)).status_code == 401
            assert (await it.get(path=path)).status_code == 401
        assert (await it.get(bound, certificate=mine)).status_code == 200
        assert (await it.get(it.issuer.token(**scope), certificate=other)).status_code == 200
        for certificate in (None, other):
            answer = await it.get(bound, certificate=certificate)
            assert answer.status_code == 401
            assert "bound to a client certificate" in answer.json()["detail"]
        forwarded = {"Client-Cert": der(mine).hex(), "X-Forwarded-For": "127.0.0.1"}
        assert (await it.get(bound, **forwarded)).status_code == 401, "only declared proxies may say what certificate there is"
        stranger = trustme.CA().issue_cert("shop@example.test")
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await it.get(certificate=stranger)


async def test_where_certificates_are_required_no_connection_comes_about_without(tmp_path: Path) -> None:
    async with house(tmp_path, "required") as it:
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await it.get(it.issuer.token(scope="catalogue:read"))
        mine = it.ca.issue_cert("shop@example.test")
        assert (await it.get(it.issuer.token(scope="catalogue:read"), certificate=mine)).status_code == 200


async def test_renewed_files_are_taken_over_and_open_connections_stay(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        mine, token = it.ca.issue_cert("shop@example.test"), it.issuer.token(scope="catalogue:read")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(it.base.rpartition(":")[2]), ssl=it.context(mine), server_hostname="127.0.0.1"
        )

        async def over_the_open_one() -> bytes:
            writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)
            return head.split(b"\r\n")[0]

        assert b"200" in await over_the_open_one()
        later = trustme.CA()
        it.serve_as(later, later)
        assert (await it.live.product.reload()).findings == ()
        assert b"200" in await over_the_open_one()
        assert (await it.get(token, ca=later)).status_code == 200
        assert (await it.get(token, ca=later, certificate=later.issue_cert("new@example.test"))).status_code == 200
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await it.get(token)  # who trusts the old authority only
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await it.get(token, ca=later, certificate=mine)
        (tmp_path / "own.pem").write_text("no certificate")
        told = await it.live.product.reload()
        assert not told.applied
        assert "[edge.tls]" in told.findings[0]
        assert (await it.get(token, ca=later)).status_code == 200
        writer.close()


async def test_a_reload_while_the_issuer_is_away_refuses_nobody_and_the_end_of_the_product_ends_its_reading(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        assert (await it.get(it.issuer.token(scope="catalogue:read"))).status_code == 200
        assert it.issuer.asked[0] == "/realms/retail/.well-known/openid-configuration"
        it.issuer.mood = "error"
        for _ in range(2):
            assert (await it.live.product.reload()).applied
        assert (await it.get(it.issuer.token(scope="catalogue:read"))).status_code == 200
        (it.estate / "estate.toml").write_text(
            (it.estate / "estate.toml").read_text(encoding="utf-8").replace("insecure = true", 'insecure = true\nleeway = "10s"')
        )
        assert (await it.live.product.reload()).applied
        answer = await it.get(it.issuer.token(scope="catalogue:read"))
        assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert [n.rpartition(". ")[2] for n in notices(it.live.product.current.rings)] == ["Its tokens get 503."]
        it.issuer.mood = "fine"
        async with asyncio.timeout(20):
            while (await it.get(it.issuer.token(scope="catalogue:read"))).status_code == 503:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.2)
        await it.live.product.books.clients.put(msgspec.structs.replace(SHOP, suspended=True))
        await asyncio.sleep(2.0)
        assert (await it.get(it.issuer.token(scope="catalogue:read"))).json()["detail"] == "this client is suspended"
        told = (await it.get(it.live.keys["operator"], path="/admin/audit?limit=1")).json()["items"]
        assert [(entry["what"], entry["subject"]) for entry in told] == [("denied", "shop")]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("keys of", "fetch"))]


async def test_tokens_in_queries_and_forms_are_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        token = it.issuer.token(scope="catalogue:read")
        answer = await it.get(path=f"{PATH}?access_token={token}")
        assert answer.status_code == 401
        assert "error=" not in answer.headers["www-authenticate"]
        assert token[:40] not in answer.text
        also: Any = await it.get(it.issuer.token(scope="catalogue:read"), path=f"{PATH}?access_token={token}")
        assert also.status_code == 400, "an unknown parameter, as any other"
        assert token[:40] not in also.text


@pytest.mark.parametrize("path", ["", "/retail"])
async def test_who_is_refused_learns_who_issues_tokens_and_for_which_resource(tmp_path: Path, path: str) -> None:
    async with house(tmp_path) as it:
        text = (
            (it.estate / "estate.toml")
            .read_text(encoding="utf-8")
            .replace("https://api.example.test", f"https://api.example.test{path}", 1)
        )
        (it.estate / "estate.toml").write_text(text, encoding="utf-8")
        assert (await it.live.product.reload()).applied
        refused = {
            "": await it.get(),
            "invalid_token": await it.get(it.issuer.token(exp=1)),
            "insufficient_scope": await it.get(it.issuer.token(scope="")),
        }
        url = f"https://api.example.test/.well-known/oauth-protected-resource{path}"
        for error, answer in refused.items():
            told = answer.headers["www-authenticate"]
            assert answer.status_code == (403 if error == "insufficient_scope" else 401)
            assert (f'error="{error}"' in told) if error else ("error" not in told)
            assert (f'resource_metadata="{url}"' in told) == (answer.status_code == 401)
        document = (await it.get(path=url.removeprefix("https://api.example.test"))).json()
        assert document["resource"] == f"https://api.example.test{path}"
        assert document["authorization_servers"] == [it.issuer.url]
        assert document["bearer_methods_supported"] == ["header"]
        assert "catalogue:read" in document["scopes_supported"]

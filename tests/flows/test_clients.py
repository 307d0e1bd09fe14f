"""Clients, keys and the audit log over the admin API and by command, with a running gateway."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.books import ApiKey, AuditEntry, Client
from gateway.bootstrap import open_books
from gateway.cli import main
from tests.products import ROOT, Live, running

pytestmark = pytest.mark.slow

CATALOGUE = ["catalogue:read"]


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path) as live:
        yield live


async def post(live: Live, path: str, body: Any, who: str = "operator", key: str = "", method: str = "POST") -> httpx.Response:
    headers = {**live.auth(who), "Idempotency-Key": key or uuid.uuid4().hex, "Content-Type": "application/json"}
    return await live.http.request(method, path, content=b"" if body is None else json.dumps(body).encode(), headers=headers)


async def add(live: Live, name: str, scopes: list[str] = CATALOGUE, **more: Any) -> str:
    answer = await post(live, "/admin/clients", {"name": name, "channel": "web", "scopes": scopes, **more})
    assert answer.status_code == 201, answer.text
    live.keys[name] = answer.json()["key"]
    return str(answer.json()["prefix"])


async def reads(live: Live, name: str) -> int:
    return (await live.http.get("/products/10000001", headers=live.auth(name))).status_code


async def refused_soon(live: Live, name: str, status: int) -> None:
    """What is known of a key is believed for two seconds."""
    async with asyncio.timeout(8):
        while await reads(live, name) != status:  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_client_lives_from_its_first_key_to_its_removal_and_every_step_is_in_the_audit_log(live: Live) -> None:
    prefix = await add(live, "app", stores=["0001"])
    assert await reads(live, "app") == 200
    first = live.keys["app"]
    rotated = await post(live, "/admin/clients/app/keys", {"overlapHours": 1})
    assert rotated.status_code == 201
    live.keys["app"] = rotated.json()["key"]
    assert await reads(live, "app") == 200
    shown = (await live.http.get("/admin/clients/app", headers=live.auth("operator"))).json()
    assert {k["prefix"]: k["state"] for k in shown["keys"]} == {prefix: "ending", rotated.json()["prefix"]: "active"}

    assert (await post(live, f"/admin/clients/app/keys/{prefix}", None, method="DELETE")).status_code == 200
    live.keys["first"] = first
    await refused_soon(live, "first", 401)
    assert (await post(live, "/admin/clients/app", {"suspended": True})).json()["state"] == "suspended"
    await refused_soon(live, "app", 403)
    log = (await live.http.get("/admin/audit", params={"client": "app"}, headers=live.auth("operator"))).json()["items"]
    denied = [(e["detail"]["code"], e["subject"]) for e in log if e["what"] == "denied"]
    assert ("forbidden", rotated.json()["prefix"]) in denied
    assert (await post(live, "/admin/clients/app", {"suspended": False, "apiVersion": "2025-09-01"})).json()["apiVersion"] == "2025-09-01"
    assert (await post(live, "/admin/clients/app", None, method="DELETE")).status_code == 200
    await refused_soon(live, "app", 401)
    assert (await live.http.get("/admin/clients/app", headers=live.auth("operator"))).status_code == 404

    log = (await live.http.get("/admin/audit", params={"client": "app"}, headers=live.auth("operator"))).json()["items"]
    changes = [e for e in log if e["what"] != "denied"]
    assert [e["what"] for e in reversed(changes)] == [
        "client.added", "key.added", "key.ended", "client.suspended", "client.changed", "client.removed",
    ]  # fmt: skip
    assert {e["actor"] for e in changes} == {"demo-operator"}
    assert all(len(e["traceId"]) == 32 for e in changes)
    for secret in (first, rotated.json()["key"]):
        assert secret.split("_", 2)[2] not in json.dumps(log)


async def test_key_is_shown_once_its_repeat_is_told_so_and_it_is_stored_nowhere(live: Live, tmp_path: Path) -> None:
    body = {"name": "app", "channel": "web", "scopes": CATALOGUE}
    first = await post(live, "/admin/clients", body, key="k1")
    assert (first.status_code, first.headers["cache-control"]) == (201, "no-store")
    again = await post(live, "/admin/clients", body, key="k1")
    assert (again.status_code, again.json()["code"]) == (409, "key_shown_once")
    assert first.json()["prefix"] in again.json()["detail"]
    assert len((await live.http.get("/admin/clients/app", headers=live.auth("operator"))).json()["keys"]) == 1
    secret = first.json()["key"].split("_", 2)[2].encode()
    assert all(secret not in path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())


async def test_who_looks_after_clients_gives_no_operator_scope_and_no_store_that_it_lacks(live: Live) -> None:
    await live.client("keeper", ["admin:read", "admin:write"], stores=("0001",))
    await live.client("writer", ["admin:write"])
    everywhere = {"name": "a1", "channel": "web", "scopes": CATALOGUE}
    assert (await post(live, "/admin/clients", everywhere, "keeper")).status_code == 403
    assert (await post(live, "/admin/clients", {**everywhere, "stores": ["0001", "0002"]}, "keeper")).status_code == 403
    assert (await post(live, "/admin/clients", {**everywhere, "stores": ["0001"]}, "keeper")).status_code == 201
    assert (await post(live, "/admin/clients/a1", {"stores": []}, "keeper")).status_code == 403
    assert (await post(live, "/admin/clients/demo-web/keys", {}, "keeper")).status_code == 403, "a new key of a client is that client"

    refused = await post(live, "/admin/clients", {**everywhere, "name": "a2", "scopes": ["admin:read"]}, "writer")
    assert (refused.status_code, refused.json()["requiredScope"]) == (403, "admin:read")
    assert (await post(live, "/admin/clients/demo-operator/keys", {}, "writer")).status_code == 403
    assert (await post(live, "/admin/clients/demo-operator", {"suspended": True}, "writer")).status_code == 403
    for change in ({"scopes": ["admin:write", "orders:read"]}, {"suspended": True}, {"stores": ["0001"]}, {"quota": "partner"}):
        assert (await post(live, "/admin/clients/writer", change, "writer")).status_code == 409, "nobody changes its own rights"
    assert (await post(live, "/admin/clients/writer", None, "writer", method="DELETE")).status_code == 409
    assert (await post(live, "/admin/clients", everywhere, "web")).status_code == 403
    assert (await live.http.get("/admin/clients", headers=live.auth("web"))).status_code == 403


async def test_what_a_client_cannot_be_is_named_by_its_place(live: Live) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"channel": "fax"}, "/channel"),
        ({"quota": "partners"}, "/quota"),
        ({"apiVersion": "2020-01-01"}, "/apiVersion"),
        ({"keyExpiresAt": "2020-01-01T00:00:00Z"}, "/keyExpiresAt"),
        ({"stores": ["../x"]}, "/stores/0"),
        ({"certificates": ["short"]}, "/certificates/0"),
        ({"name": "a b"}, "/name"),
    ]
    for body, pointer in wrong:
        answer = await post(live, "/admin/clients", {"name": "app", "channel": "web", "scopes": CATALOGUE, **body})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_lists_are_paged_by_their_links(live: Live) -> None:
    path: str | None = "/admin/clients?limit=3"
    names: list[str] = []
    while path:
        page = await live.http.get(path, headers=live.auth("operator"))
        names += [c["name"] for c in page.json()["items"]]
        path = page.links.get("next", {}).get("url")
    assert names == sorted(c.name for c in await live.product.books.clients.list())
    for n in range(3):
        await add(live, f"app-{n}")
    newest = await live.http.get("/admin/audit?limit=2", headers=live.auth("operator"))
    older = await live.http.get(newest.links["next"]["url"], headers=live.auth("operator"))
    assert [e["subject"] for e in newest.json()["items"] + older.json()["items"]][:3] == ["app-2", "app-1", "app-0"]
    bad = await live.http.get("/admin/audit?cursor=bm8", headers=live.auth("operator"))
    assert bad.json()["errors"][0]["pointer"] == "query:cursor"


async def test_denied_attempts_are_in_the_log_by_address_with_the_prefix_and_never_the_secret(live: Live) -> None:
    wrong = f"tg_{'a' * 8}_{'x' * 43}"
    for _ in range(3):
        assert (await live.http.get("/products/10000001", headers={"Authorization": f"Bearer {wrong}"})).status_code == 401
    assert (await live.http.get("/sales?location=0001&businessDate=2026-01-01", headers=live.auth("pinned"))).status_code == 403
    log = (await live.http.get("/admin/audit", headers=live.auth("operator"))).json()["items"]
    found = {(e["actor"], e.get("subject", ""), e["detail"]["code"]): e.get("count", 1) for e in log if e["what"] == "denied"}
    assert found == {("127.0.0.1", "aaaaaaaa", "unauthenticated"): 3, ("127.0.0.1", "demo-pinned", "forbidden"): 1}
    assert "x" * 43 not in json.dumps(log)


async def test_reloads_and_recordings_are_in_the_log_with_who_asked(live: Live) -> None:
    assert (await live.http.post("/admin/reload", headers=live.auth("operator"))).json()["applied"]
    async with live.http.stream("POST", "/admin/recordings/erp?seconds=1", headers=live.auth("operator")) as recording:
        assert recording.status_code == 200
    assert (await live.http.post("/admin/reload", headers=live.auth("web"))).status_code == 403
    log = (await live.http.get("/admin/audit", headers=live.auth("operator"))).json()["items"]
    assert [(e["actor"], e["what"], e["subject"]) for e in reversed(log) if e["actor"] != "tillgate"] == [
        ("demo-operator", "estate.reload", "estate"),
        ("demo-operator", "estate.reloaded", "estate"),
        ("demo-operator", "recording.begun", "erp"),
        ("127.0.0.1", "denied", "demo-web"),
    ]


async def test_key_that_ends_works_until_then_and_its_last_use_is_kept(live: Live) -> None:
    ends = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    await add(live, "app", keyExpiresAt=ends)
    assert await reads(live, "app") == 200
    await refused_soon(live, "app", 401)
    await live.http.get("/admin/audit", headers=live.auth("operator"))  # writes what was counted
    (key,) = (await live.http.get("/admin/clients/app", headers=live.auth("operator"))).json()["keys"]
    assert key["state"] == "ended"
    assert key["usedAt"]


async def test_commands_do_the_same_through_the_gateway(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    async def tillgate(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            await asyncio.to_thread(main, [*arguments, "--url", live.base, "--key", live.keys["operator"]])
        except SystemExit as exc:
            code = int(exc.code or 0)
        said = capsys.readouterr()
        return code, said.out.strip(), said.err

    code, key, _ = await tillgate("client", "add", "app", "--channel", "web", "--scope", "catalogue:read")
    assert code == 0
    live.keys["app"] = key
    assert await reads(live, "app") == 200
    code, listed, _ = await tillgate("client", "list", "--json")
    assert [json.loads(line)["name"] for line in listed.splitlines()] == sorted(c.name for c in await live.product.books.clients.list())
    code, _, said = await tillgate("client", "add", "app", "--channel", "web", "--scope", "catalogue:read")
    assert code == 1
    assert "tillgate client rotate app" in said
    code, log, _ = await tillgate("audit", "--client", "app", "--json")
    assert [json.loads(line)["actor"] for line in log.splitlines() if '"denied"' not in line] == ["demo-operator"]


async def test_entries_and_ended_keys_are_kept_as_long_as_the_estate_says(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    client = Client(name="shop", channel="web", scopes=("orders:read",), api_version="2026-10-01")
    async with open_books(ROOT, tmp_path / "data") as books:
        await books.clients.create(client, ApiKey(prefix="old", client="shop", digest=b"1", expires_at=now - timedelta(days=366)), [])
        for name, days in (("old", 366), ("young", 364)):
            entry = AuditEntry(id=name, at=now - timedelta(days=days), actor="ops", what="client.changed", subject="shop")
            await books.audit.add([entry])
    async with running(tmp_path, work=True) as live, asyncio.timeout(10):
        books = live.product.books
        while "old" in (kept := [e.id for e in await books.audit.list(10)]) or await books.clients.keys("shop"):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.05)
        assert "young" in kept

"""Webhooks from the cause to the receiver: over the admin API, by command, over processes that die."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.cli import main
from gateway.estate import Estate, Webhooks
from tests.flows.test_orders import SKU, until
from tests.flows.test_scale import House, house
from tests.products import LOCATION, Live, no_limits, running
from tests.servers.receiver import receiving

pytestmark = pytest.mark.slow

SALE, STOCK = "io.tillgate.sale.committed.v1", "io.tillgate.inventory.changed.v1"


def here(estate: Estate) -> Estate:
    return msgspec.structs.replace(no_limits(estate), webhooks=Webhooks(networks=("127.0.0.0/8",)))


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, change=here, work=True) as live:
        yield live


async def post(live: Live, path: str, body: Any = None, method: str = "POST", key: str = "") -> httpx.Response:
    headers = {**live.auth("operator"), "Idempotency-Key": key or uuid.uuid4().hex, "Content-Type": "application/json"}
    return await live.http.request(method, path, content=b"" if body is None else json.dumps(body).encode(), headers=headers)


async def add(live: Live, name: str, url: str, *types: str) -> str:
    answer = await post(live, "/admin/webhooks", {"name": name, "url": url, "types": list(types) or ["io.tillgate."]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


async def known(live: Live) -> None:
    """To the relay, which looks for receivers once a second."""
    await asyncio.sleep(1.1)


def sell(live: Live, pieces: int) -> None:
    live.sandbox.tills.sell(LOCATION, [(SKU, pieces)])
    live.sandbox.tills.write_file(LOCATION)


async def test_a_sale_of_a_till_is_told_to_a_receiver_signed_in_its_version_and_rotation_overlaps(live: Live) -> None:
    async with receiving() as receiver, receiving() as other:
        first = await add(live, "shop", receiver.url, "io.tillgate.sale.")
        await add(live, "orders", other.url, "io.tillgate.order.")
        await known(live)
        sell(live, 2)
        await receiver.has(1)
        (post_,) = receiver.posts
        assert (post_.event["type"], post_.event["specversion"]) == (SALE, "1.0")
        assert post_.event["data"]["lines"][0]["itemId"] == SKU
        assert post_.signed_with(first)

        second = (await post(live, "/admin/webhooks/shop/secrets", {"overlapHours": 1})).json()["secret"]
        await known(live)
        sell(live, 1)
        await receiver.has(2)
        assert receiver.posts[1].signed_with(first)
        assert receiver.posts[1].signed_with(second)
        assert not receiver.posts[0].signed_with(second)
        third = (await post(live, "/admin/webhooks/shop/secrets", {"overlapHours": 0})).json()["secret"]
        await known(live)
        sell(live, 1)
        await receiver.has(3)
        assert receiver.posts[2].signed_with(third)
        assert not receiver.posts[2].signed_with(second)
        assert other.posts == []

        async def noted() -> dict[str, Any] | None:
            view = (await live.http.get("/admin/webhooks/shop", headers=live.auth("operator"))).json()
            return view if view["delivered"] == 3 else None

        view = await until(noted)
        assert (view["state"], view["waiting"], view["dead"], len(view["secrets"])) == ("active", 0, 0, 1)
        log = json.dumps((await live.http.get("/admin/audit", params={"client": "shop"}, headers=live.auth("operator"))).json())
        assert {"webhook.added", "webhook.secret_added"} <= {entry["what"] for entry in json.loads(log)["items"]}
        stored = [path.read_bytes() for path in live.data.rglob("*") if path.is_file()]
        for secret in (first, second, third):
            assert secret.removeprefix("whsec_") not in log
            assert not any(secret.removeprefix("whsec_").encode() in content for content in stored)


async def test_query_of_a_url_may_be_a_secret_and_is_shown_to_nobody(live: Live) -> None:
    async with receiving() as receiver:
        url = f"{receiver.url}?token=geheim"
        made = await post(live, "/admin/webhooks", {"name": "shop", "url": url, "types": ["io.tillgate."]})
        said = [
            made,
            *[
                await live.http.get(path, headers=live.auth("operator"))
                for path in ("/admin/webhooks", "/admin/webhooks/shop", "/admin/audit")
            ],
        ]
        assert [(answer.status_code, "geheim" in answer.text) for answer in said] == [
            (201, False),
            (200, False),
            (200, False),
            (200, False),
        ]
        assert made.json()["webhook"]["url"] == f"{receiver.url}?•••"


async def test_secret_is_shown_once_and_a_suspended_receiver_is_told_later(live: Live) -> None:
    async with receiving() as receiver:
        body = {"name": "shop", "url": receiver.url, "types": ["io.tillgate.sale."]}
        assert (await post(live, "/admin/webhooks", body, key="k1")).status_code == 201
        again = await post(live, "/admin/webhooks", body, key="k1")
        assert (again.status_code, again.json()["code"]) == (409, "secret_shown_once")
        tested = (await post(live, "/admin/webhooks/shop/test")).json()
        assert (tested["delivered"], tested["status"]) == (True, 204)
        assert receiver.posts[0].event["type"] == "io.tillgate.webhook.test.v1"
        assert (await post(live, "/admin/webhooks/shop", {"suspended": True})).json()["state"] == "suspended"
        await known(live)
        sell(live, 1)

        async def waits() -> bool:
            view = (await live.http.get("/admin/webhooks/shop", headers=live.auth("operator"))).json()
            return bool(view["waiting"] == 1)

        await until(waits)
        assert len(receiver.posts) == 1
        assert (await post(live, "/admin/webhooks/shop", {"suspended": False})).json()["state"] == "active"
        await receiver.has(2)
        assert (await post(live, "/admin/webhooks/shop", method="DELETE")).status_code == 200
        assert (await live.http.get("/admin/webhooks/shop", headers=live.auth("operator"))).status_code == 404


async def test_what_cannot_be_is_refused_by_its_place(live: Live) -> None:
    for body, pointer in (
        ({"url": "http://shop.example/hook"}, "/url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "/url"),
        ({"types": ["io.tilgate."]}, "/types/0"),
        ({"apiVersion": "2020-01-01"}, "/apiVersion"),
        ({"name": "a b"}, "/name"),
    ):
        answer = await post(live, "/admin/webhooks", {"name": "shop", "url": "https://shop.example/hook", **body})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text
    assert (await live.http.get("/admin/webhooks", headers=live.auth("web"))).status_code == 403
    assert (await live.http.get("/admin/webhooks/shop/dead-letters", headers=live.auth("operator"))).status_code == 404
    assert (await post(live, "/admin/webhooks/shop/resend", {"since": "2026-01-01T00:00:00Z"})).status_code == 404


async def test_commands_work_on_the_books_and_through_a_gateway(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    async with receiving() as receiver:
        through = ("--url", live.base, "--key", live.keys["operator"])

        async def said(*words: str) -> str:
            await asyncio.to_thread(main, ["webhook", *words, *through])
            return capsys.readouterr().out

        assert (await said("add", "shop", receiver.url, "--type", "io.tillgate.sale.")).startswith("whsec_")
        assert "delivered: answered 204" in await said("test", "shop")
        assert (await said("rotate", "shop", "--overlap", "2")).startswith("whsec_")
        await said("suspend", "shop")
        assert "suspended" in await said("list")
        await said("resume", "shop")
        await said("change", "shop", "--type", "io.tillgate.order.")
        assert "io.tillgate.order." in await said("list")
        assert await said("dead", "shop") == ""
        assert "0 queued again" in await said("replay", "shop")
        assert "0 queued again" in await said("resend", "shop", "--since", "2026-01-01", "--until", "2026-01-01T08:00")
        await said("remove", "shop")
        assert await said("list") == ""


EVENTS = 'exchange = "tillgate.events"\n\n[webhooks]\nnetworks = ["127.0.0.0/8"]'


@pytest.mark.server
async def test_two_workers_tell_every_sale_in_order_although_one_of_them_is_killed(tmp_path: Path, fresh_postgres_dsn: str) -> None:
    async with receiving() as receiver, house(tmp_path, EVENTS, TILLGATE_STORE=fresh_postgres_dsn) as it:
        await command(it, "webhook", "add", "shop", receiver.url)
        await it.start("w1", "work")
        await it.start("w2", "work")
        for number in range(12):
            it.sandbox.tills.sell(LOCATION, [(SKU, 1)])
            it.sandbox.tills.write_file(LOCATION)
            if number == 3:
                await receiver.has(1, 30)
                receiver.open.clear()  # a delivery is under way when its worker dies
            if number == 6:
                await it.kill("w1")
                receiver.open.set()
            if number == 8:
                await it.start("w3", "work")
            await asyncio.sleep(0.15)

        async def all_told() -> bool:
            return len({post.event["id"] for post in receiver.posts}) >= 24

        await until(all_told, 60)
    told = [post.event for post in receiver.posts]
    first = {event["id"]: event for event in reversed(told)}
    assert sum(event["type"] == SALE for event in first.values()) == 12
    by_subject = defaultdict(list)
    for event in told:
        if event["id"] not in [e["id"] for e in by_subject[event["subject"]]]:
            by_subject[event["subject"]].append(event)
    assert len(by_subject[f"{SKU}@{LOCATION}"]) == 12
    for subject, events in by_subject.items():
        assert [e["sequence"] for e in events] == sorted(e["sequence"] for e in events), subject


async def command(it: House, *words: str) -> None:
    await it.start("command", *words)
    process = it.processes.pop("command")
    assert await process.wait() == 0, (it.folder / "command.log").read_text()

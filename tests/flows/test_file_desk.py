"""Files and quarantine on the running product: by admin API, in the console and by command, with who may do what."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli import main
from tests.products import Live, running

pytestmark = pytest.mark.slow
OPERATOR = ("admin:read", "admin:write", "customers:read")


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, work=True) as live:
        await live.client("ops", OPERATOR)
        await live.client("other", OPERATOR)
        await live.client("reader", ("admin:read",))
        await live.client("elsewhere", OPERATOR, stores=("0002",))
        yield live


async def dropped(live: Live, damage: str = "bad_line") -> dict[str, Any]:
    """A file of ten sales, one of which is damaged, once the gateway is done with it."""
    live.sandbox.tills.random_day("0001", 10)
    name = live.sandbox.tills.write_file("0001", format="tlog", damage=damage).name
    for _ in range(200):
        found = (await live.http.get("/admin/files", headers=live.auth("ops"))).json()["items"]
        for file in found:
            if file["name"] == name and file["status"] not in ("checking", "booking", "waiting") and file.get("kept"):
                return dict(file)
        await asyncio.sleep(0.1)
    raise AssertionError(found)


def key(n: int) -> dict[str, str]:
    return {"Idempotency-Key": f"test-key-{n}"}


async def test_a_record_is_seen_changed_and_booked_over_the_admin_api_and_the_second_person_is_told(live: Live) -> None:
    file = await dropped(live)
    assert (file["status"], file["quarantined"], file["open"]) == ("partly", 1, 1)
    detail = (await live.http.get(f"/admin/files/{file['digest']}", headers=live.auth("ops"))).json()
    assert any("wait" in told for told in detail["told"])
    (row,) = detail["records"]
    where = f"/admin/records/{row['id']}"
    found = (await live.http.get(where, headers=live.auth("ops"))).json()
    assert found["preview"]["outcome"] == "refused"
    got = row["got"].strip("'")
    assert got in found["text"]
    masked = (await live.http.get(where, headers=live.auth("reader"))).json()
    assert masked["masked"]
    denied = await live.http.post(f"{where}/book", json={"version": 0}, headers={**live.auth("reader"), **key(1)})
    assert denied.status_code == 403
    assert (await live.http.get(where, headers=live.auth("elsewhere"))).status_code == 404
    unread = await live.http.post(f"{where}/book", json={"version": 0}, headers={**live.auth("ops"), **key(2)})
    assert (unread.status_code, unread.json()["code"]) == (422, "unprocessable")
    again = {"version": 0, "reason": "the store rang it again"}
    first, second = await asyncio.gather(
        live.http.post(f"{where}/dismiss", json=again, headers={**live.auth("ops"), **key(3)}),
        live.http.post(f"{where}/dismiss", json=again, headers={**live.auth("other"), **key(4)}),
    )
    assert sorted((first.status_code, second.status_code)) == [200, 409]
    lost = first if first.status_code == 409 else second
    assert "decided this" in lost.json()["detail"]
    audit = (await live.http.get("/admin/audit", headers=live.auth("ops"))).json()["items"]
    assert [e["what"] for e in audit if e["what"].startswith("record.")] == ["record.dismissed"]


async def test_why_a_file_is_not_there_is_said_over_the_admin_api_too(live: Live) -> None:
    said = (await live.http.get("/admin/explanations", params={"name": "sales.csv"}, headers=live.auth("ops"))).json()
    assert any("No feed takes files of that name" in told for told in said["told"])
    assert (await live.http.get("/admin/files/abcdef", headers=live.auth("ops"))).status_code == 404
    for odd in ("state=odd", "cursor=x", "limit=0"):
        assert (await live.http.get(f"/admin/files?{odd}", headers=live.auth("ops"))).status_code in (400, 422), odd
    assert (await live.http.get("/admin/findings", headers=live.auth("reader"))).status_code == 200


async def test_a_refused_file_is_tried_again_and_given_up(live: Live) -> None:
    file = await dropped(live, "wrong_total")
    assert file["status"] == "refused"
    where = f"/admin/files/{file['digest']}"
    tried = await live.http.post(f"{where}/retry", json={}, headers={**live.auth("ops"), **key(1)})
    assert tried.status_code == 200, tried.text
    for _ in range(200):
        again = (await live.http.get(where, headers=live.auth("ops"))).json()["file"]
        if again["status"] == "refused" and again.get("kept"):
            break
        await asyncio.sleep(0.1)
    assert again["fence"] > file["fence"]
    empty = await live.http.post(f"{where}/give-up", json={"reason": " "}, headers={**live.auth("ops"), **key(2)})
    assert empty.status_code == 422
    gone = await live.http.post(f"{where}/give-up", json={"reason": "broken till"}, headers={**live.auth("ops"), **key(3)})
    assert gone.json()["status"] == "given_up"


async def test_the_console_shows_a_record_books_it_once_and_offers_a_reader_nothing(live: Live) -> None:
    file = await dropped(live)
    async with httpx.AsyncClient(base_url=live.base) as ops, httpx.AsyncClient(base_url=live.base) as reader:
        await live.sign_in("ops", ops)
        await live.sign_in("reader", reader)
        listed = (await ops.get("/console/records")).text
        (number,) = set(re.findall(r"/console/records/(\d+)", listed))
        where = f"/console/records/{number}"
        page, seen = (await ops.get(where)).text, (await reader.get(where)).text
        assert "Keep this text" in page
        assert seen.count('method="post"') == 1
        for path in ("/console/files", f"/console/files/{file['digest']}", "/console/files?state=done&store=0001&feed=pos.tlog"):
            assert file["name"] in (await ops.get(path)).text
        assert (await ops.get("/console/files?state=odd")).status_code == 400
        form = {"csrf": re.findall(r'name="csrf" value="([0-9a-f]{64})"', page)[0], "version": "0"}
        text = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[0]
        for bad in ({"csrf": "0" * 64}, {"version": "x"}, {"version": "9"}):
            assert (await ops.post(f"{where}/dismiss", data={**form, "reason": "r", **bad})).status_code in (400, 403, 409)
        theirs = {"csrf": re.findall(r'name="csrf" value="([0-9a-f]{64})"', seen)[0], "version": "0", "reason": "r"}
        for action in ("edit", "restore", "book", "dismiss"):
            assert (await reader.post(f"{where}/{action}", data=theirs)).status_code == 403
        got = re.search(r'<code class="got">(.*?)</code>', page)
        assert got
        wrong = got[1].replace("&#39;", "")
        assert wrong in text
        mended = text.replace(f";{wrong};", ";1000;").replace("\n", "\r\n")
        edited = await ops.post(f"{where}/edit", data={**form, "text": mended})
        assert (edited.status_code, edited.headers["location"]) == (303, where)
        page = (await ops.get(where)).text
        assert "changed by a person" in page
        assert (await ops.post(f"{where}/book", data=form)).status_code == 409
        dismissed = await ops.post(f"{where}/dismiss", data={**form, "version": "1", "reason": "<b>rung again</b>"})
        assert dismissed.status_code == 303
        assert "&lt;b&gt;rung again&lt;/b&gt;" in (await ops.get(where)).text
        assert (await ops.post(f"{where}/dismiss", data={**form, "version": "1", "reason": "r"})).status_code == 409


def _all_of(told: io.TextIOWrapper) -> str:
    told.seek(0)
    return told.read()


async def test_the_commands_do_the_same_through_a_running_gateway(live: Live) -> None:
    file = await dropped(live)

    def called(arguments: tuple[str, ...]) -> tuple[int, str]:
        told = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            try:
                main(["files", *arguments, "--url", live.base, "--key", live.keys["ops"]])
            except SystemExit as ended:
                return int(ended.code or 0), _all_of(told)
        return 0, _all_of(told)

    async def said(*arguments: str, fails: bool = False) -> str:
        code, told = await asyncio.to_thread(called, arguments)
        assert (code != 0) is fails, told
        return told

    assert file["name"] in await said("list", "--store", "0001")
    assert "for a person" in await said("explain", file["name"])
    assert "TL." in await said("show", file["digest"][:12])
    listed = await said("quarantine", "list", "--file", file["name"])
    number = listed.split()[0]
    assert "It cannot be booked as it stands" in await said("quarantine", "show", number)
    await said("quarantine", "book", number, "--yes", fails=True)
    assert "dismissed by ops: rung again" in await said("quarantine", "dismiss", number, "--reason", "rung again")
    assert number not in await said("quarantine", "list")
    assert "0 records were read again" in await said("retry", file["digest"])
    await said("findings")


async def test_pages_of_all_stores_are_shut_to_whoever_is_bound_to_some(live: Live) -> None:
    async with httpx.AsyncClient(base_url=live.base) as http:
        assert (await live.sign_in("elsewhere", http)).status_code == 303
        for page in ("flights", f"flights/{'0' * 32}", "orders", "incidents", "overview"):
            answer = await http.get(f"/console/{page}")
            assert answer.status_code == 403, page
        assert (await http.get("/console/files")).status_code == 200

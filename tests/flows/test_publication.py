import asyncio
import base64
import contextlib
import io
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.books import Dispatch
from gateway.cli import main
from gateway.services.publication import Publication
from tests.products import LOCATION, SKU, Live, own_estate, running

pytestmark = pytest.mark.slow


@asynccontextmanager
async def shop(folder: Path, *, work: bool = False, more: str = 'answer_within = "1h"') -> AsyncIterator[Live]:
    root = own_estate(folder / "estate")
    text = (root / "estate.toml").read_text(encoding="utf-8")
    text = text.replace('max_age = "1m", stale_if_error = "4h"', 'max_age = "1ms"')
    quick = f'most   = 100\nevery  = "1ms"\nsweep  = "20ms"\npause  = "0s"\n{more}\n'
    assert text.count("most   = 500\n") == 2
    text = text.replace("most   = 500\n", quick).replace('stores = ["0002"]', f'stores = ["{LOCATION}"]')
    (root / "estate.toml").write_text(text, encoding="utf-8")
    async with running(folder, root=root, work=work, skus=250, publish=True) as live:
        yield live


def publication(live: Live, at: int = 0) -> Publication:
    return live.product.current.publications[at]


async def latest(live: Live) -> Dispatch:
    found = await live.product.books.dispatches.latest("pos.prices", LOCATION)
    assert found is not None
    return found


async def settle(live: Live, **refuse: str) -> list[str]:
    """Rounds until a store has nothing more to be told."""
    taken: list[str] = []
    while await publication(live).round():
        taken += live.sandbox.tills.take_changes(refuse=refuse)
        await asyncio.sleep(0.002)
    return taken


async def test_changed_price_is_asked_for_in_a_tills_next_sale(tmp_path: Path) -> None:
    async with shop(tmp_path, work=True) as live:
        tills = live.sandbox.tills

        async def until(cents: int) -> None:
            while tills.sell(LOCATION, [(SKU, 1)]).lines[0].unit_price != cents:
                tills.take_changes()
                await asyncio.sleep(0.02)

        async with asyncio.timeout(20):
            while (found := await live.product.books.dispatches.latest("pos.prices", LOCATION)) is None or found.state != "accepted":
                tills.take_changes()
                await asyncio.sleep(0.02)
            live.sandbox.world.reprice(SKU, "DE", 777)
            await until(777)
        for feed in ("pos.prices", "pos.assortment"):
            numbers = [d.number for d in await live.product.books.dispatches.list(100, feed=feed)]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))
            assert len(numbers) >= 3


async def test_first_file_holds_everything_and_the_next_only_what_has_changed(tmp_path: Path) -> None:
    async with shop(tmp_path) as live:
        first = await settle(live)
        assert first == [f"PRICES_0001_{n:06}.csv" for n in range(1, len(first) + 1)]
        assert len(first) == 3
        live.sandbox.world.reprice(SKU, "DE", 777)
        await publication(live).round()
        rows = (live.sandbox.tills.changes / f"PRICES_0001_{len(first) + 1:06}.csv").read_text(encoding="utf-8").splitlines()
        assert [row.split(";")[:6] for row in rows[1:]] == [["PR", f"{SKU:>012}", "R", "777", "EUR", "1"], ["FT", "1"]]
        assert await publication(live).round() == 0


async def test_assortment_holds_every_article_with_the_barcodes_of_one_piece(tmp_path: Path) -> None:
    async with shop(tmp_path) as live:
        rows: dict[str, list[str]] = {}
        while await publication(live, 1).round():
            for path in live.sandbox.tills.changes.glob("ARTICLES_*.csv"):
                for row in path.read_text(encoding="utf-8").splitlines():
                    kind, value, *more = row.split(";")
                    if kind == "AR":
                        rows[value] = [more[0]]
                    elif kind == "BC":
                        rows[[*rows][-1]].append(value)
            live.sandbox.tills.take_changes()
            await asyncio.sleep(0.002)
        assert len(rows) == 250
        product = (await live.http.get(f"/products/{SKU}", headers=live.auth())).json()
        assert rows[f"{SKU:>012}"] == ["A", *(g["gtin"] for g in product["gtins"])]


async def test_reload_takes_what_the_tills_are_told_over_at_once_and_writes_nothing_twice(tmp_path: Path) -> None:
    async with shop(tmp_path) as live:
        await publication(live).round()
        before, estate = publication(live), tmp_path / "estate/estate.toml"
        estate.write_text(estate.read_text(encoding="utf-8").replace("most   = 100", "most   = 300"), encoding="utf-8")
        assert (await live.product.reload()).applied
        assert publication(live) is not before
        live.sandbox.tills.take_changes()
        async with asyncio.timeout(20):
            moved = 0
            while not moved:  # the generation before is about to let go
                await asyncio.sleep(0.02)
                moved = await publication(live).round()
        assert await publication(live).round() == 1
        assert [(d.number, d.items) for d in await live.product.books.dispatches.list(9, feed="pos.prices")] == [(2, 150), (1, 100)]


async def test_refused_article_is_told_again_only_when_it_has_changed(tmp_path: Path) -> None:
    async with shop(tmp_path) as live:
        await settle(live)
        live.sandbox.world.reprice(SKU, "DE", 777)
        await settle(live, **{SKU: "no such article"})
        assert [(r.key, r.reason) for r in (await latest(live)).refused] == [(SKU, "no such article")]
        assert await settle(live) == []
        live.sandbox.world.reprice(SKU, "DE", 888)
        assert len(await settle(live)) == 1
        assert live.sandbox.tills.sell(LOCATION, [(SKU, 1)]).lines[0].unit_price == 888


async def test_file_without_an_answer_is_overdue_holds_the_next_and_counts_when_it_is_answered(tmp_path: Path) -> None:
    async with shop(tmp_path, more='answer_within = "1ms"') as live:
        await publication(live).round()
        await asyncio.sleep(0.002)
        for _ in range(3):
            assert await publication(live).round() == 0
        assert (await latest(live)).state == "overdue"
        (found,) = await live.product.books.findings.list(9)
        assert (found.kind, found.state, found.subject) == ("file_unanswered", "open", "pos.prices/0001/1")
        live.sandbox.tills.take_changes()
        assert await publication(live).round() == 1
        assert (await latest(live)).state == "accepted"
        assert (await live.product.books.findings.list(9))[0].state == "closed"


@pytest.mark.parametrize(
    "answer", [b"\xff", b'{"state": "perhaps"}', b'{"state": "accepted", "digest": "00"}', b"[" * 5000, b"STATE=", b"{"]
)
async def test_answer_that_says_nothing_ends_no_file(tmp_path: Path, answer: bytes) -> None:
    async with shop(tmp_path) as live:
        await publication(live).round()
        file = await latest(live)
        path = live.sandbox.tills.changes / f"{file.name}.ack"
        path.write_bytes(answer)
        assert await publication(live).round() == 0
        assert (await latest(live)).state == "written"
        path.write_bytes(json.dumps({"state": "rejected", "reason": "no room", "digest": file.digest}).encode())
        assert await publication(live).round() == 1
        assert ((await latest(live)).state, (await latest(live)).reason) == ("rejected", "no room")
        assert not path.exists()


async def test_worker_that_dies_at_any_step_of_writing_leaves_one_file_of_the_same_bytes(tmp_path: Path) -> None:
    class Died(BaseException):
        pass

    class Dying:
        """Lets so many calls through, and dies before (even) or after (odd) the next one."""

        def __init__(self, inner: Any, left: list[int], names: tuple[str, ...]) -> None:
            self.inner, self.left, self.names = inner, left, names

        def __getattr__(self, name: str) -> Any:
            found = getattr(self.inner, name)
            if name not in self.names:
                return found

            async def call(*args: Any, **named: Any) -> Any:
                self.left[0] -= 1
                if self.left[0] == 0:
                    raise Died
                result = await found(*args, **named)
                self.left[0] -= 1
                if self.left[0] == 0:
                    raise Died
                return result

            return call

    async with shop(tmp_path) as live:
        begun = len(await settle(live))
        told = publication(live)
        outlet, books = told._outlet, told._books
        folder, died = live.sandbox.tills.changes, 0
        for step in range(1, 100):
            live.sandbox.world.reprice(SKU, "DE", 1000 + step)
            left = [step]
            told._outlet = Dying(outlet, left, ("hide", "publish"))
            steps = Dying(books.dispatches, left, ("draft", "body", "stage", "written"))
            told._books = type("Books", (), {"__getattr__": lambda _, n: getattr(books, n), "dispatches": steps})()  # type: ignore[assignment]  # it stands in for the books
            try:
                await told.round()
            except Died:
                died += 1
            told._outlet, told._books = outlet, books
            seen = {p.name: p.read_bytes() for p in folder.glob("[!.]*")}
            for p in folder.glob("[!.]*"):
                p.unlink()  # a till that has taken the file, and not answered yet
            await told.round()
            again = {p.name: p.read_bytes() for p in folder.glob("[!.]*")}
            for p in folder.glob("[!.]*"):
                p.unlink()
            file = await latest(live)
            assert file.state == "written"
            assert len([*seen, *again]) == 1
            assert (seen | again)[file.name] == await books.dispatches.body(file.feed, file.store, file.number)
            assert [p.name for p in folder.glob(".*")] == []
            assert file.number == begun + step
            await books.dispatches.answered(file.feed, file.store, file.number, "accepted", "", (), live.product.now())
            await asyncio.sleep(0.002)
            if left[0] > 0:
                break
        assert died == 12


OPERATOR = ("admin:read", "admin:write")
FILE = f"pos.prices/{LOCATION}/1"


@asynccontextmanager
async def unanswered(folder: Path) -> AsyncIterator[Live]:
    """A shop whose first file nobody has answered in time."""
    async with shop(folder, more='answer_within = "1ms"') as live:
        await live.client("ops", OPERATOR)
        await live.client("reader", ("admin:read",))
        await live.client("elsewhere", OPERATOR, stores=("0002",))
        await publication(live).round()
        await asyncio.sleep(0.002)
        await publication(live).round()
        yield live


async def test_file_that_nobody_answers_is_seen_written_again_and_given_up_over_the_admin_api(tmp_path: Path) -> None:
    async with unanswered(tmp_path) as live:
        ops, where = live.auth("ops"), f"/admin/dispatches/{FILE}"

        async def post(path: str, who: str = "ops", **body: str) -> Any:
            key = {"Idempotency-Key": uuid.uuid4().hex}
            return await live.http.post(path, json=body or None, headers={**live.auth(who), **key})

        (listed,) = (await live.http.get("/admin/dispatches?state=overdue", headers=ops)).json()["items"]
        assert (listed["name"], listed["state"], listed["number"]) == ("PRICES_0001_000001.csv", "overdue", 1)
        assert (await live.http.get("/admin/dispatches?store=0002", headers=ops)).json()["items"] == []
        assert (await live.http.get("/admin/dispatches", headers=live.auth("elsewhere"))).json()["items"] == []
        for path in (where, f"{where}/content"):
            assert (await live.http.get(path, headers=live.auth("elsewhere"))).status_code == 404
        said = (await live.http.get(f"{where}/content", headers=ops)).json()
        written = live.sandbox.tills.changes / listed["name"]
        assert base64.b64decode(said["content"]) == written.read_bytes()
        written.unlink()
        assert (await post(f"{where}/resend", "reader")).status_code == 403
        assert (await post(f"{where}/resend")).json()["state"] == "drafted"
        await publication(live).round()
        assert base64.b64decode(said["content"]) == written.read_bytes()
        assert (await post(f"{where}/give-up", reason=" ")).status_code == 422
        gone = await post(f"{where}/give-up", reason="the store has no server")
        assert (gone.json()["state"], gone.json()["reason"]) == ("given_up", "the store has no server")
        assert (await post(f"{where}/give-up", reason="again")).status_code == 409
        assert [f.closed_by for f in await live.product.books.findings.list(9)] == ["ops"]
        audit = (await live.http.get("/admin/audit", headers=ops)).json()["items"]
        assert [(e["what"], e["subject"]) for e in audit[:2]] == [("dispatch.given_up", FILE), ("dispatch.resent", FILE)]
        assert await publication(live).round() == 1
        assert (await latest(live)).number == 2


async def test_list_goes_on_page_by_page_and_refuses_a_cursor_that_is_none(tmp_path: Path) -> None:
    async with shop(tmp_path) as live:
        headers, names = await live.client("ops", OPERATOR), await settle(live)
        seen, path = list[str](), "/admin/dispatches?limit=1"
        while path:
            answer = await live.http.get(path, headers=headers)
            seen += [d["name"] for d in answer.json()["items"]]
            path = answer.links.get("next", {}).get("url", "")
        assert seen == names[::-1]
        assert (await live.http.get("/admin/dispatches?cursor=none", headers=headers)).status_code == 400


async def test_console_shows_a_file_without_an_answer_and_whoever_may_gives_it_up(tmp_path: Path) -> None:
    async with unanswered(tmp_path) as live:
        where = f"/console/dispatches/{FILE}"
        await live.sign_in("reader")
        assert 'method="post" action="/console/dispatches' not in (await live.http.get(where)).text
        await live.sign_in("ops")
        assert "PRICES_0001_000001.csv" in (await live.http.get("/console/dispatches?state=overdue")).text
        assert (await live.http.get("/console/dispatches?state=odd")).status_code == 400
        assert (await live.http.get("/console/dispatches/pos.prices/0001/9")).status_code == 404
        page = (await live.http.get(where)).text
        csrf = re.findall(r'name="csrf" value="([0-9a-f]{64})"', page)[0]
        assert (await live.http.post(f"{where}/resend", data={"csrf": "0" * 64})).status_code == 403
        assert (await live.http.post(f"{where}/resend", data={"csrf": csrf})).headers["location"] == where
        assert (await latest(live)).state == "drafted"
        assert (await live.http.post(f"{where}/give-up", data={"csrf": csrf, "reason": "<b>closed</b>"})).status_code == 303
        assert "&lt;b&gt;closed&lt;/b&gt;" in (await live.http.get("/console/dispatches")).text


async def test_commands_do_the_same_through_a_running_gateway_and_say_what_it_refuses_without_its_address(tmp_path: Path) -> None:
    async with unanswered(tmp_path) as live:

        def called(*arguments: str) -> tuple[int, str]:
            told = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
            ended = 0
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                try:
                    main(["files", "out", *arguments, "--url", live.base, "--key", live.keys["ops"]])
                except SystemExit as end:
                    ended = int(end.code or 0)
            told.seek(0)
            return ended, told.read()

        said = await asyncio.to_thread(called, "list", "--state", "overdue")
        assert said[1].startswith(f"{FILE}  overdue")
        body = (live.sandbox.tills.changes / "PRICES_0001_000001.csv").read_text(encoding="utf-8")
        assert (await asyncio.to_thread(called, "show", FILE, "--content"))[1] == body
        assert "drafted" in (await asyncio.to_thread(called, "resend", FILE))[1]
        code, again = await asyncio.to_thread(called, "resend", FILE)
        assert (code, live.base in again, "about to be written" in again) == (1, False, True)
        assert "given up" in (await asyncio.to_thread(called, "give-up", FILE, "--reason", "closed"))[1]
        assert "FEED/STORE/NUMBER" in (await asyncio.to_thread(called, "show", "pos.prices"))[1]

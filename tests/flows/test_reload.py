"""A changed estate under load: taken over at once when it is right, refused with reasons when it is not; nobody else notices."""

import asyncio
import gc
import json
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date
from pathlib import Path

import httpx
import pytest

from adapters.soap.driver import SoapConnection
from gateway.bootstrap import Product
from gateway.cli.serving import sandbox, sandbox_environment
from sandbox.faults import Rule
from tests.products import LOCATION, ROOT, SKU, Live, own_estate, running

pytestmark = pytest.mark.slow

DAY, STORES = date(2026, 3, 11), ("0001", "0002", "0003")
ORDER = {
    "lines": [
        {
            "lineNumber": 1,
            "sku": SKU,
            "quantity": {"value": "1", "unit": "EA"},
            "unitPrice": {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2},
            "requestedLocationId": LOCATION,
        }
    ]
}
MAPPING = "mappings/erp/get_stock.answer.toml"


def edit(estate: Path, file: str, old: str, new: str) -> None:
    path = estate / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, root=own_estate(tmp_path / "estate")) as it:
        yield it


async def safety_stock(live: Live) -> int:
    found = await live.http.get(f"/inventory?sku={SKU}&location={LOCATION}&explain=true", headers=live.auth("web"))
    assert found.status_code == 200, found.text
    return int(found.json()["items"][0].get("safetyStock", {"value": "0"})["value"])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not true():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def only_one_left(product: Product) -> None:
    await until(lambda: len(product._generations) == 1)


@pytest.mark.slow
async def test_twenty_estates_under_load_fail_no_request_and_leave_nothing_behind(live: Live, tmp_path: Path) -> None:
    estate, wrong, asked, open_ = tmp_path / "estate", list[str](), [0], [True]

    async def shopper(number: int) -> None:
        chance = random.Random(number)
        while open_[0]:
            path = chance.choice([f"/products/{SKU}", f"/inventory?sku={SKU}&location={LOCATION}", "/products?limit=2", "/locations"])
            answer = await live.http.get(path, headers=live.auth(chance.choice(["web", "store"])))
            asked[0] += 1
            if answer.status_code != 200:
                wrong.append(f"{path}: {answer.status_code} {answer.text[:300]}")

    await live.product.reload()
    await only_one_left(live.product)
    gc.collect()
    tasks, first = len(asyncio.all_tasks()), live.product.generation
    shoppers = [asyncio.create_task(shopper(n)) for n in range(6)]
    kept = 3
    for round_ in range(10):
        edit(estate, "estate.toml", f'safety_stock = {kept}, owner = "ecom"', f'safety_stock = {10 + round_}, owner = "ecom"')
        kept = 10 + round_
        told = await live.product.reload()
        assert told.applied, told.findings
        assert await safety_stock(live) == kept

        edit(estate, MAPPING, "MATNR", "MATNO")
        edit(estate, "estate.toml", f"safety_stock = {kept}", "safety_stock = 77")
        told = await live.product.reload()
        assert not told.applied
        assert any(f.startswith(f"{MAPPING}:") and "MATNO" in f and "MATNR" in f for f in told.findings), told.findings
        assert await safety_stock(live) == kept
        edit(estate, MAPPING, "MATNO", "MATNR")
        edit(estate, "estate.toml", "safety_stock = 77", f"safety_stock = {kept}")
    open_[0] = False
    await asyncio.gather(*shoppers)
    assert wrong == []
    assert asked[0] > 100
    assert live.product.generation == first + 10
    await only_one_left(live.product)
    await asyncio.sleep(0.1)
    gc.collect()
    assert len(asyncio.all_tasks()) <= tasks


async def test_what_is_unchanged_lives_on_and_what_is_changed_begins_anew(live: Live, tmp_path: Path) -> None:
    live.sandbox.faults.add(Rule(system="oms", kind="error", operation="getCustomer"))
    for number in range(30):
        await live.http.get(f"/customers/{1000001 + number}", headers=live.auth("call_centre"))
    before = {f"{o.system}.{o.name}": o for o in live.product.systems.operations}
    assert before["oms.getCustomer"].guard.state().breaker == "open"

    edit(tmp_path / "estate", MAPPING, "[fields]", "# an edit\n[fields]")
    edit(tmp_path / "estate", "estate.toml", "X-Oms-Key", "x-oms-key")
    assert (await live.product.reload()).applied
    after = {f"{o.system}.{o.name}": o for o in live.product.systems.operations}
    assert after["erp.GetPrices"] is before["erp.GetPrices"]  # with its cache, its breaker, its login
    assert after["erp.GetStock"] is not before["erp.GetStock"]
    assert after["erp.GetStock"].guard is before["erp.GetStock"].guard
    assert after["erp.GetStock"].connection is before["erp.GetStock"].connection
    assert after["oms.getCustomer"].connection is not before["oms.getCustomer"].connection
    assert after["oms.getCustomer"].guard.state().breaker == "closed"


async def test_an_estate_without_routes_of_its_own_is_read_again(live: Live, tmp_path: Path) -> None:
    text = (tmp_path / "estate/estate.toml").read_text(encoding="utf-8")
    (tmp_path / "estate/estate.toml").write_text(re.sub(r"(?m)^\[route\..*\n(?:[^\n\[].*\n)*", "", text), encoding="utf-8")
    for kept in ("3", "4"):
        edit(tmp_path / "estate", "estate.toml", f"safety_stock = {kept}", f"safety_stock = {int(kept) + 1}")
        told = await live.product.reload()
        assert told.applied, told.findings
        assert not live.product.checked.estate.route


async def test_a_request_under_way_ends_on_the_estate_it_began_with(live: Live, tmp_path: Path) -> None:
    live.sandbox.faults.add(Rule(system="erp", kind="slow", operation="GetStock", seconds=1.5, count=1))
    slow = asyncio.create_task(safety_stock(live))
    await asyncio.sleep(0.3)
    edit(tmp_path / "estate", "estate.toml", "safety_stock = 3", "safety_stock = 4")
    edit(tmp_path / "estate", "estate.toml", "SESSION_EXPIRED", "SESSION_OVER")  # the ERP's connection is a new one
    assert (await live.product.reload()).applied
    assert await safety_stock(live) == 4
    assert await slow == 3
    await only_one_left(live.product)


@pytest.mark.slow
async def test_edits_that_come_together_are_read_once(live: Live) -> None:
    generation = live.product.generation
    first = asyncio.create_task(live.product.reload())
    await asyncio.sleep(0.05)
    told = await asyncio.gather(first, *(live.product.reload() for _ in range(20)))
    assert all(t.applied for t in told)
    assert live.product.generation == generation + 2


@pytest.mark.slow
async def test_an_operator_sees_why_an_estate_was_refused_and_what_waits_for_a_restart(live: Live, tmp_path: Path) -> None:
    estate = tmp_path / "estate"
    admin = await live.client("ops", ("admin:write", "admin:read"))
    assert (await live.http.post("/admin/reload", headers=live.auth("web"))).status_code == 403
    edit(estate, "estate.toml", 'protocol     = "soap"', 'protocol     = "soup"')
    refused = (await live.http.post("/admin/reload", headers=admin)).json()
    assert not refused["applied"]
    assert refused["generation"] == 1
    assert any(f.startswith("estate.toml:") and "soup" in f for f in refused["findings"])
    assert (await live.http.get("/health/ready")).json() == {"status": "ready", "estate": "refused, the one before serves"}
    assert "tillgate_estate_refused 1" in (await live.http.get("/metrics", headers=admin)).text
    await live.sign_in("ops")
    assert "soup" in (await live.http.get("/console/systems")).text
    edit(estate, "estate.toml", "soup", "soap")
    edit(estate, "estate.toml", "port = 8080", "port = 8081")
    taken = (await live.http.post("/admin/reload", headers=admin)).json()
    assert taken["applied"]
    assert taken["restart"] == ["[edge] port"]
    assert (await live.http.get("/health/ready")).json() == {"status": "ready"}


async def test_an_estate_that_cannot_be_built_is_refused_and_nothing_of_it_stays(live: Live, tmp_path: Path) -> None:
    edit(tmp_path / "estate", "estate.toml", '"env:TILLGATE_OMS_URL"', '"env:NOBODY_SETS_THIS"')
    told = await live.product.reload()
    assert told.findings == ("the estate refers to environment variables that are not set: NOBODY_SETS_THIS",)
    edit(tmp_path / "estate", "estate.toml", '"env:NOBODY_SETS_THIS"', '"no url at all"')
    told = await live.product.reload()
    assert not told.applied
    assert await safety_stock(live) == 3


@pytest.mark.slow
async def test_files_and_orders_in_work_are_finished_once_whatever_is_reloaded(tmp_path: Path) -> None:
    estate = own_estate(tmp_path / "estate")
    async with running(tmp_path, root=estate, work=True) as live:
        tills = live.sandbox.tills
        rung = sum(len(tills.random_day(store, 200, DAY)) for store in STORES)
        for store in STORES:
            tills.write_file(store)
        live.sandbox.faults.add(Rule(system="oms", kind="slow", operation="createOrder", seconds=0.6))
        placed = [
            asyncio.create_task(live.http.post("/orders", json=ORDER, headers={**live.auth(), "Idempotency-Key": f"reload-{n}"}))
            for n in range(12)
        ]
        for round_ in range(8):
            edit(estate, "estate.toml", "# ----", f"# edit {round_}\n# ----")
            edit(estate, "mappings/pos/tlog.toml", "[fields]", f"# edit {round_}\n[fields]")
            edit(estate, "mappings/oms/create_order.answer.toml", "[fields]", f"# edit {round_}\n[fields]")
            assert (await live.product.reload()).applied
        answers = await asyncio.gather(*placed)
        assert {a.status_code for a in answers} <= {201, 202}, [a.text for a in answers]
        books = live.product.books

        async def under_way() -> int:
            orders = await books.orders.processes(("running", "waiting", "compensating", "manual"), 100)
            return len(orders) + len(STORES) - sum(f.state == "done" for f in await books.files.list(100))

        async with asyncio.timeout(60):
            while await under_way():  # noqa: ASYNC110 - the books tell nobody
                await asyncio.sleep(0.1)
        assert sum(f.booked for f in await books.files.list(100)) == rung
        assert [f.quarantined + f.repeated + f.conflicts for f in await books.files.list(100)] == [0] * len(STORES)
        assert len({a.json()["id"] for a in answers}) == 12
        assert len(live.sandbox.oms.book.account()["orders"]) == 12  # type: ignore[arg-type]  # a list
        await only_one_left(live.product)


# ---- as a process


@asynccontextmanager
async def served(
    folder: Path, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient, list[dict[str, object]]]]:
    """`tillgate serve` with work, and its log."""
    log = list[dict[str, object]]()
    async with sandbox(folder / "sandbox") as found:
        environment = {**os.environ, **sandbox_environment(found)}
        command = [
            sys.executable,
            "-m",
            "gateway.cli",
            "--estate",
            str(folder / "estate"),
            "--data",
            str(folder / "data"),
            "serve",
            *options,
            "--port",
            "0",
        ]
        process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        assert process.stderr
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def read() -> None:
            assert process.stderr
            async for line in process.stderr:
                if line.startswith(b"listening on "):
                    address.set_result(line.decode().split()[-1])
                elif line.startswith(b"{"):
                    log.append(json.loads(line))

        reading = asyncio.create_task(read())
        try:
            async with asyncio.timeout(40), httpx.AsyncClient(base_url=await address, timeout=10) as http:
                yield process, http, log
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await reading


@pytest.mark.slow
async def test_a_hangup_signal_reloads_and_a_kill_in_the_middle_of_it_hurts_nothing(tmp_path: Path) -> None:
    estate = own_estate(tmp_path / "estate")
    async with served(tmp_path) as (process, http, log):
        edit(estate, "estate.toml", "safety_stock = 3", "safety_stock = three")
        process.send_signal(signal.SIGHUP)
        await until(lambda: any(line["event"] == "the new estate is refused, the old one serves on" for line in log))
        assert (await http.get("/health/ready")).json()["estate"] == "refused, the one before serves"
        edit(estate, "estate.toml", "safety_stock = three", "safety_stock = 4")
        process.send_signal(signal.SIGHUP)
        await until(lambda: any(line["event"] == "the new estate serves" for line in log))
        assert (await http.get("/health/ready")).json() == {"status": "ready"}
        for _ in range(5):
            process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.4)
        process.kill()
        assert await process.wait() == -signal.SIGKILL
    async with served(tmp_path) as (process, http, _):
        assert (await http.get("/health/ready")).json() == {"status": "ready"}
        process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() in (0, -signal.SIGTERM)


@pytest.mark.slow
async def test_a_watched_estate_is_read_again_when_one_of_its_files_changes(tmp_path: Path) -> None:
    estate = own_estate(tmp_path / "estate")
    async with served(tmp_path, "--watch") as (_, _, log):
        edit(estate, MAPPING, "MATNR", "MATNO")
        await until(lambda: any("MATNO" in str(line.get("findings", "")) for line in log))
        edit(estate, MAPPING, "MATNO", "MATNR")
        edit(estate, "estate.toml", "safety_stock = 3", "safety_stock = 4")
        await until(lambda: any(line["event"] == "the new estate serves" for line in log))


async def test_what_only_retiring_estates_used_is_closed_with_the_last_of_them(live: Live, tmp_path: Path) -> None:
    first = live.product.current
    erp = next(o.connection for o in live.product.systems.operations if o.system == "erp")
    assert isinstance(erp, SoapConnection)
    first.requests += 1  # somebody reads an answer slowly
    edit(tmp_path / "estate", "estate.toml", "safety_stock = 3", "safety_stock = 4")
    assert (await live.product.reload()).applied  # the second estate goes on with the connection of the first
    edit(tmp_path / "estate", "estate.toml", "SESSION_EXPIRED", "SESSION_OVER")
    assert (await live.product.reload()).applied  # the third has one of its own
    await until(lambda: [g.number for g in live.product._generations] == [1, 3])
    assert erp._wires[0]._session is not None
    first.requests -= 1
    first.idle.set()
    await only_one_left(live.product)
    assert erp._wires[0]._session is None

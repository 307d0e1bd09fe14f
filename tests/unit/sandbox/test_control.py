from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.server import Sandbox, start

SKU = "10000001"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    running = await start(tmp_path, stores=5, skus=50)
    yield running
    await running.stop()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class Door:
    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.url, self.session = sandbox.control.url, session

    async def __call__(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        async with self.session.request(method, self.url + path, json=body) as answer:
            found = await answer.json()
            assert answer.status == expect, found
            return found


@pytest.fixture
async def door(sandbox: Sandbox) -> AsyncIterator[Door]:
    async with aiohttp.ClientSession() as session:
        yield Door(sandbox, session)


async def test_the_overview_names_every_address_and_what_is_broken(door: Door, sandbox: Sandbox) -> None:
    await door("PUT", "/faults", {"system": "erp", "kind": "slow", "seconds": 1})
    found = await door("GET", "/")
    assert found["erp"]["url"] == sandbox.erp.url
    assert found["oms"]["url"] == sandbox.oms.url
    assert found["pos"]["inbox"] == str(sandbox.tills.inbox)
    assert [rule["kind"] for rule in found["faults"]] == ["slow"]


async def test_rules_are_added_replaced_and_cleared_per_system(door: Door) -> None:
    await door("POST", "/faults", {"system": "erp", "kind": "error", "operation": "GetStock", "share": 0.05})
    both = await door("POST", "/faults", [{"system": "oms", "kind": "hang"}])
    assert [rule["system"] for rule in both["faults"]] == ["erp", "oms"]
    assert [r["system"] for r in (await door("DELETE", "/faults?system=oms"))["faults"]] == ["erp"]
    assert [r["kind"] for r in (await door("PUT", "/faults", [{"system": "pos", "kind": "slow"}]))["faults"]] == ["slow"]
    assert (await door("DELETE", "/faults"))["faults"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("PUT", "/faults", {"system": "erp", "kind": "explode"}, 400, "explode"),
        ("PUT", "/faults", {"system": "erp", "kind": "error", "operation": "GetStok"}, 400, "did you mean GetStock"),
        ("PUT", "/faults", "hang", 400, "expected a fault rule"),
        ("DELETE", "/faults?system=crm", None, 404, "no system 'crm'; there are erp, oms, pos"),
        ("GET", "/books/crm", None, 404, "no system 'crm'"),
        ("GET", "/journal/pos", None, 400, "answer no calls"),
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("PUT", "/oms/rate", {"callsPerSecond": 0}, 400, "above 0"),
        ("POST", "/oms/orders/none/advance", {}, 404, "none"),
        ("POST", "/pos/sell", {"store": "0001", "lines": [{"sku": "4711"}]}, 404, "4711"),
        ("POST", "/pos/sell", {"store": "0001", "lines": [{"sku": SKU, "quantity": "NaN"}]}, 400, "quantity"),
        ("POST", "/pos/sell", {"shop": "0001"}, 400, "shop"),
        ("POST", "/pos/write", {"store": "0001"}, 400, "nothing to write"),
        ("POST", "/pos/damage", {"file": "../../etc/passwd", "how": "bad_line"}, 400, "passwd"),
    ],
)
async def test_a_wrong_wish_is_answered_with_what_there_is(method: str, path: str, body: Any, status: int, says: str, door: Door) -> None:
    assert says in (await door(method, path, body, status))["error"]


async def test_the_day_close_takes_over_what_the_tills_have_written_and_only_once(door: Door, sandbox: Sandbox) -> None:
    lines = [{"sku": SKU, "quantity": "3"}, {"sku": "10000002", "quantity": "1", "voided": True}]
    await door("POST", "/pos/sell", {"store": "0001", "lines": lines})
    await door("POST", "/pos/sell", {"store": "0001", "lines": lines, "flags": ["training"]})
    await door("POST", "/pos/sell", {"store": "0001", "lines": [{"sku": SKU}], "kind": "return"})
    assert await door("POST", "/erp/post-sales") == {"posted": 0}
    await door("POST", "/pos/flush", {})
    await door("POST", "/pos/sell", {"store": "0001", "lines": lines, "workstation": "002"})
    assert await door("POST", "/erp/post-sales") == {"posted": 3}
    assert await door("POST", "/erp/post-sales") == {"posted": 0}
    books = await door("GET", "/books/erp")
    opening = sandbox.world.opening_stock(SKU, "0001")
    assert [(r["sku"], r["posted_sales"], Decimal(r["on_hand"])) for r in books["stock"]] == [(SKU, "2.000", opening - 2)]
    assert [(r["WERKS"], r["KASSE"], r["BONNR"]) for r in books["posted_through"]] == [("0001", "001", 3)]


async def test_after_a_busy_day_the_erp_and_the_tills_agree_to_the_unit(door: Door) -> None:
    for store in ("0001", "0004"):
        await door("POST", "/pos/random-day", {"store": store, "transactions": 150})
    await door("POST", "/pos/flush")
    await door("POST", "/erp/post-sales")
    erp, pos = await door("GET", "/books/erp"), await door("GET", "/books/pos?detail=0")
    sold = {(r["WERKS"], r["sku"]): Decimal(r["posted_sales"]) for r in erp["stock"] if Decimal(r["posted_sales"])}
    assert sold == {(store, sku): Decimal(units) for store, row in pos["stores"].items() for sku, units in row["units"].items()}
    assert len(sold) > 50


async def test_a_till_that_cannot_write_is_a_conflict_and_keeps_what_it_rang_up(door: Door, sandbox: Sandbox) -> None:
    await door("POST", "/pos/sell", {"store": "0001", "lines": [{"sku": SKU}]})
    await door("PUT", "/faults", {"system": "pos", "kind": "refuse"})
    await door("POST", "/pos/write", {"store": "0001"}, 409)
    await door("DELETE", "/faults")
    written = await door("POST", "/pos/write", {"store": "0001"})
    assert Path(written["file"]) in files(sandbox.tills.inbox)


async def test_expired_sessions_are_gone(door: Door, sandbox: Sandbox) -> None:
    session = sandbox.erp.sessions.open("TILLGATE", "retail-sandbox")
    assert session is not None
    assert await door("POST", "/erp/expire-sessions") == {"expired": 1}
    assert not sandbox.erp.sessions.holds(session)

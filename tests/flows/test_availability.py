"""Availability and reservations over the real sandbox: stock of the ERP, files of the tills, holds of our own."""

import asyncio
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox.faults import Rule
from tests.flows.test_orders import SKU, draft, hasty, line, post, until
from tests.products import LOCATION, Live, running

pytestmark = pytest.mark.slow

UNKNOWN = "99999999"


async def stock(live: Live, sku: str = SKU, who: str = "store") -> dict[str, Any]:
    answer = await live.http.get("/inventory", params={"sku": sku, "location": LOCATION, "explain": "true"}, headers=live.auth(who))
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["items"]
    return item  # type: ignore[no-any-return]  # JSON


def terms(item: dict[str, Any]) -> dict[str, Decimal]:
    return {t["name"]: Decimal(t["quantity"]["value"]) for t in item["explanation"]}


def reservation(key: str, quantity: str = "1", sku: str = SKU) -> dict[str, Any]:
    return {
        "reservationKey": key,
        "sku": sku,
        "locationId": LOCATION,
        "quantity": {"value": quantity, "unit": "EA"},
        "owner": {"type": "cart", "id": "cart-1"},
    }


async def hold(live: Live, body: dict[str, Any]) -> Any:
    headers = {**live.auth(), "Idempotency-Key": uuid.uuid4().hex}
    return await live.http.post("/reservations", json=body, headers=headers)


async def test_sixty_four_holders_at_once_never_oversell(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        free = int(Decimal((await stock(live))["free"]["value"]))
        answers = await asyncio.gather(*(hold(live, reservation(f"cart-{n}", "2")) for n in range(64)))
        assert sorted({a.status_code for a in answers}) == [201, 409]
        assert sum(a.status_code == 201 for a in answers) == free // 2
        assert {a.json()["code"] for a in answers if a.status_code == 409} == {"insufficient_stock"}
        assert (await stock(live))["free"]["value"] == str(free % 2)
        refused = await post(live, draft(line()))
        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")


async def test_a_till_sells_the_figure_falls_and_the_day_close_moves_nothing(tmp_path: Path) -> None:
    """posDelta becomes part of the ERP's figure exactly once."""
    async with running(tmp_path, change=hasty, work=True) as live:
        before = await stock(live)
        live.sandbox.tills.sell(LOCATION, [(SKU, 3)])
        live.sandbox.tills.write_file(LOCATION)

        async def counted() -> dict[str, Any] | None:
            item = await stock(live)
            return item if "pos_delta" in terms(item) else None

        sold = await until(counted)
        assert terms(sold)["pos_delta"] == -3
        assert Decimal(sold["free"]["value"]) == Decimal(before["free"]["value"]) - 3
        live.sandbox.day_close()

        async def contained() -> dict[str, Any] | None:
            item = await stock(live)
            return item if "pos_delta" not in terms(item) else None

        after = await until(contained)
        assert after["free"] == sold["free"]
        assert terms(after)["on_hand"] == terms(before)["on_hand"] - 3


@pytest.mark.slow
async def test_an_order_is_counted_once_whether_we_hold_it_or_the_erp_does(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        before = Decimal((await stock(live))["free"]["value"])
        await asyncio.sleep(1)  # the ERP's figures tell seconds
        live.sandbox.faults.add(Rule(system="erp", kind="429", operation="CreateSalesOrder"))  # only the OMS has it
        order_id = (await post(live, draft(line(quantity="4")))).json()["id"]
        held = await stock(live)
        assert (terms(held)["own_holds"], Decimal(held["free"]["value"])) == (-4, before - 4)
        live.sandbox.faults.clear()

        async def confirmed() -> bool:
            await live.product.process.run_due()
            order = await live.product.books.orders.get(order_id)
            return order is not None and order.order_state == "confirmed"

        await until(confirmed)

        async def contained() -> dict[str, Any] | None:
            item = await stock(live)
            assert Decimal(item["free"]["value"]) <= before - 4  # never more than there is, however it is counted meanwhile
            return item if "own_holds" not in terms(item) else None

        booked = await until(contained)
        assert (terms(booked)["committed"], Decimal(booked["free"]["value"])) == (terms(held).get("committed", Decimal(0)) - 4, before - 4)


async def test_each_channel_keeps_its_own_safety_stock(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        for who, safety in (("web", 3), ("marketplace", 5), ("call_centre", 1), ("store", 0)):
            item = await stock(live, who=who)
            assert Decimal(item["free"]["value"]) - Decimal(item["available"]["value"]) == Decimal(item["safetyStock"]["value"]) == safety


async def test_unknown_goods_are_absent_beside_known_ones(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        answer = await live.http.get("/inventory", params={"sku": [SKU, UNKNOWN], "location": [LOCATION, "0999"]}, headers=live.auth())
        assert answer.status_code == 200, answer.text
        assert [(i["sku"], i["locationId"]) for i in answer.json()["items"]] == [(SKU, LOCATION)]
        missing = await hold(live, reservation("cart-1", sku=UNKNOWN))
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_figure_that_stands_in_for_a_broken_erp_says_so_and_still_takes_holds(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        before = await stock(live)
        live.sandbox.faults.add(Rule(system="erp", kind="refuse"))
        await hold(live, reservation("cart-1"))

        async def stale() -> dict[str, Any] | None:
            item = await stock(live)
            return item if item["stale"] else None

        item = await until(stale)
        assert (item["asOf"], item["onHand"]) == (before["asOf"], before["onHand"])
        nothing = await live.http.get("/inventory", params={"sku": "10000300", "location": LOCATION}, headers=live.auth())
        assert (nothing.status_code, nothing.json()["fault"]) == (503, "system")


async def test_a_released_reservation_is_free_again(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        before = (await stock(live))["free"]
        placed = await hold(live, reservation("cart-1", "5"))
        assert placed.status_code == 201
        assert Decimal((await stock(live))["free"]["value"]) == Decimal(before["value"]) - 5
        headers = {**live.auth(), "Idempotency-Key": "release-1", "If-Match": placed.headers["etag"]}
        released = await live.http.post("/reservations/cart-1/release", json={"reason": "owner_removed"}, headers=headers)
        assert (released.status_code, released.json()["state"]) == (200, "released")
        assert (await stock(live))["free"] == before

"""An old version's life on the whole product: counted, warned, browned out, and told in its own words what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.versions import HISTORY
from gateway.estate import BrownOutEntry, Estate, Versions
from gateway.services.clock import utc_now
from tests.products import LOCATION, SKU, Live, no_limits, running

pytestmark = pytest.mark.slow
NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)


def ordered(price: object, **more: object) -> dict[str, Any]:
    line = {"lineNumber": 1, "sku": SKU, "quantity": {"value": "1", "unit": "EA"}, "unitPrice": price, "requestedLocationId": LOCATION}
    return {"lines": [{**line, **more}]}


async def seen(live: Live) -> dict[str, Any]:
    answer = await live.http.get("/admin/versions", headers=live.auth("operator"))
    assert answer.status_code == 200, answer.text
    return {v["version"]: v for v in answer.json()["items"]}


async def test_what_clients_use_of_old_forms_is_known_also_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, change=no_limits) as live:
        asks, chooses = await live.client("asks", version=OLDEST), await live.client("chooses", version=OLDEST)
        pairs = {"sku": SKU, "store": LOCATION}
        for _ in range(3):
            assert (await live.http.get("/inventory", params=pairs, headers=asks)).status_code == 200
        for fields in ("items.sku", "items.storeId"):
            assert (await live.http.get("/inventory", params={**pairs, "fields": fields}, headers=chooses)).status_code == 200
        await live.http.get(f"/products/{SKU}", headers={**live.auth("web"), "API-Version": MIDDLE})
        found = (await seen(live))[OLDEST]
        uses = {(c["client"], u["field"]): u["times"] for c in found["clients"] for u in c.get("uses", ())}
        assert uses == {
            ("asks", "query:store"): 3,
            ("asks", "answer:/items/*/storeId"): 3,
            ("chooses", "query:store"): 2,
            ("chooses", "answer:/items/*/storeId"): 1,
        }
        await live.http.get("/inventory", params=pairs, headers=asks)
    async with running(tmp_path, change=no_limits) as live:
        again = await seen(live)
        assert {c["client"]: c["requests"] for c in again[OLDEST]["clients"]} == {"asks": 4, "chooses": 2}
        assert [(c["client"], c["pinned"], c["requests"]) for c in again[MIDDLE]["clients"]] == [("demo-web", NEWEST, 1)]


async def test_an_order_of_an_old_version_is_refused_in_its_own_words(tmp_path: Path) -> None:
    async with running(tmp_path, change=no_limits) as live:
        old = await live.client("old", version=MIDDLE)
        good = {"amount": "3.79", "currency": "EUR"}
        for number, (body, pointer) in enumerate(
            (
                (ordered({"amount": "3.799", "currency": "EUR"}), "/lines/0/unitPrice/amount"),
                (ordered({"amount": "3.79", "currency": "XXX"}), "/lines/0/unitPrice/currency"),
                (ordered({"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2}), "/lines/0/unitPrice/centAmount"),
                (ordered(good, lineNumber=0), "/lines/0/lineNumber"),
                (ordered(good) | {"payments": [{"paymentId": "p", "amountPlanned": {}}]}, "/payments/0/amountPlanned"),
            )
        ):
            answer = await live.http.post("/orders", json=body, headers={**old, "Idempotency-Key": f"wrong-{number}"})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text
        answer = await live.http.post("/orders", json=ordered(good), headers={**old, "Idempotency-Key": "right"})
        assert answer.status_code in (201, 202), answer.text
        assert answer.json()["lines"][0]["unitPrice"] == good


async def test_a_brown_out_is_announced_ends_by_itself_and_is_counted(tmp_path: Path) -> None:
    begin = datetime(2027, 3, 2, 9, tzinfo=UTC)
    ahead = timedelta()

    def announced(estate: Estate) -> Estate:
        entry = BrownOutEntry(version=OLDEST, from_=begin, until=begin + timedelta(minutes=15), announcement="https://shop.example/news")
        return msgspec.structs.replace(no_limits(estate), versions=Versions(brown_out=(entry,)))

    async with running(tmp_path, change=announced, now=lambda: utc_now() + ahead) as live:
        before = await live.http.get("/locations", headers=live.auth("pinned"))
        assert before.status_code == 200
        assert 'rel="sunset"; type="text/html"; title="brown-out 2027-03-02T09:00Z/2027-03-02T09:15Z"' in before.headers["link"]
        events = (await live.http.get(f"/asyncapi/{OLDEST}.json")).json()
        assert events["info"]["version"] == OLDEST
        assert (await live.http.get("/asyncapi/2020-01-01.json")).status_code == 404
        assert "2027-03-02 09:00 to 09:15 UTC" in (await live.http.get("/docs/versions")).text
        ahead = begin - utc_now() + timedelta(minutes=1)
        during = await live.http.get("/locations", headers=live.auth("pinned"))
        assert (during.status_code, during.json()["code"], during.json()["newestVersion"]) == (503, "version_brown_out", NEWEST)
        assert 0 < int(during.headers["retry-after"]) <= 14 * 60
        assert (await live.http.get("/locations", headers={**live.auth("pinned"), "API-Version": NEWEST})).status_code == 200
        ahead += timedelta(minutes=15)
        after = await live.http.get("/locations", headers=live.auth("pinned"))
        assert after.status_code == 200
        assert "brown-out" not in after.headers["link"]
        (client,) = (await seen(live))[OLDEST]["clients"]
        assert (client["client"], client["requests"]) == ("demo-pinned", 3)

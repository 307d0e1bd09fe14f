"""What channels ask, through the whole product: real HTTP in front, the legacy systems' real protocols behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from contracts.versions import HISTORY
from sandbox.faults import Rule
from tests.products import CUSTOMER, EVERYTHING, LOCATION, SKU, Live, no_limits, running

NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)

pytestmark = pytest.mark.slow

STOCK = f"/inventory?sku={SKU}&location={LOCATION}"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, change=no_limits) as found:
        yield found


def draft(quantity: str = "1", location: str = LOCATION, **more: Any) -> dict[str, Any]:
    line = {
        "lineNumber": 1,
        "sku": SKU,
        "quantity": {"value": quantity, "unit": "EA"},
        "unitPrice": {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2},
        "requestedLocationId": location,
    }
    return {"lines": [line], **more}


def reservation(key: str, location: str = LOCATION) -> dict[str, Any]:
    quantity = {"value": "1", "unit": "EA"}
    return {"reservationKey": key, "sku": SKU, "locationId": location, "quantity": quantity, "owner": {"type": "cart", "id": "c"}}


async def post(live: Live, path: str, body: Any, who: dict[str, str] | None = None, **headers: str) -> httpx.Response:
    fields = {**(who or live.auth()), "Idempotency-Key": str(uuid4()), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await live.http.post(path, json=body, headers=fields)


async def test_products_prices_and_availability_come_from_their_systems(live: Live) -> None:
    first = await live.http.get(f"/products/{SKU}", headers=live.auth())
    assert first.status_code == 200
    assert first.json()["sku"] == SKU
    assert first.headers["cache-status"] == "tillgate; fwd=miss; stored"
    again = await live.http.get(f"/products/{SKU}", headers=live.auth())
    status, _, left = again.headers["cache-status"].rpartition("=")
    assert (status, 0 < int(left) <= 300) == ("tillgate; hit; ttl", True)
    assert again.headers["cache-control"] == "private, max-age=300, stale-while-revalidate=600, stale-if-error=86100"
    assert again.headers["etag"] == first.headers["etag"], "read from elsewhere, and still the same"
    known = await live.http.get(f"/products/{SKU}", headers={**live.auth(), "If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert int(again.headers["age"]) >= 0
    price = (await live.http.get(f"/prices?sku={SKU}&location={LOCATION}", headers=live.auth())).json()["items"][0]
    assert price["value"]["currencyCode"] == "EUR"
    level = (await live.http.get(f"{STOCK}&explain=true", headers=live.auth())).json()["items"][0]
    assert sum(int(term["quantity"]["value"]) for term in level["explanation"]) == int(level["free"]["value"])


async def test_commas_and_repeats_are_the_same_list(live: Live) -> None:
    both = [
        (await live.http.get(f"/inventory?{q}&location={LOCATION}", headers=live.auth())).json()
        for q in ("sku=10000001,10000002", "sku=10000001&sku=10000002")
    ]
    assert [[i["sku"] for i in answer["items"]] for answer in both] == [["10000001", "10000002"]] * 2


async def test_what_no_system_knows_is_404_or_named_as_missing_and_may_be_kept(live: Live) -> None:
    for path in ("/products/99999999", "/locations/7777", "/customers/9999999", "/orders/ord_nothing", "/reservations/nothing"):
        answer = await live.http.get(path, headers=live.auth())
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    for path, key in (
        (f"/prices?location={LOCATION}&", "99999999/0001"),
        (f"/inventory?location={LOCATION}&", "99999999/0001"),
        ("/products?", "99999999"),
    ):
        answer = await live.http.get(f"{path}sku=99999999,{SKU}", headers=live.auth())
        assert answer.json()["missing"] == [{"code": "not_found", "keys": [key]}]
        assert {item["sku"] for item in answer.json()["items"]} == {SKU}
        assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/product", "no route '/product'; there is /products, /products/{sku}"),
        ("/v1/orders", "no route '/v1/orders'; there is /orders, /orders/{id}, /orders/{id}/cancel"),
        ("/warranties", "no route '/warranties'"),
    ],
)
async def test_a_path_that_there_is_not_is_answered_with_the_nearest(live: Live, path: str, detail: str) -> None:
    assert (await live.http.get(path, headers=live.auth())).json()["detail"] == detail


async def test_a_number_of_another_length_than_the_systems_is_told_the_length(live: Live) -> None:
    answer = await live.http.get("/inventory?sku=10000001&location=1", headers=live.auth())
    assert answer.json()["errors"] == [{"pointer": "query:location", "expected": "4 characters", "got": "'1'"}]


async def test_too_many_pairs_are_refused_before_any_system_is_asked(live: Live) -> None:
    query = "&".join([f"sku={n}" for n in range(10_000_001, 10_000_031)] + [f"location={n:04}" for n in range(1, 21)])
    answer = await live.http.get(f"/inventory?{query}", headers=live.auth())
    assert answer.json()["errors"] == [{"pointer": "query:sku", "expected": "at most 500 pairs of sku and location", "got": "600"}]
    assert not [h for h in live.product.recorder.snapshot().operations if h.operation == "GetStock"]


async def test_pages_of_products_follow_each_other_without_gap_or_repeat(live: Live) -> None:
    seen: list[str] = []
    url = "/products?limit=100"
    for _ in range(5):
        answer = await live.http.get(url, headers=live.auth())
        seen += [item["sku"] for item in answer.json()["items"]]
        url = answer.links["next"]["url"]
    assert seen == [str(n) for n in range(10_000_001, 10_000_501)]


async def test_orders_are_paged_to_the_end_newest_first(live: Live) -> None:
    placed = [(await post(live, "/orders", draft())).json()["id"] for _ in range(5)]
    seen: list[str] = []
    url = "/orders?limit=2"
    while url:
        answer = await live.http.get(url, headers=live.auth())
        seen += [item["id"] for item in answer.json()["items"]]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == placed[::-1]
    following = (await live.http.get("/orders?limit=2", headers=live.auth())).links["next"]["url"]
    elsewhere = following.replace("/orders?limit=2", f"/sales?location={LOCATION}&businessDate=2026-01-01")
    for url, who in ((elsewhere, "web"), (following.replace("cursor=", "cursor=A"), "web"), (following, "store")):
        foreign = await live.http.get(url, headers=live.auth(who))
        assert (foreign.status_code, foreign.json()["errors"][0]["pointer"]) == (400, "query:cursor"), url


async def test_a_client_pinned_to_the_oldest_version_gets_its_shapes_and_is_told_of_the_end(live: Live) -> None:
    pinned = live.auth("pinned")
    answer = await live.http.get(f"/inventory?sku={SKU}&store={LOCATION}", headers=pinned)
    assert answer.json()["items"][0]["storeId"] == LOCATION
    assert {"deprecation", "sunset", "link"} <= set(answer.headers)
    wrong = await live.http.get(STOCK, headers=pinned)
    assert wrong.json()["errors"][0]["pointer"] == "query:location"
    assert "store" in wrong.json()["detail"]
    assert (await live.http.get(STOCK, headers={**pinned, "API-Version": NEWEST})).json()["items"][0]["locationId"] == LOCATION


async def test_an_order_in_an_old_version_has_old_amounts_everywhere(live: Live) -> None:
    amount = {"amount": "3.79", "currency": "EUR"}
    body = draft(payments=[{"paymentId": "p", "tenderType": "cash", "amountPlanned": amount}])
    body["lines"][0]["unitPrice"] = amount
    answer = await post(live, "/orders", body, API_Version=MIDDLE)
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert order["totalPrice"] == order["lines"][0]["unitPrice"] == order["payments"][0]["amountPlanned"] == amount
    newest = (await live.http.get(f"/orders/{order['id']}", headers=live.auth())).json()
    assert newest["payments"][0]["amountPlanned"]["centAmount"] == 379
    body["lines"][0]["unitPrice"] = {"amount": "3.799", "currency": "EUR"}
    assert (await post(live, "/orders", body, API_Version=OLDEST)).json()["errors"][0]["pointer"] == "/lines/0/unitPrice/amount"


async def test_the_same_order_sent_twice_is_one_order_everywhere(live: Live) -> None:
    first, again = [await post(live, "/orders", draft(), Idempotency_Key="same") for _ in range(2)]
    assert (first.status_code, first.content) == (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    number = first.json()["orderNumber"]
    books: Any = live.sandbox.oms.book.account()["orders"], live.sandbox.erp.book.account()["orders"]
    assert [o["clientRef"] for o in books[0]] == [o["BSTNK"] for o in books[1]] == [number]


async def test_a_reservation_lives_from_hold_to_release_with_preconditions(live: Live) -> None:
    held = await post(live, "/reservations", reservation("cart-1"))
    assert held.status_code == 201
    path, tag = held.headers["location"], held.headers["etag"]
    assert (await live.http.get(path, headers={**live.auth(), "If-None-Match": tag})).status_code == 304
    stale = await post(live, f"{path}/release", {"reason": "gone"}, If_Match='"v99"')
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    released = await post(live, f"{path}/release", {"reason": "gone"}, If_Match=tag)
    assert released.json()["state"] == "released"
    assert released.headers["etag"] != tag
    assert (await live.http.get(path, headers={**live.auth(), "If-None-Match": tag})).status_code == 200


async def test_more_than_there_is_cannot_be_held(live: Live) -> None:
    body = reservation("cart-2")
    body["quantity"]["value"] = "100000"
    answer = await post(live, "/reservations", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "insufficient_stock")


async def test_orders_of_another_channel_are_not_there(live: Live) -> None:
    order = (await post(live, "/orders", draft())).json()
    other = live.auth("mobile")
    assert (await live.http.get(f"/orders/{order['id']}", headers=other)).status_code == 404
    assert (await post(live, f"/orders/{order['id']}/cancel", {"reason": "x"}, other)).status_code == 404
    assert (await live.http.get("/orders", headers=other)).json() == {"items": []}


async def test_a_client_bound_to_a_store_acts_for_that_store_only(live: Live) -> None:
    bound = await live.client("till-2", stores=("0002",))
    assert (await post(live, "/reservations", reservation("s1"), bound)).json()["code"] == "forbidden"
    assert (await post(live, "/orders", draft(), bound)).json()["code"] == "forbidden"
    assert (await live.http.get(f"/sales?location={LOCATION}&businessDate=2026-11-01", headers=bound)).json()["code"] == "forbidden"
    assert (await live.http.get("/sales?location=0002&businessDate=2026-11-01", headers=bound)).status_code == 200
    theirs = (await post(live, "/orders", draft())).json()
    held = await post(live, "/reservations", reservation("s2"))
    assert held.status_code == 201
    assert (await live.http.get(f"/orders/{theirs['id']}", headers=bound)).status_code == 404
    assert (await post(live, f"/orders/{theirs['id']}/cancel", {"reason": "x"}, bound)).status_code == 404
    assert (await live.http.get("/orders", headers=bound)).json() == {"items": []}
    assert (await live.http.get("/reservations/s2", headers=bound)).status_code == 404
    assert (await post(live, "/reservations/s2/release", {}, bound)).status_code == 404
    assert (await live.http.get(STOCK, headers=bound)).status_code == 200, "what others have may be seen"


async def test_personal_data_is_for_those_who_may_read_customers(live: Live) -> None:
    full = live.auth()
    less = await live.client("less", tuple(s for s in EVERYTHING if s != "customers:read"))
    assert (await live.http.get(f"/customers/{CUSTOMER}", headers=full)).json()["email"]
    assert (await live.http.get(f"/customers/{CUSTOMER}", headers=less)).json()["requiredScope"] == "customers:read"
    who = {"customerNumber": CUSTOMER, "email": "a@example.com", "name": "Ann"}
    address = {"country": "DE", "name": "Ann", "street": "Weg 1", "postalCode": "50667", "city": "Köln"}
    order = (await post(live, "/orders", draft(customer=who, shippingAddress=address))).json()
    assert order["customer"] == who
    for path, pick in ((f"/orders/{order['id']}", lambda x: x), ("/orders", lambda x: x["items"][0])):
        found = pick((await live.http.get(path, headers=less)).json())
        assert found["customer"] == {"customerNumber": CUSTOMER}
        assert found["shippingAddress"] == {"country": "DE"}


LEGACY = (
    "MATNR",
    "WERKS",
    "LABST",
    "RetailFault",
    "faultcode",
    "soap",
    "Envelope",
    "SESSION",
    "BSTNK",
    "clientRef",
    "127.0.0.1",
    "X-Oms",
    "GetStock",
    "createOrder",
    "Traceback",
)


@pytest.mark.parametrize("kind", ["refuse", "error", "fault_in_200", "reset", "truncate", "wrong_type", "lost_answer", "429"])
async def test_no_fault_of_the_erp_shows_its_shape(live: Live, kind: Any) -> None:
    live.sandbox.faults.add(Rule(system="erp", kind=kind))
    for path in (f"/products/{SKU}", f"/prices?sku={SKU}&location={LOCATION}", STOCK):
        answer = await live.http.get(path, headers=live.auth())
        assert answer.status_code in (422, 502, 503, 504), (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["fault"] == "system"
        assert not [word for word in (*LEGACY, str(live.sandbox.erp.url)) if word.lower() in answer.text.lower()]


async def test_a_stale_answer_says_so_and_is_kept_by_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, change=no_limits) as live:
        fresh = await live.http.get(STOCK, headers=live.auth())
        live.sandbox.faults.add(Rule(system="erp", kind="refuse"))
        await asyncio.sleep(2.1)  # the estate keeps stock for two seconds
        stale = await live.http.get(STOCK, headers=live.auth())
        assert stale.status_code == 200
        assert stale.json()["items"][0]["onHand"] == fresh.json()["items"][0]["onHand"]
        assert stale.json()["items"][0]["stale"] is True
        assert stale.headers["cache-status"] == "tillgate; fwd=stale; fwd-status=503; detail=stale-if-error"
        assert stale.headers["cache-control"] == "no-store"
        assert int(stale.headers["age"]) >= 2


async def test_documents_are_for_everybody_and_metrics_for_operators(live: Live) -> None:
    for path in (
        "/docs",
        f"/openapi/{NEWEST}.json",
        "/problems",
        "/problems/insufficient_stock",
        "/changelog",
        "/health/live",
        "/health/ready",
    ):
        assert (await live.http.get(path)).status_code == 200, path
    assert (await live.http.get("/metrics")).status_code == 401
    assert (await live.http.get("/metrics", headers=live.auth())).status_code == 403
    assert (await live.http.get("/metrics", headers=live.auth("operator"))).status_code == 200
    for path in ("/openapi/1999-01-01.json", "/problems/none"):
        answer = await live.http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")

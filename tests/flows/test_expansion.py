"""Expansion through the whole product: what would be asked for next comes along, and one dead system takes only its own part."""

from pathlib import Path
from typing import Any

import pytest

from docs.examples.python.retail_api import RetailApi
from sandbox.faults import Rule
from tests.flows.test_orders import SKU, draft, hasty, line, post
from tests.products import CUSTOMER, LOCATION, Live, running

pytestmark = pytest.mark.slow


async def said(live: Live, path: str) -> Any:
    answer = await live.http.get(path, headers=live.auth())
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_parts_are_what_their_own_routes_answer_and_a_dead_system_takes_only_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        placed = (await post(live, draft(line(), customer={"customerNumber": CUSTOMER}))).json()
        products, customer, prices = f"/products?sku={SKU}", f"/customers/{CUSTOMER}", f"/prices?sku={SKU}&location={LOCATION}"
        for path, parts in (
            (f"/orders/{placed['id']}?expand=products,customer", {"products": products, "customer": customer}),
            (f"{products}&location={LOCATION}&expand=prices", {"prices": prices}),
        ):
            assert plain((await said(live, path))["expanded"]) == {name: plain(await said(live, own)) for name, own in parts.items()}

        async with RetailApi(live.base, live.keys["web"]) as api:
            answer = await api.get_product(SKU, location=LOCATION, expand=("prices", "inventory"))
            expanded = answer.value.expanded
            assert [part and part.items[0].sku for part in (expanded and expanded.prices, expanded and expanded.inventory)] == [SKU, SKU]

        live.sandbox.faults.add(Rule(system="erp", kind="refuse"))
        listed = await said(live, "/orders?expand=products")
        assert [p["sku"] for p in listed["expanded"]["products"]["items"]] == [SKU]  # as it was read before
        alone = await said(live, f"/products/{SKU}?location=0002&expand=prices")
        assert alone["sku"] == SKU
        assert alone["expanded"]["missing"] == [{"code": "upstream_unreachable", "keys": ["prices"]}]


def plain(part: Any) -> Any:
    """Without what tells when it was read."""
    if isinstance(part, dict):
        return {name: plain(value) for name, value in part.items() if name != "provenance"}
    return [plain(value) for value in part] if isinstance(part, list) else part

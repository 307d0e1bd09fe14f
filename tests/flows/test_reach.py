"""What routes declare about the systems behind them is true, and what systems say beyond their contract can be asked for."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.api import ENDPOINTS
from gateway.cli import main
from tests.products import CUSTOMER, LOCATION, SKU, Live, own_estate, reference, running

PAIR = f"sku={SKU}&location={LOCATION}"
ONLY_WHEN_SOMETHING_FAILED = {"order.find", "order.find_booking", "order.cancel", "order.cancel_booking"}
"""Asked by POST /orders and its cancellation when an answer was lost or a later step was refused."""
FROM_BOOKS = {"sale.feed", "movement.feed", "level.feed"}


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path) as it:
        yield it


def calls(live: Live) -> dict[str, int]:
    return {f"{k.system}.{k.operation}": cell.n for k, cell in live.product.recorder.snapshot().operations.items()}


async def asked(live: Live, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[set[str], Any]:
    """The capabilities whose operations were called for one request, and its answer."""
    before = calls(live)
    headers = {**live.auth("web"), **({"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {})}
    answer = await live.http.request(method, path, json=body, headers=headers)
    assert answer.status_code < 300, answer.text
    estate = live.product.checked.estate
    return {
        estate.operation[name].provides for name, n in calls(live).items() if n > before.get(name, 0) and name in estate.operation
    }, answer.json()


def example(route: str) -> Any:
    return msgspec.to_builtins(next(e.example for e in ENDPOINTS if e.route == route))


async def test_each_route_asks_the_capabilities_that_it_declares_and_no_other(live: Live) -> None:
    seen: dict[str, set[str]] = {}

    async def ask(route: str, path: str = "", body: dict[str, Any] | None = None) -> Any:
        method, _, pattern = route.partition(" ")
        found, answer = await asked(live, method, path or pattern, body)
        seen.setdefault(route, set()).update(found)
        return answer

    await ask("GET /customers/{number}", f"/customers/{CUSTOMER}")
    await ask("GET /products", f"/products?sku={SKU}")
    await ask("GET /products", "/products?limit=2")
    await ask("GET /products/{sku}", "/products/10000002")
    await ask("GET /prices", f"/prices?{PAIR}")
    await ask("GET /inventory", f"/inventory?{PAIR}")
    await ask("POST /reservations", body=example("POST /reservations"))
    await ask("GET /reservations/{key}", "/reservations/cart-4711-1")
    await ask("POST /reservations/{key}/release", "/reservations/cart-4711-1/release", {})
    order = await ask("POST /orders", body=example("POST /orders"))
    await ask("GET /orders")
    await ask("GET /orders/{id}", f"/orders/{order['id']}")
    await ask("POST /orders/{id}/cancel", f"/orders/{order['id']}/cancel", {"reason": "changed"})
    await ask("GET /sales", f"/sales?location={LOCATION}&businessDate=2026-01-01")
    await ask("GET /locations")
    await ask("GET /locations/{number}", f"/locations/{LOCATION}")

    declared = {e.route: set(e.capabilities) for e in ENDPOINTS}
    assert seen.keys() == declared.keys()
    assert {r: found - declared[r] for r, found in seen.items() if found - declared[r]} == {}
    cached = {"GET /locations", "GET /locations/{number}"}  # the zones of stores were learned at start
    silent = {r: declared[r] - found - FROM_BOOKS - ONLY_WHEN_SOMETHING_FAILED for r, found in seen.items() if r not in cached}
    assert {r: left for r, left in silent.items() if left} == {}


def test_what_the_estate_says_about_a_route_is_what_the_route_declares() -> None:
    declared = {e.route: set(e.capabilities) for e in ENDPOINTS}
    wrong = {n: set(r.capabilities) - declared[n] for n, r in reference().estate.route.items() if set(r.capabilities) - declared[n]}
    assert wrong == {}


def test_every_capability_reaches_a_route() -> None:
    provided = {o.provides for o in reference().estate.operation.values() if o.mode != "outbound"}
    assert provided - {c for e in ENDPOINTS for c in e.capabilities} == set()


def without(path: Path, *patterns: str) -> None:
    text = path.read_text(encoding="utf-8")
    for pattern in patterns:
        text, count = re.subn(pattern, "", text, flags=re.MULTILINE)
        assert count == 1, pattern
    path.write_text(text, encoding="utf-8")


async def test_an_element_that_the_contract_does_not_know_is_counted_and_listed_for_operators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estate = own_estate(tmp_path / "estate")
    without(estate / "contracts/systems/erp/retail.wsdl", r'<xsd:element name="UMLME".*?</xsd:element>')
    without(estate / "mappings/erp/get_stock.answer.toml", r"^incoming.*\n")
    async with running(tmp_path, root=estate) as live:
        assert (await live.http.get(f"/inventory?{PAIR}", headers=live.auth("web"))).status_code == 200
        assert (await live.http.get("/admin/drift", headers=live.auth("web"))).status_code == 403
        assert (await live.http.get("/admin/drift")).status_code == 401
        (found,) = (await live.http.get("/admin/drift", headers=live.auth("operator"))).json()
        assert (found["operation"], found["kind"], found["path"].rpartition("/")[2]) == ("erp.GetStock", "element", "UMLME")

        def command(*more: Sequence[str]) -> str:
            main(["--estate", str(estate), "drift", "--url", live.base, "--key", live.keys["operator"], *more])
            return capsys.readouterr().out

        assert re.search(r"1  erp.GetStock  unknown element \S*UMLME", await asyncio.to_thread(command))
        assert '"path"' in await asyncio.to_thread(command, "--json")

"""Real exchanges are recorded while channels ask: nothing secret or personal is in them, and replaying shows what a change changes."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from adapters import recording
from adapters.recording import Recorded
from contracts.errors import Findings
from gateway.bootstrap import check
from gateway.bootstrap.replaying import Comparison, replayer
from sandbox.faults import Rule
from sandbox.oms.server import KEY
from tests.products import LOCATION, SKU, Live, own_estate, running

pytestmark = pytest.mark.slow

ORDER = {
    "lines": [
        {
            "lineNumber": 1,
            "sku": SKU,
            "quantity": {"value": "1", "unit": "EA"},
            "unitPrice": {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2},
            "requestedLocationId": LOCATION,
        }
    ],
    "customer": {"email": "petra.grossmann@example.test", "customerNumber": "1000001"},
    "shippingAddress": {
        "country": "DE",
        "name": "Petra Grossmann",
        "street": "Kastanienallee 17",
        "postalCode": "10435",
        "city": "Berlinchen",
    },
}
CUSTOMERS = [str(1000001 + n) for n in range(6)]


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, root=own_estate(tmp_path / "estate")) as it:
        yield it


class Taken:
    def __init__(self) -> None:
        self.lines = list[bytes]()

    @property
    def exchanges(self) -> list[Recorded]:
        return [msgspec.json.decode(line, type=Recorded) for line in self.lines if not line.startswith(b'{"ended"')]


@asynccontextmanager
async def recorded(live: Live, *systems: str, exchanges: int = 1000) -> AsyncIterator[Taken]:
    """What the admin route says while the body runs."""
    admin, taken, begun = await live.client("recorder", ("admin:write",)), Taken(), [asyncio.Event() for _ in systems]

    async def listen(system: str, on: asyncio.Event) -> None:
        async with live.http.stream("POST", f"/admin/recordings/{system}?exchanges={exchanges}&seconds=60", headers=admin) as answer:
            assert answer.status_code == 200
            on.set()
            async for line in answer.aiter_lines():
                taken.lines.append(line.encode())

    listening = [asyncio.create_task(listen(*each)) for each in zip(systems, begun, strict=True)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(on.wait() for on in begun))
        await until(lambda: set(systems) <= set(live.product.captures.running))
        yield taken
        await until(lambda: all(c._waiting.empty() for c in live.product.captures.running.values()))
        await asyncio.sleep(0.2)
        for task in listening:
            task.cancel()  # whoever goes away ends it
        await asyncio.gather(*listening, return_exceptions=True)
        await until(lambda: not live.product.captures.running)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.02)


async def everything(live: Live) -> None:
    """Every operation of both systems, by what channels ask."""
    who = await live.client("shop")
    for path in ("/locations", "/products?limit=3", f"/products/{SKU}", f"/prices?sku={SKU}&location={LOCATION}"):
        assert (await live.http.get(path, headers=who)).status_code == 200
    assert (await live.http.get(f"/inventory?sku={SKU}&location={LOCATION}", headers=who)).status_code == 200
    for number in CUSTOMERS:
        assert (await live.http.get(f"/customers/{number}", headers=who)).status_code == 200
    live.sandbox.faults.add(Rule(system="oms", kind="error", operation="getCustomer"))
    for number in CUSTOMERS[:5]:
        await live.http.get(f"/customers/{1000050 + int(number) % 10}", headers=who)  # the ERP stands in
    live.sandbox.faults.clear()
    placed = await live.http.post("/orders", json=ORDER, headers={**who, "Idempotency-Key": str(uuid4())})
    assert placed.status_code == 201, placed.text
    order = placed.json()["id"]
    assert (await live.http.get(f"/orders/{order}", headers=who)).status_code == 200
    gone = await live.http.post(f"/orders/{order}/cancel", json={"reason": "changed"}, headers={**who, "Idempotency-Key": str(uuid4())})
    assert gone.status_code == 200, gone.text


def secrets_and_persons(live: Live) -> set[str]:
    sessions = live.sandbox.erp.sessions
    found = {sessions.user, sessions.password, KEY, *live.keys.values(), *sessions._until}
    for number in [*CUSTOMERS, *(str(1000050 + n) for n in range(10))]:
        person = live.sandbox.world.customer(number)
        assert person
        name = {f"{person.first_name} {person.last_name}", person.last_name, person.company or "", person.street}
        found |= {*name, person.email or "", person.phone or "", person.postcode}
    address = ORDER["shippingAddress"]
    assert isinstance(address, dict)
    return {v for v in (*found, "petra.grossmann", "Kastanienallee", address["city"], "10435") if len(v) >= 4}


async def test_no_secret_and_no_personal_value_of_the_world_is_in_any_byte(live: Live, tmp_path: Path) -> None:
    with (tmp_path / "estate/mappings/erp/get_plants.answer.toml").open("a") as mapping:
        mapping.write("# an edit, so that locations are asked for again\n")
    await live.product.reload()
    async with recorded(live, "erp", "oms") as taken:
        await everything(live)
    async with replayer(live.product.checked) as now:
        sealed = [r async for one in now.sealed(taken.exchanges) for r in one]
    recording.write(tmp_path / "all.jsonl", sealed)
    written = b"\n".join(taken.lines) + (tmp_path / "all.jsonl").read_bytes()
    done = {r.provides for r in sealed}
    assert done >= {n for n, o in live.product.checked.estate.operation.items() if o.mode not in ("file", "outbound")} - {
        "oms.findOrders",
        "erp.FindSalesOrder",
        "oms.getOrder",
    }
    words = set(re.findall(r"\w[\w@.+ -]*\w", written.decode()))
    text = written.decode()
    leaked = {v for v in secrets_and_persons(live) if v in words or re.search(rf"(?<![\d.]){re.escape(v)}(?!\d)", text)}
    assert leaked == set()


async def test_replaying_with_the_same_estate_changes_nothing_and_with_a_changed_one_says_what(live: Live, tmp_path: Path) -> None:
    async with recorded(live, "erp", "oms") as taken:
        await everything(live)
    async with replayer(live.product.checked) as now:
        sealed = [r async for one in now.sealed(taken.exchanges) for r in one]
    assert [r.failed for r in sealed if r.failed and r.provides != "oms.getCustomer"] == []  # that one was made to fail
    assert any(r.request and r.path for r in sealed)

    async def compared(root: Path) -> Comparison:
        found = Comparison()
        async with replayer(await asyncio.to_thread(check, root)) as now:
            for one in now.in_order(sealed):
                await found.add(now, one)
        return found

    same = await compared(tmp_path / "estate")
    assert (same.found, same.changed) == ({}, 0)
    assert same.calls == len({r.call for r in sealed})

    other = tmp_path / "other"
    shutil.copytree(tmp_path / "estate", other)
    answer, request = other / "mappings/erp/get_stock.answer.toml", other / "mappings/erp/get_stock.request.toml"
    answer.write_text(
        re.sub(r"^location_id *=.*$", 'location_id = "WERKS | strip_zeros(4)"', answer.read_text(), count=1, flags=re.MULTILINE)
    )
    request.write_text(request.read_text().replace("pad_zeros(18)", "pad_zeros(17)"))
    changed = await compared(other)
    assert {(d.operation, d.part, d.pointer) for d in changed.found.values()} == {
        ("erp.GetStock", "answer", "/*/locationId"),
        ("erp.GetStock", "request", "/body/T_REQ/*/item/*/MATNR/*"),
    }
    levels = next(d for d in changed.found.values() if d.part == "answer")
    assert (levels.before, levels.after) == (LOCATION, LOCATION.lstrip("0"))
    assert changed.changed == levels.count

    wsdl = other / "contracts/systems/erp/retail.wsdl"
    wsdl.write_text(wsdl.read_text().replace('name="LABST"', 'name="LABEST"'))
    with pytest.raises(Findings) as found:
        await compared(other)
    assert "LABST" in str(found.value)


async def test_a_recording_needs_its_scope_is_single_bounded_and_seen(live: Live) -> None:
    admin = await live.client("other", ("admin:write", "admin:read"))
    assert (await live.http.post("/admin/recordings/erp", headers=live.auth("web"))).status_code == 403
    assert (await live.http.post("/admin/recordings/pos", headers=admin)).status_code == 404
    assert (await live.http.post("/admin/recordings/erp?exchanges=0", headers=admin)).status_code == 400
    async with recorded(live, "erp", exchanges=2) as taken:
        assert (await live.http.post("/admin/recordings/erp", headers=admin)).status_code == 409
        assert 'tillgate_recording{system="erp"} 0' in (await live.http.get("/metrics", headers=admin)).text
        assert any("Exchanges with erp are being recorded" in notice for notice in live.product.notices())
        for sku in ("10000001", "10000002", "10000003"):
            assert (await live.http.get(f"/products/{sku}", headers=live.auth())).status_code == 200
        await until(lambda: any(line.startswith(b'{"ended"') for line in taken.lines))
    assert len(taken.exchanges) == 2
    assert live.product.notices() == ()


async def test_a_reload_does_not_end_a_recording(live: Live) -> None:
    async with recorded(live, "oms") as taken:
        assert (await live.product.reload()).applied
        assert (await live.http.get("/customers/1000001", headers=await live.client("shop"))).status_code == 200
        await until(lambda: bool(taken.lines))
    assert [r.provides for r in taken.exchanges] == ["oms.getCustomer"]


async def test_a_field_that_does_not_exist_cannot_be_masked(live: Live, tmp_path: Path) -> None:
    estate = tmp_path / "estate/estate.toml"
    estate.write_text(estate.read_text().replace('keep = ["CUSTOMER.KTOKD"]', 'keep = ["CUSTOMER.KTOKD"]\nmask = ["KUNR"]'))
    told = await live.product.reload()
    assert len(told.findings) == 1
    assert "KUNR" in told.findings[0]
    assert "KUNNR" in told.findings[0]

"""`tillgate tour`: the whole product in a minute, on free ports and a temporary folder; it fails at the first broken expectation."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec
import rich_click as click
import uvloop

from contracts.versions import HISTORY
from gateway.cli.operating import drawn
from gateway.cli.serving import Started, demo_keys, listening, run, sandbox, sandbox_environment
from gateway.cli.settings import Settings
from observability.logs import configure

if TYPE_CHECKING:
    from gateway.bootstrap import Product

T = TypeVar("T")
STORE = "0001"
SKU = "10000001"
OTHER = "10000002"


class Broken(Exception):
    """What was expected, and what came."""


@dataclass
class Heard:
    """An answer of the gateway."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def trace_id(self) -> str:
        return self.headers.get("traceresponse", "")[3:35]


@dataclass
class Guide:
    """Talks to the gateway as its channels do, and to the sandbox's control door as a visitor does."""

    http: aiohttp.ClientSession
    base: str
    control: str
    keys: dict[str, str]
    product: Product
    checks: int = field(default=0)

    async def call(self, method: str, path: str, *, key: str = "web", body: Any = None, **headers: str) -> Heard:
        sent = {"authorization": f"Bearer {self.keys[key]}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        data = None
        if body is not None:
            data, sent["content-type"] = msgspec.json.encode(body), "application/json"
        async with self.http.request(method, self.base + path, headers=sent, data=data) as answer:
            raw = await answer.read()
            return Heard(answer.status, {k.lower(): v for k, v in answer.headers.items()}, msgspec.json.decode(raw) if raw else None)

    async def get(self, path: str, *, key: str = "web") -> Heard:
        return await self.call("GET", path, key=key)

    async def visit(self, method: str, path: str, body: Any = None) -> Any:
        """The sandbox's control door."""
        data = msgspec.json.encode(body) if body is not None else None
        async with self.http.request(method, self.control + path, data=data) as answer:
            found = msgspec.json.decode(await answer.read())
            if answer.status >= 400:
                raise Broken(f"the sandbox refuses {method} {path}: {found}")
            return found

    def expect(self, what: str, *, wanted: Any, came: Any) -> None:
        self.checks += 1
        if wanted != came:
            raise Broken(f"{what}: expected {wanted!r}, came {came!r}")
        click.secho(f"    ✓ {what}: {came}", fg="green")

    def expect_that(self, what: str, holds: object, came: Any = "") -> None:
        self.checks += 1
        if not holds:
            raise Broken(f"{what}: it is not so, came {came!r}")
        click.secho(f"    ✓ {what}" + (f": {came}" if came != "" else ""), fg="green")

    async def until(self, what: str, seconds: float, look: Callable[[], Awaitable[T | None]]) -> T:
        """Looks again until there is something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (found := await look()) is not None:
                return found
            await asyncio.sleep(0.1)
        raise Broken(f"{what}: not within {seconds:g} s")


def say(text: str) -> None:
    click.echo(f"    {text}")


def head(number: int, text: str) -> None:
    click.secho(f"\n({number}) {text}", bold=True)


def order_of(sku: str, pieces: int, cents: int) -> dict[str, Any]:
    price = {"centAmount": cents, "currencyCode": "EUR", "fractionDigits": 2}
    line = {
        "lineNumber": 1,
        "sku": sku,
        "quantity": {"value": str(pieces), "unit": "EA"},
        "unitPrice": price,
        "requestedLocationId": STORE,
    }
    payment = {"paymentId": "p-1", "tenderType": "card_credit", "amountPlanned": {**price, "centAmount": cents * pieces}}
    return {"lines": [line], "payments": [payment], "customer": {"name": "Erika Mustermann"}}


async def available(guide: Guide, sku: str = SKU, key: str = "web") -> dict[str, Any]:
    heard = await guide.get(f"/inventory?sku={sku}&location={STORE}&explain=true", key=key)
    if heard.status != 200 or not heard.body["items"]:
        raise Broken(f"availability of {sku}: {heard.status} {heard.body}")
    found: dict[str, Any] = heard.body["items"][0]
    return found


def arithmetic(item: dict[str, Any]) -> str:
    terms = " ".join(f"{Decimal(t['quantity']['value']):+f} {t['name']} ({t['source']})" for t in item["explanation"])
    return f"{terms} = {item['free']['value']} free, -{item['safetyStock']['value']} safety stock -> {item['available']['value']} available"


async def one(guide: Guide) -> int:
    head(1, "Product and price, from the SOAP ERP")
    product = await guide.get(f"/products/{SKU}")
    guide.expect("GET /products answers", wanted=200, came=product.status)
    say(f"{product.body['name']['en']}, GTIN {product.body['gtins'][0]['gtin']}")
    prices = await guide.get(f"/prices?sku={SKU}&location={STORE}")
    value = prices.body["items"][0]["value"]
    guide.expect_that("the price is an integer in the smallest unit", isinstance(value["centAmount"], int), value)
    guide.expect("the answer says where it comes from", wanted="erp", came=prices.body["items"][0]["provenance"][0]["sourceSystem"])
    cents: int = value["centAmount"]
    return cents


async def two(guide: Guide) -> None:
    head(2, "Availability: ERP stock, sales the ERP has not seen, and a reservation")
    before = await available(guide)
    say(arithmetic(before))
    sold = 2
    await guide.visit("POST", "/pos/sell", {"store": STORE, "lines": [{"sku": SKU, "quantity": str(sold)}]})
    written = await guide.visit("POST", "/pos/write", {"store": STORE})
    say(f"a till sells {sold} and drops {Path(written['file']).name}")

    async def counted() -> dict[str, Any] | None:
        item = await available(guide)
        return item if any(t["name"] == "pos_delta" for t in item["explanation"]) else None

    after = await guide.until("the sale counts", 15, counted)
    say(arithmetic(after))
    guide.expect("two fewer are free", wanted=Decimal(before["free"]["value"]) - sold, came=Decimal(after["free"]["value"]))
    held = await guide.call(
        "POST",
        "/reservations",
        idempotency_key='"tour-hold"',
        body={
            "reservationKey": "tour-cart-1",
            "sku": SKU,
            "locationId": STORE,
            "quantity": {"value": "1", "unit": "EA"},
            "owner": {"type": "cart", "id": "cart-1"},
        },
    )
    guide.expect("POST /reservations", wanted=201, came=held.status)
    reserved = await available(guide)
    say(arithmetic(reserved))
    guide.expect("one more is gone", wanted=Decimal(after["free"]["value"]) - 1, came=Decimal(reserved["free"]["value"]))


async def three(guide: Guide, cents: int) -> None:
    head(3, "The same order twice with one Idempotency-Key")
    first = await guide.call("POST", "/orders", idempotency_key='"tour-order-1"', body=order_of(SKU, 2, cents))
    again = await guide.call("POST", "/orders", idempotency_key='"tour-order-1"', body=order_of(SKU, 2, cents))
    guide.expect("placed", wanted=201, came=first.status)
    guide.expect("the repeat gets the same order", wanted=first.body["id"], came=again.body["id"])
    guide.expect("the repeat is marked", wanted="true", came=again.headers.get("idempotency-replayed"))
    number = first.body["orderNumber"]
    for name, key in (("oms", "clientRef"), ("erp", "BSTNK")):
        books = await guide.visit("GET", f"/books/{name}")
        guide.expect(f"orders of that number in the {name.upper()}", wanted=1, came=sum(o[key] == number for o in books["orders"]))


async def four(guide: Guide, cents: int) -> None:
    head(4, "A client pinned to the oldest version")
    oldest = HISTORY.versions[-1]
    heard = await guide.get(f"/prices?sku={SKU}&location={STORE}", key="pinned")
    old = {"amount": str(Decimal(cents).scaleb(-2)), "currency": "EUR"}
    guide.expect("API-Version", wanted=oldest.date, came=heard.headers.get("api-version"))
    guide.expect("money in its old shape, nested as it is", wanted=old, came=heard.body["items"][0]["value"])
    guide.expect_that("Deprecation is told", heard.headers.get("deprecation", "").startswith("@"), heard.headers.get("deprecation"))
    guide.expect_that("Sunset is told", "GMT" in heard.headers.get("sunset", ""), heard.headers.get("sunset"))
    stock = await guide.get(f"/inventory?sku={SKU}&store={STORE}", key="pinned")
    guide.expect("the parameter's and the field's old name", wanted=STORE, came=stock.body["items"][0].get("storeId"))


async def five(guide: Guide, cents: int) -> tuple[str, str]:
    head(5, "The ERP breaks")
    await available(guide, OTHER)
    await guide.visit("PUT", "/faults", [{"system": "erp", "kind": "refuse"}])
    say("nothing listens on the ERP's port any more")
    failing = ""

    async def stale() -> Heard | None:
        heard = await guide.get(f"/inventory?sku={SKU}&location={STORE}")
        return heard if heard.status == 200 and heard.body["items"] and heard.body["items"][0]["stale"] else None

    heard = await guide.until("a stale answer", 10, stale)
    guide.expect("reads are answered stale and say so", wanted=True, came=heard.body["items"][0]["stale"])
    guide.expect_that("so does Cache-Status", "fwd=stale" in heard.headers["cache-status"], heard.headers["cache-status"])
    failing = heard.trace_id
    guard = next(o.guard for o in guide.product.systems.operations if (o.system, o.name) == ("erp", "GetStock"))

    async def opened() -> bool | None:
        await guide.get(f"/inventory?sku={SKU}&location={STORE}")
        return True if guard.state().breaker == "open" else None

    await guide.until("the breaker opens", 15, opened)
    guide.expect("the circuit breaker of erp.GetStock", wanted="open", came=guard.state().breaker)
    placed = await guide.call("POST", "/orders", idempotency_key='"tour-order-2"', body=order_of(SKU, 1, cents))
    guide.expect("an order is accepted all the same", wanted=202, came=placed.status)
    guide.expect("and says that it is not complete", wanted=True, came=placed.body["pendingWrite"])
    return placed.body["id"], failing


async def six(guide: Guide, order: str) -> None:
    head(6, "The ERP heals")
    await guide.visit("DELETE", "/faults")

    async def complete() -> Heard | None:
        heard = await guide.get(f"/orders/{order}")
        return heard if heard.status == 200 and not heard.body["pendingWrite"] else None

    heard = await guide.until("the order completes", 30, complete)
    guide.expect("the order's state", wanted="confirmed", came=heard.body["orderState"])
    books = await guide.visit("GET", "/books/erp")
    number = heard.body["orderNumber"]
    guide.expect("orders of that number in the ERP", wanted=1, came=sum(o["BSTNK"] == number for o in books["orders"]))


async def seven(guide: Guide, trace_id: str) -> None:
    head(7, "What happened, from the gateway's own memory")

    async def kept() -> Any:
        return await guide.product.ring.trace(trace_id)

    spans = await guide.until("the trace is kept", 10, kept)
    for line in drawn(spans).splitlines():
        say(line)
    failed = [s for s in spans if s.text("error.type") == "connect.refused"]
    guide.expect_that("attempts towards the ERP were refused", failed, f"{len(failed)} of {len(spans)} spans")


async def eight(guide: Guide) -> None:
    head(8, "A damaged file: what is good is booked, what is not goes to quarantine")
    await guide.visit("POST", "/pos/random-day", {"store": STORE, "transactions": 40})
    written = await guide.visit("POST", "/pos/write", {"store": STORE, "format": "tlog", "damage": "bad_line"})
    name = Path(written["file"]).name

    async def done() -> Any:
        return next((f for f in await guide.product.books.files.list(20) if f.name == name and f.state != "claimed"), None)

    record = await guide.until("the file is read", 20, done)
    guide.expect_that("good transactions are booked", record.booked > 0, record.booked)
    rows = await guide.product.books.files.quarantined(record.digest, 10)
    guide.expect_that("bad ones are in quarantine", rows, len(rows))
    say(f"{name} line {rows[0].line}: {rows[0].field}: expected {rows[0].expected}, got {rows[0].got}")
    guide.expect_that("with line, field and reason", rows[0].line > 0 and rows[0].field and rows[0].expected)


async def nine(guide: Guide) -> None:
    head(9, "Reconciliation: four books, one truth")
    orders = await guide.product.books.orders.all_orders()
    ours = {o.order_number: o.total_price.amount for o in orders if o.order_state == "confirmed"}
    erp = await guide.visit("GET", "/books/erp")
    oms = await guide.visit("GET", "/books/oms")
    guide.expect("orders and totals: ERP", wanted=ours, came={o["BSTNK"]: Decimal(o["NETWR"]) for o in erp["orders"]})
    guide.expect("orders and totals: OMS", wanted=ours, came={o["clientRef"]: Decimal(o["total"]) for o in oms["orders"]})
    tills = (await guide.visit("GET", "/books/pos?readable=1&detail=0"))["stores"]
    booked = await guide.product.books.sales.totals()
    theirs = {s: (b["counted"], b["grand"], sum(Decimal(u) for u in b["units"].values())) for s, b in tills.items()}
    found = {s: (t["sales"], t["cents"], Decimal(t["units_milli"]).scaleb(-3)) for s, t in booked.items()}
    guide.expect("sales, cents and units of the tills", wanted=theirs, came=found)
    before = await available(guide)
    posted = await guide.visit("POST", "/erp/post-sales")
    say(f"the ERP's day close takes over {posted['posted']} transactions")

    async def settled() -> dict[str, Any] | None:
        item = await available(guide)
        return item if not any(t["name"] == "pos_delta" for t in item["explanation"]) else None

    after = await guide.until("the ERP's figures contain the sales", 15, settled)
    say(arithmetic(before))
    say(arithmetic(after))
    stock = next(s for s in (await guide.visit("GET", "/books/erp"))["stock"] if s["sku"] == SKU and s["WERKS"] == STORE)
    guide.expect("on hand agrees with the ERP's book", wanted=Decimal(stock["on_hand"]), came=Decimal(after["onHand"]["value"]))
    guide.expect("and nothing moved by it", wanted=before["free"]["value"], came=after["free"]["value"])


@click.command("tour")
@click.pass_obj
def tour(settings: Settings) -> None:
    """Show everything once, over real protocols, and prove it. Exits non-zero at the first broken expectation."""
    configure(level="error")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tillgate-tour-") as folder:
        try:
            checks = uvloop.run(_tour(settings.estate, Path(folder)))
        except Broken as broken:
            click.secho(f"    ✗ {broken}", fg="red", err=True)
            sys.exit(1)
    click.secho(f"\n{checks} expectations held, {time.monotonic() - began:.1f} s", bold=True)


async def _tour(estate: Path, folder: Path) -> int:
    from gateway.bootstrap import check, product

    checking = asyncio.create_task(asyncio.to_thread(check, estate))
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(sandbox(folder / "sandbox"))
        environment = {**os.environ, **sandbox_environment(found), "TILLGATE_STORE": "sqlite:tour.db"}
        running = await stack.enter_async_context(product(await checking, folder / "data", environment=environment))
        keys = await demo_keys(running)
        started: Started = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(run(running, stack.enter_context(listening("127.0.0.1", 0)), started=started))
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        guide = Guide(http, await started, found["control"], keys, running)
        click.echo(f"gateway {guide.base}, sandbox {guide.control}")
        try:
            cents = await one(guide)
            await two(guide)
            await three(guide, cents)
            await four(guide, cents)
            order, trace_id = await five(guide, cents)
            await six(guide, order)
            await seven(guide, trace_id)
            await eight(guide)
            await nine(guide)
        finally:
            running.stop.set()
            await asyncio.wait({serving}, timeout=20)
        return guide.checks


COMMANDS: list[click.Command] = [tour]

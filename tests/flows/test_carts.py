"""Orders that a system takes in several calls: a cart is made, filled and named, then ordered; whatever breaks, there is one order."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from lxml import etree

from adapters import recording
from contracts.policy import Breaker, Duration
from gateway.bootstrap import check
from gateway.bootstrap.replaying import Comparison, replayer
from gateway.estate import Estate, OrderRules
from sandbox.faults import Rule
from tests.flows.test_orders import draft, held_by, line, post, settled
from tests.products import Live, no_limits, own_estate, running

pytestmark = pytest.mark.slow

PARTS = {
    "login": ("username:xsd:string apiKey:xsd:string", "loginReturn:xsd:string"),
    "cartCreate": ("sessionId:xsd:string store:xsd:string", "quoteId:xsd:int"),
    "cartProductAdd": ("sessionId:xsd:string quoteId:xsd:int products:t:products", "result:xsd:boolean"),
    "cartReferenceSet": ("sessionId:xsd:string quoteId:xsd:int reference:xsd:string", "result:xsd:boolean"),
    "cartOrder": ("sessionId:xsd:string quoteId:xsd:int", "result:xsd:string"),
    "orderList": ("sessionId:xsd:string reference:xsd:string", "result:t:orders"),
}
TYPES = {"product": "sku:xsd:string qty:xsd:double", "order": "increment_id:xsd:string reference:xsd:string"}


def wsdl() -> str:
    """A shop's contract as its PHP writes it: rpc/encoded, the session as the first parameter, arrays by arrayType."""

    def said(word: str) -> str:
        name, _, kind = word.partition(":")
        return f'name="{name}" type="{kind}"'

    types = "".join(
        f'<xsd:complexType name="{n}"><xsd:all>{"".join(f"<xsd:element {said(w)}/>" for w in of.split())}</xsd:all></xsd:complexType>'
        f'<xsd:complexType name="{n}s"><xsd:complexContent><xsd:restriction base="soapenc:Array">'
        f'<xsd:attribute ref="soapenc:arrayType" w:arrayType="t:{n}[]"/></xsd:restriction></xsd:complexContent></xsd:complexType>'
        for n, of in TYPES.items()
    )
    messages = "".join(
        f'<message name="{name}{side}">{"".join(f"<part {said(w)}/>" for w in parts.split())}</message>'
        for name, both in PARTS.items()
        for side, parts in zip(("In", "Out"), both, strict=True)
    )
    ports = "".join(f'<operation name="{n}"><input message="t:{n}In"/><output message="t:{n}Out"/></operation>' for n in PARTS)
    body = '<s:body use="encoded" namespace="urn:shop" encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"/>'
    bound = "".join(
        f'<operation name="{n}"><s:operation soapAction="urn:{n}"/><input>{body}</input><output>{body}</output></operation>' for n in PARTS
    )
    return f"""<definitions name="Shop" targetNamespace="urn:shop" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:shop"
        xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
        xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/">
      <types><xsd:schema targetNamespace="urn:shop"><xsd:import namespace="http://schemas.xmlsoap.org/soap/encoding/"/>{types}</xsd:schema></types>
      {messages}<portType name="P">{ports}</portType>
      <binding name="B" type="t:P"><s:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>{bound}</binding>
      <service name="Shop"><port name="P" binding="t:B"><s:address location="http://shop.example.test/api"/></port></service></definitions>"""


ESTATE = """
[system.shop]
protocol    = "soap"
contract    = "contracts/systems/shop/shop.wsdl"
endpoint    = "{url}"
owner       = "shop-it"
criticality = "high"

[system.shop.options]
meanings = [{{ code = "101", means = "rejected" }}]

[system.shop.options.session]
operation      = "login"
user           = "file:{folder}/user"
password       = "file:{folder}/password"
user_field     = "username"
password_field = "apiKey"
token          = "loginReturn"
field          = "sessionId"

[operation."shop.placeOrder"]
provides = "order.book"
answer   = "mappings/shop/order.answer.toml"
policy   = {{ deadline = "1s", retry = {{ attempts = 1 }} }}
commits  = "cartOrder"

[[operation."shop.placeOrder".steps]]
calls   = "cartCreate"
request = "mappings/shop/create.request.toml"
keep    = {{ quote = "quoteId" }}

[[operation."shop.placeOrder".steps]]
calls   = "cartProductAdd"
request = "mappings/shop/add.request.toml"
each    = "lines"
refuse  = {{ when = "not result", reason = "'the cart does not take it'" }}

[[operation."shop.placeOrder".steps]]
calls   = "cartReferenceSet"
request = "mappings/shop/reference.request.toml"

[[operation."shop.placeOrder".steps]]
calls   = "cartOrder"
request = "mappings/shop/order.request.toml"

[operation."shop.orderList"]
provides = "order.find_booking"
request  = "mappings/shop/find.request.toml"
answer   = "mappings/shop/find.answer.toml"
policy   = {{ deadline = "2s" }}
"""
REST = '\n[drops]\n"*" = "other calls say it, or the shop need not know"\n'
QUOTE = '[parameters]\nquote = 0\n\n[fields]\nquoteId = "parameters.quote"\n'
MAPPINGS = {
    "create.request": 'target = "shop.cartCreate"\nsource = "Order"\n\n[fields]\nstore = "\'default\'"\n' + REST,
    "add.request": f'target = "shop.cartProductAdd"\nsource = "OrderLine"\n\n{QUOTE}\n[[fields.products.item]]\n'
    f'sku = "sku"\nqty = "quantity | amount"\n{REST}',
    "reference.request": f'target = "shop.cartReferenceSet"\nsource = "Order"\n\n{QUOTE}reference = "order_number"\n{REST}',
    "order.request": f'target = "shop.cartOrder"\nsource = "Order"\n\n{QUOTE}{REST}',
    "order.answer": 'target = "OrderReceipt"\nsource = "shop.cartOrder"\n\n[fields]\nexternal_id = "result | required"\n',
    "find.request": 'target = "shop.orderList"\nsource = "OrderReference"\n\n[fields]\nreference = "order_number"\n',
    "find.answer": 'target = "OrderReceipt"\nsource = "shop.orderList/result/item"\n\n[fields]\n'
    'external_id = "increment_id"\norder_number = "reference"\n',
}


@dataclass
class Shop:
    """Answers the contract above. Carts cost nothing: only an order counts."""

    carts: dict[int, dict[str, Any]] = field(default_factory=dict)
    orders: list[dict[str, Any]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    holds: str = ""
    """The call that gets no answer, although it is carried out."""
    refuses: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def answers(self, request: web.Request) -> web.Response:
        (call,) = etree.fromstring(await request.read()).find("{*}Body")  # type: ignore[union-attr]  # a request has a body
        name = etree.QName(call).localname
        self.calls[name] += 1
        asked = {etree.QName(e).localname: e for e in call}
        if name != "login" and asked["sessionId"].text != "s3cr3t":
            return self.said("Fault", "<faultcode>5</faultcode><faultstring>Session expired</faultstring>", 500)
        done = self.done(name, asked)
        if self.holds == name:
            self.held.set()
            await asyncio.sleep(30)
        part = PARTS[name][1].partition(":")
        kind = part[2] if part[2].startswith("xsd") else ""
        return self.said(f"t:{name}Response", f'<{part[0]} xsi:type="{kind}">{done}</{part[0]}>' if kind else done)

    def done(self, name: str, asked: dict[str, Any]) -> str:
        cart = self.carts.get(int(asked["quoteId"].text)) if "quoteId" in asked else None
        match name:
            case "login":
                return "s3cr3t"
            case "cartCreate":
                self.carts[len(self.carts) + 41] = {"lines": []}
                return str(len(self.carts) + 40)
            case "orderList":
                found = [o for o in self.orders if o["reference"] == asked["reference"].text]
                items = "".join(
                    f"<item xsi:type='t:order'><increment_id>{o['id']}</increment_id><reference>{o['reference']}</reference></item>"
                    for o in found
                )
                return f"<result e:arrayType='t:order[{len(found)}]' xsi:type='e:Array'>{items}</result>"
        assert cart is not None
        if name == "cartProductAdd":
            cart["lines"] += [(e.findtext("sku"), float(e.findtext("qty"))) for e in asked["products"]]
            return str(not self.refuses).lower()
        if name == "cartReferenceSet":
            cart["reference"] = asked["reference"].text
            return "true"
        self.orders.append({"id": f"1000{len(self.orders):05}", **cart})
        return str(self.orders[-1]["id"])

    @staticmethod
    def said(name: str, body: str, status: int = 200) -> web.Response:
        envelope = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:t="urn:shop" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
            ' xmlns:e="http://schemas.xmlsoap.org/soap/encoding/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            f"<s:Body><{'s:' if name == 'Fault' else ''}{name}>{body}</{'s:' if name == 'Fault' else ''}{name}></s:Body></s:Envelope>"
        )
        return web.Response(status=status, text=envelope, content_type="text/xml")


def hasty(estate: Estate) -> Estate:
    calm = Breaker(minimum_calls=1_000_000)
    operations = {
        n: msgspec.structs.replace(o, policy=msgspec.structs.replace(o.policy, breaker=calm)) for n, o in estate.operation.items()
    }
    rules = OrderRules(settle=Duration(0.15), retry=Duration(0.05), retry_max=Duration(0.1), attempts=20)
    return msgspec.structs.replace(no_limits(estate), operation=operations, orders=rules)


def with_shop(folder: Path, url: str) -> Path:
    """The reference estate, in which a shop books the orders instead of the ERP."""
    root = own_estate(folder)
    text = (root / "estate.toml").read_text(encoding="utf-8")
    for name in ("CreateSalesOrder", "FindSalesOrder"):
        text = re.sub(rf'\[operation\."erp\.{name}"\]\n(.+\n)+', "", text)
    (root / "estate.toml").write_text(text + ESTATE.format(url=url, folder=folder), encoding="utf-8")
    for name in ("user", "password"):
        (root / name).write_text(f"the {name}", encoding="utf-8")
    for path, content in {
        "contracts/systems/shop/shop.wsdl": wsdl(),
        **{f"mappings/shop/{n}.toml": c for n, c in MAPPINGS.items()},
    }.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    return root


@asynccontextmanager
async def selling(shop: Shop, folder: Path) -> AsyncIterator[tuple[Live, Path]]:
    app = web.Application()
    app.router.add_post("/api", shop.answers)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        root = with_shop(folder / "estate", f"http://127.0.0.1:{runner.addresses[0][1]}/api")
        async with running(folder, root=root, change=hasty) as live:
            yield live, root
    finally:
        await runner.cleanup()


async def booked(live: Live, shop: Shop, order_id: str) -> None:
    order, process = await settled(live, order_id)
    assert (process.state, order.order_state) == ("done", "confirmed"), process
    (one,) = [o for o in shop.orders if o["reference"] == order.order_number]
    assert one["lines"] == [(li.sku, float(li.quantity.value)) for li in order.lines]
    assert next(s.external_id for s in process.steps if s.name == "book") == one["id"]


async def test_an_order_is_made_in_several_calls_that_hand_on_what_they_were_told(tmp_path: Path) -> None:
    shop = Shop()
    async with selling(shop, tmp_path) as (live, _):
        answer = await post(live, draft(line(), line(quantity="1", number=2)))
        assert answer.status_code == 201, answer.text
        await booked(live, shop, answer.json()["id"])
        assert shop.calls == {"login": 1, "cartCreate": 1, "cartProductAdd": 2, "cartReferenceSet": 1, "cartOrder": 1}


async def test_a_lost_answer_of_the_call_that_counts_is_in_doubt_and_found_again(tmp_path: Path) -> None:
    shop = Shop(holds="cartOrder")
    async with selling(shop, tmp_path) as (live, _):
        answer = await post(live)
        assert (answer.status_code, answer.json()["pendingWrite"]) == (202, True)
        await booked(live, shop, answer.json()["id"])
        assert shop.calls["cartOrder"] == 1


async def test_a_lost_answer_before_the_call_that_counts_is_tried_again_without_asking(tmp_path: Path) -> None:
    shop = Shop(holds="cartReferenceSet")
    async with selling(shop, tmp_path) as (live, _):
        answer = await post(live)
        assert answer.status_code == 202
        shop.holds = ""
        await booked(live, shop, answer.json()["id"])
        assert (shop.calls["cartCreate"], shop.calls["cartOrder"], shop.calls["orderList"]) == (2, 1, 0)


async def test_a_gateway_that_dies_between_two_calls_begins_anew_and_makes_one_order(tmp_path: Path) -> None:
    shop = Shop(holds="cartReferenceSet")
    async with selling(shop, tmp_path) as (live, _):
        asked = asyncio.create_task(post(live))
        await asyncio.wait_for(shop.held.wait(), 10)
        for task in live.product.process.under_way:
            task.cancel()
        shop.holds = ""
        answer = await asked
        await booked(live, shop, answer.json()["id"])
        assert len(shop.orders) == 1
        assert shop.calls["orderList"] >= 2  # the process does not know how far it came: it asks


async def test_what_a_call_refuses_ends_the_order_before_anything_counts(tmp_path: Path) -> None:
    shop = Shop(refuses=True)
    async with selling(shop, tmp_path) as (live, _):
        answer = await post(live)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "rejected_by_system")
        assert not shop.orders
        assert shop.calls["cartReferenceSet"] == 0


async def test_recorded_calls_of_one_order_replay_without_a_difference_and_hold_no_session(tmp_path: Path) -> None:
    shop = Shop()
    async with selling(shop, tmp_path) as (live, root):
        with live.product.captures.begin("shop", 10, 30) as capture:
            await booked(live, shop, (await post(live)).json()["id"])
            stop, taken = asyncio.Event(), list[recording.Recorded]()
            checked = await asyncio.to_thread(check, root)
            stop.set()
            async with replayer(checked) as now:
                async for one in capture.exchanges(stop):
                    async for sealed in now.sealed(one):
                        taken += sealed
                assert [r.operation for r in taken] == ["cartCreate", "cartProductAdd", "cartReferenceSet", "cartOrder"]
                assert len({r.call for r in taken}) == 1
                assert "s3cr3t" not in msgspec.json.encode(taken).decode()
                compared = Comparison()
                await compared.add(now, taken)
                assert (compared.changed, taken[-1].failed) == (0, "")


async def test_a_read_of_two_calls_over_rest_looks_a_number_up_and_reads_by_it(tmp_path: Path) -> None:
    """The order management is asked back by a search, and then for the order itself."""
    root = own_estate(tmp_path / "estate")
    estate, found = root / "estate.toml", root / "mappings/oms/found.answer.toml"
    text = estate.read_text(encoding="utf-8")
    one = text[text.index('[operation."oms.findOrders"]') :].partition("\n\n")[0]
    steps = """[operation."oms.lookUp"]
provides = "order.find"
answer   = "mappings/oms/found.answer.toml"

[[operation."oms.lookUp".steps]]
calls   = "findOrders"
request = "mappings/oms/find_orders.request.toml"
keep    = { number = "(items | first).orderNo" }

[[operation."oms.lookUp".steps]]
calls   = "getOrder"
request = "mappings/oms/by_number.request.toml"
"""
    estate.write_text(text.replace(one, steps), encoding="utf-8")
    answer = (root / "mappings/oms/find_orders.answer.toml").read_text(encoding="utf-8").partition("[[example]]")[0]
    answer = re.sub('.*"root.nextCursor.*\n', "", answer.replace("findOrders/items", "getOrder"))
    found.write_text(answer, encoding="utf-8")
    (root / "mappings/oms/by_number.request.toml").write_text(
        'target = "oms.getOrder"\nsource = "OrderReference"\n\n[parameters]\nnumber = ""\n\n[fields]\norderNo = "parameters.number"\n'
        '\n[drops]\norder_number = "the search took it"\n',
        encoding="utf-8",
    )
    async with running(tmp_path, root=root, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="oms", kind="lost_answer", operation="createOrder", count=1))
        order, process = await settled(live, (await post(live)).json()["id"])
        assert (process.state, held_by(live, "oms", order.order_number)) == ("done", [(str(order.total_price.amount), True)])
        assert live.sandbox.oms.calls["findOrders"] == live.sandbox.oms.calls["getOrder"] == 1

        live.sandbox.faults.add(Rule(system="oms", kind="hang", operation="createOrder", count=1))
        order, process = await settled(live, (await post(live)).json()["id"])  # asked back in vain first: nothing is looked up then
        assert (process.state, len(held_by(live, "oms", order.order_number))) == ("done", 1)
        assert (live.sandbox.oms.calls["findOrders"], live.sandbox.oms.calls["getOrder"]) == (3, 1)

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date
from decimal import Decimal
from functools import cache
from io import BytesIO
from time import perf_counter
from typing import Any

import aiohttp
import pytest
import zeep
from lxml import etree

from sandbox.erp.books import TillTransaction
from sandbox.erp.contract import NS, SESSION_NS, WSDL, Contract, parse
from sandbox.erp.server import ENUMS, TYPES, ErpServer
from sandbox.faults import Faults, Rule
from sandbox.world import World

SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
SKU, MATNR = "10000001", "000000000010000001"
ITEM = {"POSNR": "000010", "MATNR": SKU, "KWMENG": "2", "VRKME": "ST", "NETPR": "3.79", "WERKS": "0001"}
HEADER = {"BSTNK": "web-1", "AUART": "ZWEB", "WAERK": "EUR", "WERKS": "0001", "EDATU": "20260401"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Login": {"USER": "TILLGATE", "PASSWORD": "retail-sandbox"},
    "GetPlants": {},
    "GetMaterials": {"I_MAX": 20},
    "GetPrices": {"T_MATNR": {"item": [{"MATNR": SKU}]}},
    "GetStock": {"T_REQ": {"item": [{"MATNR": SKU, "WERKS": "0001"}, {"MATNR": SKU, "WERKS": "0002"}]}},
    "CreateSalesOrder": {"HEADER": HEADER, "T_ITEMS": {"item": [ITEM]}},
    "FindSalesOrder": {"BSTNK": "web-0"},
    "CancelSalesOrder": {"VBELN": "0005000001", "ABGRU": "03"},
    "GetCustomer": {"KUNNR": "0001000001"},
}


class Caller:
    """Envelopes by zeep, sent as bytes, so that a test sees what is on the wire."""

    def __init__(self, erp: ErpServer, session: aiohttp.ClientSession) -> None:
        client = zeep.Client(str(WSDL))  # type: ignore[no-untyped-call]  # zeep says it is typed and leaves this open
        self.client, self.binding = client, client.service._binding
        self.erp, self.http = erp, session
        self.id = erp.sessions.open("TILLGATE", "retail-sandbox")

    def envelope(self, operation: str, **arguments: Any) -> bytes:
        if operation != "Login" and self.id is not None:
            arguments["_soapheaders"] = {"SessionHeader": {"SESSION_ID": self.id}}
        made, _ = self.binding._create(operation, (), arguments, client=self.client, options={"address": "x"})
        return etree.tostring(made)

    async def post(self, body: bytes | BytesIO, media: str = "text/xml; charset=utf-8") -> tuple[int, bytes]:
        headers = {"Content-Type": media, "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
        async with self.http.post(self.erp.url, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def ask(self, operation: str, **arguments: Any) -> etree._Element:
        """The content of the Body: an answer or a Fault."""
        _, body = await self.post(self.envelope(operation, **(arguments or ARGUMENTS[operation])))
        return parse(body).find(f"{SOAP}Body")[0]  # type: ignore[index]  # a missing Body fails the test as it should


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def erp(faults: Faults) -> AsyncIterator[ErpServer]:
    server = ErpServer(World(stores=5, skus=1_000), faults)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def caller(erp: ErpServer) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(erp, session)


contract = cache(Contract)


def fault_of(body: bytes) -> tuple[str | None, str | None, str | None]:
    """faultcode, CODE and faultstring of a fault whose detail keeps to its schema."""
    found = parse(body).find(f".//{SOAP}Fault")
    assert found is not None
    detail = found.find("detail/*")
    assert detail is not None
    (contract().session_schema if SESSION_NS in detail.tag else contract().schema).assertValid(detail)
    return (
        found.findtext("faultcode"),
        found.findtext(f".//{{{SESSION_NS}}}CODE") or found.findtext(".//CODE"),
        found.findtext("faultstring"),
    )


def messages(answer: etree._Element) -> list[tuple[str | None, str | None]]:
    return [(row.findtext("TYPE"), row.findtext("FIELD")) for row in answer.iterfind("T_RETURN/item")]


# ---- as others see it ---------------------------------------------------------------------------------------------


async def test_zeeps_own_client_loads_the_wsdl_from_the_url_and_calls_every_operation(erp: ErpServer) -> None:
    def everything() -> None:
        client: Any = zeep.Client(erp.url + "?wsdl")  # type: ignore[no-untyped-call]  # zeep leaves this open
        call = client.service
        assert set(client.service._binding._operations) == set(ARGUMENTS)
        opened = call.Login("TILLGATE", "retail-sandbox")
        assert opened.VALID_SECONDS == 1800
        session = {"_soapheaders": {"SessionHeader": {"SESSION_ID": opened.SESSION_ID}}}
        plants = call.GetPlants(**session)
        assert [(p.WERKS, p.LAND1, p.TIMEZONE, p.VLFKZ) for p in plants][3:6] == [
            ("0004", "GB", "Europe/London", "A"),
            ("0005", "DE", "Europe/Berlin", "A"),
            ("9001", "DE", "Europe/Berlin", "B"),
        ]
        materials = call.GetMaterials(T_MATNR={"item": [{"MATNR": SKU}, {"MATNR": "4711"}]}, I_MAX=500, **session)
        assert [(m.MATNR, m.MEINS, m.EAN11) for m in materials.T_MATERIALS.item] == [(MATNR, "ST", "4006100000014")]
        assert [(r.TYPE, r.FIELD) for r in materials.T_RETURN.item] == [("E", "4711")]
        prices = call.GetPrices(T_MATNR={"item": [{"MATNR": MATNR}]}, WERKS="0004", **session).T_PRICES.item
        assert [(p.KSCHL, p.KBETR, p.KONWA, p.KPEIN, p.DATBI) for p in prices] == [("VKP0", Decimal("3.39"), "GBP", 1, "99991231")]
        pair = {"item": [{"MATNR": MATNR, "WERKS": "0001"}]}
        assert Decimal("18.000") == call.GetStock(T_REQ=pair, **session).T_STOCK.item[0].LABST
        made = call.CreateSalesOrder(HEADER=HEADER, T_ITEMS={"item": [ITEM]}, **session)
        assert (made.VBELN, made.T_RETURN.item[0].TYPE) == ("0005000001", "S")
        assert call.GetStock(T_REQ=pair, **session).T_STOCK.item[0].KWMENG_OPEN == 2
        (found,) = call.FindSalesOrder(BSTNK="web-1", **session)
        assert (made.VBELN, "A", Decimal("7.58"), MATNR) == (found.VBELN, found.GBSTK, found.NETWR, found.T_ITEMS.item[0].MATNR)
        assert call.CancelSalesOrder(VBELN=made.VBELN, ABGRU="03", **session)[0].TYPE == "S"
        assert call.FindSalesOrder(BSTNK="web-1", **session)[0].GBSTK == "C"
        assert call.GetStock(T_REQ=pair, **session).T_STOCK.item[0].KWMENG_OPEN == 0
        assert call.GetCustomer(KUNNR="0001000001", **session).CUSTOMER.KUNNR == "0001000001"
        assert call.GetCustomer(KUNNR="9", **session).T_RETURN.item[0].TYPE == "E"
        erp.sessions.expire_all()
        with pytest.raises(zeep.exceptions.Fault) as expired:
            call.GetPlants(**session)
        assert expired.value.code == "soap-env:Client"
        detail: Any = client.wsdl.types.deserialize(expired.value.detail[0])
        assert detail.CODE == "SESSION_EXPIRED"

    await asyncio.to_thread(everything)


async def test_the_wsdl_names_the_address_it_was_read_from(erp: ErpServer, caller: Caller) -> None:
    async with caller.http.get(erp.url, params={"wsdl": ""}) as answer:
        assert answer.content_type == "text/xml"
        assert f'location="{erp.url}"' in await answer.text()
    async with caller.http.get(erp.url) as answer:
        assert (answer.status, "?wsdl" in await answer.text()) == (400, True)


@pytest.mark.parametrize("operation", ARGUMENTS)
async def test_every_answer_holds_what_the_contract_promises(operation: str, caller: Caller, erp: ErpServer) -> None:
    answer = await caller.ask(operation)
    assert answer.tag == f"{{{NS}}}{operation}Response"
    erp.contract.schema.assertValid(answer)


async def test_lists_written_directly_are_what_zeep_would_write(erp: ErpServer, caller: Caller) -> None:
    erp.book.post(TillTransaction(store, "001", date(2026, 3, 1), 7, ((SKU, Decimal(1)),)) for store in ("0001", "0002"))
    for operation in ("GetStock", "GetPrices", "GetMaterials"):
        # Both stores of GetStock here have a till: zeep reads an empty table as None and then misses it when writing.
        answer = await caller.ask(operation)
        write: Any = caller.binding.get(operation).output
        read = write.deserialize(answer.getparent().getparent())  # type: ignore[union-attr]  # an answer stands in an envelope
        by_zeep = write.serialize(**{name: read[name] for name in read}).content.find(f"{SOAP}Body")[0]
        assert [(e.tag, e.text) for e in by_zeep.iter()] == [(e.tag, e.text) for e in answer.iter()]


async def test_the_same_seed_answers_the_same_bytes(caller: Caller) -> None:
    other = ErpServer(World(stores=5, skus=1_000), Faults())
    await other.start()
    async with aiohttp.ClientSession() as session:
        twin = Caller(other, session)
        assert twin.id == caller.id
        for operation in ("GetPlants", "GetMaterials", "GetPrices", "GetCustomer", "CreateSalesOrder"):
            one, two = await caller.ask(operation), await twin.ask(operation)
            assert etree.tostring(one) == etree.tostring(two)
    await other.stop()


async def test_500_pairs_are_answered_in_a_fraction_of_a_second(caller: Caller) -> None:
    rows = [{"MATNR": str(10_000_001 + n), "WERKS": "0001"} for n in range(500)]
    body = caller.envelope("GetStock", T_REQ={"item": rows})
    before = perf_counter()
    _, answer = await caller.post(body)
    assert perf_counter() - before < 0.5
    assert len(parse(answer).findall(".//T_STOCK/item")) == 500
    row = b"<item><MATNR>1</MATNR><WERKS>0001</WERKS></item></T_REQ>"
    _, refused = await caller.post(body.replace(b"</T_REQ>", row))
    assert fault_of(refused)[:2] == ("soap-env:Client", "INVALID_REQUEST")


async def test_paging_through_all_materials_shows_each_once(caller: Caller) -> None:
    seen: list[str] = []
    following: str | None = None
    while True:
        answer = await caller.ask("GetMaterials", I_MAX=300, **({"I_FROM": following} if following else {}))
        seen += [m.text or "" for m in answer.iterfind("T_MATERIALS/item/MATNR")]
        following = answer.findtext("E_NEXT")
        if following is None:
            break
    assert seen == [f"{10_000_001 + n:018}" for n in range(1_000)]


# ---- sessions and bad input ---------------------------------------------------------------------------------------


async def test_a_wrong_password_a_missing_and_an_unknown_session_are_faults_of_the_caller(caller: Caller) -> None:
    _, body = await caller.post(caller.envelope("Login", USER="TILLGATE", PASSWORD="guess"))
    assert fault_of(body)[:2] == ("soap-env:Client", "LOGIN_FAILED")
    caller.id = "0" * 40
    status, body = await caller.post(caller.envelope("GetPlants"))
    assert (status, *fault_of(body)[:2]) == (500, "soap-env:Client", "SESSION_EXPIRED")
    caller.id = None
    assert fault_of((await caller.post(caller.envelope("GetPlants").replace(b"<soap-env:Header/>", b"")))[1])[1] == "SESSION_MISSING"


async def test_a_session_ends_after_its_time_though_it_was_used(faults: Faults) -> None:
    erp = ErpServer(World(stores=1, skus=1), faults, session_seconds=100)
    now = 0.0
    erp.sessions.clock = lambda: now
    session = erp.sessions.open("TILLGATE", "retail-sandbox")
    assert session is not None
    now = 99.0
    assert erp.sessions.holds(session)
    now = 100.0
    assert not erp.sessions.holds(session)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not well-formed XML"),
        (b"<a>", "not well-formed XML"),
        (b"<a/>", "expected a SOAP 1.1 Envelope"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "DOCTYPE is not accepted"),
        (b"<a>" * 200 + b"</a>" * 200, "nested deeper than 32"),
    ],
)
async def test_hostile_or_broken_xml_is_one_clear_fault(body: bytes, says: str, caller: Caller) -> None:
    code, kind, text = fault_of((await caller.post(body))[1])
    assert (code, kind) == ("soap-env:Client", "INVALID_REQUEST")
    assert says in (text or "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"GetMaterials", b"GetEverything"), "there is no operation"),
        ((b"<I_MAX>20", b"<I_MAX>501"), "less than or equal|maximum value"),
        ((b"<I_MAX>20</I_MAX>", b""), "Missing child element"),
        ((b"I_MAX>", b"I_MOST>"), "not expected"),
    ],
)
async def test_a_request_outside_the_contract_is_refused_with_its_place(change: tuple[bytes, bytes], says: str, caller: Caller) -> None:
    _, kind, text = fault_of((await caller.post(caller.envelope("GetMaterials", I_MAX=20).replace(*change)))[1])
    assert kind == "INVALID_REQUEST"
    assert any(part in (text or "") for part in says.split("|"))


async def test_the_wrong_media_type_and_an_oversized_body_never_reach_the_parser(caller: Caller) -> None:
    assert (await caller.post(b"{}", "application/json"))[0] == 415
    assert (await caller.post(BytesIO(b" " * (1 << 20) + b"<a/>")))[0] == 413


# ---- orders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "item", "field"),
    [
        ({"KUNNR": "0009999999"}, {}, "0009999999"),
        ({"WERKS": "0777"}, {}, "0777"),
        ({"WAERK": "USD"}, {}, "WAERK"),
        ({"EDATU": "20260230"}, {}, "EDATU"),
        ({}, {"MATNR": "4711"}, "4711"),
        ({}, {"VRKME": "KG"}, SKU),
        ({}, {"KWMENG": "0"}, "000010"),
        ({}, {"KWMENG": "1.5"}, "000010"),
        ({}, {"NETPR": "-1"}, "000010"),
        ({}, {"WERKS": "0777"}, "0777"),
    ],
)
async def test_a_business_error_is_a_message_under_200_and_books_nothing(
    header: dict[str, str], item: dict[str, str], field: str, caller: Caller, erp: ErpServer
) -> None:
    body = caller.envelope("CreateSalesOrder", HEADER=HEADER | header, T_ITEMS={"item": [ITEM | item]})
    status, answer = await caller.post(body)
    found = parse(answer).find(f"{SOAP}Body/*")
    assert found is not None
    assert (status, found.findtext("VBELN"), messages(found)) == (200, None, [("E", field)])
    erp.contract.schema.assertValid(found)
    assert (erp.books()["orders"], erp.books()["stock"]) == ([], [])


async def test_a_blocked_customer_is_refused(caller: Caller) -> None:
    blocked = next(c for c in World().customers if c.blocked)
    header = HEADER | {"KUNNR": blocked.number.zfill(10)}
    answer = await caller.ask("CreateSalesOrder", HEADER=header, T_ITEMS={"item": [ITEM]})
    assert messages(answer) == [("E", blocked.number.zfill(10))]


async def test_one_reference_is_one_document(caller: Caller, erp: ErpServer) -> None:
    first = await caller.ask("CreateSalesOrder")
    again = await caller.ask("CreateSalesOrder")
    assert first.findtext("VBELN") == "0005000001"
    assert (again.findtext("VBELN"), messages(again)) == (None, [("E", "0005000001")])
    assert erp.book.stock(SKU, "0001").committed == 2


async def test_more_than_there_is_is_promised_with_a_warning(caller: Caller) -> None:
    answer = await caller.ask("CreateSalesOrder", HEADER=HEADER, T_ITEMS={"item": [ITEM | {"KWMENG": "19"}]})
    assert answer.findtext("VBELN") is not None
    assert [kind for kind, _ in messages(answer)] == ["S", "W"]


async def test_cancelling_twice_gives_the_promise_up_once(caller: Caller, erp: ErpServer) -> None:
    await caller.ask("CreateSalesOrder")
    assert [messages(await caller.ask("CancelSalesOrder"))[0][0] for _ in range(2)] == ["S", "W"]
    assert erp.book.stock(SKU, "0001").committed == 0
    assert messages(await caller.ask("CancelSalesOrder", VBELN="0005000099", ABGRU="01")) == [("E", "0005000099")]


# ---- broken on purpose --------------------------------------------------------------------------------------------


async def test_an_error_is_a_server_fault_under_500_or_under_200(caller: Caller, faults: Faults) -> None:
    for kind, expected in (("error", 500), ("fault_in_200", 200)):
        faults.replace(Rule("erp", kind, operation="GetStock"))  # type: ignore[arg-type]  # both are kinds
        status, body = await caller.post(caller.envelope("GetStock", **ARGUMENTS["GetStock"]))
        assert (status, *fault_of(body)[:2]) == (expected, "soap-env:Server", "INTERNAL")
        assert (await caller.ask("GetPlants")).tag == f"{{{NS}}}GetPlantsResponse"


async def test_a_rule_for_one_store_leaves_requests_about_others_alone(caller: Caller, faults: Faults) -> None:
    faults.add(Rule("erp", "error", store="0002"))
    assert (await caller.ask("GetStock")).tag == f"{SOAP}Fault"
    assert (await caller.ask("GetStock", T_REQ={"item": [{"MATNR": SKU, "WERKS": "0001"}]})).tag != f"{SOAP}Fault"


async def test_a_lost_answer_is_booked_and_can_be_found_again(caller: Caller, faults: Faults) -> None:
    faults.add(Rule("erp", "lost_answer", operation="CreateSalesOrder", count=1))
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await caller.ask("CreateSalesOrder")
    found = await caller.ask("FindSalesOrder", BSTNK="web-1")
    assert found.findtext("T_ORDERS/item/VBELN") == "0005000001"


@pytest.mark.parametrize("kind", ["error", "fault_in_200", "429", "refuse"])
async def test_what_is_not_executed_books_nothing(kind: Any, caller: Caller, faults: Faults, erp: ErpServer) -> None:
    faults.add(Rule("erp", kind, operation="CreateSalesOrder"))
    if kind == "refuse":
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await caller.post(caller.envelope("CreateSalesOrder", **ARGUMENTS["CreateSalesOrder"]))
    else:
        await caller.post(caller.envelope("CreateSalesOrder", **ARGUMENTS["CreateSalesOrder"]))
    assert erp.books()["orders"] == []


async def test_too_many_requests_says_when_to_come_back(caller: Caller, faults: Faults, erp: ErpServer) -> None:
    faults.add(Rule("erp", "429", seconds=3))
    body = caller.envelope("GetPlants")
    async with caller.http.post(erp.url, data=body, headers={"Content-Type": "text/xml"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")


async def test_a_cut_answer_is_half_a_document_and_a_reset_half_a_body(caller: Caller, faults: Faults) -> None:
    faults.add(Rule("erp", "truncate", count=1), Rule("erp", "reset", count=1))
    status, body = await caller.post(caller.envelope("GetPlants"))
    assert status == 200
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(body)
    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.post(caller.envelope("GetPlants"))


async def test_a_slow_answer_is_late_and_right_and_a_hang_gives_none(caller: Caller, faults: Faults) -> None:
    faults.add(Rule("erp", "slow", seconds=0.1, count=1), Rule("erp", "hang", seconds=0.05, count=1))
    before = perf_counter()
    assert (await caller.ask("GetPlants")).tag == f"{{{NS}}}GetPlantsResponse"
    assert perf_counter() - before >= 0.1
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await caller.ask("GetPlants")


async def test_a_slow_write_is_booked_after_its_caller_gave_up(caller: Caller, faults: Faults, erp: ErpServer) -> None:
    faults.add(Rule("erp", "slow", seconds=0.15))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await caller.ask("CreateSalesOrder")
    assert erp.book.find("web-1") is None
    await asyncio.sleep(0.2)
    assert erp.book.find("web-1") is not None


@pytest.mark.parametrize("operation", TYPES)
async def test_a_wrong_type_breaks_the_contract_in_every_operation(
    operation: str, caller: Caller, faults: Faults, erp: ErpServer, order_exists: Callable[[], None]
) -> None:
    order_exists()
    faults.add(Rule("erp", "wrong_type"))
    assert not erp.contract.schema.validate(await caller.ask(operation))


@pytest.mark.parametrize("operation", ENUMS)
async def test_an_unknown_enumeration_value_is_the_only_thing_wrong(
    operation: str, caller: Caller, faults: Faults, erp: ErpServer, order_exists: Callable[[], None]
) -> None:
    order_exists()
    faults.add(Rule("erp", "unknown_enum"))
    answer = await caller.ask(operation)
    (spoilt,) = [e for e in answer.iter() if e.text == "ZZ"]
    assert spoilt.tag == ENUMS[operation]
    assert not erp.contract.schema.validate(answer)


@pytest.fixture
def order_exists(caller: Caller, erp: ErpServer) -> Callable[[], None]:
    """Put one order under the reference that FindSalesOrder and CancelSalesOrder of this module ask for."""

    def put() -> None:
        arguments = {"HEADER": HEADER | {"BSTNK": "web-0"}, "T_ITEMS": {"item": [ITEM]}}
        erp._retail.answer(erp.contract.read(caller.envelope("CreateSalesOrder", **arguments)))

    return put


async def test_only_the_rows_of_the_broken_store_are_spoilt(caller: Caller, faults: Faults) -> None:
    faults.add(Rule("erp", "wrong_type", operation="GetStock", store="0002"))
    answer = await caller.ask("GetStock")
    by_plant = {row.findtext("WERKS"): row.findtext("LABST") for row in answer.iterfind("T_STOCK/item")}
    assert by_plant == {"0001": "18.000", "0002": "12 ST"}


async def test_a_stale_answer_shows_figures_and_time_of_the_moment_the_rule_was_set(caller: Caller, faults: Faults, erp: ErpServer) -> None:
    erp.book.post([TillTransaction("0001", "001", date(2026, 3, 1), 1, ((SKU, Decimal(3)),))])
    faults.add(Rule("erp", "stale"))
    since = faults.stale_since("erp")
    erp.book.post([TillTransaction("0001", "001", date(2026, 3, 1), 2, ((SKU, Decimal(4)),))])
    await caller.ask("CreateSalesOrder")
    old = await caller.ask("GetStock")
    faults.clear()
    new = await caller.ask("GetStock")
    fields = ("LABST", "KWMENG_OPEN", "T_KASSE/item/BONNR")
    assert [old.findtext(f"T_STOCK/item/{f}") for f in fields] == ["15.000", "0.000", "000001"]
    assert [new.findtext(f"T_STOCK/item/{f}") for f in fields] == ["11.000", "2.000", "000002"]
    assert since is not None
    assert (old.findtext("STICHTAG"), old.findtext("UZEIT")) == (f"{since:%Y%m%d}", f"{since:%H%M%S}")


async def test_every_call_is_in_the_journal_with_its_fault_and_trace(caller: Caller, faults: Faults, erp: ErpServer) -> None:
    faults.add(Rule("erp", "error", operation="GetStock"))
    await caller.ask("GetPlants")
    await caller.ask("GetStock")
    assert [(e["operation"], e["fault"]) for e in erp.journal] == [("GetPlants", None), ("GetStock", "error")]
    assert erp.journal[1]["plants"] == ["0001", "0002"]
    assert str(erp.journal[0]["traceparent"]).startswith("00-4bf92f35")


def test_the_contract_is_built_from_the_files_of_its_folder_alone() -> None:
    assert contract().operations == tuple(ARGUMENTS)

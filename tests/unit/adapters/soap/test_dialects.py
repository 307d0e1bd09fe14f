"""The dialects of old and new servers: rpc/encoded with arrays and references, several services in one file, one-way operations."""

from pathlib import Path

import pytest
from lxml import etree

from adapters.options import read
from adapters.soap.contract import SoapContract
from adapters.soap.driver import SoapConnection, load
from adapters.soap.envelope import EnvelopeWriter
from adapters.soap.spec import SoapOptions
from contracts.canonical.inventory import InventoryLevel
from contracts.errors import ContractViolation
from contracts.ports import LevelQuery, SkuAt
from mappings.language import ReadContext
from mappings.language import load as load_mapping
from mappings.language.shape import Leaf, Record
from tests.unit.adapters.soap.conftest import CALL, scripted

ENC = {"1.1": "http://schemas.xmlsoap.org/soap/encoding/", "1.2": "http://www.w3.org/2003/05/soap-encoding"}
SOAP = {"1.1": "http://schemas.xmlsoap.org/soap/envelope/", "1.2": "http://www.w3.org/2003/05/soap-envelope"}
WSDL = {"1.1": "http://schemas.xmlsoap.org/wsdl/soap/", "1.2": "http://schemas.xmlsoap.org/wsdl/soap12/"}
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"


def encoded(folder: Path, version: str = "1.1") -> Path:
    body = f'<s:body use="encoded" namespace="urn:shop" encodingStyle="{ENC[version]}"/>'
    path = folder / "shop.wsdl"
    path.write_text(
        f"""<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="{WSDL[version]}" xmlns:t="urn:shop" xmlns:e="{ENC["1.1"]}"
        xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:w="http://schemas.xmlsoap.org/wsdl/" targetNamespace="urn:shop">
        <types><xs:schema targetNamespace="urn:shop"><xs:import namespace="{ENC["1.1"]}"/>
        <xs:complexType name="Level"><xs:all><xs:element name="sku" type="xs:string"/>
          <xs:element name="qty" type="e:decimal" nillable="true"/>
          <xs:element name="depot" type="t:Depot" minOccurs="0"/></xs:all></xs:complexType>
        <xs:complexType name="Depot"><xs:sequence><xs:element name="code" type="xs:string"/></xs:sequence></xs:complexType>
        <xs:complexType name="Levels"><xs:complexContent><xs:restriction base="e:Array">
          <xs:attribute ref="e:arrayType" w:arrayType="t:Level[]"/></xs:restriction></xs:complexContent></xs:complexType>
        <xs:complexType name="Texts"><xs:complexContent><xs:restriction base="e:Array"><xs:sequence>
          <xs:element name="item" type="xs:string" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
          <xs:attribute ref="e:arrayType" w:arrayType="xs:string[]"/></xs:restriction></xs:complexContent></xs:complexType>
        </xs:schema></types>
        <message name="stock"><part name="sessionId" type="xs:string"/>
        <part name="skus" type="t:Texts"/><part name="at" type="t:Depot"/></message>
        <message name="stockResponse"><part name="result" type="t:Levels"/></message>
        <message name="ping"><part name="text" type="xs:string"/></message>
        <portType name="P"><operation name="stock" parameterOrder="sessionId skus at"><input message="t:stock"/>
        <output message="t:stockResponse"/></operation><operation name="ping"><input message="t:ping"/></operation></portType>
        <binding name="B" type="t:P"><s:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
        <operation name="stock"><s:operation soapAction="urn:stock"/><input>{body}</input><output>{body}</output></operation>
        <operation name="ping"><s:operation soapAction=""/><input>{body}</input></operation></binding>
        <service name="S"><port name="Main" binding="t:B"><s:address location="http://shop.example/api"/></port></service></definitions>"""
    )
    return path


READ = """
target = "InventoryLevel"
source = "shop.stock/result/item"
[fields]
sku = "sku"
location_id = "depot.code | default('0001')"
on_hand = "qty | quantity('EA')"
"""
WRITE = """
target = "shop.stock"
source = "LevelQuery"
[fields.skus]
item = "pairs.sku"
[fields.at]
code = "(pairs | first).location_id | required"
"""


def answer(inner: str, apart: str = "", version: str = "1.1") -> bytes:
    return (
        f'<s:Envelope xmlns:s="{SOAP[version]}" xmlns:n="urn:shop" xmlns:xsi="{XSI[1:-1]}" xmlns:e="{ENC[version]}"><s:Body '
        f's:encodingStyle="{ENC[version]}"><n:stockResponse>{inner}</n:stockResponse>{apart}</s:Body></s:Envelope>'
    ).encode()


LEVEL = "<sku>A</sku><qty>3</qty>"
PLAIN = f'<result e:arrayType="n:Level[2]"><item xsi:type="n:Level">{LEVEL}</item><item><sku>B</sku><qty xsi:nil="true"/></item></result>'


async def levels(folder: Path, body: bytes, version: str = "1.1") -> list[tuple[str, str, str | None]]:
    async def serve(head: bytes, sent: bytes) -> tuple[int, str, bytes]:
        return (200, "text/xml", body)

    options = read(SoapOptions, {})
    contract = load("shop", encoded(folder, version), options)
    mapping = load_mapping(READ, "m.toml", lambda name: contract.exchange(name.partition(".")[2]), {"InventoryLevel": InventoryLevel})
    async with scripted(serve) as url:
        connection = SoapConnection("shop", contract, url, options)
        await connection.start()
        try:
            reply = await connection.call("stock", {"skus": {"item": ["A"]}}, CALL, 5, mapping.shortcut)
        finally:
            await connection.close()
    rows = [row for document in reply.documents for row in mapping.read(document, ReadContext("shop", "stock"))]
    return [(row.sku, row.location_id, row.on_hand.value if row.on_hand else None) for row in rows]


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (answer(PLAIN), [("A", "0001", "3"), ("B", "0001", None)]),
        (answer('<result href="#1"/>', f'<r id="1"><item href="#2"/></r><r id="2">{LEVEL}</r>'), [("A", "0001", "3")]),
        (
            answer(
                '<result><item href="#2"/><item href="#2"/></result>',
                '<x id="2"><sku href="#3"/><qty>1</qty><depot href="#4"/></x><y id="3">S</y><z id="4"><code>0007</code></z>',
            ),
            [("S", "0007", "1")] * 2,
        ),
        (answer('<result xsi:nil="true"/>'), []),
        (answer("<result/>"), []),
    ],
)
async def test_arrays_references_and_nil_of_the_encoding_are_read_as_one_list(
    tmp_path: Path, body: bytes, rows: list[tuple[str, str, str | None]]
) -> None:
    assert await levels(tmp_path, body) == rows


@pytest.mark.parametrize(("name", "refused"), [("stockResult", False), ("orderResponse", True)])
async def test_an_rpc_answer_may_have_any_name_and_must_hold_a_part_that_was_promised(tmp_path: Path, name: str, refused: bool) -> None:
    body = answer(PLAIN if not refused else "<orders><item/></orders>").replace(b"stockResponse", name.encode())
    if refused:
        with pytest.raises(ContractViolation, match="orderResponse"):
            await levels(tmp_path, body)
    else:
        assert await levels(tmp_path, body) == [("A", "0001", "3"), ("B", "0001", None)]


async def test_soap_12_refers_by_ref_and_id_of_its_encoding(tmp_path: Path) -> None:
    body = answer('<result><item e:ref="one"/></result>', f'<x e:id="one">{LEVEL}</x>', "1.2")
    assert await levels(tmp_path, body, "1.2") == [("A", "0001", "3")]


@pytest.mark.parametrize(
    ("inner", "apart", "says"),
    [
        ('<result href="#9"/>', '<x id="1"/>', "a reference to '9', which is not there"),
        ('<result href="#1"/>', '<x id="1"><item href="#1"/></x>', "which contains itself"),
        (
            '<result href="#0"/>',
            "".join(f'<x id="{n}">{f"<i href={chr(34)}#{n + 1}{chr(34)}/>" * 10}</x>' for n in range(9)) + '<x id="9"/>',
            "more",
        ),
    ],
)
async def test_references_that_lead_nowhere_round_or_into_the_millions_are_refused(
    tmp_path: Path, inner: str, apart: str, says: str
) -> None:
    with pytest.raises(ContractViolation, match=says):
        await levels(tmp_path, answer(inner, apart))


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_encoded_request_names_types_and_sizes_in_the_order_of_the_parts(tmp_path: Path, version: str) -> None:
    contract = SoapContract("shop", encoded(tmp_path, version))
    mapping = load_mapping(WRITE, "m.toml", lambda name: contract.exchange(name.partition(".")[2]), {"LevelQuery": LevelQuery})
    query = LevelQuery(pairs=(SkuAt(sku="A", location_id="0001"), SkuAt(sku="B", location_id="0001")))
    document = mapping.write(query, ReadContext("shop", "stock"))
    sent = etree.fromstring(EnvelopeWriter(contract.operation("stock"), contract.schemas).write({"sessionId": "t", **document}))
    call = sent[-1][0]
    assert call.tag == "{urn:shop}stock"
    assert [e.tag for e in call] == ["sessionId", "skus", "at"]

    def named(text: str | None) -> tuple[str | None, str]:
        prefix, _, local = (text or "").partition(":")
        return call.nsmap.get(prefix), local

    assert named(call[0].get(f"{XSI}type")) == ("http://www.w3.org/2001/XMLSchema", "string")
    assert named(call[2].get(f"{XSI}type")) == ("urn:shop", "Depot")
    extent = (call[1].get(f"{{{ENC['1.1']}}}arrayType") or "").partition(":")[2], call[1].get(f"{{{ENC['1.2']}}}arraySize")
    assert extent == (("string[2]", None) if version == "1.1" else ("", "2"))


def test_types_of_the_encoding_are_known_without_its_schema(tmp_path: Path) -> None:
    contract = SoapContract("shop", encoded(tmp_path))
    exchange = contract.exchange("stock")
    assert exchange.answer is not None
    item = exchange.answer.root.get("result").shape.get("item")  # type: ignore[union-attr]  # both are there
    assert item is not None
    assert item.repeated
    assert isinstance(item.shape, Record)
    assert item.shape.get("qty").shape == Leaf("decimal")  # type: ignore[union-attr]  # as above
    assert contract.notes == ()


async def test_a_one_way_operation_is_done_when_it_was_taken(tmp_path: Path) -> None:
    async def serve(head: bytes, sent: bytes) -> tuple[int, str, bytes]:
        return (202, "text/plain", b"")

    options = read(SoapOptions, {})
    async with scripted(serve) as url:
        connection = SoapConnection("shop", load("shop", encoded(tmp_path), options), url, options)
        await connection.start()
        assert (await connection.call("ping", {"text": "hello"}, CALL, 5)).documents == ()
        await connection.close()


def services(folder: Path) -> Path:
    """Two services with an interface each, and the first of them through both versions of SOAP."""

    def part(name: str, version: str) -> str:
        soap = WSDL[version]
        return f"""<binding name="{name}{version}" type="t:{name}"><s:binding xmlns:s="{soap}" transport="http://schemas.xmlsoap.org/soap/http"/>
        <operation name="{name}Get"><s:operation xmlns:s="{soap}" soapAction="{name}{version}"/>
        <input><s:body xmlns:s="{soap}" use="literal"/></input><output><s:body xmlns:s="{soap}" use="literal"/></output></operation>
        <operation name="Version"><s:operation xmlns:s="{soap}" soapAction="v"/><input><s:body xmlns:s="{soap}" use="literal"/></input>
        </operation></binding>"""

    def described(name: str) -> str:
        return f"""<message name="{name}Get"><part name="p" element="t:Get"/></message>
        <message name="{name}Got"><part name="p" element="t:Got"/></message>
        <portType name="{name}"><operation name="{name}Get"><input message="t:{name}Get"/><output message="t:{name}Got"/></operation>
        <operation name="Version"><input message="t:{name}Get"/></operation></portType>"""

    def port(name: str, version: str) -> str:
        return f"""<service name="{name}{version}S"><port name="{name}{version}" binding="t:{name}{version}">
        <s:address xmlns:s="{WSDL[version]}" location="http://x/{name}"/></port></service>"""

    path = folder / "two.wsdl"
    path.write_text(
        f"""<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:t" targetNamespace="urn:t"><types>
        <xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:t"><xs:element name="Get"/><xs:element name="Got"/>
        </xs:schema></types>{described("catalog")}{described("sales")}{part("catalog", "1.2")}{part("catalog", "1.1")}{part("sales", "1.2")}
        {port("catalog", "1.2")}{port("catalog", "1.1")}{port("sales", "1.2")}</definitions>"""
    )
    return path


def test_all_services_of_a_file_are_one_system_each_through_its_first_binding(tmp_path: Path) -> None:
    contract = SoapContract("x", services(tmp_path))
    assert set(contract.operations()) == {"catalogGet", "salesGet", "Version"}
    found = {name: (o.version, o.interface) for name in contract.operations() for o in [contract.operation(name)]}
    assert found["catalogGet"] == ("1.1", "catalog")
    assert found["salesGet"] == ("1.2", "sales")
    assert "operation 'Version' of binding sales1.2 is hidden by that of catalog1.1; choose a binding" in str(contract.notes[0])
    chosen = SoapContract("x", services(tmp_path), binding="sales1.2")
    assert (set(chosen.operations()), chosen.operation("Version").interface) == ({"salesGet", "Version"}, "sales")


async def test_services_of_one_system_may_have_paths_of_their_own(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def serve(head: bytes, sent: bytes) -> tuple[int, str, bytes]:
        seen.append(head.split(b" ")[1])
        return (200, "text/xml", f'<s:Envelope xmlns:s="{SOAP["1.1"]}"><s:Body><t:Got xmlns:t="urn:t"/></s:Body></s:Envelope>'.encode())

    options = read(SoapOptions, {"operations": {"salesGet": {"path": "/ws/Sales?v=1"}}})
    async with scripted(serve) as url:
        connection = SoapConnection("x", load("x", services(tmp_path), options), url, options)
        await connection.start()
        for operation in ("catalogGet", "salesGet"):
            await connection.call(operation, {}, CALL, 5)
        await connection.close()
    assert seen == [b"/soap", b"/ws/Sales?v=1"]

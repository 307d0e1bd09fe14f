"""Types that stand in for another (xsi:type): read by name, chosen in requests, counted when nobody asked for them."""

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.soap.contract import SoapContract
from adapters.soap.envelope import EnvelopeWriter, Unwritable
from contracts.canonical.order import Order
from contracts.canonical.product import Product
from contracts.errors import Findings
from contracts.ports import ProductQuery
from mappings.language import CompiledMapping, ReadContext, load
from mappings.language.shape import Record
from tests.unit.adapters.soap.test_contract import described

XSI = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA = """
<xs:complexType name="Record" abstract="true"><xs:sequence><xs:element name="nullFields" type="xs:string" minOccurs="0"/>
</xs:sequence></xs:complexType>
<xs:complexType name="Item" abstract="true"><xs:complexContent><xs:extension base="t:Record"><xs:sequence>
  <xs:element name="itemId" type="xs:string"/><xs:element name="displayName" type="xs:string" minOccurs="0"/>
</xs:sequence><xs:attribute name="internalId" type="xs:string"/></xs:extension></xs:complexContent></xs:complexType>
<xs:complexType name="InventoryItem"><xs:complexContent><xs:extension base="t:Item"><xs:sequence>
  <xs:element name="upcCode" type="xs:string" minOccurs="0"/></xs:sequence></xs:extension></xs:complexContent></xs:complexType>
<xs:complexType name="LotItem"><xs:complexContent><xs:extension base="t:InventoryItem"><xs:sequence>
  <xs:element name="lot" type="xs:string" minOccurs="0"/></xs:sequence></xs:extension></xs:complexContent></xs:complexType>
<xs:complexType name="ServiceItem"><xs:complexContent><xs:extension base="t:Item"/></xs:complexContent></xs:complexType>
<xs:complexType name="Order"><xs:complexContent><xs:extension base="t:Record"><xs:sequence>
  <xs:element name="externalId" type="xs:string"/><xs:element name="memo" type="xs:string" minOccurs="0"/>
</xs:sequence></xs:extension></xs:complexContent></xs:complexType>
<xs:element name="Ask"><xs:complexType><xs:sequence>
  <xs:element name="record" type="t:Record" maxOccurs="unbounded"/><xs:element name="after" type="xs:string" minOccurs="0"/>
</xs:sequence></xs:complexType></xs:element>"""
READ = """
target = "Product"
source = "erp.Ask/record:InventoryItem"
[fields]
sku = "itemId"
base_unit = "'EA'"
active = "True"
name = "displayName | required | localized('de')"
[drops]
nullFields = "not ours"
internalId = "not ours"
upcCode = "not ours"
"root.after" = "no paging"
"""


@pytest.fixture
def contract(tmp_path: Path) -> SoapContract:
    return described(tmp_path, SCHEMA)


def compiled(contract: SoapContract, text: str) -> CompiledMapping:
    exchange = contract.exchange("Ask")
    given = type(exchange)(exchange.operation, exchange.request, exchange.request)  # what is asked stands for an answer here

    def shapes(name: str) -> Any:
        return {"erp.Ask": given}[name]

    return load(text, "m.toml", shapes, {"Product": Product, "Order": Order, "ProductQuery": ProductQuery})


def read(mapping: CompiledMapping, *records: str) -> tuple[list[Any], list[tuple[str, str, str]]]:
    drift: list[tuple[str, str, str]] = []
    context = ReadContext("erp", "Ask", drift=lambda *seen: drift.append(seen))
    document = f'<Ask xmlns="urn:t" xmlns:t="urn:t" xmlns:o="urn:other" xmlns:xsi="{XSI}">{"".join(records)}</Ask>'
    return list(mapping.read(etree.fromstring(document), context)), drift


def record(kind: str, inner: str) -> str:
    return f'<record xsi:type="{kind}">{inner}</record>' if kind else f"<record>{inner}</record>"


ITEM = "<itemId>A1</itemId><displayName>Hose</displayName>"


def test_a_type_shows_all_that_may_stand_in_for_it(contract: SoapContract) -> None:
    request = contract.exchange("Ask").request
    assert request is not None
    field = request.root.get("record:LotItem")
    assert field is not None
    assert isinstance(field.shape, Record)
    assert [f.name for f in field.shape.fields] == ["nullFields", "itemId", "displayName", "internalId", "upcCode", "lot"]
    base = request.root.get("record")
    assert base is not None
    assert isinstance(base.shape, Record)
    assert set(base.shape.derived) == {"Item", "InventoryItem", "LotItem", "ServiceItem", "Order"}
    assert request.root.get("record:Nothing") is None


@pytest.mark.parametrize(
    ("kind", "rows", "drift"),
    [
        ("t:InventoryItem", 1, []),
        ("InventoryItem", 1, []),  # the default namespace is meant
        ("o:InventoryItem", 1, []),  # the prefix is wrong and the name is not
        ("t:ServiceItem", 0, [("value", "record/@xsi:type", "ServiceItem")]),
        ("t:Strange", 0, [("value", "record/@xsi:type", "Strange")]),
        ("", 0, [("value", "record/@xsi:type", "")]),
    ],
)
def test_elements_of_the_type_are_read_and_others_are_counted(
    contract: SoapContract, kind: str, rows: int, drift: list[tuple[str, str, str]]
) -> None:
    assert [p.sku for p in read(compiled(contract, READ), record(kind, ITEM))[0]] == ["A1"] * rows
    assert read(compiled(contract, READ), record(kind, ITEM))[1] == drift


def test_a_type_derived_from_the_named_one_is_read_as_it_and_its_own_fields_are_drift(contract: SoapContract) -> None:
    products, drift = read(compiled(contract, READ), record("t:LotItem", ITEM + "<lot>7</lot>"))
    assert [p.sku for p in products] == ["A1"]
    assert drift == [("element", "record:InventoryItem/lot", "")]


def test_a_type_dropped_by_declaration_is_neither_read_nor_counted(contract: SoapContract) -> None:
    text = READ + '"root.record:ServiceItem" = "services are not sold in shops"\n'
    assert read(compiled(contract, text), record("t:ServiceItem", ITEM), record("t:InventoryItem", ITEM))[1] == []


def test_fields_of_types_that_no_rule_names_ask_for_no_drop_and_a_wrong_type_names_the_nearest(contract: SoapContract) -> None:
    with pytest.raises(Findings) as wrong:
        compiled(contract, READ.replace("record:InventoryItem", "record:InventryItem"))
    (finding,) = wrong.value.findings[:1]
    assert "InventryItem" in str(finding)
    assert "after" not in str(finding)
    with pytest.raises(Findings, match=r"source field upcCode is neither used nor dropped"):
        compiled(contract, READ.replace('upcCode = "not ours"', ""))


WRITE = """
source = "ProductQuery"
target = "erp.Ask"
[fields."record:Order"]
each = "skus"
externalId = "this"
"""


def test_a_request_chooses_the_type_by_the_fields_name(contract: SoapContract) -> None:
    mapping = compiled(contract, WRITE)
    document = mapping.write(ProductQuery(skus=("A", "B")), ReadContext("erp", "Ask"))
    assert document == {"record:Order": [{"externalId": "A"}, {"externalId": "B"}]}
    envelope = EnvelopeWriter(contract.operation("Ask"), contract.schemas).write(document)
    records = etree.fromstring(envelope).findall(".//{urn:t}record")
    assert [r.findtext("{urn:t}externalId") for r in records] == ["A", "B"]
    for each in records:
        prefix, _, local = each.get(f"{{{XSI}}}type", "").partition(":")
        assert (each.nsmap[prefix], local) == ("urn:t", "Order")


def test_what_stands_in_is_written_in_the_place_of_its_field(contract: SoapContract) -> None:
    writer = EnvelopeWriter(contract.operation("Ask"), contract.schemas)
    for _ in range(2):  # the second time the type is known already
        envelope = writer.write(
            {"after": "x", "record:Order": [{"externalId": "1"}], "record:LotItem": [{"itemId": "2", "internalId": "9"}]}
        )
        body = etree.fromstring(envelope)[0][0]
        assert [etree.QName(e).localname for e in body] == ["record", "record", "after"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"record": [{"nullFields": "x"}]}, "one of the types that stand in for record"),
        ({}, "a value"),
        ({"record:Ordr": []}, "did you mean record"),
        ({"record:Order": [{"memo": "x"}]}, "a value"),
    ],
)
def test_an_abstract_type_a_missing_and_an_unknown_one_cannot_be_written(
    contract: SoapContract, request_: dict[str, Any], says: str
) -> None:
    with pytest.raises(Unwritable) as refused:
        EnvelopeWriter(contract.operation("Ask"), contract.schemas).write(request_)
    assert says in f"{refused.value.expected} {refused.value.got}"


def test_two_types_of_one_name_are_told_apart_by_namespace(tmp_path: Path) -> None:
    other = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" xmlns:o="urn:o" targetNamespace="urn:o">
    <xs:import namespace="urn:t"/><xs:complexType name="Item"><xs:complexContent><xs:extension base="t:Base"/></xs:complexContent>
    </xs:complexType></xs:schema>"""
    contract = described(
        tmp_path,
        """<xs:import namespace="urn:o" schemaLocation="o.xsd"/><xs:complexType name="Base"/>
        <xs:complexType name="Item"><xs:complexContent><xs:extension base="t:Base"/></xs:complexContent></xs:complexType>
        <xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="r" type="t:Base"/>
        </xs:sequence></xs:complexType></xs:element>""",
        o_xsd=other,
    )
    request = contract.exchange("Ask").request
    assert request is not None
    field = request.root.get("r")
    assert field is not None
    assert isinstance(field.shape, Record)
    assert {name: shape.xsi_type for name, shape in field.shape.derived.items()} == {"Item": "{urn:t}Item", "{urn:o}Item": "{urn:o}Item"}


def test_hundreds_of_types_cost_only_those_that_are_named(tmp_path: Path) -> None:
    kinds = "".join(
        f'<xs:complexType name="K{n}"><xs:complexContent><xs:extension base="t:Record"><xs:sequence><xs:element name="f{n}" type="xs:int"/>'
        f"</xs:sequence></xs:extension></xs:complexContent></xs:complexType>"
        for n in range(600)
    )
    contract = described(tmp_path, SCHEMA + kinds)
    writer = EnvelopeWriter(contract.operation("Ask"), contract.schemas)
    assert b"K577" in writer.write({"record:K577": [{"f577": 1}]})
    assert len(writer._records) < 10  # of more than 600


OTHER = """
<xs:attributeGroup name="Common"><xs:attribute name="version" type="xs:string" use="required" fixed="2.1"/>
<xs:attribute name="unit" type="xs:string" default="EA"/></xs:attributeGroup>
<xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="kind" type="xs:string" fixed="SHOP"/>
<xs:element name="sku" type="xs:string" maxOccurs="unbounded"/><xs:any minOccurs="0" processContents="lax"/></xs:sequence>
<xs:attributeGroup ref="t:Common"/></xs:complexType></xs:element>"""


def test_what_the_contract_fixes_is_written_by_itself_and_a_default_is_read_where_nothing_is_said(tmp_path: Path) -> None:
    contract = described(tmp_path, OTHER)
    envelope = EnvelopeWriter(contract.operation("Ask"), contract.schemas).write({"sku": ["1"]})
    asked = etree.fromstring(envelope)[0][0]
    assert (asked.get("version"), asked.get("unit"), asked.findtext("{urn:t}kind")) == ("2.1", None, "SHOP")
    mapping = compiled(
        contract,
        """
        target = "Product"
        source = "erp.Ask"
        [fields]
        sku = "sku | first | required"
        base_unit = "unit | enum(EA='EA', KG='KGM', otherwise=refuse)"
        name = "kind | localized('en')"
        active = true
        [drops]
        version = "always the same"
        """,
    )
    drift: list[tuple[str, str, str]] = []
    context = ReadContext("erp", "Ask", drift=lambda *seen: drift.append(seen))
    document = etree.fromstring('<Ask xmlns="urn:t"><kind>SHOP</kind><sku>7</sku><x:extra xmlns:x="urn:x"><x:b/></x:extra></Ask>')
    (product,) = mapping.read(document, context)
    assert (product.sku, product.base_unit) == ("7", "EA")
    assert drift == [("element", "extra", "")]

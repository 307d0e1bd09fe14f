import time
import warnings
from pathlib import Path
from typing import Any, cast

import pytest
import zeep

from adapters.soap.contract import SoapContract
from contracts.errors import Findings
from mappings.language.shape import TEXT, Field, Leaf, Record

XSD = "http://www.w3.org/2001/XMLSchema"


def described(folder: Path, schema: str, *, file: str = "a.wsdl", **extra: str) -> SoapContract:
    """A contract with one document/literal operation Ask, whose request is the element `Ask` of the given schema text."""
    for name, text in extra.items():
        (folder / name.replace("_", ".")).write_text(text)
    (folder / file).write_text(
        f"""<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:t="urn:t"
        xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:enc="http://schemas.xmlsoap.org/soap/encoding/" targetNamespace="urn:t">
        <types><xs:schema xmlns:xs="{XSD}" targetNamespace="urn:t" elementFormDefault="qualified">{schema}</xs:schema></types>
        <message name="Ask"><part name="p" element="t:Ask"/></message>
        <portType name="P"><operation name="Ask"><documentation>Ask  it.</documentation><input message="t:Ask"/></operation></portType>
        <binding name="B" type="t:P"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
        <operation name="Ask"><soap:operation soapAction="urn:ask"/><input><soap:body use="literal"/></input></operation></binding>
        <service name="S"><port name="Main" binding="t:B"><soap:address location="http://example.test/s"/></port></service></definitions>"""
    )
    return SoapContract("erp", folder / file)


def ask(contract: SoapContract) -> Record:
    request = contract.exchange("Ask").request
    assert request is not None
    return request.root


def at(record: Record, path: str) -> Field:
    *above, last = path.split(".")
    for name in above:
        shape = at(record, name).shape
        assert isinstance(shape, Record)
        record = shape
    field = record.get(last)
    assert field is not None, [f.name for f in record.fields]
    return field


def test_the_erp_contract_keeps_lengths_digits_values_and_documentation(wsdl: Path) -> None:
    contract = SoapContract("erp", wsdl)
    exchange = contract.exchange("GetStock")
    assert exchange.request is not None
    assert exchange.answer is not None
    matnr = at(exchange.request.root, "T_REQ.item.MATNR")
    assert matnr.shape == Leaf("string", max_length=18, pattern=r"[0-9A-Z\-]{1,18}")
    assert matnr.doc.startswith("Material number, 18 characters.")
    assert at(exchange.answer.root, "T_STOCK.item.LABST").shape == Leaf("decimal", digits=(13, 3))
    assert at(exchange.answer.root, "T_STOCK.item.MEINS").shape == Leaf("string", enum=("ST", "KG"))
    item = at(exchange.answer.root, "T_STOCK.item")
    assert (item.repeated, item.required, item.namespace) == (True, False, None)
    assert exchange.answer.name == "erp.GetStock"
    assert exchange.answer.source == "retail.wsdl"
    operation = contract.operation("GetStock")
    assert operation.action.endswith(":GetStockRequest")
    assert [name for _, name in operation.headers] == ["SessionHeader"]
    assert contract.notes == ()


@pytest.mark.parametrize("name", ["GetStok", "Xyz"])
def test_an_unknown_operation_names_the_nearest(wsdl: Path, name: str) -> None:
    with pytest.raises(KeyError, match="did you mean 'GetStock'" if name == "GetStok" else "it has Login"):
        SoapContract("erp", wsdl).exchange(name)


@pytest.mark.slow
def test_every_sample_loads_and_describes_all_its_operations(samples: Path) -> None:
    files = sorted((samples / "wsdl").rglob("*.wsdl"))
    assert len(files) >= 15
    for file in files:
        started = time.perf_counter()
        contract = SoapContract("x", file)
        assert time.perf_counter() - started < 2, file.name
        for name in contract.operations()[:300]:
            exchange = contract.exchange(name)
            assert exchange.request is not None, f"{file.name}: {name}"
        declared = b"operation" in file.read_bytes()
        assert bool(contract.operations()) == declared, file.name
        odd = "; ".join(str(note) for note in contract.notes[:3])
        print(f"{file.name}: {len(contract.operations())} operations{': ' + odd if odd else ''}")  # noqa: T201  # the report


@pytest.mark.parametrize(
    "file",
    [
        "shop-document-literal.wsdl",
        "nodesoap-list_parameter.wsdl",
        "zeep-claim.wsdl",
        "zeep-soap_header.wsdl",
        "epcis/EPCglobal-epcis-query-1_2.wsdl",
    ],
)
def test_operations_and_top_fields_agree_with_what_zeep_reads(samples: Path, file: str) -> None:
    path, untyped = samples / "wsdl" / file, cast("Any", zeep)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = untyped.wsdl.Document(str(path), untyped.Transport())
    contract = SoapContract("x", path)
    binding: Any = next(b for b in theirs.bindings.values() if set(b._operations) == set(contract.operations()))
    for name, operation in binding._operations.items():
        request = contract.exchange(name).request
        assert request is not None
        expected = [n for n, _ in getattr(operation.input.body and operation.input.body.type, "elements", [])]
        ours = [f.name for f in request.root.fields if not f.attribute]
        assert [n for n in expected if not n.startswith("_value")] == [n for n in ours if n != TEXT], name


def test_a_recursive_type_contains_itself(samples: Path) -> None:
    answer = SoapContract("x", samples / "wsdl/nodesoap-self_referencing.wsdl").exchange("GetNodes").answer
    assert answer is not None
    node = at(answer.root, "GetNodesResult").shape
    assert isinstance(node, Record)
    assert at(node, "Children.Node").shape is node


def test_arrays_of_the_soap_encoding_are_lists_of_their_item_type(samples: Path) -> None:
    answer = SoapContract("x", samples / "wsdl/shop-rpc-encoded.wsdl").exchange("catalogInventoryStockItemList").answer
    assert answer is not None
    assert at(answer.root, "result.item").repeated
    assert at(answer.root, "result.item.qty").shape == Leaf("string")


def test_an_extension_of_a_type_that_contains_it_has_all_fields_of_its_base(tmp_path: Path) -> None:
    contract = described(
        tmp_path,
        """<xs:complexType name="Base"><xs:sequence><xs:element name="more" type="t:Derived" minOccurs="0"/>
        <xs:element name="a" type="xs:int"/>
        </xs:sequence></xs:complexType>
        <xs:complexType name="Derived"><xs:complexContent><xs:extension base="t:Base"><xs:sequence>
        <xs:element name="b" type="xs:string"/>
        </xs:sequence></xs:extension></xs:complexContent></xs:complexType><xs:element name="Ask" type="t:Base"/>""",
    )
    derived = at(ask(contract), "more").shape
    assert isinstance(derived, Record)
    assert [f.name for f in derived.fields] == ["more", "a", "b"]


def test_facets_of_all_kinds_are_kept_through_a_chain_of_restrictions(tmp_path: Path) -> None:
    contract = described(
        tmp_path,
        """<xs:simpleType name="A"><xs:restriction base="xs:string"><xs:minLength value="1"/><xs:maxLength value="9"/>
        </xs:restriction></xs:simpleType>
        <xs:simpleType name="B"><xs:restriction base="t:A"><xs:pattern value="x+"/><xs:pattern value="y+"/></xs:restriction></xs:simpleType>
        <xs:simpleType name="U"><xs:union memberTypes="xs:int xs:integer"/></xs:simpleType>
        <xs:element name="Ask"><xs:complexType><xs:sequence>
          <xs:element name="b" type="t:B"/><xs:element name="u" type="t:U"/>
          <xs:element name="n"><xs:simpleType><xs:restriction base="xs:int"><xs:minExclusive value="0"/><xs:maxInclusive value="9"/>
          </xs:restriction></xs:simpleType></xs:element>
          <xs:element name="d"><xs:simpleType><xs:restriction base="xs:decimal"><xs:totalDigits value="7"/><xs:fractionDigits value="2"/>
          </xs:restriction></xs:simpleType></xs:element>
          <xs:element name="l"><xs:simpleType><xs:list itemType="xs:int"/></xs:simpleType></xs:element>
          <xs:choice><xs:element name="x" type="xs:date"/><xs:element name="y" type="xs:dateTime" nillable="true"/></xs:choice>
          <xs:any/></xs:sequence><xs:attribute name="id" use="required" type="xs:ID"/></xs:complexType></xs:element>""",
    )
    record = ask(contract)
    assert at(record, "b").shape == Leaf("string", min_length=1, max_length=9, pattern="(x+)|(y+)")
    assert at(record, "u").shape == Leaf("integer")
    assert at(record, "n").shape == Leaf("integer", minimum="1", maximum="9")
    assert at(record, "d").shape == Leaf("decimal", digits=(7, 2))
    assert at(record, "l").shape == Leaf("string")
    assert (at(record, "x").required, at(record, "y").nillable, record.open) == (False, True, True)
    assert (at(record, "id").attribute, at(record, "id").required, at(record, "id").namespace) == (True, True, None)
    assert at(record, "b").namespace == "urn:t"
    assert contract.operation("Ask").doc == "Ask it."


def test_text_with_attributes_groups_references_and_substitutes_are_described(tmp_path: Path) -> None:
    contract = described(
        tmp_path,
        """<xs:complexType name="Amount"><xs:simpleContent><xs:extension base="xs:decimal"><xs:attribute name="cur"/></xs:extension>
        </xs:simpleContent></xs:complexType>
        <xs:group name="G"><xs:sequence><xs:element name="g" type="xs:int"/></xs:sequence></xs:group>
        <xs:attributeGroup name="AG"><xs:attribute name="ag"/></xs:attributeGroup>
        <xs:element name="head" abstract="true" type="xs:string"/><xs:element name="one" substitutionGroup="t:head"/>
        <xs:element name="two" substitutionGroup="t:head" type="xs:int"/>
        <xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="amount" type="t:Amount"/><xs:group ref="t:G" minOccurs="0"/>
        <xs:element ref="t:head"/></xs:sequence><xs:attributeGroup ref="t:AG"/></xs:complexType></xs:element>""",
    )
    record = ask(contract)
    assert at(record, f"amount.{TEXT}").shape == Leaf("decimal")
    assert at(record, "amount.cur").attribute
    assert [(f.name, f.required) for f in record.fields] == [("amount", True), ("g", False), ("one", False), ("two", False), ("ag", False)]
    assert at(record, "one").shape == Leaf("string")


def test_imports_are_read_from_the_folder_and_what_is_missing_is_noted_with_its_place(tmp_path: Path) -> None:
    contract = described(
        tmp_path,
        """<xs:include schemaLocation="http://example.test/deep/part.xsd?v=1"/><xs:import namespace="urn:gone" schemaLocation="gone.xsd"/>
        <xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="a" type="t:Part"/><xs:element name="b" type="t:Nowhere"/>
        </xs:sequence></xs:complexType></xs:element>""",
        part_xsd=f'<xs:schema xmlns:xs="{XSD}"><xs:simpleType name="Part"><xs:restriction base="xs:int"/></xs:simpleType></xs:schema>',
    )
    record = ask(contract)
    assert isinstance(leaf := at(record, "a").shape, Leaf)
    assert leaf.kind == "integer"
    assert at(record, "b").shape == Leaf("any")
    notes = [str(note) for note in contract.notes]
    assert any("a.wsdl:3: import of 'gone.xsd', which is not in the contract folder" in note for note in notes)
    assert any("type 'Nowhere' of namespace 'urn:t' is not in the contract" in note for note in notes)


@pytest.mark.parametrize(
    "location", ["../secret.xsd", "/etc/passwd", "file:///etc/passwd", "http://example.test/x.xsd", "ftp://x/y", "a\0b"]
)
def test_an_import_never_leaves_the_folder_or_the_machine(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.xsd").write_text("outside")
    folder = tmp_path / "contract"
    folder.mkdir()
    location = location.replace("\0", "&#127;")
    contract = described(folder, f'<xs:import namespace="urn:x" schemaLocation="{location}"/><xs:element name="Ask"/>')
    assert "not in the contract folder" in str(contract.notes[0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<a", "not well-formed"),
        ("", "not well-formed"),
        ("<html/>", "not a WSDL 1.1 document"),
        ('<description xmlns="http://www.w3.org/ns/wsdl"/>', "ask for its WSDL 1.1 form"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "DOCTYPE"),
        ("<a>" * 300 + "</a>" * 300, "not well-formed"),
    ],
)
def test_a_file_that_is_no_wsdl_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.wsdl").write_text(text)
    with pytest.raises(Findings, match=reason):
        SoapContract("erp", tmp_path / "a.wsdl")


def test_a_missing_file_and_a_wrong_port_are_findings(tmp_path: Path, wsdl: Path) -> None:
    with pytest.raises(Findings, match="cannot be read"):
        SoapContract("erp", tmp_path / "none.wsdl")
    with pytest.raises(Findings, match="port RETAIL_API of binding RETAIL_API_SOAP"):
        SoapContract("erp", wsdl, port="Other")


def test_types_that_are_defined_by_themselves_or_unfold_without_end_do_not_hang(tmp_path: Path) -> None:
    doubling = "".join(
        f'<xs:group name="g{n}"><xs:sequence><xs:group ref="t:g{n + 1}"/><xs:group ref="t:g{n + 1}"/></xs:sequence></xs:group>'
        for n in range(40)
    )
    chain = "".join(f'<xs:simpleType name="s{n}"><xs:restriction base="t:s{n + 1}"/></xs:simpleType>' for n in range(3000))
    contract = described(
        tmp_path,
        f"""{doubling}<xs:group name="g40"><xs:sequence><xs:element name="x" type="xs:int"/></xs:sequence></xs:group>{chain}
        <xs:simpleType name="me"><xs:restriction base="t:me"/></xs:simpleType>
        <xs:group name="self"><xs:sequence><xs:group ref="t:self"/></xs:sequence></xs:group>
        <xs:complexType name="A"><xs:complexContent><xs:extension base="t:B"/></xs:complexContent></xs:complexType>
        <xs:complexType name="B"><xs:complexContent><xs:extension base="t:A"/></xs:complexContent></xs:complexType>
        <xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="me" type="t:me"/><xs:group ref="t:self"/>
        <xs:element name="a" type="t:A"/><xs:group ref="t:g0"/></xs:sequence></xs:complexType></xs:element>
        <xs:element name="Deep" type="t:s0"/>""",
    )
    started = time.perf_counter()
    assert [f.name for f in ask(contract).fields] == ["me", "a", "x"]
    assert time.perf_counter() - started < 5
    assert any("unfold" in str(n) for n in contract.notes)

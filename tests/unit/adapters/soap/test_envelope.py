"""Envelopes against other people's judgement: libxml2's schema validation, and recorded requests of a real client."""

from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.soap.contract import SoapContract
from adapters.soap.envelope import EnvelopeWriter, Unwritable
from mappings.language.shape import TEXT, Leaf, Record
from tests.unit.adapters.soap.test_contract import described

SOAP11 = "{http://schemas.xmlsoap.org/soap/envelope/}"
XSD = "{http://www.w3.org/2001/XMLSchema}"


def writer(contract: SoapContract, operation: str = "Ask") -> EnvelopeWriter:
    return EnvelopeWriter(contract.operation(operation), contract.schemas)


def payload(document: bytes) -> etree._Element:
    body = etree.fromstring(document).find(f"{SOAP11}Body")
    assert body is not None
    return body[0]


def invented(shape: Leaf | Record, *, full: bool, depth: int = 0) -> Any:
    """Some value that the shape allows: all fields, or only those that are required."""
    if isinstance(shape, Leaf):
        if shape.enum:
            return shape.enum[-1]
        plain: dict[str, Any] = {
            "integer": int(shape.minimum or 1) or 1,
            "decimal": Decimal("1.5") if not shape.digits or shape.digits[1] else Decimal(1),
            "boolean": True,
            "date": date(2026, 11, 22),
            "datetime": datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
            "time": "01:02:03",
            "binary": b"\0\xff",
            "any": "x",
        }
        letters = shape.pattern is not None and "0-9" not in shape.pattern
        return plain.get(shape.kind, ("A" if letters else "1") * min(shape.max_length or 8, 18))
    value = {}
    for f in shape.fields:
        if f.required or (full and depth < 4):
            inner = invented(f.shape, full=full, depth=depth + 1)
            value[f.name] = [inner, inner] if f.repeated else inner
    return value


def validator(contract: SoapContract, wsdl: Path) -> etree.XMLSchema:
    schemas = etree.parse(str(wsdl)).getroot().iter(f"{XSD}schema")
    namespace = next(op.request.element[0] for n in contract.operations() if (op := contract.operation(n)).request.element)
    node = next(s for s in schemas if s.get("targetNamespace") == namespace)
    return etree.XMLSchema(etree.fromstring(etree.tostring(node)))


@pytest.mark.parametrize("full", [True, False], ids=["all fields", "required fields"])
@pytest.mark.parametrize(
    "file",
    ["retail.wsdl", "shop-document-literal.wsdl", "e-conomic-erp.wsdl", "nodesoap-self_referencing.wsdl", "nodesoap-list_parameter.wsdl"],
)
def test_what_is_written_is_valid_to_libxml2(samples: Path, wsdl: Path, file: str, full: bool) -> None:
    path = wsdl if file == "retail.wsdl" else samples / "wsdl" / file
    contract = SoapContract("x", path)
    schema = validator(contract, path)
    for name in contract.operations()[:150]:
        document = writer(contract, name).write(invented(contract.operation(name).request.record, full=full))
        if contract.operation(name).request.element is not None:
            schema.assertValid(payload(document))


def strip(element: etree._Element) -> Any:
    """Names, texts and order, without prefixes, types and blanks."""
    return (element.tag, (element.text or "").strip(), [strip(child) for child in element])


def asked(element: etree._Element, shape: Record) -> dict[str, Any]:
    """The request document that an element says, by its shape."""
    value: dict[str, Any] = {}
    for child in element:
        field = shape.get(etree.QName(child).localname)
        assert field is not None
        inner = asked(child, field.shape) if isinstance(field.shape, Record) else (child.text or "")
        value[field.name] = [*value.get(field.name, []), inner] if field.repeated else inner
    return value


@pytest.mark.parametrize("dialect", ["shop-rpc-encoded.wsdl", "shop-document-literal.wsdl"])
def test_recorded_requests_of_a_real_client_are_written_alike(samples: Path, dialect: str) -> None:
    contract = SoapContract("shop", samples / "wsdl" / dialect)
    prefix, seen = "wsi-" if "literal" in dialect else "", 0
    for file in sorted((samples / "soap-exchanges").glob("*-sent.xml")):
        if file.name.startswith("wsi-") != bool(prefix):
            continue
        theirs = payload(file.read_bytes())
        name = etree.QName(theirs).localname
        operation = next(
            op for n in contract.operations() if (op := contract.operation(n)).request.element == (etree.QName(theirs).namespace, name)
        )
        ours = payload(EnvelopeWriter(operation, contract.schemas).write(asked(theirs, operation.request.record)))
        assert strip(ours) == strip(theirs), file.name
        seen += 1
    assert seen >= 10


def test_an_encoded_request_says_its_types_and_the_size_of_its_arrays(samples: Path) -> None:
    contract = SoapContract("shop", samples / "wsdl/shop-rpc-encoded.wsdl")
    document = writer(contract, "catalogInventoryStockItemList").write({"sessionId": "s", "products": {"item": ["a", "b"]}})
    asked = payload(document)
    products = asked.find("products")
    assert products is not None
    kind = products.get("{http://schemas.xmlsoap.org/soap/encoding/}arrayType")
    prefix, _, local = str(kind).partition(":")
    assert (products.nsmap[prefix], local) == ("http://www.w3.org/2001/XMLSchema", "string[2]")
    assert asked.get(f"{SOAP11}encodingStyle") == "http://schemas.xmlsoap.org/soap/encoding/"
    assert str(asked[0].get("{http://www.w3.org/2001/XMLSchema-instance}type")).endswith(":string")


FIELDS = """<xs:simpleType name="c3"><xs:restriction base="xs:string"><xs:maxLength value="3"/></xs:restriction></xs:simpleType>
  <xs:simpleType name="d"><xs:restriction base="xs:decimal"><xs:totalDigits value="5"/>
  <xs:fractionDigits value="2"/></xs:restriction></xs:simpleType>
  <xs:simpleType name="e"><xs:restriction base="xs:string"><xs:enumeration value="A"/>
  <xs:enumeration value="B"/></xs:restriction></xs:simpleType>
  <xs:complexType name="Money"><xs:simpleContent><xs:extension base="xs:decimal"><xs:attribute name="cur" use="required"/></xs:extension>
  </xs:simpleContent></xs:complexType>
  <xs:element name="Ask"><xs:complexType><xs:sequence>
    <xs:element name="text" type="xs:string" minOccurs="0"/><xs:element name="code" type="t:c3" minOccurs="0"/>
    <xs:element name="dec" type="t:d" minOccurs="0"/><xs:element name="kind" type="t:e" minOccurs="0"/>
    <xs:element name="int" type="xs:int" minOccurs="0"/><xs:element name="money" type="t:Money" minOccurs="0"/>
    <xs:element name="nil" type="xs:string" nillable="true"/><xs:element name="row" minOccurs="0" maxOccurs="unbounded"><xs:complexType>
    <xs:sequence><xs:element name="must" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
  </xs:sequence></xs:complexType></xs:element>"""


@pytest.fixture
def ask(tmp_path: Path) -> EnvelopeWriter:
    return writer(described(tmp_path, FIELDS))


def test_missing_empty_and_nil_are_three_different_things(ask: EnvelopeWriter) -> None:
    names = "{urn:t}"
    element = payload(ask.write({"nil": None, "text": ""}))
    assert [(c.tag, c.text, dict(c.attrib)) for c in element] == [
        (names + "text", None, {}),
        (names + "nil", None, {"{http://www.w3.org/2001/XMLSchema-instance}nil": "true"}),
    ]


@pytest.mark.parametrize("text", ["a & b < c > d", '"quoted" \'', "line\nand\r\ntab\t", "äöü €", "𝄞", "]]>", "<!--x-->", "&amp;"])
def test_any_text_comes_back_as_it_was(ask: EnvelopeWriter, text: str) -> None:
    element = payload(ask.write({"nil": text, "money": {TEXT: Decimal("1.50"), "cur": text}}))
    assert element.findtext("{urn:t}nil") == text
    money = element.find("{urn:t}money")
    assert money is not None
    assert (money.get("cur"), money.text) == (text, "1.50")


def test_values_are_written_in_their_lexical_form(ask: EnvelopeWriter) -> None:
    element = payload(ask.write({"nil": True, "int": Decimal("12.00"), "dec": Decimal("1E+2"), "text": date(2026, 1, 2)}))
    assert [c.text for c in element] == ["2026-01-02", "100", "12", "true"]


@pytest.mark.parametrize(
    ("request_", "where", "expected", "fits"),
    [
        ({}, "nil", "a value", False),
        ({"nil": "x", "code": "abcd"}, "code", "at most 3 characters", True),
        ({"nil": "x", "kind": "C"}, "kind", "one of A, B", True),
        ({"nil": "x", "dec": Decimal("1.234")}, "dec", "at most 5 digits, 2 of them decimals", True),
        ({"nil": "x", "dec": Decimal(123456)}, "dec", "at most 5 digits, 2 of them decimals", True),
        ({"nil": "x", "dec": Decimal("NaN")}, "dec", "a finite number", True),
        ({"nil": "x", "dec": Decimal("1E+1000000")}, "dec", "a finite number", True),
        ({"nil": "x", "int": Decimal("1.5")}, "int", "a whole number", True),
        ({"nil": "x", "text": "a\x00b"}, "text", "characters that XML can carry", True),
        ({"nil": "x", "text": "\ud800"}, "text", "characters that XML can carry", True),
        ({"nil": "x", "text": {"a": 1}}, "text", "a single value (string)", False),
        ({"nil": "x", "text": 1.5}, "text", "a single value (string)", False),
        ({"nil": "x", "row": {"must": "x"}}, "row", "a list", False),
        ({"nil": "x", "row": [{"must": "x"}, {}]}, "row[1].must", "a value", False),
        ({"nil": "x", "row": ["x"]}, "row[0]", "a table with must", False),
        ({"nil": "x", "money": {TEXT: 1}}, "money.cur", "a value", False),
        ({"nil": "x", "mony": 1}, "the request", "only code, dec, int, kind, money, nil, row, text", False),
    ],
)
def test_a_request_that_the_contract_does_not_allow_is_named_with_its_place(
    ask: EnvelopeWriter, request_: dict[str, Any], where: str, expected: str, fits: bool
) -> None:
    before = deepcopy(request_)
    with pytest.raises(Unwritable) as caught:
        ask.write(request_)
    assert (caught.value.where, caught.value.expected, caught.value.fits) == (where, expected, fits)
    assert str(request_) == str(before)


def test_a_misspelt_field_names_the_nearest(ask: EnvelopeWriter) -> None:
    with pytest.raises(Unwritable) as caught:
        ask.write({"nil": "x", "mony": 1})
    assert caught.value.got == "'mony' (did you mean money?)"

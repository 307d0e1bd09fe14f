"""Contracts in several files: found offline by name, by namespace, or not at all; redefined, declared twice, looped."""

from pathlib import Path

import pytest

from adapters.soap.contract import SoapContract
from mappings.language.shape import Leaf, Record
from tests.unit.adapters.soap.test_contract import ask, at, described

XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
ITEM = (
    '<xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="a" type="o:Code"/></xs:sequence></xs:complexType></xs:element>'
)


def schema(inner: str, namespace: str = "urn:o", more: str = "") -> str:
    target = f'targetNamespace="{namespace}"' if namespace else ""
    return f'<xs:schema {XS} xmlns:o="urn:o" xmlns:t="urn:t" {target} {more}>{inner}</xs:schema>'


def code(length: int) -> str:
    restriction = f'<xs:restriction base="xs:string"><xs:maxLength value="{length}"/></xs:restriction>'
    return f'<xs:simpleType name="Code">{restriction}</xs:simpleType>'


def importing(folder: Path, location: str, **files: str) -> SoapContract:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_xsd", ".xsd")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    where = f'schemaLocation="{location}"' if location else ""
    return described(folder, f'<xs:import namespace="urn:o" {where}/>{ITEM}'.replace("o:Code", 'o:Code" xmlns:o="urn:o'))


@pytest.mark.parametrize(
    ("location", "file"),
    [
        ("other.xsd", "other_xsd"),
        ("http://erp.example/v1/other.xsd", "other_xsd"),
        ("http://erp.example/Service.svc?xsd=xsd3", "xsd3_xsd"),
        ("http://erp.example/v1/other.xsd", "deep__er__other_xsd"),
        ("../gone/other.xsd", "deep__other_xsd"),
        ("http://erp.example/Service.svc?xsd=9", "types_xsd"),  # nothing but the namespace says which
        ("", "anything_xsd"),
    ],
)
def test_an_import_is_found_in_the_contract_folder_whatever_it_says(tmp_path: Path, location: str, file: str) -> None:
    contract = importing(tmp_path, location, **{file: schema(code(7))})
    assert at(ask(contract), "a").shape == Leaf("string", max_length=7)
    assert contract.notes == ()


def test_of_two_files_of_one_name_the_one_with_the_folders_of_the_address_counts(tmp_path: Path) -> None:
    contract = importing(
        tmp_path, "http://erp.example/v2/core/types.xsd", v1__core__types_xsd=schema(code(1)), v2__core__types_xsd=schema(code(2))
    )
    assert at(ask(contract), "a").shape == Leaf("string", max_length=2)


def test_an_import_that_no_file_answers_is_noted_with_its_line_and_its_types_are_any(tmp_path: Path) -> None:
    contract = importing(tmp_path, "http://erp.example/other.xsd", wrong_xsd=schema(code(1), "urn:else"))
    assert at(ask(contract), "a").shape == Leaf("any")
    notes = [str(note) for note in contract.notes]
    assert any("a.wsdl:3: import of 'http://erp.example/other.xsd', which is not in the contract folder" in n for n in notes), notes


def test_a_namespace_that_another_schema_of_the_file_has_needs_no_import(tmp_path: Path) -> None:
    contract = described(tmp_path, '<xs:import namespace="urn:t"/><xs:element name="Ask" type="xs:string"/>')
    contract.exchange("Ask")
    assert contract.notes == ()


def test_imports_that_lead_back_to_themselves_end(tmp_path: Path) -> None:
    there = schema('<xs:import namespace="urn:t" schemaLocation="b.xsd"/>' + code(3))
    back = schema('<xs:import namespace="urn:o" schemaLocation="other.xsd"/><xs:include schemaLocation="b.xsd"/>', "urn:t")
    assert at(ask(importing(tmp_path, "other.xsd", other_xsd=there, b_xsd=back)), "a").shape == Leaf("string", max_length=3)


def test_a_redefined_type_extends_the_former_one_and_a_redefined_group_holds_it(tmp_path: Path) -> None:
    (tmp_path / "base.xsd").write_text(
        schema(
            """<xs:complexType name="T"><xs:sequence><xs:element name="a" type="xs:int"/></xs:sequence></xs:complexType>
            <xs:group name="G"><xs:sequence><xs:element name="g" type="xs:int"/></xs:sequence></xs:group>
            <xs:simpleType name="S"><xs:restriction base="xs:string"><xs:maxLength value="9"/></xs:restriction></xs:simpleType>""",
            "urn:t",
        )
    )
    contract = described(
        tmp_path,
        """<xs:redefine schemaLocation="base.xsd">
        <xs:complexType name="T"><xs:complexContent><xs:extension base="t:T"><xs:sequence><xs:element name="b" type="t:S"/></xs:sequence>
        </xs:extension></xs:complexContent></xs:complexType>
        <xs:group name="G"><xs:sequence><xs:group ref="t:G"/><xs:element name="h" type="xs:int"/></xs:sequence></xs:group>
        <xs:simpleType name="S"><xs:restriction base="t:S"><xs:minLength value="2"/></xs:restriction></xs:simpleType></xs:redefine>
        <xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="t" type="t:T"/><xs:group ref="t:G"/></xs:sequence>
        </xs:complexType></xs:element>""",
    )
    record = ask(contract)
    inner = at(record, "t").shape
    assert isinstance(inner, Record)
    assert [f.name for f in inner.fields] == ["a", "b"]
    assert at(record, "t.b").shape == Leaf("string", max_length=9, min_length=2)
    assert [f.name for f in record.fields] == ["t", "g", "h"]
    assert contract.notes == ()


def test_an_element_declared_twice_differently_is_noted_with_both_lines(tmp_path: Path) -> None:
    contract = described(tmp_path, '<xs:element name="Ask" type="xs:int"/>\n<xs:element name="Ask" type="xs:date"/>')
    assert [str(n) for n in contract.notes] == ["a.wsdl:4: element 'Ask' is declared twice, differently; the one in line 3 counts"]
    (tmp_path / "same").mkdir()
    same = described(tmp_path / "same", '<xs:element name="Ask" type="xs:int"/><xs:element name="Ask" type="xs:int"/>')
    assert same.notes == ()


def test_a_chameleon_takes_the_namespace_of_each_that_includes_it(tmp_path: Path) -> None:
    (tmp_path / "common.xsd").write_text(schema(code(4), ""))
    other = schema('<xs:include schemaLocation="common.xsd"/>')
    contract = importing(tmp_path, "other.xsd", other_xsd=other)
    assert at(ask(contract), "a").shape == Leaf("string", max_length=4)


@pytest.mark.parametrize("location", ["/etc/passwd", "file:///etc/passwd", "../../secret.xsd", "\0", "http://[", "x" * 5000])
def test_a_location_outside_or_impossible_is_never_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.xsd").write_text(schema(code(1)))
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    if "\0" in location:
        location = "%00"
    contract = importing(folder, location)
    assert at(ask(contract), "a").shape == Leaf("any")


def test_thousands_of_types_that_derive_from_each_other_are_bounded(tmp_path: Path) -> None:
    kinds = "".join(
        f'<xs:complexType name="K{n}"><xs:complexContent><xs:extension base="t:K{n - 1}"/></xs:complexContent></xs:complexType>'
        for n in range(1, 3000)
    )
    text = f'<xs:complexType name="K0"/>{kinds}<xs:element name="Ask"><xs:complexType><xs:sequence><xs:element name="k" type="t:K0"/>'
    contract = described(tmp_path, text + "</xs:sequence></xs:complexType></xs:element>")
    field = at(ask(contract), "k")
    assert isinstance(field.shape, Record)
    assert len(field.shape.derived) == 1999
    assert "more than 2000 types" in str(contract.notes[0])

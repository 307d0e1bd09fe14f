"""Contracts that change, one change at a time: what is found, and that the patch applies to the estate and its check passes again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.errors import Findings
from gateway.bootstrap import Checked, check
from gateway.bootstrap.changing import Study, study, system_of, unified

ROOT = Path(__file__).resolve().parents[4]
Edit = Callable[[str], str]


@pytest.fixture(scope="module")
def checked() -> Checked:
    return check(ROOT)


@dataclass(frozen=True)
class Change:
    """`breaks`: part of a finding, empty for a change that breaks nothing. `tells`: part of what is silent, possible or to be decided.
    `after`: part of the patched text of the mapping. `left`: the patch does not make the check pass.
    """

    name: str
    edit: Edit
    breaks: str = ""
    tells: str = ""
    after: str = ""
    left: bool = False


def swap(*pairs: tuple[str, str]) -> Edit:
    def edit(text: str) -> str:
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return edit


def below(head: str, old: str, new: str) -> Edit:
    """The first `old` behind `head`."""

    def edit(text: str) -> str:
        at = text.index(old, text.index(head))
        return text[:at] + new + text[at + len(old) :]

    return edit


def element(name: str, kind: str, more: str = "") -> str:
    return f'<xsd:element name="{name}" type="tns:{kind}"{more}/>'


MATNR = element("MATNR", "MATNR")
WSDL = (
    Change("renamed", swap(('name="LABST"', 'name="LABST_FREE"')), "unknown source field LABST", after="LABST_FREE + INSME"),
    Change("renamed to another language", swap(('name="KASSE" type', 'name="TILL_ID" type')), "KASSE", after='workstation_id  = "TILL_ID"'),
    Change(
        "the list's own element is renamed", below('name="T_STOCK">', 'name="item"', 'name="row"'), "item", after="erp.GetStock/T_STOCK/row"
    ),
    Change(
        "the list is renamed",
        below('"GetStockResponse">', 'name="T_STOCK"', 'name="ET_STOCK"'),
        "T_STOCK",
        after="erp.GetStock/ET_STOCK/item",
    ),
    Change(
        "moved under a new parent",
        lambda t: re.sub(
            r'(<xsd:complexType name="S_STOCK">.*?)(<xsd:element name="LABST".*?</xsd:element>)',
            r'\1<xsd:element name="QTY"><xsd:complexType><xsd:sequence>\2</xsd:sequence></xsd:complexType></xsd:element>',
            t,
            count=1,
            flags=re.DOTALL,
        ),
        "unknown source field LABST",
        after="QTY.LABST + INSME",
    ),
    Change("gone", lambda t: re.sub(r'<xsd:element name="UMLME".*?</xsd:element>', "", t), "unknown source field UMLME", left=True),
    Change(
        "new, beside what is used",
        below('name="S_STOCK"', MATNR, MATNR + element("CHARG", "char10")),
        "CHARG is neither",
        "CHARG is new",
        "CHARG = ",
    ),
    Change(
        "new, in an operation that nobody maps",
        below('name="LoginResponse"', "<xsd:sequence>", '<xsd:sequence><xsd:element name="X" type="xsd:string"/>'),
    ),
    Change(
        "a new code in a closed list",
        below('name="MSTAE"', "<xsd:enumeration", '<xsd:enumeration value="B"/><xsd:enumeration'),
        "B",
        "the new codes are refused until",
        "enum(A=True, N=True, X=False, otherwise=refuse)",
    ),
    Change(
        "a code less",
        lambda t: re.sub(r'<xsd:enumeration value="N">.*?</xsd:enumeration>', "", t),
        "'N' never comes",
        "is never 'N' any more",
        "enum(A=True, X=False)",
    ),
    Change(
        "may be absent, wanted",
        below('name="S_STOCK"', MATNR, element("MATNR", "MATNR", ' minOccurs="0"')),
        "may be absent",
        "a record without it is refused",
        "strip_zeros(18) | required",
    ),
    Change(
        "may be absent, not wanted",
        lambda t: re.sub(r'name="UMLME" type="tns:MENG13"', r'\g<0> minOccurs="0"', t),
        tells="UMLME may be absent now",
    ),
    Change("may be nil", below('name="S_STOCK"', MATNR, element("MATNR", "MATNR", ' nillable="true"')), "may be absent", "may be nil now"),
    Change("longer", swap(('type="tns:char72"', 'type="xsd:string"')), tells="has any length now, before up to 72 characters"),
    Change("more digits", below('name="MENG13"', 'value="13"', 'value="15"'), tells="has 15 digits"),
    Change(
        "another type: a real date",
        below('name="S_KASSE"', 'name="BUDAT" type="tns:DATUM"', 'name="BUDAT" type="xsd:date"'),
        tells="is date now, before string",
    ),
    Change(
        "another type: a number",
        below('name="S_KASSE"', element("BONNR", "BONNR"), '<xsd:element name="BONNR" type="xsd:int"/>'),
        tells="is integer now, before string",
    ),
    Change(
        "one becomes many",
        below('name="S_STOCK"', element("MEINS", "MEINS"), element("MEINS", "MEINS", ' maxOccurs="3"')),
        "list",
        "is a list now",
        left=True,
    ),
    Change("another namespace", lambda t: t.replace("urn:sap-com:document:sap:soap:functions:retail", "urn:retail:v2"), tells=""),
    Change(
        "operation renamed",
        lambda t: re.sub(r'"((?:tns:)?)GetStock(Response)?"', r'"\1ReadStock\2"', t),
        "GetStock",
        after="erp.ReadStock/T_STOCK/item",
    ),
    Change(
        "operation gone",
        lambda t: re.sub(r'<wsdl:operation name="GetCustomer">.*?</wsdl:operation>', "", t, flags=re.DOTALL),
        tells="erp.GetCustomer is gone",
        left=True,
    ),
    Change(
        "request: renamed",
        below('name="S_ORDER_HEADER"', element("BSTNK", "BSTNK"), element("BSTNK_NEW", "BSTNK")),
        "BSTNK",
        after='BSTNK_NEW = "order_number',
    ),
    Change(
        "request: new and required",
        below('name="S_ORDER_HEADER"', element("AUART", "AUART"), element("AUART", "AUART") + element("VKORG", "char4")),
        "VKORG",
        "VKORG is required now",
        "VKORG = ",
    ),
    Change(
        "request: new and optional",
        below('name="S_ORDER_HEADER"', element("AUART", "AUART"), element("AUART", "AUART") + element("VKORG", "char4", ' minOccurs="0"')),
        tells="VKORG is new",
    ),
    Change(
        "request: gone",
        below('name="S_ORDER_HEADER"', element("KUNNR", "KUNNR", ' minOccurs="0"'), ""),
        "KUNNR",
        "does the system still need",
        "",
    ),
    Change(
        "request: shorter",
        below('name="BSTNK"', 'value="35"', 'value="20"'),
        "at most 20",
        "longer texts are refused",
        "order_number | at_most(20)",
    ),
)


def openapi(edit: Callable[[dict[str, Any]], None]) -> Edit:
    def change(text: str) -> str:
        document = json.loads(text)
        edit(document)
        return json.dumps(document, indent=2, ensure_ascii=False)

    return change


def schema(document: dict[str, Any], name: str) -> Any:
    return document["components"]["schemas"][name]


def rename(name: str, old: str, new: str) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        owner = schema(document, name)
        owner["properties"] = {(new if k == old else k): v for k, v in owner["properties"].items()}
        owner["required"] = [new if r == old else r for r in owner.get("required", [])]

    return openapi(edit)


def put(name: str, **members: Any) -> Edit:
    return openapi(lambda d: schema(d, name)["properties"].update(members))


def require(name: str, member: str) -> Edit:
    return openapi(lambda d: schema(d, name).setdefault("required", []).append(member))


def release(name: str, member: str) -> Edit:
    return openapi(lambda d: schema(d, name)["required"].remove(member))


def both(*edits: Edit) -> Edit:
    def edit(text: str) -> str:
        for each in edits:
            text = each(text)
        return text

    return edit


def operation(document: dict[str, Any], old: str, new: str) -> None:
    for path in document["paths"].values():
        for method in path.values():
            if isinstance(method, dict) and method.get("operationId") == old:
                method["operationId"] = new


def wrap_phone(document: dict[str, Any]) -> None:
    members = schema(document, "Customer")["properties"]
    members["contact"] = {"type": "object", "properties": {"phone": members.pop("phone")}}


OPENAPI = (
    Change("renamed", rename("Customer", "mail", "email"), "unknown source field mail", after='email           = "email | text"'),
    Change(
        "moved",
        openapi(wrap_phone),
        "unknown source field phone",
        after="contact.phone | text",
    ),
    Change("gone", openapi(lambda d: schema(d, "Customer")["properties"].pop("phone")), "unknown source field phone", left=True),
    Change("new", put("Customer", loyalty={"type": "string"}), "loyalty is neither", "loyalty is new", "loyalty = "),
    Change("may be absent", release("Customer", "no"), "may be absent", "a record without it is refused", "no | required"),
    Change("another type", put("Customer", no={"type": "integer"}), "integer", "is integer now, before string", "no | string"),
    Change("longer", put("Customer", group={"type": "string", "maxLength": 900})),
    Change(
        "operation renamed",
        openapi(lambda d: operation(d, "getCustomer", "readCustomer")),
        "getCustomer",
        after='source = "oms.readCustomer"',
    ),
)

LAYOUT = (
    Change("renamed", swap(('name = "receipt_no"', 'name = "receipt_number"')), "receipt_no", after='receipt_number   = "receipt_number"'),
    Change(
        "a new code", below('name = "kind"', 'S = "', 'Q = "quoted", S = "'), "Q", "the new codes are refused until", "otherwise=refuse"
    ),
    Change("gone", lambda t: re.sub(r'.*name = "receipt_no".*\n', "", t), "unknown source field receipt_no", left=True),
)


def told(found: Study) -> str:
    parts: list[object] = [*found.decisions, *found.options]
    for operation_ in found.operations:
        for one in operation_.impacts:
            parts += [*one.silent, *one.possible, *one.broken]
    return "\n".join(map(str, parts))


def copied(estate: Path) -> None:
    shutil.copytree(ROOT / "contracts/systems", estate / "contracts/systems")
    shutil.copytree(ROOT / "mappings", estate / "mappings", ignore=shutil.ignore_patterns("language", "__pycache__"))
    shutil.copy(ROOT / "estate.toml", estate / "estate.toml")


def proven(checked: Checked, folder: Path, key: str, change: Change) -> None:
    source = ROOT / contract(checked, key)
    new = folder / "given" / source.name
    new.parent.mkdir()
    text = change.edit(source.read_text(encoding="utf-8"))
    assert text != source.read_text(encoding="utf-8")
    new.write_text(text, encoding="utf-8")
    found = study(checked, new, key)
    breaks = "\n".join(str(f) for o in found.operations for i in o.impacts for f in i.breaks)
    assert change.breaks in breaks
    assert bool(breaks) == bool(change.breaks) or change.left
    assert change.tells in told(found)
    estate = folder / "estate"
    copied(estate)
    subprocess.run(["git", "apply", "-"], cwd=estate, input=found.patch, check=True)
    assert (estate / contract(checked, key)).read_text(encoding="utf-8") == text
    if change.left:
        assert found.left
        with pytest.raises(Findings):
            check(estate)
        return
    assert found.left == []
    check(estate)
    patched = "\n".join((estate / i.mapping).read_text(encoding="utf-8") for o in found.operations for i in o.impacts)
    assert change.after in patched


def contract(checked: Checked, key: str) -> str:
    own = checked.estate.operation[key].contract if key in checked.estate.operation else ""
    return own or checked.estate.system[key.partition(".")[0]].contract


@pytest.mark.slow
@pytest.mark.parametrize("change", WSDL, ids=lambda c: c.name)
def test_a_changed_wsdl_is_told_and_patched(checked: Checked, tmp_path: Path, change: Change) -> None:
    proven(checked, tmp_path, "erp", change)


@pytest.mark.slow
@pytest.mark.parametrize("change", OPENAPI, ids=lambda c: c.name)
def test_a_changed_openapi_document_is_told_and_patched(checked: Checked, tmp_path: Path, change: Change) -> None:
    proven(checked, tmp_path, "oms", change)


@pytest.mark.slow
@pytest.mark.parametrize("change", LAYOUT, ids=lambda c: c.name)
def test_a_changed_layout_is_told_and_patched(checked: Checked, tmp_path: Path, change: Change) -> None:
    proven(checked, tmp_path, "pos.tlog", change)


@pytest.mark.slow
def test_a_changed_layout_of_files_for_the_tills_is_told_and_patched(checked: Checked, tmp_path: Path) -> None:
    change = Change("renamed", swap(('name = "valid_from"', 'name = "valid_since"')), "valid_from", after='valid_since = "valid_from')
    proven(checked, tmp_path, "pos.prices", change)


def test_a_renamed_field_is_told_and_patched(checked: Checked, tmp_path: Path) -> None:
    proven(checked, tmp_path, "erp", WSDL[0])


@pytest.mark.slow
def test_examples_are_renamed_with_the_field_and_those_that_cannot_be_are_listed(checked: Checked, tmp_path: Path) -> None:
    new = tmp_path / "retail.wsdl"
    new.write_text(WSDL[0].edit((ROOT / "contracts/systems/erp/retail.wsdl").read_text(encoding="utf-8")), encoding="utf-8")
    assert study(checked, new, "erp").examples == []
    more = next(c for c in WSDL if c.name == "request: new and required")
    new.write_text(more.edit((ROOT / "contracts/systems/erp/retail.wsdl").read_text(encoding="utf-8")), encoding="utf-8")
    assert study(checked, new, "erp").examples == []
    gone = next(c for c in WSDL if c.name == "request: gone")
    new.write_text(gone.edit((ROOT / "contracts/systems/erp/retail.wsdl").read_text(encoding="utf-8")), encoding="utf-8")
    assert any("KUNNR" in e for e in study(checked, new, "erp").examples)


def test_what_the_options_name_and_the_new_contract_lacks_is_told_at_its_place_in_the_estate(checked: Checked, tmp_path: Path) -> None:
    new = tmp_path / "retail.wsdl"
    text = (ROOT / "contracts/systems/erp/retail.wsdl").read_text(encoding="utf-8")
    new.write_text(re.sub(r'<wsdl:operation name="Login">.*?</wsdl:operation>', "", text, flags=re.DOTALL), encoding="utf-8")
    found = study(checked, new, "erp")
    assert found.touched
    assert any(f.file == "estate.toml" and "Login" in f.message for f in found.options)
    assert any("Login" in x for x in found.left)


@pytest.mark.slow
def test_a_folder_of_documents_takes_the_place_of_the_old_ones(checked: Checked, tmp_path: Path) -> None:
    text = (ROOT / "contracts/systems/erp/retail.wsdl").read_text(encoding="utf-8")
    found = re.search(r'<xsd:simpleType name="MENG13">.*?</xsd:simpleType>', text, re.DOTALL)
    assert found
    space = "urn:sap-com:document:sap:soap:functions:retail"
    include = '<xsd:include schemaLocation="parts/units.xsd"/>'
    head = re.search(rf'<xsd:schema[^>]*targetNamespace="{space}"[^>]*>', text)
    assert head
    (tmp_path / "parts").mkdir()
    (tmp_path / "retail.wsdl").write_text(text.replace(found[0], "").replace(head[0], head[0] + include), encoding="utf-8")
    schema_ = (
        f'<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:tns="{space}" targetNamespace="{space}">{found[0]}</xsd:schema>'
    )
    (tmp_path / "parts/units.xsd").write_text(schema_, encoding="utf-8")
    study_ = study(checked, tmp_path, "erp")
    assert not study_.touched
    assert b"+++ b/contracts/systems/erp/parts/units.xsd" in study_.patch
    assert study_.left == []


@pytest.mark.slow
def test_an_openapi_document_that_became_yaml_takes_the_place_of_the_json_one(checked: Checked, tmp_path: Path) -> None:
    document = json.loads(OPENAPI[0].edit((ROOT / "contracts/systems/oms/openapi.json").read_text(encoding="utf-8")))
    (tmp_path / "oms.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    found = study(checked, tmp_path / "oms.yaml", "oms")
    assert found.left == []
    estate = tmp_path / "estate"
    copied(estate)
    subprocess.run(["git", "apply", "-"], cwd=estate, input=found.patch, check=True)
    assert check(estate).estate.system["oms"].contract == "contracts/systems/oms/openapi.yaml"
    assert not (estate / "contracts/systems/oms/openapi.json").exists()


@pytest.mark.parametrize(
    ("name", "wanted", "key"),
    [
        ("anything.wsdl", "", "erp"),
        ("oms-3.json", "", "oms"),
        ("poslog.toml", "", "pos.poslog"),
        ("x.toml", "pos.tlog", "pos.tlog"),
        ("x.wsdl", "oms", "oms"),
    ],
)
def test_the_system_is_known_by_the_file_or_named(checked: Checked, name: str, wanted: str, key: str) -> None:
    assert system_of(checked, Path(name), wanted) == key


@pytest.mark.parametrize(("name", "wanted"), [("x.toml", ""), ("x.toml", "pos"), ("x.txt", ""), ("x.wsdl", "crm")])
def test_a_file_that_could_be_for_several_systems_asks_for_its_name(checked: Checked, name: str, wanted: str) -> None:
    with pytest.raises(LookupError, match="--system with one of"):
        system_of(checked, Path(name), wanted)


@pytest.mark.parametrize("old", [b"", b"one\n", b"one\r\ntwo", b"\xe4\n" * 30_000])
@pytest.mark.parametrize("new", [b"one\r\n", b"one", b"one\n" * 40_000, b"one\r\ntwo\n"])
def test_a_diff_applies_whatever_ends_lines_and_files(tmp_path: Path, old: bytes, new: bytes) -> None:
    (tmp_path / "f").write_bytes(old)
    made = unified("f", old.splitlines(keepends=True), new.splitlines(keepends=True))
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=made, check=True)
    assert (tmp_path / "f").read_bytes() == new


def test_a_contract_that_is_none_is_a_finding_and_no_report(checked: Checked, tmp_path: Path) -> None:
    (tmp_path / "x.wsdl").write_text("<html/>", encoding="utf-8")
    with pytest.raises(Findings, match="not a WSDL"):
        study(checked, tmp_path / "x.wsdl", "erp")

"""`tillgate new system`: what it writes, what it asks, and what it never touches."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from contracts.errors import Findings
from gateway.bootstrap import check
from gateway.cli import main
from tests.docs.demo import ROOT
from tests.docs.session import File, steps


def manual(name: str, folder: Path) -> None:
    """The files that a manual says to save, up to the first one inside the estate."""
    for step in steps((ROOT / "docs" / name).read_text(encoding="utf-8")):
        if isinstance(step, File) and not step.path.startswith("shop/"):
            (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.path).write_text(step.text, encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    manual("connect-soap.md", tmp_path)
    manual("connect-rest.md", tmp_path)
    manual("connect-files.md", tmp_path)
    assert run("new", "estate", str(tmp_path / "shop"), "--empty") == 0
    capsys.readouterr()
    return tmp_path / "shop"


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1
    return 0


def connect(shop: Path, name: str, *arguments: str) -> int:
    return run("--estate", str(shop), "new", "system", name, *arguments)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def findings(shop: Path) -> list[str]:
    try:
        check(shop)
    except Findings as exc:
        return [str(f) for f in exc.findings]
    return []


def test_an_empty_estate_is_sound(shop: Path) -> None:
    assert findings(shop) == []


def test_a_wsdl_gives_contract_estate_entry_mappings_and_a_list_of_decisions(shop: Path) -> None:
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl")) == 0
    made = files(shop)
    assert made["contracts/systems/depot/depot.wsdl"] == (shop.parent / "depot.wsdl").read_bytes()
    estate = tomllib.loads(made["estate.toml"].decode())
    session = estate["system"]["depot"]["options"]["session"]
    assert (session["operation"], session["header"], session["token"]) == ("OpenSession", "SessionHeader.sessionId", "sessionId")
    assert session["password"] == "env:DEPOT_PASSWORD"
    assert {o["provides"] for o in estate["operation"].values()} == {"product.read", "inventory.levels"}
    text = made["mappings/depot/DECISIONS.md"].decode()
    asked = findings(shop)
    assert any("nobody owns it yet" in f for f in asked)
    assert all(f"decide `{name}`" in text for name in ("base_unit", "active", "on_hand"))
    assert "Not drafted" in text


def test_every_finding_has_a_place_that_exists(shop: Path) -> None:
    connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl"), "--owner", "x")
    with pytest.raises(Findings) as caught:
        check(shop)
    for finding in caught.value.findings:
        lines = (shop / finding.file).read_text(encoding="utf-8").splitlines()
        assert 1 <= finding.line <= len(lines)
        assert any(said in finding.message for said in ("not decided", "left out without a reason", "only likely"))
        assert finding.suggestion


def test_a_folder_is_taken_with_everything_the_wsdl_imports(shop: Path) -> None:
    folder = shop.parent / "vendor"
    (folder / "types").mkdir(parents=True)
    wsdl = (shop.parent / "depot.wsdl").read_text(encoding="utf-8")
    schema = wsdl[wsdl.index("<xs:schema") : wsdl.index("</xs:schema>") + len("</xs:schema>")]
    alone = schema.replace("<xs:schema", '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:d="urn:depot"', 1)
    (folder / "types" / "depot.xsd").write_text(alone, encoding="utf-8")
    (folder / "unused.xsd").write_text(alone, encoding="utf-8")
    importing = '<xs:schema><xs:import namespace="urn:depot" schemaLocation="types/depot.xsd"/></xs:schema>'
    (folder / "depot.wsdl").write_text(wsdl.replace(schema, importing), encoding="utf-8")
    assert connect(shop, "depot", "--wsdl", str(folder), "--capability", "inventory.levels") == 0
    assert {p for p in files(shop) if p.startswith("contracts")} == {
        "contracts/systems/depot/depot.wsdl",
        "contracts/systems/depot/types/depot.xsd",
    }
    assert "on_hand" in (shop / "mappings/depot/get_stock.answer.toml").read_text(encoding="utf-8")


def test_a_document_gives_its_kind_of_access_and_what_is_complete_an_example(shop: Path) -> None:
    document = {
        "openapi": "3.0.3",
        "info": {"title": "Stores", "version": "1"},
        "components": {"securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "X-Key"}}},
        "paths": {"/customers/{customerNo}": {"get": {
            "operationId": "getCustomer",
            "parameters": [{"name": "customerNo", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "-", "content": {"application/json": {"schema": {
                "type": "object", "required": ["customerNo"],
                "properties": {"customerNo": {"type": "string"}, "firstName": {"type": "string"}},
            }}}}},
        }}},
    }  # fmt: skip
    (shop.parent / "stores.json").write_text(json.dumps(document), encoding="utf-8")
    assert connect(shop, "stores", "--openapi", str(shop.parent / "stores.json"), "--owner", "x") == 0
    estate = tomllib.loads((shop / "estate.toml").read_text(encoding="utf-8"))
    assert estate["system"]["stores"]["options"]["auth"] == {"kind": "api_key", "value": "env:STORES_KEY", "header": "X-Key"}
    assert estate["system"]["stores"]["description"] == "Stores"
    assert findings(shop) == []
    mapping = tomllib.loads((shop / "mappings/stores/get_customer.answer.toml").read_text(encoding="utf-8"))
    assert json.loads(mapping["example"][0]["expect"])[0]["customerNumber"]
    assert run("--estate", str(shop), "map", "try", "stores/get_customer.answer") == 0


def test_a_sample_file_gives_a_layout_that_reads_it(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert connect(shop, "tills", "--sample", str(shop.parent / "SALES_0001_20261120.xml"), "--owner", "x") == 0
    asked = findings(shop)
    assert len(asked) == 6
    assert all("is only likely (" in f for f in asked)
    assert "12 lines certain, 6 to confirm" in capsys.readouterr().out
    mapping = shop / "mappings/tills/sales.toml"
    mapping.write_text(re.sub("  # likely.*", "", mapping.read_text(encoding="utf-8")), encoding="utf-8")
    assert findings(shop) == []
    again = shop / "contracts/systems/tills/sales.toml"
    assert connect(shop, "tills2", "--sample", str(again), "--owner", "x") == 0
    assert (shop / "contracts/systems/tills2/sales.toml").read_bytes() == again.read_bytes()


def test_a_dry_run_shows_the_difference_and_writes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(shop)
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl"), "--dry-run") == 0
    out = capsys.readouterr().out
    assert "+[system.depot]" in out
    assert "+sku" in out
    assert files(shop) == before


def test_nothing_that_exists_is_overwritten(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wsdl = str(shop.parent / "depot.wsdl")
    assert connect(shop, "depot", "--wsdl", wsdl) == 0
    before = files(shop)
    assert connect(shop, "depot", "--wsdl", wsdl) == 1
    assert "[system.depot] is there already" in capsys.readouterr().err
    (shop / "mappings" / "other").mkdir()
    assert connect(shop, "other", "--wsdl", wsdl) == 1
    assert "mappings/other is there already" in capsys.readouterr().err
    shutil.rmtree(shop / "mappings" / "other")
    assert files(shop) == before


@pytest.mark.parametrize("name", ["../up", "Depot", "a b", "", "x" * 40, "1st", "a.b", "a/b"])
def test_a_name_that_is_none_is_refused(shop: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(shop.parent)
    assert connect(shop, name, "--wsdl", str(shop.parent / "depot.wsdl")) == 1
    assert "is no name for a system" in capsys.readouterr().err
    assert files(shop.parent) == before


WRONG: tuple[tuple[tuple[str, ...], str], ...] = (
    ((), "name the contract"),
    (("--wsdl", "depot.wsdl", "--openapi", "crm.yaml"), "name the contract"),
    (("--wsdl", "nowhere.wsdl"), "there is no such file"),
    (("--wsdl", "crm.yaml"), "not well-formed XML"),
    (("--openapi", "depot.wsdl"), "this is no OpenAPI document"),
    (("--wsdl", "depot.wsdl", "--capability", "stock"), "unknown capability 'stock'"),
    (("--wsdl", "depot.wsdl", "--capability", "sale.feed"), "files provide sale.feed, movement.feed, level.feed alone"),
    (("--wsdl", "depot.wsdl", "--capability", "inventory.levels=GetStok"), "GetStock"),
    (("--sample", "empty.xml"), "the sample is empty"),
    (("--sample", "words.txt"), "rows do not begin with what they are"),
    (("--sample", "bomb.xml"), "DOCTYPE"),
    (("--wsdl", "folder"), "expected one WSDL in this folder"),
)


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[w[1] + str(i) for i, w in enumerate(WRONG)])
def test_a_mistake_is_a_sentence_and_leaves_no_trace(
    shop: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.parent)
    (shop.parent / "empty.xml").write_text("")
    (shop.parent / "words.txt").write_text("just some words\nand more of them\n")
    (shop.parent / "bomb.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a><t>&b;</t></a>')
    (shop.parent / "folder").mkdir()
    before = files(shop)
    assert connect(shop, "sys", *arguments) in (1, 2)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert says in " ".join(err.replace("│", " ").split())
    assert files(shop) == before


def test_the_estate_that_comes_with_the_product_is_never_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manual("connect-soap.md", tmp_path)
    assert connect(ROOT, "depot", "--wsdl", str(tmp_path / "depot.wsdl")) == 1
    assert "new estate DIR" in capsys.readouterr().err


def test_two_capabilities_of_one_operation_are_two_entries(shop: Path) -> None:
    both = ("--capability", "product.read=GetArticles", "--capability", "product.list=GetArticles")
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl"), *both) == 0
    operations = tomllib.loads((shop / "estate.toml").read_text(encoding="utf-8"))["operation"]
    assert operations["depot.GetArticles"]["provides"] == "product.read"
    assert operations["depot.GetArticles_product_list"] | {"calls": "GetArticles"} == operations["depot.GetArticles_product_list"]


def test_a_write_that_cannot_be_written_takes_back_what_it_wrote(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(shop)
    (shop / "mappings").write_text("a file where a folder should be")
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl")) == 1
    (shop / "mappings").unlink()
    assert files(shop) == before
    assert not (shop / "contracts").exists()
    assert capsys.readouterr().err


def customers(**properties: object) -> dict[str, object]:
    """A document with one operation that reads a customer."""
    schema = {"type": "object", "required": ["customerNo"], "properties": {"customerNo": {"type": "string"}, **properties}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "T", "version": "1"},
        "paths": {"/customers/{customerNo}": {"get": {
            "operationId": "getCustomer",
            "parameters": [{"name": "customerNo", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "-", "content": {"application/json": {"schema": schema}}}},
        }}},
    }  # fmt: skip


def test_a_contract_of_any_file_name_leaves_an_estate_that_is_read(shop: Path) -> None:
    document = shop.parent / 'we"ird \\u00zz.json'
    document.write_text(json.dumps(customers()), encoding="utf-8")
    assert connect(shop, "crm", "--openapi", str(document), "--owner", 'O"Neil') == 0
    assert findings(shop) == []
    assert tomllib.loads((shop / "estate.toml").read_text(encoding="utf-8"))["system"]["crm"]["owner"] == 'O"Neil'


@pytest.mark.parametrize("name", ["points\x7f", "points\u2028x", "points\x85", 'p"\\', "😀"])
def test_a_field_of_any_name_leaves_a_mapping_that_is_read(shop: Path, name: str) -> None:
    (shop.parent / "crm.json").write_text(json.dumps(customers(**{name: {"type": "string"}})), encoding="utf-8")
    assert connect(shop, "crm", "--openapi", str(shop.parent / "crm.json"), "--owner", "x") == 0
    assert all("left out without a reason" in f for f in findings(shop))
    assert tomllib.loads((shop / "mappings/crm/get_customer.answer.toml").read_text(encoding="utf-8"))["drops"] == {name: "not decided yet"}


def test_a_sample_of_any_name_and_content_leaves_a_layout_that_is_read(shop: Path) -> None:
    (shop.parent / "S😀1.csv").write_text("H;1\nT;1;😀\nT;2;😀\n", encoding="utf-8")
    assert connect(shop, "tills", "--sample", str(shop.parent / "S😀1.csv"), "--owner", "x") == 0
    assert "😀" in tomllib.loads((shop / "contracts/systems/tills/s.toml").read_text(encoding="utf-8"))["file"]["name"]


def test_a_row_with_a_field_without_end_is_a_finding(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop.parent / "S1.csv").write_text("H;1\nT;1;" + "x" * 200_000 + "\n", encoding="utf-8")
    assert connect(shop, "tills", "--sample", str(shop.parent / "S1.csv")) == 1
    assert "S1.csv:2: not a row of fields between ';'" in "".join(capsys.readouterr().err.splitlines())


def test_a_reference_out_of_the_folder_and_back_is_not_copied_elsewhere(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shop.parent / "api"
    folder.mkdir()
    document = customers()
    document["components"] = {"schemas": {"A": {"$ref": "../api/more.json"}}}
    (folder / "more.json").write_text('{"type": "string"}')
    (folder / "crm.json").write_text(json.dumps(document), encoding="utf-8")
    before = files(shop)
    assert connect(shop, "crm", "--openapi", str(folder / "crm.json")) == 1
    assert "leads out of the contract's folder" in " ".join(capsys.readouterr().err.split())
    assert files(shop) == before


def test_two_operations_whose_names_come_to_the_same_keep_their_mappings_apart(shop: Path) -> None:
    wsdl = (shop.parent / "depot.wsdl").read_text(encoding="utf-8")
    (shop.parent / "depot.wsdl").write_text(wsdl.replace('"GetStock"', '"庫存"').replace('"GetArticles"', '"商品"'), encoding="utf-8")
    both = ("--capability", "inventory.levels=庫存", "--capability", "product.read=商品")
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl"), "--owner", "x", *both) == 0
    made = tomllib.loads((shop / "estate.toml").read_text(encoding="utf-8"))["operation"]
    targets = [tomllib.loads((shop / o["answer"]).read_text(encoding="utf-8"))["target"] for o in made.values()]
    assert targets == ["InventoryLevel", "Product"]


def test_an_estate_that_cannot_be_extended_is_left_alone(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    estate = (shop / "estate.toml").read_text(encoding="utf-8")
    (shop / "estate.toml").write_text("system = {}\n" + estate.replace("[system]\n", ""), encoding="utf-8")
    before = files(shop)
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl")) == 1
    assert "cannot be extended as it is written" in " ".join(capsys.readouterr().err.split())
    assert files(shop) == before


def test_a_link_to_nowhere_is_there_already(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "mappings").mkdir(exist_ok=True)
    (shop / "mappings" / "depot").symlink_to(shop.parent / "nowhere")
    assert connect(shop, "depot", "--wsdl", str(shop.parent / "depot.wsdl")) == 1
    assert "mappings/depot is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_list_of_fifty_thousand_codes_is_asked_about_in_one_screen(shop: Path) -> None:
    codes = {"type": "string", "enum": [f"CODE{n}" for n in range(50_000)]}
    (shop.parent / "crm.json").write_text(json.dumps(customers(lang=codes)), encoding="utf-8")
    assert connect(shop, "crm", "--openapi", str(shop.parent / "crm.json"), "--owner", "x") == 0
    assert all(len(raw) < 5_000 for path, raw in files(shop).items() if path.startswith("mappings/"))

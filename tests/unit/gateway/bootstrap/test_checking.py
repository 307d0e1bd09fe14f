"""What is odd in a contract: a finding where a mapping touches it, a note where none does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from contracts.errors import Findings
from gateway.bootstrap import check
from gateway.cli import main

ROOT = Path(__file__).resolve().parents[4]
WSDL = "contracts/systems/erp/retail.wsdl"
OPENAPI = "contracts/systems/oms/openapi.json"


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    for part in ("contracts/systems", "mappings/erp", "mappings/oms", "mappings/pos", "mappings/tills"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "estate.toml", tmp_path / "estate.toml")
    return tmp_path


def changed(file: Path, old: str, new: str) -> int:
    """The line of the first change."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def findings(folder: Path) -> list[str]:
    with pytest.raises(Findings) as found:
        check(folder)
    return [str(f) for f in found.value.findings]


def test_a_type_that_is_missing_is_a_finding_at_each_line_that_reads_the_field(estate: Path) -> None:
    line = changed(estate / WSDL, '<xsd:element name="LABST" type="tns:MENG13">', '<xsd:element name="LABST" type="tns:MENGE">')
    (found,) = findings(estate)
    assert found.startswith(
        "mappings/erp/get_stock.answer.toml:8:20: on_hand: the contract does not say what LABST is: type 'MENGE' of namespace "
    )
    assert f"is not in the contract (retail.wsdl:{line})" in found


def test_a_field_of_a_type_that_is_missing_is_not_written_either(estate: Path) -> None:
    changed(estate / WSDL, 'type="tns:KUNNR"', 'type="tns:KUNDE"')
    assert any(".request.toml" in f and "the contract does not say what KUNNR is" in f for f in findings(estate))


def test_a_reference_that_leads_nowhere_is_a_finding_where_the_member_is_read(estate: Path) -> None:
    changed(estate / OPENAPI, "#/components/schemas/OrderState", "#/components/schemas/OrderStates")
    found = findings(estate)
    assert {f.partition(":")[0] for f in found} >= {"mappings/oms/get_order.answer.toml", "mappings/oms/find_orders.answer.toml"}
    assert all("leads nowhere, did you mean OrderState?" in f for f in found)


def test_what_no_mapping_touches_is_a_note_and_the_estate_is_sound(estate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(estate / OPENAPI, '"rev": {', '"rev": {"$ref": "#/components/schemas/Revision",')
    assert [n.partition(": ")[0] for n in check(estate).notes] == ["oms"]
    main(["--estate", str(estate), "check"])
    assert "30 mappings" in (said := capsys.readouterr().out)
    assert "note: oms: " in said
    assert "$ref '#/components/schemas/Revision' leads nowhere; described as any" in said


def test_the_reference_estate_is_without_notes(estate: Path) -> None:
    assert check(estate).notes == []


def test_a_login_by_an_operation_that_the_contract_lacks_is_a_finding_at_its_line(estate: Path) -> None:
    login = '{ kind = "login", operation = "logIn", user = "env:U", password = "env:P", token = "token" }'
    key = '{ kind = "api_key", value = "env:TILLGATE_OMS_KEY", header = "X-Oms-Key" }'
    line = changed(estate / "estate.toml", key, login)
    (found,) = findings(estate)
    assert found.startswith(f"estate.toml:{line}:")
    assert "no operation 'logIn'" in found


def test_an_answer_that_takes_its_key_from_the_request_is_asked_one_at_a_time(estate: Path) -> None:
    answer = "mappings/erp/get_stock.answer.toml"
    changed(estate / answer, 'target = "InventoryLevel"', 'target = "InventoryLevel"\nasked = "LevelQuery"')
    changed(estate / answer, 'location_id     = "WERKS"', 'location_id     = "coalesce(WERKS, asked.pairs.location_id)"')
    found = findings(estate)
    assert any(f"operation erp.GetStock: {answer} takes asked.pairs.… from the request, which may ask for 500 at once" in f for f in found)


def test_an_answer_that_speaks_of_another_request_is_a_finding(estate: Path) -> None:
    changed(estate / "mappings/erp/get_stock.answer.toml", 'target = "InventoryLevel"', 'target = "InventoryLevel"\nasked = "PriceQuery"')
    found = findings(estate)
    assert any("says asked = 'PriceQuery'; inventory.levels is asked with LevelQuery" in f for f in found), found


@pytest.mark.slow
def test_a_server_of_files_is_one_whose_key_is_declared_and_a_folder_needs_nothing(estate: Path) -> None:
    server = "sftp://pos@files.example/drop"
    line = changed(estate / "estate.toml", '"env:TILLGATE_POS_INBOX"', f'"{server}"')
    (found,) = findings(estate)
    assert found.startswith(f"estate.toml:{line}:")
    assert "an SFTP server needs a table [system.pos.options.sftp] that says its key" in found
    text = (estate / "estate.toml").read_text(encoding="utf-8")
    table = '[system.pos.options.sftp]\nhost_keys = ["ssh-ed25519 AAAA"]\npassword = {}\n'
    (estate / "estate.toml").write_text(text + table.format('"plain"'), encoding="utf-8")
    assert any("env:NAME or file:PATH" in found for found in findings(estate))
    (estate / "estate.toml").write_text(text + table.format('"env:POS_PASSWORD"'), encoding="utf-8")
    check(estate)
    changed(estate / "estate.toml", server, "ftp://pos@files.example/drop")
    assert ["expected a folder, or sftp://user@host/folder" in found for found in findings(estate)] == [True]


def test_a_count_of_files_that_no_name_holds_is_a_finding(estate: Path) -> None:
    changed(estate / "estate.toml", 'provides = "sale.feed"', 'provides = "sale.feed"\nfeed = { sequence = { group = "no" } }')
    assert any("the layout's name pattern has no group 'no'" in found for found in findings(estate))


def test_a_feed_of_levels_without_a_figure_or_its_moment_is_a_finding(estate: Path) -> None:
    with (estate / "estate.toml").open("a", encoding="utf-8") as file:
        file.write('\n[operation."pos.x12_846"]\ncontract = "contracts/systems/edi/x12_846.toml"\nprovides = "level.feed"\nmode = "file"\n')
        file.write('answer = "mappings/pos/stock.toml"\n')
    fields = 'sku = "line | required"\nlocation_id = "ST.warehouse.id | required"\nincoming = "(QTY | first).value | quantity(\'EA\')"\n'
    kept = 'target = "InventoryLevel"\nsource = "pos.x12_846"\n[fields]\n' + fields
    drops = "\n".join(
        f'"{name}" = "of no use"' for name in ("ISA.*", "GS.*", "ST.control", "ST.BIA.*", "ids.*", "QTY.*", "site.*", "place.*")
    )
    (estate / "mappings/pos/stock.toml").write_text(f"{kept}[drops]\n{drops}\n", encoding="utf-8")
    found = [f for f in findings(estate) if "x12_846: mappings/pos/stock.toml fills no" in f]
    assert [f.partition("fills no ")[2].partition(";")[0] for f in found] == ["as_of", "on_hand or available"]

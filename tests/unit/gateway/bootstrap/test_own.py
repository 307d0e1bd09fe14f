"""Own functions and secrets of an estate on disk: the reference estate with one thing changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from contracts.errors import Findings
from gateway.bootstrap import check
from gateway.bootstrap.own import OwnFunctions

ROOT = Path(__file__).resolve().parents[4]
PLANT = "def plant(number: str) -> str:\n    return number.zfill(4)\n"
REQUEST = "mappings/erp/get_stock.request.toml"


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    for part in ("contracts/systems", "mappings/erp", "mappings/oms", "mappings/pos", "mappings/tills"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "estate.toml", tmp_path / "estate.toml")
    return tmp_path


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def findings(folder: Path) -> list[str]:
    try:
        check(folder)
    except Findings as found:
        return [str(f) for f in found.findings]
    return []


def test_a_mapping_calls_what_stands_beside_it_and_what_stands_above_all(estate: Path) -> None:
    (estate / "mappings/functions.py").write_text("def above(text: str) -> str:\n    return text\n")
    (estate / "mappings/erp/functions.py").write_text(PLANT)
    changed(estate / REQUEST, 'WERKS = "location_id"', 'WERKS = "location_id | above | plant | at_most(4)"')
    assert findings(estate) == []
    assert OwnFunctions(estate).of("mappings/oms/get_order.answer.toml").functions.keys() == {"above"}


def test_a_function_of_another_system_is_unknown(estate: Path) -> None:
    (estate / "mappings/oms/functions.py").write_text(PLANT)
    changed(estate / REQUEST, 'WERKS = "location_id"', 'WERKS = "location_id | plant"')
    assert any("unknown function plant" in f for f in findings(estate))


def test_a_mistake_in_the_functions_keeps_the_estate_from_starting_and_is_said_once(estate: Path) -> None:
    (estate / "mappings/erp/functions.py").write_text("def plant(number) -> str:\n    return number\n")
    assert findings(estate) == ["mappings/erp/functions.py:1: plant: number has no type; write number: str"]


def test_a_name_in_both_files_is_a_finding(estate: Path) -> None:
    (estate / "mappings/functions.py").write_text(PLANT)
    (estate / "mappings/erp/functions.py").write_text(PLANT)
    assert findings(estate) == ["mappings/erp/functions.py:1: plant is in mappings/functions.py too; keep one of them"]


def test_functions_are_loaded_from_the_estate_alone(estate: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "functions.py"
    outside.write_text("raise SystemExit\n")
    (estate / "mappings/functions.py").symlink_to(outside)
    assert findings(estate) == [
        "mappings/functions.py:1: leads out of the estate's folder; own functions are loaded from there only",
    ]


def test_a_secret_that_a_request_names_must_be_given(estate: Path) -> None:
    changed(estate / REQUEST, 'WERKS = "location_id"', "WERKS = \"secrets.PLANT if location_id == '0001' else location_id\"")
    found = findings(estate)
    assert any(
        "operation erp.GetStock: mappings/erp/get_stock.request.toml names secrets.PLANT, which is not given; add secrets" in f
        for f in found
    )


def test_a_secret_that_no_request_names_and_a_value_in_its_place_are_findings(estate: Path) -> None:
    changed(estate / "estate.toml", '[operation."erp.GetStock"]\n', '[operation."erp.GetStock"]\nsecrets = { PIN = "env:ERP_PIN" }\n')
    assert any("operation erp.GetStock: no mapping of it names secrets.PIN" in f for f in findings(estate))
    changed(estate / "estate.toml", "env:ERP_PIN", "1234")
    found = findings(estate)
    assert any("a secret must not stand here; write env:NAME or file:PATH" in f for f in found)
    assert not any("1234" in f for f in found)


def test_a_parameter_of_the_estate_must_be_declared_and_of_its_kind(estate: Path) -> None:
    changed(estate / "estate.toml", '[operation."erp.GetStock"]\n', '[operation."erp.GetStock"]\nparameters = { shop = "x" }\n')
    assert any("operation erp.GetStock: no mapping of it names parameters.shop" in f for f in findings(estate))

"""`files read` and `map try --layout`: what a file holds and what comes of it, before any feed has seen it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main

ROOT = Path(__file__).resolve().parents[4]
LAYOUT = ROOT / "contracts/systems/edi/x12_846.toml"
ADVICE = (
    "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *260311*0930*U*00401*000000007*0*P*>~\n"
    "GS*IB*S*R*20260311*0930*7*X*004010~\nST*846*0001~\nBIA*00*SI*A1*20260311*0930~\nN1*WH*North*92*0001~\n"
    "LIN*1*IN*4711~\nQTY*17*5~\nLIN*2*IN*4712~\nQTY*17*many~\nCTT*2~\nSE*9*0001~\nGE*1*7~\nIEA*1*000000007~\n"
)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    left = 0
    try:
        main(["--estate", str(ROOT), *arguments])
    except SystemExit as exit_:
        left = int(exit_.code or 0)
    assert left == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def written(folder: Path, text: str = ADVICE) -> str:
    (folder / "stock.edi").write_text(text, encoding="utf-8")
    return str(folder / "stock.edi")


def test_a_file_is_shown_by_its_layout_with_what_is_wrong_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "files", "read", written(tmp_path), "--layout", str(LAYOUT), code=1)
    head, good, bad, end = out.splitlines()
    assert head == f"stock.edi: x12, layout x12_846 ({LAYOUT})"
    assert json.loads(good.split("  ")[-1])["QTY"] == [{"kind": "17", "value": "5"}]
    assert "line 9  BAD  QTY.value (segment 9, 7 of message 0001, QTY02): expected a decimal of at most 15 digits" in bad
    assert "got 'many'" in bad
    assert end == "1 read, 1 bad"


def test_a_file_without_a_layout_shows_one_itself_and_the_end_says_what_would_refuse_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = ADVICE.replace("ST*846", "ST*847").replace("IEA*1", "IEA*4")
    out, _ = said(capsys, "files", "read", written(tmp_path, unknown), "--json", code=1)
    value, end = map(json.loads, out.splitlines())
    assert value["value"]["N1"] == {"e1": "WH", "e2": "North", "e3": "92", "e4": "0001"}
    assert (end["layout"], end["inferred"], end["good"], end["bad"]) == ("x12_847", True, 1, 0)
    assert end["refused"] == ["segment 13: IEA01 states 4, ISA in segment 1 holds 1 groups"]


def test_a_message_of_a_standard_is_read_by_the_layout_that_ships_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped, _ = said(capsys, "files", "read", written(tmp_path), code=1)
    given, _ = said(capsys, "files", "read", written(tmp_path), "--layout", str(LAYOUT), code=1)
    assert shipped == given
    filler = ADVICE.replace("CTT*2", "\n".join(["LIN*3*IN*4713~\nQTY*17*1~"] * 9000) + "\nCTT*2")
    assert "layout x12_846 (" in said(capsys, "files", "read", written(tmp_path, filler), "--limit", "0", code=1)[0]


def test_a_file_of_the_estates_own_tills_is_known_by_its_name_and_personal_values_are_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "TLOG_0001_20260311_00001.tlog"
    file.write_text(
        "FH;1;0001;20260311;20260311220000;00001\nTH;003;000007;S;20260311080448;20260311080520;0026;R7;EUR;\nTF;0;0;0;0\nFT;1;0;0\n",
        encoding="utf-8",
    )
    out, _ = said(capsys, "files", "read", str(file), "--limit", "5")
    assert "layout tlog" in out
    assert '"operator":"•••"' in out
    assert "0026" not in out


def test_what_is_no_file_or_no_interchange_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in said(capsys, "files", "read", str(tmp_path / "nothing"), code=1)[1]
    out, _ = said(capsys, "files", "read", written(tmp_path, ADVICE.partition("GS*")[2]), "--layout", str(LAYOUT), code=1)
    assert "would be refused: line 1: expected ISA, the header of an X12 interchange" in out


def test_a_mapping_that_no_operation_names_runs_on_a_file_and_on_its_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping = str(ROOT / "mappings/edi/x12_846.toml")
    out, err = said(capsys, "map", "try", mapping, written(tmp_path), "--layout", str(LAYOUT), "--zone", "UTC", code=1)
    (level,) = json.loads(out)
    assert (level["sku"], level["locationId"], level["onHand"], level["asOf"]) == (
        "4711", "0001", {"value": "5", "unit": "EA"}, "2026-03-11T09:30:00Z",
    )  # fmt: skip
    assert "stock.edi:9: QTY.value" in err
    out, _ = said(capsys, "map", "try", mapping, "--layout", str(LAYOUT))
    assert out.count("ok") == 3

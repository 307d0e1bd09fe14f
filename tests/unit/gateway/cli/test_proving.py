from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main

ROOT = Path(__file__).resolve().parents[4]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["--estate", str(ROOT), *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.slow
def test_chosen_cases_are_shown_and_reported_in_both_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in (".html", ".md"):
        code, out, _ = said(capsys, "prove", "oms", "--case", "answers", "--case", "load", "--report", str(tmp_path / f"oms{form}"))
        assert code == 0
        assert re.search(r"pass +answers", out)
        assert "2 of 2 chosen cases hold; a tier needs all of them" in out
        assert "answers" in (tmp_path / f"oms{form}").read_text(encoding="utf-8")


@pytest.mark.slow
def test_results_as_json_are_nothing_but_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "prove", "pos", "--case", "empty", "--json")
    proof = json.loads(out)
    assert (code, err, proof["system"], [r["verdict"] for r in proof["results"]]) == (0, "", "pos", ["pass"])


def test_the_cases_of_a_protocol_are_listed_with_their_tier(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = said(capsys, "prove", "pos", "--list")
    assert re.search(r"gold +crash +the worker dies", out)
    assert "breaker" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prove", "omz"], "did you mean 'oms'?"),
        (["prove", "oms", "--case", "lod"], "did you mean 'load'?"),
        (["prove", "oms", "--report", "x.pdf"], "a report is written as .html or .md"),
        (["stand-in", "omz"], "did you mean 'oms'?"),
        (["stand-in", "pos"], "say where with --into FOLDER"),
    ],
)
def test_a_mistake_is_a_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, _, err = said(capsys, *arguments)
    assert code == 1
    assert words in re.sub(r"[│╭╰─╮╯]", "", err)


@pytest.mark.slow
def test_sample_files_of_a_till_are_dropped_where_one_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = said(capsys, "stand-in", "pos", "--into", str(tmp_path / "in"))
    assert code == 0
    assert {p.suffix for p in (tmp_path / "in").iterdir()} == {".tlog", ".xml"}


@pytest.mark.slow
def test_a_stand_in_answers_by_hand_until_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "--estate", str(ROOT), "stand-in", "oms"]
    environment = {"PATH": "", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(3)]
        url = re.search(r"http://127\.0\.0\.1:\d+", lines[0])
        assert url is not None
        assert [line.strip() for line in lines[1:]] == [f"TILLGATE_OMS_URL={url[0]}", "TILLGATE_OMS_KEY=stand-in"]
        asked = http.client.HTTPConnection(url[0].removeprefix("http://"), timeout=5)
        asked.request("GET", "/v2/customers/1000001", headers={"X-Oms-Key": "stand-in"})
        assert json.loads(asked.getresponse().read())["no"]
        asked.close()
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        assert running.wait(10) == 0
    assert "GET /v2/customers/1000001  getCustomer: answered" in rest

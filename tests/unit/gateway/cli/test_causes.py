import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.cli import main
from observability.rootcause.answer import Answer, Detected
from tests.traces import BEGIN, Estate, incident

pytestmark = pytest.mark.slow


def tillgate(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "gateway.cli", *arguments], input=given, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    estate = Estate(10)
    culprit = random.Random(10).choice(estate.reached())
    file = tmp_path_factory.mktemp("spans") / "spans.jsonl.gz"
    rows, _ = incident(estate, culprit, "errors", before=600.0, rate=1.5)
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return file, culprit


def test_causes_prints_the_ranking_as_json(spans: tuple[Path, str]) -> None:
    code, out, _ = tillgate("causes", "--spans", str(spans[0]), "--incident", f"{BEGIN + 600}/{BEGIN + 750}")
    answer = msgspec.json.decode(out, type=Answer)
    assert code == 0
    assert (answer.schema, answer.ranking[0].service) == ("tillgate.causes/1", spans[1])


def test_causes_reads_standard_input_and_draws_a_table(spans: tuple[Path, str]) -> None:
    code, out, _ = tillgate("causes", "--spans", "-", "--incident", f"{BEGIN + 600}/{BEGIN + 750}", "--table", given=spans[0].read_bytes())
    assert code == 0
    assert f"*  1  {spans[1]}" in out


@pytest.mark.slow
def test_causes_finds_the_incident_itself(spans: tuple[Path, str]) -> None:
    code, out, _ = tillgate("causes", "--spans", str(spans[0]), "--detect")
    (found,) = msgspec.json.decode(out, type=Detected).incidents
    assert code == 0
    assert found.ranking[0].service == spans[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--spans", "{spans}", "--incident", "2030-01-01T00:00:00Z/2030-01-01T01:00:00Z"), 3, "the traces are from 2023-11-14T22:1"),
        (("--spans", "{bad}", "--incident", "1/2"), 2, "bad.jsonl:1: expected JSON, or a table"),
        (("--spans", "{bad}-not-there", "--incident", "1/2"), 2, "No such file"),
        (("--spans", "{spans}", "--incident", "yesterday/today"), 2, "expected an RFC 3339 time"),
        (("--spans", "{spans}", "--incident", "5/4"), 2, "expected an end after the beginning"),
        (("--spans", "{spans}", "--incident", "1/2", "--names", "{bad}"), 2, "expected `regular expression -> name`"),
        (("--spans", "{spans}", "--incident", "1/2", "--graph", "{bad}"), 2, "expected"),
        (("--spans", "{spans}"), 2, "expected either --incident FROM/TO or --detect"),
    ],
)  # fmt: skip
def test_causes_says_what_it_cannot_read(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jsonl").write_text("nonsense")
    rows, _ = incident(Estate(10), "", "none", before=5.0, during=5.0)
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SystemExit) as left:
        main(["causes", *(a.format(spans=tmp_path / "few.jsonl", bad=tmp_path / "bad.jsonl") for a in arguments)])
    said = capsys.readouterr()
    assert (left.value.code, said.out) == (code, "")
    assert says in said.err.replace("\n", " ")

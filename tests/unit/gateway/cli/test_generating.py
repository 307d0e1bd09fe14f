import importlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from contracts.versions import HISTORY
from gateway.cli import main
from gateway.cli.generating import pascal, snake


@pytest.mark.parametrize("version", HISTORY.by_date)
def test_the_package_of_each_version_is_lint_clean_and_reads_what_that_version_says(
    version: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["generate", "python", "--version", version, "--out", str(tmp_path)])
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", str(root / "pyproject.toml"), str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.split(".")[0] == "retail_api"]:
        del sys.modules[name]
    package = importlib.import_module("retail_api")
    assert version == package.RetailApi.VERSION
    amount = (
        {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2}
        if version == "2026-10-01"
        else {"amount": "3.79", "currency": "EUR"}
    )
    money = msgspec.convert(amount, package.Money)
    assert msgspec.to_builtins(money) == amount
    assert msgspec.json.decode(b'{"value": "1", "unit": "EA", "something": "newer"}', type=package.Quantity).value == "1"


def test_a_version_that_is_none_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "python", "--version", "2024-01-01", "--out", str(tmp_path)])
    assert "2026-10-01" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "here"), [("orderNumber", "order_number"), ("If-Match", "if_match"), ("class", "class_"), ("id", "id")])
def test_names_become_those_of_the_language(name: str, here: str) -> None:
    assert snake(name) == here
    assert pascal("quota_exceeded") == "QuotaExceeded"

"""The table of docs/owasp.md: ten risks, each held by tests that exist and are collected."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = re.compile(r"^\| \*\*(API\d+)\*\* .+? \| .+? \| (.+?) \|$", re.MULTILINE)
NAMES = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


@pytest.mark.slow
def test_each_of_the_ten_risks_names_tests_that_are_collected(root: Path) -> None:
    table = {risk: NAMES.findall(held) for risk, held in ROWS.findall((root / "docs/owasp.md").read_text(encoding="utf-8"))}
    assert list(table) == [f"API{n}" for n in range(1, 11)]
    assert min(map(len, table.values())) >= 3
    names = sorted({name for found in table.values() for name in found})
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *names],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert collected.returncode == 0, collected.stdout[-3000:] + collected.stderr[-2000:]
    lost = [name for name in names if not re.search(rf"^{re.escape(name)}(\[|$)", collected.stdout, re.MULTILINE)]
    assert lost == []

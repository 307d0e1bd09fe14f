"""docs/versions.md, followed to the letter on a copy of the contracts: the API breaks, and nobody with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.versions import HISTORY
from tests.products import ROOT

pytestmark = pytest.mark.slow
BLOCKS = re.findall(
    r"^```(diff|python) (\S+)\n(.*?)^```", (ROOT / "docs/versions.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
IMPORTS = """
from typing import Literal
from contracts.canonical.amounts import Unit
from contracts.canonical.base import Localized, Name, Text
from contracts.canonical.product import PackGtin, Product
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    shutil.copytree(ROOT / "contracts", folder / "contracts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("gateway", "adapters", "mappings", "observability", "estate.toml"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def publish(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "publish", "--into", ".", *arguments],
        cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def published(folder: Path, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"contracts/published/openapi-{version}.json").read_bytes())
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), encoding="utf-8")


def part(diff: str, sign: str) -> str:
    return "\n".join(line[1:] for line in diff.splitlines() if line[0] == sign)


def test_the_recipe_makes_a_version_and_the_others_stay_as_they_were(copy: Path) -> None:
    (_, type_file, change), (_, history_file, classes), (_, _, codes), (_, _, listed) = BLOCKS
    assert publish(copy, "--breaking")[0] == 0  # whatever the checkout has not published yet
    before = {v.date: published(copy, v.date) for v in HISTORY.versions}

    edit(copy / type_file, part(change, "-"), part(change, "+"))
    code, said = publish(copy, "--check")
    assert code == 1
    for each in HISTORY.versions:
        assert f"clients of {each.date}: GET /products: answer 200: /items/*/brand is gone" in said

    edit(copy / history_file, part(listed, " "), "\n".join((IMPORTS, classes, part(listed, " "), part(listed, "+"))))
    code, said = publish(copy)
    assert (code, "clients of" in said) == (0, False), said
    assert "written: contracts/published/openapi-2027-02-01.json" in said
    assert "brandName" in published(copy, "2027-02-01")["components"]["schemas"]["Product"]["properties"]
    for each in HISTORY.versions:
        now = published(copy, each.date)
        assert now["paths"] == before[each.date]["paths"]
        assert now["components"]["schemas"].keys() == before[each.date]["components"]["schemas"].keys()
        assert "brand" in now["components"]["schemas"]["Product"]["properties"]
        assert "`brandName`; before, it was `brand`" in now["info"]["description"]
    newest = json.loads((copy / "contracts/published/changelog.json").read_bytes())[0]
    assert newest["version"] == "2027-02-01"
    assert (newest["changes"][0]["before"]["brand"], newest["changes"][0]["after"]["brandName"]) == ("Morgenrot", "Morgenrot")

    top = part(listed, " ")
    edit(copy / history_file, top, f"{codes}\n{top}")
    edit(copy / history_file, "(BrandsAreNames,)", "(BrandsAreNames, ShortagesAreConflicts)")
    assert publish(copy, "--breaking")[0] == 0
    answers = {v: published(copy, v)["paths"]["/orders"]["post"]["responses"] for v in ("2027-02-01", HISTORY.newest.date)}
    assert {v: "`insufficient_stock`" in each["409"]["description"] for v, each in answers.items()} == {
        "2027-02-01": True,
        HISTORY.newest.date: False,
    }
    assert "`sold_out`" in answers[HISTORY.newest.date]["422"]["description"]
    former = json.loads((copy / "contracts/published/problems.json").read_bytes())[-1]
    assert (former["code"], former["versions"]) == ("sold_out", [v.date for v in HISTORY.versions])

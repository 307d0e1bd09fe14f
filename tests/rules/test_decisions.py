import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda p: p.stem)
def test_decision_fits_a_screen_and_names_an_existing_check(path: Path) -> None:
    text = path.read_text()
    number = int(path.name[:4])
    assert text.startswith(f"# {number}. ")
    assert [word for word in ("Context", "To quote", "Consequences", "Held by") if f"**{word}.**" not in text] == []
    assert len(text.splitlines()) <= 40
    held = text.partition("**Held by.**")[2]
    checks = [name for name in re.findall(r"`([\w./-]+\.\w+)`", held) if "/" in name or name == "pyproject.toml"]
    assert checks
    assert [name for name in checks if not (ROOT / name).exists()] == []
    project = (ROOT / "pyproject.toml").read_text()
    assert [rule for rule in re.findall(r'"([^"]+)"', held) if f'name = "{" ".join(rule.split())}"' not in project] == []


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))

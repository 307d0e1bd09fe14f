"""What is documented runs: every command of the README and the manuals, in order, with the answers they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.demo import CLEAN, ROOT, Demo, checkout, demo
from tests.docs.session import Command, File, Shell, answers, steps

pytestmark = pytest.mark.slow
MANUALS = ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]
WITH_COMMANDS = [name for name in MANUALS if any(isinstance(s, Command) for s in steps((ROOT / name).read_text(encoding="utf-8")))]
KEYS = {"KEY": "web", "OPERATOR": "operator", "PINNED": "pinned"}
"""What the manuals call the keys that `./run` prints."""


@contextmanager
def stage(document: str, folder: Path) -> Iterator[Demo]:
    """A demo of its own for each document that speaks to one: what one breaks on purpose hurts no other."""
    checkout(folder)
    if "http://127.0.0.1:8080" not in document:
        yield Demo(folder, "", "", {}, "")
        return
    with demo(folder) as it:
        yield it


def as_it_is(text: str, it: Demo) -> str:
    """A document's addresses and keys, replaced by those of the running demo."""
    text = re.sub(r"\b(\w+)=tg_\S+", lambda m: f"{m[1]}={it.keys[KEYS[m[1]]]}", text)
    return re.sub(r"SANDBOX=\S+", f"SANDBOX={it.control}", text.replace("http://127.0.0.1:8080", it.base))


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_every_command_does_what_its_document_shows(name: str, tmp_path: Path) -> None:
    document = (ROOT / name).read_text(encoding="utf-8")
    with stage(document, tmp_path) as running, Shell(tmp_path, {**CLEAN, "COLUMNS": "200"}) as shell:
        for it in steps(document):
            if isinstance(it, File):
                shell.write(it)
                continue
            command, expected = as_it_is(it.text, running), as_it_is(it.expected, running)
            status, said = (0, running.welcome) if command == "./run" else shell.run(command, expected)
            assert status == it.exit, f"{name}:{it.line}: {command}\nended with {status}:\n{said}"
            assert answers(expected, said), f"{name}:{it.line}: {command}\nsaid:\n{said}\nand not:\n{expected}"


def test_manuals_link_to_what_exists() -> None:
    broken = []
    for name in [*MANUALS, "CONTRIBUTING.md"]:
        text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        broken += [
            f"{name}: {target}"
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
            if not target.startswith(("http://", "https://")) and not (ROOT / name).parent.joinpath(target).exists()
        ]
    assert broken == []


def test_paths_that_manuals_name_exist() -> None:
    """`adapters/guard/` in running text is a promise that there is such a room."""
    rooms = "contracts|mappings|adapters|gateway|observability|sandbox|benchmarks|docs|tests|requirements"
    missing = []
    for name in MANUALS:
        text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        missing += [
            f"{name}: {path}"
            for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", text)
            if not (ROOT / path).exists() and not Path(path).name.isupper()
        ]
    assert missing == []

"""Layouts and mappings of journals that ship beside the reference estate's own: sound, their examples run, nothing is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.files.driver import FileContract
from gateway.bootstrap import parse_xml, types
from mappings.language import CompiledMapping, load
from mappings.language.coverage import coverage
from mappings.language.examples import run

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = sorted(p.stem for p in (ROOT / "contracts/systems/journals").glob("*.toml"))


@pytest.fixture(params=LAYOUTS)
def mapping(request: pytest.FixtureRequest) -> CompiledMapping:
    contract = FileContract("journals", ROOT / f"contracts/systems/journals/{request.param}.toml")
    path = ROOT / f"mappings/journals/{request.param}.toml"
    return load(path.read_text(encoding="utf-8"), str(path), lambda name: contract.exchange(name.partition(".")[2]), types())


def test_every_layout_has_a_mapping() -> None:
    assert sorted(p.stem for p in (ROOT / "mappings/journals").glob("*.toml")) == LAYOUTS


def test_every_example_holds_and_one_is_refused(mapping: CompiledMapping) -> None:
    assert [str(o.finding) for o in run(mapping, parse_xml) if o.finding] == []
    assert any(e.error for e in mapping.file.examples)


def test_nothing_of_a_journal_is_left_out_without_a_word_and_every_case_is_shown(mapping: CompiledMapping) -> None:
    found = coverage(mapping, parse_xml)
    assert [p for p, use in found.source.items() if use == "unused"] == []
    assert [f"{c.target}: {c.code}" for c in found.cases if not c.exercised] == []

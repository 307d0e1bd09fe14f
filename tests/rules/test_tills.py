"""The layout and mapping of files for the tills, which ship beside the reference estate's own: sound, and their examples run."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.files.driver import FileContract
from adapters.files.outlet import unwritable
from gateway.bootstrap import parse_xml, types
from mappings.language import CompiledMapping, load
from mappings.language.coverage import coverage
from mappings.language.examples import run

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = sorted(p.stem for p in (ROOT / "contracts/systems/tills").glob("*.toml"))


def contract(name: str) -> FileContract:
    return FileContract("pos", ROOT / f"contracts/systems/tills/{name}.toml", outbound=True)


@pytest.fixture(params=LAYOUTS)
def mapping(request: pytest.FixtureRequest) -> CompiledMapping:
    path, written = ROOT / f"mappings/tills/{request.param}.toml", contract(request.param)
    return load(path.read_text(encoding="utf-8"), str(path), lambda name: written.exchange(name.partition(".")[2]), types())


def test_every_layout_has_a_mapping_and_can_be_written() -> None:
    assert sorted(p.stem for p in (ROOT / "mappings/tills").glob("*.toml")) == LAYOUTS
    assert [unwritable(contract(name).layout) for name in LAYOUTS] == [""] * len(LAYOUTS)


def test_every_example_holds_and_one_is_refused(mapping: CompiledMapping) -> None:
    assert [str(o.finding) for o in run(mapping, parse_xml) if o.finding] == []
    assert any(e.error for e in mapping.file.examples)


def test_nothing_of_a_noun_is_left_out_without_a_word(mapping: CompiledMapping) -> None:
    assert [p for p, use in coverage(mapping, parse_xml).source.items() if use == "unused"] == []

"""Layouts and mappings of partners' messages (X12, EDIFACT): every layout is sound, every mapping's examples run, nothing is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.files.driver import FileContract
from gateway.bootstrap import parse_xml, types
from mappings.language import CompiledMapping, load
from mappings.language.coverage import coverage
from mappings.language.examples import run

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = sorted(p.stem for p in (ROOT / "contracts/systems/edi").glob("*.toml"))
MAPPED = sorted(p.stem for p in (ROOT / "mappings/edi").glob("*.toml"))
WITHOUT_NOUN = {"x12_856", "x12_810", "edifact_desadv"}
"""Shipments and invoices are nothing that the API speaks of."""
OF = {"x12_852_sold": "x12_852"}
"""Of a message that two nouns are made of."""


@pytest.fixture(params=MAPPED)
def mapping(request: pytest.FixtureRequest) -> CompiledMapping:
    contract = FileContract("edi", ROOT / f"contracts/systems/edi/{OF.get(request.param, request.param)}.toml")
    path = ROOT / f"mappings/edi/{request.param}.toml"
    return load(path.read_text(encoding="utf-8"), str(path), lambda name: contract.exchange(name.partition(".")[2]), types())


def test_every_layout_has_a_mapping_or_no_noun_to_map_to() -> None:
    assert {OF.get(name, name) for name in MAPPED} | WITHOUT_NOUN == {*LAYOUTS}
    assert not {*MAPPED} & WITHOUT_NOUN


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_sound_and_says_what_it_reads(name: str) -> None:
    contract = FileContract("edi", ROOT / f"contracts/systems/edi/{name}.toml")
    assert contract.operations() == (name,)
    assert contract.layout.edi
    assert contract.layout.pattern.fullmatch("anything.edi")


def test_every_example_holds_and_one_is_refused(mapping: CompiledMapping) -> None:
    assert [str(o.finding) for o in run(mapping, parse_xml) if o.finding] == []
    assert any(e.error is None for e in mapping.file.examples)
    assert any(e.error for e in mapping.file.examples)


def test_nothing_of_a_message_is_left_out_without_a_word_and_every_case_is_shown(mapping: CompiledMapping) -> None:
    found = coverage(mapping, parse_xml)
    assert [p for p, use in found.source.items() if use == "unused"] == []
    assert [f"{c.target}: {c.code}" for c in found.cases if not c.exercised] == []

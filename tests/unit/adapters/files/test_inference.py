"""Layouts guessed from interchanges and tables of others: they read what they came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.files.proposal import infer, propose
from contracts.errors import Findings

READ = {
    "edi/edifabric-EANCOM-DespatchAdvice.txt": "edifact_desadv",
    "edi/edifabric-EANCOM-PriceCatalogue.txt": "edifact_pricat",
    "edi/edifact-slsrpt-eancom.edi": "edifact_slsrpt",
    "edi/edinet-x12.810a.edi": "x12_810",
    "edi/edinet-x12.850.edi": "x12_850",
    "edi/edinet-x12.850a.edi": "x12_850",
    "edi/staedi-simple997-multiple-interchanges.edi": "x12_997",
    "edi/walmart-856.txt": "x12_856",
    "edi/walmart-dex.sample.1.txt": "x12_894",
    "files/edifabric-CSV_PO.txt": "edifabric_csv_po",
    "files/TXITENS.BAK": "txitens",
}
NOT_READ = {
    "edi/edinet-x12.832.edi": "expected the number of segments, 12 segments, got '17'",
    "edi/walmart-850.txt": "expected the number of segments, 21 segments, got '33'",
    "edi/staedi-orders-with-group.edi": "expected the number of segments, 18 segments, got '21'",
    "edi/x12-846-snapshot.edi": "SE01 states 9, ST in segment 3 holds 11 segments",
    "edi/edinet-edifact.01.multi-message.edi": "expected the number of segments, 31 segments, got '158'",
    "edi/edinet-edifact.ORDRSP.edi": "expected the number of segments, 31 segments, got '17'",
}
NO_LAYOUT = {
    "edi/walmart-missing-isa.txt": "expected ISA, the header of an X12 interchange",
    "edi/walmart-dex.sample.invalid.segments.txt": "segment 7: expected a segment, got 'SAUSAGE 12/16'",
    "edi/walmart-wrong-gs.txt": "segment 4: expected a segment, got 'TEST'",
}


@pytest.mark.parametrize("name", READ)
def test_a_sample_is_read_by_the_layout_that_is_guessed_from_it(name: str, samples: Path) -> None:
    proposal = propose("x", samples / name)
    assert proposal.main == f"{READ[name]}.toml"
    assert not [q for q in proposal.questions if "transactions of the sample are refused" in q or "holds no transaction" in q]


@pytest.mark.parametrize("name", NOT_READ)
def test_what_a_guessed_layout_does_not_read_is_a_question(name: str, samples: Path) -> None:
    assert NOT_READ[name] in " ".join(propose("x", samples / name).questions)


@pytest.mark.parametrize("name", NO_LAYOUT)
def test_a_broken_sample_is_refused_with_its_reason(name: str, samples: Path) -> None:
    with pytest.raises(Findings) as found:
        propose("x", samples / name)
    assert NO_LAYOUT[name] in str(found.value)


def test_a_tree_of_a_shipment_is_guessed_by_its_levels(samples: Path) -> None:
    made = infer(samples / "edi/walmart-856.txt")
    assert {r.name: r.rule.parent for r in made.records.values() if (r.rule.segment or r.name) == "HL"} == {
        "HL_S": "ST", "HL_O": "HL_S", "HL_I": "HL_O",
    }  # fmt: skip


def test_what_is_the_same_under_a_key_belongs_to_the_document(tmp_path: Path) -> None:
    table = tmp_path / "orders.csv"
    table.write_text("Order No;Store;SKU;Qty\n1;A;x;2\n1;A;y;3\n2;B;x;1\n", encoding="utf-16")
    made = infer(table)
    assert made.file.key == ("Order No", "Store")
    assert [f.column for f in made.transaction.fields] == ["Order No", "Store"]
    assert [f.column for f in made.records["line"].fields] == ["SKU", "Qty"]
    table.write_text("SKU,Qty\nx,2\ny,3\n", encoding="utf-8")
    assert infer(table).file.key == ()

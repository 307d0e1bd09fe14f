"""Layouts inferred from samples: they read the sample they come from, and say what a sample cannot tell."""

from pathlib import Path

import pytest

from adapters.files import layout
from adapters.files.proposal import infer, propose
from adapters.proposal import Proposal
from contracts.errors import Findings

ROWS = """\
HD;1;0001;20261120
TX;003;000041;20261120091205;EUR
LI;1;4711;4006381333931;2;7.58
DI;PR-1;-0.50
LI;2;4712;;1;1.20
TE;BAR;8.28
TX;003;000042;20261120091511;EUR
LI;1;4712;;1;1.20
TE;EC;1.20
ED;2
"""


def inferred(folder: Path, text: str, name: str = "TLOG_0001_20261120.txt") -> tuple[Proposal, layout.Layout]:
    (folder / name).write_text(text, encoding="utf-8")
    proposal = propose("pos", folder / name)
    return proposal, layout.parse(proposal.files[proposal.main].decode(), proposal.main, "made")


def test_kinds_of_rows_their_roles_and_how_they_nest_are_seen(tmp_path: Path) -> None:
    proposal, made = inferred(tmp_path, ROWS)
    roles = {n: (r.rule.role, r.rule.parent) for n, r in made.records.items()}
    assert roles == {
        "HD": ("file_header", ""),
        "TX": ("transaction", ""),
        "LI": ("detail", "TX"),
        "DI": ("detail", "LI"),
        "TE": ("detail", "TX"),
        "ED": ("file_trailer", ""),
    }
    assert made.pattern.fullmatch("TLOG_0002_20261121.txt")
    assert not any("refused" in q or "not read" in q for q in proposal.questions)


def test_types_and_what_values_prove_are_seen(tmp_path: Path) -> None:
    _, made = inferred(tmp_path, ROWS)
    types = {f"{r.name}.{f.name}": f.type for r in made.records.values() for f in r.fields}
    assert types["HD.date"] == "date"
    assert types["TX.time"] == "datetime"
    assert types["TX.currency"] == "string"
    assert types["LI.gtin"] == "string"
    assert types["TE.field_2"] == "decimal"
    assert types["TX.field_2"] == "string"  # leading zeros are kept


def test_values_that_were_seen_reach_the_draft_by_their_path(tmp_path: Path) -> None:
    proposal, _ = inferred(tmp_path, ROWS)
    (samples,) = proposal.samples.values()
    assert samples["LI", "DI", "field_1"] == ["PR-1"]
    assert list(samples["currency",]) == ["EUR", "EUR"]


def test_fixed_rows_are_cut_where_the_characters_change(tmp_path: Path) -> None:
    rows = "T20261120EUR\n" + "".join(f"L{n:04d}TEA    {n:05d}\n" for n in range(1, 8)) + "T20261121EUR\nL0001TIN    00003\n"
    _, made = inferred(tmp_path, rows)
    assert made.file.format == "fixed"
    assert made.transaction.name == "T"
    assert [(f.start, f.width) for f in made.records["L"].fields] == [(2, 4), (6, 7), (13, 5)]


def test_xml_gives_records_for_what_repeats_and_paths_for_the_rest(tmp_path: Path) -> None:
    receipt = '<Bon nr="{n}"><Kopf><Filiale>0001</Filiale></Kopf><Pos><Artikel>4711</Artikel></Pos><Pos><Artikel>4712</Artikel></Pos></Bon>'
    _, made = inferred(tmp_path, f"<Tag>{receipt.format(n=1)}{receipt.format(n=2)}</Tag>", "bon.xml")
    assert (made.file.root, made.transaction.name) == ("Tag", "Bon")
    assert {f.name: f.path for f in made.transaction.fields} == {"nr": "@nr", "Filiale": "Kopf/Filiale"}
    assert [(c.name, c.rule.path) for c in made.transaction.children] == [("Pos", "Pos")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("   \n\n", "is empty"),
        ("0,0,0\n1,2,3\n4,5,6\n7,8,9\n10,1,1\n", "do not begin with what they are"),
        ("<a>", "not well-formed"),
        ("<a/>", "could be a transaction"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a><b><c>&x;</c></b></a>', "DOCTYPE"),
        ("just some words\nand more of them\n", "rows do not begin with what they are"),
    ],
)
def test_what_no_layout_can_be_made_of_is_said(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "sample.txt").write_text(text)
    with pytest.raises(Findings, match=says):
        propose("pos", tmp_path / "sample.txt")


def test_bytes_of_any_kind_end_in_a_layout_or_a_finding(tmp_path: Path) -> None:
    for body in (
        bytes(range(256)) * 20,
        b"\xff\xfe" + "A;1\nB;2\n".encode("utf-16-le"),
        b"A;" + b"x" * 100_000 + b"\nA;1\n",
        b";\n" * 5000,
    ):
        (tmp_path / "odd.dat").write_bytes(body)
        try:
            assert propose("pos", tmp_path / "odd.dat").files
        except Findings as exc:
            assert exc.findings  # noqa: PT017 - either is right


def test_journals_of_real_tills_are_read_by_the_layout_made_of_them(samples: Path) -> None:
    for name in ("poslog-ncr-acs.xml", "naxml34-voided-line.xml", "TXITENS.BAK"):
        proposal = propose("pos", samples / "files" / name)
        assert not any("refused" in q or "not read" in q for q in proposal.questions), proposal.questions


@pytest.mark.parametrize(("name", "expected"), [("poslog-ncr-acs.xml", "poslog"), ("naxml34-voided-line.xml", "naxml")])
def test_a_journal_of_a_standard_gets_the_layout_and_the_mapping_of_that_standard(samples: Path, name: str, expected: str) -> None:
    proposal = propose("tills", samples / "files" / name)
    assert (proposal.main, [o.name for o in proposal.offers]) == (f"{expected}.toml", [expected])
    made = layout.parse(proposal.files[proposal.main].decode(), proposal.main, expected)
    assert made.pattern.fullmatch(name)
    assert made.file.agree == ()
    assert f'source = "tills.{expected}"' in proposal.ready["sale.feed"]
    assert not any("refused" in q or "not read" in q for q in proposal.questions), proposal.questions


X12 = (
    "ISA*00*          *00*          *ZZ*A              *ZZ*B              *260311*0930*U*00401*000000007*0*P*>~"
    "GS*IB*A*B*20260311*0930*7*X*004010~"
)


@pytest.mark.parametrize(
    ("text", "name", "ready"),
    [
        (f"{X12}ST*846*0001~BIA*00*SI*S-7*20260311~LIN**IN*4711~QTY*17*5*EA~", "x12_846", ["level.feed"]),
        ("UNB+UNOC:3+S:14+R:14+260311:0930+7'UNH+1+INVRPT:D:96A:UN:EAN004'BGM+35+R-7+9'", "edifact_invrpt", ["level.feed"]),
        ("UNB+UNOC:3+S:14+R:14+260311:0930+7'UNH+1+SLSRPT:D:96A:UN:EAN004'BGM+73E::9+R-7+9'", "edifact_slsrpt", ["movement.feed"]),
        (f"{X12}ST*852*0001~XQ*H*20260311~LIN**IN*4711~ZA*QS*5*EA~ZA*OH*9*EA~", "x12_852", ["level.feed", "movement.feed"]),
        (f"{X12}ST*852*0001~XQ*H*20260311~LIN**IN*4711~ZA*QS*5*EA~", "x12_852", ["movement.feed", "level.feed"]),
    ],
    ids=["846", "INVRPT", "SLSRPT", "852 with stock", "852 of sales alone"],
)
def test_a_message_about_stock_is_booked_as_what_it_tells(tmp_path: Path, text: str, name: str, ready: list[str]) -> None:
    (tmp_path / "sample.edi").write_text(text)
    proposal = propose("wms", tmp_path / "sample.edi")
    assert (proposal.main, proposal.feeds, list(proposal.ready)) == (f"{name}.toml", ready[0], ready)
    nouns = {"level.feed": "InventoryLevel", "movement.feed": "StockMovement"}
    assert all(f'target = "{nouns[each]}"\nsource = "wms.{name}"' in proposal.ready[each] for each in ready)


def test_what_begins_as_a_standard_in_any_namespace_is_recognised_however_it_ends(tmp_path: Path) -> None:
    for text in ('<?xml version="1.0"?><p:POSLog xmlns:p="urn:x"><Transa', "<POSLog/>"):
        (tmp_path / "sample.xml").write_text(text)
        assert propose("tills", tmp_path / "sample.xml").main == "poslog.toml"


def test_an_interchange_is_no_receipt_and_column_names_alone_show_nothing(tmp_path: Path) -> None:
    order = tmp_path / "po.edi"
    order.write_text(
        "ISA*00*          *00*          *ZZ*A              *ZZ*B              *260311*0930*U*00401*000000007*0*P*>~\n"
        "GS*PO*A*B*20260311*0930*7*X*004010~\nST*850*0001~\nBEG*00*SA*17**20260311~\nPO1*1*5*EA*2.59**UP*4006100000014~\nCTT*1~\n"
        "SE*5*0001~\nGE*1*7~\nIEA*1*000000007~\n",
        encoding="utf-8",
    )
    assert propose("po", order).feeds == ""
    table = tmp_path / "sales.csv"
    table.write_text("store;till;date;sku;total\n", encoding="utf-8")
    with pytest.raises(Findings, match="column names and no row below them"):
        propose("tills", table)
    table.write_text("store;till;date;sku;total\n0001;1;2026-03-11;10000001;2.59\n", encoding="utf-8")
    assert propose("tills", table).feeds == "sale.feed"


def test_what_is_brought_back_is_a_negative_number_and_a_decimal_comma_is_asked_about(tmp_path: Path) -> None:
    table = tmp_path / "sales.csv"
    table.write_text("store;date;sku;qty;price;amount\n0001;2026-03-11;A1;2;3.79;7,58\n0001;2026-03-11;A2;-1;4;-1,20\n", encoding="utf-8")
    found = propose("tills", table)
    text = found.files[found.main].decode()
    assert '{ name = "qty", type = "integer", digits = 12, sign = "leading", column = "qty" }' in text
    assert '{ name = "price", type = "decimal", digits = 18, sign = "leading", column = "price" }' in text
    assert any("amount has a decimal comma, as in 7,58" in question for question in found.questions)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.edi", b"\x1f\x8b\x08\x00rest", "the sample is packed (gzip)"),
        ("a.csv", b"PK\x03\x04rest", "the sample is packed (zip)"),
        ("a.edi", "ISA*00*          *00*          *ZZ*A*ZZ*B~".encode("utf-16"), "an interchange in UTF-16"),
        ("a.edi", b"ST*850*0001~BEG*00*SA*1~SE*3*0001~", "expected ISA and GS in front of ST"),
        ("a.edi", b"UNH+1+ORDERS:D:96A:UN'BGM+220+1+9'UNT+3+1'", "expected UNB in front of UNH"),
        ("a.dat", b"readme", "neither a delimiter nor a record type"),
    ],
)
def test_what_is_no_sample_yet_says_what_it_is(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Findings) as found:
        propose("x", tmp_path / name)
    assert said in str(found.value)


def test_a_table_keeps_quantities_with_its_lines_and_asks_for_the_currency_of_a_sign(tmp_path: Path) -> None:
    rows = ["Receipt No,Store,Qty,SKU,Net", "7,Main,1,A-1,$4.00", "7,Main,1,A-2,$1.50", "8,Main,1,A-1,-$4.00"]
    (tmp_path / "sold.csv").write_bytes("\r\n".join([*rows, ""]).encode() + b"\x1a\x00")
    proposal = propose("x", tmp_path / "sold.csv")
    made = infer(tmp_path / "sold.csv")
    assert [f.name for f in made.records["line"].fields] == ["qty", "sku", "net"]
    assert "net has a currency sign, as in $4.00: write net | priced('.', currency='USD')" in " ".join(proposal.questions)

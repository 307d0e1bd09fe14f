"""Records as people see and edit them: no byte is lost on the way to the screen and back."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.files import shown
from adapters.files.layout import load

ROOT = Path(__file__).resolve().parents[4]
TLOG = load(ROOT / "contracts/systems/pos/tlog.toml")
POSLOG = load(ROOT / "contracts/systems/pos/poslog.toml")


@given(st.binary(max_size=60), st.sampled_from(["utf-8", "latin-1", "cp037", "cp1252", "auto"]))
@example(b"a\\x41\n", "utf-8")
@example(b"\\\\x41", "utf-8")
@example("A\u2028\ufeff".encode(), "utf-8")
@example(b"a\r\nb\r\n", "utf-8")
def test_text_comes_back_to_the_same_bytes_or_is_said_not_to(raw: bytes, encoding: str) -> None:
    text = shown.text_of(raw, encoding)
    assert all(c in {"\n", "\t"} or c.isprintable() or ord(c) > 159 for c in text)
    if shown.editable(raw, encoding):
        assert shown.bytes_of(text, raw, encoding) == raw
        assert shown.bytes_of(text.replace("\n", "\r\n"), raw, encoding) == raw, "as a browser's form sends it"


@pytest.mark.parametrize("raw", [b"TH;1\r\nTL;2\r\n", b"TH;1\nTL;\xff\x00\n", "TH;ä\n".encode()])
def test_what_tills_write_can_be_edited(raw: bytes) -> None:
    assert shown.editable(raw, "utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16-le"])
def test_what_a_file_tells_about_its_encoding_holds_for_its_record_too(encoding: str) -> None:
    raw = "0007;Müsli;2,9x\r\n".encode(encoding)
    text = shown.text_of(raw, "auto")
    assert text == "0007;Müsli;2,9x\n"
    assert shown.editable(raw, "auto")
    assert shown.bytes_of(text.replace("2,9x", "2,99"), raw, "auto") == "0007;Müsli;2,99\r\n".encode(encoding)


def test_mixed_line_ends_are_seen_and_come_back() -> None:
    raw = b"TH;1\r\nTL;2\n"
    assert shown.text_of(raw, "utf-8") == "TH;1\\x0d\nTL;2\n"
    assert shown.editable(raw, "utf-8")


def test_what_an_encoding_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="codec"):
        shown.bytes_of("€", b"", "latin-1")


def test_rows_are_named_and_coded_values_explained_as_far_as_they_go() -> None:
    th, odd, *_ = shown.rows(TLOG, b"TH;001;000001;S;20260311120000;20260311120000;OP;;EUR;TC;more\nQQ;what\n\n")
    cells = {c.name: (c.value, c.says, c.personal) for c in th.cells}
    assert (th.record, cells["type"], cells["operator"]) == ("TH", ("S", "sale", False), ("OP", "", True))
    assert (cells["flags"], cells["field 10"]) == (("TC", "training, cancelled before completion", False), ("more", "", False))
    assert (odd.record, odd.cells[0].value) == ("", "QQ;what")


@pytest.mark.parametrize(
    "raw", [b"XX;SECRET\n", b'TH;001;"SECRET;S\n', b"garbage SECRET", b'TH;001;000001;S;1;2;"SECRET\nTF;1;1;1;1\n', b"\xff\xfeSECRET"]
)
def test_what_cannot_be_told_apart_is_not_shown_masked(raw: bytes) -> None:
    assert shown.masked(TLOG, raw) is None


def test_personal_cells_are_masked_in_their_place() -> None:
    text = shown.masked(TLOG, b"TH;001;000001;S;1;2;OPERATOR;;EUR;\nTT;BAR;100;;1234;A\nTF;1;1;1;1\n")
    assert text == "TH;001;000001;S;1;2;•••;;EUR;\nTT;BAR;100;;•••;A\nTF;1;1;1;1\n"


def test_personal_elements_are_masked_in_any_namespace_and_broken_ones_not_shown() -> None:
    names = shown._personal_names(POSLOG)
    assert names
    element = min(names)
    raw = f'<Transaction xmlns="urn:any"><{element}>SECRET</{element}><Other>7</Other></Transaction>'.encode()
    text = shown.masked(POSLOG, raw)
    assert text is not None
    assert "SECRET" not in text
    assert "<Other>7</Other>" in text
    assert all(c.value != "SECRET" or c.personal for row in shown.rows(POSLOG, raw) for c in row.cells)
    assert shown.masked(POSLOG, raw[:-5]) is None
    bomb = b'<!DOCTYPE x [<!ENTITY a "SECRET">]><Transaction>&a;</Transaction>'
    assert "SECRET" not in (shown.masked(POSLOG, bomb) or "")


@pytest.mark.parametrize(
    "raw",
    [
        b"<T><OperatorID><Name>4711</Name></OperatorID></T>", b"<T><OperatorID><!-- -->4711</OperatorID></T>",
        b"<T><OperatorID>1<?x ?>4711</OperatorID></T>", b"<T><!-- 4711 --><Total>1</Total></T>",
        b"<T><OperatorID OperatorName='4711'>1</OperatorID></T>", b"<T><OperatorID OperatorName='4711'/></T>",
        b"<T><OperatorID><A><B C='4711'>4711</B>4711</A>4711</OperatorID></T>", b"<T><OperatorID>4711<A/></OperatorID></T>",
    ],
)  # fmt: skip
def test_personal_element_is_masked_with_all_that_is_in_it(raw: bytes) -> None:
    masked = shown.masked(POSLOG, raw)
    assert masked is not None
    assert "4711" not in masked
    assert not [cell for row in shown.rows(POSLOG, raw) for cell in row.cells if "4711" in cell.value and not cell.personal]


def test_a_record_of_xml_is_shown_as_its_document_is_written_and_named() -> None:
    around = (b"<?xml version='1.0' encoding='cp1252'?><t:POSLog xmlns:t='urn:t'>", b"</t:POSLog>")
    raw = "<t:Transaction>\r\n<!-- SECRET --><t:OperatorID >Müller €</t:OperatorID></t:Transaction>".encode("cp1252")
    encoding = shown.encoding_of(POSLOG, around)
    text = shown.text_of(raw, encoding)
    assert "Müller €" in text
    assert shown.editable(raw, encoding)
    assert shown.bytes_of(text.replace("Müller", "Möller"), raw, encoding) == raw.replace(b"\xfc", b"\xf6")
    assert [(c.name, c.value, c.personal) for row in shown.rows(POSLOG, raw, around) for c in row.cells] == [
        ("OperatorID", "Müller €", True)
    ]
    masked = shown.masked(POSLOG, raw, around)
    assert masked is not None
    assert "ller" not in masked
    assert "SECRET" not in masked
    assert shown.masked(POSLOG, raw + raw, around) is None
    assert shown.rows(POSLOG, b"</t:POSLog><t:POSLog>", around) == []

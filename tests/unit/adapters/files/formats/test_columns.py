"""Tables under a line of column names: which rows belong together, encodings, line ends, and rows that are none."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from adapters.files.formats.reading import parsing
from adapters.files.layout import parse
from adapters.files.parsing import Ending, Refuse, Unit
from contracts.errors import Findings

LAYOUT = """\
[file]
format      = "delimited"
name        = '.+'
encoding    = "auto"
delimiter   = ","
quote       = '"'
columns     = true
key         = ["PO"]
transaction = "order"
max_records = 50
max_record  = 2000

[record.order]
role   = "transaction"
occurs = "0..n"
fields = [
  { name = "number", type = "string", column = "PO", required = true },
  { name = "buyer", type = "string", column = "CUSTOMER" },
]

[record.line]
role   = "detail"
parent = "order"
occurs = "1..n"
fields = [
  { name = "sku", type = "string", column = "SKU", required = true },
  { name = "quantity", type = "decimal", digits = 9, column = "QTY", required = true },
  { name = "note", type = "string", column = "NOTE" },
]
"""
TABLE = 'SKU,QTY,PO,CUSTOMER,NOTE\nA1,2,77,Müller,\nA2,1.5,77,Müller,"two, and ""more""\nlines"\nA3,3,78,Groß,x\n'
ROWS = [("77", "Müller", [("A1", "2", None), ("A2", "1.5", 'two, and "more"\nlines')]), ("78", "Groß", [("A3", "3", "x")])]


def read(raw: str | bytes, text: str = LAYOUT) -> tuple[list[Unit], Ending]:
    parser = parsing(parse(text, "made.toml", "made"))(None)
    return list(parser.units(BytesIO(raw.encode() if isinstance(raw, str) else raw), "x.csv", {})), parser.ending


def test_rows_with_the_same_key_in_sequence_are_one_transaction() -> None:
    units, ending = read(TABLE)
    assert [u.row for u in units] == ROWS
    assert [u.line for u in units] == [2, 5]
    assert (ending.reasons, ending.findings, ending.units) == ([], [], 2)
    assert units[0].raw().decode() == 'A1,2,77,Müller,\nA2,1.5,77,Müller,"two, and ""more""\nlines"\n'
    assert units[0].around() == (b"SKU,QTY,PO,CUSTOMER,NOTE\n", b"")


def test_without_a_key_each_row_is_a_transaction() -> None:
    alone = LAYOUT.replace('key         = ["PO"]\n', "").split("[record.line]")[0]
    assert [u.row for u in read(TABLE, alone)[0]] == [("77", "Müller"), ("77", "Müller"), ("78", "Groß")]


@pytest.mark.parametrize(
    "raw",
    [
        TABLE.replace("\n", "\r\n").replace('more""\r\n', 'more""\n'),
        TABLE.replace("3\nA1", "3\rA1").replace("NOTE\n", "NOTE\r"),
        "\ufeff" + TABLE,
        TABLE.encode("cp1252"),
        TABLE.encode("utf-16"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.rstrip("\n"),
        TABLE.replace("NOTE\n", "NOTE\n\n\r\n") + "\n\n",
    ],
)  # fmt: skip
def test_encodings_and_line_ends_do_not_change_what_a_table_says(raw: str | bytes) -> None:
    units, ending = read(raw)
    assert [u.row for u in units] == ROWS
    assert ending.reasons == []


def test_columns_are_found_by_name_and_those_that_nobody_declared_are_told() -> None:
    units, ending = read("EXTRA,PO,QTY,SKU\n1,77,2,A1\n")
    assert [u.row for u in units] == [("77", None, [("A1", "2", None)])]
    assert ending.findings == ["columns that the layout does not declare: EXTRA"]


@pytest.mark.parametrize(
    ("row", "line", "field", "expected", "got"),
    [
        ("A2,two,77,M,", 3, "line.quantity", "a decimal", "'two'"),
        (",2,77,M,", 3, "line.sku", "text", "nothing"),
        ("A2,1,77,M,x,y,z", 3, "", "a row that fits its columns", "7 columns under 5 names"),
        ('A2,1,77,M,"x"y', 3, "", "a row that fits its columns", "expected after"),
        ("A2,1,77,N,", 3, "", "a row that fits its columns", "another 'CUSTOMER' than line 2, with which it has the key in common"),
    ],
)
def test_a_row_that_is_none_sets_its_transaction_aside_with_line_and_column(
    row: str, line: int, field: str, expected: str, got: str
) -> None:
    units, _ = read(f"SKU,QTY,PO,CUSTOMER,NOTE\nA1,2,77,M,\n{row}\nA3,3,78,G,x\n")
    bad = next(u.bad for u in units if u.bad)
    assert (bad.line, bad.field) == (line, field)
    assert expected in bad.expected
    assert got in bad.got
    assert units[-1].row == ("78", "G", [("A3", "3", "x")])


@pytest.mark.parametrize("spoilt", ["A2,1,77,M,x,y,z", 'A2,1,77,M,"x"y', "A2,1,77,N,"])
def test_a_bad_row_in_the_middle_sets_all_rows_of_its_transaction_aside_and_no_other(spoilt: str) -> None:
    units, _ = read(f"SKU,QTY,PO,CUSTOMER,NOTE\nA0,1,76,M,\nA1,2,77,M,\n{spoilt}\nA3,3,77,M,\nA4,3,78,M,\n")
    assert [u.row and u.row[0] for u in units] == ["76", None, "78"]
    assert units[1].raw().decode() == f"A1,2,77,M,\n{spoilt}\nA3,3,77,M,\n"


@pytest.mark.parametrize("spoilt", ["A2,1,77,M,x,y,z", 'A2,1,77,M,"x"y'])
def test_a_bad_first_row_takes_the_rest_of_its_own_transaction_with_it(spoilt: str) -> None:
    units, _ = read(f"SKU,QTY,PO,CUSTOMER,NOTE\nA0,1,76,M,\n{spoilt}\nA3,3,77,M,\nA4,3,78,M,\n")
    assert [(u.line, u.row and u.row[0]) for u in units] == [(2, "76"), (3, None), (5, "78")]


def test_columns_of_a_transaction_may_be_left_empty_after_its_first_row() -> None:
    units, _ = read("SKU,QTY,PO,CUSTOMER\nA1,2,77,M\nA2,1,77,\n")
    assert [u.row for u in units] == [("77", "M", [("A1", "2", None), ("A2", "1", None)])]


@pytest.mark.parametrize(
    ("end", "cut"), [("A2,1", True), ('A2,1,77,M,"x', True), ("A2,1\n", False), ("A2,1,77,M,", False), ("A2,1,77,M,x", False)]
)
def test_a_table_that_ends_within_a_row_is_incomplete(end: str, cut: bool) -> None:
    raw = f"SKU,QTY,PO,CUSTOMER,NOTE\nA1,2,77,M,\n{end}"
    for encoding in ("utf-8", "utf-16"):
        _, ending = read(raw.encode(encoding), LAYOUT.replace("columns ", 'incomplete  = "refuse_file"\ncolumns ', 1))
        assert ending.reasons == (["the file ends within a row: it is cut off, or still being written"] if cut else [])
    _, ending = read(raw, LAYOUT.replace("columns ", 'incomplete  = "book_complete"\ncolumns ', 1))
    assert len(ending.findings) == cut


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "the file is empty, not even a line of column names"),
        ("SKU,QTY,CUSTOMER\n", "line 1: expected a column PO, got SKU, QTY, CUSTOMER"),
        ("SKU,SKU,PO,QTY\n", "line 1: two columns are called 'SKU'"),
        ("SKU,QTY,PO\n" + "x" * 5000 + ",1,2\n", "characters"),
        ('SKU,QTY,PO\nA,1,"2\n' + "y,1,2\n" * 5000, "is a quote left open?"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(raw: str, reason: str) -> None:
    with pytest.raises(Refuse) as refused:
        read(raw)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key         = ["PO"]', 'key         = ["P0"]', "key: order has no column 'P0'"),
        ('key         = ["PO"]\n', "", "key does not say which rows belong together"),
        ("columns     = true\n", "", "key names columns"),
        ("columns     = true", "columns     = true\nrecord_type = { position = 1 }", "rows under column names are all of one kind"),
    ],
)
def test_a_layout_with_a_mistake_says_so(old: str, new: str, said: str) -> None:
    with pytest.raises(Findings) as found:
        parse(LAYOUT.replace(old, new, 1).replace('"auto"', '"utf-8"'), "made.toml", "made")
    assert said in " | ".join(str(f) for f in found.value.findings)


def test_a_purchase_order_of_others_is_read(samples: Path) -> None:
    text = (
        LAYOUT.replace('"PO"', '"PO_NUMBER"')
        .replace('"CUSTOMER"', '"CUSTOMER_NAME"')
        .replace('"SKU"', '"UPC_NUMBER"')
        .replace('"QTY"', '"QUANTITY"')
    )
    (unit,), ending = read((samples / "files/edifabric-CSV_PO.txt").read_bytes(), text)
    assert unit.row is not None
    assert unit.row[:2] == ("10000234500", "SHIPTO NAME")
    assert len(unit.row[2]) == 6
    assert ending.reasons == []


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_padding_of_a_table_is_left_out_whatever_it_is_written_in(encoding: str) -> None:
    plain, _ = read(TABLE.encode(encoding))
    units, ending = read(TABLE.encode(encoding) + b"\x1a" + b"\0" * 4000)
    assert [u.row for u in units] == [u.row for u in plain]
    assert ending.findings == ["4001 bytes of padding behind the last line are left out: Ctrl-Z or NUL"]
    assert read(TABLE.encode("utf-16"))[1].findings == []

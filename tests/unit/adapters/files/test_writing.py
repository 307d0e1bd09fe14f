"""What the writer writes, the real readers read: the same rows, and totals that prove them."""

import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.files.formats.reading import parsing
from adapters.files.layout import Layout, parse
from adapters.files.layout import load as load_layout
from adapters.files.parsing import Unit
from adapters.files.writing import Raw, Unwritable, Writer

POS = Path(__file__).parents[4] / "contracts/systems/pos"

FIXED = """
[file]
format = "fixed"
name = 'DAY(?P<day>\\d{3})\\.txt'
encoding = "cp1252"
record_type = { start = 1, width = 2 }
transaction = "TR"

[record.TR]
role = "transaction"
occurs = "0..n"
fields = [
  { name = "number", type = "integer", digits = 6, start = 3, width = 6, pad = "0", required = true },
  { name = "amount", type = "decimal", digits = 8, decimals = 2, sign = "trailing", pad = "0", start = 9, width = 9, required = true },
  { name = "who", type = "string", max = 10, start = 18, width = 10 },
  { name = "punch", type = "decimal", digits = 5, decimals = 2, sign = "overpunch", start = 28, width = 5 },
]

[record.TE]
role = "file_trailer"
occurs = "1"
fields = [{ name = "total", type = "decimal", digits = 12, decimals = 2, sign = "trailing", start = 3, width = 13 }]

[[check]]
name = "total"
says = "the total is wrong"
scope = "file"
expect = "TE.total"
equals = [{ sum = "TR.amount" }]
on_failure = "refuse_file"
"""


def read(layout: Layout, name: str, body: bytes) -> tuple[list[Unit], list[str]]:
    reader = parsing(layout)(None)
    found = layout.pattern.fullmatch(name)
    assert found is not None
    units = list(reader.units(io.BytesIO(body), name, found.groupdict()))
    return units, reader.ending.reasons


def test_columns_signs_and_totals_of_a_fixed_layout() -> None:
    layout = parse(FIXED, "day.toml", "day")
    rows = [(7, Decimal("12.99"), "Müller", Decimal("-1.20")), (8, "-0.5", None, None)]
    written = Writer(layout).file(rows, number=4)
    assert written.name == "DAY004.txt"
    assert written.body.decode("cp1252").splitlines()[0] == "TR00000700001299 Müller    12}  "
    units, reasons = read(layout, written.name, written.body)
    assert ([u.row for u in units], reasons) == ([(7, "12.99", "Müller", "-1.20"), (8, "-0.50", None, None)], [])


@pytest.mark.parametrize("kind", ["tlog", "poslog"])
def test_a_transaction_made_from_the_layout_alone_is_read_again(kind: str) -> None:
    layout = load_layout(POS / f"{kind}.toml")
    row = Writer(layout).sample({})
    written = Writer(layout).file([row, row])
    units, reasons = read(layout, written.name, written.body)
    assert [u.wrong for u in units] == [None, None]
    assert reasons == []
    assert len(written.starts) == 3
    assert written.starts[-1] <= len(written.body)


TABLE = """
[file]
format = "delimited"
name = 'receipts\\.csv'
delimiter = ";"
quote = '"'
encoding = "auto"
columns = true
key = ["no"]
transaction = "receipt"

[record.receipt]
role = "transaction"
occurs = "0..n"
fields = [{ name = "number", type = "integer", digits = 6, column = "no", required = true }, { name = "store", type = "string" }]

[record.item]
role = "detail"
parent = "receipt"
occurs = "0..n"
fields = [{ name = "sku", type = "string" }, { name = "amount", type = "decimal", digits = 8 }]
"""


def test_a_table_has_its_columns_first_and_a_row_for_each_detail() -> None:
    layout = parse(TABLE, "table.toml", "table")
    rows = [(1, "Köln; Süd", [("4711", "1.50"), ("4712", "2")]), (2, "B", [("4713", "0.25")])]
    written = Writer(layout).file(rows)
    said = written.body.decode().splitlines()
    assert said == ["no;store;sku;amount", '1;"Köln; Süd";4711;1.50', '1;"Köln; Süd";4712;2', "2;B;4713;0.25"]
    units, reasons = read(layout, written.name, written.body)
    assert ([u.row for u in units], reasons) == (rows, [])


def test_a_stated_total_is_written_instead_of_the_right_one() -> None:
    layout = parse(FIXED, "day.toml", "day")
    written = Writer(layout).file([(7, "1.00", "A", None)], stated={"TE.total": "9.99"})
    assert "the total is wrong" in read(layout, written.name, written.body)[1][0]


def test_a_raw_text_is_written_as_it_is() -> None:
    layout = parse(FIXED, "day.toml", "day")
    written = Writer(layout).file([(7, "1.00", "A", None), (8, "1.00", Raw("?!"), None)])
    assert b"?!" in written.body


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "at least one"),
        ([(7, "1", "a name that is too long", None)], "is longer than its 10 columns"),
        ([(-7, "1", "A", None)], "no sign"),
    ],
)
def test_what_no_file_of_the_layout_can_hold_is_said(rows: list[Any], words: str) -> None:
    with pytest.raises(Unwritable, match=words):
        Writer(parse(FIXED, "day.toml", "day")).file(rows)

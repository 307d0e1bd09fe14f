"""Records of a fixed length in bytes: code pages, zoned, packed and binary numbers, several kinds of record, and what is no number."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from adapters.files.formats.reading import parsing
from adapters.files.layout import Layout, load, parse
from adapters.files.parsing import Ending, Unit
from contracts.errors import Findings

LAYOUT = """\
[file]
format        = "fixed"
name          = '.+'
encoding      = "{encoding}"
record_length = 30
record_type   = {{ start = 1, width = 1 }}
transaction   = "T"

[record.H]
role   = "file_header"
occurs = "1"
fields = [{{ name = "store", type = "string", start = 2, width = 4 }}]

[record.T]
role   = "transaction"
occurs = "0..n"
fields = [
  {{ name = "till", type = "string", start = 2, width = 4 }},
  {{ name = "number", type = "integer", digits = 9, stored = "binary", sign = "leading", start = 6, width = 4 }},
  {{ name = "name", type = "string", start = 10, width = 10 }},
]

[record.L]
role   = "detail"
parent = "T"
occurs = "1..n"
fields = [
  {{ name = "amount", type = "decimal", digits = 7, decimals = 2, stored = "packed", start = 2, width = 4, required = true }},
  {{ name = "pieces", type = "decimal", digits = 5, decimals = 3, stored = "zoned", start = 6, width = 5 }},
  {{ name = "count", type = "integer", digits = 5, stored = "zoned", sign = "leading", start = 11, width = 5 }},
  {{ name = "flags", type = "integer", digits = 5, stored = "binary_little", start = 16, width = 2 }},
]

[record.E]
role   = "file_trailer"
occurs = "1"
fields = [
  {{ name = "lines", type = "integer", digits = 5, start = 2, width = 5 }},
  {{ name = "hash", type = "decimal", digits = 9, decimals = 2, stored = "packed", start = 7, width = 5 }},
]

[[check]]
name       = "lines"
says       = "the trailer states another number of lines"
scope      = "file"
expect     = "E.lines"
equals     = [{{ count = "L" }}]
on_failure = "refuse_file"

[[check]]
name       = "hash"
says       = "the trailer's total is not the sum of the amounts"
scope      = "file"
expect     = "E.hash"
equals     = [{{ sum = "L.amount" }}]
on_failure = "refuse_file"
"""


def text(value: str, encoding: str = "cp037") -> bytes:
    return value.encode(encoding)


def record(*parts: bytes, encoding: str = "cp037") -> bytes:
    return b"".join(parts).ljust(30, " ".encode(encoding))


def packed(digits: str, *, minus: bool = False) -> bytes:
    return bytes.fromhex(digits + ("d" if minus else "c"))


def lines(encoding: str = "cp037", trailer: str = "00002", total: bytes = b"") -> list[bytes]:
    def t(value: str) -> bytes:
        return value.encode(encoding)

    return [
        record(t("H0001"), encoding=encoding),
        record(t("T0007"), (4711).to_bytes(4, "big"), t("Käufer"), encoding=encoding),
        record(t("L"), packed("0001299"), bytes.fromhex("f0f0f5f0d0"), bytes.fromhex("d0f0f0f1f2"), b"\x01\x02", encoding=encoding),
        record(t("L"), packed("0000100", minus=True), bytes.fromhex("f0f1f0f0c0"), bytes.fromhex("c0f0f0f0f3"), b"\0\0", encoding=encoding),
        record(t("T0008"), (-1).to_bytes(4, "big", signed=True), encoding=encoding),
        record(t("L"), packed("0000000"), encoding=encoding),
        record(t(f"E{trailer}"), total or packed("000001199"), encoding=encoding),
    ]


def layout(encoding: str = "cp037") -> Layout:
    return parse(LAYOUT.format(encoding=encoding), "made.toml", "made")


def read(raw: bytes, made: Layout) -> tuple[list[Unit], Ending]:
    parser = parsing(made)(None)
    return list(parser.units(BytesIO(raw), "x", {})), parser.ending


@pytest.mark.parametrize("encoding", ["cp037", "cp273", "cp500", "cp1140", "cp1026"])
def test_records_of_a_mainframe_are_read_in_their_code_page(encoding: str) -> None:
    units, ending = read(b"".join(lines(encoding, "00003")), layout(encoding))
    assert [u.row for u in units] == [
        ("0007", 4711, "Käufer", ("0001",), [("12.99", "-0.500", -12, 513), ("-1.00", "1.000", 3, 0)]),
        ("0008", -1, None, ("0001",), [("0.00", None, None, 16448)]),
    ]
    assert (ending.reasons, ending.findings) == ([], [])
    assert [u.line for u in units] == [2, 5]


def test_a_transaction_keeps_its_own_bytes_and_those_in_front_of_the_file() -> None:
    made, raw = layout(), lines(trailer="00003")
    parser = parsing(made)(None)
    held = [(u.row, u.raw(), u.around()) for u in parser.units(BytesIO(b"".join(raw)), "x", {})]
    assert [r for _, r, _ in held] == [b"".join(raw[1:4]), b"".join(raw[4:6])]
    assert {a for *_, a in held} == {(raw[0], b"")}
    for row, own, around in held:
        alone, _ = read(own.join(around), made)
        assert [u.row for u in alone] == [row]


@pytest.mark.parametrize(
    ("at", "with_", "field", "expected", "got"),
    [
        (2, record(text("L"), b"\x00\x12\x9a\x9f"), "L.amount", "a decimal of at most 7 digits, 2 of them decimals", "\"X'00129A9F'\""),
        (2, record(text("L"), b"\x00\x12\x99\x97"), "L.amount", "a decimal", "\"X'00129997'\""),
        (2, record(text("L"), packed("0001299"), b"\xf0\xf0\xfa\xf0\xc0"), "L.pieces", "a decimal", "\"X'F0F0FAF0C0'\""),
        (2, record(text("L")), "L.amount", "a decimal", "nothing"),
        (2, record(text("Z")), "", "L", "'Z', which is no declared record"),
        (2, b"\x00" * 30, "", "L", "which is no declared record"),
    ],
)
def test_what_is_no_number_sets_its_transaction_aside_and_shows_its_bytes(
    at: int, with_: bytes, field: str, expected: str, got: str
) -> None:
    rows = lines(trailer="00003")
    rows[at] = with_
    units, _ = read(b"".join(rows), layout())
    bad = units[0].bad
    assert bad is not None
    assert (bad.line, bad.field) == (at + 1, field)
    assert expected in bad.expected
    assert got in bad.got
    assert units[1].row is not None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"".join(lines(trailer="00009")), "the trailer states another number of lines: E.lines states 9, the file holds 3"),
        (b"".join(lines(trailer="00003", total=packed("000001200"))), "E.hash states 12.00, the file holds 11.99"),
        (b"".join(lines(trailer="00003")) + b"\xf0" * 7, "record 8 has 7 of 30 bytes: the file is cut off"),
        (b"".join(lines(trailer="00003")[:-1]), "the file ends without its trailer E"),
    ],
)
def test_totals_and_length_prove_the_file(raw: bytes, reason: str) -> None:
    assert reason in " | ".join(read(raw, layout())[1].reasons)


def test_fillers_of_a_number_are_nothing_written() -> None:
    rows = lines(trailer="00003")
    rows[2] = record(text("L"), packed("0001299"), b"\x40" * 5, b"\xff" * 5, b"\0\0")
    units, _ = read(b"".join(rows), layout())
    assert units[0].row is not None
    assert units[0].row[4][0] == ("12.99", None, None, 0)


@pytest.mark.parametrize(("sign", "written", "value"), [
    ("overpunch", "0129I", "12.99"), ("overpunch", "0129R", "-12.99"), ("overpunch", "0129y", "-12.99"), ("overpunch", "01299", "12.99"),
    ("overpunch_leading", "}1299", "-12.99"), ("overpunch_leading", "A0000", "100.00"), ("overpunch_leading", "01299", "12.99"),
])  # fmt: skip
def test_an_over_punched_digit_at_either_end_carries_the_sign(sign: str, written: str, value: str) -> None:
    made = parse(
        f"""
[file]
format = "fixed"
name = '.+'
record_type = {{ start = 1, width = 1 }}
transaction = "A"

[record.A]
role = "transaction"
occurs = "0..n"
fields = [{{ name = "amount", type = "decimal", digits = 5, decimals = 2, sign = "{sign}", start = 2, width = 5 }}]
""",
        "made.toml",
        "made",
    )
    assert [u.row for u in read(f"A{written}\n".encode(), made)[0]] == [(value,)]


def test_records_without_a_type_are_each_a_transaction() -> None:
    made = LAYOUT.format(encoding="cp037").split("[record.H]")[0].replace("record_type   = { start = 1, width = 1 }\n", "")
    made += '[record.T]\nrole = "transaction"\noccurs = "0..n"\nfields = [{ name = "a", type = "string", start = 1, width = 30 }]\n'
    assert [u.row for u in read(record(text("one")) + record(text("two")), parse(made, "m", "m"))[0]] == [("one",), ("two",)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("record_length = 30\n", "", "rows in cp037 are not read"),
        ('format        = "fixed"', 'format        = "delimited"\ndelimiter = ";"', "record_length belongs to fixed columns"),
        ('stored = "packed", start = 2', 'stored = "packed", sign = "overpunch", start = 2', "a stored number is signed by its form"),
        ('name = "store", type = "string"', 'name = "store", type = "string", stored = "packed"', "stored says how a number lies"),
        ('sign = "leading", start = 6, width = 4', "start = 6, width = 40", "a binary integer has at most 16 bytes"),
    ],
)
def test_a_layout_with_a_mistake_says_so(old: str, new: str, said: str) -> None:
    body = LAYOUT.format(encoding="cp037")
    assert old in body
    with pytest.raises(Findings) as found:
        parse(body.replace(old, new, 1), "made.toml", "made")
    assert said in " | ".join(str(f) for f in found.value.findings)


def test_a_shop_file_of_scale_items_is_read_by_a_layout_written_for_it(samples: Path, tmp_path: Path) -> None:
    """Rows of 45 characters: department, label, kind, code, price in cents, days of shelf life, name."""
    file = tmp_path / "items.toml"
    file.write_text(
        """
[file]
format = "fixed"
name = '.+\\.BAK'
record_type = { start = 1, width = 2 }
transaction = "01"
incomplete = "book_complete"

[record."01"]
role = "transaction"
occurs = "0..n"
fields = [
  { name = "label", type = "string", start = 3, width = 2 },
  { name = "kind", type = "enum", values = { 0 = "weighed", 1 = "counted" }, start = 5, width = 1 },
  { name = "code", type = "string", start = 6, width = 6 },
  { name = "price", type = "decimal", digits = 6, decimals = 2, start = 12, width = 6 },
  { name = "days", type = "integer", digits = 3, start = 18, width = 3 },
  { name = "name", type = "string", start = 21, width = 25 },
]
""",
        encoding="utf-8",
    )
    units, ending = read((samples / "files/TXITENS.BAK").read_bytes(), load(file))
    assert [u.bad for u in units] == [None] * 5
    assert units[0].row == ("03", "0", "000740", "6.99", 0, "FEIJAO PRETO AGRANEL")
    assert units[3].row == ("03", "0", "000744", "13.90", 0, "SALAME DONADO DEFUMA")
    assert ending.reasons == []


FLAT = """
[file]
format = "fixed"
name = '.+'
record_type = { start = 1, width = 2 }
transaction = "PO"
incomplete = "book_complete"

[record."*"]
unknown = "UNKNOWN"

[record.PO]
role = "transaction"
occurs = "0..n"
fields = [{ name = "date", type = "date", format = "iso", start = 3, width = 10, required = true }]

[record.US]
role = "detail"
parent = "PO"
occurs = "1..n"
fields = [
  { name = "name", type = "string", start = 11, width = 20, personal = true },
  { name = "street", type = "string", start = 31, width = 20, personal = true },
  { name = "city", type = "string", start = 51, width = 15 },
  { name = "state", type = "string", start = 66, width = 3 },
  { name = "zip", type = "string", start = 69, width = 5 },
]

[record.IT]
role = "detail"
parent = "PO"
occurs = "1"
fields = [{ name = "items", type = "string", start = 7, width = 400 }]
"""


def test_orders_of_others_in_fixed_columns_are_read(samples: Path) -> None:
    made = parse(FLAT.replace("UNKNOWN", "bad"), "flat.toml", "flat")
    (order,), ending = read((samples / "files/edifabric-Flat_PO.txt").read_bytes(), made)
    assert order.row is not None
    assert order.row[1] == [
        ("David Pastrnak", "100 Legends Way", "Boston", "MA", "02114"),
        ("Nathan MacKinnon", "1000 Chopper Cir", "Denver", "CO", "80204"),
    ]
    assert order.row[2][0].startswith("ITEM213-CC|Bauer Nexus 2N Pro|1|168.95")
    assert ending.reasons == []


def test_rows_of_another_file_behind_an_order_are_set_aside_or_passed_over_as_declared(samples: Path) -> None:
    raw = (samples / "files/edifabric-Flat_Multiple.txt").read_bytes()
    (order,), _ = read(raw, parse(FLAT.replace("UNKNOWN", "skip"), "flat.toml", "flat"))
    assert order.row is not None
    assert [row[0] for row in order.row[1]] == ["Alice Smith", "Robert Smith"]
    (order,), _ = read(raw, parse(FLAT.replace("UNKNOWN", "bad"), "flat.toml", "flat"))
    assert order.bad is not None
    assert (order.bad.line, order.bad.got) == (6, "'H,', which is no declared record")


@pytest.mark.parametrize(("padding", "count"), [(b"\x1a" + b"\0" * 99, 100), (b"\0" * 60, 60), (b"\x1a", 1)])
def test_padding_behind_the_last_record_is_left_out_and_told_and_within_the_file_is_bad(padding: bytes, count: int) -> None:
    records = lines()
    plain, _ = read(b"".join(records), layout())
    units, ending = read(b"".join(records) + padding, layout())
    assert [u.row for u in units] == [u.row for u in plain]
    assert ending.findings == [f"{count} bytes of padding behind the last line are left out: Ctrl-Z or NUL"]
    units, ending = read(b"".join([*records[:2], b"\0" * 30, *records[2:]]), layout())
    assert [u for u in units if u.wrong] or ending.reasons

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.files.formats.delimited import BLOCK, Plan, RowParser
from adapters.files.layout import Layout, load, parse
from adapters.files.parsing import Ending, Refuse, Unit
from tests.unit.adapters.files.test_layout import GOOD

HEAD = b"FH;2;0001;20260311;20260311220000;00001\n"
SALE = (
    b"TH;001;000001;S;20260311080448;20260311080520;0026;r1;EUR;\nTL;1;S;000010000082;4006100000823;1000;ST;500;500;;S\n"
    b"TT;BAR;500;;;\nTF;500;500;0;500\n"
)
TRAIL = b"FT;1;1;500\n"
PLANS = [Plan(load(Path(__file__).parents[5] / "contracts/systems/pos/tlog.toml"))]
FACTS = {"store": "0001", "business_date": "20260311", "file_no": "00001"}

Found = tuple[list[tuple[Unit, bytes]], Ending]


@pytest.fixture(scope="module")
def tlog() -> Plan:
    return Plan(load(Path(__file__).parents[5] / "contracts/systems/pos/tlog.toml"))


def read(plan: Plan, body: bytes, facts: Mapping[str, str] = FACTS) -> Found:
    parser = RowParser(plan)
    units = [(u, u.raw() if u.wrong else b"") for u in parser.units(io.BytesIO(body), "f", facts)]
    return units, parser.ending


def layout(**changes: str) -> Layout:
    text = GOOD
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse(text, "x.toml", "x")


def test_a_whole_file_gives_nested_rows_and_no_finding(tlog: Plan) -> None:
    units, ending = read(tlog, HEAD + SALE + TRAIL)
    ((unit, _),) = units
    assert unit.row is not None
    assert unit.row[9][1] == "0001"
    assert unit.row[11] == [(1, "S", "000010000082", "4006100000823", "1.000", "ST", "5.00", "5.00", (False,), "S", [])]
    assert (unit.position, unit.line, ending.units, ending.reasons, ending.findings) == (1, 2, 1, [], [])


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b"\xef\xbb\xbf" + b,
        lambda b: b.replace(b"\n", b"\r\n"),
        lambda b: b.replace(b"\n", b"\r\n", 3),
        lambda b: b.replace(b"TL;", b"\n\nTL;"),
        lambda b: b.removesuffix(b"\n"),
        lambda b: b.replace(b";0026;", b';"0026";'),
        lambda b: b.replace(b";0026;", b';"0026";').replace(b"\n", b"\r\n"),
        lambda b: b.replace(b";EUR;\n", b";EUR\n"),
    ],
    ids=["BOM", "CRLF", "mixed line ends", "blank rows", "no last line end", "quotes", "quotes and CRLF", "trailing empty field left out"],
)
def test_harmless_differences_read_the_same(tlog: Plan, change: object) -> None:
    plain, _ = read(tlog, HEAD + SALE + TRAIL)
    units, ending = read(tlog, change(HEAD + SALE + TRAIL))  # type: ignore[operator]  # one of the functions above
    assert (units[0][0].row, ending.reasons, ending.findings) == (plain[0][0].row, [], [])


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "got"),
    [
        (b";1000;ST", b";1x00;ST", 3, "TL.quantity", "'1x00'"),
        (b";S;20260311080448", b";Z;20260311080448", 2, "TH.type", "'Z'"),
        (b"20260311080448", b"20261311080448", 2, "TH.begin", "'20261311080448'"),
        (b";0026;", b";K\xfcrschner;", 2, "TH.operator", "byte 0xFC"),
        (b";0026;", b";00\x0026;", 2, "TH.operator", "control character 0x00"),
        (b"TL;1", b"TQ;1", 3, "", "'TQ', which is no declared record"),
        (b"TF;500;500;0;500\n", b"TF;500;500;0;501\n", 5, "TF.grand", "5.01"),
        (b"TT;BAR;500", b"TT;BAR;400", 5, "TF.grand", "5.00"),
        (b";r1;EUR;", b";r1;EUR;;x", 2, "TH", "10 fields"),
        (b";r1;EUR;", b";" + b"r" * 9000 + b";EUR;", 2, "TH", "a longer one"),
        (b";0026;", b';"00"26;', 2, "TH", ""),
        (b"TF;500;500;0;500\n", b"", 5, "", "TH"),
    ],
)  # fmt: skip
def test_damage_in_a_transaction_sets_it_aside_with_its_place_and_bytes(
    tlog: Plan, old: bytes, new: bytes, line: int, field: str, got: str
) -> None:
    other = SALE.replace(b"000001", b"000002").replace(b"r1", b"r2")
    bad = SALE.replace(old, new, 1)
    units, ending = read(tlog, HEAD + bad + other + TRAIL)
    wrong, raw = units[0]
    assert wrong.wrong is not None
    assert (wrong.position, wrong.wrong.line, wrong.wrong.field) == (1, line, field)
    assert got in wrong.wrong.got
    if len(new) < 1000:
        assert raw == bad
    good = units[-1][0]
    assert good.row is not None
    assert good.row[1] == 2
    assert (ending.units, ending.set_aside) == (len(units), len(units) - 1)


def test_a_personal_value_is_not_quoted(tlog: Plan) -> None:
    units, _ = read(tlog, HEAD + SALE.replace(b";0026;", b";" + b"9" * 21 + b";") + TRAIL)
    assert units[0][0].wrong is not None
    assert units[0][0].wrong.got == "a personal value, not shown"


def test_quoted_delimiters_quotes_and_line_ends_are_text(tlog: Plan) -> None:
    discount = SALE.replace(b"TT;BAR;500", b'TD;1;P;0;"a;""b"" \n c"\nTT;BAR;500')
    units, _ = read(tlog, HEAD + discount + TRAIL)
    assert units[0][0].row is not None
    assert units[0][0].row[11][0][10] == [(1, "P", "0.00", 'a;"b" \n c')]


def test_a_stray_quote_spoils_its_row_and_swallows_none_behind_it(tlog: Plan) -> None:
    others = b"".join(SALE.replace(b"000001", b"%06d" % n) for n in range(2, 12))
    units, ending = read(tlog, HEAD + SALE.replace(b";r1;", b';"r1;') + others + b"FT;11;11;5500\n")
    assert [u.position for u, _ in units if u.wrong] == [1]
    assert (ending.units, ending.reasons) == (11, [])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no header"),
        (SALE + TRAIL, "expected FH, got TH"),
        (b"\x00\x01\x02\n", "expected the file header FH"),
        (HEAD.replace(b"20260311;", b"2026x311;", 1), "FH.business_date"),
        (HEAD.replace(b";0001;", b";0002;"), "the name says store 0001, the content 0002"),
        ("FH;2".encode("utf-16"), "UTF-16"),
        (HEAD + b"x" * 300_000, ""),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_or_reported_incomplete(tlog: Plan, body: bytes, says: str) -> None:
    try:
        _, ending = read(tlog, body)
    except Refuse as error:
        assert says in str(error)  # noqa: PT017  # either is right
    else:
        assert ending.reasons


@pytest.mark.parametrize(
    ("trail", "says"),
    [
        (b"", "without its trailer FT"),
        (b"FT;2;1;500\n", "another number of transactions"),
        (b"FT;1;9;500\n", "another number of item lines"),
        (b"FT;1;1;501\n", "the trailer's total"),
        (b"FT;x;1;500\n", "FT.transactions"),
        (b"FT;1;1;500\n" + SALE, "goes on behind its trailer"),
    ],
)
def test_a_file_that_its_end_does_not_prove_is_refused(tlog: Plan, trail: bytes, says: str) -> None:
    _, ending = read(tlog, HEAD + SALE + trail)
    assert any(says in reason for reason in ending.reasons)


def test_a_sum_over_a_transaction_set_aside_proves_nothing_and_counts_still_do(tlog: Plan) -> None:
    _, ending = read(tlog, HEAD + SALE.replace(b";1000;", b";x;") + TRAIL.replace(b"500", b"999"))
    assert ending.reasons == []
    assert ending.findings == ["hash_total is unproven: 1 transactions were set aside"]


def test_what_was_complete_is_kept_where_the_layout_says_so() -> None:
    plan = Plan(layout(**{'transaction = "T"': 'transaction = "T"\nincomplete = "book_complete"'}))
    units, ending = read(plan, b"T;1;\nL;100\nT;2\n", {})
    assert [(u.wrong is None) for u, _ in units] == [True, False]
    assert ending.reasons == []


def test_a_transaction_of_too_many_rows_is_bad_and_is_not_held(tlog: Plan) -> None:
    many = SALE.replace(b"TT;BAR", b"TT;BAR;0;;;\n" * 6000 + b"TT;BAR", 1)
    units, _ = read(tlog, HEAD + many + TRAIL)
    assert units[0][0].wrong is not None
    assert "at most 5000 rows" in units[0][0].wrong.expected
    assert len(units[0][1]) < 100_000


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_block_borders_change_nothing(tlog: Plan, size: int) -> None:
    count = size // len(SALE)
    body = (
        HEAD + b"".join(SALE.replace(b"000001", b"%06d" % n) for n in range(1, count + 1)) + b"FT;%d;%d;%d\n" % (count, count, count * 500)
    )
    units, ending = read(tlog, body)
    assert (len(units), ending.set_aside, ending.reasons) == (count, 0, [])


FIXED = """
[file]
format = "fixed"
name = 'X\\.txt'
record_type = { start = 1, width = 2 }
transaction = "01"
incomplete = "book_complete"
[record.01]
role = "transaction"
occurs = "0..n"
fields = [
  { name = "no", type = "integer", digits = 6, start = 3, width = 6, required = true },
  { name = "text", type = "string", start = 9, width = 10 },
]
[record.02]
role = "detail"
parent = "01"
occurs = "0..n"
fields = [
  { name = "amount", type = "decimal", digits = 6, decimals = 2, sign = "overpunch", start = 3, width = 6, required = true },
]
"""


def test_fixed_columns_have_implied_decimals_and_overpunched_signs() -> None:
    plan = Plan(parse(FIXED, "f.toml", "f"))
    units, _ = read(plan, b"01000007Birnen    \n0200129I\n0200129R\n01000008\n0200xx99\n01     9Z         junk\n", {})
    assert units[0][0].row == (7, "Birnen", [("12.99",), ("-12.99",)])
    assert [u.wrong and u.wrong.field for u, _ in units[1:]] == ["02.amount", "01"]


def test_a_detail_with_a_child_that_occurs_once_is_a_tuple_in_the_end() -> None:
    text = GOOD + '[record.P]\nrole = "detail"\nparent = "L"\noccurs = "0..1"\nfields = [{ name = "x", type = "string" }]\n'
    units, _ = read(Plan(parse(text, "x", "x")), b"T;1;\nL;100\nP;a\nL;2\n", {})
    assert units[0][0].row == (1, (False, False), [("1.00", ("a",)), ("0.02", None)])


@given(
    st.binary(max_size=2000)
    | st.lists(st.sampled_from([HEAD, SALE, TRAIL, b'"', b"TL;1", b"\n", b";", b"\xff", b"TF;1;1;0;1\n"])).map(b"".join)
)
def test_no_bytes_crash_the_reader_and_positions_count_up(body: bytes) -> None:
    plan = PLANS[0]
    parser = RowParser(plan)
    try:
        positions = [u.position for u in parser.units(io.BytesIO(body), "f", FACTS)]
    except Refuse:
        return
    assert positions == list(range(1, len(positions) + 1)) == list(range(1, parser.ending.units + 1))


@given(
    st.lists(
        st.sampled_from([HEAD, SALE, SALE.replace(b"500", b"600"), SALE.replace(b"EUR;", b"EUR;T"), SALE.replace(b"ST", b"XX"), TRAIL,
                         b"FT;2;2;1000\n", b"FT;3;3;1100\n", b"TL;1;S\n", b"TF;500;500;0;500\n", b"TF;500;500;0;700\n", b'T"\n'])
    ).map(lambda rows: HEAD + b"".join(rows)),
    st.integers(1, 2),
)  # fmt: skip
def test_what_a_whole_reading_refuses_a_skimming_one_refuses_too(body: bytes, skim: int) -> None:
    def found(skim: int | None) -> tuple[bool, int]:
        parser = RowParser(PLANS[0], skim)
        try:
            count = len([*parser.units(io.BytesIO(body), "f", FACTS)])
        except Refuse:
            return True, -1
        return bool(parser.ending.reasons), count

    (refused, units), (doubted, skimmed) = found(None), found(skim)
    assert skimmed == units
    assert doubted >= refused


def test_a_skimming_reading_counts_and_adds_up_but_reads_no_transaction(tlog: Plan) -> None:
    bad = SALE.replace(b"ST", b"XX")
    parser = RowParser(tlog, skim=1)
    first, *others = parser.units(io.BytesIO(HEAD + SALE + bad + SALE + b"FT;3;3;1500\n"), "f", FACTS)
    assert first.row is not None
    assert [(u.position, u.line, u.row, u.wrong) for u in others] == [(2, 6, None, None), (3, 10, None, None)]
    assert (parser.ending.reasons, parser.ending.rows) == ([], 14)
    parser = RowParser(tlog, skim=1)
    assert len([*parser.units(io.BytesIO(HEAD + SALE + bad + SALE + b"FT;3;3;1400\n"), "f", FACTS)]) == 3
    assert "14.00" in parser.ending.reasons[0]


def pieces(plan: Plan, skim: int | None, body: bytes) -> tuple[list[str], list[str], int, int]:
    parser = RowParser(plan, skim, block=4096)
    for _ in parser.units(io.BytesIO(body), "f", FACTS):
        pass
    return parser.ending.reasons, parser.ending.findings, parser.ending.units, parser.ending.rows


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_skimming_whole_blocks_finds_the_totals_of_a_whole_reading(tlog: Plan, end: bytes) -> None:
    count = 100
    sales = b"".join(
        SALE.replace(b"000001;S", b"%06d;S" % n).replace(b"EUR;\n", b"EUR;T\n" if n % 7 == 0 else b"EUR\n") for n in range(count)
    )
    counted = 500 * (count - len(range(0, count, 7)))
    for total in (counted, counted + 1):
        body = (HEAD + sales + b"FT;%d;%d;%d\n" % (count, count, total)).replace(b"\n", end)
        assert pieces(tlog, 1, body) == pieces(tlog, None, body)
        assert bool(pieces(tlog, 1, body)[0]) == (total != counted)


@given(
    st.integers(0, 70),
    st.sampled_from([b"TL;1;S\n", b"TF;500;500;0;700\n", b'TT;"B\n', b"TH\n", b"TQ;1\n", b"FH;2\n", b"TF;1;1;0;x\n", b"TF\n", b"\x00\n"]),
    st.sampled_from([0, 500, 700]),
)
@settings(max_examples=100, deadline=None)
def test_what_stands_oddly_in_a_skimmed_block_is_refused_if_a_whole_reading_refuses_it(place: int, odd: bytes, more: int) -> None:
    count = 70
    body = HEAD + SALE * place + odd + SALE * (count - place) + b"FT;%d;%d;%d\n" % (count, count, 500 * count + more)
    try:
        refused = bool(pieces(PLANS[0], None, body)[0])
    except Refuse:
        refused = True
    try:
        doubted = bool(pieces(PLANS[0], 1, body)[0])
    except Refuse:
        doubted = True
    assert doubted >= refused


@pytest.mark.parametrize(
    ("padding", "count"),
    [(b"\x1a", 1), (b"\0" * 90, 90), (b"\x1a\r\n", 3), (b"\r\n\x1a\0\0\n", 4), (b"\x1a" + b"\0" * 300_000, 300_001)],
    ids=["Ctrl-Z", "NUL", "Ctrl-Z with a line end", "behind a blank line", "more than a block"],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("size", [BLOCK, 7])
def test_padding_behind_the_last_line_is_left_out_and_told(tlog: Plan, padding: bytes, count: int, end: bytes, size: int) -> None:
    body = (HEAD + SALE + TRAIL).replace(b"\n", end or b"\n")
    if not end and padding.rstrip(b"\r\n") == padding:
        body = body[:-1]
    parser = RowParser(tlog, block=size if count < 1000 else BLOCK)
    (unit,) = parser.units(io.BytesIO(body + padding), "f", FACTS)
    assert (unit.wrong, parser.ending.reasons) == (None, [])
    assert parser.ending.findings == [f"{count} bytes of padding behind the last line are left out: Ctrl-Z or NUL"]


@pytest.mark.parametrize("odd", [b"\x1a", b"\0\0\0"])
def test_padding_within_a_file_stays_damage(tlog: Plan, odd: bytes) -> None:
    for body in (HEAD + odd + SALE + TRAIL, HEAD + SALE.replace(b"TT;", odd + b"\nTT;") + TRAIL, HEAD + SALE[:-1] + odd + b"\n" + TRAIL):
        units, ending = read(tlog, body)
        assert [unit.wrong is not None for unit, _ in units][:1] == [True]
        assert not [finding for finding in ending.findings if "padding" in finding]
    _, ending = read(tlog, HEAD + SALE + TRAIL[:-1] + odd + b"\n")
    assert ending.reasons, "within the last line"

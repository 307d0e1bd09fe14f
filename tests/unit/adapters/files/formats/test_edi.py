"""X12 and EDIFACT by declared layout: what is read, what is set aside with its place, what refuses a file."""

from __future__ import annotations

from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from adapters.files.formats.dividing import MOST_PARTS
from adapters.files.formats.edi import EdiParser, Plan
from adapters.files.layout import Layout, load, parse
from adapters.files.parsing import Ending, Refuse, Unit
from adapters.files.values import SHOWN
from contracts.errors import Findings

ROOT = Path(__file__).resolve().parents[5]
ISA = "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *260311*0930*U*00401*000000007*0*P*>~"
ORDER = """\
[file]
format      = "x12"
name        = '(?P<sender>[A-Z]+)_.*'
transaction = "ST"
max_record  = 400
max_records = 60

[record."*"]
unknown = "skip"

[record.ISA]
role   = "file_header"
occurs = "1"
fields = [{ name = "sender", type = "string", at = "6" }]

[record.ST]
role   = "transaction"
when   = { "1" = ["850"] }
occurs = "0..n"
fields = [{ name = "control", type = "string", at = "2" }]

[record.BEG]
role   = "detail"
parent = "ST"
occurs = "1"
fields = [
  { name = "number", type = "string", required = true, at = "3" },
  { name = "date", type = "date", format = "%Y%m%d|%y%m%d", at = "5" },
]

[record.ship_to]
role    = "detail"
parent  = "ST"
segment = "N1"
when    = { "1" = ["ST"] }
occurs  = "0..1"
fields  = [{ name = "name", type = "string", at = "2" }]

[record.city]
role    = "detail"
parent  = "ship_to"
segment = "N4"
occurs  = "0..1"
fields  = [{ name = "city", type = "string", at = "1" }]

[record.PO1]
role   = "detail"
parent = "ST"
occurs = "1..n"
fields = [
  { name = "quantity", type = "decimal", digits = 9, required = true, at = "2" },
  { name = "price", type = "decimal", digits = 9, at = "4" },
]

[record.ids]
role    = "detail"
parent  = "PO1"
segment = "PO1"
first   = 6
each    = 2
occurs  = "0..n"
fields  = [{ name = "kind", type = "string", at = "1" }, { name = "id", type = "string", at = "2" }]

[record.CTT]
role   = "detail"
parent = "ST"
occurs = "0..1"
fields = [{ name = "lines", type = "integer", digits = 6, at = "1" }, { name = "hash", type = "decimal", digits = 9, at = "2" }]

[[check]]
name       = "lines"
says       = "CTT states another number of lines"
scope      = "ST"
expect     = "CTT.lines"
equals     = [{ count = "PO1" }]
on_failure = "quarantine"

[[check]]
name       = "hash"
says       = "CTT states another sum of quantities"
scope      = "ST"
expect     = "CTT.hash"
equals     = [{ sum = "PO1.quantity" }]
on_failure = "quarantine"
"""


def order(*body: str, number: str = "0001", count: int | None = None) -> list[str]:
    return [f"ST*850*{number}", *body, f"SE*{len(body) + 2 if count is None else count}*{number}"]


GOOD = order("BEG*00*SA*4711**260311", "N1*ST*Shop", "N4*Berlin", "PO1*1*2*EA*1.50**UP*012345678905*VN*A1", "PO1*2*3*EA*.5", "CTT*2*5")


def interchange(*messages: list[str], head: str = ISA, end: str = "~") -> str:
    segments = [
        head[:-1],
        "GS*PO*S*R*20260311*0930*7*X*004010",
        *(s for m in messages for s in m),
        f"GE*{len(messages)}*7",
        "IEA*1*000000007",
    ]
    return "".join(s + end for s in segments)


def read(text: str | bytes, layout: Layout | str = ORDER, facts: dict[str, str] | None = None) -> tuple[list[Unit], Ending]:
    made = parse(layout, "made.toml", "made") if isinstance(layout, str) else layout
    parser = EdiParser(Plan(made))
    raw = text.encode() if isinstance(text, str) else text
    return list(parser.units(BytesIO(raw), "S_1.edi", facts or {})), parser.ending


def rows(text: str | bytes, layout: Layout | str = ORDER) -> list[tuple[Any, ...] | None]:
    return [u.row for u in read(text, layout)[0]]


ROW = (
    "0001",
    ("SENDER",),
    ("4711", date(2026, 3, 11)),
    ("Shop", ("Berlin",)),
    [("2", "1.50", [("UP", "012345678905"), ("VN", "A1")]), ("3", "0.5", [])],
    (2, "5"),
)


def test_a_message_becomes_one_row_with_its_loops_and_the_envelope_around_it() -> None:
    units, ending = read(interchange(GOOD))
    assert [u.row for u in units] == [ROW]
    assert (ending.reasons, ending.findings, ending.units) == ([], [], 1)
    assert units[0].line == 1
    assert units[0].raw() == ("~".join(GOOD) + "~").encode()


@pytest.mark.parametrize(
    ("element", "component", "end"),
    [
        ("*", ">", "~\n"),
        ("|", ":", "'"),
        ("\x1d", "\x1f", "\x1c"),
        ("*", ">", "\n"),
        ("*", ">", "\r\n"),
        ("^", "!", "\r"),
        ("+", ":", "~\r\n"),
    ],
)
def test_separators_are_those_that_the_interchange_declares(element: str, component: str, end: str) -> None:
    text = interchange(GOOD, end="~").replace("*", element).replace(">", component).replace("~", end)
    assert rows(text) == [ROW]


def test_interchanges_of_one_file_have_separators_of_their_own() -> None:
    other = interchange(GOOD).replace("*", "|").replace("~", "'\n")
    units, ending = read(f"{interchange(GOOD)}\n\n{other}{interchange(GOOD, GOOD)}\x1a")
    assert [u.row for u in units] == [ROW] * 4
    assert ending.reasons == []


@pytest.mark.parametrize(
    "change",
    [
        ("~", "~\r\n\t "),  # lines and indentation
        ("N4*Berlin~", "N4*Berlin***~ZZZ*what nobody declared~"),
        ("N1*ST*Shop~", "REF*DP*038~N1*ST*Shop~"),
        ("SENDER         ", "SENDER"),  # trimmed
        ("SENDER         ", "SENDER                 "),  # overfilled
    ],
)
def test_what_senders_do_to_a_file_does_not_change_what_it_says(change: tuple[str, str]) -> None:
    text = interchange(GOOD).replace(*change)
    for added in ("ZZZ", "REF"):
        if added in change[1]:
            text = text.replace("SE*8*", "SE*9*")
    units, ending = read(text)
    assert [u.row for u in units] == [ROW]
    assert ending.reasons == []


def test_a_loop_that_is_not_declared_keeps_what_stands_below_it() -> None:
    body = [*GOOD[1:3], "N4*Berlin", "N1*BT*Bank", "N4*Frankfurt", *GOOD[4:-1]]
    assert rows(interchange(order(*body))) == [ROW]


@pytest.mark.parametrize(
    ("message", "field", "expected", "got"),
    [
        (order("BEG*00*SA*4711", "PO1*1*zwei*EA"), "PO1.quantity (segment 5, 3 of message 0001, PO102)", "a decimal", "'zwei'"),
        (order("BEG*00*SA*4711", "N1*ST*Shop"), "ST (segment 3)", "PO1", "none"),
        (order("PO1*1*2*EA"), "ST (segment 3)", "BEG", "none"),
        (order("BEG*00*SA*4711", "PO1*1*2*EA", "BEG*00*SA*4712"), "BEG (segment 6, 4 of message 0001)", "one BEG", "a second, BEG 00"),
        (order("BEG*00*SA*4711", "BEG*00*SA*4711", "PO1*1*2*EA"), "BEG (segment 5, 3 of message 0001)", "one BEG", "a second"),
        (order("BEG*00*SA*4711", "PO1*1*2*EA", "what is this"), "wha (segment 6, 4 of message 0001)", "PO1, CTT", "which is no segment"),
        (order("BEG*00*SA*4711", "PO1*1*2*EA", "CTT*7"), "CTT.lines", "1 (CTT states another number of lines)", "7"),
        (order("BEG*00*SA*4711", "PO1*1*2*EA", "CTT*1*9"), "CTT.hash", "2 (CTT states another sum of quantities)", "9"),
        (order("BEG*00*SA*4711", "PO1*1*2*EA", count=9), "SE (segment 6, SE01)", "the number of segments, 4 segments", "'9'"),
        ([*GOOD[:-1], "SE*8*000³"], "SE (segment 10, SE02)", "the reference of ST, 0001", "'000³'"),
        ([*GOOD[:-1], "SE*8*0009"], "SE (segment 10, SE02)", "the reference of ST, 0001", "'0009'"),
        (order("BEG*00*SA*47\x0011", "PO1*1*2*EA"), "BEG.BEG03 (segment 4, 2 of message 0001)", "printable text", "control character 0x00"),
        (order("BEG*00*SA*4711", *["PO1*1*2*EA"] * 80), "(segment 63, 61 of message 0001)", "at most 60 segments", "more"),
    ],
)  # fmt: skip
def test_a_bad_message_is_set_aside_with_segment_element_and_reason_and_its_neighbours_are_read(
    message: list[str], field: str, expected: str, got: str
) -> None:
    good = [GOOD[0].replace("0001", "0002"), *GOOD[1:-1], GOOD[-1].replace("0001", "0002")]
    units, ending = read(interchange(message, good))
    assert [u.row is None for u in units] == [True, False]
    bad = units[0].bad
    assert bad is not None
    assert bad.field == field
    assert expected in bad.expected
    assert got in bad.got
    assert units[0].raw().startswith(b"ST*850*0001~")
    assert ending.set_aside == 1


def test_a_reference_of_any_length_is_told_by_its_beginning() -> None:
    units, _ = read(interchange(["ST*850*" + "A" * 3000, *GOOD[1:]]))
    assert units[0].bad is not None
    assert units[0].bad.expected == "the reference of ST, " + "A" * SHOWN


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (interchange(GOOD).replace("GE*1*", "GE*2*"), "segment 11: GE01 states 2, GS in segment 2 holds 1 messages"),
        (interchange(GOOD).replace("GE*1*7", "GE*1*8"), "segment 11: GE02 states 8, GS in segment 2 has the reference 7"),
        (interchange(GOOD).replace("IEA*1*", "IEA*3*"), "segment 12: IEA01 states 3, ISA in segment 1 holds 1 groups"),
        (interchange(GOOD).replace("IEA*1*000000007", "IEA*1*8"), "segment 12: IEA02 states 8"),
        (interchange(GOOD).replace("GE*1*7~", ""), "segment 11: expected GE of GS 7, got IEA"),
        (interchange(GOOD).replace("IEA*1*000000007~", ""), "the file ends without IEA"),
        (interchange(GOOD)[:-40], "the file ends without SE"),
    ],
)
def test_an_envelope_that_does_not_hold_refuses_the_file(text: str, reason: str) -> None:
    _, ending = read(text)
    assert reason in " | ".join(ending.reasons)
    assert any(
        reason in f
        for f in read(text, ORDER.replace("max_record ", 'control = "report"\nincomplete = "book_complete"\nmax_record '))[1].findings
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        (" \r\n\t", "the file is empty"),
        (interchange(GOOD)[len(ISA) :], "line 1: expected ISA, the header of an X12 interchange, got 'GS*PO"),
        (interchange(GOOD).replace("GS*", "XX*", 1), "line 1: segment 2: expected GS or IEA, got 'XX'"),
        (interchange(GOOD).replace("GS*PO*S*R*20260311*0930*7*X*004010~", ""), "segment 2: expected GS or IEA, got ST"),
        (f"{interchange(GOOD)}\nfoo", "line 2: expected ISA, the header of an X12 interchange, got 'foo'"),
        (f"{interchange(GOOD)}ISA*00*x", "the header ISA is cut off"),
        (ISA[:60], "the header ISA is cut off"),
        ("ISA*" + "x*" * 900, "ISA has not its 16 elements"),
        ("ISA" + "x" * 1200, "ISA has not its 16 elements"),
        (ISA.replace("*", "0") + "x" * 9, "expected a version such as 00401 in ISA12"),
        (interchange(GOOD).replace("*", ">"), "makes '>' a separator, expected signs"),
        (interchange(GOOD).replace("N4*Berlin", "N4*" + "x" * 70_000), "more than 400 bytes without the segment terminator '~'"),
        (interchange(GOOD).replace("SE*8", "SE*8") + "SE*1*1~", "expected ISA"),
        ("\ufeff".encode("utf-16") + b"I\0S\0", "the file is UTF-16"),
        ("UNB+UNOA:1+S+R+260311:0930+1'", "expected ISA"),
    ],
)  # fmt: skip
def test_what_is_no_interchange_is_refused_with_its_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(Refuse) as refused:
        read(text)
    assert reason in str(refused.value)


def test_messages_of_another_kind_are_passed_over_and_counted() -> None:
    other = ["ST*997*0001", "AK1*PO*7", "SE*3*0001"]
    units, ending = read(interchange(other, GOOD, other))
    assert [u.row for u in units] == [ROW]
    assert ending.findings == ["2 messages of another kind, 997, are passed over"]
    strict = read(interchange(other, GOOD), ORDER.replace('unknown = "skip"', 'unknown = "bad"'))[0]
    assert [u.bad is not None for u in strict] == [True, False]
    assert "expected a message 850, got '997'" in str(strict[0].bad)


def test_what_a_segment_says_beyond_ascii_is_read_as_declared_and_kept_as_it_stands() -> None:
    text = interchange(GOOD).replace("Shop", "Läden")
    assert read(text)[0][0].row == (*ROW[:3], ("Läden", ("Berlin",)), *ROW[4:])
    old = ORDER.replace("max_record ", 'encoding = "cp1252"\nmax_record ')
    units, _ = read(text.encode("cp1252"), old)
    assert units[0].row == (*ROW[:3], ("Läden", ("Berlin",)), *ROW[4:])
    assert "Läden".encode("cp1252") in units[0].raw()
    (wrong,) = read(text.encode("cp1252"))[0]
    assert str(wrong.bad).endswith("expected text in utf-8, got byte 0xE4")


def test_an_element_that_repeats_is_never_half_read() -> None:
    head = ISA.replace("*U*00401*", "*^*00501*")
    (unit,) = read(interchange(order("BEG*00*SA*4711^4712", "PO1*1*2*EA"), head=head))[0]
    assert str(unit.bad).endswith("BEG.number (segment 4, 2 of message 0001, BEG03): expected one value, got 2 repetitions")


def test_the_name_of_a_file_is_held_against_its_envelope() -> None:
    agreeing = ORDER.replace("max_record ", 'agree = ["sender"]\nmax_record ')
    assert read(interchange(GOOD), agreeing, {"sender": "SENDER"})[0][0].row == ROW
    with pytest.raises(Refuse, match="the name says sender OTHER, the content SENDER"):
        read(interchange(GOOD), agreeing, {"sender": "OTHER"})


def test_a_transaction_is_read_alone_from_what_stands_around_it() -> None:
    for layout, text, count in (
        (parse(ORDER, "m", "m"), interchange(GOOD, GOOD), 2),
        (load(ROOT / "contracts/systems/edi/edifact_slsrpt.toml"), SALES, 2),
    ):
        parser = EdiParser(Plan(layout))
        units = [(u.row, u.raw(), u.around()) for u in parser.units(BytesIO(text.encode()), "x.edi", {})]
        assert len(units) == count
        for row, raw, around in units:
            alone, ending = read(raw.join(around), layout)
            assert [u.row for u in alone] == [row]
            assert ending.reasons == []


# ---- loops --------------------------------------------------------------------------------------------------------


def shipment(*levels: str) -> str:
    body = ["BSN*00*S-1*20260311*0930*0001", *levels]
    message = ["ST*856*0001", *body, f"SE*{len(body) + 2}*0001"]
    return interchange(message)


SHIPMENT = ("HL*1**S", "HL*2*1*O", "PRF*W-17", "HL*4*2*P", "MAN*GM*00340", "HL*5*4*I", "LIN**UP*1", "SN1**6*EA")


def test_the_tree_of_a_shipment_follows_the_numbers_not_the_order_of_segments() -> None:
    layout = load(ROOT / "contracts/systems/edi/x12_856.toml")
    late = ("HL*3*1*O", "PRF*W-18", "HL*6*3*I", "LIN**UP*3", "SN1**1*EA", "HL*7*4*I", "LIN**UP*2", "SN1**4*EA")
    (unit,) = read(shipment(*SHIPMENT, *late), layout)[0]
    assert unit.row is not None
    (tree,) = unit.row[4]
    orders = tree[-1]
    assert [o[1] for o in orders] == [("W-17", None), ("W-18", None)]
    (pack,) = orders[0][5]
    assert [item[2][1] for item in pack[5]] == ["6", "4"]
    assert [item[1][1] for item in orders[1][6]] == [[("UP", "3")]]


def test_a_shipment_says_of_every_level_what_standards_let_it_say_there() -> None:
    layout = load(ROOT / "contracts/systems/edi/x12_856.toml")
    at = SHIPMENT.index(next(each for each in SHIPMENT if each.startswith("PRF")))
    more = (*SHIPMENT[: at + 1], "REF*DP*042", "N1*BY**92*0012", *SHIPMENT[at + 1 :], "PID*F****Soap", "REF*LT*L-77")
    (unit,) = read(shipment(*more), layout)[0]
    assert unit.row is not None
    (order,) = unit.row[4][0][-1]
    assert order[2] == [("DP", "042")]
    assert order[4] == [("BY", None, "92", "0012")]
    assert order[5][0][5][-1][3] == [("LT", "L-77")]


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ((*SHIPMENT, "HL*9*77*I", "LIN**UP*1", "SN1**1*EA"), "HL '9', which cannot stand here"),
        ((*SHIPMENT, "HL*5*1*O", "PRF*X"), "a number of its own, got '5'"),
        ((*SHIPMENT[:-1],), "pack_item (segment 10): expected pack_SN1, got none"),
        (("HL*1*1*S",), "HL '1', which cannot stand here"),
    ],
)
def test_a_tree_with_a_broken_branch_is_set_aside(levels: tuple[str, ...], said: str) -> None:
    (unit,) = read(shipment(*levels), load(ROOT / "contracts/systems/edi/x12_856.toml"))[0]
    assert said in str(unit.bad)


def edifact(
    *body: str, kind: str = "SLSRPT:D:96A:UN:EAN004", una: str = "UNA:+.? '", head: str = "UNB+UNOC:3+S:14+R:14+260707:2216+77"
) -> str:
    return "".join(f"{s}'" for s in (head, f"UNH+1+{kind}", *body, f"UNT+{len(body) + 2}+1", "UNZ+1+77")).replace("UNB", f"{una}UNB", 1)


REPORT = ("BGM+73E::9+R1+9", "DTM+137:20260708:102", "CUX+2:EUR:10")
PLACES = (
    "LOC+162+0001::9",
    "DTM+356:20260707:102",
    "LIN+1++4007399434498:EN",
    "RFF+SA:76",
    "PRI+AAE:39,95::RTP",
    "QTY+153:1:PCE",
    "LOC+162+0002::9",
    "LIN+2++4007399434511:EN",
    "QTY+153:-2",
)
SALES = edifact(*REPORT, *PLACES)


def sales() -> Layout:
    return load(ROOT / "contracts/systems/edi/edifact_slsrpt.toml")


def test_a_loop_of_a_message_is_a_transaction_with_the_message_around_it() -> None:
    (one, two), ending = read(SALES, sales())
    assert ending.reasons == []
    assert one.row is not None
    assert two.row is not None
    around = ("1", ("73E", "R1", "9"), [("137", local(2026, 7, 8))], None, None, ("EUR",))
    assert one.row[:3] == (1, "4007399434498", "EN")
    assert one.row[4][:6] == two.row[4][:6] == around
    assert one.row[5][:2] == ("0001", [("356", local(2026, 7, 7))])
    assert one.row[6:] == ([], [("SA", "76")], [("AAE", "39.95", "RTP")], [("153", "1", "PCE")], [])
    assert two.row[5][:2] == ("0002", [])
    assert two.row[9] == [("153", "-2", None)]


# ---- transactions that tell of several places -----------------------------------------------------------------------


def activity(*body: str) -> str:
    held = ["XQ*H*20260608*20260614", *body, f"CTT*{sum(segment.startswith('LIN') for segment in body)}"]
    return interchange(["ST*852*0001", *held, f"SE*{len(held) + 2}*0001"])


def each_alone(text: str, layout: Layout) -> list[tuple[int, tuple[Any, ...], str]]:
    """Position, row and bytes of each transaction; read by itself, its bytes are that row and nothing else."""
    parser = EdiParser(Plan(layout))
    found = []
    for unit in parser.units(BytesIO(text.encode()), "x.edi", {}):
        assert unit.row is not None, unit.wrong
        alone, ending = read(unit.raw().join(unit.around()), layout)
        assert ([u.row for u in alone], ending.reasons) == ([unit.row], [])
        found.append((unit.position, unit.row, unit.raw().decode()))
    assert parser.ending.reasons == []
    return found


def test_pairs_of_place_and_quantity_are_a_transaction_for_each_place_and_are_counted_as_one_line() -> None:
    text = activity(
        "LIN*1*IN*4711", "CTP*RS*RES*2.59", "ZA*QS**EA", "CTP*RS*SEL*2.49", "SDQ*EA*92*0001*5*0002*6", "SDQ*EA*92*0003*7", "ZA*OH",
        "SDQ*EA*92*0002*20", "LIN*2*IN*4712", "ZA*QS*3*EA",
    )  # fmt: skip
    found = each_alone(text, load(ROOT / "contracts/systems/edi/x12_852.toml"))
    assert [position for position, _, _ in found] == [1, 2, 3, 4]
    assert [raw.replace("~", " ").split(" ", 1)[1].strip() for _, _, raw in found] == [
        "CTP*RS*RES*2.59 ZA*QS**EA CTP*RS*SEL*2.49 SDQ*EA*92*0001*5",
        "CTP*RS*RES*2.59 ZA*QS**EA CTP*RS*SEL*2.49 SDQ*EA*92*0002*6 ZA*OH SDQ*EA*92*0002*20",
        "CTP*RS*RES*2.59 ZA*QS**EA CTP*RS*SEL*2.49 SDQ*EA*92*0003*7",
        "ZA*QS*3*EA",
    ]
    second = found[1][1]
    assert [(za[0], [(sdq[:2], sdq[2]) for sdq in za[4]]) for za in second[-1]] == [
        ("QS", [(("EA", "92"), [("0002", "6")])]),
        ("OH", [(("EA", "92"), [("0002", "20")])]),
    ]


def test_quantities_with_a_place_of_their_own_are_parted_from_those_of_the_report() -> None:
    body = ["BGM+35+R-7+9", "DTM+137:20260615:102", "NAD+GY+4012345000016::9", "LIN+1++4711:EN", "PIA+1+A?+1:IN"]
    body += ["QTY+145:9:PCE", "LOC+14+0001::9", "QTY+66:2", "QTY+145:4", "LOC+18+0002::9", "QTY+124:1", "LOC+14+0001::9"]
    found = each_alone(edifact(*body, kind="INVRPT:D:96A:UN:EAN004"), load(ROOT / "contracts/systems/edi/edifact_invrpt.toml"))
    assert [raw.partition("PIA+1+A?+1:IN'")[2] for _, _, raw in found] == [
        "QTY+145:9:PCE'LOC+14+0001::9'QTY+124:1'LOC+14+0001::9'",
        "QTY+66:2'",
        "QTY+145:4'LOC+18+0002::9'",
    ]


def test_a_bad_quantity_of_one_place_sets_the_whole_line_aside_and_more_places_than_may_be_are_one_mistake() -> None:
    layout = load(ROOT / "contracts/systems/edi/x12_852.toml")
    (bad,), _ = read(activity("LIN*1*IN*4711", "ZA*QS**EA", "SDQ*EA*92*0001*5*0002*six"), layout)
    assert (bad.wrong and bad.wrong.got, bad.raw()) == ("'six'", b"LIN*1*IN*4711~ZA*QS**EA~SDQ*EA*92*0001*5*0002*six~")
    many = [f"SDQ*EA*92*{'*'.join(f'{n + at}*1' for at in range(100))}" for n in range(0, MOST_PARTS + 100, 100)]
    (bad,), _ = read(activity("LIN*1*IN*4711", "ZA*QS**EA", *many), layout)
    assert (bad.wrong and (bad.wrong.field, bad.wrong.got)) == ("places.id", "5100")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("shops.id", "split: no record 'shops' below the transaction of an interchange"),
        ("XQ.end", "split: no record 'XQ' below the transaction of an interchange"),
        ("places.quantity", "split: places has no text 'quantity'"),
        ("ids.id", "split: ids is a part of LIN itself"),
    ],
)
def test_a_layout_is_divided_by_a_text_below_its_transaction(split: str, said: str) -> None:
    text = (ROOT / "contracts/systems/edi/x12_852.toml").read_text("utf-8")
    with pytest.raises(Findings) as raised:
        parse(text.replace('"places.id"', f'"{split}"'), "made.toml", "made")
    assert [f.message for f in raised.value.findings] == [said]


def test_a_segment_behind_its_place_is_read_where_no_loop_is_open_that_it_may_be_part_of() -> None:
    parties = ["NAD+SU+4012345000009::9", "NAD+BY+4098765000010::9"]
    body = [*[each for each in REPORT if not each.startswith("NAD")], *parties, *PLACES]
    (one, two), ending = read(edifact(*body), sales())
    assert ending.reasons == []
    assert one.row is not None
    assert two.row is not None
    assert one.row[4][3:6] == two.row[4][3:6] == (("4098765000010",), ("4012345000009",), ("EUR",))
    late = edifact(*REPORT, *PLACES[:-1], "CUX+2:USD:10", *PLACES[-1:])
    assert "one CUX, got a second" in str(read(late, sales())[0][-1].bad) + " ".join(read(late, sales())[1].reasons)


def test_what_repeats_out_of_turn_is_refused_as_the_layout_would_tear_it_apart() -> None:
    torn = edifact(*REPORT[:2], "DTM+137:20260708:102", "CUX+2:EUR:10", "DTM+90:20260708:102", *PLACES)
    assert "DTM '90:20260708:102', which cannot stand here" in " ".join(read(torn, sales())[1].reasons)


@pytest.mark.parametrize(
    "text",
    [
        SALES.replace("UNA:+.? '", ""),
        SALES.replace("'", "'\r\n"),
        SALES.replace("UNA:+.? '", "").replace("'", "\n"),
        SALES.replace("'", "\n").replace("UNA:+.? ", "UNA:+.? "),
        SALES.replace("UNA:+.? '", "UNA!~,# |").replace("'", "|").replace("+", "~").replace(":", "!").replace("UNA!~,# |", "UNA!~,# |", 1),
        SALES.replace("UNA:+.? '", "").replace("'", "\x1c").replace("+", "\x1d").replace(":", "\x1f"),
        "\ufeff" + SALES,
        "\n\n " + SALES + "\n",
    ],
)
def test_an_edifact_interchange_is_read_with_any_separators_and_line_ends(text: str) -> None:
    assert rows(text, sales()) == rows(SALES, sales())


@pytest.mark.slow
def test_a_released_sign_is_text_and_stays_as_it_was_written() -> None:
    text = SALES.replace("RFF+SA:76", "RFF+SA:7?'6?+?:??x?y")
    for cut in range(len(text)):  # wherever a block ends
        parser = EdiParser(Plan(sales()))
        units = [(u.row, u.raw()) for u in parser.units(Cut(text.encode(), cut), "x", {})]
        assert units[0][0] is not None
        assert units[0][0][7] == [("SA", "7'6+:?xy")]
        assert b"7?'6?+?:??x?y" in units[0][1]
        assert len(units) == 2


def local(*at: int) -> datetime:
    return datetime(*at)  # type: ignore[arg-type]  # noqa: DTZ001 - an interchange says no zone


class Cut(BytesIO):
    """Gives its bytes in two parts."""

    def __init__(self, raw: bytes, at: int) -> None:
        super().__init__(raw)
        self._at = at

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._at if self.tell() < self._at else size)


def test_the_character_set_of_an_interchange_is_the_one_it_names() -> None:
    text = SALES.replace("RFF+SA:76", "RFF+SA:Straße")
    one, _ = read(text.encode("latin-1"), sales())[0]
    assert one.row is not None
    assert one.row[7] == [("SA", "Straße")]
    greek = text.replace("UNOC", "UNOF").replace("Straße", "Δρόμος").encode("iso8859-7")
    assert read(greek, sales())[0][0].row[7] == [("SA", "Δρόμος")]  # type: ignore[index]  # it was read
    utf8 = text.replace("UNOC", "UNOY").encode()
    assert read(utf8, sales())[0][0].row[7] == [("SA", "Straße")]  # type: ignore[index]  # it was read
    with pytest.raises(Refuse, match="the character set UNOX of UNB is not read"):
        read(text.replace("UNOC", "UNOX").encode(), sales())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SALES.replace("UNT+14", "UNT+13"), "segment 15: UNT 1 states 13, UNH in segment 2 holds 14 segments"),
        (SALES.replace("UNZ+1+77", "UNZ+2+77"), "UNZ 1 states 2, UNB in segment 1 holds 1 messages"),
        (SALES.replace("UNZ+1+77", "UNZ+1+78"), "UNZ 2 states 78, UNB in segment 1 has the reference 77"),
        (SALES[: SALES.index("UNT")], "the file ends without UNT"),
        (SALES.replace("CUX+2:EUR:10'", "CUX+2:EUR:10'CUX+2:EUR:10'").replace("UNT+14", "UNT+15"), "one CUX, got a second, CUX 2:EUR:10"),
    ],
)
def test_what_does_not_hold_around_loops_refuses_the_file(text: str, reason: str) -> None:
    _, ending = read(text, sales())
    assert reason in " | ".join(ending.reasons)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SALES.replace("LOC+162", "LOC+7"), "the message ends without LOC"),
        (SALES[: SALES.index("LOC+")] + SALES[SALES.index("LIN+1") :], "got LIN '1', which cannot stand here"),
    ],
    ids=["in a loop of another kind", "in none"],
)
def test_lines_that_stand_where_nobody_looks_are_no_quiet_message(text: str, says: str) -> None:
    units, ending = read(text, sales())
    assert all(unit.row is None for unit in units)
    assert says in " | ".join([*ending.reasons, *(str(unit.bad) for unit in units)])


def test_a_date_says_its_own_form() -> None:
    def read_date(text: str) -> Any:
        (unit, _) = read(SALES.replace("137:20260708:102", text), sales())[0]
        return unit.row[4][2][0][1] if unit.row is not None else str(unit.bad)

    assert read_date("137:202607081230:203") == local(2026, 7, 8, 12, 30)
    assert read_date("137:260708:101") == local(2026, 7, 8)
    assert read_date("137:2026070120260708:718") == read_date("137:20260701-20260708:718") == local(2026, 7, 8)  # the end of a period
    assert "a date in a format of code 101, 102, 201, 202, 203, 204, 718, got '20260708:610'" in read_date("137:20260708:610")
    assert "DTM.at (segment 4, 3 of message 1, DTM 1)" in read_date("137:20261308:102")


def test_a_count_over_a_message_of_loops_is_proven() -> None:
    layout = load(ROOT / "contracts/systems/edi/x12_846.toml")

    def advice(count: int) -> str:
        body = ["BIA*00*SI*A1*20260311*0930", "LIN*1*IN*4711", "QTY*17*5", "LIN*2*IN*4712", "QTY*17*6", f"CTT*{count}"]
        return interchange(["ST*846*0001", *body, "SE*8*0001"], ["ST*846*0002", *body, "SE*8*0002"])

    assert read(advice(2), layout)[1].reasons == []
    assert read(advice(3), layout)[1].reasons == [
        "segment 10: CTT states another number of lines than the advice has: CTT.lines states 3, the file holds 2",
        "segment 18: CTT states another number of lines than the advice has: CTT.lines states 3, the file holds 2",
    ]


# ---- layouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (', at = "3"', "", "field number: at = "),
        ('at = "3"', 'at = "3.0"', "field number: at = "),
        ('at = "3"', 'at = "3", start = 1, width = 2', "start and width belong to fixed columns"),
        ('segment = "N1"', 'segment = "N1*ST"', "'N1*ST' is no segment"),
        ('when    = { "1" = ["ST"] }', 'when = { one = ["ST"] }', "when: 'one' is no element"),
        ("[record.ISA]", "[record.IEA]", "IEA is no envelope"),
        ("[record.BEG]", "[record.beginning]", "'beginning' is no segment"),
        ('parent = "ST"\noccurs = "1"', 'parent = "ST"\nid = 1\noccurs = "1"', "a record is told apart by id and of together"),
        ('parent = "ST"\noccurs = "1"', 'parent = "ST"\ncloses = true\noccurs = "1"', "what closes a message"),
        ('format      = "x12"', 'format      = "edifact"', "ST is neither a message (UNH) nor a loop of one"),
    ],
)
def test_a_layout_with_a_mistake_says_so(old: str, new: str, said: str) -> None:
    assert old in ORDER
    with pytest.raises(Findings) as found:
        parse(ORDER.replace(old, new, 1), "made.toml", "made")
    assert said in " | ".join(str(f) for f in found.value.findings)


# ---- files of others ----------------------------------------------------------------------------------------------

OUTCOMES: dict[str, tuple[str, int, int, str]] = {
    "edifabric-EANCOM-DespatchAdvice.txt": ("edifact_desadv", 1, 0, "UNZ 1 states 2, UNB in segment 1 holds 1 messages"),
    "edifabric-EANCOM-PriceCatalogue.txt": ("edifact_pricat", 5, 0, ""),
    "edifact-slsrpt-eancom.edi": ("edifact_slsrpt", 12, 0, ""),
    "edinet-edifact.01.multi-message.edi": ("edifact_orders", 0, 0, "UNT 1 states 158, UNH in segment 2 holds 31 segments"),
    "edinet-edifact.ORDRSP.edi": ("edifact_orders", 0, 0, "UNT 2 states 9IM20YSP9, UNH in segment 2 has the reference 9IMX20YSP0009"),
    "edinet-x12.810a.edi": ("x12_810", 1, 0, ""),
    "edinet-x12.832.edi": ("x12_832", 2, 1, "CTT.lines states 5, the file holds 2"),
    "edinet-x12.850.edi": ("x12_850", 1, 0, "IEA02 states 000000001, ISA in segment 1 has the reference 000000055"),
    "edinet-x12.850a.edi": ("x12_850", 1, 0, "IEA02 states 000000001"),
    "staedi-orders-with-group.edi": ("edifact_orders", 1, 1, "expected the number of segments, 18 segments, got '21'"),
    "staedi-simple997-multiple-interchanges.edi": ("x12_850", 0, 0, ""),
    "walmart-850.txt": ("x12_850", 1, 1, "expected the number of segments, 21 segments, got '33'"),
    "walmart-856.txt": ("x12_856", 1, 0, "IEA02 states 000000049"),
    "walmart-dex.sample.1.txt": ("x12_850", 0, 0, ""),
    "walmart-dex.sample.invalid.segments.txt": ("x12_850", 0, 0, "SE01 states 10, ST in segment 2 holds 11 segments"),
    "walmart-empty-line.txt": ("x12_850", 0, 0, "GE01 states 1, GS in segment 2 holds 3 messages"),
    "walmart-missing-isa.txt": ("x12_850", -1, 0, "expected ISA, the header of an X12 interchange, got 'GS*SH"),
    "walmart-wrong-gs.txt": ("x12_850", -1, 0, "segment 2: expected GS or IEA, got 'XX'"),
    "x12-846-snapshot.edi": ("x12_846", 2, 0, "SE01 states 9, ST in segment 3 holds 11 segments"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_real_sample_is_read_or_refused_with_the_right_reason(samples: Path, name: str) -> None:
    layout, count, aside, reason = OUTCOMES[name]
    raw = (samples / "edi" / name).read_bytes()
    if count < 0:
        with pytest.raises(Refuse) as refused:
            read(raw, load(ROOT / f"contracts/systems/edi/{layout}.toml"))
        assert reason in str(refused.value)
        return
    units, ending = read(raw, load(ROOT / f"contracts/systems/edi/{layout}.toml"))
    assert (len(units), sum(u.row is None for u in units)) == (count, aside)
    said = " | ".join([*ending.reasons, *(str(u.bad) for u in units if u.bad)])
    assert reason in said
    assert bool(reason) == bool(said)


def test_every_sample_is_looked_at(samples: Path) -> None:
    assert {p.name for p in (samples / "edi").iterdir()} == {*OUTCOMES}

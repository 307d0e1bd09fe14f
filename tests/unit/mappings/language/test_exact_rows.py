"""Rows as their layout's parser makes them: the quick reading gives what the plain one gives, drift and refusals included."""

import io
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.files.driver import FileContract
from adapters.files.formats.delimited import Plan, RowParser
from adapters.files.layout import parse
from contracts.canonical.sale import PosSale
from contracts.errors import ContractViolation
from mappings.language import ReadContext, load

ROOT = Path(__file__).parents[4]
CONTRACT = FileContract("pos", ROOT / "contracts/systems/pos/tlog.toml")
TEXT = (ROOT / "mappings/pos/tlog.toml").read_text(encoding="utf-8")
MAPPING = load(TEXT, "tlog", lambda name: CONTRACT.exchange(name.partition(".")[2]), {"PosSale": PosSale})
LAYOUT = (ROOT / "contracts/systems/pos/tlog.toml").read_text(encoding="utf-8").partition("\n[[check]]")[0]
PLAN = Plan(parse(LAYOUT, "tlog.toml", "tlog"))
"""Without its arithmetic, so that any numbers go."""
HEAD = "FH;2;0001;20260311;20260311220000;00001\n"

amounts = st.integers(0, 10**9)
signs = st.sampled_from(["", "-"])
lines = st.builds(
    "TL;{};{};{};{};{};{};{};{}{};{};{}\n".format, st.integers(0, 9999), st.sampled_from("SR"),
    st.sampled_from(["000010000082", "0000ÄB-00/1 "]),
    st.sampled_from(["", "4006100000823"]), st.integers(0, 10**9 - 1), st.sampled_from(["ST", "KG"]), amounts, amounts, signs,
    st.sampled_from(["", "V"]), st.sampled_from(["", "S", "K", "Q"]),
)  # fmt: skip
discounts = st.builds("TD;1;{};{}{};x\n".format, st.sampled_from(["", "P1"]), amounts, signs)
tenders = st.builds("TT;{};{}{};{};;\n".format, st.sampled_from(["BAR", "EC", "??"]), amounts, signs, st.sampled_from(["", "C"]))
taxes = st.builds("TX;1900;{}{};{}\n".format, amounts, signs, amounts)
heads = st.builds(
    "TH;{};{:06};{};{};20260329{}3000;{};;{};{}\n".format, st.sampled_from(["1", "001-and-more"[:10]]), st.integers(0, 999_999),
    st.sampled_from("SRXVC"), st.sampled_from(["20260329013000", "20261025023000", "20260311093005"]), st.sampled_from(["01", "02", "03"]),
    st.sampled_from(["", "0012"]), st.sampled_from(["EUR", "JPY", "ZZZ"]), st.sampled_from(["", "T", "CSO"]),
)  # fmt: skip
totals = st.builds("TF;{0};{0};{1}{2};{0}\n".format, amounts, amounts, signs)
transactions = st.builds(
    lambda head, sold, tax, paid, end: head + "".join([*sold, *tax, *paid]) + end,
    heads, st.lists(st.builds("".join, st.tuples(lines, discounts)) | lines, max_size=3), st.lists(taxes, max_size=1),
    st.lists(tenders, max_size=3), totals,
)  # fmt: skip


def rows(text: str) -> list[Any]:
    units = RowParser(PLAN).units(io.BytesIO(text.encode()), "f", {"store": "0001", "business_date": "20260311"})
    return [unit.row for unit in units if unit.row is not None]


def outcome(read: Any, row: Any, drift: list[Any]) -> Any:
    drift.clear()
    try:
        return read(row), list(drift)
    except ContractViolation as error:
        return str(error), list(drift)


@settings(max_examples=25, deadline=None)
@given(st.lists(transactions, min_size=1, max_size=4))
def test_the_quick_reading_of_a_parsed_row_gives_what_the_plain_one_gives(texts: list[str]) -> None:
    drift: list[Any] = []
    context = ReadContext("pos", "tlog", zone_of=lambda store: ZoneInfo("Europe/Berlin"), drift=lambda *what: drift.append(what))
    quick = MAPPING.row_reader(context)
    for row in rows(HEAD + "".join(texts)):
        assert outcome(quick, row, drift) == outcome(lambda r: MAPPING.read_one(r, context), row, drift)

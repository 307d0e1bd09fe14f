from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.canonical.amounts import Money, Quantity, UnitPrice
from contracts.canonical.location import Location
from contracts.errors import ContractViolation, Findings
from mappings.language import runtime
from mappings.language.check import translate
from mappings.language.functions import FUNCTIONS, reference
from mappings.language.mapping import CompiledMapping
from mappings.language.read import read
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context


class Target(msgspec.Struct):
    """One field of each kind."""

    s: str | None = None
    i: int | None = None
    d: Decimal | None = None
    b: bool | None = None
    day: date | None = None
    at: datetime | None = None
    m: Money | None = None
    q: Quantity | None = None
    u: UnitPrice | None = None
    t: dict[str, str] | None = None
    many: tuple[str, ...] = ()


SOURCE = Record(
    "S",
    [
        Field("a", Leaf("string"), required=False, nillable=True),
        Field("n", Leaf("integer"), required=False),
        Field("x", Leaf("decimal"), required=False),
        Field("at", Leaf("datetime"), required=False),
        Field("loc", Leaf("string"), required=False),
        Field(
            "rows", Record("R", [Field("k", Leaf("string")), Field("v", Leaf("integer"), required=False)]), required=False, repeated=True
        ),
        Field("tags", Leaf("string"), required=False, repeated=True),
    ],
)
EXCHANGE = Exchange("get", None, Message("x.get", "json", SOURCE))
KINDS = {
    str: "s",
    bool: "b",
    int: "i",
    Decimal: "d",
    datetime: "at",
    date: "day",
    Money: "m",
    Quantity: "q",
    UnitPrice: "u",
    dict: "t",
    tuple: "many",
}


def value(expression: str, target: str = "s", **document: Any) -> Any:
    """What one field line gives for one document; source fields that it does not speak of are of no interest here."""
    text = f'target = "Target"\nsource = "x.get"\n[fields]\n{target} = \'\'\'{expression}\'\'\'\n[tables.codes]\nA = "alpha"\nB = "beta"\n'
    parsed, found = read(text, "m.toml")
    builder, _, more = translate(parsed, EXCHANGE.answer or Message("", "json", SOURCE), Target)
    if rest := [f for f in (*found, *more) if "neither used nor dropped" not in f.message]:
        raise Findings(findings=tuple(rest))
    return getattr(CompiledMapping(parsed, builder).read(document, context())[0], target)


@pytest.mark.parametrize(
    ("expression", "document", "expected"),
    [
        ("a | text", {"a": "  x "}, "x"),
        ("a | text", {"a": " "}, None),
        ("a | text", {"a": "N/A"}, None),
        ("a | text", {}, None),
        ("a | strip", {"a": " x "}, "x"),
        ("a | upper", {"a": "x"}, "X"),
        ("a | lower", {"a": "X"}, "x"),
        ("a | strip_zeros(4)", {"a": "0012"}, "12"),
        ("a | strip_zeros", {"a": "0000"}, "0"),
        ("a | strip_zeros", {"a": "00A2"}, "00A2"),
        ("a | pad_zeros(4)", {"a": "12"}, "0012"),
        ("a | pad(4, ' ')", {"a": "12"}, "  12"),
        ("a | unpad(4)", {"a": "0012"}, "12"),
        ("a | unpad(4)", {"a": "0000"}, "0"),
        ("a | cut(2)", {"a": "abc"}, "ab"),
        ("a | at_most(3)", {"a": "abc"}, "abc"),
        ("a | digest(32)", {"a": "W-01J9-7Q2M4"}, "a3d21fe2f95aaf03bd05a06fb56e318f"),
        ("concat(a, '-', loc)", {"a": "1", "loc": "2"}, "1-2"),
        ("concat(a, loc)", {}, None),
        ("a | join(' ', loc)", {"a": "1"}, "1"),
        ("tags | join(', ')", {"tags": ["a", "b"]}, "a, b"),
        ("tags | join(', ')", {}, None),
        ("a | part(' ', -1)", {"a": "Ada King Lovelace"}, "Lovelace"),
        ("a | part(' ', 4)", {"a": "Ada"}, None),
        ("n | string", {"n": 7}, "7"),
        ("x | string(2)", {"x": Decimal("1.5")}, "1.50"),
        ("a | sign_trailing", {"a": "302.35-"}, "-302.35"),
        ("a | trailing_sign", {"a": "-302.35"}, "302.35-"),
        ("a | overpunch", {"a": "12C"}, "123"),
        ("a | overpunch", {"a": "12}"}, "-120"),
        ("a | enum(A='x', B='y')", {"a": "B"}, "y"),
        ("a | enum({'01': 'x', '': None})", {"a": ""}, None),
        ("a | enum({None: 'none', 'A': 'x'})", {}, "none"),
        ("a | enum(A='x', otherwise='other')", {"a": "Q"}, "other"),
        ("a | lookup(codes)", {"a": "A"}, "alpha"),
        ("a | lookup(codes, otherwise='?')", {"a": "Q"}, "?"),
        ("a | default('EA')", {}, "EA"),
        ("coalesce(a, loc, 'z')", {"loc": "y"}, "y"),
        ("constant('k')", {}, "k"),
        ("'yes' if a == 'X' and not (n == 3) or n in (5, 6) else 'no'", {"a": "X", "n": 3}, "no"),
        ("'yes' if n > 2 else 'no'", {}, "no"),
        ("'yes' if n >= 2 else 'no'", {"n": 2}, "yes"),
        ("(rows | where(k == 'b') | first).k", {"rows": [{"k": "a"}, {"k": "b"}]}, "b"),
        ("(rows | first).k", {}, None),
        ("rows.k | first", {"rows": [{"k": "a"}]}, "a"),
        ("'nil' if nil(a) else 'missing' if missing(a) else 'empty' if empty(a) else a", {"a": None}, "nil"),
        ("'nil' if nil(a) else 'missing' if missing(a) else 'empty' if empty(a) else a", {"a": ""}, "empty"),
        ("a | localized('de') | in_language('en', 'de')", {"a": "Brot"}, "Brot"),
        ("a | date('YYYYMMDD') | format('DD.MM.YYYY')", {"a": "20260311"}, "11.03.2026"),
        ("at | instant | format('YYYYMMDDhhmmss', 'Europe/Berlin')", {"at": "2026-03-11T09:30:00Z"}, "20260311103000"),
        ("'x' if a | contains('T') else 'y'", {"a": "CT"}, "x"),
        ("x | money('EUR') | currency", {"x": 1}, "EUR"),
        ("x | quantity('KG') | unit", {"x": 1}, "KGM"),
        ("at | time_quality('Europe/Berlin')", {"at": "2026-10-25T02:30:00"}, "ambiguous"),
        ("at | time_quality('Europe/Berlin')", {"at": "2026-10-25T02:30:00+01:00"}, "as_sent"),
    ],
)
def test_texts(expression: str, document: dict[str, Any], expected: str | None) -> None:
    assert value(expression, "s", **document) == expected


@pytest.mark.parametrize(
    ("expression", "document", "expected"),
    [
        ("a | integer", {"a": " 007"}, 7),
        ("x | integer", {"x": Decimal("7.0")}, 7),
        ("n + 2 * n - 1", {"n": 3}, 8),
        ("n + 1", {}, None),
        ("a | decimal(2)", {"a": "1.50"}, Decimal("1.50")),
        ("a | decimal(1, 'half_up')", {"a": "1.25"}, Decimal("1.3")),
        ("x | decimal", {"x": 0.1}, Decimal("0.1")),
        ("a | implied(2)", {"a": "1299"}, Decimal("12.99")),
        ("a | overpunch | implied(2)", {"a": "129R"}, Decimal("-12.99")),
        ("x | unimplied(2)", {"x": Decimal("12.99")}, 1299),
        ("n | negative", {"n": 3}, -3),
        ("n | magnitude", {"n": -3}, 3),
        ("rows | sum_of(v)", {"rows": [{"k": "a", "v": 1}, {"k": "b"}, {"k": "c", "v": 2}]}, 3),
        ("rows | sum_of(v)", {}, None),
        ("rows | count", {"rows": [{"k": "a"}]}, 1),
        ("a | boolean(true='X')", {"a": "X"}, True),
        ("a | boolean(true=('Y', 'J'), false='N')", {"a": "N"}, False),
        ("a | boolean(true='X')", {}, False),
        ("rows | any_row(v > 1)", {"rows": [{"k": "a", "v": 2}]}, True),
        ("a | date('YYYYMMDD')", {"a": "20260311"}, date(2026, 3, 11)),
        ("a | date('DD/MM/YY')", {"a": "11/03/69"}, date(2069, 3, 11)),
        ("a | date", {"a": "2026-03-11"}, date(2026, 3, 11)),
        ("a | date('YYYYMMDD')", {"a": "00000000"}, None),
        ("a | date('DD/MM/YYYY')", {"a": "00/00/0000"}, None),
        ("a | date", {"a": "0000-00-00"}, None),
        ("a | date('YYYYMMDD')", {"a": "null"}, None),
        ("a | date('YYYYMMDD')", {"a": "99991231"}, None),
        ("at | instant | day('Europe/Berlin')", {"at": "2026-03-11T23:30:00Z"}, date(2026, 3, 12)),
        ("n | epoch_millis", {"n": 1_773_222_600_000}, datetime(2026, 3, 11, 9, 50, tzinfo=UTC)),
        ("at | instant | epoch_millis", {"at": "2026-03-11T10:50:00+01:00"}, 1_773_222_600_000),
        ("at | local_datetime(loc | required)", {"at": "2026-03-11T10:50:00", "loc": "0017"}, datetime(2026, 3, 11, 9, 50, tzinfo=UTC)),
        (
            "at | local_datetime(loc | enum(D='Europe/Berlin', G='Europe/London') | default('Europe/London') | zone)",
            {"at": "2026-07-01T10:00:00", "loc": "G"},
            datetime(2026, 7, 1, 9, tzinfo=UTC),
        ),
        ("a | date('YYYYMMDD') | start_of_day('Europe/Berlin')", {"a": "20260329"}, datetime(2026, 3, 28, 23, tzinfo=UTC)),
        ("a | date('YYYYMMDD') | end_of_day('Europe/Berlin')", {"a": "20260329"}, datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("a | date('YYYYMMDD') | start_of_day('America/Sao_Paulo')", {"a": "20171015"}, datetime(2017, 10, 15, 3, tzinfo=UTC)),
        ("x | quantity('ST')", {"x": Decimal("1.500")}, Quantity("1.5", "EA")),
        ("a | quantity('KGM')", {"a": "-0.0"}, Quantity("0", "KGM")),
        ("a | quantity(loc | default('EA'))", {"a": "007"}, Quantity("7", "EA")),
        ("x | money('EUR')", {"x": 12.99}, Money(1299, "EUR", 2)),
        ("a | money('JPY', 2)", {"a": "12.34"}, Money(1234, "JPY", 0)),
        ("a | money('EUR', rounding='half_even')", {"a": "6.5428"}, Money(654, "EUR", 2)),
        ("a | money('JPY', rounding='half_even')", {"a": "2.5"}, Money(2, "JPY", 0)),
        ("n | cents('KWD')", {"n": 1234}, Money(1234, "KWD", 3)),
        ("x | money('EUR') | minor_units", {"x": 3}, 300),
        ("100 | decimal", {}, Decimal(100)),
        ("x | money('EUR') | amount", {"x": 3}, Decimal("3.00")),
        ("a | unit_price('EUR')", {"a": "1.5991"}, UnitPrice(15991, 4, "EUR")),
        ("a | localized('de')", {"a": "Brot"}, {"de": "Brot"}),
        (
            "rows | texts(k | enum(D='de', E='en', otherwise=None), v | string)",
            {"rows": [{"k": "D", "v": 1}, {"k": "Z", "v": 2}]},
            {"de": "1"},
        ),
        ("rows | texts(k, v | string)", {}, None),
        ("rows | each(k | upper)", {"rows": [{"k": "a"}]}, ("A",)),
        ("a | split('/')", {"a": " x / y //"}, ("x", "y")),
        ("a | as_list", {}, ()),
        ("tags", {"tags": ["a"]}, ("a",)),
        ("('p', 'q')", {}, ("p", "q")),
        ("rows.k", {"rows": [{"k": "a"}, {"k": "b"}]}, ("a", "b")),
    ],
)
def test_other_kinds(expression: str, document: dict[str, Any], expected: Any) -> None:
    guess = KINDS.get(type(expected)) if expected is not None else None
    targets = [guess] if guess else ["i", "d", "day", "t"]
    for target in targets:
        try:
            assert value(expression, target, **document) == expected
        except Findings:
            if target == targets[-1]:
                raise
            continue
        return


@pytest.mark.parametrize(
    ("expression", "target", "document", "error"),
    [
        ("a | integer", "i", {"a": "1_000"}, "a: expected an integer, got '1_000'"),
        ("a | integer", "i", {"a": "٣"}, "a: expected an integer"),
        ("x | integer", "i", {"x": Decimal("1.5")}, "x: expected an integer"),
        ("a | decimal", "d", {"a": "NaN"}, "a: expected a decimal number, got 'NaN'"),
        ("a | decimal", "d", {"a": "1e1000000"}, "a: expected a decimal number"),
        ("a | decimal(1)", "d", {"a": "1.25"}, "a: expected at most 1 digits after the point"),
        ("a | pad(2)", "s", {"a": "123"}, "a: expected at most 2 characters, got '123'"),
        ("a | enum(A='x')", "s", {"a": "B"}, "a: expected one of 'A', got 'B'"),
        ("a | boolean(true='X')", "b", {"a": "Z"}, "a: expected X, or blank, got 'Z'"),
        ("a | required", "s", {}, "a: expected a value, it is required, got nothing"),
        ("a | date('YYYYMMDD')", "day", {"a": "20260230"}, "a: expected a day of the calendar"),
        ("a | date('YYYYMMDD')", "day", {"a": "2026-02-03"}, "a: expected YYYYMMDD"),
        ("at | instant", "at", {"at": "2026-03-11T10:50:00"}, "at: expected a time with offset"),
        (
            "at | local_datetime('Europe/Berlin')",
            "at",
            {"at": "2026-03-29T02:30:00"},
            "at: expected a local time that exists in Europe/Berlin",
        ),
        ("n | epoch_millis", "at", {"n": 10**18}, "n: expected milliseconds since 1970"),
        ("a | quantity(loc | required)", "q", {"a": "1", "loc": "XX"}, "loc: expected a known unit"),
        ("a | quantity('EA')", "q", {"a": "1.1234567"}, "a: expected a plain decimal such as 2 or 0.420"),
        ("x | money('EUR')", "m", {"x": Decimal("1.999")}, "x: expected an amount of at most 2 decimals for EUR, got"),
        ("x | money(loc | required)", "m", {"x": 1, "loc": "XXX"}, "expected an ISO 4217 currency code, got 'XXX'"),
        ("rows | sum_of(v | money(k))", "m", {"rows": [{"k": "EUR", "v": 1}, {"k": "USD", "v": 1}]}, "currencies are never mixed"),
        (
            "rows | sum_of(v | quantity(k | default('EA')))",
            "q",
            {"rows": [{"k": "EA", "v": 1}, {"k": "KG", "v": 1}]},
            "units are never mixed",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(expression: str, target: str, document: dict[str, Any], error: str) -> None:
    with pytest.raises(ContractViolation) as raised:
        value(expression, target, **document)
    assert error in str(raised.value)


def test_quantities_of_one_unit_are_added_up() -> None:
    rows = [{"k": "KG", "v": 1}, {"k": "KG"}, {"k": "kg", "v": 2}]
    assert value("rows | sum_of(v | quantity(k | default('EA')))", "q", rows=rows) == Quantity("3", "KGM")


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=3, allow_nan=False))
def test_signs_and_points_turn_round(number: Decimal) -> None:
    text = f"{number:f}"
    assert runtime.decimal(runtime.sign_trailing(runtime.trailing_sign(text))) == number
    assert runtime.implied(str(runtime.unimplied(number, 3)), 3) == number


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001  # local times, on purpose
def test_milliseconds_turn_round(moment: datetime) -> None:
    exact = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    assert runtime.from_millis(runtime.to_millis(exact)) == exact


def test_every_function_says_what_it_takes_gives_and_loses() -> None:
    for function in FUNCTIONS.values():
        assert function.doc.endswith(".")
        assert function.gives
        assert f"`{function.name}" in reference()
        assert function.inverse or function.loss or function.invert is None


def test_the_manual_lists_the_functions_as_they_are() -> None:
    page = (Path(__file__).parents[4] / "docs" / "mapping-language.md").read_text(encoding="utf-8")
    begin, end = "<!-- functions: generated, do not edit -->\n", "<!-- end of functions -->"
    written = page.partition(begin)[2].partition(end)[0]
    assert written == reference(), "docs/mapping-language.md is stale: paste mappings.language.functions.reference() between its two marks"


def test_what_is_remembered_is_told_apart_by_kind_and_digits() -> None:
    rows = {"rows": [{"k": "a", "v": 1}, {"k": "b", "v": True}]}
    with pytest.raises(ContractViolation, match=re.escape("rows[1]/v: expected an integer, got True")):
        value("rows | sum_of(v)", "i", **rows)
    with pytest.raises(ContractViolation, match="expected a decimal number"):
        value("rows | sum_of(v | money('EUR'))", "m", **rows)
    digits = [value("x | unit_price('EUR')", "u", x=Decimal(text)).fraction_digits for text in ("1.5", "1.500", "15E-1")]
    assert digits == [2, 3, 2]


@given(
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Africa/Monrovia", "Asia/Kolkata"]),
    st.datetimes(datetime(1900, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001  # local times are what is asked about
)
def test_local_times_are_judged_as_a_round_trip_judges_them(name: str, found: datetime) -> None:
    _judged_as_a_round_trip(found, ZoneInfo(name))


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("Australia/Lord_Howe", "2026-10-04"),
        ("Australia/Lord_Howe", "2026-04-05"),
        ("Africa/Monrovia", "1972-01-07"),
        ("America/New_York", "1883-11-18"),
        ("Pacific/Apia", "2011-12-30"),
    ],
)
def test_every_minute_of_a_day_on_which_clocks_change_is_judged_as_a_round_trip_judges_it(name: str, day: str) -> None:
    for minute in range(24 * 60):
        _judged_as_a_round_trip(datetime.fromisoformat(day) + timedelta(minutes=minute), ZoneInfo(name))


def _judged_as_a_round_trip(found: datetime, zone: ZoneInfo) -> None:
    there = found.replace(tzinfo=zone)
    if there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == found:
        assert runtime.local_datetime(found, zone) == there
    else:
        with pytest.raises(runtime.Bad):
            runtime.local_datetime(found, zone)
    sure = there.utcoffset() == there.replace(fold=1).utcoffset()
    assert runtime.time_quality(found, zone) == ("from_store_zone" if sure else "ambiguous")


def test_a_location_is_looked_up_in_what_the_gateway_knows() -> None:
    berlin = msgspec.convert({"number": "0017", "type": "store", "name": "Berlin", "active": True, "currencyCode": "EUR"}, Location)
    given = context()
    given.location_of = {"0017": berlin}.get
    text = 'target = "Target"\nsource = "x.get"\n[fields]\ns = "loc | location(\'currency_code\')"\nb = "loc | location(\'active\')"\n'
    parsed, _ = read(text, "m.toml")
    builder, _, _ = translate(parsed, EXCHANGE.answer or Message("", "json", SOURCE), Target)
    mapping = CompiledMapping(parsed, builder)
    assert mapping.read({"loc": "0017"}, given) == [Target(s="EUR", b=True)]
    assert mapping.read({}, given) == [Target()]
    with pytest.raises(ContractViolation, match="expected the number of a known location, got '9999'"):
        mapping.read({"loc": "9999"}, given)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("loc | location('currency')", "a location has no currency; did you mean currency_code?"),
        ("loc | location('address')", "a location has no address; there is active, currency_code"),
        ("n | location('type')", "location is given integer, it takes string; append | string"),
    ],
)
def test_a_field_that_a_location_does_not_have_is_a_finding(expression: str, said: str) -> None:
    with pytest.raises(Findings) as found:
        value(expression)
    assert said in str(found.value)

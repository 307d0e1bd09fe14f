"""Rows cut out of an answer's text give the same Structs, the same drift and the same errors as the elements of the whole document."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.soap.client import read_body
from adapters.soap.contract import SoapContract
from adapters.soap.errors import Unusable
from adapters.soap.rows import read_rows
from contracts.canonical.customer import Customer
from contracts.canonical.inventory import InventoryLevel
from contracts.canonical.location import Location
from contracts.canonical.order import OrderProgress, OrderReceipt
from contracts.canonical.price import Price
from contracts.canonical.product import Product
from contracts.errors import ContractViolation, UpstreamRejected
from mappings.language import CompiledMapping, ReadContext, load
from mappings.language.render import rows_of
from mappings.language.rows import Shortened
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from sandbox.erp.server import ErpServer
from sandbox.faults import Faults
from sandbox.world import World
from tests.unit.adapters.soap.conftest import CALL, connected
from tests.unit.mappings.language.shapes import context

ROOT = Path(__file__).resolve().parents[4]
CONTRACT = SoapContract("erp", ROOT / "contracts/systems/erp/retail.wsdl")
TYPES = {t.__name__: t for t in (Customer, InventoryLevel, Location, OrderProgress, OrderReceipt, Price, Product)}
NAMES = ("get_stock", "get_prices", "get_materials", "get_plants", "find_order")


def mapping(name: str) -> CompiledMapping:
    file = f"mappings/erp/{name}.answer.toml"
    return load((ROOT / file).read_text(encoding="utf-8"), file, lambda operation: CONTRACT.exchange(operation.partition(".")[2]), TYPES)


MAPPINGS = {name: mapping(name) for name in NAMES}
ANSWERS = [(name, str(e.given).strip()) for name, m in MAPPINGS.items() for e in m.file.examples if not e.error]


def envelope(payload: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Header/><s:Body>{payload}</s:Body></s:Envelope>'
    ).encode()


def whole(document: bytes) -> Any:
    if (payload := next(read_body(document).iterchildren(), None)) is None:
        raise Unusable("Body", "a payload", "nothing")
    return payload


def shortened(chosen: CompiledMapping, document: bytes) -> Shortened | None:
    rows = rows_of(chosen.builder)
    assert rows is not None
    rows.least = 0
    found = read_rows(document, rows)
    return found[1] if found else None


def outcome(chosen: CompiledMapping, make: Callable[[], Any]) -> tuple[Any, ...]:
    """What was read, or the error with all its parts; and what drifted."""
    drift: list[tuple[str, str, str]] = []
    at: ReadContext = context(drift)
    try:
        return chosen.read(make(), at), drift
    except (ContractViolation, UpstreamRejected) as error:
        return type(error), str(error), drift
    except Unusable as error:
        return type(error), str(error.args)


def same_both_ways(chosen: CompiledMapping, document: bytes) -> bool:
    """Whether the rows were cut out."""
    found: list[Shortened | None] = []

    def shortly() -> Any:
        found.append(shortened(chosen, document))
        return found[0] or whole(document)

    assert outcome(chosen, shortly) == outcome(chosen, lambda: whole(document))
    return found[0] is not None


@pytest.mark.parametrize(("name", "payload"), ANSWERS)
def test_every_example_with_rows_takes_the_short_way(name: str, payload: str) -> None:
    path = MAPPINGS[name].builder.steps
    assert same_both_ways(MAPPINGS[name], envelope(payload)) == (f"<{path[-1]}>" in payload.partition(f"<{path[0]}>")[2])


@pytest.mark.parametrize(
    ("old", "new", "short"),
    [
        ("37.000", "12,0", True),
        ("37.000", "", True),
        ("37.000", "&#51;7", False),
        ("37.000", "&lt;", False),
        ("37.000", "&amp;", True),
        ("37.000", "&nothing;", False),
        ("37.000", "3]]>7", False),
        ("37.000", "3\x007", False),
        ("37.000", "<![CDATA[37]]>", False),
        ("37.000", "3<!-- -->7.000", False),
        ("37.000", "3<?x?>7.000", False),
        ("37.000", "3<b/>7.000", False),
        ("<WERKS>0001</WERKS>", "", False),
        ("<WERKS>0001</WERKS>", "<WERKS/>", True),
        ("<WERKS>0001</WERKS>", "<WERKS />", True),
        ("<WERKS>0001</WERKS>", "<WERKS></WERKS>", True),
        ("<WERKS>0001</WERKS>", '<WERKS xsi:nil="true"/>', False),
        ("<WERKS>0001</WERKS>", "<WERKS>00\r\n01</WERKS>", True),
        ("<WERKS>0001</WERKS>", "<WERKS>0001</WERKS><NEW>1</NEW>", False),
        ("<WERKS>0001</WERKS>", "<WERKS>0001</WERKS><WERKS>0001</WERKS>", False),
        ("<WERKS>0001</WERKS>", "<WERKS>0001</WERK>", False),
        ("<MATNR>000000000010000002</MATNR><WERKS>0001</WERKS>", "<WERKS>0001</WERKS><MATNR>000000000010000002</MATNR>", False),
        ("<MEINS>ST", "<MEINS>XX", True),
        ("<BUDAT>20261120", "<BUDAT>20261131", True),
        ("<KASSE>001</KASSE>", "", False),
        ("<GetStockResponse>", '<GetStockResponse xmlns="urn:x">', False),
        ("<T_STOCK>", "<T_STOCK><!-- rows -->", False),
        ("<T_STOCK>", "<T_STOCK>text", True),
        ("<T_STOCK>", "<T_STOCK><item.cut/>", False),
        ("<T_STOCK>", '<T_STOCK a="1">', True),
        ("</T_STOCK>", "<item/></T_STOCK>", False),
        ("</T_STOCK>", "</T_STOCK><T_STOCK/>", True),
        ("</T_STOCK>", "</T_STOCK><T_NEW/>", True),
        ("<UZEIT>101500</UZEIT>", "<UZEIT>101500</UZEIT><T_NEW>&nothing;</T_NEW>", False),
    ],
)
def test_what_is_written_otherwise_is_read_the_long_way_and_mistakes_keep_their_place(old: str, new: str, short: bool) -> None:  # a column
    payload = next(payload for name, payload in ANSWERS if name == "get_stock" and old in payload)
    assert same_both_ways(MAPPINGS["get_stock"], envelope(payload.replace(old, new, 1))) == short


@pytest.mark.parametrize("other", ["<!--{0}-->", "<T_OTHER>{0}</T_OTHER>", "<![CDATA[{0}]]>", '<T_OTHER a="{0}"/>'])
def test_rows_that_stand_elsewhere_are_not_the_list(other: str) -> None:
    name, payload = ANSWERS[0]
    rows = payload[payload.index("<item>") : payload.index("</T_STOCK>")]
    assert not same_both_ways(MAPPINGS[name], envelope(payload.replace(rows, "").replace("<T_STOCK>", other.format(rows) + "<T_STOCK>")))


def test_any_encoding_gives_the_same() -> None:
    name, payload = ANSWERS[0]
    text = envelope(payload).decode()
    for encoding in ("utf-8", "utf-16", "iso-8859-1", "utf-8-sig", "us-ascii"):
        for declared in (encoding, "utf-8"):
            same_both_ways(MAPPINGS[name], text.replace('encoding="utf-8"', f'encoding="{declared}"').encode(encoding))
    assert not same_both_ways(MAPPINGS[name], text.encode().replace(b">0001<", b">000\xff<"))


ODD = (
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "1,5",
    "1e3",
    "abc",
    "00000000",
    "20261131",
    "&amp;",
    "&lt;b",
    "&#65;",
    "<![CDATA[x]]>",
    "<!-- -->",
    "<x/>",
)
TAGS = ("<NEW/>", "<item>", "</item>", "<item/>", '<MATNR xsi:nil="true"/>', "<?x?>", "\x01", "\n", "<item.cut/>", "&", "<")


def mutated(payload: str, chance: random.Random, *, spaced: bool, prefix: str) -> str:
    parts = re.findall(r"<[^>]*>|[^<]+", payload)
    values = [n for n, part in enumerate(parts) if part[0] != "<" and part.strip()]
    for _ in range(chance.randint(0, 2) if values else 0):
        parts[chance.choice(values)] = chance.choice(ODD)
    for _ in range(chance.choice((0, 0, 1, 2))):
        at = chance.randrange(len(parts))
        match chance.randrange(7):
            case 0:
                parts[at] = chance.choice(ODD)
            case 1:
                parts.insert(at, chance.choice(TAGS))
            case 2:
                del parts[at : at + chance.randint(1, 3)]
            case 3:
                parts[at:at] = parts[at : at + chance.randint(1, 12)]
            case 4:
                parts[at] = parts[at].replace(">", ' a="1">')
            case 5:
                other = chance.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case _:
                parts[at] = parts[at].swapcase()
        parts = parts or [""]
    if spaced:
        parts = [f"\n {part}" if part[:1] == "<" and part[:2] != "</" else part for part in parts]
    text = "".join(parts)
    return re.sub(r"<(/?)(?=[A-Z_i])", rf"<\1{prefix}", text) if prefix else text


@pytest.mark.slow
@given(st.integers(0, len(ANSWERS) - 1), st.integers(0, 2**32), st.booleans(), st.sampled_from(("", "", "", "", "s:", "n:")))
@settings(max_examples=1500, deadline=None)
@example(0, 0, True, "")
def test_mutated_answers_give_the_same_rows_drift_and_errors(which: int, seed: int, spaced: bool, prefix: str) -> None:  # drawn
    name, payload = ANSWERS[which]
    same_both_ways(MAPPINGS[name], envelope(mutated(payload, random.Random(seed), spaced=spaced, prefix=prefix)))


class Line(msgspec.Struct, frozen=True):
    number: int
    note: str | None = None


class Thing(msgspec.Struct, frozen=True):
    code: str
    owner: str
    name: str | None = None
    price: Decimal | None = None
    city: str | None = None
    zip: str | None = None
    has_address: bool = False
    tags: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    grade: str | None = None
    weight: Decimal | None = None


URN = "urn:things"


def field(name: str, shape: Leaf | Record, *, required: bool = True, repeated: bool = False, nillable: bool = False) -> Field:
    return Field(name, shape, required=required, repeated=repeated, nillable=nillable, namespace=URN)


TEXT, NUMBER = Leaf("string"), Leaf("decimal")
THING = Record(
    "Thing",
    [
        field("Code", TEXT),
        field("Name", TEXT, required=False),
        field("Price", NUMBER, required=False),
        field("Address", Record("Address", [field("City", TEXT, required=False), field("Zip", TEXT, required=False)]), required=False),
        field("Owner", Record("Owner", [field("Name", TEXT)])),
        field("Tag", TEXT, required=False, repeated=True),
        field("Line", Record("Line", [field("No", Leaf("integer")), field("Note", TEXT, required=False)]), required=False, repeated=True),
        field("Rest", Record("Rest", [field("Any", TEXT, required=False)]), required=False),
        field("Grade", TEXT, nillable=True),
        field("Weight", NUMBER, nillable=True),
    ],
)
THINGS = Exchange("List", None, Message("shop.List", "xml", Record("Things", [field("Total", TEXT), field("Thing", THING, repeated=True)])))
THING_MAPPING = """
target = "Thing"
source = "shop.List/Thing"
[fields]
code = "Code"
name = "Name"
price = "Price"
owner = "Owner.Name"
city = "Address.City"
zip = "Address.Zip"
has_address = "Address is not None"
tags = "Tag"
grade = "Grade"
weight = "Weight"
[fields.lines]
each = "Line"
number = "No"
note = "Note"
[drops]
"root.Total" = "not needed"
Rest = "not needed"
"""
OPTIONAL = (
    ("<Name>n</Name>", "<Name/>", '<Name xsi:nil="true"/>', "<Name></Name>", "<Name>a &amp; b</Name>", ""),
    ("<Price>1.5</Price>", '<Price xsi:nil="true"/>', "<Price/>", "<Price>x</Price>", ""),
    ("<Address><City>c</City><Zip>1</Zip></Address>", "<Address><Zip/></Address>", "<Address/>", "<Address></Address>", ""),
    ("<Owner><Name>o</Name></Owner>", "<Owner><Name/></Owner>", "<Owner/>"),
    ("<Tag>a</Tag><Tag/><Tag>b</Tag>", "<Tag>a</Tag>", ""),
    (
        "<Line><No>1</No></Line><Line><No>2</No><Note>x</Note></Line>",
        "<Line><No>1</No><Note/></Line>",
        '<Line><No>1</No><Note xsi:nil="true"/></Line>',
        "<Line><No/></Line>",
        "",
    ),
    ("<Rest/>", "<Rest><Any/></Rest>", "<Rest><Any>1</Any></Rest>", '<Rest><Any xsi:nil="true"/></Rest>', ""),
    ("<Grade>g</Grade>", "<Grade/>", "<Grade></Grade>", '<Grade xsi:nil="true"/>'),
    ("<Weight>2.5</Weight>", '<Weight xsi:nil="true" />', '<Weight xsi:nil="true"></Weight>'),
)


@pytest.mark.slow
@given(
    st.lists(st.tuples(*(st.sampled_from(ways) for ways in OPTIONAL)), min_size=1, max_size=3),
    st.sampled_from(("", "t:", "t-1.x:")),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_missing_and_empty_are_told_apart_in_rows_with_and_without_prefix(
    rows: list[tuple[str, ...]], prefix: str, spaced: bool
) -> None:  # drawn
    things = "".join(f"<Thing><Code>c</Code>{''.join(row)}</Thing>" for row in rows)
    text = f"<Things xmlns{prefix and ':'}{prefix[:-1]}='{URN}'><Total>1</Total>{things}</Things>"
    text = re.sub(r"<(/?)(?=[A-Z])", rf"<\1{prefix}", text)
    if spaced:
        text = re.sub("(?<!^)<(?!/)", "\n\t<", text)
    regular = not any("<Owner/>" in row or "<Price/>" in row or "<Line><No/></Line>" in row for row in rows)
    assert same_both_ways(things_mapping(), envelope(text)) == regular


@cache
def things_mapping() -> CompiledMapping:
    return load(THING_MAPPING, "things.toml", lambda _: THINGS, {"Thing": Thing})


GOOD = "<Thing><Code>c</Code><Owner><Name>o</Name></Owner><Grade/><Weight>1</Weight></Thing>"


@pytest.mark.parametrize(
    ("declared", "nil", "short"),
    [
        ("", "xsi", True),
        ("xmlns:i='http://www.w3.org/2001/XMLSchema-instance'", "xsi", True),  # the envelope's prefix is the first
        ("xmlns:i='http://www.w3.org/2001/XMLSchema-instance'", "i", False),
        ("xmlns:xsi='urn:other'", "xsi", False),
        ("", "i", False),
    ],
)
def test_what_says_that_it_is_nothing_says_it_in_the_namespace_of_instances(declared: str, nil: str, short: bool) -> None:  # a column
    thing = GOOD.replace("<Weight>1<", f'<Weight {nil}:nil="true"><')
    assert same_both_ways(things_mapping(), envelope(f"<Things {declared} xmlns='{URN}'><Total>1</Total>{GOOD}{thing}</Things>")) == short


def test_a_mapping_that_asks_what_is_said_to_be_nothing_reads_elements() -> None:
    chosen = load(
        THING_MAPPING.replace('name = "Name"', "name = \"'x' if nil(Name) else Name\""), "things.toml", lambda _: THINGS, {"Thing": Thing}
    )
    thing = GOOD.replace("<Owner>", '<Name xsi:nil="true"/><Owner>')
    for text, short in ((GOOD, True), (thing, False)):
        assert same_both_ways(chosen, envelope(f"<Things xmlns='{URN}'><Total>1</Total>{text}</Things>")) == short


def test_a_system_that_never_writes_the_regular_way_is_not_asked_for_ever() -> None:
    rows = rows_of(things_mapping().builder)
    assert rows is not None
    document = envelope(f"<Things xmlns='{URN}'><Total>1</Total>{'<Thing a=><Code>c</Code></Thing>' * 100}</Things>")
    tried = 0
    for _ in range(1000):
        before = rows.failures
        assert rows.cut(document) is None
        tried += rows.failures != before
    assert 3 < tried < 20
    good = envelope(f"<Things xmlns='{URN}'><Total>1</Total>{GOOD * 100}</Things>")
    assert any(rows.cut(good) for _ in range(300))
    assert all(rows.cut(good) for _ in range(3))


STORES = World(seed=1).stores[:2]
PAIRS = {"T_REQ": {"item": [{"MATNR": World(seed=1).products[n].sku.zfill(18), "WERKS": STORES[n % 2].number} for n in range(40)]}}


@pytest.fixture
async def erp() -> AsyncIterator[ErpServer]:
    server = ErpServer(World(seed=1), Faults())
    await server.start()
    yield server
    await server.stop()


async def test_the_driver_answers_with_cut_rows_only_to_whom_they_belong(erp: ErpServer, wsdl: Path) -> None:
    chosen = mapping("get_stock")
    async with connected(wsdl, erp.url) as live:
        ((short,), (element,)) = [(await live.call("GetStock", PAIRS, CALL, 5, way)).documents for way in (chosen.shortcut, None)]
    levels = chosen.read(short, context())
    assert len(short.rows) == 40 == len(element.findall("T_STOCK/item"))
    assert [(level.sku, level.on_hand) for level in levels] == [(level.sku, level.on_hand) for level in chosen.read(element, context())]


@pytest.mark.parametrize(("path", "below"), [("T_STOCK.item", ""), ("T_STOCK", "item.")])
async def test_rows_that_the_driver_itself_has_to_look_into_are_not_cut(erp: ErpServer, wsdl: Path, path: str, below: str) -> None:
    chosen, unit = mapping("get_stock"), f"{below}MEINS"
    results = {"path": path, "type": unit, "errors": ["XX"], "text": unit, "code": [unit]}
    async with connected(wsdl, erp.url, {"operations": {"GetStock": {"results": results}}}) as live:
        (element,) = (await live.call("GetStock", PAIRS, CALL, 5, chosen.shortcut)).documents
    assert len(element.findall("T_STOCK/item")) == 40

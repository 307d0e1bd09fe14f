from __future__ import annotations

import pytest

from contracts.canonical.amounts import Money, Quantity
from contracts.errors import ContractViolation, InvalidBody, UpstreamRejected
from contracts.ports import LevelQuery, SkuAt
from tests.unit.mappings.language.shapes import compiled, context, xml

STOCK = """
target = "InventoryLevel"
source = "erp.GetStock/T_STOCK/item"

[fields]
sku = "MATNR | strip_zeros"
location_id = "WERKS"
on_hand = "LABST | quantity(MEINS)"
quality_control = "INSME | quantity(MEINS)"
as_of = "concat(root.STICHTAG, root.UZEIT) | local_datetime('UTC', 'YYYYMMDDhhmmss')"

[fields.posted_through]
each = "T_KASSE.item"
workstation_id = "KASSE"
business_date = "BUDAT | date('YYYYMMDD') | required"
sequence_number = "BONNR | integer"

[[refuse]]
when = "T_RETURN.item | any_row(TYPE == 'E')"
code = "T_RETURN.item | where(TYPE == 'E') | count"
reason = "T_RETURN.item | where(TYPE == 'E') | each(MESSAGE) | join('; ')"
"""
ITEM = (
    "<item><MATNR>000000000010000001</MATNR><WERKS>0017</WERKS><LABST>12.000</LABST><INSME>0.500</INSME><MEINS>ST</MEINS>"
    "<T_KASSE><item><KASSE>001</KASSE><BUDAT>20261031</BUDAT><BONNR>000123</BONNR></item></T_KASSE></item>"
)


def answer(items: str, more: str = "", namespace: str = "") -> str:
    return f"<R{namespace}><STICHTAG>20261101</STICHTAG><UZEIT>101500</UZEIT><T_STOCK>{items}</T_STOCK>{more}</R>"


def test_elements_become_structs_with_what_the_document_says_once() -> None:
    (level,) = compiled(STOCK).read(xml(answer(ITEM)), context())
    assert (level.sku, level.location_id, level.on_hand, level.quality_control) == (
        "10000001",
        "0017",
        Quantity("12", "EA"),
        Quantity("0.5", "EA"),
    )
    assert level.as_of.isoformat() == "2026-11-01T10:15:00+00:00"
    assert [(t.workstation_id, t.business_date, t.sequence_number) for t in level.posted_through] == [("001", "2026-10-31", 123)]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("12.000", "12,0", "T_STOCK/item[2]/LABST: expected a decimal number, got '12,0'"),
        ("12.000", "1e99", "T_STOCK/item[2]/LABST: expected a number between 1e-20 and 1e14"),
        ("<MEINS>ST", "<MEINS>XX", "T_STOCK/item[2]/MEINS: expected a known unit"),
        ("<WERKS>0017</WERKS>", "", "T_STOCK/item[2]/WERKS: expected a value, it is required, got nothing"),
        ("0017", "00 17", "T_STOCK/item[2]/WERKS: expected text like"),
        ("000123", "abc", "T_STOCK/item[2]/T_KASSE/item[1]/BONNR: expected an integer, got 'abc'"),
        ("20261031", "20261131", "T_STOCK/item[2]/T_KASSE/item[1]/BUDAT: expected a day of the calendar, got '20261131'"),
        ("20261031", "00000000", "T_STOCK/item[2]/T_KASSE/item[1]/BUDAT: expected a value"),
        ("<WERKS>", "<WERKS>0018</WERKS><WERKS>", "T_STOCK/item[2]/WERKS: expected one WERKS"),
        ("0017", "00<b>1</b>7", "T_STOCK/item[2]/WERKS: expected text only, got '<b> inside it'"),
    ],
)
def test_a_broken_value_refuses_the_answer_and_names_its_place(old: str, new: str, error: str) -> None:
    with pytest.raises(ContractViolation) as raised:
        compiled(STOCK).read(xml(answer(ITEM + ITEM.replace(old, new))), context())
    assert str(raised.value).startswith(f"erp.GetStock: {error}")


def test_comments_and_processing_instructions_cut_no_value_and_new_elements_are_counted() -> None:
    drift: list[tuple[str, str, str]] = []
    item = ITEM.replace("0017", "<!--a-->00<!--b-->1<?pi?>7").replace("<MEINS>", "<!--c--><NEW>1</NEW><MEINS>")
    (level,) = compiled(STOCK).read(xml(answer(item)), context(drift))
    assert level.location_id == "0017"
    assert drift == [("element", "T_STOCK/item/NEW", "")]


def test_names_in_an_unexpected_namespace_are_matched_by_local_name() -> None:
    assert compiled(STOCK).read(xml(answer(ITEM, namespace=' xmlns="urn:x"')), context())[0].sku == "10000001"


def test_missing_optional_is_absent() -> None:
    assert compiled(STOCK).read(xml(answer(ITEM.replace("<INSME>0.500</INSME>", ""))), context())[0].quality_control is None


def test_no_rows_is_an_empty_list_and_a_declared_refusal_is_a_refusal() -> None:
    mapping = compiled(STOCK)
    assert mapping.read(xml(answer("")), context()) == []
    with pytest.raises(UpstreamRejected) as raised:
        mapping.read(xml(answer(ITEM, "<T_RETURN><item><TYPE>E</TYPE><MESSAGE>locked</MESSAGE></item></T_RETURN>")), context())
    assert (raised.value.reason, raised.value.refusal) == ("locked", "1")


def test_one_record_is_read_with_its_ancestors() -> None:
    document = xml(answer(ITEM))
    assert compiled(STOCK).read_one(document[2][0], context(), document) == compiled(STOCK).read(document, context())[0]


PRICE = """
target = "Price"
source = "erp.GetPrices/PRICE"

[fields]
sku = "MATNR | strip_zeros"
price_type = "KSCHL | enum(VKP0='regular', VKA0='sale')"
value = 'KBETR | money(attr(KBETR, "cur-id"))'
per = "'1' | quantity('EA')"
tax_included = true
location_id = "WERKS"
channel = "'nil' if nil(WERKS) else 'missing' if missing(WERKS) else None"
valid_from = "DATAB | date('YYYYMMDD') | start_of_day(zone)"
valid_until = "DATBI | date('YYYYMMDD') | end_of_day(zone)"
""".replace("(zone)", "('Europe/Berlin')")


def price(**values: str) -> str:
    given = {"w": "<WERKS>0017</WERKS>", "a": "12.99", "from": "20260329", "until": "20261024", "k": "VKP0"} | values
    return (
        f'<R><PRICE><MATNR>1</MATNR>{given["w"]}<KBETR cur-id="EUR">{given["a"]}</KBETR><DATAB>{given["from"]}</DATAB>'
        f'<DATBI>{given["until"]}</DATBI><KSCHL xmlns="urn:p">{given["k"]}</KSCHL></PRICE></R>'
    )


def test_attributes_namespaces_inclusive_ends_and_summer_time() -> None:
    (row,) = compiled(PRICE).read(xml(price()), context())
    assert (row.value, row.price_type, row.location_id, row.channel) == (Money.of(row.value.amount, "EUR"), "regular", "0017", None)
    assert (row.valid_from.isoformat(), row.valid_until.isoformat()) == ("2026-03-29T00:00:00+01:00", "2026-10-25T00:00:00+02:00")


def test_missing_empty_and_nil_are_three_things() -> None:
    mapping = compiled(PRICE)
    nil = '<WERKS xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true"/>'
    assert mapping.read(xml(price(w=nil)), context())[0].channel == "nil"
    assert mapping.read(xml(price(w="")), context())[0].channel == "missing"
    with pytest.raises(ContractViolation, match=r"WERKS: expected text like .*, got ''"):
        mapping.read(xml(price(w="<WERKS/>")), context())


def test_fillers_and_the_end_of_time_are_absent() -> None:
    (row,) = compiled(PRICE).read(xml(price(**{"from": "00000000", "until": "99991231"})), context())
    assert row.valid_from is None
    assert row.valid_until is None


WRITE = """
target = "erp.GetStock"
source = "LevelQuery"

[fields.T_REQ.item]
each = "pairs"
MATNR = "sku | pad_zeros(18)"
WERKS = "location_id | at_most(4)"
"""


def test_a_request_is_written_in_the_shape_of_its_message() -> None:
    query = LevelQuery(pairs=(SkuAt(sku="10000001", location_id="0017"), SkuAt(sku="A-1", location_id="0018")))
    assert compiled(WRITE).write(query, context()) == {
        "T_REQ": {"item": [{"MATNR": "000000000010000001", "WERKS": "0017"}, {"MATNR": "A-1", "WERKS": "0018"}]}
    }


def test_what_the_system_cannot_take_is_the_callers_to_change_and_names_no_field_of_the_system() -> None:
    query = LevelQuery(pairs=(SkuAt(sku="1", location_id="0017"), SkuAt(sku="1", location_id="00177")))
    with pytest.raises(InvalidBody) as raised:
        compiled(WRITE).write(query, context())
    assert str(raised.value) == "/pairs/1/locationId: expected at most 4 characters, got '00177'"

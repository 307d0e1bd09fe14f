"""Repairs of one mapping: wherever an expression speaks of a field that has another name or place, and what only a person can decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mappings.language import attempt
from mappings.language.change.impact import Impact, impact
from mappings.language.shape import TEXT, Exchange, Field, Leaf, Message, Record
from tests.unit.mappings.language.shapes import EXCHANGES, TYPES, compiled, text

STOCK = """
target = "InventoryLevel"
source = "erp.GetStock/T_STOCK/item"

[fields]
sku = "MATNR | strip_zeros"
location_id = "WERKS"
on_hand = "LABST | quantity(MEINS | enum(ST='EA', KG='KGM'))"
as_of = "concat(root.STICHTAG, root.UZEIT) | local_datetime(zone('UTC'), 'YYYYMMDDhhmmss')"

[fields.posted_through]
each = "T_KASSE.item"
where = "KASSE != '999'"
workstation_id = "concat(parent.WERKS, '-', KASSE)"
business_date = "BUDAT | date('YYYYMMDD') | string | required"
sequence_number = "BONNR | integer"

[drops]
INSME = "not shown"

[[refuse]]
when = "(root.T_RETURN.item | where(TYPE == 'E') | first) is not None"
reason = "(root.T_RETURN.item | where(TYPE == 'E') | first).MESSAGE"

[[example]]
name = "one"
given = \"\"\"<GetStockResponse><STICHTAG>20260101</STICHTAG><UZEIT>101500</UZEIT><T_STOCK><item><MATNR>1</MATNR><WERKS>0001</WERKS>
<LABST>1.000</LABST><MEINS>ST</MEINS><T_KASSE/></item></T_STOCK></GetStockResponse>\"\"\"
error = "LABST is told"
"""
PRICES = """
target = "Price"
source = "erp.GetPrices/PRICE"

[fields]
sku = "MATNR | strip_zeros"
location_id = "WERKS | text"
price_type = "KSCHL | enum(VKP0='regular', VKA0='sale')"
value = "KBETR | money(attr(KBETR, 'cur-id'))"
valid_from = "DATAB | date('YYYYMMDD') | start_of_day(zone('UTC')) | required"
tax_included = true
per = "1 | quantity('EA')"
country = "'DE'"

[drops]
DATBI = "open end"
"""
REQUEST = """
target = "erp.GetStock"
source = "LevelQuery"

[fields.T_REQ.item]
each = "pairs"
MATNR = "sku | at_most(18)"
WERKS = "location_id | at_most(4)"
"""

Edit = Callable[[Record], Record]


def named(record: Record, **names: str) -> Record:
    """The same with other names of fields, however deep."""
    return Record(
        record.name,
        [
            replace(
                f,
                name=names.get(f.name.replace("-", "_"), f.name),
                shape=named(f.shape, **names) if isinstance(f.shape, Record) else f.shape,
            )
            for f in record.fields
        ],
    )


def changed(record: Record, name: str, *now: Field) -> Record:
    """The same with one field, however deep, replaced by others."""
    fields: list[Field] = []
    for field in record.fields:
        if field.name == name:
            fields += now
        else:
            fields.append(replace(field, shape=changed(field.shape, name, *now)) if isinstance(field.shape, Record) else field)
    return Record(record.name, fields)


def hit(source: str, edit: Edit) -> Impact:
    """What the contract of a mapping, edited on the mapping's side, does to it. The patched text is checked once more."""
    mapping = compiled(source)
    name = (mapping.source if mapping.reads else mapping.target).name
    old = EXCHANGES[name]
    sides = (old.request, old.answer)
    request, answer = (Message(m.name, m.form, edit(m.root)) if m is not None and (m is sides[1]) == mapping.reads else m for m in sides)
    new = Exchange(old.operation, request, answer)
    found, _ = impact(mapping, old, new, lambda wanted: new if wanted == name else EXCHANGES[wanted], TYPES)
    _, left = attempt(found.text, found.mapping, lambda wanted: new if wanted == name else EXCHANGES[wanted], TYPES)
    assert list(found.left) == left
    return found


def test_every_place_that_speaks_of_a_renamed_field_gets_its_new_name() -> None:
    new = {"WERKS": "PLANT", "KASSE": "TILL_NO", "TYPE": "MSG_TYPE", "MESSAGE": "MSG_TEXT", "STICHTAG": "KEY_DATE", "INSME": "QTY_INSME"}
    found = hit(STOCK, lambda r: named(r, **new))
    assert found.left == ()
    for part in (
        'location_id = "PLANT"',
        "concat(root.KEY_DATE, root.UZEIT)",
        "where = \"TILL_NO != '999'\"",
        "concat(parent.PLANT, '-', TILL_NO)",
        "(root.T_RETURN.item | where(MSG_TYPE == 'E') | first) is not None",
        "(root.T_RETURN.item | where(MSG_TYPE == 'E') | first).MSG_TEXT",
        'QTY_INSME = "not shown"',
        "<KEY_DATE>20260101</KEY_DATE>",
        "<PLANT>0001</PLANT>",
    ):
        assert part in found.text


def test_renamed_records_change_source_lists_and_anchors() -> None:
    found = hit(STOCK, lambda r: named(r, T_STOCK="ET_STOCK", T_KASSE="ET_KASSE", T_RETURN="ET_RETURN"))
    assert found.left == ()
    for part in ('source = "erp.GetStock/ET_STOCK/item"', 'each = "ET_KASSE.item"', "root.ET_RETURN.item | where"):
        assert part in found.text


def test_names_that_are_no_identifiers_are_written_as_paths() -> None:
    found = hit(PRICES, lambda r: named(r, MATNR="MATNR-NO", cur_id="currency-id"))
    assert found.left == ()
    assert "path('MATNR-NO') | strip_zeros" in found.text
    assert "currency-id" in found.text


def test_a_field_that_moved_below_is_reached_and_its_example_follows() -> None:
    amount = Field("LABST", Leaf("decimal", digits=(13, 3)))
    found = hit(STOCK, lambda r: changed(r, "LABST", Field("QTY", Record("Q", [amount]))))
    assert found.left == ()
    assert 'on_hand = "QTY.LABST | quantity(' in found.text
    assert "<QTY><LABST>1.000</LABST></QTY>" in found.text


def test_a_field_that_moved_to_the_head_is_reached_from_there() -> None:
    def edit(record: Record) -> Record:
        return Record(record.name, [*changed(record, "WERKS").fields, Field("WERKS", text(4))])

    found = hit(STOCK, edit)
    assert found.left == ()
    assert 'location_id = "root.WERKS"' in found.text
    assert "concat(root.WERKS, '-', KASSE)" in found.text


@pytest.mark.parametrize(
    ("name", "now", "after", "decision"),
    [
        ("MEINS", Field("MEINS", text(enum=("ST", "KG", "L"))), "enum(ST='EA', KG='KGM', otherwise=refuse)", "new codes are refused"),
        ("MEINS", Field("MEINS", text(enum=("ST",))), "enum(ST='EA')", ""),
        ("WERKS", Field("WERKS", text(4), required=False), "WERKS | required", "a record without it is refused"),
        ("WERKS", Field("WERKS", Leaf("integer")), "WERKS | string", ""),
        ("BONNR", Field("BONNR", Leaf("integer")), "BONNR", ""),
        ("BUDAT", Field("BUDAT", Leaf("date")), "BUDAT", ""),
        ("LABST", Field("LABST", text(16)), "LABST | ", ""),
        ("MATNR", Field("MATNR", text(40)), "MATNR | strip_zeros", ""),
    ],
)
def test_a_field_that_means_something_else_is_converted_the_careful_way(name: str, now: Field, after: str, decision: str) -> None:
    found = hit(STOCK, lambda r: changed(r, name, now))
    assert found.left == ()
    assert after in found.text
    assert any(decision in d for d in found.decisions) if decision else not found.decisions


def test_what_no_edit_heals_is_left_with_its_finding() -> None:
    gone = hit(STOCK, lambda r: changed(r, "WERKS"))
    assert any("unknown source field WERKS" in f.message for f in gone.left)
    many = hit(STOCK, lambda r: changed(r, "WERKS", Field("WERKS", text(4), repeated=True)))
    assert any("WERKS" in d or "location_id" in d for d in map(str, many.left))
    assert 'location_id = "WERKS"' in many.text


def test_a_new_field_is_possible_and_dropped_with_its_reason_a_gone_drop_goes() -> None:
    found = hit(STOCK, lambda r: changed(r, "INSME", Field("RESERVED", Leaf("boolean"))))
    assert found.left == ()
    assert [str(d) for d in found.possible] == ["T_STOCK.item.RESERVED is new: required boolean"]
    assert 'RESERVED = "new in the contract, not used yet"' in found.text
    assert "INSME" not in found.text


def test_changes_that_the_check_takes_are_silent_with_the_fields_that_depend_on_them() -> None:
    found = hit(STOCK, lambda r: changed(r, "LABST", Field("LABST", Leaf("decimal", digits=(17, 3)))))
    assert (found.breaks, found.repairs) == ((), ())
    assert [str(d) for d in found.silent] == [
        "T_STOCK.item.LABST has 17 digits, 3 of them decimals now, before 13 digits, 3 of them decimals"
    ]
    assert found.targets["T_STOCK.item.LABST"] == ("on_hand",)


def test_changes_of_what_is_dropped_do_not_concern_the_mapping() -> None:
    assert not hit(STOCK, lambda r: changed(r, "INSME", Field("INSME", text(5)))).touched


def test_a_request_gets_renamed_keys_new_constants_and_shorter_texts() -> None:
    def edit(record: Record) -> Record:
        more = (
            Field("MATERIAL", text(10, pattern="[0-9A-Z-]{1,10}")),
            Field("SPRAS", text(enum=("D", "E"))),
            Field("COUNT", Leaf("integer", minimum="1")),
        )
        return changed(record, "MATNR", *more)

    found = hit(REQUEST, edit)
    assert found.left == ()
    assert 'MATERIAL = "sku | at_most(10)"' in found.text
    assert "SPRAS = \"'D'\"" in found.text
    assert 'COUNT = "1"' in found.text
    assert sum("is required now" in d for d in found.decisions) == 2


def test_a_request_whose_field_is_gone_or_moved_sends_it_no_more_or_there() -> None:
    gone = hit(REQUEST, lambda r: changed(r, "WERKS"))
    assert gone.left == ()
    assert "WERKS" not in gone.text
    assert any("does the system still need" in d for d in gone.decisions)
    moved = hit(REQUEST, lambda r: changed(r, "WERKS", Field("PLACE", Record("P", [Field("WERKS", text(4, min_length=4))]))))
    assert moved.left == ()
    assert '[fields.T_REQ.item.PLACE]\nWERKS = "location_id | at_most(4)"' in moved.text


def test_texts_with_escapes_comments_and_several_tables_on_a_line_keep_everything_else() -> None:
    source = PRICES.replace('sku = "MATNR | strip_zeros"', "sku         = 'MATNR | strip_zeros'   # the key").replace(
        'DATBI = "open end"', '"DATBI" = "said \\"open\\""  # so'
    )
    found = hit(source, lambda r: named(r, MATNR="MATERIAL", DATBI="VALID_TO"))
    assert found.left == ()
    assert 'sku         = "MATERIAL | strip_zeros"   # the key' in found.text
    assert 'VALID_TO = "said \\"open\\""  # so' in found.text


def test_text_of_an_element_keeps_its_place() -> None:
    assert TEXT == "#text"
    found = hit(PRICES, lambda r: named(r, KBETR="AMOUNT"))
    assert found.left == ()
    assert "AMOUNT | money(attr(AMOUNT, 'cur-id'))" in found.text or "AMOUNT | money(path('AMOUNT.cur-id'))" in found.text

from __future__ import annotations

import re

from mappings.language import examples
from mappings.language.coverage import Case, coverage, lineage, summary
from tests.unit.mappings.language.shapes import compiled, xml

STOCK = """
target = "InventoryLevel"
source = "erp.GetStock/T_STOCK/item"

[fields]
sku = "MATNR | strip_zeros"
location_id = "WERKS"
on_hand = "LABST | quantity(MEINS | enum(ST='EA', KG='KGM'))"

[drops]
T_KASSE = "x"
INSME = "x"
"root.STICHTAG" = "x"
"root.UZEIT" = "x"
"root.T_RETURN" = "x"

[[example]]
name = "one row"
given = '''
<R><STICHTAG>20261101</STICHTAG><UZEIT>101500</UZEIT><T_STOCK><item><MATNR>0017</MATNR><WERKS>0001</WERKS><LABST>VALUE</LABST>
<MEINS>ST</MEINS><T_KASSE/></item></T_STOCK></R>'''
expect = '{"sku": "17", "locationId": "0001", "onHand": {"value": "1.5", "unit": "EA"}}'

[[example]]
name = "refused"
given = "<R><STICHTAG>20261101</STICHTAG><UZEIT>101500</UZEIT></R>"
error = "T_STOCK: expected a value"
"""
SALES = """
target = "OrderReceipt"
source = "pos.sale"
[fields]
external_id = "sequence | string"
order_number = "TL.sku | first"
total_price = "TL | sum_of(extended | implied(2)) | default(0) | money(currency)"
[drops]
workstation = "x"
type = "x"
begin = "x"
operator = "x"
FH = "x"
"TL.line_no" = "x"
"TL.void" = "x"
[[example]]
given = '["1", 7, "S", "20260101000000", "EUR", null, ["1", "2026-01-01"], [{"line_no": 1, "sku": "A", "extended": "150"}]]'
expect = { externalId = "7", orderNumber = "A", totalPrice = { centAmount = 150, currencyCode = "EUR", fractionDigits = 2 } }
"""
REQUEST = """
target = "erp.GetStock"
source = "LevelQuery"
[fields.T_REQ.item]
each = "pairs"
MATNR = "sku"
WERKS = "location_id | at_most(4)"
[[example]]
given = { pairs = [{ sku = "17", locationId = "0001" }] }
expect = { T_REQ = { item = [{ MATNR = "17", WERKS = "0001" }] } }
[[example]]
given = { pairs = [{ sku = "17", locationId = "00010" }] }
error = "/pairs/0/locationId"
"""


def outcomes(source: str) -> list[str]:
    return [str(o.finding) if o.finding else "holds" for o in examples.run(compiled(source), xml)]


def test_examples_hold_in_all_forms_and_both_directions() -> None:
    assert outcomes(STOCK.replace("VALUE", "1.500")) == ["holds", "holds"]
    assert outcomes(SALES) == ["holds"]
    assert outcomes(REQUEST.replace('"sku"', '"sku | at_most(18)"')) == ["holds", "holds"]


def test_an_example_that_does_not_hold_says_line_and_difference() -> None:
    (wrong, _) = outcomes(STOCK.replace("VALUE", "2.500"))
    assert wrong.startswith("mappings/test.toml:17: one row: it gives something else; expected -, came +:")
    assert '-"value": "1.5" +"value": "2.5"' in wrong
    (broken, _) = outcomes(STOCK.replace("VALUE", "x"))
    assert "it is refused: erp.GetStock: T_STOCK/item[1]/LABST: expected a decimal number, got 'x'" in broken


def test_an_example_that_cannot_be_read_says_so() -> None:
    assert "what is given cannot be read" in outcomes(SALES.replace('"S", "2026', '"S", ["2026').replace("]]'", "]]]]'"))[0]


def test_coverage_counts_fields_on_both_sides_and_cases_that_examples_hold() -> None:
    found = coverage(compiled(STOCK.replace("VALUE", "1.500")), xml)
    assert found.source["T_STOCK.item.MATNR"] == "used"
    assert found.source["T_STOCK.item.T_KASSE"] == "dropped"
    assert found.target["sku"] == "filled"
    assert found.target["provenance"] == "gateway"
    assert found.target["as_of"] == "unfilled"
    assert found.cases == (Case("on_hand", "'ST'", True), Case("on_hand", "'KG'", False))
    assert "case 'KG' of on_hand: no example" in str(found)
    assert found.share()[0] == 1.0


def test_several_mappings_are_counted_together() -> None:
    found = coverage(compiled(STOCK.replace("VALUE", "1.500")), xml)
    counted = [int(n) for n in re.findall(r"\d+", summary([found, found]))]
    assert counted == [2 * int(n) for n in re.findall(r"\d+", summary([found]))]
    assert counted[0] == 2 * sum(u == "used" for u in found.source.values())
    assert counted[-2:] == [2, 2]


def test_lineage_names_sources_and_functions() -> None:
    mapping = compiled(STOCK.replace("VALUE", "1.500"))
    (found,) = lineage(mapping, "on_hand")
    assert found.sources == ["T_STOCK.item.LABST", "T_STOCK.item.MEINS"]
    assert found.functions == ["quantity", "enum"]
    assert "on_hand" in mapping.explain()

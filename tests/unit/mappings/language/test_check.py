from __future__ import annotations

import pytest

from contracts.canonical.inventory import InventoryLevel
from mappings.language.check import check
from mappings.language.read import read
from tests.unit.mappings.language.shapes import EXCHANGES, findings

STOCK = """target = "InventoryLevel"
source = "erp.GetStock/T_STOCK/item"
[fields]
sku = "MATNR | strip_zeros"
location_id = "WERKS"
on_hand = "LABST | quantity(MEINS)"
quality_control = "INSME | quantity(MEINS)"
as_of = "concat(root.STICHTAG, root.UZEIT) | local_datetime('UTC', 'YYYYMMDDhhmmss')"
[drops]
T_KASSE = "not needed"
"root.T_RETURN" = "not needed"
"""


def test_a_good_mapping_has_no_finding() -> None:
    assert findings(STOCK) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('sku = "MATNR', 'sku = "MATNT', ":4:8: sku: unknown source field MATNT in T_STOCK.item; did you mean MATNR?"),
        ('location_id = "WERKS"\n', "", ":3: required target field location_id (string) is not filled; write location_id"),
        ("on_hand =", "onhand =", "6:10: unknown target field onhand; did you mean on_hand?"),
        (
            "LABST | quantity(MEINS)",
            "LABST",
            "6:11: on_hand: Quantity is wanted, the expression gives decimal of 13 digits, 3 after the point; append | quantity(UNIT)",
        ),
        ("LABST | quantity(MEINS)", "WERKS | quantity(MEIN)", "on_hand: unknown source field MEIN in T_STOCK.item; did you mean MEINS?"),
        (
            "MATNR | strip_zeros",
            "LABST | strip_zeros",
            "sku: strip_zeros is given decimal of 13 digits, 3 after the point, it takes string; append | string",
        ),
        ("MATNR | strip_zeros", "MATNR | stripzeros", ":4:16: sku: unknown function stripzeros; did you mean strip_zeros?"),
        ("MATNR | strip_zeros", "MATNR | strip_zeros('a')", "strip_zeros: width is 'a'"),
        ("MATNR | strip_zeros", "MATNR | pad", "pad needs width"),
        ("MATNR | strip_zeros", "MATNR | cut(1, 2)", "cut is given too many values"),
        ("MATNR | strip_zeros", "MATNR | cut(lenght=1)", "cut needs length"),
        ('"WERKS"', '"INSME | string"', "location_id: T_STOCK.item.INSME may be absent, but location_id is required; append | required"),
        ('"WERKS"', '"T_KASSE.item.KASSE"', "one value is wanted, the expression gives list of string of at most 3; append | first"),
        ('"WERKS"', '"T_KASSE"', "location_id: string is wanted, the expression gives record T_KASSE"),
        ('"WERKS"', '"WERKS.X"', "T_STOCK.item.WERKS is a single value and holds no X"),
        ('"WERKS"', '"parent.parent.parent.WERKS"', "there is no record above"),
        ('"WERKS"', '"parameters.shop"', "unknown parameter shop; declare it under [parameters]"),
        ('"WERKS"', "\"'A' if MEINS == 'LB' else WERKS\"", "the value 'LB' never comes: it is one of 'ST', 'KG'"),
        ('"WERKS"', "\"WERKS if LABST == '1' else 'x'\"", "is compared with '1'"),
        ('"WERKS"', "\"MEINS | enum(ST='a')\"", "location_id: no case for 'KG'; add KG=…, or otherwise=refuse"),
        ('"WERKS"', "\"MEINS | enum(ST='a', KG='b', LB='c')\"", "the code 'LB' never comes"),
        ('"WERKS"', '"MEINS | lookup(units)"', "unknown table units"),
        ('"WERKS"', "\"'a b'\"", "'a b' does not match"),
        ("T_KASSE = ", "T_KASE = ", ":10:10: drop of an unknown field: T_KASE is not in T_STOCK.item; did you mean T_KASSE?"),
        ("T_KASSE = ", "WERKS = ", "WERKS is dropped, and used"),
        (
            'T_KASSE = "not needed"\n',
            "",
            ':9: source field T_KASSE is neither used nor dropped; map it, or write T_KASSE = "why" under [drops]',
        ),
        (
            '"root.T_RETURN" = "not needed"\n',
            "",
            'source field root.T_RETURN is neither used nor dropped; map it, or write "root.T_RETURN" = "why"',
        ),
        ('quality_control = "INSME | quantity(MEINS)"\n', "", "source field INSME is neither used nor dropped"),
        ("GetStock/", "GetStok/", "unknown operation erp.GetStok"),
        ("T_STOCK/item", "T_STOK/item", ":2:10: source: T_STOK is not in erp.GetStock; did you mean T_STOCK?"),
        ('"InventoryLevel"', '"InventorLevel"', ":1:10: unknown target InventorLevel; did you mean InventoryLevel?"),
        ("[drops]", "[parameters]\nshop = 'x'\n[drops]", "parameter shop is not used"),
        ("'YYYYMMDDhhmmss'", "'YYYYDDhhmmss'", "'YYYYDDhhmmss' is no format for this"),
        ("'UTC'", "'Europe/Berlyn'", "'Europe/Berlyn' is no time zone"),
        ("[fields]", "reverse = true\n[fields]", "as_of cannot be turned round"),
    ],
)
def test_each_mistake_is_found_with_its_place_and_what_to_write_instead(old: str, new: str, said: str) -> None:
    assert old in STOCK
    assert any(said in f for f in findings(STOCK.replace(old, new))), findings(STOCK.replace(old, new))


def test_all_mistakes_are_shown_at_once_in_the_order_of_the_file() -> None:
    found = findings(STOCK.replace("MATNR", "MATNT").replace('"WERKS"', '"WERK"').replace("T_KASSE =", "T_KASE ="))
    assert len(found) >= 3
    assert [int(f.split(":")[1]) for f in found] == sorted(int(f.split(":")[1]) for f in found)


def test_lossy_conversions_are_found() -> None:
    prices = 'target = "Product"\nsource = "erp.GetStock/T_RETURN/item"\n[fields]\nbrand = "MESSAGE"\nsku = "TYPE"\n'
    assert any("at most 200 characters are wanted, T_RETURN.item.MESSAGE has up to 241; append | cut(200)" in f for f in findings(prices))


def test_enumerations_of_the_target_are_checked_too() -> None:
    order = 'target = "OrderProgress"\nsource = "oms.order"\n[fields]\nexternal_id = "orderNo"\nshipment_state = "state"\n'
    assert any("shipment_state: 'NEW', 'PACKED', 'DONE', 'LOST' is none of 'backorder'" in f for f in findings(order))
    assert any("any text; append | enum" in f for f in findings(order.replace('"state"', '"orderNo"')))
    assert any("'shiped' is none of" in f and "'shipped'" in f for f in findings(order.replace('"state"', "\"'shiped'\"")))


def test_both_sides_may_be_given_as_shapes() -> None:
    answer = EXCHANGES["erp.GetStock"].answer
    assert answer is not None
    assert check(read(STOCK, "m.toml")[0], answer, InventoryLevel, ("T_STOCK", "item")) == []


def test_a_refusal_names_an_unknown_field() -> None:
    assert any("unknown source field TYP" in f for f in findings(STOCK + "[[refuse]]\nwhen = \"T_RETURN.item | any_row(TYP == 'E')\"\n"))

from dataclasses import replace

import pytest

from mappings.language.change.difference import MOST_FIELDS, compare
from mappings.language.shape import Field, Leaf, Record
from tests.unit.mappings.language.shapes import STOCK, text

FREE = Field("LABST", Leaf("decimal", digits=(13, 3)))


def told(*changed: Field, old: Record = STOCK) -> list[str]:
    """STOCK with some of its fields replaced by name, against STOCK."""
    new = {f.name: f for f in changed}
    return [str(d) for d in compare(old, Record(old.name, [new.get(f.name, f) for f in old.fields])).found]


@pytest.mark.parametrize(
    ("field", "says"),
    [
        (replace(FREE, required=False), "LABST may be absent now"),
        (replace(FREE, nillable=True), "LABST may be nil now"),
        (replace(FREE, repeated=True), "LABST is a list now"),
        (replace(FREE, attribute=True), "LABST is an attribute now"),
        (replace(FREE, shape=Leaf("decimal", digits=(15, 4))), "LABST has 15 digits, 4 of them decimals now, before 13 digits, 3 of"),
        (replace(FREE, shape=text()), "LABST is string now, before decimal"),
        (replace(FREE, shape=Record("Q", [])), "LABST is required record Q now, before required decimal of 13 digits, 3 of them decimals"),
        (Field("INSME", FREE.shape), "INSME is required now"),
        (Field("MATNR", text(40)), "MATNR has up to 40 characters now, before up to 18 characters"),
        (Field("MATNR", text()), "MATNR has any length now, before up to 18 characters"),
        (Field("MATNR", text(18, min_length=2)), "MATNR has at least 2 characters now, before 0"),
        (Field("MATNR", text(18, pattern="[0-9]+")), "MATNR looks like [0-9]+ now"),
        (Field("MEINS", text(enum=("ST", "KG", "L"))), "MEINS may be 'L' now"),
        (Field("MEINS", text(enum=("ST",))), "MEINS is never 'KG' any more"),
        (Field("MEINS", text()), "MEINS may hold any text now, before a list of values"),
    ],
)  # fmt: skip
def test_each_facet_of_a_field_is_told(field: Field, says: str) -> None:
    assert any(t.startswith(says) for t in told(field))


def test_the_same_message_has_no_difference() -> None:
    assert told() == []
    assert compare(None, STOCK).found == compare(STOCK, None).found == []


def test_a_namespace_is_told_where_both_sides_have_one() -> None:
    old = Record("R", [Field("A", text(), namespace="urn:1"), Field("B", text())])
    assert told(Field("A", text(), namespace="urn:2"), Field("B", text(), namespace="urn:2"), old=old) == [
        "A is in the namespace urn:2 now"
    ]


def test_names_in_another_style_and_fields_between_the_same_neighbours_are_renamed() -> None:
    old = Record("R", [Field("customerNo", text(10)), Field("XQ7", Leaf("integer")), Field("END", text(3))])
    new = Record("R", [Field("CUSTOMER_NUMBER", text(10)), Field("LEVEL", Leaf("integer")), Field("END", text(3))])
    found = compare(old, new)
    assert found.moves == {("customerNo",): ("CUSTOMER_NUMBER",), ("XQ7",): ("LEVEL",)}
    assert found.doubtful == {("XQ7",)}


def test_fields_that_have_nothing_in_common_are_gone_and_new() -> None:
    old = Record("R", [Field("color", text(10)), Field("END", text(3))])
    new = Record("R", [Field("END", text(3)), Field("paid", Leaf("boolean"))])
    found = compare(old, new)
    assert ([str(d) for d in found.found], found.moves) == (["color is gone", "paid is new: required boolean"], {})


def test_a_field_under_a_new_parent_is_followed_and_what_else_is_there_is_new() -> None:
    old = Record("R", [Field("A", text(1)), Field("amount", Leaf("decimal"))])
    price = Record("Price", [Field("amount", Leaf("decimal")), Field("currency", text(3))])
    found = compare(old, Record("R", [Field("A", text(1)), Field("price", price)]))
    assert found.moves == {("amount",): ("price", "amount")}
    assert [str(d) for d in found.found] == ["amount is price.amount now", "price.currency is new: required string of up to 3"]
    assert found.now(("amount",)) == ("price", "amount")
    back = compare(Record("R", [Field("A", text(1)), Field("price", price)]), old)
    assert back.moves == {("price", "amount"): ("amount",)}


def test_a_name_that_came_up_twice_is_not_guessed() -> None:
    old = Record("R", [Field("amount", Leaf("decimal"))])
    money = Record("Money", [Field("amount", Leaf("decimal"))])
    found = compare(old, Record("R", [Field("net", money), Field("gross", money)]))
    assert found.moves == {}
    assert str(found.found[0]) == "amount is gone"


def test_what_lies_below_a_renamed_record_has_its_path_there() -> None:
    inner = Record("I", [Field("id", text(3)), Field("sum", Leaf("decimal"))])
    changed = Record("I", [Field("id", text(9)), Field("sum", Leaf("decimal"))])
    found = compare(Record("R", [Field("items", inner, repeated=True)]), Record("R", [Field("positions", changed, repeated=True)]))
    assert found.now(("items", "id")) == ("positions", "id")
    assert ("length", ("items", "id"), ("positions", "id")) in [(d.kind, d.path, d.now) for d in found.found]


def test_types_that_contain_themselves_end() -> None:
    old, new = Record("Node", [Field("name", text(5))]), Record("Node", [Field("name", text(9))])
    for record in (old, new):
        record.fields += [Field(f"child{n}", record, required=False) for n in range(4)]
    found = compare(old, new)
    assert [d.path for d in found.found] == [("name",)]


def test_the_work_is_bounded() -> None:
    """Twenty levels of twenty records each would be 20**20 fields."""
    old = new = Record("End", [Field("x", text(1))])
    for level in range(20):
        old = Record(f"L{level}", [Field(f"f{n}", old) for n in range(20)])
        new = Record(f"L{level}", [Field(f"f{n}", new) for n in range(20)])
    assert len(compare(old, new).found) <= MOST_FIELDS

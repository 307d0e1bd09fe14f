import re
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from adapters.rest.contract import RestContract
from adapters.soap.contract import SoapContract
from mappings.language.sample import document, leaf_text, matching
from mappings.language.shape import TEXT, Field, Leaf, Message, Record

ROOT = Path(__file__).parents[4]


def test_an_answer_of_the_erp_has_every_field_in_its_namespace() -> None:
    contract = SoapContract("erp", ROOT / "contracts/systems/erp/retail.wsdl")
    element = contract.operation("GetStock").answer.element
    made = etree.fromstring(document(contract.exchange("GetStock").answer, element=element, rows=2))
    assert (etree.QName(made).namespace, etree.QName(made).localname) == element
    assert [row.findtext("MEINS") for row in made.iterfind("T_STOCK/item")] == ["ST", "ST"]


def test_a_json_answer_has_the_types_of_its_schema() -> None:
    contract = RestContract("oms", ROOT / "contracts/systems/oms/openapi.json")
    made = document(contract.exchange("getOrder").answer)
    assert re.fullmatch(r"SO-\d{6}", made["orderNo"])
    assert isinstance(made["placedUtc"], int)


def test_a_document_is_the_same_every_time_and_rows_repeat() -> None:
    shape = Message("x.y", "json", Record("y", [Field("a", Leaf("decimal", digits=(4, 2)), repeated=True), Field("b", Leaf("boolean"))]))
    assert document(shape, rows=2) == document(shape, rows=2) == {"a": [Decimal(1), Decimal(1)], "b": True}


def test_a_type_that_contains_itself_ends() -> None:
    optional, required = Record("node"), Record("chain")
    optional.fields += [Field("name", Leaf("string")), Field("child", optional, required=False, repeated=True)]
    required.fields += [Field("child", required)]
    assert document(Message("a", "json", optional)) == {"name": "name", "child": [{"name": "name"}]}
    assert len(document(Message("a", "xml", required))) < 1000


def test_a_type_with_very_many_optional_fields_is_bounded() -> None:
    record: Record | Leaf = Leaf("string")
    for level in range(12):
        record = Record(f"level{level}", [Field(f"f{n}", record, required=False) for n in range(6)])
    assert isinstance(record, Record)
    assert len(document(Message("wide", "xml", record))) < 5_000_000


def test_attributes_and_an_elements_own_text_are_written_where_they_belong() -> None:
    price = Record("price", [Field("currency", Leaf("string", enum=("EUR",)), attribute=True), Field(TEXT, Leaf("decimal"))])
    made = document(Message("a", "xml", Record("answer", [Field("price", price, namespace="urn:x")])))
    assert made == b'<answer><price xmlns="urn:x" currency="EUR">1</price></answer>'


def test_values_say_what_the_contract_leaves_open() -> None:
    shape = Message("a", "json", Record("a", [Field("row", Record("row", [Field("day", Leaf("string"))]), repeated=True)]))
    assert document(shape, values={"row.day": "20260115"}) == {"row": [{"day": "20260115"}]}


@pytest.mark.parametrize(
    "pattern",
    [r"[A-Z]{3}", r"\d{8}|\d{12,14}", r"SO-[0-9]{6}(/\d+)?", r"(?:ab|cd)+x{2}", r"[^0-9]{2}", r"\w+\s?\.tlog", r"[a-z\-]{2,}", r"[]x]"],
)
def test_a_text_is_made_that_a_pattern_matches(pattern: str) -> None:
    made = matching(pattern)
    assert made is not None
    assert re.fullmatch(pattern, made)


def test_named_groups_take_what_they_are_given_if_the_pattern_allows_it() -> None:
    pattern = r"TLOG_(?P<store>\d{4})_(?P<no>\d{5})\.tlog"
    assert matching(pattern, {"store": "0042"}) == "TLOG_0042_00000.tlog"
    assert matching(pattern, {"store": "forty-two"}) is None


@pytest.mark.parametrize("pattern", [r"(?=a)a", r"\p{L}+", "(", "*", "(" * 3000, "a{99999}"])
def test_a_pattern_beyond_the_usual_is_left_alone(pattern: str) -> None:
    assert matching(pattern) is None


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (Leaf("integer", minimum="10", maximum="20"), "10"),
        (Leaf("integer", maximum="-5"), "-5"),
        (Leaf("decimal", digits=(2, 2)), "0.01"),
        (Leaf("string", max_length=3), "nam"),
        (Leaf("string", min_length=6), "namexx"),
        (Leaf("date"), "2026-01-15"),
    ],
)
def test_a_value_keeps_to_its_facets(leaf: Leaf, text: str) -> None:
    assert leaf_text(leaf, "name") == text

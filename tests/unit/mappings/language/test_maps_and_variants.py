"""Objects whose member names are data, records of several kinds, and drops of all the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.errors import ContractViolation, Findings
from mappings.language.mapping import CompiledMapping, ReadContext, load
from mappings.language.sample import document
from mappings.language.shape import Exchange, Field, Leaf, Message, Record

TEXT = Leaf("string")


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    sku: str
    name: str | None = None
    stock: str | None = None
    card: str | None = None
    cards: tuple[str, ...] = ()
    plan: str | None = None


def shapes() -> Exchange:
    names = Field(
        "names", Record("names", [Field("key", TEXT), Field("value", TEXT, required=False)]), required=False, repeated=True, keyed=True
    )
    level = Record("level", [Field("qty", TEXT), Field("bin", TEXT, required=False)])
    stock = Field("stock", Record("stock", [Field("key", TEXT), Field("value", level)]), required=False, repeated=True, keyed=True)
    card = Record("Card", [Field("type", TEXT), Field("number", TEXT)])
    cash = Record("Cash", [Field("type", TEXT), Field("drawer", TEXT, required=False)])
    payment = Record("Payment", [Field("type", TEXT)], open=True, by="type", kinds={"card": "Card", "debit": "Card", "cash": "Cash"})
    payment.derived = {"Card": card, "Cash": cash}
    fields = [
        Field("sku", TEXT),
        names,
        stock,
        Field("payment", payment, required=False),
        Field("payments", payment, required=False, repeated=True),
    ]
    return Exchange("op", None, Message("s.op", "json", Record("thing", fields)))


def mapping(text: str) -> CompiledMapping:
    return load(text, "m.toml", lambda _: shapes(), {"Thing": Thing})


def read(of: CompiledMapping, given: Any) -> tuple[Thing, list[tuple[str, str, str]]]:
    drift: list[tuple[str, str, str]] = []
    (thing,) = of.read(given, ReadContext("s", "op", drift=lambda *seen: drift.append(seen)))
    return thing, drift


MAPS = """
target = "Thing"
source = "s.op"
[fields]
sku   = "sku"
name  = "(names | where(key == 'de') | first).value"
stock = "(stock | where(key == 'W1') | first).value.qty"
[drops]
"*" = "of no interest here"
"stock.value.*" = "nor this"
"""


def test_an_object_whose_names_are_data_is_read_as_rows_of_key_and_value() -> None:
    given = {"sku": "1", "names": {"en": "Shoe", "de": "Schuh"}, "stock": {"W1": {"qty": "3", "bin": "b"}, "W2": {"qty": "9"}}}
    assert read(mapping(MAPS), given) == (Thing(sku="1", name="Schuh", stock="3"), [])


@pytest.mark.parametrize("names", [None, {}, []])
def test_an_absent_or_empty_map_has_no_rows_also_where_a_language_writes_it_as_a_list(names: Any) -> None:
    assert read(mapping(MAPS), {"sku": "1", "names": names})[0].name is None


@pytest.mark.parametrize("names", ["x", 7, True, ["de"]])
def test_what_is_no_map_is_refused_with_its_place(names: Any) -> None:
    with pytest.raises(ContractViolation) as caught:
        read(mapping(MAPS), {"sku": "1", "names": names})
    assert caught.value.where == "names"


VARIANTS = """
target = "Thing"
source = "s.op"
[fields]
sku   = "sku"
card  = "path('payment:Card').number"
cards = "path('payments:Card').number"
[drops]
names = "not here"
stock = "not here"
"payment:Card.type" = "said by the variant"
"payments:Card.type" = "said by the variant"
"payments:Cash" = "cash has no number"
"""


def test_a_variant_is_a_field_of_its_own_told_apart_by_a_member_and_others_are_drift_unless_dropped() -> None:
    given = {
        "sku": "1",
        "payment": {"type": "debit", "number": "42"},
        "payments": [{"type": "card", "number": "1"}, {"type": "cash"}, {"type": "card", "number": "2"}, {"type": "gift", "x": 1}],
    }
    thing, drift = read(mapping(VARIANTS), given)
    assert (thing.card, thing.cards) == ("42", ("1", "2"))
    assert drift == [("value", "payments/type", "gift")]
    thing, drift = read(mapping(VARIANTS), {"sku": "1", "payment": {"type": "cash", "drawer": "7"}})
    assert (thing.card, thing.cards) == (None, ())
    assert drift == [("value", "payment/type", "cash")]


@pytest.mark.parametrize("payment", [{"type": ["card"]}, {"type": None}, {}, {"type": "card"}])
def test_a_variant_without_its_kind_or_its_members_is_drift_or_refused_never_half_read(payment: Any) -> None:
    of = mapping(VARIANTS)
    if payment == {"type": "card"}:
        with pytest.raises(ContractViolation, match="number"):
            read(of, {"sku": "1", "payment": payment})
    else:
        assert read(of, {"sku": "1", "payment": payment})[1]


def test_an_unknown_variant_is_a_finding_that_names_the_nearest() -> None:
    with pytest.raises(Findings, match="did you mean Card"):
        mapping(VARIANTS.replace("payment:Card", "payment:Crad"))


def test_dropping_the_rest_drops_what_nothing_speaks_of_and_nothing_else() -> None:
    assert mapping(MAPS).builder.drops == {("payment",), ("payments",), ("stock", "value", "bin")}
    with pytest.raises(Findings, match=r"stock\.value\.bin is neither used nor dropped"):
        mapping(MAPS.replace('"stock.value.*"', "#"))
    with pytest.raises(Findings, match="drops nothing"):
        mapping(MAPS.replace("[drops]", '[drops]\n"names.*" = "nothing is left"'))


def test_a_sample_of_a_map_is_an_object() -> None:
    answer = shapes().answer
    assert answer is not None
    made = document(answer)
    assert made["names"] == {"key": "value"}
    assert read(mapping(MAPS), made)[0].sku == "sku"

"""What older versions say differently, and that nothing is lost on the way up and down."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.canonical.amounts import CURRENCIES, MAX_CENTS, Money, Quantity
from contracts.canonical.answers import Inventory, Orders, Prices
from contracts.canonical.base import Noun
from contracts.canonical.inventory import Availability
from contracts.canonical.order import Order, OrderDraft, OrderLine, OrderLineDraft
from contracts.canonical.payment import Payment
from contracts.canonical.price import Price
from contracts.versions import HISTORY, Change, Misshapen, Version, VersionHistory

NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ONE = Quantity("1", "EA")


def money() -> st.SearchStrategy[Money]:
    codes = st.sampled_from(sorted(CURRENCIES))
    return st.builds(lambda c, cents: Money(cents, c, CURRENCIES[c]), codes, st.integers(-MAX_CENTS, MAX_CENTS))


PAYMENTS = st.builds(
    Payment,
    payment_id=st.just("p"),
    tender_type=st.just("cash"),
    amount_planned=money(),
    direction=st.sampled_from(["in", "out"]),
)
LINES = st.builds(
    OrderLineDraft,
    line_number=st.just(1),
    sku=st.just("1"),
    quantity=st.just(ONE),
    unit_price=money(),
    requested_location_id=st.just("0001"),
)
DRAFTS = st.builds(OrderDraft, lines=st.lists(LINES, min_size=1, max_size=3).map(tuple), payments=st.lists(PAYMENTS, max_size=3).map(tuple))


@given(DRAFTS, st.sampled_from([NEWEST, MIDDLE, OLDEST]))
def test_a_draft_goes_down_and_up_again_unchanged(draft: OrderDraft, version: str) -> None:
    plain = msgspec.to_builtins(draft)
    assert msgspec.convert(HISTORY.up(HISTORY.down(plain, OrderDraft, version), OrderDraft, version), OrderDraft) == draft


@given(money())
def test_old_amounts_are_plain_decimals_of_the_same_value(value: Money) -> None:
    old = HISTORY.down(msgspec.to_builtins(value), Money, MIDDLE)
    assert old.keys() == {"amount", "currency"}
    assert "E" not in old["amount"]
    assert Decimal(old["amount"]) == value.amount
    assert len(old["amount"].partition(".")[2]) == CURRENCIES[value.currency_code]


def order() -> Order:
    price = Money(379, "EUR", 2)
    line = OrderLine(
        line_number=1, sku="1", quantity=ONE, unit_price=price, total_price=price, requested_location_id="1", fulfilment_method="delivery"
    )
    return Order(
        id="ord_1",
        order_number="W-1",
        channel="web",
        placed_at=NOON,
        lines=(line, line),
        total_price=Money(758, "EUR", 2),
        order_state="open",
        shipment_state="pending",
        payment_state="pending",
        export_state="not_exported",
        pending_write=False,
        version=1,
        payments=(Payment(payment_id="p", tender_type="cash", amount_planned=price),),
    )


@pytest.mark.parametrize("version", [MIDDLE, OLDEST])
def test_money_is_old_wherever_it_is_nested(version: str) -> None:
    plain = HISTORY.down(msgspec.to_builtins(Orders(items=(order(),))), Orders, version)
    found = plain["items"][0]
    old = {"amount": "3.79", "currency": "EUR"}
    assert found["totalPrice"] == {"amount": "7.58", "currency": "EUR"}
    assert [line["unitPrice"] for line in found["lines"]] == [old, old]
    assert [line["totalPrice"] for line in found["lines"]] == [old, old]
    assert found["payments"][0]["amountPlanned"] == old
    assert "centAmount" not in str(plain)


def test_the_newest_is_left_alone_without_a_copy() -> None:
    plain = msgspec.to_builtins(order())
    assert HISTORY.down(plain, Order, NEWEST) is plain
    assert not HISTORY.differs(Order, NEWEST)
    assert HISTORY.differs(Order, MIDDLE)
    assert not HISTORY.differs(Availability, MIDDLE)


def test_availability_names_stores_in_the_oldest_version_only() -> None:
    level = Availability(sku="1", location_id="0001", available=ONE, as_of=NOON, stale=False)
    plain = msgspec.to_builtins(Inventory(items=(level,)))
    assert HISTORY.down(plain, Inventory, MIDDLE)["items"][0]["locationId"] == "0001"
    oldest = HISTORY.down(plain, Inventory, OLDEST)["items"][0]
    assert oldest["storeId"] == "0001"
    assert "locationId" not in oldest
    assert msgspec.convert(HISTORY.up(HISTORY.down(plain, Inventory, OLDEST), Inventory, OLDEST), Inventory) == Inventory(items=(level,))


def test_the_parameter_is_renamed_where_the_answer_changed_and_nowhere_else() -> None:
    assert [HISTORY.parameter("location", Inventory, v) for v in (NEWEST, MIDDLE, OLDEST)] == ["location", "location", "store"]
    assert HISTORY.parameter("location", Prices, OLDEST) == "location"
    assert HISTORY.parameter("sku", Inventory, OLDEST) == "sku"


@pytest.mark.parametrize(
    ("value", "says", "member"),
    [
        ({"amount": "12.999", "currency": "EUR"}, "with at most 2 decimals for EUR", "amount"),
        ({"amount": "1.5", "currency": "JPY"}, "at most 0 decimals for JPY", "amount"),
        ({"amount": 12.99, "currency": "EUR"}, "an amount such as", None),
        ({"amount": "NaN", "currency": "EUR"}, "an amount such as", None),
        ({"amount": "1e999999", "currency": "EUR"}, "an amount such as", None),
        ({"amount": "1" * 400, "currency": "EUR"}, "an amount such as", None),
        ({"amount": "1_0", "currency": "EUR"}, "an amount such as", None),
        ({"amount": "1", "currency": "XXX"}, "an ISO 4217", "currency"),
        ({"amount": "1"}, "an amount such as", None),
        ({"amount": "1", "currency": "EUR", "centAmount": 1}, "a member of this object", "centAmount"),
        ({"centAmount": 1, "currencyCode": "EUR", "fractionDigits": 2}, "a member of this object", "centAmount"),
        ({}, "an amount such as", None),
    ],
)
def test_a_wrong_old_amount_says_what_was_expected_and_where(value: dict[str, Any], says: str, member: str | None) -> None:
    line = {"lineNumber": 1, "sku": "1", "unitPrice": value}
    with pytest.raises(Misshapen) as caught:
        HISTORY.up({"lines": [{"unitPrice": {"amount": "1", "currency": "EUR"}}, line]}, OrderDraft, OLDEST)
    assert says in caught.value.expected
    assert caught.value.path == ["lines", 1, "unitPrice", *([member] if member else [])]


@pytest.mark.parametrize("shape", [None, 7, "x", [], {"lines": 7}, {"lines": [None]}, {"lines": {"a": 1}}, {"lines": [{"unitPrice": [1]}]}])
def test_a_value_of_another_shape_is_left_for_the_types_to_refuse(shape: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(HISTORY.up(shape, OrderDraft, OLDEST), OrderDraft)


# ---- rules about a history ----------------------------------------------------------------------------------------


class Tree(Noun, frozen=True, kw_only=True):
    name: str
    leaves: tuple[Tree, ...] = ()
    by_name: dict[str, Tree] = msgspec.field(default_factory=dict)


class OldTree(Noun, frozen=True, kw_only=True):
    title: str
    leaves: tuple[Tree, ...] = ()
    by_name: dict[str, Tree] = msgspec.field(default_factory=dict)


class Names(Change):
    """Trees have a name; before, a title."""

    of = Tree
    old = OldTree
    renamed = {"name": "title"}  # noqa: RUF012  # read only


def test_a_change_reaches_into_types_that_hold_themselves() -> None:
    history = VersionHistory((Version("2026-02-01", "", (Names,)), Version("2026-01-01", "")))
    tree = Tree(name="a", leaves=(Tree(name="b", leaves=(Tree(name="c"),)),), by_name={"d": Tree(name="e")})
    plain = msgspec.to_builtins(tree)
    old = history.down(plain, Tree, "2026-01-01")
    assert old["leaves"][0]["leaves"][0] == {"title": "c"}
    assert old["byName"]["d"] == {"title": "e"}
    assert msgspec.convert(history.up(old, Tree, "2026-01-01"), Tree) == tree


def test_a_change_that_applies_to_nothing_is_an_error_at_start() -> None:
    history = VersionHistory((Version("2026-02-01", "", (Names,)), Version("2026-01-01", "")))
    history.check([Tree])
    with pytest.raises(ValueError, match="Names of 2026-02-01 applies to nothing"):
        history.check([Order, Price])


@pytest.mark.parametrize(
    ("versions", "says"),
    [
        ((Version("2026-01-01", ""), Version("2026-02-01", "")), "newest first"),
        ((Version("2026-01-01", ""), Version("2026-01-01", "")), "newest first"),
        ((Version("2026-01-01", "", sunset=NOON),), "deprecation before its sunset"),
        ((Version("2026-01-01", "", deprecated=NOON, sunset=datetime(2025, 1, 1, tzinfo=UTC)),), "deprecation before its sunset"),
        ((Version("2026-01-01", "", (Names,)),), "nothing to differ from"),
    ],
)
def test_a_history_that_contradicts_itself_does_not_start(versions: tuple[Version, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        VersionHistory(versions)


def test_every_change_has_a_sentence_for_the_customer() -> None:
    for version in HISTORY.versions:
        for change in version.changes:
            assert change.sentence() != change.__name__
            assert change.sentence().count(" ") > 5

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from contracts.errors import ContractViolation, InvalidBody
from contracts.ports import OrderReference
from tests.unit.mappings.language.shapes import compiled, context

ORDERS = """
target = "OrderProgress"
source = "oms.orders/items"
where = "state != 'LOST'"

[fields]
external_id = "orderNo"
order_number = "ref | text"
order_state = "state | enum(NEW='open', PACKED='confirmed', DONE='complete', otherwise=refuse)"
shipment_state = "state | enum(NEW='pending', PACKED='ready', otherwise='delivered')"

[fields.fulfilments]
each = "parcels"
where = "weight is None or weight > 0"
id = "concat(parent.orderNo, '/', no)"
method = "'delivery'"
status = "state | enum(NEW='open', SENT='closed')"

[fields.fulfilments.lines]
line_number = 1
quantity = "weight | default('0') | quantity('KGM')"

[drops]
total = "not needed"
changed = "not needed"
"root.next" = "the driver pages"
""".replace("weight | default('0')", "coalesce(weight, '0' | decimal)")


def order(**values: object) -> dict[str, object]:
    return {"orderNo": "SO-1", "ref": None, "state": "NEW", "changed": 1, "parcels": []} | values


def test_objects_become_structs_and_the_condition_leaves_rows_out() -> None:
    drift: list[tuple[str, str, str]] = []
    parcels = [
        {"no": "1", "weight": 1.25, "state": "SENT"},
        {"no": "2", "weight": 0, "state": "NEW"},
        {"no": "3", "state": "NEW", "sscc": "x"},
    ]
    document = {"items": [order(parcels=parcels), order(state="LOST"), order(state="DONE", ref="R1")], "more": 1}
    first, last = compiled(ORDERS).read(document, context(drift))
    assert msgspec.json.decode(msgspec.json.encode(first)) == {
        "externalId": "SO-1",
        "orderState": "open",
        "shipmentState": "pending",
        "fulfilments": [
            {
                "id": "SO-1/1",
                "method": "delivery",
                "status": "closed",
                "lines": [{"lineNumber": 1, "quantity": {"value": "1.25", "unit": "KGM"}}],
            },
            {
                "id": "SO-1/3",
                "method": "delivery",
                "status": "open",
                "lines": [{"lineNumber": 1, "quantity": {"value": "0", "unit": "KGM"}}],
            },
        ],
    }
    assert (last.order_state, last.shipment_state, last.order_number) == ("complete", "delivered", "R1")
    assert drift == [("member", "more", ""), ("member", "items/parcels/sscc", ""), ("value", "items/state", "DONE")]


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ([], "oms.orders: expected an object"),
        ({"items": {}}, "items: expected a list"),
        ({"items": [None]}, "items[0]: expected an object"),
        ({"items": [order(), order(orderNo=7)]}, "items[1]/orderNo: expected text, got 7"),
        ({"items": [order(orderNo=None)]}, "items[0]/orderNo: expected a value, it is required"),
        ({"items": [order(state="ODD")]}, "items[0]/state: expected one of 'NEW'"),
        ({"items": [order(state=["NEW"])]}, "items[0]/state: expected text"),
        (
            {"items": [order(parcels=[{"no": "1", "weight": "heavy", "state": "NEW"}])]},
            "items[0]/parcels[0]/weight: expected a decimal number",
        ),
        (
            {"items": [order(parcels=[{"no": "1", "weight": True, "state": "NEW"}])]},
            "items[0]/parcels[0]/weight: expected a decimal number",
        ),
        ({"items": [order(parcels=[3])]}, "items[0]/parcels[0]: expected an object, got 3"),
    ],
)
def test_a_document_that_breaks_its_contract_is_refused_with_its_place(document: object, error: str) -> None:
    with pytest.raises(ContractViolation) as raised:
        compiled(ORDERS).read(document, context())
    assert error in str(raised.value)


def test_a_request_that_breaks_the_systems_limits_is_refused_before_it_is_sent() -> None:
    mapping = compiled('target = "oms.orders"\nsource = "OrderReference"\n[fields]\nref = "order_number | at_most(20)"\n')
    assert mapping.write(OrderReference(order_number="A1"), context()) == {"ref": "A1"}
    with pytest.raises(InvalidBody, match="/orderNumber: expected at most 20 characters"):
        mapping.write(OrderReference(order_number="A" * 21), context())


SALE = """
target = "PosSale"
source = "pos.sale"

[fields]
transaction_type = "type | enum(S='sale', R='return')"
begin_at = "begin | local_datetime(FH.store, 'YYYYMMDDhhmmss') | required"
time_quality = "begin | time_quality(FH.store, 'YYYYMMDDhhmmss')"
currency_code = "currency"
operator_id = "operator | text"
tenders = "()"

[fields.key]
store_number = "FH.store"
workstation_id = "workstation"
business_date = "FH.business_date"
sequence_number = "sequence"

[fields.totals]
grand = "TL | where(void is None) | sum_of(extended | sign_trailing | implied(2)) | default(0) | money(currency)"

[fields.lines]
each = "TL"
line_number = "line_no"
line_type = "'sale'"
item_id = "sku | strip_zeros"
extended_amount = "extended | sign_trailing | implied(2) | money(parent.currency)"
voided = "void | boolean(true='V')"
""".replace('tenders = "()"\n', "")


def sale(begin: str = "20261111093000", operator: str | None = "ada", lines: list[object] | None = None) -> tuple[object, ...]:
    rows = [(1, "000000000017", "1299", None), (2, "AB", "302-", None), (3, "0", "999", "V")] if lines is None else lines
    return ("3", 17, "S", begin, "EUR", operator, ("0017", date(2026, 11, 11)), rows)


def test_record_tuples_become_structs() -> None:
    (found,) = compiled(SALE).read(sale(), context())
    assert str(found.key) == "0017/3/2026-11-11/17"
    assert (found.begin_at.isoformat(), found.time_quality) == ("2026-11-11T09:30:00+01:00", "from_store_zone")
    assert [(x.item_id, x.extended_amount.cent_amount, x.voided) for x in found.lines] == [
        ("17", 1299, False),
        ("AB", -302, False),
        ("0", 999, True),
    ]
    assert found.totals.grand.amount == Decimal("9.97")
    assert compiled(SALE).read_one(sale(), context()) == found


def test_the_repeated_hour_of_autumn_is_marked_and_the_skipped_one_of_spring_refused() -> None:
    (found,) = compiled(SALE).read(sale("20261025023000"), context())
    assert (found.begin_at.isoformat(), found.time_quality) == ("2026-10-25T02:30:00+02:00", "ambiguous")
    with pytest.raises(ContractViolation, match="begin: expected a local time that exists in Europe/Berlin"):
        compiled(SALE).read(sale("20260329023000"), context())


def test_an_unknown_location_is_an_error_never_a_guess_at_utc() -> None:
    strange = (*sale()[:6], ("9999", date(2026, 11, 11)), [])
    with pytest.raises(ContractViolation, match="FH/store: expected a location whose time zone is known, got '9999'"):
        compiled(SALE).read(strange, context())


def test_a_personal_value_is_not_quoted_in_an_error() -> None:
    with pytest.raises(ContractViolation) as raised:
        compiled(SALE).read(sale(operator="Ada Lovelace " * 40), context())
    assert "Lovelace" not in str(raised.value)
    assert "operator: expected 1 to 200 characters" in str(raised.value)


@pytest.mark.parametrize("row", [(), None, "x", sale()[:-1], (*sale()[:-1], "lines"), (*sale()[:-1], [("1",)])])
def test_a_record_of_another_width_is_refused(row: object) -> None:
    with pytest.raises(ContractViolation):
        compiled(SALE).read_one(row, context())

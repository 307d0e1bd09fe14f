"""What a mistake is answered with: what may stand there, and what came."""

import json
from typing import Any

import msgspec
import pytest

from contracts.canonical.order import OrderDraft
from contracts.canonical.reservation import ReservationDraft
from contracts.errors import InvalidBody, InvalidRequest
from contracts.versions import HISTORY
from gateway.edge import reading

HOLD = {
    "reservationKey": "cart-9-1",
    "sku": "10000001",
    "locationId": "0001",
    "quantity": {"value": "1", "unit": "EA"},
    "owner": {"id": "cart-9", "type": "cart"},
    "holdSeconds": 600,
}


def refused(kind: type[msgspec.Struct], body: Any, version: str = HISTORY.newest.date) -> InvalidBody:
    with pytest.raises(InvalidBody) as caught:
        reading.body(json.dumps(body).encode(), kind, version, HISTORY)
    return caught.value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"holdSeconds": 999_999}, "/holdSeconds: expected an integer <= 86400, got 999999"),
        ({"owner": {"id": "cart-9", "type": "basket"}}, "/owner/type: expected one of cart, order, got 'basket'"),
        ({"reservationKey": "c 1/x"}, "/reservationKey: expected a string matching ^[A-Za-z0-9_-]{2,200}$, got a text of 5 characters"),
        ({"owner": {"id": "cart-9", "kind": "cart"}}, "/owner/kind: expected a member of this object (type, id), got an unknown one"),
    ],
)
def test_a_mistake_says_what_may_stand_there_and_what_came(change: dict[str, Any], says: str) -> None:
    assert str(refused(ReservationDraft, HOLD | change)) == says


def test_the_members_of_an_older_version_are_named_in_its_words() -> None:
    for version in ("2025-09-01", "2026-03-01"):
        line = {"lineNumber": 1, "sku": "1", "quantity": {"value": "1", "unit": "EA"}, "unitPrice": {"cents": 1}}
        error = refused(OrderDraft, {"lines": [line]}, version)
        assert str(error) == "/lines/0/unitPrice/cents: expected a member of this object (amount, currency), got an unknown one"


def test_a_long_enumeration_is_cut_and_says_how_much_is_left_out() -> None:
    error = refused(ReservationDraft, HOLD | {"quantity": {"value": "1", "unit": "PCS"}})
    values = HISTORY.allowed("/quantity/unit", ReservationDraft, HISTORY.newest.date)
    assert error.got == "'PCS'"
    assert error.expected.startswith("one of ")
    assert ("more" in error.expected) is (len(values) > reading.MOST_LISTED)


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_is_called_one(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^the body: expected a JSON document in UTF-8, got an empty body$"):
        reading.body(body, ReservationDraft, HISTORY.newest.date, HISTORY)


def test_what_a_person_wrote_is_not_repeated() -> None:
    error = refused(ReservationDraft, HOLD | {"reservationKey": "ada@example.com"})
    assert "ada" not in str(error)

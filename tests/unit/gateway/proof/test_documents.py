from datetime import UTC, datetime, timedelta

from contracts.canonical.amounts import Quantity
from contracts.canonical.inventory import InventoryLevel
from gateway.proof.documents import plain


def level(as_of: datetime) -> InventoryLevel:
    return InventoryLevel(sku="A-1", location_id="0001", on_hand=Quantity("5", "EA"), as_of=as_of)


def test_rows_that_take_the_time_of_receipt_are_the_same_rows_a_moment_later() -> None:
    now = datetime.now(UTC)
    assert plain([level(now)]) == plain([level(now - timedelta(seconds=3))])


def test_a_time_that_a_system_said_counts() -> None:
    said = datetime(2026, 1, 1, tzinfo=UTC)
    assert plain([level(said)]) != plain([level(said + timedelta(seconds=1))])
    assert plain([level(said)])[0]["onHand"] == {"value": "5", "unit": "EA"}

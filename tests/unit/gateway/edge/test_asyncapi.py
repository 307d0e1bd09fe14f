"""The document of events: every type is described, every reference leads somewhere, and data of the nouns fits its schema."""

from datetime import UTC, datetime
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest

from contracts.canonical.amounts import Money
from contracts.events import Event, EventType
from contracts.versions import HISTORY
from gateway.edge.asyncapi import TOLD, document

VERSIONS = [v.date for v in HISTORY.versions]
ENVELOPE = {"id": "e1", "source": "/tillgate/test", "specversion": "1.0", "datacontenttype": "application/json"}
CHANGE = ENVELOPE | {
    "type": "io.tillgate.inventory.changed.v1",
    "time": "2026-03-02T08:00:00Z",
    "subject": "10000001@0001",
    "dataschema": f"tag:tillgate.io,{VERSIONS[0]}:InventoryChange",
    "data": {"sku": "10000001", "locationId": "0001", "change": {"value": "-2", "unit": "EA"}},
}


def reader(name: str, version: str = VERSIONS[0]) -> jsonschema_rs.Draft7Validator:
    """What a consumer would generate from the document (schemas are JSON Schema draft 07, AsyncAPI 3.0)."""
    made = document(HISTORY, version)
    return jsonschema_rs.Draft7Validator({**made["components"]["messages"][name]["payload"], "components": made["components"]})


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for value in node.values() for r in references(value)]
    return [r for value in node for r in references(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_event_type_is_described_and_nothing_else(version: str) -> None:
    made = document(HISTORY, version)
    assert list(TOLD) == list(get_args(EventType)) == [c["address"] for c in made["channels"].values()]
    assert len(made["operations"]) == len(made["components"]["messages"]) == len(TOLD)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_reference_leads_somewhere(version: str) -> None:
    made = document(HISTORY, version)
    for reference in references(made):
        node: Any = made
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"further": 1}, True),
        ({"dataschema": "tag:tillgate.io,2025-09-01:InventoryChange"}, False),
        ({"type": "io.tillgate.sale.committed.v1"}, False),
        ({"data": {"sku": "10000001"}}, False),
        ({"data": CHANGE["data"] | {"later": True}}, True),  # type: ignore[operator]  # it is a dict
        ({"time": 5}, False),
    ],
)
def test_events_fit_their_schema_and_may_grow(change: dict[str, Any], fits: bool) -> None:
    assert reader("InventoryChanged").is_valid(CHANGE | change) is fits


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_as_it_leaves_fits_the_contract_of_its_version(version: str) -> None:
    price = msgspec.to_builtins(Money(379, "EUR", 2))
    line = {"lineNumber": 1, "sku": "1", "quantity": {"value": "1", "unit": "EA"}, "unitPrice": price, "totalPrice": price}
    states = {"orderState": "open", "shipmentState": "pending", "paymentState": "pending", "exportState": "not_exported"}
    order = {
        "id": "ord_1",
        "orderNumber": "W-1",
        "channel": "web",
        "placedAt": "2026-03-02T08:00:00Z",
        "lines": [{**line, "requestedLocationId": "0001", "fulfilmentMethod": "delivery"}],
        "totalPrice": price,
        "pendingWrite": False,
        "version": 1,
        **states,
    }
    newest = Event(
        id="1",
        source="/t",
        type="io.tillgate.order.accepted.v1",
        time=datetime(2026, 3, 2, tzinfo=UTC),
        subject="orders/ord_1",
        data=order,
    )
    told = msgspec.json.decode(HISTORY.down_event(newest, version).encode())
    assert reader("OrderAccepted", version).is_valid(told)
    assert [reader("OrderAccepted", v).is_valid(told) for v in VERSIONS if v != version] == [False] * (len(VERSIONS) - 1)

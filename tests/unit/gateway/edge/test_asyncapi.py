"""The document of events: every type is described, every reference leads somewhere, and data of the nouns fits its schema."""

from typing import Any, get_args

import jsonschema_rs
import pytest

from contracts.events import EventType
from gateway.edge.asyncapi import TOLD, document

ENVELOPE = {"id": "e1", "source": "/tillgate/test", "specversion": "1.0", "datacontenttype": "application/json"}
CHANGE = ENVELOPE | {
    "type": "io.tillgate.inventory.changed.v1",
    "time": "2026-03-02T08:00:00Z",
    "subject": "10000001@0001",
    "data": {"sku": "10000001", "locationId": "0001", "change": {"value": "-2", "unit": "EA"}},
}


def reader(name: str) -> jsonschema_rs.Draft7Validator:
    """What a consumer would generate from the document (schemas are JSON Schema draft 07, AsyncAPI 3.0)."""
    made = document()
    return jsonschema_rs.Draft7Validator({**made["components"]["messages"][name]["payload"], "components": made["components"]})


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for value in node.values() for r in references(value)]
    return [r for value in node for r in references(value)] if isinstance(node, list) else []


def test_every_event_type_is_described_and_nothing_else() -> None:
    made = document()
    assert list(TOLD) == list(get_args(EventType)) == [c["address"] for c in made["channels"].values()]
    assert len(made["operations"]) == len(made["components"]["messages"]) == len(TOLD)


def test_every_reference_leads_somewhere() -> None:
    made = document()
    for reference in references(made):
        node: Any = made
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"further": 1}, True),
        ({"type": "io.tillgate.sale.committed.v1"}, False),
        ({"data": {"sku": "10000001"}}, False),
        ({"data": CHANGE["data"] | {"later": True}}, True),  # type: ignore[operator]  # it is a dict
        ({"time": 5}, False),
    ],
)
def test_events_fit_their_schema_and_may_grow(change: dict[str, Any], fits: bool) -> None:
    assert reader("InventoryChanged").is_valid(CHANGE | change) is fits

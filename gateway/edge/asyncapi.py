"""The published contract of events: one AsyncAPI 3.0 document per version, made from the event types and the nouns that they carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from contracts.canonical.base import Noun
from contracts.events import DATA, TYPE_PREFIX, Event, EventType, schema_id
from contracts.versions import VersionHistory
from gateway.edge.schemas import component_schemas

MEDIA_TYPE = "application/cloudevents+json"
EXCHANGE = "tillgate.events"
"""The estate's default, [events] exchange."""


@dataclass(frozen=True)
class Told:
    """What one type of event says."""

    summary: str
    subject: str
    """What identifies its subject; events of one subject come in the order of their `sequence`."""


TOLD: dict[EventType, Told] = {
    "io.tillgate.sale.committed.v1": Told(
        "A transaction of a till is booked and counts as a sale.", "store/workstation/business date/sequence number"
    ),
    "io.tillgate.inventory.changed.v1": Told(
        "Booked sales moved the stock of a sku at a location; sales that are booked together are one change.",
        "sku@location",
    ),
    "io.tillgate.inventory.reported.v1": Told(
        "A file says what a location has of a sku, and no later report is known: availability counts from there.", "sku@location"
    ),
    "io.tillgate.order.accepted.v1": Told("An order is on record; its way to the systems begins.", "orders/{id}"),
    "io.tillgate.order.state_changed.v1": Told("An order is confirmed, or cancelled.", "orders/{id}"),
    "io.tillgate.reservation.state_changed.v1": Told("Stock is held, or no longer held.", "reservations/{reservationKey}"),
    "io.tillgate.file.quarantined.v1": Told("A file was refused, or transactions of it were set aside.", "the file's name"),
    "io.tillgate.file.finding.v1": Told(
        "A file is late, missing, early, out of order or came again, or numbers of a till's transactions are left out; or that is over.",
        "feed/store/business date, feed/store/file numbers, or store/workstation/business date",
    ),
    "io.tillgate.incident.opened.v1": Told(
        "Something is broken: what, since when, for whom, how sure that is, and whom to call.", "the incident's id"
    ),
    "io.tillgate.incident.updated.v1": Told(
        "More is known of an incident: another suspect, another scope, more or less sure; or it is a part of another one.",
        "the incident's id",
    ),
    "io.tillgate.incident.recovered.v1": Told("An incident is over.", "the incident's id"),
}

_DESCRIPTION = f"""Everything the gateway announces, as CloudEvents 1.0.2 in structured JSON.

- Delivered **at least once**: drop a repeated pair of `source` and `id`.
- In order **per `subject`**; `sequence` grows with it. There is no order between subjects.
- Published to the durable topic exchange `{EXCHANGE}` (unless the estate names another one) with the event's type as routing key:
  bind a queue to `io.tillgate.order.#`, or to `#` for all.
- Or over HTTP, to receivers that an operator has registered for the beginnings of event types: one POST per event, in the same form,
  signed as https://www.standardwebhooks.com asks (`webhook-id`, `webhook-timestamp`, `webhook-signature` of `v1` with the receiver's
  `whsec_` secret; several signatures while it is being replaced). Only 2xx within 10 seconds is success. Events of one subject come one
  after the other. A test sends the type `io.tillgate.webhook.test.v1`, which carries no data.
- `data` has the shape of the API version that the consumers are pinned to (the estate's `[events] version`, else the newest);
  `dataschema` names it, and changes with every shape that would break a reader.
- Fields may be added to a type; another meaning becomes a new type (`.v2`).
- `traceparent` continues the trace of the request or file that caused the event."""


def document(history: VersionHistory, version: str) -> dict[str, Any]:
    """JSON-ready and stable. Raises KeyError for an event type that nobody has described here."""
    kinds: tuple[EventType, ...] = get_args(EventType)
    told = {_name(kind): (kind, TOLD[kind]) for kind in kinds}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Retail events", "version": version, "description": _DESCRIPTION},
        "defaultContentType": MEDIA_TYPE,
        "channels": {name: _channel(name, kind, each) for name, (kind, each) in told.items()},
        "operations": {
            f"announce{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": each.summary,
                "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            }
            for name, (_, each) in told.items()
        },
        "components": {
            "messages": {name: _message(name, kind, each, version) for name, (kind, each) in told.items()},
            "schemas": _components([DATA[kind] for kind in kinds], history, version),
        },
    }


def _name(kind: EventType) -> str:
    """io.tillgate.order.state_changed.v1 -> OrderStateChanged; version 2 of a type keeps its number."""
    *words, version = kind.removeprefix(TYPE_PREFIX).replace("_", ".").split(".")
    return "".join(word.capitalize() for word in words) + ("" if version == "v1" else version.capitalize())


def _channel(name: str, kind: EventType, told: Told) -> dict[str, Any]:
    exchange = {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": kind,
        "description": told.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _message(name: str, kind: EventType, told: Told, version: str) -> dict[str, Any]:
    own = {
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "subject": {"type": "string", "description": told.subject},
            "dataschema": {"const": schema_id(kind, version)},
            "data": {"$ref": f"#/components/schemas/{DATA[kind].__name__}"},
        },
    }
    return {
        "name": kind,
        "title": name,
        "summary": told.summary,
        "contentType": MEDIA_TYPE,
        "headers": {"type": "object", "properties": {"traceparent": {"type": "string", "description": "W3C Trace Context"}}},
        "payload": {"allOf": [{"$ref": "#/components/schemas/Event"}, own]},
        "bindings": {"amqp": {"messageType": kind, "bindingVersion": "0.3.0"}},
    }


def _components(kinds: list[type[Noun]], history: VersionHistory, version: str) -> dict[str, Any]:
    """Open to further fields, as a reader must be: we may add some."""
    found = component_schemas([Event, *kinds], history, version)
    for schema in found.values():
        schema.pop("additionalProperties", None)
    found["Event"]["required"] += ["specversion", "datacontenttype", "dataschema"]
    return dict(sorted(found.items()))

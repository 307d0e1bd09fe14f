"""What happened, as CloudEvents 1.0.2 (https://github.com/cloudevents/spec): the envelope and the list of event types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from contracts.canonical.base import Noun
from contracts.canonical.file import FileFinding, QuarantinedFile
from contracts.canonical.incident import IncidentNotice
from contracts.canonical.inventory import InventoryChange, InventoryLevel
from contracts.canonical.order import Order
from contracts.canonical.reservation import Reservation
from contracts.canonical.sale import PosSale

TYPE_PREFIX = "io.tillgate."

EventType = Literal[
    "io.tillgate.sale.committed.v1",
    "io.tillgate.inventory.changed.v1",
    "io.tillgate.inventory.reported.v1",
    "io.tillgate.order.accepted.v1",
    "io.tillgate.order.state_changed.v1",
    "io.tillgate.reservation.state_changed.v1",
    "io.tillgate.file.quarantined.v1",
    "io.tillgate.file.finding.v1",
    "io.tillgate.incident.opened.v1",
    "io.tillgate.incident.updated.v1",
    "io.tillgate.incident.recovered.v1",
]

DATA: Mapping[str, type[Noun]] = {
    "io.tillgate.sale.committed.v1": PosSale,
    "io.tillgate.inventory.changed.v1": InventoryChange,
    "io.tillgate.inventory.reported.v1": InventoryLevel,
    "io.tillgate.order.accepted.v1": Order,
    "io.tillgate.order.state_changed.v1": Order,
    "io.tillgate.reservation.state_changed.v1": Reservation,
    "io.tillgate.file.quarantined.v1": QuarantinedFile,
    "io.tillgate.file.finding.v1": FileFinding,
    "io.tillgate.incident.opened.v1": IncidentNotice,
    "io.tillgate.incident.updated.v1": IncidentNotice,
    "io.tillgate.incident.recovered.v1": IncidentNotice,
}
"""What each type of event carries."""


def schema_id(kind: str, version: str) -> str:
    """CloudEvents `dataschema`, an absolute URI that another shape must not share: a tag (RFC 4151), since we do not know where a
    retailer publishes the contract.
    """
    return f"tag:tillgate.io,{version}:{DATA[kind].__name__}"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. `source` + `id` identify it; a consumer drops a repeated pair. Ordered per `subject` by `sequence`.

    `data` is the canonical noun, already plain (dicts, lists, strings, numbers): in its newest shape in the books and for subscribers in
    the process; consumers outside get it in the version that they are pinned to, which `dataschema` names.
    Extension attributes are lower case letters and digits only (CloudEvents 1.0.2, naming convention).
    """

    id: str
    source: str
    type: str
    time: Annotated[datetime, Meta(tz=True)]
    subject: str
    data: dict[str, Any]
    specversion: Literal["1.0"] = msgspec.field(default="1.0")
    datacontenttype: str = "application/json"
    dataschema: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    sequence: str | None = None
    traceparent: str | None = None
    businessdate: str | None = None

    def encode(self) -> bytes:
        """Structured content mode, `application/cloudevents+json`. The data is plain already: it is written as it stands."""
        head = b'{"specversion":"1.0",'
        if self.datacontenttype == "application/json":  # written although it is the default; the encoder leaves defaults out
            head += b'"datacontenttype":"application/json",'
        return head + msgspec.json.encode(self)[1:]

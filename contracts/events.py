"""What happened, as CloudEvents 1.0.2 (https://github.com/cloudevents/spec): the envelope and the list of event types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

TYPE_PREFIX = "io.tillgate."

EventType = Literal[
    "io.tillgate.sale.committed.v1",
    "io.tillgate.inventory.changed.v1",
    "io.tillgate.order.accepted.v1",
    "io.tillgate.order.state_changed.v1",
    "io.tillgate.reservation.state_changed.v1",
    "io.tillgate.file.quarantined.v1",
]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. `source` + `id` identify it; a consumer drops a repeated pair. Ordered per `subject` by `sequence`.

    `data` is the canonical noun in its newest version, already plain (dicts, lists, strings, numbers).
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
        """Structured content mode, `application/cloudevents+json`."""
        document = msgspec.to_builtins(self)
        document.update(specversion=self.specversion, datacontenttype=self.datacontenttype)
        return msgspec.json.encode(document)

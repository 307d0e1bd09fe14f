"""The estate: one retailer's channels, systems, operations, capabilities, routes and limits, read from `estate.toml`.

It is configuration and, at the same time, the documentation of integration dependencies that is used in an outage. Reading collects
every mistake with file, line and a suggestion; a bad estate never starts.
"""

from gateway.estate.announced import brown_outs, past_brown_outs
from gateway.estate.decoding import decode
from gateway.estate.json_schema import schema
from gateway.estate.lint import element
from gateway.estate.reading import examine, read
from gateway.estate.references import resolve
from gateway.estate.source import Source, places
from gateway.estate.tables import (
    CHANNELS,
    BrownOutEntry,
    ClaimNames,
    EdgeTls,
    Estate,
    Events,
    Identity,
    Issuer,
    Operation,
    OrderRules,
    Quota,
    QuotaCosts,
    QuotaPolicy,
    Reference,
    Setting,
    Shared,
    System,
    Versions,
    Webhooks,
)

__all__ = [
    "CHANNELS",
    "BrownOutEntry",
    "ClaimNames",
    "EdgeTls",
    "Estate",
    "Events",
    "Identity",
    "Issuer",
    "Operation",
    "OrderRules",
    "Quota",
    "QuotaCosts",
    "QuotaPolicy",
    "Reference",
    "Setting",
    "Shared",
    "Source",
    "System",
    "Versions",
    "Webhooks",
    "brown_outs",
    "decode",
    "element",
    "examine",
    "past_brown_outs",
    "places",
    "read",
    "resolve",
    "schema",
]

"""JSON Schemas of the published types in the shape of each version."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.canonical.amounts import CURRENCIES, Money, UnitPrice
from contracts.versions import VersionHistory

REF = "#/components/schemas/{name}"
_PRICED = (Money.__name__, UnitPrice.__name__)


def component_schemas(kinds: list[type[msgspec.Struct]], history: VersionHistory, version: str) -> dict[str, Any]:
    changes = history.of(kinds, version)
    _, components = msgspec.json.schema_components([*kinds, *(c.old for c in changes)], ref_template=REF)
    for change in changes:
        old = components.pop(change.old.__name__)
        components[change.of.__name__] = {**old, "title": change.of.__name__}
    for name, schema in components.items():
        tidy(schema)
        if name in _PRICED:
            money = schema["properties"]
            money["currencyCode" if "currencyCode" in money else "currency"] = {"type": "string", "enum": sorted(CURRENCIES)}
    return components


def tidy(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("default") is None and "default" in schema:
            del schema["default"]
        for value in schema.values():
            tidy(value)
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.removesuffix(r"(?!\n)")  # Python's `$` needs it, that of JSON Schema is the very end
        if "anyOf" in schema:  # a missing value is absent, never null
            rest = [s for s in schema["anyOf"] if s != {"type": "null"}]
            if len(rest) == 1:
                del schema["anyOf"]
                schema.update({k: v for k, v in rest[0].items() if k not in schema})
            else:
                schema["anyOf"] = rest
        if "prefixItems" in schema and schema.get("items") is False:
            schema["items"] = schema.pop("prefixItems")[0]
    elif isinstance(schema, list):
        for value in schema:
            tidy(value)

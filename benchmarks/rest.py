"""REST: a 500-row JSON answer to Structs against a bare msgspec decode of the same bytes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from adapters.rest.client import decoded
from adapters.rest.contract import RestContract
from benchmarks.ratio import Ratio, compare, show
from contracts.canonical.inventory import InventoryLevel
from mappings.language import ReadContext, load
from mappings.language.typed import Typed
from sandbox.world import World

ROWS = 500
LEVEL: dict[str, Any] = {
    "type": "object",
    "required": ["sku", "site", "qty", "uom"],
    "properties": {
        "sku": {"type": "string", "maxLength": 40},
        "site": {"type": "string", "maxLength": 10},
        "qty": {"type": "number", "multipleOf": 0.001, "maximum": 9_999_999},
        "reserved": {"type": "number", "multipleOf": 0.001, "maximum": 9_999_999},
        "uom": {"type": "string", "enum": ["PCE", "KGM"]},
    },
}
PAGE = {"type": "object", "properties": {"items": {"type": "array", "items": LEVEL}}}
DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {
        "/levels": {
            "get": {
                "operationId": "levels",
                "responses": {
                    "200": {
                        "description": "",
                        "content": {
                            "application/json": {"schema": {"type": "object", "properties": {"items": {"type": "array", "items": LEVEL}}}}
                        },
                    }
                },
            }
        }
    },
}
MAPPING = """
target = "InventoryLevel"
source = "shop.levels/items"

[fields]
sku = "sku"
location_id = "site"
on_hand = "qty | quantity(uom)"
reserved = "reserved | quantity(uom)"
"""


def answer() -> bytes:
    world = World()
    rows = [
        {
            "sku": world.products[n].sku,
            "site": world.stores[n % 50].number,
            "qty": (n * 7919 % 500_000) / 1000,
            "reserved": n % 9,
            "uom": "KGM",
        }
        for n in range(ROWS)
    ]
    return json.dumps({"items": rows}).encode()


def reading(body: bytes) -> list[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "openapi.json")
        path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
        contract = RestContract("shop", path)
    mapping = load(MAPPING, "levels.answer.toml", lambda _: contract.exchange("levels"), {"InventoryLevel": InventoryLevel})
    context = ReadContext(system="shop", operation="levels")

    shortcut = mapping.shortcut
    assert isinstance(shortcut, Typed)  # noqa: S101  # plain objects have one

    def ours() -> list[Any]:
        return mapping.read(shortcut.decode(body) or decoded(body, "application/json"), context)

    assert len(ours()) == ROWS == len(msgspec.json.decode(body)["items"])  # noqa: S101  # both have read all rows, else nothing is compared
    return compare(f"rest read {ROWS} rows", ours, {"msgspec": lambda: msgspec.json.decode(body)}, {"msgspec": "<=2.0"})


def main() -> None:
    show(reading(answer()))


if __name__ == "__main__":
    main()

"""REST: a 500-row JSON answer to Structs against a bare msgspec decode of the same bytes."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from adapters.rest.client import decoded
from adapters.rest.contract import RestContract
from benchmarks.ratio import Ratio, compare, show
from contracts.canonical.inventory import InventoryLevel
from contracts.canonical.order import OrderReceipt
from mappings.language import ReadContext, load
from mappings.language.typed import Typed
from sandbox.oms.book import Book
from sandbox.oms.model import Buyer, Delivery, Money, NewOrder, OrderPage, Payment, Position
from sandbox.world import World

ROOT = Path(__file__).resolve().parents[1]
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


def orders() -> bytes:
    """A page of the sandbox's order management, as bytes on the wire: orders of one to four positions."""
    world = World()
    book, now = Book(world, lambda: datetime(2026, 3, 11, tzinfo=UTC)), 1_773_187_200_000
    for n in range(ROWS):
        positions = [_position(world, n + m, m + 1) for m in range(n % 4 + 1)]
        total = Money(str(sum((Decimal(p.line_total.amount) for p in positions), Decimal())), "EUR")
        book.take(
            NewOrder(
                client_ref=f"W-{n:08}",
                sales_channel="WEB",
                placed_utc=now + n,
                buyer=Buyer("1000001", "ada@example.com", "Ada Example"),
                positions=positions,
                grand_total=total,
                payments=[Payment("CARD", total)],
                delivery=Delivery("HOME"),
            )
        )
    return msgspec.json.encode(OrderPage([order for _, order in book.find(None, None, 0)]))


def _position(world: World, n: int, pos: int) -> Position:
    product, price = world.products[n], Decimal(n % 900 + 99) / 100
    unit: Literal["KGM", "PCE"] = "KGM" if product.unit == "KGM" else "PCE"
    return Position(pos, product.sku, Decimal(2), unit, Money(str(price), "EUR"), Money(str(2 * price), "EUR"), "0001")


def reading(name: str, body: bytes, contract: RestContract, text: str, target: type[msgspec.Struct]) -> list[Ratio]:
    mapping = load(text, name, lambda operation: contract.exchange(operation.partition(".")[2]), {target.__name__: target})
    context, shortcut = ReadContext(system=contract.system, operation=name), mapping.shortcut
    assert isinstance(shortcut, Typed)  # noqa: S101  # plain objects have one

    def ours() -> list[Any]:
        return mapping.read(shortcut.decode(body) or decoded(body, "application/json"), context)

    assert ours() == mapping.read(decoded(body, "application/json"), context)  # noqa: S101  # the short way reads the same
    assert len(ours()) == ROWS == len(msgspec.json.decode(body)["items"])  # noqa: S101  # both have read all rows, else nothing is compared
    return compare(name, ours, {"msgspec": lambda: msgspec.json.decode(body)}, {"msgspec": "<=2.0"})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "openapi.json")
        path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
        shop = RestContract("shop", path)
    oms = RestContract("oms", ROOT / "contracts/systems/oms/openapi.json")
    found = (ROOT / "mappings/oms/find_orders.answer.toml").read_text(encoding="utf-8")
    show(
        [
            *reading(f"rest read {ROWS} rows", answer(), shop, MAPPING, InventoryLevel),
            *reading(f"rest read {ROWS} orders", orders(), oms, found, OrderReceipt),
        ]
    )


if __name__ == "__main__":
    main()

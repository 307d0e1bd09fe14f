"""Availability: what may be promised, and why."""

from __future__ import annotations

from contracts.canonical.answers import Inventory, InventoryParameters
from gateway.api.answering import at, missing, pairs
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
from gateway.services.availability import SUBTRACTED
from gateway.services.services import Services


async def list_inventory(ask: Ask[InventoryParameters, None], services: Services) -> Outcome:
    wanted = ask.parameters
    asked = pairs(wanted.sku, wanted.location)
    answer = await services.availability.read(asked, ask.call, explain=wanted.explain)
    gone = missing(answer, (at(p.sku, p.location_id) for p in asked), {at(x.sku, x.location_id) for x in answer.items})
    return Outcome(Inventory(items=answer.items, missing=gone), sources=answer.sources)


LIST_INVENTORY = Endpoint(
    method="GET",
    path="/inventory",
    name="listInventory",
    summary="Availability of every sku at every location; `explain=true` shows the arithmetic",
    scope="inventory:read",
    answer=Inventory,
    handle=list_inventory,
    parameters=InventoryParameters,
    cache=1.0,
    tag="Inventory",
    capabilities=(
        "inventory.levels",
        "sale.feed",
        "movement.feed",
        "level.feed",
    ),
    shows={
        f"{noun}.{name}": ("items.available", "items.free", "items.explanation")
        for noun, names in (
            ("InventoryLevel", ("on_hand", *SUBTRACTED, "net_of", "posted_through")),
            ("PosSale", ("lines",)),
            ("StockMovement", ("change",)),
        )
        for name in names
    },
)

ENDPOINTS: tuple[AnyEndpoint, ...] = (LIST_INVENTORY,)

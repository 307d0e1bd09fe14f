"""The routes, one file per resource. Handlers know only the newest shape and only services."""

from gateway.api import (
    clients,
    customers,
    dispatches,
    files,
    incidents,
    inventory,
    locations,
    orders,
    prices,
    products,
    reservations,
    sales,
    versions,
    webhooks,
)
from gateway.edge.endpoint import AnyEndpoint

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    *locations.ENDPOINTS,
    *products.ENDPOINTS,
    *prices.ENDPOINTS,
    *inventory.ENDPOINTS,
    *reservations.ENDPOINTS,
    *orders.ENDPOINTS,
    *customers.ENDPOINTS,
    *sales.ENDPOINTS,
)

ADMIN: tuple[AnyEndpoint, ...] = (
    *clients.ENDPOINTS,
    *files.ENDPOINTS,
    *dispatches.ENDPOINTS,
    *incidents.ENDPOINTS,
    *versions.ENDPOINTS,
    *webhooks.ENDPOINTS,
)
"""For operators, behind the same door, with a published contract of their own."""

__all__ = ["ADMIN", "ENDPOINTS"]

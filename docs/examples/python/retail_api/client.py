"""Retail API, version 2026-10-01: one method per operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Self
from urllib.parse import quote

import aiohttp

from .models import (
    Cancellation,
    Customer,
    ExpandedOrder,
    ExpandedOrders,
    ExpandedProduct,
    ExpandedProducts,
    ExpandedSales,
    Inventory,
    Location,
    Locations,
    Order,
    OrderDraft,
    PosSale,
    Prices,
    Product,
    Release,
    Reservation,
    ReservationDraft,
)
from .problems import BY_CODE
from .transport import Answer, Credential, Limits, Paged, Transport, new_key


class RetailApi:
    """Retail API, version 2026-10-01. A context manager; or call `close` at the end.

    Give the address without a path, and an API key or token (or a coroutine function that gives one).
    """

    VERSION: Final = "2026-10-01"

    def __init__(
        self,
        base_url: str,
        credential: Credential,
        *,
        limits: Limits | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """`session`: for TLS settings and a pool of one's own; it is closed with this client."""
        self._transport = Transport(
            base_url=base_url,
            credential=credential,
            version=self.VERSION,
            problems=BY_CODE,
            limits=limits or Limits(),
            session=session,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def list_locations(self, *, request_timeout: float | None = None, known: Answer[Locations] | None = None) -> Answer[Locations]:
        """All locations. Scope: `catalogue:read` (products, prices and locations).

        Raises RejectedBySystem.
        """
        return await self._transport.call("GET", "/locations", Locations, headers=[("Request-Timeout", request_timeout)], known=known)

    async def get_location(
        self,
        number: str,
        *,
        request_timeout: float | None = None,
        known: Answer[Location] | None = None,
    ) -> Answer[Location]:
        """One location. Scope: `catalogue:read` (products, prices and locations).

        Raises NotFound, RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            f"/locations/{quote(number, safe='')}",
            Location,
            headers=[("Request-Timeout", request_timeout)],
            known=known,
        )

    def list_products(
        self,
        *,
        sku: str | Sequence[str] | None = None,
        location: str | Sequence[str] | None = None,
        limit: int | None = None,
        expand: Literal["prices", "inventory"] | Sequence[Literal["prices", "inventory"]] | None = None,
        request_timeout: float | None = None,
    ) -> Paged[ExpandedProducts, Product]:
        """Products by sku (repeatable), or page by page. Scope: `catalogue:read` (products, prices and locations).

        Raises RejectedBySystem.
        """

        async def page(link: str | None) -> Answer[ExpandedProducts]:
            if link is not None:
                return await self._transport.call("GET", link, ExpandedProducts)
            return await self._transport.call(
                "GET",
                "/products",
                ExpandedProducts,
                query=[("sku", sku), ("location", location), ("limit", limit), ("expand", expand)],
                headers=[("Request-Timeout", request_timeout)],
            )

        return Paged(page, lambda page: page.items)

    async def get_product(
        self,
        sku: str,
        *,
        location: str | Sequence[str] | None = None,
        expand: Literal["prices", "inventory"] | Sequence[Literal["prices", "inventory"]] | None = None,
        request_timeout: float | None = None,
        known: Answer[ExpandedProduct] | None = None,
    ) -> Answer[ExpandedProduct]:
        """One product. Scope: `catalogue:read` (products, prices and locations).

        Raises NotFound, RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            f"/products/{quote(sku, safe='')}",
            ExpandedProduct,
            query=[("location", location), ("expand", expand)],
            headers=[("Request-Timeout", request_timeout)],
            known=known,
        )

    async def list_prices(
        self,
        sku: str | Sequence[str],
        location: str | Sequence[str],
        *,
        request_timeout: float | None = None,
        known: Answer[Prices] | None = None,
    ) -> Answer[Prices]:
        """Prices of every sku at every location, the most specific first. Scope: `catalogue:read` (products, prices and locations).

        Raises RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            "/prices",
            Prices,
            query=[("sku", sku), ("location", location)],
            headers=[("Request-Timeout", request_timeout)],
            known=known,
        )

    async def list_inventory(
        self,
        sku: str | Sequence[str],
        location: str | Sequence[str],
        *,
        explain: bool | None = None,
        request_timeout: float | None = None,
        known: Answer[Inventory] | None = None,
    ) -> Answer[Inventory]:
        """Availability of every sku at every location; `explain=true` shows the arithmetic. Scope: `inventory:read` (availability).

        Raises RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            "/inventory",
            Inventory,
            query=[("sku", sku), ("location", location), ("explain", explain)],
            headers=[("Request-Timeout", request_timeout)],
            known=known,
        )

    async def create_reservation(
        self,
        body: ReservationDraft,
        *,
        request_timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Answer[Reservation]:
        """Hold stock for a cart; a repeat with the same reservationKey changes nothing. Scope: `reservations:write` (hold and release
        stock).

        Raises IdempotencyKeyReused, InsufficientStock, InvalidMember, NotFound, RejectedBySystem, RequestInProgress, Unprocessable.
        """
        return await self._transport.call(
            "POST",
            "/reservations",
            Reservation,
            headers=[("Request-Timeout", request_timeout)],
            body=body,
            idempotency_key=idempotency_key or new_key(),
        )

    async def get_reservation(
        self,
        key: str,
        *,
        request_timeout: float | None = None,
        known: Answer[Reservation] | None = None,
    ) -> Answer[Reservation]:
        """One reservation. Scope: `reservations:write` (hold and release stock).

        Raises NotFound, RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            f"/reservations/{quote(key, safe='')}",
            Reservation,
            headers=[("Request-Timeout", request_timeout)],
            known=known,
        )

    async def release_reservation(
        self,
        key: str,
        body: Release,
        *,
        request_timeout: float | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer[Reservation]:
        """Give the stock back. Scope: `reservations:write` (hold and release stock).

        Raises IdempotencyKeyReused, InvalidMember, NotFound, PreconditionFailed, RejectedBySystem, RequestInProgress,
        StateConflict, Unprocessable.
        """
        return await self._transport.call(
            "POST",
            f"/reservations/{quote(key, safe='')}/release",
            Reservation,
            headers=[("Request-Timeout", request_timeout), ("If-Match", if_match)],
            body=body,
            idempotency_key=idempotency_key or new_key(),
        )

    async def create_order(
        self,
        body: OrderDraft,
        *,
        request_timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Answer[Order]:
        """Place an order; 202 when a system behind is late: it is accepted and will be completed. Scope: `orders:write` (place and
        cancel orders).

        Raises IdempotencyKeyReused, InsufficientStock, InvalidMember, NotFound, RejectedBySystem, RequestInProgress, Unprocessable.
        """
        return await self._transport.call(
            "POST",
            "/orders",
            Order,
            headers=[("Request-Timeout", request_timeout)],
            body=body,
            idempotency_key=idempotency_key or new_key(),
        )

    def list_orders(
        self,
        *,
        limit: int | None = None,
        expand: Literal["products"] | Sequence[Literal["products"]] | None = None,
        request_timeout: float | None = None,
    ) -> Paged[ExpandedOrders, Order]:
        """The channel's orders, newest first. Scope: `orders:read` (own channel's orders).

        Raises RejectedBySystem.
        """

        async def page(link: str | None) -> Answer[ExpandedOrders]:
            if link is not None:
                return await self._transport.call("GET", link, ExpandedOrders)
            return await self._transport.call(
                "GET",
                "/orders",
                ExpandedOrders,
                query=[("limit", limit), ("expand", expand)],
                headers=[("Request-Timeout", request_timeout)],
            )

        return Paged(page, lambda page: page.items)

    async def get_order(
        self,
        id: str,
        *,
        expand: Literal["products", "customer"] | Sequence[Literal["products", "customer"]] | None = None,
        request_timeout: float | None = None,
        known: Answer[ExpandedOrder] | None = None,
    ) -> Answer[ExpandedOrder]:
        """One order with its progress. Scope: `orders:read` (own channel's orders).

        Raises NotFound, RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            f"/orders/{quote(id, safe='')}",
            ExpandedOrder,
            query=[("expand", expand)],
            headers=[("Request-Timeout", request_timeout)],
            known=known,
        )

    async def cancel_order(
        self,
        id: str,
        body: Cancellation,
        *,
        request_timeout: float | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer[Order]:
        """Cancel an order as long as nothing has left. Scope: `orders:write` (place and cancel orders).

        Raises IdempotencyKeyReused, InvalidMember, NotFound, PreconditionFailed, RejectedBySystem, RequestInProgress,
        StateConflict, Unprocessable.
        """
        return await self._transport.call(
            "POST",
            f"/orders/{quote(id, safe='')}/cancel",
            Order,
            headers=[("Request-Timeout", request_timeout), ("If-Match", if_match)],
            body=body,
            idempotency_key=idempotency_key or new_key(),
        )

    async def get_customer(self, number: str, *, request_timeout: float | None = None) -> Answer[Customer]:
        """One customer. Scope: `customers:read` (customers, with personal data).

        Raises NotFound, RejectedBySystem.
        """
        return await self._transport.call(
            "GET",
            f"/customers/{quote(number, safe='')}",
            Customer,
            headers=[("Request-Timeout", request_timeout)],
        )

    def list_sales(
        self,
        location: str,
        business_date: str,
        *,
        limit: int | None = None,
        expand: Literal["products"] | Sequence[Literal["products"]] | None = None,
        request_timeout: float | None = None,
    ) -> Paged[ExpandedSales, PosSale]:
        """Sales of one location and business day, in the order of the tills. Scope: `sales:read` (POS sales).

        Raises RejectedBySystem.
        """

        async def page(link: str | None) -> Answer[ExpandedSales]:
            if link is not None:
                return await self._transport.call("GET", link, ExpandedSales)
            return await self._transport.call(
                "GET",
                "/sales",
                ExpandedSales,
                query=[("location", location), ("businessDate", business_date), ("limit", limit), ("expand", expand)],
                headers=[("Request-Timeout", request_timeout)],
            )

        return Paged(page, lambda page: page.items)

"""The use cases that routes may call, built once by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.books import Books
from gateway.services.availability import AvailabilityReader
from gateway.services.catalogue import Catalogue
from gateway.services.orders import Orders
from gateway.services.reservations import Reservations


@dataclass(frozen=True)
class Services:
    catalogue: Catalogue
    availability: AvailabilityReader
    reservations: Reservations
    orders: Orders
    books: Books

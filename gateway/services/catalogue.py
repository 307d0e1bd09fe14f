"""Products, prices, locations and customers, as the owning systems know them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts import ports
from contracts.call import Call
from contracts.canonical.customer import Customer
from contracts.canonical.location import Location
from contracts.canonical.price import Price
from contracts.canonical.product import Product
from contracts.errors import NotFound
from contracts.ports import Answer, SkuAt, Systems
from gateway.services.clock import Now


class Catalogue:
    def __init__(self, systems: Systems, now: Now) -> None:
        self._systems = systems
        self._now = now

    async def products(self, skus: Sequence[str], call: Call) -> Answer[Product]:
        return await self._systems.ask(ports.PRODUCTS, ports.ProductQuery(skus=tuple(dict.fromkeys(skus))), call)

    async def product(self, sku: str, call: Call) -> Answer[Product]:
        """Raises NotFound."""
        answer = await self.products([sku], call)
        if not answer.items:
            raise NotFound(what="product", key=sku)
        return answer

    async def page(self, after: str | None, limit: int, call: Call) -> Answer[Product]:
        return await self._systems.ask(ports.PRODUCT_PAGE, ports.ProductPage(limit=limit, after=after), call)

    async def prices(self, pairs: Sequence[SkuAt], call: Call) -> tuple[Answer[Price], datetime | None]:
        """Prices that hold now, and the moment at which one of them ends or another begins, if one is known. More specific scope and
        later start come first (canonical model §2, Price).
        """
        answer = await self._systems.ask(ports.PRICES, ports.PriceQuery(pairs=tuple(dict.fromkeys(pairs))), call)
        now = self._now().timestamp()
        moments = {at for p in answer.items for at in (p.valid_from, p.valid_until) if at is not None}
        seconds: dict[datetime | None, float] = {
            at: at.timestamp() for at in moments
        }  # there are few: to compare moments of two time zones costs much more
        seconds[None] = -math.inf
        valid = [p for p in answer.items if seconds[p.valid_from] <= now and (p.valid_until is None or now < seconds[p.valid_until])]
        valid.sort(key=lambda p: (p.sku, p.location_id or "~", p.price_type != "sale", -seconds[p.valid_from] if p.valid_from else 0.0))
        return replace(answer, items=tuple(valid)), min((at for at in moments if seconds[at] > now), default=None)

    @property
    def lists_locations(self) -> bool:
        return self._systems.provides(ports.LOCATIONS)

    async def locations(self, call: Call) -> Answer[Location]:
        """None in an estate whose systems list no locations."""
        if not self.lists_locations:
            return Answer(items=())
        return await self._systems.ask(ports.LOCATIONS, ports.LocationQuery(), call)

    async def location(self, number: str, call: Call) -> Answer[Location]:
        answer = await self.locations(call)
        found = tuple(x for x in answer.items if x.number == number)
        if not found:
            raise NotFound(what="location", key=number)
        return replace(answer, items=found)

    async def customer(self, number: str, call: Call) -> Answer[Customer]:
        answer = await self._systems.ask(ports.CUSTOMER, ports.CustomerQuery(customer_number=number), call)
        if not answer.items:
            raise NotFound(what="customer", key=number)
        return answer


class Zones:
    """Locations and their time zones, learned from the location list: a local time without a zone is resolved with its store's.

    `everywhere` is the estate's own zone. It counts only where no system lists locations.
    """

    def __init__(self, everywhere: ZoneInfo | None = None) -> None:
        self._everywhere, self._listed = everywhere, True
        self._zones: dict[str, ZoneInfo] = {}
        self._locations: dict[str, Location] = {}

    async def load(self, catalogue: Catalogue, call: Call) -> None:
        """Raises UpstreamError when the locations cannot be had and none were known before."""
        self._listed = catalogue.lists_locations
        self.learn((await catalogue.locations(call)).items)

    def learn(self, locations: Iterable[Location]) -> None:
        """By number, and by GLN, which is what standard messages call a place."""
        for location in locations:
            names = [name for name in (location.number, location.gln) if name]
            self._locations.update(dict.fromkeys(names, location))
            if location.time_zone:
                try:
                    self._zones.update(dict.fromkeys(names, ZoneInfo(location.time_zone)))
                except (ZoneInfoNotFoundError, ValueError):
                    continue  # an unknown zone stays unknown: sales of that store are refused, never guessed

    def of(self, location: str) -> ZoneInfo | None:
        return self._zones.get(location) if self._listed else self._everywhere

    def location(self, number: str) -> Location | None:
        return self._locations.get(number)

    @property
    def known(self) -> int:
        return len(self._zones) if self._listed else int(self._everywhere is not None)

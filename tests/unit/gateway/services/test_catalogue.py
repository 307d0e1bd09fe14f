"""Catalogue: prices that hold now, the most particular first; what is not there is not found; zones are learned, never guessed."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.location import Location
from contracts.canonical.price import Price
from contracts.errors import NotFound, UpstreamTimeout
from gateway.services.catalogue import Catalogue, Zones
from gateway.services.clock import new_id
from tests.unit.gateway.services.estate import Clock, Estate, asking, at


def price(
    clock: Clock, cents: int, kind: str = "regular", location: str | None = None, since: float = -60, until: float | None = None
) -> Price:
    return Price(
        sku="10",
        value=Money(cents, "EUR", 2),
        per=Quantity("1", "EA"),
        price_type=kind,  # type: ignore[arg-type]  # as the test names it
        tax_included=True,
        location_id=location,
        valid_from=clock.at + timedelta(seconds=since),
        valid_until=None if until is None else clock.at + timedelta(seconds=until),
    )


async def test_prices_hold_from_their_start_until_before_their_end_the_most_particular_first() -> None:
    clock = Clock()
    estate = Estate(clock)
    estate.rows["price.read"] = (
        price(clock, 1),
        price(clock, 2, until=0),  # ends now, excluded
        price(clock, 3, since=0),  # starts now, included
        price(clock, 4, since=1),
        price(clock, 5, "sale"),
        price(clock, 6, location="0017"),
    )
    answer, until = await Catalogue(estate, clock).prices([at("10")], asking())
    assert [p.value.cent_amount for p in answer.items] == [6, 5, 3, 1]
    assert until == clock.at + timedelta(seconds=1)


async def test_what_no_system_knows_is_not_found() -> None:
    estate = Estate(Clock())
    estate.rows |= {"product.read": (), "location.list": (), "customer.read": ()}
    catalogue = Catalogue(estate, estate.clock)
    for missing in (catalogue.product("10", asking()), catalogue.location("0017", asking()), catalogue.customer("1", asking())):
        with pytest.raises(NotFound):
            await missing


async def test_zones_are_learned_and_an_unknown_zone_stays_unknown() -> None:
    estate, zones = Estate(Clock()), Zones()
    catalogue = Catalogue(estate, estate.clock)

    def store(number: str, zone: str | None) -> Location:
        return Location(number=number, name=number, type="store", time_zone=zone, active=True)

    estate.rows["location.list"] = (store("0001", "Europe/Berlin"), store("0002", "Mars/Olympus"), store("0003", None))
    await zones.load(catalogue, asking())
    assert (str(zones.of("0001")), zones.of("0002"), zones.of("0003"), zones.known) == ("Europe/Berlin", None, None, 1)
    estate.rows["location.list"] = UpstreamTimeout(system="erp", operation="GetPlants")
    with pytest.raises(UpstreamTimeout):
        await zones.load(catalogue, asking())
    assert zones.known == 1


async def test_where_no_system_lists_locations_the_zone_of_the_estate_counts_everywhere() -> None:
    estate, zones = Estate(Clock()), Zones(ZoneInfo("Europe/Paris"))
    catalogue = Catalogue(estate, estate.clock)
    assert (zones.of("0001"), zones.known) == (None, 0)
    await zones.load(catalogue, asking())
    assert (str(zones.of("0001")), zones.known) == ("Europe/Paris", 1)
    assert (await catalogue.locations(asking())).items == ()


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_id("ord") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [i[:12] for i in ids] == sorted(i[:12] for i in ids)

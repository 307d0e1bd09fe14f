from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from sandbox.world import CATEGORIES, MARKETS, World, check_digit


def test_two_worlds_of_one_seed_agree_on_everything() -> None:
    one, two = World(seed=7, skus=300), World(seed=7, skus=300)
    assert one.locations == two.locations
    assert list(one.products) == list(two.products)
    assert list(one.customers) == list(two.customers)
    assert [one.price(s, "FR") for s in one.skus] == [two.price(s, "FR") for s in two.skus]
    assert [one.opening_stock(s, "0001") for s in one.skus] == [two.opening_stock(s, "0001") for s in two.skus]


def test_another_seed_is_another_world() -> None:
    assert list(World(seed=1, skus=50).products) != list(World(seed=2, skus=50).products)


def test_what_an_item_is_does_not_depend_on_how_many_there_are() -> None:
    assert World(skus=10).products[9] == World(skus=20_000).products[9]
    assert World(stores=4).stores[3] == World(stores=200).stores[3]


def test_the_default_world_has_200_stores_in_four_countries_and_20000_products_of_all_kinds() -> None:
    world = World()
    assert len(world.stores) == 200
    assert {s.country for s in world.stores} == set(MARKETS)
    assert len({s.number for s in world.locations}) == len(world.locations) == 203
    assert all(ZoneInfo(s.time_zone) for s in world.locations)
    assert len(world.products) == 20_000
    assert {p.category_code for p in world.products} == set(CATEGORIES)
    assert {p.status for p in world.products} == {"active", "discontinued", "new"}
    assert {p.unit for p in world.products} == {"EA", "KGM"}
    assert {world.price(s, "DE").regular.per for s in world.skus[:200]} == {1, 100}
    assert any(world.price(s, "DE").sale for s in world.skus[:200])


def test_every_gtin_is_valid_unique_and_leads_back_to_its_product() -> None:
    world = World(skus=2_000)
    assert len({p.gtin for p in world.products}) == 2_000
    for product in world.products:
        assert len(product.gtin) == 13
        assert product.gtin[-1] == check_digit(product.gtin[:-1])
        assert world.product_by_gtin(product.gtin) == product


@pytest.mark.parametrize(
    ("gtin", "digit"), [("400638133393", "1"), ("501234567890", "0"), ("7351353", "7")], ids=["EAN-13", "GS1", "EAN-8"]
)
def test_a_check_digit_is_the_one_gs1_publishes(gtin: str, digit: str) -> None:
    assert check_digit(gtin) == digit


def test_prices_are_whole_cents_in_the_currency_of_the_country() -> None:
    world = World(skus=500)
    for sku in world.skus:
        for country, market in MARKETS.items():
            for price in filter(None, world.price(sku, country)):
                assert price.currency == market.currency
                assert price.amount > 0
                assert price.amount.as_tuple().exponent == -2
                assert price.each * price.per == price.amount


def test_pieces_are_stocked_whole_and_weighed_goods_to_the_gram() -> None:
    world = World(skus=500)
    for product in world.products:
        stock = world.opening_stock(product.sku, "0002")
        assert stock >= 0
        assert stock % (1 if product.unit == "EA" else Decimal("0.001")) == 0


@pytest.mark.parametrize("key", ["", "1", "10000000", "10020001", "1000000a", "１０００００００１", "010000001"])
def test_a_key_nobody_has_is_none(key: str) -> None:
    world = World()
    assert world.product(key) is None
    assert world.customer(key) is None
    assert world.store(key) is None


def test_a_world_without_stores_is_refused() -> None:
    with pytest.raises(ValueError, match="1-8999 stores"):
        World(stores=0)

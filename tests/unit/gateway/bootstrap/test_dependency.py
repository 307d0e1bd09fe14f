from pathlib import Path

import msgspec
import pytest

from gateway.api import ENDPOINTS
from gateway.bootstrap import check
from gateway.bootstrap.dependency import dependency_map
from gateway.estate import Estate
from observability.rootcause.model import DependencyMap

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def estate() -> Estate:
    return check(ROOT).estate


@pytest.fixture(scope="module")
def declared(estate: Estate) -> DependencyMap:
    return dependency_map(estate)


def test_every_route_of_the_product_is_on_the_map_and_every_name_leads_on(declared: DependencyMap) -> None:
    assert {e.route for e in ENDPOINTS} <= declared.routes.keys()
    for route in declared.routes.values():
        assert set(route.capabilities) <= declared.capabilities.keys()
    for capability in declared.capabilities.values():
        assert set(capability.operations) <= declared.operations.keys()
    assert {name.partition(".")[0] for name in declared.operations} <= declared.systems.keys()


def test_a_system_carries_whom_to_call_and_what_it_shares(declared: DependencyMap) -> None:
    erp = declared.systems["erp"]
    assert (erp.owner, erp.contact, erp.criticality, erp.shares) == ("finance-it", "+49 30 5550 100", "critical", {"segment": "dc1"})
    assert declared.systems["pos"].shares == {}


def test_a_route_has_what_the_product_asks_and_what_the_estate_promises(declared: DependencyMap) -> None:
    orders, found = declared.routes["POST /orders"], declared.routes["GET /orders/{id}"]
    assert (orders.needs, orders.objective_s) == ("later", 3.0)
    assert {"order.create", "order.book", "order.find"} <= set(orders.capabilities)
    assert (found.needs, found.objective_s, found.capabilities) == ("aside", 0.0, ("order.progress",))
    assert declared.routes["POST /reservations"].needs == "fresh"
    assert "order.cancel_booking" in declared.routes["order"].capabilities


def test_who_stands_in_and_for_how_long_comes_from_the_estate(estate: Estate, declared: DependencyMap) -> None:
    customer, feed = declared.capabilities["customer.read"], declared.capabilities["sale.feed"]
    assert (customer.operations, customer.combine, customer.partial) == (("oms.getCustomer", "erp.GetCustomer"), "first", False)
    assert (feed.combine, feed.partial) == ("all", True)
    assert declared.operations["erp.GetStock"].stale_s == 3600
    assert declared.operations["pos.tlog"].mode == "file"
    rule = msgspec.structs.replace(estate.capability["customer.read"], combine="all", partial=True)
    merged = dependency_map(msgspec.structs.replace(estate, capability={"customer.read": rule})).capabilities["customer.read"]
    assert (merged.combine, merged.partial) == ("all", True)


def test_what_nothing_provides_is_not_on_the_map(estate: Estate) -> None:
    few = {name: operation for name, operation in estate.operation.items() if not name.startswith("oms.")}
    bare = dependency_map(msgspec.structs.replace(estate, operation=few, capability={}))
    assert "order.create" not in bare.capabilities
    assert bare.routes["GET /orders/{id}"].capabilities == ()
    assert bare.capabilities["customer.read"].operations == ("erp.GetCustomer",)

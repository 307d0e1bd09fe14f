"""What a reload changes, and what is planned, as the engine is told it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace as changed

from contracts.policy import Duration
from gateway.bootstrap.watching import differences, planned
from gateway.estate.tables import BrownOutEntry, Versions
from tests.products import reference

NIGHT = datetime(2026, 3, 11, 1, 30, tzinfo=UTC)


def test_reload_that_changes_nothing_says_nothing() -> None:
    assert differences(reference(), reference()) == []


def test_each_changed_part_is_told_with_its_scope() -> None:
    old = reference()
    estate = old.estate
    stock = estate.operation["erp.GetStock"]
    operations = {**estate.operation, "erp.GetStock": changed(stock, policy=changed(stock.policy, deadline=Duration(9)))}
    del operations["erp.GetPlants"]
    systems = {**estate.system, "oms": changed(estate.system["oms"], owner="others")}
    channels = {**estate.channel, "web": changed(estate.channel["web"], safety_stock=9)}
    path = estate.operation["erp.GetPrices"].answer
    new = replace(
        old,
        estate=changed(estate, operation=operations, system=systems, channel=channels, edge=changed(estate.edge, max_requests=7)),
        digests={**old.digests, path: "another"},
    )
    found = dict(differences(old, new))
    mapping = next(what for what in found if what.startswith(f"mapping {path}"))
    assert found == {
        "operation erp.GetStock: policy": {"system": "erp", "operation": "GetStock", "kind": "adapter"},
        "operation erp.GetPlants removed": {"system": "erp", "operation": "GetPlants", "kind": "adapter"},
        mapping: {"system": "erp", "operation": "GetPrices", "kind": "mapping"},
        "system oms: owner": {"system": "oms", "kind": "adapter"},
        "channel web": {"channel": "web", "kind": "estate"},
        "estate: edge": {"kind": "estate"},
    }


def test_nightly_batch_is_planned_in_the_time_of_the_estate_while_it_runs() -> None:
    estate = reference().estate
    (batch,) = planned(estate, NIGHT - timedelta(hours=2), NIGHT)
    assert (batch.scope, batch.kind) == ({"system": "erp"}, "maintenance")
    assert (batch.at, batch.until) == (NIGHT - timedelta(minutes=30), NIGHT + timedelta(minutes=90))
    noon = NIGHT + timedelta(hours=11)
    assert planned(estate, noon - timedelta(hours=2), noon) == []


def test_brown_out_is_planned_for_its_version() -> None:
    begin = datetime(2026, 3, 11, 9, tzinfo=UTC)
    entry = BrownOutEntry(version="2025-09-01", from_=begin, until=begin + timedelta(minutes=15))
    estate = changed(reference().estate, versions=Versions(brown_out=(entry,)))
    (found,) = planned(estate, begin - timedelta(minutes=5), begin + timedelta(minutes=5))
    assert (found.scope, found.at, found.until) == ({"api_version": "2025-09-01"}, begin, begin + timedelta(minutes=15))

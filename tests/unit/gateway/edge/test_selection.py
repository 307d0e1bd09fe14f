"""Field selection: what is named stays, in the names of the version; a wrong name is told the nearest right one."""

from typing import Any

import msgspec
import pytest

from contracts.canonical.answers import Inventory, Orders, Products
from contracts.canonical.location import Location
from contracts.errors import InvalidRequest
from contracts.versions import HISTORY
from gateway.edge import selection
from tests.unit.gateway.edge.conftest import HISTORY as SMALL
from tests.unit.gateway.edge.conftest import Thing

NEWEST, OLDEST = HISTORY.newest.date, HISTORY.versions[-1].date


def chosen(query: str, kind: type[msgspec.Struct] = Orders, version: str = NEWEST, history: Any = HISTORY) -> selection.Selection:
    found = selection.of(query.encode(), kind, version, history)
    assert found is not None
    return found


def test_without_the_parameter_nothing_is_selected() -> None:
    assert selection.of(b"", Orders, NEWEST, HISTORY) is None
    assert selection.of(b"limit=5", Orders, NEWEST, HISTORY) is None


def test_nested_names_reach_into_arrays_and_keep_the_shape() -> None:
    orders = {
        "items": [{"id": "1", "lines": [{"sku": "a", "quantity": {"value": "1", "unit": "EA"}}, {"sku": "b"}], "version": 3}, {"id": "2"}]
    }
    assert chosen("fields=items.id,items.lines.quantity.value").of(orders) == {
        "items": [{"id": "1", "lines": [{"quantity": {"value": "1"}}, {}]}, {"id": "2"}]
    }


def test_a_whole_contains_its_parts_however_it_is_written() -> None:
    one, two = chosen("fields=items.lines,items.lines.sku&fields=items.id"), chosen("fields=items.id,items.lines.sku,items.lines")
    assert (one.tree, one.named) == (two.tree, two.named)
    assert one.tree == {"items": {"id": {}, "lines": {}}}


def test_what_tells_of_gaps_stays() -> None:
    answer = {"items": [{"sku": "1", "stale": True}], "missing": [{"code": "upstream_timeout"}]}
    assert chosen("fields=items.sku", Inventory).of(answer) == {"items": [{"sku": "1"}], "missing": [{"code": "upstream_timeout"}]}


def test_a_member_of_any_name_is_one_of_its_parent() -> None:
    assert chosen("fields=items.name.de", Products).of({"items": [{"name": {"de": "Brot", "en": "bread"}}]}) == {
        "items": [{"name": {"de": "Brot"}}]
    }


@pytest.mark.parametrize(
    ("query", "expected", "got"),
    [
        ("fields=items.skus", "such as items.sku", "'items.skus'"),
        ("fields=itms.sku", "such as items", "'itms'"),
        ("fields=sku", "such as items.sku", "'sku'"),
        ("fields=items.sku.x", "no field below items.sku, which is a single value", "'items.sku.x'"),
        ("fields=", "such as items or missing", "''"),
        ("fields=items.sku,", "such as items or missing", "''"),
        ("fields=items..sku", "a field of the answer", "'items.'"),
        ("fields=" + ",".join(f"f{n}" for n in range(101)), "at most 100 names", "101"),
        ("fields=" + "a." * 40, "a name of at most 12 parts", ""),
        ("fields=" + "x" * 10_000, "such as items or missing", "'xxx"),
        ("fields=items%2Esku%00", "such as items.sku", "'items.sku\\x00'"),
    ],
)
def test_a_name_that_is_none_is_refused_at_its_place_with_the_nearest(query: str, expected: str, got: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        selection.of(query.encode(), Inventory, NEWEST, HISTORY)
    assert refused.value.where == "query:fields"
    assert expected in refused.value.expected
    assert refused.value.got.startswith(got)
    assert len(refused.value.got) < 100


def test_names_are_those_of_the_callers_version_and_what_another_has_otherwise_is_told() -> None:
    assert chosen("fields=id", Thing, "2026-01-01", SMALL).used == {"answer:/id"}
    assert chosen("fields=price.centAmount", Thing, "2026-01-01", SMALL).used == set()
    with pytest.raises(InvalidRequest, match="expected a field of the answer"):
        chosen("fields=key", Thing, "2026-01-01", SMALL)
    assert chosen("fields=key", Thing, "2026-10-01", SMALL).tree == {"key": {}}


@pytest.mark.parametrize("version", [v.date for v in HISTORY.versions])
def test_every_published_field_can_be_selected(version: str) -> None:
    for kind in (Orders, Products, Inventory, Location):
        schemas = selection.component_schemas([kind], HISTORY, version)
        for name in schemas[kind.__name__]["properties"]:
            assert chosen(f"fields={name}", kind, version).tree[name] == {}


async def test_an_answer_is_left_with_what_was_selected_and_has_a_tag_of_its_own(bench: Any) -> None:
    whole = await bench.get("/things/aa")
    part = await bench.get("/things/aa?fields=key,price.centAmount")
    assert part.json() == {"key": "aa"}, "what is not there is not made up"
    old = await bench.get("/things/aa?fields=id", api_version="2026-01-01")
    assert old.json() == {"id": "aa"}
    refused = (await bench.get("/things/aa?fields=kye")).json()
    assert (refused["status"], refused["errors"][0]["pointer"]) == (400, "query:fields")
    assert "such as key" in refused["errors"][0]["expected"]
    assert whole.json().keys() > part.json().keys()
    assert (await bench.post(path="/things?fields=key")).json()["errors"][0]["pointer"] == "query:fields", "only reads select"

import msgspec
import pytest

import gateway.bootstrap  # noqa: F401  # all drivers, as in the product: what they define must not change what is published
from contracts.versions import HISTORY
from gateway.api import ENDPOINTS
from gateway.cli.publishing import generated
from gateway.edge import openapi

GENERATED = generated("Retail API")


@pytest.mark.parametrize("path", GENERATED)
def test_a_published_document_is_what_the_source_generates(path: str, root) -> None:
    assert (root / path).is_file(), "write it: ./run publish"
    assert (root / path).read_bytes() == GENERATED[path], f"{path} is stale; write it anew: ./run publish"


def test_publishing_twice_gives_the_same_bytes() -> None:
    assert generated("Retail API") == GENERATED


@pytest.mark.parametrize("version", HISTORY.by_date)
def test_every_reference_in_a_contract_leads_somewhere_and_nothing_is_left_over(version: str) -> None:
    document = openapi.document(ENDPOINTS, HISTORY, version, "x")
    text = msgspec.json.encode(document["paths"]).decode() + msgspec.json.encode(document["components"]["schemas"]).decode()
    schemas = document["components"]["schemas"]
    used = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    used |= {schema["x-extends"] for schema in schemas.values() if "x-extends" in schema}
    assert used == set(schemas)
    assert r"(?!\\n)" not in text, "Python's own spelling of a pattern's end stays inside"


def test_older_contracts_show_older_shapes_only() -> None:
    newest, older, oldest = (openapi.document(ENDPOINTS, HISTORY, v.date, "x") for v in HISTORY.versions)
    assert "centAmount" in newest["components"]["schemas"]["Money"]["properties"]
    assert set(older["components"]["schemas"]["Money"]["properties"]) == {"amount", "currency"}
    assert "locationId" in older["components"]["schemas"]["Availability"]["properties"]
    assert "storeId" in oldest["components"]["schemas"]["Availability"]["properties"]
    names = [[p["name"] for p in d["paths"]["/inventory"]["get"]["parameters"]] for d in (newest, older, oldest)]
    assert "location" in names[0]
    assert "location" in names[1]
    assert "store" in names[2]
    assert "location" not in names[2]
    assert oldest["paths"]["/inventory"]["get"]["deprecated"] is True


def test_examples_of_bodies_are_in_the_shape_of_their_version() -> None:
    for version in HISTORY.versions:
        body = openapi.document(ENDPOINTS, HISTORY, version.date, "x")["paths"]["/orders"]["post"]["requestBody"]
        example = body["content"]["application/json"]["example"]
        assert msgspec.convert(HISTORY.up(example, endpoint("createOrder").body, version.date), endpoint("createOrder").body)


def endpoint(name: str) -> openapi.AnyEndpoint:
    return next(e for e in ENDPOINTS if e.name == name)

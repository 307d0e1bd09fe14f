"""What an OpenAPI document alone says about connecting a system: its files, how one is let in, how it pages."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.rest.proposal import propose
from contracts.errors import Findings
from tests.docs.demo import ROOT


def document(folder: Path, schemes: dict[str, Any], **more: Any) -> Path:
    made = {"openapi": "3.0.3", "info": {"title": "T", "version": "1"}, "paths": {}, "components": {"securitySchemes": schemes}, **more}
    (folder / "openapi.json").write_text(json.dumps(made))
    return folder / "openapi.json"


FLOWS = {"clientCredentials": {"tokenUrl": "https://id.example.test/token", "scopes": {"read": "", "write": ""}}}


@pytest.mark.parametrize(
    ("schemes", "auth"),
    [
        ({"a": {"type": "apiKey", "in": "header", "name": "X-Key"}}, {"kind": "api_key", "value": "env:SHOP_KEY", "header": "X-Key"}),
        ({"a": {"type": "apiKey", "in": "query", "name": "key"}}, {"kind": "api_key", "value": "env:SHOP_KEY", "query": "key"}),
        ({"a": {"type": "http", "scheme": "basic"}}, {"kind": "basic", "user": "env:SHOP_USER", "password": "env:SHOP_PASSWORD"}),
        ({"a": {"type": "http", "scheme": "Bearer"}}, {"kind": "bearer", "token": "env:SHOP_TOKEN"}),
        ({"a": {"type": "apiKey", "in": "header", "name": "Authorization"}}, {"kind": "bearer", "token": "env:SHOP_TOKEN"}),
        (
            {"a": {"type": "http", "scheme": "basic"}, "b": {"type": "oauth2", "flows": FLOWS}},
            {
                "kind": "oauth2",
                "token_url": "https://id.example.test/token",
                "client_id": "env:SHOP_CLIENT_ID",
                "client_secret": "env:SHOP_CLIENT_SECRET",
                "scope": "read write",
            },
        ),
        ({}, None),
        ({"a": "nonsense", "b": {"type": 7}}, None),
    ],
)
def test_the_kind_of_access_is_what_the_document_declares(schemes: dict[str, Any], auth: dict[str, Any] | None, tmp_path: Path) -> None:
    proposal = propose("shop", document(tmp_path, schemes))
    assert proposal.options.get("auth") == auth
    assert any("auth:" in q for q in proposal.questions) == (auth is None or len(schemes) > 1)


def test_the_paging_and_the_key_of_the_reference_system_are_recognised() -> None:
    proposal = propose("oms", ROOT / "contracts/systems/oms")
    assert proposal.options["paging"] == {"kind": "cursor", "next": "nextCursor", "parameter": "cursor"}
    assert proposal.options["auth"]["header"] == "X-Oms-Key"
    assert {(o.name, o.verb, o.path) for o in proposal.offers} >= {("createOrder", "create", "/v2/orders")}


def test_files_that_references_lead_to_are_taken_along(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    fields = {"name": {"$ref": "name.json"}, "friend": {"$ref": "#"}, "of": {"$ref": "../openapi.json#/info"}}
    (tmp_path / "more" / "person.json").write_text(json.dumps({"type": "object", "properties": fields}))
    (tmp_path / "more" / "name.json").write_text('{"type": "string"}')
    (tmp_path / "unused.json").write_text("{}")
    content = {"application/json": {"schema": {"$ref": "./more/person.json"}}}
    paths = {"/p": {"get": {"operationId": "p", "responses": {"200": {"description": "-", "content": content}}}}}
    proposal = propose("crm", document(tmp_path, {}, paths=paths))
    assert set(proposal.files) == {"openapi.json", "more/person.json", "more/name.json"}


def test_what_is_no_document_is_a_finding(tmp_path: Path) -> None:
    for text in ("", "[]", "{", "a: [1", '{"openapi": "9"}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(Findings):
            propose("x", tmp_path / "x.json")

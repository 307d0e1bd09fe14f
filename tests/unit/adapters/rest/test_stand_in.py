"""How the stand-in of a REST system keeps to what the estate declares."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.options import read
from adapters.rest.contract import RestContract
from adapters.rest.spec import RestOptions
from adapters.rest.stand_in import RestSpeaker
from adapters.speaker import Asked

SCHEMA = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "integer"}}, "next": {"type": "string"}}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1"},
    "paths": {
        "/things": {
            "get": {
                "operationId": "list",
                "parameters": [{"name": "page", "in": "query", "schema": {"type": "integer"}}],
                "responses": {"200": {"description": "", "content": {"application/json": {"schema": SCHEMA}}}},
            },
            "post": {"operationId": "add", "responses": {"204": {"description": ""}}},
        },
        "/things/{id}": {"get": {"operationId": "one", "responses": {"200": {"description": ""}}}},
        "/things/special": {"get": {"operationId": "special", "responses": {"200": {"description": ""}}}},
        "/login": {
            "post": {
                "operationId": "login",
                "requestBody": {
                    "content": {"application/json": {"schema": {"type": "object", "properties": {"username": {"type": "string"}}}}}
                },
                "responses": {"200": {"description": "", "content": {"application/json": {"schema": {"type": "object"}}}}},
            }
        },
    },
}


@pytest.fixture
def contract(tmp_path: Path) -> RestContract:
    (tmp_path / "openapi.json").write_bytes(msgspec.json.encode(DOCUMENT))
    return RestContract("crm", tmp_path / "openapi.json")


def speaker(contract: RestContract, **options: Any) -> RestSpeaker:
    return RestSpeaker(contract, read(RestOptions, options))


def asked(method: str, target: str, body: bytes = b"", **headers: str) -> Asked:
    return Asked(method, target, headers, body)


def said(spoken: RestSpeaker, document: Any, target: str) -> Any:
    return msgspec.json.decode(spoken.answer("list", document, asked("GET", target)).body)


def test_operations_are_found_by_method_and_the_most_literal_route(contract: RestContract) -> None:
    spoken = speaker(contract)
    found = [spoken.operation(asked(*what)) for what in (("GET", "/things?page=2"), ("POST", "/things"), ("GET", "/things/7"))]
    assert found == ["list", "add", "one"]
    assert spoken.operation(asked("GET", "/things/special")) == "special"
    assert spoken.operation(asked("DELETE", "/things")) is None
    assert spoken.answer("add", {}, asked("POST", "/things")).status == 204


def test_every_way_of_paging_ends_after_the_document(contract: RestContract) -> None:
    document = {"items": [1, 2], "next": "more", "total": 99}
    assert "next" not in said(speaker(contract, paging={"kind": "cursor", "next": "next"}), document, "/things")
    assert "next" not in said(speaker(contract, paging={"kind": "url", "next": "next"}), document, "/things")
    numbered = speaker(contract, paging={"kind": "page", "items": "items", "parameter": "page", "total": "total"})
    assert said(numbered, document, "/things") == {"items": [1, 2], "next": "more", "total": 2}
    assert said(numbered, document, "/things?page=2")["items"] == []


def test_a_token_is_given_for_the_secret_and_lets_calls_in(contract: RestContract) -> None:
    auth = {
        "kind": "oauth2",
        "token_url": "https://login.example.test/oauth/token",
        "client_id": "me",
        "client_secret": "s3cret",
        "in_body": True,
    }
    spoken = speaker(contract, auth=auth)
    login = asked("POST", "/oauth/token", b"grant_type=client_credentials&client_secret=s3cret")
    assert spoken.operation(login) == ""
    assert spoken.logs_in("")
    assert spoken.admitted("", login, frozenset()) is None
    assert spoken.admitted("", asked("POST", "/oauth/token", b"client_secret=wrong"), frozenset()) == "credentials"
    assert b'"t-1"' in spoken.session("", login, "t-1").body
    assert spoken.admitted("list", asked("GET", "/things", authorization="Bearer t-1"), frozenset({"t-1"})) is None
    assert spoken.admitted("list", asked("GET", "/things", authorization="Bearer t-0"), frozenset({"t-1"})) == "session"


def test_a_login_by_an_ordinary_operation_gives_its_token_where_it_is_declared(contract: RestContract) -> None:
    auth = {"kind": "login", "operation": "login", "user": "me", "password": "pw", "token": "data.token", "expired": ["SESSION_GONE"]}
    spoken = speaker(contract, auth=auth)
    login = asked("POST", "/login", b'{"username": "me", "password": "pw"}')
    assert spoken.admitted("login", login, frozenset()) is None
    assert spoken.admitted("login", asked("POST", "/login", b"{}"), frozenset()) == "credentials"
    assert msgspec.json.decode(spoken.session("login", login, "t-1").body)["data"] == {"token": "t-1"}
    expired = spoken.expired("list")
    assert expired is not None
    assert b"SESSION_GONE" in expired.body


@pytest.mark.parametrize(
    ("auth", "headers", "target"),
    [
        ({"kind": "api_key", "value": "k"}, {"x-api-key": "k"}, "/things"),
        ({"kind": "api_key", "value": "k", "query": "key"}, {}, "/things?key=k"),
        ({"kind": "api_key", "value": "k", "cookie": "sid"}, {"cookie": "a=b; sid=k"}, "/things"),
        ({"kind": "bearer", "token": "k"}, {"authorization": "Bearer k"}, "/things"),
        ({"kind": "basic", "user": "u", "password": "p"}, {"authorization": "Basic dTpw"}, "/things"),
    ],
)
def test_only_our_own_credentials_are_let_in(contract: RestContract, auth: dict[str, str], headers: dict[str, str], target: str) -> None:
    spoken = speaker(contract, auth=auth)
    assert spoken.admitted("list", Asked("GET", target, headers, b""), frozenset()) is None
    assert spoken.admitted("list", Asked("GET", "/things", {}, b""), frozenset()) == "credentials"


def test_a_failure_in_a_successful_answer_is_said_where_the_estate_declares_one(contract: RestContract) -> None:
    assert speaker(contract).fault_in_200("list") is None
    told = speaker(contract, meanings=[{"member": "success", "equals": False, "means": "failed"}]).fault_in_200("list")
    assert told is not None
    assert (told.status, msgspec.json.decode(told.body)["success"]) == (200, False)


def test_a_refusal_keeps_off_the_statuses_that_mean_something_else(contract: RestContract) -> None:
    spoken = speaker(contract, meanings=[{"status": 422, "means": "busy"}, {"status": 409, "means": "in_doubt"}])
    assert spoken.refusal("add").status == 400
    assert speaker(contract, meanings=[{"status": 418, "code": "TEAPOT", "means": "rejected"}]).refusal("add").status == 418


def test_errors_have_the_declared_members(contract: RestContract) -> None:
    spoken = speaker(contract, errors={"code": "fault.code", "message": "fault.text"})
    assert msgspec.json.decode(spoken.error("list", 500).body) == {"fault": {"code": "STAND_IN", "text": "the system failed"}}

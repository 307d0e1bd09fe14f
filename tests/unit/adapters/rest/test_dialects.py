"""Requests and answers in the dialects of real systems: parameter styles, forms, lines, logins, ways of paging, errors under 200."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from aiohttp import web

from adapters.login import CredentialsRefused
from adapters.options import read
from adapters.rest.client import Unusable, below, with_parameter, written
from adapters.rest.contract import RestContract
from adapters.rest.driver import RestConnection
from adapters.rest.spec import RestOptions
from contracts.call import Call
from contracts.errors import ContractViolation, OutcomeUnknown, UpstreamBusy, UpstreamError, UpstreamFault, UpstreamRejected
from mappings.language.mapping import ReadContext, load
from mappings.language.typed import Decoded
from tests.unit.adapters.rest.test_driver import JSON, Answering, in_turn, says

LINES = "application/x-ndjson"
TEXTS = {"type": "array", "items": {"type": "string"}}
OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "object", "properties": {"d": {}}}},
}
THING = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "ok": {}, "items": {"type": "array", "items": {}}, "next": {}, "meta": {}},
}


def described(path: str = "/things", **operation: Any) -> dict[str, Any]:
    answers = {"200": {"description": "", "content": {JSON: {"schema": THING}}}}
    find = {"operationId": "find", "parameters": [{"name": "offset", "in": "query", "schema": {"type": "integer"}}], "responses": answers}
    body = {"content": {JSON: {"schema": {"type": "object", "properties": {"page": {"type": "integer"}, "limit": {"type": "integer"}}}}}}
    search = {"operationId": "search", "requestBody": body, "responses": answers}
    login = {
        "operationId": "login",
        "requestBody": {"content": {JSON: {"schema": {"type": "object", "properties": {"user": {}, "secret": {}, "shop": {}}}}}},
        "responses": {"200": {"description": "", "content": {JSON: {"schema": {}}}}},
    }
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://shop.example/api/v1"}],
        "paths": {
            path: {"get": {"operationId": "one", "responses": answers, **operation}},
            "/find": {"get": find, "post": search},
            "/login": {"post": login},
        },
    }


def contract(folder: Path, path: str = "/things", **operation: Any) -> RestContract:
    (folder / "openapi.json").write_text(json.dumps(described(path, **operation)))
    return RestContract("shop", folder / "openapi.json")


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder, self.url, self.seen = folder, "", list[web.Request]()
        self.bodies: list[bytes] = []
        self.answer: Answering = says({"id": "a"})
        self.connections: list[RestConnection] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)

    async def connected(self, of: RestContract | None = None, **raw: Any) -> RestConnection:
        made = RestConnection("shop", self.url, of or contract(self.folder), read(RestOptions, raw))
        await made.start()
        self.connections.append(made)
        return made

    @property
    def paths(self) -> list[str]:
        return [request.raw_path for request in self.seen]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", shop.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield shop
    for connection in shop.connections:
        await connection.close()
    await runner.cleanup()


async def ask(connection: RestConnection, operation: str = "one", **request: Any) -> tuple[Any, ...]:
    call = Call(channel="web", client="c", deadline=asyncio.get_running_loop().time() + 5)
    return (await connection.call(operation, request, call, 3)).documents


async def failing(connection: RestConnection, operation: str = "one", **request: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await ask(connection, operation, **request)
    return caught.value


# ---- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value", "query"),
    [
        ({"schema": TEXTS}, ["a", "b c"], "p=a&p=b%20c"),
        ({"schema": TEXTS, "explode": False}, ["a,b", "c"], "p=a%2Cb,c"),
        ({"schema": TEXTS, "style": "pipeDelimited", "explode": False}, ["a", "b"], "p=a%7Cb"),
        ({"schema": TEXTS, "style": "spaceDelimited", "explode": False}, ["a", "b"], "p=a%20b"),
        ({"schema": OBJECT}, {"a": "x", "b": 1}, "a=x&b=1"),
        ({"schema": OBJECT, "explode": False}, {"a": "x", "b": None}, "p=a,x"),
        ({"schema": OBJECT, "style": "deepObject"}, {"a": "x", "c": {"d": "y"}}, "p%5Ba%5D=x&p%5Bc%5D%5Bd%5D=y"),
        ({"schema": {}, "style": "deepObject"}, {"in": ["x", "y"]}, "p%5Bin%5D%5B0%5D=x&p%5Bin%5D%5B1%5D=y"),
        ({"content": {JSON: {"schema": OBJECT}}}, {"a": "x", "b": 1}, "p=%7B%22a%22%3A%22x%22%2C%22b%22%3A1%7D"),
        ({"schema": {"type": "boolean"}}, True, "p=true"),
        ({"schema": {"type": "string"}}, None, ""),
    ],
)
def test_query_parameters_are_written_in_their_style(tmp_path: Path, parameter: dict[str, Any], value: Any, query: str) -> None:
    of = contract(tmp_path, parameters=[{"name": "p", "in": "query", **parameter}])
    assert written(of.operation("one"), {"p": value}).path == ("/things?" + query if query else "/things")


@pytest.mark.parametrize(
    ("parameter", "value", "path"),
    [
        ({}, ["a", "b/c"], "/t/a,b%2Fc/x"),
        ({"explode": True}, {"a": 1, "b": 2}, "/t/a=1,b=2/x"),
        ({"style": "label"}, "v", "/t/.v/x"),
        ({"style": "matrix"}, "v", "/t/;id=v/x"),
    ],
)
def test_path_parameters_are_written_in_their_style(tmp_path: Path, parameter: dict[str, Any], value: Any, path: str) -> None:
    of = contract(tmp_path, "/t/{id}/x", parameters=[{"name": "id", "in": "path", "required": True, "schema": {}, **parameter}])
    assert written(of.operation("one"), {"id": value}).path == path


def test_headers_and_cookies_are_written_and_odata_names_stay_readable(tmp_path: Path) -> None:
    places = [("$filter", "query"), ("X-Ids", "header"), ("session", "cookie"), ("theme", "cookie")]
    of = contract(tmp_path, parameters=[{"name": n, "in": p, "schema": TEXTS} for n, p in places])
    asked = written(of.operation("one"), {"$filter": "Name eq 'a&b'", "X-Ids": ["a", "b"], "session": "s 1", "theme": "dark"})
    assert asked.path == "/things?$filter=Name%20eq%20%27a%26b%27"
    assert (asked.headers["X-Ids"], asked.headers["Cookie"]) == ("a,b", "session=s%201; theme=dark")


NESTED = {"id": "7", "lines": [{"sku": "a", "qty": 2}, {"sku": "b"}], "tags": ["x", "y"], "address": {"city": "Köln", "zip": None}}


@pytest.mark.parametrize(
    ("lists", "tags"),
    [
        ("repeat", [("tags", "x"), ("tags", "y")]),
        ("brackets", [("tags[]", "x"), ("tags[]", "y")]),
        ("indices", [("tags[0]", "x"), ("tags[1]", "y")]),
    ],
)
def test_forms_nest_in_brackets_and_write_lists_as_declared(tmp_path: Path, lists: Any, tags: list[tuple[str, str]]) -> None:
    content = {"application/x-www-form-urlencoded": {"schema": {}}}
    body = written(contract(tmp_path, requestBody={"content": content}).operation("one"), {"body": NESTED}, lists).body
    assert body is not None
    lines = [("lines[0][sku]", "a"), ("lines[0][qty]", "2"), ("lines[1][sku]", "b")]
    assert parse_qsl(body.decode()) == [("id", "7"), *lines, *tags, ("address[city]", "Köln")]


def test_what_the_contract_says_of_a_forms_members_comes_first(tmp_path: Path) -> None:
    form = {"schema": {}, "encoding": {"tags": {"explode": False}, "address": {"contentType": JSON}}}
    of = contract(tmp_path, requestBody={"content": {"application/x-www-form-urlencoded": form}})
    assert (
        written(of.operation("one"), {"body": {"tags": ["x", "y"], "address": {"city": "B"}}}).body
        == b"tags=x,y&address=%7B%22city%22%3A%22B%22%7D"
    )


def test_multipart_lines_and_text_are_bodies_too(tmp_path: Path) -> None:
    def sent(media: str, body: Any) -> bytes:
        asked = written(contract(tmp_path, requestBody={"content": {media: {"schema": {}}}}).operation("one"), {"body": body})
        return f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode() + (asked.body or b"")

    parts = message_from_bytes(sent("multipart/form-data", {"id": "ü", "n": [1, 2], "o": {"a": "x"}, "none": None}))
    read_ = [(p.get_param("name", header="Content-Disposition"), p.get_payload(decode=True)) for p in parts.walk() if not p.is_multipart()]
    assert read_ == [("id", "ü".encode()), ("n", b"1"), ("n", b"2"), ("o", b'{"a":"x"}')]
    assert sent("application/x-ndjson", [{"a": 1}, {"a": 2}]).endswith(b'\r\n{"a":1}\n{"a":2}\n')
    assert sent("text/plain", "hällo").endswith(b"charset=utf-8\r\n\r\nh\xc3\xa4llo")
    with pytest.raises(Unusable, match="a JSON or form body"):
        written(contract(tmp_path, requestBody={"content": {"image/png": {}}}).operation("one"), {"body": {"a": 1}})


def test_setting_a_parameter_leaves_the_others_as_they_are() -> None:
    assert with_parameter("/a?x=1,2&y=%7C&x%5B%5D=3", "x", "9 9") == "/a?y=%7C&x%5B%5D=3&x=9%209"
    assert with_parameter("/a", "x[y]", "1") == "/a?x%5By%5D=1"


# ---- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "answer", "document"),
    [
        ({JSON: {"schema": {"type": "string"}}}, says("4711"), {"value": "4711"}),
        ({JSON: {"schema": {"type": "object", "additionalProperties": {}}}}, says({"a": 1}), {"items": {"a": 1}}),
        ({"text/plain": {}}, says(body="tök".encode("latin-1"), content_type="text/plain", headers={}), None),
        ({"text/plain": {}}, says(body="tök".encode(), content_type="text/plain"), {"value": "tök"}),
        ({LINES: {"schema": THING}}, says(body=b'{"a":1}\n{"a":2}\n', content_type=LINES), {"items": [{"a": 1}, {"a": 2}]}),
        ({LINES: {"schema": {}}}, says(body=b'{"a":1}\n{"a":', content_type=LINES), None),
        ({"application/vnd.api+json": {"schema": THING}}, says({"id": "a"}, content_type="application/vnd.api+json"), {"id": "a"}),
    ],
    ids=["text", "map", "no utf-8", "plain", "lines", "cut lines", "vendor type"],
)  # fmt: skip
async def test_answers_that_are_no_objects(shop: Shop, content: dict[str, Any], answer: Answering, document: Any) -> None:
    connection = await shop.connected(contract(shop.folder, responses={"200": {"description": "", "content": content}}))
    shop.answer = answer
    if document is None:
        assert isinstance(await failing(connection), ContractViolation)
    else:
        assert await ask(connection) == (document,)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    id: str


async def test_a_list_is_one_value_also_where_the_mapping_reads_it_by_its_types(shop: Shop) -> None:
    row = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    of = contract(shop.folder, responses={"200": {"description": "", "content": {JSON: {"schema": {"type": "array", "items": row}}}}})
    text = 'target = "Named"\nsource = "shop.one/items"\n[fields]\nid = "id"\n'
    mapping = load(text, "m.toml", lambda name: of.exchange(name.partition(".")[2]), {"Named": Named})
    assert mapping.shortcut is not None
    connection = await shop.connected(of)
    rows = json.dumps([{"id": str(n)} for n in range(50)]).encode()
    call = Call(channel="web", client="c", deadline=asyncio.get_running_loop().time() + 5)
    shop.answer = says(body=rows)
    (found,) = (await connection.call("one", {}, call, 3, mapping.shortcut)).documents
    assert isinstance(found, Decoded)
    assert mapping.read(found, ReadContext("shop", "one")) == [Named(id=str(n)) for n in range(50)]
    shop.answer = says(body=rows + b',"items":' + rows)
    with pytest.raises(ContractViolation):
        await connection.call("one", {}, call, 3, mapping.shortcut)


async def test_json_under_a_wrong_type_is_read_only_where_declared(shop: Shop) -> None:
    shop.answer = says({"id": "a"}, content_type="text/html")
    assert isinstance(await failing(await shop.connected()), ContractViolation)
    assert await ask(await shop.connected(json_types=["text/html"])) == ({"id": "a"},)


async def test_an_empty_answer_to_a_write_has_no_document_and_to_a_read_is_refused(shop: Shop) -> None:
    shop.answer = says(body=b"", status=201)
    assert await ask(await shop.connected(), "search", body={}) == ()
    assert isinstance(await failing(await shop.connected()), ContractViolation)


@pytest.mark.parametrize(
    ("document", "meaning", "kind"),
    [
        ({"ok": False}, {"member": "ok", "equals": False, "means": "rejected"}, UpstreamRejected),
        ({"ok": "false"}, {"member": "ok", "equals": False, "means": "rejected"}, UpstreamRejected),
        ({"ok": 0, "items": [{"code": 17}]}, {"member": "items.0.code", "equals": 17, "means": "busy"}, UpstreamBusy),
        ({"errors": [{"code": "E1", "text": "no"}]}, {"member": "errors.0", "means": "failed"}, UpstreamFault),
        ({"errors": [{"code": "E9", "text": "no"}]}, {"status": 200, "code": "E9", "means": "in_doubt"}, OutcomeUnknown),
    ],
)
async def test_an_error_under_200_is_what_the_meanings_say(
    shop: Shop, document: Any, meaning: dict[str, Any], kind: type[UpstreamError]
) -> None:
    shop.answer = says(document)
    connection = await shop.connected(errors={"code": "errors.0.code", "message": "errors.0.text"}, meanings=[meaning])
    error = await failing(connection, "search", body={})
    assert type(error) is kind
    assert error.sent is (kind is not UpstreamBusy)
    for fine in ({"ok": True, "items": [{"code": 1}], "errors": []}, {"errors": None}, {"errors": [{}]} if "code" in meaning else {}):
        shop.answer = says(fine)
        assert await ask(connection, "search", body={}) == (fine,)


async def test_absent_under_200_empties_a_read(shop: Shop) -> None:
    shop.answer = says({"ok": "NOT_FOUND"})
    connection = await shop.connected(meanings=[{"member": "ok", "equals": "NOT_FOUND", "means": "absent"}])
    assert await ask(connection) == ()


async def test_a_404_that_only_default_covers_is_no_absence(shop: Shop) -> None:
    shop.answer = says({"message": "Request does not match any route."}, 404)
    responses = {"200": {"description": "", "content": {JSON: {"schema": THING}}}, "default": {"description": "", "content": {JSON: {}}}}
    assert isinstance(await failing(await shop.connected(contract(shop.folder, responses=responses))), UpstreamRejected)


async def test_last_modified_is_asked_for_where_there_is_no_etag(shop: Shop) -> None:
    day = "Wed, 11 Mar 2026 09:30:00 GMT"

    async def dated(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-Modified-Since") == day:
            return web.Response(status=304)
        return web.json_response({"id": "a"}, headers={"Last-Modified": day})

    shop.answer = dated
    connection = await shop.connected()
    assert await ask(connection) == await ask(connection) == ({"id": "a"},)
    assert "If-Modified-Since" not in shop.seen[0].headers
    assert "If-None-Match" not in shop.seen[1].headers


async def test_an_endpoint_without_a_path_gets_that_of_the_document(shop: Shop) -> None:
    for url, path in ((shop.url.rstrip("/"), "/api/v1/things"), (shop.url, "/things"), (f"{shop.url}other", "/other/things")):
        shop.url = url
        await ask(await shop.connected())
        assert shop.paths[-1] == path


# ---- credentials ------------------------------------------------------------------------------------------------------


async def test_a_key_travels_with_its_prefix_or_in_a_cookie(shop: Shop) -> None:
    await ask(await shop.connected(auth={"kind": "api_key", "header": "Authorization", "prefix": "Token ", "value": "s3cret"}))
    await ask(await shop.connected(auth={"kind": "api_key", "cookie": "sid", "value": "s3 cret"}, headers={"cookie": "a=b"}))
    assert shop.seen[0].headers["Authorization"] == "Token s3cret"
    assert shop.seen[1].headers["Cookie"] == "a=b; sid=s3%20cret"


class Door:
    """A shop whose operation `login` gives tokens that live until `revoked`."""

    def __init__(self, shop: Shop, answer: Any = None) -> None:
        self.shop, self.logins, self.good, self.said = shop, 0, "", answer
        shop.answer = self.serve

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/login":
            await asyncio.sleep(0.01)
            self.logins += 1
            self.good = f"t{self.logins}"
            if isinstance(self.said, web.Response):
                return self.said
            return web.json_response(
                self.good if self.said is None else {"data": {"token": self.good}}, headers={"Set-Cookie": f"SID={self.good}; Path=/"}
            )
        if request.headers.get("Authorization") == f"Bearer {self.good}" or request.headers.get("Cookie") == f"SID={self.good}":
            return web.json_response({"id": "a"})
        return web.json_response({"code": "SESSION_GONE"}, status=403)


LOGIN = {
    "kind": "login",
    "operation": "login",
    "user": "u",
    "password": "s3cret",
    "user_field": "body.user",
    "password_field": "body.secret",
}


async def test_one_login_serves_a_hundred_waiting_calls_and_an_ended_session_is_renewed_once(shop: Shop) -> None:
    door = Door(shop)
    connection = await shop.connected(auth={**LOGIN, "request": {"body.shop": "7"}, "expired": ["401", "SESSION_GONE"]})
    await asyncio.gather(*(ask(connection) for _ in range(100)))
    assert door.logins == 1
    assert json.loads(shop.bodies[0]) == {"user": "u", "secret": "s3cret", "shop": "7"}
    assert "Authorization" not in shop.seen[0].headers
    door.good = "revoked"
    await asyncio.gather(*(ask(connection) for _ in range(20)))
    assert door.logins == 2
    assert "s3cret" not in repr(connection.options)


@pytest.mark.parametrize(("options", "answer"), [({"token": "data.token"}, True), ({"cookie": "SID"}, None)])
async def test_the_token_is_found_where_the_options_say(shop: Shop, options: dict[str, str], answer: Any) -> None:
    door = Door(shop, answer)
    assert await ask(await shop.connected(auth={**LOGIN, **options})) == ({"id": "a"},)
    assert door.logins == 1


async def test_a_refused_login_is_not_repeated_and_sends_nothing_else(shop: Shop) -> None:
    door = Door(shop, web.json_response({"code": "BAD", "message": "who are you"}, status=401))
    connection = await shop.connected(auth=LOGIN)
    for _ in range(3):
        error = await failing(connection, "search", body={})
        assert isinstance(error, CredentialsRefused)
        assert "who are you" in error.reason
        assert "s3cret" not in repr(error)
    assert (door.logins, shop.paths) == (1, ["/login"])


async def test_an_operation_may_go_without_credentials(shop: Shop) -> None:
    door = Door(shop)
    connection = await shop.connected(
        auth=LOGIN, operations={"one": {"authenticated": False}}, meanings=[{"status": 403, "means": "absent"}]
    )
    assert await ask(connection) == ()
    assert door.logins == 0


@pytest.mark.slow
async def test_oauth_passwords_and_refresh_tokens(shop: Shop) -> None:
    answers: list[dict[str, Any] | None] = [
        {"access_token": "t1", "expires_in": "1", "refresh_token": "r1"},
        {"access_token": "t2", "expires_in": 1},
        None,
        {"access_token": "t3", "token_type": "bearer"},
    ]

    async def issue(request: web.Request) -> web.StreamResponse:
        if request.path != "/token":
            return web.json_response({"id": "a"})
        answer = answers.pop(0)
        return web.json_response(answer) if answer else web.json_response({"error": "invalid_grant"}, status=400)

    shop.answer = issue
    auth = {"kind": "oauth2", "token_url": f"{shop.url}token?x=1", "client_id": "c", "client_secret": "s", "grant": "password", "user": "u"}
    connection = await shop.connected(auth={**auth, "password": "p", "json": True})
    for _ in range(3):
        await ask(connection)
        await asyncio.sleep(1.05)
    asked = [json.loads(body) for path, body in zip(shop.paths, shop.bodies, strict=True) if path == "/token?x=1"]
    assert asked == [
        {"grant_type": "password", "username": "u", "password": "p"},
        {"grant_type": "refresh_token", "refresh_token": "r1"},
        {"grant_type": "refresh_token", "refresh_token": "r1"},
        {"grant_type": "password", "username": "u", "password": "p"},
    ]
    with pytest.raises(msgspec.ValidationError, match="user and password"):
        read(RestOptions, {"auth": auth})


# ---- pages ------------------------------------------------------------------------------------------------------------


async def test_an_offset_counts_what_came_and_ends_at_the_total(shop: Shop) -> None:
    shop.answer = in_turn(*(says({"items": items, "meta": {"total": "5"}}) for items in ([1, 2], [3, 4], [5])))
    paging = {"kind": "offset", "items": "items", "total": "meta.total", "limit": "limit", "size": 2}
    connection = await shop.connected(paging=paging)
    assert [d["items"] for d in await ask(connection, "find")] == [[1, 2], [3, 4], [5]]
    assert shop.paths == ["/find?limit=2", "/find?limit=2&offset=2", "/find?limit=2&offset=4"]


async def test_pages_travel_in_the_body_of_a_search_and_end_with_their_number(shop: Shop) -> None:
    shop.answer = in_turn(*(says({"items": [n], "meta": {"pages": 2}}) for n in (1, 2)))
    options = {"search": {"reads": True}}
    connection = await shop.connected(
        operations=options, paging={"kind": "page", "parameter": "body.page", "pages": "meta.pages", "limit": "body.limit", "size": 1}
    )
    assert len(await ask(connection, "search", body={})) == 2
    assert [json.loads(b) for b in shop.bodies] == [{"limit": 1}, {"limit": 1, "page": 2}]


async def test_a_request_that_says_the_pages_size_itself_gets_that_page_alone(shop: Shop) -> None:
    shop.answer = says({"items": [1], "meta": {"total": 9}})
    paging = {"kind": "page", "parameter": "body.page", "limit": "body.limit", "size": 100, "total": "meta.total"}
    connection = await shop.connected(operations={"search": {"reads": True, "paging": paging}})
    assert len(await ask(connection, "search", body={"limit": 1})) == 1


@pytest.mark.parametrize("target", ["{url}/find?p=2", "/find?p=2", "?p=2"])
async def test_the_next_address_in_the_body_is_followed_within_the_origin(shop: Shop, target: str) -> None:
    shop.answer = in_turn(says({"@odata.nextLink": target.format(url=shop.url.rstrip("/"))}), says({"@odata.nextLink": None}))
    connection = await shop.connected(paging={"kind": "url", "next": "@odata.nextLink"})
    assert len(await ask(connection, "find")) == 2
    assert shop.paths == ["/find", "/find?p=2"]


@pytest.mark.parametrize("target", ["https://evil.example/x", "//evil.example/x", "x", 7])
async def test_a_next_address_that_leads_elsewhere_is_refused(shop: Shop, target: Any) -> None:
    shop.answer = says({"next": target})
    connection = await shop.connected(paging={"kind": "url"})
    assert isinstance(await failing(connection, "find"), ContractViolation)
    assert len(shop.seen) == 1


async def test_a_server_that_repeats_its_last_page_for_ever_is_noticed(shop: Shop) -> None:
    shop.answer = says({"items": [1, 2]})
    error = await failing(await shop.connected(paging={"kind": "offset", "size": 2}, max_pages=7), "find")
    assert isinstance(error, ContractViolation)
    assert len(shop.seen) == 7


async def test_a_total_that_is_none_is_refused_with_its_place(shop: Shop) -> None:
    shop.answer = says({"items": [1], "meta": {"total": "many"}})
    error = await failing(await shop.connected(paging={"kind": "offset", "total": "meta.total"}), "find")
    assert isinstance(error, ContractViolation)
    assert error.where == "meta.total"


def test_an_address_below_the_base_loses_the_base_and_nothing_else() -> None:
    assert below("https://a.example/api/x?y=1", "https://a.example/api", "/", "next") == "/x?y=1"
    assert below("/apix/x", "https://a.example/api", "/", "next") == "/apix/x"

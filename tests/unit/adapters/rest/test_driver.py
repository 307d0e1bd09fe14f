from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from adapters.login import CredentialsRefused
from adapters.options import read
from adapters.rest.client import Unusable, next_link, text
from adapters.rest.contract import RestContract
from adapters.rest.driver import RestConnection
from adapters.rest.spec import ApiKey, OAuth2, RestOptions
from contracts.call import Call
from contracts.errors import (
    ConnectionLost,
    ContractViolation,
    OutcomeUnknown,
    UpstreamBusy,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
    UpstreamTimeout,
)
from observability import Recorder, Step, step

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"


def described() -> dict[str, Any]:
    thing = {"type": "object", "properties": {"id": {"type": "string"}, "price": {"type": "number"}}}
    page = {"type": "object", "properties": {"items": {"type": "array", "items": thing}, "next": {"type": "string"}}}
    error = {"description": "", "content": {JSON: {"schema": {"type": "object"}}}}

    def answers(status: str, schema: Any) -> dict[str, Any]:
        return {status: {"description": "", "content": {JSON: {"schema": schema}}}, "404": error, "409": error, "412": {"description": ""}}

    path_id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    query = [{"name": n, "in": "query", "schema": {"type": "string"}} for n in ("state", "cursor", "page", "day", "limit")]
    body = {"required": True, "content": {JSON: {"schema": thing}}}
    form = {"content": {"application/x-www-form-urlencoded": {"schema": thing}}}
    return {
        "openapi": "3.1.0",
        "paths": {
            "/things/{id}": {
                "get": {"operationId": "getThing", "parameters": [path_id], "responses": answers("200", thing)},
                "delete": {"operationId": "dropThing", "parameters": [path_id], "responses": {"204": {"description": ""}, "404": error}},
            },
            "/things": {
                "get": {"operationId": "findThings", "parameters": query, "responses": answers("200", page)},
                "post": {"operationId": "makeThing", "requestBody": body, "responses": answers("201", thing)},
                "put": {"operationId": "sendForm", "requestBody": form, "responses": answers("200", thing)},
            },
            "/list": {"get": {"operationId": "listThings", "responses": answers("200", {"type": "array", "items": thing})}},
        },
    }


class Shop:
    """A server that answers as the test says and remembers what it was asked."""

    def __init__(self, contract: RestContract) -> None:
        self.contract = contract
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Answering = says({"id": "a"})
        self.url = ""
        self.connections: list[RestConnection] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        return await self.answer(request)

    async def connected(self, **raw: Any) -> RestConnection:
        connection = RestConnection("shop", self.url, self.contract, read(RestOptions, raw))
        await connection.start()
        self.connections.append(connection)
        return connection


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    (tmp_path / "openapi.json").write_text(json.dumps(described()))
    shop = Shop(RestContract("shop", tmp_path / "openapi.json"))
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", shop.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield shop
    for connection in shop.connections:
        await connection.close()
    await runner.cleanup()


def says(
    document: Any = None, status: int = 200, content_type: str = JSON, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answering:
    async def answer(_: web.Request) -> web.StreamResponse:
        raw = body if body is not None else json.dumps(document).encode()
        return web.Response(status=status, body=raw, content_type=content_type, headers=headers)

    return answer


def in_turn(*answers: Answering) -> Answering:
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await left.pop(0)(request)

    return answer


def call() -> Call:
    return Call(channel="web", client="c", deadline=asyncio.get_running_loop().time() + 5)


async def ask(connection: RestConnection, operation: str = "getThing", seconds: float = 3, **request: Any) -> tuple[Any, ...]:
    return (await connection.call(operation, request or {"id": "a"}, call(), seconds)).documents


async def error_of(shop: Shop, operation: str = "getThing", request: dict[str, Any] | None = None, **raw: Any) -> UpstreamError:
    connection = await shop.connected(**raw)
    with pytest.raises(UpstreamError) as raised:
        await connection.call(operation, request or {"id": "a"}, call(), 2)
    return raised.value


# ---- asking -------------------------------------------------------------------------------------------------------


async def test_numbers_come_back_without_losing_a_digit(shop: Shop) -> None:
    shop.answer = says(body=b'{"price": 12.10, "big": 9007199254740993, "small": 0.1000000000000000055511151231257827}')
    (document,) = await ask(await shop.connected())
    assert document["price"] == Decimal("12.10")
    assert str(document["price"]) == "12.10"
    assert document["big"] == 9007199254740993
    assert str(document["small"]) == "0.1000000000000000055511151231257827"


async def test_path_query_and_body_are_written_exactly(shop: Shop) -> None:
    connection = await shop.connected(headers={"X-Tenant": "t1"})
    await ask(connection, id="a/b ü?#")
    shop.answer = says({"items": []})
    await ask(connection, "findThings", state="a&b=c", day=date(2026, 3, 1), limit=5, cursor=None)
    shop.answer = says({"id": "n"}, 201)
    await ask(
        connection,
        "makeThing",
        body={"id": "x", "price": Decimal("0.10"), "day": date(2026, 3, 1), "when": datetime(2026, 3, 1, tzinfo=UTC)},
    )
    shop.answer = says({"id": "n"})
    await ask(connection, "sendForm", body={"id": "ä b", "price": Decimal("1.50"), "gone": None})
    assert [path for _, path, _, _ in shop.seen] == [
        "/things/a%2Fb%20%C3%BC%3F%23",
        "/things?state=a%26b%3Dc&day=2026-03-01&limit=5",
        "/things",
        "/things",
    ]
    assert shop.seen[0][2]["X-Tenant"] == "t1"
    assert shop.seen[2][3] == b'{"id":"x","price":0.10,"day":"2026-03-01","when":"2026-03-01T00:00:00Z"}'
    assert shop.seen[3][3] == b"id=%C3%A4+b&price=1.50"


@pytest.mark.parametrize(
    ("operation", "request_", "where"),
    [
        ("getThing", {"other": 1}, "request.id"),
        ("getThing", {"id": {"a": {"b": 1}}}, "request.id.a"),
        ("getThing", {"id": ".."}, "request"),
        ("makeThing", {"x": 1}, "request.body"),
        ("makeThing", {"body": {"x": object()}}, "request.body"),
    ],
)
async def test_what_cannot_be_sent_is_said_before_anything_leaves(shop: Shop, operation: str, request_: dict[str, Any], where: str) -> None:
    error = await error_of(shop, operation, request_)
    assert isinstance(error, ContractViolation)
    assert (error.where, error.sent) == (where, False)
    assert shop.seen == []


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"kind": "api_key", "header": "X-Oms-Key", "value": "s3cret"}, "X-Oms-Key", "s3cret"),
        ({"kind": "bearer", "token": "s3cret"}, "Authorization", "Bearer s3cret"),
        ({"kind": "basic", "user": "u", "password": "s3cret"}, "Authorization", "Basic dTpzM2NyZXQ="),
    ],
)
async def test_credentials_travel_in_their_header_and_nowhere_else(shop: Shop, auth: dict[str, str], header: str, value: str) -> None:
    connection = await shop.connected(auth=auth)
    with Recorder().flight("request", "GET /x") as record, step(Step.ATTEMPT, system="shop", operation="getThing", attempt=1):
        await ask(connection)
    assert shop.seen[0][2][header] == value
    assert "s3cret" not in repr(read(RestOptions, {"auth": auth}))
    assert "s3cret" not in repr([(h.attributes, h.detail) for h in record.hops])
    shop.answer = says({"code": "X"}, 401)
    assert "s3cret" not in repr(await error_of(shop, auth=auth)) + str(await error_of(shop, auth=auth))


async def test_a_key_in_the_query_is_added_to_every_page_and_never_to_an_error(shop: Shop) -> None:
    shop.answer = in_turn(says({"items": [], "next": "2"}), says({"items": []}), says({}, 500))
    connection = await shop.connected(
        auth={"kind": "api_key", "query": "key", "value": "s3cret"}, paging={"kind": "cursor", "next": "next"}
    )
    await ask(connection, "findThings", state="x")
    assert [path for _, path, _, _ in shop.seen] == ["/things?state=x&key=s3cret", "/things?state=x&cursor=2&key=s3cret"]
    with pytest.raises(UpstreamFault) as raised:
        await ask(connection, "findThings", state="x")
    assert "s3cret" not in str(raised.value)


async def test_the_attempts_hop_gets_its_facts_and_its_traceparent_travels(shop: Shop) -> None:
    connection = await shop.connected()
    with Recorder().flight("request", "GET /x"), step(Step.ATTEMPT, system="shop", operation="getThing", attempt=1) as hop:
        await ask(connection)
        assert shop.seen[0][2]["traceparent"] == hop.traceparent
    assert (hop.attributes["status"], hop.attributes["method"], hop.attributes["url_template"]) == (200, "GET", "/things/{id}")


# ---- answers that are no answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answering", "where"),
    [
        (says({"id": 1}, content_type="text/html"), "Content-Type"),
        (says(body=b'{"id": '), "body"),
        (says(body=b""), "body"),
        (says(body=b'{"id": NaN}'), "body"),
        (says(body=b"[" * 200_000), "body"),
        (says(body=b'{"a":' * 50_000), "body"),
        (says(body=b"\xff\xfe{}"), "body"),
        (says(body='{"id": "ä"}'.encode("latin-1")), "body"),
        (says([1, 2]), "body"),
        (says(None), "body"),
        (says({"id": "x" * 600_000}), "body"),
        (says({}, 302, headers={"Location": "http://127.0.0.1:1/"}), "status"),
    ],
    ids=["html", "cut", "empty", "nan", "deep list", "deep object", "utf-16", "latin-1", "list", "null", "too large", "redirect"],
)
async def test_an_answer_that_breaks_the_contract_is_refused_with_its_place(shop: Shop, answering: Answering, where: str) -> None:
    shop.answer = answering
    error = await error_of(shop, body_limit=500_000)
    assert isinstance(error, ContractViolation), error
    assert error.where == where
    assert error.sent


async def test_a_byte_order_mark_before_json_is_forgiven(shop: Shop) -> None:
    shop.answer = says(body=b'\xef\xbb\xbf{"id": "a"}')
    assert await ask(await shop.connected()) == ({"id": "a"},)


async def test_any_json_media_type_is_json(shop: Shop) -> None:
    shop.answer = says({"id": "a"}, content_type="application/vnd.shop+json")
    assert await ask(await shop.connected()) == ({"id": "a"},)


@pytest.mark.parametrize(
    ("answering", "kind", "sent"),
    [
        (says({"code": "NO", "message": "no such colour"}, 422), UpstreamRejected, True),
        (says({"type": "https://shop.example/problems/no-colour", "title": "No"}, 400, "application/problem+json"), UpstreamRejected, True),
        (says({}, 409), UpstreamRejected, True),
        (says(body=b"", status=412), UpstreamRejected, True),
        (says({"code": "X"}, 401), CredentialsRefused, False),
        (says({"code": "X"}, 403), CredentialsRefused, False),
        (says({}, 429, headers={"Retry-After": "7"}), UpstreamBusy, False),
        (says({}, 503, headers={"Retry-After": "7"}), UpstreamBusy, False),
        (says({}, 503), UpstreamFault, True),
        (says({"code": "INTERNAL", "message": "ORA-1"}, 500), UpstreamFault, True),
        (says(body=b"<html>not found</html>", status=404, content_type="text/html"), UpstreamFault, True),
        (says(body=b"<html>too large</html>", status=413, content_type="text/html"), UpstreamFault, True),
    ],
)
async def test_each_error_answer_means_what_its_status_and_body_say(
    shop: Shop, answering: Answering, kind: type[UpstreamError], sent: bool
) -> None:
    shop.answer = answering
    error = await error_of(shop, "makeThing", {"body": {}})
    assert type(error) is kind
    assert error.sent is sent


async def test_a_refusal_carries_the_systems_code_and_text_for_engineers_only(shop: Shop) -> None:
    shop.answer = says({"error": {"code": "E17", "text": "no  such\ncolour"}}, 422)
    error = await error_of(shop, errors={"code": "error.code", "message": "error.text"})
    assert isinstance(error, UpstreamRejected)
    assert (error.refusal, error.reason) == ("E17", "no such colour")
    assert "E17" not in error.public
    assert "colour" not in error.public


async def test_retry_after_is_understood_as_seconds_and_as_date(shop: Shop) -> None:
    shop.answer = says({}, 429, headers={"Retry-After": "7"})
    assert (await error_of(shop)).retry_after == 7
    shop.answer = says({}, 429, headers={"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)})
    assert 25 < ((await error_of(shop)).retry_after or 0) <= 30


async def test_a_404_the_contract_knows_makes_a_read_empty_and_a_write_refused(shop: Shop) -> None:
    shop.answer = says({"code": "NOT_FOUND"}, 404)
    assert await ask(await shop.connected()) == ()
    assert isinstance(await error_of(shop, "dropThing"), UpstreamRejected)


async def test_declared_meanings_come_first(shop: Shop) -> None:
    shop.answer = says({"code": "DUPLICATE_REF"}, 409)
    doubt = {"means": "in_doubt", "status": 409, "code": "DUPLICATE_REF"}
    assert type(await error_of(shop, "makeThing", {"body": {}}, meanings=[doubt])) is OutcomeUnknown
    shop.answer = says({"code": "UNAVAILABLE"}, 503)
    assert type(await error_of(shop, meanings=[doubt, {"means": "busy", "status": 503}])) is UpstreamBusy
    shop.answer = says({"code": "GONE"}, 400)
    connection = await shop.connected(operations={"getThing": {"meanings": [{"means": "absent", "code": "GONE"}]}})
    assert await ask(connection) == ()


async def test_an_answer_without_body_has_no_document(shop: Shop) -> None:
    shop.answer = says(body=b"", status=204)
    assert await ask(await shop.connected(), "dropThing") == ()


async def test_an_answer_that_is_a_list_stands_in_items(shop: Shop) -> None:
    shop.answer = says([{"id": "a"}, {"id": "b"}])
    assert await ask(await shop.connected(), "listThings") == ({"items": [{"id": "a"}, {"id": "b"}]},)


# ---- faults of the wire -------------------------------------------------------------------------------------------


async def test_a_hang_ends_with_the_attempts_seconds(shop: Shop) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    shop.answer = hang
    with pytest.raises(UpstreamTimeout):
        await ask(await shop.connected(), seconds=0.1)


async def test_a_connection_that_dies_in_mid_answer_is_lost(shop: Shop) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": JSON, "Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"id"')
        assert request.transport is not None
        request.transport.abort()
        return response

    shop.answer = half
    assert isinstance(await error_of(shop), ConnectionLost)


# ---- pages --------------------------------------------------------------------------------------------------------


async def test_a_cursor_leads_through_all_pages(shop: Shop) -> None:
    shop.answer = in_turn(says({"items": [1], "next": "p 2"}), says({"items": [2], "next": "p3"}), says({"items": [3], "next": None}))
    documents = await ask(await shop.connected(paging={"kind": "cursor", "next": "next"}), "findThings", state="open")
    assert [d["items"] for d in documents] == [[1], [2], [3]]
    assert [path for _, path, _, _ in shop.seen] == [
        "/things?state=open",
        "/things?state=open&cursor=p%202",
        "/things?state=open&cursor=p3",
    ]


async def test_numbered_pages_end_with_one_that_is_not_full(shop: Shop) -> None:
    shop.answer = in_turn(says({"items": [1, 2]}), says({"items": [3, 4]}), says({"items": [5]}))
    paging = {"kind": "page", "items": "items", "parameter": "page", "first": 0, "size": 2}
    assert len(await ask(await shop.connected(paging=paging), "findThings", state="x")) == 3
    assert [path for _, path, _, _ in shop.seen] == ["/things?state=x", "/things?state=x&page=1", "/things?state=x&page=2"]


async def test_links_lead_through_all_pages_of_the_same_origin(shop: Shop) -> None:
    async def linked(request: web.Request) -> web.StreamResponse:
        page = int(request.query.get("p", "1"))
        link = {"Link": f'<{shop.url}/list?p={page + 1}>; rel="next", </list?p=1>; rel=first'} if page < 3 else {}
        return web.json_response([page], headers=link)

    shop.answer = linked
    assert await ask(await shop.connected(paging={"kind": "link"}), "listThings") == ({"items": [1]}, {"items": [2]}, {"items": [3]})


@pytest.mark.parametrize(
    ("header", "follows"),
    [
        ('<https://shop.example/api/list?p=2>; rel="next"', "/list?p=2"),
        ("</api/list?p=2>; rel=next", "/list?p=2"),
        ("<?p=2>; title=x; rel='nothing', <?p=3>; rel=\"prev next\"", "/list?p=3"),
        ("</api/x>; rel=prev", None),
        ("", None),
    ],
)
def test_link_headers_are_read_as_rfc_8288_writes_them(header: str, follows: str | None) -> None:
    assert next_link(header, "https://shop.example/api", "/list?p=1") == follows


@pytest.mark.parametrize("target", ["https://evil.example/api/x", "//evil.example/x", "http://shop.example/api/x", "x?y"])
def test_a_link_to_another_origin_is_not_followed_with_our_credentials(target: str) -> None:
    with pytest.raises(Unusable):
        next_link(f"<{target}>; rel=next", "https://shop.example/api", "/list")


async def test_pages_that_never_end_or_turn_in_a_circle_are_refused(shop: Shop) -> None:
    shop.answer = says({"items": [1], "next": "again"})
    paging = {"kind": "cursor", "next": "next"}
    error = await error_of(shop, "findThings", {"state": "x"}, paging=paging)
    assert isinstance(error, ContractViolation)
    assert len(shop.seen) == 2

    async def endless(_: web.Request) -> web.StreamResponse:
        return web.json_response({"items": [1], "next": str(len(shop.seen))})

    shop.seen.clear()
    shop.answer = endless
    assert isinstance(await error_of(shop, "findThings", {"state": "x"}, paging=paging, max_pages=5), ContractViolation)
    assert len(shop.seen) == 5


async def test_a_failing_page_fails_the_whole_answer_and_all_pages_share_one_limit(shop: Shop) -> None:
    shop.answer = in_turn(says({"items": [1], "next": "2"}), says({}, 500))
    paging = {"kind": "cursor", "next": "next"}
    assert isinstance(await error_of(shop, "findThings", {"state": "x"}, paging=paging), UpstreamFault)
    shop.answer = in_turn(*(says({"items": ["x" * 600], "next": str(i)}) for i in range(9)))
    assert isinstance(await error_of(shop, "findThings", {"state": "x"}, paging=paging, body_limit=2_000), ContractViolation)


# ---- conditional requests -----------------------------------------------------------------------------------------


async def test_a_known_etag_is_asked_for_and_304_brings_back_the_known_answer(shop: Shop) -> None:
    async def tagged(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304, headers={"ETag": '"v1"'})
        return web.json_response({"id": "a"}, headers={"ETag": '"v1"'})

    shop.answer = tagged
    connection = await shop.connected()
    first, second = await connection.call("getThing", {"id": "a"}, call(), 2), await connection.call("getThing", {"id": "a"}, call(), 2)
    assert first.documents == second.documents == ({"id": "a"},)
    assert (first.etag, second.etag) == ('"v1"', '"v1"')
    assert "If-None-Match" not in shop.seen[0][2]
    assert shop.seen[1][2]["If-None-Match"] == '"v1"'


async def test_a_304_nobody_asked_for_is_no_answer(shop: Shop) -> None:
    shop.answer = says(body=b"", status=304)
    assert isinstance(await error_of(shop), ContractViolation)


async def test_a_page_that_is_gone_fails_the_answer_and_does_not_empty_it(shop: Shop) -> None:
    shop.answer = in_turn(says({"items": [1], "next": "2"}), says({"code": "GONE"}, 404))
    assert isinstance(await error_of(shop, "findThings", {"state": "x"}, paging={"kind": "cursor", "next": "next"}), ContractViolation)


async def test_etags_are_bounded(shop: Shop) -> None:
    shop.answer = says({"id": "a"}, headers={"ETag": '"v1"'})
    connection = await shop.connected(etags=2)
    for key in ("a", "b", "c", "a"):
        await ask(connection, id=key)
    assert "If-None-Match" not in shop.seen[-1][2]


async def test_the_age_of_a_cached_copy_is_told(shop: Shop) -> None:
    shop.answer = says({"id": "a"}, headers={"Age": "120"})
    reply = await (await shop.connected()).call("getThing", {"id": "a"}, call(), 2)
    assert reply.as_of is not None
    assert 119 <= (datetime.now(UTC) - reply.as_of).total_seconds() <= 125


# ---- tokens -------------------------------------------------------------------------------------------------------


class Issuer:
    """Answers the token endpoint and lets through who carries the newest token."""

    def __init__(self, shop: Shop, *answers: Answering) -> None:
        self.shop, self.answers, self.issued = shop, list(answers), 0
        self.auth = {
            "kind": "oauth2",
            "token_url": f"{shop.url}/oauth/token",
            "client_id": "gate way",
            "client_secret": "s3cret",
            "scope": "r w",
        }
        shop.answer = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/oauth/token":
            await asyncio.sleep(0.01)
            if self.answers:
                return await self.answers.pop(0)(request)
            self.issued += 1
            return web.json_response({"access_token": f"t{self.issued}", "token_type": "Bearer", "expires_in": 3600})
        good = request.headers.get("Authorization") == f"Bearer t{self.issued}"
        return web.json_response({"id": "a"}) if good else web.json_response({"code": "EXPIRED"}, status=401)

    @property
    def asked(self) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for _, path, headers, body in self.shop.seen if path == "/oauth/token"]


async def test_one_token_serves_a_hundred_waiting_calls_and_is_kept(shop: Shop) -> None:
    issuer = Issuer(shop)
    connection = await shop.connected(auth=issuer.auth)
    await asyncio.gather(*(ask(connection) for _ in range(100)))
    await ask(connection)
    ((headers, body),) = issuer.asked
    assert headers["Authorization"] == "Basic Z2F0ZSt3YXk6czNjcmV0"
    assert body == b"grant_type=client_credentials&scope=r+w"
    assert "s3cret" not in repr(connection.options)


async def test_who_gives_up_does_not_take_the_token_away_from_the_others_and_one_failure_answers_all(shop: Shop) -> None:
    issuer = Issuer(shop, says({}, 503))
    connection = await shop.connected(auth=issuer.auth)
    expected: type
    for expected in (UpstreamFault, tuple):
        calls = [asyncio.create_task(ask(connection)) for _ in range(20)]
        await asyncio.sleep(0.005)
        calls[0].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert all(type(d) is expected for d in done[1:])
    assert len(issuer.asked) == 2


async def test_asking_for_a_token_is_a_step_of_the_flight_that_needed_it(shop: Shop) -> None:
    issuer = Issuer(shop)
    connection = await shop.connected(auth=issuer.auth)
    with Recorder().flight("request", "GET /things") as record:
        await ask(connection)
        (hop,) = [h for h in record.hops if h.operation == "token"]
    assert (hop.outcome, hop.attributes["status"]) == ("success", 200)
    assert issuer.asked[0][0]["traceparent"].split("-")[1:3] == [record.trace_id, hop.span_id]
    assert "s3cret" not in repr(hop.attributes)


async def test_closing_ends_a_login_under_way(shop: Shop) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    issuer = Issuer(shop, hang)
    connection = await shop.connected(auth=issuer.auth)
    call = asyncio.create_task(ask(connection))
    await asyncio.sleep(0.02)
    await connection.close()
    with pytest.raises(UpstreamError) as caught:
        await call
    assert not caught.value.sent


async def test_a_refused_token_is_renewed_once_within_the_attempt(shop: Shop) -> None:
    issuer = Issuer(shop)
    connection = await shop.connected(auth=issuer.auth)
    await ask(connection)
    issuer.issued += 1  # somebody revoked it
    assert await ask(connection) == ({"id": "a"},)
    assert len(issuer.asked) == 2


async def test_an_expired_token_is_renewed_before_it_is_used(shop: Shop) -> None:
    issuer = Issuer(shop, says({"access_token": "t0", "token_type": "bearer", "expires_in": 1}))
    connection = await shop.connected(auth=issuer.auth)
    await ask(connection)
    await asyncio.sleep(1.05)
    await ask(connection)
    assert [h.get("Authorization") for _, path, h, _ in shop.seen if path != "/oauth/token"] == ["Bearer t0", "Bearer t1"]


@pytest.mark.parametrize(
    ("answering", "kind"),
    [
        (says({"error": "invalid_client"}, 401), CredentialsRefused),
        (says({}, 503), UpstreamFault),
        (says({"token_type": "Bearer"}), ContractViolation),
        (says({"access_token": "a\r\nX-Evil: 1", "token_type": "Bearer"}), ContractViolation),
        (says(body=b"<html>", content_type="text/html"), ContractViolation),
    ],
)
async def test_without_a_token_nothing_is_sent_and_the_error_says_so(shop: Shop, answering: Answering, kind: type[UpstreamError]) -> None:
    issuer = Issuer(shop, answering)
    error = await error_of(shop, "makeThing", {"body": {}}, auth=issuer.auth)
    assert type(error) is kind
    assert not error.sent
    assert len(shop.seen) == 1


async def test_after_refused_credentials_nobody_tries_again_for_a_while(shop: Shop) -> None:
    issuer = Issuer(shop, says({"error": "invalid_client", "error_description": "locked soon"}, 400))
    connection = await shop.connected(auth=issuer.auth)
    for _ in range(5):
        with pytest.raises(CredentialsRefused, match="locked soon"):
            await ask(connection)
    assert len(issuer.asked) == 1


# ---- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [{"auht": {}}, {"auth": {"kind": "magic"}}, {"meanings": [{"means": "busy"}]}, {"connect_limit": "soon"}, {"max_pages": 0}],
)
def test_options_refuse_what_they_do_not_know(raw: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(RestOptions, raw)


def test_options_have_working_defaults() -> None:
    assert read(RestOptions, {}) == RestOptions()


# ---- hostile answers


@pytest.mark.parametrize("target", ["http://[things", "https://a]b/", "http://a\u2100b/"])
def test_an_address_that_is_none_breaks_the_contract(target: str) -> None:
    with pytest.raises(Unusable):
        next_link(f'<{target}>; rel="next"', "http://shop.test", "/things")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "unicode_escape", "rot13", "nonsense"])
def test_texts_are_read_in_charsets_of_the_wire_only(charset: str) -> None:
    with pytest.raises(Unusable):
        text(b"x" * 100, f"text/plain; charset={charset}")


async def test_an_error_that_repeats_our_key_is_told_without_it(shop: Shop) -> None:
    shop.answer = says({"code": "NO-k3y-9", "message": "the key k3y-9 is unknown"}, 409)
    options = RestOptions(auth=ApiKey(value="k3y-9"))
    connection = RestConnection("shop", shop.url, shop.contract, options)
    await connection.start()
    shop.connections.append(connection)
    with pytest.raises(UpstreamRejected) as refused:
        await ask(connection)
    assert (refused.value.refusal, refused.value.reason) == ("NO-…", "the key … is unknown")


async def test_a_token_endpoint_that_repeats_our_secret_is_quoted_without_it(shop: Shop) -> None:
    shop.answer = says({"error": "invalid_client", "error_description": "s3cr3t-1 is wrong"}, 401)
    options = RestOptions(auth=OAuth2(token_url=f"{shop.url}/token", client_id="us", client_secret="s3cr3t-1"))
    connection = RestConnection("shop", shop.url, shop.contract, options)
    await connection.start()
    shop.connections.append(connection)
    with pytest.raises(CredentialsRefused) as refused:
        await ask(connection)
    assert "… is wrong" in refused.value.reason
    assert "s3cr3t-1" not in refused.value.reason


async def test_a_document_that_is_asked_for_conditionally_is_one_of_the_same_operation(shop: Shop) -> None:
    async def tagged(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        return web.json_response({"id": "a"}, headers={"ETag": '"v1"'})

    shop.answer = tagged
    shop.contract._raw["sameThing"] = shop.contract._raw["getThing"]
    connection = await shop.connected()
    for operation in ("getThing", "sameThing", "getThing"):
        assert await ask(connection, operation) == ({"id": "a"},)
    assert [headers.get("If-None-Match") for _, _, headers, _ in shop.seen] == [None, None, '"v1"']

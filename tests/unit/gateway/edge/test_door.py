import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts import errors
from contracts.canonical.base import Provenance
from contracts.canonical.order import OrderCustomer
from contracts.errors import TillgateError
from gateway.edge import problems
from gateway.edge.door import DEADLINE, GRACE
from gateway.edge.endpoint import Ask, Outcome
from gateway.edge.idempotency import MARGIN
from gateway.edge.preconditions import entity_tags
from observability import Step, step

from .conftest import LINE, START, Bench, Thing


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Checks what every problem document promises."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert document["status"] == status
    assert document["traceId"] == answer.headers["traceresponse"].split("-")[1]
    assert {"type", "title", "detail", "fault", "retryable", "advice"} <= document.keys()
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return document


# ---- who ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "says", "error"),
    [
        (None, "carries no credentials", False),
        ("Basic dXNlcjpwYXNz", "expected the scheme Bearer", True),
        ("Bearer nonsense", "of the form tg_PREFIX_SECRET", True),
        ("Bearer " + "x" * 5000, "of the form", True),
        ("Bearer tg_aaaaaaaa_" + "A" * 43, "unknown API key", True),
    ],
)
async def test_without_a_valid_key_the_answer_is_401_and_says_what_was_expected(
    bench: Bench, sent: str | None, says: str, error: bool
) -> None:
    answer = await bench.http.get("/things/aa", headers={} if sent is None else {"Authorization": sent})
    assert says in problem(answer, 401, "unauthenticated")["detail"]
    assert ('error="invalid_token"' in answer.headers["www-authenticate"]) is error
    assert bench.runs == 0


async def test_a_right_prefix_with_another_secret_is_unknown(bench: Bench) -> None:
    key = bench.auth["Authorization"]
    problem(await bench.get(Authorization=key[:-1] + ("A" if key[-1] != "A" else "B")), 401, "unauthenticated")


async def test_an_answer_with_a_secret_is_given_once_and_its_repeat_says_so(bench: Bench, tmp_path: Path) -> None:
    async def issue(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="the-secret-itself"), repeat=errors.KeyShownOnce(client="shop", prefix="abcdefgh"))

    bench.handle = issue
    first = await bench.post()
    assert first.json()["key"] == "the-secret-itself"
    assert first.headers["cache-control"] == "no-store"
    for _ in range(2):
        again = await bench.post()
        assert (again.status_code, again.json()["code"]) == (409, "key_shown_once")
        assert "tg_abcdefgh_" in again.json()["detail"]
        assert again.headers["idempotency-replayed"] == "true"
    assert bench.runs == 1
    assert b"the-secret-itself" not in everything(tmp_path)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_an_expired_key_and_a_suspended_client_are_refused(bench: Bench) -> None:
    expired = await bench.client("late", expires_at=START - timedelta(days=400))
    assert "expired" in problem(await bench.http.get("/things/aa", headers=expired), 401, "unauthenticated")["detail"]
    suspended = await bench.client("gone", suspended=True)
    assert "suspended" in problem(await bench.http.get("/things/aa", headers=suspended), 403, "forbidden")["detail"]


async def test_a_missing_scope_is_named_in_answer_and_field(bench: Bench) -> None:
    reader = await bench.client("reader", scopes=("inventory:read",))
    answer = await bench.http.get("/things/aa", headers=reader)
    assert problem(answer, 403, "forbidden")["requiredScope"] == "orders:read"
    assert 'error="insufficient_scope", scope="orders:read"' in answer.headers["www-authenticate"]


async def test_callers_without_credentials_are_limited_by_address_and_so_are_suspended_ones(bench: Bench) -> None:
    suspended = await bench.client("gone", suspended=True)
    answers = [await bench.http.get("/things/aa", headers=suspended if n % 2 else {}) for n in range(62)]
    assert [a.status_code for a in answers[58:]] == [401, 403, 429, 429]
    assert problem(answers[-1], 429, "abnormal_usage")["violated-policies"] == ["anonymous"]
    assert (await bench.get()).status_code == 200, "a client with a key is no part of it"


async def test_only_a_declared_proxy_names_another_address(tmp_path, build) -> None:
    for trusted, expected in ((frozenset[str](), 429), (frozenset({"192.0.2.1"}), 401)):
        folder = tmp_path / str(expected)
        folder.mkdir()
        async with build(folder, trusted=trusted) as it:
            for n in range(70):
                answer = await it.http.get("/things/aa", headers={"X-Forwarded-For": f"10.9.9.9, 198.51.100.{n}"})
            assert answer.status_code == expected


async def test_a_client_whose_quota_is_gone_from_the_estate_gets_the_narrowest(bench: Bench) -> None:
    lost = await bench.client("lost", quota="gold")
    assert '"anonymous";q=60' in (await bench.http.get("/things/aa", headers=lost)).headers["ratelimit-policy"]


async def test_a_used_up_quota_names_policy_and_wait_and_the_flight_knows_the_client(bench: Bench) -> None:
    small = await bench.client("small", quota="small", channel="mobile")
    answers = [await bench.http.get("/things/aa", headers=small) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    document = problem(answers[2], 429, "quota_exceeded")
    assert document["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert answers[2].headers["ratelimit"] == '"burst";r=0;t=5'
    assert answers[2].headers["retry-after"] == "5"
    bench.seconds += 4.8
    almost = await bench.http.get("/things/aa", headers=small)
    assert problem(almost, 429, "quota_exceeded")["detail"] == "policy burst allows no further request for 1 s"
    assert almost.headers["retry-after"] == "1"
    assert any(key.channel == "mobile" and cell.count("caller") for key, cell in bench.recorder.snapshot().routes.items())
    bench.seconds += 0.2
    assert (await bench.http.get("/things/aa", headers=small)).status_code == 200


async def test_what_is_refused_before_anything_is_read_counts_too(bench: Bench) -> None:
    small = await bench.client("small", quota="small", scopes=("orders:read",))
    fields = {**small, "Request-Timeout": "soon"}
    assert [(await bench.http.get("/things/aa", headers=fields)).status_code for _ in range(3)] == [400, 400, 429]
    bench.seconds += 20
    door = bench.app._door
    for error in (errors.Forbidden, errors.Forbidden, errors.QuotaExceeded):
        with pytest.raises(error):
            await door.admitted("GET /metrics", "admin:read", {"authorization": small["Authorization"]}, None, "192.0.2.1")
    assert [told[1:] for told in bench.denied] == [("small", "192.0.2.1", "GET /metrics")] * 2


async def test_a_hundred_callers_at_once_get_exactly_the_quota(bench: Bench) -> None:
    small = await bench.client("small", quota="small")
    answers = await asyncio.gather(*(bench.http.get("/things/aa", headers=small) for _ in range(40)))
    assert sorted(a.status_code for a in answers) == [200] * 2 + [429] * 38


# ---- versions -----------------------------------------------------------------------------------------------------


async def test_the_pin_decides_and_the_header_overrules_it(bench: Bench) -> None:
    pinned = await bench.client("pinned", api_version="2026-01-01")
    old = await bench.http.get("/things/aa", headers=pinned)
    assert old.json()["id"] == "aa"
    assert old.headers["api-version"] == "2026-01-01"
    assert old.headers["deprecation"] == f"@{int(START.timestamp())}"
    assert old.headers["sunset"] == "Tue, 01 Dec 2026 00:00:00 GMT"
    assert 'rel="successor-version"' in old.headers["link"]
    assert "API-Version" in old.headers["vary"]
    new = await bench.http.get("/things/aa", headers={**pinned, "API-Version": "2026-10-01"})
    assert new.json()["key"] == "aa"
    assert "deprecation" not in new.headers


async def test_an_unknown_version_is_told_which_ones_there_are(bench: Bench) -> None:
    assert "2026-10-01, 2026-01-01" in problem(await bench.get(api_version="2020-01-01"), 400, "unknown_version")["detail"]


async def test_a_version_is_gone_from_the_second_of_its_sunset(bench: Bench) -> None:
    bench.now = START + timedelta(days=30, seconds=-1)
    assert (await bench.get(api_version="2026-01-01")).status_code == 200
    bench.now += timedelta(seconds=1)
    answer = await bench.get(api_version="2026-01-01")
    assert "the newest is 2026-10-01" in problem(answer, 410, "version_retired")["detail"]
    assert 'rel="successor-version"' in answer.headers["link"]
    assert (await bench.get()).status_code == 200


async def test_a_body_comes_up_and_its_answer_goes_down(bench: Bench) -> None:
    async def echo(ask: Ask[Any, Thing], runs: int) -> Outcome:
        assert ask.body.key == "new"
        return Outcome(ask.body)

    bench.handle = echo
    body = {"id": "new", "price": {"centAmount": 5, "currencyCode": "EUR", "fractionDigits": 2}}
    answer = await bench.post(body, path="/things/aa/change", api_version="2026-01-01")
    assert answer.json() == body


# ---- once ---------------------------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_stored_answer_and_nothing_runs_again(bench: Bench) -> None:
    first, again = await bench.post(), await bench.post()
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["idempotency-retention"] == "7 days"
    assert again.headers["etag"] == first.headers["etag"]
    assert bench.runs == 1


async def test_a_key_in_quotes_is_the_same_key(bench: Bench) -> None:
    await bench.post(key='"k9"')
    assert (await bench.post(key="k9")).headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["", '""', "a b", "é", "x" * 129, '"', '"a', "a\\b", "\x7f"])
async def test_a_key_that_is_none_is_refused(bench: Bench, key: str) -> None:
    fields = [
        *((k, v.encode()) for k, v in bench.auth.items()),
        ("Content-Type", b"application/json"),
        ("Idempotency-Key", key.encode("latin-1")),
    ]
    answer = await bench.http.post("/things", content=b'{"reason":"r"}', headers=fields)
    problem(answer, 400, "invalid_header" if key else "idempotency_key_missing")
    assert bench.runs == 0


async def test_without_a_key_nothing_runs(bench: Bench) -> None:
    problem(await bench.post(key=None), 400, "idempotency_key_missing")
    assert bench.runs == 0


async def test_the_same_key_with_another_body_version_or_query_is_another_request(bench: Bench) -> None:
    await bench.post({"reason": "one"})
    problem(await bench.post({"reason": "two"}), 422, "idempotency_key_reused")
    problem(await bench.post({"reason": "one"}, api_version="2026-01-01"), 422, "idempotency_key_reused")
    assert bench.runs == 1


async def test_keys_of_two_clients_and_two_paths_are_different_keys(bench: Bench) -> None:
    other = await bench.client("other")
    await bench.post()
    await bench.post(**other)
    await bench.post({"key": "x"}, path="/things/aa/change")
    await bench.post({"key": "x"}, path="/things/bb/change")
    assert bench.runs == 4


async def test_a_clear_no_is_stored_and_said_again(bench: Bench) -> None:
    async def no(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise errors.InsufficientStock(sku="1", location="0001", requested="2", available="1")

    bench.handle = no
    first, again = await bench.post(), await bench.post()
    problem(first, 409, "insufficient_stock")
    assert again.content == first.content
    assert again.headers["content-type"] == "application/problem+json"
    assert bench.runs == 1


async def test_a_stored_no_to_who_may_not_is_told_to_the_audit_log_each_time_it_is_asked_for(bench: Bench) -> None:
    async def no(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise errors.Forbidden(reason="another store's")

    bench.handle = no
    assert [a.status_code for a in (await bench.get("/things"), await bench.post(), await bench.post())] == [403] * 3
    attempts = [("forbidden", "shop", "192.0.2.1", route) for route in ("GET /things", "POST /things", "POST /things")]
    assert (bench.denied, bench.runs) == (attempts, 2)


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamTimeout(system="erp", operation="Do"),
        errors.StoreUnavailable(reason="x"),
        errors.TillgateError(),
        RuntimeError("bug"),
    ],
)
async def test_when_nothing_was_decided_the_same_key_may_try_again(bench: Bench, error: Exception) -> None:
    async def fail_once(ask: Ask[Any, Any], runs: int) -> Outcome:
        if runs == 1:
            raise error
        return Outcome(Thing(key="done"))

    bench.handle = fail_once
    assert (await bench.post()).status_code >= 500
    assert (await bench.post()).json()["key"] == "done"


async def test_while_the_first_runs_the_second_is_told_to_wait(bench: Bench) -> None:
    go, started = asyncio.Event(), asyncio.Event()

    async def slow(ask: Ask[Any, Any], runs: int) -> Outcome:
        started.set()
        await go.wait()
        return Outcome(Thing(key="slow"))

    bench.handle = slow
    first = asyncio.create_task(bench.post())
    await started.wait()
    problem(second := await bench.post(), 409, "request_in_progress")
    assert second.headers["retry-after"] == "1"
    go.set()
    assert (await first).status_code == 200
    assert (await bench.post()).json()["key"] == "slow"
    assert bench.runs == 1


async def test_fifty_racing_repeats_run_once(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.post() for _ in range(40)))
    assert bench.runs == 1
    assert {a.status_code for a in answers} <= {200, 409}


async def test_a_request_that_died_between_begin_and_finish_is_taken_over_after_its_lease(bench: Bench) -> None:
    async def die(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise asyncio.CancelledError

    bench.handle = die
    with pytest.raises(asyncio.CancelledError):
        await bench.post()
    problem(await bench.post(), 409, "request_in_progress")
    bench.now += timedelta(seconds=DEADLINE + GRACE + MARGIN)

    async def live(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="second life"))

    bench.handle = live
    assert (await bench.post()).json()["key"] == "second life"


async def test_what_has_begun_goes_on_without_its_caller_and_is_there_for_the_repeat(bench: Bench) -> None:
    go, started = asyncio.Event(), asyncio.Event()

    async def slow(ask: Ask[Any, Any], runs: int) -> Outcome:
        started.set()
        await go.wait()
        return Outcome(Thing(key="slow"))

    bench.handle = slow
    caller = asyncio.create_task(bench.post())
    await started.wait()
    caller.cancel()
    await asyncio.wait([caller])
    go.set()
    again = await bench.post()
    for _ in range(100):
        if again.status_code == 409:
            again = await bench.post()
    assert (again.json()["key"], again.headers["idempotency-replayed"], bench.runs) == ("slow", "true", 1)


async def test_of_two_who_finish_under_one_key_the_first_is_what_both_are_told(bench: Bench) -> None:
    stalled, woken = asyncio.Event(), asyncio.Event()

    async def once_stalled(ask: Ask[Any, Any], runs: int) -> Outcome:
        if runs == 1:
            stalled.set()
            await woken.wait()
        return Outcome(Thing(key=f"run-{runs}-{ask.repeated}"))

    bench.handle = once_stalled
    first = asyncio.create_task(bench.post())
    await stalled.wait()
    bench.now += timedelta(seconds=DEADLINE + GRACE + MARGIN)
    second = await bench.post()
    woken.set()
    assert second.json()["key"] == "run-2-True", "it took over, and knows it"
    assert (await first).content == second.content


async def test_a_replay_comes_before_preconditions(bench: Bench) -> None:
    body = {"key": "x"}
    first = await bench.post(body, path="/things/aa/change", if_match='"v0"')
    again = await bench.post(body, path="/things/aa/change", if_match='"v0"')
    assert (first.status_code, again.status_code) == (200, 200)
    problem(await bench.post(body, path="/things/aa/change", key="k2", if_match='"v0"'), 412, "precondition_failed")


# ---- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "pointer", "expected", "got"),
    [
        (b'{"reason":', 400, "", "a JSON document", "truncated"),
        (b"", 400, "", "a JSON document", ""),
        (b"\xef\xbb\xbf{}", 400, "", "a JSON document", ""),
        ('{"reason":"ü"}'.encode("latin-1"), 400, "", "a JSON document", "utf-8"),
        ('{"reason":"ü"}'.encode("utf-16"), 400, "", "a JSON document", ""),
        (b'{"reason":"\\ud800"}', 400, "", "a JSON document", ""),
        (b"[" * 4000, 422, "", "an object", "an array"),
        (b'{"reason":"a"}{}', 400, "", "a JSON document", "trailing"),
        (b'{"reason":7,}', 400, "", "a JSON document", "comma"),  # a rule is broken too, but what is no JSON has none
        (b'{"reason":NaN}', 400, "", "a JSON document", ""),
        (b"{}", 422, "/reason", "a value", "none"),
        (b'{"reason":"a","rea~/son":1}', 422, "/rea~0~1son", "a member of this object", "an unknown one"),
        (b'{"reason":7}', 422, "/reason", "a string", "an integer"),
        (b'{"reason":null}', 422, "/reason", "a string", "null"),
        (b'{"reason":""}', 422, "/reason", "length >= 1", ""),
        (b'{"reason":"a","reason":"b"}', 400, "/reason", "each member once", "twice"),
        (b'{"reason":"a\\u0000b"}', 422, "/reason", "control characters", "U+0000"),
        (b'{"reason":"a\\ufffe"}', 422, "/reason", "control characters", "U+FFFE"),
    ],
)
async def test_each_mistake_of_a_body_is_named_with_its_place(
    bench: Bench, body: bytes, status: int, pointer: str, expected: str, got: str
) -> None:
    document = problem(await bench.post(body), status, {400: "malformed_json", 422: "invalid_member"}[status])
    assert document["errors"][0]["pointer"] == pointer
    assert expected in document["errors"][0]["expected"]
    assert got.lower() in document["errors"][0]["got"].lower()
    assert bench.runs == 0


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"unitPrice": {"centAmount": 1e400, "currencyCode": "EUR", "fractionDigits": 2}}, "/unitPrice/centAmount"),
        ({"unitPrice": {"centAmount": 10**30, "currencyCode": "EUR", "fractionDigits": 2}}, "/unitPrice/centAmount"),
        ({"unitPrice": {"centAmount": 1.5, "currencyCode": "EUR", "fractionDigits": 2}}, "/unitPrice/centAmount"),
        ({"unitPrice": {"centAmount": 1, "currencyCode": "EUR", "fractionDigits": 3}}, "/unitPrice"),
        ({"unitPrice": {"centAmount": 1, "currencyCode": "XXX", "fractionDigits": 2}}, "/unitPrice"),
        ({"quantity": {"value": "1e5", "unit": "EA"}}, "/quantity/value"),
        ({"quantity": {"value": "1\n", "unit": "EA"}}, "/quantity/value"),
        ({"quantity": {"value": "1", "unit": "dozen"}}, "/quantity/unit"),
        ({"sku": "../../etc/passwd"}, "/sku"),
        ({"lineNumber": 0}, "/lineNumber"),
        ({"requestedLocationId": "x' OR 1=1"}, "/requestedLocationId"),
    ],
)
async def test_numbers_codes_and_ids_are_bounded_before_anybody_computes(bench: Bench, change: dict[str, Any], pointer: str) -> None:
    body = json.dumps({**msgspec.to_builtins(LINE), **change}).replace("Infinity", "1e400").encode()
    document = problem(await bench.post(body, path="/lines"), 422, "invalid_member")
    assert document["errors"][0]["pointer"] == pointer
    assert "`" not in document["detail"]
    assert "(?!" not in document["detail"]


async def test_a_nested_bomb_is_a_clear_no(bench: Bench) -> None:
    document = problem(await bench.post(b'{"reason":' + b"[" * 9000 + b"]" * 900 + b"}", api_version="2026-01-01"), 422, "invalid_member")
    assert document["errors"][0]["pointer"] == "/reason"
    raw = b'{"key":"a","price":' + b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"}"
    answer = await bench.post(raw, path="/things/aa/change", api_version="2026-01-01")
    assert "nesting too deep" in problem(answer, 400, "malformed_json")["detail"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/json; charset=iso-8859-1"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/json; charset=UTF-8"}, 200, ""),
        ({"Content_Type": "Application/JSON"}, 200, ""),
        ({"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Content_Encoding": "identity"}, 200, ""),
        ({"Accept": "text/html"}, 406, "not_acceptable"),
        ({"Accept": "application/json;q=0, */*"}, 406, "not_acceptable"),
        ({"Accept": "text/html, application/*;q=0.1"}, 200, ""),
        ({"Accept": ""}, 200, ""),
        ({"If_Match": "v1"}, 400, "invalid_header"),
    ],
)
async def test_media_types_encodings_and_what_is_accepted(bench: Bench, headers: dict[str, str], status: int, code: str) -> None:
    answer = await bench.post(**headers)
    if code:
        problem(answer, status, code)
    assert answer.status_code == status


async def test_a_field_that_counts_may_not_come_twice(bench: Bench) -> None:
    for name in ("Authorization", "Idempotency-Key", "API-Version", "Content-Type", "If-Match"):
        fields = [*bench.auth.items(), ("Content-Type", "application/json"), ("Idempotency-Key", "a"), (name, "x"), (name, "y")]
        answer = await bench.http.post("/things", content=b"{}", headers=fields)
        assert problem(answer, 400, "invalid_header")["errors"][0]["pointer"] == f"header:{name.lower()}"


async def test_a_body_beyond_the_limit_is_refused_announced_or_not(bench: Bench) -> None:
    problem(await bench.post(b" " * 10_001), 413, "body_too_large")

    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    fields = {**bench.auth, "Content-Type": "application/json", "Idempotency-Key": "a"}
    problem(await bench.http.post("/things", content=endless(), headers=fields), 413, "body_too_large")


async def test_a_body_that_stops_arriving_is_given_up(tmp_path, build) -> None:
    async def stuck() -> Any:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    async with build(tmp_path, body_seconds=0.05) as it:
        fields = {**it.auth, "Content-Type": "application/json", "Idempotency-Key": "a"}
        problem(await it.http.post("/things", content=stuck(), headers=fields), 408, "request_too_slow")


async def test_nobody_without_a_key_makes_us_read_a_body(bench: Bench) -> None:
    read = False

    async def body() -> Any:
        nonlocal read
        read = True
        yield b"{}"

    # httpx's transport hands chunks over only when the application asks for them
    problem(await bench.http.post("/things", content=body()), 401, "unauthenticated")
    assert read is False


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=abc", "query:limit"),
        ("limit=0", "query:limit"),
        ("limit=101", "query:limit"),
        ("limit=1e1", "query:limit"),
        ("limit=007", "query:limit"),
        ("limit=+7", "query:limit"),
        ("limit=%207", "query:limit"),
        ("limit=%D9%A3", "query:limit"),
        ("limit=" + "9" * 500, "query:limit"),
        ("limit=5&limit=6", "query:limit"),
        ("page=2", "query:page"),
        ("cursor=", "query:cursor"),
        ("cursor=a%00b", "query:cursor"),
        ("cursor=%0a", "query:cursor"),
        ("limit=%zz", "query"),
        ("limit=%e4", "query"),
        ("%ff=1", "query"),
        ("limit", "query"),
        ("&".join(f"a{n}=1" for n in range(500)), "query"),
        ("cursor=" + "a" * 20_000, "query"),
    ],
)
async def test_each_mistake_of_a_query_names_its_parameter(bench: Bench, query: str, where: str) -> None:
    code = {"query": "malformed_query", "query:page": "unknown_parameter"}.get(where, "invalid_parameter")
    document = problem(await bench.get(f"/things?{query}"), 400, code)
    assert document["errors"][0]["pointer"] == where
    assert bench.runs == 0


@pytest.mark.parametrize("path", ["/things/%00", "/things/a%20b", "/things/%C3%BC", "/things/" + "a" * 300, "/things/%zz", "/things/a'--"])
async def test_a_path_that_can_be_no_id_is_refused(bench: Bench, path: str) -> None:
    assert problem(await bench.get(path), 400, "invalid_parameter")["errors"][0]["pointer"] == "path:key"


async def test_a_cursor_that_this_api_has_not_made_is_refused(bench: Bench) -> None:
    async def page(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key=ask.parameters.cursor or ""), cursor="ord_7")

    bench.handle = page
    answer = await bench.get("/things?limit=7")
    following = answer.links["next"]["url"]
    assert (await bench.get(following)).json()["key"] == "ord_7"
    assert (await bench.get(following.replace("limit=7", "limit=9"))).json()["key"] == "ord_7", "the size of a page may change"
    cursor = following.partition("cursor=")[2]
    forged = base64.urlsafe_b64encode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[:9] + b"ord_8").decode().rstrip("=")
    for wrong in ("a", "_____w", "b3JkXzc", cursor[:-1], "A" + cursor[1:], forged):
        document = problem(await bench.get(f"/things?cursor={wrong}"), 400, "invalid_cursor")
        assert document["errors"][0]["pointer"] == "query:cursor"
    assert bench.runs == 3


# ---- answering ----------------------------------------------------------------------------------------------------


async def test_unknown_routes_and_methods_are_problems_too(bench: Bench) -> None:
    problem(await bench.get("/nothing"), 404, "not_found")
    answer = await bench.http.delete("/things", headers=bench.auth)
    problem(answer, 405, "method_not_allowed")
    assert {m.strip() for m in answer.headers["allow"].split(",")} == {"GET", "HEAD", "OPTIONS", "POST"}
    assert {key.route for key in bench.recorder.snapshot().routes} == {"GET unmatched", "DELETE /things"}
    options = await bench.http.options("/things")
    assert (options.status_code, options.content) == (204, b"")
    assert {m.strip() for m in options.headers["allow"].split(",")} == {"GET", "HEAD", "OPTIONS", "POST"}


async def test_head_says_what_get_says_without_the_body(bench: Bench) -> None:
    head, get = await bench.http.head("/things/aa", headers=bench.auth), await bench.get()
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_what_is_known_already_is_304(bench: Bench) -> None:
    async def steady(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="a"), version=7)

    bench.handle = steady
    assert (await bench.get()).headers["etag"] == '"v7"'
    for tags in ('"v7"', 'W/"v7"', '"v1", "v7"', "*"):
        answer = await bench.get(if_none_match=tags)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"v7"')
        assert {"cache-control", "vary"} <= set(answer.headers)
        assert "content-length" not in answer.headers
    assert (await bench.get(if_none_match='"v8"')).status_code == 200


async def test_a_comma_or_a_star_within_a_tag_is_part_of_it(bench: Bench) -> None:
    assert (await bench.get(if_none_match='"a,*,b", "c"')).status_code == 200
    problem(await bench.post({"key": "x"}, path="/things/aa/change", if_match='"a,*,b", W/"*"'), 412, "precondition_failed")
    assert entity_tags({"if-match": '"a,b" ,W/"*","v1"'}, "if-match") == ('"a,b"', 'W/"*"', '"v1"')


async def test_a_change_for_another_version_of_the_resource_is_412_and_runs_not(bench: Bench) -> None:
    body = {"key": "x"}
    for key, tags, status in (("1", '"v5"', 412), ("2", '"v0"', 200), ("3", '"v9", "v1"', 200), ("4", 'W/"v2"', 412), ("5", "*", 200)):
        answer = await bench.post(body, path="/things/aa/change", key=key, if_match=tags)
        assert answer.status_code == status, tags
    assert bench.runs == 3


async def test_links_lead_to_the_end_and_keep_the_query(bench: Bench) -> None:
    async def page(ask: Ask[Any, Any], runs: int) -> Outcome:
        at = int(ask.parameters.cursor or 0)
        return Outcome(Thing(key=str(at)), cursor=str(at + 1) if at < 3 else None)

    bench.handle = page
    seen, url = [], "/things?limit=7"
    while url:
        answer = await bench.get(url)
        seen.append(answer.json()["key"])
        assert (answer.links["first"]["url"] if len(seen) > 1 else "/things?limit=7") == "/things?limit=7"
        url = answer.links["next"]["url"] if "next" in answer.links else ""
        assert not url or "limit=7" in url
    assert seen == ["0", "1", "2", "3"]


def source(seconds: float, **more: Any) -> Provenance:
    moment = START - timedelta(seconds=seconds)
    return Provenance(source_system="erp", as_of=moment, received_at=moment, **more)


KEEP = "private, max-age=30, stale-while-revalidate=60, stale-if-error=570"


@pytest.mark.parametrize(
    ("sources", "status", "age", "cache"),
    [
        ((source(0, via="live"),), "tillgate; fwd=miss; stored", None, KEEP),
        ((source(12, via="cache"),), "tillgate; hit; ttl=48", "12", KEEP),
        ((source(9, via="cache"), source(0, via="live")), "tillgate; fwd=partial; stored", "9", KEEP),
        ((source(75, via="cache", stale=True),), "tillgate; hit; ttl=-15", "75", "no-store"),
    ],
)
async def test_an_answer_says_where_it_comes_from_and_how_old_it_is(
    bench: Bench, sources: Any, status: str, age: str | None, cache: str
) -> None:
    async def known(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="a"), sources=sources)

    bench.handle = known
    answer = await bench.get()
    assert answer.headers["cache-status"] == status
    assert answer.headers.get("age") == age
    assert answer.headers["cache-control"] == cache


async def test_what_was_read_again_and_is_the_same_keeps_its_tag(bench: Bench) -> None:
    value, sources = Thing(key="a"), (source(12, via="cache"),)

    async def told(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(value, sources=sources)

    bench.handle = told
    tag = (await bench.get()).headers["etag"]
    assert tag.startswith('W/"')
    sources = (source(0, via="live"),)
    again = await bench.get(if_none_match=f'"v1", {tag}')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert {"cache-control", "vary", "cache-status"} <= set(again.headers)
    value = Thing(key="b")
    assert (await bench.get(if_none_match=tag)).status_code == 200
    value = Thing(key="a")
    old = await bench.get(if_none_match=tag, api_version="2026-01-01")
    assert (old.status_code, old.json()["id"]) == (200, "a")


async def test_nobody_keeps_an_answer_beyond_the_moment_when_it_changes(bench: Bench) -> None:
    async def price(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="a"), sources=(source(12, via="cache"),), until=START + timedelta(seconds=5))

    bench.handle = price
    answer = await bench.get()
    assert answer.headers["cache-status"] == "tillgate; hit; ttl=5"
    assert answer.headers["cache-control"] == "private, max-age=17", "counted from its Age of 12"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UpstreamTimeout(system="erp", operation="GetStock"), 504),
        (errors.ConnectFailed(system="erp", operation="GetStock"), 503),
        (ValueError("ours"), 502),
    ],
)
async def test_a_stale_answer_names_the_failure_that_it_stands_in_for(bench: Bench, error: Exception, status: int) -> None:
    async def failing(ask: Ask[Any, Any], runs: int) -> Outcome:
        with step(Step.CALL, system="erp", operation="GetStock") as hop:
            hop.failed(error)
        return Outcome(Thing(key="a"), sources=(source(90, via="cache", stale=True),))

    bench.handle = failing
    answer = await bench.get()
    assert answer.headers["cache-status"] == f"tillgate; fwd=stale; fwd-status={status}; detail=stale-if-error"
    assert (answer.headers["age"], answer.headers["cache-control"]) == ("90", "no-store")


async def test_an_answer_that_shared_the_call_of_another_says_so(bench: Bench) -> None:
    async def joined(ask: Ask[Any, Any], runs: int) -> Outcome:
        with step(Step.CALL, system="erp", operation="GetStock") as hop:
            hop.set(cache="collapsed")
        return Outcome(Thing(key="a"), sources=(source(0, via="live"),))

    bench.handle = joined
    assert (await bench.get()).headers["cache-status"] == "tillgate; fwd=miss; stored; collapsed"


async def test_personal_data_leaves_only_for_who_may_read_customers(bench: Bench) -> None:
    async def sold(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="a", seller=OrderCustomer(customer_number="1", email="a@example.com", name="Ann")))

    bench.handle = sold
    assert (await bench.get()).json()["seller"] == {"customerNumber": "1", "email": "a@example.com", "name": "Ann"}
    less = await bench.client("less", scopes=("orders:read",))
    assert (await bench.http.get("/things/aa", headers=less)).json()["seller"] == {"customerNumber": "1"}


async def test_a_handler_that_forgets_time_is_ended(bench: Bench) -> None:
    async def forget(ask: Ask[Any, Any], runs: int) -> Outcome:
        await asyncio.sleep(30)
        raise AssertionError

    bench.handle = forget
    problem(await bench.get(), 504, "deadline_exceeded")


async def test_a_caller_may_shorten_its_time_and_never_lengthen_it(bench: Bench) -> None:
    loop, given = asyncio.get_running_loop(), []

    async def measure(ask: Ask[Any, Any], runs: int) -> Outcome:
        given.append(ask.call.deadline - loop.time())
        return Outcome(Thing(key="aa"))

    bench.handle = measure
    for asked in ("5", "0.9", "9999"):
        assert (await bench.get("/things", request_timeout=asked)).status_code == 200
    assert given[0] <= 5
    assert given[1] <= 0.9
    assert given[2] <= DEADLINE, "the route's, not the caller's"


async def test_time_that_is_up_before_anything_is_done_is_504_and_nothing_is_done(bench: Bench) -> None:
    document = problem(await bench.get(request_timeout="0"), 504, "deadline_exceeded")
    assert document["type"] == "/problems/deadline_exceeded"
    problem(await bench.post(request_timeout="0.000"), 504, "deadline_exceeded")
    assert bench.runs == 0
    assert (await bench.post()).status_code == 200, "the key is free: nothing was begun under it"


@pytest.mark.parametrize("sent", ["", "-1", "1e3", "2s", "99999", ".5", "1,2", "inf", "٣"])
async def test_a_time_that_is_no_number_of_seconds_is_refused_with_its_place(bench: Bench, sent: str) -> None:
    fields = [*bench.auth.items(), ("Request-Timeout", sent.encode())]
    document = problem(await bench.http.get("/things/aa", headers=fields), 400, "invalid_header")
    assert document["errors"][0]["pointer"] == "header:Request-Timeout"


async def test_two_times_in_one_request_are_refused(bench: Bench) -> None:
    fields = [*bench.auth.items(), ("Request-Timeout", "1"), ("Request-Timeout", "2")]
    problem(await bench.http.get("/things/aa", headers=fields), 400, "invalid_header")


async def test_beyond_its_limit_the_gateway_sheds_but_answers_probes(tmp_path, build) -> None:
    async with build(tmp_path, most=3) as it:
        go, full = asyncio.Event(), asyncio.Event()

        async def slow(ask: Ask[Any, Any], runs: int) -> Outcome:
            if runs == 3:
                full.set()
            await go.wait()
            return Outcome(Thing(key="a"))

        it.handle = slow
        running = [asyncio.create_task(it.post(key=str(n))) for n in range(3)]
        await full.wait()
        problem(await it.get(), 503, "overloaded")
        assert (await it.http.get("/health/live")).status_code == 404, "this little API has no probes, and yet it was let in"
        go.set()
        assert {a.status_code for a in await asyncio.gather(*running)} == {200}
        assert (await it.get()).status_code == 200


async def test_our_own_mistake_is_500_and_says_nothing_of_its_reason(bench: Bench) -> None:
    async def bug(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise ValueError("secret detail at 10.0.0.1")

    bench.handle = bug
    answer = await bench.get()
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.text


# ---- trace --------------------------------------------------------------------------------------------------------

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_stranger_s_trace_is_not_continued(bench: Bench) -> None:
    answer = await bench.get(traceparent=CALLER)
    assert "0af7651916cd43dd8448eb211c80319c" not in answer.headers["traceresponse"]
    assert answer.headers["server-timing"] == f"trace;desc={answer.headers['traceresponse']}"


async def test_a_trusted_proxy_s_trace_is_continued_unless_it_comes_twice(tmp_path, build) -> None:
    async with build(tmp_path, trusted=frozenset({"192.0.2.1"})) as it:
        assert "0af7651916cd43dd8448eb211c80319c" in (await it.get(traceparent=CALLER)).headers["traceresponse"]
        twice = await it.http.get("/things/aa", headers=[*it.auth.items(), ("traceparent", CALLER), ("traceparent", CALLER)])
        assert "0af7651916cd43dd8448eb211c80319c" not in twice.headers["traceresponse"]


# ---- the catalogue ------------------------------------------------------------------------------------------------

UP: dict[str, Any] = {"system": "erp7.internal", "operation": "BAPI_MATERIAL", "reason": "soap:Server MARA-MATNR at 10.1.2.3:8000"}
REACHED: dict[str, TillgateError] = {
    "state_conflict": errors.StateConflict(what="order", key="o", state="complete", why="goods have left"),
    "insufficient_stock": errors.InsufficientStock(sku="1", location="2", requested="3", available="1"),
    "upstream_failed": errors.ConnectionLost(**UP),
    "upstream_unreachable": errors.ConnectFailed(**UP),
    "upstream_timeout": errors.UpstreamTimeout(**UP),
    "upstream_busy": errors.UpstreamBusy(**UP),
    "upstream_contract": errors.ContractViolation(**UP, where="MATNR", expected="char18", got="soap:Envelope"),
    "rejected_by_system": errors.UpstreamRejected(**UP, refusal="M3/305"),
    "temporarily_unavailable": errors.BreakerOpen(system="erp7.internal", operation="BAPI_MATERIAL"),
    "deadline_exceeded": errors.DeadlineExceeded(**UP),
    "store_unavailable": errors.StoreUnavailable(reason="disk full at /var/lib/10.1.2.3"),
    "internal_error": errors.TillgateError(),
}


@pytest.mark.parametrize("code", REACHED)
async def test_every_failure_becomes_its_problem_and_names_no_legacy_detail(bench: Bench, code: str) -> None:
    async def fail(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise REACHED[code]

    bench.handle = fail
    answer = await bench.get()
    entry = next(e for e in problems.catalogue() if e["code"] == code)
    document = problem(answer, entry["status"], code)
    assert {k: document[k] for k in entry if k != "members"} == {k: v for k, v in entry.items() if k != "members"}
    for word in ("erp7", "BAPI", "10.1.2.3", "8000", "soap", "MATNR", "M3/305", "disk"):
        assert word not in answer.text

"""Problems in the words of the version that their caller speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts import errors
from contracts.problem import Problem
from contracts.versions import Change, Former, ProblemChange, Version, VersionHistory
from gateway.app import _form
from gateway.edge import openapi, problems
from gateway.edge.adoption import Adoption

from .conftest import START, Bench, KeysReplaceIds, endpoints, make

NEWEST, MIDDLE, OLDEST = "2026-10-01", "2026-05-01", "2026-01-01"


class QuotasAreToldByTheirOwnName(ProblemChange):
    """A used-up quota is `quota_exceeded` (429); before, it was `slow_down` (503) and our trouble."""

    codes = {"quota_exceeded": Former("slow_down", "Too many requests", 503, "Come again later.", fault="system", retryable=True)}  # noqa: RUF012  # read only


class KeysAreNotReused(ProblemChange):
    """A key for another request is 422; before, it was 409."""

    codes = {  # noqa: RUF012  # read only
        "idempotency_key_reused": Former("key_conflict", "This key was used", 409, "Take a new key."),
        "overloaded": Former("full", "No room", 429, "Come again later."),
        "slow_down": Former("busy", "Busy", 503, "Come again later."),
    }


class OldProblem(Problem, frozen=True, kw_only=True):
    trace_id: str = ""
    request_id: str = ""


class TracesReplaceRequests(Change):
    """The id of a request is the trace id; before, it was called `requestId`."""

    of = Problem
    old = OldProblem
    renamed = {"traceId": "requestId"}  # noqa: RUF012  # read only


HISTORY = VersionHistory(
    (
        Version(NEWEST, "Quotas.", (KeysReplaceIds, QuotasAreToldByTheirOwnName)),
        Version(MIDDLE, "Keys.", (KeysAreNotReused, TracesReplaceRequests)),
        Version(OLDEST, "First.", deprecated=START, sunset=START + timedelta(days=300)),
    )
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with make(tmp_path, history=HISTORY) as found:
        yield found


async def refused(bench: Bench, version: str) -> dict[str, Any]:
    """What a client that is pinned to the version is told of its quota."""
    small = await bench.client(f"small-{version}", quota="small", api_version=version)
    for _ in range(3):
        answer = await bench.http.get("/things/aa", headers=small)
    assert int(answer.headers["retry-after"]) >= 1
    return {"answered": answer.status_code, **answer.json()}


async def test_a_problem_that_was_told_otherwise_is_told_so_to_who_speaks_the_version(bench: Bench) -> None:
    new, middle, old = [await refused(bench, version) for version in (NEWEST, MIDDLE, OLDEST)]
    assert (new["answered"], new["status"], new["code"]) == (429, 429, "quota_exceeded")
    assert new["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (middle["answered"], middle["status"], middle["code"], middle["type"]) == (503, 503, "slow_down", "/problems/slow_down")
    assert (middle["fault"], middle["retryable"], middle["title"]) == ("system", True, "Too many requests")
    assert (old["code"], old["type"]) == ("busy", "/problems/busy"), "through both changes"
    for each in (new, middle, old):
        assert each["violated-policies"] == ["burst"]
        assert each["detail"].startswith("policy burst allows no further request")
    assert ("traceId" in middle, "traceId" in old, len(old["requestId"])) == (True, False, 32)


async def test_what_is_kept_under_a_key_is_a_no_in_the_words_of_its_version(bench: Bench) -> None:
    old = await bench.client("old", api_version=OLDEST)
    fields = {**old, "Idempotency-Key": "k", "Content-Type": "application/json"}
    assert (await bench.http.post("/things", content=b'{"reason":"r"}', headers=fields)).status_code == 200
    answer = await bench.http.post("/things", content=b'{"reason":"other"}', headers=fields)
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (409, 409, "key_conflict")

    async def no(*_: object) -> Any:
        raise errors.QuotaExceeded(policy="inner", retry_after=1.0)

    bench.handle = no
    answer = await bench.http.post("/things", content=b'{"reason":"r"}', headers={**fields, "Idempotency-Key": "l"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")


async def test_whoever_asks_for_a_version_that_there_is_not_reads_the_newest_words(bench: Bench) -> None:
    answer = await bench.http.get("/things/aa", headers={**bench.auth, "API-Version": "1999-01-01"})
    assert (answer.json()["code"], "traceId" in answer.json()) == ("unknown_version", True)
    assert "traceId" in (await bench.http.get("/nothing/aa", headers={**bench.auth, "API-Version": OLDEST})).json()


async def test_our_own_mistake_is_told_in_the_words_of_the_version_too(bench: Bench) -> None:
    async def bug(*_: object) -> Any:
        raise ValueError("no")

    bench.handle = bug
    answer = await bench.http.get("/things/aa", headers={**bench.auth, "API-Version": OLDEST})
    assert (answer.status_code, answer.json()["requestId"]) == (500, answer.headers["traceresponse"].split("-")[1])


def test_a_refusal_for_want_of_room_is_written_with_the_status_of_its_version(bench: Bench) -> None:
    error = errors.Overloaded(policy="requests", retry_after=1.0)
    for version, line in ((NEWEST, "HTTP/1.1 503 Service Unavailable\r\n"), (OLDEST, "HTTP/1.1 429 Too Many Requests\r\n")):
        assert _form(bench.app._door.problems, error, version).startswith(line)


async def test_who_meets_a_problem_that_newer_versions_tell_otherwise_is_counted(bench: Bench) -> None:
    for version in (NEWEST, OLDEST):
        await refused(bench, version)
    view = await Adoption(bench.books, HISTORY, endpoints(lambda: bench), (), lambda: bench.now, bench.usage.flush).read(30)
    uses = {(c.client, u.field, u.change, u.times) for v in view.items for c in v.clients for u in c.uses if u.field.startswith("problem:")}
    assert uses == {(f"small-{OLDEST}", "problem:busy", "QuotasAreToldByTheirOwnName", 1)}


def test_the_catalogue_of_an_older_version_has_its_own_codes_and_the_whole_one_all_of_them(bench: Bench) -> None:
    codes = {version: {row["code"] for row in problems.catalogue(HISTORY, version)} for version in (NEWEST, MIDDLE, OLDEST)}
    assert codes[NEWEST] == {row["code"] for row in problems.catalogue()}
    assert codes[MIDDLE] == codes[NEWEST] - {"quota_exceeded"} | {"slow_down"}
    assert codes[OLDEST] == codes[NEWEST] - {"quota_exceeded", "overloaded", "idempotency_key_reused"} | {"busy", "full", "key_conflict"}
    former = {row["code"]: row["versions"] for row in problems.former(HISTORY)}
    assert former == {"slow_down": [MIDDLE], "busy": [OLDEST], "full": [OLDEST], "key_conflict": [OLDEST]}


def test_the_contract_of_each_version_says_its_own_codes_statuses_and_members(bench: Bench) -> None:
    new, old = (openapi.document(endpoints(lambda: bench), HISTORY, version, "Things") for version in (NEWEST, OLDEST))
    answers = [each["paths"]["/things/{key}"]["get"]["responses"] for each in (new, old)]
    assert "`quota_exceeded`" in answers[0]["429"]["description"]
    assert "`busy`" in answers[1]["503"]["description"]
    assert "`quota_exceeded`" not in str(answers[1])
    schemas = [each["components"]["schemas"]["Problem"]["properties"] for each in (new, old)]
    assert ["traceId" in schemas[0], "requestId" in schemas[1]] == [True, True]


def test_a_change_of_a_problem_that_there_is_not_is_found_at_start() -> None:
    class Nothing(ProblemChange):
        """Nothing."""

        codes = {"quota_exceded": Former("busy", "Busy", 503, "Later.")}  # noqa: RUF012  # read only

    with pytest.raises(ValueError, match=r"Nothing tells the problem 'quota_exceded' otherwise, which there is not"):
        problems.check(VersionHistory((Version(NEWEST, "", (Nothing,)), Version(OLDEST, ""))))

"""When brown-outs are, in the time zone of the estate, and what callers meet before, in and after one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.edge.brown_out import BrownOut, Weekly, overlap, upcoming

from .conftest import START, make
from .test_door import problem

BERLIN = ZoneInfo("Europe/Berlin")
OLD = "2026-01-01"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def every(rule: str, since: str = "", until: str = "") -> BrownOut:
    return BrownOut(OLD, BERLIN, at(since) if since else None, at(until) if until else None, Weekly.parse(rule))


def shown(one: BrownOut, now: str, many: int = 3) -> list[str]:
    return [str(w) for w in islice(one.windows(at(now)), many)]


@pytest.mark.parametrize(
    ("rule", "now", "windows"),
    [
        ("tue 10:00-10:15", "2026-11-02T00:00", ["2026-11-03T09:00Z/2026-11-03T09:15Z", "2026-11-10T09:00Z/2026-11-10T09:15Z"]),
        ("tue 10:00-10:15", "2026-11-03T09:14:59", ["2026-11-03T09:00Z/2026-11-03T09:15Z", "2026-11-10T09:00Z/2026-11-10T09:15Z"]),
        ("tue 10:00-10:15", "2026-11-03T09:15", ["2026-11-10T09:00Z/2026-11-10T09:15Z", "2026-11-17T09:00Z/2026-11-17T09:15Z"]),
        ("mon,thu 23:50-00:10", "2026-11-05T23:00", ["2026-11-05T22:50Z/2026-11-05T23:10Z", "2026-11-09T22:50Z/2026-11-09T23:10Z"]),
        ("day 06:00-06:05", "2026-10-24T05:00", ["2026-10-25T05:00Z/2026-10-25T05:05Z", "2026-10-26T05:00Z/2026-10-26T05:05Z"]),
        ("day 02:30-03:30", "2026-10-24T03:00", ["2026-10-25T00:30Z/2026-10-25T02:30Z", "2026-10-26T01:30Z/2026-10-26T02:30Z"]),
    ],
)
def test_weekly_windows_follow_the_clock_on_the_wall(rule: str, now: str, windows: list[str]) -> None:
    assert shown(every(rule), now, 2) == windows


def test_a_rule_holds_from_and_until() -> None:
    bounded = every("tue 10:00-10:15", "2026-11-03T09:05", "2026-11-17T09:00")
    assert shown(bounded, "2026-01-01T00:00") == ["2026-11-10T09:00Z/2026-11-10T09:15Z"]
    assert shown(bounded, "2026-12-01T00:00") == []


def test_the_sooner_of_several_comes_next() -> None:
    once = BrownOut(OLD, BERLIN, at("2026-11-02T08:00"), at("2026-11-02T08:30"))
    found = upcoming([every("tue 10:00-10:15"), once], OLD, at("2026-11-01T00:00"))
    assert found
    assert found[1] is once
    assert upcoming([once], OLD, at("2026-11-02T08:30")) is None
    assert upcoming([once], "2026-10-01", at("2026-11-01T00:00")) is None


@pytest.mark.parametrize(
    ("rule", "shared"),
    [("mon 09:15-09:45", True), ("day 09:29-09:31", True), ("mon 09:30-09:45", False), ("tue 09:00-09:30", False)],
)
def test_windows_at_the_same_time_are_found(rule: str, shared: bool) -> None:
    once = BrownOut(OLD, BERLIN, at("2026-11-02T08:00"), at("2026-11-02T08:30"))
    assert (overlap(once, every(rule), START) is not None) is shared
    assert (overlap(every(rule), once, START) is not None) is shared


@pytest.mark.parametrize(
    "text", ["", "tue", "tue 10:00", "tuesday 10:00-10:15", "die 10:00-10:15", "tue 10:00-10:00", "tue 24:00-24:10", "tue, 10:00-11:00"]
)
def test_a_rule_that_is_none_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected weekdays and hours such as"):
        Weekly.parse(text)


# ---- at the door --------------------------------------------------------------------------------------------------


async def test_a_brown_out_is_announced_then_answered_with_its_end_and_then_over(build: type[make], tmp_path: Path) -> None:
    begin = START + timedelta(hours=1)
    brown_out = BrownOut(OLD, BERLIN, begin, begin + timedelta(minutes=15), announcement="https://shop.example/api-news")
    async with build(tmp_path, brown_outs=(brown_out,)) as bench:
        before = await bench.get(API_Version=OLD)
        assert before.status_code == 200
        assert (
            '<https://shop.example/api-news>; rel="sunset"; type="text/html"; title="brown-out 2026-11-01T01:00Z/2026-11-01T01:15Z"'
        ) in before.headers["link"]
        bench.now = begin + timedelta(minutes=5)
        answer = await bench.get(API_Version=OLD)
        told = problem(answer, 503, "version_brown_out")
        assert answer.headers["retry-after"] == "600"
        assert {"deprecation", "sunset", "link"} <= answer.headers.keys()
        assert (told["version"], told["until"], told["newestVersion"]) == (OLD, "2026-11-01T01:15:00Z", "2026-10-01")
        assert (told["fault"], told["retryable"], told["type"]) == ("caller", True, "/problems/version_brown_out")
        assert (await bench.get()).status_code == 200
        bench.now = begin + timedelta(minutes=15)
        after = await bench.get(API_Version=OLD)
        assert after.status_code == 200
        assert 'rel="sunset"' in after.headers["link"]
        assert "brown-out" not in after.headers["link"]


async def test_after_the_sunset_a_brown_out_changes_nothing(build: type[make], tmp_path: Path) -> None:
    async with build(tmp_path, brown_outs=(every("day 00:00-23:59"),)) as bench:
        bench.now = START + timedelta(days=30)
        problem(await bench.get(API_Version=OLD), 410, "version_retired")


async def test_a_request_in_a_brown_out_and_after_the_sunset_is_counted(build: type[make], tmp_path: Path) -> None:
    async with build(tmp_path, brown_outs=(every("day 00:00-23:59"),)) as bench:
        bench.now = START + timedelta(hours=3)
        await bench.get(API_Version=OLD)
        bench.now = START + timedelta(days=31)
        await bench.get(API_Version=OLD)
        await bench.usage.flush()
        assert [(u.version, u.route, u.field, u.times) for u in await bench.books.usage.since(START.date())] == [
            (OLD, "GET /things/{key}", "", 2)
        ]

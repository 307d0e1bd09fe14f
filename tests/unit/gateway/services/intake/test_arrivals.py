from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.files.spec import FeedOptions, options
from adapters.store.books.sale import prepared_form
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, FileRecord, FileSeen, PreparedSale, SaleBatch
from contracts.canonical.location import Location
from contracts.canonical.sale import PosSale
from gateway.services.intake.arrivals import Arrivals
from tests.conformance.store.make import key, sale

FEED = "pos.tlog"
BERLIN = ZoneInfo("Europe/Berlin")


@dataclass
class Dropped:
    name: str
    modified: float
    facts: dict[str, str] = field(default_factory=dict)
    size: int = 1
    oversize: bool = False

    @property
    def digest(self) -> str:
        return f"{hash((self.name, self.size)) & (2**64 - 1):016x}" * 4


class Everywhere:
    """Every store has the zone of Berlin, and 0900 that of New York."""

    known = 1

    def of(self, location: str) -> ZoneInfo | None:
        return ZoneInfo("America/New_York") if location == "0900" else BERLIN

    def location(self, number: str) -> Location | None:
        return None


class Watch:
    """Arrivals of one feed, and a clock that is set by hand."""

    def __init__(self, books: Books, rules: FeedOptions) -> None:
        self.books, self.rules, self.now = books, rules, at("2026-03-11 12:00")
        self.arrivals = Arrivals(FEED, rules, books, Everywhere(), lambda: self.now)

    async def at(self, text: str) -> None:
        """It is so late now, and somebody looks."""
        self.now = at(text)
        await self.arrivals.check()

    async def drop(self, text: str, name: str, known: FileRecord | None = None, **facts: str) -> FileRecord:
        self.now = at(text)
        file = Dropped(name, self.now.timestamp(), facts)
        record = known or FileRecord(digest=file.digest, feed=FEED, name=name, size=1, state="claimed", first_seen=self.now)
        await self.arrivals.came(file, record)
        return record

    async def found(self) -> list[tuple[str, str, str, str]]:
        findings = await self.books.findings.list(100)
        return [(f.kind, f.state, f.store, f.business_date) for f in reversed(findings)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    opened = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/books.db"))
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def watch(books: Books) -> Any:
    def make(**given: Any) -> Watch:
        return Watch(books, options("/inbox", given))

    return make


NIGHT = {"opens": "20:00", "by": "23:00", "until": "06:00", "grace": "30m", "stores": ["0001"]}


async def test_a_store_is_late_then_missing_and_the_file_that_comes_closes_it(watch: Any) -> None:
    seen = watch(window=NIGHT)
    await seen.at("2026-03-11 12:00")
    await seen.at("2026-03-11 23:29")
    assert await seen.found() == []
    await seen.at("2026-03-11 23:31")
    await seen.at("2026-03-12 03:00")
    assert await seen.found() == [("file_late", "open", "0001", "2026-03-11")]
    await seen.at("2026-03-12 06:00")
    assert await seen.found() == [("file_late", "closed", "0001", "2026-03-11"), ("file_missing", "open", "0001", "2026-03-11")]
    await seen.drop("2026-03-12 09:15", "S1", store="0001", business_date="20260311")
    found = {f.kind: f for f in await seen.books.findings.list(9)}
    assert (found["file_missing"].state, found["file_missing"].closed_by) == ("closed", "S1")
    assert found["file_late"].closed_by == "the end of the window"
    assert found["file_missing"].detail == "nothing came until 2026-03-12 06:00"


async def test_a_late_file_closes_its_own_day_only(watch: Any) -> None:
    seen = watch(window=NIGHT)
    await seen.at("2026-03-11 12:00")
    await seen.at("2026-03-12 01:00")
    await seen.drop("2026-03-12 01:30", "S1", store="0001", business_date="2026-03-11")
    assert await seen.found() == [("file_late", "closed", "0001", "2026-03-11")]
    await seen.at("2026-03-12 23:45")
    assert (await seen.found())[1:] == [("file_late", "open", "0001", "2026-03-12")]


async def test_who_delivers_in_time_is_not_spoken_of(watch: Any) -> None:
    seen = watch(window=NIGHT)
    await seen.at("2026-03-11 12:00")
    await seen.drop("2026-03-11 21:00", "S1", store="0001", business_date="20260311")
    await seen.at("2026-03-12 07:00")
    assert await seen.found() == []


async def test_a_file_before_its_window_is_early_and_one_that_nobody_missed_yet_was_late(watch: Any) -> None:
    seen = watch(window=NIGHT)
    await seen.at("2026-03-11 12:00")
    await seen.drop("2026-03-11 19:59", "S1", store="0001", business_date="20260311")
    await seen.drop("2026-03-12 00:10", "S2", store="0002", business_date="20260311")
    assert await seen.found() == [("file_early", "noted", "0001", "2026-03-11"), ("file_late", "noted", "0002", "2026-03-11")]
    details = [f.detail for f in await seen.books.findings.list(9)]
    assert details == ["S2 came at 2026-03-12 00:10, expected by 2026-03-11 23:30", "S1 came at 2026-03-11 19:59, before 2026-03-11 20:00"]


async def test_each_store_has_its_own_clock_and_hours(watch: Any) -> None:
    hours = {"0002": {"by": "22:00"}, "0003": {"closed": ["2026-03-11"]}, "0004": {"days": ["thu"]}}
    seen = watch(window={**NIGHT, "stores": ["0001", "0002", "0003", "0004", "0900"], "store": hours})
    await seen.at("2026-03-11 12:00")
    await seen.at("2026-03-11 22:45")
    assert await seen.found() == [("file_late", "open", "0002", "2026-03-11")]
    await seen.at("2026-03-11 23:45")
    assert {store for *_, store, _ in await seen.found()} == {"0001", "0002"}
    await seen.at("2026-03-12 04:45")  # 23:45 in New York, whose clocks are five hours behind in this week
    assert {store for *_, store, _ in await seen.found()} == {"0001", "0002", "0900"}


async def test_days_on_which_stores_are_closed_are_not_missed(watch: Any) -> None:
    seen = watch(window={**NIGHT, "days": ["mon", "tue", "wed", "thu", "fri", "sat"], "closed": ["2026-03-16"]})
    await seen.at("2026-03-14 23:00")
    await seen.at("2026-03-17 12:00")
    assert [day for *_, day in await seen.found()] == ["2026-03-14"]


async def test_what_was_before_the_feed_was_first_watched_is_not_missed_also_by_other_workers(watch: Any) -> None:
    first, second = watch(window=NIGHT), watch(window=NIGHT)
    await first.at("2026-03-11 23:45")
    assert await first.found() == []
    for each in (first, second):
        await each.at("2026-03-12 23:45")
    assert await first.found() == [("file_late", "open", "0001", "2026-03-12")]


async def test_without_declared_stores_those_are_expected_that_delivered_of_late(watch: Any) -> None:
    seen = watch(window={**NIGHT, "stores": []})
    await seen.at("2026-03-10 12:00")
    await seen.drop("2026-03-10 21:00", "S1", store="0001", business_date="20260310")
    await seen.drop("2026-03-10 21:00", "S2", store="0002", business_date="20260310")
    await seen.drop("2026-03-11 21:00", "S3", store="0002", business_date="20260311")
    await seen.at("2026-03-11 23:45")
    assert await seen.found() == [("file_late", "open", "0001", "2026-03-11")]


async def test_a_file_without_a_day_in_its_name_is_of_the_window_that_opened_last(watch: Any) -> None:
    seen = watch(window={"opens": "05:00", "by": "07:00", "after": 1, "zone": "Europe/Berlin", "stores": [""]})
    await seen.at("2026-03-10 12:00")
    await seen.drop("2026-03-11 06:00", "ALL")
    await seen.at("2026-03-11 08:00")
    assert await seen.found() == []
    await seen.at("2026-03-12 08:00")
    assert await seen.found() == [("file_late", "open", "", "2026-03-11")]


async def test_a_day_whose_clocks_change_has_its_hours_still(watch: Any) -> None:
    seen = watch(window={**NIGHT, "opens": "20:00", "by": "02:30", "grace": "0s"})
    await seen.at("2026-03-28 12:00")  # on the 29th 02:30 is skipped
    await seen.at("2026-03-29 01:59")
    assert await seen.found() == []
    await seen.at("2026-03-29 03:31")
    assert await seen.found() == [("file_late", "open", "0001", "2026-03-28")]


async def test_files_of_a_store_are_counted_and_a_count_may_begin_again_each_day(watch: Any) -> None:
    seen = watch(sequence={"group": "number", "restarts": "daily"})
    for day, number in (("20260311", "1"), ("20260311", "2"), ("20260312", "1"), ("20260312", "3"), ("20260312", "x")):
        await seen.drop("2026-03-12 12:00", f"{day}{number}", store="0001", business_date=day, number=number)
    assert await seen.found() == [("file_gap", "open", "0001", "2026-03-12")]


async def test_content_that_came_before_is_told_once_under_each_name(watch: Any) -> None:
    seen = watch()
    first = await seen.drop("2026-03-11 12:00", "first", store="0001")
    for name in ("second", "third", "second"):
        await seen.drop("2026-03-11 13:00", name, known=first)
    assert [f.detail for f in await seen.books.findings.list(9)] == [
        "third came with the content of first, which is in work", "second came with the content of first, which is in work",
    ]  # fmt: skip


async def test_a_file_that_waits_to_be_put_away_did_not_come_again(watch: Any) -> None:
    seen = watch()
    first = await seen.drop("2026-03-11 12:00", "first")
    done = FileRecord(
        digest=first.digest,
        feed=FEED,
        name="first",
        size=1,
        state="done",
        first_seen=seen.now,
        booked=7,
        finished_at=at("2026-03-11 12:05"),
    )
    for modified, told in (
        (at("2026-03-11 12:00"), 0),
        (at("2026-03-11 12:06"), 1),
        (at("2026-03-11 12:06"), 1),
        (at("2026-03-11 18:00"), 2),
    ):
        await seen.arrivals.again(Dropped("first", modified.timestamp()), done)
        assert len(await seen.books.findings.list(9)) == told
    assert (await seen.books.findings.list(1))[0].detail == "first came once more; it is booked (7 transactions)"


async def test_looking_costs_nothing_when_somebody_has_just_looked(watch: Any) -> None:
    seen = watch(window=NIGHT)
    await seen.at("2026-03-11 23:29")
    seen.now += timedelta(seconds=5)
    looked = seen.arrivals._looked
    await seen.arrivals.check()
    assert seen.arrivals._looked == looked


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"opens": "20:00", "days": ["mon"]},
        {"by": "24:00"},
        {"by": "9:00"},
        {"by": "09:00", "zone": "Nowhere"},
        {"by": "09:00", "closed": ["2026-02-30"]},
        {"by": "09:00", "days": ["x"]},
    ],
)
def test_hours_that_are_none_are_refused(window: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"by|zone|day|Invalid"):
        options("/inbox", {"window": window})


# ---- what is no file


async def test_what_lies_under_a_right_name_and_is_no_file_is_told_once_and_until_it_is_gone(books: Books) -> None:
    first, second = (Watch(books, options("/inbox", {})) for _ in range(2))
    lying = {"S_1.txt": "a symbolic link, not a file", "S_2.txt": "a folder, not a file"}
    for watch in (first, second, first):
        await watch.arrivals.check(lying)
    found = await books.findings.list(9)
    assert sorted((f.kind, f.state, f.file, f.detail) for f in found) == [
        ("file_refused", "open", "S_1.txt", "S_1.txt in the inbox is a symbolic link, not a file: it is never followed or read"),
        ("file_refused", "open", "S_2.txt", "S_2.txt in the inbox is a folder, not a file: it is never followed or read"),
    ]
    del lying["S_1.txt"]
    await Watch(books, options("/inbox", {})).arrivals.check(lying)
    assert {f.file: f.state for f in await books.findings.list(9)} == {"S_1.txt": "closed", "S_2.txt": "open"}
    await first.arrivals.check({**lying, "S_1.txt": "a pipe, not a file"})
    await first.arrivals.check(lying)
    await first.arrivals.check({**lying, "S_1.txt": "a pipe, not a file"})
    assert {f.file: f.state for f in await books.findings.list(9)} == {"S_1.txt": "open", "S_2.txt": "open"}


# ---- days -----------------------------------------------------------------------------------------------------------


class Booked:
    """Files with sales that are read and booked as the intake does it."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    async def file(self, text: str, name: str, *sales: PosSale | PreparedSale, day: str = "2026-03-11") -> None:
        """Comes and is booked at a moment; somebody looks when its tills have been silent."""
        watch = self.watch
        watch.now = at(text)
        file = Dropped(name, watch.now.timestamp(), {"store": "0017", "business_date": day}, size=len(name))
        seen = FileSeen(file.digest, FEED, name, 1, "0017")
        claim = await watch.books.files.claim(seen, "w1", watch.now, 60, "t")
        await watch.arrivals.came(file, claim.record)
        await watch.arrivals.read(claim.record, sales)
        await watch.arrivals.read(claim.record, sales)  # as after a crash
        await watch.books.sales.commit(SaleBatch(file.digest, claim.record.fence, 1, sales), watch.now)
        await watch.at(f"{datetime.fromisoformat(text) + timedelta(minutes=5)}")

    async def found(self) -> list[tuple[str, str]]:
        findings = await self.watch.books.findings.list(100)
        return [(f.kind, f.detail) for f in reversed(findings) if f.kind.startswith("day")]


@pytest.mark.parametrize("form", [lambda s: s, prepared_form], ids=["sale", "prepared"])
async def test_transactions_far_from_their_business_day_are_noted_once_for_a_file_and_booked(watch: Any, form: Any) -> None:
    booked = Booked(watch())
    night, old, older = (
        form(sale(n, begin_at=at(t))) for n, t in ((1, "2026-03-12 23:59"), (2, "2026-03-13 00:01"), (3, "0009-01-01 00:00"))
    )
    await booked.file("2026-03-12 06:00", "A", night, old, older)
    told = "0017/3/2026-03-11/2 in A began on 2026-03-13 00:01, 2 days from its business day; more of it may"
    assert await booked.found() == [("day_far", told)]
    assert (await booked.watch.books.sales.totals())["0017"]["sales"] == 3


async def test_tolerance_of_days_is_declared_and_of_the_stores_clock(watch: Any) -> None:
    strict, wide = Booked(watch(day_tolerance=0)), Booked(watch(day_tolerance=30))
    late = sale(2, begin_at=at("2026-03-12 00:30"))  # in UTC still its business day
    await wide.file("2026-03-12 06:00", "A", late, sale(3, begin_at=at("2026-02-20 12:00")))
    assert await wide.found() == []
    await strict.file("2026-03-12 06:00", "B", late, sale(1, begin_at=at("2026-03-11 23:00")))
    assert [kind for kind, _ in await strict.found()] == ["day_far"]


async def test_what_a_vendor_has_added_is_noted_once_for_the_feed_however_many_files_hold_it(watch: Any) -> None:
    looking = watch()
    for name in ("A", "B"):
        record = await looking.drop("2026-03-12 06:00", name)
        for arrivals in (looking.arrivals, Arrivals(FEED, looking.rules, looking.books, Everywhere(), lambda: looking.now)):
            await arrivals.extended(record, ["Own of urn:acs", "More of urn:b"])
    told = "A holds {} of urn:{}, an element of its vendor's own that the layout does not read"
    found = [(f.kind, f.state, f.detail) for f in reversed(await looking.books.findings.list(100))]
    assert found == [("extension", "noted", told.format("Own", "acs")), ("extension", "noted", told.format("More", "b"))]


@pytest.mark.parametrize("closed", [{"days": ["mon"]}, {"closed": ["2026-03-11"]}, {"store": {"0017": {"closed": ["2026-03-11"]}}}])
async def test_sales_of_a_day_on_which_the_store_is_closed_are_noted(watch: Any, closed: dict[str, Any]) -> None:
    booked = Booked(watch(window=closed))
    await booked.file("2026-03-11 22:00", "A", sale(1), sale(2))
    await booked.file("2026-03-11 22:10", "B", sale(3, key=key(3, till="4")))
    told = "till 3 of store 0017 booked sales of 2026-03-11 (Wednesday): 2 from A; the store is closed on that day"
    assert await booked.found() == [("day_closed", told)]


async def test_calendar_without_hours_expects_no_file_and_says_nothing_of_an_open_day(watch: Any) -> None:
    booked = Booked(watch(window={"stores": ["0017", "0018"], "closed": ["2026-12-25"]}))
    await booked.file("2026-03-11 22:00", "A", sale(1))
    await booked.file("2026-03-11 23:00", "B", sale(2))
    await booked.watch.at("2026-03-14 12:00")
    assert await booked.watch.found() == []


@pytest.mark.parametrize(
    ("second", "counts", "told"),
    [("2026-03-11 21:30", False, True), ("2026-03-11 21:30", True, False), ("2026-03-12 07:00", True, True)],
    ids=["one file a day", "numbered files within the window", "numbered files after the window"],
)
async def test_more_sales_of_a_day_that_was_complete_are_noted(watch: Any, second: str, counts: bool, told: bool) -> None:
    numbered = {"sequence": {"group": "number"}} if counts else {}
    booked = Booked(watch(window=NIGHT | {"stores": ["0017"]}, **numbered))
    await booked.file("2026-03-11 21:00", "A", sale(1))
    await booked.file(second, "B", sale(1), sale(2))
    detail = "till 3 of store 0017 booked sales of 2026-03-11 (Wednesday): 1 from B, after the file of that day had come"
    assert await booked.found() == [("day_reopened", detail)][: int(told)]


async def test_file_that_brings_nothing_new_reopens_no_day(watch: Any) -> None:
    booked = Booked(watch(window=NIGHT | {"stores": ["0017"]}))
    await booked.file("2026-03-11 21:00", "A", sale(1))
    await booked.file("2026-03-12 09:00", "B", sale(1))
    assert await booked.found() == []


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ({"opens": "20:00", "by": "23:00", "grace": "2h", "until": "00:30"}, "by 23:00 with its grace, 01:00 of the next day"),
        (
            {"opens": "20:00", "by": "23:00", "until": "23:30", "store": {"0017": {"until": "22:00"}}, "grace": "45m"},
            "until 23:30 comes before by",
        ),
        ({"opens": "06:00", "by": "05:00", "grace": "3h"}, "until a day after opens comes before by 05:00"),
        (
            {"by": "20:00", "until": "21:00", "grace": "30m", "store": {"0017": {"by": "20:45"}}},
            "store 0017: until 21:00 comes before by 20:45",
        ),
    ],
)
def test_a_window_in_which_no_file_could_be_late_is_refused(window: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        options("in", {"window": window})

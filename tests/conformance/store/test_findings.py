from dataclasses import replace as changed
from typing import Any

import msgspec

from contracts.books import Arrival, Books, Finding, TillDay
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, batch, key, later, sale, seen

DAY = "2026-03-11"


def arrival(number: int | None = None, store: str = "0017", **more: Any) -> Arrival:
    name = f"{store}_{number}"
    return Arrival(
        **{"feed": "pos.tlog", "digest": name, "file": name, "at": NOW, "store": store, "business_date": DAY, "series": store}
        | {"number": number, **more}
    )


def late(store: str = "0017") -> Finding:
    return Finding(
        kind="file_late", subject=f"pos.tlog/{store}/{DAY}", feed="pos.tlog", detail="late", store=store, business_date=DAY, missing=1
    )


async def stand(books: Books) -> list[tuple[str, str, str, int]]:
    return [(f.kind, f.state, f.subject.rpartition("/")[2], f.missing) for f in reversed(await books.findings.list(100))]


async def events(books: Books) -> list[tuple[str, str]]:
    """Kind and state of what is announced, one round after the other."""
    found = []
    while due := await books.outbox.due("relay", later(9999), 60, 100):
        found += [(row.event.data["kind"], row.event.data["state"]) for row in due if row.event.type == "io.tillgate.file.finding.v1"]
        await books.outbox.delivered([row.position for row in due])
    return found


async def test_finding_of_many_workers_stands_once_and_leaves_as_one_event(books: Books, another: Open) -> None:
    other = await another()
    assert [await b.findings.record([late(), late("0018")], NOW) for b in (books, other, books)] == [2, 0, 0]
    assert await events(books) == [("file_late", "open"), ("file_late", "open")]


async def test_late_file_closes_what_waited_for_it_and_says_so(books: Books) -> None:
    await books.findings.record([late(), late("0018")], NOW)
    assert await books.findings.arrived(arrival(file="came.tlog"), [], later(60))
    found = {f.store: (f.state, f.closed_by, f.missing) for f in await books.findings.list(9)}
    assert found == {"0017": ("closed", "came.tlog", 0), "0018": ("open", "", 1)}
    assert sorted(await events(books)) == [("file_late", "closed"), ("file_late", "open"), ("file_late", "open")]
    assert await books.findings.came("pos.tlog", [DAY, "2026-03-10"]) == {("0017", DAY)}
    assert await books.findings.stores("pos.tlog", later(-1)) == {"0017"}
    assert await books.findings.stores("pos.tlog", later(1)) == set()


async def test_file_that_is_seen_again_changes_nothing(books: Books) -> None:
    noted = Finding(kind="file_early", subject="s", feed="pos.tlog", detail="early", state="noted")
    assert await books.findings.arrived(arrival(4), [noted], NOW)
    assert not await books.findings.arrived(arrival(4), [noted], later(5))
    assert await stand(books) == [("file_early", "noted", "s", 0)]


async def test_gap_before_a_file_closes_when_all_of_it_has_come(books: Books) -> None:
    for number in (7, 8, 12):
        await books.findings.arrived(arrival(number), [], NOW)
    assert await stand(books) == [("file_gap", "open", "9-11", 3)]
    await books.findings.arrived(arrival(10), [], NOW)
    await books.findings.arrived(arrival(9), [], NOW)
    assert (await stand(books))[0] == ("file_gap", "open", "9-11", 1)
    await books.findings.arrived(arrival(11), [], NOW)
    assert (await stand(books))[0] == ("file_gap", "closed", "9-11", 0)
    assert [f.kind for f in await books.findings.list(9, state="noted")] == ["file_out_of_order"] * 3
    assert (await books.findings.list(1, state="noted"))[0].detail == "file number 11 came after 12"


async def test_gap_of_one_store_says_nothing_of_another(books: Books) -> None:
    for store, number in (("0017", 1), ("0018", 5), ("0017", 2), ("0018", 6)):
        await books.findings.arrived(arrival(number, store), [], NOW)
    assert await stand(books) == []


async def test_number_that_came_before_with_other_content_is_noted(books: Books) -> None:
    await books.findings.arrived(arrival(5), [], NOW)
    await books.findings.arrived(changed(arrival(5), digest="other"), [], NOW)
    assert [f.detail for f in await books.findings.list(9)] == ["file number 5 came before, with other content"]


async def test_series_that_begins_again_after_its_last_number_has_no_gap(books: Books) -> None:
    for number in (9998, 9999, 1, 3):
        await books.findings.arrived(arrival(number, wraps=9999), [], NOW)
    assert [f.detail for f in await books.findings.list(9)] == ["file number 3 came, 2 did not"]
    await books.findings.arrived(arrival(2, wraps=9999), [], NOW)
    assert [(f.kind, f.state) for f in await books.findings.list(9)] == [("file_out_of_order", "noted"), ("file_gap", "closed")]


async def test_numbers_that_a_till_left_out_are_one_finding_until_they_come(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t")
    await books.sales.commit(batch(*(sale(n) for n in (3, 4, 7, 9, 10)), position=5), NOW)
    assert await books.findings.tills(seen().feed, later(-1), NOW) == 0, "it has not been silent long enough"
    assert await books.findings.tills(seen().feed, NOW, later(1)) == 1
    (found,) = await books.findings.list(9)
    assert (found.kind, found.state, found.missing, found.feed, found.file) == ("sequence_gap", "open", 3, seen().feed, seen().name)
    assert found.detail == f"till {found.workstation}, {found.business_date}: 3 missing of transactions 3 to 10: 5 to 6, 8"
    assert (found.subject, found.workstation, found.business_date) == (f"0017/3/{DAY}", "3", DAY)
    assert await books.findings.tills(seen().feed, NOW, later(1)) == 0, "nothing has changed since"
    await books.sales.commit(batch(sale(5), sale(6), sale(7), position=8), later(2))
    await books.findings.tills(seen().feed, later(2), later(3))
    assert (await stand(books))[0][1:] == ("open", DAY, 1)
    await books.sales.commit(batch(sale(8), position=9), later(4))
    assert await books.findings.tills(seen().feed, later(4), later(5)) == 1
    assert (await stand(books))[0][1:] == ("closed", DAY, 0)
    assert [each for each in await events(books) if each[0] == "sequence_gap"] == [("sequence_gap", s) for s in ("open", "open", "closed")]


async def test_tills_are_looked_at_by_their_own_feed_which_may_keep_silent(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t")
    await books.sales.commit(batch(sale(1), sale(5), position=2), NOW)
    assert await books.findings.tills("pos.other", NOW, NOW) == 0
    assert await books.findings.tills(seen().feed, NOW, NOW, say=False) == 1
    assert await books.findings.tills(seen().feed, NOW, NOW) == 0
    assert await stand(books) == []


async def test_gap_that_opens_again_is_open_again(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t")
    for numbers, state in (((1, 3), "open"), ((2,), "closed"), ((5,), "open")):
        await books.sales.commit(batch(*map(sale, numbers), position=9), NOW)
        await books.findings.tills(seen().feed, NOW, NOW)
        assert (await stand(books))[0][1] == state


async def test_tills_and_days_are_counted_for_themselves_and_repeats_not_at_all(books: Books) -> None:
    await books.files.claim(seen(), "w1", NOW, 60, "t")
    keys = [key(1), key(2), key(5, till="4"), key(6, till="4"), key(9, day="2026-03-12"), key(2, store="0018")]
    for _ in range(2):
        await books.sales.commit(batch(*(sale(1, key=k) for k in keys), position=6), NOW)
    assert await books.findings.tills(seen().feed, NOW, NOW) == 4
    assert await stand(books) == []


async def test_findings_are_listed_newest_first_by_what_is_asked(books: Books) -> None:
    await books.findings.record([late(f"00{n}") for n in range(10, 20)], NOW)
    await books.findings.close([late("0012")], "ada", later(1))
    newest = await books.findings.list(3)
    assert [f.store for f in newest] == ["0019", "0018", "0017"]
    assert [f.store for f in await books.findings.list(2, before=newest[-1].id)] == ["0016", "0015"]
    assert [(f.store, f.closed_by) for f in await books.findings.list(9, state="closed")] == [("0012", "ada")]
    assert [f.store for f in await books.findings.list(9, stores=("0013",), kind="file_late", feed="pos.tlog")] == ["0013"]
    assert await books.findings.list(9, feed="pos.poslog") == []
    await books.findings.record([msgspec.structs.replace(late("0020"), digest="d" * 64)], NOW)
    assert [f.store for f in await books.findings.list(9, about="d" * 64)] == ["0020"]


async def test_purge_keeps_what_is_open_and_the_number_that_the_next_is_counted_from(books: Books) -> None:
    await books.findings.record([late("0001"), late("0002")], NOW)
    await books.findings.close([late("0001")], "ada", NOW)
    for number in (1, 2, 3):
        await books.findings.arrived(arrival(number), [], NOW)
    assert await books.findings.purge(later(1)) == 1
    assert [f.store for f in await books.findings.list(9)] == ["0002"]
    await books.findings.arrived(arrival(5), [], later(2))
    assert (await stand(books))[-1] == ("file_gap", "open", "4-4", 1)


async def test_what_no_database_takes_is_written_otherwise(books: Books) -> None:
    odd = Finding(kind="file_again", subject="s\0\udcff", feed="f", detail="d\0", state="noted", file="n\udcff")
    assert await books.findings.record([odd, odd], NOW) == 1
    assert (await books.findings.list(1))[0].subject == "s\\x00\\udcff"


async def test_what_is_odd_about_a_tills_day_is_recorded_with_the_look_and_asked_once(books: Books) -> None:
    asked: list[TillDay] = []

    def odd(day: TillDay) -> list[Finding]:
        asked.append(day)
        return [Finding(kind="day_closed", subject=day.store, feed=seen().feed, detail="closed", state="noted")]

    await books.files.claim(seen(), "w1", NOW, 60, "t")
    for numbers, other in (((1, 2), "before"), ((2, 3), "")):
        await books.sales.commit(batch(*map(sale, numbers), position=9), NOW)
        if other:
            await books.findings.arrived(changed(arrival(), feed=seen().feed, digest=other), [], NOW)
        assert [await books.findings.tills(seen().feed, NOW, NOW, odd=odd) for _ in range(2)] == [1, 0]
    assert [(d.store, d.workstation, d.known, d.booked, d.file, d.other) for d in asked] == [
        ("0017", "3", 0, 2, seen().name, True),
        ("0017", "3", 2, 3, seen().name, True),
    ]
    assert asked[0].at == NOW
    assert await stand(books) == [("day_closed", "noted", "0017", 0)]

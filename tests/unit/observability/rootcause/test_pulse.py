"""Minute by minute, how each channel and each system did."""

from observability.rootcause.model import Where
from observability.rootcause.pulse import MINUTES, MOST, Counted, by_channel, by_system
from tests.unit.observability.rootcause.online.made import Counts

NOW = 1_800_000_000  # the first second of a minute: the last hour of figures ends with a minute that has just begun
STOCK = Where("erp", "GetStock", "web", "GET /stock", "2026-01", "017")


def counted() -> Counts:
    made = Counts()
    for where, counts in (
        (Where("", "", "web", "GET /stock"), {"n": 10, "timeout": 1, "late": 2, "caller": 3}),
        (Where("", "", "store", "GET /stock"), {"n": 4}),
        (STOCK, {"n": 9, "timeout": 1, "blamed": 3000, "excess_ms": 9000, "degraded": 4}),
        (Where("gateway", "worker", "web"), {"n": 5, "blamed": 1000}),
        (Where("client", "shop-app", "web"), {"n": 5, "caller": 3}),
    ):
        made.add(NOW - 60, where, **counts)
        made.add(NOW - 50, where, **counts)
    return made


def test_failed_and_late_ones_are_bad_and_mistakes_of_callers_and_blame_are_not() -> None:
    web, store = by_channel(counted().rows(), NOW)
    assert (web.name, web.n[-3:], web.bad[-3:]) == ("web", (0, 20, 0), (0, 6, 0))
    assert (store.name, store.n[-2], sum(store.bad)) == ("store", 8, 0)
    assert [(s.name, s.n[-2], s.bad[-2], s.degraded[-2]) for s in by_system(counted().rows(), NOW)] == [("erp", 18, 2, 8)]


def test_only_the_last_hour_counts_and_nothing_is_nothing() -> None:
    assert by_channel(Counts().rows(), NOW) == []
    made = Counts()
    made.add(NOW - MINUTES * 60, STOCK, n=7)
    made.add(NOW - MINUTES * 60 + 60, STOCK, n=3)
    made.add(NOW + 60, STOCK, n=5)
    assert by_system(made.rows(), NOW) == [Counted("erp", (3, *[0] * (MINUTES - 1)), *[(0,) * MINUTES] * 2)]


def test_what_is_worst_now_comes_first_and_no_more_bad_ones_than_requests() -> None:
    made = Counts()
    for number in range(MOST + 5):
        made.add(NOW - 60, Where(f"s{number:02}", "x"), n=1 + number)
    made.add(NOW - 60, Where("s00", "x"), timeout=3)  # corrected elsewhere
    found = by_system(made.rows(), NOW)
    assert [(p.name, p.bad[-2]) for p in found[:2]] == [("s00", 1), (f"s{MOST + 4:02}", 0)]
    assert len(found) == MOST

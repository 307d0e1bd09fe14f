from datetime import UTC, datetime, timedelta

from adapters.freshness import STORES, Freshness

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def live(clock: Freshness, seconds: range, store: str = "") -> None:
    for second in seconds:
        clock.seen(at(second), at(second + 0.2), store)


def still(clock: Freshness, as_of: int, seconds: range, store: str = "") -> None:
    for second in seconds:
        clock.seen(at(as_of), at(second + 0.2), store)


def test_answers_that_stand_still_although_they_used_to_move_are_frozen_since_the_moment_they_name() -> None:
    clock = Freshness()
    live(clock, range(20))
    assert clock.frozen() == []
    still(clock, 19, range(20, 36))
    (found,) = clock.frozen()
    assert (found.store, found.as_of, found.answers) == ("", at(19), 16)
    live(clock, range(36, 38))
    assert clock.frozen() == []
    still(clock, 37, range(38, 55))
    assert clock.frozen(), "what stood still once is not usual afterwards"


def test_system_that_moves_by_the_hour_is_judged_by_the_hour() -> None:
    clock = Freshness()
    for hour in range(5):
        for minute in range(60):
            clock.seen(at(3600 * hour), at(3600 * hour + 60 * minute))
    assert clock.frozen() == []
    still(clock, 4 * 3600, range(5 * 3600, 8 * 3600, 60))
    assert clock.frozen()


def test_nobody_knows_before_steps_were_seen_and_nothing_is_frozen_that_nobody_asks() -> None:
    clock = Freshness()
    still(clock, 0, range(600))
    assert clock.frozen() == []
    clock = Freshness()
    live(clock, range(10))
    live(clock, range(30_000, 30_010))
    still(clock, 30_009, range(30_010, 30_013))
    assert clock.frozen() == []


def test_one_store_that_stands_still_is_named_and_the_whole_when_all_do() -> None:
    clock = Freshness()
    for second in range(20):
        clock.seen(at(second), at(second + 0.2), "0001")
        clock.seen(at(second), at(second + 0.3), "0002")
    for second in range(20, 40):
        clock.seen(at(19), at(second + 0.2), "0001")
        clock.seen(at(second), at(second + 0.3), "0002")
    assert [f.store for f in clock.frozen()] == ["0001"]
    still(clock, 39, range(40, 60), "0001")
    still(clock, 39, range(40, 60), "0002")
    assert [f.store for f in clock.frozen()] == [""]


def test_one_answer_from_the_future_does_not_make_all_later_ones_stand_still() -> None:
    clock = Freshness()
    live(clock, range(20))
    clock.seen(at(1_000_000), at(20.2))
    live(clock, range(21, 100))
    assert clock.frozen() == []
    still(clock, 99, range(100, 120))
    assert [f.as_of for f in clock.frozen()] == [at(99)]


def test_stores_are_bounded() -> None:
    clock = Freshness()
    for number in range(STORES + 50):
        clock.seen(NOON, NOON, f"{number:05d}")
    assert len(clock._clocks) == STORES + 1

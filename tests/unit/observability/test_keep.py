from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from contracts.errors import BreakerOpen, UpstreamTimeout
from observability import FlightRecord, Recorder, Step, step
from observability.keep import Keep


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Collected:
    def __init__(self) -> None:
        self.records: list[FlightRecord] = []

    losses: ClassVar[dict[str, int]] = {}

    def put(self, record: FlightRecord) -> None:
        self.records.append(record)

    async def close(self) -> None: ...


def recorder(clock: Clock, per_second: float = 200.0) -> tuple[Recorder, Collected]:
    kept = Collected()
    return Recorder(sinks=[kept], keep=Keep(per_second=per_second, clock=clock)), kept


def fly(of: Recorder, inside: Callable[[FlightRecord], None] = lambda record: None, channel: str = "web") -> None:
    with of.flight("request", "GET /x", channel=channel) as record:
        inside(record)


def failing(record: FlightRecord) -> None:
    record.failed(UpstreamTimeout(system="erp", operation="x"))


def retried(record: FlightRecord) -> None:
    with step(Step.ATTEMPT, attempt=2):
        pass


def refused(record: FlightRecord) -> None:
    with pytest.raises(BreakerOpen), step(Step.GUARD):
        raise BreakerOpen(system="erp", operation="x")


def late(record: FlightRecord) -> None:
    record.objective = 1e-9


def quarantining(record: FlightRecord) -> None:
    record.quarantined = True


def degraded(record: FlightRecord) -> None:
    record.degraded("stale")


@pytest.mark.parametrize(
    ("inside", "reason"),
    [(failing, "failed"), (retried, "retried"), (refused, "guard"), (late, "late"), (quarantining, "quarantine"), (degraded, "degraded")],
)
def test_every_interesting_flight_is_kept_with_its_reason(inside: Callable[[FlightRecord], None], reason: str) -> None:
    of, kept = recorder(Clock())
    for _ in range(50):
        fly(of, inside)
    assert [(r.sample_reason, r.sample_weight) for r in kept.records] == [(reason, 1)] * 50


def test_a_baseline_is_kept_per_name_and_channel_and_its_weights_sum_to_what_was_seen() -> None:
    clock = Clock()
    of, kept = recorder(clock)
    for _ in range(1200):  # 120 s, 10 per second and channel
        clock.now += 0.1
        fly(of, channel="web")
        fly(of, channel="mobile")
    web = [r for r in kept.records if r.channel == "web"]
    assert 11 <= len(web) <= 13
    assert 1200 - 100 <= sum(r.sample_weight for r in web) <= 1200
    assert of.keep.seen == 2400
    assert of.keep.dropped == 2400 - len(kept.records)


def test_over_budget_failures_are_the_last_to_go_and_the_next_one_carries_their_weight() -> None:
    clock = Clock()
    of, kept = recorder(clock, per_second=10)
    for _ in range(30):
        fly(of, late)
    assert len(kept.records) == 8  # down to the reserve
    for _ in range(30):
        fly(of, failing)
    failed = [r for r in kept.records if r.sample_reason == "failed"]
    assert 2 <= len(failed) <= 3
    clock.now += 1
    fly(of, failing)
    assert sum(r.sample_weight for r in kept.records if r.sample_reason == "failed") == 31
    assert of.keep.over_budget["failed"] > 0


def test_a_flight_that_left_sampled_is_kept_beyond_the_budget() -> None:
    of, kept = recorder(Clock(), per_second=1)
    for _ in range(20):
        with of.flight("request", "GET /x", parent=f"00-{'a' * 32}-{'b' * 16}-01", trusted=True):
            pass
    assert len(kept.records) == 20
    assert kept.records[0].sample_reason == "propagated"


def test_flights_that_touch_a_suspected_operation_are_kept() -> None:
    of, kept = recorder(Clock())
    fly(of)
    of.suspected = frozenset({("erp", "GetStock")})
    for _ in range(5):
        with of.flight("request", "GET /x", channel="web"), step(Step.CALL, system="erp", operation="GetStock"):
            pass
    assert [r.sample_reason for r in kept.records] == ["baseline", *["suspected"] * 5]


def test_the_memory_of_strata_is_bounded_whatever_names_come() -> None:
    keep = Keep()
    of = Recorder(keep=keep)
    for n in range(6000):
        with of.flight("request", f"GET /{n}"):
            pass
    assert len(keep._strata) <= 4100

"""What passed in one go is counted like every other flight, and becomes a record when the next of its kind is to be kept."""

from time import monotonic_ns
from typing import Any, ClassVar

from contracts.errors import Overloaded
from observability import FlightRecord, Recorder
from observability.baseline import bucket
from observability.cells import RouteKey
from observability.keep import Keep

KIND = ("GET /p", "web", "v")
KEY = RouteKey("web", "GET /p", "v")


class Sink:
    def __init__(self) -> None:
        self.kept: list[FlightRecord] = []

    losses: ClassVar[dict[str, int]] = {}

    def put(self, record: FlightRecord) -> None:
        self.kept.append(record)

    async def close(self) -> None: ...


def passed(recorder: Recorder, began: int | None = None) -> None:
    """As the application does it."""
    began = monotonic_ns() if began is None else began
    if not recorder.passed(*KIND, began):
        flight = recorder.flight("request", KIND[0])
        flight.channel, flight.api_version = KIND[1:]
        flight.set(status=200)
        flight.ended(began)


def recorder(sink: Sink, **options: Any) -> Recorder:
    return Recorder(sinks=[sink], keep=Keep(**options))


def test_the_first_of_a_kind_is_kept_and_all_are_counted() -> None:
    sink = Sink()
    it = recorder(sink)
    for _ in range(100):
        passed(it)
    cell = it.snapshot().routes[KEY]
    assert (cell.n, sum(cell.durations), it.keep.seen, len(sink.kept)) == (100, 100, 100, 1)
    assert it.snapshot().routes[KEY].n == 100
    assert sink.kept[0].t1 > sink.kept[0].t0 == sink.kept[0].root.t0


def test_what_took_a_little_longer_is_counted_in_its_bucket_without_a_record() -> None:
    it = recorder(Sink())
    for _ in range(3):
        passed(it)
    for _ in range(2):
        assert it.passed(*KIND, monotonic_ns() - 1_000_000)
        durations = it.snapshot().routes[KEY].durations
    assert (sum(durations), sum(durations[bucket(0.001) :])) == (5, 2)
    assert not it.passed(*KIND, monotonic_ns() - 10_000_000)


def test_weights_of_what_is_kept_add_up_to_what_was_seen() -> None:
    sink = Sink()
    it = recorder(sink, baseline_per_minute=60_000.0)  # one each millisecond
    end = monotonic_ns() + 20_000_000
    n = 0
    while monotonic_ns() < end:
        passed(it)
        n += 1
    assert 1 < len(sink.kept) < n
    it.snapshot()
    rest = it.keep.stratum("GET /p", "web")
    assert rest is not None
    assert sum(record.sample_weight for record in sink.kept) + rest[0] == n == it.keep.seen


def test_what_was_late_or_is_suspected_becomes_a_record() -> None:
    sink = Sink()
    it = recorder(sink)
    for _ in range(3):
        passed(it)
    passed(it, monotonic_ns() - 2_000_000_000)
    assert [record.sample_reason for record in sink.kept] == ["baseline", "late"]
    it.suspected = frozenset({("web", "GET /p")})
    passed(it)
    assert sink.kept[-1].sample_reason == "suspected"
    it.suspected = frozenset()
    it.objectives = {"GET /p": 1e-9}
    passed(it)
    assert sink.kept[-1].sample_reason == "late"
    assert it.snapshot().routes[KEY].n == 6


def refused(recorder: Recorder) -> None:
    """As the application does it."""
    if not recorder.passed(KIND[0], KIND[1], "", monotonic_ns(), "rejected"):
        with recorder.flight("request", KIND[0]) as flight:
            flight.channel = KIND[1]
            flight.failed(Overloaded())
            flight.set(status=503)


def test_refusals_are_counted_as_such_and_the_first_is_kept() -> None:
    sink = Sink()
    it = recorder(sink)
    for _ in range(100):
        refused(it)
        passed(it)
    refusals, healthy = it.snapshot().routes[KEY._replace(api_version="")], it.snapshot().routes[KEY]
    assert (refusals.n, refusals.count("rejected"), sum(refusals.durations)) == (100, 100, 100)
    assert (healthy.n, healthy.failed) == (100, 0)
    assert it.keep.seen == 200
    assert [record.sample_reason for record in sink.kept].count("rejected") < 10
    rest = it.keep.stratum("GET /p", "web", "rejected")
    assert rest is not None
    assert sum(r.sample_weight for r in sink.kept if r.sample_reason == "rejected") + rest[0] == 100


def test_a_refusal_that_found_no_budget_is_offered_again_a_second_later_only() -> None:
    it = recorder(Sink(), per_second=0.0)
    it.keep._tokens = 0.0
    flights = 0
    for _ in range(100):
        before = it.keep.over_budget["rejected"]
        refused(it)
        flights += it.keep.over_budget["rejected"] - before
    assert flights < 10
    assert it.snapshot().routes[KEY._replace(api_version="")].count("rejected") == 100

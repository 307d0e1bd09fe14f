"""The scrape page: cells and readings of the moment in Prometheus text form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from observability.baseline import BUCKETS, upper_bound
from observability.cells import SHOWN, Cell
from observability.recorder import Recorder
from observability.vocabulary import FAILURE_CLASSES

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN: Final = "application/openmetrics-text"
"""Whoever accepts it gets exemplars, which lead from a bucket to a kept trace (OpenMetrics 1.0)."""


class Reading(NamedTuple):
    """A gauge of the moment, such as `Reading("tillgate_bulkhead_waiting", "Calls waiting for a slot", {"system": "erp"}, 3)`."""

    name: str
    help: str
    labels: dict[str, str]
    value: float


def exposition(recorder: Recorder, readings: Iterable[Reading] = (), accept: str = "") -> tuple[bytes, str]:
    """The page's body and its media type. Readings of one name carry the same label names. `accept` as in the request."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(recorder, list(readings)))
    if OPEN in accept:
        return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]  # the library is untyped there
    return generate_latest(registry), CONTENT_TYPE


class _Page(Collector):
    def __init__(self, recorder: Recorder, readings: list[Reading]) -> None:
        self._recorder, self._readings = recorder, readings

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        cells = self._recorder.snapshot()
        yield from _family("tillgate_flight", "Flights", ("channel", "route", "api_version"), list(cells.routes.items()))
        yield from _family("tillgate_call", "Logical calls", ("system", "operation"), list(cells.operations.items()))
        attempts = CounterMetricFamily("tillgate_attempts", "Tries on the wire", labels=("system", "operation"))
        for key, cell in cells.operations.items():
            attempts.add_metric(list(key), cell.attempts)
        yield attempts
        blamed = CounterMetricFamily("tillgate_blamed", "Bad requests by whose doing they were", labels=("system", "operation"))
        for key, share in cells.blamed.items():
            blamed.add_metric(list(key), share)
        yield blamed
        yield from self._own()
        yield from self._gauges()

    def _own(self) -> Iterator[Metric]:
        recorder = self._recorder
        yield GaugeMetricFamily("tillgate_flights_open", "Flights that have not ended", value=len(recorder.open_flights))
        kept = CounterMetricFamily("tillgate_flights_kept", "Flights kept whole, by reason", labels=("reason",))
        for reason, count in sorted(recorder.keep.kept_for.items()):
            kept.add_metric([reason], count)
        yield kept
        lost = CounterMetricFamily("tillgate_telemetry_lost", "Telemetry that was dropped, by place", labels=("place",))
        for place, count in recorder.lost().items():
            if place != "seen":
                lost.add_metric([place], count)
        yield lost

    def _gauges(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for reading in self._readings:
            family = families.get(reading.name)
            if family is None:
                family = families[reading.name] = GaugeMetricFamily(reading.name, reading.help, labels=tuple(reading.labels))
            family.add_metric(list(reading.labels.values()), reading.value)
        yield from families.values()


def _family(name: str, what: str, labels: Sequence[str], cells: list[tuple[tuple[str, ...], Cell]]) -> Iterator[Metric]:
    durations = HistogramMetricFamily(f"{name}_duration_seconds", f"{what}: how long they took", labels=labels)
    failures = CounterMetricFamily(f"{name}_failures", f"{what} that failed, by class", labels=(*labels, "class"))
    late = CounterMetricFamily(f"{name}_late", f"{what} beyond their objective", labels=labels)
    degraded = CounterMetricFamily(f"{name}_degraded", f"{what} answered stale or in part", labels=labels)
    cancelled = CounterMetricFamily(f"{name}_cancelled", f"{what} given up by the caller", labels=labels)
    for key, cell in cells:
        at = list(key)
        running, buckets = 0, list[tuple[str, float] | tuple[str, float, Exemplar]]()
        for index, count in enumerate(cell.durations):
            running += count
            if index in SHOWN:
                buckets.append((f"{upper_bound(index):.6g}", running, *_exemplar(cell, index)))
        buckets.append(("+Inf", running, *_exemplar(cell, BUCKETS - 1)))
        durations.add_metric(at, buckets, sum_value=cell.total_us / 1e6)
        for failure, count in zip(FAILURE_CLASSES, cell.failures, strict=True):
            failures.add_metric([*at, failure], count)
        late.add_metric(at, cell.late)
        degraded.add_metric(at, cell.degraded)
        cancelled.add_metric(at, cell.cancelled)
    yield from (durations, failures, late, degraded, cancelled)


def _exemplar(cell: Cell, index: int) -> tuple[()] | tuple[Exemplar]:
    found = cell.exemplars.get(index)
    return (Exemplar({"trace_id": found[0]}, found[1], found[2]),) if found else ()

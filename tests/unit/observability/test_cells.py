from __future__ import annotations

import pytest

from contracts.errors import BadFile, UpstreamTimeout
from observability import Recorder, Step, step
from observability.baseline import BUCKETS, bucket, upper_bound
from observability.cells import Cell, Cells, OperationKey, RouteKey


def one_call(of: Recorder, *, fail: int = 0) -> None:
    with of.flight("request", "GET /x", channel="web", api_version="2026-09"), step(Step.CALL, system="erp", operation="GetStock"):
        for n in range(fail):
            with pytest.raises(UpstreamTimeout), step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=n + 1):
                raise UpstreamTimeout(system="erp", operation="GetStock")
        with step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=fail + 1):
            pass


def test_attempts_are_load_and_only_the_logical_outcome_counts() -> None:
    of = Recorder()
    one_call(of, fail=2)
    cell = of.cells.operations[OperationKey("erp", "GetStock")]
    assert (cell.n, cell.attempts, cell.failed) == (1, 3, 0)
    assert of.cells.routes[RouteKey("web", "GET /x", "2026-09")].n == 1


def test_an_attempt_without_a_call_around_it_counts_for_itself() -> None:
    of = Recorder()
    with pytest.raises(UpstreamTimeout), of.flight("process", "order"), step(Step.ATTEMPT, system="erp", operation="Find"):
        raise UpstreamTimeout(system="erp", operation="Find")
    cell = of.cells.operations[OperationKey("erp", "Find")]
    assert (cell.n, cell.failed, cell.count("timeout")) == (1, 1, 1)


def test_a_file_is_one_call_of_its_feed_whatever_its_steps() -> None:
    of = Recorder()
    for error in (None, BadFile(file="x", reason="empty")):
        with of.flight("file", "pos.tlog", system="pos", operation="tlog") as record, step(Step.FILE_PARSE, feed="pos.tlog"):
            if error:
                record.failed(error)
    cell = of.cells.operations[OperationKey("pos", "tlog")]
    assert (cell.n, cell.count("data")) == (2, 1)


def test_dropped_flights_are_counted_all_the_same() -> None:
    of = Recorder()
    for _ in range(500):
        one_call(of)
    assert of.keep.kept < 5
    assert of.cells.operations[OperationKey("erp", "GetStock")].n == 500


def test_cells_of_several_workers_merge_by_addition_and_windows_by_subtraction() -> None:
    a, b = Recorder(), Recorder()
    for _ in range(3):
        one_call(a)
    before = a.snapshot()
    one_call(a, fail=1)
    one_call(b)
    window = a.cells.operations[OperationKey("erp", "GetStock")].since(before.operations[OperationKey("erp", "GetStock")])
    assert (window.n, window.attempts, sum(window.durations)) == (1, 2, 1)
    total = Cells()
    total.merge(a.snapshot())
    total.merge(b.snapshot())
    cell = total.operations[OperationKey("erp", "GetStock")]
    assert (cell.n, cell.attempts, sum(cell.durations)) == (5, 6, 5)
    assert before.operations[OperationKey("erp", "GetStock")].n == 3


def test_beyond_the_limit_cells_fold_into_other_and_say_so() -> None:
    cells = Cells(limit=10)
    for n in range(50):
        cells.route(RouteKey("web", f"GET /{n}", "")).n += 1
    assert len(cells.routes) == 11
    assert cells.routes[RouteKey("other", "other", "other")].n == 40
    assert cells.folded == 40


def test_late_is_beyond_the_declared_objective() -> None:
    of = Recorder(objectives={"GET /x": 1e-9, "erp.GetStock": 60})
    one_call(of)
    assert of.cells.routes[RouteKey("web", "GET /x", "2026-09")].late == 1
    assert of.cells.operations[OperationKey("erp", "GetStock")].late == 0


@pytest.mark.parametrize("seconds", [0, 1e-5, 1e-4, 0.00123, 0.4, 1, 59.9, 119, 1e6])
def test_a_duration_falls_into_the_bucket_that_holds_it(seconds: float) -> None:
    index = bucket(seconds)
    assert seconds <= upper_bound(index)
    assert index in {0, BUCKETS - 1} or seconds >= upper_bound(index - 1)


def test_a_quantile_is_right_to_within_its_bucket() -> None:
    cell = Cell()
    for ms in range(1, 1001):
        cell.n += 1
        cell.durations[bucket(ms / 1000)] += 1
    assert cell.quantile(0.5) == pytest.approx(0.5, rel=0.19)
    assert cell.quantile(0.95) == pytest.approx(0.95, rel=0.19)
    assert Cell().quantile(0.5) == 0

from __future__ import annotations

import pytest

from observability.console.waterfall import ROWS_SHOWN, waterfall
from observability.spans import Kind, Span


def span(id: str, parent: str, start: float, end: float, *, system: str = "", kind: Kind = "INTERNAL") -> Span:
    """Times in ms."""
    return Span(
        trace_id="t",
        span_id=id,
        parent_id=parent,
        name=id,
        kind=kind,
        start=int(1e18 + start * 1e6),
        end=int(1e18 + end * 1e6),
        attributes={"service.peer.name": system} if system else {},
    )


def test_bars_stand_in_tree_order_on_one_axis() -> None:
    fall = waterfall([span("b", "r", 50, 100), span("r", "", 0, 100), span("a2", "a", 10, 20), span("a", "r", 0, 40)])
    assert [(b.span.name, b.depth, b.left, b.width) for b in fall.bars] == [
        ("r", 0, 0, 100),
        ("a", 1, 0, 40),
        ("a2", 2, 10, 10),
        ("b", 1, 50, 50),
    ]
    assert fall.milliseconds == 100


def test_parallel_attempts_count_once_and_the_rest_is_the_gateway() -> None:
    fall = waterfall(
        [
            span("r", "", 0, 100),
            span("1", "r", 0, 60, system="erp", kind="CLIENT"),
            span("2", "r", 30, 80, system="erp", kind="CLIENT"),
            span("3", "r", 70, 90, system="oms", kind="CLIENT"),
        ]
    )
    assert [(s.system, round(s.milliseconds)) for s in fall.shares] == [("erp", 80), ("oms", 20), ("gateway", 10)]


def test_orphans_circles_and_duplicates_are_shown_and_do_not_hang() -> None:
    spans = [
        span("x", "y", 0, 5),
        span("y", "x", 1, 4),
        span("o", "gone", 2, 3),
        span("d", "", 0, 9),
        span("d", "", 0, 9),
        span("s", "s", 1, 2),
    ]
    assert sorted(b.span.name for b in waterfall(spans).bars) == ["d", "d", "o", "s", "x", "y"]


@pytest.mark.parametrize("length", [0, 0.0005, 1, 7, 99, 1234, 86_400_000])
def test_ticks_are_few_and_round(length: float) -> None:
    ticks = waterfall([span("r", "", 0, length)]).ticks
    assert 3 <= len(ticks) <= 7
    assert ticks[0].milliseconds == 0
    assert all(0 <= t.left <= 100 for t in ticks)


def test_a_very_long_trace_is_cut_and_says_so() -> None:
    fall = waterfall([span(str(n), "", n, n + 1) for n in range(ROWS_SHOWN + 7)])
    assert (len(fall.bars), fall.hidden) == (ROWS_SHOWN, 7)

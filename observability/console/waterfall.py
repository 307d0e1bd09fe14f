"""The picture of one trace: which bar stands where, what kind it is, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from observability import vocabulary as names
from observability.spans import Span, instant

DEPTH_SHOWN: Final = 10
ROWS_SHOWN: Final = 400
_SHOWN_ELSEWHERE: Final = frozenset({names.STEP, names.OUTCOME, names.ERROR_TYPE})
_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """`left` and `width` are per cent of the time axis; `look` is the step, `outcome` as recorded."""

    span: Span
    depth: int
    left: float
    width: float
    look: str
    outcome: str
    error_type: str
    offset_ms: float
    milliseconds: float
    label: Literal["right", "left", "inside"]
    """Where the duration has room beside the bar, or in it."""
    attributes: list[tuple[str, str]]


class Tick(msgspec.Struct, frozen=True):
    left: float
    milliseconds: float


class Share(msgspec.Struct, frozen=True):
    """Time during which at least one attempt towards this system ran, and its share of the whole."""

    system: str
    milliseconds: float
    share: float


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    root: Span
    start: datetime
    milliseconds: float
    bars: list[Bar]
    ticks: list[Tick]
    shares: list[Share]
    hidden: int
    """Rows beyond ROWS_SHOWN."""


def waterfall(spans: Sequence[Span]) -> Waterfall:
    """Spans of one trace, at least one, in any order. Orphans and circles are foreign data: they stand at the top level."""
    spans = sorted(spans, key=lambda s: (s.start, -s.end))
    begin, end = spans[0].start, max(s.end for s in spans)
    whole = max(end - begin, 10_000)
    order = depths(spans)
    bars = [_bar(span, depth, begin, whole) for span, depth in order[:ROWS_SHOWN]]
    return Waterfall(
        root=order[0][0],
        start=instant(begin),
        milliseconds=(end - begin) / 1e6,
        bars=bars,
        ticks=_ticks(whole / 1e6),
        shares=_shares(spans, begin, end),
        hidden=max(0, len(order) - ROWS_SHOWN),
    )


def depths(spans: Sequence[Span]) -> list[tuple[Span, int]]:
    """In the order of a tree, each with its depth in it."""
    known = {s.span_id for s in spans}
    children: dict[str, list[Span]] = {}
    for span in spans:
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    order: list[tuple[Span, int]] = []
    seen: set[int] = set()
    stack = [(s, 0) for s in reversed(children.get("", []))]
    rest = iter(spans)
    while True:
        while stack:
            span, depth = stack.pop()
            if id(span) in seen:
                continue
            seen.add(id(span))
            order.append((span, depth))
            stack += [(child, min(depth + 1, DEPTH_SHOWN)) for child in reversed(children.get(span.span_id, []))]
        orphan = next((s for s in rest if id(s) not in seen), None)  # only members of a circle are left
        if orphan is None:
            return order
        stack.append((orphan, 0))


def _bar(span: Span, depth: int, begin: int, whole: int) -> Bar:
    left = 100 * (span.start - begin) / whole
    width = max(0.25, 100 * (span.end - span.start) / whole)
    return Bar(
        span=span,
        depth=depth,
        left=round(min(left, 99.75), 3),
        width=round(min(width, 100 - min(left, 99.75)), 3),
        look=span.text(names.STEP).partition(".")[0] or span.kind.lower(),
        outcome=_outcome(span),
        error_type=span.text(names.ERROR_TYPE),
        offset_ms=(span.start - begin) / 1e6,
        milliseconds=span.milliseconds,
        label="right" if left + width <= 88 else "left" if left > 12 else "inside",
        attributes=[(name, str(value)) for name, value in sorted(span.attributes.items()) if name not in _SHOWN_ELSEWHERE],
    )


def _outcome(span: Span) -> str:
    found = span.text(names.OUTCOME) or ("failure" if span.status == "error" else "success")
    return "rejected" if found == "success" and span.text("tillgate.guard.outcome") == "rejected" else found


def _ticks(whole_ms: float) -> list[Tick]:
    """Three to six round times across the axis."""
    magnitude = 1e-3
    while magnitude * 10 <= whole_ms / 3:
        magnitude *= 10
    step = next(m * magnitude for m in _NICE if whole_ms / (m * magnitude) <= 6)
    return [Tick(round(100 * i * step / whole_ms, 3), i * step) for i in range(int(whole_ms / step) + 1)]


def _shares(spans: Sequence[Span], begin: int, end: int) -> list[Share]:
    by_system: dict[str, list[tuple[int, int]]] = {}
    for span in spans:
        if span.kind == "CLIENT" and (system := span.text(names.PEER)):
            by_system.setdefault(system, []).append((span.start, span.end))
    whole = max(end - begin, 1)
    systems = [Share(system, ns / 1e6, ns / whole) for system, ns in ((s, _union(i)) for s, i in by_system.items())]
    systems.sort(key=lambda s: -s.milliseconds)
    elsewhere = whole - _union([i for intervals in by_system.values() for i in intervals])
    return [*systems, Share("gateway", elsewhere / 1e6, elsewhere / whole)]


def _union(intervals: list[tuple[int, int]]) -> int:
    total, reached = 0, 0
    for start, end in sorted(intervals):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total

"""What was seen over time, around an incident."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np

from observability.rootcause.model import Evidence, Timeline, TimelineMark, TimelineRow
from observability.rootcause.online.candidates import Case
from observability.rootcause.online.table import BIN

BEFORE: Final = 60
"""Coarse bins before the onset."""
MOST_ROWS: Final = 6
MOST_STEPS: Final = 180
MOST_MARKS: Final = 50
_STEPS: Final = (1, 3, 6, 12, 30, 60)
"""In coarse bins."""


def timeline(case: Case, evidence: Evidence) -> Timeline:
    """The most hit slices of channel and route, and the changes, breakers and files of that time."""
    table = case.table
    begin = max(0, case.span.begin - BEFORE)
    wide = next((s for s in _STEPS if (table.bins - begin) / s <= MOST_STEPS), _STEPS[-1])
    begin -= begin % wide if begin >= wide else begin
    hit = np.flatnonzero(case.excess_by_key >= 0.5).tolist()
    most = sorted(hit, key=lambda i: (-case.excess_by_key[i], case.pairs[i]))[:MOST_ROWS]
    group = np.full(len(case.pairs) + 1, -1, np.int64)  # the last one is for keys without a group
    group[most] = np.arange(len(most))
    of = np.where(case.whole, group[case.pair], -1)
    rows = table.rows_of(of >= 0)
    n, bad = (table.over_time(of, x, len(most), rows)[:, begin:] for x in (table.n, table.bad))
    edges = np.arange(0, max(1, n.shape[1]), wide)
    steps = [np.add.reduceat(x, edges, axis=1).astype(int).tolist() if len(most) else [] for x in (n, bad)]
    since = datetime.fromtimestamp(table.start + begin * BIN, UTC)
    return Timeline(
        begin=since,
        step_s=wide * BIN,
        rows=tuple(
            TimelineRow(channel=case.pairs[i][0], route=case.pairs[i][1], n=tuple(a), bad=tuple(b))
            for i, a, b in zip(most, *steps, strict=True)
        ),
        marks=tuple(sorted(_marks(evidence, since), key=lambda m: (m.at, m.kind, m.what))[-MOST_MARKS:]),
    )


def _marks(evidence: Evidence, since: datetime) -> list[TimelineMark]:
    marks = [TimelineMark(at=c.at, kind="change", what=c.what) for c in evidence.changes]
    marks += [TimelineMark(at=g.at, kind="breaker", what=f"{g.system} {g.operation} {g.state}") for g in evidence.guards]
    marks += [TimelineMark(at=f.since, kind="file", what=f"{f.system} {f.operation} {f.what}") for f in evidence.feeds]
    return [m for m in marks if m.at >= since]

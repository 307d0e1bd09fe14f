"""What a reader of an incident sees over time: the slices that were hit most, from before the onset on, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from observability.rootcause.felt import beyond, felt
from observability.rootcause.model import CLIENT, COUNTERS, Evidence, GuardChange, Incident, Timeline, TimelineMark, TimelineRow

BEFORE_S: Final = 600
STEPS: Final = 120
ROWS: Final = 4
MARKS: Final = 40
_N: Final = COUNTERS.index("n")
_CALLER, _LATE, _DEGRADED = (COUNTERS.index(name) for name in ("caller", "late", "degraded"))
_BAD: Final = tuple(i for i in range(1, _LATE + 1) if i != _CALLER)


def with_timeline(incident: Incident, evidence: Evidence) -> Incident:
    """The incident with what the evidence shows of its time, the edges that nobody declared, and who got less than they asked for."""
    impact = replace(incident.impact, degraded=beyond(incident))
    return replace(incident, impact=impact, timeline=timeline(incident, evidence), undeclared=evidence.edges[:MARKS])


def timeline(incident: Incident, evidence: Evidence) -> Timeline:
    """From ten minutes before the onset to now (or shortly after the end), in at most 120 steps."""
    end = min(evidence.now, incident.recovered_at.timestamp() + 300) if incident.recovered_at else evidence.now
    begin = int(incident.onset.low.timestamp() - BEFORE_S)
    step = 10
    if begin < evidence.now - 900 or (end - begin) / step > STEPS:  # older bins are minutes
        step = 60 * max(1, -int(-(end - begin) // (60 * STEPS)))
    begin -= begin % step
    size = max(1, -int(-(end - begin) // step))
    rows = evidence.coarse
    routes, channels = incident.impact.hit.get("route"), incident.impact.hit.get("channel")
    clients = {c.operation for c in incident.culprits if c.system == CLIENT}
    less = any(word == "degraded" for _, word in felt(incident))
    bad_columns = (_CALLER,) if clients else (*_BAD, _DEGRADED) if less else _BAD
    wanted = {
        index: (key.channel, key.route)
        for index, key in enumerate(rows.keys)
        if (key.system == CLIENT and key.operation in clients if clients else not key.system)
        and (key.route in routes if routes else key.channel)
        and (not channels or not key.channel or key.channel in channels)
    }
    slices = sorted(set(wanted.values()))
    number = {slice_: at for at, slice_ in enumerate(slices)}
    of = np.full(len(rows.keys) + 1, -1, np.int64)
    for index, slice_ in wanted.items():
        of[index] = number[slice_]
    place = (np.frombuffer(rows.bin, np.int64) - begin) // step
    slice_of = of[np.frombuffer(rows.key, np.int64)]
    chosen = np.flatnonzero((slice_of >= 0) & (place >= 0) & (place < size))
    cell = slice_of[chosen] * size + place[chosen]

    def totals(*columns: int) -> Any:
        """One line per slice."""
        amount = sum(np.frombuffer(rows.counters[column], np.int64)[chosen] for column in columns)
        return np.bincount(cell, weights=amount, minlength=len(slices) * size).astype(np.int64).reshape(len(slices), size)

    n, bad = totals(_N), totals(*bad_columns)
    asked = [at for at in range(len(slices)) if n[at].any() or bad[at].any()]
    worst = sorted(asked, key=lambda at: (-int(bad[at].sum()), -int(n[at].sum()), slices[at]))[:ROWS]
    return Timeline(
        begin=datetime.fromtimestamp(begin, UTC),
        step_s=step,
        rows=tuple(
            TimelineRow(
                channel=slices[at][0],
                route=slices[at][1],
                n=tuple(n[at].tolist()),
                bad=tuple(np.minimum(bad[at], n[at]).tolist()),
            )
            for at in worst
        ),
        marks=_marks(incident, evidence, begin, end),
    )


def _marks(incident: Incident, evidence: Evidence, begin: float, end: float) -> tuple[TimelineMark, ...]:
    """Of breakers and files only those of the culprits: a busy estate has many others. A breaker opens and closes; that it tries meanwhile
    is no news.
    """
    named = {c.system for c in incident.culprits} | {s for c in incident.culprits for s in c.members}
    found = [
        *(TimelineMark(at=c.at, kind="change", what=c.what[:200]) for c in evidence.changes),
        *(
            TimelineMark(at=g.at, kind="breaker", what=f"breaker {g.system}.{g.operation} {g.state}")
            for g in _turns(evidence.guards)
            if g.system in named
        ),
        *(
            TimelineMark(at=f.since, kind="file", what=f"{f.system}.{f.operation} {f.what}{f', store {f.store}' if f.store else ''}")
            for f in evidence.feeds
            if f.system in named
        ),
    ]
    return tuple(sorted((m for m in found if begin <= m.at.timestamp() <= end), key=lambda m: m.at)[-MARKS:])


def _turns(guards: Sequence[GuardChange]) -> Iterator[GuardChange]:
    last: dict[tuple[str, str], str] = {}
    for guard in sorted(guards, key=lambda g: g.at):
        name = guard.system, guard.operation
        if guard.state != "half_open" and last.get(name) != guard.state:
            last[name] = guard.state
            yield guard

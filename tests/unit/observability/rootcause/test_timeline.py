from array import array
from datetime import UTC, datetime

import pytest

from observability.rootcause.model import (
    COUNTERS,
    Change,
    Culprit,
    DependencyMap,
    Evidence,
    GuardChange,
    Impact,
    Incident,
    Onset,
    Rows,
    Where,
)
from observability.rootcause.timeline import STEPS, timeline, with_timeline

NOW = 1_760_000_000
KEYS = [Where(channel="web", route="GET /stock"), Where("erp", "GetStock", "web", "GET /stock"), Where(channel="web", route="GET /own")]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


def evidence(keep: float) -> Evidence:
    bins = range(NOW - int(keep), NOW, 10)
    columns = [
        array(
            "q",
            [
                {"n": 100, "timeout": 30, "caller": 50, "late": 10}.get(c, 0) if k < 2 and b >= NOW - 300 else 100 * (c == "n")
                for b in bins
                for k in range(3)
            ],
        )
        for c in COUNTERS
    ]
    rows = Rows(KEYS, array("q", list(range(3)) * len(bins)), array("q", [b for b in bins for _ in range(3)]), tuple(columns))
    return Evidence(
        now=NOW,
        coarse=rows,
        fine=rows,
        map=DependencyMap(),
        changes=(Change(at=at(-500), what="mapping 2026.3.1"), Change(at=at(-90_000), what="long ago")),
        guards=tuple(
            GuardChange(at=at(seconds), system=s, operation="x", state=state)
            for s in ("erp", "oms")
            for seconds, state in ((-200, "open"), (-190, "half_open"), (-189, "open"), (-100, "half_open"), (-99, "closed"))
        ),
        edges=(("oms", "erp"),),
    )


def incident(low: float) -> Incident:
    return Incident(
        verdict="cause",
        confidence=0.9,
        sentence="",
        onset=Onset(at=at(low), low=at(low), high=at(low)),
        detected_at=at(0),
        answered_at=at(0),
        culprits=(Culprit(rank=1, kind="operation", system="erp", operation="GetStock"),),
        impact=Impact(hit={"route": {"GET /stock": 1}}),
    )


def test_it_counts_whole_requests_of_what_was_hit_and_no_callers_mistakes() -> None:
    found = timeline(incident(-300), evidence(3_000))
    (row,) = found.rows
    assert (row.channel, row.route, sum(row.bad)) == ("web", "GET /stock", 30 * 40)
    assert found.begin <= at(-900)
    assert all(b <= n for n, b in zip(row.n, row.bad, strict=True))
    assert [m.what for m in found.marks] == ["mapping 2026.3.1", "breaker erp.x open", "breaker erp.x closed"]


@pytest.mark.parametrize(("low", "step"), [(-200, 10), (-3_000, 60), (-20_000, 180)])
def test_a_long_incident_has_longer_steps_and_never_more_of_them(low: float, step: int) -> None:
    found = timeline(incident(low), evidence(3_000))
    assert found.step_s == step
    assert len(found.rows[0].n) <= STEPS + 1


def test_what_nobody_declared_goes_with_the_incident() -> None:
    assert with_timeline(incident(-300), evidence(600)).undeclared == (("oms", "erp"),)

"""What needs no statistics: feeds whose clock ran out, and maintenance that was announced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from observability.rootcause.model import Change, Culprit, Evidence, Failure, FeedTrouble, Impact, Incident, Kind, Onset
from observability.rootcause.online import confidence as sureness
from observability.rootcause.online.confidence import Calibration
from observability.rootcause.online.sentence import sentence

SURE: Final = 0.97
"""A clock is wrong only when it was set wrong."""
_FAILURES: Final[dict[str, Failure]] = {
    "late": "late", "missing": "missing", "gap": "missing", "refused": "refused", "lagging": "lagging", "stale": "stale",
    "duplicate": "data", "quarantined": "data", "truncated": "data",
}  # fmt: skip
_MAINTENANCE: Final = timedelta(hours=1)
"""How long one lasts whose end nobody said."""
_SLACK: Final = timedelta(minutes=1)
_SEEN_OVER: Final = timedelta(minutes=3)
"""How long it takes to see that something is over."""


def feeds(evidence: Evidence, known: Sequence[Incident], calibration: Calibration) -> list[Incident]:
    """One incident per feed and kind of failure; none where a system is named already whose failing explains it."""
    found: dict[tuple[str, str, Failure], list[FeedTrouble]] = {}
    for trouble in sorted(evidence.feeds, key=lambda f: (f.since, f.system, f.operation, f.store, f.what, f.detail)):
        found.setdefault((trouble.system, trouble.operation, _FAILURES[trouble.what]), []).append(trouble)
    named = {(c.system, c.operation) for i in known if i.state == "open" for c in i.culprits if c.kind != "unknown"}
    return [
        _incident(evidence, key, troubles, calibration)
        for key, troubles in found.items()
        if (key[0], "") not in named and (key[0], key[1]) not in named
    ]


def _incident(evidence: Evidence, key: tuple[str, str, Failure], troubles: Sequence[FeedTrouble], calibration: Calibration) -> Incident:
    system, operation, failure = key
    node = evidence.map.systems.get(system)
    since = troubles[0].since
    onset, now = Onset(at=since, low=since, high=since), datetime.fromtimestamp(evidence.now, UTC)
    stores = tuple(sorted({t.store for t in troubles if t.store}))
    kind: Kind = "data_quality" if failure == "data" else "feed"
    culprit = Culprit(
        rank=1, kind=kind, system=system, operation=operation, failure=failure, score=1.0, coverage=1.0, p=0.0, onset=onset,
        scope=({"store": stores},) if stores else (), owner=node.owner if node else "", contact=node.contact if node else "",
        detail="; ".join(dict.fromkeys(t.detail for t in troubles[:5] if t.detail)),
    )  # fmt: skip
    sure = round(calibration.of(SURE), 4)
    return Incident(
        verdict=sureness.verdict(sure), confidence=sure, sentence=sentence((culprit,), sure, onset, ()), onset=onset, detected_at=now,
        answered_at=now, culprits=(culprit,), impact=Impact(hit={"store": dict.fromkeys(stores, 0)} if stores else {}),
        not_seen=evidence.losses.unseen, confidence_inputs={"coverage": 1.0, "troubles": float(len(troubles))},
    )  # fmt: skip


def announced(incident: Incident, changes: Iterable[Change]) -> bool:
    """Whether a declared maintenance or brown-out covers every culprit from its begin to its end."""
    named = [c for c in incident.culprits if c.kind != "unknown"] or list(incident.culprits)
    windows = [c for c in changes if c.kind == "maintenance" and _within(incident, c)]
    return bool(named) and bool(windows) and all(any(_covers(w.scope, c) for w in windows) for c in named)


def _within(incident: Incident, change: Change) -> bool:
    until = (change.until or change.at + _MAINTENANCE) + _SEEN_OVER
    return change.at - _SLACK <= incident.onset.at and (incident.recovered_at or incident.answered_at) <= until


def _covers(scope: dict[str, str], culprit: Culprit) -> bool:
    """Everything that the scope names is the culprit's, or among what it is limited to."""
    own = {"system": (culprit.system, *culprit.members), "operation": (culprit.operation,)}
    limited = {k: v for s in culprit.scope for k, v in s.items()}
    return all(value in own.get(key, ()) or limited.get(key) == (value,) for key, value in scope.items())

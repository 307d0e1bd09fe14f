"""From spans and a time window to a ranking of causes: the neutral, offline form of the verdict, for anyone's traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np

from observability.rootcause import graph as graphs
from observability.rootcause import sureness
from observability.rootcause.blame import AROUND, Blame, blame, parts
from observability.rootcause.explain import SIGNIFICANT, Candidate, Explainer, Explanation
from observability.rootcause.scope import scope
from observability.rootcause.spans import Flags, Spans
from observability.rootcause.structure import Structure, structure

SCHEMA: Final = "tillgate.causes/1"
Level = Literal["system", "operation"]
Window = tuple[int, int]
"""Nanoseconds since 1970, the end not included."""
_FEW: Final = 20
_NO_BASELINE: Final = 0.6
"""Confidence at most, when the window is only compared with itself."""
_CLOSE: Final = 90_000_000_000
_SUREST: Final = 0.99
_HOUR: Final = 3_600_000_000_000


class EmptyWindow(Exception):
    """No trace began inside the incident window."""


@dataclass(slots=True)
class Loaded:
    """Spans with their structure and graph: what every question about them begins with."""

    spans: Spans
    structure: Structure
    graph: graphs.Graph

    def window(self) -> Window:
        began = self.structure.began
        return (int(began.min()), int(began.max()) + 1) if len(began) else (0, 0)


def load(spans: Spans, declared: frozenset[tuple[str, str]] | None = None) -> Loaded:
    s = structure(spans)
    seen = graphs.seen(s)
    if declared is None:
        return Loaded(spans, s, graphs.Graph(seen, "inferred"))
    return Loaded(spans, s, graphs.Graph(declared | seen, "both" if seen - declared else "declared"))


def causes(
    loaded: Loaded,
    incident: Window,
    baselines: Sequence[Window] = (),
    *,
    level: Level = "system",
    top: int = 10,
    attributes: Sequence[str] = (),
) -> dict[str, Any]:
    """The answer as a JSON object (schema tillgate.causes/1, docs/root-cause.md). Raises EmptyWindow."""
    s = loaded.structure
    began = s.began
    now = (began >= incident[0]) & (began < incident[1])
    if not now.any():
        raise EmptyWindow
    warnings: list[str] = []
    before = _baseline(loaded, incident, baselines, now, warnings)
    compared_with_itself = not before.any()
    if compared_with_itself:
        now, before = _halves(s, now)
        warnings.append("no trace outside the incident: its slower half is compared with its faster half")
    if min(int(now.sum()), int(before.sum())) < _FEW:
        warnings.append(f"few traces: {int(now.sum())} in the incident, {int(before.sum())} before")
    p = parts(s, now, before)
    blamed = blame(s, p, now, before)
    calls = _numbered(loaded)
    explainer = Explainer(s, p, blamed, now, before, calls, incident)
    found = explainer.explain(level)
    onset = _onset(explainer, found, incident)
    confidence, inputs = _confidence(loaded, explainer, found)
    if compared_with_itself:
        confidence = min(confidence, _NO_BASELINE)
    verdict = _verdict(confidence, found, blamed)
    answer: dict[str, Any] = {
        "schema": SCHEMA,
        "verdict": verdict,
        "confidence": round(confidence, 3),
        "onset": onset,
        "window": {"from": written(incident[0]), "to": written(incident[1])},
        "ranking": [_row(loaded, explainer, c, i + 1, found, attributes) for i, c in enumerate(found.ranking[:top])],
        "culprits": list(range(1, len(found.culprits) + 1)) if verdict != "none" else [],
        "why_not": [
            {"rank": i + 1, "reason": c.reason, **({"by": c.by} if c.by else {})} for i, c in enumerate(found.ranking[:top]) if c.reason
        ],
        "graph": {"source": loaded.graph.source, "edges": len(loaded.graph.edges)},
        "measured": {
            "by": blamed.mode, "requests": int(now.sum()), "bad": int((blamed.bad & now).sum()),
            "failed": int((blamed.failed & now).sum()),
            "late": int((blamed.late & now).sum()), "baseline_requests": int(before.sum()),
            "baseline_bad": int((blamed.bad & before).sum()),
        },
        "confidence_inputs": inputs,
        "input": described(loaded),
        "warnings": warnings,
    }  # fmt: skip
    return answer


def _baseline(loaded: Loaded, incident: Window, baselines: Sequence[Window], now: Flags, warnings: list[str]) -> Flags:
    began = loaded.structure.began
    chosen = np.zeros(len(began), bool)
    for begin, end in baselines:
        chosen |= (began >= begin) & (began < end)
    if baselines:
        overlap = int((chosen & now).sum())
        if overlap:
            warnings.append(f"{overlap} traces are in the incident and in the baseline: counted to the incident")
        return chosen & ~now
    chosen = (began < incident[0]) & (began >= incident[0] - _HOUR)
    if not chosen.any():
        chosen = began < incident[0]
    if chosen.any():  # when it began is known by the minute: the last of them may have been bad already
        close = incident[0] - min(_CLOSE, (incident[0] - int(began[chosen].min())) // 3)
        if int((early := chosen & (began < close)).sum()) >= 5 * _FEW:
            chosen = early
    if int(chosen.sum()) < _FEW and int((after := began >= incident[1]).sum()) >= _FEW:
        warnings.append("too little before the incident: what came after it is the baseline")
        chosen |= after
    return chosen


def _halves(s: Structure, now: Flags) -> tuple[Flags, Flags]:
    """The slower and the faster half, per operation at the root."""
    slow = np.zeros(len(now), bool)
    node = s.node[s.main]
    for kind in np.unique(node[now]):
        rows = np.flatnonzero(now & (node == kind))
        if len(rows) >= 2:
            order = rows[np.argsort(s.duration[s.main[rows]], kind="stable")]
            slow[order[(len(order) + 1) // 2 :]] = True
    return now & slow, now & ~slow


def _numbered(loaded: Loaded) -> set[tuple[int, int]]:
    index = {name: i for i, name in enumerate(loaded.spans.services)}
    return {(index[a], index[b]) for a, b in loaded.graph.edges if a in index and b in index}


def _onset(explainer: Explainer, found: Explanation, incident: Window) -> dict[str, str] | None:
    estimate = explainer.onset(found.culprits[0]) if found.culprits else None
    if estimate is None:
        return None
    at, low, high = (written(incident[0] + int(x * 1e9)) for x in estimate)
    return {"at": at, "low": low, "high": high}


def _confidence(loaded: Loaded, explainer: Explainer, found: Explanation) -> tuple[float, dict[str, float]]:
    """How sure the first culprit is, and from what: its score, that of the best other in shares of it, the share of bad requests
    that it is clearly blamed in, the share of its blame that lies in pauses of callers, how many requests it hit, and what got lost.
    """
    s, spans, b = loaded.structure, loaded.spans, explainer.blame
    troubles = spans.troubles
    seen = max(len(spans) + troubles.duplicates + troubles.negative + troubles.without_id, 1)
    lost = max(0.0, s.orphans - s.joined / max(len(spans), 1))
    inputs = {
        "score": 0.0, "rival": 1.0, "shared": 0.0, "indirect": 0.0, "hit": 0.0, "order": found.order,
        "loss": min(1.0, lost + (troubles.negative + troubles.without_id + troubles.folded) / seen),
    }  # fmt: skip
    if not found.culprits:
        return 0.0, inputs
    first, cells = found.culprits[0], explainer.cells
    hit, bad = explainer.hit(first) & explainer.incident, b.bad & explainer.incident
    mine = np.isin(cells.part, first.parts) & cells.now
    amount, pauses = cells.amount[mine], explainer.p.kind[cells.part[mine]] == AROUND
    inputs |= {
        "score": first.score,
        "rival": min(1.0, max((c.score for c in found.ranking if c is not first), default=0.0) / max(first.score, 1e-9)),
        "shared": float((hit & bad).sum()) / max(int(bad.sum()), 1),
        "indirect": float(amount[pauses].sum()) / max(float(amount.sum()), 1e-9),
        "hit": float(hit.sum()),
    }
    return min(_SUREST, sureness.shipped().of(sureness.raw(inputs))), {key: round(value, 4) for key, value in inputs.items()}


def _verdict(confidence: float, found: Explanation, b: Blame) -> str:
    if not found.culprits or (found.culprits[0].p > SIGNIFICANT and b.p > SIGNIFICANT):
        return "none"
    return "cause" if confidence >= 0.8 else "likely" if confidence >= 0.5 else "unsure"


def _row(
    loaded: Loaded, explainer: Explainer, c: Candidate, rank: int, found: Explanation, attributes: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    services, operations = loaded.spans.services, loaded.spans.operations
    row: dict[str, Any] = {
        "rank": rank, "service": services[c.service], "operation": operations[c.operation] if c.operation >= 0 else None,
        "kind": "edge" if c.evidence == "link_time" else "operation" if c.operation >= 0 else "system", "evidence": c.evidence,
        "score": round(c.score, 4), "coverage": round(c.coverage, 4), "lift": round(min(c.lift, 1e6), 2), "p": float(f"{c.p:.3g}"),
        "explains": [services[x] for x in c.explains],
    }  # fmt: skip
    if attributes and c in found.culprits:
        row["scope"] = scope(explainer, c, attributes)
    return row


def described(loaded: Loaded) -> dict[str, Any]:
    """What was read, and what was odd about it."""
    s, spans = loaded.structure, loaded.spans
    t = spans.troubles
    return {
        "spans": len(spans), "traces": s.traces, "orphans": round(s.orphans, 4), "joined": s.joined, "skew_pairs": s.skewed,
        "no_status": round(float((spans.status == 0).mean()), 4) if len(spans) else 1.0, "duplicates": t.duplicates,
        "negative": t.negative, "without_id": t.without_id, "folded_names": t.folded,
        "units": {"start": spans.units[0], "duration": spans.units[1]},
    }  # fmt: skip


def written(nanoseconds: int) -> str:
    """RFC 3339, in milliseconds where they are not zero."""
    seconds, rest = divmod(int(nanoseconds), 1_000_000_000)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{seconds}s"
    return f"{text}.{rest // 1_000_000:03d}Z" if rest else f"{text}Z"

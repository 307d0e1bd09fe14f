"""Evidence in, incidents out: the steps in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
from msgspec import UNSET

from observability.rootcause import statistics
from observability.rootcause.model import (
    CLIENT,
    GATEWAY,
    CoincidentChange,
    Culprit,
    Evidence,
    Failure,
    Incident,
    Kind,
    Onset,
    Rows,
    Where,
    WhyNot,
)
from observability.rootcause.online import confidence as sureness
from observability.rootcause.online.candidates import Candidate, Case, Span
from observability.rootcause.online.confidence import Calibration
from observability.rootcause.online.detect import KNOWN, Past, Raised, Sli, in_all, raised, series
from observability.rootcause.online.explain import Explanation, explain
from observability.rootcause.online.feeds import announced, feeds
from observability.rootcause.online.impact import impact, mistakes
from observability.rootcause.online.onset import Clock, Moment
from observability.rootcause.online.scope import scope
from observability.rootcause.online.sentence import sentence, title
from observability.rootcause.online.table import BIN, CALLER, N, Table

APART: Final = 18
"""Coarse bins between two begins from which on they are looked at apart."""
RECENT: Final = 30
"""Coarse bins for which something that is over is still told."""
MORE: Final = 3.0
"""Times its usual traffic from which on a client's mistakes are a storm, not a client that broke."""
SAME_MIX: Final = 0.3
"""Share of the excess that must be left when each channel and route is held against its own past."""
CLIENT_RISE: Final = 0.2
WIDE: Final = 300
"""Seconds of a bin of last week."""
NEW_USE: Final = 10
"""Requests of a client on a route below which it has no past there."""
CHANGES_S: Final = 600.0
_KNOWN_BINS: Final = 30
_FAILURES: Final[dict[str, Failure]] = {
    "timeout": "timeout",
    "connect": "down",
    "upstream_error": "errors",
    "contract": "contract",
    "data": "data",
    "rejected": "refused",
    "gateway": "errors",
    "late": "slow",
}


class Engine:
    """Looks at the estate again and again. It remembers only what was usual before a slice was raised, for as long as it stays so."""

    def __init__(self, *, calibration: Calibration | None = None) -> None:
        """`calibration`: None is the shipped table."""
        self.calibration = sureness.shipped() if calibration is None else calibration
        self._past: dict[Sli, Past] = {}
        self._week: tuple[Rows | None, dict[Sli, Past]] = (None, {})

    def look(self, evidence: Evidence) -> list[Incident]:
        """What is wrong now, and what was until a few minutes ago; in order of onset."""
        seen = _Seen(evidence)
        if self._week[0] is not (rows := evidence.week):
            self._week = (rows, in_all(series(Table(rows, WIDE, max(rows.bin, default=0) + WIDE), evidence.map)) if rows else {})
        found = raised(series(seen.coarse, evidence.map), self._past, self._week[1])
        self._past = {r.sli: r.past for r in found if r.going_on}
        told: list[tuple[list[Raised], Incident]] = []
        recent = [r for r in found if r.going_on or r.end > seen.coarse.bins - RECENT]
        for group in _apart([r for r in recent if r.sli.family != "client"]):
            if (incident := self._incident(seen, group, found)) is None:
                continue
            same = next((i for i, (_, other) in enumerate(told) if _same(incident, other)), None)
            if same is None:
                told.append((group, incident))
            else:
                both = told[same][0] + group
                told[same] = both, self._incident(seen, both, found) or told[same][1]
        incidents = [incident for _, incident in told]
        clients = [r for r in recent if r.sli.family == "client"]
        incidents += [i for r in clients if (i := self._client(seen, r, clients)) is not None]
        incidents += feeds(evidence, incidents, self.calibration)
        return sorted((i for i in incidents if not announced(i, evidence.changes)), key=lambda i: (i.onset.at, i.sentence))

    def explain(self, evidence: Evidence, begin: float, end: float | None = None) -> Incident:
        """This window (seconds since 1970; no end: until now), whether or not anything was noticed in it."""
        seen = _Seen(evidence)
        table = seen.coarse
        first = max(0, min(table.bins, int((begin - table.start) // BIN)))
        last = table.bins if end is None else max(first, min(table.bins, -int((table.start - end) // BIN)))
        clean = np.zeros(table.bins, bool)
        clean[:first] = True
        for r in raised(series(table, evidence.map), {}):
            clean[r.begin : r.end] = False
        if not clean.any():
            clean[:first] = True
        case = Case(table, seen.fine, Span(first, last, clean, frozenset()))
        explanation = explain(case, evidence.map, evidence.edges)
        return self._tell(seen, case, explanation, max(first, last - 1), end is None, bool(clean.sum() >= _KNOWN_BINS))

    def _incident(self, seen: _Seen, group: Sequence[Raised], found: Sequence[Raised]) -> Incident | None:
        """None: only the mix of traffic has changed, or answers are older than usual and no system failed."""
        begin = max(group, key=lambda r: (r.excess, r.sli)).begin
        swift = [r for r in group if r.swift] or group
        most = max(r.excess for r in swift)
        going_on = any(r.going_on and r.excess >= 0.1 * most for r in swift)
        end = max(r.end for r in swift)
        clean = np.ones(seen.coarse.bins, bool)
        for r in found:
            clean[r.begin : r.end] = False
        clean[begin:] = False
        if clean.sum() < _KNOWN_BINS:
            clean[:begin] = True
            for r in group:
                clean[r.begin :] = False
        pairs = frozenset((r.sli.values[0], r.sli.values[1]) for r in group if r.sli.family in ("channel_route", "degraded"))
        degraded = any(r.sli.family == "degraded" for r in group) and not any(r.sli.family == "channel_route" for r in group)
        fired = min(r.fired for r in group if r.fired >= begin)
        usual = max(r.past.requests for r in group) >= KNOWN
        case = Case(seen.coarse, seen.fine, Span(begin, end, clean, pairs, degraded))
        explanation = explain(case, seen.evidence.map, seen.evidence.edges)
        named = [c for c in explanation.culprits if c.kind != "unknown"]
        if (wider := case.reach(named)) is not case:
            case, explanation = wider, explain(wider, seen.evidence.map, seen.evidence.edges)
            named = [c for c in explanation.culprits if c.kind != "unknown"]
        if degraded and not named:
            return None
        felt = [r.excess for r in group if r.sli.felt]
        if (case.excess if felt else sum(c.blamed for c in named)) < SAME_MIX * max(felt or [r.excess for r in group]):
            return None
        return self._tell(seen, case, explanation, fired, going_on, usual)

    def _client(self, seen: _Seen, r: Raised, others: Sequence[Raised]) -> Incident | None:
        """One client whose own requests are wrong from some moment on, with no other like it and not many more of them than before. What it
        has hardly ever asked for, it asks for the first time; what has always been refused is what it is used to.
        """
        table = seen.coarse
        (name,) = r.sli.values
        keys = table.is_("system", CLIENT) & table.is_("operation", name)
        within, before = np.zeros(table.bins, bool), np.zeros(table.bins, bool)
        within[r.begin : r.end], before[: r.begin] = True, True
        (now, *_), (past, *_) = table.per_key(within), table.per_key(before)
        known = r.begin - int(table.at[table.rows_of(keys)].min())
        more = float(now[N][keys].sum()) / max(1, r.end - r.begin) > MORE * r.past.requests / max(1, known)
        alone = r.excess >= 0.8 * sum(o.excess for o in others if o.begin < r.end and o.end > r.begin)
        group, routes = table.groups("route", of=keys)
        counts = (now[N], now[CALLER], past[N], past[CALLER])
        n, bad, n0, bad0 = (np.bincount(group[keys], x[keys], len(routes)) for x in counts)
        usual = n * (bad0 + 0.1) / np.maximum(n0 + 10, 1)
        new = (n0 < NEW_USE) & np.array([route in seen.evidence.map.routes for (route,) in routes], bool)
        excess = float(np.maximum(0.0, np.where(new, 0.0, bad - usual)).sum())
        n1, wrong = float(n[~new].sum()), float(bad[~new].sum())
        if more or not alone or excess < CLIENT_RISE * n1 or excess < SAME_MIX * r.excess or r.past.requests < KNOWN or known < _KNOWN_BINS:
            return None
        p = statistics.rise(wrong, n1, r.past.bad, r.past.requests)
        clock = Clock(seen.fine, table, r.begin, r.end)
        moment = clock.moment(clock.table.is_("system", CLIENT) & clock.table.is_("operation", name), clock.table.counters[CALLER])
        felt = mistakes(table, keys, now, min(1.0, excess / max(wrong, 1.0)))
        culprit = Culprit(
            rank=1, kind="client", system=CLIENT, operation=name, failure="refused", score=1 - p, coverage=1.0,
            lift=round(excess / max(0.1, float(usual[~new].sum())), 2), p=p, onset=_onset(moment),
            scope=({"channel": tuple(sorted(felt.hit.get("channel", ())))},),
        )  # fmt: skip
        inputs = {"coverage": 1.0, "margin": 1.0, "bad": round(excess, 3), "order_agrees": 1.0, "loss": 0.0, "residual": 0.0}
        sure = round(self.calibration.of(sureness.raw(inputs)), 4)
        return Incident(
            state="open" if r.going_on else "recovered", verdict=sureness.verdict(sure), confidence=sure,
            sentence=sentence((culprit,), sure, _onset(moment), (), felt), onset=_onset(moment),
            detected_at=_time(table.start + (r.fired + 1) * BIN), answered_at=_time(seen.evidence.now),
            recovered_at=UNSET if r.going_on else _time(table.start + r.end * BIN), culprits=(culprit,), impact=felt,
            changes_before=_changes(seen.evidence, _onset(moment), ()), not_seen=seen.evidence.losses.unseen, confidence_inputs=inputs,
        )  # fmt: skip

    def _tell(self, seen: _Seen, case: Case, explanation: Explanation, fired: int, going_on: bool, usual: bool) -> Incident:
        evidence, table, span = seen.evidence, seen.coarse, case.span
        losses = evidence.losses
        first = explanation.culprits[0] if explanation.culprits else None
        inputs = {
            "coverage": explanation.explained,
            "margin": explanation.margin,
            "bad": round(case.excess, 3),
            "order_agrees": explanation.order,
            "loss": min(1.0, losses.lost / max(1, losses.seen + losses.lost)),
            "residual": 1 - explanation.explained,
        }
        sure = self.calibration.of(max(0.0, min(1.0, sureness.raw(inputs)))) if first is not None else 0.0
        sure = round(sure if usual else min(sure, sureness.UNKNOWN_PAST), 4)
        culprits = tuple(self._culprit(seen, case, c, rank) for rank, c in enumerate(explanation.culprits, 1))
        moments = [c.onset for c in explanation.culprits if c.kind != "unknown"]
        onset = _onset(min(moments) if moments else case.felt())
        who = [title(c.kind, c.system, c.operation) for c in explanation.ranking if c.score > 0]
        return Incident(
            state="open" if going_on else "recovered",
            verdict=sureness.verdict(sure) if culprits else "none",
            confidence=sure,
            sentence=sentence(culprits, sure, onset, who) if culprits else "Nothing is worse than usual",
            onset=onset,
            detected_at=_time(table.start + (fired + 1) * BIN),
            answered_at=_time(evidence.now),
            recovered_at=UNSET if going_on else _time(table.start + span.end * BIN),
            culprits=culprits,
            why_not=_why_not(explanation),
            impact=impact(case, evidence.map, explanation.culprits),
            changes_before=_changes(evidence, onset, culprits),
            not_seen=losses.unseen,
            confidence_inputs={k: round(v, 4) for k, v in inputs.items()},
        )

    def _culprit(self, seen: _Seen, case: Case, c: Candidate, rank: int) -> Culprit:
        node = seen.evidence.map.systems.get(c.system or (c.members[0].system if c.members else ""))
        traces, twin = _traces(seen.evidence, c, case)
        where = scope(case, c)
        kind, system, operation = _kind(c, where)
        return Culprit(
            rank=rank, kind=kind, system=system, operation=operation, failure=_failure(c),
            score=round(c.score, 4), coverage=round(c.coverage, 4), lift=round(c.lift, 2), p=float(f"{c.p:.3g}"), onset=_onset(c.onset),
            scope=where, owner=node.owner if node else "", contact=node.contact if node else "",
            shared=c.shared, members=tuple(dict.fromkeys(m.system for m in c.members)) if c.kind == "shared" else (),
            bad_traces=traces, twin=twin, detail=c.detail,
        )  # fmt: skip


def verdict(evidence: Evidence, begin: float, end: float | None = None, *, calibration: Calibration | None = None) -> Incident:
    """Explains this window (seconds since 1970; no end: until now), whether or not anything was noticed in it."""
    return Engine(calibration=calibration).explain(evidence, begin, end)


class _Seen:
    """Evidence as tables."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.coarse = Table(evidence.coarse, BIN, evidence.now)
        self.fine = Table(evidence.fine, 1, evidence.now, 1800, self.coarse)


def _apart(found: list[Raised]) -> list[list[Raised]]:
    groups: list[list[Raised]] = []
    for r in found:
        if groups and r.begin - groups[-1][-1].begin <= APART:
            groups[-1].append(r)
        else:
            groups.append([r])
    return groups


def _same(later: Incident, earlier: Incident) -> bool:
    """Whether both name the same culprit, or one of its operations."""
    known = {(c.system, c.operation) for c in earlier.culprits if c.kind != "unknown"}
    named = [(c.system, c.operation) for c in later.culprits if c.kind != "unknown"]
    return not named or any(k in known or (k[0], "") in known or (k[1] == "" and any(k[0] == s for s, _ in known)) for k in named)


def _kind(c: Candidate, where: Sequence[dict[str, tuple[str, ...]]] = ()) -> tuple[Kind, str, str]:
    """Kind, system and operation as they are told."""
    only = next(iter(where[0])) if len(where) == 1 and len(where[0]) == 1 else ""
    if only == "api_version" and c.kind != "shared":  # systems do not know versions: what fails in one only is how we speak it
        return "version", c.system or GATEWAY, c.operation
    if c.kind == "unknown" and len(where) == 1 and len(channel := where[0].get("channel", ())) == 1:
        return "client", CLIENT, channel[0]
    if c.kind in ("operation", "system"):
        if c.main_class == "connect":
            return "edge", c.system, c.operation
        if c.main_class in ("contract", "data"):
            return "data_quality", c.system, c.operation
    return c.kind, c.system, c.operation


def _failure(c: Candidate) -> Failure:
    return _FAILURES.get(c.main_class, "mixed")


def _why_not(explanation: Explanation) -> tuple[WhyNot, ...]:
    culprits = explanation.culprits
    return tuple(
        WhyNot(
            rank=rank, kind=_kind(c)[0], system=c.system, operation=c.operation, score=round(c.score, 4), coverage=round(c.coverage, 4),
            lift=round(c.lift, 2), reason=c.reason or "no_path", by=culprits.index(c.by) + 1 if c.by in culprits else 0,
            by_s=round(c.by_s, 1),
        )
        for rank, c in enumerate(explanation.ranking[len(culprits) : max(5, len(culprits))], len(culprits) + 1)
    )  # fmt: skip


def _changes(evidence: Evidence, onset: Onset, culprits: Sequence[Culprit]) -> tuple[CoincidentChange, ...]:
    """Of the ten minutes before: a coincidence, unless what it touched is exactly what is hit."""
    return tuple(
        CoincidentChange(at=c.at, what=c.what, role="cause" if any(_touched(c.scope, culprit) for culprit in culprits) else "coincidence")
        for c in sorted(evidence.changes, key=lambda c: (c.at, c.what))
        if -CHANGES_S <= (c.at - onset.at).total_seconds() <= 0
    )


def _touched(scope: dict[str, str], culprit: Culprit) -> bool:
    """Whether a change touched what the culprit is confined to, no more and no less."""
    own = {key: value for key, value in (("system", culprit.system), ("operation", culprit.operation)) if key in scope}
    limited = {k: v[0] for s in culprit.scope for k, v in s.items() if len(v) == 1}
    confined = len(culprit.scope) <= 1 and len(limited) == sum(len(s) for s in culprit.scope)
    return bool(scope) and confined and own | limited == scope and (bool(limited) or scope.get("operation", "") == culprit.operation)


def _traces(evidence: Evidence, c: Candidate, case: Case) -> tuple[tuple[str, ...], str]:
    """Earliest, median and worst bad trace of the route that shows it most, and the last good one of the same route, channel and store as
    the worst (else of that route and channel).
    """
    since = case.table.start + case.span.begin * BIN - BIN
    until = case.table.start + case.span.end * BIN + BIN
    found = sorted(
        ((e, where) for where, exemplars in evidence.exemplars.items() if _of(where, c) for e in exemplars if since <= e.at < until),
        key=lambda f: (f[0].at, f[0].trace_id),
    )
    if not found:
        return (), ""
    shown = Counter(where.route for _, where in found)
    route = max(sorted(shown), key=lambda name: shown[name])
    found = [f for f in found if f[1].route == route]
    by_time = sorted(found, key=lambda f: (f[0].seconds, f[0].trace_id))
    worst, where = by_time[-1]
    chosen = dict.fromkeys((found[0][0].trace_id, by_time[(len(by_time) - 1) // 2][0].trace_id, worst.trace_id))
    beside = [twin for (r, channel, _), twin in sorted(evidence.twins.items()) if (r, channel) == (route, where.channel)]
    return tuple(chosen), evidence.twins.get((route, where.channel, where.store), beside[0] if beside else "")


def _of(where: Where, c: Candidate) -> bool:
    if c.kind == "shared":
        return any(_of(where, m) for m in c.members)
    return where.system == c.system and (not c.operation or where.operation == c.operation)


def _onset(moment: Moment) -> Onset:
    return Onset(at=_time(moment.at), low=_time(moment.low), high=_time(moment.high))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

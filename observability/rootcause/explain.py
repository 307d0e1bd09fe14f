"""Candidates, their scores, and explaining away what others caused."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from observability.rootcause import statistics
from observability.rootcause.blame import AROUND, OWN, PEER, WAY, Blame, Parts
from observability.rootcause.spans import Flags, Floats, Ints
from observability.rootcause.structure import Structure

Evidence = Literal["failures", "own_time", "link_time", "missing", "none"]
Reason = Literal["explained_by", "started_later", "normal_for_load", "too_few_requests", "only_waiting", "no_path"]
Onset = tuple[float, float, float]
"""Seconds after the begin of the incident: the estimate and its 95 % band."""
SIGNIFICANT: Final = 0.01
_LIKE: Final = 0.1
"""Share of a rise from which on another one is of its kind."""
MOST: Final = 4
"""So many faults at once are told apart."""
_DATED: Final = 12
"""Of so many candidates it is asked when they rose."""
_EARLIER: Final = -900.0
"""Seconds before the incident in which its onset is looked for."""


@dataclass(slots=True)
class Candidate:
    """One service (or operation of it) with what speaks for it. `evidence` is where most of its blame came from."""

    service: int
    operation: int
    parts: Ints
    blamed: float
    """Excess blame: requests, or milliseconds."""
    coverage: float
    lift: float
    p: float
    score: float
    likeness: float
    """Ochiai: how much "met it with blame" and "bad" are the same requests."""
    evidence: Evidence
    explains: list[int] = field(default_factory=list)
    reason: Reason | None = None
    by: int | None = None


@dataclass(slots=True)
class Explanation:
    """`ranking` is complete, best first; `culprits` are its members that together explain the incident."""

    ranking: list[Candidate]
    culprits: list[Candidate]
    excess: float
    residual: float
    margin: float
    order: float


def owners(p: Parts, blame: Blame, raised: Flags, of_node: Ints) -> Ints:
    """Per part the service that answers for it: itself; for time between services the one most of whose other times rose too.

    A slow network at a service lengthens everything towards it and from it, calls to stores that leave no spans among that; slow work only
    the pauses of that service itself. `of_node`: service of each node.
    """
    owner = p.service.copy()
    between = np.flatnonzero((p.kind == WAY) | (p.kind == AROUND))
    touching: defaultdict[int, list[int]] = defaultdict(list)
    work: defaultdict[int, list[int]] = defaultdict(list)
    done: defaultdict[int, list[int]] = defaultdict(list)  # the same by operation
    enough = (blame.met + blame.met_before) >= 10
    for part in between[enough[between]]:
        for service in {int(p.caller[part]), int(p.service[part]), int(p.previous[part])} - {-1}:
            touching[service].append(int(part))
        if p.kind[part] == AROUND:
            work[int(p.caller[part])].append(int(part))
            done[int(p.node[part])].append(int(part))
    unseen = np.flatnonzero((p.kind == PEER) & (blame.met_before >= 10) & ~np.isin(p.service, p.service[p.kind == OWN]))
    for part in unseen:
        for service in {int(of_node[p.node[part]]), int(p.service[part])}:
            touching[service].append(int(part))
    callers = set(work)
    for part in np.flatnonzero((p.kind == OWN) & enough & (statistics.totals(p.part, p.time, len(p)) > 0)):
        if int(p.service[part]) in callers:
            work[int(p.service[part])].append(int(part))
            done[int(p.node[part])].append(int(part))

    def consistent(parts: list[int], like: float = 0.0) -> float:
        up = sum(bool(raised[x] and blame.more[x] >= like) for x in parts)
        return up / len(parts) * up / (up + 1) if parts else 0.0

    for part in unseen[raised[unseen]]:
        caller, callee = int(of_node[p.node[part]]), int(p.service[part])
        if consistent(touching[caller]) > consistent(touching[callee]) + 1e-9:
            owner[part] = caller
    for part in between[raised[between]]:
        caller, ends = int(p.caller[part]), [int(p.service[part])] + [int(x) for x in (p.previous[part],) if x >= 0]
        like = _LIKE * float(blame.more[part])
        callee = max(ends, key=lambda service: consistent(touching[service], like))
        theirs, mine = consistent(touching[callee], like), consistent(touching[caller], like)
        if p.kind[part] == AROUND:
            mine = max(mine, consistent(work[caller], like), consistent(done[int(p.node[part])], like))
        alone = [x for x in work[caller] if p.kind[x] == OWN]
        undecided = p.kind[part] == AROUND and abs(mine - theirs) < 1e-9 and not (alone and not any(raised[x] for x in alone))
        owner[part] = caller if mine > theirs + 1e-9 or undecided else callee
    return owner


@dataclass(slots=True)
class _Cells:
    """Blame rows with what they are counted against."""

    trace: Ints
    part: Ints
    amount: Floats
    now: Flags
    """Per row: of the incident, else of the baseline."""


class Explainer:
    """Steps 5, 6 and 8 for one incident window. `calls` are edges (caller, callee) of the dependency graph; `window` in nanoseconds."""

    def __init__(
        self,
        s: Structure,
        p: Parts,
        blame: Blame,
        incident: Flags,
        baseline: Flags,
        calls: set[tuple[int, int]],
        window: tuple[int, int],
    ) -> None:
        self.s, self.p, self.blame, self.incident, self.baseline, self.calls = s, p, blame, incident, baseline, calls
        self.seconds = (s.began - window[0]) / 1e9
        self.length = (window[1] - window[0]) / 1e9
        self._onsets: dict[int, Onset | None] = {}
        self.weight = s.spans.weight[s.main]
        self.n1, self.n0 = float(self.weight[incident].sum()), float(self.weight[baseline].sum())
        now = incident[blame.trace]
        keep = now | baseline[blame.trace]
        self.cells = _Cells(blame.trace[keep], blame.part[keep], blame.amount[keep], now[keep])
        self.failing = self._failing()
        services = np.array([service for service, _ in s.nodes] or [0])
        self.owner = owners(p, blame, (blame.slower <= SIGNIFICANT) & (blame.changed >= 0.15), services)
        self.node = np.where((p.kind == OWN) | ((p.kind == AROUND) & (self.owner == p.caller)), p.node, -1)
        """Per part the operation that answers for it, -1 when none does."""

    def _failing(self) -> Floats:
        """Per part, P that its share in failed requests did not rise."""
        cells, count = self.cells, len(self.p)
        touched = self.blame.failed[cells.trace] & (cells.amount > 0.05) & (self.blame.mode == "requests")
        b1 = statistics.totals(cells.part[touched & cells.now], self.weight[cells.trace[touched & cells.now]], count)
        b0 = statistics.totals(cells.part[touched & ~cells.now], self.weight[cells.trace[touched & ~cells.now]], count)
        return np.array([
            statistics.rise(min(a, n), n, min(b, m), m) if m > 0 else statistics.rise(a, self.n1, 0, self.n0)
            for a, n, b, m in zip(b1.tolist(), self.blame.met.tolist(), b0.tolist(), self.blame.met_before.tolist(), strict=True)
        ])  # fmt: skip

    # ---- candidates ------------------------------------------------------------------------------------------------------

    def groups(self, level: Literal["system", "operation"]) -> dict[tuple[int, int], Ints]:
        """(service, operation or -1) -> its parts."""
        found: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for part in range(len(self.p)):
            service = int(self.owner[part])
            node = int(self.node[part])
            operation = self.s.nodes[node][1] if level == "operation" and node >= 0 else -1
            found[service, operation].append(part)
        return {key: np.array(value) for key, value in found.items()}

    def candidates(self, groups: dict[tuple[int, int], Ints], keep: Flags | None = None) -> list[Candidate]:
        """Scores of all groups, best first. `keep` marks the blame rows that are left to explain."""
        cells = self.cells
        group_of = np.full(len(self.p), -1, np.int64)
        keys = list(groups)
        for index, key in enumerate(keys):
            group_of[groups[key]] = index
        chosen = slice(None) if keep is None else keep
        group, amount, now, trace = group_of[cells.part[chosen]], cells.amount[chosen], cells.now[chosen], cells.trace[chosen]
        count = len(keys)
        a1 = statistics.totals(group[now], amount[now], count)
        a0 = statistics.totals(group[~now], amount[~now], count)
        met, before = self._met(groups, keys)
        scale = np.divide(met, before, out=np.full(count, self.n1 / max(self.n0, 1e-9)), where=before > 0)
        slack = 0.5 if self.blame.mode == "requests" else 0.0
        blamed = np.maximum(a1 - (a0 + slack) * np.minimum(scale, 1e6), 0.0)
        excess = self.excess()
        smooth = 0.5 if self.blame.mode == "requests" else max(float(a0.sum()) / max(self.n0, 1.0) * 0.05, 1e-6)
        lift = ((a1 + smooth) / (met + 1)) / ((a0 + smooth) / (before + 1))
        pair, pair_of = statistics.compact(trace * count + group)
        per = statistics.totals(pair_of, amount, len(pair))
        which, whose = pair % max(count, 1), pair // max(count, 1)
        both = np.minimum(self.blame.slower, self.failing)
        p_values = [min(1.0, float(both[groups[k]].min()) * len(groups[k])) for k in keys]
        bad = self.blame.bad & self.incident
        mine = per > (0.25 if self.blame.mode == "requests" else 0)
        inside = statistics.totals(which[mine & bad[whose]], None, count)
        touched = statistics.totals(which[mine & self.incident[whose]], None, count)
        result = []
        for i, (service, operation) in enumerate(keys):
            coverage = min(1.0, float(blamed[i]) / excess) if excess > 0 else 0.0
            score = coverage * (1 - float(p_values[i])) * min(1.0, math.log2(max(float(lift[i]), 1.0)) / 4)
            likeness = float(inside[i]) / math.sqrt(max(1.0, float(bad.sum()) * float(touched[i])))
            evidence, top = self._evidence(groups[service, operation], keep)
            result.append(
                Candidate(service, operation if operation >= 0 else top, groups[service, operation], float(blamed[i]), coverage,
                          float(lift[i]), float(p_values[i]), score, likeness, evidence)
            )  # fmt: skip
        result.sort(key=lambda c: (-round(c.score, 9), -round(c.coverage, 9), c.p, -c.likeness, c.service, c.operation))
        return result

    def excess(self) -> float:
        """What there is to explain: bad requests above the baseline's share, or the sum of all parts' time above normal."""
        if self.blame.mode == "requests":
            weight, bad = self.weight, self.blame.bad
            usual = float(weight[bad & self.baseline].sum()) / max(self.n0, 1e-9)
            return max(float(weight[bad & self.incident].sum()) - self.n1 * usual, 1e-9)
        cells = self.cells
        count = len(self.p)
        a1 = statistics.totals(cells.part[cells.now], cells.amount[cells.now], count)
        a0 = statistics.totals(cells.part[~cells.now], cells.amount[~cells.now], count)
        scale = np.divide(self.blame.met, self.blame.met_before, out=np.zeros(count), where=self.blame.met_before > 0)
        return max(float(np.maximum(a1 - a0 * scale, 0).sum()), 1e-9)

    def _met(self, groups: dict[tuple[int, int], Ints], keys: list[tuple[int, int]]) -> tuple[Floats, Floats]:
        """Requests through each group, at least through its busiest part and at most all."""
        met, before = self.blame.met, self.blame.met_before
        now = np.array([float(met[groups[k]].max()) for k in keys])
        return now, np.array([float(before[groups[k]].max()) for k in keys])

    def _evidence(self, parts: Ints, keep: Flags | None) -> tuple[Evidence, int]:
        """Where most of the blame of these parts came from, and the operation with most of it."""
        cells, p = self.cells, self.p
        chosen = np.isin(cells.part, parts) & cells.now
        if keep is not None:
            chosen &= keep
        amounts = statistics.totals(cells.part[chosen], cells.amount[chosen], len(p))[parts]
        if not len(amounts) or amounts.max() <= 0:
            known = parts[self.node[parts] >= 0]
            node = int(self.node[known[int(np.argmax(self.blame.met[known]))]]) if len(known) else -1
            return "none", self.s.nodes[node][1] if node >= 0 else -1
        of_kind = np.where(self.node[parts] >= 0, OWN, p.kind[parts])
        kinds = {kind: float(amounts[of_kind == kind].sum()) for kind in (OWN, WAY, PEER, AROUND)}
        own = parts[self.node[parts] >= 0]
        operation = -1
        if len(own):
            by_node = statistics.totals(self.node[own], amounts[self.node[parts] >= 0], len(self.s.nodes))
            operation = self.s.nodes[int(np.argmax(by_node))][1]
        kind = max(kinds, key=kinds.__getitem__)
        if kind == PEER:
            return "missing", operation
        if kind in (WAY, AROUND) and self.blame.mode == "time":
            return "link_time", operation
        failing = self.blame.failed[cells.trace[chosen]]
        if self.blame.mode == "requests" and float(cells.amount[chosen][failing].sum()) > 0.5 * float(cells.amount[chosen].sum()):
            return "failures", operation
        return ("link_time" if kind in (WAY, AROUND) else "own_time"), operation

    # ---- explaining away ---------------------------------------------------------------------------------------------------

    def explain(self, level: Literal["system", "operation"]) -> Explanation:
        groups = self.groups(level)
        ranking = self.candidates(groups)
        total = self.excess()
        left = np.ones(len(self.cells.trace), bool)
        culprits: list[Candidate] = []
        pool, position = ranking, {(c.service, tuple(c.parts.tolist())): c for c in ranking}
        explained = 0.0
        while len(culprits) < MOST:
            sure = SIGNIFICANT / max(len(pool), 1)  # one in a hundred windows may show something, whatever the number of services
            best = next((c for c in pool if c.p <= sure and c.score > 0 and not self._known(c, culprits)), None)
            if best is None or best.blamed < 0.05 * total or (culprits and best.score < 0.05):
                break
            best = self._deeper(best, pool, left)
            first = position[best.service, tuple(best.parts.tolist())]
            culprits.append(first)
            explained += best.blamed
            self._remove(best, first, ranking, left)
            pool = self.candidates(groups, left)
        residual = max(0.0, 1.0 - explained / total) if total > 0 else 1.0
        rest = [c for c in ranking if c not in culprits]
        for c in rest:
            self._why_not(c, culprits)
        order = self._order([*culprits, *(c for c in rest if c.p <= SIGNIFICANT and c.lift >= 1.2)])
        ordered = culprits + rest
        rival = next((c.score for c in rest if c.reason != "explained_by"), 0.0)
        margin = max(0.0, (culprits[0].score - rival) / culprits[0].score) if culprits and culprits[0].score > 0 else 0.0
        return Explanation(ordered, culprits, total, min(1.0, residual), min(1.0, margin), order)

    def _known(self, candidate: Candidate, culprits: list[Candidate]) -> bool:
        return any(c.service == candidate.service and c.operation == candidate.operation for c in culprits)

    def _deeper(self, x: Candidate, pool: list[Candidate], left: Flags) -> Candidate:
        """Down the graph, while a dependency explains what x shows and x shows nothing without it."""
        seen = {x.service}
        while True:
            below = [
                y for y in pool
                if (x.service, y.service) in self.calls and y.service not in seen and y.p <= SIGNIFICANT and y.score >= 0.25 * x.score
            ]  # fmt: skip
            deeper = next((y for y in below if self._only_with(x, y, left)), None)
            if deeper is None:
                return x
            seen.add(deeper.service)
            x = deeper

    def _only_with(self, x: Candidate, y: Candidate, left: Flags) -> bool:
        """Whether at least 80 % of x's blame lies in requests that y is blamed in as well, and the rest is nothing special."""
        cells = self.cells
        rows_x = np.isin(cells.part, x.parts) & left
        rows_y = np.isin(cells.part, y.parts) & left & cells.now & (cells.amount > self._clearly())
        with_y = np.zeros(self.s.traces, bool)
        with_y[cells.trace[rows_y]] = True
        mine = rows_x & cells.now
        amount = float(cells.amount[mine].sum())
        shared = float(cells.amount[mine & with_y[cells.trace]].sum())
        theirs = float(cells.amount[rows_y & with_y[cells.trace]].sum())
        if amount <= 0 or shared < 0.8 * amount or theirs < amount:
            return False
        alone = float((self.weight * (self.incident & ~with_y)).sum())
        if alone < 20:
            return True  # no request tells them apart: the longer time decides
        rest = amount - shared
        before = float(cells.amount[rows_x & ~cells.now].sum())
        return rest <= 2.0 * before * alone / max(self.n0, 1e-9) + 1e-9

    def _clearly(self) -> Floats:
        """Per row, the blame from which on it is no chance."""
        return np.full(len(self.cells.part), 0.05) if self.blame.mode == "requests" else self.blame.high[self.cells.part]

    def _remove(self, x: Candidate, shown: Candidate, ranking: list[Candidate], left: Flags) -> None:
        """x's own blame, and that of its callers in requests where x is blamed: they waited for it."""
        cells = self.cells
        rows = np.isin(cells.part, x.parts) & left
        hit = np.zeros(self.s.traces, bool)
        strong = rows & (cells.amount > self._clearly())
        hit[cells.trace[strong]] = True
        left &= ~rows
        above = self._callers(x.service)
        for c in ranking:
            if c.service in above and c.service != x.service:
                mine = np.isin(cells.part, c.parts) & hit[cells.trace] & left
                if mine.any():
                    left &= ~mine
                    if c.p <= SIGNIFICANT and c.service not in shown.explains:
                        shown.explains.append(c.service)
        shown.explains += sorted(above - set(shown.explains))

    def _callers(self, service: int) -> set[int]:
        found, waiting = {service}, [service]
        while waiting:
            callee = waiting.pop()
            for caller, called in self.calls:
                if called == callee and caller not in found:
                    found.add(caller)
                    waiting.append(caller)
        return found - {service}

    def _why_not(self, c: Candidate, culprits: list[Candidate]) -> None:
        by = next((i for i, k in enumerate(culprits) if c.service in self._callers(k.service) or c.service == k.service), None)
        met = float(self.blame.met[c.parts].max()) if len(c.parts) else 0.0
        if met < 5:
            c.reason = "too_few_requests"
        elif c.p > SIGNIFICANT or c.lift < 1.2:
            c.reason = "normal_for_load"
        elif by is not None:
            c.reason, c.by = "explained_by", by + 1
        elif c.coverage < 0.05:
            c.reason = "normal_for_load"
        elif culprits and self._later(c, culprits[0]):
            c.reason = "started_later"
        else:
            c.reason = "only_waiting" if c.evidence in ("own_time", "link_time") else "no_path"

    # ---- when ----------------------------------------------------------------------------------------------------------------

    def hit(self, c: Candidate) -> Flags:
        """Per trace, whether it has more of this candidate's blame than is usual."""
        mine = np.isin(self.blame.part, c.parts)
        amount = statistics.totals(self.blame.trace[mine], self.blame.amount[mine], self.s.traces)
        if self.blame.mode == "requests":
            return amount > 0.25
        usual = amount[self.baseline]
        return amount > (float(np.quantile(usual, 0.95)) if len(usual) else 0.0)

    def onset(self, c: Candidate) -> Onset | None:
        """When its blame rose; None when there is nothing to tell apart."""
        if id(c) not in self._onsets:
            begin = max(_EARLIER, float(self.seconds.min()))
            end = min(self.length, float(self.seconds.max()) + 1)
            self._onsets[id(c)] = statistics.onset(self.seconds, self.hit(c), self.weight, math.floor(begin), math.ceil(end), hint=0.0)
        return self._onsets[id(c)]

    def _order(self, risen: list[Candidate]) -> float:
        """Share of the calls between risen services whose callee rose no later than its caller, as far as the bands tell."""
        first: dict[int, Candidate] = {}
        for c in risen[:_DATED]:
            first.setdefault(c.service, c)
        pairs = [(first[a], first[b]) for a, b in self.calls if a in first and b in first]
        return 1 - sum(self._later(callee, caller) for caller, callee in pairs) / len(pairs) if pairs else 1.0

    def _later(self, c: Candidate, than: Candidate) -> bool:
        mine, other = self.onset(c), self.onset(than)
        return mine is not None and other is not None and mine[1] > other[2]

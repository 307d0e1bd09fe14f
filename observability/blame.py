"""Blame of one ended flight, as it ends: what failed or took too long, and whose doing that was; then its cells."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic_ns
from typing import Final, NamedTuple

from observability.baseline import UNKNOWN, Baseline, Part
from observability.flight import FlightRecord, Hop
from observability.rings import WIDTH, Key, Rings
from observability.rootcause.model import CLIENT, COUNTERS, GATEWAY
from observability.vocabulary import FAILURE_CLASSES, FailureClass, Step

Shares = dict[Part, float]
"""Of one bad request; they sum to 1. UNKNOWN: nobody's."""

_CLASS: Final[dict[FailureClass, int]] = {name: COUNTERS.index(name) for name in FAILURE_CLASSES}
LATE, DEGRADED, BLAMED, EXCESS = (COUNTERS.index(name) for name in ("late", "degraded", "blamed", "excess_ms"))
_BAD: Final = frozenset({"failure", "rejected"})
_CALLS: Final = frozenset({Step.CALL, Step.ATTEMPT, Step.FILE_RECEIVE, Step.PUBLISH})
_PARTS: Final = {Step.STORE: "store", Step.FILE_COMMIT: "store", Step.QUOTA: "quota", Step.AUTH: "auth"}
WORKER: Final[Part] = (GATEWAY, "worker")
_OURS: Final = {"StoreUnavailable": "store", "QuotaUnavailable": "quota", "KeysUnavailable": "auth"}
"""Errors that name a part of ours, wherever they surface."""
_SLOW_TO_TELL: Final = frozenset({Step.REQUEST, Step.PROCESS_STEP, Step.CONSUME, Step.CALL})
"""Where a timeout says only that something below took too long."""
_OVER_QUOTA: Final = 429
"""Our own limit at work: no mistake of the client, and no trouble."""
_ONE: Final = [1] + [0] * (WIDTH - 1)
"""Counters of a request about which there is nothing else to say."""
_NONE: Final[Mapping[str, float]] = {}
LATE_S: Final = 1.0
"""What is late as long as nothing is declared or known."""
COLD: Final = 256
"""Flights of a route from which all is learned; later from one in EACH."""
EACH: Final = 8
REMEMBERED: Final = 4_096
"""Traces that may have opened a breaker or made a call that others joined."""
HALF_LIFE_S: Final = 5.0
"""Of what is known about who held places too long."""
BEHIND_NS: Final = 20_000_000
"""What the event loop is late by and nobody feels."""
PROVEN_S: Final = 30.0
"""Trials that succeed for so long while refusals go on put the blame on the breaker."""


class Counted(NamedTuple):
    """What was counted of one flight."""

    late: bool
    shares: Shares
    """Empty: it was good."""
    seconds: float
    slow: frozenset[Part] | set[Part] = frozenset()
    """Calls that took too long."""


class Overdue(NamedTuple):
    """What was counted of a request that had not ended."""

    at: float
    rows: list[tuple[Key, list[int]]]


class Blame:
    """Counts flights into rings, and learns what is usual from those that are not suspected. Time comes with the flights."""

    def __init__(self, rings: Rings, *, baseline: Baseline | None = None, under_way: Callable[[], Iterable[FlightRecord]] = tuple) -> None:
        """`under_way`: flights that have not ended; what they wait for holds places."""
        self.rings = rings
        self.baseline = baseline or Baseline()
        self._under_way = under_way
        self._held: dict[Part, tuple[float, float]] = {}  # when, and seconds in excess then, fading
        self._hanging: tuple[int, Shares] = (0, {})
        self._traces: dict[tuple[int, Part], Part] = {}
        self._last: dict[Part, Part] = {}
        """What failed below an operation when it was last tried, if that was not the operation itself."""
        self._recovered: dict[Part, float] = {}
        """Since when all trials of an operation succeed."""
        self._turn = 0
        self._behind: deque[tuple[int, int]] = deque(maxlen=2_048)

    def behind(self, due: int, now: int) -> None:
        """The event loop had something to do at `due` and came to it `now` (monotonic, ns): no call could go on meanwhile."""
        if now - due > BEHIND_NS:
            self._behind.append((due, now))

    def _stood(self, hop: Hop) -> float:
        """Seconds of a step for which the event loop was late."""
        t0, t1, stood = hop.t0, hop.t1 or monotonic_ns(), 0
        for due, now in reversed(self._behind):
            if now <= t0:
                break
            stood += max(0, min(now, t1) - max(due, t0))
        return stood * 1e-9

    def count(
        self,
        record: FlightRecord,
        at: float,
        *,
        objective: float | None = None,
        objectives: Mapping[str, float] = _NONE,
        learn: bool = True,
    ) -> Counted:
        """`at`: seconds since 1970, when it ended. Late is what takes longer than its declared objective, else than `objective`, else than
        max(q99, 1.5 x median) of its past, else than a second.
        """
        rings, root, name = self.rings, record.root, record.name
        if (second := int(at)) != rings.second:
            rings.turn(second)
        seconds = (root.t1 - root.t0) * 1e-9
        outcome = root.outcome
        usual = self.baseline.of(UNKNOWN, name)
        declared: float | None = record.objective or objectives.get(name)
        if declared is None:
            declared = objective
        limit = ((usual.late if usual is not None else 0.0) or LATE_S) if declared is None else declared
        failed = outcome in _BAD
        late = seconds > limit and not failed
        where = ("" if record.kind == "task" else record.channel, name, record.api_version, record.store)
        met: dict[Part, Hop] = {}
        troubled = failed or late or outcome != "success"
        recovered, history = self._recovered, self.baseline.histories.get
        for hop in record.hops:
            if hop.system and (kind := hop.kind) in _CALLS:
                part = (hop.system, hop.operation)
                if kind is Step.ATTEMPT:
                    known = history((*part, ""))
                    if known is not None and (took := (hop.t1 - hop.t0) * 1e-9) > 2 * known.median + 0.001:
                        self._hold(part, took - known.median, at)
                    if recovered or "probe" in hop.attributes:
                        self._tried(part, hop, at)
                    if part in met and met[part].kind is not Step.ATTEMPT:
                        continue
                    met[part] = hop  # without a call around: the last one tells
                elif part in met and (met[part].outcome in _BAD or hop.outcome not in _BAD):
                    continue
                else:
                    met[part] = hop
                if hop.outcome != "success":
                    troubled = True
        if learn and not failed and outcome != "caller":
            self.baseline.learn(UNKNOWN, name, seconds, at)
            self._turn += 1
            if not troubled and (self._turn % EACH == 0 or usual is None or usual.n < COLD):
                self._learn(record, met, at)
        slow: set[Part] = set()
        for part, hop in met.items():
            declared = objectives.get(f"{part[0]}.{part[1]}", objective) if objectives else objective
            if declared is None:
                declared = (known.late if (known := history((*part, ""))) is not None else 0.0) or LATE_S
            if hop.t1 - hop.t0 > declared * 1e9 and (hop.t1 - hop.t0) * 1e-9 - self._stood(hop) > declared:
                slow.add(part)
        if record.client and root.failure != "caller":
            rings.count((CLIENT, record.client, *where[:3], ""))
        if not troubled and not slow and root.attributes.get("status") != 202:
            rings.count(("", "", *where))
            for part in met:
                rings.count((*part, *where))
            return Counted(False, {}, seconds)
        return self._count(record, where, met, slow, seconds, at, late=late)

    def _count(
        self,
        record: FlightRecord,
        where: tuple[str, str, str, str],
        met: dict[Part, Hop],
        slow: set[Part],
        seconds: float,
        at: float,
        *,
        late: bool,
    ) -> Counted:
        root, rings = record.root, self.rings
        tree = _Tree(record)
        self._remember(record, tree, at)
        whole = _ONE.copy()
        shares: Shares = {}
        excess: Shares = {}
        if root.outcome in _BAD:
            whole[_CLASS[root.failure or "gateway"]] = 1
            shares = self._failure(record, tree, root, at)
        elif root.failure == "caller":
            whole[_CLASS["caller"]] = 1
            if record.client and root.attributes.get("status") != _OVER_QUOTA:
                rings.add((CLIENT, record.client, *where[:3], ""), whole)
        if late:
            whole[LATE] = 1
            shares, excess = self._time(record, tree, root, at)
            own = max(0.0, seconds - self.baseline.median(UNKNOWN, record.name))
            whole[EXCESS] = int(own * 1000)
            if sum(excess.values()) < own / 2 or not shares:
                shares, excess = {UNKNOWN: 1.0}, {}
        if root.degraded_by or root.outcome == "degraded" or (root.outcome == "success" and root.attributes.get("status") == 202):
            whole[DEGRADED] = 1
        blamed = _thousandths(shares)
        whole[BLAMED] = blamed.pop(UNKNOWN, 0)
        rings.add(("", "", *where), whole)
        for part, hop in met.items():
            share, over = blamed.pop(part, 0), int(excess.get(part, 0.0) * 1000)
            if not (share or over or hop.outcome != "success" or part in slow):
                rings.count((*part, *where))
                continue
            counters = _ONE.copy()
            if (failure := hop.failure) is not None:
                if failure == "rejected" or (failure == "timeout" and hop.kind is Step.CALL):  # what failed before that tells more
                    tried = [x for each in tree.below(hop) if each.kind is Step.ATTEMPT and (x := each.failure) is not None]
                    failure = tried[0] if tried else failure
                counters[_CLASS[failure]] = 1
            elif part in slow:
                counters[LATE] = 1
            if hop.outcome == "degraded":
                counters[DEGRADED] = 1
            counters[BLAMED], counters[EXCESS] = share, over
            if any(counters[1:]):
                rings.add((*part, *where), counters)
            else:
                rings.count((*part, *where))
        for part, share in blamed.items():
            counters = _ONE.copy()
            counters[BLAMED], counters[EXCESS] = share, int(excess.get(part, 0.0) * 1000)
            rings.add((*part, *where), counters)
        return Counted(late, shares, seconds, slow)

    def usually_late(self, name: str) -> float:
        usual = self.baseline.of(UNKNOWN, name)
        return (usual.late if usual is not None else 0.0) or LATE_S

    def overdue(self, record: FlightRecord, at: float) -> Overdue:
        """Counts a request that has not ended as failed by timeout, and blames the deepest steps that have not ended either."""
        tree, where = _Tree(record), (record.channel, record.name, record.api_version, record.store)
        hanging = [hop for hop in tree.under(record.root) if not hop.t1 and all(below.t1 for below in tree.below(hop))]
        shares = _mean([self._hanging_in(hop, at) for hop in hanging or [record.root]])
        calls = {(hop.system, hop.operation) for hop in record.hops if hop.system and hop.kind in _CALLS and not hop.t1}
        blamed = _thousandths(shares)
        rows: list[tuple[Key, list[int]]] = []
        for part in {UNKNOWN, *calls, *blamed}:
            counters = _ONE.copy()
            counters[_CLASS["timeout"]] = int(part == UNKNOWN or part in calls)
            counters[BLAMED] = blamed.get(part, 0)
            rows.append(((*part, *where), counters))
        self.rings.turn(int(at))
        for key, counters in rows:
            self.rings.add(key, counters)
        return Overdue(at, rows)

    def _hanging_in(self, hop: Hop, at: float) -> Shares:
        return self._holders(hop, at, hop.seconds) if hop.kind is Step.WAIT else {_part(hop): 1.0}

    def corrected(self, overdue: Overdue) -> float:
        """Takes back what was counted. Returns when that was: the end of the request is counted there."""
        self.rings.turn(int(overdue.at))
        for key, counters in overdue.rows:
            self.rings.add(key, [-value for value in counters])
        return overdue.at

    def refused(self, key: Key, n: int, at: float) -> None:
        """Counts requests that were refused for want of room; `key` is that of whole requests."""
        blamed = _thousandths(self._holding(set(), WORKER, at, 0.5))
        for part in {UNKNOWN, *blamed}:
            counters = [n] + [0] * (WIDTH - 1)
            counters[_CLASS["rejected"]] = n if part == UNKNOWN else 0
            counters[BLAMED] = n * blamed.get(part, 0)
            self.rings.add((*part, *key[2:]), counters)

    # ---- failure ------------------------------------------------------------------------------------------------------

    def _failure(self, record: FlightRecord, tree: _Tree, hop: Hop, at: float) -> Shares:
        """The deepest failing step has it; several that failed alike share."""
        failing = [below for below in tree.below(hop) if below.outcome in _BAD]
        alike = [below for below in failing if _said(below) == _said(hop)]
        if not alike and failing and hop.failure != "gateway":
            alike = [max(failing, key=lambda below: below.t1)]
        if alike:
            return _mean([self._failure(record, tree, below, at) for below in alike])
        return self._leaf(record, tree, hop, at)

    def _leaf(self, record: FlightRecord, tree: _Tree, hop: Hop, at: float) -> Shares:
        kind, failure, part = hop.kind, hop.failure, (hop.system, hop.operation)
        if kind is Step.GUARD and hop.attributes.get("guard") != "bulkhead":
            return {self._refused(hop, part, at): 1.0}
        if kind in (Step.GUARD, Step.WAIT) or (failure == "rejected" and not hop.system):
            return self._holders(hop, at)
        if hop.links and (joined := self._joined(hop, part)) != part:
            return {joined: 1.0}
        if failure == "rejected":
            return {self._last.get(part, part): 1.0}
        if failure == "timeout" and kind in _SLOW_TO_TELL:
            shares, _ = self._time(record, tree, hop, at)
            return shares or {part if hop.system else WORKER: 1.0}
        if failure == "gateway":
            if hop.system and kind in (Step.MAP, Step.CALL):
                return {(GATEWAY, f"mapping {hop.system}.{hop.operation}"): 1.0}
            return {_ours(hop): 1.0}
        if not hop.system:
            return {(record.root.system, record.root.operation) if record.root.system else _ours(hop): 1.0}
        return {part: 1.0}

    def _refused(self, hop: Hop, part: Part, at: float) -> Part:
        """No fresh evidence: what opened the breaker has it, unless the breaker stays shut although trials have succeeded for a while."""
        since = self._recovered.get(part)
        if since is not None and at - since >= PROVEN_S:
            return (GATEWAY, f"breaker {hop.attributes.get('guard_name') or f'{part[0]}.{part[1]}'}")
        for link in hop.links or ():
            if link.kind == "opened_by" and (found := self._traces.get((link.trace_id, part))):
                return found
        return self._last.get(part, part)

    def _joined(self, hop: Hop, part: Part) -> Part:
        for link in hop.links or ():
            if link.kind == "joined_call":
                return self._traces.get((link.trace_id, part)) or self._last.get(part, part)
        return part

    def _tried(self, part: Part, hop: Hop, at: float) -> None:
        if hop.attributes.get("probe") and hop.outcome not in _BAD:
            self._recovered.setdefault(part, at)
        else:  # it fails again, or the breaker is closed: no trials any more
            self._recovered.pop(part, None)

    def _remember(self, record: FlightRecord, tree: _Tree, at: float) -> None:
        """Whom the failing calls of this flight blame, for those that are refused or have joined because of them."""
        for hop in record.hops:
            if hop.kind is Step.CALL and hop.outcome == "failure" and not (hop.links or ()) and (below := tree.below(hop)):
                if all(each.kind is Step.GUARD for each in below):
                    continue
                part = (hop.system, hop.operation)
                shares = self._failure(record, tree, hop, at)
                culprit = max(shares, key=lambda p: shares[p])
                if culprit == part:
                    self._last.pop(part, None)
                    continue
                self._last[part] = culprit
                self._traces[record.trace, part] = culprit
                if len(self._traces) > REMEMBERED:
                    del self._traces[next(iter(self._traces))]

    # ---- time ---------------------------------------------------------------------------------------------------------

    def _time(self, record: FlightRecord, tree: _Tree, top: Hop, at: float) -> tuple[Shares, Shares]:
        """Shares of the time above what is usual below `top`, and that time in seconds."""
        times: Shares = {}
        waits: list[Hop] = []
        for hop in tree.under(top):
            if hop.kind is Step.WAIT:
                waits.append(hop)
            else:
                part = self._joined(hop, _part(hop)) if hop.links else _part(hop)
                own = tree.exclusive(hop)
                if part[0] != GATEWAY and self._behind and (stood := min(own, self._stood(hop))):  # an answer that lies there unread
                    times[WORKER] = times.get(WORKER, 0.0) + stood
                    own -= stood
                times[part] = times.get(part, 0.0) + own
        excess: Shares = {}
        for part, seconds in times.items():
            if (over := seconds - self.baseline.median(part, record.name)) > 0:
                excess[part] = over
        for hop in waits:
            waited = tree.exclusive(hop)
            for part, share in self._holders(hop, at, waited).items():
                excess[part] = excess.get(part, 0.0) + share * waited
        total = sum(excess.values())
        return ({part: over / total for part, over in excess.items()} if total else {}), excess

    def _learn(self, record: FlightRecord, met: dict[Part, Hop], at: float) -> None:
        tree, name, learn = _Tree(record), record.name, self.baseline.learn
        times: Shares = {}
        for hop in record.hops:
            if hop.kind is not Step.WAIT:
                part = _part(hop)
                times[part] = times.get(part, 0.0) + tree.exclusive(hop)
        for part, seconds in times.items():
            learn(part, name, seconds, at)
        for part, hop in met.items():
            learn(part, "", (hop.t1 - hop.t0) * 1e-9, at)

    # ---- waiting ------------------------------------------------------------------------------------------------------

    def _hold(self, part: Part, seconds: float, at: float) -> None:
        then, before = self._held.get(part, (at, 0.0))
        self._held[part] = (at, before * 0.5 ** (max(0.0, at - then) / HALF_LIFE_S) + seconds)

    def _holders(self, hop: Hop, at: float, waited: float = 0.5) -> Shares:
        """Who held what was waited for: operations in proportion to how much longer than usual they took of late, and what is under way
        still does. None took much longer: the resource is too small, and that is ours.
        """
        named = str(hop.attributes.get("holders", "")).split()
        systems = {name.rpartition(":")[0] for name in named} or ({hop.system} if hop.system else set())
        return self._holding(systems, (GATEWAY, f"pool {hop.system}") if hop.system else WORKER, at, max(waited, 0.5))

    def _holding(self, systems: set[str], ours: Part, at: float, waited: float) -> Shares:
        over: Shares = {}
        for part, (then, seconds) in self._held.items():
            if not systems or part[0] in systems:
                over[part] = seconds * 0.5 ** (max(0.0, at - then) / HALF_LIFE_S)
        for part, seconds in self._hangs(at).items():
            if not systems or part[0] in systems:
                over[part] = over.get(part, 0.0) + seconds
        total = sum(over.values())
        if total < waited:
            return {ours: 1.0}
        least = total / 100
        total = sum(seconds for seconds in over.values() if seconds > least)
        return {part: seconds / total for part, seconds in over.items() if seconds > least}

    def _hangs(self, at: float) -> Shares:
        """Seconds in excess of calls that are under way, as of this second."""
        if self._hanging[0] != int(at):
            found: Shares = {}
            for record in list(self._under_way()):
                for hop in list(record.hops):
                    if hop.kind is Step.ATTEMPT and hop.system and not hop.t1:
                        part = (hop.system, hop.operation)
                        if (over := hop.seconds - 2 * self.baseline.median(part, "")) > 0:
                            found[part] = found.get(part, 0.0) + over
            self._hanging = (int(at), found)
        return self._hanging[1]


class _Tree:
    """The steps of a flight by what they are under. A step that never ended is taken to have lasted as long as the flight."""

    def __init__(self, record: FlightRecord) -> None:
        self._end = record.root.t1 or monotonic_ns()
        self._below: dict[int, list[Hop]] = {}
        for hop in record.hops[1:]:
            self._below.setdefault(hop.parent_id, []).append(hop)

    def below(self, hop: Hop) -> Sequence[Hop]:
        return self._below.get(hop.bits, ())

    def under(self, top: Hop) -> list[Hop]:
        found = [top]
        for hop in found:
            found += self._below.get(hop.bits, ())
        return found

    def exclusive(self, hop: Hop) -> float:
        """Seconds outside of the steps below it."""
        t0, t1 = hop.t0, hop.t1 or self._end
        own, reached = t1 - t0, t0
        if below := self._below.get(hop.bits):
            if len(below) > 1:
                below = sorted(below, key=_began)
            for each in below:
                begin, end = max(each.t0, reached), min(each.t1 or self._end, t1)
                if end > begin:
                    own -= end - begin
                    reached = end
        return own * 1e-9


def _began(hop: Hop) -> int:
    return hop.t0


def _part(hop: Hop) -> Part:
    """Whose time a step's own is."""
    if hop.kind in _CALLS and hop.system:
        return (hop.system, hop.operation)
    if hop.kind is Step.MAP and hop.system:
        return (GATEWAY, f"mapping {hop.system}.{hop.operation}")
    return (GATEWAY, _PARTS.get(hop.kind, "worker"))


def _ours(hop: Hop) -> Part:
    return (GATEWAY, _OURS.get(hop.error) or _PARTS.get(hop.kind, "worker"))


def _said(hop: Hop) -> tuple[str, str, str]:
    return (hop.error_type, hop.error, hop.detail)


def _mean(of: list[Shares]) -> Shares:
    if len(of) == 1:
        return of[0]
    total: Shares = {}
    for shares in of:
        for part, share in shares.items():
            total[part] = total.get(part, 0.0) + share / len(of)
    return total


def _thousandths(shares: Shares) -> dict[Part, int]:
    """Integers that sum to 1,000."""
    if len(shares) < 2:
        return dict.fromkeys(shares, 1000)
    rounded = {part: round(share * 1000) for part, share in shares.items()}
    most = max(rounded, key=lambda part: rounded[part])
    rounded[most] += 1000 - sum(rounded.values())
    return rounded

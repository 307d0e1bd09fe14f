"""A gateway and the systems behind it, event by event: queues fill, places run out, breakers open because calls really fail."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate
from random import getrandbits
from typing import Any, Final, NamedTuple

from benchmarks.rootcause.estate import CHANNELS, Estate, Operation, Route
from observability.flight import FlightRecord, Hop, Link
from observability.rootcause.model import FeedTrouble, GuardChange
from observability.vocabulary import OUTCOME_OF, FailureClass, FlightKind, Outcome, Step, failure_class

BEGIN: Final = 1_780_000_020
"""Seconds since 1970 at which every simulation begins."""
KEPT: Final = 24_000
"""Flights that are remembered whole, for those methods that need traces."""
INTERVAL, GRACE = 60.0, 25.0
"""A file of each feed is due every minute."""
_QUEUE: Final = 40
_RESPITE: Final = 15.0
_TRIALS: Final = 3

Process = Generator[Any, Any, Any]
At = tuple[str, str]


class Served(NamedTuple):
    """A span of a system: what an instrumented system would have said itself."""

    parent: int
    span: int
    system: str
    operation: str
    t0: float
    t1: float
    error: bool


@dataclass(slots=True)
class Flown:
    """A flight that ended, and what only the simulation knows of it."""

    record: FlightRecord
    served: tuple[Served, ...]
    met: frozenset[int]
    """The faults it met, by number: directly, in a queue for the same places, or at a breaker that they opened."""
    at: float


@dataclass(slots=True)
class Answer:
    """How a system answers one attempt. `error`: an `error.type`, empty for a good one."""

    at: float
    error: str = ""


@dataclass(slots=True)
class Shape:
    """What the weather does to one call: the faults and controls write it."""

    slower: float = 1.0
    extra: float = 0.0
    """Seconds on the way."""
    error: str = ""
    after: float = -1.0
    """Seconds until the error comes; below 0: as long as an answer takes."""
    hang: bool = False
    refused: str = ""
    """Error of the connection."""


Weather = Callable[["Ask", At, float], Shape | None]


@dataclass(slots=True)
class Ask:
    """One request, as far as the weather may look at it."""

    channel: str
    client: str
    route: Route
    version: str
    store: str
    record: FlightRecord
    deadline: float
    met: set[int] = field(default_factory=set)
    served: list[Served] = field(default_factory=list)


@dataclass(slots=True)
class Server:
    """A system: so many at work at once, the others in line. What was begun is finished, whoever still waits for it."""

    free: list[float]

    def serve(self, at: float, seconds: float) -> tuple[float, float]:
        start = max(at, self.free[0])
        heapreplace(self.free, start + seconds)
        return start, start + seconds


@dataclass(slots=True)
class Places:
    """So many at once; the others wait in line, up to `line`."""

    limit: int
    line: int = 1_000
    holders: dict[str, int] = field(default_factory=dict)
    taken: int = 0
    waiting: deque[list[Any]] = field(default_factory=deque)


@dataclass(slots=True)
class Breaker:
    results: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=40))
    state: str = "closed"
    until: float = 0.0
    opened_by: tuple[int, int] = (0, 0)
    good: int = 0
    trials: int = 0
    stuck: bool = False
    met: frozenset[int] = frozenset()


class Simulation:
    """Runs on a clock of its own; `run(until)` goes on from where it was."""

    def __init__(self, estate: Estate, count: Callable[[FlightRecord], None]) -> None:
        self.estate, self.count, self.now = estate, count, 0.0
        self.random = random.Random(f"simulation {estate.seed}")
        self._events: list[tuple[float, int, Any, Any]] = []
        self._number = 0
        names = list(estate.role.values())
        self.servers = {name: Server([0.0] * estate.servers(name)) for name in names}
        for server in self.servers.values():
            heapify(server.free)
        usual = estate.in_flight()
        self.pool = Places(int(usual * 3 + 6) if estate.tight else int(usual * 8 + 16))
        share = {name: estate.rate(name) / 0.6 for name in names}
        self.bulkheads = {name: Places(10_000 if estate.tight else int(share[name] * 8 + 6), _QUEUE) for name in names}
        self.breakers = {at: Breaker() for at in estate.operations}
        self.budget = dict.fromkeys(names, 10.0)
        self.attempts, self.spends = 2, True
        self.weathers: list[Weather] = []
        self.flying: dict[tuple[str, str, int], tuple[Hop, Ask, deque[list[Any]]]] = {}
        self.holding: dict[int, frozenset[int]] = {}
        """Attempts under way that met a fault, and which."""
        self.flown: deque[Flown] = deque(maxlen=KEPT)
        self.watch: Callable[[Flown], None] | None = None
        self.guards: list[GuardChange] = []
        self.load = 1.0
        """Factor on arrivals."""
        self.mix = estate.mix
        self.file_weather: Callable[[str, float], str] = lambda store, at: ""
        self.files = {store: self.random.uniform(0, INTERVAL) for store in estate.stores[: max(4, len(estate.stores) // 10)]}
        """Store -> when its last file came."""
        self.odd_files: list[FeedTrouble] = []
        self.consumer = True
        self.poison = 0.0
        self.backlog: deque[float] = deque()
        self.clock = 0.0
        """Seconds by which the wall clock is wrong."""
        self.internal = 1.0
        """Factor on the time that the gateway itself takes."""
        self.broken: Callable[[Ask, str], str] = lambda ask, part: ""
        """What fails in a part of the gateway: `answer`, `mapping system.operation`, `store`."""
        self.lock = 0.0
        self._tables: dict[str, tuple[list[str], list[float]]] = {}
        for channel in CHANNELS:
            self.start(self._arrivals(channel))
        for store in self.files:
            self.start(self._feed(store))
        self.start(self._consume())

    # ---- the clock ----------------------------------------------------------------------------------------------------

    def run(self, until: float) -> None:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, process, value = heappop(events)
            if type(process) is list:  # a wait that ran out of time, unless it ended before
                if process[1]:
                    continue
                process[1], process, value = True, process[0], False
            self._go(process, value)
        self.now = until

    def _at(self, when: float, process: Any, value: Any = None) -> None:
        self._number += 1
        heappush(self._events, (when, self._number, process, value))

    def start(self, process: Process) -> None:
        self._go(process, None)

    def _go(self, process: Process, value: Any) -> None:
        """On until it sleeps (seconds), waits (a line, seconds) or has ended."""
        try:
            wish = process.send(value)
        except StopIteration:
            return
        if type(wish) is float:
            self._at(self.now + wish, process)
        else:
            line, seconds = wish
            waiter = [process, False]
            line.append(waiter)
            if seconds is not None:
                self._at(self.now + seconds, waiter)

    def _wake(self, line: deque[list[Any]]) -> bool:
        """The first who still waits."""
        while line:
            waiter = line.popleft()
            if not waiter[1]:
                waiter[1] = True
                self._at(self.now, waiter[0], True)
                return True
        return False

    # ---- who asks -----------------------------------------------------------------------------------------------------

    def _arrivals(self, channel: str) -> Process:
        r, estate = self.random, self.estate
        share = estate.load * CHANNELS[channel] / sum(CHANNELS.values()) / 1.3
        phase = r.uniform(200, 900)
        burst_until, burst = 0.0, 1.0
        while True:
            if self.now > burst_until:
                burst = r.choice((1.0, 1.0, 1.0, 0.7, 1.6))
                burst_until = self.now + r.uniform(5, 60)
            wave = 1 + 0.25 * ((self.now % phase) / phase - 0.5)
            yield r.expovariate(share * burst * wave * self.load)
            for _ in range(1 if r.random() < 0.8 else r.randint(2, 3)):
                self.start(self._request(channel))

    def storm(self, channel: str, client: str, route: str, rate: float) -> Process:
        """One client that asks and asks."""
        while True:
            yield self.random.expovariate(rate)
            self.start(self._request(channel, client, route))

    def _pick(self, what: str, table: dict[str, float]) -> str:
        found = self._tables.get(what)
        if found is None:
            found = self._tables[what] = (list(table), list(accumulate(table.values())))
        return self.random.choices(found[0], cum_weights=found[1])[0]

    def changed_mix(self, mix: dict[str, dict[str, float]]) -> None:
        self.mix = mix
        self.forget()

    def forget(self) -> None:
        """The estate's weights have changed."""
        self._tables.clear()

    # ---- one request ---------------------------------------------------------------------------------------------------

    def _record(self, kind: FlightKind, name: str, **about: Any) -> FlightRecord:
        record = FlightRecord(_NOBODY, kind, name, **about)
        record.t0 = record.root.t0 = int(self.now * 1e9)
        record.wall = int((BEGIN + self.clock) * 1_000_000_000) + record.t0
        return record

    def _hop(self, record: FlightRecord, parent: int, kind: Step, system: str = "", operation: str = "", attempt: int = 0, **a: Any) -> Hop:
        hop = Hop(kind, system=system, operation=operation, attempt=attempt, **a)
        hop.bits, hop.parent_id, hop.record, hop.t0 = getrandbits(64) or 1, parent, record, int(self.now * 1e9)
        record.hops.append(hop)
        if attempt > 1:
            record.retried = True
        if kind is Step.GUARD:
            record.guarded = True
        return hop

    def _end(self, hop: Hop, error: str = "", at: float | None = None) -> None:
        hop.t1 = int((self.now if at is None else at) * 1e9)
        if error:
            hop.error_type = error
            hop.outcome = OUTCOME_OF.get(failure_class(error), "failure")
        elif hop.outcome == "unfinished":
            hop.outcome = "success"

    def _landed(self, record: FlightRecord, served: Sequence[Served], met: frozenset[int]) -> None:
        record.t1 = record.root.t1
        self.count(record)
        flown = Flown(record, tuple(served), met, record.t0 / 1e9)
        for hop in record.hops:
            hop.record = None
        self.flown.append(flown)
        if self.watch is not None:
            self.watch(flown)

    def _request(self, channel: str, client: str = "", route: str = "") -> Process:
        estate = self.estate
        found = estate.routes[route or self._pick(f"mix {channel}", self.mix[channel])]
        client = client or self._pick(f"client {channel}", estate.clients[channel])
        version = self._pick("version", estate.versions)
        store = self._store() if channel == "store" or found.name in _STORED else ""
        record = self._record("request", found.name, channel=channel, api_version=version, store=store, client=client)
        record.objective = found.objective
        ask = Ask(channel, client, found, version, store, record, self.now + 4 * found.objective + 2)
        root = record.root
        error = ""
        if self.pool.taken >= self.pool.limit:
            if len(self.pool.waiting) >= self.pool.limit * 4:
                error = "guard.rejected"
                hop = self._hop(
                    record, root.bits, Step.GUARD, guard="bulkhead", guard_name="requests", guard_state="closed", guard_outcome="rejected"
                )
                self._end(hop, error)
            else:
                hop = self._hop(record, root.bits, Step.WAIT, resource="requests", waiters=len(self.pool.waiting), holders=_held(self.pool))
                ask.met |= self._held_up
                entered = yield self.pool.waiting, ask.deadline - self.now
                self._end(hop, "" if entered else "timeout.deadline")
                error = "" if entered else "timeout.deadline"
                if entered:
                    self.pool.taken += 1
        else:
            self.pool.taken += 1
        if not error:
            error = yield from self._handled(ask)
            self.pool.taken -= 1
            self._wake(self.pool.waiting)
        self._end(root, error)
        if error:
            root.attributes["status"] = _STATUS[failure_class(error)]
        self._landed(record, ask.served, frozenset(ask.met))

    @property
    def _held_up(self) -> set[int]:
        """Faults whose doing it is that the places are taken."""
        return set().union(*(met for met in self.holding.values())) if self.holding else set()

    def _store(self) -> str:
        found = self._tables.get("stores")
        if found is None:
            found = self._tables["stores"] = (self.estate.stores, list(accumulate(self.estate.store_weights)))
        return self.random.choices(found[0], cum_weights=found[1])[0]

    def _handled(self, ask: Ask) -> Process:
        r, record, root = self.random, ask.record, ask.record.root
        yield r.uniform(0.001, 0.003) * self.internal
        if r.random() < 0.015 or (error := self.broken(ask, "request")) == "caller":
            return "caller"
        for _, combine, operations in ask.route.stages:
            error = ""
            if combine == "all" and len(operations) > 1:
                error = yield from self._all(ask, operations)
            else:
                for at in operations:
                    error = yield from self._call(ask, at)
                    if not error:
                        break
                if not error and at != operations[0]:
                    record.mark_degraded("fallback")
            if error:
                return error
        if ask.route.name.startswith("POST"):
            hop = self._hop(record, root.bits, Step.STORE, unit="orders")
            yield r.uniform(0.001, 0.004) * self.internal + (r.expovariate(1 / self.lock) if self.lock else 0.0)
            if self.now > ask.deadline:
                self._end(hop, "timeout.deadline")
                return "timeout.deadline"
            self._end(hop)
            if ask.route.name == "POST /orders":
                self.backlog.append(self.now)
        hop = self._hop(record, root.bits, Step.MAP)
        error = self.broken(ask, "answer")
        yield r.uniform(0.0001, 0.0005) * self.internal * (r.random() if error else 1.0)  # a quarter of what reading takes
        self._end(hop, error)
        return error

    def _all(self, ask: Ask, operations: Sequence[At]) -> Process:
        """At the same time; the first error counts."""
        errors: list[str] = []
        line: deque[list[Any]] = deque()

        def one(at: At) -> Process:
            errors.append((yield from self._call(ask, at)))
            if len(errors) == len(operations):
                self._wake(line)

        for at in operations:
            self.start(one(at))
        if len(errors) < len(operations):
            yield line, None
        return next((e for e in errors if e), "")

    # ---- one call ----------------------------------------------------------------------------------------------------------

    def _call(self, ask: Ask, at: At) -> Process:
        r, record, operation = self.random, ask.record, self.estate.operations[at]
        parent = record.root.bits
        if operation.cached and r.random() < operation.cached:
            self._end(self._hop(record, parent, Step.CACHE, *at, cache="hit", keys=1))
            return ""
        call = self._hop(record, parent, Step.CALL, *at)
        key = (*at, r.randrange(30)) if operation.reads else None
        if key is not None and (flying := self.flying.get(key)):
            first, leader, line = flying
            ended = yield line, ask.deadline - self.now
            call.attributes["cache"] = "collapsed"
            call.links = [Link("joined_call", leader.record.trace, first.bits)]
            error = "timeout.deadline" if not ended else first.error_type
            ask.met |= leader.met
        else:
            if key is not None:
                self.flying[key] = call, ask, deque()
            error = yield from self._attempts(ask, operation, call)
            call.error_type = error
            if key is not None:
                line = self.flying.pop(key)[2]
                if line:
                    call.attributes["joined"] = len(line) + 1
                while self._wake(line):
                    pass
        if error and failure_class(error) not in _OURS and operation.reads and r.random() < operation.freshness:
            self._end(call, error)
            hop = self._hop(record, parent, Step.CACHE, *at, cache="stale", stale=True, age_s=round(r.uniform(5, 600), 1))
            hop.outcome, hop.degraded_by = "degraded", "stale"
            self._end(hop)
            record.mark_degraded("stale")
            return ""
        self._end(call, error)
        return error

    def _attempts(self, ask: Ask, operation: Operation, call: Hop) -> Process:
        r = self.random
        number, error = 1, ""
        while True:
            error, final = yield from self._attempt(ask, operation, call, number)
            if not error or final or number >= self.attempts or not operation.reads or self.now > ask.deadline - 0.2:
                break
            if self.spends:
                if self.budget[operation.system] < 1:
                    hop = self._hop(ask.record, call.bits, Step.GUARD, operation.system, operation.name)
                    hop.attributes |= {"guard": "budget", "guard_name": f"{operation.system}.{operation.name}", "guard_outcome": "rejected"}
                    self._end(hop)
                    break
                self.budget[operation.system] -= 1
            yield r.uniform(0.02, 0.08) * number
            number += 1
        if not error:
            self.budget[operation.system] = min(10.0, self.budget[operation.system] + 0.1)
        if number > 1:
            call.attributes["attempts"] = number
        return error

    def _attempt(self, ask: Ask, operation: Operation, call: Hop, number: int) -> Process:
        """(error, whether it is no use to try again)."""
        at, record = (operation.system, operation.name), ask.record
        breaker, places = self.breakers[at], self.bulkheads[operation.system]
        trial = self._admitted(at, breaker)
        if trial is None:
            hop = self._hop(
                record,
                call.bits,
                Step.GUARD,
                *at,
                guard="breaker",
                guard_name=".".join(at),
                guard_state=breaker.state,
                guard_outcome="rejected",
            )
            if breaker.opened_by[0]:
                hop.links = [Link("opened_by", *breaker.opened_by)]
            self._end(hop, "guard.rejected")
            ask.met |= breaker.met
            return "guard.rejected", True
        if places.taken >= places.limit:
            if len(places.waiting) >= places.line:
                hop = self._hop(
                    record,
                    call.bits,
                    Step.GUARD,
                    *at,
                    guard="bulkhead",
                    guard_name=".".join(at),
                    guard_state="closed",
                    guard_outcome="rejected",
                )
                self._end(hop, "guard.rejected")
                ask.met |= self._faults(ask, at)
                return "guard.rejected", True
            hop = self._hop(
                record,
                call.bits,
                Step.WAIT,
                *at,
                resource="bulkhead",
                waiters=len(places.waiting),
                holders=f"{operation.system}:{places.taken}",
            )
            entered = yield places.waiting, max(0.0, ask.deadline - self.now)
            self._end(hop, "" if entered else "timeout.deadline")
            ask.met |= self._faults(ask, at)
            if not entered:
                return "timeout.deadline", True
        places.taken += 1
        self.pool.holders[operation.system] = self.pool.holders.get(operation.system, 0) + 1
        hop = self._hop(record, call.bits, Step.ATTEMPT, *at, attempt=number, guard_state="half_open" if trial else "closed")
        if trial:
            hop.attributes["probe"] = True
        seconds = max(0.01, min(operation.timeout, ask.deadline - self.now))
        hurried = seconds < operation.timeout / 2
        answer = self._answer(ask, operation, hop, self.now)
        holding = frozenset(ask.met)
        if holding:
            self.holding[hop.bits] = holding
        timeout = answer.at > self.now + seconds
        yield min(answer.at - self.now, seconds)
        self.holding.pop(hop.bits, None)
        error = "timeout.read" if timeout else answer.error
        if not error or failure_class(error) in _UNREADABLE:
            error = yield from self._read(ask, at, hop, error)
        self._end(hop, error)
        failed = bool(error) and failure_class(error) != "caller" and not (timeout and hurried)
        if not error or failure_class(error) != "gateway":
            hop.attributes["guard_outcome"] = "failure" if failed else "success"
            self._report(at, breaker, failed=failed, trial=trial, hop=hop, record=record, met=holding)
        elif trial:
            breaker.trials -= 1
        places.taken -= 1
        self.pool.holders[operation.system] -= 1
        self._wake(places.waiting)
        return error, failure_class(error) in _FINAL if error else False

    def _read(self, ask: Ask, at: At, attempt: Hop, error: str) -> Process:
        """What the answer says is read inside the attempt, as far as it can be read."""
        r, named = self.random, ".".join(at)
        hop = self._hop(ask.record, attempt.bits, Step.MAP, *at, mapping=named)
        error = error or self.broken(ask, f"mapping {named}")
        yield r.uniform(0.0004, 0.002) * self.internal * (r.random() if error else 1.0)
        self._end(hop, error)
        return error

    def _faults(self, ask: Ask, at: At) -> set[int]:
        return {n for n, weather in enumerate(self.weathers) if weather(ask, at, self.now) is not None}

    def _answer(self, ask: Ask, operation: Operation, hop: Hop, now: float) -> Answer:
        """When and what the system answers. The whole of it is known when the request arrives, since lines are served in order."""
        r, at = self.random, (operation.system, operation.name)
        way = r.lognormvariate(-6.2, 0.35)
        slower, extra, error, after, hang, refused = 1.0, 0.0, "", -1.0, False, ""
        below = operation.inside
        for number, weather in enumerate(self.weathers):
            if (shape := weather(ask, at, now)) is not None:
                ask.met.add(number)
                slower *= shape.slower
                extra += shape.extra
                error, after = error or shape.error, max(after, shape.after)
                hang, refused = hang or shape.hang, refused or shape.refused
        if refused:
            return Answer(now + way * 2 + (0.05 if refused == "tls" else 0.0), refused)
        way += extra / 2
        arrived = now + way
        if hang:
            return Answer(now + 1e6)
        work = r.lognormvariate(0, operation.sigma) * operation.median * slower
        if r.random() < 0.002:
            work *= r.uniform(3, 8)
        if not error and r.random() < operation.errors:
            error = r.choice(("500", "503", "soap.fault.Server"))
        if error and after >= 0:
            work = after
        start, end = self.servers[operation.system].serve(arrived, work)
        if start - arrived > 20:
            return Answer(arrived + way, "503")
        span = getrandbits(64)
        if below is not None and not error:
            inner = self.estate.operations[below]
            under = self._answer(ask, inner, Hop(Step.ATTEMPT), start + work / 2)
            if under.at > start + 1000:
                end = under.at
            else:
                seconds = under.at - start - work / 2
                end += seconds
                heapreplace(self.servers[operation.system].free, max(self.servers[operation.system].free[0], end - seconds))
                if under.error:
                    error = "500"
                if ask.served and ask.served[-1].parent == 0:
                    ask.served[-1] = ask.served[-1]._replace(parent=span)
        ask.served.append(
            Served(getattr(hop, "bits", 0), span, *at, start if start - arrived < 0.001 else arrived, min(end, now + 120), bool(error))
        )
        return Answer(end + way, error)

    # ---- breakers ------------------------------------------------------------------------------------------------------------

    def _admitted(self, at: At, breaker: Breaker) -> bool | None:
        """None: no. True: as a trial."""
        if breaker.state == "closed":
            return False
        if breaker.state == "open":
            if self.now < breaker.until:
                return None
            self._turned(at, breaker, "half_open")
        if breaker.trials >= 1:
            return None
        breaker.trials += 1
        return True

    def _turned(self, at: At, breaker: Breaker, state: Any) -> None:
        breaker.state = state
        opened_by = f"{breaker.opened_by[0]:032x}" if breaker.opened_by[0] else ""
        when = moment(self.now)
        self.guards.append(GuardChange(at=when, system=at[0], operation=at[1], state=state, trace_id=opened_by, probes_ok=breaker.good))
        breaker.trials = 0
        if state == "open":
            breaker.until = self.now + _RESPITE
        elif state == "closed":
            breaker.results.clear()
            breaker.met = frozenset()

    def _report(self, at: At, breaker: Breaker, *, failed: bool, trial: bool, hop: Hop, record: FlightRecord, met: frozenset[int]) -> None:
        if trial and breaker.state == "half_open":
            breaker.trials = max(0, breaker.trials - 1)
            breaker.good = 0 if failed else breaker.good + 1
            if failed:
                breaker.opened_by = (record.trace, hop.bits)
                self._turned(at, breaker, "open")
            elif breaker.stuck:
                self.guards.append(
                    GuardChange(at=moment(self.now), system=at[0], operation=at[1], state="half_open", probes_ok=breaker.good)
                )
            elif breaker.good >= _TRIALS:
                self._turned(at, breaker, "closed")
            return
        if breaker.state != "closed":
            return
        results = breaker.results
        results.append((self.now, failed))
        recent = [bad for when, bad in results if when > self.now - 30]
        if failed and len(recent) >= 10 and sum(recent) >= 0.5 * len(recent):
            breaker.opened_by, breaker.good = (record.trace, hop.bits), 0
            breaker.met = met
            self._turned(at, breaker, "open")

    def open(self, at: At, *, stuck: bool, met: frozenset[int]) -> None:
        """By a setting, not by evidence; `stuck`: it does not believe its trials."""
        breaker = self.breakers[at]
        breaker.stuck, breaker.met, breaker.good = stuck, met, 0
        self._turned(at, breaker, "open")

    # ---- files and messages -------------------------------------------------------------------------------------------------

    def _feed(self, store: str) -> Process:
        r = self.random
        system, operation = self.estate.feed
        yield self.files[store]
        while True:
            odd = self.file_weather(store, self.now)
            if odd == "late":
                yield 5.0
                continue
            record = self._record("file", operation, channel="", store=store, system=system, operation=operation)
            parse = self._hop(record, record.root.bits, Step.FILE_PARSE, feed=operation)
            yield r.uniform(0.05, 0.4)
            error = {"truncated": "contract_invalid", "refused": "contract_invalid"}.get(odd, "")
            self._end(parse, error)
            self._end(record.root, error)
            self._landed(record, (), frozenset())
            if odd:
                what: Any = odd
                self.odd_files.append(FeedTrouble(system=system, operation=operation, store=store, what=what, since=moment(self.now)))
            else:
                self.files[store] = self.now
            yield max(1.0, INTERVAL + r.gauss(0, 4))

    def _consume(self) -> Process:
        r = self.random
        system, operation = self.estate.queue
        while True:
            yield r.uniform(0.05, 0.5)
            while self.consumer and self.backlog:
                record = self._record("message", operation, system=system, operation=operation)
                call = self._hop(record, record.root.bits, Step.CALL, system, operation)
                yield r.uniform(0.01, 0.06)
                error = "contract_invalid" if r.random() < self.poison else ""
                self._end(call, error)
                self._end(record.root, error)
                self._landed(record, (), frozenset())
                self.backlog.popleft()

    def troubles(self) -> tuple[FeedTrouble, ...]:
        """Feeds that failed without statistics: what is too late, what came damaged, a queue nobody drains."""
        system, operation = self.estate.feed
        late = [
            FeedTrouble(system=system, operation=operation, store=store, what="late", since=moment(came + INTERVAL + GRACE))
            for store, came in self.files.items()
            if self.now - came > 1.5 * INTERVAL + GRACE
        ]
        recent = [odd for odd in self.odd_files if odd.since.timestamp() - BEGIN > self.now - 900]
        lag = []
        if self.backlog and self.now - self.backlog[0] > 60:
            system, operation = self.estate.queue
            since, detail = moment(self.backlog[0]), f"{len(self.backlog)} waiting"
            lag = [FeedTrouble(system=system, operation=operation, what="lagging", since=since, detail=detail)]
        return (*late, *recent, *lag)


class _Nobody:
    def begin(self, record: FlightRecord) -> None:
        """Flights of a simulation begin and end on its clock."""

    def end(self, record: FlightRecord) -> None:
        """See begin."""


_NOBODY: Final = _Nobody()
_STORED: Final = frozenset({"GET /inventory", "POST /reservations", "GET /prices", "POST /returns"})
_STATUS: Final[dict[FailureClass, int]] = {
    "timeout": 504, "connect": 502, "upstream_error": 502, "contract": 502, "data": 502, "rejected": 503, "caller": 400, "gateway": 500,
}  # fmt: skip
_FINAL: Final = frozenset({"contract", "data", "caller", "gateway"})
_UNREADABLE: Final = frozenset({"contract", "data"})
_OURS: Final = frozenset({"caller", "gateway"})
"""Mistakes that no other answer hides."""


def _held(pool: Places) -> str:
    return " ".join(f"{name}:{n}" for name, n in sorted(pool.holders.items(), key=lambda i: -i[1]) if n)


def moment(seconds: float) -> datetime:
    """A moment of the simulation on the wall."""
    return datetime.fromtimestamp(BEGIN + seconds, UTC)


def bad(record: FlightRecord) -> bool:
    """As a channel feels it: failed by no mistake of its own, or late."""
    outcome: Outcome = record.outcome
    if outcome in {"caller", "cancelled"}:
        return False
    return outcome in {"failure", "rejected"} or (record.objective > 0 and (record.t1 - record.t0) / 1e9 > record.objective)

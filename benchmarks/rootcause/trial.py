"""One case: the fault happens in a process of its own, the engine looks every ten seconds, and what it said is kept beside the truth."""

from __future__ import annotations

import gc
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from benchmarks.rootcause import faults
from benchmarks.rootcause.estate import Estate
from benchmarks.rootcause.faults import Case, Stage, Truth
from benchmarks.rootcause.simulator import BEGIN, At, Flown, Simulation, bad
from observability.flight import FlightRecord
from observability.recorder import Recorder
from observability.rootcause.model import CapabilityNode, DependencyMap, Evidence, Incident, Losses, NotSeen
from observability.rootcause.online.confidence import Calibration, shipped
from observability.rootcause.online.engine import Engine

LOOK: Final = 10
DAMAGES: Final = ("flights lost", "edge missing", "edge stale")
"""A fifth of the flights is never counted; the declared map lacks an operation of the culprit, or has one that nobody calls."""
EVERY: Final = 2
"""Of the cases of an estate, each second is tried with every damage too: among fewer a single one that is lost decides."""
NAMING: Final = ("cause", "likely")
ATTRIBUTES: Final = ("channel", "route", "api_version", "store")
_MOVED: Final = 10
"""Bad requests in excess below which nobody has felt anything."""

Leaf = tuple[str, str, str, str]
"""Channel, route, API version, store."""


class Outcome(msgspec.Struct, kw_only=True):
    """What is known of a case once it is over. Times are seconds of the simulation."""

    case: Case
    damage: str
    truths: list[Truth]
    names: tuple[str, ...]
    """Of all systems."""
    begin: float
    first: float = 0.0
    """Begin of the first request that met it."""
    twentieth: float = math.inf
    """End of the twentieth bad request."""
    end: float = 0.0
    requests: int = 0
    bad: int = 0
    met: int = 0
    """Bad requests that met it."""
    felt: bool = False
    """Whether it moved an indicator that users feel; else it is silent."""
    hit: dict[str, dict[str, int]] = {}
    leaves: dict[At, dict[Leaf, int]] = {}
    """Culprit -> requests through it."""
    alarms: list[tuple[float, int, int]] = []
    """Of each look: when, how many incidents name somebody, and how many are open at all."""
    earliest: tuple[Incident, ...] = ()
    """What the first look said that said anything, at `detected`."""
    detected: float = math.inf
    final: tuple[Incident, ...] = ()
    """What the last look said that said anything."""
    cpu: list[float] = []
    rankings: dict[str, list[At]] = {}
    """Simpler method -> (system, operation), best first."""
    scopes: dict[str, list[dict[str, tuple[str, ...]]]] = {}
    causes: dict[str, list[At]] = {}
    """Damage of the spans -> whom `tillgate causes` names, best first."""
    shown: int = 0
    right: int = 0
    """Of the traces shown as evidence, those that had met the fault."""
    error: str = ""


class World:
    """An estate that has been running for a while."""

    def __init__(self, estate: Estate, calibration: Calibration, *, loss: float = 0.0) -> None:
        random.seed(f"world {estate.seed}")  # the ids of flights
        self.estate, self.calibration = estate, calibration
        self.recorder = Recorder()
        self.seen = self.lost = 0
        self.loss = loss
        self._chance = random.Random(f"loss {estate.seed}")
        self.simulation = Simulation(estate, self._count)

    def _count(self, record: FlightRecord) -> None:
        self.seen += 1
        if self.loss and self._chance.random() < self.loss:
            self.lost += 1
            return
        self.recorder.count(record)

    def warm(self) -> World:
        self.simulation.run(faults.WARM[int(self.estate.load)])
        return self

    def evidence(self, stage: Stage, known: DependencyMap) -> Evidence:
        simulation = self.simulation
        now = BEGIN + simulation.now
        seen = self.recorder.seen(now, since=now - 4_200)
        losses = Losses(
            seen=self.seen, lost=self.lost, unseen=(NotSeen(what="flights", dropped=self.lost, of=self.seen),) if self.lost else ()
        )
        return Evidence(
            now=now, map=known, feeds=simulation.troubles(), changes=tuple(stage.changes), guards=tuple(simulation.guards[-200:]),
            losses=losses, **seen._asdict(),
        )  # fmt: skip


After = Callable[[Outcome, World, Stage, float], None]
"""Looks at a case with other eyes before all is forgotten."""


def play(world: World, case: Case, damage: str, after: After | None = None) -> Outcome:
    """Runs the case to its end. `after` looks at it with other eyes before all is forgotten."""
    simulation, estate = world.simulation, world.estate
    simulation.random = random.Random(f"play {case.id}")
    random.seed(f"play {case.id}")
    if damage == "flights lost":
        world.loss = 0.2
    known = damaged_map(estate, case, damage)
    healthy = Counter[bool]()
    for flown in simulation.flown:
        if flown.record.kind == "request":
            healthy[bad(flown.record)] += 1
    start = simulation.now + case.after
    simulation.run(start)
    stage = faults.begin(simulation, case)
    wanted = {(t.system, t.operation) for t in stage.truths}
    leaves: dict[tuple[str, str], dict[Leaf, int]] = {at: {} for at in wanted}
    hit: dict[str, Counter[str]] = {name: Counter() for name in ATTRIBUTES}
    slices: dict[tuple[str, str, str], Counter[str]] = {}
    moments: list[float] = []
    total = Counter[str]()
    met: set[str] = set()
    first = [math.inf]
    whole = all(t.system in ("gateway", "client") for t in stage.truths)

    def watch(flown: Flown) -> None:
        record = flown.record
        if record.kind != "request":
            return
        leaf = (record.channel, record.name, record.api_version, record.store)
        if flown.at < start:
            return
        total["requests"] += 1
        trouble = bad(record)
        touched = bool(flown.met) or (whole and bool(stage.truths) and (trouble or record.outcome == "caller"))
        for at, found in leaves.items():
            if at[0] in ("gateway", "client") or any(h.system == at[0] and at[1] in ("", h.operation) for h in record.hops):
                found[leaf] = found.get(leaf, 0) + 1
        for key in (("channel", record.channel, record.name), ("version", record.api_version, record.name), ("store", record.store, "")):
            counts = slices.setdefault(key, Counter())
            counts["n"] += 1
            counts["bad"] += trouble
        if touched:
            met.add(record.trace_id)
            first[0] = min(first[0], flown.at)
        if trouble:
            total["bad"] += 1
            if touched:
                total["met"] += 1
                moments.append(flown.record.t1 / 1e9)
                for name, value in zip(ATTRIBUTES, leaf, strict=True):
                    if value:
                        hit[name][value] += 1

    simulation.watch = watch
    outcome = Outcome(
        case=case, damage=damage, truths=stage.truths, names=tuple(estate.role.values()), begin=start, first=start, leaves=leaves
    )
    engine = Engine(calibration=world.calibration)
    end = start + case.lasts
    now = start - start % LOOK
    while now < end:
        now += LOOK
        simulation.run(now)
        evidence = world.evidence(stage, known)
        begun = time.process_time()
        try:
            found = engine.look(evidence)
        except Exception as exc:  # noqa: BLE001 - a run that fails is shown, and the others go on
            outcome.error = f"{type(exc).__name__}: {exc}"
            found = []
        outcome.cpu.append(time.process_time() - begun)
        world.recorder.suspected = frozenset(suspects(found))
        found = [i for i in found if i.onset.at.timestamp() - BEGIN >= start - 90]
        if found and not outcome.final:
            outcome.earliest, outcome.detected = tuple(found), now
        outcome.final = tuple(found) or outcome.final
        still = [i for i in found if i.state == "open"]
        outcome.alarms.append((now, sum(i.verdict in NAMING for i in still), len(still)))
    outcome.end = now
    outcome.first = min(first[0], now)
    outcome.requests, outcome.bad, outcome.met = total["requests"], total["bad"], total["met"]
    outcome.twentieth = sorted(moments)[19] if len(moments) >= 20 else math.inf
    outcome.hit = {name: dict(found) for name, found in hit.items()}
    share = healthy[True] / max(1, healthy.total())
    raised = any(s["bad"] / s["n"] >= max(0.02 + share, 2 * share) for s in slices.values() if s["n"] >= 20)
    feeds = case.kind in (14, 16) or case.variant == "stale stock"
    outcome.felt = not case.control and (
        feeds or (total["met"] >= _MOVED and raised) or (case.variant == "one client" and len(met) >= _MOVED)
    )
    shown = {trace for i in outcome.final for c in i.culprits for trace in c.bad_traces}
    outcome.shown, outcome.right = len(shown), len(shown & met)
    if after is not None:
        after(outcome, world, stage, start)
    return outcome


def suspects(incidents: Iterable[Incident]) -> Iterable[At]:
    """What the recorder is not to take as usual while it is under suspicion, as the gateway tells it: who is named, and whom it hits."""
    for incident in incidents:
        if incident.state == "open":
            yield from ((c.system, c.operation) for c in incident.culprits if c.system)
            for channel in incident.impact.hit.get("channel", {}):
                yield from ((channel, route) for route in incident.impact.hit.get("route", {}))


def damaged_map(estate: Estate, case: Case, damage: str) -> DependencyMap:
    """`edge missing`: an operation of the culprit is not declared; `edge stale`: one is that nobody calls any more."""
    known = estate.declared()
    system = estate.role[case.role]
    if damage == "edge missing":
        gone = next((o for o in known.operations if o.startswith(f"{system}.")), "")
        capabilities = {
            name: CapabilityNode(operations=tuple(o for o in c.operations if o != gone) or c.operations, combine=c.combine)
            for name, c in known.capabilities.items()
        }
        operations = {name: node for name, node in known.operations.items() if name != gone}
        return DependencyMap(
            systems=known.systems, operations=operations, capabilities=capabilities, routes=known.routes, channels=known.channels
        )
    if damage == "edge stale":
        stale = next(o for o in known.operations if not o.startswith(f"{system}."))
        capabilities = {
            name: CapabilityNode(operations=tuple(dict.fromkeys((*c.operations, stale))), combine=c.combine)
            if any(o.startswith(f"{system}.") for o in c.operations)
            else c
            for name, c in known.capabilities.items()
        }
        return DependencyMap(
            systems=known.systems, operations=known.operations, capabilities=capabilities, routes=known.routes, channels=known.channels
        )
    return known


def apart(work: Callable[[], Outcome]) -> Outcome:
    """In a child that inherits the estate as it is, so that it can be broken again and again."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        status = 1
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(msgspec.msgpack.encode(work()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise RuntimeError("a case died without a word")
    return msgspec.msgpack.decode(said, type=Outcome)


def tried(
    estate: Estate, cases: Iterable[Case], damages: Iterable[str] = (), after: After | None = None, calibration: Calibration | None = None
) -> list[Outcome]:
    """All cases of one estate, some of them under each damage besides. `calibration`: None is the shipped one."""
    gc.disable()  # flights leave no circles behind, and to look for some among so many costs more than all the rest
    world = World(estate, shipped() if calibration is None else calibration).warm()
    gc.freeze()
    found = []
    for case in cases:
        kinds = ("none", *damages) if not case.control and case.number % EVERY == 0 else ("none",)
        found += [apart(partial(play, world, case, damage, after)) for damage in kinds]
    gc.unfreeze()
    gc.enable()
    return found

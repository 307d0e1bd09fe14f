"""What is done to an estate: eighteen kinds of faults, eleven kinds of days on which nothing is wrong, and which of them are held out."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from benchmarks.rootcause.estate import OPERATIONS, Estate
from benchmarks.rootcause.simulator import At, Shape, Simulation, Weather, moment
from observability.rootcause.model import CLIENT, GATEWAY, Change, FeedTrouble

Part = Literal["development", "held_out"]
LOADS: Final = (2, 20, 20, 2, 200)
"""In turn: what an estate has to do."""
WARM: Final = {2: 2400.0, 20: 800.0, 200: 340.0}
"""Seconds of usual life before."""
LASTS: Final = {2: 220.0, 20: 100.0, 200: 45.0}
"""Seconds of a fault at least."""
HELD_OUT_SEEDS: Final = 10_000


class Truth(msgspec.Struct, frozen=True):
    """One fault. `system` is a name, `gateway` or `client`; no operation: all of it. `scope`: attribute -> values; none: everywhere."""

    system: str
    operation: str = ""
    scope: dict[str, frozenset[str]] = {}
    also: frozenset[str] = frozenset()
    """Systems that are as right: those who share a cause that is nobody's."""


class Case(msgspec.Struct, frozen=True):
    """`number` counts within the estate; `kind` 0 is a control."""

    id: str
    seed: int
    load: int
    kind: int
    variant: str
    role: str
    number: int
    after: float
    """Seconds after the usual life at which it begins."""
    lasts: float
    unseen: bool = False
    """A kind on a system that the development part does not have."""

    @property
    def control(self) -> bool:
        return self.kind == 0


@dataclass(slots=True)
class Stage:
    """The simulation as a fault finds it. `changes` are what the change log says."""

    simulation: Simulation
    estate: Estate
    case: Case
    r: random.Random
    begin: float
    truths: list[Truth] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def add(self, weather: Weather, truth: Truth) -> None:
        self.simulation.weathers.append(weather)
        self.truths.append(truth)

    def change(self, kind: Any, what: str, before: float = 0.0, **scope: str) -> None:
        self.changes.append(Change(at=moment(self.begin - before), what=what, kind=kind, scope=scope))

    @property
    def system(self) -> str:
        return self.estate.role[self.case.role]

    def operation(self, *, reads: bool | None = None) -> At:
        """A busy one of the system."""
        found = [o for o in OPERATIONS[self.case.role] if f"{self.case.role}.{o}" not in ("erp.GetCustomer", "erp.GetMaterials")]
        found = [o for o in found if reads is None or OPERATIONS[self.case.role][o][1] == reads] or found
        return self.system, self.r.choice(found)


def _all(stage: Stage, shape: Callable[[], Shape | None], **truth: Any) -> None:
    system = stage.system
    stage.add(lambda ask, at, now: shape() if at[0] == system else None, Truth(system, **truth))


def _some(share: float, r: random.Random, shape: Shape) -> Callable[[], Shape | None]:
    return lambda: shape if r.random() < share else None


# ---- the faults: kind -> variants ------------------------------------------------------------------------------------------


def down(stage: Stage) -> None:
    _all(stage, lambda: Shape(refused="connect.refused"))


def down_dns(stage: Stage) -> None:
    _all(stage, lambda: Shape(refused="dns"))


def hang(stage: Stage) -> None:
    _all(stage, lambda: Shape(hang=True))


def hang_operation(stage: Stage) -> None:
    at = stage.operation()
    stage.add(lambda ask, its, now: Shape(hang=True) if its == at else None, Truth(*at))


def slow_2(stage: Stage) -> None:
    _all(stage, lambda: Shape(slower=2))


def slow_5(stage: Stage) -> None:
    _all(stage, lambda: Shape(slower=5))


def slow_10(stage: Stage) -> None:
    _all(stage, lambda: Shape(slower=10))


def slow_way(stage: Stage) -> None:
    _all(stage, lambda: Shape(extra=0.35))


def _errors(share: float, error: str) -> Callable[[Stage], None]:
    def fault(stage: Stage) -> None:
        _all(stage, _some(share, stage.r, Shape(error=error, after=0.02)))

    return fault


def one_operation_slow(stage: Stage) -> None:
    at = stage.operation()
    stage.add(lambda ask, its, now: Shape(slower=8) if its == at else None, Truth(*at))


def one_operation_fails(stage: Stage) -> None:
    at = stage.operation()
    shape = Shape(error="500", after=0.02)
    stage.add(lambda ask, its, now: shape if its == at and stage.r.random() < 0.6 else None, Truth(*at))


def _stores(stage: Stage, n: int, shape: Shape) -> None:
    at = (stage.estate.role["erp"], "GetStock") if stage.case.role == "erp" else stage.operation()
    if at[0] == stage.estate.role["wms"]:
        at = (at[0], "stock")
    stores = frozenset(stage.r.sample(stage.estate.stores[: max(n, len(stage.estate.stores) // 8)], n))
    stage.add(lambda ask, its, now: shape if its == at and ask.store in stores else None, Truth(*at, scope={"store": stores}))


def one_store(stage: Stage) -> None:
    _stores(stage, 1, Shape(error="500", after=0.03))


def three_stores(stage: Stage) -> None:
    _stores(stage, 3, Shape(slower=12))


def api_version(stage: Stage) -> None:
    version = stage.r.choice([v for v, w in stage.estate.versions.items() if w > 1])
    stage.simulation.broken = lambda ask, part: "gateway" if part == "answer" and ask.version == version else ""
    stage.truths.append(Truth(GATEWAY, scope={"api_version": frozenset({version})}))
    stage.change("api_version", f"API version {version}", before=2, api_version=version)
    stage.change("adapter", "adapter elsewhere", before=1, system=stage.system)


def adapter_version(stage: Stage) -> None:
    at = stage.operation()
    shape = Shape(error="contract_invalid")
    stage.add(lambda ask, its, now: shape if its == at and stage.r.random() < 0.5 else None, Truth(*at))
    stage.change("adapter", f"{'.'.join(at)} 2.1", before=3, system=at[0], operation=at[1])
    other = next(name for name in stage.estate.role.values() if name != at[0])
    stage.change("adapter", "release elsewhere", before=1, system=other)


def one_client(stage: Stage) -> None:
    """After its own release a client sends what nobody understands."""
    channel = stage.r.choice(["web", "mobile", "store", "marketplace"])
    client = max(stage.estate.clients[channel], key=stage.estate.clients[channel].__getitem__)
    stage.simulation.broken = lambda ask, part: "caller" if part == "request" and ask.client == client and stage.r.random() < 0.7 else ""
    stage.truths.append(Truth(CLIENT, client, scope={"channel": frozenset({channel})}))


def cascade(stage: Stage) -> None:
    """Calls that take nearly as long as they may hold places; nobody takes them away."""
    system = stage.system
    for breaker in stage.simulation.breakers.values():
        breaker.results.clear()
    slow = {o.name: o.timeout * 0.8 / o.median for o in stage.estate.operations.values() if o.system == system}
    stage.add(lambda ask, at, now: Shape(slower=slow[at[1]]) if at[0] == system else None, Truth(system))


def gateway_storm(stage: Stage) -> None:
    """Trying again without end makes much of a few errors."""
    stage.simulation.attempts, stage.simulation.spends = 6, False
    _all(stage, _some(0.45, stage.r, Shape(error="503", slower=2)))


def client_storm(stage: Stage) -> None:
    channel = stage.r.choice(["web", "marketplace"])
    client = next(iter(stage.estate.clients[channel]))
    route = stage.r.choice(["GET /prices", "GET /orders/{number}", "GET /reviews", "GET /loyalty/{number}"])
    at = stage.estate.routes[route].stages[0][2][0]
    operation = stage.estate.operations[at]
    rate = 1.5 * stage.estate.servers(at[0]) / operation.median / (1 - operation.cached)
    stage.simulation.start(stage.simulation.storm(channel, client, route, rate))
    stage.truths.append(Truth(CLIENT, client, also=frozenset({at[0]})))


def breaker_dead(stage: Stage) -> None:
    """It fails so thoroughly that soon hardly anything but refusals is to be seen."""
    at = stage.operation()
    stage.add(lambda ask, its, now: Shape(refused="connect.reset") if its == at else None, Truth(*at))


def breaker_flaps(stage: Stage) -> None:
    at = stage.operation()
    begin = stage.begin
    shape = Shape(error="503", after=0.02)
    stage.add(lambda ask, its, now: shape if its == at and (now - begin) % 40 < 22 and stage.r.random() < 0.9 else None, Truth(*at))


def breaker_stuck(stage: Stage) -> None:
    at = stage.operation()
    stage.simulation.weathers.append(lambda ask, its, now: None)
    stage.simulation.open(at, stuck=True, met=frozenset({len(stage.simulation.weathers) - 1}))
    stage.truths.append(Truth(GATEWAY, f"breaker {'.'.join(at)}", also=frozenset({at[0]})))


def two_systems(stage: Stage) -> None:
    first = stage.system
    second = stage.r.choice([n for role, n in stage.estate.role.items() if n != first and role not in ("pos", "desk")])
    for system in (first, second):
        shape = stage.r.choice([Shape(slower=8), Shape(refused="connect.refused"), Shape(error="500", after=0.02)])
        stage.add(lambda ask, at, now, system=system, shape=shape: shape if at[0] == system else None, Truth(system))  # type: ignore[misc]  # bound now


def two_operations(stage: Stage) -> None:
    names = [o for o in OPERATIONS[stage.case.role] if o not in ("GetCustomer", "GetMaterials")]
    for name, shape in zip(stage.r.sample(names, min(2, len(names))), (Shape(slower=8), Shape(error="500", after=0.02)), strict=False):
        at = (stage.system, name)
        stage.add(lambda ask, its, now, at=at, shape=shape: shape if its == at else None, Truth(*at))  # type: ignore[misc]  # bound now


def _shared(stage: Stage, error: str) -> None:
    segment = stage.estate.shares[stage.system]["segment"]
    members = frozenset(n for n, s in stage.estate.shares.items() if s["segment"] == segment and n != stage.estate.role["pos"])
    shape = Shape(refused=error)
    for name in sorted(members):
        truth = Truth(name, also=members)
        stage.add(lambda ask, at, now, name=name: shape if at[0] == name and stage.r.random() < 0.8 else None, truth)  # type: ignore[misc]  # bound now


def shared_dns(stage: Stage) -> None:
    _shared(stage, "dns")


def shared_tls(stage: Stage) -> None:
    _shared(stage, "tls")


def _files(stage: Stage, odd: str, n: int) -> None:
    known = list(stage.simulation.files)
    stores = frozenset(stage.r.sample(known, min(n, len(known))) if n else known)
    begin = stage.begin
    stage.simulation.file_weather = lambda store, at: odd if store in stores and at >= begin else ""
    scope = {"store": stores} if n else {}
    stage.truths.append(Truth(*stage.estate.feed, scope=scope))


def files_late(stage: Stage) -> None:
    _files(stage, "late", 0)


def files_missing(stage: Stage) -> None:
    _files(stage, "late", 2)


def files_truncated(stage: Stage) -> None:
    _files(stage, "truncated", 3)


def files_twice(stage: Stage) -> None:
    _files(stage, "duplicate", 2)


def _answers(error: str, share: float) -> Callable[[Stage], None]:
    def fault(stage: Stage) -> None:
        at = stage.operation(reads=True)
        shape = Shape(error=error)
        stage.add(lambda ask, its, now: shape if its == at and stage.r.random() < share else None, Truth(*at))

    return fault


def stale_stock(stage: Stage) -> None:
    at = (stage.estate.role["erp"], "GetStock")
    stage.truths.append(Truth(*at))
    stage.simulation.odd_files.append(
        FeedTrouble(system=at[0], operation=at[1], what="stale", since=moment(stage.begin), detail="as of 02:00")
    )


def dead_consumer(stage: Stage) -> None:
    stage.simulation.consumer = False
    stage.truths.append(Truth(*stage.estate.queue))


def poison(stage: Stage) -> None:
    stage.simulation.poison = 0.8
    stage.truths.append(Truth(*stage.estate.queue))


def bad_mapping(stage: Stage) -> None:
    at = stage.operation(reads=True)
    part = f"mapping {'.'.join(at)}"
    stage.simulation.broken = lambda ask, its: "gateway" if its == part else ""
    stage.truths.append(Truth(GATEWAY, part))
    stage.change("mapping", f"{part} 7", before=2, system=at[0], operation=at[1])


def busy_gateway(stage: Stage) -> None:
    stage.simulation.internal = 60.0
    stage.truths.append(Truth(GATEWAY))


def locked_store(stage: Stage) -> None:
    stage.simulation.lock = 2.0
    stage.truths.append(Truth(GATEWAY, "store"))


def _now_and_then(shape: Shape) -> Callable[[Stage], None]:
    def fault(stage: Stage) -> None:
        system, begin = stage.system, stage.begin
        stage.add(lambda ask, at, now: shape if at[0] == system and (now - begin) % 120 < 30 else None, Truth(system))

    return fault


Fault = Callable[[Stage], None]
_CALLED: Final = tuple(role for role, operations in OPERATIONS.items() if operations)
FAULTS: Final[dict[int, dict[str, Fault]]] = {
    1: {"refused": down, "dns": down_dns},
    2: {"hang": hang, "hang operation": hang_operation},
    3: {"slow x2": slow_2, "slow x5": slow_5, "slow x10": slow_10, "slow way": slow_way},
    4: {"errors 5 %": _errors(0.05, "500"), "errors 25 %": _errors(0.25, "503"), "errors 100 %": _errors(1.0, "500")},
    5: {"operation slow": one_operation_slow, "operation fails": one_operation_fails},
    6: {"one store": one_store, "three stores": three_stores},
    7: {"API version": api_version, "adapter version": adapter_version},
    8: {"one client": one_client},
    9: {"cascade": cascade},
    10: {"gateway storm": gateway_storm, "client storm": client_storm},
    11: {"breaker, dead": breaker_dead, "breaker, flapping": breaker_flaps, "breaker, stuck": breaker_stuck},
    12: {"two systems": two_systems, "two operations": two_operations},
    13: {"shared, DNS": shared_dns, "shared, TLS": shared_tls},
    14: {"files late": files_late, "files missing": files_missing, "files truncated": files_truncated, "files twice": files_twice},
    15: {
        "200 with fault": _answers("soap.fault.Server", 0.5), "price 0": _answers("data_invalid", 0.3),
        "schema drift": _answers("contract_invalid", 0.6), "stale stock": stale_stock,
    },
    16: {"dead consumer": dead_consumer, "poison": poison},
    17: {"bad mapping": bad_mapping, "busy gateway": busy_gateway, "locked store": locked_store},
    18: {"now and then slow": _now_and_then(Shape(slower=10)), "now and then failing": _now_and_then(Shape(error="503", after=0.02))},
}  # fmt: skip
NAMES: Final = {
    1: "hard down", 2: "hang", 3: "slow", 4: "errors", 5: "one operation", 6: "few stores", 7: "one version", 8: "one client", 9: "cascade",
    10: "retry storm", 11: "breaker", 12: "two at once", 13: "shared cause", 14: "files", 15: "data", 16: "queue", 17: "gateway",
    18: "now and then",
}  # fmt: skip
BLIND: Final = frozenset({11})
"""With "200 with fault": kinds that transport does not show."""
PARTIAL: Final = frozenset({5, 6, 7, 8})
STATUS_ONLY: Final = frozenset({7, 15, "bad mapping", "breaker, stuck"})
"""Kinds and variants whose calls are as many and as long as ever: only statuses tell."""
_FIXED: Final = {
    "api version": "gateway",
    "one client": "client",
    "client storm": "client",
    "locked store": "gateway",
    "busy gateway": "gateway",
}
_ROLES: Final[dict[str, tuple[str, ...]]] = {
    "one store": ("erp", "wms"), "three stores": ("erp", "wms"), "two operations": ("erp", "oms"), "stale stock": ("erp",),
    "dead consumer": ("desk",), "poison": ("desk",), "one client": ("shop",), "client storm": ("shop",), "API version": ("oms", "shop"),
    "busy gateway": ("shop",), "locked store": ("shop",), "cascade": ("oms", "erp", "wms"),
} | dict.fromkeys(FAULTS[14], ("pos",))  # fmt: skip


# ---- days on which nothing is wrong ------------------------------------------------------------------------------------------


def flash_sale(stage: Stage) -> None:
    stage.simulation.load = 2.0 if stage.estate.tight else 5.0


def quiet(stage: Stage) -> None:
    stage.simulation.load = 0.1


def other_mix(stage: Stage) -> None:
    stage.simulation.changed_mix(
        {c: {route: w * stage.r.choice([0.2, 1, 3]) for route, w in mix.items()} for c, mix in stage.estate.mix.items()}
    )


def deploy(stage: Stage) -> None:
    stage.change("mapping", "mapping without effect", before=-20, system=stage.system)


def nightly_batch(stage: Stage) -> None:
    """Somebody else keeps a system busy, within what it can do."""
    server = stage.simulation.servers[stage.system]
    for _ in range(max(1, len(server.free) // 4)):
        server.serve(stage.begin, 300.0)


def new_store(stage: Stage) -> None:
    estate = stage.estate
    estate.stores += [f"9{i:02d}" for i in range(5)]
    estate.store_weights += [estate.store_weights[0]] * 5
    stage.simulation.forget()


def maintenance(stage: Stage) -> None:
    """A system is off, as it was said to be."""
    system = stage.estate.role["desk"]
    stage.change("maintenance", "declared maintenance", before=60, system=system)
    stage.simulation.weathers.append(lambda ask, at, now: Shape(refused="connect.refused") if at[0] == system else None)


def bots(stage: Stage) -> None:
    channel = "web"
    stage.simulation.broken = lambda ask, part: "caller" if part == "request" and ask.client == "stranger" else ""
    stage.simulation.start(stage.simulation.storm(channel, "stranger", "GET /products", stage.estate.load * 2))


def slow_customer(stage: Stage) -> None:
    """One customer whose baskets are huge."""
    store = stage.r.choice(stage.estate.stores[len(stage.estate.stores) // 2 :])
    stage.simulation.weathers.append(
        lambda ask, at, now: Shape(slower=5) if ask.store == store and ask.client.endswith("-0") and stage.r.random() < 0.1 else None
    )


def sampling(stage: Stage) -> None:
    """Other shares of the traces are kept from now on; nothing else changes."""


def clock_step(stage: Stage) -> None:
    """The wall clock is set back; durations are not concerned."""
    stage.simulation.clock = -0.7


CONTROLS: Final[dict[str, Fault]] = {
    "flash sale": flash_sale, "a tenth of the load": quiet, "other mix": other_mix, "deploy without effect": deploy,
    "nightly batch": nightly_batch, "new stores": new_store, "maintenance": maintenance, "bots": bots, "slow customer": slow_customer,
    "sampling change": sampling, "clock step": clock_step,
}  # fmt: skip


# ---- cases ---------------------------------------------------------------------------------------------------------------------


def held_out(kind: int, role: str) -> bool:
    """Whether the development part does without this kind on this system. A third of the pairs, and two kinds altogether."""
    return zlib.crc32(f"{kind} {role}".encode()) % 3 == 0


def kinds() -> list[tuple[int, str, str]]:
    """All (kind, variant, role)."""
    return [(kind, variant, role) for kind, found in FAULTS.items() for variant in found for role in _ROLES.get(variant, _CALLED)]


def estates(part: Part, many: int) -> Iterator[tuple[Estate, list[Case]]]:
    """Estates with the cases that are tried on each: every kind in turn, a third of them controls."""
    first = 1 if part == "development" else HELD_OUT_SEEDS + 1
    found = [k for k in kinds() if part == "held_out" or not held_out(k[0], k[2])]
    r = random.Random(f"order {part}")
    turn: list[tuple[int, str, str]] = []
    controls: list[str] = []
    for seed in range(first, first + many):
        load = LOADS[(seed - first) % len(LOADS)]
        estate = Estate(seed, load, tight=seed % 2 == 0)
        cases = []
        for number in range(12):
            chance = random.Random(f"case {seed} {number}")
            lasts = LASTS[load] * chance.uniform(1.0, 1.4)
            common: dict[str, Any] = {"seed": seed, "load": load, "number": number, "after": chance.uniform(5, 35), "lasts": lasts}
            if number % 3 == 2:
                controls = controls or r.sample(list(CONTROLS), len(CONTROLS))
                role = chance.choice(_CALLED)
                cases.append(Case(f"{seed}-{number}", kind=0, variant=controls.pop(), role=role, **common))
                continue
            turn = turn or _even(found, r)
            kind, variant, role = turn.pop()
            case = Case(f"{seed}-{number}", kind=kind, variant=variant, role=role, unseen=held_out(kind, role), **common)
            if kind == 9 and not estate.tight:
                case = replace(case, kind=2, variant="hang")
            if variant == "client storm" and load == 200:
                case = replace(case, variant="gateway storm", role="oms")
            cases.append(case if kind not in (14, 16, 18) else replace(case, lasts=max(case.lasts, 240.0 if load < 200 else 130.0)))
        yield estate, cases


def _even(found: list[tuple[int, str, str]], r: random.Random) -> list[tuple[int, str, str]]:
    """As many of each kind, in any order: one round over the kinds after the other, variants and systems drawn."""
    by_kind: dict[int, list[tuple[int, str, str]]] = {}
    for each in found:
        by_kind.setdefault(each[0], []).append(each)
    rounds = []
    for _ in range(8):
        order = r.sample(list(by_kind), len(by_kind))
        rounds += [r.choice(by_kind[kind]) for kind in order]
    return rounds


def begin(simulation: Simulation, case: Case) -> Stage:
    """Lets it happen, now."""
    r = random.Random(f"fault {case.id}")
    stage = Stage(simulation, simulation.estate, case, r, simulation.now)
    (CONTROLS[case.variant] if case.control else FAULTS[case.kind][case.variant])(stage)
    return stage

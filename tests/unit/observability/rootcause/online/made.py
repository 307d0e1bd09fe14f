"""Evidence made by hand: an even stream of requests, counted bin by bin, with exactly the failures that a test asks for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from observability.rootcause.model import (
    COUNTERS,
    CapabilityNode,
    DependencyMap,
    Evidence,
    OperationNode,
    RouteNode,
    Rows,
    SystemNode,
    Where,
)

NOW: Final = 1_800_000_000
ROUTES: Final[dict[str, tuple[str, ...]]] = {
    "GET /inventory": ("erp.GetStock",),
    "GET /prices": ("erp.GetPrices",),
    "POST /orders": ("erp.GetStock", "oms.create"),
    "GET /orders": ("oms.get",),
}
CHANNELS: Final = ("web", "store")
VERSIONS: Final = ("2025-09", "2026-01")
STORES: Final = ("017", "018", "019", "020")
MAP: Final = DependencyMap(
    systems={"erp": SystemNode(owner="finance-it", contact="+49 30 5550 100"), "oms": SystemNode(owner="ecom")},
    operations={o: OperationNode(provides=f"does.{o}") for o in ("erp.GetStock", "erp.GetPrices", "oms.create", "oms.get")},
    capabilities={f"does.{o}": CapabilityNode(operations=(o,)) for o in ("erp.GetStock", "erp.GetPrices", "oms.create", "oms.get")},
    routes={r: RouteNode(capabilities=tuple(f"does.{o}" for o in operations)) for r, operations in ROUTES.items()},
    channels=CHANNELS,
)
Broken = Callable[[int, Where], Mapping[str, float]]
"""Second and cell of an operation -> share of its calls by failure class, or `late`."""
Load = Callable[[int, str, str], float]
"""Second, channel and route -> how much of the usual traffic there is."""


class Counts:
    """Cells in the making."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, Where], list[int]] = {}

    def add(self, at: int, where: Where, **counts: int) -> None:
        cell = self.cells.setdefault((at, where), [0] * len(COUNTERS))
        for name, n in counts.items():
            cell[COUNTERS.index(name)] += n

    def rows(self, order: Sequence[int] | None = None) -> Rows:
        keys: dict[Where, int] = {}
        cells = list(self.cells.items())
        for (_, where), _ in cells:
            keys.setdefault(where, len(keys))
        if order is not None:
            cells = [cells[i] for i in order]
        return Rows(
            list(keys),
            array("q", [keys[where] for (_, where), _ in cells]),
            array("q", [at for (at, _), _ in cells]),
            tuple(array("q", [counts[i] for _, counts in cells]) for i in range(len(COUNTERS))),
        )


class Made:
    """`each`: requests in ten seconds of each channel, route, version and store. Every 100th request is late for nobody's fault."""

    def __init__(
        self, broken: Broken | None = None, *, minutes: int = 15, each: float = 1, load: Load | None = None, estate: DependencyMap = MAP
    ) -> None:
        self.coarse, self.fine, self.estate = Counts(), Counts(), estate
        begun = 0.0
        carry: dict[tuple[str, ...], float] = {}
        for second in range(NOW - minutes * 60, NOW, 10):
            for channel in CHANNELS:
                for route, operations in ROUTES.items():
                    for version in VERSIONS:
                        for store in STORES:
                            of = (channel, route, version, store)
                            begun = carry.get(of, 0.0) + each * (load(second, channel, route) if load else 1.0)
                            n = int(begun)
                            carry[of] = begun - n
                            self._requests(second, of, operations, n, broken, carry)

    def _requests(
        self, second: int, of: tuple[str, ...], operations: Sequence[str], n: int, broken: Broken | None, carry: dict[Any, float]
    ) -> None:
        counts = {"n": n}
        left = n
        late = carry.get(("late", *of), hash_of(of)) + n / 100
        carry["late", *of] = late - int(late)
        for name in operations:
            system, operation = name.split(".")
            where = Where(system, operation, *of)
            its = {"n": left}
            for kind, share in (broken(second, where) if broken else {}).items():
                owed = carry.get((kind, name, *of), hash_of(of)) + share * its["n"]
                bad = min(left, int(owed + 1e-9))
                carry[kind, name, *of] = owed - bad
                its[kind] = its.get(kind, 0) + bad
                if kind != "caller":
                    its["blamed"] = its.get("blamed", 0) + 1000 * bad
                counts[kind] = counts.get(kind, 0) + bad
                left -= 0 if kind == "late" else bad
            self.count(second, where, **its)
        if late >= 1 and left > counts.get("late", 0):
            counts["late"] = counts.get("late", 0) + 1
            counts["blamed"] = counts.get("blamed", 0) + 1000
        self.count(second, Where("", "", *of), **counts)

    def count(self, second: int, where: Where, **counts: int) -> None:
        """Ten seconds of one cell; in the fine bins its requests are spread evenly, bad ones among them."""
        if not counts.get("n"):
            return
        self.coarse.add(second, where, **counts)
        if second < NOW - 900:
            return
        short = Where(where.system, where.operation) if where.system else Where("", "", where.channel, where.route)
        offset = sum(map(ord, "".join(where))) % 10
        for i in range(counts["n"]):
            self.fine.add(second + (i * 10 // counts["n"] + offset) % 10, short, n=1)
        for name, total in counts.items():
            if name != "n" and total:
                self.fine.add(second + offset, short, **{name: total})

    def evidence(self, **more: Any) -> Evidence:
        return Evidence(**{"now": float(NOW), "coarse": self.coarse.rows(), "fine": self.fine.rows(), "map": self.estate, **more})


def hash_of(of: tuple[str, ...]) -> float:
    """A number from 0 to 1 that differs between cells and is the same in each process."""
    return sum(ord(c) * (i + 7) for i, c in enumerate("".join(of))) % 100 / 100


def since(seconds: int, *names: str, **shares: float) -> Broken:
    """From so many seconds ago on, all calls of these systems or operations fail with these shares."""

    def broken(second: int, where: Where) -> Mapping[str, float]:
        hit = second >= NOW - seconds and (where.system in names or f"{where.system}.{where.operation}" in names)
        return shares if hit else {}

    return broken


def both(*several: Broken) -> Broken:
    return lambda second, where: {k: v for broken in several for k, v in broken(second, where).items()}


def ago(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW - seconds, UTC)

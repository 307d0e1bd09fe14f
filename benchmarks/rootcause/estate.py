"""The estates that are simulated: eight systems, a dozen routes, five channels, up to 300 stores, all drawn from a seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Final, Literal

from observability.rootcause.model import CapabilityNode, DependencyMap, OperationNode, RouteNode, SystemNode

Combine = Literal["all", "first"]

WORDS: Final = (
    "alder", "birch", "cedar", "elm", "fir", "hazel", "juniper", "larch", "maple", "oak", "pine", "rowan", "spruce", "teak", "willow",
)  # fmt: skip
OPERATIONS: Final[dict[str, dict[str, tuple[float, bool]]]] = {
    "erp": {"GetStock": (55, True), "GetPrices": (40, True), "GetMaterials": (60, True), "Book": (110, False), "GetCustomer": (45, True)},
    "oms": {"create": (80, False), "get": (35, True), "reserved": (30, True), "cancel": (60, False)},
    "wms": {"stock": (45, True), "reserve": (70, False)},
    "crm": {"customer": (40, True), "consent": (25, True)},
    "loyalty": {"balance": (30, True), "redeem": (60, False)},
    "shop": {"content": (35, True), "reviews": (30, True)},
    "desk": {"cases": (45, True), "open": (55, False)},
    "pos": {},
}
"""Role -> operation -> (median milliseconds of its own work, whether it may be repeated)."""
FEED: Final = ("pos", "tlog")
QUEUE: Final = ("desk", "events")
CAPABILITIES: Final[dict[str, tuple[tuple[str, ...], Combine]]] = {
    "inventory.levels": (("erp.GetStock", "oms.reserved", "wms.stock"), "all"),
    "price.read": (("erp.GetPrices",), "all"),
    "product.read": (("shop.content", "erp.GetMaterials"), "first"),
    "review.list": (("shop.reviews",), "all"),
    "order.create": (("oms.create",), "all"),
    "order.book": (("erp.Book",), "all"),
    "order.read": (("oms.get",), "all"),
    "order.cancel": (("oms.cancel",), "all"),
    "stock.reserve": (("wms.reserve",), "all"),
    "customer.read": (("crm.customer", "erp.GetCustomer"), "first"),
    "consent.read": (("crm.consent",), "all"),
    "loyalty.balance": (("loyalty.balance",), "all"),
    "loyalty.redeem": (("loyalty.redeem",), "all"),
    "case.list": (("desk.cases",), "all"),
    "case.open": (("desk.open",), "all"),
}
ROUTES: Final[dict[str, tuple[tuple[str, ...], float]]] = {
    "GET /inventory": (("inventory.levels",), 24),
    "GET /prices": (("price.read",), 18),
    "GET /products": (("product.read",), 16),
    "GET /reviews": (("review.list",), 5),
    "GET /orders/{number}": (("order.read",), 9),
    "POST /orders": (("inventory.levels", "order.create", "order.book"), 8),
    "POST /reservations": (("inventory.levels", "stock.reserve"), 4),
    "POST /returns": (("order.read", "order.cancel"), 3),
    "GET /customers/{number}": (("customer.read", "consent.read"), 8),
    "GET /loyalty/{number}": (("loyalty.balance",), 6),
    "POST /redemptions": (("loyalty.redeem",), 3),
    "GET /cases": (("case.list",), 4),
    "POST /cases": (("case.open",), 2),
}
"""Route -> capabilities, one after the other, and its weight in the usual mix."""
CHANNELS: Final = {"web": 40, "mobile": 25, "store": 18, "call_centre": 7, "marketplace": 10}
VERSIONS: Final = ("2025-03", "2025-09", "2026-01")
DECOY: Final = "decoy"
INSIDE: Final = {"oms.create": "erp.Book", "loyalty.redeem": "crm.customer"}
"""What a system asks of another one behind our back: known by hand (`depends_on`), seen only in its own spans."""


@dataclass(slots=True)
class Operation:
    system: str
    name: str
    median: float
    """Seconds of its own work."""
    sigma: float
    reads: bool
    timeout: float
    errors: float
    """Share of calls that fail on a good day."""
    cached: float
    """Share of calls answered from memory."""
    inside: tuple[str, str] | None = None
    freshness: float = 0.0
    """Share of failed calls for which a stale answer is at hand."""


@dataclass(slots=True)
class Route:
    name: str
    stages: tuple[tuple[str, Combine, tuple[tuple[str, str], ...]], ...]
    weight: float
    objective: float


@dataclass(slots=True)
class Estate:
    """`tight`: no places per system, and few for all: a slow system takes them from everybody."""

    seed: int
    load: float
    """Requests a second."""
    tight: bool
    role: dict[str, str] = field(default_factory=dict)
    """Role -> name."""
    operations: dict[tuple[str, str], Operation] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    mix: dict[str, dict[str, float]] = field(default_factory=dict)
    """Channel -> route -> weight."""
    clients: dict[str, dict[str, float]] = field(default_factory=dict)
    stores: list[str] = field(default_factory=list)
    store_weights: list[float] = field(default_factory=list)
    versions: dict[str, float] = field(default_factory=dict)
    shares: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        r = random.Random(f"estate {self.seed}")
        self.role = dict(zip(OPERATIONS, r.sample(WORDS, len(OPERATIONS)), strict=True))
        for role, found in OPERATIONS.items():
            for name, (milliseconds, reads) in found.items():
                median = milliseconds / 1000 * r.uniform(0.7, 1.4)
                inside = INSIDE.get(f"{role}.{name}")
                below = inside.split(".") if inside else None
                self.operations[self.role[role], name] = Operation(
                    self.role[role], name, median, r.uniform(0.25, 0.42), reads, max(1.0, round(median * 18, 1)), r.uniform(0.0003, 0.003),
                    r.uniform(0.05, 0.35) if reads else 0.0, (self.role[below[0]], below[1]) if below else None,
                    r.uniform(0.05, 0.3) if reads else 0.0,
                )  # fmt: skip
        for name, (capabilities, weight) in ROUTES.items():
            stages = tuple((c, CAPABILITIES[c][1], tuple(self._named(o) for o in CAPABILITIES[c][0])) for c in capabilities)
            usual = sum(
                max(self.usual(o) for o in (operations[:1] if combine == "first" else operations)) for _, combine, operations in stages
            )
            self.routes[name] = Route(name, stages, weight * r.uniform(0.7, 1.4), round(usual * r.uniform(2.8, 3.6) + 0.03, 2))
        for channel in CHANNELS:
            self.mix[channel] = {name: route.weight * r.uniform(0.4, 1.6) for name, route in self.routes.items()}
            self.clients[channel] = {f"{channel}-{i}": w for i, w in enumerate((60, 25, 15)[: r.randint(1, 3)])}
        self.mix["web"]["GET /cases"] = self.mix["marketplace"]["POST /cases"] = self.mix["marketplace"]["GET /cases"] = 0.0
        many = {2: 20, 20: 80}.get(int(self.load), 300)
        self.stores = [f"{i:03d}" for i in range(1, many + 1)]
        r.shuffle(self.stores)
        self.store_weights = [1 / (i + 8) ** 0.6 for i in range(many)]
        self.versions = dict(zip(VERSIONS, r.choice([(1, 5, 4), (2, 3, 5), (1, 3, 6)]), strict=True))
        names = list(self.role.values())
        segments = r.sample(names, len(names))
        self.shares = {name: {"segment": f"net-{i // 3}"} for i, name in enumerate(segments)}

    def _named(self, text: str) -> tuple[str, str]:
        role, name = text.split(".")
        return self.role[role], name

    def usual(self, at: tuple[str, str]) -> float:
        operation = self.operations[at]
        below = self.operations[operation.inside].median if operation.inside else 0.0
        return operation.median + below + 0.012

    @property
    def feed(self) -> tuple[str, str]:
        return self.role[FEED[0]], FEED[1]

    @property
    def queue(self) -> tuple[str, str]:
        return self.role[QUEUE[0]], QUEUE[1]

    def rate(self, system: str) -> float:
        """Seconds of work a second that come to a system on a usual day."""
        total = sum(route.weight for route in self.routes.values())
        work = 0.0
        for route in self.routes.values():
            for _, combine, operations in route.stages:
                for at in operations[:1] if combine == "first" else operations:
                    for part in (at, self.operations[at].inside):
                        if part and part[0] == system:
                            work += (
                                self.load * route.weight / total * (1 - self.operations[at].cached) * self.operations[part].median * 1.15
                            )
        return work

    def in_flight(self) -> float:
        total = sum(route.weight for route in self.routes.values())
        return sum(self.load * r.weight / total * r.objective / 3.2 for r in self.routes.values())

    def servers(self, system: str) -> int:
        return math.ceil(self.rate(system) / 0.12) + 3

    def declared(self) -> DependencyMap:
        depends: dict[str, set[str]] = {name: set() for name in self.role.values()}
        for operation in self.operations.values():
            if operation.inside:
                depends[operation.system].add(operation.inside[0])
        provides = {at: c for route in self.routes.values() for c, _, operations in route.stages for at in operations}
        operations = {f"{s}.{o}": OperationNode(provides=provides[s, o]) for s, o in self.operations}
        operations[".".join(self.feed)] = OperationNode(provides="sale.feed", mode="file")
        operations[".".join(self.queue)] = OperationNode(provides="event.feed", mode="outbound")
        capabilities = {
            c: CapabilityNode(operations=tuple(".".join(at) for at in found), combine=combine)
            for route in self.routes.values()
            for c, combine, found in route.stages
        }
        capabilities["sale.feed"] = CapabilityNode(operations=(".".join(self.feed),))
        routes = {
            name: RouteNode(
                capabilities=tuple(c for c, _, _ in route.stages) + (("sale.feed",) if name == "GET /inventory" else ()),
                objective_s=route.objective,
            )
            for name, route in self.routes.items()
        }
        systems = {
            name: SystemNode(owner=f"team-{name}", depends_on=tuple(sorted(depends[name])), shares=self.shares[name])
            for name in self.role.values()
        }
        return DependencyMap(systems=systems, operations=operations, capabilities=capabilities, routes=routes, channels=tuple(CHANNELS))

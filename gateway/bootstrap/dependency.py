"""The declared dependency map of an estate: which route asks for which capability, who provides it, and whom that depends on."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.ports import CAPABILITIES
from gateway.api import ENDPOINTS
from gateway.estate import Estate
from observability.rootcause.model import CapabilityNode, DependencyMap, OperationNode, RouteNode, SystemNode

ORDERS = "order"
"""Name of the flights in which orders go on after their requests were answered."""


def dependency_map(estate: Estate) -> DependencyMap:
    """Every route of the product, with those capabilities that something in this estate provides."""
    capabilities = dict(_capabilities(estate))
    return DependencyMap(
        systems={
            name: SystemNode(
                owner=s.owner,
                contact=s.contact,
                criticality=s.criticality,
                depends_on=s.depends_on,
                shares={key: value for key, value in msgspec.structs.asdict(s.shares).items() if value},
            )
            for name, s in estate.system.items()
        },
        operations={
            name: OperationNode(provides=o.provides, mode=o.mode, stale_s=float(o.policy.freshness.stale_if_error))
            for name, o in estate.operation.items()
        },
        capabilities=capabilities,
        routes=_routes(estate, capabilities),
        channels=tuple(estate.channel),
    )


def _capabilities(estate: Estate) -> list[tuple[str, CapabilityNode]]:
    found = []
    for name in dict.fromkeys(o.provides for o in estate.operation.values()):
        rule = estate.capability.get(name)
        providers = rule.operations if rule else tuple(n for n, o in estate.operation.items() if o.provides == name)
        feed = all(estate.operation[n].mode in ("file", "outbound") for n in providers)  # a file that is missing takes nothing from others
        whole = feed or (rule is not None and rule.combine == "all")
        partial = feed or (rule is not None and rule.partial)
        found.append((name, CapabilityNode(operations=providers, combine="all" if whole else "first", partial=partial)))
    return found


def _routes(estate: Estate, capabilities: Mapping[str, CapabilityNode]) -> dict[str, RouteNode]:
    """Those that the product has, and those that only the estate speaks of."""
    needs = {e.route: e.needs for e in ENDPOINTS}
    asked = {e.route: e.capabilities for e in ENDPOINTS}
    asked[ORDERS], needs[ORDERS] = tuple(name for name in CAPABILITIES if name.startswith("order.") and name != "order.progress"), "later"
    for name, route in estate.route.items():
        asked[name] = tuple(dict.fromkeys((*asked.get(name, ()), *route.capabilities)))
    return {
        name: RouteNode(
            capabilities=tuple(c for c in wanted if c in capabilities),
            objective_s=float(estate.route[name].objective.p99) if name in estate.route else 0.0,
            needs=needs.get(name, "answer"),
            denied=estate.route[name].denied if name in estate.route else (),
        )
        for name, wanted in asked.items()
    }

"""What an incident did to whoever met it, as figures with a word each: the same on the page, in the terminal and anywhere else."""

from __future__ import annotations

from typing import Final

from observability.rootcause.model import Incident

_BLUR: Final = 0.02
"""Figures in excess of the usual are rounded by attribute: so much of a difference says nothing."""


def felt(incident: Incident) -> tuple[tuple[int, str], ...]:
    """How many failed and were late, and, where that is not all, how many got less than they asked for: an order that is recorded and not
    yet carried out, an answer in part, stock that stands still. At least one figure.
    """
    impact = incident.impact
    word = "told old figures" if any(c.failure == "stale" for c in incident.culprits) else "degraded"
    found = [(impact.failed, "failed"), (impact.late, "late"), (impact.degraded or beyond(incident), word)]
    return tuple((n, name) for n, name in found if n) or ((0, "failed"),)


def beyond(incident: Incident) -> int:
    """Who was hit and neither failed nor was late."""
    hit = _hit(incident)
    left = hit - incident.impact.failed - incident.impact.late
    return left if left > max(1, _BLUR * hit) else 0


def bad(incident: Incident) -> int:
    """All that were hit, however."""
    return sum(n for n, _ in felt(incident))


def base(incident: Incident) -> str:
    """What is counted: background work, such as the process of an order, is no request."""
    routes = incident.impact.hit.get("route", {})
    processes = any(" " not in route for route in routes)
    return "requests" if not processes else "requests and processes" if any(" " in route for route in routes) else "processes"


def _hit(incident: Incident) -> int:
    return min(incident.impact.requests, max((sum(values.values()) for values in incident.impact.hit.values()), default=0))
